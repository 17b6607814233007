package config

import (
	"fmt"
	"reflect"
	"strings"
	"time"

	"github.com/spf13/pflag"
)

// printHelp writes the help text and returns ErrDone.
func printHelp(opts Options, fields []field, flags *pflag.FlagSet) error {
	var b strings.Builder
	if opts.Summary != "" {
		fmt.Fprintf(&b, "%s\n\n", opts.Summary)
	}
	fmt.Fprintf(&b, "Usage:\n  %s [flags]\n\n", opts.Name)
	if len(opts.Examples) > 0 {
		fmt.Fprintf(&b, "Examples:\n  %s\n\n", strings.Join(opts.Examples, "\n  "))
	}
	fmt.Fprintf(&b, "Flags:\n%s\n", flags.FlagUsagesWrapped(110))
	b.WriteString("Each setting is read from its default, the YAML file, the environment and its flag, in that order.\n")
	b.WriteString("Keys of the YAML file and variables of the environment:\n")
	width := 0
	for _, f := range fields {
		width = max(width, len(f.path))
	}
	for _, f := range fields {
		fmt.Fprintln(&b, strings.TrimRight(fmt.Sprintf("  %-*s  %s", width, f.path, f.env), " "))
	}
	if _, err := fmt.Fprint(opts.Out, b.String()); err != nil {
		return fmt.Errorf("printing help: %w", err)
	}
	return ErrDone
}

func helpText(f field) string {
	if f.env == "" {
		return f.help
	}
	return strings.TrimSpace(f.help + " (" + f.env + ")")
}

// initialText is a field's value before any source is read, for the help text. Secrets print nothing.
func initialText(f field) string {
	if _, secret := f.value.Interface().(Secret); secret {
		return ""
	}
	if f.value.IsZero() {
		return f.def
	}
	if f.value.Kind() == reflect.Slice {
		return strings.Trim(fmt.Sprint(f.value.Interface()), "[]")
	}
	return fmt.Sprint(f.value.Interface())
}

// kindOf names a setting's type for the help text.
func kindOf(v reflect.Value) string {
	switch {
	case v.Type() == durationType:
		return "duration"
	case v.Type() == reflect.TypeFor[[]time.Duration]():
		return "durations"
	case v.Kind() == reflect.Slice:
		return "list"
	case isText(v), v.Kind() == reflect.String:
		return "string"
	}
	return v.Kind().String()
}
