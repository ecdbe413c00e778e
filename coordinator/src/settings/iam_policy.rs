//! From the flags of `iam-policy` to permissions and the names of what they are for.

mod names;

use std::collections::BTreeSet;

use shared::domain::arn::Arn;
use shared::domain::decide::{ExtraHandling, Handling, Policy};
use shared::domain::permissions::{For, Permission, Resource, When};
use shared::domain::policy::{Names, needed};
use shared::journal::StoreUrl;

use super::Settings;
use crate::cli::iam_policy::{HolderArg, IamPolicyArgs, PurposeArg};
use crate::failure::Failure;

/// What a policy is to grant, and on what.
pub struct PolicyRequest {
    /// Everything that the purposes need.
    pub needed: BTreeSet<Permission>,
    /// What there is, as far as the holder of the policy reaches it.
    pub names: Names,
    /// What the user should know.
    pub notes: Vec<String>,
}

/// Whether there is a queue: a worker of a fleet then does what this process does otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Work {
    ByFleet,
    Here,
}

/// What no table, queue or bucket is named for.
const PROTECTION: &str = "a worker on ECS needs ecs:UpdateTaskProtection and ecs:GetTaskProtection on its tasks as well, \
    for not being scaled in while it works; infra/workers.yaml grants them";

const JOBS: [For; 6] = [For::Status, For::Report, For::Jobs, For::Cancel, For::Limit, For::ResumeQueued];

/// What the programs do for a purpose.
fn programs(purpose: PurposeArg, work: Work, repairs: Policy) -> Vec<For> {
    let with_jobs = |more: &[For]| [more, &JOBS].concat();
    match (purpose, work) {
        (PurposeArg::Coordinator, _) => with_jobs(&[For::SyncQueued, For::BackfillQueued, For::Estimate]),
        (PurposeArg::StreamCoordinator, _) => with_jobs(&[For::BackfillQueued, For::ReplicateQueued]),
        (PurposeArg::BackupCoordinator, _) => with_jobs(&[For::BackupQueued]),
        (PurposeArg::RestoreCoordinator, _) => with_jobs(&[For::RestoreQueued]),
        (PurposeArg::Compare, Work::ByFleet) => vec![For::Worker(Policy::default())],
        (PurposeArg::Compare, Work::Here) => vec![For::Sync(Policy::default()), For::Resume(Policy::default())],
        (PurposeArg::Repair, Work::ByFleet) => vec![For::Worker(repairs)],
        (PurposeArg::Repair, Work::Here) => vec![For::Sync(repairs), For::Resume(repairs)],
        (PurposeArg::Copy, Work::ByFleet) => vec![For::BackfillWorker],
        (PurposeArg::Copy, Work::Here) => vec![For::Backfill, For::ResumeOther],
        (PurposeArg::Stream, Work::ByFleet) => vec![For::ReplicateWorker],
        (PurposeArg::Stream, Work::Here) => vec![For::Replicate, For::ResumeOther],
        (PurposeArg::Backup, Work::ByFleet) => vec![For::KeepingWorker],
        (PurposeArg::Backup, Work::Here) => vec![For::Backup, For::ResumeOther],
        (PurposeArg::Snapshot, Work::ByFleet) => vec![For::SnapshotWorker],
        (PurposeArg::Snapshot, Work::Here) => vec![For::Snapshot, For::ResumeOther],
        (PurposeArg::Restore, Work::ByFleet) => vec![For::RestoreWorker],
        (PurposeArg::Restore, Work::Here) => vec![For::Restore, For::ResumeOther],
        (PurposeArg::Undo, _) => vec![For::Undo],
        (PurposeArg::Estimate, _) => vec![For::Estimate],
        (PurposeArg::Report, _) => vec![For::Status, For::Report, For::Jobs],
        (PurposeArg::RecordDiff, _) => vec![For::RecordDiff],
        (PurposeArg::RecordSync, _) => vec![For::RecordSync],
        (PurposeArg::RecordBackup, _) => vec![For::RecordBackup],
        (PurposeArg::RecordDiffBackup, _) => vec![For::RecordDiffBackup],
        (PurposeArg::RecordHistory, _) => vec![For::RecordHistory],
    }
}

fn repairs(args: &IamPolicyArgs) -> Policy {
    let extra = if args.no_delete { ExtraHandling::Report } else { ExtraHandling::Delete };
    Policy { missing: Handling::Repair, differing: Handling::Repair, extra }
}

