//! What is told of requests that failed, or had no answer.

use std::time::Duration;

use erase_user_files::bucket::{Bucket, Deletes, Fault, Kind};
use erase_user_files::queue::{Queue, QueueFault};

use crate::server::{Answer, LIMIT, Server, continuation, error, full, in_time, items, prefix};

/// A limit that is over soon.
const SHORT: Duration = Duration::from_millis(100);

#[tokio::test]
async fn a_request_without_an_answer_ends_at_its_limit_and_says_so() {
    let server = Server::start(vec![Answer::Hang, Answer::Hang]);
    let listed = in_time(server.reader().list(&prefix(), Kind::Objects, None, SHORT)).await.unwrap_err();
    assert!(
        matches!(&listed, Fault::Unavailable(text) if text.starts_with("ListObjectsV2: NoAnswerInTime")),
        "{listed}"
    );
    let sent = in_time(server.sqs("erase").send(&continuation(), SHORT)).await.unwrap_err();
    assert_eq!(sent, QueueFault::Unavailable("SendMessage: no answer in time".to_owned()));
    server.requests();
}

#[tokio::test]
async fn where_nobody_listens_the_reason_of_the_system_is_told() {
    let server = Server::start(vec![]);
    let (reader, sqs) = (server.reader(), server.sqs("erase"));
    server.requests();
    let listed = reader.list(&prefix(), Kind::Objects, None, LIMIT).await.unwrap_err();
    let Fault::Unavailable(text) = &listed else { panic!("{listed}") };
    assert!(text.starts_with("ListObjectsV2: NoConnection (") && text.contains("refused"), "{text}");
    let sent = sqs.send(&continuation(), LIMIT).await.unwrap_err();
    assert_eq!(sent, QueueFault::Unavailable("SendMessage: no connection".to_owned()));
}

#[tokio::test]
async fn what_the_sdk_cannot_make_a_request_of_is_refused_and_never_sent() {
    let server = Server::start(vec![]);
    let fault = server.reader().is_versioned("", LIMIT).await.unwrap_err();
    assert!(matches!(&fault, Fault::Refused(text) if text.starts_with("GetBucketVersioning: NoRequest (")), "{fault}");
    server.requests();
}

#[tokio::test]
async fn a_refusal_says_what_to_look_for_first() {
    for (status, code, hint) in [
        (403, "AccessDenied", "; is s3:ListBucket granted, and is the bucket's owner the expected one?"),
        (404, "NoSuchBucket", "; does the bucket exist?"),
        (301, "PermanentRedirect", "; is the bucket in another region?"),
        (307, "TemporaryRedirect", "; is the bucket in another region?"),
        (400, "AuthorizationHeaderMalformed", ""),
    ] {
        let server = Server::start(vec![error(status, code)]);
        let fault = server.reader().list(&prefix(), Kind::Objects, None, LIMIT).await.unwrap_err();
        let told = format!("ListObjectsV2: {code} (HTTP {status}, request id REQ1){hint}");
        assert_eq!(fault, Fault::Refused(told));
        server.requests();
    }
}

#[tokio::test]
async fn an_error_that_is_no_xml_is_sorted_by_its_status() {
    let proxy = |status| Answer::Full(status, "<html>Sorry".to_owned());
    let server = Server::start(vec![proxy(503), proxy(502), proxy(403)]);
    for _ in 0..3 {
        let fault = server.reader().list(&prefix(), Kind::Versions, None, LIMIT).await.unwrap_err();
        match &fault {
            Fault::Throttled(text) => assert!(text.starts_with("ListObjectVersions: NoCode (HTTP 503"), "{fault}"),
            Fault::Unavailable(text) => assert!(text.starts_with("ListObjectVersions: NoCode (HTTP 502"), "{fault}"),
            Fault::Refused(text) => assert!(text.starts_with("ListObjectVersions: NoCode (HTTP 403"), "{fault}"),
            Fault::Untrustworthy(_) | Fault::TokenRefused(_) | Fault::Malformed(_) => unreachable!("{fault}"),
        }
    }
    server.requests();
}

#[tokio::test]
async fn the_code_of_a_key_says_whether_it_is_worth_another_try_and_at_what_pace() {
    let codes = [
        ("AccessDenied", false, false),
        ("InternalError", true, true),
        ("OperationAborted", true, false),
        ("RequestTimeout", true, false),
        ("ServiceUnavailable", true, true),
        ("SlowDown", true, true),
        ("ThrottlingException", true, true),
    ];
    let keys: Vec<String> = codes.iter().map(|(code, ..)| format!("u1/{code}")).collect();
    let errors = codes.map(|(code, ..)| format!("<Error><Key>u1/{code}</Key><Code>{code}</Code></Error>")).concat();
    let server = Server::start(vec![full(&format!("<DeleteResult>{errors}</DeleteResult>"))]);
    let items = items(&keys.iter().map(String::as_str).collect::<Vec<_>>());
    let deletion = server.s3().delete(&prefix(), Kind::Objects, &items, LIMIT).await.unwrap();
    let told = deletion.failures.iter().map(|failure| (&*failure.code, failure.is_retryable, failure.is_throttle));
    assert_eq!(told.collect::<Vec<_>>(), codes);
    server.requests();
}
