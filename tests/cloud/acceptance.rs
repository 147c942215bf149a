//! The acceptance suite: the same erasures, with every kind of data in every state of versioning,
//! on three stores, and on any other: `make acceptance ENDPOINT=https://…`.
//!
//! A `TestStore` is a store that the suite can fill, look into and erase from: the model in
//! `tests/fake`, ministack, seaweedfs, and what `endpoints` connects to. What the suite does about
//! their differences is in [`DIFFERENCES`], and nowhere else.
//!
//! How these servers differ from S3, as far as an erasure can meet it:
//!
//! | | ministack 1.5.33 | seaweedfs 4.48 | moto 5.2.5 |
//! |---|---|---|---|
//! | listing of versions, `EncodingType=url` | neither echoed nor done | the same | the same |
//! | keys there that XML cannot carry | raw: no client can read the page | turned to U+FFFD | raw |
//! | resuming behind a deleted version | skips the rest of that key | right | an empty last page |
//! | listing of uploads, encoding | not echoed | echoed and not done: `+` and `%` break | not echoed |
//! | listing of uploads, next page | right | without `NextKeyMarker` | one page only |
//! | aborting twice | right (404) | 204 each time | right (404) |
//! | a null marker of a suspended bucket | right | says deleted, and keeps it | versions get lost |
//! | a deleted marker in an answer | right | without `VersionId` | without `DeleteMarker` |
//! | a locked version in an answer | right | right | without `VersionId` |
//! | wrong expected bucket owner | not checked | not checked | not checked |
//! | a policy that denies some keys | the whole request is denied | all are deleted | right |
//! | roots of two answers | right | right | misnamed; `local` renames them |
//! | keys | any | none with `//`, `.`, `..`, NUL, `\`, long names | no newline |
//!
//! rclone 1.75.2 has neither versions nor locks, and its listing of uploads proves nothing: 404
//! where there are none, and no `IsTruncated` where there are some. There, the function must never
//! say that everything is erased.

use std::collections::BTreeMap;
use std::num::{NonZeroU32, NonZeroU64};
use std::time::Duration;

use erase_user_files::erasure::checkpoint::Checkpoint;
use erase_user_files::erasure::counts::{Counts, Totals};
use erase_user_files::erasure::dry_run::DryRun;
use erase_user_files::erasure::engine::{Engine, ErasureScope};
use erase_user_files::erasure::erase::Eraser;
use erase_user_files::erasure::progress::Progress;
use erase_user_files::erasure::report::{HopEnd, IncompleteReason, Report};
use erase_user_files::limiter::Limiter;
use erase_user_files::ports::store::LockKind;
use erase_user_files::target::{Targets, User};
use local::{Ministack, Moto, Rclone, Seaweed, StoredKind};
use time::OffsetDateTime;
use tokio::time::Instant;

use crate::endpoints::{Address, Endpoint};
use crate::objects::{USER, odd_keys};
use crate::results::Results;
use crate::stores::{Checked, Fakes, Served, Stop, TestStore, Thing};
use crate::{Failure, Outcome, assert_same, within};

const TEST_LIMIT: Duration = Duration::from_secs(240);
/// For one check at an endpoint that may be far away.
const CHECK_LIMIT: Duration = Duration::from_secs(900);

/// What is special about a store, and what the suite does about it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Differences {
    /// Whether a listing of versions can show keys that XML cannot carry. S3 encodes them; local
    /// servers do not.
    pub(crate) lists_versions_of_any_key: bool,
    /// Whether any key can be stored. Seaweed keeps objects as files in folders.
    pub(crate) stores_any_key: bool,
    /// Whether a delete marker called null can be deleted for good. Seaweed says so and keeps it.
    pub(crate) deletes_null_markers: bool,
    /// Whether a listing of uploads encodes keys when it says so.
    pub(crate) encodes_keys_of_uploads: bool,
    /// Whether the store has a request for the versioning of a bucket. Without it, the function
    /// asks once more.
    pub(crate) knows_versioning: bool,
    /// How many versions of one key the suite puts there: each is a request.
    pub(crate) versions_of_one_key: usize,
}

