//! What can go wrong at a port, told by meaning and not by origin.

/// What a failure means to the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureKind {
    /// The table, queue, bucket or object is not there.
    NotFound,
    /// Another writer was first: an object exists already, or is not the version that was expected.
    Conflict,
    /// The service asks to slow down.
    Throttled,
    /// One range of keys gets more than a partition can give; the rest of the table could give more.
    HotKeys,
    /// The work is to stop: nothing was sent, because there was no capacity left for it until then.
    Halted,
    /// What was to be read is older than the stream keeps.
    Trimmed,
    /// What was held to go on with was held too long; it can be had anew.
    Expired,
    /// The credentials do not allow it, or there are none.
    Denied,
    /// The request cannot succeed as it is.
    Invalid,
    /// The service did not answer, or not properly; it may the next time.
    Unavailable,
}

impl FailureKind {
    /// Its name in metrics and traces.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::NotFound => "not_found",
            Self::Conflict => "conflict",
            Self::Throttled => "throttled",
            Self::HotKeys => "hot_keys",
            Self::Halted => "halted",
            Self::Trimmed => "trimmed",
            Self::Expired => "expired",
            Self::Denied => "denied",
            Self::Invalid => "invalid",
            Self::Unavailable => "unavailable",
        }
    }
}

/// A failed call: what was tried, on what, and what came back.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{operation} on {resource} failed: {message}")]
pub struct Failure {
    /// What it means.
    pub kind: FailureKind,
    /// The operation, in the service's own words (`Scan`).
    pub operation: &'static str,
    /// What it was tried on, as a person would say it (table `orders` in us-east-1).
    pub resource: String,
    /// Why it failed, in one line without a full stop; carries no item values.
    pub message: String,
}

impl Failure {
    /// Whether the same call may succeed later.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        match self.kind {
            FailureKind::Throttled | FailureKind::HotKeys | FailureKind::Unavailable => true,
            FailureKind::NotFound
            | FailureKind::Conflict
            | FailureKind::Halted
            | FailureKind::Trimmed
            | FailureKind::Expired
            | FailureKind::Denied
            | FailureKind::Invalid => false,
        }
    }

    /// What a person can do about it.
    #[must_use]
    pub fn hint(&self) -> String {
        let Self { kind, operation, resource, message: _ } = self;
        match kind {
            FailureKind::NotFound => format!("check the name, the region and the account of {resource}"),
            FailureKind::Conflict => "someone else changed it at the same moment; run the command again".to_owned(),
            FailureKind::Throttled => {
                "the service asked to slow down; use fewer segments at once, or give it more capacity".to_owned()
            }
            FailureKind::HotKeys => {
                "too many requests met one range of keys; use fewer segments at once, or wait until DynamoDB has split it"
                    .to_owned()
            }
            FailureKind::Halted => "take the job up again with `resume`".to_owned(),
            FailureKind::Trimmed => {
                "the stream keeps no older changes; compare the tables with `dynamend sync`, and repair what it finds"
                    .to_owned()
            }
            FailureKind::Expired => "run the command again".to_owned(),
            FailureKind::Denied => format!(
                "check the credentials (profile, role, expiry), and that they allow {operation} on {resource}; \
                 the README lists the permissions of each command"
            ),
            FailureKind::Invalid => "check the flags and the names given".to_owned(),
            FailureKind::Unavailable => {
                "check the region, the endpoint and the network; the command can be run again at any time".to_owned()
            }
        }
    }
}
