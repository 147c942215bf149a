//! The published contract against the code: what `schemas/` says of messages, the parser does, and
//! what the function writes is as `schemas/` says. The documents in the handbook are held against
//! the same schemas.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lambda_events::event::sqs::{SqsEvent, SqsMessage};
use erase_user_files::config::Config;
use erase_user_files::deadline::AnnouncedDeadline;
use erase_user_files::erasure::checkpoint::{Checkpoint, KeyRange};
use erase_user_files::erasure::counts::{Counts, Totals};
use erase_user_files::erasure::dry_run::DryRun;
use erase_user_files::erasure::erase::Eraser;
use erase_user_files::lambda::handler::Handler;
use erase_user_files::message::erasure::{Erasure, MessageError};
use erase_user_files::ports::queue::{OutgoingMessage, Queue, QueueError, ReceiptHandle};
use erase_user_files::ports::receipts::{PutResult, ReceiptError, Receipts};
use erase_user_files::ports::store::{FailureKind, Item, Kind, LockKind, Retention, StoreError};
use erase_user_files::target::{HashKey, User};
use jsonschema::Validator;
use proptest::prelude::*;
use serde_json::{Map, Value, json};
use tokio::time::{Instant, sleep};

#[expect(dead_code, reason = "the simulation uses more of it")]
mod fake;
#[expect(dead_code, reason = "other tests use more of it")]
#[path = "fake/faults.rs"]
mod faults;
mod schema;

use fake::handle::Fake;
use fake::model::Versioning;
use faults::{Asks, Code, Faults, Request, Shared};
use schema::assert_is_receipt;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &Path) -> String {
    fs::read_to_string(path)
        .map_err(|error| format!("{}: {error}", path.display()))
        .expect("a readable file")
}

/// A schema of `schemas/`, or a definition in it. Validators may take formats for comments, and
/// many do.
fn validator(file: &str, definition: Option<&str>, checks_formats: bool) -> Validator {
    let mut schema: Value =
        serde_json::from_str(&read(&root().join("schemas").join(file))).expect("JSON");
    assert!(jsonschema::meta::is_valid(&schema), "{file} is no schema");
    if let Some(definition) = definition {
        schema["$ref"] = format!("#/$defs/{definition}").into();
    }
    jsonschema::options().should_validate_formats(checks_formats).build(&schema).expect("a schema")
}

/// What the schema of messages says of a body that is sent straight to the queue.
fn is_message(body: &Value) -> bool {
    static MESSAGE: OnceLock<Validator> = OnceLock::new();
    MESSAGE.get_or_init(|| validator("user-withdrawn.json", None, true)).is_valid(body)
}

/// What it says of any body. It cannot look into the text in an SNS notification; this function
/// does.
fn is_body(body: &Value) -> bool {
    static BODY: OnceLock<[Validator; 3]> = OnceLock::new();
    let of = |definition| validator("user-withdrawn.json", Some(definition), true);
    let [any, sns, event] =
        BODY.get_or_init(|| ["body", "snsNotification", "eventBridgeEvent"].map(of));
    let inner = || body["Message"].as_str().and_then(|text| serde_json::from_str(text).ok());
    let is_inner = |inner: Value| is_message(&inner) || event.is_valid(&inner);
    any.is_valid(body) && (is_message(body) || !sns.is_valid(body) || inner().is_some_and(is_inner))
}

/// What the schema of continuations finds wrong.
fn faults(continuation: &Value) -> Vec<String> {
    static CONTINUATION: OnceLock<Validator> = OnceLock::new();
    let validator = CONTINUATION.get_or_init(|| validator("continuation.json", None, true));
    validator
        .iter_errors(continuation)
        .map(|error| format!("{}: {error}", error.instance_path()))
        .collect()
}

const TARGETS: &str = "s3://photos/{user_id}/,s3://documents/users/{user_id}/";

fn config(settings: &[(&str, &str)]) -> Config {
    let lookup = |name: &str| match settings.iter().find(|(setting, _)| *setting == name) {
        Some((_, value)) => Some((*value).to_owned()),
        None if name == "ERASE_TARGETS" => Some(TARGETS.to_owned()),
        None if name == "CONTINUATION_QUEUE_URL" => {
            Some("https://sqs.eu-central-1.amazonaws.com/1/erase".to_owned())
        }
        None => None,
    };
    Config::from_vars(lookup).expect("right settings")
}

