//! The S3 adapter, under the eraser, on two stores by different people. No function here, and no
//! queue.

use std::num::NonZeroU32;
use std::time::Duration;

use aws_sdk_s3::config::retry::RetryConfig;
use erase_user_files::aws::s3::store::S3;
use erase_user_files::erasure::checkpoint::Checkpoint;
use erase_user_files::erasure::delete::Eraser;
use erase_user_files::erasure::progress::{Progress, Totals};
use erase_user_files::erasure::report::{Engine, ErasureScope, HopEnd};
use erase_user_files::limiter::Limiter;
use erase_user_files::ports::store::{DeleteStore, Item, Kind, ReadStore, StoreError};
use erase_user_files::target::{Targets, UserId};
use local::{Ministack, Seaweed, list_keys, put_objects};
use serde_json::json;
use tokio::time::{Instant, timeout};

use crate::objects::{
    Object, USER, assert_left, assert_stored, neighbours, objects, odd_keys, plain_keys, size,
};
use crate::stores::can_be_stored_by_seaweed;
use crate::{Failure, Outcome, within};

const TEST_LIMIT: Duration = Duration::from_secs(180);
/// More than enough for anything in here: nothing is to be left unfinished.
const LONG: Duration = Duration::from_secs(60);
/// The most that a hop may go on after its stop time.
const LATE: Duration = Duration::from_millis(500);
/// Lists and deletes of the adapter itself.
const REQUEST_LIMIT: Duration = Duration::from_secs(15);

/// A bucket called `photos` on one of the stores.
struct Store {
    client: aws_sdk_s3::Client,
    eraser: Eraser<S3>,
    targets: Targets,
    user: UserId,
}

const BUCKET: &str = "photos";

impl Store {
    fn new(client: aws_sdk_s3::Client) -> Result<Self, Failure> {
        let without_retries =
            client.config().to_builder().retry_config(RetryConfig::disabled()).build();
        Ok(Self {
            client,
            eraser: Eraser(S3::new(&aws_sdk_s3::Client::from_conf(without_retries), None, false)),
            targets: Targets::parse("s3://photos/{user_id}/")
                .map_err(|faults| Failure(faults.join("; ")))?,
            user: UserId::parse(USER)?,
        })
    }

    async fn put(&self, objects: &[Object]) -> Outcome {
        Ok(put_objects(&self.client, BUCKET, objects.iter().cloned()).await?)
    }

    /// Erases as much as the time allows.
    async fn erase(
        &self,
        pace: &Limiter,
        bookmark: &mut Checkpoint,
        time: Duration,
    ) -> (HopEnd, Totals) {
        let counters = Progress::default();
        let job = ErasureScope {
            targets: &self.targets,
            user: &self.user,
            erase_before: None,
            max_objects: None,
            started_at: None,
            stop: Instant::now() + time,
        };
        let report = Box::pin(self.eraser.work(pace, &counters, job, bookmark)).await;
        (report.end, counters.hop())
    }

    /// Erases everything, and checks the counts.
    async fn must_erase(&self, stored: &[Object]) -> Outcome {
        let (end, tally) = self.erase(&fast(), &mut Checkpoint::default(), LONG).await;
        let keys: Vec<&String> = stored.iter().map(|(key, _)| key).take(3).collect();
        assert_eq!(end, HopEnd::Erased, "{keys:?}: {tally:?}");
        assert_eq!(
            (tally.gone.objects, tally.gone.bytes),
            (stored.len() as u64, size(stored)),
            "{keys:?}: {tally:?}"
        );
        assert_eq!((tally.retries, tally.throttles), (0, 0), "{keys:?}: {tally:?}");
        Ok(())
    }

    /// Erases everything, and checks the counts and what is left.
    async fn erase_all(&self, stored: &[Object], kept: &[Object]) -> Outcome {
        self.must_erase(stored).await?;
        assert_left(&self.client, BUCKET, kept).await
    }

    /// One erasure for each object, so that each goes by a request of its own.
    async fn erase_one_by_one(&self, stored: &[Object], kept: &[Object]) -> Outcome {
        for object in stored {
            let object = std::slice::from_ref(object);
            self.put(object).await?;
            self.must_erase(object).await?;
            assert_stored(&self.client, BUCKET, kept).await?;
        }
        assert_left(&self.client, BUCKET, kept).await
    }

    /// A token stays good when the objects before it are gone: the bookmark of a continuation
    /// relies on it.
    async fn resume_behind_deleted_objects(&self, kept: &[Object]) -> Outcome {
        let stored = objects(plain_keys("u1/", 1_500));
        self.put(&stored).await?;
        let prefix = self.targets.as_slice()[0].prefix(&self.user);
        let first = self.eraser.0.list(&prefix, Kind::Objects, None, REQUEST_LIMIT).await?;
        assert_eq!(first.entries.len(), 1_000);
        let own = |key: &String| prefix.claim(key.clone());
        let items = first.entries.iter().map(|object| {
            Ok(Item {
                kind: Kind::Objects,
                key: own(&object.key)?,
                other_key: None,
                id: None,
                bytes: object.bytes,
                last_modified: object.last_modified,
            })
        });
        let items = items.collect::<Result<Vec<_>, Failure>>()?;
        assert_eq!(self.eraser.0.delete(&prefix, &items, REQUEST_LIMIT).await?.failures, []);

        let second = self
            .eraser
            .0
            .list(&prefix, Kind::Objects, first.next.as_deref(), REQUEST_LIMIT)
            .await?;
        assert_eq!(
            (second.entries.len(), &second.next),
            (500, &None),
            "what lies behind the deleted page"
        );
        let mut left = stored;
        left.retain(|(key, _)| second.entries.iter().any(|object| object.key == *key));
        self.erase_all(&left, kept).await
    }

