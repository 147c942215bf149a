//! Object Lock: whether a bucket has it, and which versions it retains.
//! <https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-lock.html>

use std::error::Error;
use std::time::Duration;

use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::types::{
    ObjectLockEnabled, ObjectLockEventHold, ObjectLockLegalHoldStatus, ObjectLockRetention,
    ObjectLockRetentionMode,
};
use futures::future::try_join;
use time::OffsetDateTime;
use tokio::time::Instant;

use crate::aws::s3::errors::{classify, not_malformed};
use crate::aws::s3::store::S3;
use crate::deadline::time_until;
use crate::ports::store::{Item, LockKind, Retention, StoreError};
use crate::target::Prefix;

/// The codes that S3 and other stores return for a bucket without Object Lock.
const NO_LOCK_CODES: [&str; 3] =
    ["ObjectLockConfigurationNotFoundError", "NoSuchObjectLockConfiguration", "NotImplemented"];

impl S3 {
    /// Whether the bucket has Object Lock. The store is asked only when this is first needed,
    /// because most erasures never need it; the result is cached.
    pub(super) async fn has_object_lock(
        &self,
        prefix: &Prefix,
        end: Instant,
        requests: &mut u64,
    ) -> Result<bool, StoreError> {
        const PERMISSION: &str = "s3:GetBucketObjectLockConfiguration";
        let bucket = prefix.bucket();
        if let Some(has_lock) = self.locks.get(bucket) {
            return Ok(has_lock);
        }
        *requests += 1;
        let answer = self
            .reader
            .client
            .send(bucket, time_until(end), |client, settings| {
                client
                    .get_object_lock_configuration()
                    .bucket(bucket)
                    .customize()
                    .config_override(settings)
                    .send()
            })
            .await;
        let has_lock = match &answer {
            Ok(answer) => {
                let configuration = answer.object_lock_configuration();
                configuration.and_then(|c| c.object_lock_enabled())
                    == Some(&ObjectLockEnabled::Enabled)
            }
            Err(error) => {
                match classify("GetObjectLockConfiguration", PERMISSION, prefix.as_str(), error) {
                    failed if NO_LOCK_CODES.contains(&failed.code.as_str()) => false,
                    // The permission to read the configuration is required only for a function that
                    // bypasses governance mode. For all others, a denial counts as "no Object
                    // Lock".
                    failed if failed.status == Some(403) && !self.bypass_governance => false,
                    failed => return Err(not_malformed(failed.fault)),
                }
            }
        };
        self.locks.put(bucket, has_lock);
        Ok(has_lock)
    }

    /// Finds what retains a version. A legal hold takes precedence, because it has no end date.
    pub(super) async fn find_retention(
        &self,
        prefix: &Prefix,
        item: &Item,
        limit: Duration,
    ) -> Result<Option<Retention>, StoreError> {
        let end = Instant::now() + limit;
        if !self.has_object_lock(prefix, end, &mut 0).await? {
            return Ok(None);
        }
        let (legal_hold, retention) =
            try_join(self.legal_hold(prefix, item, end), self.dated_retention(prefix, item, end))
                .await?;
        Ok(legal_hold.or(retention))
    }

    /// <https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObjectLegalHold.html>
    async fn legal_hold(
        &self,
        prefix: &Prefix,
        item: &Item,
        end: Instant,
    ) -> Result<Option<Retention>, StoreError> {
        let answer = self
            .reader
            .client
            .send(prefix.bucket(), time_until(end), |client, settings| {
                client
                    .get_object_legal_hold()
                    .bucket(prefix.bucket())
                    .key(item.key.as_str())
                    .set_version_id(item.id.clone())
                    .customize()
                    .config_override(settings)
                    .send()
            })
            .await;
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) => {
                return nothing_or_fault(
                    "GetObjectLegalHold",
                    "s3:GetObjectLegalHold",
                    item,
                    &error,
                );
            }
        };
        let status = answer.legal_hold().and_then(|hold| hold.status());
        let is_on = status == Some(&ObjectLockLegalHoldStatus::On);
        Ok(is_on.then_some(Retention { hold: LockKind::LegalHold, until: None }))
    }

    /// <https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObjectRetention.html>
    async fn dated_retention(
        &self,
        prefix: &Prefix,
        item: &Item,
        end: Instant,
    ) -> Result<Option<Retention>, StoreError> {
        let answer = self
            .reader
            .client
            .send(prefix.bucket(), time_until(end), |client, settings| {
                client
                    .get_object_retention()
                    .bucket(prefix.bucket())
                    .key(item.key.as_str())
                    .set_version_id(item.id.clone())
                    .customize()
                    .config_override(settings)
                    .send()
            })
            .await;
        match answer {
            Ok(answer) => answer.retention().map_or(Ok(None), read_retention),
            Err(error) => {
                nothing_or_fault("GetObjectRetention", "s3:GetObjectRetention", item, &error)
            }
        }
    }
}

/// Reads a retention. A date that has passed is reported, too, because the store that denied the
/// deletion knows the time better.
fn read_retention(retention: &ObjectLockRetention) -> Result<Option<Retention>, StoreError> {
    let hold = match retention.mode() {
        None => return Ok(None),
        Some(ObjectLockRetentionMode::Compliance) => LockKind::Compliance,
        Some(ObjectLockRetentionMode::Governance) => LockKind::Governance,
        Some(_) => {
            return Err(StoreError::Inconsistent(
                "GetObjectRetention: its mode is unknown".to_owned(),
            ));
        }
    };
    // While an event hold is on, the end is unknown: a duration begins when the hold is released.
    let date = retention
        .retain_until_date()
        .filter(|_| retention.event_hold() != Some(&ObjectLockEventHold::On));
    let until =
        date.and_then(|date| OffsetDateTime::from_unix_timestamp_nanos(date.as_nanos()).ok());
    Ok(Some(Retention { hold, until }))
}

/// Classifies an error of these requests. HTTP 404 means that nothing retains this version or that
/// it no longer exists. HTTP 405 means that it is a delete marker, which nothing can retain.
fn nothing_or_fault<E>(
    operation: &str,
    permission: &str,
    item: &Item,
    error: &SdkError<E, HttpResponse>,
) -> Result<Option<Retention>, StoreError>
where
    E: ProvideErrorMetadata + Error + 'static,
{
    match classify(operation, permission, item.key.as_str(), error) {
        failed if matches!(failed.status, Some(404 | 405)) && failed.code != "NoSuchBucket" => {
            Ok(None)
        }
        failed => Err(not_malformed(failed.fault)),
    }
}
