//! The adapters without AWS: in-process queue, directory store, and a table, a store and a stream in memory.
//!
//! The queue and the directory store carry embedded jobs; what is in memory is for tests. All pass
//! the contract suites of their ports, as the AWS adapters do.

pub mod directory;
pub mod memory;
pub mod queue;
pub mod stream;
pub mod table;
