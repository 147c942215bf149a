//! The scripted server, and what the tests say to it.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::{BehaviorVersion, Credentials, Region};
use erase_user_files::aws::s3::receipts::S3Receipts;
use erase_user_files::aws::s3::store::{S3, S3Reader};
use erase_user_files::aws::sqs::Sqs;
use erase_user_files::config::{Encryption, ReceiptSettings};
use erase_user_files::ports::queue::OutgoingMessage;
use erase_user_files::ports::store::{Item, Kind};
use erase_user_files::target::{AccountId, BucketOwners, Prefix, S3Folder, Target, User};
use tokio::time::timeout;

pub(crate) const LIMIT: Duration = Duration::from_secs(20);
/// Far more than the limit of a request that [`in_time`] sees, and less than the wait for a
/// connection: that must not be what ends the request.
const BY_FAR: Duration = Duration::from_secs(3);
pub(crate) const OWNER: &str = "123456789012";

/// What the server does with one request.
pub(crate) enum Answer {
    /// A whole answer.
    Full(u16, String),
    /// A whole answer that names a region in its header.
    Named(u16, &'static str, String),
    /// A whole answer whose body is any bytes.
    Bytes(Vec<u8>),
    /// HTTP 204 with these headers.
    Headers(&'static str),
    /// An answer that promises more bytes than it sends before it ends the connection.
    CutOff(String),
    /// An answer that promises more bytes than it sends, and then nothing.
    Stall(String),
    /// No answer.
    Hang,
}

/// A server that gives each request an answer, one request after the other.
pub(crate) struct Server {
    endpoint: String,
    expected: Option<usize>,
    thread: JoinHandle<Vec<String>>,
}

impl Server {
    /// Each request gets the next answer of the script.
    pub(crate) fn start(script: Vec<Answer>) -> Self {
        let expected = script.len();
        let mut script = script.into_iter();
        let server = Self::answering(move |_request| {
            script.next().expect("an answer is left in the script")
        });
        Self { expected: Some(expected), ..server }
    }

    /// Each request gets the answer that depends on it.
    pub(crate) fn answering(mut answer: impl FnMut(&str) -> Answer + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let endpoint = format!("http://{}", listener.local_addr().expect("a bound address"));
        let thread = thread::spawn(move || {
            let mut open = Vec::new();
            let mut requests = Vec::new();
            loop {
                let (mut stream, _) = listener.accept().expect("a connection");
                let Some(request) = read_request(&mut stream) else {
                    return requests;
                };
                let answer = answer(&request);
                requests.push(request);
                let sent = match &answer {
                    Answer::Full(status, body) => {
                        respond(&mut stream, *status, "", body.as_bytes(), 0)
                    }
                    Answer::Named(status, region, body) => {
                        let header = format!("x-amz-bucket-region: {region}\r\n");
                        respond(&mut stream, *status, &header, body.as_bytes(), 0)
                    }
                    Answer::Bytes(body) => respond(&mut stream, 200, "", body, 0),
                    Answer::Headers(headers) => respond(&mut stream, 204, headers, &[], 0),
                    Answer::CutOff(body) | Answer::Stall(body) => {
                        respond(&mut stream, 200, "", body.as_bytes(), 100)
                    }
                    Answer::Hang => Ok(()),
                };
                sent.expect("the client listens");
                if let Answer::Stall(_) | Answer::Hang = answer {
                    open.push(stream);
                }
            }
        });
        Self { endpoint, expected: None, thread }
    }

    pub(crate) fn s3(&self) -> S3 {
        S3::new(&self.client(), owners(), false)
    }

    pub(crate) fn s3_that_bypasses(&self) -> S3 {
        S3::new(&self.client(), owners(), true)
    }

    pub(crate) fn reader(&self) -> S3Reader {
        self.reader_of(owners())
    }

    pub(crate) fn reader_of(&self, owners: BucketOwners) -> S3Reader {
        S3Reader::new(&self.client(), owners)
    }

    pub(crate) fn receipts(&self) -> S3Receipts {
        self.receipts_with(None)
    }

    pub(crate) fn receipts_with(&self, encryption: Option<Encryption>) -> S3Receipts {
        let folder = S3Folder::parse("s3://audit/erasures/").expect("a folder");
        let expected_owner = Some(owner());
        S3Receipts::new(&self.client(), ReceiptSettings { folder, expected_owner, encryption })
    }

    fn client(&self) -> aws_sdk_s3::Client {
        let config = aws_sdk_s3::Config::builder()
            .behavior_version(BehaviorVersion::v2026_01_12())
            .region(Region::from_static("eu-central-1"))
            .credentials_provider(Credentials::for_tests())
            .endpoint_url(&self.endpoint)
            .force_path_style(true)
            .retry_config(RetryConfig::disabled())
            .build();
        aws_sdk_s3::Client::from_conf(config)
    }

    pub(crate) fn sqs(&self, queue: &str) -> Sqs {
        let config = aws_sdk_sqs::Config::builder()
            .behavior_version(BehaviorVersion::v2026_01_12())
            .region(Region::from_static("eu-central-1"))
            .credentials_provider(Credentials::for_tests())
            .endpoint_url(&self.endpoint)
            .retry_config(RetryConfig::disabled())
            .build();
        Sqs::new(
            aws_sdk_sqs::Client::from_conf(config),
            format!("{}/{OWNER}/{queue}", self.endpoint),
        )
    }

    /// Its URL.
    pub(crate) fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// All requests: exactly as many as the script has answers, each to S3 with the owner that is
    /// expected.
    pub(crate) fn requests(self) -> Vec<String> {
        let requests = self.requests_of_any_owner();
        for request in
            requests.iter().filter(|request| !request.contains("x-amz-target: AmazonSQS"))
        {
            assert!(
                request.contains(&format!("x-amz-expected-bucket-owner: {OWNER}\r\n")),
                "{request}"
            );
        }
        requests
    }

    /// All requests: exactly as many as the script has answers.
    pub(crate) fn requests_of_any_owner(self) -> Vec<String> {
        // A connection without a word ends the server.
        drop(TcpStream::connect(self.endpoint.trim_start_matches("http://")));
        let requests = self.thread.join().expect("no more requests than the script has answers");
        assert!(
            self.expected.is_none_or(|expected| expected == requests.len()),
            "more was expected: {requests:?}"
        );
        requests
    }
}

/// `None`: the client hung up without a word.
fn read_request(stream: &mut TcpStream) -> Option<String> {
    let mut bytes = Vec::new();
    let mut chunk = [0; 4_096];
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| {
                line.to_lowercase().strip_prefix("content-length: ")?.parse().ok()
            });
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

fn respond(
    stream: &mut TcpStream,
    status: u16,
    headers: &str,
    body: &[u8],
    missing: usize,
) -> std::io::Result<()> {
    let length = body.len() + missing;
    write!(
        stream,
        "HTTP/1.1 {status} Answer\r\ncontent-length: {length}\r\nx-amz-request-id: REQ1\r\n{headers}connection: close\r\n\r\n"
    )?;
    stream.write_all(body)?;
    stream.flush()
}

fn owner() -> AccountId {
    AccountId::parse(OWNER).expect("an account id")
}

/// [`OWNER`] must own all buckets.
pub(crate) fn owners() -> BucketOwners {
    owner().into()
}

pub(crate) fn full(body: &str) -> Answer {
    Answer::Full(200, format!(r#"<?xml version="1.0" encoding="UTF-8"?>{body}"#))
}

pub(crate) fn error(status: u16, code: &str) -> Answer {
    let body = format!("<Error><Code>{code}</Code><Message>users/u1/secret.txt</Message></Error>");
    Answer::Full(status, body)
}

pub(crate) fn prefix() -> Prefix {
    Target::parse("s3://photos/{user_id}/")
        .expect("a target")
        .prefix(&User::parse("u1").expect("an id"))
}

/// Ends a request that has missed its limit by far. No clock is read: both limits are timers, and
/// the request's own timer is checked first if both expire together on a slow machine.
pub(crate) async fn in_time<T>(request: impl Future<Output = T>) -> T {
    timeout(BY_FAR, Box::pin(request)).await.expect("the limit ends the request")
}

pub(crate) fn continuation() -> OutgoingMessage {
    OutgoingMessage {
        body: "{}".to_owned(),
        group: "u1".to_owned(),
        deduplication_id: "e1:1".to_owned(),
        delay: Duration::ZERO,
    }
}

/// Objects to delete.
pub(crate) fn items(keys: &[&str]) -> Vec<Item> {
    let own = |key: &&str| Item {
        kind: Kind::Objects,
        key: prefix().claim((*key).to_owned()).expect("a key of u1"),
        other_key: None,
        id: None,
        bytes: 1,
        last_modified: None,
    };
    keys.iter().map(own).collect()
}

/// Versions, delete markers or uploads to delete: key and id.
pub(crate) fn with_ids(kind: Kind, keys_and_ids: &[(&str, &str)]) -> Vec<Item> {
    let with_id = |(key, id): &(&str, &str)| Item {
        kind,
        id: Some((*id).to_owned()),
        ..items(&[key]).remove(0)
    };
    keys_and_ids.iter().map(with_id).collect()
}
