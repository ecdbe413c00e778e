//! What the scaling policy of `infra/scaling.yaml` makes of a load, in a simulation that takes its numbers from there.
//!
//! - [`policy`]: the numbers, as the resolved template has them; [`expression`]: its metric math.
//! - [`fleet`]: a queue, and tasks that start, hold segments, are protected meanwhile, and are stopped.
//! - [`metrics`]: what of it CloudWatch shows, in minutes, and late.
//! - [`scaler`]: target tracking and step scaling as Application Auto Scaling documents them.
//! - [`simulate`]: all of them, in steps of five seconds; [`plot`]: the picture of it in the runbook.

pub mod expression;
pub mod fleet;
pub mod metrics;
pub mod plot;
pub mod policy;
pub mod scaler;
pub mod simulate;
