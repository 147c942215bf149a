//! Aborting uploads, and looking whether anything is left of them.

use std::time::Duration;

use erase_user_files::ports::store::{DeleteStore, FailureKind, Item, Kind, ReadStore, StoreError};
use futures::future::join;
use tokio::time::timeout;

use crate::server::{Answer, LIMIT, Server, error, full, in_time, items, prefix, with_ids};

fn parts(rest: &str) -> Answer {
    full(&format!("<ListPartsResult><IsTruncated>false</IsTruncated>{rest}</ListPartsResult>"))
}

fn one_part() -> Answer {
    parts("<Part><PartNumber>1</PartNumber><Size>5</Size></Part>")
}

/// The failures of one upload as (code, kind), and how many requests it took.
async fn abort(script: Vec<Answer>) -> Result<(u64, Vec<(String, FailureKind)>), StoreError> {
    let server = Server::start(script);
    let deletion =
        server.s3().delete(&prefix(), &with_ids(Kind::Uploads, &[("u1/a", "up1")]), LIMIT).await;
    server.requests();
    let deletion = deletion?;
    let failures = deletion.failures.into_iter().map(|f| (f.code, f.kind)).collect();
    Ok((deletion.requests, failures))
}

#[tokio::test]
async fn aborted_upload_counts_once_no_parts_are_left() {
    let aborted = || Answer::Headers("");
    assert_eq!(abort(vec![aborted(), error(404, "NoSuchUpload")]).await, Ok((2, vec![])));
    assert_eq!(abort(vec![aborted(), parts("")]).await, Ok((2, vec![])));
    for (script, requests, code, kind) in [
        // It was just listed: that it does not exist is no deletion.
        (vec![error(404, "NoSuchUpload")], 1, "NoSuchUpload", FailureKind::NotFound),
        (vec![Answer::Full(404, String::new())], 1, "NotFound", FailureKind::NotFound),
        // A part that was on its way during the abort: to be aborted again.
        (vec![aborted(), one_part()], 2, "PartsLeft", FailureKind::Transient),
        (vec![aborted(), error(503, "SlowDown")], 2, "SlowDown", FailureKind::Throttled),
        (vec![aborted(), error(500, "InternalError")], 2, "InternalError", FailureKind::Transient),
        (vec![aborted(), full("<ListPartsResult>")], 2, "BrokenAnswer", FailureKind::Transient),
        (vec![error(503, "SlowDown")], 1, "SlowDown", FailureKind::Throttled),
        (vec![error(500, "InternalError")], 1, "InternalError", FailureKind::Transient),
        (vec![error(403, "AccessDenied")], 1, "AccessDenied", FailureKind::Denied),
        (vec![error(400, "InvalidArgument")], 1, "InvalidArgument", FailureKind::Other),
        (vec![error(405, "MethodNotAllowed")], 1, "MethodNotAllowed", FailureKind::Other),
        (vec![error(400, "CodeOf2030")], 1, "CodeOf2030", FailureKind::Other),
        (vec![error(403, "CodeOf2030")], 1, "CodeOf2030", FailureKind::Other),
    ] {
        let expected = (requests, vec![(code.to_owned(), kind)]);
        assert_eq!(abort(script).await, Ok(expected), "{code}");
    }
}