fn parse(body: &str) -> Result<Erasure, MessageError> {
    static CONFIG: OnceLock<Config> = OnceLock::new();
    Erasure::parse(body, Some("message-1"), CONFIG.get_or_init(|| config(&[])))
}

/// Both say the same of it.
fn agree(body: &Value) -> Result<(), TestCaseError> {
    let parsed = parse(&body.to_string()).map(|_| ());
    prop_assert_eq!(
        is_body(body),
        parsed.is_ok(),
        "{} of {}",
        parsed.map_or_else(|e| e.to_string(), |()| "ok".into()),
        body
    );
    Ok(())
}

/// The bodies of all messages in `events/`, with the file that they are in.
fn events() -> Vec<(String, String)> {
    let files = fs::read_dir(root().join("events"))
        .expect("a folder")
        .map(|file| file.expect("a file").path());
    let of_file = |path: PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let event: Value = serde_json::from_str(&read(&path)).expect("JSON");
        let bodies = event["Records"]
            .as_array()
            .expect("records")
            .iter()
            .map(|record| record["body"].as_str());
        bodies.map(|body| (name.clone(), body.expect("a body").to_owned())).collect::<Vec<_>>()
    };
    files.flat_map(of_file).collect()
}

#[test]
fn example_events_match_their_names() {
    let events = events();
    assert!(events.len() >= 14, "{events:?}");
    for (file, body) in events {
        let value = serde_json::from_str(&body).unwrap_or_default();
        let expected = match file.as_str() {
            "malformed.json" => (false, false, false),
            "wrapped.json" => (false, true, true),
            // It is written manually, and has only what a reader needs.
            "continuation.json" => (false, false, true),
            _ => (true, true, true),
        };
        assert_eq!(
            (is_message(&value), is_body(&value), parse(&body).is_ok()),
            expected,
            "{body} of {file}"
        );
    }
}

/// Values of every sort, right and wrong, as senders may come up with them.
fn any_value() -> BoxedStrategy<Value> {
    let text = prop_oneof![
        1 => "[A-Za-z0-9._:-]{127,130}",
        1 => "[ -~]{0,6}",
        1 => any::<String>(),
        3 => prop::sample::select(vec!["", ".", "..", "u1/", "../u1", "u1%2F", "u1\n", "u 1", "u\u{e9}"]).prop_map(str::to_owned),
    ];
    let other = vec![
        json!(null),
        json!(true),
        json!(17),
        json!(-1),
        json!(1.5),
        json!(1_u64 << 53),
        json!([]),
        json!(["u1"]),
        json!({"userId": "u1"}),
    ];
    prop_oneof![3 => text.prop_map(Value::from), 1 => prop::sample::select(other), 1 => time()]
        .boxed()
}

/// What both a user and a request may be called.
fn id() -> BoxedStrategy<Value> {
    "[A-Za-z0-9_.:-]{1,8}".prop_map(Value::from).boxed()
}

/// Times, and what is almost one. Without leap seconds, see below.
fn time() -> BoxedStrategy<Value> {
    let good = "20[0-9]{2}-0[1-9]-[12][0-9][Tt][01][0-9]:[0-5][0-9]:[0-5][0-9](\\.[0-9]{1,12})?([Zz]|[+-][01][0-9]:[0-5][0-9])";
    let near = "[0-9]{4}-[01][0-9]-[0-3][0-9][Tt]?[0-2][0-9]:[0-6][0-9]:[0-5][0-9]([.,][0-9]{0,2})?([Zz]|[+-][0-2][0-9]:?[0-5][0-9])?";
    prop_oneof![4 => good, 1 => near].prop_map(Value::from).boxed()
}

/// A field that mostly is right, sometimes is not, and sometimes is not there.
fn field(right: BoxedStrategy<Value>) -> BoxedStrategy<Option<Value>> {
    prop_oneof![12 => right.prop_map(Some), 2 => any_value().prop_map(Some), 1 => Just(None)]
        .boxed()
}

fn object(fields: Vec<(&str, Option<Value>)>) -> Value {
    let present = fields.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
    Value::Object(present.collect::<Map<_, _>>())
}

