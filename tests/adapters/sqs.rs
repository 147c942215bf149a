//! The queue.

use std::time::Duration;

use erase_user_files::ports::queue::{OutgoingMessage, Queue, QueueError, ReceiptHandle};

use crate::server::{Answer, LIMIT, OWNER, Server, continuation};

fn sent() -> Answer {
    Answer::Full(
        200,
        r#"{"MessageId":"m1","MD5OfMessageBody":"99914b932bd37a50b983c5e7c90ae93b"}"#.to_owned(),
    )
}

#[tokio::test]
async fn only_fifo_continuations_have_a_deduplication_id() {
    let server = Server::start(vec![sent(), sent()]);
    server.sqs("erase").send(&continuation(), LIMIT).await.unwrap();
    server.sqs("erase.fifo").send(&continuation(), LIMIT).await.unwrap();
    let requests = server.requests();
    assert!(
        requests.iter().all(|request| request.contains(r#""MessageGroupId":"u1""#)),
        "{requests:?}"
    );
    assert!(!requests[0].contains("MessageDeduplicationId"), "{}", requests[0]);
    assert!(requests[1].contains(r#""MessageDeduplicationId":"e1:1""#), "{}", requests[1]);
}

#[tokio::test]
async fn only_standard_queues_delay_continuations() {
    let server = Server::start(vec![sent(), sent(), sent()]);
    let later = OutgoingMessage { delay: Duration::from_secs(900), ..continuation() };
    server.sqs("erase").send(&later, LIMIT).await.unwrap();
    server.sqs("erase.fifo").send(&later, LIMIT).await.unwrap();
    server.sqs("erase").send(&continuation(), LIMIT).await.unwrap();
    let requests = server.requests();
    assert!(requests[0].contains(r#""DelaySeconds":900"#), "{}", requests[0]);
    assert!(requests[1..].iter().all(|request| !request.contains("DelaySeconds")), "{requests:?}");
}

#[tokio::test]
async fn visibility_is_changed_on_the_source_queue() {
    let server = Server::start(vec![Answer::Full(200, "{}".to_owned())]);
    let queue_arn = Some(format!("arn:aws:sqs:eu-central-1:{OWNER}:withdrawals"));
    let received = ReceiptHandle { queue_arn, receipt_handle: "handle".to_owned() };
    server.sqs("erase").set_visibility(&received, Duration::from_secs(40), LIMIT).await.unwrap();
    let request = server.requests().remove(0);
    assert!(request.contains(&format!("/{OWNER}/withdrawals\"")), "{request}");
    assert!(request.contains(r#""VisibilityTimeout":40"#), "{request}");
}

#[tokio::test]
async fn send_requires_message_id_and_matching_body_checksum() {
    for (answer, is_sent) in [
        (r#"{"MessageId":"m1","MD5OfMessageBody":"99914b932bd37a50b983c5e7c90ae93b"}"#, true),
        (r#"{"MessageId":"m1","MD5OfMessageBody":"99914B932BD37A50B983C5E7C90AE93B"}"#, true),
        (r#"{"MessageId":"m1"}"#, true),
        (r#"{"MessageId":"m1","MD5OfMessageBody":"00000000000000000000000000000000"}"#, false),
        (r#"{"MessageId":"","MD5OfMessageBody":"99914b932bd37a50b983c5e7c90ae93b"}"#, false),
        (r#"{"MD5OfMessageBody":"99914b932bd37a50b983c5e7c90ae93b"}"#, false),
        ("{}", false),
        ("", false),
        ("null", false),
        ("<html>Sorry", false),
    ] {
        let server = Server::start(vec![Answer::Full(200, answer.to_owned())]);
        let sent = server.sqs("erase").send(&continuation(), LIMIT).await;
        assert_eq!(sent.is_ok(), is_sent, "{answer}: {sent:?}");
        assert!(sent.err().is_none_or(|fault| !fault.is_permanent()), "{answer}");
        server.requests();
    }
}

#[tokio::test]
async fn failed_sqs_requests_are_classified() {
    let error = |status, code: &str| {
        Answer::Full(
            status,
            format!(r#"{{"__type":"com.amazonaws.sqs#{code}","message":"secret"}}"#),
        )
    };
    for (answer, is_temporary) in [
        (error(400, "RequestThrottled"), true),
        (error(500, "InternalFailure"), true),
        (Answer::Full(503, String::new()), true),
        (error(403, "AccessDeniedException"), false),
        (error(400, "QueueDoesNotExist"), false),
    ] {
        let server = Server::start(vec![answer]);
        let fault = server.sqs("erase").send(&continuation(), LIMIT).await.unwrap_err();
        assert_eq!(matches!(fault, QueueError::Unavailable(_)), is_temporary, "{fault:?}");
        assert_eq!(fault.is_permanent(), !is_temporary, "{fault:?}");
        assert!(!fault.to_string().contains("secret"), "{fault}");
        assert_eq!(server.requests().len(), 1, "the SDK must not repeat requests by itself");
    }
}
