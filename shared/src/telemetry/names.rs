//! The names of what is logged, traced and measured. OpenTelemetry still marks its own as "Development", so they are
//! all here.
//!
//! Source: OpenTelemetry semantic conventions 1.43, "Messaging", "AWS SDK" and "Metrics"; ours begin with `dynamend.`.

/// Fields of log lines and spans.
pub mod field {
    /// The job.
    pub const JOB_ID: &str = "dynamend.job.id";
    /// The pass of a job over its tables.
    pub const PASS: &str = "dynamend.pass";
    /// The command of the coordinator.
    pub const COMMAND: &str = "dynamend.command";
    /// What came of a unit.
    pub const OUTCOME: &str = "dynamend.outcome";
    /// Items compared.
    pub const ITEMS_COMPARED: &str = "dynamend.items.compared";
    /// Discrepancies found.
    pub const DISCREPANCIES: &str = "dynamend.discrepancies";
    /// The worker that owns a lease.
    pub const WORKER_ID: &str = "dynamend.worker.id";
    /// The segment of a parallel scan.
    pub const SEGMENT: &str = "aws.dynamodb.segment";
    /// Of how many.
    pub const TOTAL_SEGMENTS: &str = "aws.dynamodb.total_segments";
    /// The tables of a request.
    pub const TABLE_NAMES: &str = "aws.dynamodb.table_names";
    /// Capacity units that a request consumed.
    pub const CONSUMED_CAPACITY: &str = "aws.dynamodb.consumed_capacity";
    /// The request, as AWS knows it.
    pub const REQUEST_ID: &str = "aws.request_id";
    /// The region.
    pub const REGION: &str = "cloud.region";
    /// The service of a queue.
    pub const QUEUE_SYSTEM: &str = "messaging.system";
    /// The queue.
    pub const QUEUE: &str = "messaging.destination.name";
    /// What is done with a message: `send`, `receive`, `process` or `settle`.
    pub const QUEUE_OPERATION: &str = "messaging.operation.name";
    /// The same, in the words of the conventions.
    pub const QUEUE_OPERATION_TYPE: &str = "messaging.operation.type";
    /// Messages of one request.
    pub const BATCH_COUNT: &str = "messaging.batch.message_count";
    /// What went wrong, by kind.
    pub const ERROR_TYPE: &str = "error.type";
    /// A span's name, where it is not the one in the code.
    pub const SPAN_NAME: &str = "otel.name";
    /// A span's kind: `producer` or `consumer`.
    pub const SPAN_KIND: &str = "otel.kind";
    /// A span's status: `error`.
    pub const SPAN_STATUS: &str = "otel.status_code";
}

/// Metrics.
pub mod metric {
    /// Items read by scans, by table.
    pub const ITEMS_SCANNED: &str = "dynamend.items.scanned";
    /// Items of the master held against a slave, by slave.
    pub const ITEMS_COMPARED: &str = "dynamend.items.compared";
    /// Discrepancies as they are found, by slave and kind; one that heals before its repair stays counted.
    pub const DISCREPANCIES: &str = "dynamend.discrepancies";
    /// What came of repairs and other writes, by slave and outcome.
    pub const REPAIRS: &str = "dynamend.repairs";
    /// Units of work that ended or were given back, by outcome.
    pub const UNITS: &str = "dynamend.units";
    /// Requests for pages and batches, by table and operation.
    pub const PAGES: &str = "dynamend.pages";
    /// Requests that were tried again, by operation and by what was wrong.
    pub const RETRIES: &str = "dynamend.retries";
    /// Requests that a service throttled, by operation and reason.
    pub const THROTTLES: &str = "dynamend.throttles";
    /// Capacity units consumed, by table and direction.
    pub const CONSUMED: &str = "dynamend.capacity.consumed";
    /// How far a followed shard is behind, by table.
    pub const STREAM_LAG: &str = "dynamend.stream.lag";
    /// How long units were worked on, by outcome.
    pub const PROCESS_DURATION: &str = "messaging.process.duration";
}

/// Attributes of metrics. Each of their values is one time series more, so none of them is a job, a segment or a key.
pub mod attribute {
    /// The table, as commands take it.
    pub const TABLE: &str = "dynamend.table";
    /// The kind of a discrepancy.
    pub const KIND: &str = "dynamend.discrepancy.kind";
    /// Reading or writing.
    pub const DIRECTION: &str = "dynamend.capacity.direction";
    /// Why a service throttled, in its own words.
    pub const REASON: &str = "dynamend.throttle.reason";
    /// The operation of a service.
    pub const OPERATION: &str = "rpc.method";
}