const NONE: Differences = Differences {
    lists_versions_of_any_key: true,
    stores_any_key: true,
    encodes_keys_of_uploads: true,
    deletes_null_markers: true,
    knows_versioning: true,
    versions_of_one_key: 1_200,
};

const OF_SEAWEED: Differences = Differences {
    lists_versions_of_any_key: false,
    stores_any_key: false,
    encodes_keys_of_uploads: false,
    deletes_null_markers: false,
    ..NONE
};

/// The differences of the local stores from S3, as far as the suite meets them. For an endpoint on
/// the command line, the suite expects the behaviour of S3, and finds out which keys it takes.
pub(crate) const DIFFERENCES: [(&str, Differences); 4] = [
    ("endpoint", NONE),
    ("fake", Differences { versions_of_one_key: 5_000, ..NONE }),
    (
        "ministack",
        Differences { lists_versions_of_any_key: false, versions_of_one_key: 2_500, ..NONE },
    ),
    ("seaweed", OF_SEAWEED),
];

#[tokio::test]
async fn the_model_passes() -> Outcome {
    let buckets = Check::ALL.map(Check::bucket);
    within(TEST_LIMIT, all(&Fakes::new(&buckets.each_ref().map(String::as_str)))).await
}

#[tokio::test]
async fn ministack_passes() -> Outcome {
    let cloud = Ministack::start().await?;
    within(TEST_LIMIT, async { all(&Served::new("ministack", cloud.s3())).await }).await
}

#[tokio::test]
async fn seaweed_passes() -> Outcome {
    let seaweed = Seaweed::start().await?;
    within(TEST_LIMIT, async { all(&Served::new("seaweed", seaweed.s3())).await }).await
}

/// `make acceptance ENDPOINT=…`
#[tokio::test]
#[ignore = "it needs an endpoint, and creates buckets there"]
async fn any_endpoint() -> Outcome {
    let mut store = Endpoint::connect(Address::from_environment()?).await?;
    println!("{}", store.title());
    let mut results = Results::default();
    let checks = Box::pin(async {
        let claim = "odd keys are stored and listed as they are".to_owned();
        println!("{}", results.add(claim, CHECK_LIMIT, store.explore()).await);
        for check in Check::ALL {
            println!("{}", results.add(check.claim(), CHECK_LIMIT, check.run(&store)).await);
        }
    });
    let is_complete = tokio::select! {
        () = checks => true,
        Ok(()) = tokio::signal::ctrl_c() => false,
    };
    let end = if is_complete { "" } else { "interrupted: this report is incomplete\n" };
    println!("{end}removing the buckets; what Object Lock holds takes up to three minutes");
    let left = store.clean_up().await;
    println!("\n{}\n{results}{end}{}\n", store.title(), store.summary(&left));
    if !left.is_empty() {
        return Err(Failure(format!("these buckets could not be removed:\n{}", left.join("\n"))));
    }
    if !is_complete {
        return Err(Failure("interrupted".to_owned()));
    }
    results.must_not_fail()
}

/// Its listing of uploads proves nothing, so that the function can never know that none is left.
#[tokio::test]
async fn rclone_never_ends_as_erased() -> Outcome {
    let rclone = Rclone::start().await?;
    within(TEST_LIMIT, async {
        let store = Served::new("rclone", rclone.s3());
        // No client can start an upload there: the response has another root than the SDK expects.
        let bucket = "photos";
        store.create_bucket(bucket).await?;
        let mine: Vec<String> =
            (0..40).map(|number| format!("u1/{}/{number}", number % 3)).collect();
        store.put_all(bucket, &mine).await?;
        let neighbours = ["u10/keep", "u1.bak/keep", "U1/keep", "other/u1/keep"].map(str::to_owned);
        store.put_all(bucket, &neighbours).await?;
        let expected = neighbours.map(|key| (key, b"x".to_vec()));
        let erasure = Erasure::of(&store, bucket)?;
        let eraser = Eraser(store.store(false));
        for _ in 0..2 {
            let time = Duration::from_secs(3);
            let (report, totals) =
                erasure.hop(&eraser, &pace(None), &mut Checkpoint::default(), time).await;
            let is_open = matches!(
                report.end,
                HopEnd::Failed(_) | HopEnd::Unfinished { .. } | HopEnd::Incomplete(_)
            );
            assert!(is_open, "{bucket}: {report:?} {totals:?}");
            let mut left = local::read_objects(&rclone.s3(), bucket, "").await?;
            left.retain(|(key, _)| !key.starts_with("u1/"));
            assert_same(&left, &expected, &format!("{bucket} does not hold what should be left"));
        }
        Ok(())
    })
    .await
}

