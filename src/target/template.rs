//! The template of a target: a bucket, and a prefix or a key with a placeholder for the user id.

use std::fmt;

use super::ids::{IdRules, MAX_USER_ID_BYTES, USER_ID};
use super::key::{Extent, MAX_KEY_BYTES, Prefix};
use super::pattern::{Filled, Placeholder, Segment, Spelling};
use super::user::User;

/// Where users' files are: a bucket, and a template of a prefix or of a key.
///
/// Two different users never own the same key under one target: each placeholder has its segment
/// to itself, so the segment's fixed text and the slash after it show where the id begins and ends.
/// In a template that ends in `*`, the character before it does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    bucket: String,
    /// The segments between slashes. The last one is a folder, or the name of a file.
    pub(super) segments: Vec<Segment>,
    pub(super) extent: Extent,
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
    Bucket,
    /// The bucket is a directory bucket. Its listings have no order, and this function does not
    /// support it yet.
    #[error(
        "directory buckets (--x-s3) are not supported: their listings have no order and their \
         uploads other rules"
    )]
    DirectoryBucket,
    /// The name is an alias of a bucket or the ARN of an access point, or the name of a table
    /// bucket.
    #[error(
        "access points and table buckets (ARNs, and names that end in -s3alias, --ol-s3, --op-s3, \
         --xa-s3, .mrap or --table-s3) are not supported: the same bucket under two names escapes \
         the checks between targets; name the bucket"
    )]
    AccessPoint,
    /// The prefix has a wildcard, which S3 treats as an ordinary character of a key.
    #[error(
        "the prefix has a * or ?: S3 knows no wildcards; name one target for each folder (only an \
         entry of ERASE_KEYS may end in one *)"
    )]
    Wildcard,
    /// Text between braces is no placeholder.
    #[error(
        "the prefix has an unknown placeholder: expected {{user_id}} or a scope of SCOPE_IDS, \
         each also with :urlencode before the closing brace"
    )]
    UnknownPlaceholder,
    /// The placeholder of the user id is missing, repeated, or not followed by a slash.
    #[error(
        "expected {{user_id}} exactly once, in a path segment that ends in / (single files are \
         entries of ERASE_KEYS)"
    )]
    Placeholder,
    /// A segment has two placeholders.
    #[error("a path segment has two placeholders: it would not be clear where one id ends")]
    TwoInSegment,
    /// A scope is missing, repeated, or after the user id.
    #[error(
        "expected every scope of SCOPE_IDS exactly once, before the user id: without it, the same \
         user id in two scopes would be one user"
    )]
    Scope,
    /// The text around a placeholder has a character that is not allowed there.
    #[error("the text before or after a placeholder in its path segment has a $")]
    Affix,
    /// The prefix does not end in `/`, so it could match more than the user's folder.
    #[error("expected a prefix that ends in / (single files are entries of ERASE_KEYS)")]
    Folder,
    /// The template of a key ends in `/`.
    #[error("expected a key, which does not end in / (folders are entries of ERASE_TARGETS)")]
    Key,
    /// A `*` is not the last character, or not after the user id and one of `. - _`.
    #[error(
        "expected * only as the last character, after {{user_id}} and text that ends in one of \
         . - _, as in avatars/{{user_id}}.*"
    )]
    Star,
    /// A user id may contain the character before `*`, so that one id could be the beginning of
    /// another user's file name.
    #[error(
        "user ids may contain the character before *, so that {{user_id}} could be the beginning \
         of another user's id: set USER_ID_CHARACTERS without it, or USER_ID_LENGTH"
    )]
    OpenEnd,
    /// The prefix has an empty segment, `.`, `..`, a brace or a control character.
    #[error("the prefix has an empty segment, a segment . or .., a brace or a control character")]
    Segment,
    /// The prefix leaves no room for the user id and an object name.
    #[error("the prefix is too long: an object key has at most {MAX_KEY_BYTES} bytes")]
    Length,
}

impl Target {
    /// Parses an entry of `ERASE_TARGETS` in a deployment without scopes: `s3://BUCKET/PREFIX/`,
    /// for example `s3://photos/users/{user_id}/`.
    pub fn parse(text: &str) -> Result<Self, ParseTargetError> {
        Self::folder(text, &IdRules::default())
    }

    /// Parses `ERASE_TARGETS`, a comma-separated list. The error has the reason for every invalid
    /// entry.
    pub fn folders(text: &str, rules: &IdRules) -> Result<Vec<Self>, Vec<String>> {
        parse_list(text, |entry| Self::folder(entry, rules))
    }

