//! Deleting: every key of an answer is held against the request.

use erase_user_files::ports::store::{DeleteStore, FailureKind, Item, Kind, StoreError};

use crate::server::{Answer, LIMIT, Server, error, full, items, prefix, with_ids};

/// A failure as (index, code, kind).
type Failure = (usize, String, FailureKind);

/// The failures of one delete that takes one request.
async fn delete(answer: Answer, items: &[Item]) -> Result<Vec<Failure>, StoreError> {
    let server = Server::start(vec![answer]);
    let deletion = server.s3().delete(&prefix(), items, LIMIT).await;
    server.requests();
    let deletion = deletion?;
    assert_eq!(deletion.requests, 1);
    let mut failures: Vec<_> =
        deletion.failures.into_iter().map(|f| (f.index, f.code, f.kind)).collect();
    failures.sort_by_key(|(index, ..)| *index);
    Ok(failures)
}

fn failures<const N: usize>(expected: [(usize, &str, FailureKind); N]) -> Vec<Failure> {
    expected.map(|(index, code, kind)| (index, code.to_owned(), kind)).into()
}

#[tokio::test]
async fn errors_in_a_200_are_read_per_key() {
    let answer = full(
        "<DeleteResult><Deleted><Key>u1/gone</Key></Deleted>\
         <Error><Key>u1/slow</Key><Code>SlowDown</Code></Error>\
         <Error><Key>u1/internal</Key><Code>InternalError</Code></Error>\
         <Error><Key>u1/denied</Key><Code>AccessDenied</Code></Error>\
         <Error><Key>u1/never-there</Key><Code>NoSuchKey</Code></Error>\
         <Error><Key>u1/news</Key><Code>CodeOf2030</Code></Error>\
         <Error><Key>u1/odd</Key><Code>no code: u1/odd</Code></Error></DeleteResult>",
    );
    let keys = [
        "u1/gone",
        "u1/slow",
        "u1/internal",
        "u1/denied",
        "u1/never-there",
        "u1/news",
        "u1/unmentioned",
        "u1/odd",
    ];
    let expected = failures([
        (1, "SlowDown", FailureKind::Throttled),
        (2, "InternalError", FailureKind::Throttled),
        (3, "AccessDenied", FailureKind::Denied),
        (4, "NoSuchKey", FailureKind::NotFound),
        (5, "CodeOf2030", FailureKind::Other),
        (6, "Unanswered", FailureKind::Transient),
        (7, "OddCode", FailureKind::Other),
    ]);
    assert_eq!(delete(answer, &items(&keys)).await, Ok(expected));
}

/// S3 keeps the connection of a slow request open in this way.
#[tokio::test]
async fn white_space_before_the_document_is_ignored() {
    let document = r#"<?xml version="1.0" encoding="UTF-8"?><DeleteResult><Deleted><Key>u1/a</Key></Deleted></DeleteResult>"#;
    let answer = Answer::Full(200, format!(" \n\t\r\n {document}"));
    assert_eq!(delete(answer, &items(&["u1/a"])).await, Ok(vec![]));
    for empty in ["", " \n"] {
        let answer = delete(Answer::Full(200, empty.to_owned()), &items(&["u1/a"])).await;
        assert!(matches!(answer, Err(StoreError::Unavailable(_))), "{answer:?}");
    }
}

#[tokio::test]
async fn response_about_other_keys_fails_the_batch() {
    for body in [
        "<DeleteResult><Deleted><Key>u1/a</Key></Deleted><Deleted><Key>u2/b</Key></Deleted></DeleteResult>",
        "<DeleteResult><Deleted><Key>u1/a</Key></Deleted><Error><Key>u2/b</Key><Code>SlowDown</Code></Error></DeleteResult>",
        "<DeleteResult><Deleted><Key>u1/a</Key></Deleted><Error><Code>AccessDenied</Code></Error></DeleteResult>",
        "<DeleteResult><Deleted><VersionId>1</VersionId></Deleted></DeleteResult>",
    ] {
        for items in
            [items(&["u1/a", "u1/b"]), with_ids(Kind::Versions, &[("u1/a", "1"), ("u1/b", "1")])]
        {
            let answer = delete(full(body), &items).await;
            assert!(matches!(answer, Err(StoreError::Inconsistent(_))), "{body}: {answer:?}");
        }
    }
}

