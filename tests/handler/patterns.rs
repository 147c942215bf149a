//! Files named after users, and users of several tenants: neighbours stay, whatever their names.

use std::num::NonZeroU32;
use std::sync::Mutex;
use std::time::Duration;

use erase_user_files::erasure::checkpoint::Checkpoint;
use erase_user_files::erasure::engine::{Engine, ErasureScope};
use erase_user_files::erasure::erase::Eraser;
use erase_user_files::erasure::progress::Progress;
use erase_user_files::erasure::report::HopEnd;
use erase_user_files::limiter::Limiter;
use erase_user_files::ports::store::{Kind, StoreError};
use erase_user_files::target::{IdRules, Target, Targets, User};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::fake::handle::Fake;
use crate::fake::model::{Inventory, Versioning};
use crate::faults::{Asks, Faults, Request, Shared};
use crate::fixture::{BUCKET, Event, Fixture, Store, locked, record, withdrawal};
use crate::schema::assert_is_receipt;

const TIMEOUT: Duration = Duration::from_secs(30);

const STATES: [Versioning; 3] = [Versioning::Never, Versioning::Enabled, Versioning::Suspended];

const ONE_KEY: [(&str, &str); 2] =
    [("ERASE_TARGETS", ""), ("ERASE_KEYS", "s3://photos/avatars/{user_id}")];
const NAMES: [(&str, &str); 3] = [
    ("ERASE_TARGETS", ""),
    ("ERASE_KEYS", "s3://photos/avatars/{user_id}.*"),
    ("USER_ID_CHARACTERS", "0-9"),
];

/// A store with these names in `avatars/`: each has an object and an upload and, where there are
/// versions, an older version with a delete marker on it.
fn stored(state: Versioning, names: &[&str]) -> Store {
    let store = Store::default();
    let mut model = store.model.store();
    let key = |name: &&str| format!("avatars/{name}");
    if state != Versioning::Never {
        model.set_versioning(BUCKET, Versioning::Enabled);
        for name in names {
            model.put(BUCKET, &key(name), 10);
            model.delete_plain(BUCKET, &key(name));
        }
        model.set_versioning(BUCKET, state);
    }
    for name in names {
        model.put(BUCKET, &key(name), 1);
        model.start_upload(BUCKET, &key(name));
    }
    drop(model);
    store
}

fn inventory(store: &Store) -> Inventory {
    store.model.store().inventory(BUCKET, "")
}

/// An inventory without what is stored under these names.
fn without(mut inventory: Inventory, names: &[&str]) -> Inventory {
    let is_other = |key: &str| !names.iter().any(|name| key == format!("avatars/{name}"));
    inventory.data.retain(|(key, _)| is_other(key));
    inventory.markers.retain(|(key, _)| is_other(key));
    inventory.uploads.retain(|(key, _)| is_other(key));
    inventory
}

/// Erases the user, and asserts that the names which are the user's are deleted, and nothing else.
async fn erase(fixture: &Fixture, user: &str, names: &[&str]) -> Value {
    let before = inventory(&fixture.store);
    fixture.succeed(TIMEOUT, vec![withdrawal(user)]).await;
    assert_eq!(inventory(&fixture.store), without(before, names));
    let (name, receipt) = fixture.receipt_store.receipt();
    assert_is_receipt(&receipt);
    assert_eq!((name, &receipt["outcome"]), (format!("{user}/erased.json"), &json!("erased")));
    receipt
}

#[tokio::test(start_paused = true)]
async fn one_key_is_deleted_and_all_keys_that_begin_with_it_stay() {
    for state in STATES {
        let store = stored(state, &["1", "12", "123", "1.jpg", "1/x", "1/", "01", "1 ", "2"]);
        let neighbours = (0..5_000).map(|number| format!("avatars/1{number:04}"));
        neighbours.for_each(|key| store.model.store().put(BUCKET, &key, 1));
        let fixture = Fixture::new(store, &ONE_KEY);
        let receipt = erase(&fixture, "1", &["1"]).await;
        let counted = ["objects", "versions", "deleteMarkers", "uploads"].map(|it| &receipt[it]);
        let expected = match state {
            Versioning::Never => [1, 0, 0, 1],
            Versioning::Enabled | Versioning::Suspended => [0, 2, 1, 1],
        };
        assert_eq!(counted, expected.map(|count| json!(count)).each_ref(), "{state:?}");
        // Six pages of neighbours are never listed: one page for each listing is enough.
        let pages = fixture.store.listings();
        assert!(pages <= 4, "{state:?}: {pages} pages");
        assert_eq!(receipt.get("foundNothing"), None, "{receipt}");
    }
}

