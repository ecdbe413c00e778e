//! The contract suites: what every adapter of a port must do, as reusable tests.
//!
//! Each suite is a set of clauses, one function for each promise of the trait's docs, and one function that holds an
//! adapter to all of them. A clause gets an adapter with nothing in it and panics where a promise is broken. They run
//! against fakes and the real services alike: nothing here waits but through what the caller hands in.

pub mod definition;
pub mod objects;
pub mod queue;
pub mod stream;
pub mod table;
pub mod versions;

pub use definition::definition;
pub use objects::objects;
pub use queue::queue;
pub use stream::stream;
pub use table::table;
pub use versions::versions;
