//! Where receipts go.

use super::template::{PLACEHOLDER, ParseTargetError, Target, check_bucket, is_plain_segment};

/// A folder in a bucket that has nothing to do with a user: where receipts go. Parsed from
/// `s3://BUCKET/PREFIX/`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct S3Folder {
    bucket: String,
    /// Empty, or ends in `/`.
    prefix: String,
}

/// Why a text is no folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ParseFolderError {
    /// It is not `s3://BUCKET/`, or `s3://BUCKET/PREFIX/`.
    #[error("expected s3://BUCKET/PREFIX/, with a slash at the end")]
    Form,
    /// The bucket's name breaks S3's rules, or is another name of a bucket.
    #[error("{0}")]
    ReadStore(ParseTargetError),
    /// An empty segment, `.`, `..`, a brace or a control character in the prefix.
    #[error("{}", ParseTargetError::Segment)]
    Segment,
    /// No room for the name of a receipt.
    #[error("the prefix is too long: expected at most {MAX_FOLDER_BYTES} bytes")]
    Length,
}

/// Longest prefix of a folder, in bytes: an erasure's id and the name of a receipt come behind it.
const MAX_FOLDER_BYTES: usize = 512;

impl S3Folder {
    /// Reads `s3://BUCKET/PREFIX/`; the prefix may be missing, the slash may not.
    pub fn parse(text: &str) -> Result<Self, ParseFolderError> {
        let rest = text.strip_prefix("s3://").ok_or(ParseFolderError::Form)?;
        let (bucket, prefix) = rest.split_once('/').ok_or(ParseFolderError::Form)?;
        check_bucket(bucket).map_err(ParseFolderError::ReadStore)?;
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

    /// The key of something in this folder.
    pub fn key(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// Whether a folder of its own in here may be a user's folder of this target: an erasure would
    /// take it along.
    pub(super) fn may_be_inside(&self, target: &Target) -> bool {
        let mine: Vec<&str> = self.prefix.split_terminator('/').collect();
        let theirs = target.segments();
        // One more: each erasure has a folder for its receipts, and may be called like a user.
        let matches = |(theirs, mine): (&String, Option<&str>)| {
            mine.is_none_or(|mine| theirs == PLACEHOLDER || theirs == mine)
        };
        let below_mine = mine.iter().map(|segment| Some(*segment)).chain([None]);
        self.bucket == target.bucket()
            && theirs.len() <= mine.len() + 1
            && theirs.iter().zip(below_mine).all(matches)
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
                Err(ParseFolderError::ReadStore(error)),
                "{end}"
            );
            assert!(Target::parse(&format!("s3://photos{end}1/{{user_id}}/")).is_ok(), "{end}");
        }
    }
}