/// Of the local servers, only moto denies single keys of a request, as S3 does. It does too little
/// else as S3 does to pass the suite.
#[tokio::test]
async fn policy_that_denies_keys_retains_only_these() -> Outcome {
    let moto = Moto::start().await?;
    within(TEST_LIMIT, async {
        let store = Served::new("moto", moto.s3());
        store.create_bucket("photos").await?;
        let keys: Vec<String> =
            (0..1_300).map(|number| format!("u1/{}/{number}", number % 5)).collect();
        store.put_all("photos", &keys).await?;
        let neighbours = ["u10/0/1", "u1", "u1-old/3/x"].map(str::to_owned);
        store.put_all("photos", &neighbours).await?;
        let policy = serde_json::json!({
            "Version": "2012-10-17",
            "Statement": [{
                "Effect": "Deny",
                "Principal": "*",
                "Action": "s3:DeleteObject",
                "Resource": ["arn:aws:s3:::photos/u1/3/*"],
            }],
        });
        moto.s3().put_bucket_policy().bucket("photos").policy(policy.to_string()).send().await?;

        let erasure = Erasure::of(&store, "photos")?;
        let (report, totals) = erasure.erase(false).await;

        let HopEnd::Incomplete(IncompleteReason::NotDeletable(left)) = &report.end else {
            return Err(Failure(format!("{report:?} {totals:?}")));
        };
        let left = &left["s3://photos/{user_id}/"];
        assert_eq!(left.refused.iter().collect::<Vec<_>>(), [("AccessDenied", 260)]);
        assert_eq!(totals.deleted.objects, 1_040);
        let mut expected: Vec<String> =
            keys.into_iter().filter(|key| key.starts_with("u1/3/")).collect();
        expected.extend(neighbours);
        assert_same(
            &local::list_keys(&moto.s3(), "photos", "").await?,
            &expected,
            "what the policy protects",
        );
        Ok(())
    })
    .await
}

/// The states of a bucket's versioning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    Never,
    Enabled,
    /// Was enabled once.
    Suspended,
}

impl State {
    fn name(self) -> &'static str {
        match self {
            Self::Never => "never",
            Self::Enabled => "enabled",
            Self::Suspended => "suspended",
        }
    }
}

/// One check of the suite, with a bucket of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Check {
    Nothing(State),
    Everything(State),
    Hops(State),
    DryRun(State),
    Locks,
    Newer,
    Fuse,
    OneKey,
}

impl Check {
    pub(crate) const ALL: [Self; 16] = [
        Self::Nothing(State::Never),
        Self::Everything(State::Never),
        Self::Hops(State::Never),
        Self::DryRun(State::Never),
        // Early: what it locks has time to become free.
        Self::Locks,
        Self::Nothing(State::Enabled),
        Self::Everything(State::Enabled),
        Self::Hops(State::Enabled),
        Self::DryRun(State::Enabled),
        Self::Nothing(State::Suspended),
        Self::Everything(State::Suspended),
        Self::Hops(State::Suspended),
        Self::DryRun(State::Suspended),
        Self::Newer,
        Self::Fuse,
        Self::OneKey,
    ];

