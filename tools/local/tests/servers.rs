//! The local servers themselves: they come up side by side, and nothing of them stays.

use std::error::Error;
use std::process::Command;

use aws_sdk_s3::Client;
use aws_sdk_s3::types::{Delete, ObjectIdentifier};
use futures::stream::{self, StreamExt, TryStreamExt};
use local::{
    Lock, Ministack, Moto, Rclone, ReceiptsFolder, S3Server, Seaweed, Stored, StoredKind, count,
    create_bucket_with_object_lock, delete_plainly, delete_version, enable_versioning, inventory,
    lift_legal_hold, list_keys, lock_version, put_object, put_objects, read_objects, remove_bucket,
    start_upload, suspend_versioning, user_hash,
};
use serde_json::json;

type Outcome = Result<(), Box<dyn Error>>;

const KEYS: [&str; 4] = ["u1/a", "u1/b c+d%", "u1/\u{1f600}", "u2/a"];

async fn ends_when_dropped(server: S3Server) -> Outcome {
    let address = server.endpoint().trim_start_matches("http://").to_owned();
    drop(server);
    let connected = tokio::net::TcpStream::connect(address).await;
    assert!(connected.is_err(), "the server outlives its value");
    Ok(())
}

fn objects() -> Vec<(String, Vec<u8>)> {
    KEYS.iter().map(|key| ((*key).to_owned(), key.as_bytes().to_vec())).collect()
}

#[tokio::test]
async fn two_ministacks_share_nothing() -> Result<(), Box<dyn Error>> {
    let (one, other) = tokio::try_join!(Ministack::start(), Ministack::start_without_policies())?;
    for cloud in [&one, &other] {
        cloud.create_bucket("photos").await?;
    }
    one.put_objects("photos", objects(), || {}).await?;
    assert_eq!(list_keys(&one.s3(), "photos", "u1/").await?.len(), 3);
    assert!(list_keys(&other.s3(), "photos", "").await?.is_empty());
    assert_eq!(read_objects(&one.s3(), "photos", "").await?, objects());
    Ok(())
}

#[tokio::test]
async fn seaweed_stores_lists_and_ends_when_dropped() -> Result<(), Box<dyn Error>> {
    let seaweed = Seaweed::start().await?;
    seaweed.create_bucket("photos").await?;
    put_objects(&seaweed.s3(), "photos", objects()).await?;
    let mut keys = list_keys(&seaweed.s3(), "photos", "").await?;
    keys.sort();
    assert_eq!(keys, KEYS);
    ends_when_dropped(seaweed).await
}

/// Versions, a delete marker and uploads of one user, and of a neighbour.
async fn fill_and_take_stock(s3: &Client, bucket: &str, keys: usize, uploads: usize) -> Outcome {
    let empty: [Stored; 0] = [];
    assert_eq!(inventory(s3, bucket, "").await?, empty);
    put_objects(s3, bucket, [("u1/old".to_owned(), b"an object".to_vec())]).await?;
    let object = Stored { key: "u1/old".to_owned(), kind: StoredKind::Object, id: None };
    assert_eq!(inventory(s3, bucket, "").await?, [object]);

    enable_versioning(s3, bucket).await?;
    for _ in 0..3 {
        put_objects(s3, bucket, (0..keys).map(|n| (format!("u1/{n:03} +"), b"x".to_vec()))).await?;
    }
    let version = put_object(s3, bucket, "u10/a", b"x").await?;
    assert!(version.is_some());
    assert!(
        delete_plainly(s3, bucket, "u1/000 +").await?.is_some_and(|marker| Some(marker) != version)
    );
    let starts = (0..uploads)
        .map(|n| async move { start_upload(s3, bucket, &format!("u1/{} +", n % 7), b"x").await });
    stream::iter(starts).buffer_unordered(8).try_collect::<Vec<_>>().await?;
    start_upload(s3, bucket, "u10/a", b"a part").await?;

    let mine = inventory(s3, bucket, "u1/").await?;
    // What was there before has become the version called `null`.
    assert!(mine.contains(&Stored {
        key: "u1/old".to_owned(),
        kind: StoredKind::Version,
        id: Some("null".to_owned())
    }));
    let counts =
        [StoredKind::Object, StoredKind::Version, StoredKind::DeleteMarker, StoredKind::Upload]
            .map(|kind| count(&mine, kind));
    assert_eq!(counts, [0, 3 * keys + 1, 1, uploads]);
    let mut distinct = mine.clone();
    distinct.dedup();
    assert_eq!(distinct.len(), mine.len());
    let all = inventory(s3, bucket, "").await?;
    assert_eq!(all.len(), mine.len() + 2, "the neighbour's version and upload");

    // The marker, and what it hides.
    for stored in mine.iter().filter(|stored| stored.key == "u1/000 +") {
        delete_version(s3, bucket, &stored.key, stored.id.as_deref().unwrap_or_default()).await?;
    }
    let left = inventory(s3, bucket, "u1/").await?;
    assert_eq!(mine.len() - left.len(), 4);
    assert_eq!(count(&left, StoredKind::DeleteMarker), 0);
    Ok(())
}

