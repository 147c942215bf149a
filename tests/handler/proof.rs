//! What changes while it is listed: none of it escapes the proof.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use erase_user_files::erasure::checkpoint::Checkpoint;
use erase_user_files::erasure::dry_run::DryRun;
use erase_user_files::erasure::engine::{Engine, ErasureScope};
use erase_user_files::erasure::erase::Eraser;
use erase_user_files::erasure::progress::Progress;
use erase_user_files::erasure::report::HopEnd;
use erase_user_files::limiter::Limiter;
use erase_user_files::ports::store::{
    DeleteResult, DeleteStore, Item, Kind, ListedEntry, Page, ReadStore, Retention, StoreError,
};
use erase_user_files::target::{Prefix, Targets, UserId};
use time::OffsetDateTime;
use tokio::time::{Instant, sleep};

use crate::scene::{Shared, locked};

/// How an erasure of u1 in this store ends, in one hop.
async fn erase<B: Send + Sync>(store: &Shared<B>, erase_before: Option<OffsetDateTime>) -> HopEnd
where
    Shared<B>: DeleteStore,
{
    hop(&Eraser(store.clone()), erase_before).await
}

async fn hop(work: &impl Engine, erase_before: Option<OffsetDateTime>) -> HopEnd {
    let targets = Targets::parse("s3://photos/{user_id}/").expect("a target is a target");
    let user = UserId::parse("u1").expect("a user id is a user id");
    let stop = Instant::now() + Duration::from_secs(30);
    let job = ErasureScope {
        targets: &targets,
        user: &user,
        erase_before,
        max_objects: None,
        started_at: None,
        stop,
    };
    let pace = Limiter::new(None, NonZeroU32::MIN, 1);
    work.work(&pace, &Progress::default(), job, &mut Checkpoint::default()).await.end
}

/// A bucket whose versioning is switched on just after the function has asked, and whose only
/// object is then deleted by somebody: a listing of objects shows nothing any more.
#[derive(Debug, Default)]
struct Switching {
    asked: AtomicU32,
    erased: AtomicU32,
}

impl ReadStore for Shared<Switching> {
    async fn is_versioned(&self, _prefix: &Prefix, _limit: Duration) -> Result<bool, StoreError> {
        Ok(self.asked.fetch_add(1, Ordering::Relaxed) > 0)
    }

    async fn list(
        &self,
        prefix: &Prefix,
        kind: Kind,
        _token: Option<&str>,
        _limit: Duration,
    ) -> Result<Page, StoreError> {
        let is_left = self.erased.load(Ordering::Relaxed) == 0 && kind == Kind::Versions;
        let id = Some("v1".to_owned());
        let version = ListedEntry {
            kind,
            key: format!("{}a", prefix.as_str()),
            other_key: None,
            id,
            bytes: 1,
            last_modified: None,
        };
        Ok(Page {
            entries: is_left.then_some(version).into_iter().collect(),
            next: None,
            cut_at: None,
        })
    }

    fn token_after(&self, _kind: Kind, _key: &str) -> Option<String> {
        None
    }
}

impl DeleteStore for Shared<Switching> {
    async fn delete(
        &self,
        _prefix: &Prefix,
        items: &[Item],
        _limit: Duration,
    ) -> Result<DeleteResult, StoreError> {
        assert_eq!((items[0].kind, items.len()), (Kind::Versions, 1));
        self.erased.fetch_add(1, Ordering::Relaxed);
        Ok(DeleteResult { requests: 1, failures: Vec::new() })
    }

    async fn retention(
        &self,
        _prefix: &Prefix,
        _item: &Item,
        _limit: Duration,
    ) -> Result<Option<Retention>, StoreError> {
        Ok(None)
    }
}

#[tokio::test(start_paused = true)]
async fn versioning_that_is_switched_on_in_the_middle_hides_nothing_from_the_proof() {
    let store = Shared(Arc::new(Switching::default()));
    assert_eq!(
        (erase(&store, None).await, store.erased.load(Ordering::Relaxed)),
        (HopEnd::Erased, 1)
    );
}

/// A bucket with one upload, which is completed 70 ms after the first request. Objects and versions
/// are listed as they were 60 ms before the answer, uploads as they are when the answer comes,
/// after 100 ms.
struct Completing {
    start: Instant,
    is_versioned: bool,
    erased: AtomicU32,
    listed: Mutex<Vec<(Duration, Kind)>>,
}

impl Completing {
    fn new(is_versioned: bool) -> Shared<Self> {
        let (erased, listed) = (AtomicU32::default(), Mutex::default());
        Shared(Arc::new(Self { start: Instant::now(), is_versioned, erased, listed }))
    }

    fn lists(&self, kind: Kind) -> bool {
        let is_completed = self.start.elapsed() >= Duration::from_millis(70);
        let is_object = is_completed && self.erased.load(Ordering::Relaxed) == 0;
        match kind {
            Kind::Uploads => !is_completed,
            Kind::Objects => is_object,
            Kind::Versions => is_object && self.is_versioned,
            Kind::DeleteMarkers => false,
        }
    }
}

impl ReadStore for Shared<Completing> {
    async fn is_versioned(&self, _prefix: &Prefix, _limit: Duration) -> Result<bool, StoreError> {
        Ok(self.is_versioned)
    }

