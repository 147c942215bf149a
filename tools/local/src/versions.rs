use aws_sdk_s3::Client;
use aws_sdk_s3::primitives::{ByteStream, DateTime};
use aws_sdk_s3::types::{
    BucketVersioningStatus, CompletedPart, EncodingType, ObjectLockLegalHold,
    ObjectLockLegalHoldStatus, ObjectLockRetention, ObjectLockRetentionMode,
    VersioningConfiguration,
};
use time::UtcDateTime;

use crate::objects::decode;
use crate::{Error, list_keys};

/// Lets a bucket keep versions from now on.
pub async fn enable_versioning(s3: &Client, bucket: &str) -> Result<(), Error> {
    set_versioning(s3, bucket, BucketVersioningStatus::Enabled).await
}

/// Lets a bucket keep the versions that it has, and write over only one more from now on: the one
/// called `null`.
pub async fn suspend_versioning(s3: &Client, bucket: &str) -> Result<(), Error> {
    set_versioning(s3, bucket, BucketVersioningStatus::Suspended).await
}

async fn set_versioning(
    s3: &Client,
    bucket: &str,
    status: BucketVersioningStatus,
) -> Result<(), Error> {
    let doing = format!("set the versioning of {bucket} to {status:?}");
    let configuration = VersioningConfiguration::builder().status(status).build();
    let set = s3
        .put_bucket_versioning()
        .bucket(bucket)
        .versioning_configuration(configuration)
        .send()
        .await;
    set.map(|_| ()).map_err(|error| Error::sdk(doing, error))
}

/// Makes an empty bucket with Object Lock, and so with versioning; versions are held only where
/// something says so.
pub async fn create_bucket_with_object_lock(s3: &Client, bucket: &str) -> Result<(), Error> {
    let created =
        s3.create_bucket().bucket(bucket).object_lock_enabled_for_bucket(true).send().await;
    created
        .map(|_| ())
        .map_err(|error| Error::sdk(format!("make bucket {bucket} with Object Lock"), error))
}

/// Puts one object and returns the id of its version; there is none unless the bucket's versioning
/// is enabled.
pub async fn put_object(
    s3: &Client,
    bucket: &str,
    key: &str,
    body: &[u8],
) -> Result<Option<String>, Error> {
    let put =
        s3.put_object().bucket(bucket).key(key).body(ByteStream::from(body.to_vec())).send().await;
    put.map(|answer| answer.version_id).map_err(|error| Error::sdk(format!("put {key:?}"), error))
}

/// Deletes a key as most programs do: without a version. A versioned bucket then only hides it
/// behind a delete marker, whose id this returns.
pub async fn delete_plainly(s3: &Client, bucket: &str, key: &str) -> Result<Option<String>, Error> {
    let deleted = s3.delete_object().bucket(bucket).key(key).send().await;
    deleted
        .map(|answer| answer.version_id)
        .map_err(|error| Error::sdk(format!("delete {key:?}"), error))
}

/// Deletes one version or delete marker for good.
pub async fn delete_version(
    s3: &Client,
    bucket: &str,
    key: &str,
    version: &str,
) -> Result<(), Error> {
    let deleted = s3.delete_object().bucket(bucket).key(key).version_id(version).send().await;
    deleted
        .map(|_| ())
        .map_err(|error| Error::sdk(format!("delete version {version} of {key:?}"), error))
}

/// Begins a multipart upload, stores one part of it, and returns its id. It stays unfinished.
pub async fn start_upload(
    s3: &Client,
    bucket: &str,
    key: &str,
    part: &[u8],
) -> Result<String, Error> {
    let doing = || format!("upload a part of {key:?}");
    let begun = s3.create_multipart_upload().bucket(bucket).key(key).send().await;
    let id = begun.map_err(|error| Error::sdk(doing(), error))?.upload_id.unwrap_or_default();
    let body = ByteStream::from(part.to_vec());
    let stored = s3
        .upload_part()
        .bucket(bucket)
        .key(key)
        .upload_id(&id)
        .part_number(1)
        .body(body)
        .send()
        .await;
    stored.map(|_| id).map_err(|error| Error::sdk(doing(), error))
}

