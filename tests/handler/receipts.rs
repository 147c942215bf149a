//! What is stored, when, and what happens when it cannot be.

use std::sync::atomic::AtomicU32;
use std::time::Duration;

use aws_lambda_events::event::sqs::SqsMessage;
use erase_user_files::config::{Config, Encryption};
use erase_user_files::ports::queue::OutgoingMessage;
use erase_user_files::target::{AccountId, HashKey, User};
use serde_json::{Value, json};

use crate::fixture::{BUCKET, FakeReceipts, Fixture, Store, locked, record, withdrawal};
use crate::schema::assert_is_receipt;

const TIMEOUT: Duration = Duration::from_secs(30);

fn request(fields: &Value) -> SqsMessage {
    let mut body = json!({"type": "user-withdrawn", "userId": "u1", "requestId": "r-1"});
    for (name, value) in fields.as_object().expect("fields") {
        body[name] = value.clone();
    }
    let mut message = record("m", &body.to_string());
    message.attributes.insert("SentTimestamp".to_owned(), "1799999940000".to_owned());
    message
}

/// What users' ids are replaced by.
pub(crate) fn pseudonym(user: &str) -> String {
    HashKey::new("a key".to_owned()).hash(&User::parse(user).expect("an id"))
}

#[test]
fn user_hash_is_hmac_sha256() {
    // printf %s u1 | openssl dgst -sha256 -hmac 'a key'
    assert_eq!(pseudonym("u1"), "b6d37a3bdd733ca4c8273ff899c30e099188bcc0d8ba8e6e20e0e19e7412c3df");
    // printf %s u1 | openssl dgst -sha256 -hmac ''
    assert_eq!(
        HashKey::default().hash(&User::parse("u1").unwrap()),
        "3703eee47f4bc6895626bb812ed4acd836f7c08afb4e64a88de091da4b696e44"
    );
}

#[tokio::test(start_paused = true)]
async fn receipt_covers_all_hops() {
    let fixture = Fixture::new(Store::of(&[("u1", 15_000)]), &[]);
    let message = request(&json!({"withdrawnAt": "2027-01-15T07:00:00+01:00"}));
    let each = |_: &OutgoingMessage| {
        assert!(locked(&fixture.receipt_store.documents).is_empty(), "a receipt before the proof");
    };
    let hops = fixture.follow(Duration::from_secs(4), message, each).await;
    assert!(hops > 1);
    let (name, receipt) = fixture.receipt_store.receipt();
    assert_eq!(name, "r-1/erased.json");
    assert_is_receipt(&receipt);
    assert_eq!(receipt["outcome"], "erased");
    assert_eq!(receipt["erasureId"], "r-1");
    assert_eq!(receipt["user"], pseudonym("u1"));
    assert_eq!(
        (&receipt["hops"], &receipt["objects"], &receipt["bytes"]),
        (&json!(hops), &json!(15_000), &json!(15_000))
    );
    let target = &receipt["targets"][0];
    assert_eq!((&target["bucket"], &target["prefix"]), (&json!("photos"), &json!("{user_id}/")));
    assert_eq!((&target["objects"], &target["keptNewer"]), (&json!(15_000), &json!(0)));
    assert_eq!(receipt["withdrawnAt"], "2027-01-15T07:00:00+01:00");
    // Sent a minute before the first invocation.
    assert_eq!(
        (&receipt["requestedAt"], &receipt["startedAt"]),
        (&json!("2027-01-15T07:59:00Z"), &json!("2027-01-15T08:00:00Z"))
    );
    assert_eq!(receipt["finishedAt"], receipt["provenEmptyAt"]);
    assert!(receipt["finishedAt"].as_str() > receipt["startedAt"].as_str());
    assert!(!receipt.to_string().contains("u1"), "{receipt:#}");
}

#[tokio::test(start_paused = true)]
async fn redelivery_after_receipt_succeeds() {
    let fixture = Fixture::new(Store::of(&[("u1", 10)]), &[]);
    for _ in 0..2 {
        fixture.succeed(TIMEOUT, vec![request(&json!({}))]).await;
    }
    assert_eq!(fixture.receipt_store.receipt().1["objects"], 10, "the first receipt stays");
}

#[tokio::test(start_paused = true)]
async fn lost_receipt_response_is_recovered() {
    let receipt_store =
        FakeReceipts { loses_answers: AtomicU32::new(1), ..FakeReceipts::default() };
    let fixture = Fixture::new(Store::of(&[("u1", 10)]), &[]).with_receipt_store(receipt_store);
    fixture.succeed(TIMEOUT, vec![request(&json!({}))]).await;
    assert!(locked(&fixture.queue.sent).is_empty());
    assert_is_receipt(&fixture.receipt_store.receipt().1);
}

