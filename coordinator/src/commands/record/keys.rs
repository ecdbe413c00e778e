//! Which records: one key, the lines of a file, or the discrepancies of a job.

use std::collections::{BTreeMap, HashSet};
use std::fs::File;
use std::io::{BufRead, BufReader, Read as _};
use std::path::Path;
use std::pin::pin;

use futures::stream::TryStreamExt as _;
use serde_json::Value as Json;
use shared::domain::job::{Manifest, Origin, Side, labels};
use shared::domain::key::{Key, KeySchema};
use shared::journal::Journal;
use worker::record::pair::{Pair, PairRequest, Purpose};

use super::bad_key;
use super::records::Totals;
use crate::cli::record::RecordsArgs;
use crate::failure::Failure;
use crate::settings::Settings;

/// Most bytes a line with a key has: 3 KB of key at most, escaped in JSON, and some room.
///
/// Source: Amazon DynamoDB Developer Guide, "Quotas": 2048 bytes of partition key and 1024 of sort key.
const MAX_LINE: usize = 64 * 1024;

/// The records that are asked for.
pub(super) struct Asked {
    /// The master.
    pub(super) master: String,
    /// The slaves, each with its own keys.
    pub(super) slaves: Vec<Against>,
    /// Whether there may be more than one record.
    pub(super) totals: Totals,
}

/// One slave.
pub(super) struct Against {
    pub(super) slave: String,
    pub(super) pair: Pair,
    /// Each once.
    pub(super) keys: Vec<Key>,
}

/// Looks at the tables, and reads and checks all keys, before anything else is done.
pub(super) async fn asked(
    settings: &Settings,
    args: &RecordsArgs,
    version_attribute: Option<&str>,
    purpose: Purpose,
) -> Result<Asked, Failure> {
    match (&args.from_report, &args.master, &args.slave) {
        (Some(job), ..) => of_report(settings, args, job, version_attribute, purpose).await,
        (None, Some(master), Some(slave)) => {
            let slaves = std::slice::from_ref(slave);
            let (master, slaves) = settings.sides(master, slaves, &args.credentials, &args.mfa)?;
            let lines = match &args.keys_from {
                Some(path) => Some(open(path)?),
                None => None,
            };
            let all: Vec<&Side> = std::iter::once(&master).chain(&slaves).collect();
            Box::pin(settings.sign_in(&all, &args.mfa)).await?;
            let names = labels(all);
            let mut against = Vec::new();
            for (slave, name) in slaves.into_iter().zip(&names[1..]) {
                let version_attribute = version_attribute.map(str::to_owned);
                let request = PairRequest {
                    master: master.clone(),
                    slave,
                    ignore: args.ignore.clone(),
                    version_attribute,
                    purpose,
                };
                let pair = Pair::open(request, &settings.environment()).await?;
                against.push(Against { slave: name.clone(), pair, keys: Vec::new() });
            }
            let Some(only) = against.first_mut() else { return Err(nothing_named()) };
            let (schema, table) = (only.pair.schema(), &names[0]);
            only.keys = match (lines, &args.key) {
                (Some(lines), _) => keys_in(lines, schema, table)?,
                (None, Some(key)) => {
                    vec![Key::parse(schema, key).map_err(|error| bad_key("the key", key, table, schema, &error))?]
                }
                (None, None) => return Err(nothing_named()),
            };
            let totals = if args.keys_from.is_some() { Totals::Shown } else { Totals::Hidden };
            Ok(Asked { master: names[0].clone(), slaves: against, totals })
        }
        (None, ..) => Err(nothing_named()),
    }
}

/// What clap asks for already.
fn nothing_named() -> Failure {
    Failure::usage("no record was named", "give MASTER SLAVE KEY, MASTER SLAVE --keys-from FILE, or --from-report JOB")
}

fn open(path: &Path) -> Result<Box<dyn BufRead>, Failure> {
    if path == Path::new("-") {
        return Ok(Box::new(std::io::stdin().lock()));
    }
    let file = File::open(path).map_err(|error| unreadable(path, &error))?;
    Ok(Box::new(BufReader::new(file)))
}

fn unreadable(path: &Path, error: &std::io::Error) -> Failure {
    Failure::failed(format!("the keys in {} cannot be read: {error}", path.display()), "check the name of the file")
}

/// The keys in all lines that are not blank, each once.
fn keys_in(mut lines: impl BufRead, schema: &KeySchema, table: &str) -> Result<Vec<Key>, Failure> {
    let mut keys = Distinct::default();
    for number in 1.. {
        let mut line = Vec::new();
        let read = lines.by_ref().take(MAX_LINE as u64 + 1).read_until(b'\n', &mut line);
        if read.map_err(|error| unreadable(Path::new("the list"), &error))? == 0 {
            break;
        }
        let refuse =
            |what: &str| Failure::usage(format!("line {number} of the keys {what}"), "put one key on each line");
        if line.len() > MAX_LINE {
            return Err(refuse("is longer than any key"));
        }
        let text = std::str::from_utf8(&line).map_err(|_| refuse("is no UTF-8 text"))?.trim();
        if !text.is_empty() {
            let what = format!("line {number} of the keys:");
            keys.add(Key::parse(schema, text).map_err(|error| bad_key(&what, text, table, schema, &error))?);
        }
    }
    Ok(keys.keys)
}

