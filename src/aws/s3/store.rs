//! [`ReadStore`] and [`DeleteStore`], implemented with the AWS SDK.
//!
//! Only this module and [`receipts`](crate::aws::s3::receipts) know S3's codes, encodings and
//! headers.

use std::time::Duration;

use aws_sdk_s3::Client;
use aws_sdk_s3::types::MfaDeleteStatus;
use tokio::time::Instant;

use super::cache::TtlCache;
use super::errors::{OwnRegion, classify, not_malformed};
use super::regional::RegionalClient;
use super::responses::RequireCompleteXml;
use crate::deadline::time_until;
use crate::ports::store::{
    DeleteResult, DeleteStore, Item, Kind, Page, ReadStore, Retention, StoreError,
};
use crate::target::{BucketOwners, Prefix};

/// Read access to S3, through one client that all requests share. This type has no method that
/// deletes.
#[derive(Debug)]
pub struct S3Reader {
    pub(super) client: RegionalClient,
    pub(super) versioned: TtlCache<bool>,
}

impl S3Reader {
    /// Creates the adapter. The client must not retry: all requests would share its retry quota,
    /// and our retries are counted.
    pub fn new(client: &Client, owners: BucketOwners) -> Self {
        let config = client
            .config()
            .to_builder()
            .interceptor(RequireCompleteXml)
            .interceptor(OwnRegion)
            .build();
        Self {
            client: RegionalClient::new(Client::from_conf(config), owners),
            versioned: TtlCache::default(),
        }
    }

    /// Lists a page of at most `most` entries; `None` means S3's default, 1,000.
    async fn list_most(
        &self,
        (prefix, kind): (&Prefix, Kind),
        token: Option<&str>,
        most: Option<i32>,
        limit: Duration,
    ) -> Result<Page, StoreError> {
        match kind {
            Kind::Uploads => self.list_uploads(prefix, token, most, limit).await,
            Kind::Objects => self.list_objects(prefix, token, most, limit).await,
            Kind::Versions | Kind::DeleteMarkers => {
                self.list_versions(prefix, token, most, limit).await
            }
        }
    }
}

impl ReadStore for S3Reader {
    /// Whether the bucket has or ever had versioning. Only `true` is cached: a bucket that had
    /// versioning never loses it, but versioning may be switched on at any moment, and then a
    /// listing of current objects would be a false proof.
    /// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/Versioning.html>
    async fn is_versioned(&self, prefix: &Prefix, limit: Duration) -> Result<bool, StoreError> {
        let bucket = prefix.bucket();
        if self.versioned.get(bucket) == Some(true) {
            return Ok(true);
        }
        let end = Instant::now() + limit;
        let answer = self
            .client
            .send(bucket, limit, |client, settings| {
                let request = client.get_bucket_versioning().bucket(bucket);
                request.customize().config_override(settings).send()
            })
            .await;
        let is_versioned = match answer {
            // https://docs.aws.amazon.com/AmazonS3/latest/userguide/MultiFactorAuthenticationDelete.html
            Ok(answer) if answer.mfa_delete() == Some(&MfaDeleteStatus::Enabled) => {
                return Err(StoreError::Permanent(
                    "MFA delete is on: only the account's owner with an MFA device can delete a version, and no \
                     function has one; switch MFA delete off first"
                        .to_owned(),
                ));
            }
            // The status is Enabled or Suspended. A bucket that never had versioning has no status.
            Ok(answer) => answer.status().is_some(),
            Err(error) => {
                let failed = classify(
                    "GetBucketVersioning",
                    "s3:GetBucketVersioning",
                    prefix.as_str(),
                    &error,
                );
                if failed.code != "NotImplemented" {
                    return Err(not_malformed(failed.fault));
                }
                // A store that cannot report versioning may keep versions nevertheless.
                self.can_list_versions(prefix, time_until(end)).await?
            }
        };
        if is_versioned {
            self.versioned.put(bucket, true);
        }
        Ok(is_versioned)
    }

    async fn list(
        &self,
        prefix: &Prefix,
        kind: Kind,
        token: Option<&str>,
        limit: Duration,
    ) -> Result<Page, StoreError> {
        self.list_most((prefix, kind), token, None, limit).await
    }

    /// Directory buckets, whose listings have no order, are rejected at the start.
    fn token_after(&self, kind: Kind, key: &str) -> Option<String> {
        Self::token_behind(kind, key)
    }

    async fn is_any_behind(
        &self,
        prefix: &Prefix,
        kind: Kind,
        key: &str,
        limit: Duration,
    ) -> Result<bool, StoreError> {
        let Some(token) = self.token_after(kind, key) else {
            return Ok(false);
        };
        Ok(self.list_most((prefix, kind), Some(&token), Some(1), limit).await?.is_any())
    }
}

/// Read and delete access to S3.
#[derive(Debug)]
pub struct S3 {
    pub(super) reader: S3Reader,
    pub(super) bypass_governance: bool,
    pub(super) locks: TtlCache<bool>,
}

impl S3 {
    /// Creates the adapter as [`S3Reader::new`] does. With `bypass_governance`, it also deletes
    /// versions that Object Lock retains in governance mode.
    pub fn new(client: &Client, owners: BucketOwners, bypass_governance: bool) -> Self {
        let reader = S3Reader::new(client, owners);
        Self { reader, bypass_governance, locks: TtlCache::default() }
    }
}

impl ReadStore for S3 {
    async fn is_versioned(&self, prefix: &Prefix, limit: Duration) -> Result<bool, StoreError> {
        self.reader.is_versioned(prefix, limit).await
    }

    async fn list(
        &self,
        prefix: &Prefix,
        kind: Kind,
        token: Option<&str>,
        limit: Duration,
    ) -> Result<Page, StoreError> {
        self.reader.list(prefix, kind, token, limit).await
    }

    fn token_after(&self, kind: Kind, key: &str) -> Option<String> {
        self.reader.token_after(kind, key)
    }

    async fn is_any_behind(
        &self,
        prefix: &Prefix,
        kind: Kind,
        key: &str,
        limit: Duration,
    ) -> Result<bool, StoreError> {
        self.reader.is_any_behind(prefix, kind, key, limit).await
    }
}

impl DeleteStore for S3 {
    async fn delete(
        &self,
        prefix: &Prefix,
        items: &[Item],
        limit: Duration,
    ) -> Result<DeleteResult, StoreError> {
        let kind = items.first().map_or(Kind::Objects, |item| item.kind);
        // Without its id, a version would only be hidden by another delete marker.
        let is_fit =
            |item: &Item| kind.lists(item.kind) && item.id.is_none() == (kind == Kind::Objects);
        if !items.iter().all(is_fit) {
            let text = "DeleteObjects: the items are not of one sort, or one lacks its id";
            return Err(StoreError::Permanent(text.to_owned()));
        }
        match kind {
            Kind::Uploads => self.abort_uploads(prefix, items, limit).await,
            Kind::Objects => self.delete_objects(prefix, items, limit).await,
            Kind::Versions | Kind::DeleteMarkers => {
                self.delete_versions(prefix, items, limit).await
            }
        }
    }

    async fn retention(
        &self,
        prefix: &Prefix,
        item: &Item,
        limit: Duration,
    ) -> Result<Option<Retention>, StoreError> {
        self.find_retention(prefix, item, limit).await
    }
}
