//! The three listings. An implausible response never ends a listing, because that would be a false
//! proof.

use std::borrow::Cow;
use std::error::Error;
use std::time::Duration;

use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::operation::list_multipart_uploads::ListMultipartUploadsOutput;
use aws_sdk_s3::operation::list_object_versions::{
    ListObjectVersionsError, ListObjectVersionsOutput,
};
use aws_sdk_s3::operation::list_objects_v2::ListObjectsV2Output;
use aws_sdk_s3::primitives::DateTime;
use aws_sdk_s3::types::EncodingType;
use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use time::OffsetDateTime;

use crate::aws::s3::errors::{classify, not_malformed};
use crate::aws::s3::store::S3Reader;
use crate::ports::store::{Kind, ListedEntry, Page, StoreError};
use crate::target::Prefix;

/// The longest token of a next page, in bytes: the queue carries it. Two markers have at most 6
/// KiB, because a key and an id have 1,024 bytes each and URL encoding triples them. S3's own
/// tokens are shorter.
/// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-keys.html>
const MAX_TOKEN_BYTES: usize = 16_384;

/// The listing in which some stores encode keys without saying so, or say so without encoding.
const LIST_UPLOADS: &str = "ListMultipartUploads";

// All listings request EncodingType=url: without it, a control character in one key would make a
// whole page unreadable.
impl S3Reader {
    /// The token of a page that begins after a key, in characters that every queue accepts.
    /// Listings of uploads have none, because they are seldom long.
    pub(super) fn token_behind(kind: Kind, key: &str) -> Option<String> {
        match kind {
            Kind::Objects => Some(ObjectCursor::after(key)),
            Kind::Versions | Kind::DeleteMarkers => {
                Some(VersionCursor { key: key.to_owned(), id: String::new() }.write())
            }
            Kind::Uploads => None,
        }
    }

    /// <https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectsV2.html>
    pub(super) async fn list_objects(
        &self,
        prefix: &Prefix,
        token: Option<&str>,
        most: Option<i32>,
        limit: Duration,
    ) -> Result<Page, StoreError> {
        let place = token.map(|token| ObjectCursor::read(prefix, token)).transpose()?;
        let (token_of_s3, start_after) = match place {
            None => (None, None),
            Some(ObjectCursor::Token(token)) => (Some(token), None),
            Some(ObjectCursor::After(key)) => (None, Some(key)),
        };
        let answer = self
            .client
            .send(prefix.bucket(), limit, |client, settings| {
                client
                    .list_objects_v2()
                    .bucket(prefix.bucket())
                    .prefix(prefix.as_str())
                    .encoding_type(EncodingType::Url)
                    .set_continuation_token(token_of_s3.clone())
                    .set_start_after(start_after.clone())
                    .set_max_keys(most)
                    .customize()
                    .config_override(settings)
                    .send()
            })
            .await;
        let answer = answer.map_err(|error| {
            listing_fault("ListObjectsV2", "s3:ListBucket", (prefix, token), &error)
        })?;
        page_of_objects(prefix, token, &answer)
    }

    /// <https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectVersions.html>
    pub(super) async fn list_versions(
        &self,
        prefix: &Prefix,
        token: Option<&str>,
        most: Option<i32>,
        limit: Duration,
    ) -> Result<Page, StoreError> {
        let asked = VersionCursor::read(prefix, token)?;
        let answer = self.ask_for_versions(prefix, asked.as_ref(), most, limit).await;
        let answer = answer.map_err(|error| {
            listing_fault("ListObjectVersions", "s3:ListBucketVersions", (prefix, token), &error)
        })?;
        page_of_versions(prefix, asked.as_ref(), &answer)
    }

    /// Whether the store can list versions at all. If it can, there may be versions.
    pub(super) async fn can_list_versions(
        &self,
        prefix: &Prefix,
        limit: Duration,
    ) -> Result<bool, StoreError> {
        match self.ask_for_versions(prefix, None, Some(1), limit).await {
            Ok(_) => Ok(true),
            Err(error) if error.code() == Some("NotImplemented") => Ok(false),
            Err(error) => Err(listing_fault(
                "ListObjectVersions",
                "s3:ListBucketVersions",
                (prefix, None),
                &error,
            )),
        }
    }