/// Tables, access, ignored attributes and version attribute are the job's; of the keys each slave has its own.
async fn of_report(
    settings: &Settings,
    args: &RecordsArgs,
    job: &str,
    version_attribute: Option<&str>,
    purpose: Purpose,
) -> Result<Asked, Failure> {
    let journal = settings.journal(job).await?;
    let manifest = journal.manifest().await?;
    if manifest.slaves.is_empty() || manifest.kind.origin() == Origin::Backup {
        return Err(Failure::usage(
            format!("job {job} has no two tables: it makes a backup, or reads one"),
            "name a job of `sync`, `backfill` or `replicate`, or the tables and --keys-from",
        ));
    }
    let names = manifest.labels();
    let mut keys = keys_of_report(&journal, &manifest).await?;
    Box::pin(settings.sign_in(&manifest.sides().collect::<Vec<_>>(), &args.mfa)).await?;
    let ignore: Vec<String> = manifest.sync.ignore.iter().chain(&args.ignore).cloned().collect();
    let version_attribute = version_attribute.map(str::to_owned).or_else(|| manifest.sync.version_attribute.clone());
    let mut slaves = Vec::new();
    for (slave, name) in manifest.slaves.iter().zip(&names[1..]) {
        let Some(Distinct { keys, .. }) = keys.remove(name) else { continue };
        let request = PairRequest {
            master: manifest.master.clone(),
            slave: slave.clone(),
            ignore: ignore.clone(),
            version_attribute: version_attribute.clone(),
            purpose,
        };
        let pair = Pair::open(request, &settings.environment()).await?;
        slaves.push(Against { slave: name.clone(), pair, keys });
    }
    Ok(Asked { master: names[0].clone(), slaves, totals: Totals::Shown })
}

/// The keys of a job's discrepancies, and of what it could not write, by slave.
async fn keys_of_report(journal: &Journal, manifest: &Manifest) -> Result<BTreeMap<String, Distinct>, Failure> {
    let schema = &manifest.key_schema;
    let names = manifest.labels();
    let mut keys: BTreeMap<String, Distinct> = BTreeMap::new();
    let mut add = |slave: &str, key: &Json| -> Result<(), Failure> {
        let key = Key::from_json(schema, key)
            .map_err(|error| bad_key("a key of the report,", &key.to_string(), &names[0], schema, &error))?;
        keys.entry(slave.to_owned()).or_default().add(key);
        Ok(())
    };
    let mut looks = pin!(journal.look(manifest));
    while let Some((unit, view)) = looks.try_next().await? {
        for name in view.iter().flat_map(|view| &view.checkpoint.parts) {
            for line in journal.part(unit, name).await? {
                add(&line.slave, &line.key)?;
            }
        }
        for name in view.iter().flat_map(|view| &view.checkpoint.rejected) {
            for line in journal.rejected(unit, name).await? {
                let Some(key) = &line.key else { continue };
                let of_all = if line.slave.is_none() { &names[1..] } else { &[] };
                for slave in line.slave.iter().chain(of_all) {
                    add(slave, key)?;
                }
            }
        }
    }
    Ok(keys)
}

/// Keys in the order in which they came, each once.
#[derive(Default)]
struct Distinct {
    keys: Vec<Key>,
    seen: HashSet<Box<[u8]>>,
}

impl Distinct {
    fn add(&mut self, key: Key) {
        if self.seen.insert(key.identity().into()) {
            self.keys.push(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use shared::domain::key::{KeyAttribute, KeyType};

    use super::*;
    use crate::failure::Exit;

    fn schema() -> KeySchema {
        KeySchema { partition: KeyAttribute { name: "id".to_owned(), kind: KeyType::N }, sort: None }
    }

    #[test]
    fn blank_lines_and_keys_that_came_before_are_passed_over() {
        let lines = "{\"id\":1}\n\n  \t\r\n{\"id\":{\"N\":\"1.0\"}}\r\n {\"id\":\"2\"}";

        let keys = keys_in(lines.as_bytes(), &schema(), "us-east-1:orders").unwrap();

        let keys: Vec<String> = keys.iter().map(|key| key.to_json().to_string()).collect();
        assert_eq!(keys, [r#"{"id":{"N":"1"}}"#, r#"{"id":{"N":"2"}}"#]);
    }

    #[test]
    fn a_bad_line_is_named_by_its_number() {
        let long = format!("{{\"id\":1}}\n{}", " ".repeat(MAX_LINE + 1));
        for (lines, what) in [
            (
                &b"{\"id\":1}\n\n{\"no\":1}\n"[..],
                "line 3 of the keys: `{\"no\":1}` does not fit table us-east-1:orders",
            ),
            (b"{\"id\":1}\nid", "line 2 of the keys: `id`"),
            (b"\xff\n", "line 1 of the keys is no UTF-8 text"),
            (long.as_bytes(), "line 2 of the keys is longer than any key"),
        ] {
            let failure = keys_in(lines, &schema(), "us-east-1:orders").unwrap_err();

            assert_eq!(failure.exit, Exit::Usage);
            assert!(failure.message.starts_with(what), "{}", failure.message);
        }
    }
}
