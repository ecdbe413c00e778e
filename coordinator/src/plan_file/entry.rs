//! The plan as a whole, and one entry of it.

use std::collections::BTreeMap;

use shared::domain::job::Side;
use shared::domain::limits::Capacity;

use super::fault::{Faults, Noted, Quoted};
use super::fields::{At, Fields};
use super::yaml::{Content, Node};
use super::{Defaults, Entry, PlanFile, side, steps};

const PLAN: [&str; 3] = ["plan", "concurrency", "parallel"];

const ENTRY: [&str; 10] =
    ["name", "input", "output", "outputs", "backfill", "stream", "sync", "verify", "read_capacity", "write_capacity"];

/// Most entries, and most segments, that are worked on at once.
const MAX_AT_ONCE: u32 = 1024;

const CAPACITY: &str = "units per second such as 500, a share of the provisioned capacity such as 20%, or none";

/// The whole of a file.
pub(super) fn plan(root: &Node, defaults: &Defaults<'_>, faults: &mut Faults) -> Result<PlanFile, Noted> {
    let fields = Fields::of(root, "", &PLAN, faults)?;
    let concurrency = fields.number("concurrency", 1, MAX_AT_ONCE, faults);
    let parallel = fields.number("parallel", 1, MAX_AT_ONCE, faults);
    let nodes = match fields.member("plan").map(|member| (member, &member.value.content)) {
        None => return Err(faults.note(fields.place, "`plan` is missing", "a plan is a list under `plan:`")),
        Some((_, Content::List(nodes))) if !nodes.is_empty() => nodes,
        Some((member, Content::Null | Content::List(_))) => {
            let hint = "each of its entries has at least an `input` and an `output`";
            return Err(faults.note(member.key_place, "`plan` is empty", hint));
        }
        Some((member, other)) => return Err(fields.wrong("plan", member.place(), other, "a list", faults)),
    };
    let mut entries = Vec::new();
    let mut names = Names::default();
    for (number, node) in (1..).zip(nodes) {
        faults.enter(format!("entry {number}{}", known_as(node).map_or_else(String::new, |name| format!(" ({name})"))));
        let entry = entry(node, defaults, faults).and_then(|(name, mut entry)| {
            entry.name = match name {
                Some(At { value, place }) => names.give(value, number).map_err(|other| {
                    let message = format!("entry {other} is called {} as well", Quoted(value));
                    faults.note(place, message, "give each entry a name of its own")
                })?,
                None => names.give_or_number(&by_tables(&entry.input, &entry.outputs), number),
            };
            Ok(entry)
        });
        entries.extend(entry);
    }
    faults.leave();
    let at_most = |number: Option<At<u32>>| number.map(|at| at.value);
    Ok(PlanFile { concurrency: at_most(concurrency?), parallel: at_most(parallel?), entries })
}

/// What people know an entry by, as far as it can be told before it is understood.
fn known_as(node: &Node) -> Option<String> {
    let field = |node: &Node, name: &str| match &node.content {
        Content::Map(members) => members.iter().position(|member| member.key == name),
        _ => None,
    };
    let Content::Map(members) = &node.content else { return None };
    let text = |node: &Node| match &node.content {
        Content::Plain(text) | Content::Text(text) if !text.is_empty() => {
            Some(Quoted(text).to_string().trim_matches('`').to_owned())
        }
        _ => None,
    };
    let named = field(node, "name").and_then(|at| text(&members[at].value));
    named.or_else(|| {
        let input = &members[field(node, "input")?].value;
        let Content::Map(members) = &input.content else { return None };
        text(&members[field(input, "table")?].value)
    })
}

/// An entry, still without its name, and the name that the file gives it.
fn entry<'a>(
    node: &'a Node,
    defaults: &Defaults<'_>,
    faults: &mut Faults,
) -> Result<(Option<At<&'a str>>, Entry), Noted> {
    let fields = Fields::of(node, "", &ENTRY, faults)?;
    let name = fields.text("name", faults);
    let sides = side::read(&fields, defaults, faults);
    let steps = steps::read(&fields, faults);
    let mut capacity = |name: &str| fields.parsed::<Capacity>(name, CAPACITY, faults);
    let (read_capacity, write_capacity) = (capacity("read_capacity"), capacity("write_capacity"));
    let (input, outputs) = sides?;
    let entry = Entry {
        name: String::new(),
        place: node.place,
        steps: steps?,
        read_capacity: read_capacity?.map(|at| at.value),
        write_capacity: write_capacity?.map(|at| at.value),
        input,
        outputs,
    };
    Ok((name?, entry))
}

fn by_tables(input: &Side, outputs: &[Side]) -> String {
    let outputs: Vec<String> = outputs.iter().map(|output| output.table.to_string()).collect();
    format!("{} -> {}", input.table, outputs.join(", "))
}

/// The names that are taken.
#[derive(Default)]
struct Names {
    /// By name, the entry that has it.
    taken: BTreeMap<String, usize>,
    /// By name, the last number that it was given with.
    numbers: BTreeMap<String, u32>,
}

impl Names {
    /// Gives the name to an entry, unless another has it.
    fn give(&mut self, name: &str, entry: usize) -> Result<String, usize> {
        match self.taken.get(name) {
            Some(other) => Err(*other),
            None => {
                self.taken.insert(name.to_owned(), entry);
                Ok(name.to_owned())
            }
        }
    }

    /// Gives the name, numbered if it is taken: plans of ddb-sync may name the same tables again, with other roles or
    /// segments.
    fn give_or_number(&mut self, name: &str, entry: usize) -> String {
        let number = self.numbers.entry(name.to_owned()).or_insert(1);
        let mut given = name.to_owned();
        while self.taken.contains_key(&given) {
            *number += 1;
            given = format!("{name} #{number}");
        }
        self.taken.insert(given.clone(), entry);
        given
    }
}
