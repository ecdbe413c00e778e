//! Which stores a worker lets messages lead it to. Messages are not trusted: whoever can send one chooses its manifest.

use std::fmt;
use std::path::{Component, Path, PathBuf};

use url::Url;

use super::location::{BadLocation, StoreUrl, manifest_location};

/// The stores whose jobs are done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum AllowedStores {
    /// All of them.
    #[default]
    Any,
    /// These, and what lies below them.
    Only(Vec<StoreUrl>),
}

/// A message leads to a store that it may not lead to, or to nobody knows where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAllowed {
    /// The manifest's URL is none.
    #[error(transparent)]
    Bad(#[from] BadLocation),
    /// The URL could be read in more than one way.
    #[error(
        "`{0}` is not written as dynamend writes it: `..`, `//`, and percent-encodings that need not be are refused"
    )]
    Devious(String),
    /// It is another store.
    #[error("the store `{store}` is none of those that this worker was started for (--allow-store {allowed})")]
    Other {
        /// Where the message leads.
        store: String,
        /// Where it may.
        allowed: AllowedStores,
    },
}

impl AllowedStores {
    /// These stores only, and all when there are none.
    ///
    /// # Errors
    /// When the current directory cannot be told, which relative paths begin at.
    pub fn of(stores: Vec<StoreUrl>) -> std::io::Result<Self> {
        if stores.is_empty() {
            return Ok(Self::Any);
        }
        let absolute = |store: StoreUrl| {
            Ok(match store.absolute()? {
                StoreUrl::Directory(path) => StoreUrl::Directory(normalised(&path)),
                s3 @ StoreUrl::S3 { .. } => s3,
            })
        };
        stores.into_iter().map(absolute).collect::<std::io::Result<_>>().map(Self::Only)
    }

    /// Whether messages are believed in what the store could say as well.
    #[must_use]
    pub fn believes_messages(&self) -> bool {
        matches!(self, Self::Any)
    }

    /// Refuses the URL of a manifest that is not below one of the stores. Reads nothing.
    ///
    /// # Errors
    /// See [`NotAllowed`].
    pub fn check(&self, manifest_url: &str) -> Result<(), NotAllowed> {
        let Self::Only(allowed) = self else { return Ok(()) };
        let (store, _) = manifest_location(manifest_url)?;
        if !is_plain(manifest_url, &store) {
            return Err(NotAllowed::Devious(manifest_url.to_owned()));
        }
        if allowed.iter().any(|allowed| is_below(&store, allowed)) {
            return Ok(());
        }
        Err(NotAllowed::Other { store: store.to_string(), allowed: self.clone() })
    }
}

impl fmt::Display for AllowedStores {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("any"),
            Self::Only(stores) => {
                let names: Vec<String> = stores.iter().map(ToString::to_string).collect();
                f.write_str(&names.join(","))
            }
        }
    }
}

fn is_below(store: &StoreUrl, allowed: &StoreUrl) -> bool {
    match (store, allowed) {
        (StoreUrl::S3 { bucket, prefix }, StoreUrl::S3 { bucket: allowed_bucket, prefix: allowed_prefix }) => {
            let below = prefix.strip_prefix(allowed_prefix.as_str());
            let whole = |rest: &str| allowed_prefix.is_empty() || rest.is_empty() || rest.starts_with('/');
            bucket == allowed_bucket && below.is_some_and(whole)
        }
        (StoreUrl::Directory(path), StoreUrl::Directory(allowed)) => path.starts_with(allowed),
        (StoreUrl::S3 { .. }, StoreUrl::Directory(_)) | (StoreUrl::Directory(_), StoreUrl::S3 { .. }) => false,
    }
}

/// Whether the URL is the one that dynamend itself writes for this store, and so can be read in one way only.
fn is_plain(manifest_url: &str, store: &StoreUrl) -> bool {
    let names_no_way_up = |path: &str| path.split('/').all(|part| !matches!(part, "" | "." | ".."));
    match store {
        StoreUrl::S3 { bucket, prefix } => {
            let path = manifest_url.strip_prefix("s3://").unwrap_or_default();
            let written =
                if prefix.is_empty() { format!("{bucket}/jobs/") } else { format!("{bucket}/{prefix}/jobs/") };
            let plain = |c: char| !c.is_control() && !matches!(c, '%' | '\\' | '?' | '#');
            path.starts_with(&written) && names_no_way_up(path) && path.chars().all(plain)
        }
        StoreUrl::Directory(path) => {
            let url = Url::from_directory_path(path).map(String::from).unwrap_or_default();
            let written = [format!("{url}jobs/"), format!("{}/jobs/", path.display())];
            path.to_str()
                .and_then(|path| path.strip_prefix('/'))
                .is_some_and(|path| path.is_empty() || names_no_way_up(path))
                && written.iter().any(|written| manifest_url.starts_with(written))
        }
    }
}