/// A request with any of its fields, and with an unknown one.
fn any_message() -> BoxedStrategy<Value> {
    let kind = field(Just(json!("user-withdrawn")).boxed());
    let user = prop_oneof![id(), "[A-Za-z0-9@+=]{1,8}".prop_map(Value::from)].boxed();
    let fields = (kind, field(user), field(id()), field(time()), field(time()), field(any_value()));
    let message = fields.prop_map(|(kind, user, request, withdrawn, before, unknown)| {
        let requests =
            [("requestId", request), ("withdrawnAt", withdrawn), ("eraseBefore", before)];
        object(
            [("type", kind), ("userId", user)]
                .into_iter()
                .chain(requests)
                .chain([("userid", unknown)])
                .collect(),
        )
    });
    message.boxed()
}

/// What SNS makes of it, or something like it.
fn notification(kind: Option<Value>, message: &Value) -> Value {
    let text = Some(message.to_string().into());
    object(vec![("Type", kind), ("MessageId", Some("m".into())), ("Message", text)])
}

/// What `EventBridge` makes of it, or something like it.
fn event(kind: Option<Value>, detail: &Value) -> Value {
    object(vec![
        ("id", Some("e".into())),
        ("detail-type", kind),
        ("source", Some("users".into())),
        ("detail", Some(detail.clone())),
    ])
}

/// The kinds by which the function knows these two.
const KINDS: [&str; 2] = ["Notification", "user-withdrawn"];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn schema_and_parser_agree_on_messages(message in any_message()) {
        prop_assert_eq!(is_message(&message), is_body(&message));
        agree(&message)?;
    }

    #[test]
    fn schema_and_parser_agree_on_envelopes(
        message in any_message(),
        sns in field(Just(json!(KINDS[0])).boxed()),
        event_bridge in field(Just(json!(KINDS[1])).boxed()),
    ) {
        let inner = event(event_bridge, &message);
        for body in [notification(sns.clone(), &message), notification(sns, &inner), inner] {
            prop_assert!(!is_message(&body));
            agree(&body)?;
        }
        // Of each service one, and SNS outside.
        let [sns, event_bridge] = KINDS.map(|kind| Some(kind.into()));
        let in_sns = |inner| notification(sns.clone(), inner);
        let in_event = |inner| event(event_bridge.clone(), inner);
        for body in [in_event(&in_sns(&message)), in_sns(&in_sns(&message)), in_event(&in_event(&message))] {
            prop_assert!(parse(&body.to_string()).is_err());
            agree(&body)?;
        }
    }

    #[test]
    fn schema_and_parser_agree_on_any_json(value in any_value(), name in any::<String>()) {
        let [sns, event_bridge] = KINDS.map(|kind| Some(kind.into()));
        let no_text = json!({"Type": KINDS[0], "Message": value});
        for body in [json!({name: value}), notification(sns, &value), event(event_bridge, &value), no_text, value] {
            agree(&body)?;
        }
    }

    #[test]
    fn continuations_match_their_schema(erasure in any_erasure()) {
        let text = erasure.continuation();
        let value: Value = serde_json::from_str(&text).unwrap();
        let faults = faults(&value);
        prop_assert!(faults.is_empty(), "{:?} in {}", faults, text);
        // SQS takes no other characters.
        let is_rejected = |c: char| c < ' ' || c == '\u{fffe}' || c == '\u{ffff}';
        prop_assert!(!text.contains(is_rejected));
        prop_assert_eq!(parse(&text).unwrap(), erasure);
    }
}

