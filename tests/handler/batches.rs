//! One batch: which items are retried, when and how, and what the report says about the others.

use std::num::{NonZeroU32, NonZeroU64};
use std::sync::Mutex;
use std::time::Duration;

use erase_user_files::erasure::checkpoint::Checkpoint;
use erase_user_files::erasure::counts::{Remaining, Totals};
use erase_user_files::erasure::dry_run::DryRun;
use erase_user_files::erasure::engine::{Engine, ErasureScope};
use erase_user_files::erasure::erase::Eraser;
use erase_user_files::erasure::progress::Progress;
use erase_user_files::erasure::report::{HopEnd, IncompleteReason, Report};
use erase_user_files::limiter::Limiter;
use erase_user_files::ports::store::{
    FailureKind, Item, Kind, LockKind, Page, Retention, StoreError,
};
use erase_user_files::target::{Targets, User};
use tokio::time::{Instant, sleep};

use crate::fake::handle::Fake;
use crate::fake::model::Versioning;
use crate::faults::{Asks, Code, Faults, Request, Shared};
use crate::fixture::locked;

const TARGET: &str = "s3://photos/{user_id}/";
/// What a delete request takes, in milliseconds.
const DELETING: u64 = 250;

const DENIED: Code = ("AccessDenied", FailureKind::Denied);
const CONFLICT: Code = ("OperationAborted", FailureKind::Transient);
const SLOW_DOWN: Code = ("SlowDown", FailureKind::Throttled);

/// What the store says to request number `n`, from 0 on, for these keys: the codes of the keys that
/// it keeps.
type Says = fn(n: usize, keys: &[&str]) -> Result<Vec<(usize, Code)>, StoreError>;

/// One page of items, and answers that a test determines.
struct Scripted {
    model: Fake,
    says: Says,
    /// Listings of this kind are denied.
    denies: Option<Kind>,
    /// A token that it returns once, and then rejects.
    bad_token: Mutex<Option<String>>,
    /// How many listings of objects fail before one is answered.
    broken: Mutex<u32>,
    listed: Mutex<Vec<(Instant, Kind)>>,
    /// Delete requests: when they came, and how many keys they had.
    requests: Mutex<Vec<(Instant, usize)>>,
}

impl Scripted {
    fn new(count: usize, says: Says) -> Self {
        let scripted = Self {
            model: Fake::new(&["photos"]),
            says,
            denies: None,
            bad_token: Mutex::default(),
            broken: Mutex::default(),
            listed: Mutex::default(),
            requests: Mutex::default(),
        };
        scripted.put(count);
        scripted
    }

    /// The same in a bucket with versioning.
    fn versioned(count: usize, says: Says) -> Self {
        let scripted = Self::new(0, says);
        scripted.model.store().set_versioning("photos", Versioning::Enabled);
        scripted.put(count);
        scripted
    }

    fn put(&self, count: usize) {
        let mut model = self.model.store();
        (0..count).for_each(|number| model.put("photos", &format!("u1/{number:03}"), 1));
    }
}

impl Faults for Scripted {
    fn model(&self) -> &Fake {
        &self.model
    }

    async fn before(&self, request: Request<'_>) -> Result<(), StoreError> {
        let denied = || StoreError::Permanent("AccessDenied".to_owned());
        match request.asks {
            Asks::Listing(kind) => {
                locked(&self.listed).push((Instant::now(), kind));
                if self.denies == Some(kind) {
                    return Err(denied());
                }
                let mut broken = locked(&self.broken);
                if kind == Kind::Objects && *broken > 0 {
                    *broken -= 1;
                    return Err(StoreError::Unavailable("InternalError".to_owned()));
                }
                Ok(())
            }
            Asks::Deleting(items) => {
                locked(&self.requests).push((Instant::now(), items.len()));
                sleep(Duration::from_millis(DELETING)).await;
                Ok(())
            }
            Asks::Retention(item) if item.key.as_str() == "u1/002" => Err(denied()),
            Asks::Versioning | Asks::Retention(_) => Ok(()),
        }
    }

