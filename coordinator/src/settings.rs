//! From flags to what the commands work with; everything that cannot be is refused here, before anything is touched.

mod backup;
pub mod iam_policy;

use std::collections::BTreeMap;
use std::io::IsTerminal as _;
use std::sync::Arc;

use console::Style;
use shared::aws::clients::{ClientSettings, Clients, Mfa};
use shared::aws::sqs::SqsQueue;
use shared::domain::decide::{ExtraHandling, Handling, Policy};
use shared::domain::encryption::Encryption;
use shared::domain::job::{
    Access, AfterWrite, Confirm, Consistency, Manifest, OldImages, Reader, ReportContent, Side, StrategyChoice,
    SyncSettings,
};
use shared::domain::sample::Fraction;
use shared::domain::table_ref::TableRef;
use shared::journal::{Journal, StoreUrl};
use shared::ports::objects::ObjectStore;
use shared::ports::queue::WorkQueue;
use shared::telemetry::{LogFormat, LogSettings};
use worker::environment::Environment;
use worker::plan::{GlobalTables, LimitsAsked, Segments, SyncRequest, new_job_id};

use crate::cli::{
    BackfillArgs, Color, Common, CopyArgs, CredentialArgs, EncryptionArgs, LimitArgs, LogFormatArg, MfaArgs,
    OutputFormat, RepairArgs, ReplicateArgs, ScanArgs, SegmentsArg, SseArg, StrategyArg, SyncArgs,
};
use crate::failure::Failure;
use crate::output::note;
use crate::plan_file::{Defaults, Regions, Workers};
use crate::progress::Show;

/// Whether results are coloured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Paint {
    /// They are.
    Colored,
    /// They are plain text.
    Plain,
}

impl Paint {
    /// How standard output is painted.
    fn of(color: Color) -> Self {
        match color {
            Color::Always => Self::Colored,
            Color::Auto if std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none() => Self::Colored,
            Color::Auto | Color::Never => Self::Plain,
        }
    }

    /// A text in a style.
    #[must_use]
    pub fn apply(self, style: Style, text: &str) -> String {
        match self {
            Self::Colored => style.force_styling(true).apply_to(text).to_string(),
            Self::Plain => text.to_owned(),
        }
    }
}

/// What every command works with.
pub struct Settings {
    /// Where jobs live.
    pub store: StoreUrl,
    /// The workers' queue, if there is one.
    pub queue: Option<String>,
    /// How results are written.
    pub output: OutputFormat,
    /// How results are painted.
    pub paint: Paint,
    /// Whether progress is shown.
    pub progress: Show,
    /// The SDK's clients.
    pub clients: Arc<Clients>,
    profile: Option<String>,
    region: Option<String>,
    endpoint_url: Option<String>,
}

impl Settings {
    /// Resolves the options of every command.
    ///
    /// # Errors
    /// When the store is no store.
    pub fn resolve(common: &Common) -> Result<Self, Failure> {
        let store: StoreUrl = common.store.parse()?;
        Ok(Self {
            store: store.absolute()?,
            queue: common.queue.clone().filter(|queue| !queue.is_empty()),
            output: common.output,
            paint: Paint::of(common.color),
            progress: if common.quiet { Show::No } else { Show::Yes },
            clients: Arc::new(Clients::new(ClientSettings {
                profile: common.profile.clone(),
                region: common.region.clone(),
                endpoint_url: common.endpoint_url.clone(),
            })),
            profile: common.profile.clone(),
            region: common.region.clone(),
            endpoint_url: common.endpoint_url.clone(),
        })
    }

    /// Says something on standard error, unless it is to be quiet.
    pub fn note(&self, text: &str) {
        match self.progress {
            Show::Yes => note(text),
            Show::No => {}
        }
    }

    /// How tables and stores are reached.
    #[must_use]
    pub fn environment(&self) -> Environment {
        Environment::aws(Arc::clone(&self.clients))
    }

    /// Opens the store.
    ///
    /// # Errors
    /// When it cannot be.
    pub async fn open_store(&self) -> Result<Arc<dyn ObjectStore>, Failure> {
        Ok(self.environment().store(&self.store).await?)
    }

