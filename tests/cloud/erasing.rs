//! Erasures that end well.

use std::path::Path;
use std::time::Duration;

use erase_user_files::lambda::metrics::DIMENSION;
use erase_user_files::target::{HashKey, User};
use local::{Hop, Ministack, list_keys, project_root};
use serde_json::{Value, json};

use crate::deployed::{Deployed, assert_is_chain};
use crate::objects::{USER, assert_left, neighbours, objects, plain_keys, size};
use crate::{Failure, Outcome, within};

const TEST_LIMIT: Duration = Duration::from_secs(90);
/// From a message to the last hop.
const ERASURE_LIMIT: Duration = Duration::from_secs(45);

/// Three seconds of work in each, and enough reserve for a local cloud that other tests slow down.
const SHORT_HOPS: [(&str, &str); 2] = [("FunctionTimeout", "5"), ("HandoffReserveMs", "2000")];
const TWO_BUCKETS: [(&str, &str); 3] = [
    ("Target1Bucket", "photos"),
    ("Target2Bucket", "exports"),
    ("Target2Prefix", "users/{user_id}/"),
];

/// The body of the one record in an event file.
fn body_of(event: &str) -> Result<String, Failure> {
    let path = project_root().join("events").join(event);
    let event: Value = serde_json::from_slice(&std::fs::read(path)?)?;
    Ok(event["Records"][0]["body"].as_str().unwrap_or_default().to_owned())
}

#[tokio::test]
async fn large_user_takes_several_hops_and_neighbours_stay() -> Outcome {
    let cloud = Ministack::start().await?;
    within(TEST_LIMIT, async {
        // Three seconds a hop, at this pace: at most 1,000 objects.
        const STORED: u64 = 2_500;
        const PACE: u64 = 250;
        let in_photos = objects(plain_keys("u1/", 1_600));
        let in_exports = objects(plain_keys("users/u1/", 900));
        let mut kept_photos = neighbours();
        // Each is the user's folder in the other target, not in this one.
        kept_photos
            .extend(objects(["users/u1/keep.txt".to_owned(), "users/u10/keep.txt".to_owned()]));
        let mut kept_exports = neighbours();
        kept_exports.extend(objects(
            [
                "u1/keep.txt",
                "users/u10/keep.txt",
                "users/u1",
                "users/U1/keep.txt",
                "users/u1.bak/keep.txt",
            ]
            .map(str::to_owned),
        ));
        for (bucket, stored, kept) in
            [("photos", &in_photos, &kept_photos), ("exports", &in_exports, &kept_exports)]
        {
            cloud.create_bucket(bucket).await?;
            cloud.put_objects(bucket, stored.iter().chain(kept).cloned(), || {}).await?;
        }
        let mut parameters = TWO_BUCKETS.to_vec();
        parameters.extend([("MaxDeletesPerSecond", "250")]);
        parameters.extend(SHORT_HOPS);
        parameters.extend([("ReceiptHashKey", "")]);
        let deployed = Deployed::new(&cloud, &parameters).await?;

        // The caller put the user's id into its own: no log may show it.
        let message =
            json!({ "type": "user-withdrawn", "userId": USER, "requestId": "withdrawal-of-u1" });
        deployed.send(&message.to_string()).await?;
        let hops = deployed.erased(1, ERASURE_LIMIT).await?;

        assert_left(&cloud.s3(), "photos", &kept_photos).await?;
        assert_left(&cloud.s3(), "exports", &kept_exports).await?;
        assert_is_chain(&hops, Duration::from_secs(5));
        assert!(hops.len() >= 3, "several hops were needed: {hops:#?}");
        let last = hops.last().cloned().unwrap_or_default();
        assert_eq!(last.user, HashKey::default().hash(&User::parse(USER)?));
        assert_eq!(last.erasure, "withdrawal-of-{user}");
        // The items in flight at a stop time may be deleted and not counted, but nothing is ever
        // counted twice.
        assert!(last.total_objects <= STORED, "more objects counted than stored: {hops:#?}");
        assert!(
            last.total_objects > STORED - PACE * hops.len() as u64,
            "too few objects counted: {hops:#?}"
        );

        let metrics = deployed.metrics().await?;
        assert_eq!(metrics.len(), hops.len(), "{metrics:#?}");
        let sum = |name: &str| metrics.iter().map(|line| line.metrics[name]).sum::<f64>();
        assert_eq!(sum("ObjectsErased"), last.total_objects as f64);
        assert_eq!(
            (sum("ErasuresCompleted"), sum("ErasuresContinued")),
            (1.0, hops.len() as f64 - 1.0)
        );
        let name = deployed.stack.function_name.clone();
        assert!(
            metrics
                .iter()
                .all(|line| line.dimensions == [(DIMENSION.to_owned(), name.clone())].into())
        );
        // One batch, as large as the limit for a second, is sent immediately.
        let is_too_fast = |hop: &Hop| hop.objects * 1_000 > PACE * (1_100 + hop.duration_ms);
        assert!(!hops.iter().any(is_too_fast), "more than {PACE} keys a second: {hops:#?}");
        assert!(
            last.total_bytes <= size(&in_photos) + size(&in_exports),
            "too many bytes counted: {hops:#?}"
        );
        deployed.assert_log_is_discreet().await
    })
    .await
}

