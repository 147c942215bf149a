//! Targets and receipts in another account, with the bucket policies of `deploy/policies/`.
//!
//! Ministack 1.5.33 asks the policy of a bucket of another account in the name of the account that
//! asks, not of its role, and about the bucket for a DeleteObjects. The policies are changed for
//! that; that they let in this role alone is therefore not tried here.

use std::time::Duration;

use aws_sdk_s3::Client;
use aws_sdk_s3::config::{Config, Credentials};
use local::{Ministack, enable_versioning, inventory, project_root, put_object, read_object};

use crate::deployed::Deployed;
use crate::{Failure, Outcome, within};

const TEST_LIMIT: Duration = Duration::from_secs(90);
const HOP_LIMIT: Duration = Duration::from_secs(40);
/// Ministack takes an access key of twelve digits as the root user of this account.
const OTHER_ACCOUNT: &str = "111111111111";
/// What the policy files name, and what the local cloud needs in its place.
const REPLACED: [(&str, &str); 3] = [
    ("arn:aws:iam::123456789012:role/erase-user-files-FunctionRole-*", THE_ACCOUNT),
    ("arn:aws:iam::123456789012:root", THE_ACCOUNT),
    (
        "\"arn:aws:s3:::my-files/users/?*/*\"",
        "[\"arn:aws:s3:::my-files/users/?*/*\", \"arn:aws:s3:::my-files\"]",
    ),
];
const THE_ACCOUNT: &str = "arn:aws:iam::000000000000:root";

fn client_of(cloud: &Ministack, account: &str) -> Client {
    let credentials = Credentials::new(account, "any", None, None, "test");
    let config: Config = cloud.s3().config().to_builder().credentials_provider(credentials).build();
    Client::from_conf(config)
}

async fn put_policy(s3: &Client, bucket: &str, file: &str) -> Outcome {
    let path = project_root().join(format!("deploy/policies/{file}.json"));
    let mut policy = std::fs::read_to_string(path)?;
    for (name, here) in REPLACED {
        policy = policy.replace(name, here);
    }
    s3.put_bucket_policy().bucket(bucket).policy(policy).send().await?;
    Ok(())
}

#[tokio::test]
async fn bucket_policies_let_a_stack_erase_in_another_account() -> Outcome {
    let cloud = Ministack::start().await?;
    within(TEST_LIMIT, async {
        let other = client_of(&cloud, OTHER_ACCOUNT);
        for bucket in ["my-files", "my-receipts"] {
            other.create_bucket().bucket(bucket).send().await?;
        }
        enable_versioning(&other, "my-files").await?;
        for key in ["users/u1/a", "users/u1/b", "users/u10/keep", "keep"] {
            put_object(&other, "my-files", key, b"12345").await?;
        }
        other.delete_object().bucket("my-files").key("users/u1/b").send().await?;
        let parameters = [
            ("Target1Bucket", "my-files"),
            ("Target1Prefix", "users/{user_id}/"),
            ("ExpectedBucketOwner", OTHER_ACCOUNT),
            ("ReceiptsBucket", "my-receipts"),
            ("ExpectedReceiptsOwner", OTHER_ACCOUNT),
        ];
        let deployed = Deployed::new(&cloud, &parameters).await?;

        // Without the policies, the other account forbids everything, and nothing is lost.
        deployed.request("r-1").await?;
        let hops = deployed.hops_until("a failed hop", HOP_LIMIT, |hops| !hops.is_empty()).await?;
        assert_eq!(hops[0].outcome, "failed", "{hops:?}");
        assert!(hops[0].reason.contains("AccessDenied"), "{hops:?}");

        put_policy(&other, "my-files", "target-bucket").await?;
        put_policy(&other, "my-receipts", "receipts-bucket").await?;
        deployed.request("r-2").await?;
        let is_erased = |hops: &[local::Hop]| hops.iter().any(|hop| hop.outcome == "erased");
        deployed.hops_until("\"erased\"", HOP_LIMIT, is_erased).await?;
        let left = inventory(&other, "my-files", "users/u1/").await?;
        assert_eq!(left, [], "what is left of the user");
        assert_eq!(inventory(&other, "my-files", "").await?.len(), 2, "of others");
        let receipt = read_object(&other, "my-receipts", "receipts/r-2/erased.json").await?;
        assert!(String::from_utf8_lossy(&receipt).contains("provenEmptyAt"));

        // The account gets no more than the policy says, and other accounts get nothing.
        let us = cloud.s3();
        put_object(&other, "my-files", "users/u2/a", b"12345").await?;
        let reading = us.get_object().bucket("my-files").key("users/u2/a").send().await;
        assert!(reading.is_err(), "reads a user's file");
        let writing = us.put_object().bucket("my-files").key("users/u2/b").send().await;
        assert!(writing.is_err(), "writes a user's file");
        let deleting = us.delete_object().bucket("my-files").key("keep").send().await;
        assert!(deleting.is_err(), "deletes outside of the prefix");
        let listing = us.list_objects_v2().bucket("my-files").send().await;
        assert!(listing.is_err(), "lists without a user");
        let stranger = inventory(&client_of(&cloud, "222222222222"), "my-files", "users/u1/").await;
        stranger.map_or(Ok(()), |found| Err(Failure(format!("a stranger sees {found:?}"))))
    })
    .await
}