    /// The folder of a job.
    ///
    /// # Errors
    /// When the store cannot be opened.
    pub async fn journal(&self, job: &str) -> Result<Journal, Failure> {
        Ok(Journal::new(self.open_store().await?, job))
    }

    /// Opens the queue and makes sure that it is there.
    ///
    /// # Errors
    /// When it is not.
    pub async fn open_queue(&self, url: &str) -> Result<Arc<dyn WorkQueue>, Failure> {
        let queue = SqsQueue::new(self.clients.sqs(url).await?, url);
        let facts = queue.check().await?;
        if facts.dead_letters.is_none() {
            self.note(&format!("warning: {url} has no dead-letter queue: messages that nobody can do will stay in it"));
        }
        if let StoreUrl::Directory(path) = &self.store {
            self.note(&format!(
                "note: the store is the directory {}; the workers must see it under that path",
                path.display()
            ));
        }
        Ok(Arc::new(queue))
    }

    /// Assumes the roles that ask for a second factor, once for all of the job's work in this process.
    ///
    /// # Errors
    /// When there is a queue, a role is missing, a code cannot be asked for, or the service refuses.
    pub async fn sign_in(&self, manifest_sides: &[&Side], mfa: &MfaArgs) -> Result<(), Failure> {
        let of_master = mfa.mfa_serial.as_deref().map(|serial| (0, serial, &mfa.mfa_token, "--role-arn"));
        let of_slaves =
            mfa.slave_mfa_serial.as_deref().map(|serial| (1, serial, &mfa.slave_mfa_token, "--slave-role-arn"));
        for (index, serial, token, role_flag) in of_master.into_iter().chain(of_slaves) {
            if self.queue.is_some() {
                return Err(Failure::usage(
                    format!(
                        "the MFA device {serial} was given together with --queue, and the workers of a fleet cannot show its codes"
                    ),
                    "give the workers' own role access to the tables, or leave out --queue and do the work in this process",
                ));
            }
            let Some(side) = manifest_sides.get(index).filter(|side| side.access.role_arn.is_some()) else {
                return Err(Failure::usage(
                    format!("the MFA device {serial} was given without a role to assume"),
                    format!("give {role_flag} as well"),
                ));
            };
            let token = match token {
                Some(token) => token.clone(),
                None => ask_for_code(serial)?,
            };
            let mfa = Mfa { serial: serial.to_owned(), token };
            self.clients.sign_in(&side.access, side.table.region(), &mfa).await?;
        }
        Ok(())
    }

    /// What `sync` asks for.
    ///
    /// # Errors
    /// When its flags contradict each other.
    pub fn sync_request(&self, args: &SyncArgs) -> Result<SyncRequest, Failure> {
        let (master, slaves) = self.sides(&args.tables.master, &args.tables.slaves, &args.credentials, &args.mfa)?;
        let at_once = args.scan.parallel.unwrap_or_else(default_parallel);
        let starting_keys = starting_keys(&args.scan.starting_key)?;
        let segments = segments(&args.scan, args.sample, at_once, &starting_keys)?;
        Ok(SyncRequest {
            job: args.new_job.job_id.clone().unwrap_or_else(new_job_id),
            master,
            slaves,
            segments,
            only_segments: args.scan.only_segments.clone(),
            sample: args.sample,
            starting_keys: starting_keys.into_iter().map(|(segment, key)| (segment.unwrap_or(0), key)).collect(),
            global_tables: if args.safety.allow_global_table { GlobalTables::Allow } else { GlobalTables::Refuse },
            encryption: self.encryption(&args.encryption)?,
            limits: limits_asked(&args.limits),
            settings: sync_settings(args),
        })
    }

    /// What `backfill` asks for.
    ///
    /// # Errors
    /// When its flags contradict each other.
    pub fn backfill_request(&self, args: &BackfillArgs) -> Result<SyncRequest, Failure> {
        self.copy_request(&args.tables.master, &args.tables.slaves, &args.copy, None)
    }

