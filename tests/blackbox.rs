//! Settings and messages by their contract alone, written without a look at the code: spellings,
//! queries, percent-encoding and ownership that other tests do not try.

use erase_user_files::config::Config;
use erase_user_files::message::erasure::Erasure;
use serde_json::{Value, json};

type Settings<'a> = &'a [(&'a str, &'a str)];

fn start(settings: Settings<'_>) -> Result<Config, String> {
    let queue =
        ("CONTINUATION_QUEUE_URL", "https://sqs.eu-central-1.amazonaws.com/123456789012/erase");
    let target = ("ERASE_TARGETS", "s3://data/{user_id}/");
    let lookup = |name: &str| {
        let mut all = settings.iter().chain([&queue, &target]);
        all.find(|(setting, _)| *setting == name).map(|(_, value)| (*value).to_owned())
    };
    Config::from_vars(lookup).map_err(|error| error.to_string())
}

fn read(settings: Settings<'_>, body: &str) -> Result<Erasure, String> {
    let config = start(settings)?;
    Erasure::parse(body, Some("message-1"), &config).map_err(|error| error.to_string())
}

/// The user that a body names, or nothing if it is rejected.
fn user(settings: Settings<'_>, body: &str) -> Option<String> {
    start(settings).expect("right settings");
    read(settings, body).ok().map(|erasure| erasure.user.full_name())
}

fn withdrawal(id: &str) -> String {
    json!({"type": "user-withdrawn", "userId": id}).to_string()
}

/// What the user owns under each pattern, as text.
fn own_texts(settings: Settings<'_>, body: &str) -> Vec<String> {
    let config = start(settings).expect("right settings");
    let erasure = read(settings, body).expect("a valid message");
    let targets = config.targets.as_slice().iter();
    targets.map(|target| target.prefix(&erasure.user).as_str().to_owned()).collect()
}

