package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/larkstream/larkstream/lark/internal/ask"
	"github.com/larkstream/larkstream/lark/internal/filetags"
	"github.com/larkstream/larkstream/lark/internal/index"
)

// tagFlags are the flags of lark index write-tags.
type tagFlags struct {
	dryRun, apply, undo, onlyMissing, asJSON bool
	fields                                   []string
	backup                                   string
}

func (a *app) indexWriteTags(server *serverFlags) *cobra.Command {
	var f tagFlags
	cmd := &cobra.Command{
		Use: "write-tags RUN --dry-run|--apply|--undo", Short: "Write a run's tags into the files of its tracks", Args: cobra.ExactArgs(1),
		Long: `Writes tags of the whole track into MP3 (ID3v2.3 and ID3v2.4) and FLAC (Vorbis comments) files of this machine. Nothing else in a file changes: audio, pictures
and other tags stay byte for byte, as do owner, mode and time. A file is replaced as a whole or not at all. A file that is not the one that the run has heard, by its
SHA-256, is left alone, and so is every other kind of file; the reason is told.

What is replaced is kept in a list (--backup), by which --undo makes every file what it was, byte for byte. Once everything is undone the list is removed.

  field         ID3v2                            Vorbis comment
  tempo         TBPM                             BPM
  key           TKEY, such as Am or F#m          INITIALKEY
  genre         TCON                             GENRE
  mood          TMOO (ID3v2.3: TXXX:MOOD)        MOOD
  instruments   TXXX:INSTRUMENTS                 INSTRUMENT
  metre         TXXX:METRE                       METRE
  description   TXXX:DESCRIPTION                 DESCRIPTION

The exit code is 0 if every track that has tags has them in its file, 3 if some files were left alone, 1 if none was written.`,
		Example: `  lark index write-tags albums --dry-run
  lark index write-tags albums --apply --fields tempo,key --only-missing
  lark index write-tags albums --undo`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if count := btoi(f.dryRun) + btoi(f.apply) + btoi(f.undo); count != 1 {
				return usage(errors.New("give one of --dry-run, --apply and --undo"))
			}
			fields, err := index.ParseFields(f.fields)
			if err != nil {
				return usage(fmt.Errorf("--fields: %w", err))
			}
			gw, err := a.gateway(cmd, server)
			if err != nil {
				return err
			}
			if f.undo && f.backup != "" { // the list says everything
				return a.undoTags(cmd.Context(), f)
			}
			run, err := gw.Run(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			if f.backup == "" {
				f.backup = "lark-tags-" + run.ID + ".jsonl"
			}
			if f.undo {
				return a.undoTags(cmd.Context(), f)
			}
			w := index.WriteTags{Gateway: gw, Fields: fields, OnlyMissing: f.onlyMissing}
			if f.apply {
				if w.List, err = filetags.OpenList(f.backup); err != nil {
					return err
				}
				defer func() { _ = w.List.Close() }() // each line is on the disk already
			}
			told := tagTold{app: a, asJSON: f.asJSON}
			err = w.Run(cmd.Context(), run, told.file)
			if f.apply && !f.asJSON && told.states[index.FileWritten] > 0 {
				defer a.printf("what was replaced is in %s: lark index write-tags %s --undo --backup %s\n", f.backup, run.ID, f.backup)
			}
			return told.end(err)
		},
	}
	flags := cmd.Flags()
	flags.BoolVar(&f.dryRun, "dry-run", false, "show old and new values and write nothing")
	flags.BoolVar(&f.apply, "apply", false, "write")
	flags.BoolVar(&f.undo, "undo", false, "make every file what it was before --apply")
	flags.StringSliceVar(&f.fields, "fields", nil, "`fields` to write: tempo, key, genre, mood, instruments, metre, description (default tempo,key,genre,mood)")
	flags.BoolVar(&f.onlyMissing, "only-missing", false, "leave fields alone that have a value in the file")
	flags.StringVar(&f.backup, "backup", "", "`file` of the list of what was replaced (default lark-tags-ID.jsonl here)")
	flags.BoolVar(&f.asJSON, "json", false, "print one JSON object per file, one per line")
	return cmd
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

func (a *app) undoTags(ctx context.Context, f tagFlags) error {
	if _, err := os.Stat(f.backup); err != nil {
		return fmt.Errorf("there is no list of what was replaced, name it with --backup: %w", err)
	}
	list, err := filetags.OpenList(f.backup)
	if err != nil {
		return err
	}
	told := tagTold{app: a, asJSON: f.asJSON}
	err = errors.Join(index.Undo(ctx, list, told.file), list.Close())
	if err = told.end(err); err == nil {
		return os.Remove(f.backup)
	}
	return err
}

// tagTold prints what becomes of files and counts it.
type tagTold struct {
	*app
	asJSON bool
	states map[string]int
}

func (t *tagTold) file(f index.FileTags) error {
	if t.states == nil {
		t.states = make(map[string]int)
	}
	t.states[f.State]++
	if t.asJSON {
		if err := json.NewEncoder(t.Out).Encode(f); err != nil {
			return fmt.Errorf("printing file: %w", err)
		}
		return nil
	}
	if f.State == index.FileSame {
		return nil
	}
	line := ask.Printable(f.File) + ": " + strings.ReplaceAll(f.State, "_", " ")
	if f.Reason != "" {
		line += ": " + ask.Printable(f.Reason)
	}
	t.printf("%s\n", line)
	for _, field := range filetags.Fields() {
		if values, ok := f.New[field]; ok {
			old := "nothing"
			if have := f.Old[field]; len(have) > 0 {
				old = strings.Join(have, "; ")
			}
			t.printf("  %-12s %s -> %s\n", field, ask.Printable(old), ask.Printable(strings.Join(values, "; ")))
		}
	}
	return nil
}

// end sums up, and says how the command ends.
func (t *tagTold) end(err error) error {
	good := t.states[index.FileWritten] + t.states[index.FileShown] + t.states[index.FileSame] + t.states[index.FileUndone]
	bad := t.states[index.FileSkipped] + t.states[index.FileNotSupported] + t.states[index.FileFailed]
	if !t.asJSON {
		var parts []string
		for _, state := range []string{
			index.FileWritten, index.FileShown, index.FileUndone, index.FileSame, index.FileNothing, index.FileSkipped, index.FileNotSupported, index.FileFailed,
		} {
			if n := t.states[state]; n > 0 {
				parts = append(parts, fmt.Sprintf("%d %s", n, strings.ReplaceAll(state, "_", " ")))
			}
		}
		t.printf("%s\n", strings.Join(parts, ", "))
	}
	switch {
	case err != nil:
		return err
	case bad == 0:
		return nil
	case good == 0:
		return errSilent
	}
	return errPartial
}