/// The path without `.` and `..`, as they stand: links are not followed.
fn normalised(path: &Path) -> PathBuf {
    path.components().fold(PathBuf::new(), |mut path, component| {
        match component {
            Component::CurDir => {}
            Component::ParentDir => drop(path.pop()),
            other => path.push(other),
        }
        path
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn only(stores: &[&str]) -> AllowedStores {
        AllowedStores::of(stores.iter().map(|store| store.parse().unwrap()).collect()).unwrap()
    }

    #[test]
    fn without_a_list_every_store_is_allowed() {
        let any = only(&[]);

        assert_eq!(any, AllowedStores::Any);
        assert_eq!(any.check("s3://anywhere/../jobs/J/manifest.json"), Ok(()));
    }

    #[test]
    fn what_lies_below_an_allowed_store_is_allowed_by_whole_components() {
        let allowed = only(&["s3://bucket/team", "s3://whole/", "/var/jobs/", "/srv/a/../my jobs"]);
        for (manifest, expected) in [
            ("s3://bucket/team/jobs/J/manifest.json", true),
            ("s3://bucket/team/one/jobs/J/manifest.json", true),
            ("s3://whole/jobs/J/manifest.json", true),
            ("s3://whole/a/b/jobs/J/manifest.json", true),
            ("file:///var/jobs/jobs/J/manifest.json", true),
            ("/var/jobs/jobs/J/manifest.json", true),
            ("file:///var/jobs/below/jobs/J/manifest.json", true),
            ("file:///srv/my%20jobs/jobs/J/manifest.json", true),
            ("s3://bucket/jobs/J/manifest.json", false),
            ("s3://bucket/teams/jobs/J/manifest.json", false),
            ("s3://bucket/tea/jobs/J/manifest.json", false),
            ("s3://bucket/team-b/jobs/J/manifest.json", false),
            ("s3://Bucket/team/jobs/J/manifest.json", false),
            ("s3://bucket.evil/team/jobs/J/manifest.json", false),
            ("s3://wholes/jobs/J/manifest.json", false),
            ("file:///var/jobs-b/jobs/J/manifest.json", false),
            ("file:///var/jobs/J/manifest.json", false),
            ("file:///jobs/J/manifest.json", false),
            ("file:///srv/a/jobs/J/manifest.json", false),
        ] {
            let checked = allowed.check(manifest);
            assert_eq!(checked.is_ok(), expected, "{manifest}: {checked:?}");
            assert!(matches!(checked, Ok(()) | Err(NotAllowed::Other { .. })), "{manifest}: {checked:?}");
        }
    }

    #[test]
    fn detours_and_encodings_are_refused_wherever_they_lead() {
        let allowed = only(&["s3://bucket/team", "/var/jobs"]);
        for manifest in [
            "s3://bucket/team/../other/jobs/J/manifest.json",
            "s3://bucket/team/./jobs/J/manifest.json",
            "s3://bucket/team//jobs/J/manifest.json",
            "s3://bucket//team/jobs/J/manifest.json",
            "s3://bucket/team/%2e%2e/other/jobs/J/manifest.json",
            "s3://bucket/team/a%2fb/jobs/J/manifest.json",
            "s3://bucket/team/a\\b/jobs/J/manifest.json",
            "s3://bucket/team/a?b/jobs/J/manifest.json",
            "s3://bucket/team/a\nb/jobs/J/manifest.json",
            "file:///var/jobs/../other/jobs/J/manifest.json",
            "file:///var/other/../jobs/jobs/J/manifest.json",
            "file:///var/jobs/%2e%2e/other/jobs/J/manifest.json",
            "file:///var/%6aobs/jobs/J/manifest.json",
            "file:///var/jobs/a%2f..%2f..%2fb/jobs/J/manifest.json",
            "file:///var/jobs//jobs/J/manifest.json",
            "file://localhost/var/jobs/jobs/J/manifest.json",
            "file:///var/jobs?/jobs/J/manifest.json",
            "/var/jobs/../other/jobs/J/manifest.json",
            "/var//jobs/jobs/J/manifest.json",
            "var/jobs/jobs/J/manifest.json",
            "s3://bucket/team/jobs/../manifest.json",
            "s3://bucket/team/jobs/J%2f..%2fK/manifest.json",
            "S3://bucket/team/jobs/J/manifest.json",
            "https://bucket/team/jobs/J/manifest.json",
        ] {
            let refused = allowed.check(manifest).unwrap_err();
            assert!(matches!(refused, NotAllowed::Devious(_) | NotAllowed::Bad(_)), "{manifest}: {refused}");
        }
    }
}