#[tokio::test]
async fn versions_of_one_key_are_distinguished_by_id() {
    let answer = full(
        "<DeleteResult><Deleted><Key>u1/a</Key><VersionId>v1</VersionId></Deleted>\
         <Error><Key>u1/a</Key><VersionId>v2</VersionId><Code>AccessDenied</Code></Error>\
         <Error><Key>u1/a</Key><VersionId>v3</VersionId><Code>NoSuchVersion</Code></Error>\
         <Deleted><Key>u1/a</Key><VersionId>null</VersionId></Deleted>\
         <Error><Key>u1/b</Key><VersionId>v1</VersionId><Code>SlowDown</Code></Error>\
         <Error><Key>u1/b</Key><VersionId>v3</VersionId><Code>NoSuchKey</Code></Error></DeleteResult>",
    );
    let versions = [("u1/a", "v1"), ("u1/a", "v2"), ("u1/a", "v3"), ("u1/a", "null")];
    let versions = with_ids(
        Kind::Versions,
        &[&versions[..], &[("u1/b", "v1"), ("u1/b", "v2"), ("u1/b", "v3")]].concat(),
    );
    let expected = failures([
        (1, "AccessDenied", FailureKind::Denied),
        (2, "NoSuchVersion", FailureKind::NotFound),
        (4, "SlowDown", FailureKind::Throttled),
        (5, "Unanswered", FailureKind::Transient),
        (6, "NoSuchKey", FailureKind::NotFound),
    ]);
    assert_eq!(delete(answer, &versions).await, Ok(expected));
}

#[tokio::test]
async fn response_without_version_id_counts_only_for_unique_keys() {
    let deleted = |rest: &str| {
        full(&format!("<DeleteResult><Deleted><Key>u1/a</Key>{rest}</Deleted></DeleteResult>"))
    };
    let failed = || {
        full("<DeleteResult><Error><Key>u1/a</Key><Code>AccessDenied</Code></Error></DeleteResult>")
    };
    let once = with_ids(Kind::Versions, &[("u1/a", "v1")]);
    assert_eq!(delete(deleted(""), &once).await, Ok(vec![]));
    let denied = failures([(0, "AccessDenied", FailureKind::Denied)]);
    assert_eq!(delete(failed(), &once).await, Ok(denied));
    let twice = with_ids(Kind::Versions, &[("u1/a", "v1"), ("u1/a", "v2")]);
    for answer in [deleted(""), failed()] {
        let answer = delete(answer, &twice).await;
        assert!(matches!(answer, Err(StoreError::Inconsistent(_))), "{answer:?}");
    }
    // An id that was not asked for: a store that ignored ours, and has only added a delete marker.
    let marker = |id| {
        format!(
            "<DeleteMarker>true</DeleteMarker><DeleteMarkerVersionId>{id}</DeleteMarkerVersionId>"
        )
    };
    for rest in ["<VersionId>v3</VersionId>".to_owned(), marker("v3")] {
        let answer = delete(deleted(&rest), &once).await;
        assert!(matches!(answer, Err(StoreError::Inconsistent(_))), "{rest}: {answer:?}");
    }
    // S3 gives the id of a delete marker that was deleted twice, SeaweedFS gives only this one.
    let expected = failures([(0, "Unanswered", FailureKind::Transient)]);
    assert_eq!(delete(deleted(&marker("v2")), &twice).await, Ok(expected));
    let both = format!("<VersionId>v1</VersionId>{}", marker("v1"));
    assert_eq!(delete(deleted(&both), &once).await, Ok(vec![]));
}

