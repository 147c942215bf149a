use aws_sdk_s3::Client;
use futures::stream::{self, StreamExt};

use crate::versions::{list_data, list_uploads};
use crate::{Error, Stored, StoredKind, delete_plainly, delete_version};

/// More do not make a local server faster.
const DELETES_AT_A_TIME: usize = 16;

/// Makes an empty bucket that was never versioned.
pub(crate) async fn create_bucket(s3: &Client, bucket: &str) -> Result<(), Error> {
    let created = s3.create_bucket().bucket(bucket).send().await;
    created.map(|_| ()).map_err(|error| Error::sdk(format!("make bucket {bucket}"), error))
}

/// Deletes everything that a bucket holds, and then the bucket. It bypasses retention in governance
/// mode. If something cannot be deleted, it deletes everything else and fails.
pub async fn remove_bucket(s3: &Client, bucket: &str) -> Result<(), Error> {
    let mut stored = list_data(s3, bucket, "").await?;
    // Some stores cannot list uploads where there are none. Where there are some, the bucket cannot
    // be removed.
    stored.extend(list_uploads(s3, bucket, "").await.unwrap_or_default());
    let deletes =
        stored.into_iter().map(|item| async move { delete_for_good(s3, bucket, &item).await });
    let deleted: Vec<_> = stream::iter(deletes).buffer_unordered(DELETES_AT_A_TIME).collect().await;
    deleted.into_iter().collect::<Result<(), Error>>()?;
    let removed = s3.delete_bucket().bucket(bucket).send().await;
    removed.map(|_| ()).map_err(|error| Error::sdk(format!("remove bucket {bucket}"), error))
}

async fn delete_for_good(s3: &Client, bucket: &str, item: &Stored) -> Result<(), Error> {
    let (key, id) = (item.key.as_str(), item.id.as_deref().unwrap_or_default());
    match item.kind {
        StoredKind::Object => delete_plainly(s3, bucket, key).await.map(|_| ()),
        StoredKind::Upload => {
            let aborted =
                s3.abort_multipart_upload().bucket(bucket).key(key).upload_id(id).send().await;
            aborted
                .map(|_| ())
                .map_err(|error| Error::sdk(format!("abort the upload of {key:?}"), error))
        }
        StoredKind::Version | StoredKind::DeleteMarker => {
            let Err(error) = delete_version(s3, bucket, key, id).await else {
                return Ok(());
            };
            let request = s3.delete_object().bucket(bucket).key(key).version_id(id);
            let bypassed = request.bypass_governance_retention(true).send().await;
            // The first error is the one to report: without retention, the second is about the
            // bypass.
            bypassed.map(|_| ()).map_err(|_second| error)
        }
    }
}
