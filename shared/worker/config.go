package worker

import (
	"errors"
	"fmt"

	"github.com/larkstream/larkstream/engine/tensor"
	"github.com/larkstream/larkstream/shared/service"
)

// Validate reports all faults of the settings that every stage has, joined.
func Validate(c service.Common) error {
	faults := []error{c.Validate()}
	if _, err := tensor.ParsePrecision(c.EncoderPrecision); c.EncoderPrecision != "" && err != nil {
		faults = append(faults, fmt.Errorf("encoder_precision: %w", err))
	}
	return errors.Join(faults...)
}
