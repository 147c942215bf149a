//! The adapters against real HTTP: recorded answers of S3 and SQS, good and bad, from a scripted server.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::num::NonZeroU32;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::{BehaviorVersion, Credentials, Region};
use erase_user_files::bucket::s3::S3;
use erase_user_files::bucket::{Bucket, Fault, Item};
use erase_user_files::eraser::{End, Eraser, Job};
use erase_user_files::pace::Pace;
use erase_user_files::queue::sqs::Sqs;
use erase_user_files::queue::{Outgoing, Queue, QueueFault, Received};
use erase_user_files::tally::Counters;
use erase_user_files::target::{Prefix, Target, Targets, UserId};

const LIMIT: Duration = Duration::from_secs(20);
const OWNER: &str = "123456789012";

/// What the server does with one request.
enum Answer {
    /// A whole answer.
    Full(u16, String),
    /// An answer that promises more bytes than it sends.
    CutOff(String),
    /// No answer.
    Hang,
}

/// A server that gives each request the next answer of its script.
struct Server {
    endpoint: String,
    thread: JoinHandle<Vec<String>>,
}

impl Server {
    fn start(script: Vec<Answer>) -> Self {
        Self::start_and_also(|_request| None, script)
    }

    /// As `start`, but first asks `also`, whose answers stand outside the script.
    fn start_and_also(also: fn(&str) -> Option<Answer>, script: Vec<Answer>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let endpoint = format!("http://{}", listener.local_addr().expect("a bound address"));
        let thread = thread::spawn(move || {
            let mut hanging = Vec::new();
            let mut requests = Vec::new();
            let mut script = script.into_iter().peekable();
            while script.peek().is_some() {
                let (mut stream, _) = listener.accept().expect("a connection");
                let request = read_request(&mut stream).expect("as many requests as the script has answers");
                let answer = also(&request).or_else(|| script.next()).expect("an answer is left");
                requests.push(request);
                let sent = match answer {
                    Answer::Full(status, body) => respond(&mut stream, status, &body, body.len()),
                    Answer::CutOff(body) => respond(&mut stream, 200, &body, body.len() + 100),
                    Answer::Hang => {
                        hanging.push(stream);
                        Ok(())
                    }
                };
                sent.expect("the client listens");
            }
            requests
        });
        Self { endpoint, thread }
    }

    fn s3(&self) -> S3 {
        let config = aws_sdk_s3::Config::builder()
            .behavior_version(BehaviorVersion::v2026_01_12())
            .region(Region::from_static("eu-central-1"))
            .credentials_provider(Credentials::for_tests())
            .endpoint_url(&self.endpoint)
            .force_path_style(true)
            .retry_config(RetryConfig::disabled())
            .build();
        S3::new(&aws_sdk_s3::Client::from_conf(config), Some(OWNER.to_owned()))
    }

    fn sqs(&self, queue: &str) -> Sqs {
        let config = aws_sdk_sqs::Config::builder()
            .behavior_version(BehaviorVersion::v2026_01_12())
            .region(Region::from_static("eu-central-1"))
            .credentials_provider(Credentials::for_tests())
            .endpoint_url(&self.endpoint)
            .retry_config(RetryConfig::disabled())
            .build();
        Sqs::new(aws_sdk_sqs::Client::from_conf(config), format!("{}/{OWNER}/{queue}", self.endpoint))
    }

    /// All requests, if the whole script was played.
    fn requests(self) -> Vec<String> {
        // Should the server still wait for a request: one without a word ends it.
        drop(TcpStream::connect(self.endpoint.trim_start_matches("http://")));
        self.thread.join().expect("the script was played to its end")
    }
}

