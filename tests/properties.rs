//! What holds for every input: ids, prefixes, targets, messages.

use std::collections::BTreeSet;
use std::time::Duration;

use erase_user_files::config::Config;
use erase_user_files::erasure::checkpoint::Checkpoint;
use erase_user_files::message::erasure::{ChainLimit, Erasure, MessageError};
use erase_user_files::target::{HashKey, ParseFolderError, S3Folder, Target, Targets, UserId};
use proptest::prelude::*;
use serde_json::json;
use time::OffsetDateTime;

fn config(targets: &str) -> Config {
    let lookup = |name: &str| match name {
        "ERASE_TARGETS" => Some(targets.to_owned()),
        "CONTINUATION_QUEUE_URL" => {
            Some("https://sqs.eu-central-1.amazonaws.com/123456789012/erase".to_owned())
        }
        _ => None,
    };
    Config::from_vars(lookup).expect("right settings")
}

fn parse(body: &str) -> Result<Erasure, MessageError> {
    Erasure::parse(body, Some("message-1"), &config("s3://photos/{user_id}/"))
}

proptest! {
    #[test]
    fn deduplication_id_fits_and_is_unique(
        id in "[A-Za-z0-9._:-]{1,128}",
        hop in 0_u32..u32::MAX,
    ) {
        let body = json!({"type": "erasure-continuation", "version": 1, "erasureId": id, "userId": "u1", "hop": hop});
        let erasure = parse(&body.to_string()).unwrap();
        let at = |seconds| Some(OffsetDateTime::UNIX_EPOCH + Duration::from_secs(seconds));
        let ids: BTreeSet<String> = [
            erasure.clone(),
            Erasure { hop: hop + 1, ..erasure.clone() },
            Erasure { user: UserId::parse("u2").unwrap(), ..erasure.clone() },
            Erasure { is_dry_run: true, ..erasure.clone() },
            Erasure { sweep_at: at(1), ..erasure.clone() },
            Erasure { sweep_at: at(2), ..erasure.clone() },
            Erasure { requested_at: at(1), ..erasure.clone() },
            Erasure { requested_at: at(2), ..erasure.clone() },
        ]
        .map(|erasure| erasure.deduplication_id())
        .into();
        prop_assert_eq!(ids.len(), 8);
        prop_assert!(ids.iter().all(|id| id.len() <= 128));
        // What a hop has done is not in it: each delivery of a message sends the same.
        let mut worked = erasure.clone();
        (worked.idle_hops, worked.started_at, worked.checkpoint.round) = (2, at(3), 7);
        prop_assert_eq!(worked.deduplication_id(), erasure.deduplication_id());
        if id.len() < 100 {
            let begins_with_id = |text: &String| text.starts_with(&format!("{id}:"));
            prop_assert!(ids.iter().all(begins_with_id));
        }
    }
}

