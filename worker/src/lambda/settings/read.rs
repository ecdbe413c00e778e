//! From the variables of an environment to settings, variable by variable.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::str::FromStr;

use shared::domain::job::{Access, Side};
use shared::domain::table_ref::TableRef;
use shared::journal::StoreUrl;

use super::{Failures, Function, Keys, Rejected, Reread, Settings, Turnover};

/// What begins the names of our own variables; one that nobody knows is a slip of the pen.
const OWN: &str = "DYNAMEND_";

/// Which function it is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Replicate,
    Backup,
}

/// Reads one variable after the other, and keeps what is wrong with them.
pub(super) struct Reader {
    variables: HashMap<String, String>,
    seen: BTreeSet<&'static str>,
    problems: Vec<String>,
}

impl Reader {
    pub(super) fn new(variables: HashMap<String, String>) -> Self {
        Self { variables, seen: BTreeSet::new(), problems: Vec::new() }
    }

    pub(super) fn into_problems(self) -> Vec<String> {
        self.problems
    }

    /// None when something is missing that is a problem, too.
    pub(super) fn settings(&mut self) -> Option<Settings> {
        let kind = self.kind();
        let master = self.master();
        let access = |role: Option<String>, external_id: Option<String>, endpoint_url: Option<String>| Access {
            profile: None,
            role_arn: role,
            external_id,
            endpoint_url,
        };
        let (role, id) = (self.get("DYNAMEND_ROLE_ARN"), self.get("DYNAMEND_EXTERNAL_ID"));
        self.needs("DYNAMEND_EXTERNAL_ID", id.is_some(), "DYNAMEND_ROLE_ARN", role.is_some());
        let endpoint = self.one_of("PrimaryEndpoint", "DYNAMEND_MASTER_ENDPOINT_URL");
        let master_access = access(role, id, endpoint);
        let (role, id) = (self.get("DYNAMEND_SLAVE_ROLE_ARN"), self.get("DYNAMEND_SLAVE_EXTERNAL_ID"));
        self.needs("DYNAMEND_SLAVE_EXTERNAL_ID", id.is_some(), "DYNAMEND_SLAVE_ROLE_ARN", role.is_some());
        let endpoint = self.one_of("ReplicaEndpoint", "DYNAMEND_SLAVE_ENDPOINT_URL");
        let slave_access = access(role, id, endpoint);
        let (version_attribute, origin_attribute) =
            (self.get("DYNAMEND_VERSION_ATTRIBUTE"), self.get("DYNAMEND_ORIGIN_ATTRIBUTE"));
        let turnover = self.turnover();
        let reread = self.reread();
        let rejected = if self.is_true("DYNAMEND_SKIP_REJECTED") { Rejected::Skip } else { Rejected::Fail };
        let failures =
            if self.is_true("DYNAMEND_PARTIAL_BATCHES") { Failures::OfRecord } else { Failures::OfInvocation };
        let (slaves, keys) = self.slaves(&slave_access);
        let store = self.store();
        let region = self.get("BackupRegion");
        let function = match kind? {
            Kind::Replicate => {
                self.belongs_to("backup", &["DYNAMEND_BACKUP"]);
                if slaves.is_empty() {
                    self.problem("no table to write to: set DYNAMEND_SLAVES, or ReplicaTable and ReplicaRegion");
                }
                if let Some(own) = master.as_ref().and_then(|own| slaves.iter().find(|slave| slave.table == *own)) {
                    let problem = format!("{} is master and slave: its changes would never end", own.table);
                    self.problem(&problem);
                }
                Function::Replicate { slaves, keys }
            }
            Kind::Backup => {
                let of_tables = ["DYNAMEND_SLAVES", "DYNAMEND_VERSION_ATTRIBUTE", "DYNAMEND_ORIGIN_ATTRIBUTE"];
                self.belongs_to("replicate", &of_tables);
                if store.is_none() && !self.has("DYNAMEND_BACKUP") && !self.has("BackupPrefix") {
                    self.problem("no store to back up to: set DYNAMEND_BACKUP, or BackupBucket and BackupPrefix");
                }
                Function::Backup { store: store?, region }
            }
        };
        Some(Settings {
            function,
            master,
            master_access,
            version_attribute,
            origin_attribute,
            turnover,
            reread,
            rejected,
            failures,
        })
    }

