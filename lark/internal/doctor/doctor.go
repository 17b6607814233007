// Package doctor looks at this machine and its configuration for what would keep Larkstream from working.
package doctor

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/cpu"

	"github.com/larkstream/larkstream/engine/audio"
	"github.com/larkstream/larkstream/engine/model"
	"github.com/larkstream/larkstream/engine/tensor"
	"github.com/larkstream/larkstream/lab/bench"
	"github.com/larkstream/larkstream/lark/internal/up"
	"github.com/larkstream/larkstream/shared/blob"
	"github.com/larkstream/larkstream/shared/cache"
	"github.com/larkstream/larkstream/shared/config"
	"github.com/larkstream/larkstream/shared/kafka"
)

// States of a finding.
const (
	// OK: nothing to do.
	OK = "ok"
	// Warn: it works, with less.
	Warn = "warn"
	// Fail: it does not work.
	Fail = "fail"
)

// Finding is the result of one check.
type Finding struct {
	Check  string `json:"check"`
	State  string `json:"state"`
	Detail string `json:"detail"`
	// Remedy says what to do; empty when State is OK.
	Remedy string `json:"remedy,omitempty"`
	// Devices are what llama.cpp's libraries compute on.
	Devices []Device `json:"devices,omitempty"`
	// CeilingsGFLOPS, by precision, are what the kernel reaches on a core with operands in its first-level cache.
	CeilingsGFLOPS map[string]float64 `json:"ceilings_gflops_per_core,omitempty"`
}

// Config says what to look at.
type Config struct {
	Data     up.Folder
	Addr     string // where lark up's gateway would listen
	ModelDir string // as for lark up
	// Env reads the environment.
	Env func(string) string
}

// checkTimeout bounds each check that leaves the process.
const checkTimeout = 5 * time.Second

// Run makes every check, each in bounded time.
func Run(ctx context.Context, cfg Config) []Finding {
	checks := []func(context.Context, Config) Finding{
		runtimeInfo, kernels, nativeLibraries, ffmpeg, modelBundle, dataFolder, diskSpace, gatewayAddr, kafkaBrokers, redisServer, blobStore,
	}
	findings := make([]Finding, 0, len(checks))
	for _, check := range checks {
		ctx, cancel := context.WithTimeout(ctx, checkTimeout)
		findings = append(findings, check(ctx, cfg))
		cancel()
	}
	return findings
}

// Healthy tells whether nothing failed.
func Healthy(findings []Finding) bool {
	return !slices.ContainsFunc(findings, func(f Finding) bool { return f.State == Fail })
}

func runtimeInfo(context.Context, Config) Finding {
	return Finding{Check: "runtime", State: OK, Detail: fmt.Sprintf("%s %s/%s, %d processors, %d used",
		runtime.Version(), runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), runtime.GOMAXPROCS(0))}
}

// kernels says which processor and kernel this is, in figures, and why a faster kernel is passed over.
func kernels(context.Context, Config) Finding {
	name, passedOver := tensor.Kernel()
	f := Finding{Check: "kernels", State: OK, Detail: fmt.Sprintf("matrix products use %s, of %s; the processor, %s, has: %s",
		name, strings.Join(tensor.Kernels(), " "), bench.Processor(), strings.Join(cpuFeatures(), " "))}
	if rates, err := bench.Ceilings(ceilingRounds); err == nil { // processor time is not known on every system
		f.CeilingsGFLOPS = rates
		for _, p := range tensor.Precisions() {
			f.Detail += fmt.Sprintf("; %s at most %.0f GFLOP/s per core", p, rates[string(p)])
		}
	}
	if passedOver != nil {
		f.State, f.Detail = Warn, f.Detail+"; "+strings.ReplaceAll(passedOver.Error(), "\n", "; ")
		f.Remedy = "answers are right, only slower; report a kernel that faulted or was wrong with this line, and unset " + tensor.KernelEnv + " if it names a kernel that is not here"
	}
	return f
}

// ceilingRounds are about 50 ms of work.
const ceilingRounds = 30_000

func cpuFeatures() []string {
	features := []struct {
		name string
		have bool
	}{
		{"avx2", cpu.X86.HasAVX2},
		{"fma", cpu.X86.HasFMA},
		{"avx512f", cpu.X86.HasAVX512F},
		{"avx512bf16", cpu.X86.HasAVX512BF16},
		{"amx-bf16", cpu.X86.HasAMXBF16},
		{"asimd", cpu.ARM64.HasASIMD},
		{"sve", cpu.ARM64.HasSVE},
	}
	var have []string
	for _, f := range features {
		if f.have {
			have = append(have, f.name)
		}
	}
	if len(have) == 0 {
		return []string{"no vector extension known here"}
	}
	return have
}

