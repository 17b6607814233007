package up

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/larkstream/larkstream/gateway/client"
	"github.com/larkstream/larkstream/shared/kafka"
)

// envAdminAddr names the gateway's admin address; the stages serve on one address only.
const envAdminAddr = "LARK_ADMIN_ADDR"

// ports gives every child its loopback addresses. They are chosen by the supervisor, not by the child, and kept in the
// data folder, so that a child that was started again comes back where its clients look for it.
type ports struct {
	data   Folder
	mu     sync.Mutex
	places map[string]Place
	fixed  map[string]bool
}

func newPorts(data Folder) *ports {
	p := &ports{data: data, places: map[string]Place{}, fixed: map[string]bool{}}
	for _, stage := range Stages() {
		if place, err := data.Place(stage); err == nil {
			p.places[stage] = Place{HTTPAddr: place.HTTPAddr, AdminAddr: place.AdminAddr, KafkaAddr: place.KafkaAddr}
		}
	}
	return p
}

// fix gives a stage the address that the user asked for, and the admin address; without one, a loopback address, that of its last run where possible.
func (p *ports) fix(stage, addr, admin string) error {
	chosen, err := freeAddr(addr)
	if err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.places[stage] = Place{HTTPAddr: chosen, AdminAddr: p.places[stage].AdminAddr}
	if admin == "" {
		admin, err = p.reuse(p.places[stage].AdminAddr)
	} else {
		admin, err = freeAddr(admin)
	}
	if err != nil {
		return err
	}
	p.places[stage] = Place{HTTPAddr: chosen, AdminAddr: admin}
	p.fixed[stage] = true
	return nil
}

// choose makes sure that a stage about to start has addresses that are free: the addresses of its last run where possible. The
// broker's clients know its address, so that one only moves before the first start.
func (p *ports) choose(stage string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	place := p.places[stage]
	started := place.PID != 0
	var err error
	if !p.fixed[stage] {
		if place.HTTPAddr, err = p.reuse(place.HTTPAddr); err != nil {
			return fmt.Errorf("choosing an address for %s: %w", stage, err)
		}
	}
	if stage == Broker && !started {
		if place.KafkaAddr, err = p.reuse(place.KafkaAddr); err != nil {
			return fmt.Errorf("choosing the broker's address: %w", err)
		}
	}
	p.places[stage] = place
	return nil
}

func (p *ports) place(stage string) Place {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.places[stage]
}

// record notes a started child in the data folder.
func (p *ports) record(stage string, pid int) error {
	p.mu.Lock()
	place := p.places[stage]
	place.PID, place.Started = pid, time.Now().Truncate(time.Millisecond)
	p.places[stage] = place
	p.mu.Unlock()
	return p.data.setPlace(stage, place)
}

// waitFree waits until the children of a supervisor that was killed have let go of their addresses, 15 s at most: they
// end by themselves when their supervisor is gone.
func (p *ports) waitFree(ctx context.Context, stages []string) {
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for _, stage := range stages {
		place := p.place(stage)
		for !isFree(place.HTTPAddr) || !isFree(place.AdminAddr) || !isFree(place.KafkaAddr) {
			select {
			case <-tick.C:
			case <-ctx.Done():
				return
			}
		}
	}
}

func isFree(addr string) bool {
	if addr == "" {
		return true
	}
	_, err := freeAddr(addr)
	return err == nil
}

// reuse returns addr if it is free, else another loopback address. An address that was chosen for another stage is not free, though nobody listens there yet.
func (p *ports) reuse(addr string) (string, error) {
	if addr != "" && p.chosen(addr) <= 1 { // by the one that asks
		if free, err := freeAddr(addr); err == nil {
			return free, nil
		}
	}
	for {
		free, err := freeAddr("127.0.0.1:0")
		if err != nil || p.chosen(free) == 0 {
			return free, err
		}
	}
}

// chosen counts the places that have the address.
func (p *ports) chosen(addr string) (n int) {
	for _, place := range p.places {
		for _, a := range []string{place.HTTPAddr, place.AdminAddr, place.KafkaAddr} {
			if a == addr {
				n++
			}
		}
	}
	return n
}

