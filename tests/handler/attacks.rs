//! Ids and messages that would like to reach somebody else's files: each with its exact outcome.

use std::time::Duration;

use serde_json::{Value, json};

use crate::scene::{Event, Letters, NOBODY, Scene, Store, locked, record};

const TIMEOUT: Duration = Duration::from_secs(30);

/// Everybody in the bucket. Whoever is not `u1` must keep everything.
const USERS: [(&str, u32); 8] =
    [("u1", 3), ("u10", 3), ("u2", 3), ("U1", 3), ("u1.bak", 3), ("users", 3), ("null", 3), ("", 3)];

/// Sends one body to a new world, and returns why it was rejected; `None`: it was erased.
async fn rejection(body: &str) -> Option<String> {
    let scene = Scene::new(Store::of(&USERS), Letters::default(), &[]);
    let logs = crate::scene::Logs::default();
    let failed = {
        let _logging = logs.listen();
        scene.invoke(TIMEOUT, vec![record("m", body)]).await.expect("an answer")
    };
    if failed == NOBODY {
        return None;
    }
    assert_eq!(failed, ["m"]);
    assert_eq!(locked(&scene.letters.visibilities)["m"], 0, "to the dead-letter queue at once");
    assert!(locked(&scene.store.log).is_empty(), "a rejected message must not even list: {body:.200}");
    assert!(locked(&scene.shelf.documents).is_empty());
    let line: Value = serde_json::from_str(logs.take().trim()).expect("one line");
    assert_eq!((&line["outcome"], &line["message"]), (&json!("rejected"), &json!("message not understood")));
    Some(line["reason"].as_str().expect("a reason").to_owned())
}

fn with_id(id: &Value) -> String {
    json!({"type": "user-withdrawn", "userId": id}).to_string()
}

#[tokio::test(start_paused = true)]
async fn every_attack_by_an_id_has_its_outcome() {
    let length = |bytes: usize| format!("\"userId\": the user id has {bytes} bytes, expected 1 to 128");
    let character = |byte: usize| {
        format!("\"userId\": the user id has a character at byte {byte} that is none of A-Z a-z 0-9 - _ . : @ + =")
    };
    let dots = || "\"userId\": the user id is \".\" or \"..\"".to_owned();
    let not_a_string = || "\"/userId\" is missing or not a JSON string".to_owned();
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
        // Right-to-left marks, invisible characters, other slashes and dots, letters that look like ours.
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
        (json!("u1\u{301}"), character(2)),
        (json!("x".repeat(129)), length(129)),
        (json!("x".repeat(10_000_000)), length(10_000_000)),
        (json!("\u{1f600}".repeat(40)), length(160)),
        (json!(1), not_a_string()),
        (json!(1.5), not_a_string()),
        (json!(null), not_a_string()),
        (json!(true), not_a_string()),
        (json!(["u1"]), not_a_string()),
        (json!({"id": "u1"}), not_a_string()),
    ];
    for (id, expected) in attacks {
        assert_eq!(rejection(&with_id(&id)).await, Some(expected), "{:.60}", id.to_string());
    }
    // What is allowed is taken literally, and touches its own folder alone.
    for id in ["u1", "null", "u1.bak", "x".repeat(128).as_str(), "..a", "-", "a:b@c+d=e_f"] {
        assert_eq!(rejection(&with_id(&json!(id))).await, None, "{id}");
    }
}

#[tokio::test(start_paused = true)]
async fn every_attack_by_a_message_has_its_outcome() {
    let json_fault = "the body is not valid JSON: ";
    let twice = "a field stands in it twice at line 1 column ";
    let deep = format!("{}{}", "[".repeat(200), "]".repeat(200));
    let attacks = [
        (r#"{"type":"user-withdrawn","userId":"u1","userId":"u2"}"#.to_owned(), format!("{json_fault}{twice}53")),
        (r#"{"type":"user-withdrawn","userId":"u1","\u0075serId":"u2"}"#.to_owned(), format!("{json_fault}{twice}58")),
        (r#"{"type":"user-withdrawn","type":"x","userId":"u1"}"#.to_owned(), format!("{json_fault}{twice}35")),
        (r#"{"type":"user-withdrawn","userId":"u1","x":{"a":1,"a":2}}"#.to_owned(), format!("{json_fault}{twice}56")),
        (
            format!(r#"{{"type":"user-withdrawn","userId":"u1","x":{deep}}}"#),
            format!("{json_fault}recursion limit exceeded at line 1 column 170"),
        ),
        ("[".repeat(1_000_000), format!("{json_fault}recursion limit exceeded at line 1 column 128")),
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
        (
            r#"{"type":"USER-WITHDRAWN","userId":"u1"}"#.to_owned(),
            "\"type\" is not \"user-withdrawn\", nor is it wrapped by SNS or EventBridge as such".to_owned(),
        ),
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
            "\"userId\": the user id has a character at byte 2 that is none of A-Z a-z 0-9 - _ . : @ + =".to_owned(),
        ),
    ];
    for (body, expected) in attacks {
        assert_eq!(rejection(&body).await, Some(expected), "{body:.100}");
    }
}

/// A continuation says where it is, never where to erase: what it names is only ever compared with the settings.
#[tokio::test(start_paused = true)]
async fn a_forged_bookmark_leads_nowhere_else() {
    for bookmark in [
        json!({"target": "s3://photos/", "kind": "objects", "token": "0"}),
        json!({"target": "s3://photos/{user_id}/../u2/", "kind": "objects"}),
        json!({"target": "s3://other/{user_id}/", "kind": "versions", "token": "u2/%26null"}),
        json!({"round": 4_294_967_295_u32}),
    ] {
        let scene = Scene::new(Store::of(&USERS), Letters::default(), &[]);
        let body = json!({"type": "erasure-continuation", "version": 1, "erasureId": "e", "userId": "u1", "hop": 1,
            "bucket": "other", "prefix": "", "bookmark": bookmark, "tally": {"targets": {"s3://other/x": {"objects": 7}}}});
        let failed = scene.invoke(TIMEOUT, vec![record("m", &body.to_string())]).await.expect("an answer");
        let is_listed = |(_, event): &(_, Event)| matches!(event, Event::Listed(prefix) if prefix == "u1/");
        assert!(locked(&scene.store.log).iter().filter(|(_, event)| matches!(event, Event::Listed(_))).all(is_listed));
        for (user, objects) in USERS.into_iter().filter(|(user, _)| *user != "u1") {
            assert_eq!(scene.store.left(user), objects as usize, "{user} after {bookmark}");
        }
        assert!(failed.is_empty() || bookmark["round"].is_number(), "{bookmark}");
    }
}
