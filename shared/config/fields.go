package config

import (
	"encoding"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"time"
)

// field is one setting: a leaf of the configuration struct.
type field struct {
	path  string // as in YAML, parts joined by dots
	env   string // "" for none
	flag  string // "" for none
	def   string // the default tag
	help  string
	value reflect.Value
}

// fieldsOf lists the leaves of a pointer to struct in order of declaration.
func fieldsOf(dst any, envPrefix string) ([]field, error) {
	v := reflect.ValueOf(dst)
	if v.Kind() != reflect.Pointer || v.IsNil() || v.Elem().Kind() != reflect.Struct {
		return nil, fmt.Errorf("loading configuration: %T is not a pointer to a struct", dst)
	}
	w := walker{envPrefix: envPrefix, flags: map[string]string{}, envs: map[string]string{}}
	if err := w.walk(v.Elem(), nil); err != nil {
		return nil, err
	}
	return w.fields, nil
}

type walker struct {
	envPrefix   string
	fields      []field
	flags, envs map[string]string // name -> path, against two fields of one name
}

func (w *walker) walk(v reflect.Value, path []string) error {
	for i := range v.NumField() {
		sf := v.Type().Field(i)
		name, inline := yamlName(sf)
		if !sf.IsExported() || name == "-" {
			continue
		}
		at := path
		if !inline {
			at = append(path[:len(path):len(path)], name)
		}
		fv := v.Field(i)
		if fv.Kind() == reflect.Struct && !isText(fv) {
			if err := w.walk(fv, at); err != nil {
				return err
			}
			continue
		}
		if err := w.leaf(sf, fv, at); err != nil {
			return err
		}
	}
	return nil
}

func (w *walker) leaf(sf reflect.StructField, v reflect.Value, at []string) error {
	f := field{
		path: strings.Join(at, "."), def: sf.Tag.Get("default"), help: sf.Tag.Get("help"), value: v,
		env:  tagOr(sf, "env", w.envPrefix+strings.ToUpper(strings.Join(at, "_"))),
		flag: tagOr(sf, "flag", strings.ReplaceAll(strings.Join(at, "-"), "_", "-")),
	}
	if !settable(v) {
		return fmt.Errorf("loading configuration: %s: type %s is not supported", f.path, v.Type())
	}
	if other, ok := w.flags[f.flag]; ok && f.flag != "" {
		return fmt.Errorf("loading configuration: %s and %s share the flag --%s", other, f.path, f.flag)
	}
	if other, ok := w.envs[f.env]; ok && f.env != "" {
		return fmt.Errorf("loading configuration: %s and %s share the variable %s", other, f.path, f.env)
	}
	w.flags[f.flag], w.envs[f.env] = f.path, f.path
	w.fields = append(w.fields, f)
	return nil
}

// yamlName returns the key of a struct field as the YAML package sees it.
func yamlName(sf reflect.StructField) (name string, inline bool) {
	name, opts, _ := strings.Cut(sf.Tag.Get("yaml"), ",")
	if strings.Contains(opts, "inline") {
		return "", true
	}
	if name == "" {
		name = strings.ToLower(sf.Name)
	}
	return name, false
}

// tagOr returns a tag's value, "" where it is "-", or the fallback where there is no tag.
func tagOr(sf reflect.StructField, tag, fallback string) string {
	switch v, ok := sf.Tag.Lookup(tag); {
	case v == "-":
		return ""
	case ok:
		return v
	}
	return fallback
}

func isText(v reflect.Value) bool {
	_, ok := v.Addr().Interface().(encoding.TextUnmarshaler)
	return ok
}

var durationType = reflect.TypeFor[time.Duration]()

func settable(v reflect.Value) bool {
	if isText(v) {
		return true
	}
	switch v.Kind() {
	case reflect.String, reflect.Bool, reflect.Int, reflect.Int32, reflect.Int64, reflect.Uint, reflect.Uint32, reflect.Uint64,
		reflect.Float32, reflect.Float64:
		return true
	case reflect.Slice:
		return settable(reflect.New(v.Type().Elem()).Elem())
	}
	return false
}

// set parses text into v; lists are separated by commas.
func set(v reflect.Value, text string) error {
	if isText(v) {
		return v.Addr().Interface().(encoding.TextUnmarshaler).UnmarshalText([]byte(text))
	}
	switch {
	case v.Type() == durationType:
		d, err := time.ParseDuration(text)
		if err != nil {
			return fmt.Errorf("%q is not a duration such as 10s or 5m", text)
		}
		v.SetInt(int64(d))
		return nil
	case v.Kind() == reflect.Slice:
		return setList(v, text)
	}
	return setScalar(v, text)
}

func setScalar(v reflect.Value, text string) error {
	bits := 0
	if v.CanInt() || v.CanUint() || v.CanFloat() {
		bits = v.Type().Bits()
	}
	switch {
	case v.Kind() == reflect.String:
		v.SetString(text)
	case v.Kind() == reflect.Bool:
		b, err := strconv.ParseBool(text)
		if err != nil {
			return fmt.Errorf("%q is neither true nor false", text)
		}
		v.SetBool(b)
	case v.CanInt():
		n, err := strconv.ParseInt(text, 0, bits)
		if err != nil {
			return fmt.Errorf("%q is not a whole number in range", text)
		}
		v.SetInt(n)
	case v.CanUint():
		n, err := strconv.ParseUint(text, 0, bits)
		if err != nil {
			return fmt.Errorf("%q is not a whole number from 0 in range", text)
		}
		v.SetUint(n)
	case v.CanFloat():
		n, err := strconv.ParseFloat(text, bits)
		if err != nil {
			return fmt.Errorf("%q is not a number", text)
		}
		v.SetFloat(n)
	}
	return nil
}

func setList(v reflect.Value, text string) error {
	out := reflect.MakeSlice(v.Type(), 0, 0)
	for part := range strings.SplitSeq(text, ",") {
		part = strings.TrimSpace(part)
		if part == "" {
			continue
		}
		item := reflect.New(v.Type().Elem()).Elem()
		if err := set(item, part); err != nil {
			return err
		}
		out = reflect.Append(out, item)
	}
	v.Set(out)
	return nil
}
