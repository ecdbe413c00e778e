//! The adapters without AWS: in-process queue, directory store, and a table and a store in memory.
//!
//! The queue and the directory store carry embedded jobs; the table and the store in memory are for tests. All pass
//! the contract suites of their ports, as the AWS adapters do.

pub mod directory;
pub mod memory;
pub mod queue;
pub mod table;
