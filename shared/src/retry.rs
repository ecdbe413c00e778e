//! Trying again: the one retry layer for data-plane calls and partial results, and the only user of `backoff`.
