//! Lines in packed files, bit by bit, so that a file of any size takes little memory.
//!
//! - [`Packer`]: lines go in, bytes come out as they are ready, counted and hashed.
//! - [`Unpacker`]: bytes go in as they arrive, lines come out.

mod packer;
mod unpacker;

use serde::{Deserialize, Serialize};

pub use packer::{Packed, Packer};
pub use unpacker::{Broken, MAX_LINE_BYTES, Unpacker};

/// How a file is packed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Compression {
    /// Not at all.
    None,
    /// With gzip, which everything reads.
    #[default]
    Gzip,
    /// With Zstandard: smaller, and several times as fast.
    Zstd,
}

impl Compression {
    /// The name on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
        }
    }

    /// What the names of such files end in.
    #[must_use]
    pub fn suffix(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Gzip => ".gz",
            Self::Zstd => ".zst",
        }
    }

    /// How a file is packed, by its name.
    #[must_use]
    pub fn of_name(name: &str) -> Self {
        let packed = [Self::Gzip, Self::Zstd].into_iter().find(|packed| name.ends_with(packed.suffix()));
        packed.unwrap_or(Self::None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_says_how_a_file_is_packed() {
        for (name, packed) in [
            ("data/x.json.gz", Compression::Gzip),
            ("x.jsonl.zst", Compression::Zstd),
            ("x.json", Compression::None),
            ("gz", Compression::None),
        ] {
            assert_eq!(Compression::of_name(name), packed, "{name}");
        }
    }

    #[test]
    fn the_name_is_the_same_on_the_command_line_and_in_a_manifest() {
        for packed in [Compression::None, Compression::Gzip, Compression::Zstd] {
            assert_eq!(serde_json::to_value(packed).unwrap(), packed.name());
        }
    }
}
