//! Erasures of everything, and the receipts that prove them.

use std::time::Duration;

use local::{
    Hop, Lock, Ministack, ReceiptsFolder, StoredKind, count, create_bucket_with_object_lock,
    delete_plainly, enable_versioning, inventory, lift_legal_hold, lock_version, put_object,
    start_upload, user_hash,
};
use serde_json::{Value, json};

use crate::deployed::{Deployed, assert_is_chain};
use crate::objects::{USER, neighbours, objects, plain_keys};
use crate::schema::assert_is_receipt;
use crate::{Failure, Outcome, assert_same, within};

const TEST_LIMIT: Duration = Duration::from_secs(120);
const ERASURE_LIMIT: Duration = Duration::from_secs(60);

const HASH_KEY: &str = "only-for-these-tests";
const RECEIPTS: [(&str, &str); 2] = [("ReceiptsBucket", "receipts"), ("ReceiptHashKey", HASH_KEY)];

/// The receipts of this user, by their names below the receipts' folder.
async fn receipts(cloud: &Ministack) -> Result<Vec<(String, Value)>, Failure> {
    let folder = ReceiptsFolder::parse("s3://receipts/receipts/")?;
    let found = folder.of_user(&cloud.s3(), &user_hash(HASH_KEY, USER)).await?;
    let mut receipts = Vec::new();
    for receipt in found.receipts {
        assert!(!receipt.text.contains(USER), "the user's id is in it: {}", receipt.text);
        let document: Value = serde_json::from_str(&receipt.text)?;
        assert_is_receipt(&document);
        receipts
            .push((receipt.key.trim_start_matches("s3://receipts/receipts/").to_owned(), document));
    }
    Ok(receipts)
}

/// One for objects, one for versions, one for receipts.
async fn create_buckets(cloud: &Ministack) -> Outcome {
    for bucket in ["photos", "vault", "receipts"] {
        cloud.create_bucket(bucket).await?;
    }
    Ok(enable_versioning(&cloud.s3(), "vault").await?)
}

/// A bucket with versions, markers above and alone, and uploads of one folder.
async fn fill(cloud: &Ministack, bucket: &str, folder: &str, keys: usize) -> Outcome {
    let s3 = cloud.s3();
    let keys = plain_keys(folder, keys);
    for _ in 0..3 {
        cloud.put_objects(bucket, objects(keys.iter().cloned()), || {}).await?;
    }
    for key in keys.iter().step_by(4) {
        delete_plainly(&s3, bucket, key).await?;
        delete_plainly(&s3, bucket, &format!("{key} never was")).await?;
    }
    for key in keys.iter().take(3) {
        start_upload(&s3, bucket, key, b"part").await?;
    }
    Ok(())
}

#[tokio::test]
async fn versions_markers_and_uploads_are_erased_over_hops() -> Outcome {
    let cloud = Ministack::start().await?;
    within(TEST_LIMIT, async {
        let s3 = cloud.s3();
        create_buckets(&cloud).await?;
        cloud.put_objects("photos", neighbours(), || {}).await?;
        start_upload(&s3, "photos", "u10/upload", b"part").await?;
        fill(&cloud, "vault", "u10/", 20).await?;
        let kept = (inventory(&s3, "photos", "").await?, inventory(&s3, "vault", "").await?);
        cloud.put_objects("photos", objects(plain_keys("u1/", 100)), || {}).await?;
        start_upload(&s3, "photos", "u1/upload", b"part").await?;
        fill(&cloud, "vault", "u1/", 200).await?;
        let mine = inventory(&s3, "vault", "u1/").await?;
        let parameters =
            [("Target1Bucket", "photos"), ("Target2Bucket", "vault"), ("MaxDeletesPerSecond", "150"), ("FunctionTimeout", "5"), ("HandoffReserveMs", "2000")];
        let deployed = Deployed::new(&cloud, &[&parameters[..], &RECEIPTS].concat()).await?;

        let message = json!({ "type": "user-withdrawn", "userId": USER, "requestId": "r-1", "withdrawnAt": "2026-01-31T12:00:00Z" });
        deployed.send(&message.to_string()).await?;
        let hops = deployed.erased(1, ERASURE_LIMIT).await?;

        assert_is_chain(&hops, Duration::from_secs(5));
        assert!(hops.len() > 1, "{hops:#?}");
        assert_same(&inventory(&s3, "photos", "").await?, &kept.0, "photos");
        assert_same(&inventory(&s3, "vault", "").await?, &kept.1, "vault");
        let receipts = receipts(&cloud).await?;
        let [(name, receipt)] = &receipts[..] else { return Err(Failure(format!("{receipts:#?}"))) };
        assert_eq!((name.as_str(), &receipt["outcome"]), ("r-1/erased.json", &json!("erased")));
        assert_eq!((&receipt["erasureId"], &receipt["hops"]), (&json!("r-1"), &json!(hops.len())));
        // The items in flight at a stop time may be deleted and not counted; the others are
        // counted.
        let vault = &receipt["targets"][1];
        assert_eq!((&vault["bucket"], &vault["prefix"]), (&json!("vault"), &json!("{user_id}/")));
        for (field, kind) in
            [("versions", StoredKind::Version), ("deleteMarkers", StoredKind::DeleteMarker), ("uploads", StoredKind::Upload)]
        {
            let (counted, stored) = (vault[field].as_u64().unwrap_or_default(), count(&mine, kind) as u64);
            assert!(counted > 0 && counted <= stored, "{field}: {counted} of {stored}");
        }
        assert_eq!((&receipt["targets"][0]["uploads"], &receipt["uploads"]), (&json!(1), &json!(4)));
        deployed.assert_log_is_discreet().await
    })
    .await
}

