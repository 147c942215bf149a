//! Who is erased and where: ids, targets, prefixes and keys. An unsafe one cannot be built.

use std::borrow::Borrow;
use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use hmac::{Hmac, KeyInit, Mac};
use regex_lite::Regex;
use sha2::{Digest, Sha256};

/// Longest user id, in bytes (the contract of this function; SQS group ids end there too).
/// <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessage.html>
pub const MAX_USER_ID_BYTES: usize = 128;

/// Longest object key, in bytes.
/// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-keys.html>
pub const MAX_KEY_BYTES: usize = 1024;

const PLACEHOLDER: &str = "{user_id}";

/// The id of a user: 1 to 128 of `A-Z a-z 0-9 - _ . : @ + =`, and neither `.` nor `..`.
///
/// `Debug` does not show it, so that no log can carry it in clear by accident.
#[derive(Clone, PartialEq, Eq)]
pub struct UserId(String);

/// Why a text is no user id. Never repeats the text: it may be personal data, or 10 MB long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UserIdError {
    /// Empty, or longer than [`MAX_USER_ID_BYTES`].
    #[error("the user id has {0} bytes, expected 1 to {MAX_USER_ID_BYTES}")]
    Length(usize),
    /// A character outside the allowed set, at this byte.
    #[error("the user id has a character at byte {0} that is none of A-Z a-z 0-9 - _ . : @ + =")]
    Character(usize),
    /// `.` or `..`, which path handling may fold away.
    #[error("the user id is \".\" or \"..\"")]
    Dots,
}

impl UserId {
    /// Takes a text that is a safe path segment by itself; everything else is refused, nothing is mended.
    pub fn parse(text: &str) -> Result<Self, UserIdError> {
        if text.is_empty() || text.len() > MAX_USER_ID_BYTES {
            return Err(UserIdError::Length(text.len()));
        }
        let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:@+=".contains(&byte);
        if let Some(position) = text.bytes().position(|byte| !is_allowed(byte)) {
            return Err(UserIdError::Character(position));
        }
        if text == "." || text == ".." {
            return Err(UserIdError::Dots);
        }
        Ok(Self(text.to_owned()))
    }

    /// The id in clear: for prefixes and messages, never for logs.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for UserId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("UserId(..)")
    }
}

/// A narrower rule for user ids: a regular expression for the whole id, which can refuse but not allow.
#[derive(Debug, Clone)]
pub struct UserIdPattern(Regex);

impl UserIdPattern {
    /// Reads a pattern in the syntax of the `regex` crate; the error says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let parse = |text: &str| Regex::new(text).map_err(|error| error.to_string());
        // By itself first: the brackets around it must not be closed from within.
        parse(text).and_then(|_| parse(&format!("^(?:{text})$"))).map(Self)
    }

    /// Whether the pattern covers this id from its first to its last character.
    pub fn allows(&self, user: &UserId) -> bool {
        self.0.is_match(&user.0)
    }
}

/// The key of the hash that stands for user ids in receipts and logs. Empty where no key is set.
#[derive(Clone, Default)]
pub struct HashKey(String);

impl HashKey {
    /// Any text is a key; the longer, the harder to find the user ids by trying.
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// Without a key, whoever has a list of user ids can tell which of them a hash stands for.
    pub fn is_set(&self) -> bool {
        !self.0.is_empty()
    }

    /// What receipts and logs call this user: the HMAC-SHA256 of the id, as 64 hexadecimal digits.
    pub fn hash(&self, user: &UserId) -> String {
        let mut mac = Hmac::<Sha256>::new_from_slice(self.0.as_bytes()).expect("HMAC takes keys of any length");
        mac.update(user.0.as_bytes());
        hex(&mac.finalize().into_bytes())
    }
}

impl fmt::Debug for HashKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("HashKey(..)")
    }
}

/// Lowercase hexadecimal digits of some bytes.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Where users' files are: a bucket, and a prefix with a place for the user id. Parsed from `s3://BUCKET/PREFIX`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    bucket: String,
    /// The prefix's text before the user id: empty, or ends in `/`.
    before: String,
    /// The prefix's text after the user id: begins with `/` and ends with `/`.
    after: String,
}

