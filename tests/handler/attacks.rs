//! Ids and messages that try to reach the files of another user, each with its exact outcome.

use std::time::Duration;

use erase_user_files::erasure::checkpoint::Checkpoint;
use erase_user_files::erasure::counts::{Counts, Remaining, Totals};
use erase_user_files::erasure::report::{IncompleteReason, Round};
use erase_user_files::lambda::receipt::{self, ReceiptKind};
use erase_user_files::message::erasure::Erasure;
use erase_user_files::ports::store::{Kind, LockKind, Retention};
use erase_user_files::target::{MAX_TARGETS, Targets};
use serde_json::{Value, json};
use time::OffsetDateTime;

use crate::fixture::{Event, Fixture, NO_FAILURES, Store, locked, record};

const TIMEOUT: Duration = Duration::from_secs(30);

/// All users of the bucket. All but `u1` must keep everything.
const USERS: [(&str, u32); 8] = [
    ("u1", 3),
    ("u10", 3),
    ("u2", 3),
    ("U1", 3),
    ("u1.bak", 3),
    ("users", 3),
    ("null", 3),
    ("", 3),
];

/// Sends one body to a new world, and returns why it was rejected; `None`: it was erased.
async fn rejection(body: &str) -> Option<String> {
    let fixture = Fixture::new(Store::of(&USERS), &[]);
    let logs = crate::fixture::Logs::default();
    let failed = {
        let _logging = logs.listen();
        fixture.invoke(TIMEOUT, vec![record("m", body)]).await.expect("an answer")
    };
    if failed == NO_FAILURES {
        return None;
    }
    assert_eq!(failed, ["m"]);
    assert_eq!(locked(&fixture.queue.visibilities)["m"], 0, "to the dead-letter queue at once");
    assert!(
        locked(&fixture.store.log).is_empty(),
        "a rejected message must not even list: {body:.200}"
    );
    assert!(locked(&fixture.receipt_store.documents).is_empty());
    let line: Value = serde_json::from_str(logs.take().trim()).expect("one line");
    assert_eq!(
        (&line["outcome"], &line["message"]),
        (&json!("rejected"), &json!("message not understood"))
    );
    Some(line["reason"].as_str().expect("a reason").to_owned())
}

fn with_id(id: &Value) -> String {
    json!({"type": "user-withdrawn", "userId": id}).to_string()
}

fn by_sns(message: &str) -> String {
    json!({"Type": "Notification", "Message": message}).to_string()
}

fn by_eventbridge(detail: &Value) -> String {
    json!({"detail-type": "user-withdrawn", "detail": detail}).to_string()
}

/// A forged continuation with this id.
fn continued(id: &Value) -> String {
    json!({"type": "erasure-continuation", "version": 1, "erasureId": "e", "userId": id, "hop": 1})
        .to_string()
}

