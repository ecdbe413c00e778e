//! Logs and traces: the subscriber, OpenTelemetry export, and the field names.