    fn kept(
        &self,
        request: Request<'_>,
        items: &[Item],
    ) -> Result<Vec<(usize, Option<Code>)>, StoreError> {
        let number = locked(&self.requests).len() - 1;
        let name = |item: &Item| item.key.as_str()[request.prefix.as_str().len()..].to_owned();
        let names: Vec<String> = items.iter().map(name).collect();
        let kept = (self.says)(number, &names.iter().map(String::as_str).collect::<Vec<_>>())?;
        Ok(kept.into_iter().map(|(index, code)| (index, Some(code))).collect())
    }

    fn page(&self, kind: Kind, page: Page) -> Page {
        let bad_token = if kind == Kind::Objects { locked(&self.bad_token).take() } else { None };
        Page { next: page.next.or(bad_token), ..page }
    }

    fn token_after(&self, _: Kind, _: &str) -> Option<String> {
        None
    }
}

/// What came of a hop.
struct Hop {
    report: Report,
    totals: Totals,
    listed: Vec<(Instant, Kind)>,
    /// The delete requests: how long after the answer to the one before, in milliseconds, and how
    /// many keys they had.
    requests: Vec<(u64, usize)>,
    pace: Limiter,
}

impl Hop {
    fn sizes(&self) -> Vec<usize> {
        self.requests.iter().map(|(_, keys)| *keys).collect()
    }

    /// What is left, where nothing of it could be deleted.
    fn left(&self) -> Option<&Remaining> {
        if let HopEnd::Incomplete(IncompleteReason::NotDeletable(left)) = &self.report.end {
            left.get(TARGET)
        } else {
            None
        }
    }

    /// What prevented progress in a hop that had no time for more.
    fn fault(&self) -> String {
        let HopEnd::Unfinished { faults, .. } = &self.report.end else {
            return String::new();
        };
        faults.iter().map(ToString::to_string).collect()
    }
}

async fn hop(store: Scripted, milliseconds: u64, max_objects: u64) -> Hop {
    let (start, store) = (Instant::now(), Shared::new(store));
    let (targets, user) =
        (Targets::parse(TARGET).expect("a target"), User::parse("u1").expect("an id"));
    let (max_objects, stop) =
        (NonZeroU64::new(max_objects), start + Duration::from_millis(milliseconds));
    let job = ErasureScope {
        targets: &targets,
        user: &user,
        erase_before: None,
        max_objects,
        started_at: None,
        stop,
    };
    let (pace, counters) = (Limiter::new(None, NonZeroU32::MIN, 1), Progress::default());
    let report =
        Eraser(store.clone()).work(&pace, &counters, job, &mut Checkpoint::default()).await;
    let mut free = start;
    let mut since = |(at, keys): &(Instant, usize)| {
        let waited = at.duration_since(free).as_millis();
        free = *at + Duration::from_millis(DELETING);
        (u64::try_from(waited).expect("not long"), *keys)
    };
    let requests = locked(&store.requests).iter().map(&mut since).collect();
    Hop { report, totals: counters.total(), listed: locked(&store.listed).clone(), requests, pace }
}

async fn erase(store: Scripted) -> Hop {
    hop(store, 60_000, 0).await
}

#[tokio::test(start_paused = true)]
async fn successful_batch_takes_one_request() {
    let hop = erase(Scripted::new(8, |_, _| Ok(Vec::new()))).await;
    assert_eq!((hop.report.end.clone(), hop.sizes()), (HopEnd::Erased, vec![8]));
    assert_eq!((hop.totals.deleted.objects, hop.totals.retries, hop.totals.throttles), (8, 0, 0));
}

fn malformed() -> StoreError {
    StoreError::Malformed("DeleteObjects: InvalidRequest (HTTP 400)".to_owned())
}