#[tokio::test(start_paused = true)]
async fn hostile_user_ids_are_rejected_with_reason() {
    let length = |bytes: usize| format!("\"/userId\": the id has {bytes} bytes, expected 1 to 128");
    let character = |byte: usize| {
        format!(
            "\"/userId\": the id has a character at byte {byte} that is none of A-Z a-z 0-9 - _ . : @ + =, and not \
             in USER_ID_EXTRA_CHARACTERS"
        )
    };
    let dots = || "\"/userId\": the id is \".\" or \"..\"".to_owned();
    let not_an_id = || "\"/userId\" is missing or not a JSON string or integer".to_owned();
    let attacks = [
        (json!(""), length(0)),
        (json!("."), dots()),
        (json!(".."), dots()),
        (json!("/"), character(0)),
        (json!("//"), character(0)),
        (json!("u1/"), character(2)),
        (json!("/u1"), character(0)),
        (json!("u1/../u2"), character(2)),
        (json!("../u2"), character(2)),
        (json!("u1\\..\\u2"), character(2)),
        (json!("%2F"), character(0)),
        (json!("u1%2F..%2Fu2"), character(2)),
        (json!("u1%00"), character(2)),
        (json!("\u{0}"), character(0)),
        (json!("u1\u{0}"), character(2)),
        (json!("u1\n"), character(2)),
        (json!(" u1"), character(0)),
        (json!("u1 "), character(2)),
        (json!("*"), character(0)),
        (json!("u?"), character(1)),
        (json!("{user_id}"), character(0)),
        (json!("u1,s3://photos/{user_id}/"), character(2)),
        // Right-to-left marks, invisible characters, other slashes and dots, letters that look like
        // ours.
        (json!("\u{202e}1u"), character(0)),
        (json!("u1\u{200f}"), character(2)),
        (json!("u\u{200b}1"), character(1)),
        (json!("\u{feff}u1"), character(0)),
        (json!("u1\u{ff0f}"), character(2)),
        (json!("u1\u{2215}u2"), character(2)),
        (json!("\u{2024}\u{2024}"), character(0)),
        (json!("\u{ff55}1"), character(0)),
        (json!("\u{57d}1"), character(0)),
        (json!("u\u{661}"), character(1)),
        (json!("\u{430}lice"), character(0)),
        (json!("\u{3c5}1"), character(0)),
        (json!("u1\u{301}"), character(2)),
        (json!("x".repeat(129)), length(129)),
        (json!("x".repeat(500_000)), length(500_000)),
        (json!("\u{1f600}".repeat(40)), length(160)),
        (json!(null), not_an_id()),
        (json!(true), not_an_id()),
        (json!({"id": "u1"}), not_an_id()),
    ];
    for (id, expected) in attacks {
        let plain = with_id(&id);
        for body in [&plain, &by_sns(&plain), &by_eventbridge(&json!({"userId": id}))] {
            assert_eq!(rejection(body).await.as_ref(), Some(&expected), "{body:.200}");
        }
        let forged = rejection(&continued(&id)).await.expect("refused as a continuation, too");
        assert!(
            forged == expected
                || !id.is_string() && forged.starts_with("the continuation cannot be read"),
            "{forged}"
        );
    }
    assert_eq!(rejection(r#"{"type":"user-withdrawn"}"#).await, Some(not_an_id()));
    // What is allowed is taken literally, and touches its own folder alone.
    for id in ["u1", "null", "u1.bak", "x".repeat(128).as_str(), "..a", "-", "a:b@c+d=e_f"] {
        assert_eq!(rejection(&with_id(&json!(id))).await, None, "{id}");
    }
}

/// Only an integer that every sender writes exactly is an id of its digits.
#[tokio::test(start_paused = true)]
async fn numbers_and_arrays_are_rejected_unless_they_are_safe_integers() {
    let number = || {
        "\"/userId\" is a number, but not an integer from 0 to 9007199254740991 without sign, point and exponent; \
         JavaScript rounds larger ones, so that they may name another user: send a JSON string"
            .to_owned()
    };
    let array = || {
        "\"/userId\" is an array: send one message for each user, since each has its own receipt"
            .to_owned()
    };
    for (id, expected) in [
        (json!(-1), number()),
        (json!(1.0), number()),
        (json!(1e3), number()),
        (json!(-0.0), number()),
        (json!(1_u64 << 53), number()),
        (json!(u64::MAX), number()),
        (json!(1e300), number()),
        (json!(["u1"]), array()),
        (json!([]), array()),
    ] {
        assert_eq!(rejection(&with_id(&id)).await.as_ref(), Some(&expected), "{id}");
    }
    for id in [0, 7, (1_u64 << 53) - 1] {
        assert_eq!(rejection(&with_id(&json!(id))).await, None, "{id}");
    }
}

/// No queue carries such a message.
#[tokio::test(start_paused = true)]
async fn ten_megabyte_body_is_rejected() {
    for body in
        [with_id(&json!("x".repeat(10_000_000))), with_id(&json!("u1")) + &" ".repeat(10_000_000)]
    {
        let expected = format!("the body has {} bytes, expected at most 1048576", body.len());
        assert_eq!(rejection(&body).await, Some(expected));
    }
}

#[tokio::test(start_paused = true)]
async fn hostile_messages_are_rejected_with_reason() {
    let json_fault = "the body is not valid JSON: ";
    let twice = "it has a field twice at line 1 column ";
    let deep = format!("{}{}", "[".repeat(200), "]".repeat(200));
    let no_type = || {
        "\"type\" is not \"user-withdrawn\", nor is it such a request in an envelope of SNS or EventBridge"
            .to_owned()
    };
    let no_id = || "\"/userId\" is missing or not a JSON string or integer".to_owned();
    let no_message = || "\"Message\" is missing or not a JSON string".to_owned();
    let attacks = [
        (r#"{"type":"user-withdrawn","userId":"u1","userId":"u2"}"#.to_owned(), format!("{json_fault}{twice}53")),
        (r#"{"type":"user-withdrawn","userId":"u1","\u0075serId":"u2"}"#.to_owned(), format!("{json_fault}{twice}58")),
        (r#"{"type":"user-withdrawn","type":"x","userId":"u1"}"#.to_owned(), format!("{json_fault}{twice}35")),
        (r#"{"type":"user-withdrawn","userId":"u1","x":{"a":1,"a":2}}"#.to_owned(), format!("{json_fault}{twice}56")),
        (
            format!(r#"{{"type":"user-withdrawn","userId":"u1","x":{deep}}}"#),
            format!("{json_fault}recursion limit exceeded at line 1 column 170"),
        ),
        (
            by_sns(&format!(r#"{{"type":"user-withdrawn","userId":"u1","x":{deep}}}"#)),
            format!("{json_fault}recursion limit exceeded at line 1 column 170"),
        ),
        ("[".repeat(1_000_000), format!("{json_fault}recursion limit exceeded at line 1 column 128")),
        (
            format!(r#"{{"type":"user-withdrawn","userId":"u1","x":[{}0]}}"#, r#"{"":0},"#.repeat(100_000)),
            format!("{json_fault}it has more than 10000 values at line 1 column 35030"),
        ),
        (by_sns(r#"{"type":"user-withdrawn","userId":"u1","userId":"u2"}"#), format!("{json_fault}{twice}53")),
        // One envelope of each kind, SNS's outside; and only the function itself sends
        // continuations.
        (by_sns(&by_sns(&with_id(&json!("u1")))), no_type()),
        (by_eventbridge(&json!({"Type": "Notification", "Message": with_id(&json!("u1"))})), no_id()),
        (by_eventbridge(&json!({"detail-type": "user-withdrawn", "detail": {"userId": "u1"}})), no_id()),
        (by_sns(&continued(&json!("u1"))), no_type()),
        (by_sns("u1"), format!("{json_fault}expected value at line 1 column 1")),
        (r#"{"Type":"Notification","Message":{"type":"user-withdrawn","userId":"u1"}}"#.to_owned(), no_message()),
        (
            r#"{"type":"user-withdrawn","userId":"u1"} "u2""#.to_owned(),
            format!("{json_fault}trailing characters at line 1 column 41"),
        ),
        (
            "\u{feff}{\"type\":\"user-withdrawn\",\"userId\":\"u1\"}".to_owned(),
            format!("{json_fault}expected value at line 1 column 1"),
        ),
        (r#"["user-withdrawn","u1"]"#.to_owned(), "the body is not a JSON object".to_owned()),
        ("null".to_owned(), "the body is not a JSON object".to_owned()),
        (r#"{"type":"USER-WITHDRAWN","userId":"u1"}"#.to_owned(), no_type()),
        (
            r#"{"type":"user-withdrawn","userId":"u1","requestId":"../x"}"#.to_owned(),
            "the request id is not 1 to 128 of A-Z a-z 0-9 . _ : -".to_owned(),
        ),
        (
            r#"{"type":"erasure-continuation","version":1,"erasureId":"../x","userId":"u1","hop":1}"#.to_owned(),
            "the request id is not 1 to 128 of A-Z a-z 0-9 . _ : -".to_owned(),
        ),
        (
            r#"{"type":"erasure-continuation","version":1,"erasureId":"x","userId":"u1/","hop":1}"#.to_owned(),
            "\"/userId\": the id has a character at byte 2 that is none of A-Z a-z 0-9 - _ . : @ + =, and not in \
             USER_ID_EXTRA_CHARACTERS"
                .to_owned(),
        ),
    ];
    for (body, expected) in attacks {
        assert_eq!(rejection(&body).await, Some(expected), "{body:.100}");
    }
}

/// A continuation says where it is, never where to erase: what it names is only ever compared with
/// the settings.
#[tokio::test(start_paused = true)]
async fn forged_checkpoint_reaches_no_other_prefix() {
    for checkpoint in [
        json!({"target": "s3://photos/", "kind": "objects", "token": "0"}),
        json!({"target": "s3://photos/{user_id}/../u2/", "kind": "objects"}),
        json!({"target": "s3://other/{user_id}/", "kind": "versions", "token": "u2/%26null"}),
        json!({"round": 4_294_967_295_u32}),
    ] {
        let fixture = Fixture::new(Store::of(&USERS), &[]);
        let body = json!({"type": "erasure-continuation", "version": 1, "erasureId": "e", "userId": "u1", "hop": 1,
            "bucket": "other", "prefix": "", "bookmark": checkpoint, "tally": {"targets": {"s3://other/x": {"objects": 7}}}});
        let failed =
            fixture.invoke(TIMEOUT, vec![record("m", &body.to_string())]).await.expect("an answer");
        let is_listed =
            |(_, event): &(_, Event)| matches!(event, Event::Listed(prefix) if prefix == "u1/");
        assert!(
            locked(&fixture.store.log)
                .iter()
                .filter(|(_, event)| matches!(event, Event::Listed(_)))
                .all(is_listed)
        );
        for (user, objects) in USERS.into_iter().filter(|(user, _)| *user != "u1") {
            assert_eq!(fixture.store.left(user), objects as usize, "{user} after {checkpoint}");
        }
        assert!(failed.is_empty() || checkpoint["round"].is_number(), "{checkpoint}");
    }
}

/// What 100 targets of the longest names leave behind, when the store has a new code of 1 MB for
/// each of a thousand keys, and when its codes are as long as they may be.
#[tokio::test]
async fn largest_receipt_and_continuation_are_bounded() {
    // Quotes, because JSON makes two characters of each.
    let longest = |number: usize| {
        format!("s3://{number:0>63}/{}/{{user_id}}/", "\"".repeat(896 - "/{user_id}/".len()))
    };
    let targets: Vec<_> = (0..MAX_TARGETS).map(longest).collect();
    assert!(
        Targets::parse(&[&targets[..], &[longest(MAX_TARGETS)]].concat().join(",")).is_err(),
        "one target more"
    );
    let most = Counts {
        kept_newer: u64::MAX,
        bytes: u64::MAX,
        uploads: u64::MAX,
        ..Counts::of(Kind::Objects, u64::MAX, 0)
    };
    let most = Counts { versions: u64::MAX, delete_markers: u64::MAX, ..most };
    let mut left =
        Remaining { kept_newer: u64::MAX, deferred_markers: u64::MAX, ..Remaining::default() };
    for number in 0..1_000 {
        left.refused.add(&format!("{number:C>64}"), u64::MAX / 10_000);
        left.refused.add(&format!("{number}{}", "C".repeat(1_000_000)), u64::MAX / 10_000);
    }
    for hold in [LockKind::Compliance, LockKind::Governance, LockKind::LegalHold] {
        left.retain(Retention { hold, until: Some(OffsetDateTime::UNIX_EPOCH) });
    }

    let body = json!({"type": "user-withdrawn", "userId": "u".repeat(128), "requestId": "r".repeat(128),
        "withdrawnAt": "2026-01-31T12:00:00.123456789+23:59", "eraseBefore": "2026-01-31T12:00:00.123456789+23:59"});
    let fixture = Fixture::new(Store::default(), &[("ERASE_TARGETS", &targets.join(","))]);
    let config = fixture.config();
    let mut erasure = Erasure::parse(&body.to_string(), None, &config).expect("a withdrawal");
    (erasure.requested_at, erasure.started_at, erasure.sweep_at) =
        (erasure.withdrawn_at, erasure.withdrawn_at, erasure.withdrawn_at);
    // A token that JSON makes six times as long.
    let token = Some("\u{1}".repeat(16_384));
    erasure.checkpoint = Checkpoint {
        round: u32::MAX,
        setting: Some(config.targets.mark().to_owned()),
        target: targets.last().cloned(),
        kind: Some(Kind::DeleteMarkers),
        token,
        ranges: Vec::new(),
        has_left_some: true,
    };
    let of_targets = targets.iter().map(|target| (target.clone(), most)).collect();
    erasure.totals = Totals {
        deleted: most,
        targets: of_targets,
        requests: u64::MAX,
        throttles: u64::MAX,
        retries: u64::MAX,
    };
    erasure.is_continuation = true;

    let continuation = erasure.continuation();
    assert!((262_144..524_288).contains(&continuation.len()), "{} bytes", continuation.len());
    assert_eq!(Erasure::parse(&continuation, None, &config).as_ref(), Ok(&erasure));
    let left = targets.iter().map(|target| (target.clone(), left.clone())).collect();
    let round = Round { left, ..Round::default() };
    let reason = IncompleteReason::NotDeletable(round.left.clone()).to_string();
    let verdict = ReceiptKind::Incomplete { delivery: u32::MAX, reason };
    let user = config.hash_key.hash(&erasure.user);
    let now = OffsetDateTime::UNIX_EPOCH;
    let receipt = receipt::document(&verdict, &erasure, &user, (&config.targets, &round), now);
    assert!((524_288..1_048_576).contains(&receipt.len()), "{} bytes", receipt.len());
}

/// The function sends no continuation that is larger.
#[tokio::test(start_paused = true)]
async fn oversized_continuation_is_rejected() {
    let with_token = |bytes: usize| {
        let checkpoint = json!({"round": 1, "target": "s3://photos/{user_id}/", "kind": "objects", "token": "t".repeat(bytes)});
        json!({"type": "erasure-continuation", "version": 1, "erasureId": "e", "userId": "u1", "hop": 1, "bookmark": checkpoint})
            .to_string()
    };
    let rest = with_token(0).len();
    assert_eq!(
        rejection(&with_token(524_288 - rest)).await,
        None,
        "the store refuses the token, and it begins again"
    );
    let too_large = "the body has 524289 bytes, expected at most 524288".to_owned();
    assert_eq!(rejection(&with_token(524_289 - rest)).await, Some(too_large));
}
