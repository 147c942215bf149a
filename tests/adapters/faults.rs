//! What the adapter reports for requests that failed or had no response.

use std::time::Duration;

use erase_user_files::ports::queue::{Queue, QueueError};
use erase_user_files::ports::store::{DeleteStore, FailureKind, Kind, ReadStore, StoreError};

use crate::server::{Answer, LIMIT, Server, continuation, error, full, in_time, items, prefix};

/// A limit that is over soon.
const SHORT: Duration = Duration::from_millis(100);

#[tokio::test]
async fn unanswered_request_ends_at_its_limit() {
    let server = Server::start(vec![Answer::Hang, Answer::Hang]);
    let listed =
        in_time(server.reader().list(&prefix(), Kind::Objects, None, SHORT)).await.unwrap_err();
    assert!(
        matches!(&listed, StoreError::NoAnswer(text) if text.starts_with("ListObjectsV2: NoAnswerInTime")),
        "{listed}"
    );
    let sent = in_time(server.sqs("erase").send(&continuation(), SHORT)).await.unwrap_err();
    assert_eq!(sent, QueueError::NoAnswer("SendMessage: NoAnswerInTime".to_owned()));
    server.requests();
}

#[tokio::test]
async fn refused_connection_reports_the_system_error() {
    let server = Server::start(vec![]);
    let (reader, sqs) = (server.reader(), server.sqs("erase"));
    server.requests();
    let listed = reader.list(&prefix(), Kind::Objects, None, LIMIT).await.unwrap_err();
    let StoreError::NoAnswer(text) = &listed else { panic!("{listed}") };
    assert!(
        text.starts_with("ListObjectsV2: NoConnection (") && text.contains("refused"),
        "{text}"
    );
    let sent = sqs.send(&continuation(), LIMIT).await.unwrap_err();
    assert_eq!(sent, QueueError::NoAnswer("SendMessage: NoConnection".to_owned()));
}

#[tokio::test]
async fn only_denied_requests_name_what_to_check() {
    for (status, code, hint) in [
        (
            403,
            "AccessDenied",
            "; is s3:ListBucket granted, and is the bucket's owner the expected one?",
        ),
        (403, "SignatureDoesNotMatch", "; are the credentials those of this store?"),
        (403, "InvalidAccessKeyId", "; are the credentials those of this store?"),
        (403, "AllAccessDisabled", ""),
        (404, "NoSuchBucket", "; does the bucket exist?"),
        (404, "NoSuchUpload", ""),
        (301, "PermanentRedirect", "; is the bucket in another region?"),
        (307, "TemporaryRedirect", "; is the bucket in another region?"),
        (400, "AuthorizationHeaderMalformed", "; is the bucket in another region?"),
    ] {
        let server = Server::start(vec![error(status, code)]);
        let fault = server.reader().list(&prefix(), Kind::Objects, None, LIMIT).await.unwrap_err();
        let told = format!("ListObjectsV2: {code} (HTTP {status}, request id REQ1){hint}");
        assert_eq!(fault, StoreError::Permanent(told));
        server.requests();
    }
}

#[tokio::test]
async fn region_in_error_is_reported() {
    let body = "<Error><Code>AuthorizationHeaderMalformed</Code><Message>The authorization header is malformed; the \
                region 'us-east-1' is wrong; expecting 'eu-west-1'</Message><Region>eu-west-1</Region></Error>";
    let server = Server::start(vec![
        Answer::Full(400, body.to_owned()),
        Answer::Full(400, body.replace("eu-west-1</Region>", "eu-north-1</Region>")),
    ]);
    let fault =
        server.reader().list(&prefix(), Kind::Objects, None, LIMIT).await.unwrap_err().to_string();
    assert!(
        fault.contains("the region 'us-east-1' is wrong")
            && fault.ends_with("the bucket is in region eu-north-1")
    );
    server.requests();
    let odd = "<Error><Code>PermanentRedirect</Code><Region>u1/secret</Region></Error>";
    let server = Server::start(vec![Answer::Full(301, odd.to_owned())]);
    let fault =
        server.reader().list(&prefix(), Kind::Objects, None, LIMIT).await.unwrap_err().to_string();
    assert!(fault.ends_with("; is the bucket in another region?"), "{fault}");
    server.requests();
}

#[tokio::test]
async fn errors_report_the_bucket_region_unless_it_is_the_client_region() {
    let answer = |code: &str| format!("<Error><Code>{code}</Code></Error>");
    let denied = "; is s3:ListBucket granted, and is the bucket's owner the expected one?";
    let elsewhere = || Answer::Named(301, "eu-north-1", String::new());
    for (status, region, code, end) in [
        (400, "eu-west-1", "IncorrectEndpoint", "; the bucket is in region eu-west-1".to_owned()),
        (400, "eu-west-1", "InvalidRequest", "; the bucket is in region eu-west-1".to_owned()),
        (403, "eu-west-1", "AccessDenied", format!("{denied}; the bucket is in region eu-west-1")),
        (503, "eu-west-1", "SlowDown", "; the bucket is in region eu-west-1".to_owned()),
        (400, "eu-north-1", "InvalidRequest", "request id REQ1)".to_owned()),
        (403, "eu-north-1", "AccessDenied", denied.to_owned()),
    ] {
        // The answer of the other region counts: the request is sent only once more.
        let server = Server::start(vec![elsewhere(), Answer::Named(status, region, answer(code))]);
        let fault = server
            .reader()
            .list(&prefix(), Kind::Objects, None, LIMIT)
            .await
            .unwrap_err()
            .to_string();
        assert!(fault.ends_with(&end), "{fault}");
        server.requests();
    }
}