/// Waits for a hop with this outcome.
async fn hop_with(deployed: &Deployed<'_>, outcome: &str) -> Result<Hop, Failure> {
    let is_it = |hop: &&Hop| hop.outcome == outcome;
    let hops = deployed
        .hops_until(outcome, ERASURE_LIMIT, |hops| hops.iter().any(|hop| is_it(&hop)))
        .await?;
    Ok(hops.iter().find(is_it).cloned().unwrap_or_default())
}

#[tokio::test]
async fn locked_versions_are_reported_and_erased_after_release() -> Outcome {
    let cloud = Ministack::start().await?;
    within(TEST_LIMIT, async {
        let s3 = cloud.s3();
        create_bucket_with_object_lock(&s3, "vault").await?;
        cloud.create_bucket("receipts").await?;
        fill(&cloud, "vault", "u1/", 8).await?;
        let put = put_object(&s3, "vault", "u1/held", b"secret").await?;
        let held = put.ok_or_else(|| Failure("no version id".to_owned()))?;
        lock_version(&s3, "vault", "u1/held", &held, Lock::LegalHold).await?;
        delete_plainly(&s3, "vault", "u1/held").await?;
        let parameters = [("Target1Bucket", "vault")];
        let deployed = Deployed::new(&cloud, &[&parameters[..], &RECEIPTS].concat()).await?;

        deployed.request("r-2").await?;
        let hop = hop_with(&deployed, "incomplete").await?;
        assert_eq!((hop.retained, hop.refused), (1, 0), "{hop:#?}");
        let told = receipts(&cloud).await?;
        let (name, receipt) = told.first().ok_or_else(|| Failure("no receipt".to_owned()))?;
        assert_eq!(
            (name.as_str(), &receipt["outcome"]),
            ("r-2/incomplete-1.json", &json!("incomplete"))
        );
        let target = &receipt["targets"][0];
        assert_eq!(target["retained"], json!([{ "reason": "legal-hold", "count": 1 }]));
        assert_eq!(
            (&target["markersKept"], &target["versions"]),
            (&json!(1), &json!(24)),
            "{receipt:#}"
        );
        // Without the marker, the object would be back.
        assert_eq!(inventory(&s3, "vault", "").await?.len(), 2);

        lift_legal_hold(&s3, "vault", "u1/held", &held).await?;
        deployed.erased(1, ERASURE_LIMIT).await?;
        assert_eq!(inventory(&s3, "vault", "").await?, []);
        let names: Vec<String> =
            receipts(&cloud).await?.into_iter().map(|(name, _)| name).collect();
        assert_eq!(names.last().map(String::as_str), Some("r-2/erased.json"), "{names:?}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn missing_hash_key_is_logged_once_at_start() -> Outcome {
    let cloud = Ministack::start().await?;
    within(TEST_LIMIT, async {
        cloud.create_bucket("photos").await?;
        let parameters = [("Target1Bucket", "photos"), ("ReceiptHashKey", "")];
        let deployed = Deployed::new(&cloud, &parameters).await?;
        for message in [1, 2] {
            deployed.withdraw(USER).await?;
            deployed.erased(message, ERASURE_LIMIT).await?;
        }
        let lines = cloud.function_log_lines(&deployed.stack).await?;
        let warnings = lines.iter().filter(|line| line.contains("no hash key is set")).count();
        assert_eq!(warnings, 1, "{lines:#?}");
        Ok(())
    })
    .await
}
