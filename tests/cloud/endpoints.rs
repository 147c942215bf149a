//! Any S3 endpoint as a store of the acceptance suite. Its buckets have a prefix of their own and
//! are removed at the end.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use aws_config::BehaviorVersion;
use aws_config::retry::RetryConfig;
use aws_sdk_s3::Client;
use aws_sdk_s3::config::Region;
use aws_sdk_s3::error::SdkError;
use aws_sdk_s3::types::{
    BucketLocationConstraint, BucketVersioningStatus, CreateBucketConfiguration, ObjectLockEnabled,
};
use erase_user_files::aws::s3::store::S3;
use erase_user_files::ports::store::LockKind;
use futures::stream::{self, StreamExt};
use time::OffsetDateTime;
use tokio::time::{Instant, sleep, timeout};

use crate::Failure;
use crate::acceptance::{Differences, State, is_xml};
use crate::objects::odd_keys;
use crate::results::in_one_line;
use crate::stores::{Checked, Served, Stop, TestStore, Thing, Times, now};

/// The bucket in which it tries the unusual keys.
const KEYS: &str = "keys";
const REQUESTS_AT_A_TIME: usize = 16;
/// S3 deletes nothing that is locked in compliance mode, so the removal of the buckets has to wait
/// for the end of the locks.
const LOCKED_FOR: Duration = Duration::from_secs(120);
/// Time for a bucket's new versioning to take effect. AWS recommends 15 minutes for the first one
/// of a bucket. Most checks compare with a listing from before the erasure, and so do not depend on
/// it.
/// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/manage-versioning-examples.html>
const SETTLING: Duration = Duration::from_secs(3);
const CONFIRMATIONS: usize = 5;
/// More than the clocks of the servers of one store differ.
const CLOCK_SKEW: Duration = Duration::from_secs(3);
/// For what a failed check has left in a bucket.
const REMOVAL_LIMIT: Duration = Duration::from_secs(300);
/// How long the removal of buckets is repeated after the end of the locks.
const REMOVAL_GRACE: Duration = Duration::from_secs(60);
const REMOVAL_PAUSE: Duration = Duration::from_secs(10);

/// Where the suite runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Address {
    /// `None`: AWS itself.
    endpoint: Option<String>,
    path_style: bool,
}

impl Address {
    /// As `make acceptance` gives it.
    #[expect(clippy::disallowed_methods, reason = "the endpoint comes from the command line")]
    pub(crate) fn from_environment() -> Result<Self, Failure> {
        let variable = |name: &str| std::env::var(name).unwrap_or_default();
        Self::parse(&variable("ACCEPTANCE_ENDPOINT"), &variable("ACCEPTANCE_PATH_STYLE"))
    }

    fn parse(endpoint: &str, path_style: &str) -> Result<Self, Failure> {
        let endpoint = match endpoint {
            "aws" => None,
            url if url.starts_with("https://") || url.starts_with("http://") => {
                Some(url.to_owned())
            }
            other => {
                return Err(Failure(format!(
                    "expected a URL or aws, not {other:?}: make acceptance ENDPOINT=https://s3.example.org"
                )));
            }
        };
        let path_style = match path_style {
            "" => endpoint.is_some(),
            "true" => true,
            "false" => false,
            other => {
                return Err(Failure(format!(
                    "expected PATH_STYLE=true or PATH_STYLE=false, not {other:?}"
                )));
            }
        };
        Ok(Self { endpoint, path_style })
    }

    fn is_aws(&self) -> bool {
        self.endpoint.as_deref().is_none_or(|url| url.contains(".amazonaws.com"))
    }
}

/// The unusual keys that the store has taken, with the ids of their versions, and those that it has
/// rejected, with its codes.
type OddKeys = (BTreeMap<String, Option<String>>, BTreeMap<String, String>);

/// A store at an endpoint.
#[derive(Debug)]
pub(crate) struct Endpoint {
    address: Address,
    region: String,
    client: Client,
    served: Served,
    /// What the names of all its buckets begin with.
    prefix: String,
    differences: Differences,
    /// Keys that the store does not take, or lists under another name.
    left_out: BTreeSet<String>,
    /// Why no bucket is without versioning.
    always_versioned: Option<String>,
    created: RefCell<Vec<String>>,
    with_lock: RefCell<Vec<String>>,
    locked_until: Cell<Option<Instant>>,
}

