//! From the flags of `backup` and `restore` to what is planned.

use shared::domain::backup::Place;
use shared::domain::encryption::Encryption;
use shared::domain::job::{Access, Consistency, Side, SyncSettings};
use shared::domain::table_ref::TableRef;
use shared::journal::StoreUrl;
use shared::packing::Compression;
use worker::plan::{GlobalTables, LimitsAsked, Segments, SyncRequest, new_job_id};
use worker::plan_backup::{BackupRequest, SnapshotRequest};
use worker::plan_restore::{Into, NoTable, RestoreRequest};

use super::{Settings, default_parallel, limits_asked, segments, starting_keys};
use crate::cli::backup::{
    CompressionArg, CutArgs, FullArgs, IncrementalArgs, OfTableArgs, RestoreArgs, SnapshotArgs, TableAccessArgs,
};
use crate::cli::{CredentialArgs, EncryptionArgs, MfaArgs, NewJobArgs, SegmentsArg};
use crate::failure::Failure;

impl TableAccessArgs {
    /// The codes of second factors.
    #[must_use]
    pub fn mfa(&self) -> MfaArgs {
        MfaArgs { mfa_serial: self.mfa_serial.clone(), mfa_token: self.mfa_token.clone(), ..MfaArgs::default() }
    }
}

impl Settings {
    /// What `backup full` asks for.
    ///
    /// # Errors
    /// When its flags contradict each other.
    pub fn full_request(&self, args: &FullArgs) -> Result<BackupRequest, Failure> {
        let scan = &args.of.scan;
        if scan.only_segments.is_some() || !scan.starting_key.is_empty() {
            return Err(Failure::usage(
                "a part of a table is no backup of it: --only-segments and --starting-key are for other jobs",
                "leave them out; workers share the segments of one job with --queue",
            ));
        }
        self.backup_of_table(&args.of, compression(args.packing.compression))
    }

    /// What `backup incremental` asks for.
    ///
    /// # Errors
    /// When its flags contradict each other.
    pub fn incremental_request(&self, args: &IncrementalArgs) -> Result<BackupRequest, Failure> {
        self.backup_of_table(&args.of, Compression::None)
    }

    /// What `backup snapshot` asks for.
    ///
    /// # Errors
    /// When its flags contradict each other.
    pub fn snapshot_request(&self, args: &SnapshotArgs) -> Result<SnapshotRequest, Failure> {
        let from = self.place(&args.src, args.regions.source_region.clone(), None)?;
        let encryption = self.backup_encryption(&args.encryption, &args.dest)?;
        // What the folder is called is all that is known of a table that does not tell.
        let name = from.url.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
        let region = self.region.as_deref().unwrap_or("unknown");
        let table: TableRef = format!("{region}:{name}").parse().map_err(|error| {
            Failure::usage(
                format!("`{}` does not end in the name of a table: {error}", args.src),
                "name the folder of one table, such as s3://BUCKET/PREFIX/TABLE",
            )
        })?;
        let tables = SyncRequest {
            settings: patience(&args.cut),
            ..self.bare_request(&args.new_job, Side::new(table, Access::default()), cut(&args.cut), &encryption)
        };
        let to = self.place(&args.dest, args.regions.backup_region.clone(), encryption)?;
        let metric_namespace = args.metric_namespace.clone();
        let backup = BackupRequest { tables, to, compression: compression(args.packing.compression), metric_namespace };
        Ok(SnapshotRequest { backup, from, key_schema: args.key_schema.clone(), as_of_ms: args.as_of })
    }

    /// What `restore` asks for.
    ///
    /// # Errors
    /// When its flags contradict each other.
    pub fn restore_request(&self, args: &RestoreArgs) -> Result<RestoreRequest, Failure> {
        let master = self.side(&args.table, &args.access)?;
        let encryption = self.encryption(&args.encryption)?;
        let tables = SyncRequest {
            settings: patience(&args.cut),
            limits: limits_asked(&args.limits),
            ..self.bare_request(&args.new_job, master, cut(&args.cut), &encryption)
        };
        Ok(RestoreRequest {
            tables: SyncRequest { encryption, ..tables },
            from: self.place(&args.src, args.backup_region.clone(), None)?,
            into: match (args.overwrite, args.only_missing) {
                (true, _) => Into::Overwrite,
                (false, true) => Into::OnlyMissing,
                (false, false) => Into::Empty,
            },
            no_table: if args.create { NoTable::Create } else { NoTable::Refuse },
            as_of_ms: args.as_of,
        })
    }

