//! The acceptance suite: the same erasures, with every kind of data in every state of versioning, on three stores.
//!
//! A *shop* is a store that the suite can fill, look into and erase from: the model in `tests/fake`, ministack, and
//! seaweedfs. What the suite does about their differences is in [`DIFFERENCES`], and nowhere else.
//!
//! How these servers differ from S3, as far as an erasure can meet it:
//!
//! | | ministack 1.5.33 | seaweedfs 4.48 | moto 5.2.5 |
//! |---|---|---|---|
//! | listing of versions, `EncodingType=url` | neither echoed nor done | the same | the same |
//! | keys there that XML cannot carry | raw: no client can read the page | turned to U+FFFD | raw |
//! | resuming behind a version that is gone | skips the rest of that key | right | an empty last page |
//! | listing of uploads, encoding | not echoed | echoed and not done: `+` and `%` break | not echoed |
//! | listing of uploads, next page | right | without `NextKeyMarker` | one page only |
//! | aborting twice | right (404) | 204 each time | right (404) |
//! | a null marker of a suspended bucket | right | says deleted, and keeps it | versions get lost |
//! | a deleted marker in an answer | right | without `VersionId` | without `DeleteMarker` |
//! | a locked version in an answer | right | right | without `VersionId` |
//! | wrong expected bucket owner | not checked | not checked | not checked |
//! | a policy that denies some keys | the whole request is refused | all are deleted | right |
//! | roots of two answers | right | right | misnamed; `local` mends them |
//! | keys | any | none with `//`, `.`, `..`, NUL, `\`, long names | no newline |

use std::collections::BTreeMap;
use std::num::{NonZeroU32, NonZeroU64};
use std::time::Duration;

use erase_user_files::bookmark::Bookmark;
use erase_user_files::bucket::Hold;
use erase_user_files::eraser::Eraser;
use erase_user_files::pace::Pace;
use erase_user_files::survey::Survey;
use erase_user_files::tally::{Counters, Counts, Tally};
use erase_user_files::target::{Targets, UserId};
use erase_user_files::work::{End, Job, Report, Stuck, Work};
use local::{Ministack, Moto, Seaweed, StoredKind};
use time::OffsetDateTime;
use tokio::time::Instant;

use crate::objects::{ODD_NAMES, USER};
use crate::shops::{Fakes, Served, Shop, Thing};
use crate::{Failure, Outcome, assert_same, within};

const TEST_LIMIT: Duration = Duration::from_secs(240);
/// More than enough for anything in here: nothing is to be left unfinished.
const LONG: Duration = Duration::from_secs(60);

/// What is special about a store, and what the suite does about it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Differences {
    /// Whether a listing of versions can show keys that XML cannot carry. S3 encodes them; local servers do not.
    pub(crate) lists_versions_of_any_key: bool,
    /// Whether any key can be stored. Seaweed keeps objects as files in folders.
    pub(crate) stores_any_key: bool,
    /// Whether a delete marker called null can be deleted for good. Seaweed says so and keeps it.
    pub(crate) deletes_null_markers: bool,
    /// Whether a listing of uploads encodes keys when it says so.
    pub(crate) encodes_keys_of_uploads: bool,
    /// How many versions of one key the suite puts there: each is a request.
    pub(crate) versions_of_one_key: usize,
}

/// The differences of the local stores from S3, as far as the suite meets them.
pub(crate) const DIFFERENCES: [(&str, Differences); 3] = [
    (
        "fake",
        Differences {
            lists_versions_of_any_key: true,
            stores_any_key: true,
            encodes_keys_of_uploads: true,
            deletes_null_markers: true,
            versions_of_one_key: 5_000,
        },
    ),
    (
        "ministack",
        Differences {
            lists_versions_of_any_key: false,
            stores_any_key: true,
            encodes_keys_of_uploads: true,
            deletes_null_markers: true,
            versions_of_one_key: 2_500,
        },
    ),
    (
        "seaweed",
        Differences {
            lists_versions_of_any_key: false,
            stores_any_key: false,
            encodes_keys_of_uploads: false,
            deletes_null_markers: false,
            versions_of_one_key: 1_200,
        },
    ),
];

