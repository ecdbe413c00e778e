//! A file that a running worker touches, and the look at it.
//!
//! It shows that the process is there and its runtime turns. The receive loop's progress does not count: it stands still
//! for hours where all places are taken, and while SQS does not answer; whoever replaced workers for that would lose the
//! work in hand, and the new ones could do no more. A unit that hangs loses its lease.

use std::path::Path;
use std::time::{Duration, SystemTime};

use tokio_util::sync::CancellationToken;

/// How often the file is touched.
const EVERY: Duration = Duration::from_secs(10);

/// How old it may be; six times of [`EVERY`], for machines that are busy.
const FRESH_FOR: Duration = Duration::from_secs(60);

/// Why a worker does not count as healthy.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unhealthy {
    /// No worker runs that touches it, or none could.
    #[error("{path} cannot be looked at: {error}")]
    Unknown { path: String, error: std::io::Error },
    /// It was touched long ago, or its time lies ahead.
    #[error("{path} was touched {seconds} seconds ago, and should be every {}", EVERY.as_secs())]
    Stale { path: String, seconds: i64 },
}

/// Does this work; touches the file beside it, and removes it after.
pub(crate) async fn shown_by<T>(path: Option<&Path>, work: impl Future<Output = T>) -> T {
    let Some(path) = path else { return work.await };
    let over = CancellationToken::new();
    let work = async {
        let done = work.await;
        over.cancel();
        done
    };
    let (done, ()) = tokio::join!(work, keep_touching(path, &over));
    if let Err(error) = tokio::fs::remove_file(path).await {
        tracing::debug!(path = %path.display(), %error, "the health file could not be removed");
    }
    done
}

async fn keep_touching(path: &Path, over: &CancellationToken) {
    let mut was_failing = false;
    loop {
        let touched = tokio::fs::write(path, format!("{}\n", jiff::Timestamp::now())).await;
        match &touched {
            Err(error) if !was_failing => {
                tracing::warn!(path = %path.display(), %error, "the health file could not be written; trying again");
            }
            Err(_) | Ok(()) => {}
        }
        was_failing = touched.is_err();
        tokio::select! {
            () = tokio::time::sleep(EVERY) => {}
            () = over.cancelled() => return,
        }
    }
}

/// Whether the file was touched just now.
///
/// # Errors
/// See [`Unhealthy`].
pub(crate) fn check(path: &Path) -> Result<(), Unhealthy> {
    let named = || path.display().to_string();
    let touched = std::fs::metadata(path).and_then(|file| file.modified());
    let touched = touched.map_err(|error| Unhealthy::Unknown { path: named(), error })?;
    let seconds = seconds_between(touched, SystemTime::now());
    if is_fresh(seconds) { Ok(()) } else { Err(Unhealthy::Stale { path: named(), seconds }) }
}

/// Less than 0 when `touched` lies ahead.
fn seconds_between(touched: SystemTime, now: SystemTime) -> i64 {
    let seconds = |time: Duration| i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
    match now.duration_since(touched) {
        Ok(age) => seconds(age),
        Err(ahead) => -seconds(ahead.duration()),
    }
}

/// A time that lies ahead counts like one that is past: a clock that was set back would make a dead worker's file fresh
/// for as long, and a living worker touches it again at once.
fn is_fresh(seconds: i64) -> bool {
    seconds.unsigned_abs() <= FRESH_FOR.as_secs()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_fresh_for_a_minute_around_now() {
        let table = [(-3600, false), (-61, false), (-60, true), (0, true), (59, true), (60, true), (61, false)];
        for (seconds, fresh) in table {
            assert_eq!(is_fresh(seconds), fresh, "{seconds}");
        }
        let now = SystemTime::now();
        assert_eq!(seconds_between(now - Duration::from_secs(7), now), 7);
        assert_eq!(seconds_between(now + Duration::from_secs(7), now), -7);
    }

    #[test]
    fn a_file_that_is_missing_or_stale_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("health");
        assert!(check(&path).unwrap_err().to_string().contains(path.to_str().unwrap()));

        let file = std::fs::File::create(&path).unwrap();
        check(&path).unwrap();
        file.set_modified(SystemTime::now() - Duration::from_secs(100)).unwrap();

        let said = check(&path).unwrap_err().to_string();
        assert!(said.contains(" was touched 100 seconds ago"), "{said}");
    }

    #[tokio::test]
    async fn the_file_is_there_as_long_as_the_work_goes_on() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("health");
        let work = async {
            while check(&path).is_err() {
                tokio::task::yield_now().await;
            }
            "done"
        };

        assert_eq!(shown_by(Some(&path), work).await, "done");

        assert!(!path.exists());
    }

    #[tokio::test]
    async fn work_goes_on_where_the_file_cannot_be_written() {
        assert_eq!(shown_by(Some(Path::new("/no/such/folder/health")), async { "done" }).await, "done");
    }
}