/// The conditions that hold by the flags, or may come to hold while a job runs.
fn conditions(args: &IamPolicyArgs) -> BTreeSet<When> {
    let by_flag = [
        (When::RoleNamed, args.role_arn.is_some() || args.slave_role_arn.is_some()),
        (When::OwnKey, !args.kms_key.is_empty()),
        (When::FromKinesis, !args.kinesis.is_empty()),
        (When::BackedUp, !args.backup.is_empty()),
        (When::AsOf, args.as_of),
        (When::Created, args.create),
        (When::Verified, args.verify),
    ];
    let given = by_flag.into_iter().filter_map(|(when, given)| given.then_some(when));
    given.chain([When::Always, When::Limited, When::ShareOfCapacity]).collect()
}

/// Who reaches a resource: the role of its side, where there is one.
fn holder_of(resource: Resource, args: &IamPolicyArgs) -> HolderArg {
    let has_role = args.role_arn.is_some() || args.policy_of == HolderArg::Role;
    let slaves_have_own = args.slave_role_arn.is_some() || args.policy_of == HolderArg::SlaveRole;
    match resource {
        Resource::Slaves if slaves_have_own => HolderArg::SlaveRole,
        Resource::Master | Resource::Stream | Resource::KinesisStream | Resource::Slaves if has_role => HolderArg::Role,
        _ => HolderArg::Program,
    }
}

impl Settings {
    /// What `iam-policy` asks for.
    ///
    /// # Errors
    /// When something is missing, of no use, or has no such name.
    pub fn policy_request(&self, args: &IamPolicyArgs) -> Result<PolicyRequest, Failure> {
        let work = if self.queue.is_some() { Work::ByFleet } else { Work::Here };
        let (given, repairs) = (conditions(args), repairs(args));
        for purpose in &args.purposes {
            let needed = needed(&programs(*purpose, work, repairs), &given);
            self.refuse_missing(*purpose, &needed, args)?;
        }
        let purposes: Vec<For> = args.purposes.iter().flat_map(|it| programs(*it, work, repairs)).collect();
        let needed = needed(&purposes, &given);
        refuse_useless(args, &needed)?;
        let mut names = names::names(self, args, &needed)?;
        let mut notes = Vec::new();
        if args.policy_of == HolderArg::Program {
            if let (StoreUrl::Directory(path), true) = (&self.store, needs(&needed, Resource::Jobs)) {
                notes.push(format!("the store is the directory {}, which needs nothing of S3", path.display()));
            }
            for place in args.backup.iter().filter(|place| matches!(place.parse(), Ok(StoreUrl::Directory(_)))) {
                notes
                    .push(format!("{place} is a directory, which needs nothing of S3; a bucket is s3://BUCKET/PREFIX"));
            }
            if needed.iter().any(|it| it.action == "ReceiveMessage") {
                notes.push(PROTECTION.to_owned());
            }
            for (flag, role, _) in roles(args).into_iter().filter(|(_, _, holder)| reaches(*holder, &needed, args)) {
                notes.push(format!("{role} reaches tables for it; --policy-of {flag} prints what the role needs"));
            }
        }
        names.retain(|resource, _| holder_of(*resource, args) == args.policy_of);
        Ok(PolicyRequest { needed, names, notes })
    }

    /// Refuses a purpose without what it cannot be without.
    fn refuse_missing(
        &self,
        purpose: PurposeArg,
        needed: &BTreeSet<Permission>,
        args: &IamPolicyArgs,
    ) -> Result<(), Failure> {
        // Changes may go into a backup alone.
        let follows = matches!(purpose, PurposeArg::Stream | PurposeArg::StreamCoordinator);
        let has_slaves = !args.slaves.is_empty() || (follows && !args.backup.is_empty());
        let flags = [
            (Resource::Master, "-m TABLE", !args.masters.is_empty()),
            (Resource::Slaves, "-s TABLE", has_slaves),
            (Resource::Queue, "--queue URL", self.queue.is_some()),
            (Resource::Backup, "--backup URL", !args.backup.is_empty()),
        ];
        let always = |resource| needed.iter().any(|it| it.resource == resource && it.when == When::Always);
        let missing = flags.iter().filter(|(resource, _, is_there)| !is_there && always(*resource));
        let missing: Vec<&str> = missing.map(|(_, flag, _)| *flag).collect();
        if missing.is_empty() {
            return Ok(());
        }
        Err(Failure::usage(
            format!("`--for {}` was given without {}", purpose.name(), missing.join(" and ")),
            "name all that the policy is for: tables as REGION:NAME or by their ARN, the queue by its URL or ARN, places \
             of backups as s3://BUCKET/PREFIX",
        ))
    }
}