/// `None`: the client hung up without a word.
fn read_request(stream: &mut TcpStream) -> Option<String> {
    let mut bytes = Vec::new();
    let mut chunk = [0; 4_096];
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length =
                head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
            if body.len() >= length.unwrap_or(0) {
                return Some(text);
            }
        }
        let read = stream.read(&mut chunk).expect("a whole request");
        if read == 0 {
            assert!(bytes.is_empty(), "the client hung up in the middle of a request");
            return None;
        }
        bytes.extend_from_slice(&chunk[..read]);
    }
}

fn respond(stream: &mut TcpStream, status: u16, body: &str, length: usize) -> std::io::Result<()> {
    write!(
        stream,
        "HTTP/1.1 {status} Answer\r\ncontent-length: {length}\r\nx-amz-request-id: REQ1\r\nconnection: close\r\n\r\n{body}"
    )?;
    stream.flush()
}

fn full(body: &str) -> Answer {
    Answer::Full(200, format!(r#"<?xml version="1.0" encoding="UTF-8"?>{body}"#))
}

fn error(status: u16, code: &str) -> Answer {
    let body = format!("<Error><Code>{code}</Code><Message>users/u1/secret.txt</Message></Error>");
    Answer::Full(status, body)
}

fn listing(rest: &str) -> Answer {
    full(&format!("<ListBucketResult><Name>photos</Name>{rest}</ListBucketResult>"))
}

fn prefix() -> Prefix {
    Target::parse("s3://photos/{user_id}/").expect("a target").prefix(&UserId::parse("u1").expect("an id"))
}

fn items(keys: &[&str]) -> Vec<Item> {
    let own = |key: &&str| Item { key: prefix().own((*key).to_owned()).expect("a key of u1"), bytes: 1 };
    keys.iter().map(own).collect()
}

/// The failures of one delete request: (index, code, retryable, throttle).
async fn delete(answer: Answer, keys: &[&str]) -> Result<Vec<(usize, String, bool, bool)>, Fault> {
    let server = Server::start(vec![answer]);
    let deletion = server.s3().delete(&prefix(), &items(keys), LIMIT).await;
    assert_eq!(server.requests().len(), 1, "the SDK must not repeat requests by itself");
    let mut failures: Vec<_> =
        deletion?.failures.into_iter().map(|f| (f.index, f.code, f.is_retryable, f.is_throttle)).collect();
    failures.sort();
    Ok(failures)
}

async fn list(answer: Answer, token: Option<&str>) -> Result<erase_user_files::bucket::Page, Fault> {
    let server = Server::start(vec![answer]);
    let page = server.s3().list(&prefix(), token, LIMIT).await;
    assert_eq!(server.requests().len(), 1, "the SDK must not repeat requests by itself");
    page
}

#[tokio::test]
async fn errors_inside_a_200_are_read_key_by_key() {
    let answer = full(
        "<DeleteResult><Deleted><Key>u1/gone</Key></Deleted>\
         <Error><Key>u1/slow</Key><Code>SlowDown</Code></Error>\
         <Error><Key>u1/internal</Key><Code>InternalError</Code></Error>\
         <Error><Key>u1/denied</Key><Code>AccessDenied</Code></Error>\
         <Error><Key>u1/never-there</Key><Code>NoSuchKey</Code></Error>\
         <Error><Key>u1/news</Key><Code>CodeOf2030</Code></Error>\
         <Error><Key>u1/odd</Key><Code>no code: u1/odd</Code></Error></DeleteResult>",
    );
    let keys =
        ["u1/gone", "u1/slow", "u1/internal", "u1/denied", "u1/never-there", "u1/news", "u1/unmentioned", "u1/odd"];
    let failures = delete(answer, &keys).await.unwrap();
    let expected = [
        (1, "SlowDown", true, true),
        (2, "InternalError", true, false),
        (3, "AccessDenied", false, false),
        (5, "CodeOf2030", false, false),
        (6, "Unanswered", true, false),
        (7, "OddCode", false, false),
    ];
    assert_eq!(failures, expected.map(|(index, code, retry, slow)| (index, code.to_owned(), retry, slow)));
}

#[tokio::test]
async fn an_answer_about_other_keys_is_a_failed_batch() {
    for body in [
        "<DeleteResult><Deleted><Key>u1/a</Key></Deleted><Deleted><Key>u2/b</Key></Deleted></DeleteResult>",
        "<DeleteResult><Deleted><Key>u1/a</Key></Deleted><Error><Key>u2/b</Key><Code>SlowDown</Code></Error></DeleteResult>",
        "<DeleteResult><Deleted><Key>u1/a</Key></Deleted><Error><Code>AccessDenied</Code></Error></DeleteResult>",
        "<DeleteResult><Deleted><VersionId>1</VersionId></Deleted></DeleteResult>",
    ] {
        let answer = delete(full(body), &["u1/a", "u1/b"]).await;
        assert!(matches!(answer, Err(Fault::Untrustworthy(_))), "{body}: {answer:?}");
    }
}

#[tokio::test]
async fn failed_requests_are_sorted_by_what_to_do_about_them() {
    type IsExpected = fn(&Fault) -> bool;
    let throttled: IsExpected = |fault| matches!(fault, Fault::Throttled(_));
    let unavailable: IsExpected = |fault| matches!(fault, Fault::Unavailable(_));
    let refused: IsExpected = |fault| matches!(fault, Fault::Refused(_));
    let malformed: IsExpected = |fault| matches!(fault, Fault::Malformed(_));
    let half = r#"<?xml version="1.0"?><DeleteResult><Deleted><Key>u1/a</Key>"#;
    for (name, answer, is_expected) in [
        ("503 SlowDown", error(503, "SlowDown"), throttled),
        ("503 without a body", Answer::Full(503, String::new()), throttled),
        ("200 with SlowDown as its root", full("<Error><Code>SlowDown</Code></Error>"), throttled),
        ("200 with InternalError as its root", full("<Error><Code>InternalError</Code></Error>"), unavailable),
        ("500", error(500, "InternalError"), unavailable),
        ("502 of a proxy", Answer::Full(502, "<html>Bad gateway</html>".to_owned()), unavailable),
        ("400 RequestTimeout", error(400, "RequestTimeout"), unavailable),
        ("409 OperationAborted", error(409, "OperationAborted"), unavailable),
        ("400 MalformedXML", error(400, "MalformedXML"), malformed),
        ("403", error(403, "AccessDenied"), refused),
        ("404", error(404, "NoSuchBucket"), refused),
        ("301 of another region", error(301, "PermanentRedirect"), refused),
        ("connection closed in the body", Answer::CutOff(half.to_owned()), unavailable),
    ] {
        let fault = delete(answer, &["u1/a", "u1/b"]).await.unwrap_err();
        assert!(is_expected(&fault), "{name}: {fault:?}");
        assert!(!fault.to_string().contains("secret"), "{name} repeats a key: {fault}");
    }
}

#[tokio::test]
async fn a_body_that_ends_too_early_confirms_nothing_that_it_does_not_name() {
    let half = r#"<?xml version="1.0"?><DeleteResult><Deleted><Key>u1/a</Key></Deleted><Deleted>"#;
    match delete(Answer::Full(200, half.to_owned()), &["u1/a", "u1/b"]).await {
        Ok(failures) => assert_eq!(failures, [(1, "Unanswered".to_owned(), true, false)]),
        Err(fault) => assert!(matches!(fault, Fault::Unavailable(_) | Fault::Untrustworthy(_)), "{fault:?}"),
    }
}

#[tokio::test]
async fn a_missing_permission_is_named_with_code_and_request_id() {
    let fault = list(error(403, "AccessDenied"), None).await.unwrap_err();
    let text = fault.to_string();
    for part in ["ListObjectsV2", "AccessDenied", "HTTP 403", "REQ1", "s3:ListBucket"] {
        assert!(text.contains(part), "{part} is missing in: {text}");
    }
}

#[tokio::test]
async fn a_server_that_hangs_costs_no_more_than_the_limit() {
    let server = Server::start(vec![Answer::Hang, Answer::Hang, Answer::Hang]);
    let (s3, limit) = (server.s3(), Duration::from_millis(200));
    let start = tokio::time::Instant::now();
    assert!(matches!(s3.list(&prefix(), None, limit).await, Err(Fault::Unavailable(_))));
    assert!(matches!(s3.delete(&prefix(), &items(&["u1/a", "u1/b"]), limit).await, Err(Fault::Unavailable(_))));
    let single = s3.delete(&prefix(), &items(&["u1/\u{1}"]), limit).await.unwrap();
    assert!(single.failures[0].is_retryable, "{single:?}");
    assert!(start.elapsed() < LIMIT, "the limit was 3 times 200 ms, it took {:?}", start.elapsed());
    server.requests();
}

#[tokio::test]
async fn listed_keys_are_decoded_once() {
    let answer = listing(
        "<Prefix>u1/</Prefix><KeyCount>4</KeyCount><EncodingType>url</EncodingType><IsTruncated>false</IsTruncated>\
         <Contents><Key>u1/a+b%2Bc%20d</Key><Size>7</Size><LastModified>2026-01-31T12:00:00.000Z</LastModified></Contents>\
         <Contents><Key>u1/%2525</Key><Size>0</Size></Contents>\
         <Contents><Key>u1/%01%EF%BF%BE%0D</Key></Contents>\
         <Contents><Key>u1/%F0%9F%A6%93%26lt%3B&amp;</Key></Contents>",
    );
    let page = list(answer, None).await.unwrap();
    let keys: Vec<&str> = page.objects.iter().map(|object| object.key.as_str()).collect();
    assert_eq!(keys, ["u1/a b+c d", "u1/%25", "u1/\u{1}\u{fffe}\r", "u1/🦓&lt;&"]);
    assert_eq!(page.objects[0].bytes, 7);
    assert_eq!(page.objects[0].last_modified.map(|at| at.unix_timestamp()), Some(1_769_860_800));
    assert_eq!(page.next, None);
}

#[tokio::test]
async fn keys_of_a_store_that_does_not_encode_are_taken_as_they_are() {
    let answer = listing("<IsTruncated>false</IsTruncated><Contents><Key>u1/a+b%2F</Key></Contents>");
    assert_eq!(list(answer, None).await.unwrap().objects[0].key, "u1/a+b%2F");
}

#[tokio::test]
async fn a_page_that_cannot_be_true_is_never_the_end_of_a_listing() {
    let more = "<IsTruncated>true</IsTruncated>";
    let end = "<IsTruncated>false</IsTruncated>";
    for (name, rest) in [
        ("no IsTruncated", String::new()),
        ("more without a token", more.to_owned()),
        ("more with an empty token", format!("{more}<NextContinuationToken></NextContinuationToken>")),
        ("the same token again", format!("{more}<NextContinuationToken>t1</NextContinuationToken>")),
        ("fewer keys than it says", format!("<KeyCount>2</KeyCount>{end}<Contents><Key>u1/a</Key></Contents>")),
        ("another prefix", format!("<Prefix>u10/</Prefix>{end}")),
        ("an object without a key", format!("{end}<Contents><Size>1</Size></Contents>")),
        ("a broken escape", format!("<EncodingType>url</EncodingType>{end}<Contents><Key>u1/%zz</Key></Contents>")),
        ("a cut escape", format!("<EncodingType>url</EncodingType>{end}<Contents><Key>u1/%e</Key></Contents>")),
        ("no UTF-8", format!("<EncodingType>url</EncodingType>{end}<Contents><Key>u1/%ff</Key></Contents>")),
    ] {
        let page = list(listing(&rest), Some("t1")).await;
        assert!(matches!(page, Err(Fault::Untrustworthy(_))), "{name}: {page:?}");
    }
    for (name, answer) in [
        ("cut off", Answer::CutOff(r#"<?xml version="1.0"?><ListBucketResult><IsTruncated>false"#.to_owned())),
        ("half a document", Answer::Full(200, r#"<?xml version="1.0"?><ListBucketResult>"#.to_owned())),
        ("cut before the objects", full("<ListBucketResult><IsTruncated>false</IsTruncated><Cont")),
        ("cut between tags", full("<ListBucketResult><IsTruncated>false</IsTruncated><Contents/>")),
        ("an empty body", Answer::Full(200, String::new())),
        ("an error as a 200", full("<Error><Code>InternalError</Code></Error>")),
        ("a page of a proxy", Answer::Full(200, "<html>welcome</html>".to_owned())),
    ] {
        let page = list(answer, None).await;
        assert!(matches!(page, Err(Fault::Untrustworthy(_) | Fault::Unavailable(_))), "{name}: {page:?}");
    }
}

#[tokio::test]
async fn a_short_or_empty_page_with_a_token_is_not_the_end() {
    let answer = listing(
        "<KeyCount>0</KeyCount><IsTruncated>true</IsTruncated><NextContinuationToken>t2</NextContinuationToken>",
    );
    let page = list(answer, Some("t1")).await.unwrap();
    assert_eq!((page.objects.len(), page.next.as_deref()), (0, Some("t2")));
}

#[tokio::test]
async fn only_a_refused_token_means_begin_again() {
    let with_token = list(error(400, "InvalidArgument"), Some("t1")).await;
    assert!(matches!(with_token, Err(Fault::TokenRefused(_))), "{with_token:?}");
    let by_another_name = list(error(400, "ExpiredContinuationToken"), Some("t1")).await;
    assert!(matches!(by_another_name, Err(Fault::TokenRefused(_))), "{by_another_name:?}");
    let not_now = list(error(503, "SlowDown"), Some("t1")).await;
    assert!(matches!(not_now, Err(Fault::Throttled(_))), "{not_now:?}");
    let without = list(error(400, "InvalidArgument"), None).await;
    assert!(matches!(without, Err(Fault::Refused(_))), "{without:?}");
}

#[tokio::test]
async fn every_request_names_the_expected_owner_and_listings_ask_for_encoding() {
    let nothing = || Answer::Full(200, "<DeleteResult/>".to_owned());
    let unversioned = full(r#"<VersioningConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/"/>"#);
    let server = Server::start(vec![
        unversioned,
        listing("<IsTruncated>false</IsTruncated>"),
        nothing(),
        Answer::Full(204, String::new()),
    ]);
    let s3 = server.s3();
    s3.check("photos", LIMIT).await.unwrap();
    s3.list(&prefix(), Some("t 1"), LIMIT).await.unwrap();
    s3.delete(&prefix(), &items(&["u1/a", "u1/b\r<&>'\" "]), LIMIT).await.unwrap();
    s3.delete(&prefix(), &items(&["u1/\u{1f}c"]), LIMIT).await.unwrap();
    let requests = server.requests();
    for request in &requests {
        assert!(request.contains(&format!("x-amz-expected-bucket-owner: {OWNER}")), "{request}");
    }
    for part in ["GET /photos", "list-type=2", "encoding-type=url", "prefix=u1%2F", "continuation-token=t%201"] {
        assert!(requests[1].contains(part), "{part} is missing in: {}", requests[1]);
    }
    let batch = &requests[2];
    assert!(batch.starts_with("POST /photos") && batch.contains("x-amz-checksum-crc32"), "{batch}");
    assert!(batch.contains("<Key>u1/b&#xD;&lt;&amp;&gt;&apos;&quot; </Key>"), "{batch}");
    assert!(!batch.contains("VersionId"), "no version ids for a bucket without versions: {batch}");
    assert!(requests[3].starts_with("DELETE /photos/u1/%1Fc?x-id=DeleteObject"), "{}", requests[3]);
}

#[tokio::test]
async fn a_bucket_with_versioning_is_refused_because_a_delete_would_only_hide() {
    for status in ["Enabled", "Suspended"] {
        let body = format!("<VersioningConfiguration><Status>{status}</Status></VersioningConfiguration>");
        let server = Server::start(vec![full(&body)]);
        let fault = server.s3().check("photos", LIMIT).await.unwrap_err();
        assert!(matches!(&fault, Fault::Refused(text) if text.contains(status)), "{fault:?}");
        server.requests();
    }
    // A store that knows no versioning has none.
    let server = Server::start(vec![error(501, "NotImplemented")]);
    assert_eq!(server.s3().check("photos", LIMIT).await, Ok(()));
    server.requests();
    // And a state that was cut off is no state.
    let server = Server::start(vec![full("<VersioningConfiguration>")]);
    assert!(matches!(server.s3().check("photos", LIMIT).await, Err(Fault::Unavailable(_))));
    server.requests();
}

#[tokio::test]
async fn dot_segments_are_taken_literally_and_stay_out_of_urls_where_they_can() {
    let answer = full("<DeleteResult><Deleted><Key>u1/../u10/x</Key></Deleted></DeleteResult>");
    let server = Server::start(vec![answer, Answer::Full(204, String::new())]);
    let keys = ["u1/../u10/x", "u1/\u{1}/../../u10/x"];
    let deletion = server.s3().delete(&prefix(), &items(&keys), LIMIT).await.unwrap();
    assert_eq!((deletion.requests, deletion.failures), (2, vec![]));
    let requests = server.requests();
    assert!(requests[0].starts_with("POST /photos") && requests[0].contains("<Key>u1/../u10/x</Key>"), "{requests:?}");
    assert!(requests[1].starts_with("DELETE /photos/u1/%01/../../u10/x?"), "{requests:?}");
}

#[tokio::test]
async fn a_refusal_that_holds_for_all_keys_is_not_blamed_on_one() {
    let server = Server::start(vec![error(404, "NoSuchBucket")]);
    let answer = server.s3().delete(&prefix(), &items(&["u1/\u{1}"]), LIMIT).await;
    assert!(matches!(answer, Err(Fault::Refused(_))), "{answer:?}");
    server.requests();
}

#[tokio::test]
async fn keys_that_xml_cannot_carry_go_one_by_one() {
    let deleted = || Answer::Full(204, String::new());
    let server = Server::start(vec![
        full("<DeleteResult><Deleted><Key>u1/a</Key></Deleted><Deleted><Key>u1/\tb</Key></Deleted></DeleteResult>"),
        deleted(),
        error(403, "AccessDenied"),
        error(503, "SlowDown"),
    ]);
    let keys = ["u1/\u{1}", "u1/a", "u1/\u{1}", "u1/\tb", "u1/\u{1}"];
    let deletion = server.s3().delete(&prefix(), &items(&keys), LIMIT).await.unwrap();
    assert_eq!(deletion.requests, 4);
    let mut codes: Vec<_> =
        deletion.failures.iter().map(|f| (f.code.as_str(), f.is_retryable, f.is_throttle)).collect();
    codes.sort_unstable();
    assert_eq!(codes, [("AccessDenied", false, false), ("SlowDown", true, true)]);
    let requests = server.requests();
    assert!(!requests[0].contains('\u{1}'), "{}", requests[0]);
    assert!(requests[1..].iter().all(|request| request.starts_with("DELETE /photos/u1/%01?")), "{requests:?}");
}

#[tokio::test]
async fn a_throttled_batch_comes_back_in_two_halves() {
    let page = |keys: &str| listing(&format!("<IsTruncated>false</IsTruncated><EncodingType>url</EncodingType>{keys}"));
    let contents: String = ["a", "b", "c", "d"].map(|key| format!("<Contents><Key>u1/{key}</Key></Contents>")).concat();
    let deleted = |keys: [&str; 2]| {
        full(&format!(
            "<DeleteResult>{}</DeleteResult>",
            keys.map(|k| format!("<Deleted><Key>u1/{k}</Key></Deleted>")).concat()
        ))
    };
    let unversioned = |request: &str| request.contains("?versioning").then(|| full("<VersioningConfiguration/>"));
    let server = Server::start_and_also(
        unversioned,
        vec![page(&contents), error(503, "SlowDown"), deleted(["a", "b"]), deleted(["c", "d"]), page("")],
    );
    let (s3, user) = (server.s3(), UserId::parse("u1").unwrap());
    let targets = Targets::parse("s3://photos/{user_id}/").unwrap();
    let pace = Pace::new(None, NonZeroU32::MIN, 1);
    let counters = Counters::default();
    let stop = tokio::time::Instant::now() + LIMIT;
    let job = Job { targets: &targets, user: &user, erase_before: None, stop };
    let end = Eraser::new(&s3, &pace, &counters, job).erase(&mut Default::default()).await;
    assert_eq!(end.end, End::Erased);
    let hop = counters.hop();
    assert_eq!((hop.objects, hop.throttles, hop.retries), (4, 1, 2));
    let batch_sizes: Vec<usize> =
        server.requests().iter().filter(|r| r.starts_with("POST")).map(|r| r.matches("<Key>").count()).collect();
    assert_eq!(batch_sizes, [4, 2, 2]);
}

fn continuation() -> Outgoing {
    Outgoing { body: "{}".to_owned(), group: "u1".to_owned(), deduplication_id: "e1:1".to_owned() }
}

#[tokio::test]
async fn a_continuation_has_a_group_on_every_queue_and_a_deduplication_id_on_fifo_only() {
    let sent =
        || Answer::Full(200, r#"{"MessageId":"m1","MD5OfMessageBody":"99914b932bd37a50b983c5e7c90ae93b"}"#.to_owned());
    let server = Server::start(vec![sent(), sent()]);
    server.sqs("erase").send(&continuation(), LIMIT).await.unwrap();
    server.sqs("erase.fifo").send(&continuation(), LIMIT).await.unwrap();
    let requests = server.requests();
    assert!(requests.iter().all(|request| request.contains(r#""MessageGroupId":"u1""#)), "{requests:?}");
    assert!(!requests[0].contains("MessageDeduplicationId"), "{}", requests[0]);
    assert!(requests[1].contains(r#""MessageDeduplicationId":"e1:1""#), "{}", requests[1]);
}

#[tokio::test]
async fn a_message_is_given_back_to_the_queue_that_it_came_from() {
    let server = Server::start(vec![Answer::Full(200, "{}".to_owned())]);
    let queue_arn = Some(format!("arn:aws:sqs:eu-central-1:{OWNER}:withdrawals"));
    let received = Received { queue_arn, receipt_handle: "handle".to_owned() };
    server.sqs("erase").set_visibility(&received, Duration::from_secs(40), LIMIT).await.unwrap();
    let request = server.requests().remove(0);
    assert!(request.contains(&format!("/{OWNER}/withdrawals\"")), "{request}");
    assert!(request.contains(r#""VisibilityTimeout":40"#), "{request}");
}

#[tokio::test]
async fn failed_requests_to_sqs_are_sorted_by_what_to_do_about_them() {
    let error = |status, code: &str| {
        Answer::Full(status, format!(r#"{{"__type":"com.amazonaws.sqs#{code}","message":"secret"}}"#))
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
        assert_eq!(matches!(fault, QueueFault::Unavailable(_)), is_temporary, "{fault:?}");
        assert!(!fault.to_string().contains("secret"), "{fault}");
        assert_eq!(server.requests().len(), 1, "the SDK must not repeat requests by itself");
    }
}
