//! `pause`: workers stop at their next checkpoint, and `resume` takes the job up again.

use shared::domain::control::Wish;

use super::cancel;
use crate::failure::{Exit, Failure};
use crate::settings::Settings;

pub(super) async fn run(settings: &Settings, job: &str) -> Result<Exit, Failure> {
    cancel::stop(settings, job, Wish::Pause).await
}
