//! How long a pass goes on in which nothing succeeds, so that a fault stays at its target.

use std::cell::Cell;
use std::time::Duration;

use tokio::time::Instant;

/// A pass in which nothing succeeds for this long is left for this round.
const MAX_PATIENCE: Duration = Duration::from_secs(30);

/// The patience of the current pass. Concurrent requests of the pass share it.
#[derive(Debug)]
pub(super) struct Patience {
    /// When the pass began, or when a request of it last succeeded.
    since: Cell<Instant>,
    lasts: Cell<Duration>,
    /// Requests to this target that have failed since then.
    failures: Cell<u32>,
}

impl Patience {
    pub(super) fn new() -> Self {
        Self {
            since: Cell::new(Instant::now()),
            lasts: Cell::new(MAX_PATIENCE),
            failures: Cell::new(0),
        }
    }

    /// Another target begins: failures of the one before do not count.
    pub(super) fn begin_target(&self) {
        self.failures.set(0);
    }

    /// A pass begins. Until a request of it succeeds, it gets an equal share of the time that is
    /// left, and the same again stays for the proof.
    pub(super) fn begin_pass(&self, time_left: Duration, passes_behind: usize) {
        let shares = u32::try_from(passes_behind.saturating_add(2)).unwrap_or(u32::MAX);
        self.since.set(Instant::now());
        self.lasts.set((time_left / shares).min(MAX_PATIENCE));
    }

    /// A request of the pass succeeded.
    pub(super) fn succeeded(&self) {
        self.since.set(Instant::now());
        self.failures.set(0);
    }

    /// A request of the pass failed in a way that may pass.
    pub(super) fn failed(&self) {
        self.failures.set(self.failures.get().saturating_add(1));
    }

    /// Whether the pass is left for this round instead of another attempt after this wait: nothing
    /// has succeeded for long, and more than one request has failed.
    pub(super) fn is_exhausted_after(&self, wait: Duration) -> bool {
        self.failures.get() > 1 && self.is_shorter_than(wait)
    }

    /// Whether it ends before this wait does.
    pub(super) fn is_shorter_than(&self, wait: Duration) -> bool {
        self.since.get().elapsed() + wait >= self.lasts.get()
    }

    /// How long this pass tries a single item again, and how long one of its requests may wait.
    pub(super) fn lasts(&self) -> Duration {
        self.lasts.get()
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::sleep;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_pass_is_left_when_its_share_is_over_and_two_requests_failed() {
        let patience = Patience::new();
        patience.begin_pass(Duration::from_secs(60), 4);
        assert_eq!(patience.lasts(), Duration::from_secs(10));
        sleep(Duration::from_secs(10)).await;
        patience.failed();
        assert!(!patience.is_exhausted_after(Duration::ZERO), "one failure proves nothing");
        patience.failed();
        assert!(patience.is_exhausted_after(Duration::ZERO));
        patience.succeeded();
        assert!(!patience.is_exhausted_after(Duration::from_secs(11)), "failures before a success");
        patience.begin_pass(Duration::from_secs(900), 0);
        assert_eq!(patience.lasts(), MAX_PATIENCE);
    }
}
