//! The template of a target: a bucket, and a prefix with a placeholder for the user id.

use std::fmt;

use super::key::{MAX_KEY_BYTES, Prefix};
use super::user::{MAX_USER_ID_BYTES, UserId};

pub(super) const PLACEHOLDER: &str = "{user_id}";

/// Where users' files are: a bucket, and a prefix with a placeholder for the user id. It is parsed
/// from `s3://BUCKET/PREFIX`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    bucket: String,
    /// The prefix's text before the user id: empty, or it ends in `/`.
    before: String,
    /// The prefix's text after the user id: begins with `/` and ends with `/`.
    after: String,
}

/// Why a text is not a valid target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ParseTargetError {
    /// The text does not begin with `s3://`.
    #[error("expected s3://BUCKET/PREFIX")]
    Scheme,
    /// The bucket's name breaks S3's rules.
    #[error(
        "the bucket's name is not 3 to 63 of a-z 0-9 . - beginning and ending with a letter or digit"
    )]
    ReadStore,
    /// The bucket is a directory bucket. Its listings have no order, and this function does not
    /// support it yet.
    #[error(
        "directory buckets (--x-s3) are not supported: their listings have no order and their uploads other rules"
    )]
    DirectoryBucket,
    /// The name is an alias of a bucket or the ARN of an access point, or the name of a table
    /// bucket.
    #[error(
        "access points and table buckets (ARNs, and names that end in -s3alias, --ol-s3, --op-s3, --xa-s3, .mrap or \
         --table-s3) are not supported: the same bucket under two names escapes the checks between targets; name the \
         bucket"
    )]
    AccessPoint,
    /// The prefix has a wildcard, which S3 treats as an ordinary character of a key.
    #[error("the prefix has a * or ?: S3 knows no wildcards; name one target for each folder")]
    Wildcard,
    /// The placeholder has another name.
    #[error("the prefix has an unknown placeholder: expected {PLACEHOLDER} and no other")]
    UnknownPlaceholder,
    /// The placeholder is missing, repeated, or only part of a path segment.
    #[error(
        "expected {PLACEHOLDER} exactly once in the prefix, as a whole path segment followed by /"
    )]
    Placeholder,
    /// The prefix does not end in `/`, so it could match more than the user's folder.
    #[error("expected a prefix that ends in /")]
    HopEnd,
    /// The prefix has an empty segment, `.`, `..`, a brace or a control character.
    #[error("the prefix has an empty segment, a segment . or .., a brace or a control character")]
    Segment,
    /// The prefix leaves no room for the user id and an object name.
    #[error("the prefix is too long: an object key has at most {MAX_KEY_BYTES} bytes")]
    Length,
}

impl Target {
    /// Parses `s3://BUCKET/PREFIX`, for example `s3://photos/users/{user_id}/`.
    pub fn parse(text: &str) -> Result<Self, ParseTargetError> {
        if text.starts_with("arn:") {
            return Err(ParseTargetError::AccessPoint);
        }
        let rest = text.strip_prefix("s3://").ok_or(ParseTargetError::Scheme)?;
        let (bucket, template) = rest.split_once('/').ok_or(ParseTargetError::Placeholder)?;
        check_bucket(bucket)?;
        if template.contains(['*', '?']) {
            return Err(ParseTargetError::Wildcard);
        }
        if has_unknown_placeholder(template) {
            return Err(ParseTargetError::UnknownPlaceholder);
        }
        if template.len() + MAX_USER_ID_BYTES > MAX_KEY_BYTES {
            return Err(ParseTargetError::Length);
        }
        let segments: Vec<&str> = template.split('/').collect();
        if segments.iter().filter(|segment| **segment == PLACEHOLDER).count() != 1
            || template.matches(PLACEHOLDER).count() != 1
            || !template.contains("{user_id}/")
        {
            return Err(ParseTargetError::Placeholder);
        }
        let folders = template.strip_suffix('/').ok_or(ParseTargetError::HopEnd)?;
        if folders.split('/').any(|segment| segment != PLACEHOLDER && !is_plain_segment(segment)) {
            return Err(ParseTargetError::Segment);
        }
        let (before, after) =
            template.split_once(PLACEHOLDER).ok_or(ParseTargetError::Placeholder)?;
        Ok(Self { bucket: bucket.to_owned(), before: before.to_owned(), after: after.to_owned() })
    }

