//! Whether a bucket has, or has ever had, versions.

use std::time::Duration;

use erase_user_files::ports::store::{ReadStore, StoreError};
use tokio::time::{advance, pause, resume};

use erase_user_files::target::{Target, User};

use crate::server::{Answer, LIMIT, Server, error, full, prefix};

fn versioning(rest: &str) -> Answer {
    let namespace = "http://s3.amazonaws.com/doc/2006-03-01/";
    full(&format!(
        r#"<VersioningConfiguration xmlns="{namespace}">{rest}</VersioningConfiguration>"#
    ))
}

async fn is_versioned(answer: Answer) -> Result<bool, StoreError> {
    let server = Server::start(vec![answer]);
    let is_versioned = server.reader().is_versioned(&prefix(), LIMIT).await;
    let request = server.requests().remove(0);
    assert!(request.starts_with("GET /photos/?versioning "), "{request}");
    is_versioned
}

#[tokio::test]
async fn suspended_versioning_counts_as_versioned() {
    assert_eq!(is_versioned(versioning("<Status>Enabled</Status>")).await, Ok(true));
    assert_eq!(
        is_versioned(versioning("<Status>Suspended</Status><MfaDelete>Disabled</MfaDelete>")).await,
        Ok(true)
    );
    assert_eq!(is_versioned(versioning("")).await, Ok(false));
    assert_eq!(is_versioned(full("<VersioningConfiguration/>")).await, Ok(false));
    // A state that was cut off is no state.
    for damaged in ["", "<Status a=\"&\">Enabled</Status></VersioningConfiguration>"] {
        let answer = is_versioned(full(&format!("<VersioningConfiguration>{damaged}"))).await;
        assert!(matches!(answer, Err(StoreError::Unavailable(_))), "{answer:?}");
    }
    assert!(matches!(
        is_versioned(error(500, "InternalError")).await,
        Err(StoreError::Unavailable(_))
    ));
    assert!(matches!(
        is_versioned(error(400, "InvalidRequest")).await,
        Err(StoreError::Permanent(_))
    ));
    let fault = is_versioned(error(403, "AccessDenied")).await.unwrap_err();
    assert!(
        matches!(&fault, StoreError::Permanent(text) if text.contains("s3:GetBucketVersioning")),
        "{fault:?}"
    );
}

#[tokio::test]
async fn unsupported_versioning_means_none_only_without_version_listing() {
    let not_implemented = || error(501, "NotImplemented");
    let listing =
        || full("<ListVersionsResult><IsTruncated>false</IsTruncated></ListVersionsResult>");
    for (script, expected) in [
        (vec![not_implemented(), not_implemented()], Some(false)),
        (vec![not_implemented(), listing()], Some(true)),
        (vec![error(400, "NotImplemented"), listing()], Some(true)),
        (vec![not_implemented(), error(403, "AccessDenied")], None),
        (vec![not_implemented(), error(500, "InternalError")], None),
        (vec![not_implemented(), error(405, "MethodNotAllowed")], None),
    ] {
        let server = Server::start(script);
        assert_eq!(server.reader().is_versioned(&prefix(), LIMIT).await.ok(), expected);
        let requests = server.requests();
        assert!(
            requests[1].contains("?versions&") && requests[1].contains("prefix=u1%2F"),
            "{}",
            requests[1]
        );
    }
}

#[tokio::test]
async fn mfa_delete_fails_until_disabled() {
    let with_mfa =
        |status| versioning(&format!("<Status>{status}</Status><MfaDelete>Enabled</MfaDelete>"));
    let off = versioning("<Status>Enabled</Status><MfaDelete>Disabled</MfaDelete>");
    let server = Server::start(vec![with_mfa("Enabled"), with_mfa("Suspended"), off]);
    let reader = server.reader();
    for _ in 0..2 {
        let fault = reader.is_versioned(&prefix(), LIMIT).await.unwrap_err();
        assert!(
            matches!(&fault, StoreError::Permanent(text) if text.contains("switch MFA delete off")),
            "{fault:?}"
        );
    }
    assert_eq!(reader.is_versioned(&prefix(), LIMIT).await, Ok(true));
    server.requests();
}

#[tokio::test]
async fn only_enabled_versioning_is_cached_for_an_hour() {
    let enabled = || versioning("<Status>Enabled</Status>");
    let server =
        Server::start(vec![versioning(""), versioning(""), enabled(), enabled(), enabled()]);
    let s3 = server.s3();
    for is_versioned in [false, false, true, true, true] {
        assert_eq!(s3.is_versioned(&prefix(), LIMIT).await, Ok(is_versioned));
    }
    let films = Target::parse("s3://films/{user_id}/").unwrap().prefix(&User::parse("u1").unwrap());
    assert_eq!(
        s3.is_versioned(&films, LIMIT).await,
        Ok(true),
        "of another bucket, nothing is known"
    );
    let hour = Duration::from_secs(3_600);
    for (passes, _asks_again) in
        [(hour - Duration::from_secs(60), false), (Duration::from_secs(60), true)]
    {
        pause();
        advance(passes).await;
        resume();
        assert_eq!(s3.is_versioned(&prefix(), LIMIT).await, Ok(true));
    }
    let buckets: Vec<_> =
        server.requests().into_iter().map(|request| request[5..11].to_owned()).collect();
    assert_eq!(buckets, ["photos", "photos", "photos", "films/", "photos"]);
}
