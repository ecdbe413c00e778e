//! Which fault a request meets: drawn by the rates of the run, until the run's budget is spent.

use rand::Rng as _;
use rand::rngs::StdRng;

use super::call::{Call, Service};

/// What may happen to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The connection is dropped before the service has the request.
    Refuse,
    /// The service has done it, and the connection is dropped.
    LoseAnswer,
    /// The service has done it, and says 500.
    FailAfterwards,
    /// The answer is cut off.
    Truncate,
    /// It takes up to two seconds longer, before or after the effect.
    Delay,
    /// The service does nothing and answers 500, 502 or 503.
    Fail,
    /// DynamoDB throttles, for any of its reasons.
    Throttle,
    /// DynamoDB says `InternalServerError`, `RequestLimitExceeded` or, of a write, `TransactionConflictException`.
    Refusal,
    /// DynamoDB leaves keys or writes of a batch unprocessed.
    Unprocessed,
    /// DynamoDB gives a page shorter than asked for.
    ShortPage,
    /// DynamoDB gives a page without items that is not the last.
    EmptyPage,
    /// S3 says 409 to a conditional put.
    StoreConflict,
    /// S3 says `SlowDown`.
    SlowDown,
    /// SQS delivers a message twice.
    Duplicate,
    /// SQS delivers a message later than others.
    Withhold,
    /// SQS does not take some messages of a batch.
    PartialSend,
}

impl Fault {
    /// All of them.
    pub const ALL: [Self; 16] = [
        Self::Refuse,
        Self::LoseAnswer,
        Self::FailAfterwards,
        Self::Truncate,
        Self::Delay,
        Self::Fail,
        Self::Throttle,
        Self::Refusal,
        Self::Unprocessed,
        Self::ShortPage,
        Self::EmptyPage,
        Self::StoreConflict,
        Self::SlowDown,
        Self::Duplicate,
        Self::Withhold,
        Self::PartialSend,
    ];

    /// Whether it is a partial success, which costs a client nothing but another request.
    #[must_use]
    pub fn is_mild(self) -> bool {
        matches!(
            self,
            Self::Unprocessed
                | Self::ShortPage
                | Self::EmptyPage
                | Self::StoreConflict
                | Self::Duplicate
                | Self::Withhold
                | Self::PartialSend
        )
    }

    fn suits(self, call: &Call) -> bool {
        let of = |service: Service| call.service == service;
        match self {
            Self::Refuse | Self::LoseAnswer | Self::FailAfterwards | Self::Truncate | Self::Delay | Self::Fail => true,
            Self::Throttle | Self::Refusal => of(Service::Tables),
            Self::Unprocessed => of(Service::Tables) && call.operation.starts_with("Batch"),
            Self::ShortPage | Self::EmptyPage => of(Service::Tables) && call.is("Scan"),
            Self::StoreConflict => call.is_conditional_put(),
            Self::SlowDown => of(Service::Store),
            Self::Duplicate | Self::Withhold => call.waits(),
            Self::PartialSend => of(Service::Queue) && call.is("SendMessageBatch"),
        }
    }
}

/// How often which fault is injected into a request that it suits.
#[derive(Clone, Debug, Default)]
pub struct Rates(pub Vec<(Fault, f64)>);

impl Rates {
    /// Nothing but this fault, always.
    #[must_use]
    pub fn always(fault: Fault) -> Self {
        Self(vec![(fault, 1.0)])
    }

    pub(super) fn draw(&self, call: &Call, dice: &mut StdRng) -> Option<Fault> {
        let mut point: f64 = dice.random();
        self.0.iter().filter(|(fault, _)| fault.suits(call)).find_map(|&(fault, rate)| {
            point -= rate;
            (point < 0.0).then_some(fault)
        })
    }
}