#[tokio::test(start_paused = true)]
async fn files_named_after_the_user_are_deleted_and_similar_names_stay() {
    for state in STATES {
        let own = ["12.jpg", "12.", "12.5", "12.tar.gz", "12..", "12. "];
        let others =
            ["1", "12", "123", "1.12", ".12", "012", "012.jpg", "12.d/x", "12./", "12/x.jpg"];
        let more = ["123.jpg", "1.jpg", "12-.jpg", "x12.jpg", "x/12.jpg", "12jpg", "12\u{2024}jpg"];
        let all = [&own[..], &others, &more].concat();
        let fixture = Fixture::new(stored(state, &all), &NAMES);
        erase(&fixture, "12", &own).await;
    }
}

/// The same names are those of another user.
#[tokio::test(start_paused = true)]
async fn each_of_several_users_owns_only_its_own_files() {
    let names = ["1.jpg", "12.jpg", "123.jpg", "1", "12", "123"];
    let fixture = Fixture::new(stored(Versioning::Enabled, &names), &NAMES);
    let before = inventory(&fixture.store);
    let records = ["1", "12", "123"].map(withdrawal).into();
    fixture.succeed(TIMEOUT, records).await;
    assert_eq!(inventory(&fixture.store), without(before, &["1.jpg", "12.jpg", "123.jpg"]));
    assert_eq!(locked(&fixture.receipt_store.documents).len(), 3);
}

#[tokio::test(start_paused = true)]
async fn continuation_stays_in_its_tenant() {
    const OBJECTS: u32 = 60_000;
    let store = Store::of(&[("a/12", OBJECTS), ("b/12", 3), ("a/120", 3), ("12", 3), ("a/1", 3)]);
    let settings = [
        ("ERASE_TARGETS", "s3://photos/{tenant_id}/{user_id}/"),
        ("SCOPE_IDS", "tenant_id=/tenantId"),
    ];
    let fixture = Fixture::new(store, &settings);
    let request = |tenant: &str| {
        let body = json!({"type": "user-withdrawn", "userId": 12, "tenantId": tenant, "requestId": tenant});
        record(tenant, &body.to_string())
    };
    let hops = fixture.follow(Duration::from_secs(3), request("a"), |next| {
        let body: Value = serde_json::from_str(&next.body).expect("JSON");
        assert_eq!(body["scopes"], json!({"tenant_id": "a"}));
        assert_eq!((&body["userId"], &body["version"]), (&json!("12"), &json!(2)));
    });
    assert!(hops.await > 2);
    let left = ["a/12", "b/12", "a/120", "12", "a/1"].map(|user| fixture.store.left(user));
    assert_eq!(left, [0, 3, 3, 3, 3]);
    let (name, of_a) = fixture.receipt_store.receipt();
    assert_is_receipt(&of_a);
    assert_eq!((name.as_str(), &of_a["objects"]), ("a/erased.json", &json!(OBJECTS)));

    fixture.succeed(TIMEOUT, vec![request("b")]).await;
    let left = ["b/12", "a/120", "12", "a/1"].map(|user| fixture.store.left(user));
    assert_eq!(left, [0, 3, 3, 3]);
    let of_b: Value =
        serde_json::from_str(&locked(&fixture.receipt_store.documents)["b/erased.json"]).unwrap();
    assert_ne!(of_a["user"], of_b["user"], "user 12 of another tenant is another user");
}

#[tokio::test(start_paused = true)]
async fn erasure_that_finds_only_neighbours_found_nothing() {
    for state in STATES {
        for settings in [&ONE_KEY[..], &NAMES] {
            let names = ["10", "1x", "1/x", "10.jpg", "1-.jpg", "01.jpg"];
            let fixture = Fixture::new(stored(state, &names), settings);
            let receipt = erase(&fixture, "1", &[]).await;
            assert_eq!(receipt["foundNothing"], json!(true), "{state:?}: {receipt}");
            let log = locked(&fixture.store.log);
            assert!(!log.iter().any(|(_, event)| matches!(event, Event::Deleting(_))));
        }
    }
}

