//! What an id of a job may look like: it becomes the name of a folder, on S3 and on disk, and comes from messages too.

/// Most characters that an id has.
pub const MAX_LENGTH: usize = 100;

/// A text that is no id of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an id has 1 to {MAX_LENGTH} characters out of a-z, A-Z, 0-9, `-`, `_` and `.`, and does not begin with `.`")]
pub struct BadJobId;

/// Refuses what cannot be the id of a job; what passes is one component of a path, and no other folder's name.
///
/// # Errors
/// `BadJobId`.
pub fn check_job_id(text: &str) -> Result<(), BadJobId> {
    let known = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let fits = !text.is_empty() && text.len() <= MAX_LENGTH && !text.starts_with('.') && text.chars().all(known);
    if fits { Ok(()) } else { Err(BadJobId) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_one_plain_name() {
        let longest = "a".repeat(MAX_LENGTH);
        for id in ["20261120T231500Z-7f3a", "a", "A_b-c.d", "a..b", longest.as_str()] {
            assert_eq!(check_job_id(id), Ok(()), "{id}");
        }
        let too_long = "a".repeat(MAX_LENGTH + 1);
        for id in
            ["", ".", "..", "../x", ".hidden", "a/b", "a\\b", "a b", "a%2fb", "é", "a\n", "a\0", too_long.as_str()]
        {
            assert_eq!(check_job_id(id), Err(BadJobId), "{id:?}");
        }
    }
}
