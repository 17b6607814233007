// Command fetch-native gets the prebuilt libraries of llama.cpp for this platform: `make native`.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime"

	"github.com/larkstream/larkstream/shared/native"
	"github.com/larkstream/larkstream/shared/native/internal/fetch"
	"github.com/larkstream/larkstream/shared/service"
)

func main() { service.Main("fetch-native", run) }

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