/// The listing leaves out a folder of neighbours instead of listing all of it.
#[tokio::test(start_paused = true)]
async fn folder_of_neighbours_costs_one_page_whatever_its_size() {
    for state in STATES {
        let store = stored(state, &["1.a", "1.jpg", "1.z"]);
        for folder in ["avatars/1.d", "avatars/1.e"] {
            for number in 0..5_000 {
                store.model.store().put(BUCKET, &format!("{folder}/{number:06}"), 1);
            }
        }
        // More of them than a page has begin with the last character that there is.
        for number in 0..1_100 {
            let key = format!("avatars/1.e/{}{number:06}", char::MAX);
            store.model.store().put(BUCKET, &key, 1);
        }
        let fixture = Fixture::new(store, &NAMES);
        let before = inventory(&fixture.store);
        let receipt = erase(&fixture, "1", &["1.a", "1.jpg", "1.z"]).await;
        assert_eq!(receipt["outcome"], "erased");
        let kept = without(before, &["1.a", "1.jpg", "1.z"]);
        assert_eq!(inventory(&fixture.store), kept, "{state:?}");
        // Two rounds of five pages each, and the first page of objects that a versioned bucket has
        // listed in vain.
        assert!(fixture.store.listings() <= 11, "{state:?}: {}", fixture.store.listings());
    }
}

#[tokio::test(start_paused = true)]
async fn dry_run_counts_only_the_users_keys() {
    for state in STATES {
        let names = ["12.jpg", "12.", "12", "123.jpg", "12.d/x", "1.jpg"];
        let settings = [&NAMES[..], &[("DRY_RUN", "true")]].concat();
        let fixture = Fixture::new(stored(state, &names), &settings);
        let before = inventory(&fixture.store);
        fixture.succeed(TIMEOUT, vec![withdrawal("12")]).await;
        assert_eq!(inventory(&fixture.store), before);
        let (name, receipt) = fixture.receipt_store.receipt();
        assert_is_receipt(&receipt);
        assert_eq!(name, "12/dry-run.json");
        let counted = ["objects", "versions", "deleteMarkers", "uploads", "bytes"];
        let expected = match state {
            Versioning::Never => [2, 0, 0, 2, 2],
            Versioning::Enabled | Versioning::Suspended => [0, 4, 2, 2, 22],
        };
        assert_eq!(counted.map(|it| &receipt[it]), expected.map(|it| json!(it)).each_ref());
    }
}

/// A store that remembers when each listing began and ended.
struct Watched {
    model: Fake,
    begun: Mutex<Vec<(Kind, Instant)>>,
    ended: Mutex<Vec<(Kind, Instant)>>,
}

impl Faults for Watched {
    fn model(&self) -> &Fake {
        &self.model
    }

    async fn before(&self, request: Request<'_>) -> Result<(), StoreError> {
        if let Asks::Listing(kind) = request.asks {
            locked(&self.begun).push((kind, Instant::now()));
            sleep(Duration::from_millis(if kind == Kind::Uploads { 100 } else { 60 })).await;
        }
        Ok(())
    }

    async fn after(&self, request: Request<'_>) {
        if let Asks::Listing(kind) = request.asks {
            locked(&self.ended).push((kind, Instant::now()));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn listing_of_a_single_key_is_proof_only_after_the_uploads() {
    for state in STATES {
        for names in [&["10", "1/x"][..], &["1", "10"]] {
            let model = stored(state, names).model;
            let store =
                Shared::new(Watched { model, begun: Mutex::default(), ended: Mutex::default() });
            let rules = IdRules::default();
            let files = Target::files("s3://photos/avatars/{user_id}", &rules).expect("a key");
            let targets = Targets::new(files, rules).expect("few targets");
            let user = User::parse("1").expect("a user id");
            let scope = ErasureScope {
                targets: &targets,
                user: &user,
                erase_before: None,
                max_objects: None,
                started_at: None,
                stop: Instant::now() + TIMEOUT,
            };
            let pace = Limiter::new(None, NonZeroU32::MIN, 1);
            let eraser = Eraser(store.clone());
            let report =
                eraser.work(&pace, &Progress::default(), scope, &mut Checkpoint::default()).await;
            assert_eq!(report.end, HopEnd::Erased);
            let (begun, ended) = (locked(&store.begun), locked(&store.ended));
            let (last, last_begun) = begun.last().expect("a listing");
            let mut uploads = ended.iter().rev().filter(|(kind, _)| *kind == Kind::Uploads);
            let (_, uploads_ended) = uploads.next().expect("a listing of uploads");
            let of_data = if state == Versioning::Never { Kind::Objects } else { Kind::Versions };
            assert_eq!(*last, of_data, "{state:?}");
            assert!(
                last_begun >= uploads_ended,
                "{state:?}: an upload may have been completed since"
            );
        }
    }
}