    async fn ask_for_versions(
        &self,
        prefix: &Prefix,
        from: Option<&VersionCursor>,
        most: Option<i32>,
        limit: Duration,
    ) -> Result<ListObjectVersionsOutput, SdkError<ListObjectVersionsError, HttpResponse>> {
        let id = from.map(|markers| markers.id.clone()).filter(|id| !id.is_empty());
        self.client
            .send(prefix.bucket(), limit, |client, settings| {
                client
                    .list_object_versions()
                    .bucket(prefix.bucket())
                    .prefix(prefix.as_str())
                    .encoding_type(EncodingType::Url)
                    .set_key_marker(from.map(|markers| markers.key.clone()))
                    .set_version_id_marker(id.clone())
                    .set_max_keys(most)
                    .customize()
                    .config_override(settings)
                    .send()
            })
            .await
    }

    /// <https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListMultipartUploads.html>
    pub(super) async fn list_uploads(
        &self,
        prefix: &Prefix,
        token: Option<&str>,
        most: Option<i32>,
        limit: Duration,
    ) -> Result<Page, StoreError> {
        let asked = VersionCursor::read(prefix, token)?;
        if asked.as_ref().is_some_and(|markers| markers.id.is_empty()) {
            return Err(none_of_this_listing());
        }
        let answer = self
            .client
            .send(prefix.bucket(), limit, |client, settings| {
                client
                    .list_multipart_uploads()
                    .bucket(prefix.bucket())
                    .prefix(prefix.as_str())
                    .encoding_type(EncodingType::Url)
                    .set_key_marker(asked.as_ref().map(|markers| markers.key.clone()))
                    .set_upload_id_marker(asked.as_ref().map(|markers| markers.id.clone()))
                    .set_max_uploads(most)
                    .customize()
                    .config_override(settings)
                    .send()
            })
            .await;
        match answer {
            Ok(answer) => page_of_uploads(prefix, asked.as_ref(), &answer),
            // The store may nevertheless keep the parts of uploads: without a listing, nothing is
            // proven.
            Err(error) if error.code() == Some("NotImplemented") => Err(StoreError::Permanent(
                "ListMultipartUploads: NotImplemented; this store cannot list unfinished uploads, so that nobody can \
                 prove that none is left"
                    .to_owned(),
            )),
            Err(error) => Err(listing_fault(LIST_UPLOADS, "s3:ListBucketMultipartUploads", (prefix, token), &error)),
        }
    }
}

fn page_of_objects(
    prefix: &Prefix,
    token: Option<&str>,
    answer: &ListObjectsV2Output,
) -> Result<Page, StoreError> {
    let reading =
        ResponseDecoder::new("ListObjectsV2", prefix, answer.encoding_type(), answer.prefix())?;
    let contents = answer.contents();
    if answer.key_count().is_some_and(|count| usize::try_from(count) != Ok(contents.len())) {
        return Err(reading.distrust("it has another number of keys than it says"));
    }
    let next =
        match (reading.is_truncated(answer.is_truncated())?, answer.next_continuation_token()) {
            (false, _) => None,
            (true, None | Some("")) => {
                return Err(reading.distrust("more follows, but there is no continuation token"));
            }
            (true, Some(next)) => Some(reading.bounded(ObjectCursor::of(next))?),
        };
    if next.is_some() && next.as_deref() == token {
        return Err(reading.distrust("the continuation token did not move"));
    }
    let entries = contents.iter().map(|object| {
        let size_and_time = (object.size(), object.last_modified());
        reading.entry(Kind::Objects, object.key(), None, size_and_time)
    });
    Ok(Page { entries: entries.collect::<Result<_, _>>()?, next, cut_at: None })
}