#[tokio::test]
async fn object_hidden_by_delete_marker_is_not_deleted() {
    let answer = full(
        "<DeleteResult><Deleted><Key>u1/a</Key></Deleted>\
         <Deleted><Key>u1/b</Key><DeleteMarker>true</DeleteMarker>\
         <DeleteMarkerVersionId>m1</DeleteMarkerVersionId></Deleted>\
         <Deleted><Key>u1/c</Key><DeleteMarker>false</DeleteMarker></Deleted></DeleteResult>",
    );
    let expected = failures([(1, "OnlyHidden", FailureKind::HiddenByMarker)]);
    assert_eq!(delete(answer, &items(&["u1/a", "u1/b", "u1/c"])).await, Ok(expected));
    let hidden = || Answer::Headers("x-amz-delete-marker: true\r\nx-amz-version-id: m1\r\n");
    let expected = failures([(0, "OnlyHidden", FailureKind::HiddenByMarker)]);
    assert_eq!(delete(hidden(), &items(&["u1/\u{1}"])).await, Ok(expected));
    // S3 reports a deleted delete marker in the same words.
    assert_eq!(
        delete(hidden(), &with_ids(Kind::DeleteMarkers, &[("u1/\u{1}", "m1")])).await,
        Ok(vec![])
    );
}

#[tokio::test]
async fn failed_requests_are_classified() {
    type IsExpected = fn(&StoreError) -> bool;
    let throttled: IsExpected = |fault| matches!(fault, StoreError::Throttled(_));
    let unavailable: IsExpected = |fault| matches!(fault, StoreError::Unavailable(_));
    let refused: IsExpected = |fault| matches!(fault, StoreError::Permanent(_));
    let malformed: IsExpected = |fault| matches!(fault, StoreError::Malformed(_));
    let half = r#"<?xml version="1.0"?><DeleteResult><Deleted><Key>u1/a</Key>"#;
    for (name, answer, is_expected) in [
        ("503 SlowDown", error(503, "SlowDown"), throttled),
        ("503 without a body", Answer::Full(503, String::new()), throttled),
        ("200 with SlowDown as its root", full("<Error><Code>SlowDown</Code></Error>"), throttled),
        (
            "200 with InternalError as its root",
            full("<Error><Code>InternalError</Code></Error>"),
            unavailable,
        ),
        ("500", error(500, "InternalError"), unavailable),
        ("502 of a proxy", Answer::Full(502, "<html>Bad gateway</html>".to_owned()), unavailable),
        ("400 RequestTimeout", error(400, "RequestTimeout"), unavailable),
        ("409 OperationAborted", error(409, "OperationAborted"), unavailable),
        ("400 MalformedXML", error(400, "MalformedXML"), malformed),
        ("400 of any other kind", error(400, "CodeOf2030"), malformed),
        ("405", error(405, "MethodNotAllowed"), malformed),
        ("411", error(411, "MissingContentLength"), malformed),
        ("413", error(413, "EntityTooLarge"), malformed),
        ("413 of a proxy", Answer::Full(413, "<html>".to_owned()), malformed),
        ("400 ExpiredToken", error(400, "ExpiredToken"), refused),
        ("404 of a proxy", Answer::Full(404, "<html>".to_owned()), refused),
        ("403", error(403, "AccessDenied"), refused),
        ("404", error(404, "NoSuchBucket"), refused),
        ("301 of another region", error(301, "PermanentRedirect"), refused),
        ("501", error(501, "NotImplemented"), refused),
        ("connection closed in the body", Answer::CutOff(half.to_owned()), unavailable),
    ] {
        let fault = delete(answer, &items(&["u1/a", "u1/b"])).await.unwrap_err();
        assert!(is_expected(&fault), "{name}: {fault:?}");
        assert!(!fault.to_string().contains("secret"), "{name} repeats a key: {fault}");
    }
}

#[tokio::test]
async fn denied_delete_names_the_missing_permission() {
    for (items, permission) in [
        (items(&["u1/a"]), "s3:DeleteObject granted"),
        (with_ids(Kind::Versions, &[("u1/a", "v1")]), "s3:DeleteObjectVersion granted"),
        (with_ids(Kind::DeleteMarkers, &[("u1/a", "v1")]), "s3:DeleteObjectVersion granted"),
    ] {
        let fault = delete(error(403, "AccessDenied"), &items).await.unwrap_err();
        assert!(fault.to_string().contains(permission), "{fault}");
    }
}

