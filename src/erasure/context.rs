//! What all passes of a hop share: the store, the limiter, the progress, and the time that is left.

use std::cell::Cell;
use std::future::Future;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::{Instant, sleep_until};

use crate::deadline::time_until;
use crate::erasure::engine::ErasureScope;
use crate::erasure::patience::Patience;
use crate::erasure::progress::Progress;
use crate::limiter::retry::retry;
use crate::limiter::{Limiter, ReadClass};
use crate::ports::store::{Kind, ReadStore, StoreError};
use crate::target::Prefix;

/// The longest timeout of a request: a hop of five minutes must survive a few requests that hang.
const MAX_TIMEOUT: Duration = Duration::from_secs(15);

/// The shortest timeouts of a delete and of a reading request, unless the hop ends before.
const MIN_DELETE_TIMEOUT: Duration = Duration::from_secs(3);
const MIN_READ_TIMEOUT: Duration = Duration::from_millis(500);

/// What all passes of a hop share.
#[derive(Debug)]
pub(super) struct Context<'a, S> {
    pub(super) store: &'a S,
    pub(super) limiter: &'a Limiter,
    pub(super) progress: &'a Progress,
    pub(super) erasure: ErasureScope<'a>,
    pub(super) is_dry_run: bool,
    /// Held while waiting at the limiter, so that each erasure has one place in its line, however
    /// large its user is.
    pub(super) admission_lock: Mutex<()>,
    pub(super) patience: Patience,
    /// Set when nothing more may be deleted: the responses of what was sent are still counted.
    pub(super) is_aborted: Cell<bool>,
    max_launch_margin: Duration,
}

/// One kind at one target.
#[derive(Debug)]
pub(super) struct Scope<'a> {
    /// The target, as its setting names it.
    pub(super) target: &'a str,
    pub(super) prefix: &'a Prefix,
    pub(super) kind: Kind,
    /// Whether no other target waits for this one.
    pub(super) is_last_target: bool,
    /// Set when the pass is left for this round: nothing more of it is sent, and the responses of
    /// what was sent are still counted.
    pub(super) is_left: Cell<bool>,
    /// Set when the store has accepted a delete request of this pass.
    pub(super) is_accepted: Cell<bool>,
}

impl<'a> Scope<'a> {
    pub(super) fn new(
        (target, prefix): (&'a str, &'a Prefix),
        kind: Kind,
        is_last_target: bool,
    ) -> Self {
        let (is_left, is_accepted) = (Cell::new(false), Cell::new(false));
        Self { target, prefix, kind, is_last_target, is_left, is_accepted }
    }
}

impl<'a, S: ReadStore> Context<'a, S> {
    pub(super) fn new(
        store: &'a S,
        limiter: &'a Limiter,
        progress: &'a Progress,
        erasure: ErasureScope<'a>,
        is_dry_run: bool,
    ) -> Self {
        Self {
            store,
            limiter,
            progress,
            erasure,
            is_dry_run,
            admission_lock: Mutex::new(()),
            patience: Patience::new(),
            is_aborted: Cell::new(false),
            // However slow the store was lately, the first half of a hop launches batches.
            max_launch_margin: time_until(erasure.stop) / 2,
        }
    }

    /// Repeats a reading request until it succeeds, its error is permanent, or the pass is out of
    /// patience. The stop time ends the rest: the caller waits for both, see
    /// [`Context::until_stop`].
    pub(super) async fn retry_read<T, Response>(
        &self,
        scope: &Scope<'_>,
        class: ReadClass,
        request: impl Fn(Duration) -> Response,
    ) -> Result<T, StoreError>
    where
        Response: Future<Output = Result<T, StoreError>>,
    {
        let bucket = scope.prefix.bucket();
        let pause = self.limiter.read_pause(bucket);
        if !pause.is_zero() && !scope.is_last_target && self.patience.is_shorter_than(pause) {
            let why = "not sent: SlowDown, as S3 answered earlier requests to this bucket";
            return Err(StoreError::Throttled(why.to_owned()));
        }
        let timeout = Cell::new(Duration::ZERO);
        let attempt = || async {
            let permit = self.limiter.admit_read(bucket, class).await;
            self.progress.requested(1);
            timeout.set(self.read_timeout(scope));
            let result = request(timeout.get()).await;
            permit.answered(matches!(result, Err(StoreError::Throttled(_))));
            result.inspect(|_| self.patience.succeeded())
        };
        retry(attempt, |error, attempts| self.wait_for_read(scope, error, timeout.get(), attempts))
            .await
    }

    /// The wait before the next attempt of a reading request, or the error if there is none.
    fn wait_for_read(
        &self,
        scope: &Scope<'_>,
        error: StoreError,
        timeout: Duration,
        attempts: u32,
    ) -> Result<Duration, StoreError> {
        if matches!(error, StoreError::NoAnswer(_)) && timeout < MIN_READ_TIMEOUT {
            // The end of the hop ended this request. That says nothing about the store: the next
            // hop resumes here.
            self.progress.record_transient_error(scope.target, error);
            return Ok(time_until(self.erasure.stop));
        }
        let is_throttled = matches!(error, StoreError::Throttled(_));
        // Where the bucket throttles, the limiter makes all requests wait.
        let pause = self.limiter.read_pause(scope.prefix.bucket());
        let wait = if is_throttled { pause } else { self.limiter.backoff(attempts) };
        if error.is_transient() {
            self.patience.failed();
        }
        // Other targets do not wait for a pause that takes all of this pass's time.
        let is_too_long = !scope.is_last_target && wait >= self.patience.lasts();
        let is_exhausted = self.patience.is_exhausted_after(wait.max(pause));
        if !error.is_transient() || is_too_long || is_exhausted {
            self.progress.throttled(u64::from(is_throttled));
            return Err(error);
        }
        self.progress.record_transient_error(scope.target, error);
        self.progress.retried();
        Ok(wait)
    }

    /// Waits for a result until the stop time; `None` if the stop time came first.
    pub(super) async fn until_stop<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            () = sleep_until(self.erasure.stop) => None,
            done = work => Some(done),
        }
    }

    /// Whether another batch may be launched.
    pub(super) fn may_launch(&self) -> bool {
        !self.is_aborted.get() && Instant::now() < self.last_launch()
    }

    /// A batch that is launched later than this would probably be dropped at the stop time.
    pub(super) fn last_launch(&self) -> Instant {
        self.erasure.stop - self.limiter.longest_batch_time().min(self.max_launch_margin)
    }

    /// Returns when nothing more should be launched.
    pub(super) async fn until_last_launch(&self) {
        while Instant::now() < self.last_launch() {
            sleep_until(self.last_launch()).await;
        }
    }

    /// The timeout of a delete request: at most half of what is left of the hop, and half of the
    /// pass's patience, so that a request that hangs leaves time for another. Less than all of what
    /// is left: a timeout has to be noticed.
    pub(super) fn delete_timeout(&self) -> Duration {
        let left = time_until(self.erasure.stop);
        let share = (left / 2).min(self.patience.lasts() / 2);
        share.max(MIN_DELETE_TIMEOUT.min(left * 9 / 10)).min(MAX_TIMEOUT)
    }

    /// The timeout of a reading request: where other targets wait, a quarter of what is left,
    /// because each pass begins with one or two of these requests.
    fn read_timeout(&self, scope: &Scope<'_>) -> Duration {
        let left = time_until(self.erasure.stop);
        let share = if scope.is_last_target { left / 2 } else { left / 4 };
        share.max(MIN_READ_TIMEOUT.min(left * 9 / 10)).min(MAX_TIMEOUT)
    }
}