    /// What is true of a store that passes it.
    pub(crate) fn claim(self) -> String {
        let claim = match self {
            Self::Nothing(_) => "few requests prove that nothing is there",
            Self::Everything(_) => "everything of the user is erased, and nothing of others",
            Self::Hops(_) => "an erasure is completed in several hops",
            Self::DryRun(_) => "a dry run counts what the erasure then erases",
            Self::Locks => "what Object Lock holds stays, and is reported",
            Self::Newer => "what is newer than the limit stays",
            Self::Fuse => "too many versions stop an erasure before it deletes anything",
            Self::OneKey => "every version of one key is erased",
        };
        self.state().map_or_else(
            || claim.to_owned(),
            |state| format!("versioning {}: {claim}", state.name()),
        )
    }

    fn state(self) -> Option<State> {
        match self {
            Self::Nothing(state)
            | Self::Everything(state)
            | Self::Hops(state)
            | Self::DryRun(state) => Some(state),
            Self::Locks | Self::Newer | Self::Fuse | Self::OneKey => None,
        }
    }

    fn bucket(self) -> String {
        match self {
            Self::Nothing(state) => format!("nothing-{}", state.name()),
            Self::Everything(state) => format!("everything-{}", state.name()),
            Self::Hops(state) => format!("hops-{}", state.name()),
            Self::DryRun(state) => format!("dry-{}", state.name()),
            Self::Locks => "locked".to_owned(),
            Self::Newer => "newer".to_owned(),
            Self::Fuse => "fuse".to_owned(),
            Self::OneKey => "one-key".to_owned(),
        }
    }

    async fn run(self, store: &impl TestStore) -> Checked {
        if let Some(reason) = self.state().and_then(|state| store.lacks(state)) {
            return Err(Stop::Lacks(reason));
        }
        let bucket = &store.bucket(&self.bucket());
        match self {
            Self::Nothing(state) => {
                few_requests_prove_that_nothing_is_there(store, state, bucket).await
            }
            Self::Everything(state) => everything_of_the_user_is_erased(store, state, bucket).await,
            Self::Hops(state) => {
                an_erasure_is_completed_in_several_hops(store, state, bucket).await
            }
            Self::DryRun(state) => {
                a_dry_run_counts_what_the_erasure_then_erases(store, state, bucket).await
            }
            Self::Locks => what_object_lock_holds_stays_and_is_reported(store, bucket).await,
            Self::Newer => what_is_newer_stays(store, bucket).await,
            Self::Fuse => too_many_versions_stop_an_erasure(store, bucket).await,
            Self::OneKey => every_version_of_one_key_is_erased(store, bucket).await,
        }
    }
}

/// All checks, on a store of which every one must pass.
async fn all(store: &impl TestStore) -> Outcome {
    let mut results = Results::default();
    for check in Check::ALL {
        results.add(check.claim(), TEST_LIMIT, check.run(store)).await;
    }
    results.must_pass()
}

/// One erasure from one bucket.
struct Erasure<'a, S> {
    store: &'a S,
    bucket: &'a str,
    targets: Targets,
    user: User,
    erase_before: Option<OffsetDateTime>,
    max_objects: Option<NonZeroU64>,
}

impl<'a, S: TestStore> Erasure<'a, S> {
    fn of(store: &'a S, bucket: &'a str) -> Result<Self, Failure> {
        let target = target(bucket);
        Ok(Self {
            store,
            bucket,
            targets: Targets::parse(&target).map_err(|faults| Failure(faults.join("; ")))?,
            user: User::parse(USER)?,
            erase_before: None,
            max_objects: None,
        })
    }

    /// Its one target, as reports name it.
    fn target(&self) -> String {
        target(self.bucket)
    }

    async fn hop(
        &self,
        work: &impl Engine,
        pace: &Limiter,
        checkpoint: &mut Checkpoint,
        time: Duration,
    ) -> (Report, Totals) {
        let counters = Progress::default();
        let job = ErasureScope {
            targets: &self.targets,
            user: &self.user,
            erase_before: self.erase_before,
            max_objects: self.max_objects,
            started_at: None,
            stop: Instant::now() + time,
        };
        let report = Box::pin(work.work(pace, &counters, job, checkpoint)).await;
        (report, counters.hop())
    }

