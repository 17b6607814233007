package worker_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/larkstream/larkstream/shared/service"
	"github.com/larkstream/larkstream/shared/worker"
)

func TestValidateReportsAllFaults(t *testing.T) {
	t.Parallel()
	err := worker.Validate(service.Common{HTTPAddr: "x", EncoderPrecision: "fp8"})
	require.ErrorContains(t, err, "http_addr:")
	require.ErrorContains(t, err, `encoder_precision: precision "fp8" is not one of`)
}