impl Endpoint {
    /// With the standard variables and files of AWS. Creates the first bucket: without that,
    /// nothing else can be tried.
    pub(crate) async fn connect(address: Address) -> Result<Self, Failure> {
        let retries = RetryConfig::standard().with_max_attempts(4);
        let aws =
            aws_config::defaults(BehaviorVersion::v2026_01_12()).retry_config(retries).load().await;
        let region = match aws.region() {
            Some(region) => region.clone(),
            None if address.is_aws() => return Err(Failure("AWS_REGION is not set".to_owned())),
            None => Region::from_static("us-east-1"),
        };
        let config = aws_sdk_s3::config::Builder::from(&aws).region(region.clone());
        let mut config = config.force_path_style(address.path_style);
        // Whatever AWS_ENDPOINT_URL says.
        config.set_endpoint_url(address.endpoint.clone());
        let client = Client::from_conf(config.build());
        let served = Served::new("endpoint", client.clone()).locking_for(LOCKED_FOR);
        let random: String = std::iter::repeat_with(fastrand::lowercase).take(8).collect();
        let store = Self {
            differences: served.differences(),
            address,
            region: region.to_string(),
            client,
            served,
            prefix: format!("erase-acceptance-{random}-"),
            left_out: BTreeSet::new(),
            always_versioned: None,
            created: RefCell::default(),
            with_lock: RefCell::default(),
            locked_until: Cell::default(),
        };
        store.create_bucket(&store.bucket(KEYS)).await.map_err(|stop| {
            let Failure(reason) = stop.into();
            Failure(format!(
                "no bucket can be created; are the credentials and the region right? {reason}"
            ))
        })?;
        Ok(store)
    }

    /// The head of the report.
    pub(crate) fn title(&self) -> String {
        let endpoint = self.address.endpoint.as_deref().unwrap_or("AWS");
        let style = if self.address.path_style { "paths" } else { "virtual hosts" };
        let (region, prefix, version) = (&self.region, &self.prefix, env!("CARGO_PKG_VERSION"));
        format!(
            "erase-user-files {version} at {endpoint} (region {region}, {style}), {}, buckets {prefix}*",
            now().date()
        )
    }

    /// The end of the report. `left`: what [`Self::clean_up`] returned.
    pub(crate) fn summary(&self, left: &[String]) -> String {
        let created = self.created.borrow().len();
        let mut lines = vec![
            format!("endpoint: {}", self.address.endpoint.as_deref().unwrap_or("AWS")),
            format!("buckets: {created} created, {} removed", created - left.len()),
        ];
        lines.extend(left.iter().map(|bucket| format!("left: {}", in_one_line(bucket))));
        lines.join("\n")
    }

    /// Finds out which unusual keys the store takes and lists unchanged, and whether it can report
    /// the versioning of a bucket.
    pub(crate) async fn explore(&mut self) -> Checked {
        let bucket = self.bucket(KEYS);
        self.learn_of_versioning(&bucket).await?;
        let (stored, rejected) = self.put_odd_keys(&bucket).await;
        self.left_out.extend(rejected.keys().cloned());
        let listed = local::list_keys(&self.client, &bucket, "").await;
        let versions = self.list_versions(&bucket).await;
        self.delete_odd_keys(&bucket, &stored).await;
        let mut remarks = Vec::new();
        if !rejected.is_empty() {
            let codes: BTreeSet<&str> = rejected.values().map(String::as_str).collect();
            let codes = codes.into_iter().collect::<Vec<_>>().join(", ");
            remarks.push(format!("it rejects {} ({codes})", some_of(rejected.keys())));
        }
        let listed = listed.inspect_err(|_error| {
            self.left_out.extend(stored.keys().filter(|key| !is_xml(key)).cloned());
        })?;
        remarks.extend(self.leave_out(&stored, &listed, "its listing of objects"));
        match versions? {
            None => {}
            Some(Ok(versions)) => {
                let listed: Vec<String> = versions.into_iter().map(|version| version.key).collect();
                remarks.extend(self.leave_out(&stored, &listed, "its listing of versions"));
            }
            Some(Err(error)) => {
                self.differences.lists_versions_of_any_key = false;
                let code = error.code().unwrap_or("no code");
                remarks.push(format!(
                    "where there are versions, those that XML cannot carry: listing fails ({code})"
                ));
            }
        }
        self.differences.stores_any_key = self.can_store("u1/a folder/");
        if remarks.is_empty() {
            Ok(())
        } else {
            Err(Stop::Lacks(format!("some are left out: {}", remarks.join("; "))))
        }
    }

