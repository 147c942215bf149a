//! The fake S3 keeps S3's own rules: they are what everything else here is measured by.

use std::time::Duration;

use erase_user_files::ports::store::{
    DeleteStore, Item, Kind, ListedEntry, LockKind, ReadStore, Retention,
};
use erase_user_files::target::{Prefix, Target, User};

use crate::fake::handle::Fake;
use crate::fake::model::{S3, Version, Versioning};
use crate::faults::Setup;
use crate::users::{BUCKETS, populate};

const KINDS: [Kind; 4] = [Kind::Uploads, Kind::Objects, Kind::Versions, Kind::DeleteMarkers];
const LIMIT: Duration = Duration::from_secs(1);

fn prefix(bucket: &str) -> Prefix {
    Target::parse(&format!("s3://{bucket}/{{user_id}}/"))
        .expect("a target")
        .prefix(&User::parse("u1").expect("an id"))
}

/// All pages of a listing, one after the other.
async fn all(fake: &Fake, prefix: &Prefix, kind: Kind) -> Vec<ListedEntry> {
    let (mut entries, mut token) = (Vec::new(), None);
    loop {
        let page = fake.list(prefix, kind, token.as_deref(), LIMIT).await.expect("a page");
        assert!(page.entries.len() <= fake.page_size);
        let last = page.entries.last().map(|entry| entry.key.clone());
        let has_versions = matches!(kind, Kind::Versions | Kind::DeleteMarkers);
        assert_eq!(page.cut_at, last.filter(|_| page.next.is_some() && has_versions));
        entries.extend(page.entries);
        token = page.next;
        if token.is_none() {
            return entries;
        }
    }
}

#[tokio::test]
async fn pages_of_any_size_list_everything_once_in_order() {
    for seed in 0..20 {
        let mut fake = Fake::new(&BUCKETS);
        *fake.store() = populate(&Setup::of_seed(seed), 30, &mut fastrand::Rng::with_seed(seed));
        let target = prefix("photos");
        for kind in KINDS {
            fake.page_size = 1_000;
            let whole = all(&fake, &target, kind).await;
            assert!(whole.is_sorted_by_key(|entry| &entry.key));
            assert!(whole.iter().all(|entry| entry.key.starts_with("u1/")));
            for page_size in [1, 2, 7] {
                fake.page_size = page_size;
                assert_eq!(
                    all(&fake, &target, kind).await,
                    whole,
                    "seed {seed}, pages of {page_size}"
                );
            }
        }
        let inventory = fake.store().inventory("photos", "u1/");
        fake.page_size = 1_000;
        assert_eq!(all(&fake, &target, Kind::Uploads).await.len(), inventory.uploads.len());
        let versions = all(&fake, &target, Kind::DeleteMarkers).await;
        assert_eq!(versions.len(), inventory.data.len() + inventory.markers.len());
        assert_eq!(versions.iter().map(|entry| entry.bytes).sum::<u64>(), inventory.bytes());
        assert!(fake.store().inventory("photos", "u2/").is_empty());
    }
}

#[test]
fn plain_delete_depends_on_versioning() {
    let mut s3 = S3::new(&["b"]);
    let ids = |s3: &S3| {
        let mark = |bytes: Option<u64>| if bytes.is_some() { "data" } else { "marker" };
        let of = |v: &Version| {
            format!("{} {}", if v.id == "null" { "null" } else { "own" }, mark(v.bytes))
        };
        s3.versions("b", "k").iter().map(of).collect::<Vec<_>>()
    };
    s3.put("b", "k", 1);
    s3.put("b", "k", 2);
    assert_eq!(ids(&s3), ["null data"]);
    assert!(!s3.delete_plain("b", "k"));
    assert_eq!(ids(&s3), [""; 0]);
    s3.put("b", "k", 3);
    s3.set_versioning("b", Versioning::Enabled);
    s3.put("b", "k", 4);
    assert!(s3.delete_plain("b", "k"));
    assert_eq!(ids(&s3), ["own marker", "own data", "null data"]);
    s3.set_versioning("b", Versioning::Suspended);
    assert!(s3.delete_plain("b", "k"));
    assert_eq!(ids(&s3), ["null marker", "own marker", "own data"], "the null version is lost");
    s3.put("b", "k", 5);
    assert_eq!(ids(&s3), ["null data", "own marker", "own data"]);
    assert!(s3.delete_version("b", "k", "null", false));
    assert_eq!(ids(&s3), ["own marker", "own data"]);
}

#[test]
fn deleting_the_marker_restores_the_object() {
    let mut s3 = S3::new(&["b"]);
    s3.set_versioning("b", Versioning::Enabled);
    s3.put("b", "k", 1);
    s3.delete_plain("b", "k");
    let objects =
        |s3: &S3| s3.list(("b", ""), Kind::Objects, None, 9).expect("a page").entries.len();
    assert_eq!(objects(&s3), 0);
    let marker = s3.versions("b", "k")[0].id.clone();
    assert!(s3.delete_version("b", "k", &marker, false));
    assert_eq!(objects(&s3), 1);
}

#[test]
fn completed_upload_has_its_start_time() {
    let mut s3 = S3::new(&["b"]);
    let begun = s3.now();
    let (kept, aborted) = (s3.start_upload("b", "k"), s3.start_upload("b", "k"));
    s3.set_now(begun + Duration::from_secs(60));
    s3.abort_upload("b", "k", &aborted);
    assert!(!s3.complete_upload("b", "k", &aborted, 5));
    assert!(s3.complete_upload("b", "k", &kept, 5));
    assert_eq!(s3.versions("b", "k")[0].last_modified, begun);
    assert_eq!(s3.uploads_under("b", "").count(), 0);
}

#[tokio::test]
async fn retention_expires_and_legal_hold_does_not() {
    let mut fake = Fake::new(&["photos"]);
    let later = fake.store().now() + Duration::from_secs(60);
    let locks = [
        (LockKind::Compliance, Some(later)),
        (LockKind::Governance, Some(later)),
        (LockKind::LegalHold, None),
    ];
    fake.store().set_versioning("photos", Versioning::Enabled);
    let mut items = Vec::new();
    for (hold, until) in locks {
        let key = format!("u1/{}", hold.name());
        fake.store().put("photos", &key, 1);
        let id = fake.store().versions("photos", &key)[0].id.clone();
        fake.store().lock("photos", &key, &id, Retention { hold, until });
        let key = prefix("photos").claim(key).expect("a key of u1");
        let (kind, other_key, id) = (Kind::Versions, None, Some(id));
        items.push(Item { kind, key, other_key, id, bytes: 1, last_modified: None });
    }
    let refused = async |fake: &Fake| {
        let deletion = fake.delete(&prefix("photos"), &items, LIMIT).await.expect("an answer");
        deletion.failures.iter().map(|failure| failure.index).collect::<Vec<_>>()
    };
    assert_eq!(refused(&fake).await, [0, 1, 2]);
    fake.bypasses_governance = true;
    assert_eq!(refused(&fake).await, [0, 2]);
    fake.store().set_now(later);
    assert_eq!(refused(&fake).await, [2]);
    assert_eq!(
        fake.retention(&prefix("photos"), &items[2], LIMIT).await,
        Ok(Some(Retention { hold: LockKind::LegalHold, until: None }))
    );
    assert_eq!(fake.retention(&prefix("photos"), &items[0], LIMIT).await, Ok(None));
    assert_eq!(fake.is_versioned(&prefix("photos"), LIMIT).await, Ok(true));
    assert!(fake.is_versioned(&prefix("nowhere"), LIMIT).await.is_err());
}