    /// Parses `ERASE_KEYS`, a comma-separated list. The error has the reason for every invalid
    /// entry.
    pub fn files(text: &str, rules: &IdRules) -> Result<Vec<Self>, Vec<String>> {
        parse_list(text, |entry| Self::file(entry, rules))
    }

    /// Parses an entry of `ERASE_TARGETS`: the template of a prefix that ends in `/`.
    fn folder(text: &str, rules: &IdRules) -> Result<Self, ParseTargetError> {
        let (bucket, template) = split_bucket(text)?;
        if template.contains(['*', '?']) {
            return Err(ParseTargetError::Wildcard);
        }
        let Some(folders) = template.strip_suffix('/') else {
            // The last segment is not followed by a slash: if the user id is in it, that is the
            // fault; otherwise something is behind the user's folder.
            let segments = parse_segments(template, rules)?;
            let is_in_folder = segments.iter().rev().skip(1).any(is_of_user);
            let error =
                if is_in_folder { ParseTargetError::Folder } else { ParseTargetError::Placeholder };
            return Err(error);
        };
        Self::new(bucket, parse_segments(folders, rules)?, Extent::Folder)
    }

    /// Parses an entry of `ERASE_KEYS`: the template of a key, or of the beginning of a file's name
    /// if it ends in `*`.
    fn file(text: &str, rules: &IdRules) -> Result<Self, ParseTargetError> {
        let (bucket, template) = split_bucket(text)?;
        let (template, extent) = match template.strip_suffix('*') {
            Some(template) => (template, Extent::Names),
            None => (template, Extent::Key),
        };
        if template.contains(['*', '?']) {
            return Err(ParseTargetError::Star);
        }
        if template.ends_with('/') {
            return Err(ParseTargetError::Key);
        }
        let segments = parse_segments(template, rules)?;
        if extent == Extent::Names {
            let last = segments.last().and_then(Segment::placeholder);
            let end = last.filter(|it| it.is_user()).and_then(|it| it.after.bytes().last());
            match end {
                Some(end @ (b'.' | b'-' | b'_')) if rules.ends_before(end) => {}
                Some(b'.' | b'-' | b'_') => return Err(ParseTargetError::OpenEnd),
                Some(_) | None => return Err(ParseTargetError::Star),
            }
        }
        Self::new(bucket, segments, extent)
    }

    fn new(bucket: &str, segments: Vec<Segment>, extent: Extent) -> Result<Self, ParseTargetError> {
        let target = Self { bucket: bucket.to_owned(), segments, extent };
        let ids = target.segments.iter().filter_map(Segment::placeholder);
        let longest_ids: usize =
            ids.map(|id| MAX_USER_ID_BYTES * id.spelling.bytes_per_character()).sum();
        if target.template().len() + longest_ids > MAX_KEY_BYTES {
            return Err(ParseTargetError::Length);
        }
        Ok(target)
    }

    /// The bucket's name.
    pub fn bucket(&self) -> &str {
        &self.bucket
    }

    /// The prefix's text, with the placeholders in place of the ids.
    pub fn template(&self) -> String {
        let segments: Vec<_> = self.segments.iter().map(ToString::to_string).collect();
        let end = match self.extent {
            Extent::Folder => "/",
            Extent::Key => "",
            Extent::Names => "*",
        };
        segments.join("/") + end
    }

    /// What one user owns under this target.
    ///
    /// # Panics
    ///
    /// If the user lacks a scope of this target: every message is checked for all of them.
    pub fn prefix(&self, user: &User) -> Prefix {
        let filled = self.fill(user).expect("the user has every scope");
        let segments: Vec<_> = filled.into_iter().map(|segment| segment.text).collect();
        let end = if self.extent == Extent::Folder { "/" } else { "" };
        Prefix::new(self.bucket.clone(), segments.join("/") + end, self.extent)
    }

    /// The segments of one user. `None` if the user lacks a scope of this target.
    pub(super) fn fill(&self, user: &User) -> Option<Vec<Filled>> {
        self.segments.iter().map(|segment| segment.fill(user)).collect()
    }

    /// Whether a user may own keys in a subfolder of the folder with these segments. The names of
    /// the subfolder and of the keys in it are not known.
    pub(super) fn may_own_in_subfolders(&self, folder: &[&str], rules: &IdRules) -> bool {
        let is_reached = match self.extent {
            Extent::Folder => self.segments.len() <= folder.len() + 1,
            Extent::Key | Extent::Names => self.segments.len() == folder.len() + 2,
        };
        let mut pairs = self.segments.iter().zip(folder);
        is_reached && pairs.all(|(mine, text)| mine.match_whole(text, rules).is_some())
    }
}

