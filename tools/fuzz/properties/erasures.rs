//! What holds for every erasure that a message can ask for.

use std::sync::OnceLock;

use erase_user_files::config::Config;
use erase_user_files::message::erasure::{Erasure, MessageError};
use erase_user_files::target::User;
use time::{Duration, OffsetDateTime};

/// What the function takes back of its own continuations.
const MAX_CONTINUATION_BYTES: usize = 524_288;

/// Why a body is rejected: one of these sentences, whatever the body says. `#` is a placeholder for
/// any number.
const SENTENCES: [&str; 14] = [
    "the body is not valid JSON: ",
    "the body has # bytes, expected at most #",
    "the body is not a JSON object",
    r#""type" is not "user-withdrawn", nor is it such a request in an envelope of SNS or EventBridge"#,
    r#""requestId" is missing or not a JSON string"#,
    r#""withdrawnAt" is missing or not a JSON string"#,
    r#""eraseBefore" is missing or not a JSON string"#,
    r#""Message" is missing or not a JSON string"#,
    r#""withdrawnAt" is not a time as in RFC #, like #-#-#T#:#:#Z"#,
    r#""eraseBefore" is not a time as in RFC #, like #-#-#T#:#:#Z"#,
    "this user's id is fixed text of another target: keys of this user and of other users would be mixed up",
    "the request id is not # to # of A-Z a-z #-# . _ : -",
    "the continuation cannot be read at line #, column #",
    "the continuation has format version #, this release supports versions up to #",
];

/// The places of an id, each in quotation marks, and what may be wrong there.
const PLACES: [&str; 2] = [r#""/userId""#, r#""/user/id""#];
const ID_SENTENCES: [&str; 7] = [
    " is missing or not a JSON string or integer",
    " is a number, but not an integer from # to # without sign, point and exponent; JavaScript rounds larger ones, so \
     that they may name another user: send a JSON string",
    " is an array: send one message for each user, since each has its own receipt",
    ": the id has # bytes, expected # to #",
    ": the id has a character at byte # that is none of A-Z a-z #-# - _ . : @ + =, and not in USER_ID_EXTRA_CHARACTERS",
    r#": the id is "." or "..""#,
    ": the id does not match USER_ID_PATTERN",
];

/// What `serde_json` finds wrong.
const JSON_FAULTS: [&str; 19] = [
    "EOF while parsing a list",
    "EOF while parsing an object",
    "EOF while parsing a string",
    "EOF while parsing a value",
    "expected `:`",
    "expected `,` or `]`",
    "expected `,` or `}`",
    "expected ident",
    "expected value",
    "invalid escape",
    "invalid number",
    "number out of range",
    "invalid unicode code point",
    r"control character (\u#-\u#F) found while parsing a string",
    "key must be a string",
    "lone leading surrogate in hex escape",
    "trailing comma",
    "trailing characters",
    "unexpected end of hex escape",
];

/// And what goes too far.
const JSON_LIMITS: [&str; 3] =
    ["recursion limit exceeded", "it has a field twice", "it has more than # values"];

/// Two functions: one as simple as can be, one with every setting that concerns messages.
pub(crate) fn configs() -> &'static [Config; 2] {
    static CONFIGS: OnceLock<[Config; 2]> = OnceLock::new();
    CONFIGS.get_or_init(|| {
        let simple = |name: &str| (name == "ERASE_TARGETS").then_some("s3://photos/{user_id}/");
        let full = |name: &str| match name {
            "ERASE_TARGETS" => {
                Some("s3://data/{user_id}/,s3://data/users/{user_id}/,s3://photos/x/{user_id}/y/")
            }
            "USER_ID_POINTER" => Some("/user/id"),
            "USER_ID_PATTERN" => Some("u.*|[0-9]+"),
            _ => None,
        };
        [config(simple), config(full)]
    })
}