#[tokio::test(start_paused = true)]
async fn malformed_key_is_isolated_by_bisection() {
    let says: Says = |_, keys| {
        if keys.contains(&"005") { Err(malformed()) } else { Ok(Vec::new()) }
    };
    let hop = erase(Scripted::new(8, says)).await;
    let expected = [8, 4, 4, 2, 2, 1, 1, 1];
    assert_eq!(hop.sizes(), expected, "the last one is the next round");
    assert_eq!(
        (hop.left().unwrap().refused.of("InvalidRequest"), hop.left().unwrap().refused.total()),
        (1, 1)
    );
    assert_eq!((hop.totals.deleted.objects, hop.totals.retries), (7, 6));
    // Also where it is the first one, or the last one.
    for says in [
        (|_, keys| {
            if keys.contains(&"000") { Err(malformed()) } else { Ok(Vec::new()) }
        }) as Says,
        |_, keys| {
            if keys.contains(&"007") { Err(malformed()) } else { Ok(Vec::new()) }
        },
    ] {
        let hop = erase(Scripted::new(8, says)).await;
        assert_eq!(
            (hop.totals.deleted.objects, hop.left().unwrap().refused.of("InvalidRequest")),
            (7, 1)
        );
    }
}

#[tokio::test(start_paused = true)]
async fn batch_of_only_malformed_keys_fails_the_target() {
    for count in [2, 3, 8, 1_000] {
        let hop = erase(Scripted::new(count, |_, _| Err(malformed()))).await;
        let HopEnd::Failed(faults) = &hop.report.end else {
            panic!("{count}: {:?}", hop.report.end)
        };
        let expected = format!(
            "{TARGET}: the bucket cannot be used: DeleteObjects: InvalidRequest (HTTP 400)"
        );
        assert_eq!(
            faults.iter().map(ToString::to_string).collect::<Vec<_>>(),
            [expected],
            "{count}"
        );
        assert!(hop.sizes().len() <= 20, "{count}: {:?}", hop.sizes());
    }
    let one = erase(Scripted::new(1, |_, _| Err(malformed()))).await;
    assert_eq!(one.left().unwrap().refused.of("InvalidRequest"), 1, "of one key, nobody knows");
}

fn unavailable() -> StoreError {
    StoreError::Unavailable("DeleteObjects: InternalError (HTTP 500)".to_owned())
}

#[tokio::test(start_paused = true)]
async fn unavailable_batch_is_retried_with_backoff_then_split() {
    let says: Says = |n, _| {
        if n < 3 { Err(unavailable()) } else { Ok(Vec::new()) }
    };
    let hop = erase(Scripted::new(8, says)).await;
    assert_eq!((hop.report.end.clone(), hop.sizes()), (HopEnd::Erased, vec![8, 8, 4, 4, 2, 2]));
    assert_eq!((hop.totals.deleted.objects, hop.totals.throttles), (8, 0));
    for ((waited, _), ceiling) in hop.requests[1..].iter().zip([100, 200]) {
        assert!((ceiling / 2..=ceiling + 5).contains(waited), "{waited} ms, at most {ceiling}");
    }
}

#[tokio::test(start_paused = true)]
async fn key_that_fails_its_batch_is_isolated_by_bisection() {
    let says: Says = |_, keys| {
        if keys.contains(&"123") { Err(unavailable()) } else { Ok(Vec::new()) }
    };
    let hop = erase(Scripted::new(300, says)).await;
    assert_eq!(hop.totals.deleted.objects, 299);
    let HopEnd::Failed(faults) = &hop.report.end else { panic!("{:?}", hop.report.end) };
    assert!(
        faults[0].to_string().ends_with("which were left for a later round: InternalError: 1"),
        "{faults:?}"
    );
    assert!(hop.sizes().len() < 60, "{:?}", hop.sizes());
}

#[tokio::test(start_paused = true)]
async fn failing_key_is_skipped_and_fails_the_hop() {
    for code in [SLOW_DOWN, CONFLICT] {
        let says: Says = match code.0 {
            "SlowDown" => |_, keys| {
                Ok(keys
                    .iter()
                    .position(|key| *key == "007")
                    .map(|i| (i, SLOW_DOWN))
                    .into_iter()
                    .collect())
            },
            _ => |_, keys| {
                Ok(keys
                    .iter()
                    .position(|key| *key == "007")
                    .map(|i| (i, CONFLICT))
                    .into_iter()
                    .collect())
            },
        };
        let start = Instant::now();
        let hop = erase(Scripted::new(20, says)).await;
        assert_eq!(hop.totals.deleted.objects, 19, "{code:?}");
        let HopEnd::Failed(faults) = &hop.report.end else { panic!("{:?}", hop.report.end) };
        assert!(faults[0].to_string().contains(code.0), "{faults:?}");
        assert!(start.elapsed() < Duration::from_secs(60), "{:?}", start.elapsed());
    }
}

