package event_test

import (
	"encoding/json"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/larkstream/larkstream/shared/event"
)

// Every time and every number with a fraction, wherever it stands in a record, is refused when no view could show it.
func TestNumbersThatNoViewCanShowAreRefused(t *testing.T) {
	t.Parallel()
	year10000 := time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC)
	_, err := json.Marshal(year10000)
	require.Error(t, err, "this is why")
	spoiled := 0
	for name, msg := range samples() {
		for path, spoil := range spoilers(msg.ProtoReflect(), nil) {
			for _, value := range []float64{math.NaN(), math.Inf(1), math.Inf(-1), 1e16, float64(year10000.UnixMilli()), -1} {
				bad := proto.Clone(msg)
				if !spoil(bad.ProtoReflect(), value) {
					continue
				}
				spoiled++
				require.Error(t, event.Validate(bad), "%s %s %g", name, path, value)
			}
		}
		require.NoError(t, event.Validate(msg), name)
	}
	require.Greater(t, spoiled, 100)
}

type spoiler func(m protoreflect.Message, value float64) bool

// spoilers are functions that set one time or number of a message each, by the path of the field.
func spoilers(m protoreflect.Message, path []protoreflect.FieldDescriptor) map[string]spoiler {
	out := map[string]spoiler{}
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		f := fields.Get(i)
		here := append(append([]protoreflect.FieldDescriptor{}, path...), f)
		switch {
		case f.Kind() == protoreflect.MessageKind && m.Has(f) && !f.IsList() && !f.IsMap():
			for p, s := range spoilers(m.Get(f).Message(), here) {
				out[p] = s
			}
		case f.Kind() == protoreflect.DoubleKind, f.Kind() == protoreflect.FloatKind, f.Kind() == protoreflect.Int64Kind:
			var names []string
			for _, step := range here {
				names = append(names, string(step.Name()))
			}
			out[strings.Join(names, ".")] = setAt(here)
		}
	}
	return out
}

func setAt(path []protoreflect.FieldDescriptor) spoiler {
	return func(m protoreflect.Message, value float64) bool {
		for _, step := range path[:len(path)-1] {
			m = m.Mutable(step).Message()
		}
		field := path[len(path)-1]
		switch field.Kind() {
		case protoreflect.DoubleKind:
			m.Set(field, protoreflect.ValueOfFloat64(value))
			return value != -1 && value != 253402300800000 // a number may be below 0, and as large as a time
		case protoreflect.FloatKind:
			m.Set(field, protoreflect.ValueOfFloat32(float32(value)))
			return true // those of Decode
		}
		m.Set(field, protoreflect.ValueOfInt64(int64(value)))
		return value == -1 || (value == 253402300800000 && strings.HasSuffix(string(field.Name()), "_unix_ms"))
	}
}

// A job that names 1970 as its time took half a century: its questions end all the same.
func TestOutcomesOfAnOldJobCanBeEncoded(t *testing.T) {
	t.Parallel()
	old := task()
	old.CreatedUnixMs = 1
	require.NoError(t, event.Validate(event.FailedOutcome(old, old.GetQuestions()[0], event.Failure{Code: event.CodeInternal})))
}