#[tokio::test]
async fn truncated_response_confirms_only_named_keys() {
    let half = r#"<?xml version="1.0"?><DeleteResult><Deleted><Key>u1/a</Key></Deleted><Deleted>"#;
    match delete(Answer::Full(200, half.to_owned()), &items(&["u1/a", "u1/b"])).await {
        Ok(failures) => {
            assert_eq!(failures, [(1, "Unanswered".to_owned(), FailureKind::Transient)]);
        }
        Err(fault) => {
            assert!(
                matches!(fault, StoreError::Unavailable(_) | StoreError::Inconsistent(_)),
                "{fault:?}"
            );
        }
    }
}

#[tokio::test]
async fn response_is_accepted_whole_or_rejected() {
    let deleted = |key: &str| format!("<Deleted><Key>{key}</Key></Deleted>");
    let asked = ["u1/a&<>\"'é", "u1/b"];
    let first = deleted("u1/a&amp;&lt;&gt;&quot;&#39;&#xE9;");
    for (name, root, rest) in [
        ("a reference that nobody knows", "DeleteResult", deleted("u1/b&x;")),
        ("half a reference", "DeleteResult", deleted("u1/b&amp")),
        ("a reference to no character", "DeleteResult", deleted("u1/b&#x0;")),
        ("an element in a key", "DeleteResult", deleted("u1/b<a/>")),
        ("a comment in a key", "DeleteResult", deleted("u1/b<!-- -->")),
        ("an element that is not closed", "DeleteResult", "<Deleted><Key>u1/b</Key>".to_owned()),
        (
            "an element that is closed by another",
            "DeleteResult",
            "<Deleted><Key>u1/b</Deleted></Key>".to_owned(),
        ),
        (
            "neither true nor false",
            "DeleteResult",
            "<Deleted><DeleteMarker>1</DeleteMarker></Deleted>".to_owned(),
        ),
        ("another answer", "ListBucketResult", deleted("u1/b")),
        ("a page of a proxy", "html", deleted("u1/b")),
    ] {
        let answer = full(&format!("<{root}>{first}{rest}</{root}>"));
        let fault = delete(answer, &items(&asked)).await;
        assert!(
            matches!(fault, Err(StoreError::Unavailable(_) | StoreError::Inconsistent(_))),
            "{name}: {fault:?}"
        );
    }
    let empty = delete(Answer::Full(200, String::new()), &items(&asked)).await;
    assert!(matches!(empty, Err(StoreError::Unavailable(_))), "{empty:?}");
    // Elements of another name space, and elements that do not exist yet.
    let others =
        "<x:Deleted xmlns:x=\"u\"><x:Key>u1/b</x:Key></x:Deleted><New><Key>u1/b</Key></New>";
    let answer = full(&format!("<DeleteResult>{first}{others}</DeleteResult>"));
    let expected = failures([(1, "Unanswered", FailureKind::Transient)]);
    assert_eq!(delete(answer, &items(&asked)).await, Ok(expected));
}

#[tokio::test]
async fn error_in_a_200_reports_the_request_id() {
    let answer = "<Error><Code>SlowDown</Code><Message>u1/secret</Message></Error>";
    let fault = delete(full(answer), &items(&["u1/a"])).await.unwrap_err();
    assert_eq!(
        fault,
        StoreError::Throttled("DeleteObjects: SlowDown (HTTP 200, request id REQ1)".to_owned())
    );
    let answer =
        "<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>";
    let fault = delete(full(answer), &items(&["u1/key"])).await.unwrap_err();
    let told =
        "DeleteObjects: SlowDown (HTTP 200, request id REQ1): Please reduce your request rate.";
    assert_eq!(fault, StoreError::Throttled(told.to_owned()));
    let fault = delete(full("<Error/>"), &items(&["u1/a"])).await.unwrap_err();
    assert_eq!(
        fault,
        StoreError::Unavailable("DeleteObjects: NoCode (HTTP 200, request id REQ1)".to_owned())
    );
}