    async fn erase(&self, bypasses_governance: bool) -> (Report, Totals) {
        let eraser = Eraser(self.store.store(bypasses_governance));
        self.hop(&eraser, &pace(None), &mut Checkpoint::default(), self.store.times().long).await
    }

    /// Erases everything, and checks the counts, the user's folder and all other folders.
    async fn must_erase(&self, stored: &[Thing], neighbours: &[Thing]) -> Checked {
        let (report, totals) = self.erase(false).await;
        assert_eq!(
            report.end,
            HopEnd::Erased,
            "{} {}: {report:?} {totals:?}",
            self.store.name(),
            self.bucket
        );
        self.assert_counts(totals.deleted, stored);
        self.assert_left(neighbours).await
    }

    fn assert_counts(&self, counts: Counts, stored: &[Thing]) {
        let count = |kind| stored.iter().filter(|thing| thing.kind == kind).count() as u64;
        let found = (counts.objects, counts.versions, counts.delete_markers, counts.uploads);
        let expected =
            [StoredKind::Object, StoredKind::Version, StoredKind::DeleteMarker, StoredKind::Upload]
                .map(count);
        assert_eq!(found, expected.into(), "{} {}: {counts:?}", self.store.name(), self.bucket);
    }

    async fn assert_left(&self, expected: &[Thing]) -> Checked {
        let what =
            format!("{} {} does not hold what should be left", self.store.name(), self.bucket);
        assert_same(&self.store.contents(self.bucket, "").await?, expected, &what);
        Ok(())
    }
}

fn target(bucket: &str) -> String {
    format!("s3://{bucket}/{{user_id}}/")
}

fn pace(keys_per_second: Option<u32>) -> Limiter {
    Limiter::new(keys_per_second.and_then(NonZeroU32::new), NonZeroU32::MIN.saturating_add(7), 1)
}

/// Whether XML can carry a key.
pub(crate) fn is_xml(key: &str) -> bool {
    !key.chars().any(|c| c < ' ' && !"\t\r\n".contains(c) || matches!(c, '\u{fffe}' | '\u{ffff}'))
}

/// Fills a folder with every kind of data that a bucket of this state can hold, under plain and
/// unusual keys.
async fn fill(
    store: &impl TestStore,
    state: State,
    bucket: &str,
    folder: &str,
    plain: usize,
) -> Checked {
    let any_key = state == State::Never || store.differences().lists_versions_of_any_key;
    let odd = odd_keys(folder).into_iter().filter(|key| any_key || is_xml(key));
    let mut keys: Vec<String> = odd.filter(|key| store.can_store(key)).collect();
    keys.extend((0..plain).map(|number| format!("{folder}{}/{number:04}", number % 3)));
    // Before any versioning: on versioned buckets, these are the versions called null.
    store.put_all(bucket, &keys).await?;
    if state != State::Never {
        store.enable_versioning(bucket).await?;
        store.put_all(bucket, &keys[..keys.len() / 2]).await?;
        for key in keys.iter().step_by(3) {
            store.delete_plainly(bucket, key).await?;
        }
        store.put_all(bucket, &keys[..10]).await?;
        // Nothing but markers.
        for number in 0..8 {
            store.delete_plainly(bucket, &format!("{folder}only a marker {number}")).await?;
            store.delete_plainly(bucket, &format!("{folder}only markers {}", number % 2)).await?;
        }
    }
    if state == State::Suspended {
        store.suspend_versioning(bucket).await?;
        // Null versions and null markers above others.
        store.put_all(bucket, &keys[5..15]).await?;
        for key in keys[12..20].iter().filter(|_| store.differences().deletes_null_markers) {
            store.delete_plainly(bucket, key).await?;
        }
    }
    let odd = if store.differences().encodes_keys_of_uploads {
        "an/upload\u{e9} with spaces+"
    } else {
        "an/upload"
    };
    for name in ["upload", "0/0000", odd] {
        store.start_upload(bucket, &format!("{folder}{name}")).await?;
    }
    store.start_upload(bucket, &format!("{folder}upload")).await
}

