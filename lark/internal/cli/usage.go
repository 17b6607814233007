package cli

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// completeDefaults adds cobra's own commands, help and completion, now rather than at the start of the run, so that the rules of usage hold for
// them too.
func completeDefaults(root *cobra.Command) {
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	for _, cmd := range root.Commands() {
		switch cmd.Name() {
		case "help":
			cmd.Example = "  lark help ask\n  lark help model import"
			cmd.Args = knownTopic
		case "completion":
			cmd.Example = "  lark completion bash > ~/.local/share/bash-completion/completions/lark"
			for _, shell := range cmd.Commands() {
				shell.Example = "  lark completion " + shell.Name()
			}
		}
	}
}

// knownSubcommand refuses the arguments of a command that only groups others: the first one names no subcommand.
func knownSubcommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	if cmd.SuggestionsMinimumDistance <= 0 {
		cmd.SuggestionsMinimumDistance = 2
	}
	if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
		return fmt.Errorf("%s has no subcommand %.40q: is it %s?", cmd.CommandPath(), args[0], strings.Join(near, " or "))
	}
	return fmt.Errorf("%s has no subcommand %.40q: %s --help lists them", cmd.CommandPath(), args[0], cmd.CommandPath())
}

// knownTopic refuses lark help of a command that is not there.
func knownTopic(cmd *cobra.Command, args []string) error {
	found, rest, err := cmd.Root().Find(args)
	if err != nil {
		return err
	}
	if found.HasSubCommands() {
		return knownSubcommand(found, rest)
	}
	return nil
}

// noEmptyFlags refuses a place that was named by an empty string, such as --data "$UNSET": the default would be another place than the caller means.
func noEmptyFlags(cmd *cobra.Command, _ []string) error {
	var faults []error
	cmd.Flags().Visit(func(f *pflag.Flag) {
		switch f.Name {
		case "data", "server", "model":
			if f.Value.String() == "" {
				faults = append(faults, fmt.Errorf("--%s is empty: name a value, or leave the flag out for the default", f.Name))
			}
		}
	})
	return usage(errors.Join(faults...))
}