/// Converts a page of versions. It ignores which version of a key is the latest, because that may
/// change between two pages.
fn page_of_versions(
    prefix: &Prefix,
    asked: Option<&VersionCursor>,
    answer: &ListObjectVersionsOutput,
) -> Result<Page, StoreError> {
    let reading = ResponseDecoder::new(
        "ListObjectVersions",
        prefix,
        answer.encoding_type(),
        answer.prefix(),
    )?;
    let (next, cut_at) = if reading.is_truncated(answer.is_truncated())? {
        let markers = (answer.next_key_marker(), answer.next_version_id_marker());
        let next = reading.next_markers(asked, markers)?;
        (Some(reading.bounded(next.write())?), Some(next.key))
    } else {
        (None, None)
    };
    let versions = answer.versions().iter().map(|version| {
        let id = reading.id(version.version_id())?;
        reading.entry(
            Kind::Versions,
            version.key(),
            Some(id),
            (version.size(), version.last_modified()),
        )
    });
    let markers = answer.delete_markers().iter().map(|marker| {
        let id = reading.id(marker.version_id())?;
        reading.entry(Kind::DeleteMarkers, marker.key(), Some(id), (None, marker.last_modified()))
    });
    let entries = versions.chain(markers).collect::<Result<_, _>>()?;
    Ok(Page { entries, next, cut_at })
}

fn page_of_uploads(
    prefix: &Prefix,
    asked: Option<&VersionCursor>,
    answer: &ListMultipartUploadsOutput,
) -> Result<Page, StoreError> {
    let reading =
        ResponseDecoder::new(LIST_UPLOADS, prefix, answer.encoding_type(), answer.prefix())?;
    let next = if reading.is_truncated(answer.is_truncated())? {
        let markers = (answer.next_key_marker(), answer.next_upload_id_marker());
        Some(reading.bounded(reading.next_markers(asked, markers)?.write())?)
    } else {
        None
    };
    let entries = answer.uploads().iter().map(|upload| {
        let id = reading.id(upload.upload_id())?;
        reading.entry(Kind::Uploads, upload.key(), Some(id), (None, upload.initiated()))
    });
    Ok(Page { entries: entries.collect::<Result<_, _>>()?, next, cut_at: None })
}

/// Where a listing of objects continues: at one of S3's tokens, or after a key. S3's tokens are
/// written unchanged, so that releases that know nothing else understand them.
#[derive(Debug, PartialEq, Eq)]
enum ObjectCursor {
    Token(String),
    After(String),
}

impl ObjectCursor {
    const MARK: char = '&';

    fn after(key: &str) -> String {
        format!("{}{}", Self::MARK, utf8_percent_encode(key, NON_ALPHANUMERIC))
    }

    fn of(token: &str) -> String {
        if token.starts_with(Self::MARK) {
            format!("{}{token}", Self::MARK)
        } else {
            token.to_owned()
        }
    }

    fn read(prefix: &Prefix, text: &str) -> Result<Self, StoreError> {
        let Some(rest) = text.strip_prefix(Self::MARK) else {
            return Ok(Self::Token(text.to_owned()));
        };
        if rest.starts_with(Self::MARK) {
            return Ok(Self::Token(rest.to_owned()));
        }
        let key = decode(rest, true).filter(|key| key.starts_with(prefix.as_str()));
        let key = key.ok_or_else(none_of_this_listing)?;
        Ok(Self::After(key.into_owned()))
    }
}

/// Where a listing continues: at a key and a version or upload of it, or after the key if there is
/// no id.
#[derive(Debug, PartialEq, Eq)]
struct VersionCursor {
    key: String,
    id: String,
}

impl VersionCursor {
    /// Encodes both as one token of plain letters, because the queue does not accept every
    /// character.
    /// <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessage.html>
    fn write(&self) -> String {
        let encode = |text| utf8_percent_encode(text, NON_ALPHANUMERIC);
        format!("{}&{}", encode(&self.key), encode(&self.id))
    }

    /// Decodes a token. It comes from the queue and may be any text.
    fn read(prefix: &Prefix, token: Option<&str>) -> Result<Option<Self>, StoreError> {
        let Some(token) = token else { return Ok(None) };
        let read = |(key, id)| {
            let markers =
                Self { key: decode(key, true)?.into_owned(), id: decode(id, true)?.into_owned() };
            markers.key.starts_with(prefix.as_str()).then_some(markers)
        };
        let markers = token.split_once('&').and_then(read);
        markers.map(Some).ok_or_else(none_of_this_listing)
    }
}

fn none_of_this_listing() -> StoreError {
    StoreError::TokenRejected("the token is none of this listing".to_owned())
}