/// A bucket with this user's things and those of neighbours; returns both.
async fn furnish(
    store: &impl TestStore,
    state: State,
    bucket: &str,
    plain: usize,
) -> Checked<(Vec<Thing>, Vec<Thing>)> {
    store.create_bucket(bucket).await?;
    for neighbour in ["u10/", "u1.bak/", "U1/", "other/u1/"] {
        store.put_all(bucket, &[format!("{neighbour}keep")]).await?;
        store.start_upload(bucket, &format!("{neighbour}keep")).await?;
    }
    if state != State::Never {
        store.enable_versioning(bucket).await?;
        for neighbour in ["u10/", "u1.bak/", "U1/", "other/u1/"] {
            store
                .put_all(bucket, &[format!("{neighbour}keep"), format!("{neighbour}hidden")])
                .await?;
            store.delete_plainly(bucket, &format!("{neighbour}hidden")).await?;
        }
        store.suspend_versioning(bucket).await?;
    }
    let neighbours = store.contents(bucket, "").await?;
    fill(store, state, bucket, "u1/", plain).await?;
    let mine = store.contents(bucket, "u1/").await?;
    let kinds: BTreeMap<String, usize> = mine.iter().fold(BTreeMap::new(), |mut kinds, thing| {
        *kinds.entry(format!("{:?}", thing.kind)).or_default() += 1;
        kinds
    });
    let expected = if state == State::Never { 2 } else { 3 };
    assert_eq!(
        kinds.len(),
        expected,
        "{}: the test puts too little into {bucket}: {kinds:?}",
        store.name()
    );
    Ok((mine, neighbours))
}

async fn everything_of_the_user_is_erased(
    store: &impl TestStore,
    state: State,
    bucket: &str,
) -> Checked {
    let (mine, neighbours) = furnish(store, state, bucket, 150).await?;
    Erasure::of(store, bucket)?.must_erase(&mine, &neighbours).await
}

/// Too little time in each hop, as under Lambda; the checkpoint goes from hop to hop.
async fn an_erasure_is_completed_in_several_hops(
    store: &impl TestStore,
    state: State,
    bucket: &str,
) -> Checked {
    let (mine, neighbours) = furnish(store, state, bucket, 150).await?;
    let erasure = Erasure::of(store, bucket)?;
    let eraser = Eraser(store.store(false));
    let times = store.times();
    let pace = pace(Some(times.keys_per_second));
    let (mut checkpoint, mut ends, mut gone) =
        (Checkpoint::default(), Vec::new(), Counts::default());
    while ends.last() != Some(&HopEnd::Erased) {
        assert!(ends.len() < 20, "still not erased: {ends:?}");
        let (report, totals) = erasure.hop(&eraser, &pace, &mut checkpoint, times.hop).await;
        assert!(matches!(report.end, HopEnd::Erased | HopEnd::Unfinished { .. }), "{report:?}");
        ends.push(report.end);
        gone += totals.deleted;
    }
    assert!(ends.len() > 1, "there was time for everything in one hop");
    assert!(gone.total() <= mine.len() as u64, "{gone:?}");
    erasure.assert_left(&neighbours).await
}

async fn a_dry_run_counts_what_the_erasure_then_erases(
    store: &impl TestStore,
    state: State,
    bucket: &str,
) -> Checked {
    let (mine, neighbours) = furnish(store, state, bucket, 50).await?;
    let erasure = Erasure::of(store, bucket)?;
    let survey = DryRun(store.store(false));
    let (report, totals) =
        erasure.hop(&survey, &pace(None), &mut Checkpoint::default(), store.times().long).await;
    assert_eq!(report.end, HopEnd::Counted, "{report:?}");
    erasure.assert_counts(totals.deleted, &mine);
    erasure.assert_left(&[mine.clone(), neighbours.clone()].concat()).await?;
    let (_, erased) = erasure.erase(false).await;
    assert_eq!(erased.deleted, totals.deleted, "{} {bucket}", store.name());
    erasure.assert_left(&neighbours).await
}