    /// A token that the store never gave: refused or taken for something, it must not hide what is
    /// there.
    async fn outlive_a_bogus_token(&self, kept: &[Object]) -> Outcome {
        let stored = objects(plain_keys("u1/", 20));
        self.put(&stored).await?;
        let prefix = self.targets.as_slice()[0].prefix(&self.user);
        match self.eraser.0.list(&prefix, Kind::Objects, Some("nonsense"), REQUEST_LIMIT).await {
            Ok(_) | Err(StoreError::TokenRejected(_)) => {}
            Err(fault) => {
                return Err(Failure(format!(
                    "expected the token to be refused, not \"failed to {fault}\""
                )));
            }
        }
        let target = self.targets.as_slice()[0].to_string();
        let mut bookmark: Checkpoint = serde_json::from_value(
            json!({ "target": target, "kind": "objects", "token": "nonsense" }),
        )?;
        let (end, tally) = self.erase(&fast(), &mut bookmark, LONG).await;
        assert_eq!((end, tally.gone.objects), (HopEnd::Erased, 20), "{tally:?}");
        assert_left(&self.client, BUCKET, kept).await
    }

    /// Too little time in each hop, as under Lambda; the bookmark goes from hop to hop.
    async fn erase_in_hops(&self, count: usize, kept: &[Object]) -> Outcome {
        let stored = objects(plain_keys("u1/", count));
        self.put(&stored).await?;
        let pace = Limiter::new(NonZeroU32::new(300), NonZeroU32::MIN.saturating_add(7), 1);
        let (mut bookmark, mut ends, mut counted) = (Checkpoint::default(), Vec::new(), 0);
        while ends.last() != Some(&HopEnd::Erased) {
            assert!(ends.len() < 20, "still not erased: {ends:?}");
            let time = Duration::from_millis(2_500);
            let hop = Box::pin(self.erase(&pace, &mut bookmark, time));
            // No clock is read: both times are timers, and that of the hop is looked at first when
            // a slow machine lets both go off at once.
            let (end, tally) =
                timeout(time + LATE, hop).await.expect("the hop ends at its stop time");
            assert!(matches!(end, HopEnd::Erased | HopEnd::Unfinished { .. }), "{end:?}");
            counted += tally.gone.objects;
            ends.push(end);
        }
        assert!(ends.len() > 1, "there was time for everything in one hop");
        assert!(counted <= stored.len() as u64, "{counted} objects counted");
        assert_left(&self.client, BUCKET, kept).await
    }
}

fn fast() -> Limiter {
    Limiter::new(None, NonZeroU32::MIN.saturating_add(7), 1)
}

#[tokio::test]
async fn ministack_deletes_odd_keys_in_batches_and_singly() -> Outcome {
    let cloud = Ministack::start().await?;
    within(TEST_LIMIT, async {
        cloud.create_bucket(BUCKET).await?;
        let store = Store::new(cloud.s3())?;
        let kept = neighbours();
        store.put(&kept).await?;
        let odd = objects(odd_keys("u1/"));
        store.put(&odd).await?;
        assert_stored(&store.client, BUCKET, &[odd.clone(), kept.clone()].concat()).await?;
        store.erase_all(&odd, &kept).await?;
        store.erase_one_by_one(&odd, &kept).await?;
        store.outlive_a_bogus_token(&kept).await?;
        store.resume_behind_deleted_objects(&kept).await
    })
    .await
}

#[tokio::test]
async fn seaweed_deletes_exactly_the_prefix() -> Outcome {
    let seaweed = Seaweed::start().await?;
    within(TEST_LIMIT, async {
        seaweed.create_bucket(BUCKET).await?;
        let store = Store::new(seaweed.s3())?;
        let mut kept = neighbours();
        kept.retain(|(key, _)| can_be_stored_by_seaweed(key));
        store.put(&kept).await?;
        let mut odd = objects(odd_keys("u1/"));
        odd.retain(|(key, _)| can_be_stored_by_seaweed(key));
        store.put(&odd).await?;
        assert_stored(&store.client, BUCKET, &[odd.clone(), kept.clone()].concat()).await?;
        store.erase_all(&odd, &kept).await?;
        store.erase_one_by_one(&odd, &kept).await?;
        store.outlive_a_bogus_token(&kept).await?;
        store.resume_behind_deleted_objects(&kept).await?;
        store.erase_in_hops(1_500, &kept).await?;
        assert!(list_keys(&store.client, BUCKET, "u1/").await?.is_empty());
        Ok(())
    })
    .await
}
