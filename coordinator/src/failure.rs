//! How commands end: exit codes, and failures as message and hint.

use std::process::ExitCode;

use shared::domain::summary::{JobState, Summary};
use shared::journal::{BadLocation, JournalError};
use shared::ports::failure as port;
use worker::context::CannotOpen;
use worker::embedded::CannotRun;
use worker::plan::CannotPlan;
use worker::record::kept::CannotRead;
use worker::record::pair::CannotPair;

/// How the program ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Exit {
    /// Done, and the tables agree or every discrepancy was repaired.
    Agree,
    /// Done, and discrepancies remain.
    Differ,
    /// Wrong usage.
    Usage,
    /// Failed: configuration, credentials, service.
    Failed,
    /// Stopped, or some segments failed; `resume` continues.
    Incomplete,
    /// Interrupted; what was done is committed.
    Interrupted,
}

impl Exit {
    /// How a job that stands like this ends.
    #[must_use]
    pub fn of(summary: &Summary) -> Self {
        match summary.state {
            JobState::Succeeded if summary.remaining() == 0 => Self::Agree,
            JobState::Succeeded => Self::Differ,
            JobState::Failed | JobState::Cancelled | JobState::Paused | JobState::Queued | JobState::Running => {
                Self::Incomplete
            }
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Agree => 0,
            Exit::Differ => 1,
            Exit::Usage => 2,
            Exit::Failed => 3,
            Exit::Incomplete => 4,
            Exit::Interrupted => 130,
        })
    }
}

/// Why a command did not do what it was asked to.
#[derive(Debug)]
pub struct Failure {
    /// The exit code.
    pub exit: Exit,
    /// What was wrong, with what, and why.
    pub message: String,
    /// What to do about it.
    pub hint: String,
}

impl Failure {
    /// The command line asks for something that cannot be.
    pub fn usage(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { exit: Exit::Usage, message: message.into(), hint: hint.into() }
    }

    /// Something outside failed.
    pub fn failed(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { exit: Exit::Failed, message: message.into(), hint: hint.into() }
    }
}

/// Clap's paragraphs: what is wrong, tips, the usage, and where help is.
impl From<&clap::Error> for Failure {
    fn from(error: &clap::Error) -> Self {
        let text = error.to_string();
        let mut paragraphs = text.split("\n\n").map(|part| part.split_whitespace().collect::<Vec<_>>().join(" "));
        let message = paragraphs.next().unwrap_or_default();
        let message = message.strip_prefix("error: ").unwrap_or(&message).to_owned();
        let (mut tips, mut command) = (Vec::new(), "dynamend".to_owned());
        for paragraph in paragraphs {
            if let Some(usage) = paragraph.strip_prefix("Usage: ") {
                let is_word = |word: &&str| word.starts_with(|first: char| first.is_ascii_lowercase());
                command = usage.split(' ').take_while(is_word).collect::<Vec<_>>().join(" ");
            } else if let Some(tip) = paragraph.strip_prefix("tip: ") {
                tips.push(tip.replace(" tip: ", "; "));
            }
        }
        tips.push(format!("`{command} --help` lists what there is"));
        Self::usage(message, tips.join("; "))
    }
}

impl From<port::Failure> for Failure {
    fn from(failure: port::Failure) -> Self {
        Self::failed(failure.to_string(), failure.hint())
    }
}

impl From<BadLocation> for Failure {
    fn from(error: BadLocation) -> Self {
        Self::usage(error.to_string(), "give --store s3://BUCKET/PREFIX or a directory")
    }
}

impl From<JournalError> for Failure {
    fn from(error: JournalError) -> Self {
        let message = error.to_string();
        match error {
            JournalError::JobExists { job, .. } => Self::usage(
                message,
                format!("choose another --job-id, or continue that job with `dynamend resume {job}`"),
            ),
            JournalError::NoSuchJob { .. } => {
                Self::failed(message, "check the id and --store; `dynamend jobs` lists the jobs of a store")
            }
            JournalError::Damaged { url, .. } => Self::failed(
                message,
                format!(
                    "nothing was changed; restore {url} from a backup or an older version, or delete it and `resume`: \
                     what it stood for is then done again"
                ),
            ),
            JournalError::NothingToGoOnFrom { .. } => {
                Self::usage(message, "give --from another job, a time, latest or trim-horizon")
            }
            JournalError::Lost { .. } => Self::failed(message, "a worker has it now; look at the job's status"),
            JournalError::Store(failure) => failure.into(),
        }
    }
}