    async fn list(
        &self,
        prefix: &Prefix,
        kind: Kind,
        _token: Option<&str>,
        _limit: Duration,
    ) -> Result<Page, StoreError> {
        locked(&self.listed).push((self.start.elapsed(), kind));
        let before = self.lists(kind);
        sleep(Duration::from_millis(if kind == Kind::Uploads { 100 } else { 60 })).await;
        let is_there = if kind == Kind::Uploads { self.lists(kind) } else { before };
        let id = (kind != Kind::Objects).then(|| "1".to_owned());
        let last_modified = Some(OffsetDateTime::UNIX_EPOCH);
        let entry = ListedEntry {
            kind,
            key: format!("{}a", prefix.as_str()),
            other_key: None,
            id,
            bytes: 1,
            last_modified,
        };
        Ok(Page {
            entries: is_there.then_some(entry).into_iter().collect(),
            next: None,
            cut_at: None,
        })
    }

    fn token_after(&self, _kind: Kind, _key: &str) -> Option<String> {
        None
    }
}

impl DeleteStore for Shared<Completing> {
    async fn delete(
        &self,
        _prefix: &Prefix,
        items: &[Item],
        _limit: Duration,
    ) -> Result<DeleteResult, StoreError> {
        assert_eq!((items[0].kind == Kind::Versions, items.len()), (self.is_versioned, 1));
        self.erased.fetch_add(1, Ordering::Relaxed);
        Ok(DeleteResult { requests: 1, failures: Vec::new() })
    }

    async fn retention(
        &self,
        _prefix: &Prefix,
        _item: &Item,
        _limit: Duration,
    ) -> Result<Option<Retention>, StoreError> {
        Ok(None)
    }
}

#[tokio::test(start_paused = true)]
async fn an_upload_that_is_completed_between_two_listings_at_the_same_time_is_found() {
    for is_versioned in [false, true] {
        let store = Completing::new(is_versioned);
        assert_eq!(
            (erase(&store, None).await, store.erased.load(Ordering::Relaxed)),
            (HopEnd::Erased, 1)
        );
    }
}

#[tokio::test(start_paused = true)]
async fn an_object_that_was_listed_ahead_is_not_taken_for_a_version() {
    let store = Completing::new(true);
    sleep(Duration::from_millis(70)).await;
    assert_eq!(
        (erase(&store, None).await, store.erased.load(Ordering::Relaxed)),
        (HopEnd::Erased, 1)
    );
}

#[tokio::test(start_paused = true)]
async fn objects_are_listed_beside_the_uploads_only_in_the_first_round_of_an_erasure_that_keeps_none()
 {
    let erases_all =
        vec![(0, Kind::Objects), (0, Kind::Uploads), (100, Kind::Uploads), (200, Kind::Objects)];
    // What may be kept is listed as late as can be: meanwhile it may be written anew.
    let keeps_newer = vec![(0, Kind::Uploads), (100, Kind::Objects)];
    // The one round of a dry run sees what is completed meanwhile.
    let counts = keeps_newer.clone();
    for (is_dry_run, erase_before, expected) in [
        (false, None, erases_all),
        (false, Some(OffsetDateTime::UNIX_EPOCH), keeps_newer),
        (true, None, counts),
    ] {
        let store = Completing::new(false);
        sleep(Duration::from_millis(70)).await;
        let end = if is_dry_run {
            hop(&DryRun(store.clone()), None).await
        } else {
            erase(&store, erase_before).await
        };
        assert_eq!(end, if is_dry_run { HopEnd::Counted } else { HopEnd::Erased });
        let listed: Vec<(u128, Kind)> =
            locked(&store.listed).iter().map(|(at, kind)| (at.as_millis() - 70, *kind)).collect();
        assert_eq!(listed, expected);
    }
}

/// A bucket with versions, whose objects take longer to list than anybody waits, as behind many
/// delete markers.
#[derive(Debug)]
struct Buried;

impl ReadStore for Buried {
    async fn is_versioned(&self, _prefix: &Prefix, _limit: Duration) -> Result<bool, StoreError> {
        sleep(Duration::from_millis(20)).await;
        Ok(true)
    }

    async fn list(
        &self,
        _prefix: &Prefix,
        kind: Kind,
        _token: Option<&str>,
        limit: Duration,
    ) -> Result<Page, StoreError> {
        sleep(if kind == Kind::Objects { limit } else { Duration::from_millis(60) }).await;
        match kind {
            Kind::Objects => Err(StoreError::Unavailable("no answer in time".to_owned())),
            Kind::Uploads | Kind::Versions | Kind::DeleteMarkers => {
                Ok(Page { entries: Vec::new(), next: None, cut_at: None })
            }
        }
    }

    fn token_after(&self, _kind: Kind, _key: &str) -> Option<String> {
        None
    }
}

impl DeleteStore for Buried {
    async fn delete(
        &self,
        _prefix: &Prefix,
        _items: &[Item],
        _limit: Duration,
    ) -> Result<DeleteResult, StoreError> {
        unreachable!("there is nothing to delete")
    }

    async fn retention(
        &self,
        _prefix: &Prefix,
        _item: &Item,
        _limit: Duration,
    ) -> Result<Option<Retention>, StoreError> {
        unreachable!("there is nothing to ask about")
    }
}

#[tokio::test(start_paused = true)]
async fn a_bucket_with_versions_does_not_wait_for_a_listing_of_objects() {
    let start = Instant::now();
    assert_eq!(hop(&Eraser(Buried), None).await, HopEnd::Erased);
    assert_eq!(
        start.elapsed(),
        Duration::from_millis(60 + 60),
        "uploads beside the question, and versions"
    );
}