    /// What `replicate` asks for, as far as it concerns the tables.
    ///
    /// # Errors
    /// When its flags contradict each other.
    pub fn replicate_request(&self, args: &ReplicateArgs) -> Result<SyncRequest, Failure> {
        let scan = &args.copy.scan;
        if !args.backfill && (scan.segments.is_some() || !scan.starting_key.is_empty()) {
            return Err(Failure::usage(
                "segments and starting keys are of a backfill, and none was asked for",
                "give --backfill as well, or leave them out",
            ));
        }
        if scan.only_segments.is_some() || !scan.starting_key.is_empty() {
            return Err(Failure::usage(
                "a stream cannot follow on a part of a backfill: the changes of the other part would be missing",
                "copy the parts with `dynamend backfill`, and then follow without --backfill",
            ));
        }
        self.copy_request(&args.master, &args.slaves, &args.copy, args.version_attribute.clone())
    }

    fn copy_request(
        &self,
        master: &TableRef,
        slaves: &[TableRef],
        args: &CopyArgs,
        version_attribute: Option<String>,
    ) -> Result<SyncRequest, Failure> {
        let (master, slaves) = self.sides(master, slaves, &args.credentials, &args.mfa)?;
        let at_once = args.scan.parallel.unwrap_or_else(default_parallel);
        let starting_keys = starting_keys(&args.scan.starting_key)?;
        let segments = segments(&args.scan, None, at_once, &starting_keys)?;
        Ok(SyncRequest {
            job: args.new_job.job_id.clone().unwrap_or_else(new_job_id),
            master,
            slaves,
            segments,
            only_segments: args.scan.only_segments.clone(),
            sample: None,
            starting_keys: starting_keys.into_iter().map(|(segment, key)| (segment.unwrap_or(0), key)).collect(),
            global_tables: if args.allow_global_table { GlobalTables::Allow } else { GlobalTables::Refuse },
            encryption: self.encryption(&args.encryption)?,
            limits: limits_asked(&args.limits),
            settings: SyncSettings {
                scan_limit: args.scan.scan_limit,
                max_retries: args.scan.max_retries,
                retry_delay_base_ms: args.scan.retry_delay_base,
                scan_consistency: if args.consistent_read { Consistency::Strong } else { Consistency::Eventual },
                version_attribute,
                ..SyncSettings::default()
            },
        })
    }

    /// What a plan file means where it says nothing.
    #[must_use]
    pub fn plan_defaults(&self) -> Defaults<'_> {
        Defaults {
            region: self.region.as_deref(),
            profile: self.profile.as_deref(),
            endpoint_url: self.endpoint_url.as_deref(),
            workers: if self.queue.is_some() { Workers::Fleet } else { Workers::Here },
            regions: if has_other_endpoint() { Regions::Any } else { Regions::OfAws },
        }
    }

    /// How the objects of a new job are to be encrypted.
    ///
    /// # Errors
    /// When the flags contradict each other, or the store is none that encrypts.
    pub fn encryption(&self, args: &EncryptionArgs) -> Result<Option<Encryption>, Failure> {
        if let (Some(_), StoreUrl::Directory(path)) = (args.sse, &self.store) {
            return Err(Failure::usage(
                format!("--sse was given, and the store is the directory {}", path.display()),
                "give --store s3://BUCKET/PREFIX, or leave out --sse and encrypt the directory's disk",
            ));
        }
        encryption_of(args)
    }

    /// The tables, and how they are reached.
    ///
    /// # Errors
    /// When the flags contradict each other.
    pub fn sides(
        &self,
        of_master: &TableRef,
        of_slaves: &[TableRef],
        own: &CredentialArgs,
        mfa: &MfaArgs,
    ) -> Result<(Side, Vec<Side>), Failure> {
        if mfa.slave_mfa_serial.is_some() && own.slave_role_arn.is_none() {
            return Err(Failure::usage(
                "--slave-mfa-serial was given without a role of the slaves' own",
                "give --slave-role-arn as well; the master's role serves the slaves without a second code",
            ));
        }
        let embedded_profile = |profile: &Option<String>| {
            let profile = profile.as_ref().or(self.profile.as_ref());
            profile.filter(|_| self.queue.is_none()).cloned()
        };
        if let (Some(_), Some(profile)) = (&self.queue, &own.slave_profile) {
            return Err(Failure::usage(
                format!(
                    "--slave-profile {profile} was given together with --queue, and workers do not know the profiles of this machine"
                ),
                "name a role that the workers can assume with --slave-role-arn",
            ));
        }
        let master = Access {
            profile: embedded_profile(&None),
            role_arn: own.role_arn.clone(),
            external_id: own.external_id.clone(),
            endpoint_url: own.master_endpoint_url.clone().or_else(|| self.endpoint_url.clone()),
        };
        let slave_endpoint = own.slave_endpoint_url.clone().or_else(|| self.endpoint_url.clone());
        let slave = if own.slave_profile.is_some() || own.slave_role_arn.is_some() {
            Access {
                profile: embedded_profile(&own.slave_profile),
                role_arn: own.slave_role_arn.clone(),
                external_id: own.slave_external_id.clone(),
                endpoint_url: slave_endpoint,
            }
        } else {
            Access { endpoint_url: slave_endpoint, ..master.clone() }
        };
        refuse_unknown_region(of_master, &master)?;
        for table in of_slaves {
            refuse_unknown_region(table, &slave)?;
        }
        let side = |table: &TableRef, access: &Access| Side::new(table.clone(), access.clone());
        Ok((side(of_master, &master), of_slaves.iter().map(|table| side(table, &slave)).collect()))
    }
}