impl From<CannotPlan> for Failure {
    fn from(error: CannotPlan) -> Self {
        let message = error.to_string();
        match error {
            CannotPlan::Port(failure) => failure.into(),
            CannotPlan::NoStream { table } => Self::failed(
                message,
                format!(
                    "enable one: aws dynamodb update-table --table-name {} --stream-specification \
                     StreamEnabled=true,StreamViewType=NEW_AND_OLD_IMAGES; or name a Kinesis stream with --kinesis",
                    table.split([':', '/']).next_back().unwrap_or_default()
                ),
            ),
            CannotPlan::BadStream { .. } => {
                Self::failed(message, "look at the stream with `aws dynamodbstreams describe-stream`")
            }
            CannotPlan::Unfit(_) => Self::usage(message, "`dynamend sync --help` says what can be asked for"),
            CannotPlan::SameTable { .. } => Self::usage(message, "name each table once"),
            CannotPlan::NotReady { .. } => Self::failed(message, "run the command again when the table is ACTIVE"),
            CannotPlan::OtherSchema { .. } => Self::failed(
                message,
                "only tables with the same key attributes, of the same types, can be held against each other",
            ),
            CannotPlan::Replica { .. } => Self::usage(
                message,
                "what is written there travels back to the master, and the last writer wins; compare them without write \
                 flags, or give --allow-global-table if that is what you want",
            ),
            CannotPlan::NoSuchSegment { .. } => {
                Self::usage(message, "segments are counted from 0; say how many there are with --segments")
            }
            CannotPlan::NotProvisioned { .. } => {
                Self::usage(message, "say it in units per second, as in --read-capacity 500")
            }
            CannotPlan::TooFewToSample { .. } => Self::usage(message, "cut the table into more, with --segments N"),
            CannotPlan::BadSource { .. } => Self::failed(
                message,
                "name the folder of a backup: DEST/JOB of a full one, DEST/TABLE of an incremental one, or the folder of \
                 an export, …/AWSDynamoDB/ID",
            ),
            CannotPlan::UnknownKey { .. } => {
                Self::usage(message, "say it with --key-schema, partition key first, as in id:S or id:S,at:N")
            }
            CannotPlan::BackupExists { .. } => Self::usage(
                message,
                "choose another --job-id, or another place; a backup that was begun goes on with `dynamend resume`",
            ),
            CannotPlan::OtherFolder { .. } => Self::usage(
                message,
                "choose another place: the folder of a table is DEST/TABLE, by its name alone; if the folder is to go \
                     on with this table, delete the marker",
            ),
            CannotPlan::NoTable { .. } => {
                Self::failed(message, "check its name and region, or give --create to have it made as the backup says")
            }
            CannotPlan::NoDefinition { .. } => {
                Self::failed(message, "create it, with the same key, and restore again without --create")
            }
            CannotPlan::NotEmpty { .. } => Self::usage(
                message,
                "give --only-missing to leave its items alone, or --overwrite to overwrite those that are in the backup",
            ),
            CannotPlan::BadStartingKey { .. } => Self::usage(
                message,
                "give all key attributes and no others, as {\"id\":\"abc\"} or as {\"id\":{\"S\":\"abc\"}}",
            ),
        }
    }
}

impl From<CannotOpen> for Failure {
    fn from(error: CannotOpen) -> Self {
        let message = error.to_string();
        match error {
            CannotOpen::Journal(error) => error.into(),
            CannotOpen::Port(failure) => failure.into(),
            CannotOpen::Location(error) => error.into(),
            CannotOpen::NotAllowed(_) => Self::usage(message, "check --store"),
            CannotOpen::OtherTable { .. } => {
                Self::failed(message, "its items are not those that the job saw; make a new job")
            }
            CannotOpen::NotReady { .. } => Self::failed(message, "run the command again when the table is ACTIVE"),
            CannotOpen::OtherJob { .. } => Self::failed(message, "check --store; the job's folder is damaged"),
        }
    }
}

impl From<CannotRun> for Failure {
    fn from(error: CannotRun) -> Self {
        match error {
            CannotRun::Plan(error) => error.into(),
            CannotRun::Journal(error) => error.into(),
            CannotRun::Port(failure) => failure.into(),
        }
    }
}

impl From<CannotPair> for Failure {
    fn from(error: CannotPair) -> Self {
        let message = error.to_string();
        match error {
            CannotPair::Plan(error) => error.into(),
            CannotPair::OtherTable { .. } => {
                Self::failed(message, "its items are not those that the job saw; name the tables and the keys")
            }
        }
    }
}

impl From<CannotRead> for Failure {
    fn from(error: CannotRead) -> Self {
        let message = error.to_string();
        match error {
            CannotRead::Store(failure) => failure.into(),
            CannotRead::Archived { .. } => {
                Self::failed(message, "restore it first, with `aws s3api restore-object`, and run the command again")
            }
            CannotRead::NoItem { .. } => Self::failed(
                message,
                "nothing was changed; `dynamend record backup` replaces it by the item that the table has now",
            ),
        }
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::failed(format!("the output cannot be written: {error}"), "check where standard output goes")
    }
}