#[tokio::test(start_paused = true)]
async fn request_id_of_another_user_fails() {
    let fixture = Fixture::new(Store::of(&[("u1", 10), ("u2", 10)]), &[]);
    fixture.succeed(TIMEOUT, vec![request(&json!({}))]).await;
    let before = fixture.receipt_store.receipt();
    let failed = fixture.invoke(TIMEOUT, vec![request(&json!({"userId": "u2"}))]).await;
    assert_eq!(failed, Ok(vec!["m".to_owned()]));
    assert_eq!(fixture.receipt_store.receipt(), before);
    assert!(locked(&fixture.queue.sent).is_empty(), "no continuation can mend that");
    // The stored document need not even be a receipt.
    for document in ["", "{}", "no JSON", r#"{"outcome":"incomplete","user":"0"}"#] {
        locked(&fixture.receipt_store.documents)
            .insert("r-2/erased.json".to_owned(), document.to_owned());
        let failed = fixture.invoke(TIMEOUT, vec![request(&json!({"requestId": "r-2"}))]).await;
        assert_eq!(failed, Ok(vec!["m".to_owned()]), "{document:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn unstored_receipt_is_proven_and_stored_by_a_later_hop() {
    // Three tries in the first hop.
    let receipt_store = FakeReceipts { fails: AtomicU32::new(3), ..FakeReceipts::default() };
    let fixture = Fixture::new(Store::of(&[("u1", 10)]), &[]).with_receipt_store(receipt_store);
    fixture.succeed(TIMEOUT, vec![request(&json!({}))]).await;
    assert!(locked(&fixture.receipt_store.documents).is_empty());
    let next = fixture.take_continuation().expect("a continuation");
    assert_eq!(next.delay, Duration::from_secs(30));
    // Meanwhile, a client writes: the first proof is no longer valid. By their times, the objects
    // are older than the erasure, and may have been counted before: they are not counted.
    fixture.store.put(BUCKET, "u1", [1, 2]);
    fixture.succeed(TIMEOUT, vec![record("m", &next.body)]).await;
    assert_eq!(fixture.store.left("u1"), 0);
    let (name, receipt) = fixture.receipt_store.receipt();
    assert_eq!(
        (name.as_str(), &receipt["objects"], &receipt["hops"]),
        ("r-1/erased.json", &json!(10), &json!(2))
    );
    assert_eq!(receipt["requestedAt"], "2027-01-15T07:59:00Z");
}

#[tokio::test(start_paused = true)]
async fn hanging_receipt_store_leaves_time_for_continuation() {
    for seconds in [2, 6, 300] {
        let receipt_store = FakeReceipts { hangs: true, ..FakeReceipts::default() };
        let fixture = Fixture::new(Store::of(&[("u1", 10)]), &[]).with_receipt_store(receipt_store);
        fixture.succeed(Duration::from_secs(seconds), vec![withdrawal("u1")]).await;
        assert_eq!(
            (fixture.store.left("u1"), &fixture.queue.continuation()["hop"]),
            (0, &json!(1))
        );
    }
}

#[tokio::test(start_paused = true)]
async fn permanently_unstored_receipt_ends_in_the_dead_letter_queue() {
    let receipt_store = FakeReceipts { refuses: true, ..FakeReceipts::default() };
    let fixture = Fixture::new(Store::of(&[("u1", 10)]), &[]).with_receipt_store(receipt_store);
    let mut message = request(&json!({}));
    // The first hop deletes; the next ones only prove, and the third of these is one too many.
    for _ in 0..3 {
        fixture.succeed(TIMEOUT, vec![message]).await;
        message = record("m", &fixture.take_continuation().expect("a continuation").body);
    }
    assert_eq!(fixture.invoke(TIMEOUT, vec![message]).await, Ok(vec!["m".to_owned()]));
    assert!(locked(&fixture.queue.sent).is_empty());
}

#[tokio::test(start_paused = true)]
async fn each_delivery_stores_an_incomplete_receipt() {
    let store = Store { denies_deletes: true, ..Store::of(&[("u1", 1_200)]) };
    let fixture = Fixture::new(store, &[]);
    for delivery in ["1", "2"] {
        let mut message = request(&json!({}));
        message.attributes.insert("ApproximateReceiveCount".to_owned(), delivery.to_owned());
        assert_eq!(fixture.invoke(TIMEOUT, vec![message]).await, Ok(vec!["m".to_owned()]));
    }
    let documents = locked(&fixture.receipt_store.documents);
    assert_eq!(
        documents.keys().collect::<Vec<_>>(),
        ["r-1/incomplete-1.json", "r-1/incomplete-2.json"]
    );
    for text in documents.values() {
        let receipt: Value = serde_json::from_str(text).unwrap();
        assert_is_receipt(&receipt);
        assert_eq!(
            receipt["targets"][0]["refused"],
            json!([{"code": "AccessDenied", "count": 1_200}])
        );
        let reason = "what is left cannot be deleted: s3://photos/{user_id}/ (AccessDenied: 1200; \
                      are s3:DeleteObject, s3:DeleteObjectVersion for versions, and s3:AbortMultipartUpload for uploads, \
                      granted?)";
        assert_eq!(receipt["reason"], reason);
    }
}

#[tokio::test(start_paused = true)]
async fn idle_hops_report_their_cause() {
    let store = Store { denies_deletes: true, ..Store::of(&[("u1", 60_000)]) };
    let fixture = Fixture::new(store, &[("MAX_IDLE_HOPS", "1")]);
    assert_eq!(
        fixture.invoke(Duration::from_secs(5), vec![request(&json!({}))]).await,
        Ok(vec!["m".to_owned()])
    );
    let (_, receipt) = fixture.receipt_store.receipt();
    let reason = receipt["reason"].as_str().unwrap_or_default();
    assert!(
        reason
            .starts_with("1 hops in a row deleted nothing: s3://photos/{user_id}/ (AccessDenied: "),
        "{reason}"
    );
}

#[tokio::test(start_paused = true)]
async fn erasure_works_without_receipts() {
    let fixture = Fixture::new(Store::of(&[("u1", 10)]), &[("RECEIPTS_URI", "")]);
    fixture.succeed(TIMEOUT, vec![withdrawal("u1")]).await;
    assert_eq!(fixture.store.left("u1"), 0);
    assert!(locked(&fixture.receipt_store.documents).is_empty());
}

#[tokio::test(start_paused = true)]
async fn receipt_counts_objects_kept_by_erase_before() {
    let fixture = Fixture::new(Store::of(&[("u1", 2_500)]), &[]);
    // The store's objects are written one a second from 1970 on.
    let limit = "1970-01-01T00:20:00Z";
    fixture.succeed(TIMEOUT, vec![request(&json!({"eraseBefore": limit}))]).await;
    let (name, receipt) = fixture.receipt_store.receipt();
    assert_is_receipt(&receipt);
    assert_eq!((name.as_str(), &receipt["eraseBefore"]), ("r-1/erased.json", &json!(limit)));
    assert_eq!((&receipt["objects"], &receipt["keptNewer"]), (&json!(1_200), &json!(1_300)));
    assert_eq!(receipt["targets"][0]["keptNewer"], 1_300);
}

#[test]
fn receipt_settings_are_validated() {
    type Settings = &'static [(&'static str, &'static str)];
    const SSE: &str = "RECEIPTS_SSE";
    const KEY: &str = "RECEIPTS_KMS_KEY_ID";
    const OWNER: &str = "EXPECTED_RECEIPTS_OWNER";
    let read = |settings: &[(&str, &str)]| {
        let required = [
            ("ERASE_TARGETS", "s3://photos/{user_id}/"),
            ("CONTINUATION_QUEUE_URL", "https://sqs.eu-central-1.amazonaws.com/123456789012/erase"),
            ("RECEIPTS_URI", "s3://receipts/erasures/"),
        ];
        let lookup = |name: &str| {
            let found = settings.iter().chain(&required).find(|(setting, _)| *setting == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        Config::from_vars(lookup).map(|config| config.receipts.expect("a place for receipts"))
    };
    let no_key = "expected no key unless RECEIPTS_SSE is aws:kms";
    let bad: [(Settings, &str); 9] = [
        (&[(SSE, "AES-256")], "expected AES256 or aws:kms"),
        (&[(SSE, "AWS:KMS")], "expected AES256 or aws:kms"),
        (&[(SSE, "aws:kms:dsse")], "expected AES256 or aws:kms"),
        (&[(KEY, "k")], no_key),
        (&[(KEY, "k"), (SSE, "AES256")], no_key),
        (&[(KEY, "my key"), (SSE, "aws:kms")], "expected the id or the ARN of a KMS key"),
        (&[(OWNER, "12345678901")], "expected an account id of 12 digits"),
        (&[(OWNER, "1234567890123")], "expected an account id of 12 digits"),
        (&[(OWNER, "12345678901x")], "expected an account id of 12 digits"),
    ];
    for (settings, expected) in bad {
        let (variable, value) = settings[0];
        let error = read(settings).expect_err(value).to_string();
        assert_eq!(error, format!("1 setting is wrong:\n  {variable} is {value:?}: {expected}"));
    }
    let kms = |key_id: Option<&str>| Some(Encryption::Kms { key_id: key_id.map(str::to_owned) });
    let good: [(Settings, Option<&str>, Option<Encryption>); 5] = [
        (&[], None, None),
        (&[(SSE, ""), (KEY, ""), (OWNER, "")], None, None),
        (
            &[(SSE, "AES256"), (OWNER, "000000000000")],
            Some("000000000000"),
            Some(Encryption::Aes256),
        ),
        (&[(SSE, "aws:kms")], None, kms(None)),
        (
            &[(SSE, "aws:kms"), (KEY, "arn:aws:kms:eu-central-1:1:key/k")],
            None,
            kms(Some("arn:aws:kms:eu-central-1:1:key/k")),
        ),
    ];
    for (settings, owner, encryption) in good {
        let receipts = read(settings).expect("right settings");
        assert_eq!(
            (receipts.expected_owner.as_ref().map(AccountId::as_str), receipts.encryption),
            (owner, encryption),
            "{settings:?}"
        );
    }
}