// freeAddr tells whether addr can be listened on and gives it back with a real port in place of 0.
func freeAddr(addr string) (string, error) {
	at, err := net.ResolveTCPAddr("tcp", addr)
	if err != nil {
		return "", err
	}
	l, err := net.ListenTCP("tcp", at)
	if err != nil {
		return "", err
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String(), nil
}

// errNotReady is what a stage that is still starting gives.
var errNotReady = errors.New("not ready")

// readyAt asks a stage's /readyz.
func readyAt(ctx context.Context, addr string) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+"/readyz", nil)
	if err != nil {
		return fmt.Errorf("asking for readiness: %w", err)
	}
	req.Close = true
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("asking for readiness: %w", err)
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		return errNotReady
	}
	return nil
}

// env is a child's environment: the user's, completed with what this data folder offers.
func (s *Stack) env(stage string) []string {
	env := s.cfg.Env
	env = setenv(env, "LARK_HTTP_ADDR", s.ports.place(stage).HTTPAddr)
	env = setenv(env, envAdminAddr, s.ports.place(stage).AdminAddr)
	env = setenv(env, "LARK_MODEL_DIR", s.cfg.ModelDir)
	if addr := s.ports.place(Broker).KafkaAddr; addr != "" && getenv(env, "KAFKA_BROKERS") == "" {
		env = setenv(unsecured(env), "KAFKA_BROKERS", addr)
		env = orenv(env, "KAFKA_KEEP_FINISHED", strconv.Itoa(kafka.KeepFinished))
	}
	env = orenv(env, "BLOB_URL", s.cfg.Data.BlobURL())
	env = orenv(env, "DATABASE_URL", "sqlite://"+s.cfg.Data.path("lark.db"))
	if s.onlyOurs() {
		env = orenv(env, "LARK_SOURCES", "/")
	}
	if stage == Broker {
		env = setenv(env, "LARK_BROKER_ADDR", s.ports.place(Broker).KafkaAddr)
		env = setenv(env, "LARK_BROKER_DIR", s.cfg.Data.path("broker"))
	}
	if s.cfg.Drain > 0 {
		env = setenv(env, "LARK_DRAIN_TIMEOUT", s.cfg.Drain.String())
	}
	if admin := s.ports.place(Gateway).AdminAddr; admin != "" && s.ports.fixed[Gateway] && stage != Gateway {
		// The gateway keeps the last traces for /debug/traces; with a collector, they are looked at there.
		if getenv(env, "OTEL_EXPORTER_OTLP_ENDPOINT") == "" {
			env = orenv(env, "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://"+callable(admin)+"/v1/traces")
		}
	}
	return env
}

// callable is the address under which this machine reaches a listener: one that listens on all addresses answers on loopback too, and on IPv4
// also where it listens on [::].
func callable(addr string) string {
	at, err := netip.ParseAddrPort(addr)
	if err != nil || !at.Addr().IsUnspecified() {
		return addr
	}
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), at.Port()).String()
}

// unsecured leaves out how another broker is reached: the embedded one takes neither TLS nor logins.
func unsecured(env []string) []string {
	return slices.DeleteFunc(slices.Clone(env), func(kv string) bool {
		return slices.ContainsFunc([]string{"KAFKA_TLS", "KAFKA_SASL_", "KAFKA_USERNAME", "KAFKA_PASSWORD", "KAFKA_TOKEN_"},
			func(prefix string) bool { return strings.HasPrefix(kv, prefix) })
	})
}

func getenv(env []string, key string) string {
	for _, kv := range env {
		if k, v, _ := strings.Cut(kv, "="); k == key {
			return v
		}
	}
	return ""
}

// setenv returns env with key set; env itself is left alone.
func setenv(env []string, key, value string) []string {
	out := make([]string, 0, len(env)+1)
	for _, kv := range env {
		if k, _, _ := strings.Cut(kv, "="); k != key {
			out = append(out, kv)
		}
	}
	return append(out, key+"="+value)
}

// orenv is setenv unless the user has set the key already.
func orenv(env []string, key, value string) []string {
	if getenv(env, key) != "" {
		return env
	}
	return setenv(env, key, value)
}

// onlyOurs tells whether nobody but the users of this machine reaches the gateway, and it asks them for no key. Then runs may read every file that its
// own user can read: whoever asks could as well.
func (s *Stack) onlyOurs() bool {
	at, err := netip.ParseAddrPort(s.ports.place(Gateway).HTTPAddr)
	if err != nil || !at.Addr().IsLoopback() {
		return false
	}
	for _, key := range []string{client.EnvToken, "LARK_ADMIN_KEY", "LARK_GATEWAY_AUTH"} {
		if v := getenv(s.cfg.Env, key); v != "" && v != "none" {
			return false
		}
	}
	return true
}