/// Refuses what would be left out of the policy without a word.
fn refuse_useless(args: &IamPolicyArgs, all: &BTreeSet<Permission>) -> Result<(), Failure> {
    let when = |when| all.iter().any(|it| it.when == when);
    let flags = [
        ("-m", !args.masters.is_empty(), needs(all, Resource::Master)),
        ("-s", !args.slaves.is_empty(), needs(all, Resource::Slaves)),
        ("--kinesis", !args.kinesis.is_empty(), needs(all, Resource::KinesisStream)),
        ("--backup", !args.backup.is_empty(), needs(all, Resource::Backup)),
        ("--kms-key", !args.kms_key.is_empty(), needs(all, Resource::Key)),
        ("--role-arn", args.role_arn.is_some(), reaches(HolderArg::Role, all, args)),
        ("--slave-role-arn", args.slave_role_arn.is_some(), reaches(HolderArg::SlaveRole, all, args)),
        ("--create", args.create, when(When::Created)),
        ("--verify", args.verify, when(When::Verified)),
        ("--as-of", args.as_of, when(When::AsOf)),
        ("--no-delete", args.no_delete, args.purposes.contains(&PurposeArg::Repair)),
    ];
    let Some((flag, ..)) = flags.iter().find(|(_, given, used)| *given && !used) else { return Ok(()) };
    let purposes: Vec<String> = args.purposes.iter().map(|purpose| purpose.name()).collect();
    Err(Failure::usage(
        format!("{flag} is of no use to `--for {}`", purposes.join(",")),
        "leave it out, or name the purpose that it is for; `dynamend iam-policy --help` lists them",
    ))
}

fn needs(all: &BTreeSet<Permission>, resource: Resource) -> bool {
    all.iter().any(|it| it.resource == resource)
}

/// Whether somebody has to reach anything.
fn reaches(holder: HolderArg, all: &BTreeSet<Permission>, args: &IamPolicyArgs) -> bool {
    all.iter().any(|it| holder_of(it.resource, args) == holder)
}

/// The roles that are named, and how [`HolderArg`] is written for them.
fn roles(args: &IamPolicyArgs) -> Vec<(&'static str, &Arn, HolderArg)> {
    let own = args.role_arn.as_ref().map(|role| ("role", role, HolderArg::Role));
    let of_slaves = args.slave_role_arn.as_ref().map(|role| ("slave-role", role, HolderArg::SlaveRole));
    own.into_iter().chain(of_slaves).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Everything that a command of this kind does is in the policy of its coordinator.
    #[test]
    fn who_may_make_a_job_may_look_after_it() {
        use PurposeArg::{BackupCoordinator, Coordinator, RestoreCoordinator, StreamCoordinator};
        for purpose in [Coordinator, StreamCoordinator, BackupCoordinator, RestoreCoordinator] {
            let programs = programs(purpose, Work::ByFleet, Policy::default());

            assert!(JOBS.iter().all(|job| programs.contains(job)), "{purpose:?}");
        }
    }

    #[test]
    fn a_queue_makes_the_difference_between_a_worker_and_this_process() {
        use PurposeArg::{Backup, Compare, Copy, Repair, Restore, Snapshot, Stream};
        let all = |purpose, work| needed(&programs(purpose, work, Policy::default()), &BTreeSet::from([When::Always]));
        for purpose in [Compare, Repair, Copy, Stream, Backup, Snapshot, Restore] {
            for (work, has_queue) in [(Work::ByFleet, true), (Work::Here, false)] {
                let all = all(purpose, work);

                assert_eq!(needs(&all, Resource::Queue), has_queue, "{purpose:?}, {work:?}");
                assert_eq!(needs(&all, Resource::Summaries), !has_queue, "{purpose:?} is resumed by {work:?}");
            }
        }
    }

    /// Whoever works in one process may also look at its jobs, stop them and change their limits.
    #[test]
    fn in_one_process_the_commands_for_jobs_need_nothing_more() {
        use PurposeArg::{Backup, Compare, Copy, Restore, Snapshot, Stream};
        let given = BTreeSet::from([When::Always, When::OwnKey]);
        for purpose in [Compare, Copy, Stream, Backup, Snapshot, Restore] {
            let here = needed(&programs(purpose, Work::Here, Policy::default()), &given);
            for job in [For::Status, For::Report, For::Jobs, For::Cancel, For::Limit] {
                assert!(needed(&[job], &given).is_subset(&here), "{purpose:?}, {job:?}");
            }
        }
    }
}