/// Completes an upload that [`start_upload`] began: its part becomes an object.
pub async fn complete_upload(s3: &Client, bucket: &str, key: &str, id: &str) -> Result<(), Error> {
    use aws_sdk_s3::types::CompletedMultipartUpload;
    let doing = || format!("complete the upload of {key:?}");
    let listed = s3.list_parts().bucket(bucket).key(key).upload_id(id).send().await;
    let listed = listed.map_err(|error| Error::sdk(doing(), error))?;
    let parts = listed.parts().iter().map(|part| {
        CompletedPart::builder()
            .set_e_tag(part.e_tag.clone())
            .set_part_number(part.part_number)
            .build()
    });
    let whole = CompletedMultipartUpload::builder().set_parts(Some(parts.collect())).build();
    let request = s3
        .complete_multipart_upload()
        .bucket(bucket)
        .key(key)
        .upload_id(id)
        .multipart_upload(whole);
    request.send().await.map(|_| ()).map_err(|error| Error::sdk(doing(), error))
}

/// What can hold a version against deletion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lock {
    /// Until so many seconds from now, for all callers.
    Compliance(u32),
    /// Until so many seconds from now, unless the request says to bypass it.
    Governance(u32),
    /// Until an operator lifts it.
    LegalHold,
}

/// Locks a version in a bucket with Object Lock.
pub async fn lock_version(
    s3: &Client,
    bucket: &str,
    key: &str,
    version: &str,
    lock: Lock,
) -> Result<(), Error> {
    let doing = format!("lock version {version} of {key:?}");
    let (mode, seconds) = match lock {
        Lock::Compliance(seconds) => (ObjectLockRetentionMode::Compliance, seconds),
        Lock::Governance(seconds) => (ObjectLockRetentionMode::Governance, seconds),
        Lock::LegalHold => {
            return set_legal_hold(s3, bucket, key, version, ObjectLockLegalHoldStatus::On).await;
        }
    };
    // Whole seconds: not every server reads fractions.
    let until = DateTime::from_secs(UtcDateTime::now().unix_timestamp() + i64::from(seconds));
    let retention = ObjectLockRetention::builder().mode(mode).retain_until_date(until).build();
    let request =
        s3.put_object_retention().bucket(bucket).key(key).version_id(version).retention(retention);
    request.send().await.map(|_| ()).map_err(|error| Error::sdk(doing, error))
}

/// Lifts what [`Lock::LegalHold`] has set.
pub async fn lift_legal_hold(
    s3: &Client,
    bucket: &str,
    key: &str,
    version: &str,
) -> Result<(), Error> {
    set_legal_hold(s3, bucket, key, version, ObjectLockLegalHoldStatus::Off).await
}

async fn set_legal_hold(
    s3: &Client,
    bucket: &str,
    key: &str,
    version: &str,
    status: ObjectLockLegalHoldStatus,
) -> Result<(), Error> {
    let doing = format!("set the legal hold of version {version} of {key:?} to {status:?}");
    let hold = ObjectLockLegalHold::builder().status(status).build();
    let request =
        s3.put_object_legal_hold().bucket(bucket).key(key).version_id(version).legal_hold(hold);
    request.send().await.map(|_| ()).map_err(|error| Error::sdk(doing, error))
}

/// One thing that a bucket holds.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stored {
    /// Its key.
    pub key: String,
    /// What it is.
    pub kind: StoredKind,
    /// The id of the version, delete marker or upload; objects have none.
    pub id: Option<String>,
}

/// What a bucket can hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum StoredKind {
    /// An object of a bucket that never had versioning.
    Object,
    /// A version with data.
    Version,
    /// A version without: it hides those below it.
    DeleteMarker,
    /// A multipart upload that was neither completed nor aborted.
    Upload,
}

/// Everything below a prefix, sorted: objects, or versions and delete markers, and unfinished
/// uploads. Not the function's own listings: this one checks them.
///
/// Of keys in listings of versions, local servers do not encode what XML cannot carry: with such a
/// key, it fails.
pub async fn inventory(s3: &Client, bucket: &str, prefix: &str) -> Result<Vec<Stored>, Error> {
    let mut all = list_data(s3, bucket, prefix).await?;
    all.extend(list_uploads(s3, bucket, prefix).await?);
    all.sort();
    Ok(all)
}