/// Ids may hold signs that mean something else in a URL: in the prefix of a listing, `+` must not
/// become a space.
#[tokio::test]
async fn user_id_with_symbols_is_literal() -> Outcome {
    let cloud = Ministack::start().await?;
    within(TEST_LIMIT, async {
        let user = "..a+b@example.com:x=y_-.";
        let kept = objects(
            [
                "..a b@example.com:x=y_-./1",
                "..a%2Bb@example.com:x=y_-./1",
                "..a+b@example.com:x=y_-",
            ]
            .map(str::to_owned),
        );
        cloud.create_bucket("photos").await?;
        cloud.put_objects("photos", objects(plain_keys(&format!("{user}/"), 3)), || {}).await?;
        cloud.put_objects("photos", kept.clone(), || {}).await?;
        let deployed = Deployed::new(&cloud, &[("Target1Bucket", "photos")]).await?;

        deployed.withdraw(user).await?;
        let hops = deployed.erased(1, ERASURE_LIMIT).await?;

        assert_left(&cloud.s3(), "photos", &kept).await?;
        assert_eq!(hops.len(), 1, "{hops:#?}");
        assert_eq!(hops[0].objects, 3, "{hops:#?}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn continuation_resumes_at_its_checkpoint() -> Outcome {
    let cloud = Ministack::start().await?;
    within(TEST_LIMIT, async {
        for bucket in ["photos", "exports"] {
            cloud.create_bucket(bucket).await?;
            cloud.put_objects(bucket, neighbours(), || {}).await?;
        }
        let deployed = Deployed::new(&cloud, &TWO_BUCKETS).await?;
        let (photos, exports) = ("s3://photos/{user_id}/", "s3://exports/users/{user_id}/");
        let bookmarks = [
            ("the event file, without any", Value::Null),
            (
                "a token that no store gave",
                json!({ "target": photos, "kind": "objects", "token": "nonsense" }),
            ),
            // Ministack takes these for places after all of the user's keys: what is listed from
            // there is nothing, and no proof.
            (
                "a token behind the first target",
                json!({ "target": photos, "kind": "objects", "token": "dTEvfn5+fn4=" }),
            ),
            (
                "a token behind everything",
                json!({ "target": exports, "kind": "objects", "token": "dXNlcnMvdTEvfn5+fn4=" }),
            ),
            (
                "the second target",
                json!({ "target": exports, "kind": "objects", "token": "nonsense" }),
            ),
            (
                "a target that is gone",
                json!({ "target": "s3://gone/{user_id}/", "kind": "objects", "token": "nonsense" }),
            ),
        ];
        for (index, (what, checkpoint)) in bookmarks.into_iter().enumerate() {
            cloud.put_objects("photos", objects(plain_keys("u1/", 20)), || {}).await?;
            cloud.put_objects("exports", objects(plain_keys("users/u1/", 20)), || {}).await?;
            let mut message: Value = serde_json::from_str(&body_of("continuation.json")?)?;
            if !checkpoint.is_null() {
                message["bookmark"] = checkpoint;
                message["tally"] = json!({ "objects": 1_000, "bytes": 5_000 });
            }
            deployed.send(&message.to_string()).await?;
            let hops = deployed.erased(index + 1, ERASURE_LIMIT).await?;

            for (bucket, folder) in [("photos", "u1/"), ("exports", "users/u1/")] {
                let left = list_keys(&cloud.s3(), bucket, folder).await?;
                assert!(left.is_empty(), "{what}: still in {bucket}: {left:?}");
                assert_left(&cloud.s3(), bucket, &neighbours()).await?;
            }
            let hop = hops.last().cloned().unwrap_or_default();
            let before = if index == 0 { 0 } else { 1_000 };
            // What a wrong token has left out, and a later round finds, may have been counted by an
            // earlier hop.
            let counted = if what.contains("behind") { 0..=40 } else { 40..=40 };
            assert!(hop.hop == 1 && counted.contains(&hop.objects), "{what}: {hop:#?}");
            assert_eq!(hop.total_objects, before + hop.objects, "{what}: {hop:#?}");
        }
        Ok(())
    })
    .await
}

#[test]
fn event_files_are_valid_events() -> Outcome {
    for file in
        ["user-withdrawn.json", "batch.json", "continuation.json", "malformed.json", "wrapped.json"]
    {
        let text = std::fs::read(Path::new(&project_root()).join("events").join(file))?;
        let event: aws_lambda_events::event::sqs::SqsEvent =
            serde_json::from_slice(&text).map_err(|error| Failure(format!("{file}: {error}")))?;
        assert!(!event.records.is_empty(), "{file} has no records");
        let is_complete = |record: &aws_lambda_events::event::sqs::SqsMessage| {
            record.message_id.is_some() && record.receipt_handle.is_some() && record.body.is_some()
        };
        assert!(event.records.iter().all(is_complete), "{file} has an incomplete record");
    }
    Ok(())
}

/// A topic of the account, and its ARN.
async fn topic(cloud: &Ministack) -> Result<String, Failure> {
    let fields = [("Action", "CreateTopic"), ("Name", "withdrawn")];
    let answer = cloud.ask(None, &local::Request::form("sns", "2010-03-31", &fields)).await?;
    assert!(answer.is_success(), "{answer:?}");
    Ok("arn:aws:sns:us-east-1:000000000000:withdrawn".to_owned())
}

#[tokio::test]
async fn requests_come_through_the_stacks_topic_and_rule() -> Outcome {
    let cloud = Ministack::start().await?;
    within(TEST_LIMIT, async {
        cloud.create_bucket("photos").await?;
        for user in ["u1", "u2", "u3"] {
            local::put_object(&cloud.s3(), "photos", &format!("{user}/file"), b"file").await?;
        }
        let topic = topic(&cloud).await?;
        let parameters = [
            ("Target1Bucket", "photos"),
            ("WithdrawalTopicArn", topic.as_str()),
            ("WithdrawalTopicFilter", r#"{"type":["user-withdrawn"]}"#),
            ("EventPattern", r#"{"detail-type":["user-withdrawn"]}"#),
            ("AnySenderOfAccount", "true"),
        ];
        let deployed = Deployed::new(&cloud, &parameters).await?;
        // No message of the other types moves to the dead-letter queue.
        for kind in ["user-renamed", "user-withdrawn"] {
            let message = json!({ "type": kind, "userId": "u1" }).to_string();
            let fields =
                [("Action", "Publish"), ("TopicArn", topic.as_str()), ("Message", &message)];
            let answer =
                cloud.ask(None, &local::Request::form("sns", "2010-03-31", &fields)).await?;
            assert!(answer.is_success(), "{answer:?}");
        }
        for (kind, user) in [("user-renamed", "u3"), ("user-withdrawn", "u2")] {
            let detail = json!({ "type": "user-withdrawn", "userId": user }).to_string();
            let event = json!({ "Source": "users", "DetailType": kind, "Detail": detail });
            let body = json!({ "Entries": [event] });
            let request = local::Request::json("events", "AWSEvents.PutEvents", &body);
            let answer = cloud.ask(None, &request).await?;
            assert!(answer.is_success(), "{answer:?}");
        }
        deployed.erased(2, ERASURE_LIMIT).await?;
        let left = list_keys(&cloud.s3(), "photos", "").await?;
        assert_eq!(left, ["u3/file"]);
        Ok(())
    })
    .await
}

#[tokio::test]
async fn scopes_affixes_files_and_foreign_messages_work_through_the_template() -> Outcome {
    let cloud = Ministack::start().await?;
    within(TEST_LIMIT, async {
        let kept = [
            "acme/user_12/x",
            "acme/user_10/file",
            "globex/user_1/file",
            "acme/xuser_1/file",
            "raw/acme/12-files/x",
        ];
        let erased = ["acme/user_1/file", "acme/user_1/deep/file", "raw/acme/1-files/x"];
        cloud.create_bucket("tenants").await?;
        cloud.create_bucket("avatars").await?;
        for key in kept.iter().chain(&erased) {
            local::put_object(&cloud.s3(), "tenants", key, b"file").await?;
        }
        for key in [
            "acme/1",
            "acme/12",
            "globex/1",
            "icons/acme/1.png",
            "icons/acme/1.jpg",
            "icons/acme/12.png",
        ] {
            local::put_object(&cloud.s3(), "avatars", key, b"file").await?;
        }
        let parameters = [
            ("Target1Bucket", "tenants"),
            ("Target1Prefix", "{tenant_id}/user_{user_id}/"),
            ("Target2Bucket", "tenants"),
            ("Target2Prefix", "raw/{tenant_id}/{user_id:urlencode}-files/"),
            ("EraseKey1Bucket", "avatars"),
            ("EraseKey1Pattern", "{tenant_id}/{user_id}"),
            ("EraseKey2Bucket", "avatars"),
            ("EraseKey2Pattern", "icons/{tenant_id}/{user_id}.*"),
            ("UserIdCharacters", "0-9"),
            ("ScopeIds", "tenant_id=/org"),
            ("MessageMatch", "/type=user.deleted"),
            ("UserIdPointer", "/user/id"),
            ("RequestIdPointer", "/id"),
        ];
        let deployed = Deployed::new(&cloud, &parameters).await?;
        let message =
            json!({ "type": "user.deleted", "user": { "id": 1 }, "org": "acme", "id": "r-1" });
        deployed.send(&message.to_string()).await?;
        deployed.erased(1, ERASURE_LIMIT).await?;
        let mut left = list_keys(&cloud.s3(), "tenants", "").await?;
        left.sort();
        let mut expected = kept.to_vec();
        expected.sort_unstable();
        assert_eq!(left, expected);
        assert_eq!(
            list_keys(&cloud.s3(), "avatars", "").await?,
            ["acme/12", "globex/1", "icons/acme/12.png"]
        );
        Ok(())
    })
    .await
}