fn config(setting: impl Fn(&str) -> Option<&'static str>) -> Config {
    let queue = "https://sqs.eu-central-1.amazonaws.com/123456789012/erase";
    let lookup = |name: &str| {
        setting(name).or((name == "CONTINUATION_QUEUE_URL").then_some(queue)).map(str::to_owned)
    };
    Config::from_vars(lookup).expect("right settings")
}

/// Whether a text may be a user's id, by the words of the README.
pub(crate) fn is_user_id(text: &str) -> bool {
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || "-_.:@+=".contains(c);
    (1..=128).contains(&text.len()) && text.chars().all(is_allowed) && text != "." && text != ".."
}

/// Reads a body, and checks whatever comes of it.
pub(crate) fn read(body: &str, config: &Config) -> Result<Erasure, MessageError> {
    let read = Erasure::parse(body, Some("message-1"), config);
    match &read {
        Ok(erasure) => check(erasure, config),
        Err(error) => check_error(&error.to_string()),
    }
    read
}

/// An error may end in a log: it is a sentence of ours with numbers, and nothing of the body.
fn check_error(error: &str) {
    let told = without_numbers(error);
    let is_ours = |sentence: &&str| {
        told.strip_prefix(*sentence).is_some_and(|rest| {
            let fault = rest.strip_suffix(" at line # column #").unwrap_or(rest);
            rest.is_empty()
                || JSON_FAULTS
                    .iter()
                    .chain(&JSON_LIMITS)
                    .any(|known| without_numbers(known) == fault)
        })
    };
    let rest_behind_place = PLACES.iter().find_map(|place| told.strip_prefix(place));
    let is_about_id = rest_behind_place.is_some_and(|rest| ID_SENTENCES.contains(&rest));
    assert!(is_about_id || SENTENCES.iter().any(is_ours), "{error}");
}

fn without_numbers(text: &str) -> String {
    let mut told = String::new();
    for c in text.chars() {
        match c {
            '0'..='9' if told.ends_with('#') => {}
            '0'..='9' => told.push('#'),
            c => told.push(c),
        }
    }
    told
}

/// Where an erasure may reach, and what of it goes through the queue.
fn check(erasure: &Erasure, config: &Config) {
    let user = erasure.user.id().as_str();
    assert!(is_user_id(user));
    let other = User::parse("somebody-else").expect("an id");
    for target in config.targets.as_slice() {
        let (prefix, others) = (target.prefix(&erasure.user), target.prefix(&other));
        assert_eq!(
            (prefix.bucket(), prefix.as_str()),
            (target.bucket(), &*target.template().replace("{user_id}", user))
        );
        assert!(
            prefix.as_str().ends_with('/')
                && prefix.as_str().split('/').any(|segment| segment == user)
        );
        let is_somebody_else = user != other.full_name();
        assert_eq!(prefix.claim(format!("{}x", others.as_str())).is_err(), is_somebody_else);
    }
    let id = erasure.deduplication_id();
    assert!(
        (1..=128).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic()),
        "{id}"
    );
    assert!(user.len() < 8 || !erasure.redacted_id().contains(user));
    // Times from far away can be compared, and waited for.
    let now = OffsetDateTime::UNIX_EPOCH + Duration::days(20_000);
    assert!(erasure.erase_before.is_none_or(|limit| (now >= limit) != (now < limit)));
    assert!(erasure.sweep_at.is_none_or(|due| (due - now) + (now - due) == Duration::ZERO));
    match erasure.next_hop_unchecked() {
        Ok(next) => check_continuation(&Erasure { is_continuation: true, ..next }, config),
        Err(_) => assert!(erasure.hop >= 10_000),
    }
}

fn check_continuation(next: &Erasure, config: &Config) {
    let body = next.continuation();
    assert!(body.len() <= MAX_CONTINUATION_BYTES, "{} bytes", body.len());
    // What SQS takes:
    // https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessage.html
    let is_taken = |c| matches!(c, '\t' | '\n' | '\r' | ' '..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..);
    assert!(body.chars().all(is_taken), "{body}");
    assert_eq!(Erasure::parse(&body, None, config).as_ref(), Ok(next), "{body}");
}