/// Objects, or versions and delete markers.
pub(crate) async fn list_data(
    s3: &Client,
    bucket: &str,
    prefix: &str,
) -> Result<Vec<Stored>, Error> {
    if has_versions(s3, bucket).await? {
        return list_versions(s3, bucket, prefix).await;
    }
    let keys = list_keys(s3, bucket, prefix).await?;
    Ok(keys.into_iter().map(|key| Stored { key, kind: StoredKind::Object, id: None }).collect())
}

async fn has_versions(s3: &Client, bucket: &str) -> Result<bool, Error> {
    let answer = s3.get_bucket_versioning().bucket(bucket).send().await;
    match answer.map_err(|error| Error::sdk(format!("ask for the versioning of {bucket}"), error)) {
        Ok(answer) => Ok(answer.status().is_some()),
        // A store without versioning.
        Err(error) if error.code() == Some("NotImplemented") => Ok(false),
        Err(error) => Err(error),
    }
}

/// How much of a kind there is.
pub fn count(stored: &[Stored], kind: StoredKind) -> usize {
    stored.iter().filter(|item| item.kind == kind).count()
}

/// Every version and delete marker below a prefix, in the server's order.
pub async fn list_versions(s3: &Client, bucket: &str, prefix: &str) -> Result<Vec<Stored>, Error> {
    let doing = || format!("list the versions of s3://{bucket}/{prefix}");
    let mut all = Vec::new();
    let mut place = (None, None);
    loop {
        let (key, version) = place.clone();
        let request = s3
            .list_object_versions()
            .bucket(bucket)
            .prefix(prefix)
            .encoding_type(EncodingType::Url);
        let answer = request.set_key_marker(key).set_version_id_marker(version).send().await;
        let answer = answer.map_err(|error| Error::sdk(doing(), error))?;
        // A server that does not say so has not encoded them.
        let is_encoded = answer.encoding_type() == Some(&EncodingType::Url);
        let read = |key: String| if is_encoded { decode(&key) } else { key };
        let stored =
            |key: Option<String>, kind, id| Stored { key: read(key.unwrap_or_default()), kind, id };
        let versions = answer.versions.into_iter().flatten();
        all.extend(
            versions.map(|version| stored(version.key, StoredKind::Version, version.version_id)),
        );
        let markers = answer.delete_markers.into_iter().flatten();
        all.extend(
            markers.map(|marker| stored(marker.key, StoredKind::DeleteMarker, marker.version_id)),
        );
        let next = (answer.next_key_marker.map(read), answer.next_version_id_marker);
        if !goes_on(answer.is_truncated, &place, &next, doing)? {
            return Ok(all);
        }
        place = next;
    }
}

/// Every unfinished upload below a prefix. Without encoding: some servers do it without saying so,
/// or say so without doing it.
pub(crate) async fn list_uploads(
    s3: &Client,
    bucket: &str,
    prefix: &str,
) -> Result<Vec<Stored>, Error> {
    let doing = || format!("list the uploads of s3://{bucket}/{prefix}");
    let mut all = Vec::new();
    let mut place = (None, None);
    loop {
        let (key, id) = place.clone();
        let request = s3.list_multipart_uploads().bucket(bucket).prefix(prefix);
        let answer = request.set_key_marker(key).set_upload_id_marker(id).send().await;
        let answer = answer.map_err(|error| Error::sdk(doing(), error))?;
        let uploads = answer.uploads.into_iter().flatten();
        all.extend(uploads.map(|upload| Stored {
            key: upload.key.unwrap_or_default(),
            kind: StoredKind::Upload,
            id: upload.upload_id,
        }));
        let next = (answer.next_key_marker, answer.next_upload_id_marker);
        if !goes_on(answer.is_truncated, &place, &next, doing)? {
            return Ok(all);
        }
        place = next;
    }
}

/// A key and an id behind which a listing goes on. Seaweed's listings of uploads have only the id.
type Place = (Option<String>, Option<String>);

/// A page that is cut off must say where to go on, and that place must be another one.
fn goes_on(
    is_truncated: Option<bool>,
    place: &Place,
    next: &Place,
    doing: impl Fn() -> String,
) -> Result<bool, Error> {
    let is_truncated = is_truncated.unwrap_or(false);
    if is_truncated && (next == place || *next == (None, None)) {
        return Err(Error::service(
            doing(),
            format!("a page is cut off, but the next one is {next:?}"),
        ));
    }
    Ok(is_truncated)
}
