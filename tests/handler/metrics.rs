//! The numbers that an invocation leaves.

use std::collections::BTreeMap;
use std::time::Duration;

use erase_user_files::lambda::metrics::{DIMENSION, METRICS, NAMESPACE};
use serde_json::json;
use tokio::time::sleep;

use crate::emf::Embedded;
use crate::fixture::{BUCKET, Fixture, Store, locked, record, withdrawal};
use crate::receipts::pseudonym;

const TIMEOUT: Duration = Duration::from_secs(30);

/// What the last invocation wrote, without zeros.
fn last(fixture: &Fixture) -> BTreeMap<String, f64> {
    let lines = std::mem::take(&mut *locked(&fixture.metrics));
    assert_eq!(lines.len(), 1, "one line for an invocation: {lines:?}");
    let embedded = Embedded::read(&lines[0]).expect("embedded metrics");
    embedded.metrics.into_iter().filter(|(_, value)| *value != 0.0).collect()
}

fn numbers(expected: &[(&str, f64)]) -> BTreeMap<String, f64> {
    expected.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect()
}

fn withdrawn_at(user: &str, time: &str) -> String {
    json!({"type": "user-withdrawn", "userId": user, "withdrawnAt": time}).to_string()
}

#[tokio::test(start_paused = true)]
async fn metrics_line_is_complete_and_names_no_user() {
    let fixture = Fixture::new(Store::of(&[("u1", 2_000)]), &[]);
    fixture.invoke(TIMEOUT, vec![withdrawal("u1")]).await.unwrap();
    fixture.invoke(TIMEOUT, vec![withdrawal("u1")]).await.unwrap();
    let lines = locked(&fixture.metrics).clone();
    let [busy, idle] = &lines[..] else { panic!("{lines:?}") };
    assert!(!busy.contains("u1"), "{busy}");
    let busy = Embedded::read(busy).unwrap();
    assert_eq!((busy.namespace.as_str(), busy.level.as_str()), (NAMESPACE, "WARN"));
    assert_eq!(busy.dimensions, [(DIMENSION.to_owned(), "erase".to_owned())].into());
    let mut names: Vec<&str> = METRICS.iter().map(|(name, _)| *name).collect();
    names.sort_unstable();
    assert_eq!(busy.metrics.keys().map(String::as_str).collect::<Vec<_>>(), names);
    // No keys, no pace: a zero would pull the average down.
    names.retain(|name| *name != "KeysPerSecond");
    assert_eq!(Embedded::read(idle).unwrap().metrics.into_keys().collect::<Vec<_>>(), names);
}

#[tokio::test(start_paused = true)]
async fn invocation_counts_messages_by_outcome() {
    let fixture = Fixture::new(Store::of(&[("u1", 1_000), ("u2", 500)]), &[]);
    let records = vec![
        withdrawal("u1"),
        withdrawal("u2"),
        record("m", "?"),
        record("n", "{}"),
        withdrawal("panic"),
    ];
    fixture.invoke(TIMEOUT, records).await.unwrap();
    let mut counted = last(&fixture);
    let pace = counted.remove("KeysPerSecond").unwrap();
    assert!((500.0..3_500.0).contains(&pace), "{pace}");
    let expected = [
        ("BytesErased", 1_500.0),
        ("ErasuresCompleted", 2.0),
        ("ErasuresFailed", 1.0),
        ("MessagesRejected", 2.0),
        ("ObjectsErased", 1_500.0),
    ];
    assert_eq!(counted, numbers(&expected));
}

