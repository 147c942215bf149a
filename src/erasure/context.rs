//! What all passes of a hop share: the store, the pace, the stop time, and how long each may wait.

use std::future::Future;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::{Instant, sleep, sleep_until};

use crate::deadline::time_until;
use crate::erasure::checkpoint::Checkpoint;
use crate::erasure::confirmed::ConfirmedItems;
use crate::erasure::progress::Progress;
use crate::erasure::report::{ErasureScope, TargetError};
use crate::limiter::{Limiter, ReadClass};
use crate::ports::store::{Kind, ReadStore, StoreError};
use crate::target::Prefix;

/// No request to S3 may take longer; a hop of five minutes must survive a few that hang.
const LONGEST_REQUEST: Duration = Duration::from_secs(15);

/// So much time a request gets where it is left, however short the rest of the hop is.
const LEAST_REQUEST: Duration = Duration::from_secs(3);
const LEAST_READ: Duration = Duration::from_millis(500);

/// A pass in which nothing succeeds for so long is left for this round.
const LONGEST_PATIENCE: Duration = Duration::from_secs(30);

/// What all rounds of a hop share.
#[derive(Debug)]
pub(crate) struct Context<'a, B> {
    pub(crate) bucket: &'a B,
    pub(crate) pace: &'a Limiter,
    pub(crate) counters: &'a Progress,
    pub(crate) job: ErasureScope<'a>,
    /// Held while waiting at the pace, so that each erasure has one place in that line,
    /// however large its user is.
    pub(crate) admission_lock: Mutex<()>,
    longest_launch: Duration,
    deleted: std::sync::Mutex<ConfirmedItems>,
    patience: std::sync::Mutex<Patience>,
    /// Set when nothing more may be deleted: what is on its way comes in, and is counted.
    pub(super) is_aborted: AtomicBool,
    /// The newest fault that was waited out: the reason, should the hop have been of no use.
    pending: std::sync::Mutex<Option<TargetError>>,
}

/// One kind at one target.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scope<'a> {
    /// The target, as its setting names it.
    pub(crate) target: &'a str,
    pub(crate) prefix: &'a Prefix,
    pub(crate) kind: Kind,
    pub(super) pass: &'a PassState,
    /// How many targets come after it.
    pub(super) targets_behind: usize,
}

/// What the batches of a pass share.
#[derive(Debug, Default)]
pub(super) struct PassState {
    /// Set when the pass is over before its time: nothing more of it is sent, and what is on its
    /// way comes in.
    pub(super) is_left: AtomicBool,
    /// Set when the store has accepted a delete request.
    pub(super) is_accepted: AtomicBool,
}

impl Scope<'_> {
    /// Whether no other target waits for this one.
    pub(crate) fn is_last(&self) -> bool {
        self.targets_behind == 0
    }

    pub(crate) fn is_left(&self) -> bool {
        self.pass.is_left.load(Ordering::Relaxed)
    }

    /// Whether the store has accepted a delete request of this pass.
    pub(crate) fn is_accepted(&self) -> bool {
        self.pass.is_accepted.load(Ordering::Relaxed)
    }

    pub(crate) fn accepted(&self) {
        self.pass.is_accepted.store(true, Ordering::Relaxed);
    }
}

/// How long a pass goes on in which nothing succeeds.
#[derive(Debug)]
pub(super) struct Patience {
    /// When the pass began, or something of it succeeded last.
    pub(super) since: Instant,
    pub(super) lasts: Duration,
    /// Requests to this target that have failed since then.
    pub(super) failures: u32,
}

impl<'a, B: ReadStore> Context<'a, B> {
    /// `checkpoint`: where the hop begins.
    pub(crate) fn new(
        bucket: &'a B,
        pace: &'a Limiter,
        counters: &'a Progress,
        job: ErasureScope<'a>,
        checkpoint: &Checkpoint,
    ) -> Self {
        let counted = counters.total();
        let is_from_start =
            checkpoint.round <= 1 && checkpoint.is_at_start_of_round() && counted.gone.total() == 0;
        let counted = counted.targets.into_keys().collect();
        Self {
            bucket,
            pace,
            counters,
            job,
            admission_lock: Mutex::new(()),
            // However slow the store was lately, the first half of a hop launches.
            longest_launch: time_until(job.stop) / 2,
            deleted: std::sync::Mutex::new(ConfirmedItems::new(
                is_from_start,
                job.started_at,
                counted,
            )),
            patience: std::sync::Mutex::new(Patience {
                since: Instant::now(),
                lasts: LONGEST_PATIENCE,
                failures: 0,
            }),
            is_aborted: AtomicBool::new(false),
            pending: std::sync::Mutex::default(),
        }
    }