#[tokio::test]
async fn the_model_passes() -> Outcome {
    within(TEST_LIMIT, all(&Fakes::new(&BUCKETS))).await
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

/// Moto alone refuses single keys of a request, as S3 does; it does too little else as S3 does to pass the suite.
#[tokio::test]
async fn a_policy_that_denies_some_keys_leaves_these_and_no_others() -> Outcome {
    let moto = Moto::start().await?;
    within(TEST_LIMIT, async {
        let shop = Served::new("moto", moto.s3());
        shop.create_bucket("photos").await?;
        let keys: Vec<String> = (0..1_300).map(|number| format!("u1/{}/{number}", number % 5)).collect();
        shop.put_all("photos", &keys).await?;
        let neighbours = ["u10/0/1", "u1", "u1-old/3/x"].map(str::to_owned);
        shop.put_all("photos", &neighbours).await?;
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

        let erasure = Erasure::of(&shop, "photos")?;
        let (report, tally) = erasure.erase(false).await;

        let End::Stuck(Stuck::Refused(left)) = &report.end else {
            return Err(Failure(format!("{report:?} {tally:?}")));
        };
        let left = &left["s3://photos/{user_id}/"];
        assert_eq!(left.refused.iter().collect::<Vec<_>>(), [("AccessDenied", 260)]);
        assert_eq!(tally.gone.objects, 1_040);
        let mut expected: Vec<String> = keys.into_iter().filter(|key| key.starts_with("u1/3/")).collect();
        expected.extend(neighbours);
        assert_same(&local::list_keys(&moto.s3(), "photos", "").await?, &expected, "what the policy protects");
        Ok(())
    })
    .await
}

/// The states of a bucket's versioning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Never,
    Enabled,
    /// Was enabled once.
    Suspended,
}

const STATES: [(State, &str); 3] =
    [(State::Never, "never"), (State::Enabled, "enabled"), (State::Suspended, "suspended")];

/// All that the suite uses: the model has no request to make one.
const BUCKETS: [&str; 16] = [
    "never",
    "enabled",
    "suspended",
    "hops-never",
    "hops-enabled",
    "hops-suspended",
    "dry-never",
    "dry-enabled",
    "dry-suspended",
    "nothing-never",
    "nothing-enabled",
    "nothing-suspended",
    "one-key",
    "locked",
    "newer",
    "fuse",
];

async fn all(shop: &impl Shop) -> Outcome {
    for (state, bucket) in STATES {
        everything_of_the_user_goes(shop, state, bucket).await?;
        everything_goes_over_many_hops(shop, state, &format!("hops-{bucket}")).await?;
        a_dry_run_counts_what_the_erasure_then_erases(shop, state, &format!("dry-{bucket}")).await?;
        nothing_is_proven_at_once(shop, state, &format!("nothing-{bucket}")).await?;
    }
    every_version_of_one_key_goes(shop).await?;
    what_object_lock_holds_stays_and_is_told(shop).await?;
    what_is_newer_stays(shop).await?;
    the_fuse_blows_for_versions(shop).await
}

/// One erasure from one bucket.
struct Erasure<'a, S> {
    shop: &'a S,
    bucket: &'a str,
    targets: Targets,
    user: UserId,
    erase_before: Option<OffsetDateTime>,
    max_objects: Option<NonZeroU64>,
}

impl<'a, S: Shop> Erasure<'a, S> {
    fn of(shop: &'a S, bucket: &'a str) -> Result<Self, Failure> {
        let target = format!("s3://{bucket}/{{user_id}}/");
        Ok(Self {
            shop,
            bucket,
            targets: Targets::parse(&target).map_err(|faults| Failure(faults.join("; ")))?,
            user: UserId::parse(USER)?,
            erase_before: None,
            max_objects: None,
        })
    }