#[test]
fn malformed_fields_are_rejected_with_reason() {
    let withdrawal =
        |rest: &str| format!(r#"{{"type":"user-withdrawn","userId":"secret",{rest}}}"#);
    let continuation = |version, rest: &str| {
        format!(r#"{{"type":"erasure-continuation","version":{version},"userId":"secret",{rest}}}"#)
    };
    for (body, expected) in [
        (withdrawal(r#""requestId":"a b""#), "the request id is not 1 to 128 of"),
        (withdrawal(r#""requestId":7"#), r#""requestId" is missing or not a JSON string"#),
        (withdrawal(r#""eraseBefore":"yesterday""#), r#""eraseBefore" is not a time"#),
        (withdrawal(r#""withdrawnAt":"2026-13-01T00:00:00Z""#), r#""withdrawnAt" is not a time"#),
        (r#"{"type":"user-withdrawn","userId":"secret\ud800"}"#.to_owned(), "not valid JSON"),
        (r#"{"userId":"secret"}"#.to_owned(), r#""type" is not "user-withdrawn""#),
        (String::new(), "the body is not valid JSON"),
        (continuation(2, r#""erasureId":"secret","hop":1"#), "format version 2"),
        (continuation(1, r#""erasureId":"e","hop":"1""#), "cannot be read at line 1"),
        (continuation(1, r#""hop":1"#), "cannot be read at line 1"),
        (continuation(1, r#""erasureId":"","hop":1"#), "the request id is not"),
    ] {
        let error = parse(&body).expect_err(&body).to_string();
        assert!(error.contains(expected), "{body}\n  is: {error}\n  expected: {expected}");
        assert!(!error.contains("secret"), "{error}");
    }
}

#[test]
fn foreign_fields_may_be_as_large_as_the_queue_takes() {
    let note = "x".repeat(1_000_000);
    let padded = format!(r#"{{"type":"user-withdrawn","userId":"u1","note":"{note}"}}"#);
    assert_eq!(parse(&padded).unwrap().user, UserId::parse("u1").unwrap());
    let padded = padded + &" ".repeat(1_048_576 - 1_000_000);
    assert_eq!(parse(&padded), Err(MessageError::Size { bytes: padded.len(), max: 1_048_576 }));
}

#[test]
fn erasure_id_is_request_id_or_message_id() {
    let body = r#"{"type":"user-withdrawn","userId":"u1","requestId":"r:1"}"#;
    assert_eq!(parse(body).unwrap().id.as_str(), "r:1");
    let body =
        r#" {"userId":"u1","type":"user-withdrawn","bucket":"not-yours","unknown":{"a":[1]}} "#;
    let erasure = parse(body).unwrap();
    assert_eq!((erasure.id.as_str(), erasure.hop), ("message-1", 0));
    let all = config("s3://photos/{user_id}/");
    let unnamed = Erasure::parse(body, None, &all).unwrap();
    assert_eq!(
        unnamed.id,
        Erasure::parse(body, None, &all).unwrap().id,
        "the same again at a redelivery"
    );
}

#[test]
fn first_release_continuation_parses() {
    let body = r#"{"type":"erasure-continuation","version":1,"erasureId":"e1","userId":"u1","hop":3,"new":true}"#;
    let erasure = parse(body).unwrap();
    assert_eq!((erasure.hop, erasure.idle_hops), (3, 0));
    assert_eq!(erasure.checkpoint, Checkpoint::default());
    assert!(erasure.checkpoint.is_at_start_of_round());
    assert_eq!(erasure.checkpoint.round, 1);
}

#[test]
fn redacted_id_never_contains_the_user_id() {
    for (user, request, name) in [
        ("u-123", "withdraw:u-123:7", "withdraw:{user}:7"),
        ("u-123", "u-123", "{user}"),
        ("u-123", "u-123.u-123:u-1234", "{user}.{user}:u-1234"),
        ("7", "7:057f36b4-87a7-7", "{user}:057f36b4-87a7-{user}"),
        ("7f36b4-8", "057f36b4-87a7", "05{user}7a7"),
    ] {
        let body = json!({"type": "user-withdrawn", "userId": user, "requestId": request});
        assert_eq!(parse(&body.to_string()).unwrap().redacted_id(), name);
    }
}

#[test]
fn debug_output_names_no_user() {
    let user = UserId::parse("u-123").unwrap();
    let prefix = Target::parse("s3://photos/users/{user_id}/").unwrap().prefix(&user);
    let key = prefix.claim("users/u-123/a.jpg".to_owned()).unwrap();
    let printed = [format!("{user:?}"), format!("{prefix:?}"), format!("{key:?}")];
    assert_eq!(printed, ["UserId(..)", "Prefix(s3://photos/...)", "Key(..)"]);
}

#[test]
fn bucket_names_follow_the_rules_of_s3() {
    let (longest, longer) = ("b".repeat(63), "b".repeat(64));
    for name in ["abc", "0-1", "my.bucket-1", &longest] {
        assert!(Target::parse(&format!("s3://{name}/{{user_id}}/")).is_ok(), "{name}");
    }
    for name in [
        "",
        "ab",
        "my_bucket",
        "Bucket",
        "b\u{e9}b",
        "a..b",
        "-ab",
        "ab-",
        ".ab",
        "ab.",
        "a b",
        &longer,
    ] {
        assert!(Target::parse(&format!("s3://{name}/{{user_id}}/")).is_err(), "{name}");
    }
}

#[test]
fn receipt_name_fits_behind_the_longest_prefix() {
    let folder = |bytes: usize| S3Folder::parse(&format!("s3://audit/{}/", "f".repeat(bytes - 1)));
    let longest = folder(512).unwrap();
    assert_eq!((longest.bucket(), longest.key("r").len()), ("audit", 513));
    assert_eq!(folder(513), Err(ParseFolderError::Length));
}

#[test]
fn hash_key_is_set_and_not_printed() {
    let (key, none) = (HashKey::new("secret".to_owned()), HashKey::default());
    assert!(key.is_set() && !none.is_set() && !HashKey::new(String::new()).is_set());
    assert_eq!(format!("{key:?}"), "HashKey(..)");
}

#[test]
fn hop_limit_is_ten_thousand() {
    let after = |hop: u32| {
        let body = json!({"type": "erasure-continuation", "version": 1, "erasureId": "e1", "userId": "u1", "hop": hop});
        parse(&body.to_string()).unwrap().next_hop_unchecked().map(|next| next.hop)
    };
    assert_eq!(after(9_999), Ok(10_000));
    assert_eq!(after(10_000), Err(ChainLimit::Hops));
}

#[test]
fn receipts_prefix_never_overlaps_a_target() {
    for (receipts, targets, is_apart) in [
        ("s3://receipts/", "s3://photos/{user_id}/", true),
        ("s3://photos/receipts/", "s3://photos/users/{user_id}/", true),
        ("s3://photos/receipts/", "s3://photos/receipts-of/{user_id}/", true),
        ("s3://photos/a/", "s3://photos/{user_id}/files/more/", true),
        ("s3://photos/a/", "s3://photos/a/{user_id}/files/", true),
        // A user called like the folder, or like an erasure.
        ("s3://photos/receipts/", "s3://photos/{user_id}/", false),
        ("s3://photos/", "s3://photos/{user_id}/", false),
        ("s3://photos/receipts/", "s3://other/{user_id}/,s3://photos/receipts/{user_id}/", false),
        ("s3://photos/a/b/c/", "s3://photos/a/{user_id}/c/", false),
        ("s3://photos/a/files/", "s3://photos/{user_id}/files/", false),
        ("s3://photos/a/", "s3://photos/{user_id}/files/", false),
    ] {
        let lookup = |name: &str| match name {
            "ERASE_TARGETS" => Some(targets.to_owned()),
            "RECEIPTS_URI" => Some(receipts.to_owned()),
            "CONTINUATION_QUEUE_URL" => {
                Some("https://sqs.eu-central-1.amazonaws.com/1/erase".to_owned())
            }
            _ => None,
        };
        let config = Config::from_vars(lookup);
        assert_eq!(config.is_ok(), is_apart, "{receipts} beside {targets}");
        if let Err(error) = config {
            assert!(error.to_string().contains("outside of every target"), "{error}");
        }
    }
}

#[test]
fn user_id_of_another_targets_folder_is_rejected() {
    for (list, refused, taken) in [
        ("s3://data/{user_id}/,s3://data/users/{user_id}/", "users", "u1"),
        ("s3://data/a/{user_id}/,s3://data/a/users/{user_id}/", "users", "user"),
        ("s3://data/a/{user_id}/,s3://data/{user_id}/b/", "b", "a"),
        ("s3://data/x/{user_id}/,s3://data/x/y/{user_id}/z/", "y", "x"),
        // A part of one user's folder is enough: users/docs/2024/ belongs to the user docs.
        ("s3://data/{user_id}/docs/2024/,s3://data/users/{user_id}/", "users", "u1"),
    ] {
        let body = |user: &str| json!({"type": "user-withdrawn", "userId": user}).to_string();
        let targets = config(list);
        assert_eq!(
            Erasure::parse(&body(refused), None, &targets),
            Err(MessageError::ReservedUser),
            "{list}"
        );
        assert!(Erasure::parse(&body("somebody"), None, &targets).is_ok(), "{list}");
        assert_eq!(Erasure::parse(&body(taken), None, &targets).is_ok(), taken != "a", "{list}");
    }
    // Another bucket, or the user's own folder twice: nobody else is touched.
    for list in [
        "s3://data/{user_id}/,s3://other/users/{user_id}/",
        "s3://data/a/{user_id}/,s3://data/c/users/{user_id}/",
        "s3://data/{user_id}/,s3://data/{user_id}/users/",
    ] {
        assert!(
            Erasure::parse(r#"{"type":"user-withdrawn","userId":"users"}"#, None, &config(list))
                .is_ok(),
            "{list}"
        );
    }
}

#[test]
fn invalid_targets_are_rejected_with_reason() {
    for (text, reason) in [
        ("", "expected s3://BUCKET/PREFIX"),
        ("photos/{user_id}/", "expected s3://BUCKET/PREFIX"),
        ("s3://photos", "expected {user_id} exactly once"),
        ("s3://photos/", "expected {user_id} exactly once"),
        ("s3://photos/{user_id}", "expected {user_id} exactly once"),
        ("s3://photos/users-{user_id}/", "expected {user_id} exactly once"),
        ("s3://photos/{user_id}/{user_id}/", "expected {user_id} exactly once"),
        ("s3://photos/{userid}/", "an unknown placeholder"),
        ("s3://photos/{user_id}/avatar", "expected a prefix that ends in /"),
        ("s3://photos//{user_id}/", "an empty segment"),
        ("s3://photos/{user_id}//", "an empty segment"),
        ("s3://photos/../{user_id}/", "a segment . or .."),
        ("s3://photos/{provider}/{user_id}/", "an unknown placeholder"),
        ("s3://photos/{/{user_id}/", "a brace"),
        ("s3://photos/{}/{user_id}/", "a brace"),
        ("s3://photos/raw/*/{user_id}/", "S3 knows no wildcards"),
        ("s3://photos/{user_id}/a?/", "S3 knows no wildcards"),
        ("s3://arn:aws:s3:eu-west-1:123456789012:accesspoint/photos/{user_id}/", "access points"),
        ("arn:aws:s3:eu-west-1:123456789012:accesspoint/photos", "access points"),
        ("s3://photos-abcdefgh-s3alias/{user_id}/", "access points"),
        ("s3://photos-abcdefgh--ol-s3/{user_id}/", "access points"),
        ("s3://abcdefgh.mrap/{user_id}/", "access points"),
        ("s3:///{user_id}/", "the bucket's name"),
        ("s3://{user_id}/{user_id}/", "the bucket's name"),
        ("s3://Photos/{user_id}/", "the bucket's name"),
        ("s3://photos--use1-az4--x-s3/{user_id}/", "directory buckets"),
    ] {
        let error = Target::parse(text).expect_err(text).to_string();
        assert!(error.contains(reason), "{text}: {error}");
    }
    let faults =
        Targets::parse("s3://photos/{user_id}/,nonsense, s3://photos/{user_id}/").unwrap_err();
    assert_eq!(faults.len(), 2, "{faults:?}");
    assert!(faults[0].contains("nonsense") && faults[1].contains("listed twice"), "{faults:?}");
}
