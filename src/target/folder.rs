//! The folder of the receipts.

use super::ids::IdRules;
use super::template::{ParseTargetError, Target, check_bucket, is_plain_segment};

/// A folder in a bucket that is independent of users: the folder of the receipts. It is parsed from
/// `s3://BUCKET/PREFIX/`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct S3Folder {
    bucket: String,
    /// The prefix: empty, or it ends in `/`.
    prefix: String,
}

/// Why a text is not a valid folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ParseFolderError {
    /// It is neither `s3://BUCKET/` nor `s3://BUCKET/PREFIX/`.
    #[error("expected s3://BUCKET/PREFIX/, with a slash at the end")]
    Form,
    /// The bucket's name breaks S3's rules, or is an alias of a bucket.
    #[error("{0}")]
    Bucket(ParseTargetError),
    /// The prefix has an empty segment, `.`, `..`, a brace or a control character.
    #[error("{}", ParseTargetError::Segment)]
    Segment,
    /// The prefix leaves no room for the name of a receipt.
    #[error("the prefix is too long: expected at most {MAX_FOLDER_BYTES} bytes")]
    Length,
}

/// The longest prefix of a folder, in bytes: an erasure's id and a receipt's name follow it.
const MAX_FOLDER_BYTES: usize = 512;

impl S3Folder {
    /// Parses `s3://BUCKET/PREFIX/`. The prefix is optional, the slash is not.
    pub fn parse(text: &str) -> Result<Self, ParseFolderError> {
        let rest = text.strip_prefix("s3://").ok_or(ParseFolderError::Form)?;
        let (bucket, prefix) = rest.split_once('/').ok_or(ParseFolderError::Form)?;
        check_bucket(bucket).map_err(ParseFolderError::Bucket)?;
        if prefix.len() > MAX_FOLDER_BYTES {
            return Err(ParseFolderError::Length);
        }
        if !prefix.is_empty() {
            let folders = prefix.strip_suffix('/').ok_or(ParseFolderError::Form)?;
            if !folders.split('/').all(is_plain_segment) {
                return Err(ParseFolderError::Segment);
            }
        }
        Ok(Self { bucket: bucket.to_owned(), prefix: prefix.to_owned() })
    }

    /// The bucket's name.
    pub fn bucket(&self) -> &str {
        &self.bucket
    }

    /// The key of `name` in this folder.
    pub fn key(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// Whether a user may own keys in a subfolder of this folder, under this target. An erasure
    /// would then delete receipts: each erasure has a subfolder, whose name may equal a user's id.
    pub(super) fn may_be_inside(&self, target: &Target, rules: &IdRules) -> bool {
        let segments: Vec<&str> = self.prefix.split_terminator('/').collect();
        self.bucket == target.bucket() && target.may_own_in_subfolders(&segments, rules)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_is_reserved_for_something_else_is_no_bucket_of_a_target_or_a_folder() {
        for (end, error) in [
            ("-s3alias", ParseTargetError::AccessPoint),
            ("--ol-s3", ParseTargetError::AccessPoint),
            ("--op-s3", ParseTargetError::AccessPoint),
            ("--use1-az4--xa-s3", ParseTargetError::AccessPoint),
            (".mrap", ParseTargetError::AccessPoint),
            ("--table-s3", ParseTargetError::AccessPoint),
            ("--use1-az4--x-s3", ParseTargetError::DirectoryBucket),
        ] {
            assert_eq!(
                Target::parse(&format!("s3://photos{end}/{{user_id}}/")),
                Err(error),
                "{end}"
            );
            assert_eq!(
                S3Folder::parse(&format!("s3://photos{end}/")),
                Err(ParseFolderError::Bucket(error)),
                "{end}"
            );
            assert!(Target::parse(&format!("s3://photos{end}1/{{user_id}}/")).is_ok(), "{end}");
        }
    }
}
