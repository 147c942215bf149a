//! Object Lock: when governance is bypassed, and what is said to hold a version.

use erase_user_files::aws::s3::store::S3;
use erase_user_files::ports::store::{DeleteStore, Kind, LockKind, Retention, StoreError};
use time::OffsetDateTime;

use crate::server::{Answer, LIMIT, Server, error, full, items, prefix, with_ids};

const BYPASS: &str = "x-amz-bypass-governance-retention: true\r\n";

fn lock() -> Answer {
    full(
        "<ObjectLockConfiguration><ObjectLockEnabled>Enabled</ObjectLockEnabled></ObjectLockConfiguration>",
    )
}

fn deleted() -> Answer {
    full("<DeleteResult><Deleted><Key>u1/a</Key><VersionId>v1</VersionId></Deleted></DeleteResult>")
}

async fn delete_version(s3: &S3, kind: Kind) -> Result<u64, StoreError> {
    let deletion = s3.delete(&prefix(), &with_ids(kind, &[("u1/a", "v1")]), LIMIT).await?;
    assert_eq!(deletion.failures, []);
    Ok(deletion.requests)
}

#[tokio::test]
async fn governance_bypass_checks_object_lock_once() {
    let server = Server::start(vec![lock(), deleted(), deleted(), Answer::Headers("")]);
    let s3 = server.s3_that_bypasses();
    assert_eq!(delete_version(&s3, Kind::Versions).await, Ok(2));
    assert_eq!(delete_version(&s3, Kind::DeleteMarkers).await, Ok(1));
    let single = s3
        .delete(&prefix(), &with_ids(Kind::Versions, &[("u1/\u{1}", "v1")]), LIMIT)
        .await
        .unwrap();
    assert_eq!(single.requests, 1);
    let requests = server.requests();
    assert!(requests[0].starts_with("GET /photos/?object-lock "), "{}", requests[0]);
    for request in &requests[1..] {
        assert!(request.contains(BYPASS), "{request}");
    }
}

#[tokio::test]
async fn no_governance_bypass_without_object_lock_or_setting() {
    for code in
        ["ObjectLockConfigurationNotFoundError", "NoSuchObjectLockConfiguration", "NotImplemented"]
    {
        let status = if code == "NotImplemented" { 501 } else { 404 };
        let server = Server::start(vec![error(status, code), deleted(), deleted()]);
        let s3 = server.s3_that_bypasses();
        assert_eq!(delete_version(&s3, Kind::Versions).await, Ok(2));
        assert_eq!(delete_version(&s3, Kind::Versions).await, Ok(1));
        assert!(server.requests().iter().all(|request| !request.contains(BYPASS)));
    }
    let server = Server::start(vec![full("<ObjectLockConfiguration/>"), deleted()]);
    assert_eq!(delete_version(&server.s3_that_bypasses(), Kind::Versions).await, Ok(2));
    assert!(!server.requests()[1].contains(BYPASS));
    let server = Server::start(vec![deleted()]);
    assert_eq!(delete_version(&server.s3(), Kind::Versions).await, Ok(1));
    assert!(!server.requests()[0].contains(BYPASS));
    // Objects of a bucket without versions cannot be locked.
    let server = Server::start(vec![deleted()]);
    let deletion =
        server.s3_that_bypasses().delete(&prefix(), &items(&["u1/a"]), LIMIT).await.unwrap();
    assert_eq!((deletion.requests, deletion.failures), (1, vec![]));
    assert!(!server.requests()[0].contains(BYPASS));
}

#[tokio::test]
async fn governance_bypass_requires_readable_object_lock() {
    let server =
        Server::start(vec![error(403, "AccessDenied"), error(503, "SlowDown"), lock(), deleted()]);
    let s3 = server.s3_that_bypasses();
    let refused = delete_version(&s3, Kind::Versions).await;
    let is_named =
        |fault: &StoreError| fault.to_string().contains("s3:GetBucketObjectLockConfiguration");
    assert!(
        matches!(&refused, Err(fault @ StoreError::Permanent(_)) if is_named(fault)),
        "{refused:?}"
    );
    let throttled = delete_version(&s3, Kind::Versions).await;
    assert!(matches!(throttled, Err(StoreError::Throttled(_))), "{throttled:?}");
    assert_eq!(delete_version(&s3, Kind::Versions).await, Ok(2), "neither is remembered");
    server.requests();
}

