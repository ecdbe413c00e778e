//! Waiting for a condition, with a deadline. Nothing else in the tests sleeps.

use std::time::{Duration, Instant};

/// How long a test waits for what should be quick.
pub const DEADLINE: Duration = Duration::from_secs(30);

const PAUSE: Duration = Duration::from_millis(10);

/// Polls until the answer is there, and panics with `what` when the deadline passes first.
pub fn until<T>(what: &str, deadline: Duration, mut poll: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(answer) = poll() {
            return answer;
        }
        assert!(start.elapsed() < deadline, "waited {deadline:?} in vain: {what}");
        std::thread::sleep(PAUSE);
    }
}

/// As [`until`], for conditions that must be asked of a service.
pub async fn eventually<T>(what: &str, deadline: Duration, mut poll: impl AsyncFnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(answer) = poll().await {
            return answer;
        }
        assert!(start.elapsed() < deadline, "waited {deadline:?} in vain: {what}");
        tokio::time::sleep(PAUSE).await;
    }
}