/// How to read one response: its operation and prefix, and whether its keys are encoded.
#[derive(Debug, Clone, Copy)]
struct ResponseDecoder<'p> {
    operation: &'static str,
    prefix: &'p Prefix,
    is_encoded: bool,
}

impl<'p> ResponseDecoder<'p> {
    /// Creates a decoder, unless the response names another prefix.
    fn new(
        operation: &'static str,
        prefix: &'p Prefix,
        encoding: Option<&EncodingType>,
        listed: Option<&str>,
    ) -> Result<Self, StoreError> {
        let reading = Self { operation, prefix, is_encoded: encoding == Some(&EncodingType::Url) };
        match listed {
            Some(listed) if reading.both(listed)?.0 != prefix.as_str() => {
                Err(reading.distrust("it is of another prefix"))
            }
            Some(_) | None => Ok(reading),
        }
    }

    fn distrust(self, what: &str) -> StoreError {
        StoreError::Inconsistent(format!("{}: {what}", self.operation))
    }

    fn is_truncated(self, answer: Option<bool>) -> Result<bool, StoreError> {
        answer.ok_or_else(|| self.distrust("it does not say whether more follows"))
    }

    /// The markers of the next page. A missing or repeated marker is an error, never the end of the
    /// listing.
    fn next_markers(
        self,
        asked: Option<&VersionCursor>,
        (key, id): (Option<&str>, Option<&str>),
    ) -> Result<VersionCursor, StoreError> {
        let (key, _) = self.both(key.unwrap_or_default())?;
        let id = id.unwrap_or_default().to_owned();
        if key.is_empty() || id.is_empty() {
            return Err(self.distrust("more follows, but a marker is missing"));
        }
        if !key.starts_with(self.prefix.as_str()) {
            return Err(self.distrust("it goes on outside the prefix"));
        }
        let next = VersionCursor { key, id };
        if asked == Some(&next) { Err(self.distrust("the markers did not move")) } else { Ok(next) }
    }

    /// Rejects a token that the queue could not carry.
    fn bounded(self, token: String) -> Result<String, StoreError> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(self.distrust("the token of the next page is longer than any of S3"));
        }
        Ok(token)
    }

    fn id(self, id: Option<&str>) -> Result<String, StoreError> {
        // The id "null" is valid.
        let id = id
            .filter(|id| !id.is_empty())
            .ok_or_else(|| self.distrust("an entry without an id"))?;
        Ok(id.to_owned())
    }

    fn entry(
        self,
        kind: Kind,
        key: Option<&str>,
        id: Option<String>,
        (size, at): (Option<i64>, Option<&DateTime>),
    ) -> Result<ListedEntry, StoreError> {
        let listed = key.ok_or_else(|| self.distrust("an entry without a key"))?;
        let time_of = |at: &DateTime| OffsetDateTime::from_unix_timestamp_nanos(at.as_nanos());
        let (key, other_key) = self.both(listed)?;
        Ok(ListedEntry {
            kind,
            key,
            other_key,
            id,
            bytes: size.and_then(|size| u64::try_from(size).ok()).unwrap_or(0),
            last_modified: at.and_then(|at| time_of(at).ok()),
        })
    }

    /// Returns a key and, in the listing of uploads, its other reading if it has one. If only the
    /// other reading lies in the requested prefix, it becomes the key, because a store that lists
    /// the requested prefix cannot mean another key.
    fn both(self, listed: &str) -> Result<(String, Option<String>), StoreError> {
        if self.operation != LIST_UPLOADS {
            return Ok((self.decode(listed)?.into_owned(), None));
        }
        // Some stores announce an encoding and do not use it.
        let Some(key) = decode(listed, self.is_encoded).map(Cow::into_owned) else {
            return Ok((listed.to_owned(), None));
        };
        let other = if self.is_encoded {
            Some(listed.to_owned())
        } else {
            decode(listed, true).map(Cow::into_owned)
        };
        let is_own = |key: &str| key.starts_with(self.prefix.as_str());
        Ok(match other.filter(|other| *other != key) {
            Some(other) if is_own(&other) && !is_own(&key) => (other, None),
            other => (key, other),
        })
    }

    fn decode(self, text: &str) -> Result<Cow<'_, str>, StoreError> {
        decode(text, self.is_encoded)
            .ok_or_else(|| self.distrust("a key is not URL-encoded as announced"))
    }
}