#[tokio::test]
async fn requests_carry_keys_and_ids_unchanged() {
    let nothing = || Answer::Full(200, "<DeleteResult/>".to_owned());
    let deleted = || Answer::Headers("");
    let server = Server::start(vec![nothing(), deleted(), nothing(), deleted()]);
    let s3 = server.s3();
    s3.delete(&prefix(), &items(&["u1/a", "u1/b\r<&>'\" "]), LIMIT).await.unwrap();
    s3.delete(&prefix(), &items(&["u1/\u{1f}c"]), LIMIT).await.unwrap();
    let versions = with_ids(Kind::Versions, &[("u1/a", "v&1"), ("u1/a", "null")]);
    s3.delete(&prefix(), &versions, LIMIT).await.unwrap();
    s3.delete(&prefix(), &with_ids(Kind::Versions, &[("u1/\u{1f}c", "v&1")]), LIMIT).await.unwrap();
    let requests = server.requests();
    for batch in [&requests[0], &requests[2]] {
        assert!(
            batch.starts_with("POST /photos") && batch.contains("x-amz-checksum-crc32"),
            "{batch}"
        );
    }
    assert!(
        requests[0].contains("<Key>u1/b&#xD;&lt;&amp;&gt;&apos;&quot; </Key>"),
        "{}",
        requests[0]
    );
    assert!(
        !requests[0].contains("VersionId"),
        "no version ids for a bucket without versions: {}",
        requests[0]
    );
    assert!(
        requests[1].starts_with("DELETE /photos/u1/%1Fc?x-id=DeleteObject "),
        "{}",
        requests[1]
    );
    for id in ["v&amp;1", "null"] {
        let object = format!("<Key>u1/a</Key><VersionId>{id}</VersionId>");
        assert!(requests[2].contains(&object), "{object} is missing in: {}", requests[2]);
    }
    let line = requests[3].lines().next().unwrap();
    assert!(
        line.starts_with("DELETE /photos/u1/%1Fc?") && line.contains("versionId=v%261"),
        "{line}"
    );
    for request in &requests {
        assert!(!request.contains("x-amz-bypass-governance-retention"), "{request}");
    }
}

#[tokio::test]
async fn only_objects_are_deleted_without_version_id() {
    let server = Server::start(vec![]);
    let without_id = |kind| vec![Item { kind, ..items(&["u1/a"]).remove(0) }];
    for items in [
        with_ids(Kind::Objects, &[("u1/a", "v1")]),
        [with_ids(Kind::Versions, &[("u1/a", "v1")]), without_id(Kind::Versions)].concat(),
        [with_ids(Kind::Versions, &[("u1/a", "v1")]), items(&["u1/a"])].concat(),
        without_id(Kind::DeleteMarkers),
        without_id(Kind::Uploads),
    ] {
        let answer = server.s3().delete(&prefix(), &items, LIMIT).await;
        assert!(matches!(answer, Err(StoreError::Permanent(_))), "{answer:?}");
    }
    server.requests();
}

#[tokio::test]
async fn dot_segments_are_literal_and_avoid_urls() {
    let answer = full("<DeleteResult><Deleted><Key>u1/../u10/x</Key></Deleted></DeleteResult>");
    let server = Server::start(vec![answer, Answer::Headers("")]);
    let keys = ["u1/../u10/x", "u1/\u{1}/../../u10/x"];
    let deletion = server.s3().delete(&prefix(), &items(&keys), LIMIT).await.unwrap();
    assert_eq!((deletion.requests, deletion.failures), (2, vec![]));
    let requests = server.requests();
    assert!(
        requests[0].starts_with("POST /photos") && requests[0].contains("<Key>u1/../u10/x</Key>"),
        "{requests:?}"
    );
    assert!(requests[1].starts_with("DELETE /photos/u1/%01/../../u10/x?"), "{requests:?}");
}

#[tokio::test]
async fn error_for_all_keys_is_not_attributed_to_one() {
    let answer = delete(error(404, "NoSuchBucket"), &items(&["u1/\u{1}"])).await;
    assert!(matches!(answer, Err(StoreError::Permanent(_))), "{answer:?}");
}

