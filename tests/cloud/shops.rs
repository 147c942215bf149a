//! Stores that the acceptance suite can fill, look into and erase from.

use std::time::Duration;

use aws_sdk_s3::config::retry::RetryConfig;
use erase_user_files::bucket::s3::S3;
use erase_user_files::bucket::{Deletes, Hold, Retention};
use local::{Lock, Stored, StoredKind};
use time::OffsetDateTime;
use tokio::time::sleep;

use crate::acceptance::{DIFFERENCES, Differences};
use crate::fake::handle::Fake;
use crate::fake::model::Versioning;
use crate::{Failure, Outcome};

/// One thing that a bucket holds: its key, what it is, its id.
pub(crate) type Thing = Stored;

/// A store under test.
pub(crate) trait Shop {
    type Store: Deletes;

    fn name(&self) -> &'static str;
    /// What an erasure works on.
    fn store(&self, bypasses_governance: bool) -> Self::Store;
    fn can_store(&self, key: &str) -> bool;
    /// Until when [`Shop::lock_oldest`] locks.
    fn lock_end(&self) -> OffsetDateTime;

    async fn create_bucket(&self, bucket: &str) -> Outcome;
    async fn create_bucket_with_object_lock(&self, bucket: &str) -> Outcome;
    async fn enable_versioning(&self, bucket: &str) -> Outcome;
    async fn suspend_versioning(&self, bucket: &str) -> Outcome;
    /// Puts an object at each key, in this order where a key stands twice.
    async fn put_all(&self, bucket: &str, keys: &[String]) -> Outcome;
    async fn delete_plainly(&self, bucket: &str, key: &str) -> Outcome;
    async fn start_upload(&self, bucket: &str, key: &str) -> Outcome;
    /// Locks the oldest version of a key, and returns it.
    async fn lock_oldest(&self, bucket: &str, key: &str, hold: Hold) -> Result<Thing, Failure>;
    /// A moment that lies after everything that was written, and not after anything that will be.
    async fn a_moment_later(&self) -> OffsetDateTime;
    /// Everything of every kind, sorted.
    async fn contents(&self, bucket: &str, prefix: &str) -> Result<Vec<Thing>, Failure>;

    fn differences(&self) -> Differences {
        let (_, differences) = DIFFERENCES.iter().find(|(name, _)| *name == self.name()).expect("a line in the table");
        *differences
    }
}

/// How long [`Shop::lock_oldest`] locks.
const LOCKED_FOR: Duration = Duration::from_secs(3_600);

/// The model.
#[derive(Debug)]
pub(crate) struct Fakes(Fake);

impl Fakes {
    /// With all buckets that the suite will use.
    pub(crate) fn new(buckets: &[&str]) -> Self {
        let mut fake = Fake::new(buckets);
        // Small pages, so that keys are cut in all places.
        fake.page_size = 7;
        Self(fake)
    }
}

impl Shop for Fakes {
    type Store = Fake;

    fn name(&self) -> &'static str {
        "fake"
    }

    fn store(&self, bypasses_governance: bool) -> Fake {
        let mut fake = self.0.clone();
        fake.bypasses_governance = bypasses_governance;
        fake
    }

    fn can_store(&self, _key: &str) -> bool {
        true
    }

    fn lock_end(&self) -> OffsetDateTime {
        self.0.store().now() + LOCKED_FOR
    }

    async fn create_bucket(&self, bucket: &str) -> Outcome {
        assert_eq!(self.0.store().versioning(bucket), Some(Versioning::Never), "{bucket} is there from the start");
        Ok(())
    }

    async fn create_bucket_with_object_lock(&self, bucket: &str) -> Outcome {
        self.enable_versioning(bucket).await
    }

    async fn enable_versioning(&self, bucket: &str) -> Outcome {
        self.0.store().set_versioning(bucket, Versioning::Enabled);
        Ok(())
    }

    async fn suspend_versioning(&self, bucket: &str) -> Outcome {
        self.0.store().set_versioning(bucket, Versioning::Suspended);
        Ok(())
    }

    async fn put_all(&self, bucket: &str, keys: &[String]) -> Outcome {
        keys.iter().for_each(|key| self.0.store().put(bucket, key, 1));
        Ok(())
    }

    async fn delete_plainly(&self, bucket: &str, key: &str) -> Outcome {
        self.0.store().delete_plain(bucket, key);
        Ok(())
    }

    async fn start_upload(&self, bucket: &str, key: &str) -> Outcome {
        self.0.store().start_upload(bucket, key);
        Ok(())
    }

    async fn lock_oldest(&self, bucket: &str, key: &str, hold: Hold) -> Result<Thing, Failure> {
        let mut store = self.0.store();
        let id = store.versions(bucket, key).last().map(|version| version.id.clone()).expect("a version");
        let until = (hold != Hold::LegalHold).then(|| store.now() + LOCKED_FOR);
        store.lock(bucket, key, &id, Retention { hold, until });
        Ok(Thing { key: key.to_owned(), kind: StoredKind::Version, id: Some(id) })
    }

    async fn a_moment_later(&self) -> OffsetDateTime {
        let mut store = self.0.store();
        let later = store.now() + Duration::from_secs(10);
        store.set_now(later);
        later
    }

    async fn contents(&self, bucket: &str, prefix: &str) -> Result<Vec<Thing>, Failure> {
        let store = self.0.store();
        let has_versions = store.versioning(bucket) != Some(Versioning::Never);
        let inventory = store.inventory(bucket, prefix);
        let thing = |kind, key: String, id| Thing { key, kind, id };
        let data = inventory.data.into_iter().map(|(key, version)| match has_versions {
            true => thing(StoredKind::Version, key, Some(version.id)),
            false => thing(StoredKind::Object, key, None),
        });
        let markers =
            inventory.markers.into_iter().map(|(key, marker)| thing(StoredKind::DeleteMarker, key, Some(marker.id)));
        let uploads =
            inventory.uploads.into_iter().map(|(key, upload)| thing(StoredKind::Upload, key, Some(upload.id)));
        let mut all: Vec<Thing> = data.chain(markers).chain(uploads).collect();
        all.sort();
        Ok(all)
    }
}