#[test]
fn one_error_lists_every_wrong_setting() {
    let wrong = [
        ("ERASE_TARGETS", "s3://data/{user_id}"),
        ("ERASE_KEYS", "s3://data/{user_id}*"),
        ("SCOPE_IDS", "X"),
        ("USER_ID_EXTRA_CHARACTERS", "/"),
        ("USER_ID_CHARACTERS", "|"),
        ("USER_ID_LENGTH", "0"),
        ("USER_ID_PATTERN", "("),
        ("MESSAGE_MATCH", "x"),
        ("USER_ID_POINTER", "x"),
        ("REQUEST_ID_POINTER", "x"),
        ("WITHDRAWN_AT_POINTER", "x"),
        ("ERASE_BEFORE_POINTER", "x"),
        ("EXPECTED_BUCKET_OWNER", "1"),
        ("EXPECTED_RECEIPTS_OWNER", "2"),
        ("RECEIPTS_SSE", "aes256"),
        ("RECEIPTS_KMS_KEY_ID", "k"),
        ("RECEIPT_HASH_KEY_SECRET", "s"),
    ];
    let settings = [&wrong[..], &[("RECEIPT_HASH_KEY", "do not print")]].concat();
    let error = start(&settings).expect_err("wrong settings");
    for (name, value) in wrong {
        let line = error.lines().find(|line| line.trim_start().starts_with(&format!("{name} is ")));
        let line = line.unwrap_or_else(|| panic!("{name} is missing in {error}"));
        assert!(line.contains(value) && line.contains("expected"), "{line}");
    }
    assert!(!error.contains("do not print"), "{error}");
    // Each fault of a list is named, too.
    let owners = ("EXPECTED_BUCKET_OWNER", "data=1,other=123456789012");
    let error = start(&[owners]).expect_err("wrong owners");
    assert!(error.contains(r#""data=1""#) && error.contains(r#"bucket "other""#), "{error}");
}

#[test]
fn owners_name_every_bucket_of_a_target_once() {
    let keys = ("ERASE_KEYS", "s3://keys/{user_id}");
    for (owners, is_right) in [
        ("123456789012", true),
        ("data=123456789012,keys=210987654321", true),
        ("data=123456789012", false),
        ("data=123456789012,keys=123456789012,data=123456789012", false),
        ("data=123456789012,123456789012", false),
        ("data=123456789012,keys=123456789012,", false),
        ("123456789012,123456789012", false),
        ("data=,keys=123456789012", false),
    ] {
        let config = start(&[keys, ("EXPECTED_BUCKET_OWNER", owners)]);
        assert_eq!(config.is_ok(), is_right, "{owners}: {config:?}");
    }
}

#[test]
fn matched_values_are_compared_exactly() {
    for (pairs, event, is_match) in [
        (r"/a=b\,c,/x=y", r#"{"a": "b,c", "x": "y"}"#, true),
        (r"/a=b\,", r#"{"a": "b,"}"#, true),
        (r"/a=b\,c", r#"{"a": "b\\,c"}"#, false),
        (r"/a=b\c", r#"{"a": "b\\c"}"#, true),
        ("/a=x=y", r#"{"a": "x=y"}"#, true),
        ("/a= b ,/x=y", r#"{"a": " b ", "x": "y"}"#, true),
        ("/a= b", r#"{"a": "b"}"#, false),
        ("/a=\u{fc}", r#"{"a": "\u00fc"}"#, true),
        ("/a=\u{fc}", r#"{"a": "u\u0308"}"#, false),
        ("/a~1b=c,/m~0n=c", r#"{"a/b": "c", "m~n": "c"}"#, true),
        ("/=c", r#"{"": "c"}"#, true),
        ("/a/1=b", r#"{"a": ["x", "b"]}"#, true),
        ("/a/01=b", r#"{"a": ["x", "b"]}"#, false),
        ("/a/-=b", r#"{"a": ["x", "b"]}"#, false),
        ("/a=0", r#"{"a": 0}"#, true),
        ("/a=0", r#"{"a": -0}"#, false),
        ("/a=9007199254740993", r#"{"a": 9007199254740993}"#, true),
        ("/a=1e0", r#"{"a": 1e0}"#, false),
        ("/a=1", r#"{"a": [1]}"#, false),
        ("/a=null", r#"{"a": null}"#, false),
        ("/a=b", r#"{"a": "b", "\u0061": "b"}"#, false),
    ] {
        let body = event.replacen('{', r#"{"id": "u1", "#, 1);
        let settings = [("MESSAGE_MATCH", pairs), ("USER_ID_POINTER", "/id")];
        let expected = is_match.then(|| "u1".to_owned());
        assert_eq!(user(&settings, &body), expected, "{pairs} on {body}");
    }
}

#[test]
fn topic_is_read_from_the_outermost_envelope_only() {
    const TOPIC: &str = "arn:aws:sns:eu-west-1:123456789012:deleted";
    let matched = format!("TopicArn={TOPIC}");
    let settings = [("MESSAGE_MATCH", &*matched), ("USER_ID_POINTER", "/id")];
    let envelope = |topic: Value, message: &Value| json!({"Type": "Notification", "TopicArn": topic, "Message": message.to_string()});
    let inner = json!({"id": "u1"});
    let other = json!("arn:aws:sns:eu-west-1:123456789012:others");
    assert!(user(&settings, &envelope(json!(TOPIC), &inner).to_string()).is_some());
    let mut subscription = envelope(json!(TOPIC), &inner);
    subscription["Type"] = json!("SubscriptionConfirmation");
    let twice =
        r#"{"Type":"Notification","TopicArn":"x","Topic\u0041rn":"TOPIC","Message":"MESSAGE"}"#;
    for body in [
        envelope(other, &envelope(json!(TOPIC), &inner)).to_string(),
        envelope(json!([TOPIC]), &inner).to_string(),
        subscription.to_string(),
        twice.replace("TOPIC", TOPIC).replace("MESSAGE", r#"{\"id\":\"u1\"}"#),
    ] {
        assert_eq!(user(&settings, &body), None, "{body}");
    }
}

#[test]
fn integers_are_ids_only_as_plain_digits() {
    let too_long = format!("1{}", "0".repeat(400));
    for (number, is_id) in [
        ("0", true),
        ("9007199254740990", true),
        ("9007199254740991", true),
        ("9007199254740992", false),
        ("18446744073709551616", false),
        (&*too_long, false),
        ("-0", false),
        ("+1", false),
        ("00", false),
        ("1.0", false),
        ("0e0", false),
        ("1E2", false),
        ("1e400", false),
        ("9.007199254740991e15", false),
        ("NaN", false),
    ] {
        let expected = is_id.then(|| number.to_owned());
        let body = format!(r#"{{"type":"user-withdrawn","userId":{number},"a":[{number}]}}"#);
        for pointer in ["/userId", "/a/0", "$.userId", "$.a[-1]"] {
            let found = user(&[("USER_ID_POINTER", pointer)], &body);
            assert_eq!(found, expected, "{number} at {pointer}");
        }
    }
}

#[test]
fn queries_follow_rfc_9535() {
    let body = json!({
        "type": "user-withdrawn",
        "a": [{"k": "x", "n": 1, "v": "u1"}, {"k": "y", "n": 2, "v": "u2"}, {"k": "z", "n": 3, "v": "u3"}],
        "o": {"a b": "u4", "d'q": "u5", "\u{fc}": "u6"}, "deep": {"q": {"id": "u7"}}, "three": ["p", "q", "r"],
    });
    for (query, expected) in [
        ("$.a[-1].v", Some("u3")),
        ("$.a[-4].v", None),
        ("$.a[1:2].v", Some("u2")),
        ("$.a[2::-3].v", Some("u3")),
        ("$.a[::0].v", None),
        ("$.a[::2].v", None),
        ("$.a[0,0].v", None),
        ("$..id", Some("u7")),
        ("$.deep.*.id", Some("u7")),
        ("$..v", None),
        ("$['o'][\"a b\"]", Some("u4")),
        (r"$.o['d\'q']", Some("u5")),
        (r"$.o['\u00fc']", Some("u6")),
        ("$.a[?@.n>1 && @.n<3].v", Some("u2")),
        ("$.a[?!(@.k=='x' || @.k=='y')].v", Some("u3")),
        ("$.a[?@.n==1.0].v", Some("u1")),
        ("$.a[?length($.three)==@.n].v", Some("u3")),
        ("$.a[?count($.three[*])==@.n].v", Some("u3")),
        ("$.a[?@.v==$.a[1].v].v", Some("u2")),
        ("$.a[?@.missing].v", None),
        ("$.a", None),
    ] {
        let found = user(&[("USER_ID_POINTER", query)], &body.to_string());
        assert_eq!(found.as_deref(), expected, "{query}");
    }
}

/// RFC 3986, 2.1 and 2.3: all but the unreserved characters, in upper-case digits.
fn percent_encoded(id: &str) -> String {
    let is_kept = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~".contains(byte);
    let encode = |byte: u8| match is_kept(&byte) {
        true => char::from(byte).to_string(),
        false => format!("%{byte:02X}"),
    };
    id.bytes().map(encode).collect()
}

#[test]
fn every_extra_character_is_spelt_raw_or_percent_encoded() {
    let settings = [
        ("USER_ID_EXTRA_CHARACTERS", "!#$&'()*,;?[]^`|~"),
        ("ERASE_TARGETS", "s3://data/{user_id:urlencode}/,s3://raw/{user_id}/"),
        ("ERASE_KEYS", "s3://keys/a-{user_id:urlencode}.png"),
    ];
    for character in (' '..='~').filter(|it| !it.is_ascii_alphanumeric()) {
        let id = format!("a{character}b");
        let body = withdrawal(&id);
        if r#"/\"<>{}% "#.contains(character) {
            assert_eq!(user(&settings, &body), None, "{id}");
            continue;
        }
        let encoded = percent_encoded(&id);
        let expected = [format!("{encoded}/"), format!("{id}/"), format!("a-{encoded}.png")];
        assert_eq!(own_texts(&settings, &body), expected);
        let erasure = read(&settings, &body).expect("a valid message");
        let next = Erasure { hop: 1, ..erasure.clone() }.continuation();
        assert_eq!(read(&settings, &next).expect("a continuation").user, erasure.user, "{id}");
    }
}

#[test]
fn fixed_text_that_looks_percent_encoded_reserves_the_encoded_id() {
    for (targets, reserved, free) in [
        ("s3://data/a%40{user_id}/,s3://data/{user_id:urlencode}/", "a@b", "b"),
        ("s3://data/%{user_id}/,s3://data/{user_id:urlencode}/", "@", "40"),
        ("s3://data/%4{user_id}/,s3://data/{user_id:urlencode}/", "@", "0"),
        ("s3://data/%40/{user_id}/,s3://data/{user_id:urlencode}/", "@", "40"),
    ] {
        let settings = [("ERASE_TARGETS", targets)];
        assert_eq!(user(&settings, &withdrawal(reserved)), None, "{targets}");
        assert_eq!(user(&settings, &withdrawal(free)).as_deref(), Some(free), "{targets}");
    }
}

#[test]
fn files_of_encoded_ids_in_tenants_are_told_from_their_neighbours() {
    let settings = [
        ("ERASE_TARGETS", "s3://data/{tenant_id}/f/{user_id:urlencode}/"),
        (
            "ERASE_KEYS",
            "s3://data/{tenant_id}/av/{user_id:urlencode}.*,s3://data/{tenant_id}/one/{user_id:urlencode}",
        ),
        ("SCOPE_IDS", "tenant_id=/t"),
        ("USER_ID_EXTRA_CHARACTERS", "|"),
        ("USER_ID_LENGTH", "7"),
    ];
    let body = |id: &str| json!({"type": "user-withdrawn", "userId": id, "t": "a"}).to_string();
    let config = start(&settings).expect("right settings");
    let erasure = read(&settings, &body("auth0|1")).expect("a valid message");
    let is_owned = |key: &str| {
        let mut targets = config.targets.as_slice().iter();
        targets.any(|target| target.prefix(&erasure.user).claim(key.to_owned()).is_ok())
    };
    for key in ["a/f/auth0%7C1/x", "a/f/auth0%7C1/", "a/av/auth0%7C1.jpg", "a/one/auth0%7C1"] {
        assert!(is_owned(key), "{key}");
    }
    for key in [
        "a/f/auth0|1/x",
        "a/f/auth0%7c1/x",
        "a/f/auth0%7C12/x",
        "a/f/auth0%7C1",
        "b/f/auth0%7C1/x",
        "a/av/auth0%7C1",
        "a/av/auth0%7C12.jpg",
        "a/av/auth0%7C1.d/x",
        "a/av/auth0|1.jpg",
        "a/one/auth0%7C1x",
        "a/one/auth0%7C1/x",
    ] {
        assert!(!is_owned(key), "{key}");
    }
    assert!(["auth0|", "auth0|12"].iter().all(|id| user(&settings, &body(id)).is_none()));
}

#[test]
fn two_orders_of_two_scopes_are_two_users() {
    let settings = [("ERASE_TARGETS", "s3://data/{b}/{a}/{user_id}/"), ("SCOPE_IDS", "b=/b,a=/a")];
    let body = |a: &str, b: &str| {
        json!({"type": "user-withdrawn", "userId": "1", "a": a, "b": b}).to_string()
    };
    assert_eq!(own_texts(&settings, &body("x", "y")), ["y/x/1/"]);
    assert_eq!(user(&settings, &body("x", "y")).as_deref(), Some("a=x/b=y/1"));
    assert_eq!(user(&settings, &body("y", "x")).as_deref(), Some("a=y/b=x/1"));
    // The order of the setting changes no hash.
    let turned = [settings[0], ("SCOPE_IDS", "a=/a,b=/b")];
    assert_eq!(user(&turned, &body("x", "y")).as_deref(), Some("a=x/b=y/1"));
}

#[test]
fn patterns_that_spell_names_of_receipts_are_kept_away() {
    let receipts = ("RECEIPTS_URI", "s3://data/r/");
    for (characters, key, is_apart) in [
        ("0-9", "s3://data/r/x/incomplete-{user_id}.json", false),
        ("0-9", "s3://data/r/x/incomplete-{user_id}.*", false),
        ("a-z", "s3://data/r/x/{user_id}-*", false),
        ("a-z", "s3://data/r/x/{user_id}-run.json", false),
        ("a-z", "s3://data/r/{user_id}/swept.json", false),
        ("a-z", "s3://data/{user_id}/x/erased.json", false),
        ("a-qs-z", "s3://data/{user_id}/x/erased.json", true),
        ("a-z", "s3://data/r/{user_id}.*", true),
        ("a-z", "s3://data/r/x/y/{user_id}.*", true),
        ("a-z", "s3://data/r{user_id}/x/erased.json", true),
    ] {
        let config = start(&[
            receipts,
            ("ERASE_TARGETS", ""),
            ("ERASE_KEYS", key),
            ("USER_ID_CHARACTERS", characters),
        ]);
        assert_eq!(config.is_ok(), is_apart, "{key} of {characters}: {config:?}");
    }
}
