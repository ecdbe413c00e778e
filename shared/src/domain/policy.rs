//! From permissions and the names of things to the policy that grants just these.
//!
//! A permission whose resource has no name is left out: what is not there needs no permission.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::permissions::{For, Permission, Resource, Service, When, permissions};

/// Most characters of a managed policy; white space does not count.
///
/// Source: IAM User Guide, "IAM and AWS STS quotas".
pub const MAX_MANAGED_POLICY: usize = 6_144;

/// The version of the language, which knows `${*}`.
///
/// Source: IAM User Guide, "IAM JSON policy elements: Version".
const LANGUAGE: &str = "2012-10-17";

/// What the resources are called: their ARNs, which may end in `*`.
pub type Names = BTreeMap<Resource, BTreeSet<String>>;

/// A policy, in the order and under the names in which IAM has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Document {
    version: &'static str,
    statement: Vec<Statement>,
}

/// One statement of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Statement {
    sid: &'static str,
    effect: &'static str,
    action: Vec<String>,
    resource: Vec<String>,
}

impl Document {
    /// Whether it grants nothing; IAM refuses such a policy.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.statement.is_empty()
    }

    /// How many characters count.
    #[must_use]
    pub fn size(&self) -> usize {
        serde_json::to_string(self).unwrap_or_default().chars().count()
    }
}

/// What these purposes need where these conditions hold.
///
/// With [`When::FromKinesis`], the tables' own streams are not needed.
#[must_use]
pub fn needed(purposes: &[For], given: &BTreeSet<When>) -> BTreeSet<Permission> {
    let all = purposes.iter().flat_map(|purpose| permissions(*purpose));
    let own_stream = !given.contains(&When::FromKinesis);
    all.filter(|it| given.contains(&it.when) && (own_stream || it.resource != Resource::Stream)).collect()
}

/// The policy that grants these permissions on what has these names, and no others.
#[must_use]
pub fn policy(needed: &BTreeSet<Permission>, names: &Names) -> Document {
    let of = |resource| names.get(&resource).into_iter().flatten().cloned();
    let granted: Vec<&Permission> = needed.iter().filter(|it| of(it.resource).next().is_some()).collect();
    let mut groups: BTreeMap<Group, (BTreeSet<String>, BTreeSet<String>)> = BTreeMap::new();
    for it in &granted {
        let elsewhere = |side| granted.iter().any(|other| other.action == it.action && other.resource == side);
        let group = Group::of(it, elsewhere(Resource::Master) && elsewhere(Resource::Slaves));
        let (actions, resources) = groups.entry(group).or_default();
        actions.insert(format!("{}:{}", it.service.prefix(), it.action));
        resources.extend(of(it.resource));
    }
    let statement = groups.into_iter().map(|(group, (actions, resources))| Statement {
        sid: group.sid(&actions),
        effect: "Allow",
        action: actions.into_iter().collect(),
        resource: resources.into_iter().collect(),
    });
    Document { version: LANGUAGE, statement: statement.collect() }
}

/// What makes one statement: all its actions are granted on all its resources.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Group {
    Tables,
    Master,
    Slaves,
    SlavesWritten,
    Stream,
    Roles,
    Queue,
    Jobs,
    Summaries,
    Workers,
    Backups,
    Versions,
    Buckets,
    Keys,
}

impl Group {
    fn of(permission: &Permission, on_both_sides: bool) -> Self {
        match permission.resource {
            Resource::Master | Resource::Slaves if on_both_sides => Self::Tables,
            Resource::Master => Self::Master,
            Resource::Slaves if writes(permission) => Self::SlavesWritten,
            Resource::Slaves => Self::Slaves,
            Resource::Stream | Resource::KinesisStream => Self::Stream,
            Resource::Role => Self::Roles,
            Resource::Queue => Self::Queue,
            Resource::Jobs => Self::Jobs,
            Resource::Summaries => Self::Summaries,
            Resource::Workers => Self::Workers,
            Resource::Backup => Self::Backups,
            Resource::BackupBucket if permission.action != "ListBucket" => Self::Versions,
            Resource::Bucket | Resource::BackupBucket => Self::Buckets,
            Resource::Key => Self::Keys,
        }
    }

    /// What the statement is for, in the letters that IAM takes.
    fn sid(self, actions: &BTreeSet<String>) -> &'static str {
        let has = |action: &str| actions.iter().any(|it| it.split(':').nth(1) == Some(action));
        let only_described = actions.iter().all(|it| it.contains(":Describe"));
        match self {
            Self::Tables if only_described => "LookAtTables",
            Self::Tables => "ReadTables",
            Self::Master if only_described => "LookAtMaster",
            Self::Master => "ReadMaster",
            Self::Slaves if only_described => "LookAtSlaves",
            Self::Slaves => "ReadSlaves",
            Self::SlavesWritten if has("BatchWriteItem") || has("CreateTable") => "WriteSlaves",
            Self::SlavesWritten => "RepairSlaves",
            Self::Stream if has("GetRecords") => "FollowStream",
            Self::Stream => "ListShards",
            Self::Roles => "AssumeRoles",
            Self::Queue if has("ReceiveMessage") => "Work",
            Self::Queue => "Enqueue",
            Self::Jobs if has("PutObject") => "KeepJobs",
            Self::Jobs => "ReadJobs",
            Self::Summaries => "WithdrawSummaries",
            Self::Workers => "TellOtherWorkers",
            Self::Backups if has("PutObject") => "KeepBackups",
            Self::Backups => "ReadBackups",
            Self::Versions => "ListVersions",
            Self::Buckets => "TellMissingFromForbidden",
            Self::Keys => "UseKeys",
        }
    }
}

fn writes(permission: &Permission) -> bool {
    let verbs = ["Put", "Delete", "BatchWrite", "Create", "Update"];
    permission.service == Service::DynamoDb && verbs.iter().any(|verb| permission.action.starts_with(verb))
}

/// What a store in a bucket is called.
#[must_use]
pub fn store_names(partition: &str, bucket: &str, prefix: &str) -> Vec<(Resource, String)> {
    let below = |path: &str| objects(partition, bucket, prefix, path);
    vec![
        (Resource::Jobs, below("jobs/*")),
        (Resource::Summaries, below("jobs/*/summary.json")),
        (Resource::Workers, below("jobs/*/workers/*")),
        (Resource::Bucket, bucket_name(partition, bucket)),
    ]
}

/// What a place for backups in a bucket is called.
#[must_use]
pub fn backup_names(partition: &str, bucket: &str, prefix: &str) -> Vec<(Resource, String)> {
    vec![
        (Resource::Backup, objects(partition, bucket, prefix, "*")),
        (Resource::BackupBucket, bucket_name(partition, bucket)),
    ]
}

fn bucket_name(partition: &str, bucket: &str) -> String {
    format!("arn:{partition}:s3:::{bucket}")
}

/// Objects below a prefix. What IAM would take for a wildcard or a variable in the prefix stands for itself.
fn objects(partition: &str, bucket: &str, prefix: &str, below: &str) -> String {
    let mut name = format!("{}/", bucket_name(partition, bucket));
    for symbol in prefix.chars() {
        match symbol {
            '*' | '?' | '$' => name.extend(['$', '{', symbol, '}']),
            _ => name.push(symbol),
        }
    }
    if !prefix.is_empty() {
        name.push('/');
    }
    name + below
}

#[cfg(test)]
mod tests;