/// A server, seen through the adapter.
#[derive(Debug)]
pub(crate) struct Served {
    name: &'static str,
    client: aws_sdk_s3::Client,
}

impl Served {
    pub(crate) fn new(name: &'static str, client: aws_sdk_s3::Client) -> Self {
        Self { name, client }
    }
}

impl Shop for Served {
    type Store = S3;

    fn name(&self) -> &'static str {
        self.name
    }

    fn store(&self, bypasses_governance: bool) -> S3 {
        let without_retries = self.client.config().to_builder().retry_config(RetryConfig::disabled()).build();
        S3::new(&aws_sdk_s3::Client::from_conf(without_retries), None, bypasses_governance)
    }

    fn can_store(&self, key: &str) -> bool {
        self.differences().stores_any_key || can_be_stored_by_seaweed(key)
    }

    fn lock_end(&self) -> OffsetDateTime {
        now() + LOCKED_FOR
    }

    async fn create_bucket(&self, bucket: &str) -> Outcome {
        self.client.create_bucket().bucket(bucket).send().await?;
        Ok(())
    }

    async fn create_bucket_with_object_lock(&self, bucket: &str) -> Outcome {
        Ok(local::create_bucket_with_object_lock(&self.client, bucket).await?)
    }

    async fn enable_versioning(&self, bucket: &str) -> Outcome {
        Ok(local::enable_versioning(&self.client, bucket).await?)
    }

    async fn suspend_versioning(&self, bucket: &str) -> Outcome {
        Ok(local::suspend_versioning(&self.client, bucket).await?)
    }

    async fn put_all(&self, bucket: &str, keys: &[String]) -> Outcome {
        let objects = keys.iter().map(|key| (key.clone(), b"x".to_vec()));
        Ok(local::put_objects(&self.client, bucket, objects).await?)
    }

    async fn delete_plainly(&self, bucket: &str, key: &str) -> Outcome {
        local::delete_plainly(&self.client, bucket, key).await?;
        Ok(())
    }

    async fn start_upload(&self, bucket: &str, key: &str) -> Outcome {
        local::start_upload(&self.client, bucket, key, b"part").await?;
        Ok(())
    }

    async fn lock_oldest(&self, bucket: &str, key: &str, hold: Hold) -> Result<Thing, Failure> {
        // Newest first, as every store lists them.
        let answer = self.client.list_object_versions().bucket(bucket).prefix(key).send().await?;
        let id = answer.versions().last().and_then(|version| version.version_id()).unwrap_or_default();
        let seconds = u32::try_from(LOCKED_FOR.as_secs())?;
        let lock = match hold {
            Hold::Compliance => Lock::Compliance(seconds),
            Hold::Governance => Lock::Governance(seconds),
            Hold::LegalHold => Lock::LegalHold,
        };
        local::lock_version(&self.client, bucket, key, id, lock).await?;
        Ok(Thing { key: key.to_owned(), kind: StoredKind::Version, id: Some(id.to_owned()) })
    }

    async fn a_moment_later(&self) -> OffsetDateTime {
        // Some stores tell times in whole seconds.
        sleep(Duration::from_millis(2_100)).await;
        now().replace_nanosecond(0).expect("a whole second")
    }

    async fn contents(&self, bucket: &str, prefix: &str) -> Result<Vec<Thing>, Failure> {
        Ok(local::inventory(&self.client, bucket, prefix).await?)
    }
}

#[expect(clippy::disallowed_methods, reason = "the servers' clock is this one")]
fn now() -> OffsetDateTime {
    std::time::SystemTime::now().into()
}

/// Seaweed keeps objects as files in folders, and so cannot store every key that S3 can.
pub(crate) fn can_be_stored_by_seaweed(key: &str) -> bool {
    let mut segments = key.split('/');
    // It refuses NUL, `.` and `..` (400 `InvalidRequest`), and long names (400 `KeyTooLongError`).
    segments.all(|segment| !matches!(segment, "." | "..") && segment.len() <= 255)
        && !key.contains('\0')
        // It folds these: `/u1/x` is stored as `u1/x` and `u1/a//b` as `u1/a/b`; a backslash becomes a slash.
        && !key.starts_with('/')
        && !key.contains("//")
        && !key.contains('\\')
        // No file may have the name of a folder beside it.
        && !matches!(key, "u1" | "u10")
}