    async fn hop(&self, work: &impl Work, pace: &Pace, bookmark: &mut Bookmark, time: Duration) -> (Report, Tally) {
        let counters = Counters::default();
        let job = Job {
            targets: &self.targets,
            user: &self.user,
            erase_before: self.erase_before,
            max_objects: self.max_objects,
            stop: Instant::now() + time,
        };
        let report = Box::pin(work.work(pace, &counters, job, bookmark)).await;
        (report, counters.hop())
    }

    async fn erase(&self, bypasses_governance: bool) -> (Report, Tally) {
        let eraser = Eraser(self.shop.store(bypasses_governance));
        self.hop(&eraser, &pace(None), &mut Bookmark::default(), LONG).await
    }

    /// Erases everything, and checks the counts, the user's folder and everybody else's.
    async fn must_erase(&self, stored: &[Thing], neighbours: &[Thing]) -> Outcome {
        let (report, tally) = self.erase(false).await;
        assert_eq!(report.end, End::Erased, "{} {}: {report:?} {tally:?}", self.shop.name(), self.bucket);
        self.assert_counts(tally.gone, stored);
        self.assert_left(neighbours).await
    }

    fn assert_counts(&self, counts: Counts, stored: &[Thing]) {
        let count = |kind| stored.iter().filter(|thing| thing.kind == kind).count() as u64;
        let found = (counts.objects, counts.versions, counts.delete_markers, counts.uploads);
        let expected =
            [StoredKind::Object, StoredKind::Version, StoredKind::DeleteMarker, StoredKind::Upload].map(count);
        assert_eq!(found, expected.into(), "{} {}: {counts:?}", self.shop.name(), self.bucket);
    }

    async fn assert_left(&self, expected: &[Thing]) -> Outcome {
        let what = format!("{} {} does not hold what should be left", self.shop.name(), self.bucket);
        assert_same(&self.shop.contents(self.bucket, "").await?, expected, &what);
        Ok(())
    }
}

fn pace(keys_per_second: Option<u32>) -> Pace {
    Pace::new(keys_per_second.and_then(NonZeroU32::new), NonZeroU32::MIN.saturating_add(7), 1)
}

/// Fills a folder with every kind of data that a bucket of this state can hold, under plain and odd keys.
async fn fill(shop: &impl Shop, state: State, bucket: &str, folder: &str, plain: usize) -> Outcome {
    let is_xml =
        |name: &&&str| !name.chars().any(|c| c < ' ' && !"\t\r\n".contains(c) || matches!(c, '\u{fffe}' | '\u{ffff}'));
    let any_key = state == State::Never || shop.differences().lists_versions_of_any_key;
    let odd = ODD_NAMES.iter().filter(|name| any_key || is_xml(name)).map(|name| format!("{folder}{name}"));
    let mut keys: Vec<String> = odd.filter(|key| shop.can_store(key)).collect();
    keys.extend((0..plain).map(|number| format!("{folder}{}/{number:04}", number % 3)));
    // Before any versioning: on versioned buckets, these are the versions called null.
    shop.put_all(bucket, &keys).await?;
    if state != State::Never {
        shop.enable_versioning(bucket).await?;
        shop.put_all(bucket, &keys[..keys.len() / 2]).await?;
        for key in keys.iter().step_by(3) {
            shop.delete_plainly(bucket, key).await?;
        }
        shop.put_all(bucket, &keys[..10]).await?;
        // Nothing but markers.
        for number in 0..8 {
            shop.delete_plainly(bucket, &format!("{folder}only a marker {number}")).await?;
            shop.delete_plainly(bucket, &format!("{folder}only markers {}", number % 2)).await?;
        }
    }
    if state == State::Suspended {
        shop.suspend_versioning(bucket).await?;
        // Null versions and null markers above others.
        shop.put_all(bucket, &keys[5..15]).await?;
        for key in keys[12..20].iter().filter(|_| shop.differences().deletes_null_markers) {
            shop.delete_plainly(bucket, key).await?;
        }
    }
    let odd = if shop.differences().encodes_keys_of_uploads { "an/upload\u{e9} with spaces+" } else { "an/upload" };
    for name in ["upload", "0/0000", odd] {
        shop.start_upload(bucket, &format!("{folder}{name}")).await?;
    }
    shop.start_upload(bucket, &format!("{folder}upload")).await
}