#[tokio::test(start_paused = true)]
async fn age_of_unfinished_erasure_spans_hops() {
    // The fixture begins at 2027-01-15T08:00:00Z.
    let fixture = Fixture::new(Store::of(&[("u1", 10_000), ("u2", 10_000), ("u3", 1)]), &[]);
    let mut records = vec![
        record("a", &withdrawn_at("u1", "2027-01-05T08:00:00Z")),
        withdrawal("u2"),
        // The oldest, but finished.
        record("c", &withdrawn_at("u3", "2026-01-05T08:00:00Z")),
    ];
    records[1].attributes.insert("SentTimestamp".to_owned(), "1799999000000".to_owned());
    fixture.invoke(Duration::from_secs(3), records).await.unwrap();
    let counted = last(&fixture);
    let ten_days = 10.0 * 86_400.0;
    assert!(
        (ten_days..ten_days + 3.0).contains(&counted["OldestErasureAgeSeconds"]),
        "{counted:?}"
    );
    assert_eq!((counted["ErasuresContinued"], counted["ErasuresCompleted"]), (2.0, 1.0));

    sleep(Duration::from_secs(60)).await;
    let sent: Vec<_> = std::mem::take(&mut *locked(&fixture.queue.sent));
    let of_u2 = sent.iter().find(|message| message.group == pseudonym("u2")).unwrap();
    fixture.invoke(Duration::from_secs(3), vec![record("b", &of_u2.body)]).await.unwrap();
    let age = last(&fixture)["OldestErasureAgeSeconds"];
    assert!((1_060.0..1_070.0).contains(&age), "{age}");
}

#[tokio::test(start_paused = true)]
async fn future_withdrawal_has_no_age() {
    let fixture = Fixture::new(Store { denies_deletes: true, ..Store::of(&[("u1", 3)]) }, &[]);
    fixture
        .invoke(TIMEOUT, vec![record("a", &withdrawn_at("u1", "2027-01-16T08:00:00Z"))])
        .await
        .unwrap();
    assert_eq!(
        last(&fixture),
        numbers(&[("ErasuresIncomplete", 1.0), ("IdleHops", 1.0), ("KeysRefused", 3.0)])
    );
}

#[tokio::test(start_paused = true)]
async fn throttles_and_idle_hops_are_counted() {
    let fixture = Fixture::new(Store { throttles_half: true, ..Store::of(&[("u1", 5_000)]) }, &[]);
    fixture.invoke(TIMEOUT, vec![withdrawal("u1")]).await.unwrap();
    let counted = last(&fixture);
    assert!(counted["Throttled"] >= 2.0 && !counted.contains_key("IdleHops"), "{counted:?}");
    let fixture = Fixture::new(Store { hangs: true, ..Store::of(&[("u1", 5)]) }, &[]);
    fixture.invoke(TIMEOUT, vec![withdrawal("u1")]).await.unwrap();
    let counted = last(&fixture);
    assert_eq!((counted["ErasuresFailed"], counted["IdleHops"]), (1.0, 1.0));
}

#[tokio::test(start_paused = true)]
async fn dry_run_counts_no_erased_objects() {
    let fixture = Fixture::new(Store::of(&[("u1", 3)]), &[("DRY_RUN", "true")]);
    fixture.invoke(TIMEOUT, vec![withdrawal("u1")]).await.unwrap();
    assert_eq!(last(&fixture), numbers(&[("DryRuns", 1.0)]));
}

#[tokio::test(start_paused = true)]
async fn sweep_counts_late_writes_and_has_no_age() {
    let fixture = Fixture::new(Store::of(&[("u1", 0)]), &[("LATE_WRITE_SWEEP_SECONDS", "1000")]);
    fixture
        .invoke(TIMEOUT, vec![record("a", &withdrawn_at("u1", "2027-01-05T08:00:00Z"))])
        .await
        .unwrap();
    assert_eq!(
        last(&fixture),
        numbers(&[("ErasuresCompleted", 1.0), ("ErasuresFoundNothing", 1.0)])
    );
    fixture.store.put(BUCKET, "u1", [7, 8]);
    let next = fixture.take_continuation().unwrap();
    sleep(next.delay).await;
    fixture.invoke(TIMEOUT, vec![record("m", &next.body)]).await.unwrap();
    assert_eq!(last(&fixture), numbers(&[]));
    let next = fixture.take_continuation().unwrap();
    sleep(next.delay).await;
    fixture.invoke(TIMEOUT, vec![record("m", &next.body)]).await.unwrap();
    let mut counted = last(&fixture);
    counted.remove("KeysPerSecond");
    assert_eq!(
        counted,
        numbers(&[("BytesErased", 2.0), ("LateWritesFound", 2.0), ("ObjectsErased", 2.0)])
    );
}
