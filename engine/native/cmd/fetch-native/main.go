// Command fetch-native gets the prebuilt libraries of llama.cpp for this platform: `make native`.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"syscall"

	"github.com/larkstream/larkstream/engine/native"
	"github.com/larkstream/larkstream/engine/native/internal/fetch"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:])
	stop()
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "fetch-native:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("fetch-native", flag.ContinueOnError)
	variant := flags.String("variant", native.Variant, "which libraries: cpu, vulkan, cuda, cuda12")
	out := flags.String("out", "bin/native", "folder to put the variant's folder in")
	if err := flags.Parse(args); err != nil {
		return err
	}
	fetched, err := fetch.Fetch(ctx, *out, *variant, runtime.GOOS+"/"+runtime.GOARCH, fetch.NPM)
	if err != nil || !fetched {
		return err
	}
	fmt.Fprintln(os.Stdout, "llama.cpp's libraries are in", filepath.Join(*out, *variant))
	return nil
}
