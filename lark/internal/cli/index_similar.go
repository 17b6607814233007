package cli

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/larkstream/larkstream/gateway/client"
	"github.com/larkstream/larkstream/lark/internal/ask"
)

func (a *app) indexSimilar(server *serverFlags) *cobra.Command {
	var asJSON bool
	opts := client.SimilarOptions{}
	cmd := &cobra.Command{
		Use: "similar RUN TRACK", Short: "Show the tracks of a run that sound most like one of them", Args: cobra.ExactArgs(2),
		Long: `Compares a track, named by its id or URI, with every other track of the run: the mean of a track's embedding over all that was heard of it, by cosine similarity.
The search is exact. Tracks at or above --near-duplicate are marked as near-duplicates; files with the same SHA-256 are marked as the same file. Nothing is merged.

Tracks without a pooled embedding are counted, not guessed. The default of --near-duplicate was measured with lark-nano; for another encoder, measure it with
tracks that you know.`,
		Example: `  lark index similar albums 'Artist/Album/01 Song.flac'
  lark index similar albums 4711 -n 3 --json | jq -r '.tracks[] | select(.near_duplicate) | .uri'`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if opts.N < 1 || opts.N > 100 {
				return usage(errors.New("-n must be between 1 and 100"))
			}
			if !(opts.NearDuplicate > 0 && opts.NearDuplicate <= 1) {
				return usage(errors.New("--near-duplicate must be above 0 and at most 1"))
			}
			gw, err := a.gateway(cmd, server)
			if err != nil {
				return err
			}
			found, err := gw.Similar(cmd.Context(), args[0], args[1], opts)
			if err != nil {
				return err
			}
			if asJSON {
				if err := json.NewEncoder(a.Out).Encode(found); err != nil {
					return fmt.Errorf("printing tracks: %w", err)
				}
				return nil
			}
			a.printSimilar(found)
			return nil
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the tracks as JSON")
	cmd.Flags().IntVarP(&opts.N, "number", "n", 10, "how many tracks")
	cmd.Flags().Float64Var(&opts.NearDuplicate, "near-duplicate", client.NearDuplicateAbove, "similarity from which a track is marked as a near-duplicate")
	return cmd
}

func (a *app) printSimilar(found client.Similar) {
	for _, t := range found.Tracks {
		mark := ""
		switch {
		case t.SameFile:
			mark = "  same file"
		case t.Duplicate:
			mark = "  near-duplicate"
		}
		name := t.ID
		if title := t.Fields["title"]; title != "" {
			name += "  " + title
		}
		a.printf("%.5f  %s%s\n", t.Similarity, ask.Printable(name), mark)
	}
	a.printf("compared with %d tracks", found.Compared)
	if found.Missing > 0 {
		a.printf("; %d have no pooled embedding", found.Missing)
	}
	if found.Other > 0 {
		a.printf("; %d have one by another encoder", found.Other)
	}
	a.printf("\n")
}
