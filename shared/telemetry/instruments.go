package telemetry

import (
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/metric/noop"
)

// Bucket bounds in seconds: a hop over the embedded broker takes a millisecond, a 7B decode a minute.
var secondsBounds = []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300}

// Bucket bounds of engine seconds per second of audio; 1 is real time.
var costBounds = []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2, 5, 10, 50}

// Bucket bounds of tokens, in one answer or in one second.
var tokenBounds = []float64{1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000}

// instruments makes instruments of the global meter provider. A name that the SDK refuses is reported
// to the OpenTelemetry error handler and its instrument records nothing: telemetry never stops work.
type instruments struct{ meter metric.Meter }

func newInstruments() instruments { return instruments{meter: otel.Meter(ScopeName)} }

func (i instruments) counter(name, unit, help string) metric.Int64Counter {
	c, err := i.meter.Int64Counter(name, metric.WithUnit(unit), metric.WithDescription(help))
	if err != nil {
		otel.Handle(err)
		return noop.Int64Counter{}
	}
	return c
}

func (i instruments) seconds(name, help string) metric.Float64Counter {
	c, err := i.meter.Float64Counter(name, metric.WithUnit(unitSeconds), metric.WithDescription(help))
	if err != nil {
		otel.Handle(err)
		return noop.Float64Counter{}
	}
	return c
}

func (i instruments) upDown(name, unit, help string) metric.Int64UpDownCounter {
	c, err := i.meter.Int64UpDownCounter(name, metric.WithUnit(unit), metric.WithDescription(help))
	if err != nil {
		otel.Handle(err)
		return noop.Int64UpDownCounter{}
	}
	return c
}

func (i instruments) gauge(name, unit, help string) metric.Float64Gauge {
	g, err := i.meter.Float64Gauge(name, metric.WithUnit(unit), metric.WithDescription(help))
	if err != nil {
		otel.Handle(err)
		return noop.Float64Gauge{}
	}
	return g
}

func (i instruments) histogram(name, unit, help string, bounds []float64) metric.Float64Histogram {
	h, err := i.meter.Float64Histogram(name, metric.WithUnit(unit), metric.WithDescription(help),
		metric.WithExplicitBucketBoundaries(bounds...))
	if err != nil {
		otel.Handle(err)
		return noop.Float64Histogram{}
	}
	return h
}

func (i instruments) observed(name, unit, help string) metric.Float64ObservableGauge {
	g, err := i.meter.Float64ObservableGauge(name, metric.WithUnit(unit), metric.WithDescription(help))
	if err != nil {
		otel.Handle(err)
		return noop.Float64ObservableGauge{}
	}
	return g
}
