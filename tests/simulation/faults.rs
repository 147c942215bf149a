//! What a world is, and what goes wrong in it.

use std::time::Duration;

use time::OffsetDateTime;

use crate::fake::model::Versioning;
use crate::releases::Deployment;

/// When every world begins, in seconds since 1970.
pub(crate) const START: u64 = 1_800_000_000;

/// How the world is made and the function set up. None of it is a fault.
#[derive(Debug, Clone)]
pub(crate) struct Setup {
    /// Of each bucket.
    pub(crate) versioning: [Versioning; 3],
    /// Some versions of some users are locked.
    pub(crate) has_locks: bool,
    /// Locks end while the world goes on.
    pub(crate) locks_end: bool,
    pub(crate) bypasses_governance: bool,
    pub(crate) is_dry_run: bool,
    pub(crate) has_receipts: bool,
    /// 0: no sweep.
    pub(crate) sweep_seconds: u64,
    /// The limit that all requests name.
    pub(crate) erase_before: Option<OffsetDateTime>,
    pub(crate) max_objects: Option<u64>,
    pub(crate) request_ids: RequestIds,
    /// The queue is a FIFO queue.
    pub(crate) is_fifo: bool,
    /// Another release or setting comes while the world goes on.
    pub(crate) deployment: Option<Deployment>,
    /// In the end an operator removes the faults, and redrives the dead-letter messages.
    pub(crate) is_redriven: bool,
    /// What is to be deleted goes when the request arrives, whether anybody waits for the answer or
    /// not; else shortly before the answer.
    pub(crate) deletes_at_once: bool,
}

/// How the user service names its requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RequestIds {
    /// Not at all.
    None,
    /// By the user's id.
    OfUser,
    /// All by the same, against the rules.
    Shared,
}

impl Setup {
    /// What is special is absent from most worlds, so that it is also seen alone.
    pub(crate) fn of_seed(seed: u64) -> Self {
        let mut dice = fastrand::Rng::with_seed(seed ^ 0x5ce4e);
        let bucket = |dice: &mut fastrand::Rng| match dice.u32(0..10) {
            0..4 => Versioning::Never,
            4..8 => Versioning::Enabled,
            _ => Versioning::Suspended,
        };
        let versioning = [bucket(&mut dice), bucket(&mut dice), bucket(&mut dice)];
        let mut seldom = |percent: u32| dice.u32(0..100) < percent;
        let has_locks = seldom(30);
        let (locks_end, bypasses_governance) = (seldom(30), seldom(15));
        let is_dry_run = seldom(12);
        let (has_no_receipts, has_sweep, has_limit, has_fuse) =
            (seldom(20), seldom(20), seldom(20), seldom(12));
        let is_fifo = seldom(25);
        // A sweep needs a queue that can delay a single message.
        let has_sweep = has_sweep && !is_fifo;
        let request_ids = match dice.u32(0..10) {
            0 => RequestIds::Shared,
            1 | 2 => RequestIds::OfUser,
            _ => RequestIds::None,
        };
        let start = OffsetDateTime::UNIX_EPOCH + Duration::from_secs(START);
        // Before the world, or while it goes on.
        let limit = if dice.bool() {
            start - Duration::from_secs(dice.u64(0..5_000))
        } else {
            start + Duration::from_millis(dice.u64(0..20_000))
        };
        let is_plain =
            versioning == [Versioning::Never; 3] && !is_dry_run && !has_sweep && !has_fuse;
        Self {
            versioning,
            has_locks,
            locks_end,
            bypasses_governance,
            is_dry_run,
            has_receipts: !has_no_receipts,
            sweep_seconds: if has_sweep {
                *dice.choice(&[20, 300, 2_000]).unwrap_or(&20)
            } else {
                0
            },
            erase_before: has_limit.then_some(limit),
            max_objects: has_fuse.then(|| dice.u64(1..100)),
            request_ids,
            is_fifo,
            deployment: Deployment::draw(&mut dice, is_plain),
            is_redriven: dice.u32(0..100) < 40,
            deletes_at_once: dice.bool(),
        }
    }
}

