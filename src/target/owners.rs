//! The accounts that must own the buckets of the targets.

use std::collections::BTreeMap;

use super::targets::Targets;
use super::template::Target;

/// The id of an AWS account: 12 digits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccountId(String);

/// The text is not the id of an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected an account id of 12 digits")]
pub struct ParseAccountError;

impl AccountId {
    /// Parses an account id.
    pub fn parse(text: &str) -> Result<Self, ParseAccountError> {
        let is_account = text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_digit());
        if is_account { Ok(Self(text.to_owned())) } else { Err(ParseAccountError) }
    }

    /// The 12 digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Which account must own the bucket of each target. S3 denies a request if another account owns
/// the bucket.
/// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucket-owner-condition.html>
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BucketOwners(Owners);

#[derive(Debug, Clone, Default, PartialEq, Eq)]
enum Owners {
    #[default]
    Unchecked,
    OfAll(AccountId),
    /// The bucket of every target has an entry.
    OfEach(BTreeMap<String, AccountId>),
}

impl BucketOwners {
    /// Parses one account id, or comma-separated pairs `BUCKET=ACCOUNT` that name the bucket of
    /// every target once and no other. Without targets, because they are invalid themselves, only
    /// the form is checked. The error has the reason for every invalid entry.
    pub fn parse(text: &str, targets: Option<&Targets>) -> Result<Self, Vec<String>> {
        if !text.contains('=') {
            let form = |_error| {
                vec!["expected an account id of 12 digits, or BUCKET=ACCOUNT pairs with a comma between them".to_owned()]
            };
            return AccountId::parse(text).map(|owner| Self(Owners::OfAll(owner))).map_err(form);
        }
        let buckets = targets.map(|targets| targets.as_slice().iter().map(Target::bucket));
        let buckets: Option<Vec<&str>> = buckets.map(Iterator::collect);
        let mut owners = BTreeMap::new();
        let mut faults = Vec::new();
        for entry in text.split(',').map(str::trim) {
            let (bucket, account) = entry.split_once('=').unwrap_or_default();
            let Ok(owner) = AccountId::parse(account) else {
                faults.push(format!(
                    "\"{entry}\": expected BUCKET=ACCOUNT, with an account id of 12 digits"
                ));
                continue;
            };
            if buckets.as_ref().is_some_and(|buckets| !buckets.contains(&bucket)) {
                faults.push(format!("\"{entry}\": bucket \"{bucket}\" is in no target"));
            }
            if owners.insert(bucket.to_owned(), owner).is_some() {
                faults.push(format!("bucket \"{bucket}\" is listed twice"));
            }
        }
        let mut missing: Vec<_> = buckets.unwrap_or_default();
        missing.retain(|bucket| !owners.contains_key(*bucket));
        missing.sort_unstable();
        missing.dedup();
        // The account of an invalid pair is unknown, but its bucket is not missing.
        if faults.is_empty() {
            let has_none = |bucket| format!("bucket \"{bucket}\" of a target has no account");
            faults.extend(missing.into_iter().map(has_none));
        }
        if faults.is_empty() { Ok(Self(Owners::OfEach(owners))) } else { Err(faults) }
    }

    /// The account that must own a bucket of a target; `None` if any account may own it.
    pub fn of(&self, bucket: &str) -> Option<&AccountId> {
        match &self.0 {
            Owners::Unchecked => None,
            Owners::OfAll(owner) => Some(owner),
            Owners::OfEach(owners) => owners.get(bucket),
        }
    }
}

impl From<AccountId> for BucketOwners {
    /// One account owns all buckets.
    fn from(owner: AccountId) -> Self {
        Self(Owners::OfAll(owner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "111122223333";
    const OTHER: &str = "444455556666";

    fn parse(text: &str) -> Result<BucketOwners, String> {
        let targets = Targets::parse(
            "s3://photos/{user_id}/,s3://photos/old/{user_id}/,s3://exports/{user_id}/",
        );
        BucketOwners::parse(text, Some(&targets.unwrap())).map_err(|faults| faults.join("; "))
    }

    fn owner<'a>(owners: &'a BucketOwners, bucket: &str) -> Option<&'a str> {
        owners.of(bucket).map(AccountId::as_str)
    }

    #[test]
    fn each_bucket_has_its_owner() {
        let nobody = BucketOwners::default();
        assert_eq!((owner(&nobody, "photos"), owner(&nobody, "exports")), (None, None));
        let one = parse(ONE).unwrap();
        assert_eq!((owner(&one, "photos"), owner(&one, "exports")), (Some(ONE), Some(ONE)));
        let each = parse(&format!("photos={ONE}, exports={OTHER}")).unwrap();
        assert_eq!((owner(&each, "photos"), owner(&each, "exports")), (Some(ONE), Some(OTHER)));
    }

    #[test]
    fn every_fault_of_the_pairs_is_reported() {
        for (text, expected) in [
            (
                "me",
                "expected an account id of 12 digits, or BUCKET=ACCOUNT pairs with a comma between them",
            ),
            (
                "111122223333,444455556666",
                "expected an account id of 12 digits, or BUCKET=ACCOUNT pairs with a comma between them",
            ),
            ("photos=111122223333", "bucket \"exports\" of a target has no account"),
            (
                "photos=1,444455556666,exports=",
                "\"photos=1\": expected BUCKET=ACCOUNT, with an account id of 12 digits; \
                 \"444455556666\": expected BUCKET=ACCOUNT, with an account id of 12 digits; \
                 \"exports=\": expected BUCKET=ACCOUNT, with an account id of 12 digits",
            ),
            (
                "photos=111122223333,exports=111122223333,films=111122223333,photos=111122223333",
                "\"films=111122223333\": bucket \"films\" is in no target; bucket \"photos\" is listed twice",
            ),
            ("=111122223333", "\"=111122223333\": bucket \"\" is in no target"),
            (
                "photos=111122223333,",
                "\"\": expected BUCKET=ACCOUNT, with an account id of 12 digits",
            ),
        ] {
            assert_eq!(parse(text).unwrap_err(), expected, "{text}");
        }
        assert_eq!(BucketOwners::parse("films=1", None).unwrap_err().len(), 1);
        assert!(BucketOwners::parse("films=111122223333", None).is_ok());
    }
}