/// The encryption that is asked for.
fn encryption_of(args: &EncryptionArgs) -> Result<Option<Encryption>, Failure> {
    let Some(sse) = args.sse else { return Ok(None) };
    let key_id = args.sse_kms_key_id.clone();
    match (sse, key_id) {
        (SseArg::Aes256, Some(key_id)) => Err(Failure::usage(
            format!("the key {key_id} was given with --sse AES256, which S3 does with keys of its own"),
            "give --sse aws:kms or --sse aws:kms:dsse, or leave out --sse-kms-key-id",
        )),
        (SseArg::Aes256, None) => Ok(Some(Encryption::Aes256)),
        (SseArg::Kms, key_id) => Ok(Some(Encryption::Kms { key_id })),
        (SseArg::KmsTwice, key_id) => Ok(Some(Encryption::KmsTwice { key_id })),
    }
}

fn limits_asked(args: &LimitArgs) -> LimitsAsked {
    LimitsAsked { read: args.read_capacity, write: args.write_capacity, max_cost: args.max_cost }
}

/// How logs are written.
#[must_use]
pub fn log_settings(common: &Common) -> LogSettings {
    LogSettings {
        format: match common.log_format {
            LogFormatArg::Text => LogFormat::Text,
            LogFormatArg::Json => LogFormat::Json,
        },
        verbosity: if common.quiet { -1 } else { i8::try_from(common.verbose).unwrap_or(2) },
        color: match common.color {
            Color::Always => true,
            Color::Never => false,
            Color::Auto => std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none(),
        },
    }
}

/// Segments worked on at once unless the user says otherwise.
#[must_use]
pub fn default_parallel() -> u32 {
    u32::try_from(worker::daemon::default_concurrency()).unwrap_or(4)
}

/// Sides of a job that is in its store already, master first.
#[must_use]
pub fn sides_of(manifest: &Manifest) -> Vec<&Side> {
    manifest.sides().collect()
}

/// What is done about each kind of discrepancy.
#[must_use]
pub fn policy(args: &RepairArgs) -> Policy {
    let handling = |asked: bool| if asked || args.repair { Handling::Repair } else { Handling::Report };
    let extra = if args.delete_extra || args.repair {
        ExtraHandling::Delete
    } else if args.scan_for_extra {
        ExtraHandling::Report
    } else {
        ExtraHandling::Ignore
    };
    Policy { missing: handling(args.write_missing), differing: handling(args.write_differing), extra }
}

fn sync_settings(args: &SyncArgs) -> SyncSettings {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clap admits 0 to 86400 seconds")]
    let millis = |seconds: f64| (seconds * 1000.0).round() as u64;
    SyncSettings {
        policy: policy(&args.repair),
        ignore: args.ignore.clone(),
        strategy: match args.strategy {
            StrategyArg::Auto => StrategyChoice::Auto,
            StrategyArg::Paired => StrategyChoice::Paired,
            StrategyArg::Lookup => StrategyChoice::Lookup,
        },
        reader: if args.typed_reader { Reader::Typed } else { Reader::Fast },
        scan_limit: args.scan.scan_limit,
        batch_read_limit: args.batch_read_limit,
        max_retries: args.scan.max_retries,
        retry_delay_base_ms: args.scan.retry_delay_base,
        scan_consistency: if args.consistent_read { Consistency::Strong } else { Consistency::Eventual },
        confirm: if args.no_confirm { Confirm::Never } else { Confirm::AfterMillis(millis(args.confirm_delay)) },
        report: if args.report_values { ReportContent::Values } else { ReportContent::Keys },
        version_attribute: args.safety.version_attribute.clone(),
        after_write: if args.safety.verify { AfterWrite::Verify } else { AfterWrite::Trust },
        old_images: if args.safety.undo { OldImages::Keep } else { OldImages::Drop },
        max_lag_ms: args.max_lag.map(millis),
    }
}