    /// The original is deployed under the names of its functions.
    fn kind(&mut self) -> Option<Kind> {
        let (variable, text) = match (self.get("DYNAMEND_FUNCTION"), self.get("_HANDLER")) {
            (Some(function), _) => ("DYNAMEND_FUNCTION", function),
            (None, Some(handler)) => ("_HANDLER", handler.rsplit('.').next().unwrap_or_default().to_owned()),
            (None, None) => ("DYNAMEND_FUNCTION", String::new()),
        };
        match text.as_str() {
            "replicate" => Some(Kind::Replicate),
            "backup" => Some(Kind::Backup),
            _ => {
                self.problem(&format!(
                    "{variable} is `{text}`: set DYNAMEND_FUNCTION to `replicate` or `backup`, or name the handler so"
                ));
                None
            }
        }
    }

    fn master(&mut self) -> Option<TableRef> {
        let (table, region) = (self.get("PrimaryTable"), self.get("PrimaryRegion"));
        let own = self.parsed("DYNAMEND_MASTER");
        self.needs("PrimaryRegion", region.is_some(), "PrimaryTable", table.is_some());
        self.needs("PrimaryTable", table.is_some(), "PrimaryRegion", region.is_some());
        self.not_both("PrimaryTable", "DYNAMEND_MASTER");
        own.or_else(|| self.table("PrimaryTable", &region?, &table?))
    }

    fn slaves(&mut self, access: &Access) -> (Vec<Side>, Option<Keys>) {
        let (table, region) = (self.get("ReplicaTable"), self.get("ReplicaRegion"));
        let own = self.get("DYNAMEND_SLAVES");
        self.needs("ReplicaRegion", region.is_some(), "ReplicaTable", table.is_some());
        self.needs("ReplicaTable", table.is_some(), "ReplicaRegion", region.is_some());
        self.not_both("ReplicaTable", "DYNAMEND_SLAVES");
        let tables: Vec<TableRef> = match (own, table, region) {
            (Some(list), _, _) => {
                let names = list.split(',').map(str::trim).filter(|name| !name.is_empty());
                names.filter_map(|name| self.parse("DYNAMEND_SLAVES", name)).collect()
            }
            (None, Some(table), Some(region)) => self.table("ReplicaTable", &region, &table).into_iter().collect(),
            (None, _, _) => Vec::new(),
        };
        let mut names = BTreeSet::new();
        if let Some(twice) = tables.iter().find(|table| !names.insert((*table).clone())) {
            self.problem(&format!("{twice} is named twice"));
        }
        let (id, secret) = (self.get("ReplicaAccessKeyId"), self.get("ReplicaSecretAccessKey"));
        self.needs("ReplicaAccessKeyId", id.is_some(), "ReplicaSecretAccessKey", secret.is_some());
        self.needs("ReplicaSecretAccessKey", secret.is_some(), "ReplicaAccessKeyId", id.is_some());
        if id.is_some() {
            self.not_both("ReplicaAccessKeyId", "DYNAMEND_SLAVE_ROLE_ARN");
        }
        let keys = id.zip(secret).map(|(id, secret)| Keys { id, secret });
        (tables.into_iter().map(|table| Side::new(table, access.clone())).collect(), keys)
    }

    fn store(&mut self) -> Option<StoreUrl> {
        let (bucket, prefix) = (self.get("BackupBucket"), self.get("BackupPrefix"));
        let own = self.parsed("DYNAMEND_BACKUP");
        self.needs("BackupPrefix", prefix.is_some(), "BackupBucket", bucket.is_some());
        self.not_both("BackupBucket", "DYNAMEND_BACKUP");
        let prefix = prefix.unwrap_or_default().trim_matches('/').to_owned();
        own.or_else(|| Some(StoreUrl::S3 { bucket: bucket?, prefix }))
    }

