//! Stores that the acceptance suite can fill, look into and erase from.

use std::error::Error;
use std::time::Duration;

use aws_sdk_s3::config::retry::RetryConfig;
use erase_user_files::aws::s3::store::S3;
use erase_user_files::ports::store::{DeleteStore, LockKind, Retention};
use erase_user_files::target::BucketOwners;
use local::{Lock, Stored, StoredKind};
use time::OffsetDateTime;
use tokio::time::sleep;

use crate::Failure;
use crate::acceptance::{DIFFERENCES, Differences, State};
use crate::fake::handle::Fake;
use crate::fake::model::Versioning;

/// One thing that a bucket holds: its key, what it is, its id.
pub(crate) type Thing = Stored;

/// Why a check did not come to its end.
#[derive(Debug)]
pub(crate) enum Stop {
    /// The store does not have what the check needs.
    Lacks(String),
    /// Something went wrong.
    Failed(Failure),
}

/// The end of a check, or of a step of one.
pub(crate) type Checked<T = ()> = Result<T, Stop>;

/// The codes with which a store says that it does not have an operation, or a bucket no Object
/// Lock.
const LACKING: [&str; 4] = [
    "MethodNotAllowed",
    "NoSuchObjectLockConfiguration",
    "NotImplemented",
    "ObjectLockConfigurationNotFoundError",
];

impl Stop {
    /// Why a request of the test itself failed.
    pub(crate) fn of(error: local::Error) -> Self {
        let code = error.code().filter(|code| LACKING.contains(code)).map(str::to_owned);
        match (code, error) {
            (Some(code), local::Error::Service { doing, .. }) => {
                Self::Lacks(format!("{doing}: {code}"))
            }
            (_, error) => Self::Failed(error.into()),
        }
    }
}

impl<E: Error> From<E> for Stop {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl From<Stop> for Failure {
    fn from(stop: Stop) -> Self {
        match stop {
            Stop::Lacks(text) => Self(text),
            Stop::Failed(failure) => failure,
        }
    }
}

/// The times of the suite's erasures.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Times {
    /// More than enough for an erasure in one hop.
    pub(crate) long: Duration,
    /// A hop of an erasure that needs several.
    pub(crate) hop: Duration,
    /// The pace of these hops.
    pub(crate) keys_per_second: u32,
}

/// A store under test.
pub(crate) trait TestStore {
    type Store: DeleteStore;

    fn name(&self) -> &'static str;
    /// What an erasure works on.
    fn store(&self, bypasses_governance: bool) -> Self::Store;
    fn can_store(&self, key: &str) -> bool;
    /// Until when [`TestStore::lock_oldest`] locks.
    fn lock_end(&self) -> OffsetDateTime;

    async fn create_bucket(&self, bucket: &str) -> Checked;
    async fn create_bucket_with_object_lock(&self, bucket: &str) -> Checked;
    async fn enable_versioning(&self, bucket: &str) -> Checked;
    async fn suspend_versioning(&self, bucket: &str) -> Checked;
    /// Puts an object at each key; at a key that is given twice, two objects.
    async fn put_all(&self, bucket: &str, keys: &[String]) -> Checked;
    async fn delete_plainly(&self, bucket: &str, key: &str) -> Checked;
    async fn start_upload(&self, bucket: &str, key: &str) -> Checked;
    /// Locks the oldest version of a key, and returns it.
    async fn lock_oldest(&self, bucket: &str, key: &str, hold: LockKind) -> Checked<Thing>;
    /// A moment of the store's clock that is after everything that was written, and not after
    /// anything that will be. It leaves the bucket as it is.
    async fn a_moment_later(&self, bucket: &str) -> Checked<OffsetDateTime>;
    /// Everything of every kind, sorted.
    async fn contents(&self, bucket: &str, prefix: &str) -> Checked<Vec<Thing>>;

    /// The name of a bucket of the suite in this store.
    fn bucket(&self, name: &str) -> String {
        name.to_owned()
    }

