//go:build !unix

package bench

import "errors"

func processorSeconds() (float64, error) {
	return 0, errors.New("reading the processor time: it is not known how on this system")
}
