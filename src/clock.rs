//! Points in time that any wait leads to: an embedder's `Duration::MAX` means "as long as you like", and must not overflow a clock.

use std::time::{Duration, Instant};

/// Longer than anything waits.
pub(crate) const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);

/// `now + wait`; more than a year is a year.
pub(crate) fn after(now: Instant, wait: Duration) -> Instant {
    now + wait.min(YEAR)
}

/// The same from this moment on.
pub(crate) fn from_now(wait: Duration) -> Instant {
    after(Instant::now(), wait)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_wait_has_an_end_that_a_clock_can_hold() {
        let now = Instant::now();
        assert_eq!(after(now, Duration::from_secs(1)) - now, Duration::from_secs(1));
        assert_eq!(after(now, Duration::MAX) - now, YEAR);
    }
}