    /// Why no bucket of the store can be in this state, if that is known.
    fn lacks(&self, _state: State) -> Option<String> {
        None
    }

    fn times(&self) -> Times {
        Times {
            long: Duration::from_secs(60),
            hop: Duration::from_millis(1_200),
            keys_per_second: 100,
        }
    }

    fn differences(&self) -> Differences {
        let (_, differences) =
            DIFFERENCES.iter().find(|(name, _)| *name == self.name()).expect("a line in the table");
        *differences
    }
}

/// How long [`TestStore::lock_oldest`] locks.
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

impl TestStore for Fakes {
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

    async fn create_bucket(&self, bucket: &str) -> Checked {
        assert_eq!(
            self.0.store().versioning(bucket),
            Some(Versioning::Never),
            "{bucket} exists from the start"
        );
        Ok(())
    }

    async fn create_bucket_with_object_lock(&self, bucket: &str) -> Checked {
        self.enable_versioning(bucket).await
    }

    async fn enable_versioning(&self, bucket: &str) -> Checked {
        self.0.store().set_versioning(bucket, Versioning::Enabled);
        Ok(())
    }

    async fn suspend_versioning(&self, bucket: &str) -> Checked {
        self.0.store().set_versioning(bucket, Versioning::Suspended);
        Ok(())
    }

    async fn put_all(&self, bucket: &str, keys: &[String]) -> Checked {
        keys.iter().for_each(|key| self.0.store().put(bucket, key, 1));
        Ok(())
    }

    async fn delete_plainly(&self, bucket: &str, key: &str) -> Checked {
        self.0.store().delete_plain(bucket, key);
        Ok(())
    }

    async fn start_upload(&self, bucket: &str, key: &str) -> Checked {
        self.0.store().start_upload(bucket, key);
        Ok(())
    }

    async fn lock_oldest(&self, bucket: &str, key: &str, hold: LockKind) -> Checked<Thing> {
        let mut store = self.0.store();
        let id = store
            .versions(bucket, key)
            .back()
            .map(|version| version.id.clone())
            .expect("a version");
        let until = (hold != LockKind::LegalHold).then(|| store.now() + LOCKED_FOR);
        store.lock(bucket, key, &id, Retention { hold, until });
        Ok(Thing { key: key.to_owned(), kind: StoredKind::Version, id: Some(id) })
    }

    async fn a_moment_later(&self, _bucket: &str) -> Checked<OffsetDateTime> {
        let mut store = self.0.store();
        let later = store.now() + Duration::from_secs(10);
        store.set_now(later);
        Ok(later)
    }

    async fn contents(&self, bucket: &str, prefix: &str) -> Checked<Vec<Thing>> {
        let store = self.0.store();
        let has_versions = store.versioning(bucket) != Some(Versioning::Never);
        let inventory = store.inventory(bucket, prefix);
        let thing = |kind, key: String, id| Thing { key, kind, id };
        let data = inventory.data.into_iter().map(|(key, version)| match has_versions {
            true => thing(StoredKind::Version, key, Some(version.id)),
            false => thing(StoredKind::Object, key, None),
        });
        let markers = inventory
            .markers
            .into_iter()
            .map(|(key, marker)| thing(StoredKind::DeleteMarker, key, Some(marker.id)));
        let uploads = inventory
            .uploads
            .into_iter()
            .map(|(key, upload)| thing(StoredKind::Upload, key, Some(upload.id)));
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
    locked_for: Duration,
}

impl Served {
    pub(crate) fn new(name: &'static str, client: aws_sdk_s3::Client) -> Self {
        Self { name, client, locked_for: LOCKED_FOR }
    }

    /// The same with shorter locks.
    pub(crate) fn locking_for(self, locked_for: Duration) -> Self {
        Self { locked_for, ..self }
    }
}

impl TestStore for Served {
    type Store = S3;

    fn name(&self) -> &'static str {
        self.name
    }

