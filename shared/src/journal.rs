//! A job's folder in the object store, and the ordering rules that make a crash harmless.
