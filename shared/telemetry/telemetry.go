package telemetry

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/prometheus/otlptranslator"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/exporters/otlp/otlpmetric/otlpmetrichttp"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	otelprom "go.opentelemetry.io/otel/exporters/prometheus"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
)

// Spans leave the process at least this often, so that a trace can be looked at while its job runs.
const batchTimeout = time.Second

// Config says where telemetry goes.
type Config struct {
	// Service and Version become service.name and service.version.
	Service, Version string
	// OTLPEndpoint is the base URL of an OTLP collector over HTTP, e.g. http://collector:4318; traces
	// go to its /v1/traces, metrics to its /v1/metrics. Empty: nothing is sent.
	OTLPEndpoint string
	// OTLPTracesEndpoint is a full URL for traces alone and comes before OTLPEndpoint.
	OTLPTracesEndpoint string
	// Spans also takes this process's spans, each as it ends; nil for none.
	Spans sdktrace.SpanExporter
	// LogLevel is debug, info, warn or error; empty means info.
	LogLevel string
	// LogFormat is LogText or LogJSON; empty means LogText.
	LogFormat string
	// LogOutput is where logs go; nil means standard error.
	LogOutput io.Writer
}

// Telemetry is a process's running telemetry.
type Telemetry struct {
	// Log is the process's logger.
	Log      *slog.Logger
	registry *prometheus.Registry
}

// Start makes the global tracer and meter providers, the W3C propagator and a logger. The function
// returned flushes and stops them; it must be called once, with a context that bounds it.
func Start(ctx context.Context, cfg Config) (*Telemetry, func(context.Context) error, error) {
	log, err := NewLogger(logOutput(cfg), cmp.Or(cfg.LogFormat, LogText), cmp.Or(cfg.LogLevel, "info"))
	if err != nil {
		return nil, nil, err
	}
	res, err := newResource(ctx, cfg)
	if err != nil {
		return nil, nil, err
	}
	registry := prometheus.NewRegistry()
	traces, err := newTracerProvider(ctx, cfg, res)
	if err != nil {
		return nil, nil, err
	}
	metrics, err := newMeterProvider(ctx, cfg, res, registry)
	if err != nil {
		return nil, nil, errors.Join(err, traces.Shutdown(ctx))
	}
	otel.SetErrorHandler(newErrorHandler(log))
	otel.SetTextMapPropagator(propagator)
	otel.SetTracerProvider(traces)
	otel.SetMeterProvider(metrics)
	stop := func(ctx context.Context) error {
		return errors.Join(traces.Shutdown(ctx), metrics.Shutdown(ctx))
	}
	return &Telemetry{Log: log, registry: registry}, stop, nil
}

// MetricsHandler serves the process's metrics as Prometheus text, and as OpenMetrics with exemplars, which lead from a measurement to the trace
// that it was made in, to a server that asks for it.
func (t *Telemetry) MetricsHandler() http.Handler {
	return promhttp.HandlerFor(t.registry, promhttp.HandlerOpts{
		MaxRequestsInFlight: 4, Timeout: 10 * time.Second, EnableOpenMetrics: true,
	})
}

func newResource(ctx context.Context, cfg Config) (*resource.Resource, error) {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	res, err := resource.New(ctx, resource.WithTelemetrySDK(), resource.WithAttributes(
		semconv.ServiceName(cfg.Service), semconv.ServiceVersion(cfg.Version),
		semconv.ServiceNamespace("larkstream"),
		semconv.ServiceInstanceID(fmt.Sprintf("%s-%d", host, os.Getpid())),
	), resource.WithFromEnv())
	if err != nil {
		return nil, fmt.Errorf("describing the process: %w", err)
	}
	return res, nil
}

func newTracerProvider(ctx context.Context, cfg Config, res *resource.Resource) (*sdktrace.TracerProvider, error) {
	limits := sdktrace.NewSpanLimits()
	limits.AttributeValueLengthLimit = 1024
	opts := []sdktrace.TracerProviderOption{sdktrace.WithResource(res), sdktrace.WithRawSpanLimits(limits), sdktrace.WithIDGenerator(ids{})}
	if cfg.Spans != nil {
		opts = append(opts, sdktrace.WithSpanProcessor(sdktrace.NewSimpleSpanProcessor(cfg.Spans)))
	}
	if url := tracesURL(cfg); url != "" {
		exporter, err := otlptracehttp.New(ctx, otlptracehttp.WithEndpointURL(url),
			otlptracehttp.WithCompression(otlptracehttp.GzipCompression))
		if err != nil {
			return nil, fmt.Errorf("opening the trace exporter: %w", err)
		}
		opts = append(opts, sdktrace.WithSpanProcessor(sdktrace.NewBatchSpanProcessor(exporter, sdktrace.WithBatchTimeout(batchTimeout))))
	}
	return sdktrace.NewTracerProvider(opts...), nil
}

func newMeterProvider(ctx context.Context, cfg Config, res *resource.Resource, registry *prometheus.Registry) (*sdkmetric.MeterProvider, error) {
	for _, c := range []prometheus.Collector{
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	} {
		if err := registry.Register(c); err != nil {
			return nil, fmt.Errorf("registering process metrics: %w", err)
		}
	}
	prom, err := otelprom.New(otelprom.WithRegisterer(registry), otelprom.WithoutScopeInfo(),
		otelprom.WithTranslationStrategy(otlptranslator.UnderscoreEscapingWithSuffixes))
	if err != nil {
		return nil, fmt.Errorf("opening the Prometheus exporter: %w", err)
	}
	opts := []sdkmetric.Option{sdkmetric.WithResource(res), sdkmetric.WithReader(prom)}
	if cfg.OTLPEndpoint != "" {
		exporter, err := otlpmetrichttp.New(ctx, otlpmetrichttp.WithEndpointURL(join(cfg.OTLPEndpoint, "/v1/metrics")),
			otlpmetrichttp.WithCompression(otlpmetrichttp.GzipCompression))
		if err != nil {
			return nil, fmt.Errorf("opening the metric exporter: %w", err)
		}
		opts = append(opts, sdkmetric.WithReader(sdkmetric.NewPeriodicReader(exporter)))
	}
	return sdkmetric.NewMeterProvider(opts...), nil
}
