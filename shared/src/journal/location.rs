//! How stores are addressed: `s3://bucket/prefix`, a directory's path, or `file://…`.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::domain::job_id::check_job_id;

/// A place where jobs live.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum StoreUrl {
    /// A bucket and a prefix in it, without slashes at its ends; it may be empty.
    S3 {
        /// The bucket.
        bucket: String,
        /// The prefix.
        prefix: String,
    },
    /// A directory.
    Directory(PathBuf),
}

/// A text that addresses no store.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no store: {what}")]
pub struct BadLocation {
    /// What was given.
    pub text: String,
    /// What is wrong with it.
    pub what: &'static str,
}

impl FromStr for StoreUrl {
    type Err = BadLocation;

    fn from_str(text: &str) -> Result<Self, BadLocation> {
        let bad = |what| BadLocation { text: text.to_owned(), what };
        if let Some(rest) = text.strip_prefix("s3://") {
            let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
            if bucket.is_empty() {
                return Err(bad("the bucket is missing"));
            }
            return Ok(Self::S3 { bucket: bucket.to_owned(), prefix: prefix.trim_matches('/').to_owned() });
        }
        if text.starts_with("file:") {
            let url = url::Url::parse(text).map_err(|_| bad("it is no URL"))?;
            return url.to_file_path().map(Self::Directory).map_err(|()| bad("a file URL holds an absolute path"));
        }
        match text.split_once("://") {
            _ if text.is_empty() => Err(bad("it is empty")),
            Some(_) => Err(bad("a store is s3://BUCKET/PREFIX, a directory, or file:///DIRECTORY")),
            None => Ok(Self::Directory(PathBuf::from(text))),
        }
    }
}

impl StoreUrl {
    /// The same store, also for someone in another directory.
    ///
    /// # Errors
    /// When the current directory cannot be told.
    pub fn absolute(self) -> std::io::Result<Self> {
        match self {
            Self::Directory(path) => std::path::absolute(path).map(Self::Directory),
            s3 @ Self::S3 { .. } => Ok(s3),
        }
    }
}

impl fmt::Display for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::S3 { bucket, prefix } if prefix.is_empty() => write!(f, "s3://{bucket}"),
            Self::S3 { bucket, prefix } => write!(f, "s3://{bucket}/{prefix}"),
            Self::Directory(path) => write!(f, "{}", path.display()),
        }
    }
}

/// Splits the URL of a manifest into the store's root and the job's id.
///
/// # Errors
/// When it does not end in `jobs/JOB/manifest.json`.
pub fn manifest_location(url: &str) -> Result<(StoreUrl, String), BadLocation> {
    let bad = || BadLocation { text: url.to_owned(), what: "a manifest is at STORE/jobs/JOB/manifest.json" };
    let folder = url.strip_suffix("/manifest.json").ok_or_else(bad)?;
    let (above, job) = folder.rsplit_once('/').ok_or_else(bad)?;
    let root = above.strip_suffix("/jobs").ok_or_else(bad)?;
    if root.is_empty() {
        return Err(bad());
    }
    if check_job_id(job).is_err() {
        return Err(BadLocation { text: url.to_owned(), what: "its last folder has no job's id for a name" });
    }
    let root = if Path::new(root).has_root() || root.contains(':') { root.parse()? } else { return Err(bad()) };
    Ok((root, job.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stores_are_understood_in_each_spelling() {
        let s3 = |bucket: &str, prefix: &str| StoreUrl::S3 { bucket: bucket.into(), prefix: prefix.into() };
        for (text, store) in [
            ("s3://bucket", s3("bucket", "")),
            ("s3://bucket/", s3("bucket", "")),
            ("s3://bucket/a/b/", s3("bucket", "a/b")),
            (".dynamend", StoreUrl::Directory(".dynamend".into())),
            ("/var/lib/jobs", StoreUrl::Directory("/var/lib/jobs".into())),
            ("file:///var/lib/my%20jobs", StoreUrl::Directory("/var/lib/my jobs".into())),
        ] {
            assert_eq!(text.parse::<StoreUrl>().unwrap(), store, "{text}");
        }
        for text in ["", "s3://", "s3:///x", "gs://bucket", "file://relative"] {
            assert!(text.parse::<StoreUrl>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_manifest_leads_to_its_store_and_job() {
        let (store, job) = manifest_location("s3://bucket/prefix/jobs/J-1/manifest.json").unwrap();
        assert_eq!((store.to_string().as_str(), job.as_str()), ("s3://bucket/prefix", "J-1"));
        let (store, _) = manifest_location("file:///tmp/x/jobs/J-1/manifest.json").unwrap();
        assert_eq!(store, StoreUrl::Directory("/tmp/x".into()));
        for url in [
            "",
            "s3://b/jobs/manifest.json",
            "s3://b/J/manifest.json",
            "s3://b/jobs/J/other.json",
            "jobs/J/manifest.json",
            "s3://b/jobs//manifest.json",
            "s3://b/jobs/../manifest.json",
            "s3://b/jobs/J K/manifest.json",
            "file:///tmp/jobs/%2e%2e/manifest.json",
        ] {
            assert!(manifest_location(url).is_err(), "{url}");
        }
    }
}
