//! The time of day, in a way that goes on with tokio's clock, so that tests can hold it.
//!
//! It never falls behind the machine's own clock: what is judged by it is whether a change may be older than what a slave
//! holds, and there too late is safe and too early is not. A process that was suspended wakes with the machine's time.

use std::cell::OnceCell;

use tokio::time::Instant;

thread_local! {
    /// Both clocks at the first look of this thread.
    static BEGAN: OnceCell<(i64, Instant)> = const { OnceCell::new() };
}

/// Milliseconds since 1970.
#[must_use]
pub fn now_ms() -> i64 {
    let machine = || jiff::Timestamp::now().as_millisecond();
    let (began_ms, began) = BEGAN.with(|clocks| *clocks.get_or_init(|| (machine(), Instant::now())));
    let passed = i64::try_from(began.elapsed().as_millis()).unwrap_or(0);
    machine().max(began_ms.saturating_add(passed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_goes_on_with_the_clock_that_tests_hold() {
        let before = now_ms();
        tokio::time::advance(std::time::Duration::from_secs(3600)).await;

        assert!((3_600_000..3_660_000).contains(&(now_ms() - before)));
    }
}