async fn few_requests_prove_that_nothing_is_there(
    store: &impl TestStore,
    state: State,
    bucket: &str,
) -> Checked {
    store.create_bucket(bucket).await?;
    if state != State::Never {
        store.enable_versioning(bucket).await?;
    }
    if state == State::Suspended {
        store.suspend_versioning(bucket).await?;
    }
    let (report, totals) = Erasure::of(store, bucket)?.erase(false).await;
    assert_eq!((report.end, totals.deleted), (HopEnd::Erased, Counts::default()));
    // The versioning, uploads and objects at the same time, then the data, and the versioning again
    // where there was none. If the first answer comes before the next request is sent, the objects
    // of a bucket with versions are not listed.
    let expected = match state {
        State::Never if store.differences().knows_versioning => 5..=5,
        // To ask for the versioning takes two requests there.
        State::Never => 5..=7,
        State::Enabled | State::Suspended => 3..=4,
    };
    let requests = totals.requests - totals.retries;
    assert!(expected.contains(&requests), "{requests} of {expected:?}");
    Ok(())
}

/// More versions of one key than a page holds, with markers above and between them, and keys of
/// markers alone.
async fn every_version_of_one_key_is_erased(store: &impl TestStore, bucket: &str) -> Checked {
    let key = "u1/often written";
    store.create_bucket(bucket).await?;
    store.enable_versioning(bucket).await?;
    let count = store.differences().versions_of_one_key;
    for _ in 0..2 {
        store.put_all(bucket, &vec![key.to_owned(); count / 2]).await?;
        for _ in 0..50 {
            store.delete_plainly(bucket, key).await?;
        }
    }
    store
        .put_all(
            bucket,
            &["u1/often writtem".to_owned(), "u1/often writteo".to_owned(), "u10/x".to_owned()],
        )
        .await?;
    // And keys with nothing but a marker, as a client leaves them that deletes what is not there.
    // Seaweed takes a key that ends in a slash for a folder, and hides nothing.
    let end = if store.differences().stores_any_key { "/" } else { "" };
    for number in 0..300 {
        store.delete_plainly(bucket, &format!("u1/only a marker {number}{end}")).await?;
    }
    let neighbours = store.contents(bucket, "u10/").await?;
    let mine = store.contents(bucket, "u1/").await?;
    assert_eq!(mine.len(), count + 100 + 2 + 300);
    Erasure::of(store, bucket)?.must_erase(&mine, &neighbours).await
}