#[tokio::test]
async fn ministack_keeps_versions_markers_and_uploads() -> Outcome {
    let cloud = Ministack::start_without_policies().await?;
    cloud.create_bucket("photos").await?;
    fill_and_take_stock(&cloud.s3(), "photos", 400, 1_010).await
}

#[tokio::test]
async fn seaweed_keeps_versions_markers_and_uploads() -> Outcome {
    let seaweed = Seaweed::start().await?;
    seaweed.create_bucket("photos").await?;
    fill_and_take_stock(&seaweed.s3(), "photos", 40, 20).await
}

async fn lock_and_fail_to_delete(s3: &Client) -> Outcome {
    create_bucket_with_object_lock(s3, "held").await?;
    let locks = [Lock::Compliance(60), Lock::Governance(60), Lock::LegalHold];
    for (number, lock) in locks.into_iter().enumerate() {
        let key = format!("u1/{number}");
        let version = put_object(s3, "held", &key, b"x").await?.ok_or("no version")?;
        lock_version(s3, "held", &key, &version, lock).await?;
        assert!(
            delete_version(s3, "held", &key, &version).await.is_err(),
            "{lock:?} holds nothing"
        );
        let request = s3.delete_object().bucket("held").key(&key).version_id(&version);
        let bypassed = request.bypass_governance_retention(true).send().await.is_ok();
        assert_eq!(bypassed, matches!(lock, Lock::Governance(_)), "{lock:?}");
        if lock == Lock::LegalHold {
            lift_legal_hold(s3, "held", &key, &version).await?;
            delete_version(s3, "held", &key, &version).await?;
        }
    }
    assert_eq!(inventory(s3, "held", "").await?.len(), 1);
    Ok(())
}

#[tokio::test]
async fn locks_hold() -> Outcome {
    let (cloud, seaweed) = tokio::try_join!(Ministack::start_without_policies(), Seaweed::start())?;
    lock_and_fail_to_delete(&cloud.s3()).await?;
    lock_and_fail_to_delete(&seaweed.s3()).await
}

#[tokio::test]
async fn a_bucket_is_removed_with_everything_in_it_unless_a_lock_holds() -> Outcome {
    let cloud = Ministack::start_without_policies().await?;
    let s3 = cloud.s3();
    create_bucket_with_object_lock(&s3, "held").await?;
    let mut version = String::new();
    for lock in [Lock::Governance(60), Lock::LegalHold] {
        version = put_object(&s3, "held", "u1/a", b"x").await?.ok_or("no version")?;
        lock_version(&s3, "held", "u1/a", &version, lock).await?;
    }
    delete_plainly(&s3, "held", "u1/a").await?;
    start_upload(&s3, "held", "u1/b", b"a part").await?;
    assert!(remove_bucket(&s3, "held").await.is_err());
    let held =
        Stored { key: "u1/a".to_owned(), kind: StoredKind::Version, id: Some(version.clone()) };
    assert_eq!(inventory(&s3, "held", "").await?, [held]);
    lift_legal_hold(&s3, "held", "u1/a", &version).await?;
    remove_bucket(&s3, "held").await?;
    let error = inventory(&s3, "held", "").await.err().ok_or("the bucket still exists")?;
    assert_eq!(error.code(), Some("NoSuchBucket"), "{error}");
    Ok(())
}

#[tokio::test]
async fn a_suspended_bucket_keeps_a_null_version() -> Outcome {
    let cloud = Ministack::start_without_policies().await?;
    let s3 = cloud.s3();
    cloud.create_bucket("photos").await?;
    enable_versioning(&s3, "photos").await?;
    put_object(&s3, "photos", "u1/a", b"first").await?;
    suspend_versioning(&s3, "photos").await?;
    put_object(&s3, "photos", "u1/a", b"second").await?;
    delete_plainly(&s3, "photos", "u1/b").await?;
    let stored = inventory(&s3, "photos", "").await?;
    let of_null = stored.iter().filter(|stored| stored.id.as_deref() == Some("null"));
    let of_null: Vec<_> = of_null.map(|stored| (stored.key.as_str(), stored.kind)).collect();
    assert_eq!(of_null, [("u1/a", StoredKind::Version), ("u1/b", StoredKind::DeleteMarker)]);
    assert_eq!(stored.len(), 3);
    Ok(())
}

/// Deletes all [`KEYS`] in one request, and returns the rejected keys with their codes.
async fn delete_at_once(
    s3: &Client,
    versions: [Option<String>; 4],
) -> Result<Vec<(String, String)>, Box<dyn Error>> {
    let identifiers = KEYS.iter().zip(versions);
    let identifiers = identifiers
        .map(|(key, id)| ObjectIdentifier::builder().key(*key).set_version_id(id).build());
    let identifiers = identifiers.collect::<Result<Vec<_>, _>>()?;
    let delete = Delete::builder().set_objects(Some(identifiers)).build()?;
    let answer = s3.delete_objects().bucket("photos").delete(delete).send().await?;
    let refused = answer.errors.into_iter().flatten();
    Ok(refused
        .map(|error| (error.key.unwrap_or_default(), error.code.unwrap_or_default()))
        .collect())
}