    async fn learn_of_versioning(&mut self, bucket: &str) -> Checked {
        let answer = self.client.get_bucket_versioning().bucket(bucket).send().await;
        match answer
            .map_err(|error| local::Error::sdk("ask for the versioning of a new bucket", error))
        {
            Ok(answer) => {
                let status = answer.status().map(BucketVersioningStatus::as_str);
                self.always_versioned =
                    status.map(|status| format!("the versioning of a new bucket is {status}"));
            }
            Err(error) if error.code() == Some("NotImplemented") => {
                self.differences.knows_versioning = false;
            }
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    async fn put_odd_keys(&self, bucket: &str) -> OddKeys {
        let puts = odd_keys("u1/").into_iter().map(|key| async move {
            let put = local::put_object(&self.client, bucket, &key, b"x").await;
            (key, put)
        });
        let put: Vec<_> = stream::iter(puts).buffer_unordered(REQUESTS_AT_A_TIME).collect().await;
        let (mut stored, mut rejected) = (BTreeMap::new(), BTreeMap::new());
        for (key, put) in put {
            match put {
                Ok(id) => drop(stored.insert(key, id)),
                Err(error) => {
                    drop(rejected.insert(key, error.code().unwrap_or("no code").to_owned()));
                }
            }
        }
        (stored, rejected)
    }

    /// Enables versioning and lists; `None`: the store has no versioning.
    async fn list_versions(
        &self,
        bucket: &str,
    ) -> Checked<Option<Result<Vec<Thing>, local::Error>>> {
        match self.enable_versioning(bucket).await {
            Ok(()) => Ok(Some(local::list_versions(&self.client, bucket, "").await)),
            Err(Stop::Lacks(_)) => Ok(None),
            Err(stop @ Stop::Failed(_)) => Err(stop),
        }
    }

    /// One by one: a listing may not show them as they are.
    async fn delete_odd_keys(&self, bucket: &str, stored: &BTreeMap<String, Option<String>>) {
        let deletes = stored.iter().map(|(key, id)| async move {
            // Without an id, it was put before versioning was enabled, if it was.
            let id = id.as_deref().unwrap_or("null");
            if local::delete_version(&self.client, bucket, key, id).await.is_err() {
                // What this cannot delete either, the removal of the bucket reports.
                drop(local::delete_plainly(&self.client, bucket, key).await);
            }
        });
        stream::iter(deletes).buffer_unordered(REQUESTS_AT_A_TIME).collect::<Vec<()>>().await;
    }

    /// Leaves out the keys that a listing does not show, and says so.
    fn leave_out(
        &mut self,
        stored: &BTreeMap<String, Option<String>>,
        listed: &[String],
        by: &str,
    ) -> Option<String> {
        let changed = |key: &&String| !listed.contains(*key) && !self.left_out.contains(*key);
        let changed: Vec<String> = stored.keys().filter(changed).cloned().collect();
        let remark = (!changed.is_empty())
            .then(|| format!("{by} does not show {}", some_of(changed.iter())));
        self.left_out.extend(changed);
        remark
    }

    /// A bucket is in the list of those to be removed as soon as it may exist.
    async fn create(&self, bucket: &str, has_lock: bool) -> Checked {
        let is_elsewhere = self.address.is_aws() && self.region != "us-east-1";
        let location = is_elsewhere.then(|| {
            let location = BucketLocationConstraint::from(self.region.as_str());
            CreateBucketConfiguration::builder().location_constraint(location).build()
        });
        let request =
            self.client.create_bucket().bucket(bucket).set_create_bucket_configuration(location);
        let created =
            request.set_object_lock_enabled_for_bucket(has_lock.then_some(true)).send().await;
        let is_denied = matches!(created, Err(SdkError::ServiceError(_)));
        let created =
            created.map_err(|error| local::Error::sdk(format!("create bucket {bucket}"), error));
        // The answer to a repeated request, if the first answer was lost.
        let is_repeated =
            created.as_ref().is_err_and(|error| error.code() == Some("BucketAlreadyOwnedByYou"));
        if !is_denied || is_repeated {
            self.created.borrow_mut().push(bucket.to_owned());
        }
        if is_repeated { Ok(()) } else { created.map(|_| ()).map_err(Stop::of) }
    }

    /// Some stores accept a versioning that they do not have.
    async fn confirm(&self, bucket: &str, expected: &BucketVersioningStatus) -> Checked {
        for _ in 0..CONFIRMATIONS {
            sleep(SETTLING).await;
            let answer = self.client.get_bucket_versioning().bucket(bucket).send().await?;
            if answer.status() == Some(expected) {
                return Ok(());
            }
        }
        Err(Stop::Lacks(format!(
            "it accepts the versioning {}, and the bucket does not get it",
            expected.as_str()
        )))
    }

    /// Removes every bucket that was created. Returns those that are left, with the reason.
    pub(crate) async fn clean_up(&self) -> Vec<String> {
        self.lift_legal_holds().await;
        let begin = Instant::now();
        let end = self.locked_until.get().unwrap_or(begin).max(begin) + REMOVAL_GRACE;
        let mut buckets = self.created.borrow().clone();
        loop {
            let mut left = Vec::new();
            for bucket in buckets {
                match timeout(REMOVAL_LIMIT, local::remove_bucket(&self.client, &bucket)).await {
                    Ok(Ok(())) => {}
                    // It was never created: the answer to its creation was lost.
                    Ok(Err(error)) if error.code() == Some("NoSuchBucket") => {}
                    Ok(Err(error)) => left.push((bucket, error.to_string())),
                    Err(_elapsed) => {
                        left.push((bucket, format!("not removed within {REMOVAL_LIMIT:?}")));
                    }
                }
            }
            if left.is_empty() || Instant::now() > end {
                return left
                    .into_iter()
                    .map(|(bucket, reason)| format!("{bucket}: {reason}"))
                    .collect();
            }
            buckets = left.into_iter().map(|(bucket, _reason)| bucket).collect();
            sleep(REMOVAL_PAUSE).await;
        }
    }

    async fn lift_legal_holds(&self) {
        let buckets = self.with_lock.borrow().clone();
        for bucket in buckets {
            for version in local::list_versions(&self.client, &bucket, "").await.unwrap_or_default()
            {
                let id = version.id.as_deref().unwrap_or_default();
                // Delete markers have none. What else fails here, the removal of the bucket
                // reports.
                drop(local::lift_legal_hold(&self.client, &bucket, &version.key, id).await);
            }
        }
    }
}

impl TestStore for Endpoint {
    type Store = S3;

    fn name(&self) -> &'static str {
        self.served.name()
    }

    fn store(&self, bypasses_governance: bool) -> S3 {
        self.served.store(bypasses_governance)
    }

    fn can_store(&self, key: &str) -> bool {
        !self.left_out.contains(key)
    }

    fn lock_end(&self) -> OffsetDateTime {
        self.served.lock_end()
    }

    async fn create_bucket(&self, bucket: &str) -> Checked {
        self.create(bucket, false).await
    }

    async fn create_bucket_with_object_lock(&self, bucket: &str) -> Checked {
        self.create(bucket, true).await?;
        self.with_lock.borrow_mut().push(bucket.to_owned());
        let answer = self.client.get_object_lock_configuration().bucket(bucket).send().await;
        let answer = answer.map_err(|error| {
            Stop::of(local::Error::sdk("ask for a bucket's Object Lock", error))
        })?;
        let status = answer.object_lock_configuration().and_then(|lock| lock.object_lock_enabled());
        if status == Some(&ObjectLockEnabled::Enabled) {
            return Ok(());
        }
        Err(Stop::Lacks(
            "it accepts Object Lock for a new bucket, and the bucket does not get it".to_owned(),
        ))
    }

    async fn enable_versioning(&self, bucket: &str) -> Checked {
        self.served.enable_versioning(bucket).await?;
        self.confirm(bucket, &BucketVersioningStatus::Enabled).await
    }

    async fn suspend_versioning(&self, bucket: &str) -> Checked {
        self.served.suspend_versioning(bucket).await?;
        self.confirm(bucket, &BucketVersioningStatus::Suspended).await
    }

    async fn put_all(&self, bucket: &str, keys: &[String]) -> Checked {
        self.served.put_all(bucket, keys).await
    }

    async fn delete_plainly(&self, bucket: &str, key: &str) -> Checked {
        self.served.delete_plainly(bucket, key).await
    }

    async fn start_upload(&self, bucket: &str, key: &str) -> Checked {
        self.served.start_upload(bucket, key).await
    }

    async fn lock_oldest(&self, bucket: &str, key: &str, hold: LockKind) -> Checked<Thing> {
        self.locked_until.set(Some(Instant::now() + LOCKED_FOR));
        self.served.lock_oldest(bucket, key, hold).await
    }

    /// The time of an object that is put and deleted: the store's clock may differ from ours.
    async fn a_moment_later(&self, bucket: &str) -> Checked<OffsetDateTime> {
        sleep(CLOCK_SKEW).await;
        let key = "time";
        let id = local::put_object(&self.client, bucket, key, b"x").await?;
        let head = self
            .client
            .head_object()
            .bucket(bucket)
            .key(key)
            .set_version_id(id.clone())
            .send()
            .await?;
        self.client.delete_object().bucket(bucket).key(key).set_version_id(id).send().await?;
        let time = head
            .last_modified()
            .ok_or_else(|| Failure("HeadObject has no LastModified".to_owned()))?;
        sleep(CLOCK_SKEW).await;
        Ok(OffsetDateTime::from_unix_timestamp(time.secs())?)
    }

    async fn contents(&self, bucket: &str, prefix: &str) -> Checked<Vec<Thing>> {
        self.served.contents(bucket, prefix).await
    }

    fn bucket(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    fn lacks(&self, state: State) -> Option<String> {
        self.always_versioned.clone().filter(|_| state == State::Never)
    }

    fn times(&self) -> Times {
        Times { long: Duration::from_secs(300), hop: Duration::from_secs(4), keys_per_second: 50 }
    }

    fn differences(&self) -> Differences {
        self.differences
    }
}

/// How many keys there are, and the first of them.
fn some_of<'a>(keys: impl ExactSizeIterator<Item = &'a String>) -> String {
    let count = keys.len();
    let first: Vec<String> = keys.take(5).map(|key| format!("{key:?}")).collect();
    let more = if count > first.len() { ", …" } else { "" };
    format!("{count} of {}: {}{more}", odd_keys("u1/").len(), first.join(", "))
}

#[test]
fn endpoint_is_a_url_or_aws() {
    let parsed = |endpoint, path_style| {
        Address::parse(endpoint, path_style).ok().map(|a| (a.is_aws(), a.path_style))
    };
    assert_eq!(parsed("aws", ""), Some((true, false)));
    assert_eq!(parsed("aws", "true"), Some((true, true)));
    assert_eq!(parsed("http://127.0.0.1:9000", ""), Some((false, true)));
    assert_eq!(parsed("https://s3.example.org/", "false"), Some((false, false)));
    assert_eq!(parsed("https://s3.eu-central-1.amazonaws.com", ""), Some((true, true)));
    for (endpoint, path_style) in [("", ""), ("s3.example.org", ""), ("AWS", ""), ("aws", "yes")] {
        assert_eq!(parsed(endpoint, path_style), None, "{endpoint:?} {path_style:?}");
    }
}