/// An erasure at some place of its way.
fn any_erasure() -> impl Strategy<Value = Erasure> {
    let times = prop::collection::vec(proptest::option::of(0_i64..4_000_000_000), 5);
    let place = (
        any::<Option<String>>(),
        prop::collection::vec(any::<(Option<String>, Option<String>)>(), 0..4),
    );
    (any_message(), 1_u32..=10_000, any::<(u8, bool, [u64; 4])>(), times, place, 0_usize..5)
        .prop_filter_map(
            "a message",
            |(message, hop, (idle_hops, is_dry_run, numbers), times, (token, lanes), kind)| {
                let mut erasure = parse(&message.to_string()).ok()?;
                let [objects, bytes, requests, throttles] = numbers;
                let time = |index: usize| {
                    times[index]
                        .and_then(|time| time::OffsetDateTime::from_unix_timestamp(time).ok())
                };
                let kinds = [
                    None,
                    Some(Kind::Uploads),
                    Some(Kind::Objects),
                    Some(Kind::Versions),
                    Some(Kind::DeleteMarkers),
                ];
                let is_begun = kinds[kind].is_some();
                let target = "s3://photos/{user_id}/".to_owned();
                let gone = Counts { objects, bytes, uploads: requests, ..Counts::default() };
                (erasure.is_continuation, erasure.hop, erasure.idle_hops) =
                    (true, hop, idle_hops.into());
                (erasure.is_dry_run, erasure.sweep_at) = (is_dry_run, time(0));
                (erasure.requested_at, erasure.started_at) = (time(1), time(2));
                erasure.checkpoint = Checkpoint {
                    round: hop,
                    setting: is_begun.then(|| "0123456789abcdef".to_owned()),
                    target: is_begun.then(|| target.clone()),
                    kind: kinds[kind],
                    token: token.filter(|_| lanes.is_empty()),
                    ranges: lanes
                        .into_iter()
                        .map(|(token, until)| KeyRange { token, until })
                        .collect(),
                    has_left_some: is_begun,
                };
                erasure.totals = Totals {
                    deleted: gone,
                    targets: [(target, gone)].into(),
                    requests,
                    throttles,
                    retries: objects,
                };
                Some(erasure)
            },
        )
}

/// A property that never meets the one or the other says nothing.
#[test]
fn generated_messages_cover_valid_and_invalid() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let messages =
        (0..1_000).map(|_| any_message().new_tree(&mut runner).expect("a message").current());
    let (right, wrong): (Vec<_>, Vec<_>) =
        messages.map(|message| parse(&message.to_string())).partition(Result::is_ok);
    assert!((200..800).contains(&right.len()), "{} of 1,000 are right", right.len());
    let faults: Vec<String> =
        wrong.into_iter().filter_map(|parsed| Some(parsed.err()?.to_string())).collect();
    for fault in [
        "\"type\" is not",
        "/userId",
        "\"/userId\":",
        "is a number",
        "is an array",
        "the request id",
        "requestId",
        "withdrawnAt",
        "eraseBefore",
    ] {
        assert!(faults.iter().any(|found| found.contains(fault)), "{fault}");
    }
}

