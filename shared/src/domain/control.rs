//! What the user last asked of a job, beside what its manifest says: `control.json`.

use serde::{Deserialize, Serialize};

use super::limits::Limits;

/// The control version that this program reads and writes.
pub const CONTROL_VERSION: u32 = 1;

/// What is asked of a job that was begun.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Wish {
    /// Go on.
    #[default]
    Run,
    /// Stop at the next checkpoint, until the job is resumed; nobody may wish to.
    Cancel,
    /// Stop at the next checkpoint, until the job is resumed.
    Pause,
    /// Stop, because the budget is spent; asked for by the workers themselves.
    Spent,
    /// End where the changes have been caught up with; asked for by the workers themselves.
    Finish,
}

impl Wish {
    /// Whether work goes on.
    #[must_use]
    pub fn goes_on(self) -> bool {
        match self {
            Self::Run | Self::Finish => true,
            Self::Cancel | Self::Pause | Self::Spent => false,
        }
    }
}

/// A wish, and limits that win over the manifest's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Control {
    /// Always [`CONTROL_VERSION`].
    pub version: u32,
    /// What is asked.
    pub wish: Wish,
    /// The limits, all of them, if they were changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<Limits>,
}

impl Default for Control {
    fn default() -> Self {
        Self { version: CONTROL_VERSION, wish: Wish::default(), limits: None }
    }
}

impl From<Wish> for Control {
    fn from(wish: Wish) -> Self {
        Self { wish, ..Self::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_control_without_limits_is_written_as_it_always_was() {
        let old = r#"{"version":1,"wish":"cancel"}"#;

        let control: Control = serde_json::from_str(old).unwrap();

        assert_eq!(control, Wish::Cancel.into());
        assert_eq!(serde_json::to_string(&control).unwrap(), old);
    }
}
