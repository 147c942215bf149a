//! What is stored, when, and what happens when it cannot be.

use std::sync::atomic::AtomicU32;
use std::time::Duration;

use aws_lambda_events::event::sqs::SqsMessage;
use erase_user_files::config::{Config, Encryption};
use erase_user_files::target::{HashKey, UserId};
use serde_json::{Value, json};

use crate::scene::{BUCKET, Letters, NOBODY, Scene, Shelf, Store, locked, record, withdrawal};
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
fn pseudonym(user: &str) -> String {
    HashKey::new("a key".to_owned()).hash(&UserId::parse(user).expect("an id"))
}

#[test]
fn the_pseudonym_is_the_hmac_that_everybody_can_compute() {
    // printf %s u1 | openssl dgst -sha256 -hmac 'a key'
    assert_eq!(pseudonym("u1"), "b6d37a3bdd733ca4c8273ff899c30e099188bcc0d8ba8e6e20e0e19e7412c3df");
    // printf %s u1 | openssl dgst -sha256 -hmac ''
    assert_eq!(
        HashKey::default().hash(&UserId::parse("u1").unwrap()),
        "3703eee47f4bc6895626bb812ed4acd836f7c08afb4e64a88de091da4b696e44"
    );
}

#[tokio::test(start_paused = true)]
async fn an_erasure_ends_with_a_receipt_of_all_its_hops() {
    let scene = Scene::new(Store::of(&[("u1", 15_000)]), Letters::default(), &[]);
    let mut message = request(&json!({"withdrawnAt": "2027-01-15T07:00:00+01:00"}));
    let mut hops = 0;
    loop {
        assert_eq!(scene.invoke(Duration::from_secs(4), vec![message]).await, Ok(NOBODY));
        hops += 1;
        let Some(next) = locked(&scene.letters.sent).pop() else {
            break;
        };
        assert!(locked(&scene.shelf.documents).is_empty(), "a receipt before the proof");
        message = record("m", &next.body);
    }
    assert!(hops > 1);
    let (name, receipt) = scene.shelf.receipt();
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
async fn a_second_delivery_finds_its_receipt_and_is_done() {
    let scene = Scene::new(Store::of(&[("u1", 10)]), Letters::default(), &[]);
    for _ in 0..2 {
        assert_eq!(scene.invoke(TIMEOUT, vec![request(&json!({}))]).await, Ok(NOBODY));
    }
    assert_eq!(scene.shelf.receipt().1["objects"], 10, "the first receipt stays");
}

#[tokio::test(start_paused = true)]
async fn a_receipt_whose_answer_was_lost_is_found_where_it_belongs() {
    let shelf = Shelf { loses_answers: AtomicU32::new(1), ..Shelf::default() };
    let scene = Scene::new(Store::of(&[("u1", 10)]), Letters::default(), &[]).with_shelf(shelf);
    assert_eq!(scene.invoke(TIMEOUT, vec![request(&json!({}))]).await, Ok(NOBODY));
    assert!(locked(&scene.letters.sent).is_empty());
    assert_is_receipt(&scene.shelf.receipt().1);
}

#[tokio::test(start_paused = true)]
async fn a_request_id_that_was_used_for_another_user_fails_and_overwrites_nothing() {
    let scene = Scene::new(Store::of(&[("u1", 10), ("u2", 10)]), Letters::default(), &[]);
    assert_eq!(scene.invoke(TIMEOUT, vec![request(&json!({}))]).await, Ok(NOBODY));
    let before = scene.shelf.receipt();
    let failed = scene.invoke(TIMEOUT, vec![request(&json!({"userId": "u2"}))]).await;
    assert_eq!(failed, Ok(vec!["m".to_owned()]));
    assert_eq!(scene.shelf.receipt(), before);
    assert!(locked(&scene.letters.sent).is_empty(), "no continuation can mend that");
    // What stands there need not even be a receipt.
    for document in ["", "{}", "no JSON", r#"{"outcome":"incomplete","user":"0"}"#] {
        locked(&scene.shelf.documents).insert("r-2/erased.json".to_owned(), document.to_owned());
        let failed = scene.invoke(TIMEOUT, vec![request(&json!({"requestId": "r-2"}))]).await;
        assert_eq!(failed, Ok(vec!["m".to_owned()]), "{document:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_stored_is_proven_and_stored_by_a_later_hop() {
    // Three tries in the first hop.
    let shelf = Shelf { fails: AtomicU32::new(3), ..Shelf::default() };
    let scene = Scene::new(Store::of(&[("u1", 10)]), Letters::default(), &[]).with_shelf(shelf);
    assert_eq!(scene.invoke(TIMEOUT, vec![request(&json!({}))]).await, Ok(NOBODY));
    assert!(locked(&scene.shelf.documents).is_empty());
    let next = locked(&scene.letters.sent).pop().expect("a continuation");
    assert_eq!(next.delay, Duration::from_secs(30));
    // Meanwhile, somebody writes: what was proven then is no proof now. By their times, the objects
    // are older than the erasure, and may have been counted before: they are not counted.
    scene.store.put(BUCKET, "u1", [1, 2]);
    assert_eq!(scene.invoke(TIMEOUT, vec![record("m", &next.body)]).await, Ok(NOBODY));
    assert_eq!(scene.store.left("u1"), 0);
    let (name, receipt) = scene.shelf.receipt();
    assert_eq!(
        (name.as_str(), &receipt["objects"], &receipt["hops"]),
        ("r-1/erased.json", &json!(10), &json!(2))
    );
    assert_eq!(receipt["requestedAt"], "2027-01-15T07:59:00Z");
}

#[tokio::test(start_paused = true)]
async fn a_place_for_receipts_that_hangs_leaves_time_to_hand_on() {
    for seconds in [2, 6, 300] {
        let shelf = Shelf { hangs: true, ..Shelf::default() };
        let scene = Scene::new(Store::of(&[("u1", 10)]), Letters::default(), &[]).with_shelf(shelf);
        assert_eq!(
            scene.invoke(Duration::from_secs(seconds), vec![withdrawal("u1")]).await,
            Ok(NOBODY)
        );
        assert_eq!((scene.store.left("u1"), &scene.letters.continuation()["hop"]), (0, &json!(1)));
    }
}

#[tokio::test(start_paused = true)]
async fn a_receipt_that_can_never_be_stored_ends_in_the_dead_letter_queue() {
    let shelf = Shelf { refuses: true, ..Shelf::default() };
    let scene = Scene::new(Store::of(&[("u1", 10)]), Letters::default(), &[]).with_shelf(shelf);
    let mut message = request(&json!({}));
    // The first hop deletes; the next ones only prove, and the third of these is one too many.
    for _ in 0..3 {
        assert_eq!(scene.invoke(TIMEOUT, vec![message]).await, Ok(NOBODY));
        message = record("m", &locked(&scene.letters.sent).pop().expect("a continuation").body);
    }
    assert_eq!(scene.invoke(TIMEOUT, vec![message]).await, Ok(vec!["m".to_owned()]));
    assert!(locked(&scene.letters.sent).is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_is_left_is_told_once_for_each_delivery() {
    let store = Store { denies_deletes: true, ..Store::of(&[("u1", 1_200)]) };
    let scene = Scene::new(store, Letters::default(), &[]);
    for delivery in ["1", "2"] {
        let mut message = request(&json!({}));
        message.attributes.insert("ApproximateReceiveCount".to_owned(), delivery.to_owned());
        assert_eq!(scene.invoke(TIMEOUT, vec![message]).await, Ok(vec!["m".to_owned()]));
    }
    let documents = locked(&scene.shelf.documents);
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
async fn hops_of_no_use_tell_what_stood_in_the_way() {
    let store = Store { denies_deletes: true, ..Store::of(&[("u1", 300_000)]) };
    let scene = Scene::new(store, Letters::default(), &[("MAX_IDLE_HOPS", "1")]);
    assert_eq!(
        scene.invoke(Duration::from_secs(5), vec![request(&json!({}))]).await,
        Ok(vec!["m".to_owned()])
    );
    let (_, receipt) = scene.shelf.receipt();
    let reason = receipt["reason"].as_str().unwrap_or_default();
    assert!(
        reason
            .starts_with("1 hops in a row deleted nothing: s3://photos/{user_id}/ (AccessDenied: "),
        "{reason}"
    );
}

#[tokio::test(start_paused = true)]
async fn without_a_place_for_receipts_everything_else_goes_on() {
    let scene = Scene::new(Store::of(&[("u1", 10)]), Letters::default(), &[("RECEIPTS_URI", "")]);
    assert_eq!(scene.invoke(TIMEOUT, vec![withdrawal("u1")]).await, Ok(NOBODY));
    assert_eq!(scene.store.left("u1"), 0);
    assert!(locked(&scene.shelf.documents).is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_erase_before_keeps_is_told() {
    let scene = Scene::new(Store::of(&[("u1", 2_500)]), Letters::default(), &[]);
    // The store's objects are written one a second from 1970 on.
    let limit = "1970-01-01T00:20:00Z";
    assert_eq!(
        scene.invoke(TIMEOUT, vec![request(&json!({"eraseBefore": limit}))]).await,
        Ok(NOBODY)
    );
    let (name, receipt) = scene.shelf.receipt();
    assert_is_receipt(&receipt);
    assert_eq!((name.as_str(), &receipt["eraseBefore"]), ("r-1/erased.json", &json!(limit)));
    assert_eq!((&receipt["objects"], &receipt["keptNewer"]), (&json!(1_200), &json!(1_300)));
    assert_eq!(receipt["targets"][0]["keptNewer"], 1_300);
}

#[test]
fn settings_of_the_receipts_are_checked_at_the_start_and_errors_name_the_variable() {
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
            (receipts.expected_owner.as_deref(), receipts.encryption),
            (owner, encryption),
            "{settings:?}"
        );
    }
}