/// A bucket with this user's things and those of neighbours; returns both.
async fn furnish(
    shop: &impl Shop,
    state: State,
    bucket: &str,
    plain: usize,
) -> Result<(Vec<Thing>, Vec<Thing>), Failure> {
    shop.create_bucket(bucket).await?;
    for neighbour in ["u10/", "u1.bak/", "U1/", "other/u1/"] {
        shop.put_all(bucket, &[format!("{neighbour}keep")]).await?;
        shop.start_upload(bucket, &format!("{neighbour}keep")).await?;
    }
    if state != State::Never {
        shop.enable_versioning(bucket).await?;
        for neighbour in ["u10/", "u1.bak/", "U1/", "other/u1/"] {
            shop.put_all(bucket, &[format!("{neighbour}keep"), format!("{neighbour}hidden")]).await?;
            shop.delete_plainly(bucket, &format!("{neighbour}hidden")).await?;
        }
        shop.suspend_versioning(bucket).await?;
    }
    let neighbours = shop.contents(bucket, "").await?;
    fill(shop, state, bucket, "u1/", plain).await?;
    let mine = shop.contents(bucket, "u1/").await?;
    let kinds: BTreeMap<String, usize> = mine.iter().fold(BTreeMap::new(), |mut kinds, thing| {
        *kinds.entry(format!("{:?}", thing.kind)).or_default() += 1;
        kinds
    });
    let expected = if state == State::Never { 2 } else { 3 };
    assert_eq!(kinds.len(), expected, "{}: the test puts too little into {bucket}: {kinds:?}", shop.name());
    Ok((mine, neighbours))
}

async fn everything_of_the_user_goes(shop: &impl Shop, state: State, bucket: &str) -> Outcome {
    let (mine, neighbours) = furnish(shop, state, bucket, 150).await?;
    Erasure::of(shop, bucket)?.must_erase(&mine, &neighbours).await
}

/// Too little time in each hop, as under Lambda; the bookmark goes from hop to hop.
async fn everything_goes_over_many_hops(shop: &impl Shop, state: State, bucket: &str) -> Outcome {
    let (mine, neighbours) = furnish(shop, state, bucket, 150).await?;
    let erasure = Erasure::of(shop, bucket)?;
    let eraser = Eraser(shop.store(false));
    let pace = pace(Some(100));
    let (mut bookmark, mut ends, mut gone) = (Bookmark::default(), Vec::new(), Counts::default());
    while ends.last() != Some(&End::Erased) {
        assert!(ends.len() < 20, "still not erased: {ends:?}");
        let (report, tally) = erasure.hop(&eraser, &pace, &mut bookmark, Duration::from_millis(1_200)).await;
        assert!(matches!(report.end, End::Erased | End::Unfinished { .. }), "{report:?}");
        ends.push(report.end);
        gone += tally.gone;
    }
    assert!(ends.len() > 1, "there was time for everything in one hop");
    assert!(gone.things() <= mine.len() as u64, "{gone:?}");
    erasure.assert_left(&neighbours).await
}

