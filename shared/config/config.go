package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v3"
)

// A configuration file larger than this is refused.
const maxFile = 1 << 20

// ErrDone is returned after --help or --validate: Load has answered, and there is nothing to run. It is a success.
var ErrDone = errors.New("done")

// Options say where Load reads from.
type Options struct {
	// Name of the program, for the help text.
	Name string
	// Summary is one line on what the program does, for the help text.
	Summary string
	// Examples are command lines for the help text, one each.
	Examples []string
	// File is the YAML file to read where --config does not name one; empty for none.
	File string
	// EnvPrefix stands before the names of derived environment variables, e.g. LARK_ENCODER_.
	EnvPrefix string
	// Args are the command line's arguments without the program's name.
	Args []string
	// Rest takes positional arguments; where it is nil they are a fault.
	Rest *[]string
	// LookupEnv reads the environment; nil means os.LookupEnv.
	LookupEnv func(string) (string, bool)
	// Out takes the help text; nil means standard output.
	Out io.Writer
}

// Validator is implemented by configurations (and parts of them) that can check themselves. Validate
// reports all faults, joined, and changes nothing.
type Validator interface{ Validate() error }

// Load fills dst, a pointer to struct. The error joins all faults found, each with the path of its
// setting. ErrDone means that --help or --validate was asked for and answered.
func Load(dst any, opts Options) error {
	if opts.LookupEnv == nil {
		opts.LookupEnv = os.LookupEnv
	}
	if opts.Out == nil {
		opts.Out = os.Stdout
	}
	fields, err := fieldsOf(dst, opts.EnvPrefix)
	if err != nil {
		return err
	}
	flags := newFlags(fields, opts)
	if err := flags.parse(opts); err != nil {
		return fmt.Errorf("reading flags: %w", err)
	}
	if flags.help {
		return printHelp(opts, fields, flags.set)
	}
	faults := errors.Join(applyDefaults(fields), readFile(dst, flags.file), applyEnv(fields, opts.LookupEnv), flags.apply())
	if faults == nil {
		faults = validate(dst)
	}
	if faults == nil && flags.validate {
		fmt.Fprintln(opts.Out, "configuration is valid")
		return ErrDone
	}
	return faults
}

// Defaults sets the fields of dst, a pointer to struct, that are zero and have a default tag.
func Defaults(dst any) error {
	fields, err := fieldsOf(dst, "")
	if err != nil {
		return err
	}
	return applyDefaults(fields)
}

func applyDefaults(fields []field) error {
	var faults []error
	for _, f := range fields {
		if f.def == "" || !f.value.IsZero() {
			continue
		}
		if err := set(f.value, f.def); err != nil {
			faults = append(faults, fmt.Errorf("%s: default: %w", f.path, err))
		}
	}
	return errors.Join(faults...)
}

func applyEnv(fields []field, lookup func(string) (string, bool)) error {
	var faults []error
	for _, f := range fields {
		text, ok := lookup(f.env)
		if f.env == "" || !ok || text == "" {
			continue
		}
		if err := set(f.value, text); err != nil {
			faults = append(faults, fmt.Errorf("%s: variable %s: %w", f.path, f.env, hide(f, err)))
		}
	}
	return errors.Join(faults...)
}

// readFile decodes a YAML file strictly: unknown and repeated keys are faults.
func readFile(dst any, path string) error {
	if path == "" {
		return nil
	}
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("opening configuration file: %w", err)
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	switch {
	case err != nil:
		return fmt.Errorf("reading configuration file: %w", err)
	case len(raw) > maxFile:
		return fmt.Errorf("reading configuration file: %s is over %d bytes", path, maxFile)
	}
	return decode(dst, path, raw)
}

func decode(dst any, path string, raw []byte) error {
	d := yaml.NewDecoder(bytes.NewReader(raw))
	d.KnownFields(true)
	err := d.Decode(dst)
	var typed *yaml.TypeError
	switch {
	case errors.Is(err, io.EOF): // nothing but comments
		return nil
	case errors.As(err, &typed):
		faults := make([]error, len(typed.Errors))
		for i, text := range typed.Errors {
			faults[i] = fmt.Errorf("%s: %s", path, text)
		}
		return errors.Join(faults...)
	case err != nil:
		return fmt.Errorf("%s: %w", path, err)
	}
	if err := d.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		return fmt.Errorf("%s: more than one YAML document", path)
	}
	return nil
}

func validate(dst any) error {
	if v, ok := dst.(Validator); ok {
		return v.Validate()
	}
	return nil
}

// hide keeps a secret's text out of an error about it.
func hide(f field, err error) error {
	if _, secret := f.value.Interface().(Secret); secret {
		return errors.New("not readable")
	}
	return err
}

// flagSet is the command line: settings as texts, kept until file and environment have been read.
type flagSet struct {
	set            *pflag.FlagSet
	fields         []field
	values         []*flagValue
	file           string
	help, validate bool
}

// flagValue is a pflag value that only remembers its text.
type flagValue struct {
	text    string
	kind    string
	given   bool
	initial string
}

func (v *flagValue) String() string     { return v.initial }
func (v *flagValue) Set(s string) error { v.text, v.given = s, true; return nil }
func (v *flagValue) Type() string       { return v.kind }

func newFlags(fields []field, opts Options) *flagSet {
	fs := &flagSet{set: pflag.NewFlagSet(opts.Name, pflag.ContinueOnError), fields: fields}
	fs.set.SetOutput(io.Discard)
	fs.set.SortFlags = false
	fs.set.Usage = func() {}
	fs.set.StringVar(&fs.file, "config", opts.File, "YAML file to read")
	fs.set.BoolVar(&fs.validate, "validate", false, "check the configuration and exit")
	fs.set.BoolVarP(&fs.help, "help", "h", false, "print this text and exit")
	for _, f := range fields {
		v := &flagValue{kind: kindOf(f.value), initial: initialText(f)}
		fs.values = append(fs.values, v)
		if f.flag == "" {
			continue
		}
		flag := fs.set.VarPF(v, f.flag, "", helpText(f))
		if v.kind == "bool" {
			flag.NoOptDefVal = "true"
		}
	}
	return fs
}

func (fs *flagSet) parse(opts Options) error {
	if err := fs.set.Parse(opts.Args); err != nil {
		return err
	}
	if opts.Rest != nil {
		*opts.Rest = fs.set.Args()
		return nil
	}
	if fs.set.NArg() > 0 && !fs.help {
		return fmt.Errorf("unexpected argument %q", fs.set.Arg(0))
	}
	return nil
}

func (fs *flagSet) apply() error {
	var faults []error
	for i, v := range fs.values {
		if !v.given {
			continue
		}
		if err := set(fs.fields[i].value, v.text); err != nil {
			faults = append(faults, fmt.Errorf("%s: flag --%s: %w", fs.fields[i].path, fs.fields[i].flag, hide(fs.fields[i], err)))
		}
	}
	return errors.Join(faults...)
}