/// How often what goes wrong, in percent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Faults {
    pub(crate) list_fails: u32,
    pub(crate) list_hangs: u32,
    pub(crate) slow: u32,
    pub(crate) short_pages: u32,
    pub(crate) tokens_refused: u32,
    pub(crate) foreign_keys: u32,
    pub(crate) delete_fails: u32,
    pub(crate) delete_answer_lost: u32,
    pub(crate) throttled: u32,
    pub(crate) keys_throttled: u32,
    /// How many keys a second each bucket's partition takes; 0: as many as come.
    pub(crate) partition_limit: u32,
    pub(crate) keys_refused: u32,
    /// In a thousand.
    pub(crate) poison_keys: u32,
    /// Parts in flight let an upload outlive its abort.
    pub(crate) uploads_outlive: u32,
    pub(crate) retention_fails: u32,
    /// The function may not read the lock of a version.
    pub(crate) is_retention_secret: bool,
    pub(crate) receipts_fail: u32,
    pub(crate) receipts_hang: u32,
    pub(crate) receipt_answer_lost: u32,
    pub(crate) queue_fails: u32,
    pub(crate) queue_answer_lost: u32,
    /// SQS, or another server in its place, responds with 200 and has stored nothing.
    pub(crate) queue_damaged: u32,
    pub(crate) kills: u32,
    pub(crate) duplicates: u32,
    pub(crate) reorders: u32,
    /// How far the function's clock is ahead of Lambda's, or behind it.
    pub(crate) clock_skew_ms: i64,
    pub(crate) late_writes: u32,
    pub(crate) garbage_messages: u32,
    /// A bucket without versioning gets it while the world goes on.
    pub(crate) switches_versioning: bool,
    /// The store says "deleted" and keeps.
    pub(crate) is_liar: bool,
    /// What one of the buckets does to every request, until an operator ends it.
    pub(crate) outage: Option<(usize, Outage)>,
}

/// What a bucket does to every request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outage {
    /// It throttles.
    Busy,
    /// It fails.
    Failing,
    /// It does not answer.
    Hanging,
    /// It lists no uploads.
    NoUploads,
    /// It deletes nothing.
    NoDeletions,
}

impl Faults {
    pub(crate) fn calm() -> Self {
        Self::default()
    }

    /// How wrong the function's clock is, one way or the other.
    pub(crate) fn skew(&self) -> Duration {
        Duration::from_millis(self.clock_skew_ms.unsigned_abs())
    }

    pub(crate) fn is_calm(&self) -> bool {
        *self == Self::calm()
    }

    /// Every fault is absent from most worlds, so that each is also seen alone.
    pub(crate) fn of_seed(seed: u64) -> Self {
        let mut dice = fastrand::Rng::with_seed(seed ^ 0x5eed);
        if seed.is_multiple_of(10) {
            return Self::calm();
        }
        // A store that says "deleted" and keeps is found out after 20 rounds: enough to wait for
        // without other faults.
        if seed % 50 == 1 {
            return Self { is_liar: true, ..Self::calm() };
        }
        const OUTAGES: [Outage; 5] = [
            Outage::Busy,
            Outage::Failing,
            Outage::Hanging,
            Outage::NoUploads,
            Outage::NoDeletions,
        ];
        if seed % 50 < 7 {
            let outage = dice.choice(&OUTAGES).copied().map(|outage| (dice.usize(0..3), outage));
            return Self { outage, ..Self::calm() };
        }
        let mut sometimes = |most: u32| {
            if dice.u32(0..100) < 25 { dice.u32(1..=most) } else { 0 }
        };
        Self {
            list_fails: sometimes(40),
            list_hangs: sometimes(10),
            slow: sometimes(20),
            short_pages: sometimes(50),
            tokens_refused: sometimes(50),
            foreign_keys: sometimes(100) / 90,
            delete_fails: sometimes(40),
            delete_answer_lost: sometimes(40),
            throttled: sometimes(60),
            keys_throttled: sometimes(30),
            partition_limit: sometimes(100),
            keys_refused: sometimes(20),
            poison_keys: sometimes(20),
            uploads_outlive: sometimes(50),
            retention_fails: sometimes(50),
            is_retention_secret: sometimes(2) == 1,
            receipts_fail: sometimes(60),
            receipts_hang: sometimes(20),
            receipt_answer_lost: sometimes(60),
            queue_fails: sometimes(60),
            queue_answer_lost: sometimes(60),
            queue_damaged: sometimes(30),
            kills: sometimes(50),
            duplicates: sometimes(50),
            reorders: sometimes(100),
            clock_skew_ms: match sometimes(40) {
                0 => 0,
                1 => 3_600_000,
                2 => -3_600_000,
                by @ 3..=21 => i64::from(by) * 100,
                by => i64::from(by) * -80,
            },
            late_writes: sometimes(20),
            garbage_messages: sometimes(100),
            switches_versioning: sometimes(1) == 1,
            is_liar: false,
            outage: None,
        }
    }
}
