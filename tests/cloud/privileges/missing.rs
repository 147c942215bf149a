//! Every permission is necessary: without any one of them, the function cannot do everything, and
//! its log reports it.

use std::time::Duration;

use local::{
    Lock, Ministack, Role, create_bucket_with_object_lock, lock_version, put_object, start_upload,
};
use serde_json::json;
use tokio::time::{Instant, sleep};

use super::{denial, put_policy};
use crate::deployed::Deployed;
use crate::{Failure, Outcome, within};

const TEST_LIMIT: Duration = Duration::from_secs(180);
const LOG_LIMIT: Duration = Duration::from_secs(25);

/// Everything of this user can be erased.
const FREE: &str = "free";
/// Of this one, a legal hold keeps something.
const HELD: &str = "held";
/// The log's words where all goes well.
const ERASED: &str = "\"outcome\":\"erased\"";

/// A permission, whose erasure misses it, and the log's words.
pub(super) const MISSED: [(&str, &str, &str); 16] = [
    // It asks until it knows, so this comes first.
    ("s3:GetBucketObjectLockConfiguration", FREE, "is s3:GetBucketObjectLockConfiguration granted"),
    ("s3:GetObjectRetention", HELD, "(LockNotReadable: 1)"),
    ("s3:GetObjectLegalHold", HELD, "(LockNotReadable: 1)"),
    (
        "sqs:ChangeMessageVisibility",
        HELD,
        "the queue cannot be used: ChangeMessageVisibility: AccessDenied",
    ),
    ("s3:ListBucket", FREE, "is s3:ListBucket granted"),
    ("s3:ListBucketVersions", FREE, "is s3:ListBucketVersions granted"),
    ("s3:ListBucketMultipartUploads", FREE, "is s3:ListBucketMultipartUploads granted"),
    ("s3:GetBucketVersioning", FREE, "is s3:GetBucketVersioning granted"),
    ("s3:DeleteObject", FREE, "is s3:DeleteObject granted"),
    ("s3:DeleteObjectVersion", FREE, "is s3:DeleteObjectVersion granted"),
    // Ministack denies the whole request, and AWS only the keys that are locked.
    (
        "s3:BypassGovernanceRetention",
        FREE,
        "s3://vault/{user_id}/: the bucket cannot be used: DeleteObjects: AccessDenied",
    ),
    ("s3:AbortMultipartUpload", FREE, "s3:AbortMultipartUpload for uploads"),
    // The upload is aborted once more: it does not exist any more.
    ("s3:ListMultipartUploadParts", FREE, ERASED),
    (
        "s3:PutObject",
        FREE,
        "is s3:PutObject (or does a policy of the bucket demand an encryption header, see RECEIPTS_SSE) granted",
    ),
    ("s3:GetObject", FREE, "is s3:GetObject (and s3:ListBucket on the bucket) granted"),
    (
        "sqs:SendMessage",
        FREE,
        "send the continuation: the queue cannot be used: SendMessage: AccessDenied",
    ),
];

/// What a user has in both buckets.
async fn fill(cloud: &Ministack, user: &str) -> Outcome {
    let s3 = cloud.s3();
    for bucket in ["photos", "vault"] {
        put_object(&s3, bucket, &format!("{user}/one"), b"file").await?;
        put_object(&s3, bucket, &format!("{user}/two"), b"file").await?;
    }
    start_upload(&s3, "photos", &format!("{user}/upload"), b"part").await?;
    Ok(())
}

/// Erases, until the log says this.
async fn erase_until(deployed: &Deployed<'_>, user: &str, request: &str, words: &str) -> Outcome {
    let (cloud, stack) = (deployed.cloud, &deployed.stack);
    fill(cloud, user).await?;
    let before = cloud.function_log_lines(stack).await?.len();
    deployed
        .send(
            &json!({ "type": "user-withdrawn", "userId": user, "requestId": request }).to_string(),
        )
        .await?;
    let deadline = Instant::now() + LOG_LIMIT;
    loop {
        let lines = cloud.function_log_lines(stack).await?;
        let lines = &lines[before.min(lines.len())..];
        if lines.iter().any(|line| line.contains(words)) {
            break;
        }
        if Instant::now() > deadline {
            let lines: Vec<&String> =
                lines.iter().filter(|line| line.contains("\"message\"")).collect();
            return Err(Failure(format!(
                "{request}: no {words:?} within {LOG_LIMIT:?}:\n{lines:#?}"
            )));
        }
        sleep(Duration::from_millis(100)).await;
    }
    // SQS would redeliver it, and it would mingle with the next.
    cloud.sqs().purge_queue().queue_url(&stack.queue_url).send().await?;
    Ok(())
}

/// Lets a role do all that its template says.
async fn deny_nothing(cloud: &Ministack, role: &Role) -> Outcome {
    put_policy(cloud, role, json!([denial("s3:CreateBucket")])).await
}

#[tokio::test]
async fn each_missing_permission_is_reported() -> Outcome {
    let cloud = Ministack::start().await?;
    within(TEST_LIMIT, async {
        let s3 = cloud.s3();
        cloud.create_bucket("photos").await?;
        cloud.create_bucket("receipts").await?;
        create_bucket_with_object_lock(&s3, "vault").await?;
        for (user, lock) in [(FREE, Lock::Governance(3_600)), (HELD, Lock::LegalHold)] {
            let key = format!("{user}/locked");
            let version = put_object(&s3, "vault", &key, b"file").await?.unwrap_or_default();
            lock_version(&s3, "vault", &key, &version, lock).await?;
        }
        let parameters = [
            ("Target1Bucket", "photos"),
            ("Target2Bucket", "vault"),
            ("BypassGovernanceRetention", "true"),
            ("ReceiptsBucket", "receipts"),
            // So that every erasure sends a message.
            ("LateWriteSweepSeconds", "900"),
        ];
        let deployed = Deployed::new(&cloud, &parameters).await?;
        let role = cloud.function_role(&deployed.stack).await?;

        for (action, user, words) in MISSED {
            // The function reads a receipt only where one is already stored.
            let request = if action == "s3:GetObject" { "whole" } else { action };
            if request == "whole" {
                deny_nothing(&cloud, &role).await?;
                erase_until(&deployed, user, request, ERASED).await?;
            }
            put_policy(&cloud, &role, json!([denial(action)])).await?;
            erase_until(&deployed, user, request, words).await?;
        }
        deny_nothing(&cloud, &role).await?;
        erase_until(&deployed, FREE, "again", ERASED).await?;
        erase_until(&deployed, HELD, "and-again", "s3://vault/{user_id}/ (legal-hold: 1)").await
    })
    .await
}