    /// Repeats a reading request until it is answered, the fault is a lasting one, or the pass is
    /// out of patience. The stop time ends the rest.
    pub(crate) async fn retry_read<T, Answer>(
        &self,
        scope: &Scope<'_>,
        read: ReadClass,
        request: impl Fn(Duration) -> Answer,
    ) -> Result<T, StoreError>
    where
        Answer: Future<Output = Result<T, StoreError>>,
    {
        let mut attempt = 0;
        let pause = self.pace.read_pause(scope.prefix.bucket());
        if !pause.is_zero() && !scope.is_last() && self.is_longer_than_patience(pause) {
            let why = "not sent: SlowDown, as S3 answered earlier requests to this bucket";
            return Err(StoreError::Throttled(why.to_owned()));
        }
        loop {
            let pass = self.pace.admit_read(scope.prefix.bucket(), read).await;
            self.counters.requested(1);
            let limit = self.read_limit(scope);
            let answer = request(limit).await;
            let is_throttled = matches!(answer, Err(StoreError::Throttled(_)));
            pass.answered(is_throttled);
            drop(pass);
            attempt += 1;
            let fault = match answer {
                Ok(answer) => {
                    self.succeeded();
                    return Ok(answer);
                }
                Err(fault) => fault,
            };
            // Where there were too many requests, the pace makes all of them wait.
            let pause = self.pace.read_pause(scope.prefix.bucket());
            let wait = if is_throttled { pause } else { self.pace.backoff(attempt) };
            if matches!(fault, StoreError::NoAnswer(_)) && limit < LEAST_READ {
                // The end of the hop ended this request. That says nothing about the store: the
                // next hop goes on here.
                self.note(scope.target, fault);
                sleep_until(self.job.stop).await;
                continue;
            }
            if fault.is_temporary() {
                self.failed();
            }
            // Other targets do not wait for a pause that takes all of this pass's time.
            let is_too_long = !scope.is_last() && wait >= self.longest_retry();
            if !fault.is_temporary() || is_too_long || self.is_out_of_patience(wait.max(pause)) {
                self.counters.throttled(u64::from(is_throttled));
                return Err(fault);
            }
            self.note(scope.target, fault);
            sleep(wait).await;
            self.counters.retried();
        }
    }

    /// A pass begins, with so many behind it: until something succeeds, it gets an equal share of
    /// the time that is left, and the same again stays for the proof.
    pub(super) fn be_patient(&self, passes_behind: usize) {
        let shares = u32::try_from(passes_behind.saturating_add(2)).unwrap_or(u32::MAX);
        let lasts = (time_until(self.job.stop) / shares).min(LONGEST_PATIENCE);
        let mut patience = self.patience();
        (patience.since, patience.lasts) = (Instant::now(), lasts);
    }

    pub(super) fn patience(&self) -> std::sync::MutexGuard<'_, Patience> {
        self.patience.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something of the pass succeeded.
    pub(crate) fn succeeded(&self) {
        let mut patience = self.patience();
        (patience.since, patience.failures) = (Instant::now(), 0);
    }

    /// A request of the pass failed for the moment.
    pub(crate) fn failed(&self) {
        let mut patience = self.patience();
        patience.failures = patience.failures.saturating_add(1);
    }

    /// Whether the pass is left for this round instead of waiting so long for another attempt:
    /// nothing has succeeded for long, and more than one request has failed.
    pub(crate) fn is_out_of_patience(&self, wait: Duration) -> bool {
        self.patience().failures > 1 && self.is_longer_than_patience(wait)
    }

    fn is_longer_than_patience(&self, wait: Duration) -> bool {
        let patience = self.patience();
        patience.since.elapsed() + wait >= patience.lasts
    }

    /// How long this pass tries a single item again, and how long one of its requests may wait.
    pub(crate) fn longest_retry(&self) -> Duration {
        self.patience().lasts
    }

    /// What this hop has deleted so far.
    pub(crate) fn deleted(&self) -> std::sync::MutexGuard<'_, ConfirmedItems> {
        self.deleted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a fault that is about to be waited out, and remembers it as what this hop waits for.
    pub(crate) fn note(&self, target: &str, fault: StoreError) {
        self.counters.throttled(u64::from(matches!(fault, StoreError::Throttled(_))));
        let fault = TargetError { target: target.to_owned(), obstacle: fault.into() };
        *self.pending.lock().unwrap_or_else(PoisonError::into_inner) = Some(fault);
    }

    /// The newest fault that was waited out, if nothing came of this hop.
    pub(crate) fn last_transient_error(&self) -> Option<TargetError> {
        let is_idle = self.counters.progress() == 0;
        self.pending.lock().unwrap_or_else(PoisonError::into_inner).take().filter(|_| is_idle)
    }

    /// `None`: the stop time came first.
    pub(crate) async fn until_stop<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            () = sleep_until(self.job.stop) => None,
            done = work => Some(done),
        }
    }

    pub(crate) fn may_launch(&self) -> bool {
        !self.is_aborted() && Instant::now() < self.last_launch()
    }

    pub(super) fn is_aborted(&self) -> bool {
        self.is_aborted.load(Ordering::Relaxed)
    }

    /// A batch that is launched later than this may well be dropped at the stop time.
    pub(crate) fn last_launch(&self) -> Instant {
        self.job.stop - self.pace.longest_batch_time().min(self.longest_launch)
    }

    /// Ends when nothing more should be launched.
    pub(super) async fn until_last_launch(&self) {
        while Instant::now() < self.last_launch() {
            sleep_until(self.last_launch()).await;
        }
    }

    /// The longest time that a delete request may take now: at most half of what is left, so that
    /// one that hangs leaves time for another, and half of the pass's patience, for the same
    /// reason. Less than all of what is left: a request that is cut off has to be noticed.
    pub(crate) fn limit(&self) -> Duration {
        let left = time_until(self.job.stop);
        let most = (left / 2).min(self.patience().lasts / 2);
        most.max(LEAST_REQUEST.min(left * 9 / 10)).min(LONGEST_REQUEST)
    }

    /// The same for a reading request: where other targets wait, at most a quarter of what is left,
    /// because each pass begins with one or two.
    fn read_limit(&self, scope: &Scope<'_>) -> Duration {
        let left = time_until(self.job.stop);
        let part = if scope.is_last() { left / 2 } else { left / 4 };
        part.max(LEAST_READ.min(left * 9 / 10)).min(LONGEST_REQUEST)
    }
}

impl StoreError {
    pub(crate) fn is_temporary(&self) -> bool {
        match self {
            Self::Throttled(_)
            | Self::NoAnswer(_)
            | Self::Unavailable(_)
            | Self::Inconsistent(_) => true,
            Self::TokenRejected(_) | Self::Malformed(_) | Self::Permanent(_) => false,
        }
    }
}