type StartingKeys = BTreeMap<Option<u32>, String>;

/// Splits `SEGMENT=JSON` from bare keys; a bare key stands under `None`.
fn starting_keys(texts: &[String]) -> Result<StartingKeys, Failure> {
    let mut keys = StartingKeys::new();
    for text in texts {
        let (segment, key) = match text.split_once('=') {
            Some((segment, key)) if !text.trim_start().starts_with('{') => {
                let segment = segment.trim().parse().map_err(|_| {
                    Failure::usage(
                        format!("the starting key `{text}` begins with no segment number"),
                        "write it as {\"id\":\"abc\"}, or as 3={\"id\":\"abc\"} for segment 3",
                    )
                })?;
                (Some(segment), key)
            }
            _ => (None, text.as_str()),
        };
        if keys.insert(segment, key.to_owned()).is_some() {
            return Err(Failure::usage(
                format!("a second starting key for the same segment: `{text}`"),
                "give one starting key per segment, as SEGMENT=KEY",
            ));
        }
    }
    Ok(keys)
}

fn segments(
    args: &ScanArgs,
    sample: Option<Fraction>,
    at_once: u32,
    starting_keys: &StartingKeys,
) -> Result<Segments, Failure> {
    let asked = match (args.segments, args.parallel) {
        (Some(SegmentsArg::Fixed(n)), _) => Some(n),
        (Some(SegmentsArg::Auto), _) => None,
        // A sample needs more segments than are worked on at once.
        (None, Some(_)) if sample.is_some() => None,
        (None, Some(parallel)) => Some(parallel),
        (None, None) if starting_keys.contains_key(&None) => Some(1),
        (None, None) => None,
    };
    let needs = |what: &str, hint: &str| Err(Failure::usage(what, hint));
    if starting_keys.contains_key(&None) && (asked != Some(1) || starting_keys.len() > 1) {
        return needs(
            "a starting key without a segment stands for a scan in one segment",
            "leave out --segments and --parallel, or write each key as SEGMENT=KEY",
        );
    }
    if !starting_keys.is_empty() && asked.is_none() {
        return needs(
            "starting keys by segment mean nothing without the number of segments they were made with",
            "say it with --segments N",
        );
    }
    if args.only_segments.is_some() && asked.is_none() {
        return needs(
            "--only-segments means nothing without the number of segments",
            "say it with --segments N, the same for every share of the table",
        );
    }
    Ok(asked.map_or(Segments::Auto { at_once }, Segments::Fixed))
}

/// Whether the environment names another endpoint of DynamoDB than AWS's.
fn has_other_endpoint() -> bool {
    ["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_DYNAMODB"].iter().any(|name| std::env::var_os(name).is_some())
}

/// Regions of AWS have a form; without an endpoint of its own, any other name is a slip.
fn refuse_unknown_region(table: &TableRef, access: &Access) -> Result<(), Failure> {
    if access.endpoint_url.is_some() || has_other_endpoint() || table.has_aws_region() {
        return Ok(());
    }
    Err(Failure::usage(
        format!("`{}` in `{table}` is no AWS region", table.region()),
        "regions are written as us-east-1 or eu-central-1; other names need --endpoint-url",
    ))
}

fn ask_for_code(serial: &str) -> Result<String, Failure> {
    let cannot = || {
        Failure::usage(
            format!("the MFA device {serial} was given without a code"),
            "give --mfa-token, or run it on a terminal",
        )
    };
    if !std::io::stdin().is_terminal() {
        return Err(cannot());
    }
    note(&format!("code of {serial}:"));
    let mut code = String::new();
    std::io::stdin().read_line(&mut code).map_err(|_| cannot())?;
    Ok(code.trim().to_owned())
}