func ffmpeg(ctx context.Context, _ Config) Finding {
	path, err := exec.LookPath("ffmpeg")
	if err != nil {
		return Finding{
			Check: "ffmpeg", State: Warn, Detail: "not installed: wav and flac can be read, mp3 with small errors in some stereo, nothing else",
			Remedy: "install it: apt install ffmpeg, or brew install ffmpeg",
		}
	}
	out, err := exec.CommandContext(ctx, path, "-hide_banner", "-version").Output()
	if err != nil {
		return Finding{Check: "ffmpeg", State: Fail, Detail: fmt.Sprintf("%s does not run: %v", path, err), Remedy: "install it again, or set LARK_FFMPEG=none to do without"}
	}
	line, _, _ := strings.Cut(string(out), "\n")
	return Finding{Check: "ffmpeg", State: OK, Detail: fmt.Sprintf("%s (%s), confined by %s", path, strings.TrimSpace(line), audio.Confinement(ctx, path))}
}

func modelBundle(ctx context.Context, cfg Config) Finding {
	dir, err := up.FindModel(cfg.ModelDir, cfg.Data)
	if err != nil {
		return Finding{Check: "model", State: Fail, Detail: err.Error(), Remedy: "name a bundle with --model or LARK_MODEL_DIR"}
	}
	bundle, err := model.LoadCompleteContext(ctx, dir)
	if err != nil {
		return Finding{Check: "model", State: Fail, Detail: err.Error(), Remedy: "fetch the bundle again, or name another with --model"}
	}
	return Finding{Check: "model", State: OK, Detail: fmt.Sprintf("%s in %s, digest %.16s, checked; encoder engine %s, llm engine %s",
		bundle.DisplayName(), dir, bundle.Digest, bundle.Encoder.Engine, bundle.LLM.Engine)}
}

func kafkaBrokers(ctx context.Context, cfg Config) Finding {
	brokers := cfg.Env("KAFKA_BROKERS")
	if brokers == "" {
		return Finding{Check: "kafka", State: OK, Detail: "KAFKA_BROKERS is not set: lark up runs its own broker"}
	}
	security, err := kafka.SecurityFromEnv(func(key string) (string, bool) { return cfg.Env(key), true })
	if err != nil {
		return Finding{Check: "kafka", State: Fail, Detail: strings.ReplaceAll(err.Error(), "\n", "; "), Remedy: "correct these settings; KAFKA_TLS and KAFKA_SASL_MECHANISM say how the brokers are reached"}
	}
	if err := kafka.Ping(ctx, kafka.Config{Brokers: strings.Split(brokers, ","), ClientID: "lark-doctor", Security: security}); err != nil {
		return Finding{Check: "kafka", State: Fail, Detail: err.Error(), Remedy: "start Kafka, correct KAFKA_BROKERS, KAFKA_TLS and KAFKA_SASL_MECHANISM, or unset KAFKA_BROKERS to use the embedded broker"}
	}
	return Finding{Check: "kafka", State: OK, Detail: fmt.Sprintf("answers at %s (%s)", brokers, security)}
}

func redisServer(ctx context.Context, cfg Config) Finding {
	url := cfg.Env("REDIS_URL")
	if url == "" {
		return Finding{Check: "redis", State: OK, Detail: "REDIS_URL is not set: embeddings are kept in blobs alone"}
	}
	failed := func(err error) Finding {
		return Finding{Check: "redis", State: Warn, Detail: err.Error(), Remedy: "start Redis, correct REDIS_URL, or unset it; answers do not depend on it"}
	}
	c, err := cache.NewRedis(config.Secret(url), time.Minute, cache.F32, cache.Deps{})
	if err != nil {
		return failed(err)
	}
	defer func() { _ = c.Close() }() // nothing was written
	if _, err := c.Shape(ctx, "emb/v1/doctor", cache.Shape{}); err != nil && !errors.Is(err, cache.ErrMiss) {
		return failed(err)
	}
	return Finding{Check: "redis", State: OK, Detail: "answers"}
}

func blobStore(ctx context.Context, cfg Config) Finding {
	url := cfg.Env("BLOB_URL")
	if url == "" {
		return Finding{Check: "blobs", State: OK, Detail: "BLOB_URL is not set: blobs are kept in the data folder"}
	}
	if err := tryStore(ctx, url); err != nil {
		return Finding{Check: "blobs", State: Fail, Detail: err.Error(), Remedy: "correct BLOB_URL and its credentials, or unset it to use the data folder"}
	}
	return Finding{Check: "blobs", State: OK, Detail: "can be written and read"}
}

// tryStore writes, reads and deletes a small object.
func tryStore(ctx context.Context, url string) (err error) {
	store, err := blob.Open(ctx, url)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	key := fmt.Sprintf("doctor/%d-%d", os.Getpid(), time.Now().UnixNano())
	if err := store.PutBytes(ctx, key, []byte("ok")); err != nil {
		return err
	}
	if _, err := store.GetBytes(ctx, key, 16); err != nil {
		return err
	}
	return store.Delete(ctx, key)
}
