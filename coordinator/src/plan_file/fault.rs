//! What is wrong with a plan file: all of it at once, each with its place.

use std::fmt;

use crate::failure::Failure;

/// Most characters of the file that a message repeats.
const QUOTED: usize = 60;

/// Most faults that a message lists; a file with more is no plan at all.
const LISTED: usize = 1000;

/// A place in the file; both numbers begin at 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The line.
    pub line: usize,
    /// The character in it.
    pub column: usize,
}

impl Place {
    /// Where a file begins.
    pub const START: Self = Self { line: 1, column: 1 };
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Where.
    pub place: Place,
    /// The entry it belongs to, by number and name, if it belongs to one.
    pub entry: Option<String>,
    /// What.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

/// A plan file that cannot be carried out, with everything that is wrong with it, in the order of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadPlan {
    /// At least one.
    pub faults: Vec<Fault>,
}

impl BadPlan {
    /// As the failure of a command; `file` is the name that the user knows it by.
    #[must_use]
    pub fn failure(&self, file: &str) -> Failure {
        let what = match self.faults.len() {
            1 => "one thing is wrong with it".to_owned(),
            n => format!("{n} things are wrong with it"),
        };
        let mut message = format!("{file} is no plan that can be carried out; {what}:");
        for Fault { place, entry, message: fault, hint } in self.faults.iter().take(LISTED) {
            let entry = entry.as_ref().map_or_else(String::new, |entry| format!("{entry}: "));
            message.push_str(&format!("\n  {file}:{}:{}: {entry}{fault}", place.line, place.column));
            message.extend(hint.iter().map(|hint| format!("\n      {hint}")));
        }
        if let Some(more) = self.faults.len().checked_sub(LISTED).filter(|more| *more > 0) {
            message.push_str(&format!("\n  … and {more} more"));
        }
        Failure::usage(message, "correct the file and run it again; nothing was started")
    }
}

/// That a fault was noted already, and nothing more needs to be said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Noted;

/// Faults as they are found.
#[derive(Debug, Default)]
pub(super) struct Faults {
    entry: Option<String>,
    found: Vec<Fault>,
}

impl Faults {
    /// From here on, faults belong to this entry.
    pub(super) fn enter(&mut self, entry: String) {
        self.entry = Some(entry);
    }

    /// From here on, faults belong to no entry.
    pub(super) fn leave(&mut self) {
        self.entry = None;
    }

    /// Notes what is wrong and what to do about it.
    pub(super) fn note(&mut self, place: Place, message: impl Into<String>, hint: impl Into<String>) -> Noted {
        let (hint, entry) = (Some(hint.into()).filter(|hint| !hint.is_empty()), self.entry.clone());
        self.found.push(Fault { place, entry, message: message.into(), hint });
        Noted
    }

    /// The value, if nothing was found.
    pub(super) fn judge<T>(mut self, value: Option<T>) -> Result<T, BadPlan> {
        match value {
            Some(value) if self.found.is_empty() => Ok(value),
            _ => {
                self.found.sort_by_key(|fault| fault.place);
                Err(BadPlan { faults: self.found })
            }
        }
    }
}

/// A text of the file inside a message: in one line, and not all of it when it is long.
pub(super) struct Quoted<'a>(pub(super) &'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let short: String = self.0.chars().take(QUOTED).collect();
        let rest = if short.len() < self.0.len() { "…" } else { "" };
        write!(f, "`{}{rest}`", short.escape_debug().to_string().replace("\\\"", "\"").replace("\\'", "'"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_faults_are_told_in_the_order_of_the_file() {
        let mut faults = Faults::default();
        faults.enter("entry 1 (orders)".to_owned());
        faults.note(Place { line: 9, column: 3 }, "later", "");
        faults.leave();
        faults.note(Place { line: 2, column: 1 }, "sooner", "do this");

        let failure = faults.judge(Some(())).unwrap_err().failure("plan.yaml");

        assert_eq!(
            failure.message,
            "plan.yaml is no plan that can be carried out; 2 things are wrong with it:\n  plan.yaml:2:1: sooner\n      \
             do this\n  plan.yaml:9:3: entry 1 (orders): later"
        );
        assert_eq!(failure.exit, crate::failure::Exit::Usage);
    }

    #[test]
    fn a_file_that_is_no_plan_at_all_does_not_flood_the_screen() {
        let mut faults = Faults::default();
        for line in 0..1002 {
            faults.note(Place { line, column: 1 }, "wrong", "");
        }

        let message = faults.judge(Some(())).unwrap_err().failure("f").message;

        assert_eq!(message.lines().count(), 1002);
        assert!(message.ends_with("f:999:1: wrong\n  … and 2 more"), "{message}");
    }

    #[test]
    fn what_is_quoted_stays_in_its_line() {
        assert_eq!(Quoted("a\n\u{1b}[31m\"b\"").to_string(), "`a\\n\\u{1b}[31m\"b\"`");
        assert_eq!(Quoted(&"é".repeat(61)).to_string(), format!("`{}…`", "é".repeat(60)));
    }
}