/// Why a text is no target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// It does not begin with `s3://`.
    #[error("expected s3://BUCKET/PREFIX")]
    Scheme,
    /// The bucket's name breaks S3's rules.
    #[error("the bucket's name is not 3 to 63 of a-z 0-9 . - beginning and ending with a letter or digit")]
    Bucket,
    /// A directory bucket, whose listings have no order and which this function does not know yet.
    #[error("directory buckets (--x-s3) are not supported: their listings have no order and their uploads other rules")]
    DirectoryBucket,
    /// Another name of a bucket: an alias, or the ARN of an access point. Or the name of a table bucket.
    #[error(
        "access points and table buckets (ARNs, and names that end in -s3alias, --ol-s3, --op-s3, --xa-s3, .mrap or \
         --table-s3) are not supported: the same bucket under two names escapes the checks between targets; name the \
         bucket"
    )]
    AccessPoint,
    /// A wildcard, which S3 takes for a letter of a key like any other.
    #[error("the prefix has a * or ?: S3 knows no wildcards; name one target for each folder")]
    Wildcard,
    /// A placeholder of another name.
    #[error("the prefix has an unknown placeholder: expected {PLACEHOLDER} and no other")]
    UnknownPlaceholder,
    /// The placeholder is missing, repeated, or only part of a path segment.
    #[error("expected {PLACEHOLDER} exactly once in the prefix, as a whole path segment followed by /")]
    Placeholder,
    /// The prefix does not end in `/`, so it could match more than the user's folder.
    #[error("expected a prefix that ends in /")]
    End,
    /// An empty segment, `.`, `..`, a brace or a control character in the prefix.
    #[error("the prefix has an empty segment, a segment . or .., a brace or a control character")]
    Segment,
    /// No room for the user id and an object name.
    #[error("the prefix is too long: an object key has at most {MAX_KEY_BYTES} bytes")]
    Length,
}

impl Target {
    /// Reads `s3://BUCKET/PREFIX`, as in `s3://photos/users/{user_id}/`.
    pub fn parse(text: &str) -> Result<Self, TargetError> {
        if text.starts_with("arn:") {
            return Err(TargetError::AccessPoint);
        }
        let rest = text.strip_prefix("s3://").ok_or(TargetError::Scheme)?;
        let (bucket, template) = rest.split_once('/').ok_or(TargetError::Placeholder)?;
        check_bucket(bucket)?;
        if template.contains(['*', '?']) {
            return Err(TargetError::Wildcard);
        }
        if has_unknown_placeholder(template) {
            return Err(TargetError::UnknownPlaceholder);
        }
        if template.len() + MAX_USER_ID_BYTES > MAX_KEY_BYTES {
            return Err(TargetError::Length);
        }
        let segments: Vec<&str> = template.split('/').collect();
        if segments.iter().filter(|segment| **segment == PLACEHOLDER).count() != 1
            || template.matches(PLACEHOLDER).count() != 1
            || !template.contains("{user_id}/")
        {
            return Err(TargetError::Placeholder);
        }
        let folders = template.strip_suffix('/').ok_or(TargetError::End)?;
        if folders.split('/').any(|segment| segment != PLACEHOLDER && !is_plain_segment(segment)) {
            return Err(TargetError::Segment);
        }
        let (before, after) = template.split_once(PLACEHOLDER).ok_or(TargetError::Placeholder)?;
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
        Prefix { bucket: self.bucket.clone(), text: format!("{}{}{}", self.before, user.as_str(), self.after) }
    }

    fn segments(&self) -> Vec<String> {
        self.template().trim_end_matches('/').split('/').map(str::to_owned).collect()
    }