#[tokio::test]
async fn unknown_upload_is_aborted_under_the_other_decoding_of_its_key() {
    for (listed, encoding, first, second) in [
        // Encoded without saying so, and not encoded although it says so.
        ("u1/My%20Photo.jpg", "", "u1/My%2520Photo.jpg", "u1/My%20Photo.jpg"),
        ("u1/x+y.jpg", "<EncodingType>url</EncodingType>", "u1/x%20y.jpg", "u1/x%2By.jpg"),
    ] {
        let page = format!(
            "<ListMultipartUploadsResult>{encoding}<IsTruncated>false</IsTruncated>\
             <Upload><Key>{listed}</Key><UploadId>up1</UploadId></Upload></ListMultipartUploadsResult>"
        );
        let script = vec![
            full(&page),
            error(404, "NoSuchUpload"),
            Answer::Headers(""),
            error(404, "NoSuchUpload"),
        ];
        let server = Server::start(script);
        let s3 = server.s3();
        let entry = s3.list(&prefix(), Kind::Uploads, None, LIMIT).await.unwrap().entries.remove(0);
        let own = |key: String| prefix().claim(key).unwrap();
        let other_key = entry.other_key.map(own);
        let Item { last_modified, bytes, .. } =
            with_ids(Kind::Uploads, &[("u1/a", "up1")]).remove(0);
        let item = Item {
            kind: entry.kind,
            key: own(entry.key),
            other_key,
            id: entry.id,
            bytes,
            last_modified,
        };
        let deletion = s3.delete(&prefix(), &[item], LIMIT).await.unwrap();
        assert_eq!((deletion.requests, deletion.failures), (3, vec![]));
        let requests = server.requests();
        for (request, key) in requests[1..].iter().zip([first, second, second]) {
            assert!(
                request.split(' ').nth(1).unwrap().starts_with(&format!("/photos/{key}?")),
                "{request}"
            );
        }
    }
}

/// S3 denies to list the parts without `kms:Decrypt`, or without the permission to list them.
#[tokio::test]
async fn upload_whose_parts_are_not_readable_is_deleted_once_no_abort_finds_it() {
    let (aborted, denied) = (|| Answer::Headers(""), || error(403, "AccessDenied"));
    let not_found = || error(404, "NoSuchUpload");
    assert_eq!(abort(vec![aborted(), denied(), not_found()]).await, Ok((3, vec![])));
    for (last, code, kind) in [
        (aborted(), "PartsNotReadable", FailureKind::Transient),
        (error(503, "SlowDown"), "SlowDown", FailureKind::Throttled),
        (denied(), "AccessDenied", FailureKind::Denied),
    ] {
        let expected = (3, vec![(code.to_owned(), kind)]);
        assert_eq!(abort(vec![aborted(), denied(), last]).await, Ok(expected), "{code}");
    }
    let no_bucket = abort(vec![aborted(), denied(), error(404, "NoSuchBucket")]).await;
    assert!(matches!(no_bucket, Err(StoreError::Permanent(_))), "{no_bucket:?}");
}

#[tokio::test]
async fn abort_error_of_bucket_or_credentials_fails_the_request() {
    for (status, code) in [
        (404, "NoSuchBucket"),
        (403, "SignatureDoesNotMatch"),
        (400, "ExpiredToken"),
        (301, "PermanentRedirect"),
        (400, "AuthorizationHeaderMalformed"),
    ] {
        for script in [vec![error(status, code)], vec![Answer::Headers(""), error(status, code)]] {
            let answer = abort(script).await;
            assert!(matches!(answer, Err(StoreError::Permanent(_))), "{code}: {answer:?}");
        }
    }
}

#[tokio::test]
async fn aborted_upload_is_reported_despite_failure_of_another() {
    let server = Server::answering(|request| match request {
        abort if abort.starts_with("DELETE /photos/u1/a?") => Answer::Headers(""),
        parts if parts.starts_with("GET") => error(404, "NoSuchUpload"),
        _ => error(404, "NoSuchBucket"),
    });
    let uploads = with_ids(Kind::Uploads, &[("u1/a", "up1"), ("u1/b", "up2")]);
    let deletion = server.s3().delete(&prefix(), &uploads, LIMIT).await.unwrap();
    let failures: Vec<_> =
        deletion.failures.iter().map(|f| (f.index, f.code.as_str(), f.kind)).collect();
    assert_eq!(
        (deletion.requests, failures),
        (3, vec![(1, "NoSuchBucket", FailureKind::Transient)])
    );
    assert_eq!(server.requests().len(), 3);
}