async fn a_dry_run_counts_what_the_erasure_then_erases(shop: &impl Shop, state: State, bucket: &str) -> Outcome {
    let (mine, neighbours) = furnish(shop, state, bucket, 50).await?;
    let erasure = Erasure::of(shop, bucket)?;
    let survey = Survey(shop.store(false));
    let (report, tally) = erasure.hop(&survey, &pace(None), &mut Bookmark::default(), LONG).await;
    assert_eq!(report.end, End::Surveyed, "{report:?}");
    erasure.assert_counts(tally.gone, &mine);
    erasure.assert_left(&[mine.clone(), neighbours.clone()].concat()).await?;
    let (_, erased) = erasure.erase(false).await;
    assert_eq!(erased.gone, tally.gone, "{} {bucket}", shop.name());
    erasure.assert_left(&neighbours).await
}

async fn nothing_is_proven_at_once(shop: &impl Shop, state: State, bucket: &str) -> Outcome {
    shop.create_bucket(bucket).await?;
    if state != State::Never {
        shop.enable_versioning(bucket).await?;
    }
    if state == State::Suspended {
        shop.suspend_versioning(bucket).await?;
    }
    let (report, tally) = Erasure::of(shop, bucket)?.erase(false).await;
    assert_eq!((report.end, tally.gone), (End::Erased, Counts::default()));
    // The versioning, uploads and objects at once, then the data, and the versioning again where there was none. Whoever
    // answers the first question before the next is asked has no need to list the objects of a bucket with versions.
    let expected = if state == State::Never { 5..=5 } else { 3..=4 };
    assert!(expected.contains(&tally.requests), "{} of {expected:?}", tally.requests);
    Ok(())
}

/// More versions of one key than a page holds, with markers above and between them, and keys of markers alone.
async fn every_version_of_one_key_goes(shop: &impl Shop) -> Outcome {
    let (bucket, key) = ("one-key", "u1/often written");
    shop.create_bucket(bucket).await?;
    shop.enable_versioning(bucket).await?;
    let count = shop.differences().versions_of_one_key;
    for _ in 0..2 {
        shop.put_all(bucket, &vec![key.to_owned(); count / 2]).await?;
        for _ in 0..50 {
            shop.delete_plainly(bucket, key).await?;
        }
    }
    shop.put_all(bucket, &["u1/often writtem".to_owned(), "u1/often writteo".to_owned(), "u10/x".to_owned()]).await?;
    // And keys with nothing but a marker, as a client leaves them that deletes what is not there.
    // Seaweed takes a key that ends in a slash for a folder, and hides nothing.
    let end = if shop.differences().stores_any_key { "/" } else { "" };
    for number in 0..300 {
        shop.delete_plainly(bucket, &format!("u1/only a marker {number}{end}")).await?;
    }
    let neighbours = shop.contents(bucket, "u10/").await?;
    let mine = shop.contents(bucket, "u1/").await?;
    assert_eq!(mine.len(), count + 100 + 2 + 300);
    Erasure::of(shop, bucket)?.must_erase(&mine, &neighbours).await
}