async fn what_object_lock_holds_stays_and_is_reported(
    store: &impl TestStore,
    bucket: &str,
) -> Checked {
    store.create_bucket_with_object_lock(bucket).await?;
    let keys = ["compliance", "governance", "hold", "both", "free", "covered"]
        .map(|name| format!("u1/{name}"));
    for _ in 0..2 {
        store.put_all(bucket, &keys).await?;
    }
    // The older version of each.
    let locked = [
        (&keys[0], LockKind::Compliance),
        (&keys[1], LockKind::Governance),
        (&keys[2], LockKind::LegalHold),
        (&keys[3], LockKind::Governance),
        (&keys[3], LockKind::LegalHold),
        (&keys[5], LockKind::Governance),
    ];
    let mut held = Vec::new();
    for (key, hold) in locked {
        let thing = store.lock_oldest(bucket, key, hold).await?;
        held.push(thing);
    }
    for key in [&keys[4], &keys[5]] {
        store.delete_plainly(bucket, key).await?;
    }
    let marker = store
        .contents(bucket, &keys[5])
        .await?
        .into_iter()
        .filter(|thing| thing.kind == StoredKind::DeleteMarker);
    held.extend(marker);
    held.sort();
    held.dedup();

    let erasure = Erasure::of(store, bucket)?;
    let (report, totals) = erasure.erase(false).await;
    let HopEnd::Incomplete(IncompleteReason::NotDeletable(left)) = &report.end else {
        return Err(Failure(format!("{}: {report:?} {totals:?}", store.name())).into());
    };
    let left = &left[&erasure.target()];
    let counts: Vec<(LockKind, u64)> =
        left.retained.iter().map(|(hold, held)| (*hold, held.count)).collect();
    assert_eq!(
        counts,
        [(LockKind::Compliance, 1), (LockKind::Governance, 2), (LockKind::LegalHold, 2)],
        "{}",
        store.name()
    );
    assert_eq!((left.refused.total(), left.deferred_markers), (0, 1), "{}: {left:?}", store.name());
    let until = left.retained[&LockKind::Compliance].erasable_from.expect("a date");
    assert!((until - store.lock_end()).abs() < time::Duration::MINUTE, "{}: {until}", store.name());
    assert_eq!(left.retained[&LockKind::LegalHold].erasable_from, None);
    // A second round found out that nothing more can be deleted.
    assert_eq!(
        (totals.deleted.versions, totals.deleted.delete_markers),
        (7, 1),
        "{}",
        store.name()
    );
    erasure.assert_left(&held).await?;

    let (report, totals) = erasure.erase(true).await;
    assert!(
        matches!(report.end, HopEnd::Incomplete(IncompleteReason::NotDeletable(_))),
        "{report:?}"
    );
    assert_eq!(
        (totals.deleted.versions, totals.deleted.delete_markers),
        (2, 1),
        "{}: governance",
        store.name()
    );
    let is_held = |thing: &Thing| [&keys[0], &keys[2], &keys[3]].contains(&&thing.key);
    held.retain(is_held);
    erasure.assert_left(&held).await
}

async fn what_is_newer_stays(store: &impl TestStore, bucket: &str) -> Checked {
    store.create_bucket(bucket).await?;
    store.enable_versioning(bucket).await?;
    let keys = ["u1/a", "u1/b", "u1/c"].map(str::to_owned);
    store.put_all(bucket, &keys).await?;
    store.delete_plainly(bucket, "u1/b").await?;
    store.start_upload(bucket, "u1/d").await?;
    let limit = store.a_moment_later(bucket).await?;
    let old = store.contents(bucket, "").await?;
    store.put_all(bucket, &keys[..2]).await?;
    store.delete_plainly(bucket, "u1/c").await?;
    store.start_upload(bucket, "u1/d").await?;
    let newer: Vec<Thing> = store
        .contents(bucket, "")
        .await?
        .into_iter()
        .filter(|thing| !old.contains(thing))
        .collect();
    assert_eq!((old.len(), newer.len()), (5, 4), "{}", store.name());
    let erasure = Erasure { erase_before: Some(limit), ..Erasure::of(store, bucket)? };
    let (report, totals) = erasure.erase(false).await;
    assert_eq!(report.end, HopEnd::Erased, "{}: {report:?} {totals:?}", store.name());
    assert_eq!(
        (totals.deleted.total(), report.round.left().kept_newer),
        (5, 4),
        "{}",
        store.name()
    );
    erasure.assert_left(&newer).await
}

async fn too_many_versions_stop_an_erasure(store: &impl TestStore, bucket: &str) -> Checked {
    store.create_bucket(bucket).await?;
    store.enable_versioning(bucket).await?;
    for _ in 0..3 {
        store.put_all(bucket, &["u1/a".to_owned(), "u1/b".to_owned()]).await?;
    }
    let stored = store.contents(bucket, "").await?;
    let stopped = Erasure { max_objects: NonZeroU64::new(5), ..Erasure::of(store, bucket)? };
    let (report, totals) = stopped.erase(false).await;
    assert!(
        matches!(report.end, HopEnd::Incomplete(IncompleteReason::ObjectLimit(_))),
        "{report:?}"
    );
    assert_eq!(totals.deleted.total(), 0);
    stopped.assert_left(&stored).await?;
    let enough = Erasure { max_objects: NonZeroU64::new(6), ..Erasure::of(store, bucket)? };
    enough.must_erase(&stored, &[]).await
}