#[tokio::test]
async fn moto_refuses_single_keys_and_ends_when_dropped() -> Outcome {
    let moto = Moto::start().await?;
    let s3 = moto.s3();
    moto.create_bucket("photos").await?;
    put_objects(&s3, "photos", objects()).await?;
    let policy = json!({
        "Version": "2012-10-17",
        "Statement": [{
            "Effect": "Deny",
            "Principal": "*",
            "Action": "s3:DeleteObject",
            "Resource": "arn:aws:s3:::photos/u1/b*",
        }],
    });
    s3.put_bucket_policy().bucket("photos").policy(policy.to_string()).send().await?;
    let refused = [(KEYS[1].to_owned(), "AccessDenied".to_owned())];
    assert_eq!(delete_at_once(&s3, [const { None }; 4]).await?, refused);
    assert_eq!(list_keys(&s3, "photos", "").await?, [KEYS[1]]);

    enable_versioning(&s3, "photos").await?;
    let mut versions = [const { None }; 4];
    for (key, version) in KEYS.iter().zip(&mut versions) {
        *version = put_object(&s3, "photos", key, b"x").await?;
    }
    assert_eq!(delete_at_once(&s3, versions.clone()).await?, refused);
    let left: Vec<Option<String>> =
        inventory(&s3, "photos", "").await?.into_iter().map(|stored| stored.id).collect();
    assert_eq!(left.len(), 2, "the object from before and its new version: {left:?}");
    assert!(left.contains(&versions[1]) && left.contains(&Some("null".to_owned())), "{left:?}");

    ends_when_dropped(moto).await
}

#[tokio::test]
async fn rclone_stores_and_lists_and_cannot_list_uploads_where_there_are_none() -> Outcome {
    let rclone = Rclone::start().await?;
    let s3 = rclone.s3();
    rclone.create_bucket("photos").await?;
    put_objects(&s3, "photos", objects()).await?;
    let mut keys = list_keys(&s3, "photos", "").await?;
    keys.sort();
    assert_eq!(keys, KEYS);
    let error =
        inventory(&s3, "photos", "").await.err().ok_or("it lists no uploads without an error")?;
    assert_eq!(error.code(), Some("NoSuchUpload"), "{error}");
    // The SDK cannot read rclone's answer; the upload is open all the same.
    assert!(start_upload(&s3, "photos", "u1/d", b"a part").await.is_err());
    assert_eq!(s3.list_multipart_uploads().bucket("photos").send().await?.is_truncated(), None);
    ends_when_dropped(rclone).await
}

#[tokio::test]
async fn receipts_are_found_by_the_users_hash() -> Outcome {
    let cloud = Ministack::start_without_policies().await?;
    let s3 = cloud.s3();
    cloud.create_bucket("receipts").await?;
    let of = |user: &str, time: &str| {
        json!({ "finishedAt": time, "user": user_hash("key", user) }).to_string()
    };
    let texts = [
        ("of/e2/erased.json", of("u1", "2026-01-02T00:00:00.5Z")),
        ("of/e1/erased.json", of("u1", "2026-01-02T00:00:00Z")),
        ("of/e3/incomplete-5.json", of("u1", "2026-01-01T00:00:00Z")),
        ("of/e4/erased.json", of("u10", "2026-01-01T00:00:00Z")),
        ("of/e5/erased.json", "{".to_owned()),
        ("of/e5/big.json", format!("{}{}", of("u1", "2026-01-01T00:00:00Z"), " ".repeat(1 << 20))),
        ("of/read me.txt", of("u1", "2026-01-01T00:00:00Z")),
        ("else/e6/erased.json", of("u1", "2026-01-01T00:00:00Z")),
    ];
    for (key, text) in &texts {
        put_object(&s3, "receipts", key, text.as_bytes()).await?;
    }
    let found =
        ReceiptsFolder::parse("s3://receipts/of/")?.of_user(&s3, &user_hash("key", "u1")).await?;
    let keys: Vec<&str> = found.receipts.iter().map(|receipt| receipt.key.as_str()).collect();
    let expected = ["of/e3/incomplete-5.json", "of/e1/erased.json", "of/e2/erased.json"];
    assert_eq!(keys, expected.map(|key| format!("s3://receipts/{key}")));
    assert_eq!((found.read, found.strange), (4, 2));
    let none =
        ReceiptsFolder::parse("s3://receipts/of/")?.of_user(&s3, &user_hash("", "u1")).await?;
    assert_eq!((none.receipts.len(), none.read), (0, 4));
    Ok(())
}

#[test]
fn the_program_explains_itself() -> Result<(), Box<dyn Error>> {
    // Cargo builds examples before tests, into a folder next to theirs.
    let tests = std::env::current_exe()?;
    let program = tests.ancestors().nth(2).ok_or("no target folder")?.join("examples/local");
    let output = Command::new(&program).arg("--help").output()?;
    assert!(String::from_utf8(output.stdout)?.contains("run "));
    let output = Command::new(&program).arg("nonsense").output()?;
    assert!(!output.status.success());
    Ok(())
}
