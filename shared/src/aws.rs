//! The adapters for AWS, and the only place that builds SDK configuration and clients.