/// All that the schema of messages says otherwise than the function does.
/// `docs/message-contract.md` lists it.
#[test]
fn parser_rejects_what_the_schema_cannot_express() {
    let differ = |body: &str, by_schema: bool, settings: &[(&str, &str)]| {
        let value: Value = serde_json::from_str(body).expect("JSON");
        let parsed = Erasure::parse(body, Some("message-1"), &config(settings));
        assert_eq!((is_body(&value), parsed.is_ok()), (by_schema, !by_schema), "{:.200}", body);
    };
    let message = |field: &str, value: Value| {
        let mut message = json!({"type": "user-withdrawn", "userId": "u1"});
        message[field] = value;
        message.to_string()
    };
    // The text: a field twice, its size, its depth, its number of values.
    differ(r#"{"type":"user-withdrawn","userId":"u1","userId":"u2"}"#, true, &[]);
    differ(&message("note", "x".repeat(1_048_576).into()), true, &[]);
    differ(&message("note", (0..10_000).collect()), true, &[]);
    // An integer with a point: in JSON Schema, it is an integer.
    differ(&message("userId", 17.0.into()), true, &[]);
    // The settings of a deployment.
    differ(&message("userId", "u1".into()), true, &[("USER_ID_POINTER", "/user/id")]);
    differ(&message("userId", "u1".into()), true, &[("USER_ID_PATTERN", "[0-9]+")]);
    differ(
        &message("userId", "users".into()),
        true,
        &[("ERASE_TARGETS", "s3://data/{user_id}/,s3://data/users/{user_id}/")],
    );
    // Times that the function takes, too: another sign for the T, and the last second of a month.
    differ(&message("withdrawnAt", "2026-01-31 12:00:00Z".into()), false, &[]);
    differ(&message("withdrawnAt", "2026-06-30T23:59:60Z".into()), false, &[]);
    // And an envelope with an empty type, which no service writes.
    differ(r#"{"type":null,"detail-type":"user-withdrawn","detail":{"userId":"u1"}}"#, false, &[]);
}

/// Where formats count for comments, as in most validators by default.
#[test]
fn schema_pattern_recognizes_timestamps() {
    let lax = validator("user-withdrawn.json", None, false);
    for (time, expected) in [
        ("2026-01-31T12:00:00Z", true),
        ("2026-01-31t12:00:00.123456789+05:30", true),
        ("yesterday", false),
        ("2026-01-31", false),
        ("2026-01-31T12:00:00", false),
        ("2026-01-31T12:00:60Z", false),
        ("1769860800", false),
    ] {
        assert_eq!(
            lax.is_valid(&json!({"type": "user-withdrawn", "userId": "u1", "eraseBefore": time})),
            expected,
            "{time}"
        );
    }
}

#[test]
fn continuation_schema_rejects_changed_fields() {
    let text = r#"{"type":"erasure-continuation","version":1,"erasureId":"e","userId":"u1","hop":1,"idleHops":0,
        "bookmark":{"round":1},"tally":{"objects":0,"versions":0,"deleteMarkers":0,"uploads":0,"bytes":0,"keptNewer":0,
        "requests":0,"throttles":0,"retries":0}}"#;
    let whole: Value = serde_json::from_str(text).unwrap();
    assert!(faults(&whole).is_empty());
    for name in whole.as_object().unwrap().keys() {
        let mut less = whole.clone();
        less.as_object_mut().unwrap().remove(name);
        assert!(!faults(&less).is_empty(), "without {name}");
    }
    for (place, value) in [
        ("", json!({"type": "user-withdrawn", "userId": "u1"})),
        ("/novelty", json!(1)),
        ("/version", json!(3)),
        ("/scopes", json!({})),
        ("/scopes", json!({"tenant_id": "a/b"})),
        ("/hop", json!(0)),
        ("/hop", json!(10_001)),
        ("/userId", json!("..")),
        ("/dryRun", json!(false)),
        ("/startedAt", json!("yesterday")),
        ("/checkpoint/kind", json!("photos")),
        ("/checkpoint/lanes", json!([])),
        ("/bookmark", json!({"round": 1, "token": "t", "lanes": [{"until": "u"}]})),
        ("/totals/objects", json!(-1)),
        ("/totals/targets", json!({"s3://photos/{user_id}/": {"objects": 1}})),
    ] {
        let mut changed = whole.clone();
        let (parent, name) = place.rsplit_once('/').unwrap_or_default();
        match changed.pointer_mut(parent).filter(|_| !place.is_empty()) {
            Some(parent) => parent[name] = value,
            None => changed = value,
        }
        assert!(!faults(&changed).is_empty(), "{changed}");
    }
}

/// The model of S3 with latency.
struct Slow {
    model: Fake,
    /// In the first two seconds, one key fails for the moment.
    start: Instant,
}

impl Faults for Slow {
    fn model(&self) -> &Fake {
        &self.model
    }

    async fn before(&self, request: Request<'_>) -> Result<(), StoreError> {
        match request.asks {
            Asks::Listing(_) => sleep(Duration::from_millis(60)).await,
            Asks::Deleting(_) => sleep(Duration::from_millis(250)).await,
            Asks::Versioning | Asks::Retention(_) => {}
        }
        Ok(())
    }

    fn kept(
        &self,
        _: Request<'_>,
        items: &[Item],
    ) -> Result<Vec<(usize, Option<Code>)>, StoreError> {
        let failing = items.iter().position(|item| item.key.as_str() == "u1/00000");
        let failing = failing.filter(|_| self.start.elapsed() < Duration::from_secs(2));
        let code = Some(("InternalError", FailureKind::Transient));
        Ok(failing.map(|index| (index, code)).into_iter().collect())
    }
}

/// Everything that the function has written: messages to its queue, and receipts by their names.
#[derive(Debug, Clone, Default)]
struct Recorder {
    sent: Arc<Mutex<Vec<OutgoingMessage>>>,
    stored: Arc<Mutex<Vec<(String, String)>>>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Queue for Recorder {
    async fn send(
        &self,
        continuation: &OutgoingMessage,
        _limit: Duration,
    ) -> Result<(), QueueError> {
        locked(&self.sent).push(continuation.clone());
        Ok(())
    }

    async fn set_visibility(
        &self,
        _to: &ReceiptHandle,
        _after: Duration,
        _limit: Duration,
    ) -> Result<(), QueueError> {
        Ok(())
    }
}

impl Receipts for Recorder {
    async fn store(
        &self,
        name: &str,
        document: &str,
        _limit: Duration,
    ) -> Result<PutResult, ReceiptError> {
        locked(&self.stored).push((name.to_owned(), document.to_owned()));
        Ok(PutResult::Created)
    }

    async fn read(&self, _name: &str, _limit: Duration) -> Result<Option<String>, ReceiptError> {
        Ok(None)
    }
}

/// Sends a message, and follows it hop by hop until nothing is sent any more. Returns all
/// continuations and receipts.
async fn follow(
    message: &Value,
    store: &Fake,
    settings: &[(&str, &str)],
    hop: Duration,
) -> (Vec<Value>, Vec<Value>) {
    let recorder = Recorder::default();
    let (start, mut body, mut hops) = (Instant::now(), message.to_string(), Vec::new());
    loop {
        let now: SystemTime = UNIX_EPOCH + Duration::from_secs(1_800_000_000) + start.elapsed();
        let end = now.duration_since(UNIX_EPOCH).expect("after 1970") + hop;
        let deadline_epoch_ms = u64::try_from(end.as_millis()).expect("a time");
        let announced = AnnouncedDeadline { deadline_epoch_ms, now, fallback: hop };
        let mut record = SqsMessage::default();
        (record.message_id, record.receipt_handle) = (Some("m".to_owned()), Some("m".to_owned()));
        record.body = Some(body);
        let mut event = SqsEvent::default();
        event.records = vec![record];
        let (config, store) = (config(settings), Shared::new(Slow { model: store.clone(), start }));
        let handled = if config.dry_run {
            Handler::new(config, DryRun(store), recorder.clone(), Some(recorder.clone()), 1)
                .handle_until(event, announced)
                .await
        } else {
            Handler::new(config, Eraser(store), recorder.clone(), Some(recorder.clone()), 1)
                .handle_until(event, announced)
                .await
        };
        handled.expect("an answer");
        let Some(next) = locked(&recorder.sent).pop() else {
            break;
        };
        sleep(next.delay).await;
        body = next.body;
        hops.push(serde_json::from_str(&body).expect("JSON"));
    }
    let stored = locked(&recorder.stored)
        .iter()
        .map(|(_, text)| serde_json::from_str(text).expect("JSON"))
        .collect();
    (hops, stored)
}

/// Both buckets with something of every kind, and one version that is locked.
fn store() -> Fake {
    let mut fake = Fake::new(&["photos", "documents"]);
    fake.page_size = 50;
    let mut store = fake.store();
    store.set_versioning("documents", Versioning::Enabled);
    for number in 0..4_000 {
        store.put("photos", &format!("u1/{number:05}"), 7);
    }
    for number in 0..600 {
        let key = format!("users/u1/{number:05} of +100%");
        (0..2).for_each(|_| store.put("documents", &key, 7));
        store.delete_plain("documents", &key);
    }
    for bucket in ["photos/u1", "documents/users/u1"] {
        let (bucket, folder) = bucket.split_once('/').expect("a folder");
        store.start_upload(bucket, &format!("{folder}/unfinished"));
    }
    drop(store);
    fake
}

#[tokio::test(start_paused = true)]
async fn written_documents_match_their_schemas() {
    let message = json!({"type": "user-withdrawn", "userId": "u1", "tenantId": "users", "requestId": "r:1", "withdrawnAt": "2026-01-01T00:00:00+01:00", "eraseBefore": "2030-01-01T00:00:00Z"});
    let fast = ("MAX_DELETES_PER_SECOND", "0");
    let (mut hops, mut receipts) = (Vec::new(), Vec::new());
    for settings in [
        vec![fast, ("LATE_WRITE_SWEEP_SECONDS", "3600")],
        vec![("DRY_RUN", "true")],
        vec![("MAX_OBJECTS", "1000")],
        vec![
            ("SCOPE_IDS", "tenant_id=/tenantId"),
            ("ERASE_TARGETS", "s3://documents/{tenant_id}/{user_id}/"),
        ],
    ] {
        let (sent, stored) =
            follow(&message, &store(), &settings, Duration::from_millis(2_500)).await;
        hops.extend(sent);
        receipts.extend(stored);
    }
    let held = store();
    let until = Some(time::OffsetDateTime::from_unix_timestamp(1_900_000_000).expect("a time"));
    let id = held.store().versions("documents", "users/u1/00007 of +100%")[1].id.clone();
    held.store().lock(
        "documents",
        "users/u1/00007 of +100%",
        &id,
        Retention { hold: LockKind::Compliance, until },
    );
    let (sent, stored) = follow(&message, &held, &[fast], Duration::from_secs(60)).await;
    hops.extend(sent);
    receipts.extend(stored);

    for hop in &hops {
        let faults = faults(hop);
        assert!(faults.is_empty(), "{faults:?} in {hop:#}");
    }
    receipts.iter().for_each(assert_is_receipt);

    // All that the schemas know was there to be held against them.
    let schema: Value =
        serde_json::from_str(&read(&root().join("schemas/continuation.json"))).expect("JSON");
    for (place, whole) in [
        ("/properties", ""),
        ("/properties/bookmark/properties", "/bookmark"),
        ("/properties/tally/properties", "/tally"),
    ] {
        for name in schema.pointer(place).and_then(Value::as_object).expect("properties").keys() {
            let written = hops.iter().any(|hop| hop.pointer(&format!("{whole}/{name}")).is_some());
            assert!(written, "no continuation has {whole}/{name}");
        }
    }
    let schema: Value =
        serde_json::from_str(&read(&root().join("schemas/receipt.json"))).expect("JSON");
    for outcome in schema["properties"]["outcome"]["enum"].as_array().expect("outcomes") {
        assert!(
            receipts.iter().any(|receipt| receipt["outcome"] == *outcome),
            "no receipt is {outcome}"
        );
    }
    assert!(
        receipts
            .iter()
            .any(|receipt| receipt["targets"][1]["retained"][0]["erasableFrom"].is_string())
    );
}

/// The JSON blocks of a page.
fn blocks(page: &str) -> Vec<Value> {
    let blocks =
        page.split("```json\n").skip(1).map(|rest| rest.split("```").next().unwrap_or_default());
    blocks
        .map(|text| {
            serde_json::from_str(text).map_err(|error| format!("{error} in {text}")).expect("JSON")
        })
        .collect()
}

#[test]
fn contract_page_has_the_hash_of_a_user_with_scopes() {
    let page = read(&root().join("docs/message-contract.md"));
    let settings = [
        ("ERASE_TARGETS", "s3://files/{tenant_id}/{user_id}/"),
        ("SCOPE_IDS", "tenant_id=/tenantId"),
    ];
    let body = r#"{"type": "user-withdrawn", "userId": "12", "tenantId": "a"}"#;
    let erasure = Erasure::parse(body, Some("message-1"), &config(&settings)).expect("a message");
    let hash = HashKey::new("an-example-key-of-your-own".to_owned()).hash(&erasure.user);
    assert!(page.contains("`tenant_id=a/12`") && page.contains(&hash), "the page lacks {hash}");
}

#[test]
fn contract_page_names_every_field_and_has_valid_examples() {
    let page = read(&root().join("docs/message-contract.md"));
    let user = HashKey::new("an-example-key-of-your-own".to_owned())
        .hash(&User::parse("u-123").expect("an id"));
    assert!(
        page.contains("printf %s u-123 | openssl dgst -sha256 -hmac 'an-example-key-of-your-own'")
    );
    let (mut messages, mut receipts) = (0, 0);
    for block in blocks(&page) {
        if block.get("outcome").is_some() {
            assert_is_receipt(&block);
            assert_eq!(block["user"], user);
            receipts += 1;
        } else if block["source"] != "aws.s3" {
            assert!(is_body(&block), "{block:#}");
            assert!(parse(&block.to_string()).is_ok(), "{block:#}");
            messages += 1;
        }
    }
    assert!(messages >= 3 && receipts >= 2, "{messages} messages, {receipts} receipts");
    for (file, places) in [
        ("user-withdrawn.json", &["/$defs/request/properties"][..]),
        ("receipt.json", &["/properties", "/$defs/target/properties"][..]),
    ] {
        let schema: Value =
            serde_json::from_str(&read(&root().join("schemas").join(file))).expect("JSON");
        for name in places.iter().flat_map(|place| {
            schema.pointer(place).and_then(Value::as_object).expect("fields").keys()
        }) {
            assert!(
                page.contains(&format!("`{name}`")),
                "docs/message-contract.md does not name {name} of {file}"
            );
        }
    }
}