impl fmt::Display for Target {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "s3://{}/{}", self.bucket, self.template())
    }
}

fn parse_list(
    text: &str,
    parse: impl Fn(&str) -> Result<Target, ParseTargetError>,
) -> Result<Vec<Target>, Vec<String>> {
    let (mut list, mut faults) = (Vec::new(), Vec::new());
    for entry in text.split(',').map(str::trim) {
        match parse(entry) {
            Ok(target) if list.contains(&target) => {
                faults.push(format!("\"{entry}\" is listed twice"));
            }
            Ok(target) => list.push(target),
            Err(error) => faults.push(format!("\"{entry}\": {error}")),
        }
    }
    if faults.is_empty() { Ok(list) } else { Err(faults) }
}

/// Splits `s3://BUCKET/TEMPLATE`.
fn split_bucket(text: &str) -> Result<(&str, &str), ParseTargetError> {
    if text.starts_with("arn:") {
        return Err(ParseTargetError::AccessPoint);
    }
    let rest = text.strip_prefix("s3://").ok_or(ParseTargetError::Scheme)?;
    let (bucket, template) = rest.split_once('/').ok_or(ParseTargetError::Placeholder)?;
    check_bucket(bucket)?;
    Ok((bucket, template))
}

fn is_of_user(segment: &Segment) -> bool {
    segment.placeholder().is_some_and(Placeholder::is_user)
}

/// Parses the segments of a template, and checks that each id is in them once and in order.
fn parse_segments(template: &str, rules: &IdRules) -> Result<Vec<Segment>, ParseTargetError> {
    if !template.contains('{') {
        return Err(ParseTargetError::Placeholder);
    }
    let segments = template.split('/').map(|segment| parse_segment(segment, rules));
    let segments: Vec<Segment> = segments.collect::<Result<_, _>>()?;
    let ids: Vec<&str> =
        segments.iter().filter_map(Segment::placeholder).map(|id| id.name.as_str()).collect();
    let (users, scopes): (Vec<&str>, Vec<&str>) = ids.iter().partition(|name| **name == USER_ID);
    if users.len() != 1 {
        return Err(ParseTargetError::Placeholder);
    }
    let has_each_scope = rules.scopes.iter().all(|scope| scopes.contains(&scope.as_str()));
    if ids.last() != Some(&USER_ID) || scopes.len() != rules.scopes.len() || !has_each_scope {
        return Err(ParseTargetError::Scope);
    }
    Ok(segments)
}

fn parse_segment(text: &str, rules: &IdRules) -> Result<Segment, ParseTargetError> {
    let Some((before, rest)) = text.split_once('{') else {
        let is_plain = is_plain_segment(text);
        return is_plain.then(|| Segment::Fixed(text.to_owned())).ok_or(ParseTargetError::Segment);
    };
    let (name, after) = rest.split_once('}').ok_or(ParseTargetError::Segment)?;
    if name.is_empty() || name.contains('{') || before.contains('}') {
        return Err(ParseTargetError::Segment);
    }
    if after.contains('{') {
        return Err(ParseTargetError::TwoInSegment);
    }
    let (name, spelling) = match name.split_once(':') {
        None => (name, Spelling::Raw),
        Some((name, "urlencode")) => (name, Spelling::UrlEncoded),
        Some(_) => return Err(ParseTargetError::UnknownPlaceholder),
    };
    if name != USER_ID && !rules.scopes.iter().any(|scope| scope == name) {
        return Err(ParseTargetError::UnknownPlaceholder);
    }
    let affixes = [before, after];
    if after.contains('}') || affixes.iter().any(|affix| affix.contains(char::is_control)) {
        return Err(ParseTargetError::Segment);
    }
    if affixes.iter().any(|affix| affix.contains('$')) {
        return Err(ParseTargetError::Affix);
    }
    let (before, after) = (before.to_owned(), after.to_owned());
    Ok(Segment::Id(Placeholder { before, name: name.to_owned(), spelling, after }))
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
        return Err(ParseTargetError::Bucket);
    }
    // https://docs.aws.amazon.com/AmazonS3/latest/userguide/s3-express-differences.html
    if name.ends_with("--x-s3") { Err(ParseTargetError::DirectoryBucket) } else { Ok(()) }
}

pub(super) fn is_plain_segment(segment: &str) -> bool {
    !matches!(segment, "" | "." | "..")
        && !segment.contains(|c: char| c == '{' || c == '}' || c.is_control())
}
