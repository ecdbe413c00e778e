//! The adapters without AWS: in-process queue, directory store, in-memory table.
