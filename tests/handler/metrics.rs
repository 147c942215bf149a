//! The numbers that an invocation leaves.

use std::collections::BTreeMap;
use std::time::Duration;

use erase_user_files::lambda::metrics::{DIMENSION, METRICS, NAMESPACE};
use serde_json::json;
use tokio::time::sleep;

use crate::emf::Embedded;
use crate::scene::{BUCKET, Letters, Scene, Store, locked, record, withdrawal};

const TIMEOUT: Duration = Duration::from_secs(30);

/// What the last invocation left, but for zeros.
fn last(scene: &Scene) -> BTreeMap<String, f64> {
    let lines = std::mem::take(&mut *locked(&scene.metrics));
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
async fn every_line_has_every_metric_and_names_the_function_but_no_user() {
    let scene = Scene::new(Store::of(&[("u1", 2_000)]), Letters::default(), &[]);
    scene.invoke(TIMEOUT, vec![withdrawal("u1")]).await.unwrap();
    scene.invoke(TIMEOUT, vec![withdrawal("u1")]).await.unwrap();
    let lines = locked(&scene.metrics).clone();
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
async fn an_invocation_counts_all_its_messages_by_their_outcome() {
    let scene = Scene::new(Store::of(&[("u1", 1_000), ("u2", 500)]), Letters::default(), &[]);
    let records = vec![
        withdrawal("u1"),
        withdrawal("u2"),
        record("m", "?"),
        record("n", "{}"),
        withdrawal("panic"),
    ];
    scene.invoke(TIMEOUT, records).await.unwrap();
    let mut counted = last(&scene);
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
async fn the_age_of_what_is_not_finished_is_carried_through_the_hops() {
    // The scene begins at 2027-01-15T08:00:00Z.
    let scene = Scene::new(
        Store::of(&[("u1", 10_000), ("u2", 10_000), ("u3", 1)]),
        Letters::default(),
        &[],
    );
    let mut records = vec![
        record("a", &withdrawn_at("u1", "2027-01-05T08:00:00Z")),
        withdrawal("u2"),
        // The oldest, but finished.
        record("c", &withdrawn_at("u3", "2026-01-05T08:00:00Z")),
    ];
    records[1].attributes.insert("SentTimestamp".to_owned(), "1799999000000".to_owned());
    scene.invoke(Duration::from_secs(3), records).await.unwrap();
    let counted = last(&scene);
    let ten_days = 10.0 * 86_400.0;
    assert!(
        (ten_days..ten_days + 3.0).contains(&counted["OldestErasureAgeSeconds"]),
        "{counted:?}"
    );
    assert_eq!((counted["ErasuresContinued"], counted["ErasuresCompleted"]), (2.0, 1.0));

    sleep(Duration::from_secs(60)).await;
    let sent: Vec<_> = std::mem::take(&mut *locked(&scene.letters.sent));
    let of_u2 = sent.iter().find(|message| message.group == "u2").unwrap();
    scene.invoke(Duration::from_secs(3), vec![record("b", &of_u2.body)]).await.unwrap();
    let age = last(&scene)["OldestErasureAgeSeconds"];
    assert!((1_060.0..1_070.0).contains(&age), "{age}");
}

#[tokio::test(start_paused = true)]
async fn a_user_who_withdraws_tomorrow_is_not_old() {
    let scene = Scene::new(
        Store { denies_deletes: true, ..Store::of(&[("u1", 3)]) },
        Letters::default(),
        &[],
    );
    scene
        .invoke(TIMEOUT, vec![record("a", &withdrawn_at("u1", "2027-01-16T08:00:00Z"))])
        .await
        .unwrap();
    assert_eq!(
        last(&scene),
        numbers(&[("ErasuresIncomplete", 1.0), ("IdleHops", 1.0), ("KeysRefused", 3.0)])
    );
}

#[tokio::test(start_paused = true)]
async fn throttles_and_hops_that_were_of_no_use_are_counted() {
    let scene = Scene::new(
        Store { throttles_half: true, ..Store::of(&[("u1", 5_000)]) },
        Letters::default(),
        &[],
    );
    scene.invoke(TIMEOUT, vec![withdrawal("u1")]).await.unwrap();
    let counted = last(&scene);
    assert!(counted["Throttled"] >= 2.0 && !counted.contains_key("IdleHops"), "{counted:?}");
    let scene =
        Scene::new(Store { hangs: true, ..Store::of(&[("u1", 5)]) }, Letters::default(), &[]);
    scene.invoke(TIMEOUT, vec![withdrawal("u1")]).await.unwrap();
    let counted = last(&scene);
    assert_eq!((counted["ErasuresFailed"], counted["IdleHops"]), (1.0, 1.0));
}

#[tokio::test(start_paused = true)]
async fn a_dry_run_erases_nothing_and_counts_so() {
    let scene = Scene::new(Store::of(&[("u1", 3)]), Letters::default(), &[("DRY_RUN", "true")]);
    scene.invoke(TIMEOUT, vec![withdrawal("u1")]).await.unwrap();
    assert_eq!(last(&scene), numbers(&[("DryRuns", 1.0)]));
}

#[tokio::test(start_paused = true)]
async fn a_sweep_counts_what_came_late_and_is_no_unfinished_erasure_while_it_waits() {
    let scene = Scene::new(
        Store::of(&[("u1", 0)]),
        Letters::default(),
        &[("LATE_WRITE_SWEEP_SECONDS", "1000")],
    );
    scene
        .invoke(TIMEOUT, vec![record("a", &withdrawn_at("u1", "2027-01-05T08:00:00Z"))])
        .await
        .unwrap();
    assert_eq!(last(&scene), numbers(&[("ErasuresCompleted", 1.0), ("ErasuresFoundNothing", 1.0)]));
    scene.store.put(BUCKET, "u1", [7, 8]);
    let next = locked(&scene.letters.sent).pop().unwrap();
    sleep(next.delay).await;
    scene.invoke(TIMEOUT, vec![record("m", &next.body)]).await.unwrap();
    assert_eq!(last(&scene), numbers(&[]));
    let next = locked(&scene.letters.sent).pop().unwrap();
    sleep(next.delay).await;
    scene.invoke(TIMEOUT, vec![record("m", &next.body)]).await.unwrap();
    let mut counted = last(&scene);
    counted.remove("KeysPerSecond");
    assert_eq!(
        counted,
        numbers(&[("BytesErased", 2.0), ("LateWritesFound", 2.0), ("ObjectsErased", 2.0)])
    );
}
