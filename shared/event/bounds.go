package event

import (
	"fmt"
	"math"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

const (
	// maxUnixMs is the start of the year 2100. Times beyond it come of a fault, and JSON has no form for years beyond 9999.
	maxUnixMs = 4_102_444_800_000
	// maxNumber bounds seconds, milliseconds and every other number with a fraction: it is 30,000 years in milliseconds, far more than from 1970 to 2100.
	maxNumber = 1e15
	// timeSuffix ends the names of all fields that hold a time.
	timeSuffix = "_unix_ms"
)

// validateNumbers refuses numbers that no view can show, in every field of a message and of the messages in it: NaN and infinity have no form in
// JSON, nor have times beyond the year 9999. One such record would make each list fail that its job stands in. The rule follows the
// kinds and names of fields, so that it holds for new fields too.
func validateNumbers(msg proto.Message) error { return numbersOf(msg.ProtoReflect()) }

func numbersOf(m protoreflect.Message) (err error) {
	m.Range(func(field protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch {
		case field.IsList():
			for i := 0; i < v.List().Len() && err == nil; i++ {
				err = checkNumber(field, v.List().Get(i))
			}
		case field.IsMap():
			v.Map().Range(func(_ protoreflect.MapKey, v protoreflect.Value) bool {
				err = checkNumber(field.MapValue(), v)
				return err == nil
			})
		default:
			err = checkNumber(field, v)
		}
		return err == nil
	})
	return err
}

func checkNumber(field protoreflect.FieldDescriptor, v protoreflect.Value) error {
	switch field.Kind() {
	case protoreflect.MessageKind:
		return numbersOf(v.Message())
	case protoreflect.DoubleKind, protoreflect.FloatKind:
		if n := v.Float(); math.IsNaN(n) || math.Abs(n) > maxNumber {
			return fmt.Errorf("%s %g is not a number below %g", field.Name(), n, maxNumber)
		}
	case protoreflect.Int64Kind:
		n := v.Int()
		if strings.HasSuffix(string(field.Name()), timeSuffix) && (n < 0 || n > maxUnixMs) {
			return fmt.Errorf("%s %d is not a time between 1970 and 2100", field.Name(), n)
		}
		if n < 0 {
			return fmt.Errorf("%s %d is below 0", field.Name(), n)
		}
	}
	return nil
}