#[tokio::test(start_paused = true)]
async fn fully_throttled_target_is_left_for_a_later_hop() {
    let says: Says = |n, _| {
        if n < 6 { Err(StoreError::Throttled("SlowDown".to_owned())) } else { Ok(Vec::new()) }
    };
    let hop = erase(Scripted::new(8, says)).await;
    assert_eq!((hop.report.end.clone(), hop.sizes()), (HopEnd::Erased, vec![8; 7]));
    assert_eq!((hop.totals.retries, hop.totals.throttles), (6, 6));
    let waits: Vec<u64> = hop.requests[1..].iter().map(|(waited, _)| *waited).collect();
    assert!(waits[..2].iter().all(|waited| *waited < 50), "{waits:?}");
    let start = Instant::now();
    let hop = erase(Scripted::new(8, |_, _| {
        Err(StoreError::Throttled("DeleteObjects: SlowDown".to_owned()))
    }))
    .await;
    assert!(
        matches!(&hop.report.end, HopEnd::Failed(faults) if faults.len() == 1),
        "{:?}",
        hop.report.end
    );
    assert!(
        start.elapsed() < Duration::from_secs(45),
        "the time of the hop is not used up: {:?}",
        start.elapsed()
    );
}

#[tokio::test(start_paused = true)]
async fn only_failed_keys_are_retried() {
    let says: Says = |n, _| {
        Ok(if n == 0 { vec![(1, SLOW_DOWN), (4, CONFLICT), (6, CONFLICT)] } else { Vec::new() })
    };
    let hop = erase(Scripted::new(8, says)).await;
    assert_eq!((hop.report.end.clone(), hop.sizes()), (HopEnd::Erased, vec![8, 2, 1]));
    assert_eq!((hop.totals.deleted.objects, hop.totals.retries, hop.totals.throttles), (8, 2, 1));
}