    fn backup_of_table(&self, of: &OfTableArgs, compression: Compression) -> Result<BackupRequest, Failure> {
        let master = self.side(&of.table, &of.access)?;
        let at_once = of.scan.parallel.unwrap_or_else(default_parallel);
        let starting = starting_keys(&of.scan.starting_key)?;
        let cut = segments(&of.scan, None, at_once, &starting)?;
        let encryption = self.backup_encryption(&of.encryption, &of.dest)?;
        let to = self.place(&of.dest, of.backup_region.clone(), encryption.clone())?;
        let settings = SyncSettings {
            scan_limit: of.scan.scan_limit,
            max_retries: of.scan.max_retries,
            retry_delay_base_ms: of.scan.retry_delay_base,
            scan_consistency: if of.consistent_read { Consistency::Strong } else { Consistency::Eventual },
            ..SyncSettings::default()
        };
        let tables = SyncRequest {
            only_segments: of.scan.only_segments.clone(),
            starting_keys: starting.into_iter().map(|(segment, key)| (segment.unwrap_or(0), key)).collect(),
            limits: limits_asked(&of.limits),
            settings,
            ..self.bare_request(&of.new_job, master, cut, &encryption)
        };
        Ok(BackupRequest { tables, to, compression, metric_namespace: of.metric_namespace.clone() })
    }

    fn bare_request(
        &self,
        new_job: &NewJobArgs,
        master: Side,
        segments: Segments,
        encryption: &Option<Encryption>,
    ) -> SyncRequest {
        // A directory does not encrypt, though the bucket of the backup may.
        let of_job = encryption.clone().filter(|_| matches!(self.store, StoreUrl::S3 { .. }));
        SyncRequest {
            job: new_job.job_id.clone().unwrap_or_else(new_job_id),
            master,
            slaves: Vec::new(),
            segments,
            only_segments: None,
            sample: None,
            starting_keys: std::collections::BTreeMap::new(),
            global_tables: GlobalTables::Refuse,
            encryption: of_job,
            limits: LimitsAsked::default(),
            settings: SyncSettings::default(),
        }
    }

    /// A single table, and how it is reached.
    ///
    /// # Errors
    /// When the flags contradict each other.
    pub fn side(&self, table: &TableRef, access: &TableAccessArgs) -> Result<Side, Failure> {
        let credentials = CredentialArgs {
            role_arn: access.role_arn.clone(),
            external_id: access.external_id.clone(),
            ..CredentialArgs::default()
        };
        Ok(self.sides(table, &[], &credentials, &access.mfa())?.0)
    }

    /// A store that holds backups.
    fn place(&self, url: &str, region: Option<String>, encryption: Option<Encryption>) -> Result<Place, Failure> {
        let store = url.parse::<StoreUrl>().map_err(|error| {
            Failure::usage(error.to_string(), "name a folder of a bucket, s3://BUCKET/PREFIX, or a directory")
        })?;
        let store = store.absolute()?;
        if let (StoreUrl::Directory(path), Some(queue)) = (&store, &self.queue) {
            self.note(&format!(
                "note: {} is a directory; the workers of {queue} must see it under that path",
                path.display()
            ));
        }
        Ok(Place { url: store.to_string(), region, encryption })
    }

    fn backup_encryption(&self, args: &EncryptionArgs, dest: &str) -> Result<Option<Encryption>, Failure> {
        if args.sse.is_some() && !dest.starts_with("s3://") {
            return Err(Failure::usage(
                format!("--sse was given, and the backup goes to the directory {dest}"),
                "name a folder of a bucket, or leave out --sse and encrypt the directory's disk",
            ));
        }
        super::encryption_of(args)
    }
}

fn cut(args: &CutArgs) -> Segments {
    match args.segments {
        Some(SegmentsArg::Fixed(total)) => Segments::Fixed(total),
        Some(SegmentsArg::Auto) | None => Segments::Auto { at_once: args.parallel.unwrap_or_else(default_parallel) },
    }
}

fn patience(args: &CutArgs) -> SyncSettings {
    SyncSettings {
        max_retries: args.max_retries,
        retry_delay_base_ms: args.retry_delay_base,
        ..SyncSettings::default()
    }
}

fn compression(arg: CompressionArg) -> Compression {
    match arg {
        CompressionArg::Gzip => Compression::Gzip,
        CompressionArg::Zstd => Compression::Zstd,
        CompressionArg::None => Compression::None,
    }
}
