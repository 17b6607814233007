package cli

import (
	"fmt"
	"io"
)

// output is standard output. It remembers the first error of writing, so that a command whose output was lost does not end as if it had been read.
type output struct {
	io.Writer
	err error
}

func (o *output) Write(p []byte) (int, error) {
	if o.err != nil {
		return 0, o.err
	}
	n, err := o.Writer.Write(p)
	if err != nil {
		o.err = fmt.Errorf("writing standard output: %w", err)
	}
	return n, o.err
}