/// Decodes `EncodingType=url`: first `+` to a space, then `%XX`. Returns `None` if the text is not
/// encoded that way.
/// <https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectsV2.html>
fn decode(text: &str, is_encoded: bool) -> Option<Cow<'_, str>> {
    if !is_encoded || !text.contains(['+', '%']) {
        return Some(Cow::Borrowed(text));
    }
    let is_escape = |rest: &str| {
        rest.as_bytes().get(..2).is_some_and(|two| two.iter().all(u8::is_ascii_hexdigit))
    };
    if !text.split('%').skip(1).all(is_escape) {
        return None;
    }
    let spaced = text.replace('+', " ");
    let decoded = percent_decode_str(&spaced).decode_utf8().ok()?;
    Some(Cow::Owned(decoded.into_owned()))
}

fn listing_fault<E>(
    operation: &str,
    permission: &str,
    (prefix, token): (&Prefix, Option<&str>),
    error: &SdkError<E, HttpResponse>,
) -> StoreError
where
    E: ProvideErrorMetadata + Error + 'static,
{
    // A token of this function contains a key.
    let key =
        token.map(|token| decode(token, true).unwrap_or(Cow::Borrowed(token))).unwrap_or_default();
    let failed = classify(operation, permission, &format!("{}/{key}", prefix.as_str()), error);
    match not_malformed(failed.fault) {
        // S3 returns InvalidArgument. Whatever the code is, a listing without the token shows the
        // real error. Only an answer about the bucket's region says nothing of the token.
        StoreError::Permanent(text)
            if token.is_some() && failed.status == Some(400) && !failed.is_about_region =>
        {
            StoreError::TokenRejected(text)
        }
        fault @ (StoreError::Permanent(_)
        | StoreError::Throttled(_)
        | StoreError::NoAnswer(_)
        | StoreError::Unavailable(_)
        | StoreError::Inconsistent(_)
        | StoreError::TokenRejected(_)
        | StoreError::Malformed(_)) => fault,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::target::{Target, User};

    fn prefix() -> Prefix {
        Target::parse("s3://photos/{user_id}/").unwrap().prefix(&User::parse("u1").unwrap())
    }

    proptest! {
        #[test]
        fn decoding_undoes_either_way_to_encode(key in any::<String>()) {
            let encoded = utf8_percent_encode(&key, NON_ALPHANUMERIC).to_string();
            prop_assert_eq!(decode(&encoded, true).unwrap(), key.as_str());
            let as_form = encoded.replace("%20", "+");
            prop_assert_eq!(decode(&as_form, true).unwrap(), key.as_str());
        }

        #[test]
        fn decoding_takes_any_text_without_a_panic(text in any::<String>()) {
            prop_assert_eq!(decode(&text, false).unwrap(), text.as_str());
            if let Some(decoded) = decode(&text, true) {
                prop_assert!(decoded.len() <= text.len());
            }
        }

        #[test]
        fn a_token_brings_both_markers_back_in_letters_that_every_queue_takes(key in any::<String>(), id in ".+") {
            let markers = VersionCursor { key: format!("u1/{key}"), id };
            let token = markers.write();
            prop_assert!(token.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"%&".contains(&byte)), "{}", token);
            prop_assert_eq!(VersionCursor::read(&prefix(), Some(&token)), Ok(Some(markers)));
        }

        #[test]
        fn any_text_as_a_token_is_read_or_refused(text in any::<String>()) {
            let read = VersionCursor::read(&prefix(), Some(&text));
            prop_assert!(matches!(read, Err(StoreError::TokenRejected(_))), "{:?}", read);
        }

        #[test]
        fn a_place_is_read_as_it_was_written(text in "&{0,3}.*", name in any::<String>()) {
            prop_assert_eq!(ObjectCursor::read(&prefix(), &ObjectCursor::of(&text)), Ok(ObjectCursor::Token(text)));
            let key = format!("u1/{name}");
            let after = S3Reader::token_behind(Kind::Objects, &key).unwrap();
            prop_assert!(after.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"%&".contains(&byte)), "{}", after);
            prop_assert_eq!(ObjectCursor::read(&prefix(), &after), Ok(ObjectCursor::After(key)));
        }
    }
}
