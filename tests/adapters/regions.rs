//! Buckets in other regions: the region is learned from S3's answer, for every request alike.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::{BehaviorVersion, Credentials, Region};
use aws_smithy_runtime_api::client::http::{
    HttpConnector, HttpConnectorFuture, SharedHttpConnector, http_client_fn,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_types::body::SdkBody;
use erase_user_files::aws::s3::store::{S3, S3Reader};
use erase_user_files::ports::receipts::{ReceiptError, Receipts};
use erase_user_files::ports::store::{DeleteStore, Kind, ReadStore, StoreError};
use erase_user_files::target::{BucketOwners, Prefix, Target, User};
use tokio::time::sleep;

use crate::server::{
    Answer, LIMIT, OWNER, Server, error, full, in_time, items, owners, prefix, with_ids,
};

/// The region of the function; see `server.rs`.
const OWN: &str = "eu-central-1";
const OTHER: &str = "eu-west-1";
const THIRD: &str = "eu-north-1";

/// The region that a request was signed for.
fn region_of(request: &str) -> &str {
    let credential = request.split_once("Credential=").expect("a signed request").1;
    credential.split('/').nth(2).expect("a region")
}

fn regions_of(requests: &[String]) -> Vec<&str> {
    requests.iter().map(|request| region_of(request)).collect()
}

fn body(code: &str, rest: &str) -> String {
    format!("<Error><Code>{code}</Code><Message>Elsewhere</Message>{rest}</Error>")
}

/// S3's answer of another region, with the region in the header.
fn elsewhere(region: &'static str) -> Answer {
    Answer::Named(301, region, body("PermanentRedirect", ""))
}

/// S3's answer of another region, with the region in the body.
fn in_body(status: u16, code: &str) -> Answer {
    Answer::Full(status, body(code, "<Region>eu-west-1</Region>"))
}

fn empty_page() -> Answer {
    full("<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>")
}

async fn list(reader: &S3Reader, prefix: &Prefix) -> Result<bool, StoreError> {
    Ok(reader.list(prefix, Kind::Objects, None, LIMIT).await?.is_any())
}

#[tokio::test]
async fn each_form_of_a_region_answer_is_followed_and_remembered() {
    let forms: [fn() -> Answer; 11] = [
        || elsewhere(OTHER),
        || Answer::Named(301, OTHER, String::new()),
        || in_body(301, "PermanentRedirect"),
        || Answer::Named(307, OTHER, body("TemporaryRedirect", "")),
        || in_body(307, "TemporaryRedirect"),
        || in_body(400, "AuthorizationHeaderMalformed"),
        || Answer::Named(400, OTHER, body("AuthorizationHeaderMalformed", "")),
        || Answer::Named(400, OTHER, body("IllegalLocationConstraintException", "")),
        || Answer::Named(400, OTHER, body("IncorrectEndpoint", "")),
        || Answer::Named(400, OTHER, String::new()),
        || Answer::Named(403, OTHER, body("AccessDenied", "")),
    ];
    for (number, form) in forms.into_iter().enumerate() {
        let server =
            Server::answering(
                move |request| {
                    if region_of(request) == OTHER { empty_page() } else { form() }
                },
            );
        let reader = server.reader();
        for _ in 0..2 {
            assert_eq!(list(&reader, &prefix()).await, Ok(false), "form {number}");
        }
        assert_eq!(regions_of(&server.requests()), [OWN, OTHER, OTHER], "form {number}");
    }
}

#[tokio::test]
async fn other_errors_are_no_region_answers() {
    for answer in [
        || error(301, "PermanentRedirect"),
        || Answer::Named(400, OWN, body("InvalidRequest", "")),
        || Answer::Full(400, body("AuthorizationHeaderMalformed", "<Region>eu-central-1</Region>")),
        || Answer::Full(301, body("PermanentRedirect", "<Region>u1/secret</Region>")),
        || Answer::Named(404, OTHER, body("NoSuchBucket", "")),
        || Answer::Named(500, OTHER, body("InternalError", "")),
        || Answer::Named(503, OTHER, body("SlowDown", "")),
    ] {
        let server = Server::start(vec![answer(), empty_page()]);
        let reader = server.reader();
        assert!(list(&reader, &prefix()).await.is_err());
        assert_eq!(list(&reader, &prefix()).await, Ok(false));
        assert_eq!(regions_of(&server.requests()), [OWN, OWN]);
    }
}

/// What S3 answers to a request that reaches the bucket.
fn answer_of(line: &str) -> Answer {
    let locked = "<ObjectLockConfiguration><ObjectLockEnabled>Enabled</ObjectLockEnabled></ObjectLockConfiguration>";
    let last = "<IsTruncated>false</IsTruncated>";
    match line {
        line if line.starts_with("DELETE") => Answer::Headers(""),
        line if line.starts_with("POST") => {
            full("<DeleteResult><Deleted><Key>u1/a</Key></Deleted></DeleteResult>")
        }
        line if line.contains("?versioning") => full("<VersioningConfiguration/>"),
        line if line.contains("?object-lock") => full(locked),
        line if line.contains("?legal-hold") || line.contains("?retention") => {
            error(404, "NoSuchObjectLockConfiguration")
        }
        line if line.contains("?versions") => {
            full(&format!("<ListVersionsResult>{last}</ListVersionsResult>"))
        }
        line if line.contains("?uploads") => {
            full(&format!("<ListMultipartUploadsResult>{last}</ListMultipartUploadsResult>"))
        }
        line if line.contains("max-parts") => {
            full(&format!("<ListPartsResult>{last}</ListPartsResult>"))
        }
        _ => empty_page(),
    }
}

/// Calls that send every request there is to a target.
async fn call_all(s3: &S3) -> Result<(), StoreError> {
    for kind in [Kind::Objects, Kind::Versions, Kind::Uploads] {
        s3.list(&prefix(), kind, None, LIMIT).await?;
    }
    s3.is_versioned(&prefix(), LIMIT).await?;
    let uploads = with_ids(Kind::Uploads, &[("u1/a", "up1")]);
    for deleted in [items(&["u1/a"]), items(&["u1/\u{1}"]), uploads] {
        let deletion = s3.delete(&prefix(), &deleted, LIMIT).await?;
        assert_eq!(deletion.failures, []);
    }
    let version = with_ids(Kind::Versions, &[("u1/a", "v1")]).remove(0);
    assert_eq!(s3.retention(&prefix(), &version, LIMIT).await?, None);
    Ok(())
}

#[tokio::test]
async fn every_request_of_a_target_follows_its_bucket() {
    for part in [
        "list-type=2",
        "?versions&",
        "?uploads&",
        "?versioning ",
        "POST /photos/?delete ",
        "DELETE /photos/u1/%01?",
        "DELETE /photos/u1/a?",
        "max-parts=1",
        "?object-lock ",
        "?legal-hold&",
        "?retention&",
    ] {
        // Only this request meets a bucket that has moved: all others stay where they are.
        let server = Server::answering(move |request| {
            let line = request.lines().next().expect("a request line");
            let is_elsewhere = line.contains(part) && region_of(request) != OTHER;
            if is_elsewhere { elsewhere(OTHER) } else { answer_of(line) }
        });
        assert_eq!(call_all(&server.s3()).await, Ok(()), "{part}");
        let requests = server.requests();
        let of_part = requests
            .iter()
            .filter(|request| request.lines().next().is_some_and(|line| line.contains(part)));
        let of_part: Vec<&str> = of_part.map(|request| region_of(request)).collect();
        assert_eq!(of_part, [OWN, OTHER], "{part}");
    }
}

#[tokio::test]
async fn one_server_of_another_region_gets_one_redirect_for_all_requests() {
    let server = Server::answering(|request| {
        let line = request.lines().next().expect("a request line");
        if region_of(request) == OTHER { answer_of(line) } else { elsewhere(OTHER) }
    });
    assert_eq!(call_all(&server.s3()).await, Ok(()));
    let requests = server.requests();
    let (first, rest) = requests.split_first().expect("requests");
    assert_eq!(region_of(first), OWN);
    assert!(rest.iter().all(|request| region_of(request) == OTHER), "{requests:?}");
}

#[tokio::test]
async fn a_region_is_remembered_for_its_bucket_only() {
    let server = Server::answering(|request| {
        let is_photos = request.starts_with("GET /photos/");
        if region_of(request) == OTHER || !is_photos { empty_page() } else { elsewhere(OTHER) }
    });
    let (reader, user) = (server.reader(), User::parse("u1").unwrap());
    let films = Target::parse("s3://films/{user_id}/").unwrap().prefix(&user);
    for prefix in [&prefix(), &films, &prefix()] {
        assert_eq!(list(&reader, prefix).await, Ok(false));
    }
    assert_eq!(regions_of(&server.requests()), [OWN, OTHER, OWN, OTHER]);
}

#[tokio::test]
async fn a_bucket_that_moves_is_found_again() {
    let mut served = 0;
    let server = Server::answering(move |request| {
        served += 1;
        let home = match served {
            ..=3 => OTHER,
            4..=6 => THIRD,
            _ => OWN,
        };
        if region_of(request) == home { empty_page() } else { elsewhere(home) }
    });
    let reader = server.reader();
    for _ in 0..5 {
        assert_eq!(list(&reader, &prefix()).await, Ok(false));
    }
    assert_eq!(
        regions_of(&server.requests()),
        [OWN, OTHER, OTHER, OTHER, THIRD, THIRD, THIRD, OWN]
    );
}

#[tokio::test]
async fn contradictory_region_answers_end_after_one_redirect() {
    let server = Server::answering(|request| match region_of(request) {
        OTHER => elsewhere(THIRD),
        _ => elsewhere(OTHER),
    });
    let reader = server.reader();
    for _ in 0..2 {
        let fault = list(&reader, &prefix()).await.unwrap_err();
        assert!(
            matches!(&fault, StoreError::Permanent(text) if text.contains("; the bucket is in region ")),
            "{fault:?}"
        );
    }
    assert_eq!(regions_of(&server.requests()), [OWN, OTHER, OTHER, THIRD]);
}

#[tokio::test]
async fn a_region_that_does_not_answer_is_not_remembered() {
    let mut served = 0;
    let server = Server::answering(move |_request| {
        served += 1;
        match served {
            1 => elsewhere(OTHER),
            2 => Answer::Hang,
            _ => empty_page(),
        }
    });
    let (reader, short) = (server.reader(), Duration::from_millis(200));
    let fault = in_time(reader.list(&prefix(), Kind::Objects, None, short)).await.unwrap_err();
    assert!(matches!(fault, StoreError::NoAnswer(_)), "{fault:?}");
    assert_eq!(list(&reader, &prefix()).await, Ok(false));
    assert_eq!(regions_of(&server.requests()), [OWN, OTHER, OWN]);
}

#[tokio::test]
async fn a_region_answer_does_not_reject_the_token() {
    let malformed = || Answer::Full(400, body("AuthorizationHeaderMalformed", ""));
    let named = |region| Answer::Named(400, region, body("InvalidRequest", ""));
    for kind in [Kind::Objects, Kind::Versions, Kind::Uploads] {
        let token = "u1%2Fk&id";
        // S3 named the region, and then took the token there.
        let server = Server::answering(move |request| {
            let line = request.lines().next().expect("a request line");
            if region_of(request) == OTHER { answer_of(line) } else { named(OTHER) }
        });
        let page = server.reader().list(&prefix(), kind, Some(token), LIMIT).await;
        assert_eq!(page.map(|page| page.is_any()), Ok(false));
        assert_eq!(regions_of(&server.requests()), [OWN, OTHER]);
        // It names no region, or yet another.
        for script in [vec![malformed()], vec![named(OTHER), named(THIRD)]] {
            let server = Server::start(script);
            let page = server.reader().list(&prefix(), kind, Some(token), LIMIT).await;
            assert!(matches!(page, Err(StoreError::Permanent(_))), "{page:?}");
            server.requests();
        }
        // The other region rejects the token.
        let server = Server::start(vec![named(OTHER), error(400, "InvalidArgument")]);
        let page = server.reader().list(&prefix(), kind, Some(token), LIMIT).await;
        assert!(matches!(page, Err(StoreError::TokenRejected(_))), "{page:?}");
        server.requests();
    }
}

#[tokio::test]
async fn receipts_stay_in_the_region_of_the_function() {
    let server = Server::start(vec![elsewhere(OTHER), elsewhere(OTHER)]);
    let receipts = server.receipts();
    let stored = receipts.store("e1/erased.json", "{}", LIMIT).await;
    assert!(
        matches!(&stored, Err(ReceiptError::Permanent(text)) if text.ends_with("; the bucket is in region eu-west-1")),
        "{stored:?}"
    );
    assert!(receipts.read("e1/erased.json", LIMIT).await.is_err());
    assert_eq!(regions_of(&server.requests()), [OWN, OWN]);
}

#[tokio::test]
async fn each_bucket_is_requested_with_its_own_owner() {
    let server = Server::answering(|_request| empty_page());
    let pairs = format!("photos={OWNER},films=444455556666");
    let reader = server.reader_of(BucketOwners::parse(&pairs, None).unwrap());
    let films = Target::parse("s3://films/{user_id}/").unwrap();
    let films = films.prefix(&User::parse("u1").unwrap());
    for prefix in [&prefix(), &films] {
        list(&reader, prefix).await.unwrap();
    }
    let nobody = server.reader_of(BucketOwners::default());
    list(&nobody, &films).await.unwrap();
    let header = |request: &String| {
        let lines = request.lines().filter_map(|line| line.split_once(": "));
        lines
            .filter(|(name, _)| *name == "x-amz-expected-bucket-owner")
            .map(|(_, owner)| owner.to_owned())
            .collect::<Vec<_>>()
    };
    let owners: Vec<_> = server.requests_of_any_owner().iter().map(header).collect();
    assert_eq!(owners, [vec![OWNER.to_owned()], vec!["444455556666".to_owned()], vec![]]);
}

/// S3 without an endpoint of its own: it knows a bucket by its host.
#[derive(Debug, Clone, Default)]
struct Hosts(Arc<Mutex<Vec<(String, String)>>>);

impl HttpConnector for Hosts {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let signature = request.headers().get("authorization").unwrap_or_default().to_owned();
        let host = request.uri().split('/').nth(2).unwrap_or_default().to_owned();
        let is_home = host == "photos.s3.eu-west-1.amazonaws.com";
        self.0.lock().expect("no panic before").push((host, region_of(&signature).to_owned()));
        let mut answer = if is_home {
            let page = "<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>";
            HttpResponse::new(200.try_into().expect("a status"), SdkBody::from(page))
        } else {
            HttpResponse::new(301.try_into().expect("a status"), SdkBody::empty())
        };
        answer.headers_mut().insert("x-amz-bucket-region", OTHER);
        HttpConnectorFuture::ready(Ok(answer))
    }
}

