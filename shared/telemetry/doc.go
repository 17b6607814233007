// Package telemetry sets up OpenTelemetry and slog, and holds the name of every span, metric and attribute of the system.
// Every process calls Start once; all other packages use OpenTelemetry's API, the names in names.go, and the metric sets
// here. No other package imports the OpenTelemetry SDK.
//
// Promises: telemetry never stops or delays work, whatever its collector does. Without a collector the metrics are still
// served at /metrics. Neither logs nor spans carry payloads or secrets.
package telemetry
