//! What changes while it is listed: none of it escapes the proof.

use std::num::NonZeroU32;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use erase_user_files::erasure::checkpoint::Checkpoint;
use erase_user_files::erasure::dry_run::DryRun;
use erase_user_files::erasure::engine::{Engine, ErasureScope};
use erase_user_files::erasure::erase::Eraser;
use erase_user_files::erasure::progress::Progress;
use erase_user_files::erasure::report::HopEnd;
use erase_user_files::limiter::Limiter;
use erase_user_files::ports::store::{Kind, StoreError};
use erase_user_files::target::{Targets, User};
use time::OffsetDateTime;
use tokio::time::{Instant, sleep};

use crate::fake::handle::Fake;
use crate::fake::model::Versioning;
use crate::faults::{Asks, Faults, Request, Shared};
use crate::fixture::locked;

/// How an erasure of u1 in this store ends, in one hop.
async fn erase(store: &Shared<impl Faults>, erase_before: Option<OffsetDateTime>) -> HopEnd {
    hop(&Eraser(store.clone()), erase_before).await
}

async fn hop(work: &impl Engine, erase_before: Option<OffsetDateTime>) -> HopEnd {
    let targets = Targets::parse("s3://photos/{user_id}/").expect("a target is a target");
    let user = User::parse("u1").expect("a user id is a user id");
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

fn is_empty(store: &impl Faults) -> bool {
    store.model().store().inventory("photos", "").is_empty()
}

/// A bucket whose versioning is enabled after the function has asked for it. Then another client
/// deletes the only object: a listing of objects shows nothing.
struct Switching {
    model: Fake,
    is_switched: AtomicBool,
}

impl Faults for Switching {
    fn model(&self) -> &Fake {
        &self.model
    }

    async fn before(&self, request: Request<'_>) -> Result<(), StoreError> {
        if matches!(request.asks, Asks::Listing(_)) {
            sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    }

    async fn after(&self, request: Request<'_>) {
        if matches!(request.asks, Asks::Versioning)
            && !self.is_switched.swap(true, Ordering::Relaxed)
        {
            self.model.store().set_versioning("photos", Versioning::Enabled);
            self.model.store().delete_plain("photos", "u1/a");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn versioning_enabled_during_erasure_hides_nothing() {
    let store = Shared::new(Switching {
        model: Fake::new(&["photos"]),
        is_switched: AtomicBool::default(),
    });
    store.model.store().put("photos", "u1/a", 1);
    assert_eq!((erase(&store, None).await, is_empty(&*store)), (HopEnd::Erased, true));
}

/// A bucket with one upload, which is completed 70 ms after the first request. Objects and versions
/// are listed as they were 60 ms before the answer, uploads as they are when the answer comes,
/// after 100 ms.
struct Completing {
    model: Fake,
    upload: String,
    start: Instant,
    listed: Mutex<Vec<(Duration, Kind)>>,
}

impl Completing {
    fn new(is_versioned: bool) -> Shared<Self> {
        let model = Fake::new(&["photos"]);
        if is_versioned {
            model.store().set_versioning("photos", Versioning::Enabled);
        }
        let upload = model.store().start_upload("photos", "u1/a");
        Shared::new(Self { model, upload, start: Instant::now(), listed: Mutex::default() })
    }

    fn complete_if_due(&self) {
        if self.start.elapsed() >= Duration::from_millis(70) {
            self.model.store().complete_upload("photos", "u1/a", &self.upload, 1);
        }
    }
}

impl Faults for Completing {
    fn model(&self) -> &Fake {
        &self.model
    }

    async fn before(&self, request: Request<'_>) -> Result<(), StoreError> {
        match request.asks {
            Asks::Listing(kind) => {
                locked(&self.listed).push((self.start.elapsed(), kind));
                if kind == Kind::Uploads {
                    sleep(Duration::from_millis(100)).await;
                }
                self.complete_if_due();
            }
            Asks::Deleting(items) => {
                let is_versioned =
                    self.model.store().versioning("photos") == Some(Versioning::Enabled);
                assert_eq!((items[0].kind == Kind::Versions, items.len()), (is_versioned, 1));
            }
            Asks::Versioning | Asks::Retention(_) => {}
        }
        Ok(())
    }

    async fn after(&self, request: Request<'_>) {
        if matches!(request.asks, Asks::Listing(kind) if kind != Kind::Uploads) {
            sleep(Duration::from_millis(60)).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn upload_completed_between_listings_is_found() {
    for is_versioned in [false, true] {
        let store = Completing::new(is_versioned);
        assert_eq!((erase(&store, None).await, is_empty(&*store)), (HopEnd::Erased, true));
    }
}

#[tokio::test(start_paused = true)]
async fn early_listed_object_is_not_taken_for_a_version() {
    let store = Completing::new(true);
    sleep(Duration::from_millis(70)).await;
    assert_eq!((erase(&store, None).await, is_empty(&*store)), (HopEnd::Erased, true));
}

#[tokio::test(start_paused = true)]
async fn only_first_round_lists_objects_and_uploads_concurrently() {
    let erases_all =
        vec![(0, Kind::Objects), (0, Kind::Uploads), (100, Kind::Uploads), (200, Kind::Objects)];
    // Objects that may be kept are listed as late as possible: a client may overwrite them meanwhile.
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

/// An empty bucket with versioning, where no listing of objects is answered in time, as behind many
/// delete markers.
struct Buried(Fake);

impl Faults for Buried {
    fn model(&self) -> &Fake {
        &self.0
    }

    async fn before(&self, request: Request<'_>) -> Result<(), StoreError> {
        match request.asks {
            Asks::Versioning => sleep(Duration::from_millis(20)).await,
            Asks::Listing(Kind::Objects) => {
                sleep(request.limit).await;
                return Err(StoreError::Unavailable("no answer in time".to_owned()));
            }
            Asks::Listing(_) => sleep(Duration::from_millis(60)).await,
            Asks::Deleting(_) | Asks::Retention(_) => unreachable!("the bucket is empty"),
        }
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn versioned_bucket_does_not_wait_for_object_listing() {
    let store = Shared::new(Buried(Fake::new(&["photos"])));
    store.model().store().set_versioning("photos", Versioning::Enabled);
    let start = Instant::now();
    assert_eq!(erase(&store, None).await, HopEnd::Erased);
    assert_eq!(
        start.elapsed(),
        Duration::from_millis(60 + 60),
        "uploads beside the question, and versions"
    );
}