    fn turnover(&mut self) -> Option<Turnover> {
        let (role, at) = (self.get("TurnoverRole"), self.get("TurnoverAt"));
        self.needs("TurnoverRole", role.is_some(), "TurnoverAt", at.is_some());
        self.needs("TurnoverAt", at.is_some(), "TurnoverRole", role.is_some());
        let (role, at) = role.zip(at)?;
        let Ok(at_ms) = at.parse::<i64>() else {
            self.problem(&format!("TurnoverAt is `{at}`: milliseconds since 1970 are expected"));
            return None;
        };
        match role.as_str() {
            "BEFORE" => Some(Turnover::Before(at_ms)),
            "AFTER" => Some(Turnover::After(at_ms)),
            _ => {
                self.problem(&format!("TurnoverRole is `{role}`: BEFORE or AFTER is expected"));
                None
            }
        }
    }

    fn reread(&mut self) -> Option<Reread> {
        let text = self.get("DYNAMEND_REREAD")?;
        match text.as_str() {
            "never" => Some(Reread::Never),
            "always" => Some(Reread::Always),
            _ => match text.parse::<u32>() {
                Ok(seconds) => Some(Reread::OlderThan { ms: i64::from(seconds) * 1000 }),
                Err(_) => {
                    self.problem(&format!("DYNAMEND_REREAD is `{text}`: `never`, `always` or seconds are expected"));
                    None
                }
            },
        }
    }

    fn is_true(&mut self, name: &'static str) -> bool {
        match self.get(name).as_deref() {
            Some("true") => true,
            None | Some("false") => false,
            Some(other) => {
                self.problem(&format!("{name} is `{other}`: `true` or `false` is expected"));
                false
            }
        }
    }

    fn get(&mut self, name: &'static str) -> Option<String> {
        self.seen.insert(name);
        self.variables.get(name).map(|value| value.trim().to_owned())
    }

    fn has(&self, name: &str) -> bool {
        self.variables.contains_key(name)
    }

    /// One value under the name of the original or under ours.
    fn one_of(&mut self, original: &'static str, own: &'static str) -> Option<String> {
        let (first, second) = (self.get(original), self.get(own));
        self.not_both(original, own);
        first.or(second)
    }

    fn parsed<T: FromStr<Err: fmt::Display>>(&mut self, name: &'static str) -> Option<T> {
        let text = self.get(name)?;
        self.parse(name, &text)
    }

    fn parse<T: FromStr<Err: fmt::Display>>(&mut self, name: &str, text: &str) -> Option<T> {
        text.parse().map_err(|error| self.problem(&format!("{name}: {error}"))).ok()
    }

    fn table(&mut self, name: &str, region: &str, table: &str) -> Option<TableRef> {
        self.parse(name, &format!("{region}:{table}"))
    }

    fn needs(&mut self, name: &str, is_set: bool, other: &str, is_other_set: bool) {
        if is_set && !is_other_set {
            self.problem(&format!("{name} is set, and {other} is not"));
        }
    }

    fn not_both(&mut self, one: &str, other: &str) {
        if self.has(one) && self.has(other) {
            self.problem(&format!("{one} and {other} say the same: set one of them"));
        }
    }

    fn belongs_to(&mut self, function: &str, names: &[&str]) {
        for name in names.iter().filter(|name| self.variables.contains_key(**name)) {
            self.problems.push(format!("{name} belongs to the function `{function}`"));
        }
    }

    /// To be called after all known variables were read.
    pub(super) fn look_for_unknown(&mut self) {
        let is_unknown = |name: &&String| name.starts_with(OWN) && !self.seen.contains(name.as_str());
        let mut unknown: Vec<String> = self.variables.keys().filter(is_unknown).cloned().collect();
        unknown.sort();
        self.problems.extend(unknown.into_iter().map(|name| format!("{name} is no variable of this program")));
    }

    fn problem(&mut self, problem: &str) {
        self.problems.push(problem.to_owned());
    }
}
