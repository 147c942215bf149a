//! Receipts: stored once, never overwritten, read back.

use std::time::Duration;

use erase_user_files::config::Encryption;
use erase_user_files::ports::receipts::{PutResult, ReceiptError, Receipts};

use crate::server::{Answer, LIMIT, Server, error, in_time};

const NAME: &str = "e1/hop-000001.json";
const DOCUMENT: &str = r#"{"user":"🦓"}"#;

async fn store(answer: Answer) -> Result<PutResult, ReceiptError> {
    let server = Server::start(vec![answer]);
    let stored = server.receipts().store(NAME, DOCUMENT, LIMIT).await;
    server.requests();
    stored
}

async fn read(answer: Answer) -> Result<Option<String>, ReceiptError> {
    let server = Server::start(vec![answer]);
    let text = server.receipts().read(NAME, LIMIT).await;
    server.requests();
    text
}

/// Says what it is, and nothing that could be a key.
fn check(fault: &ReceiptError, parts: [&str; 2]) {
    let text = fault.to_string();
    for part in [parts[0], parts[1], "REQ1"] {
        assert!(text.contains(part), "{part} is missing in: {text}");
    }
    assert!(!text.contains("secret") && !text.contains("e1"), "it names a key: {text}");
}

#[tokio::test]
async fn receipt_is_stored_only_if_absent() {
    let server = Server::start(vec![Answer::Headers("etag: \"1\"\r\n")]);
    assert_eq!(server.receipts().store(NAME, DOCUMENT, LIMIT).await, Ok(PutResult::Created));
    let request = server.requests().remove(0);
    assert!(request.starts_with("PUT /audit/erasures/e1/hop-000001.json?"), "{request}");
    for header in ["if-none-match: *\r\n", "content-type: application/json\r\n"] {
        assert!(request.contains(header), "{header} is missing in: {request}");
    }
    assert!(request.ends_with(&format!("\r\n\r\n{DOCUMENT}")), "{request}");
    assert_eq!(store(error(412, "PreconditionFailed")).await, Ok(PutResult::AlreadyExists));
}

#[tokio::test]
async fn response_without_etag_stored_nothing() {
    for answer in [Answer::Full(200, String::new()), Answer::Full(200, "<html>Sorry".to_owned())] {
        let fault = store(answer).await.unwrap_err();
        assert_eq!(
            fault,
            ReceiptError::Unavailable("PutObject: the answer has no ETag".to_owned())
        );
    }
}

#[tokio::test]
async fn receipt_uses_the_configured_encryption() {
    let key = "arn:aws:kms:eu-central-1:123456789012:key/1";
    let kms = |key_id: Option<&str>| Encryption::Kms { key_id: key_id.map(str::to_owned) };
    let (sse, key_header) =
        ("x-amz-server-side-encryption", "x-amz-server-side-encryption-aws-kms-key-id");
    for (encryption, header, key_id) in [
        (None, None, None),
        (Some(Encryption::Aes256), Some("AES256"), None),
        (Some(kms(None)), Some("aws:kms"), None),
        (Some(kms(Some(key))), Some("aws:kms"), Some(key)),
    ] {
        let server = Server::start(vec![Answer::Headers("etag: \"1\"\r\n")]);
        let stored = server.receipts_with(encryption).store(NAME, DOCUMENT, LIMIT).await;
        assert_eq!(stored, Ok(PutResult::Created));
        let request = server.requests().remove(0);
        let value = |name: &str| {
            let mut lines = request.lines().filter_map(|line| line.split_once(": "));
            lines.find(|(header, _)| *header == name).map(|(_, value)| value)
        };
        assert_eq!((value(sse), value(key_header)), (header, key_id));
    }
}

#[tokio::test]
async fn receipt_errors_are_classified() {
    for (status, code) in [
        (409, "ConditionalRequestConflict"),
        (409, "OperationAborted"),
        (500, "InternalError"),
        (503, "SlowDown"),
        (400, "RequestTimeout"),
    ] {
        let fault = store(error(status, code)).await.unwrap_err();
        assert!(
            matches!(fault, ReceiptError::Unavailable(_)) && !fault.is_permanent(),
            "{fault:?}"
        );
        check(&fault, ["PutObject", code]);
    }
    for (status, code) in
        [(404, "NoSuchBucket"), (400, "InvalidRequest"), (501, "NotImplemented"), (409, "Other")]
    {
        let fault = store(error(status, code)).await.unwrap_err();
        assert!(matches!(fault, ReceiptError::Permanent(_)) && fault.is_permanent(), "{fault:?}");
        check(&fault, ["PutObject", code]);
    }
    let fault = store(error(403, "AccessDenied")).await.unwrap_err();
    assert!(matches!(fault, ReceiptError::Permanent(_)), "{fault:?}");
    check(&fault, ["AccessDenied", "s3:PutObject"]);
}

#[tokio::test]
async fn stored_receipt_is_read_unchanged() {
    let server = Server::start(vec![Answer::Full(200, DOCUMENT.to_owned())]);
    assert_eq!(server.receipts().read(NAME, LIMIT).await, Ok(Some(DOCUMENT.to_owned())));
    let request = server.requests().remove(0);
    assert!(request.starts_with("GET /audit/erasures/e1/hop-000001.json?"), "{request}");
    assert_eq!(read(error(404, "NoSuchKey")).await, Ok(None));
    // It is no XML, and need not look like it.
    assert_eq!(read(Answer::Full(200, "<a>".to_owned())).await, Ok(Some("<a>".to_owned())));
    let largest = "x".repeat(1_048_576);
    assert_eq!(read(Answer::Full(200, largest.clone())).await, Ok(Some(largest)));
}

#[tokio::test]
async fn invalid_receipt_is_not_read() {
    for answer in [Answer::Full(200, "x".repeat(1_048_577)), Answer::Bytes(vec![b'{', 0xff])] {
        let fault = read(answer).await.unwrap_err();
        assert!(matches!(fault, ReceiptError::Permanent(_)), "{fault:?}");
    }
    let fault = read(error(404, "NoSuchBucket")).await.unwrap_err();
    assert!(matches!(fault, ReceiptError::Permanent(_)), "{fault:?}");
    check(&fault, ["GetObject", "NoSuchBucket"]);
    let fault = read(error(403, "AccessDenied")).await.unwrap_err();
    assert!(matches!(fault, ReceiptError::Permanent(_)), "{fault:?}");
    // Without s3:ListBucket, a receipt that is not there looks like this, too.
    check(&fault, ["s3:GetObject", "s3:ListBucket"]);
    for answer in
        [error(503, "SlowDown"), error(500, "InternalError"), Answer::CutOff(DOCUMENT.to_owned())]
    {
        let fault = read(answer).await.unwrap_err();
        assert!(matches!(fault, ReceiptError::Unavailable(_)), "{fault:?}");
    }
}

#[tokio::test]
async fn hanging_server_takes_no_longer_than_the_limit() {
    let server =
        Server::start(vec![Answer::Hang, Answer::Hang, Answer::Stall(DOCUMENT.to_owned())]);
    let (receipts, limit) = (server.receipts(), Duration::from_millis(200));
    let stored = in_time(receipts.store(NAME, DOCUMENT, limit)).await;
    assert!(matches!(stored, Err(ReceiptError::NoAnswer(_))), "{stored:?}");
    for _ in 0..2 {
        let text = in_time(receipts.read(NAME, limit)).await;
        assert!(matches!(text, Err(ReceiptError::NoAnswer(_))), "{text:?}");
    }
    server.requests();
}