    fn store(&self, bypasses_governance: bool) -> S3 {
        let without_retries =
            self.client.config().to_builder().retry_config(RetryConfig::disabled()).build();
        S3::new(
            &aws_sdk_s3::Client::from_conf(without_retries),
            BucketOwners::default(),
            bypasses_governance,
        )
    }

    fn can_store(&self, key: &str) -> bool {
        self.differences().stores_any_key || can_be_stored_by_seaweed(key)
    }

    fn lock_end(&self) -> OffsetDateTime {
        now() + self.locked_for
    }

    async fn create_bucket(&self, bucket: &str) -> Checked {
        self.client.create_bucket().bucket(bucket).send().await?;
        Ok(())
    }

    async fn create_bucket_with_object_lock(&self, bucket: &str) -> Checked {
        local::create_bucket_with_object_lock(&self.client, bucket).await.map_err(Stop::of)
    }

    async fn enable_versioning(&self, bucket: &str) -> Checked {
        local::enable_versioning(&self.client, bucket).await.map_err(Stop::of)
    }

    async fn suspend_versioning(&self, bucket: &str) -> Checked {
        local::suspend_versioning(&self.client, bucket).await.map_err(Stop::of)
    }

    async fn put_all(&self, bucket: &str, keys: &[String]) -> Checked {
        let objects = keys.iter().map(|key| (key.clone(), b"x".to_vec()));
        Ok(local::put_objects(&self.client, bucket, objects).await?)
    }

    async fn delete_plainly(&self, bucket: &str, key: &str) -> Checked {
        local::delete_plainly(&self.client, bucket, key).await?;
        Ok(())
    }

    async fn start_upload(&self, bucket: &str, key: &str) -> Checked {
        local::start_upload(&self.client, bucket, key, b"part").await.map_err(Stop::of)?;
        Ok(())
    }

    async fn lock_oldest(&self, bucket: &str, key: &str, hold: LockKind) -> Checked<Thing> {
        // Newest first, as every store lists them.
        let answer = self.client.list_object_versions().bucket(bucket).prefix(key).send().await?;
        let id =
            answer.versions().last().and_then(|version| version.version_id()).unwrap_or_default();
        let seconds = u32::try_from(self.locked_for.as_secs())?;
        let lock = match hold {
            LockKind::Compliance => Lock::Compliance(seconds),
            LockKind::Governance => Lock::Governance(seconds),
            LockKind::LegalHold => Lock::LegalHold,
        };
        local::lock_version(&self.client, bucket, key, id, lock).await.map_err(Stop::of)?;
        Ok(Thing { key: key.to_owned(), kind: StoredKind::Version, id: Some(id.to_owned()) })
    }

    async fn a_moment_later(&self, _bucket: &str) -> Checked<OffsetDateTime> {
        // The server's clock is ours; some servers have times in whole seconds.
        sleep(Duration::from_millis(2_100)).await;
        Ok(now().replace_nanosecond(0)?)
    }

    async fn contents(&self, bucket: &str, prefix: &str) -> Checked<Vec<Thing>> {
        Ok(local::inventory(&self.client, bucket, prefix).await?)
    }
}

#[expect(clippy::disallowed_methods, reason = "the servers' clock is this one")]
pub(crate) fn now() -> OffsetDateTime {
    std::time::SystemTime::now().into()
}

/// Seaweed keeps objects as files in folders, and so cannot store every key that S3 can.
pub(crate) fn can_be_stored_by_seaweed(key: &str) -> bool {
    let mut segments = key.split('/');
    // It rejects NUL, `.` and `..` (400 `InvalidRequest`), and long names (400 `KeyTooLongError`).
    segments.all(|segment| !matches!(segment, "." | "..") && segment.len() <= 255)
        && !key.contains('\0')
        // It folds these: `/u1/x` is stored as `u1/x` and `u1/a//b` as `u1/a/b`; a backslash
        // becomes a slash.
        && !key.starts_with('/')
        && !key.contains("//")
        && !key.contains('\\')
        // No file may have the name of a folder.
        && !matches!(key, "u1" | "u10")
}
