//! The fields of one mapping: only those that are known, each of its type.

use std::str::FromStr;

use super::fault::{Faults, Noted, Place, Quoted};
use super::yaml::{Content, Member, Node};

/// Most characters of a text; ARNs of roles are the longest, with some 600.
const MAX_TEXT: usize = 2048;

/// A mapping of the plan; nothing at all counts as an empty one.
pub(super) struct Fields<'a> {
    /// Where it is.
    pub(super) place: Place,
    /// Whether all of its fields are known.
    pub(super) all_known: bool,
    path: String,
    members: &'a [Member],
}

/// A value and where it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct At<T> {
    pub(super) value: T,
    pub(super) place: Place,
}

/// A value that may be absent, or so wrong that a fault was noted.
pub(super) type Maybe<T> = Result<Option<At<T>>, Noted>;

impl<'a> Fields<'a> {
    /// The fields of a mapping that is called `path`, and inside which only `known` fields are.
    pub(super) fn of(node: &'a Node, path: &str, known: &[&str], faults: &mut Faults) -> Result<Self, Noted> {
        let members = match &node.content {
            Content::Map(members) => members.as_slice(),
            Content::Null => &[],
            other => {
                let what = if path.is_empty() { "this".to_owned() } else { format!("`{path}`") };
                let message = format!("{what} has to be a mapping, not {}", other.describe());
                return Err(faults.note(node.place, message, format!("its fields are {}", known.join(", "))));
            }
        };
        let mut all_known = true;
        for member in members.iter().filter(|member| !known.contains(&member.key.as_str())) {
            let known_here =
                if path.is_empty() { "there is no field".to_owned() } else { format!("`{path}` has no field") };
            let message = format!("{known_here} {}", Quoted(&member.key));
            faults.note(member.key_place, message, format!("its fields are {}", known.join(", ")));
            all_known = false;
        }
        Ok(Self { place: node.place, all_known, path: path.to_owned(), members })
    }

    /// The full name of a field.
    pub(super) fn path(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }

    /// A field that is there, be it without a value.
    pub(super) fn member(&self, name: &str) -> Option<&'a Member> {
        self.members.iter().find(|member| member.key == name)
    }

    /// A field that has a value.
    pub(super) fn value(&self, name: &str) -> Option<&'a Member> {
        self.member(name).filter(|member| !matches!(member.value.content, Content::Null))
    }

    /// A mapping inside this one; `None` when it is not named.
    pub(super) fn fields(&self, name: &str, known: &[&str], faults: &mut Faults) -> Result<Option<Self>, Noted> {
        let Some(member) = self.member(name) else { return Ok(None) };
        let fields = Fields::of(&member.value, &self.path(name), known, faults)?;
        Ok(Some(Self { place: member.key_place, ..fields }))
    }

    /// A text; an empty one is none.
    pub(super) fn text(&self, name: &str, faults: &mut Faults) -> Maybe<&'a str> {
        let Some(member) = self.value(name) else { return Ok(None) };
        let place = member.place();
        match &member.value.content {
            Content::Plain(text) | Content::Text(text) if text.is_empty() => Ok(None),
            Content::Plain(text) | Content::Text(text) => {
                if text.chars().count() > MAX_TEXT || text.chars().any(char::is_control) {
                    let message = format!("{} is {}", self.path(name), member.value.content.describe());
                    return Err(faults.note(
                        place,
                        message,
                        format!("a line of up to {MAX_TEXT} characters is expected"),
                    ));
                }
                Ok(Some(At { value: text, place }))
            }
            other => Err(self.wrong(name, place, other, "a text", faults)),
        }
    }

    /// A text or a number that means something; `expected` says what.
    pub(super) fn parsed<T: FromStr>(&self, name: &str, expected: &str, faults: &mut Faults) -> Maybe<T> {
        let Some(At { value, place }) = self.text(name, faults)? else { return Ok(None) };
        match value.parse() {
            Ok(value) => Ok(Some(At { value, place })),
            Err(_) => Err(self.wrong(name, place, &Content::Plain(value.to_owned()), expected, faults)),
        }
    }

    /// A truth value in any of YAML's spellings.
    pub(super) fn flag(&self, name: &str, faults: &mut Faults) -> Maybe<bool> {
        let Some(member) = self.value(name) else { return Ok(None) };
        let place = member.place();
        let Content::Plain(text) = &member.value.content else {
            return Err(self.wrong(name, place, &member.value.content, "true or false", faults));
        };
        match text.to_ascii_lowercase().as_str() {
            "true" | "yes" | "on" | "y" => Ok(Some(At { value: true, place })),
            "false" | "no" | "off" | "n" => Ok(Some(At { value: false, place })),
            _ => Err(self.wrong(name, place, &member.value.content, "true or false", faults)),
        }
    }

    /// Whether a truth value is there, and true; what is no truth value is noted, and counts as false.
    pub(super) fn is_set(&self, name: &str, faults: &mut Faults) -> bool {
        matches!(self.flag(name, faults), Ok(Some(At { value: true, .. })))
    }

    /// A number within bounds.
    pub(super) fn number(&self, name: &str, least: u32, most: u32, faults: &mut Faults) -> Maybe<u32> {
        let Some(member) = self.value(name) else { return Ok(None) };
        let place = member.place();
        let number = match &member.value.content {
            Content::Plain(text) => text.parse().ok().filter(|number| (least..=most).contains(number)),
            _ => None,
        };
        match number {
            Some(value) => Ok(Some(At { value, place })),
            None => {
                let expected = format!("a number from {least} to {most}");
                Err(self.wrong(name, place, &member.value.content, &expected, faults))
            }
        }
    }

    /// A list of texts; a single one may stand for itself.
    pub(super) fn texts(&self, name: &str, faults: &mut Faults) -> Vec<String> {
        let Some(member) = self.value(name) else { return Vec::new() };
        let nodes = match &member.value.content {
            Content::List(nodes) => nodes.as_slice(),
            _ => std::slice::from_ref(&member.value),
        };
        let mut texts = Vec::new();
        for node in nodes {
            match &node.content {
                Content::Plain(text) | Content::Text(text) if !text.trim().is_empty() => texts.push(text.clone()),
                other => {
                    self.wrong(name, node.place, other, "a list of texts", faults);
                }
            }
        }
        texts
    }

    /// Notes that a field is not what it has to be.
    pub(super) fn wrong(
        &self,
        name: &str,
        place: Place,
        found: &Content,
        expected: &str,
        faults: &mut Faults,
    ) -> Noted {
        faults.note(place, format!("`{}` has to be {expected}, not {}", self.path(name), found.describe()), "")
    }
}
