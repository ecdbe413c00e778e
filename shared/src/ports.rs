//! The ports: everything outside that a worker touches, as traits with documented contracts.
//!
//! Each has a contract suite in `contract` that every adapter passes, the fakes included, and a wrapper in `faulty`
//! that injects failures into any adapter. Nothing else in the project is a trait for the sake of substitution.

pub mod failure;
pub mod objects;
pub mod queue;
pub mod stream;
pub mod table;
pub mod uploads;

#[cfg(any(test, feature = "contract-tests"))]
pub mod contract;
#[cfg(any(test, feature = "contract-tests"))]
pub mod faulty;