#[tokio::test]
async fn response_of_another_operation_is_classified() {
    let buckets = || full("<ListAllMyBucketsResult><Buckets/></ListAllMyBucketsResult>");
    let server = Server::start(vec![buckets(), buckets(), buckets(), buckets(), buckets()]);
    let (reader, s3) = (server.reader(), server.s3());
    let mut faults = vec![reader.is_versioned(&prefix(), LIMIT).await.unwrap_err()];
    for kind in [Kind::Objects, Kind::Versions, Kind::Uploads] {
        faults.push(reader.list(&prefix(), kind, None, LIMIT).await.unwrap_err());
    }
    faults.push(s3.delete(&prefix(), &items(&["u1/a"]), LIMIT).await.unwrap_err());
    for fault in faults {
        assert!(matches!(fault, StoreError::Inconsistent(_)), "{fault:?}");
        let hint = "the answer is a ListAllMyBucketsResult: are the endpoint and S3_FORCE_PATH_STYLE right?";
        assert!(fault.to_string().ends_with(hint), "{fault}");
    }
    server.requests();
}

#[tokio::test]
async fn error_message_is_kept_without_possible_keys() {
    let with = |message: &str| {
        Answer::Full(
            400,
            format!("<Error><Code>InvalidRequest</Code><Message>{message}</Message></Error>"),
        )
    };
    let missing = "Missing required header for this request: Content-MD5";
    let script = [
        missing,
        "u1/My secret photo.jpg is odd",
        "the id u1 is odd",
        "the name 'My secret photo' is odd",
    ];
    let server = Server::start(script.map(with).into());
    let s3 = server.s3();
    let mut faults = Vec::new();
    for _ in 0..4 {
        faults.push(
            s3.delete(&prefix(), &items(&["u1/My secret photo.jpg"]), LIMIT)
                .await
                .unwrap_err()
                .to_string(),
        );
    }
    assert!(
        faults[0].ends_with(&format!("InvalidRequest (HTTP 400, request id REQ1): {missing}")),
        "{}",
        faults[0]
    );
    for fault in &faults[1..] {
        assert!(!["u1", "secret", "photo"].into_iter().any(|part| fault.contains(part)), "{fault}");
    }
    server.requests();
}

#[tokio::test]
async fn error_without_xml_is_classified_by_status() {
    let proxy = |status| Answer::Full(status, "<html>Sorry".to_owned());
    let server = Server::start(vec![proxy(503), proxy(502), proxy(403)]);
    for _ in 0..3 {
        let fault = server.reader().list(&prefix(), Kind::Versions, None, LIMIT).await.unwrap_err();
        match &fault {
            StoreError::Throttled(text) => {
                assert!(text.starts_with("ListObjectVersions: NoCode (HTTP 503"), "{fault}");
            }
            StoreError::Unavailable(text) => {
                assert!(text.starts_with("ListObjectVersions: NoCode (HTTP 502"), "{fault}");
            }
            StoreError::Permanent(text) => {
                assert!(text.starts_with("ListObjectVersions: NoCode (HTTP 403"), "{fault}");
            }
            StoreError::NoAnswer(_)
            | StoreError::Inconsistent(_)
            | StoreError::TokenRejected(_)
            | StoreError::Malformed(_) => {
                unreachable!("{fault}")
            }
        }
    }
    server.requests();
}

#[tokio::test]
async fn key_error_code_determines_retry_and_throttling() {
    let codes = [
        ("AccessDenied", FailureKind::Denied),
        ("CodeOf2030", FailureKind::Other),
        ("InternalError", FailureKind::Throttled),
        ("InternalServerError", FailureKind::Throttled),
        ("NoSuchVersion", FailureKind::NotFound),
        ("OperationAborted", FailureKind::Transient),
        ("RequestLimitExceeded", FailureKind::Throttled),
        ("RequestTimeout", FailureKind::Transient),
        ("ServiceUnavailable", FailureKind::Throttled),
        ("SlowDown", FailureKind::Throttled),
        ("SlowDownRead", FailureKind::Throttled),
        ("SlowDownWrite", FailureKind::Throttled),
        ("Throttling", FailureKind::Throttled),
        ("ThrottlingException", FailureKind::Throttled),
        ("TooManyRequestsException", FailureKind::Throttled),
    ];
    let keys: Vec<String> = codes.iter().map(|(code, ..)| format!("u1/{code}")).collect();
    let errors = codes
        .map(|(code, ..)| format!("<Error><Key>u1/{code}</Key><Code>{code}</Code></Error>"))
        .concat();
    let server = Server::start(vec![full(&format!("<DeleteResult>{errors}</DeleteResult>"))]);
    let items = items(&keys.iter().map(String::as_str).collect::<Vec<_>>());
    let deletion = server.s3().delete(&prefix(), &items, LIMIT).await.unwrap();
    let told = deletion.failures.iter().map(|failure| (&*failure.code, failure.kind));
    assert_eq!(told.collect::<Vec<_>>(), codes);
    server.requests();
}