#[tokio::test]
async fn uploads_of_one_key_are_distinguished_by_id() {
    let server = Server::answering(|request| match request {
        abort if abort.starts_with("DELETE") && abort.contains("uploadId=up%261") => {
            Answer::Headers("")
        }
        abort if abort.starts_with("DELETE") => error(403, "AccessDenied"),
        _ => one_part(),
    });
    let uploads =
        with_ids(Kind::Uploads, &[("u1/a\u{1}", "up2"), ("u1/a\u{1}", "up&1"), ("u1/b", "up2")]);
    let deletion = server.s3().delete(&prefix(), &uploads, LIMIT).await.unwrap();
    let mut failures: Vec<_> =
        deletion.failures.iter().map(|f| (f.index, f.code.as_str())).collect();
    failures.sort_unstable();
    assert_eq!(failures, [(0, "AccessDenied"), (1, "PartsLeft"), (2, "AccessDenied")]);
    let requests = server.requests();
    assert_eq!((requests.len(), deletion.requests), (4, 4));
    let parts = requests.iter().find(|request| request.starts_with("GET")).unwrap();
    let line = parts.lines().next().unwrap();
    for part in ["/photos/u1/a%01?", "max-parts=1", "uploadId=up%261"] {
        assert!(line.contains(part), "{part} is missing in: {line}");
    }
}

#[tokio::test]
async fn single_aborts_stop_in_time_to_report() {
    let server = Server::answering(|_request| Answer::Hang);
    let uploads: Vec<_> = (0..20).map(|number| (format!("u1/{number}"), "up1")).collect();
    let uploads: Vec<_> = uploads.iter().map(|(key, id)| (key.as_str(), *id)).collect();
    let limit = Duration::from_secs(3);
    let (s3, prefix, object, uploads) =
        (server.s3(), prefix(), items(&["u1/\u{1}"]), with_ids(Kind::Uploads, &uploads));
    let objects = s3.delete(&prefix, &object, limit);
    let both = Box::pin(join(s3.delete(&prefix, &uploads, limit), objects));
    // Half of the limit, so that what was done can still be reported: that timer goes off before
    // the one of the whole, however slow the machine is.
    let (deletion, object) = timeout(limit, both).await.expect("they end before their limit");
    let (deletion, object) = (deletion.unwrap(), object.unwrap());
    assert_eq!((server.requests().len(), deletion.requests, object.requests), (9, 8, 1));
    assert_eq!(object.failures[0].code, "NoAnswerInTime");
    let count = |code| {
        deletion
            .failures
            .iter()
            .filter(|f| f.code == code && f.kind == FailureKind::Transient)
            .count()
    };
    assert_eq!((count("NoAnswerInTime"), count("NotAsked")), (8, 12));
}

#[tokio::test]
async fn hanging_server_takes_no_longer_than_the_limit() {
    let server = Server::start((0..6).map(|_| Answer::Hang).collect());
    let (s3, limit) = (server.s3(), Duration::from_millis(200));
    for kind in [Kind::Objects, Kind::Versions, Kind::Uploads] {
        assert!(matches!(
            in_time(s3.list(&prefix(), kind, None, limit)).await,
            Err(StoreError::NoAnswer(_))
        ));
    }
    assert!(matches!(
        in_time(s3.is_versioned(&prefix(), limit)).await,
        Err(StoreError::NoAnswer(_))
    ));
    let batch = in_time(s3.delete(&prefix(), &items(&["u1/a", "u1/b"]), limit)).await;
    assert!(matches!(batch, Err(StoreError::NoAnswer(_))));
    let single = in_time(s3.delete(&prefix(), &items(&["u1/\u{1}"]), limit)).await.unwrap();
    assert_eq!(single.failures[0].kind, FailureKind::Transient, "{single:?}");
    server.requests();
}