    /// The bucket's name.
    pub fn bucket(&self) -> &str {
        &self.bucket
    }

    /// The prefix's text, with the placeholder in place of the user id.
    pub fn template(&self) -> String {
        format!("{}{PLACEHOLDER}{}", self.before, self.after)
    }

    /// The folder of one user. It always ends in `/` after a non-empty id.
    pub fn prefix(&self, user: &UserId) -> Prefix {
        Prefix::new(self.bucket.clone(), format!("{}{}{}", self.before, user.as_str(), self.after))
    }

    pub(super) fn segments(&self) -> Vec<String> {
        self.template().trim_end_matches('/').split('/').map(str::to_owned).collect()
    }

    /// The user id, if any, whose folder here contains folders of *other* users in `inner`, or a
    /// part of one.
    ///
    /// If the targets are `s3://b/{user_id}/` and `s3://b/users/{user_id}/`, the folder of a user
    /// `users` would contain all users' folders of the second target.
    pub(super) fn conflicting_user_id(&self, inner: &Self) -> Option<String> {
        if self.bucket != inner.bucket {
            return None;
        }
        let (mine, theirs) = (self.segments(), inner.segments());
        // After the last segment of the shorter one, one folder contains the other.
        let mut covering = None;
        for (outer, inner) in mine.iter().zip(&theirs) {
            match (outer == PLACEHOLDER, inner == PLACEHOLDER) {
                // Both have the same user here, so no other user is covered.
                (true, true) => return None,
                (true, false) => covering = Some(inner.clone()),
                // A user of the inner target may have this segment as id, so the segments match.
                (false, true) => {}
                (false, false) if outer == inner => {}
                (false, false) => return None,
            }
        }
        covering
    }
}

impl fmt::Display for Target {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "s3://{}/{}", self.bucket, self.template())
    }
}

/// Checks S3's naming rules, as far as they detect typing errors.
/// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html>
fn is_bucket_name(name: &str) -> bool {
    let is_alphanumeric = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    (3..=63).contains(&name.len())
        && name.bytes().all(|byte| is_alphanumeric(byte) || byte == b'.' || byte == b'-')
        && name.bytes().next().is_some_and(is_alphanumeric)
        && name.bytes().last().is_some_and(is_alphanumeric)
        && !name.contains("..")
}

/// Checks that the text is a bucket's own name, and neither a directory bucket nor an alias.
/// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html>
pub(super) fn check_bucket(name: &str) -> Result<(), ParseTargetError> {
    // The suffixes belong to access points (for buckets, Object Lambda, Outposts, directory buckets
    // and several regions) and to table buckets.
    const ALIASES: [&str; 6] = ["-s3alias", "--ol-s3", "--op-s3", "--xa-s3", ".mrap", "--table-s3"];
    if name.starts_with("arn:") || ALIASES.into_iter().any(|alias| name.ends_with(alias)) {
        return Err(ParseTargetError::AccessPoint);
    }
    if !is_bucket_name(name) {
        return Err(ParseTargetError::ReadStore);
    }
    // https://docs.aws.amazon.com/AmazonS3/latest/userguide/s3-express-differences.html
    if name.ends_with("--x-s3") { Err(ParseTargetError::DirectoryBucket) } else { Ok(()) }
}

/// Whether braces contain a name other than the placeholder's.
fn has_unknown_placeholder(template: &str) -> bool {
    let names =
        template.split('{').skip(1).filter_map(|rest| rest.split_once('}')).map(|(name, _)| name);
    let is_name = |name: &&str| !name.is_empty() && !name.contains(['/', '{']);
    names.filter(is_name).any(|name| name != "user_id")
}

pub(super) fn is_plain_segment(segment: &str) -> bool {
    !matches!(segment, "" | "." | "..")
        && !segment.contains(|c: char| c == '{' || c == '}' || c.is_control())
}