#[tokio::test]
async fn confirmed_deletes_are_reported_despite_failed_single_requests() {
    let deleted =
        "<DeleteResult><Deleted><Key>u1/a</Key><VersionId>v1</VersionId></Deleted></DeleteResult>";
    let denied = "<DeleteResult><Error><Key>u1/a</Key><VersionId>v1</VersionId><Code>AccessDenied</Code></Error></DeleteResult>";
    let versions = with_ids(Kind::Versions, &[("u1/a", "v1"), ("u1/\u{1}", "v1")]);
    for (single, code) in [
        (Answer::Headers("x-amz-version-id: m1\r\n"), "OtherVersion"),
        (error(404, "NoSuchBucket"), "NoSuchBucket"),
        (error(400, "ExpiredToken"), "ExpiredToken"),
    ] {
        let server = Server::start(vec![full(deleted), single]);
        let deletion = server.s3().delete(&prefix(), &versions, LIMIT).await.unwrap();
        let failures: Vec<_> =
            deletion.failures.iter().map(|f| (f.index, f.code.as_str(), f.kind)).collect();
        assert_eq!((deletion.requests, failures), (2, vec![(1, code, FailureKind::Transient)]));
        server.requests();
    }
    // Nothing is confirmed: the fault is that of the request.
    let server = Server::start(vec![full(denied), error(404, "NoSuchBucket")]);
    let answer = server.s3().delete(&prefix(), &versions, LIMIT).await;
    assert!(matches!(answer, Err(StoreError::Permanent(_))), "{answer:?}");
    server.requests();
}

#[tokio::test]
async fn single_deletes_stop_at_the_first_failure() {
    let server = Server::answering(|request| match request {
        batch if batch.starts_with("POST") => {
            full("<DeleteResult><Deleted><Key>u1/a</Key></Deleted></DeleteResult>")
        }
        _ => error(404, "NoSuchBucket"),
    });
    let keys: Vec<_> = ["u1/a"].into_iter().chain(std::iter::repeat_n("u1/\u{1}", 20)).collect();
    let deletion = server.s3().delete(&prefix(), &items(&keys), LIMIT).await.unwrap();
    let count = |code| {
        deletion
            .failures
            .iter()
            .filter(|f| f.code == code && f.kind == FailureKind::Transient)
            .count()
    };
    assert_eq!((count("NoSuchBucket"), count("NotAsked"), deletion.failures.len()), (8, 12, 20));
    assert_eq!((server.requests().len(), deletion.requests), (9, 9));
}

#[tokio::test]
async fn keys_invalid_in_xml_are_deleted_singly() {
    let server = Server::start(vec![
        full(
            "<DeleteResult><Deleted><Key>u1/a</Key></Deleted><Deleted><Key>u1/\tb</Key></Deleted></DeleteResult>",
        ),
        Answer::Headers(""),
        error(403, "AccessDenied"),
        error(503, "SlowDown"),
        error(404, "NoSuchKey"),
    ]);
    let keys = ["u1/\u{1}", "u1/a", "u1/\u{1}", "u1/\tb", "u1/\u{1}", "u1/\u{1}"];
    let deletion = server.s3().delete(&prefix(), &items(&keys), LIMIT).await.unwrap();
    assert_eq!(deletion.requests, 5);
    let mut codes: Vec<_> = deletion.failures.iter().map(|f| (f.code.as_str(), f.kind)).collect();
    codes.sort_unstable_by_key(|(code, _)| *code);
    let missing = ("NoSuchKey", FailureKind::NotFound);
    assert_eq!(
        codes,
        [("AccessDenied", FailureKind::Denied), missing, ("SlowDown", FailureKind::Throttled)]
    );
    let requests = server.requests();
    assert!(!requests[0].contains('\u{1}'), "{}", requests[0]);
    assert!(
        requests[1..].iter().all(|request| request.starts_with("DELETE /photos/u1/%01?")),
        "{requests:?}"
    );
}

#[tokio::test]
async fn versions_of_keys_invalid_in_xml_are_deleted_singly() {
    let version = with_ids(Kind::Versions, &[("u1/\u{1}", "v1")]);
    assert_eq!(delete(Answer::Headers("x-amz-version-id: v1\r\n"), &version).await, Ok(vec![]));
    assert_eq!(delete(Answer::Headers(""), &version).await, Ok(vec![]));
    let missing = failures([(0, "NoSuchVersion", FailureKind::NotFound)]);
    assert_eq!(delete(error(404, "NoSuchVersion"), &version).await, Ok(missing));
    let other = delete(Answer::Headers("x-amz-version-id: m1\r\n"), &version).await;
    assert!(matches!(other, Err(StoreError::Inconsistent(_))), "{other:?}");
}
