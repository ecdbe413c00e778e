//! How much capacity is being consumed.