/// Every answer comes late, and names another region.
#[derive(Debug)]
struct Late;

impl HttpConnector for Late {
    fn call(&self, _request: HttpRequest) -> HttpConnectorFuture {
        HttpConnectorFuture::new(async {
            sleep(LIMIT * 3 / 4).await;
            let mut answer = HttpResponse::new(301.try_into().expect("a status"), SdkBody::empty());
            answer.headers_mut().insert("x-amz-bucket-region", OTHER);
            Ok(answer)
        })
    }
}

fn reader_over(connector: impl HttpConnector + 'static) -> S3Reader {
    let connector = SharedHttpConnector::new(connector);
    let config = aws_sdk_s3::Config::builder()
        .behavior_version(BehaviorVersion::v2026_01_12())
        .region(Region::from_static(OWN))
        .credentials_provider(Credentials::for_tests())
        .http_client(http_client_fn(move |_settings, _components| connector.clone()))
        .retry_config(RetryConfig::disabled())
        .build();
    S3Reader::new(&aws_sdk_s3::Client::from_conf(config), owners())
}

#[tokio::test]
async fn without_an_endpoint_the_host_follows_the_region() {
    let hosts = Hosts::default();
    let reader = reader_over(hosts.clone());
    for _ in 0..2 {
        assert_eq!(list(&reader, &prefix()).await, Ok(false));
    }
    let asked = hosts.0.lock().unwrap().clone();
    let host = |region: &str| (format!("photos.s3.{region}.amazonaws.com"), region.to_owned());
    assert_eq!(asked, [host(OWN), host(OTHER), host(OTHER)]);
}

#[tokio::test(start_paused = true)]
async fn both_requests_share_one_limit() {
    let fault = list(&reader_over(Late), &prefix()).await.unwrap_err();
    assert!(matches!(fault, StoreError::NoAnswer(_)), "{fault:?}");
}
