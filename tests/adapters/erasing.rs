//! The eraser over the adapter: what only both together can show.

use std::num::NonZeroU32;

use erase_user_files::erasure::checkpoint::Checkpoint;
use erase_user_files::erasure::engine::{Engine, ErasureScope};
use erase_user_files::erasure::erase::Eraser;
use erase_user_files::erasure::progress::Progress;
use erase_user_files::erasure::report::HopEnd;
use erase_user_files::limiter::Limiter;
use erase_user_files::target::{Targets, User};
use tokio::time::Instant;

use crate::server::{Answer, LIMIT, Server, error, full};

/// A bucket without versions and uploads, and a script for all else.
fn server(script: Vec<Answer>) -> Server {
    let mut script = script.into_iter();
    Server::answering(move |request| match request.lines().next().unwrap_or_default() {
        line if line.contains("?versioning") => full("<VersioningConfiguration/>"),
        line if line.contains("?uploads") => full(
            "<ListMultipartUploadsResult><IsTruncated>false</IsTruncated></ListMultipartUploadsResult>",
        ),
        _ => script.next().expect("an answer is left in the script"),
    })
}

#[tokio::test]
async fn throttled_batch_is_retried_whole_then_split() {
    let keys: Vec<String> = (0..1_000).map(|number| format!("u1/{number:04}")).collect();
    let page = |keys: &[String]| {
        let contents: String =
            keys.iter().map(|key| format!("<Contents><Key>{key}</Key></Contents>")).collect();
        full(&format!(
            "<ListBucketResult><IsTruncated>false</IsTruncated>{contents}</ListBucketResult>"
        ))
    };
    let deleted = |keys: &[String]| {
        let deleted: String =
            keys.iter().map(|key| format!("<Deleted><Key>{key}</Key></Deleted>")).collect();
        full(&format!("<DeleteResult>{deleted}</DeleteResult>"))
    };
    let (first, second) = keys.split_at(500);
    let slow = error(503, "SlowDown");
    let slow_again = error(503, "SlowDown");
    let server =
        server(vec![page(&keys), slow, slow_again, deleted(first), deleted(second), page(&[])]);
    let (targets, user) =
        (Targets::parse("s3://photos/{user_id}/").unwrap(), User::parse("u1").unwrap());
    let (pace, counters) =
        (Limiter::new(NonZeroU32::new(3_500), NonZeroU32::MIN, 1), Progress::default());
    let stop = Instant::now() + LIMIT;
    let job = ErasureScope {
        targets: &targets,
        user: &user,
        erase_before: None,
        max_objects: None,
        started_at: None,
        stop,
    };
    let report =
        Box::pin(Eraser(server.s3()).work(&pace, &counters, job, &mut Checkpoint::default())).await;
    assert_eq!(report.end, HopEnd::Erased);
    let hop = counters.hop();
    assert_eq!((hop.throttles, hop.retries), (2, 3));
    let requests = server.requests();
    let batches = requests.iter().filter(|request| request.starts_with("POST"));
    let batch_sizes: Vec<usize> = batches.map(|request| request.matches("<Key>").count()).collect();
    assert_eq!(batch_sizes, [1_000, 1_000, 500, 500]);
    assert_eq!(hop.requests, requests.len() as u64);
}