/// What is said to hold a version of a locked bucket: `hold` and `retention` are what S3 says of
/// it.
async fn retention(
    hold: (u16, &'static str),
    retention: (u16, &'static str),
) -> Result<Option<Retention>, StoreError> {
    let answer = |(status, body): (u16, &str)| match status {
        200 => full(body),
        _ => error(status, body),
    };
    let server =
        Server::answering(move |request| match request.lines().next().unwrap_or_default() {
            line if line.starts_with("GET /photos/?object-lock ") => lock(),
            line if line.contains("/photos/u1/%01a?legal-hold&versionId=v%261") => answer(hold),
            line if line.contains("/photos/u1/%01a?retention&versionId=v%261") => answer(retention),
            _ => error(400, "NotExpected"),
        });
    let item = with_ids(Kind::Versions, &[("u1/\u{1}a", "v&1")]).remove(0);
    let found = server.s3().retention(&prefix(), &item, LIMIT).await;
    assert_eq!(server.requests().len(), 3);
    found
}

const NONE: (u16, &str) = (404, "NoSuchObjectLockConfiguration");
const HELD: (u16, &str) = (200, "<LegalHold><Status>ON</Status></LegalHold>");
const RELEASED: (u16, &str) = (200, "<LegalHold><Status>OFF</Status></LegalHold>");
const GOVERNANCE: (u16, &str) = (
    200,
    "<Retention><Mode>GOVERNANCE</Mode><RetainUntilDate>2026-01-31T12:00:00.000Z</RetainUntilDate></Retention>",
);

#[tokio::test]
async fn retention_reports_legal_hold_before_date() {
    let until = OffsetDateTime::from_unix_timestamp(1_769_860_800).ok();
    let governance = Some(Retention { hold: LockKind::Governance, until });
    assert_eq!(retention(NONE, NONE).await, Ok(None));
    assert_eq!(retention(RELEASED, GOVERNANCE).await, Ok(governance));
    assert_eq!(retention(NONE, GOVERNANCE).await, Ok(governance));
    let legal_hold = Some(Retention { hold: LockKind::LegalHold, until: None });
    assert_eq!(retention(HELD, GOVERNANCE).await, Ok(legal_hold));
    assert_eq!(retention(HELD, NONE).await, Ok(legal_hold));
    let undated = |hold| Ok(Some(Retention { hold, until: None }));
    assert_eq!(
        retention(NONE, (200, "<Retention><Mode>COMPLIANCE</Mode></Retention>")).await,
        undated(LockKind::Compliance)
    );
    let event = "<Retention><Mode>GOVERNANCE</Mode><RetainUntilDate>2026-01-31T12:00:00.000Z</RetainUntilDate>\
                 <EventHold>ON</EventHold></Retention>";
    assert_eq!(retention(NONE, (200, event)).await, undated(LockKind::Governance));
    // Deleted in the meantime, or a delete marker: no lock holds it. Other stores have their own
    // codes.
    for nothing in
        [(404, "NoSuchKey"), (404, "NoSuchVersion"), (404, "OddCode"), (405, "MethodNotAllowed")]
    {
        assert_eq!(retention(nothing, nothing).await, Ok(None), "{nothing:?}");
    }
    assert_eq!(retention(RELEASED, (200, "<Retention/>")).await, Ok(None));
}

#[tokio::test]
async fn unreadable_retention_is_an_error() {
    let denied = (403, "AccessDenied");
    for (answer, permission) in [
        (retention(denied, NONE).await, "s3:GetObjectLegalHold"),
        (retention(NONE, denied).await, "s3:GetObjectRetention"),
    ] {
        let is_named = |fault: &StoreError| fault.to_string().contains(permission);
        assert!(
            matches!(&answer, Err(fault @ StoreError::Permanent(_)) if is_named(fault)),
            "{answer:?}"
        );
    }
    let missing = retention((404, "NoSuchBucket"), NONE).await;
    assert!(matches!(missing, Err(StoreError::Permanent(_))), "{missing:?}");
    let slow = retention(NONE, (503, "SlowDown")).await;
    assert!(matches!(slow, Err(StoreError::Throttled(_))), "{slow:?}");
    let unknown = retention(NONE, (200, "<Retention><Mode>CUSTODY</Mode></Retention>")).await;
    assert!(matches!(unknown, Err(StoreError::Inconsistent(_))), "{unknown:?}");
}

#[tokio::test]
async fn bucket_without_object_lock_needs_no_retention_requests() {
    // Without the permission to read a lock, all denials look the same.
    for answer in [error(404, "ObjectLockConfigurationNotFoundError"), error(403, "AccessDenied")] {
        let server = Server::start(vec![answer]);
        let (s3, item) = (server.s3(), with_ids(Kind::Versions, &[("u1/a", "v1")]).remove(0));
        for _ in 0..2 {
            assert_eq!(s3.retention(&prefix(), &item, LIMIT).await, Ok(None));
        }
        server.requests();
    }
}
