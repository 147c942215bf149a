//! Aborting uploads, and looking whether anything is left of them.

use std::time::Duration;

use erase_user_files::bucket::{Bucket, Deletes, Fault, Kind};
use futures::future::join;
use tokio::time::timeout;

use crate::server::{Answer, LIMIT, Server, error, full, in_time, items, prefix, with_ids};

fn parts(rest: &str) -> Answer {
    full(&format!("<ListPartsResult><IsTruncated>false</IsTruncated>{rest}</ListPartsResult>"))
}

fn one_part() -> Answer {
    parts("<Part><PartNumber>1</PartNumber><Size>5</Size></Part>")
}

/// The failures of one upload as (code, retryable, throttle), and how many requests it took.
async fn abort(script: Vec<Answer>) -> Result<(u64, Vec<(String, bool, bool)>), Fault> {
    let server = Server::start(script);
    let deletion = server.s3().delete(&prefix(), Kind::Uploads, &with_ids(&[("u1/a", "up1")]), LIMIT).await;
    server.requests();
    let deletion = deletion?;
    let failures = deletion.failures.into_iter().map(|f| (f.code, f.is_retryable, f.is_throttle)).collect();
    Ok((deletion.requests, failures))
}

#[tokio::test]
async fn an_upload_is_gone_when_it_was_aborted_and_nothing_is_left_of_it() {
    let aborted = || Answer::Headers("");
    assert_eq!(abort(vec![aborted(), error(404, "NoSuchUpload")]).await, Ok((2, vec![])));
    assert_eq!(abort(vec![aborted(), parts("")]).await, Ok((2, vec![])));
    assert_eq!(abort(vec![error(404, "NoSuchUpload")]).await, Ok((1, vec![])));
    for (script, requests, code, is_retryable, is_throttle) in [
        // A part that was on its way during the abort: to be aborted again.
        (vec![aborted(), one_part()], 2, "PartsLeft", true, false),
        (vec![aborted(), error(503, "SlowDown")], 2, "SlowDown", true, true),
        (vec![aborted(), error(500, "InternalError")], 2, "InternalError", true, false),
        (vec![aborted(), full("<ListPartsResult>")], 2, "BrokenAnswer", true, false),
        (vec![error(503, "SlowDown")], 1, "SlowDown", true, true),
        (vec![error(500, "InternalError")], 1, "InternalError", true, false),
        (vec![error(403, "AccessDenied")], 1, "AccessDenied", false, false),
        (vec![error(400, "InvalidArgument")], 1, "InvalidArgument", false, false),
    ] {
        let expected = (requests, vec![(code.to_owned(), is_retryable, is_throttle)]);
        assert_eq!(abort(script).await, Ok(expected), "{code}");
    }
}

#[tokio::test]
async fn a_refusal_that_holds_for_all_uploads_is_not_blamed_on_one() {
    let unseen = abort(vec![Answer::Headers(""), error(403, "AccessDenied")]).await;
    let is_named = |fault: &Fault| fault.to_string().contains("s3:ListMultipartUploadParts");
    assert!(matches!(&unseen, Err(fault @ Fault::Refused(_)) if is_named(fault)), "{unseen:?}");
    for script in [vec![error(404, "NoSuchBucket")], vec![Answer::Headers(""), error(404, "NoSuchBucket")]] {
        let answer = abort(script).await;
        assert!(matches!(answer, Err(Fault::Refused(_))), "{answer:?}");
    }
}

#[tokio::test]
async fn uploads_of_one_key_are_told_apart_by_their_ids() {
    let server = Server::answering(|request| match request {
        abort if abort.starts_with("DELETE") && abort.contains("uploadId=up%261") => Answer::Headers(""),
        abort if abort.starts_with("DELETE") => error(403, "AccessDenied"),
        _ => one_part(),
    });
    let uploads = with_ids(&[("u1/a\u{1}", "up2"), ("u1/a\u{1}", "up&1"), ("u1/b", "up2")]);
    let deletion = server.s3().delete(&prefix(), Kind::Uploads, &uploads, LIMIT).await.unwrap();
    let mut failures: Vec<_> = deletion.failures.iter().map(|f| (f.index, f.code.as_str())).collect();
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
async fn what_goes_one_by_one_leaves_time_to_report_and_what_there_was_none_for_was_not_asked() {
    let server = Server::answering(|_request| Answer::Hang);
    let uploads: Vec<_> = (0..20).map(|number| (format!("u1/{number}"), "up1")).collect();
    let uploads: Vec<_> = uploads.iter().map(|(key, id)| (key.as_str(), *id)).collect();
    let limit = Duration::from_secs(3);
    let (s3, prefix, object, uploads) = (server.s3(), prefix(), items(&["u1/\u{1}"]), with_ids(&uploads));
    let objects = s3.delete(&prefix, Kind::Objects, &object, limit);
    let both = Box::pin(join(s3.delete(&prefix, Kind::Uploads, &uploads, limit), objects));
    // Half of the limit, so that what was done can still be reported: that timer goes off before the one of the whole,
    // however slow the machine is.
    let (deletion, object) = timeout(limit, both).await.expect("they end before their limit");
    let (deletion, object) = (deletion.unwrap(), object.unwrap());
    assert_eq!((server.requests().len(), deletion.requests, object.requests), (9, 8, 1));
    assert_eq!(object.failures[0].code, "NoAnswerInTime");
    let count = |code| deletion.failures.iter().filter(|f| f.code == code && f.is_retryable).count();
    assert_eq!((count("NoAnswerInTime"), count("NotAsked")), (8, 12));
}

#[tokio::test]
async fn a_server_that_hangs_costs_no_more_than_the_limit() {
    let server = Server::start((0..6).map(|_| Answer::Hang).collect());
    let (s3, limit) = (server.s3(), Duration::from_millis(200));
    for kind in [Kind::Objects, Kind::Versions, Kind::Uploads] {
        assert!(matches!(in_time(s3.list(&prefix(), kind, None, limit)).await, Err(Fault::Unavailable(_))));
    }
    assert!(matches!(in_time(s3.is_versioned("photos", limit)).await, Err(Fault::Unavailable(_))));
    let batch = in_time(s3.delete(&prefix(), Kind::Objects, &items(&["u1/a", "u1/b"]), limit)).await;
    assert!(matches!(batch, Err(Fault::Unavailable(_))));
    let single = in_time(s3.delete(&prefix(), Kind::Objects, &items(&["u1/\u{1}"]), limit)).await.unwrap();
    assert!(single.failures[0].is_retryable, "{single:?}");
    server.requests();
}
