//! The time that an invocation has left. This module is the only reader of the wall clock.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use time::OffsetDateTime;
use tokio::time::Instant;

/// The longest time that Lambda gives an invocation: 900 s, or 5,400 s on Managed Instances.
/// <https://docs.aws.amazon.com/lambda/latest/dg/configuration-timeout.html>
const LONGEST_INVOCATION: Duration = Duration::from_secs(5_400);

/// How long to wait for a connection; this is the SDK's default. It is the same for every request,
/// because the SDK pools connections by it.
pub const CONNECT_TIMEOUT: Duration = Duration::from_millis(3_100);

/// Unless a setting says otherwise, the reserve is at least this fraction of the invocation's time.
const RESERVE_DIVISOR: u32 = 100;
const RESERVE_LEAST: Duration = Duration::from_secs(1);

/// The end of one invocation, and the stop time before it.
#[derive(Debug, Clone, Copy)]
pub struct Deadline {
    start: Instant,
    stop: Instant,
    end: Instant,
    /// The wall-clock time at the start.
    now: SystemTime,
}

/// The deadline that the runtime announced, in wall-clock time.
#[derive(Debug, Clone, Copy)]
pub struct AnnouncedDeadline {
    /// `lambda-runtime-deadline-ms`: milliseconds since 1970.
    pub deadline_epoch_ms: u64,
    /// The current wall-clock time.
    pub now: SystemTime,
    /// The invocation's time if the announced deadline is implausible.
    pub fallback: Duration,
}

impl AnnouncedDeadline {
    /// Combines the announced deadline with the current wall-clock time.
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the one place that reads the wall clock"
    )]
    pub fn at_wall_clock(deadline_epoch_ms: u64, fallback: Duration) -> Self {
        Self { deadline_epoch_ms, now: SystemTime::now(), fallback }
    }

    /// Returns the time left, and whether the announced deadline was plausible.
    ///
    /// `cargo lambda watch` 1.9.2 announces a moment in 1970.
    fn time_left(self) -> (Duration, bool) {
        let deadline = UNIX_EPOCH.checked_add(Duration::from_millis(self.deadline_epoch_ms));
        match deadline.and_then(|deadline| deadline.duration_since(self.now).ok()) {
            Some(left) if !left.is_zero() => (left.min(LONGEST_INVOCATION), true),
            Some(_) | None => (self.fallback, false),
        }
    }
}

impl Deadline {
    /// Converts the announced deadline to tokio's clock, which tests can pause. The `bool` is
    /// `false` if the deadline was implausible.
    ///
    /// If `reserve` is `None`, the reserve is the longer of 1 s and 1 % of the time left. It is
    /// never more than half of the time left.
    pub fn new(announced: AnnouncedDeadline, reserve: Option<Duration>) -> (Self, bool) {
        let (left, is_believed) = announced.time_left();
        let reserve =
            reserve.unwrap_or_else(|| RESERVE_LEAST.max(left / RESERVE_DIVISOR)).min(left / 2);
        let start = Instant::now();
        let end = start + left;
        (Self { start, stop: end - reserve, end, now: announced.now }, is_believed)
    }

    /// When the invocation began.
    pub fn start(&self) -> Instant {
        self.start
    }

    /// The time of day, for receipts and for the due time of a late-write sweep.
    pub fn time_of_day(&self) -> OffsetDateTime {
        let now = OffsetDateTime::from(self.now + self.start.elapsed());
        // Lambda and SQS state times in milliseconds, too.
        now.replace_millisecond(now.millisecond()).unwrap_or(now)
    }

    /// The stop time: requests that are then in flight are dropped, and the remaining time is for
    /// the hand-off.
    pub fn stop(&self) -> Instant {
        self.stop
    }

    /// When attempts to store the receipt end. Six tenths of the reserve remain for a continuation
    /// if the receipt could not be stored.
    pub fn receipt_deadline(&self) -> Instant {
        self.end - self.reserve().mul_f64(0.6)
    }

    /// When attempts to send the continuation end. Three tenths of the reserve remain for returning
    /// the message to its queue.
    pub fn continuation_deadline(&self) -> Instant {
        self.end - self.reserve().mul_f64(0.3)
    }

    /// When attempts to return a message to its queue end. A tenth of the reserve remains for the
    /// function's response.
    pub fn visibility_deadline(&self) -> Instant {
        self.end - self.reserve().mul_f64(0.1)
    }

    fn reserve(&self) -> Duration {
        self.end - self.stop
    }
}

/// The time from now to `moment`; zero if it has passed.
pub fn time_until(moment: Instant) -> Duration {
    moment.saturating_duration_since(Instant::now())
}