#[tokio::test(start_paused = true)]
async fn one_throttled_key_does_not_slow_the_rate() {
    let says: Says =
        |n, keys| Ok(if n < 12 && keys[0] == "000" { vec![(0, SLOW_DOWN)] } else { Vec::new() });
    let hop = erase(Scripted::new(1_000, says)).await;
    assert_eq!(hop.report.end, HopEnd::Erased);
    assert!(hop.totals.throttles > 2, "{}", hop.totals.throttles);
    let start = Instant::now();
    for _ in 0..3 {
        assert_eq!(hop.pace.admit("photos", 1_000).await.keys(), 1_000);
    }
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn idle_hop_reports_pending_key_errors() {
    let both: Says = |_, _| {
        Ok(vec![(0, SLOW_DOWN), (1, SLOW_DOWN), (2, CONFLICT), (3, CONFLICT), (4, CONFLICT)])
    };
    let waiting = hop(Scripted::new(5, both), 400, 0).await.fault();
    assert!(waiting.contains("DeleteObjects: OperationAborted for 5 of its items"), "{waiting}");
    let waiting = hop(Scripted::new(1, |_, _| Ok(vec![(0, CONFLICT)])), 400, 0).await.fault();
    assert!(waiting.contains("DeleteObjects: OperationAborted for 1 of its items"), "{waiting}");
}

#[tokio::test(start_paused = true)]
async fn retention_is_read_only_for_denied_versions() {
    let denied: Says = |_, keys| Ok((0..keys.len()).map(|index| (index, DENIED)).collect());
    let store = Scripted::versioned(3, denied);
    let id = store.model.store().versions("photos", "u1/000")[0].id.clone();
    let lock = Retention { hold: LockKind::Compliance, until: None };
    store.model.store().lock("photos", "u1/000", &id, lock);
    let versions = erase(store).await;
    let left = versions.left().unwrap();
    assert_eq!(left.retained.keys().collect::<Vec<_>>(), [&LockKind::Compliance]);
    assert_eq!(
        left.refused.iter().collect::<Vec<_>>(),
        [("AccessDenied", 1), ("LockNotReadable", 1)]
    );
    let objects = erase(Scripted::new(3, denied)).await;
    assert_eq!(objects.left().unwrap().refused.iter().collect::<Vec<_>>(), [("AccessDenied", 3)]);
    let other: Says = |_, keys| {
        Ok((0..keys.len()).map(|index| (index, ("InvalidRequest", FailureKind::Other))).collect())
    };
    let versions = erase(Scripted::versioned(3, other)).await;
    assert_eq!(
        versions.left().unwrap().refused.iter().collect::<Vec<_>>(),
        [("InvalidRequest", 3)]
    );
}

#[tokio::test(start_paused = true)]
async fn no_delete_marker_pass_without_delete_markers() {
    let versions = erase(Scripted::versioned(3, |_, _| Ok(Vec::new()))).await;
    assert_eq!(versions.report.end, HopEnd::Erased);
    let kinds: Vec<Kind> = versions.listed.iter().map(|(_, kind)| *kind).collect();
    assert_eq!(kinds, [Kind::Uploads, Kind::Versions, Kind::Uploads, Kind::Versions]);
}

#[tokio::test(start_paused = true)]
async fn failed_listing_is_retried_with_backoff() {
    let hop =
        erase(Scripted { broken: Mutex::new(6), ..Scripted::new(0, |_, _| Ok(Vec::new())) }).await;
    assert_eq!((hop.report.end.clone(), hop.totals.retries), (HopEnd::Erased, 6));
    let listed: Vec<Instant> =
        hop.listed.iter().filter(|(_, kind)| *kind == Kind::Objects).map(|(at, _)| *at).collect();
    let waits = listed.windows(2).map(|pair| pair[1].duration_since(pair[0]).as_millis());
    for (waited, ceiling) in waits.zip([100, 200, 400, 800, 1_600, 3_200]) {
        assert!((ceiling / 2..=ceiling + 5).contains(&waited), "{waited} ms, at most {ceiling}");
    }
    assert_eq!(
        listed.len(),
        8,
        "six that failed, one that found nothing ahead of its turn, and one in its turn"
    );
}

#[tokio::test(start_paused = true)]
async fn permanent_error_ends_the_target() {
    let hop =
        erase(Scripted::new(3, |_, _| Err(StoreError::Permanent("NoSuchBucket".to_owned())))).await;
    assert!(
        matches!(&hop.report.end, HopEnd::Failed(faults) if faults.len() == 1),
        "{:?}",
        hop.report.end
    );
    assert_eq!(hop.sizes(), [3]);
}

#[tokio::test(start_paused = true)]
async fn denied_listing_prevents_proof() {
    let empty =
        || Scripted { denies: Some(Kind::Uploads), ..Scripted::new(0, |_, _| Ok(Vec::new())) };
    let end = erase(empty()).await.report.end;
    assert!(matches!(&end, HopEnd::Failed(faults) if faults.len() == 1), "{end:?}");
    let (targets, user) = (Targets::parse(TARGET).unwrap(), User::parse("u1").unwrap());
    let stop = Instant::now() + Duration::from_secs(60);
    let job = ErasureScope {
        targets: &targets,
        user: &user,
        erase_before: None,
        max_objects: None,
        started_at: None,
        stop,
    };
    let (pace, counters) = (Limiter::new(None, NonZeroU32::MIN, 1), Progress::default());
    let survey = DryRun(Shared::new(empty()));
    let end = survey.work(&pace, &counters, job, &mut Checkpoint::default()).await.end;
    assert!(matches!(&end, HopEnd::Failed(faults) if faults.len() == 1), "{end:?}");
}

#[tokio::test(start_paused = true)]
async fn object_limit_counts_relisted_keys_once() {
    let denied: Says = |_, keys| Ok((0..keys.len()).map(|index| (index, DENIED)).collect());
    let with_token =
        || Scripted { bad_token: Mutex::new(Some("t".to_owned())), ..Scripted::new(10, denied) };
    assert_eq!(hop(with_token(), 60_000, 10).await.left().unwrap().refused.total(), 10);
    let end = hop(with_token(), 60_000, 9).await.report.end;
    assert!(matches!(end, HopEnd::Incomplete(IncompleteReason::ObjectLimit(_))), "{end:?}");
}
