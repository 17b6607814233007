package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/larkstream/larkstream/engine/model"
	"github.com/larkstream/larkstream/gateway/client"
	"github.com/larkstream/larkstream/lark/internal/ask"
	"github.com/larkstream/larkstream/lark/internal/terminal"
	"github.com/larkstream/larkstream/lark/internal/up"
	"github.com/larkstream/larkstream/shared/event"
)

// serverFlags say which gateway to speak to.
type serverFlags struct {
	server   string
	modelDir string
}

func (s *serverFlags) register(flags *pflag.FlagSet) {
	flags.StringVar(&s.server, "server", os.Getenv("LARK_SERVER"), "gateway `URL` (env LARK_SERVER; default: that of the data folder)")
}

func (a *app) askCommand() *cobra.Command {
	var server serverFlags
	var cfg ask.Config
	var tagged bool
	var temperature float32
	var plan, spans string
	cmd := &cobra.Command{
		Use: "ask FILE|URL|- QUESTION...", Short: "Ask questions about a track", Args: cobra.MinimumNArgs(1),
		Long: `Asks questions about a track and prints the answers. A running gateway is used: the one named by --server or LARK_SERVER, or
that of the data folder; if there is none, everything is started for this call and stopped afterwards. A URL is fetched by
the gateway, which refuses addresses that are not public; - reads the track from standard input.

Answers go to standard output, progress to standard error. The exit code is 0 only if every question was answered. Ctrl-C
cancels the job. A gateway that goes away is waited for, for a minute; the answers then go on where they stopped.

Windows are stretches of up to 25 seconds: --plan auto hears one (seconds 30 to 55 of a track of at least a minute, else the first
25), --plan all hears the whole track, and --spans 0-25,1:30-1:55 hears what it names.

A damaged file is heard as far as it goes, and warnings say what is wrong with it; --strict refuses it.

With --combine each question gets one answer more, of the whole track: tempo, key, metre, instruments, yes and no are combined by rule, other
answers by the model itself, which reads what it said about the windows. It says from which windows it comes.

With --tags the answer is not a sentence but tags in closed vocabularies: tempo, key, mode, metre, instruments, genre, mood and
a description; what the model cannot tell is unknown (null in JSON). It needs no question.`,
		Example: `  lark ask song.mp3 "What key is this in?"
  lark ask song.flac "How fast is it?" "Are there drums?" --plan all
  lark ask song.flac "How fast is it?" "Describe the music." --plan all --combine
  lark ask song.wav "Describe the music." --json | jq -r .answer
  lark ask song.wav --tags --json | jq .tags
  ffmpeg -i concert.mkv -f wav - | lark ask - "Which instruments play?"`,
		RunE: func(cmd *cobra.Command, args []string) error {
			cfg.Track, cfg.Questions, cfg.In, cfg.Out = args[0], args[1:], a.In, a.Out
			if err := askSchema(&cfg, tagged); err != nil {
				return usage(err)
			}
			if cfg.Lane != "" && !slices.Contains(event.Lanes(), cfg.Lane) {
				return usage(fmt.Errorf("--lane %.40q is not known: it is %s", cfg.Lane, strings.Join(event.Lanes(), " or ")))
			}
			if plan != "" || spans != "" {
				if cfg.Windows != "" {
					return usage(errors.New("--windows is the older name of --plan and --spans: leave it out beside them"))
				}
				var err error
				if cfg.Windows, err = ask.Heard(plan, spans); err != nil {
					return usage(err)
				}
			}
			if _, _, err := ask.ParseWindows(cfg.Windows); err != nil {
				return usage(err)
			}
			if cmd.Flags().Changed("temperature") {
				cfg.Decode.Temperature = &temperature
			}
			cfg.Live = !cfg.JSON && isTerminal(a.Out)
			cfg.Notice = func(text string) { _, _ = fmt.Fprintf(a.Err, "lark: %s\n", ask.Printable(text)) }
			cfg.Status = terminal.Of(a.Err)
			return a.ask(cmd.Context(), server, cfg)
		},
	}
	f := cmd.Flags()
	server.register(f)
	f.StringVar(&server.modelDir, "model", "", "model bundle `folder`, where everything is started for this call")
	f.StringVar(&plan, "plan", "", "windows that are heard: `auto` (one, the default), all, or explicit, which --spans stands for")
	f.StringVar(&spans, "spans", "", "`spans` that are heard, such as 30-55,1:30-1:55")
	f.StringVar(&cfg.Windows, "windows", "", "auto, all, or spans")
	older(f, "windows", "use --plan, or --spans")
	f.StringVar(&cfg.Schema, "response-schema", "", "form of the answers: `tags` (default: free text)")
	f.StringVar(&cfg.Schema, "schema", "", "as --response-schema")
	older(f, "schema", "use --response-schema")
	f.BoolVar(&cfg.Strict, "strict", false, "refuse a damaged track in place of answering from what can be heard of it, with warnings")
	f.BoolVar(&cfg.Combine, "combine", false, "one answer more for each question, of the whole track, made of the windows' answers")
	f.BoolVar(&tagged, "tags", false, "the same as --response-schema tags")
	f.StringVar(&cfg.Lane, "lane", "", "`lane` of the job: interactive (the default), or bulk, which waits while interactive jobs keep the stages busy")
	f.BoolVar(&cfg.JSON, "json", false, "print one JSON object per outcome, one per line")
	f.Uint32Var(&cfg.Decode.MaxTokens, "max-tokens", 0, "longest answer in tokens (default: the model's own limit)")
	f.Float32Var(&temperature, "temperature", 0, "0 is greedy; more is more varied (default: the model's own)")
	f.Float32Var(&cfg.Decode.TopP, "top-p", 0, "nucleus sampling, 1 takes all tokens (default: the model's own)")
	f.Uint32Var(&cfg.Decode.TopK, "top-k", 0, "sample the so many most likely tokens (default: the model's own)")
	f.Float32Var(&cfg.Decode.RepetitionPenalty, "repetition-penalty", 0, "1 is off; more avoids words used before (default: the model's own)")
	f.Uint64Var(&cfg.Decode.Seed, "seed", 0, "seed of sampling")
	f.DurationVar(&cfg.Timeout, "timeout", 0, "give up what is not answered by then (default: never)")
	return cmd
}

