//! The clock of the store, read off its answers.

use std::sync::{Arc, Mutex, PoisonError};

use aws_sdk_s3::config::interceptors::BeforeDeserializationInterceptorContextRef;
use aws_sdk_s3::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_s3::error::BoxError;
use aws_sdk_s3::primitives::{DateTime, DateTimeFormat};
use jiff::Timestamp;

/// Reads the store's clock off an answer.
#[derive(Clone, Debug, Default)]
pub(super) struct StoreClock {
    date: Arc<Mutex<Option<String>>>,
}

impl StoreClock {
    pub(super) fn time(&self) -> Option<Timestamp> {
        let date = self.date.lock().unwrap_or_else(PoisonError::into_inner);
        timestamp(&DateTime::from_str(date.as_deref()?, DateTimeFormat::HttpDate).ok()?)
    }
}

impl Intercept for StoreClock {
    fn name(&self) -> &'static str {
        "StoreClock"
    }

    fn read_after_transmit(
        &self,
        context: &BeforeDeserializationInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let date = context.response().headers().get("date").map(str::to_owned);
        *self.date.lock().unwrap_or_else(PoisonError::into_inner) = date;
        Ok(())
    }
}

pub(super) fn timestamp(time: &DateTime) -> Option<Timestamp> {
    Timestamp::new(time.secs(), i32::try_from(time.subsec_nanos()).ok()?).ok()
}
