//! What holds for every input: ids, prefixes, targets, messages.

use std::collections::BTreeSet;
use std::time::Duration;

use erase_user_files::config::Config;
use erase_user_files::erasure::checkpoint::Checkpoint;
use erase_user_files::message::erasure::{ChainLimit, Erasure, MessageError};
use erase_user_files::target::{HashKey, ParseFolderError, S3Folder, Target, Targets, User};
use proptest::prelude::*;
use serde_json::json;
use time::OffsetDateTime;

fn config(targets: &str) -> Config {
    with(&[("ERASE_TARGETS", targets)]).expect("right settings")
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
            Erasure { user: User::parse("u2").unwrap(), ..erasure.clone() },
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
        (continuation(3, r#""erasureId":"secret","hop":1"#), "format version 3"),
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
    assert_eq!(parse(&padded).unwrap().user, User::parse("u1").unwrap());
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
    let user = User::parse("u-123").unwrap();
    let prefix = Target::parse("s3://photos/users/{user_id}/").unwrap().prefix(&user);
    let key = prefix.claim("users/u-123/a.jpg".to_owned()).unwrap();
    let printed = [format!("{user:?}"), format!("{prefix:?}"), format!("{key:?}")];
    assert_eq!(printed, ["User(..)", "Prefix(s3://photos/...)", "Key(..)"]);
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
        let config = with(&[("ERASE_TARGETS", targets), ("RECEIPTS_URI", receipts)]);
        assert_eq!(config.is_ok(), is_apart, "{receipts} beside {targets}");
        if let Err(error) = config {
            assert!(error.contains("outside of every target"), "{error}");
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
    // Another bucket, or the user's own folder twice: no other user's key is touched.
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
        ("s3://photos/a{user_id}{user_id}b/", "two placeholders"),
        ("s3://photos/{user_id}-{user_id}/", "two placeholders"),
        ("s3://photos/user$_{user_id}/", "has a $"),
        ("s3://photos/{user_id:md5}/", "an unknown placeholder"),
        ("s3://photos/{user_id:}/", "an unknown placeholder"),
        ("s3://photos/{user_id}}/", "a brace"),
        ("s3://photos/}{user_id}/", "a brace"),
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

/// A configuration with these settings, and the receipts in a bucket of their own.
fn with(settings: &[(&str, &str)]) -> Result<Config, String> {
    let queue = ("CONTINUATION_QUEUE_URL", "https://sqs.eu-central-1.amazonaws.com/1/erase");
    let lookup = |name: &str| {
        let mut all = settings.iter().chain([&queue]);
        all.find(|(setting, _)| *setting == name).map(|(_, value)| (*value).to_owned())
    };
    Config::from_vars(lookup).map_err(|error| error.to_string())
}

fn tenants(targets: &str) -> Result<Config, String> {
    with(&[("SCOPE_IDS", "tenant_id=/tenantId"), ("ERASE_TARGETS", targets)])
}

#[test]
fn scope_is_only_before_the_user_id_and_in_every_target() {
    for targets in [
        "s3://data/{tenant_id}/{user_id}/",
        "s3://data/t/{tenant_id}/u/{user_id}/,s3://other/org_{tenant_id}/user_{user_id}/",
        "s3://data/{tenant_id:urlencode}/{user_id:urlencode}/",
    ] {
        assert!(tenants(targets).is_ok(), "{targets}: {:?}", tenants(targets));
    }
    for (targets, reason) in [
        ("s3://data/{tenant_id}/", "expected {user_id} exactly once"),
        ("s3://data/{user_id}/{tenant_id}/", "before the user id"),
        ("s3://data/{tenant_id}/{tenant_id}/{user_id}/", "exactly once"),
        ("s3://data/{tenant_id}-{user_id}/", "two placeholders"),
        ("s3://data/{org_id}/{user_id}/", "unknown placeholder"),
        // The same user id in two tenants would be one user there.
        ("s3://data/{user_id}/", "every scope"),
        ("s3://data/{tenant_id}/{user_id}/,s3://other/{user_id}/", "every scope"),
    ] {
        let error = tenants(targets).expect_err(targets);
        assert!(error.contains(reason), "{targets}: {error}");
    }
}

#[test]
fn same_user_id_in_another_scope_is_another_user() {
    let config = tenants("s3://data/{tenant_id}/{user_id}/").unwrap();
    let read = |body: serde_json::Value| Erasure::parse(&body.to_string(), None, &config);
    let of = |tenant: &str| {
        read(json!({"type": "user-withdrawn", "userId": "12", "tenantId": tenant})).unwrap()
    };
    let (a, b) = (of("a"), of("b"));
    let prefix =
        |erasure: &Erasure| config.targets.as_slice()[0].prefix(&erasure.user).as_str().to_owned();
    assert_eq!((prefix(&a).as_str(), prefix(&b).as_str()), ("a/12/", "b/12/"));
    let key = HashKey::new("key".to_owned());
    assert_ne!(key.hash(&a.user), key.hash(&b.user));
    assert_eq!(a.user.full_name(), "tenant_id=a/12");
    assert_ne!(a.deduplication_id(), b.deduplication_id());
    for body in [
        json!({"type": "user-withdrawn", "userId": "12"}),
        json!({"type": "user-withdrawn", "userId": "12", "tenantId": null}),
        json!({"type": "user-withdrawn", "userId": "12", "tenantId": ""}),
        json!({"type": "user-withdrawn", "userId": "12", "tenantId": "a/b"}),
        json!({"type": "user-withdrawn", "userId": "12", "tenantId": ["a"]}),
    ] {
        let error = read(body.clone()).expect_err(&body.to_string()).to_string();
        assert!(error.starts_with("\"/tenantId\""), "{error}");
    }
    let named = json!({"type": "user-withdrawn", "userId": "12", "tenantId": "acme-corp", "requestId": "acme-corp:12:x"});
    assert_eq!(read(named).unwrap().redacted_id(), "{tenant_id}:{user}:x");
}

/// How the release before this one reads a continuation: it returns a newer version to the queue.
#[test]
fn continuation_with_scopes_has_a_version_that_an_older_release_returns() {
    let version = |settings: &[(&str, &str)], body: serde_json::Value| {
        let config = with(settings).unwrap();
        let erasure = Erasure::parse(&body.to_string(), None, &config).unwrap();
        let text = Erasure { hop: 1, ..erasure.clone() }.continuation();
        assert_eq!(Erasure::parse(&text, None, &config).unwrap().user, erasure.user);
        let sent: serde_json::Value = serde_json::from_str(&text).unwrap();
        (sent["version"].clone(), sent["scopes"].clone())
    };
    let plain = ("ERASE_TARGETS", "s3://data/{user_id}/");
    let extra = ("USER_ID_EXTRA_CHARACTERS", "|");
    let message = |id: &str| json!({"type": "user-withdrawn", "userId": id, "tenantId": "a"});
    assert_eq!(version(&[plain], message("u1")), (json!(1), json!(null)));
    assert_eq!(version(&[plain, extra], message("u1")), (json!(1), json!(null)));
    assert_eq!(version(&[plain, extra], message("auth0|1")), (json!(2), json!(null)));
    let scoped = [
        ("SCOPE_IDS", "tenant_id=/tenantId"),
        ("ERASE_TARGETS", "s3://data/{tenant_id}/{user_id}/"),
    ];
    assert_eq!(version(&scoped, message("u1")), (json!(2), json!({"tenant_id": "a"})));
}

#[test]
fn continuation_with_other_scopes_is_rejected() {
    let continuation = |scopes: serde_json::Value| {
        json!({"type": "erasure-continuation", "version": 2, "erasureId": "e", "userId": "12", "scopes": scopes, "hop": 1})
            .to_string()
    };
    let plain = config("s3://data/{user_id}/");
    let scoped = tenants("s3://data/{tenant_id}/{user_id}/").unwrap();
    let read = |scopes, config| Erasure::parse(&continuation(scopes), None, config).map(|_| ());
    assert_eq!(read(json!({"tenant_id": "a"}), &scoped), Ok(()));
    assert_eq!(read(json!({}), &plain), Ok(()));
    for (scopes, config) in [
        (json!({"tenant_id": "a"}), &plain),
        (json!({}), &scoped),
        (json!({"org_id": "a"}), &scoped),
        (json!({"tenant_id": "a", "org_id": "a"}), &scoped),
    ] {
        assert_eq!(read(scopes, config), Err(MessageError::Scopes));
    }
    assert!(read(json!({"tenant_id": "a/b"}), &scoped).is_err());
}

#[test]
fn user_who_could_own_keys_of_another_is_rejected() {
    for (settings, rejected, taken) in [
        (
            &[("ERASE_TARGETS", "s3://data/{user_id}/,s3://data/user_{user_id}/")][..],
            &["user_12", "user_user_12"][..],
            &["12", "user_", "u"][..],
        ),
        (
            &[("ERASE_TARGETS", "s3://data/{user_id}/,s3://data/{user_id}-files/")],
            &["a-files"],
            &["a", "-files", "a-file"],
        ),
        (
            &[("ERASE_TARGETS", "s3://data/x-{user_id}/,s3://data/{user_id}-y/")],
            &["1-y", "x-1", "x", "y"],
            &["1", "x1", "z"],
        ),
        (
            &[("ERASE_TARGETS", "s3://data/{user_id}/,s3://data/{user_id:urlencode}/")],
            &[],
            &["12", "a@b", "a:b"],
        ),
        (
            &[
                ("ERASE_TARGETS", "s3://data/{user_id}/"),
                ("ERASE_KEYS", "s3://data/avatars/{user_id}"),
            ],
            &["avatars"],
            &["12", "a"],
        ),
        (
            &[
                ("ERASE_TARGETS", "s3://data/user_{user_id}/"),
                ("ERASE_KEYS", "s3://data/{user_id}"),
            ],
            &[],
            &["user_1", "1"],
        ),
        (
            &[("ERASE_KEYS", "s3://data/{user_id},s3://data/user_{user_id}")],
            &["user_1"],
            &["1", "user"],
        ),
        (
            &[
                ("ERASE_KEYS", "s3://data/{user_id}.*,s3://data/a{user_id}.jpg"),
                ("USER_ID_CHARACTERS", "a-z0-9"),
            ],
            &["a12", "aa"],
            &["12", "a", "b1"],
        ),
    ] {
        let config = with(settings).unwrap();
        let read = |id: &&str| {
            Erasure::parse(
                &json!({"type": "user-withdrawn", "userId": id}).to_string(),
                None,
                &config,
            )
        };
        for id in rejected {
            assert_eq!(read(id), Err(MessageError::ReservedUser), "{id} under {settings:?}");
        }
        for id in taken {
            assert!(read(id).is_ok(), "{id} under {settings:?}");
        }
    }
}

#[test]
fn tenant_whose_folder_is_fixed_text_elsewhere_is_rejected() {
    let config =
        tenants("s3://data/{tenant_id}/{user_id}/,s3://data/users/{tenant_id}/{user_id}/").unwrap();
    let read = |tenant: &str, id: &str| {
        let body = json!({"type": "user-withdrawn", "userId": id, "tenantId": tenant});
        Erasure::parse(&body.to_string(), None, &config).map(|_| ())
    };
    assert_eq!(read("users", "a"), Err(MessageError::ReservedUser));
    assert_eq!((read("a", "12"), read("a", "users")), (Ok(()), Ok(())));
}

#[test]
fn files_named_after_the_user_need_a_known_end() {
    let digits = ("USER_ID_CHARACTERS", "0-9");
    let uuids = ("USER_ID_LENGTH", "36");
    for (key, settings) in [
        ("s3://data/avatars/{user_id}", &[][..]),
        ("s3://data/avatars/{user_id}.jpg", &[]),
        ("s3://data/avatars/avatar_{user_id:urlencode}.png", &[]),
        ("s3://data/users/{user_id}/avatar.jpg", &[]),
        ("s3://data/{user_id}", &[]),
        ("s3://data/avatars/{user_id}.*", &[digits]),
        ("s3://data/avatars/profile-{user_id}-*", &[digits]),
        ("s3://data/avatars/{user_id}_avatar.*", &[("USER_ID_CHARACTERS", "A-Za-z0-9_-")]),
        ("s3://data/avatars/{user_id}-*", &[uuids]),
        ("s3://data/avatars/{user_id}.*", &[uuids]),
    ] {
        let settings = [&[("ERASE_KEYS", key)], settings].concat();
        assert!(with(&settings).is_ok(), "{settings:?}: {:?}", with(&settings));
    }
    for (key, settings, reason) in [
        ("s3://data/avatars/{user_id}.*", &[][..], "set USER_ID_CHARACTERS"),
        (
            "s3://data/avatars/{user_id}-*",
            &[("USER_ID_CHARACTERS", "0-9a-f-")],
            "set USER_ID_CHARACTERS",
        ),
        (
            "s3://data/avatars/{user_id}_*",
            &[("USER_ID_CHARACTERS", "A-Za-z0-9_")],
            "or USER_ID_LENGTH",
        ),
        ("s3://data/avatars/{user_id}*", &[digits], "expected * only as the last character"),
        ("s3://data/avatars/{user_id}x*", &[digits], "expected * only as the last character"),
        ("s3://data/avatars/*-{user_id}.jpg", &[digits], "expected * only as the last character"),
        ("s3://data/avatars/{user_id}.*.*", &[digits], "expected * only as the last character"),
        ("s3://data/avatars/{user_id}.?", &[digits], "expected * only as the last character"),
        ("s3://data/{user_id}/photo.*", &[digits], "expected * only as the last character"),
        ("s3://data/{user_id}/*", &[digits], "expected a key, which does not end in /"),
        ("s3://data/avatars/{user_id}/", &[digits], "entries of ERASE_TARGETS"),
        ("s3://data/avatars/logo.png", &[digits], "expected {user_id} exactly once"),
        ("s3://data/avatars//{user_id}", &[digits], "an empty segment"),
        ("s3://bbb-x-s3alias/{user_id}", &[digits], "access points"),
        ("s3://bucket--use1-az4--x-s3/{user_id}", &[digits], "directory buckets"),
    ] {
        let settings = [&[("ERASE_KEYS", key)], settings].concat();
        let error = with(&settings).expect_err(key);
        assert!(error.contains("ERASE_KEYS is ") && error.contains(reason), "{key}: {error}");
    }
    let error = with(&[("ERASE_TARGETS", "s3://data/avatars/{user_id}.*"), digits]).unwrap_err();
    assert!(error.contains("only an entry of ERASE_KEYS may end in one *"), "{error}");
    let error = with(&[]).unwrap_err();
    assert!(error.contains("ERASE_TARGETS is not set"), "{error}");
}

#[test]
fn receipts_are_outside_of_patterns_too() {
    let digits = ("USER_ID_CHARACTERS", "0-9");
    for (settings, is_apart) in [
        (
            &[
                ("ERASE_TARGETS", "s3://data/user_{user_id}/"),
                ("RECEIPTS_URI", "s3://data/user_receipts/"),
            ][..],
            false,
        ),
        (
            &[
                ("ERASE_TARGETS", "s3://data/user_{user_id}/"),
                ("RECEIPTS_URI", "s3://data/receipts/"),
            ],
            true,
        ),
        (
            &[
                ("ERASE_TARGETS", "s3://data/user_{user_id}/"),
                ("RECEIPTS_URI", "s3://data/user_receipts/"),
                digits,
            ],
            true,
        ),
        (
            &[
                ("ERASE_KEYS", "s3://data/receipts/{user_id}/erased.json"),
                ("RECEIPTS_URI", "s3://data/receipts/"),
            ],
            false,
        ),
        (&[("ERASE_KEYS", "s3://data/{user_id}"), ("RECEIPTS_URI", "s3://data/receipts/")], true),
        (&[("ERASE_KEYS", "s3://data/{user_id}.*"), digits, ("RECEIPTS_URI", "s3://data/")], true),
    ] {
        assert_eq!(with(settings).is_ok(), is_apart, "{settings:?}: {:?}", with(settings));
    }
}

#[test]
fn settings_about_ids_are_checked_at_the_start() {
    for (name, value, reason) in [
        ("USER_ID_EXTRA_CHARACTERS", "|/", "except /"),
        ("USER_ID_EXTRA_CHARACTERS", "\\", "except /"),
        ("USER_ID_EXTRA_CHARACTERS", "%", "except /"),
        ("USER_ID_EXTRA_CHARACTERS", "| ", "and space"),
        ("USER_ID_EXTRA_CHARACTERS", "\u{e9}", "printable ASCII"),
        ("USER_ID_EXTRA_CHARACTERS", "{", "printable ASCII"),
        ("USER_ID_CHARACTERS", "0-9|", "only characters that ids may have"),
        ("USER_ID_CHARACTERS", "0-9/", "only characters that ids may have"),
        ("USER_ID_CHARACTERS", "9-0", "ranges of digits or letters"),
        ("USER_ID_CHARACTERS", "A-z", "ranges of digits or letters"),
        ("USER_ID_LENGTH", "0", "from 1 to 128"),
        ("USER_ID_LENGTH", "129", "from 1 to 128"),
        ("USER_ID_LENGTH", "8-36", "from 1 to 128"),
        ("SCOPE_IDS", "tenant_id", "NAME=POINTER"),
        ("MESSAGE_MATCH", "/type=", "POINTER=VALUE"),
        ("REQUEST_ID_POINTER", "id", "a JSON pointer"),
        ("WITHDRAWN_AT_POINTER", "$.time", "a JSON pointer"),
        ("ERASE_BEFORE_POINTER", "time", "a JSON pointer"),
        ("USER_ID_POINTER", "$[", "a JSONPath query"),
    ] {
        let error =
            with(&[("ERASE_TARGETS", "s3://data/{user_id}/"), (name, value)]).expect_err(value);
        assert!(error.contains(&format!("{name} is {value:?}")), "{error}");
        assert!(error.contains(reason), "{name}={value}: {error}");
    }
}

#[test]
fn user_id_has_the_characters_and_the_length_of_the_settings() {
    for (settings, taken, rejected) in [
        (
            &[("USER_ID_EXTRA_CHARACTERS", "|'!")][..],
            &["auth0|5f7c", "o'brien@x.org", "a!b"][..],
            &["a#b", "a/b", "a|/b", "a%b"][..],
        ),
        (&[("USER_ID_CHARACTERS", "0-9a-f-")], &["0-f", "--"], &["g", "A", "1.2", "1_2"]),
        (&[("USER_ID_CHARACTERS", "-0-9")], &["-1"], &["a"]),
        (&[("USER_ID_CHARACTERS", "0-9|"), ("USER_ID_EXTRA_CHARACTERS", "|")], &["1|2"], &["a"]),
        (&[("USER_ID_LENGTH", "3")], &["abc", "..."], &["ab", "abcd"]),
        (&[("USER_ID_PATTERN", "[0-9]+"), ("USER_ID_LENGTH", "2")], &["12"], &["1", "ab"]),
    ] {
        let settings = [settings, &[("ERASE_TARGETS", "s3://data/{user_id}/")]].concat();
        let config = with(&settings).unwrap();
        let read = |id: &&str| {
            Erasure::parse(
                &json!({"type": "user-withdrawn", "userId": id}).to_string(),
                None,
                &config,
            )
        };
        assert!(taken.iter().all(|id| read(id).is_ok()), "{taken:?} with {settings:?}");
        assert!(rejected.iter().all(|id| read(id).is_err()), "{rejected:?} with {settings:?}");
    }
}

fn event(settings: &[(&str, &str)], body: &serde_json::Value) -> Result<Erasure, String> {
    let settings = [&[("ERASE_TARGETS", "s3://data/{user_id}/")], settings].concat();
    let config = with(&settings).expect("right settings");
    Erasure::parse(&body.to_string(), Some("m"), &config).map_err(|error| error.to_string())
}

#[test]
fn event_of_others_is_a_request_if_all_values_match() {
    let clerk = ("MESSAGE_MATCH", "/type=user.deleted");
    let auth0 = ("MESSAGE_MATCH", "/detail-type=Auth0 log,/detail/data/type=sdu");
    let id = |pointer| ("USER_ID_POINTER", pointer);
    let taken = |settings: &[_], body| event(settings, &body).map(|it| it.user.full_name());
    let user = |id: &str| Ok(id.to_owned());
    let deleted = json!({"type": "user.deleted", "data": {"id": "user_2b8k", "deleted": true}});
    assert_eq!(taken(&[clerk, id("/data/id")], deleted.clone()), user("user_2b8k"));
    let log = |kind: &str| json!({"detail-type": "Auth0 log", "detail": {"data": {"type": kind, "user_id": 17}}});
    assert_eq!(taken(&[auth0, id("/detail/data/user_id")], log("sdu")), user("17"));
    // SNS's envelope is taken off first, EventBridge's is part of the event.
    let in_sns = json!({"Type": "Notification", "TopicArn": "arn:aws:sns:a:1:t", "Message": log("sdu").to_string()});
    assert_eq!(taken(&[auth0, id("/detail/data/user_id")], in_sns.clone()), user("17"));
    // A number is compared as its digits.
    let shop = json!({"shop": 7, "customer": {"id": 191_167}});
    assert_eq!(taken(&[("MESSAGE_MATCH", "/shop=7"), id("/customer/id")], shop), user("191167"));
    // The message of the contract is a request as well, with the fields of the contract.
    let own = json!({"type": "user-withdrawn", "userId": "u1", "requestId": "r1"});
    assert_eq!(taken(&[clerk, id("/data/id"), ("REQUEST_ID_POINTER", "/id")], own), user("u1"));

    // A message of the contract's type has the contract's fields, unless the match names that type.
    let both = json!({"type": "user-withdrawn", "userId": "u9", "user": {"id": "u1"}, "k": "v"});
    let other = |pairs| [("MESSAGE_MATCH", pairs), id("/user/id")];
    assert_eq!(taken(&other("/k=v"), both.clone()), user("u9"));
    assert_eq!(taken(&other("/k=v,/type=user-withdrawn"), both), user("u1"));

    for (settings, body) in [
        (&[clerk, id("/data/id")][..], json!({"type": "user.created", "data": {"id": "u"}})),
        (&[clerk, id("/data/id")], json!({"type": "User.deleted", "data": {"id": "u"}})),
        (&[clerk, id("/data/id")], json!({"type": ["user.deleted"], "data": {"id": "u"}})),
        (&[clerk, id("/data/id")], json!({"data": {"id": "u"}})),
        (&[auth0, id("/detail/data/user_id")], log("fdu")),
        (&[("MESSAGE_MATCH", "/a=true"), id("/id")], json!({"a": true, "id": "u"})),
        (&[("MESSAGE_MATCH", "/a=1"), id("/id")], json!({"a": 1.0, "id": "u"})),
        (&[("MESSAGE_MATCH", "/a=1"), id("/id")], json!({"a": "01", "id": "u"})),
    ] {
        let error = event(settings, &body).expect_err(&body.to_string());
        assert!(error.contains("does not have all values of MESSAGE_MATCH"), "{error}");
    }
    // Several events in one message are none.
    for inner in [json!([{"k": "v", "id": "u1"}]), json!("u1"), json!(12)] {
        let body = json!({"Type": "Notification", "Message": inner.to_string()});
        for pointer in ["/0/id", "$", "$[0].id"] {
            let error = event(&[("MESSAGE_MATCH", "/0/k=v"), id(pointer)], &body).unwrap_err();
            assert_eq!(error, "the body is not a JSON object");
        }
    }
    // Without the setting, it is an unknown message as before.
    let error = event(&[], &deleted).unwrap_err();
    assert!(error.starts_with("\"type\" is not \"user-withdrawn\""), "{error}");
}

#[test]
fn topic_is_held_against_the_envelope_of_sns() {
    let arn = "arn:aws:sns:eu-west-2:123456789012:deleted-users";
    let matched = format!("TopicArn={arn}");
    let settings = [("MESSAGE_MATCH", matched.as_str()), ("USER_ID_POINTER", "/user_id")];
    let inner = json!({"user_id": "urn:fdc:gov.uk:2022:x"});
    let by = |topic: &str| json!({"Type": "Notification", "TopicArn": topic, "Message": inner.to_string()});
    let taken = event(&settings, &by(arn)).unwrap();
    assert_eq!(taken.user.full_name(), "urn:fdc:gov.uk:2022:x");
    for body in [
        by("arn:aws:sns:eu-west-2:123456789012:others"),
        inner.clone(),
        json!({"TopicArn": arn, "user_id": "u"}),
    ] {
        assert!(event(&settings, &body).is_err(), "{body}");
    }
}

#[test]
fn pointer_that_is_set_must_find_its_value() {
    let settings = [
        ("MESSAGE_MATCH", "/kind=DeleteRequest"),
        ("USER_ID_POINTER", "/user"),
        ("REQUEST_ID_POINTER", "/metadata/uid"),
        ("WITHDRAWN_AT_POINTER", "/at"),
        ("ERASE_BEFORE_POINTER", "/before"),
    ];
    let whole = json!({"kind": "DeleteRequest", "user": "u1", "metadata": {"uid": "r-1"}, "at": "2026-01-01T00:00:00Z", "before": "2026-02-01T00:00:00Z"});
    let erasure = event(&settings, &whole).unwrap();
    assert_eq!((erasure.id.as_str(), erasure.user.full_name().as_str()), ("r-1", "u1"));
    assert!(erasure.withdrawn_at < erasure.erase_before && erasure.withdrawn_at.is_some());
    for (pointer, reason) in [
        ("/user", "\"/user\" is missing or not"),
        ("/metadata/uid", "\"/metadata/uid\" is missing or not"),
        ("/at", "\"/at\" is missing or not"),
        ("/before", "\"/before\" is missing or not"),
    ] {
        for odd in [json!(null), json!(false), json!({})] {
            let mut body = whole.clone();
            *body.pointer_mut(pointer).unwrap() = odd;
            let error = event(&settings, &body).unwrap_err();
            assert!(error.starts_with(reason), "{error}");
        }
    }
    // They hold for a message of one's own, too.
    let own = json!({"type": "user-withdrawn", "userId": "u1", "id": 42});
    assert_eq!(event(&[("REQUEST_ID_POINTER", "/id")], &own).unwrap().id.as_str(), "42");
}

#[test]
fn query_must_select_exactly_one_id() {
    let query = "$.subject_identities[?@.identity_type=='controller_customer_id'].identity_value";
    let settings = [
        ("MESSAGE_MATCH", "/subject_request_type=erasure"),
        ("USER_ID_POINTER", query),
        ("REQUEST_ID_POINTER", "/subject_request_id"),
    ];
    let body = |identities: serde_json::Value| json!({"subject_request_type": "erasure", "subject_request_id": "a7551968", "subject_identities": identities});
    let identity =
        |kind: &str, value: &str| json!({"identity_type": kind, "identity_value": value});
    let one = json!([identity("email", "a@b.c"), identity("controller_customer_id", "u1")]);
    let erasure = event(&settings, &body(one)).unwrap();
    assert_eq!((erasure.user.full_name().as_str(), erasure.id.as_str()), ("u1", "a7551968"));
    let twice =
        json!([identity("controller_customer_id", "u1"), identity("controller_customer_id", "u2")]);
    for (identities, count) in
        [(json!([identity("email", "a@b.c")]), 0), (twice, 2), (json!([]), 0), (json!({}), 0)]
    {
        let error = event(&settings, &body(identities)).unwrap_err();
        assert!(error.contains(&format!("selects {count} values")), "{error}");
    }
}