// older hides a flag whose name is older than the API's. It goes on working, and says what to use.
func older(flags *pflag.FlagSet, name, instead string) {
	if err := flags.MarkDeprecated(name, instead); err != nil {
		panic(err) // unreachable: the flag is there
	}
}

// askSchema settles the form of the answers, and that there is something to ask.
func askSchema(cfg *ask.Config, tagged bool) error {
	if tagged {
		cfg.Schema = client.SchemaTags
	}
	switch {
	case cfg.Schema != "" && cfg.Schema != client.SchemaTags:
		return fmt.Errorf("--response-schema %.40q is not known: it is %s, or left out for free text", cfg.Schema, client.SchemaTags)
	case len(cfg.Questions) == 0 && cfg.Schema == "":
		return errors.New("a question is needed, or --tags")
	}
	return nil
}

// isTerminal tells whether a standard stream is a terminal.
func isTerminal(stream any) bool {
	if out, ok := stream.(*output); ok {
		stream = out.Writer
	}
	return terminal.Is(stream)
}

func (a *app) ask(ctx context.Context, server serverFlags, cfg ask.Config) error {
	if cfg.Track == ask.Stdin && isTerminal(a.In) {
		return usage(errors.New("- reads the track from standard input, which is a terminal: pipe a file in, or name one"))
	}
	if cfg.Track != ask.Stdin && !ask.IsURL(cfg.Track) {
		if _, err := os.Stat(cfg.Track); err != nil {
			return fmt.Errorf("opening track: %w", err)
		}
	}
	gw, done, err := a.connect(ctx, server)
	if err != nil {
		return err
	}
	defer done()
	result, err := ask.Run(ctx, gw, cfg)
	switch {
	case err != nil && ctx.Err() != nil && result.Job.ID != "":
		return fmt.Errorf("interrupted: job %s was cancelled", result.Job.ID)
	case err != nil:
		return err
	case !result.Answered():
		c := result.Job.Counts
		return fmt.Errorf("job %s: %d of %d questions were answered", result.Job.ID, c.Answered, c.Expected)
	}
	return nil
}

// connect finds the gateway, or starts one. The function returned stops what was started.
func (a *app) connect(ctx context.Context, server serverFlags) (*client.Client, func(), error) {
	nothing := func() {}
	if server.server != "" {
		gw, err := dial(server.server)
		return gw, nothing, usage(err)
	}
	folder, err := a.folder()
	if err != nil {
		return nil, nil, err
	}
	_, running, err := folder.Running()
	if err != nil {
		return nil, nil, err
	}
	if !running {
		stack, err := a.embedded(ctx, folder, server.modelDir)
		if err == nil {
			gw, err := dial(stack.GatewayURL())
			return gw, func() { a.stop(ctx, stack) }, err
		}
		var locked *up.LockedError // another lark was quicker
		if !errors.As(err, &locked) {
			return nil, nil, err
		}
	}
	url, err := runningGateway(ctx, folder)
	if err != nil {
		return nil, nil, err
	}
	gw, err := dial(url)
	return gw, nothing, err
}

// embedded starts everything for one call, quietly: what there is to say goes to the log files of the data folder.
func (a *app) embedded(ctx context.Context, folder up.Folder, modelDir string) (*up.Stack, error) {
	modelDir, err := checkedModel(ctx, modelDir, folder)
	if err != nil {
		return nil, err
	}
	line := terminal.Of(a.Err)
	line.Draw("starting ...")
	defer line.Clear()
	cfg := up.Config{Data: folder, Addr: "127.0.0.1:0", ModelDir: modelDir, Env: os.Environ()}
	return up.Start(ctx, cfg, up.Deps{Log: slog.New(slog.DiscardHandler)})
}

// checkedModel finds the model bundle and checks it once, rather than let every stage fail on it.
func checkedModel(ctx context.Context, dir string, folder up.Folder) (string, error) {
	dir, err := up.FindModel(dir, folder)
	if err != nil {
		return "", err
	}
	_, err = model.LoadCompleteContext(ctx, dir)
	return dir, err
}

// stopLimit bounds the stop of what was started for one call: nothing is in hand any more.
const stopLimit = 10 * time.Second

func (a *app) stop(ctx context.Context, stack *up.Stack) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopLimit)
	defer cancel()
	stack.Stop(ctx)
}

// runningGateway waits until the lark up that holds the folder is ready, and returns its gateway.
func runningGateway(ctx context.Context, folder up.Folder) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		holder, running, err := folder.Running()
		switch {
		case err != nil:
			return "", err
		case running && holder.Gateway != "":
			return holder.Gateway, nil
		case !running:
			return "", fmt.Errorf("waiting for the lark up on %s: it has ended", folder)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return "", fmt.Errorf("waiting for the lark up on %s (process %d) to be ready: %w", folder, holder.PID, context.Cause(ctx))
		}
	}
}
