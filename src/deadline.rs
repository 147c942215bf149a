//! How much time an invocation has left. The only reader of the wall clock.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use time::OffsetDateTime;
use tokio::time::Instant;

/// The longest time that Lambda gives an invocation: 900 s, on Managed Instances 5,400 s.
/// <https://docs.aws.amazon.com/lambda/latest/dg/configuration-timeout.html>
const LONGEST_INVOCATION: Duration = Duration::from_secs(5_400);

/// How long to wait for a connection; the SDK's own default. The same for every request, because
/// connections are pooled by it.
pub const CONNECT_TIMEOUT: Duration = Duration::from_millis(3_100);

/// The reserve is at least this part of the invocation's time, where no setting says otherwise.
const RESERVE_DIVISOR: u32 = 100;
const RESERVE_LEAST: Duration = Duration::from_secs(1);

/// The end of one invocation and the time that we stop working before it.
#[derive(Debug, Clone, Copy)]
pub struct Deadline {
    start: Instant,
    stop: Instant,
    end: Instant,
    /// The wall clock's time at the start.
    now: SystemTime,
}

/// What the runtime said about the end of the invocation, on the wall clock.
#[derive(Debug, Clone, Copy)]
pub struct AnnouncedDeadline {
    /// `lambda-runtime-deadline-ms`: milliseconds since 1970.
    pub deadline_epoch_ms: u64,
    /// The wall clock's time now.
    pub now: SystemTime,
    /// The invocation's time if the announced deadline cannot be believed.
    pub fallback: Duration,
}

impl AnnouncedDeadline {
    /// Reads the wall clock beside what the runtime announced.
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the one place that reads the wall clock"
    )]
    pub fn at_wall_clock(deadline_epoch_ms: u64, fallback: Duration) -> Self {
        Self { deadline_epoch_ms, now: SystemTime::now(), fallback }
    }

    /// The time left, and whether the announced deadline was believed.
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
    /// Moves the announced deadline to tokio's clock, which tests can pause. `false` if it could
    /// not be believed.
    ///
    /// The reserve is `reserve`, or 1 s or 1 % of the time left, whichever is more, but never more
    /// than half of it.
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

    /// The time of day, for receipts and for what is due at a time of day.
    pub fn time_of_day(&self) -> OffsetDateTime {
        let now = OffsetDateTime::from(self.now + self.start.elapsed());
        // In milliseconds, as Lambda and SQS tell times.
        now.replace_millisecond(now.millisecond()).unwrap_or(now)
    }

    /// The stop time: what is still in flight then is dropped, and the rest of the time goes to the
    /// hand-off.
    pub fn stop(&self) -> Instant {
        self.stop
    }

    /// Until when the receipt may be tried: six tenths of the reserve stay for handing on what
    /// could not be stored.
    pub fn receipt_deadline(&self) -> Instant {
        self.end - self.reserve().mul_f64(0.6)
    }

    /// Until when the continuation may be tried: three tenths of the reserve stay for giving the
    /// message back.
    pub fn continuation_deadline(&self) -> Instant {
        self.end - self.reserve().mul_f64(0.3)
    }

    /// Until when a message may be given back: a tenth of the reserve stays for the answer itself.
    pub fn visibility_deadline(&self) -> Instant {
        self.end - self.reserve().mul_f64(0.1)
    }

    fn reserve(&self) -> Duration {
        self.end - self.stop
    }
}

/// The time from now to a moment; zero if it has passed.
pub fn time_until(moment: Instant) -> Duration {
    moment.saturating_duration_since(Instant::now())
}