    /// The user id, if there is one, whose folder here holds folders of *other* users in `inner`, or a part of one.
    ///
    /// With `s3://b/{user_id}/` beside `s3://b/users/{user_id}/`, the user called `users` would own everybody.
    fn id_that_covers(&self, inner: &Self) -> Option<String> {
        if self.bucket != inner.bucket {
            return None;
        }
        let (mine, theirs) = (self.segments(), inner.segments());
        // Where one of them ends, one folder holds the other, whichever is longer.
        let mut covering = None;
        for (outer, inner) in mine.iter().zip(&theirs) {
            match (outer == PLACEHOLDER, inner == PLACEHOLDER) {
                // The same user in both: nobody else is covered.
                (true, true) => return None,
                (true, false) => covering = Some(inner.clone()),
                // Some user of the inner target is called like this segment: still a match.
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

/// S3's naming rules, as far as they protect us from a typing error.
/// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html>
fn is_bucket_name(name: &str) -> bool {
    let is_alphanumeric = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    (3..=63).contains(&name.len())
        && name.bytes().all(|byte| is_alphanumeric(byte) || byte == b'.' || byte == b'-')
        && name.bytes().next().is_some_and(is_alphanumeric)
        && name.bytes().last().is_some_and(is_alphanumeric)
        && !name.contains("..")
}

/// A bucket by its own name: not a directory bucket, and no other name of a bucket.
/// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html>
fn check_bucket(name: &str) -> Result<(), TargetError> {
    // Of access points: for buckets, Object Lambda, Outposts, directory buckets and many regions. And of table buckets.
    const ALIASES: [&str; 6] = ["-s3alias", "--ol-s3", "--op-s3", "--xa-s3", ".mrap", "--table-s3"];
    if name.starts_with("arn:") || ALIASES.into_iter().any(|alias| name.ends_with(alias)) {
        return Err(TargetError::AccessPoint);
    }
    if !is_bucket_name(name) {
        return Err(TargetError::Bucket);
    }
    // https://docs.aws.amazon.com/AmazonS3/latest/userguide/s3-express-differences.html
    if name.ends_with("--x-s3") { Err(TargetError::DirectoryBucket) } else { Ok(()) }
}

/// Whether a text in braces is a name, but not that of the placeholder.
fn has_unknown_placeholder(template: &str) -> bool {
    let names = template.split('{').skip(1).filter_map(|rest| rest.split_once('}')).map(|(name, _)| name);
    let is_name = |name: &&str| !name.is_empty() && !name.contains(['/', '{']);
    names.filter(is_name).any(|name| name != "user_id")
}

fn is_plain_segment(segment: &str) -> bool {
    !matches!(segment, "" | "." | "..") && !segment.contains(|c: char| c == '{' || c == '}' || c.is_control())
}

/// A folder in a bucket that has nothing to do with a user: where receipts go. Parsed from `s3://BUCKET/PREFIX/`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Folder {
    bucket: String,
    /// Empty, or ends in `/`.
    prefix: String,
}

/// Why a text is no folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FolderError {
    /// It is not `s3://BUCKET/`, or `s3://BUCKET/PREFIX/`.
    #[error("expected s3://BUCKET/PREFIX/, with a slash at the end")]
    Form,
    /// The bucket's name breaks S3's rules, or is another name of a bucket.
    #[error("{0}")]
    Bucket(TargetError),
    /// An empty segment, `.`, `..`, a brace or a control character in the prefix.
    #[error("{}", TargetError::Segment)]
    Segment,
    /// No room for the name of a receipt.
    #[error("the prefix is too long: expected at most {MAX_FOLDER_BYTES} bytes")]
    Length,
}

/// Longest prefix of a folder, in bytes: an erasure's id and the name of a receipt come behind it.
const MAX_FOLDER_BYTES: usize = 512;

impl Folder {
    /// Reads `s3://BUCKET/PREFIX/`; the prefix may be missing, the slash may not.
    pub fn parse(text: &str) -> Result<Self, FolderError> {
        let rest = text.strip_prefix("s3://").ok_or(FolderError::Form)?;
        let (bucket, prefix) = rest.split_once('/').ok_or(FolderError::Form)?;
        check_bucket(bucket).map_err(FolderError::Bucket)?;
        if prefix.len() > MAX_FOLDER_BYTES {
            return Err(FolderError::Length);
        }
        if !prefix.is_empty() {
            let folders = prefix.strip_suffix('/').ok_or(FolderError::Form)?;
            if !folders.split('/').all(is_plain_segment) {
                return Err(FolderError::Segment);
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

    /// Whether a folder of its own in here may be a user's folder of this target: an erasure would take it along.
    fn may_lie_in(&self, target: &Target) -> bool {
        let mine: Vec<&str> = self.prefix.split_terminator('/').collect();
        let theirs = target.segments();
        // One more: each erasure has a folder for its receipts, and may be called like a user.
        let matches =
            |(theirs, mine): (&String, Option<&str>)| mine.is_none_or(|mine| theirs == PLACEHOLDER || theirs == mine);
        let below_mine = mine.iter().map(|segment| Some(*segment)).chain([None]);
        self.bucket == target.bucket && theirs.len() <= mine.len() + 1 && theirs.iter().zip(below_mine).all(matches)
    }
}

/// Most targets: each has its share in every receipt and continuation, and both must fit.
///
/// Lambda's 4 KB of environment variables have room for some dozens.
/// <https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html>
pub const MAX_TARGETS: usize = 100;

/// All targets of the function, in the order in which they are erased: at least one, at most [`MAX_TARGETS`], none
/// twice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Targets {
    list: Vec<Target>,
    mark: String,
    /// User ids that no user may have, because their folder would hold folders of others, or lie in one.
    reserved: BTreeSet<String>,
}

impl Targets {
    /// Takes a comma-separated list; on error every faulty entry, each with its reason.
    pub fn parse(text: &str) -> Result<Self, Vec<String>> {
        let mut list: Vec<Target> = Vec::new();
        let mut faults = Vec::new();
        for entry in text.split(',').map(str::trim) {
            match Target::parse(entry) {
                Ok(target) if list.contains(&target) => faults.push(format!("\"{entry}\" is listed twice")),
                Ok(target) => list.push(target),
                Err(error) => faults.push(format!("\"{entry}\": {error}")),
            }
        }
        if list.len() > MAX_TARGETS {
            faults.push(format!("{} targets, expected at most {MAX_TARGETS}", list.len()));
        }
        if !faults.is_empty() {
            return Err(faults);
        }
        let pairs = list.iter().flat_map(|outer| list.iter().map(move |inner| (outer, inner)));
        let reserved = pairs.filter_map(|(outer, inner)| outer.id_that_covers(inner)).collect();
        let names = list.iter().map(Target::to_string).collect::<Vec<_>>().join(",");
        Ok(Self { mark: hex(&Sha256::digest(names)[..8]), list, reserved })
    }

    /// A short name of this list and its order, which another list does not have.
    pub fn mark(&self) -> &str {
        &self.mark
    }

    /// The targets in order.
    pub fn as_slice(&self) -> &[Target] {
        &self.list
    }

    /// The first target, if there is one, whose erasures could take along what stands in this folder.
    pub fn first_around(&self, folder: &Folder) -> Option<&Target> {
        self.list.iter().find(|target| folder.may_lie_in(target))
    }

    /// Whether this id is a fixed folder of another target: its user's folder would hold those of others, or lie in one.
    pub fn reserves(&self, user: &UserId) -> bool {
        self.reserved.contains(user.as_str())
    }
}

/// The folder of one user in one bucket: all that an erasure may touch.
#[derive(Clone, PartialEq, Eq)]
pub struct Prefix {
    bucket: String,
    text: String,
}

impl Prefix {
    /// The bucket's name.
    pub fn bucket(&self) -> &str {
        &self.bucket
    }

    /// The prefix in clear: for requests, never for logs.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Takes a key that the store listed, if it lies in this folder. There is no other way to a [`Key`].
    pub fn own(&self, key: String) -> Result<Key, OutsidePrefix> {
        if key.starts_with(&self.text) { Ok(Key(key.into())) } else { Err(OutsidePrefix) }
    }
}

impl fmt::Debug for Prefix {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Prefix(s3://{}/...)", self.bucket)
    }
}

/// The store listed a key that the prefix does not cover: a bug of the store or of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the store listed a key outside the user's prefix")]
pub struct OutsidePrefix;

/// The key of an object that was checked to lie under the user's prefix: the only thing that can be deleted.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(Arc<str>);

impl Key {
    /// The key in clear: for requests, never for logs.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for Key {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Key(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_is_reserved_for_something_else_is_no_bucket_of_a_target_or_a_folder() {
        for (end, error) in [
            ("-s3alias", TargetError::AccessPoint),
            ("--ol-s3", TargetError::AccessPoint),
            ("--op-s3", TargetError::AccessPoint),
            ("--use1-az4--xa-s3", TargetError::AccessPoint),
            (".mrap", TargetError::AccessPoint),
            ("--table-s3", TargetError::AccessPoint),
            ("--use1-az4--x-s3", TargetError::DirectoryBucket),
        ] {
            assert_eq!(Target::parse(&format!("s3://photos{end}/{{user_id}}/")), Err(error), "{end}");
            assert_eq!(Folder::parse(&format!("s3://photos{end}/")), Err(FolderError::Bucket(error)), "{end}");
            assert!(Target::parse(&format!("s3://photos{end}1/{{user_id}}/")).is_ok(), "{end}");
        }
    }
}