async fn what_object_lock_holds_stays_and_is_told(shop: &impl Shop) -> Outcome {
    let bucket = "locked";
    shop.create_bucket_with_object_lock(bucket).await?;
    let keys = ["compliance", "governance", "hold", "both", "free", "covered"].map(|name| format!("u1/{name}"));
    for _ in 0..2 {
        shop.put_all(bucket, &keys).await?;
    }
    // The older version of each.
    let locked = [
        (&keys[0], Hold::Compliance),
        (&keys[1], Hold::Governance),
        (&keys[2], Hold::LegalHold),
        (&keys[3], Hold::Governance),
        (&keys[3], Hold::LegalHold),
        (&keys[5], Hold::Governance),
    ];
    let mut held = Vec::new();
    for (key, hold) in locked {
        let thing = shop.lock_oldest(bucket, key, hold).await?;
        held.push(thing);
    }
    for key in [&keys[4], &keys[5]] {
        shop.delete_plainly(bucket, key).await?;
    }
    let marker =
        shop.contents(bucket, &keys[5]).await?.into_iter().filter(|thing| thing.kind == StoredKind::DeleteMarker);
    held.extend(marker);
    held.sort();
    held.dedup();

    let erasure = Erasure::of(shop, bucket)?;
    let (report, tally) = erasure.erase(false).await;
    let End::Stuck(Stuck::Refused(left)) = &report.end else {
        return Err(Failure(format!("{}: {report:?} {tally:?}", shop.name())));
    };
    let left = &left["s3://locked/{user_id}/"];
    let counts: Vec<(Hold, u64)> = left.retained.iter().map(|(hold, held)| (*hold, held.count)).collect();
    assert_eq!(counts, [(Hold::Compliance, 1), (Hold::Governance, 2), (Hold::LegalHold, 2)], "{}", shop.name());
    assert_eq!((left.refused.total(), left.markers_kept), (0, 1), "{}: {left:?}", shop.name());
    let until = left.retained[&Hold::Compliance].erasable_from.expect("a date");
    assert!((until - shop.lock_end()).abs() < time::Duration::MINUTE, "{}: {until}", shop.name());
    assert_eq!(left.retained[&Hold::LegalHold].erasable_from, None);
    // A second round found out that nothing more can go.
    assert_eq!((tally.gone.versions, tally.gone.delete_markers), (7, 1), "{}", shop.name());
    erasure.assert_left(&held).await?;

    let (report, tally) = erasure.erase(true).await;
    assert!(matches!(report.end, End::Stuck(Stuck::Refused(_))), "{report:?}");
    assert_eq!((tally.gone.versions, tally.gone.delete_markers), (2, 1), "{}: governance", shop.name());
    let is_held = |thing: &Thing| [&keys[0], &keys[2], &keys[3]].contains(&&thing.key);
    held.retain(is_held);
    erasure.assert_left(&held).await
}

async fn what_is_newer_stays(shop: &impl Shop) -> Outcome {
    let bucket = "newer";
    shop.create_bucket(bucket).await?;
    shop.enable_versioning(bucket).await?;
    let keys = ["u1/a", "u1/b", "u1/c"].map(str::to_owned);
    shop.put_all(bucket, &keys).await?;
    shop.delete_plainly(bucket, "u1/b").await?;
    shop.start_upload(bucket, "u1/d").await?;
    let limit = shop.a_moment_later().await;
    let old = shop.contents(bucket, "").await?;
    shop.put_all(bucket, &keys[..2]).await?;
    shop.delete_plainly(bucket, "u1/c").await?;
    shop.start_upload(bucket, "u1/d").await?;
    let newer: Vec<Thing> = shop.contents(bucket, "").await?.into_iter().filter(|thing| !old.contains(thing)).collect();
    assert_eq!((old.len(), newer.len()), (5, 4), "{}", shop.name());
    let erasure = Erasure { erase_before: Some(limit), ..Erasure::of(shop, bucket)? };
    let (report, tally) = erasure.erase(false).await;
    assert_eq!(report.end, End::Erased, "{}: {report:?} {tally:?}", shop.name());
    assert_eq!((tally.gone.things(), report.round.left().kept_newer), (5, 4), "{}", shop.name());
    erasure.assert_left(&newer).await
}

async fn the_fuse_blows_for_versions(shop: &impl Shop) -> Outcome {
    let bucket = "fuse";
    shop.create_bucket(bucket).await?;
    shop.enable_versioning(bucket).await?;
    for _ in 0..3 {
        shop.put_all(bucket, &["u1/a".to_owned(), "u1/b".to_owned()]).await?;
    }
    let stored = shop.contents(bucket, "").await?;
    let blown = Erasure { max_objects: NonZeroU64::new(5), ..Erasure::of(shop, bucket)? };
    let (report, tally) = blown.erase(false).await;
    assert!(matches!(report.end, End::Stuck(Stuck::Fuse(_))), "{report:?}");
    assert_eq!(tally.gone.things(), 0);
    blown.assert_left(&stored).await?;
    let enough = Erasure { max_objects: NonZeroU64::new(6), ..Erasure::of(shop, bucket)? };
    enough.must_erase(&stored, &[]).await
}
