//! A model of S3: what this function asks of it, with S3's latency and S3's limit. The protocol is
//! that of `s3s`.

use std::num::ParseIntError;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;
use clap::{Args, ValueEnum};
use futures::TryStreamExt;
use hyper::StatusCode;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use s3s::dto::{
    BucketVersioningStatus, CommonPrefix, DeleteObjectInput, DeleteObjectOutput,
    DeleteObjectsInput, DeleteObjectsOutput, DeletedObject, ETag, ETagCondition, EncodingType,
    Error as KeyError, GetBucketVersioningInput, GetBucketVersioningOutput, GetObjectInput,
    GetObjectOutput, ListMultipartUploadsInput, ListMultipartUploadsOutput,
    ListObjectVersionsInput, ListObjectVersionsOutput, ListObjectsV2Input, ListObjectsV2Output,
    Object, ObjectIdentifier, ObjectStorageClass, PutObjectInput, PutObjectOutput, StreamingBlob,
    Timestamp,
};
use s3s::{S3, S3Request, S3Response, S3Result, s3_error};
use tokio::time::{Instant, sleep};

use crate::limit::Partitions;
use crate::noise::Dice;
use crate::store::{Page, Place, Query, Store};
use crate::trace::{Operation, Pending, Trace};
use crate::versions::{self, versioned};

/// The most that one listing answers, and one DeleteObjects takes.
pub(crate) const PAGE: usize = 1_000;
/// What S3 says of a key for which there was no room.
const SLOW_DOWN: &str = "SlowDown";
/// When every object was last modified, since 1970.
const MODIFIED: Duration = Duration::from_secs(1_700_000_000);
/// What S3 leaves as it is where a listing's keys are URL-encoded.
const IN_URL: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'/').remove(b'-').remove(b'_').remove(b'.').remove(b'*');

/// How long answers take: a fixed part, and one that grows with the keys.
#[derive(Debug, Clone, Copy, Default, PartialEq, Args)]
pub struct Latency {
    /// Milliseconds for a page of 1,000 keys.
    #[arg(long = "listing-ms", value_name = "MS", default_value = "60", value_parser = milliseconds)]
    pub listing: Duration,
    /// Milliseconds for a DeleteObjects of 1,000 keys.
    #[arg(long = "deletion-ms", value_name = "MS", default_value = "250", value_parser = milliseconds)]
    pub deletion: Duration,
    /// Milliseconds for every other request, and for the smallest listing or deletion.
    #[arg(long = "least-ms", value_name = "MS", default_value = "20", value_parser = milliseconds)]
    pub least: Duration,
    /// The share by which each of these times varies: 0 to 1.
    #[arg(long, value_name = "SHARE", default_value = "0", value_parser = share)]
    pub spread: f64,
}

fn milliseconds(text: &str) -> Result<Duration, ParseIntError> {
    text.parse().map(Duration::from_millis)
}

/// Reads a number from 0 to 1.
pub(crate) fn share(text: &str) -> Result<f64, String> {
    let number = text.parse().ok().filter(|number| (0.0..=1.0).contains(number));
    number.ok_or_else(|| "expected a number from 0 to 1".to_owned())
}

impl Latency {
    /// Of a listing of so many keys, neither shorter nor longer than it mostly is.
    pub(crate) fn of_listing(self, keys: usize) -> Duration {
        self.of(self.listing, keys, 0.5)
    }

    /// Of a deletion, the same.
    pub(crate) fn of_deletion(self, keys: usize) -> Duration {
        self.of(self.deletion, keys, 0.5)
    }

    fn of(self, full: Duration, keys: usize, chance: f64) -> Duration {
        let part = f64::from(u32::try_from(keys.min(PAGE)).unwrap_or(0)) / 1_000.0;
        let time = self.least + full.saturating_sub(self.least).mul_f64(part);
        time.mul_f64(1.0 + self.spread * (2.0 * chance - 1.0))
    }
}

/// A fault of the store that the checks of a run must find: the function cannot know of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum InjectedFault {
    /// No fault.
    #[default]
    Nothing,
    /// Each hundredth deletion reports that it deleted its last key, and keeps this key.
    Keep,
    /// Each hundredth deletion also deletes the user's last key, which the request does not name.
    Steal,
}

/// The model. Each bucket is one partition.
#[derive(Debug)]
pub(crate) struct Model {
    pub(crate) store: Arc<Store>,
    pub(crate) trace: Trace,
    pub(crate) partitions: Arc<Partitions>,
    latency: Latency,
    has_versions: bool,
    injected_fault: InjectedFault,
    dice: Dice,
    chance: Mutex<(fastrand::Rng, u64)>,
}

impl Model {
    pub(crate) fn new(settings: &crate::Settings, buckets: &[&str]) -> Self {
        Self {
            store: Arc::new(Store::new(buckets)),
            trace: Trace::default(),
            partitions: Arc::new(Partitions::new(settings.limit.clone())),
            latency: settings.latency,
            has_versions: settings.has_versions,
            injected_fault: settings.injected_fault,
            dice: Dice::new(settings.noise, settings.seed),
            chance: Mutex::new((fastrand::Rng::with_seed(settings.seed), 0)),
        }
    }

    async fn take(&self, full: Duration, keys: usize) {
        let chance = self.chance.lock().unwrap_or_else(PoisonError::into_inner).0.f64();
        let time = self.latency.of(full, keys, chance);
        // The shortest sleep takes a millisecond.
        if !time.is_zero() {
            sleep(time).await;
        }
    }

    /// Begins to answer a request, unless it fails at random.
    async fn begin(&self, operation: Operation) -> S3Result<Pending> {
        let mut pending = self.trace.begin(operation);
        let Some(error) = self.dice.error_of(operation) else {
            return Ok(pending);
        };
        pending.note(|request| request.is_refused = true);
        self.take(self.latency.least, 0).await;
        pending.answered();
        Err(error)
    }

    /// A request of no account.
    async fn pass(&self) -> S3Result<()> {
        let pending = self.begin(Operation::Other).await?;
        self.take(self.latency.least, 0).await;
        pending.answered();
        Ok(())
    }

    /// The answer to a request that is too many.
    async fn slow_down<T>(&self, pending: Pending) -> S3Result<S3Response<T>> {
        self.take(self.latency.least, 0).await;
        pending.answered();
        Err(s3_error!(SlowDown, "Please reduce your request rate."))
    }

    /// A page of what is stored: of names, which represent keys, or of versions.
    async fn page(&self, mut pending: Pending, bucket: &str, query: Query<'_>) -> S3Result<Page> {
        let page = self.store.page(bucket, query).ok_or_else(|| s3_error!(NoSuchBucket))?;
        self.take(self.latency.listing, page.len()).await;
        pending.note(|request| request.keys = page.keys.len() as u64);
        pending.answered();
        Ok(page)
    }

    /// Deletes the keys, and returns how many existed.
    fn remove(&self, bucket: &str, keys: &[&str]) -> u64 {
        let number = {
            let mut chance = self.chance.lock().unwrap_or_else(PoisonError::into_inner);
            chance.1 += 1;
            chance.1
        };
        let is_hit = number.is_multiple_of(100);
        match self.injected_fault {
            InjectedFault::Keep if is_hit => {
                let kept = keys.split_last().map_or(keys, |(_, others)| others);
                self.store.remove(bucket, kept.iter().copied())
            }
            InjectedFault::Steal if is_hit => {
                let folder = keys
                    .first()
                    .and_then(|key| key.split_once('/'))
                    .map_or("", |(folder, _)| folder);
                // The last one: what is listed already would be counted all the same.
                let stolen = self.store.last(bucket, &format!("{folder}/"));
                self.store.remove(bucket, keys.iter().copied().chain(stolen.as_deref()))
            }
            InjectedFault::Nothing | InjectedFault::Keep | InjectedFault::Steal => {
                self.store.remove(bucket, keys.iter().copied())
            }
        }
    }
}

#[async_trait::async_trait]
impl S3 for Model {
    async fn list_objects_v2(
        &self,
        request: S3Request<ListObjectsV2Input>,
    ) -> S3Result<S3Response<ListObjectsV2Output>> {
        let input = request.input;
        let pending = self.begin(Operation::List).await?;
        let place = match (&input.continuation_token, &input.start_after) {
            (Some(token), _) => Some(place_of(token)?),
            (None, after) => after.clone().map(Place::After),
        };
        only_slash(input.delimiter.as_deref())?;
        let query = Query {
            prefix: input.prefix.as_deref().unwrap_or_default(),
            place: place.as_ref(),
            // With versioning, a delete marker hides every key.
            max: if self.has_versions { 0 } else { most(input.max_keys) },
            is_grouped: input.delimiter.is_some(),
        };
        let page = self.page(pending, &input.bucket, query).await?;
        Ok(S3Response::new(listing(page, input)))
    }

    async fn list_object_versions(
        &self,
        request: S3Request<ListObjectVersionsInput>,
    ) -> S3Result<S3Response<ListObjectVersionsOutput>> {
        let input = request.input;
        let pending = self.begin(Operation::List).await?;
        only_slash(input.delimiter.as_deref())?;
        let place = versions::place(&input);
        let query = Query {
            prefix: input.prefix.as_deref().unwrap_or_default(),
            place: place.as_ref(),
            max: most(input.max_keys),
            is_grouped: input.delimiter.is_some(),
        };
        let page = self.page(pending, &input.bucket, query).await?;
        Ok(S3Response::new(versions::listing(&page, input)))
    }

    /// The keys are deleted when the request arrives, and the answer comes later: a client that
    /// hangs up between has deleted them without an answer.
    async fn delete_objects(
        &self,
        request: S3Request<DeleteObjectsInput>,
    ) -> S3Result<S3Response<DeleteObjectsOutput>> {
        let DeleteObjectsInput { bucket, delete, .. } = request.input;
        if delete.objects.is_empty() || delete.objects.len() > PAGE {
            return Err(s3_error!(MalformedXML));
        }
        let mut pending = self.begin(Operation::Delete).await?;
        let room = self.partitions.take(&bucket, delete.objects.len(), Instant::now());
        pending.note(|request| request.is_refused = room < delete.objects.len());
        if room < delete.objects.len() && self.partitions.refuses_requests() {
            return self.slow_down(pending).await;
        }
        let mut objects = delete.objects;
        let without_room = objects.split_off(room).into_iter().map(|object| (SLOW_DOWN, object));
        let (mut taken, mut failed) = (Vec::new(), Vec::new());
        for object in objects {
            let name = match &object.version_id {
                Some(id) => versioned(&object.key, id),
                None => object.key.clone(),
            };
            match self.dice.code_of(&name) {
                Some(code) => failed.push((code, object)),
                None => taken.push((name, object)),
            }
        }
        let keys: Vec<&str> = taken.iter().map(|(name, _)| name.as_str()).collect();
        let gone = if keys.is_empty() { 0 } else { self.remove(&bucket, &keys) };
        pending.note(|request| request.keys = gone);
        self.take(self.latency.deletion, keys.len()).await;
        pending.answered();
        let is_quiet = delete.quiet.unwrap_or(false);
        let deleted = taken.into_iter().filter(|_| !is_quiet).map(|(_, object)| DeletedObject {
            key: Some(object.key),
            version_id: object.version_id,
            ..DeletedObject::default()
        });
        let errors =
            failed.into_iter().chain(without_room).map(|(code, object)| key_error(code, object));
        let output = DeleteObjectsOutput {
            deleted: Some(deleted.collect()),
            errors: Some(errors.collect()),
            ..DeleteObjectsOutput::default()
        };
        Ok(S3Response::new(output))
    }

    async fn delete_object(
        &self,
        request: S3Request<DeleteObjectInput>,
    ) -> S3Result<S3Response<DeleteObjectOutput>> {
        let DeleteObjectInput { bucket, key, version_id, .. } = request.input;
        let key = version_id.map(|id| versioned(&key, &id)).unwrap_or(key);
        let mut pending = self.begin(Operation::Delete).await?;
        if self.partitions.take(&bucket, 1, Instant::now()) == 0 {
            pending.note(|request| request.is_refused = true);
            return self.slow_down(pending).await;
        }
        let gone = self.remove(&bucket, &[&key]);
        pending.note(|request| request.keys = gone);
        self.take(self.latency.deletion, 1).await;
        pending.answered();
        Ok(S3Response::with_status(DeleteObjectOutput::default(), StatusCode::NO_CONTENT))
    }

    /// The receipts' bucket is never asked about.
    async fn get_bucket_versioning(
        &self,
        _request: S3Request<GetBucketVersioningInput>,
    ) -> S3Result<S3Response<GetBucketVersioningOutput>> {
        self.pass().await?;
        let enabled = BucketVersioningStatus::from_static(BucketVersioningStatus::ENABLED);
        let status = self.has_versions.then_some(enabled);
        Ok(S3Response::new(GetBucketVersioningOutput {
            status,
            ..GetBucketVersioningOutput::default()
        }))
    }

    /// No client here begins an upload.
    async fn list_multipart_uploads(
        &self,
        request: S3Request<ListMultipartUploadsInput>,
    ) -> S3Result<S3Response<ListMultipartUploadsOutput>> {
        self.pass().await?;
        let output = ListMultipartUploadsOutput {
            bucket: Some(request.input.bucket),
            prefix: request.input.prefix.as_deref().map(encoded),
            encoding_type: request.input.encoding_type,
            is_truncated: Some(false),
            ..ListMultipartUploadsOutput::default()
        };
        Ok(S3Response::new(output))
    }

    async fn put_object(
        &self,
        request: S3Request<PutObjectInput>,
    ) -> S3Result<S3Response<PutObjectOutput>> {
        let input = request.input;
        let mut pending = self.begin(Operation::Put).await?;
        let chunks: Vec<Bytes> = match input.body {
            Some(body) => body.try_collect().await.map_err(|_broken| s3_error!(IncompleteBody))?,
            None => Vec::new(),
        };
        if input.if_none_match != Some(ETagCondition::Any) {
            return Err(s3_error!(NotImplemented, "here, nothing is overwritten"));
        }
        self.take(self.latency.least, 0).await;
        if !self.store.put_new(&input.bucket, &input.key, Bytes::from(chunks.concat())) {
            return Err(s3_error!(PreconditionFailed));
        }
        pending.note(|request| request.key = Some(input.key));
        pending.answered();
        // The function believes no answer without one.
        let e_tag = Some(ETag::Strong("0".repeat(32)));
        Ok(S3Response::new(PutObjectOutput { e_tag, ..PutObjectOutput::default() }))
    }

    async fn get_object(
        &self,
        request: S3Request<GetObjectInput>,
    ) -> S3Result<S3Response<GetObjectOutput>> {
        let pending = self.begin(Operation::Other).await?;
        self.take(self.latency.least, 0).await;
        let body = self.store.get(&request.input.bucket, &request.input.key);
        let body = body.ok_or_else(|| s3_error!(NoSuchKey))?;
        pending.answered();
        let output = GetObjectOutput {
            content_length: i64::try_from(body.len()).ok(),
            body: Some(StreamingBlob::from(s3s::stream::DynByteStream::from(StreamingBlob::wrap(
                futures::stream::iter([Ok::<_, std::io::Error>(body)]),
            )))),
            ..GetObjectOutput::default()
        };
        Ok(S3Response::new(output))
    }
}

fn only_slash(delimiter: Option<&str>) -> S3Result<()> {
    match delimiter {
        None | Some("/") => Ok(()),
        Some(_) => Err(s3_error!(NotImplemented, "the only delimiter here is /")),
    }
}

/// How many names a page holds at most.
fn most(asked: Option<i32>) -> usize {
    asked.and_then(|most| usize::try_from(most).ok()).unwrap_or(PAGE).min(PAGE)
}

/// A key in a listing that is URL-encoded.
pub(crate) fn encoded(key: &str) -> String {
    utf8_percent_encode(key, IN_URL).to_string()
}

/// When every object was last modified.
pub(crate) fn modified() -> Timestamp {
    Timestamp::from(UNIX_EPOCH + MODIFIED)
}

/// What a page looks like: all that S3 says of an object, because reading it takes time, too.
fn listing(page: Page, input: ListObjectsV2Input) -> ListObjectsV2Output {
    let is_encoded =
        input.encoding_type.as_ref().is_some_and(|kind| kind.as_str() == EncodingType::URL);
    let shown = |key: String| if is_encoded { encoded(&key) } else { key };
    let count = page.len();
    let contents = page.keys.into_iter().map(|(key, bytes)| Object {
        key: Some(shown(key)),
        size: i64::try_from(bytes).ok(),
        last_modified: Some(modified()),
        e_tag: Some(ETag::Strong("d41d8cd98f00b204e9800998ecf8427e".to_owned())),
        storage_class: Some(ObjectStorageClass::from_static(ObjectStorageClass::STANDARD)),
        ..Object::default()
    });
    let folders =
        page.folders.into_iter().map(|folder| CommonPrefix { prefix: Some(shown(folder)) });
    ListObjectsV2Output {
        key_count: i32::try_from(count).ok(),
        contents: Some(contents.collect()),
        common_prefixes: Some(folders.collect()),
        is_truncated: Some(page.next.is_some()),
        next_continuation_token: page.next.as_ref().map(token_of),
        name: Some(input.bucket),
        prefix: Some(shown(input.prefix.unwrap_or_default())),
        delimiter: input.delimiter,
        max_keys: Some(input.max_keys.unwrap_or(1_000)),
        continuation_token: input.continuation_token,
        start_after: input.start_after.map(shown),
        encoding_type: input.encoding_type,
        ..ListObjectsV2Output::default()
    }
}

/// The answer for a key that is not deleted.
fn key_error(code: &str, object: ObjectIdentifier) -> KeyError {
    KeyError {
        key: Some(object.key),
        version_id: object.version_id,
        code: Some(code.to_owned()),
        message: (code == SLOW_DOWN).then(|| "Please reduce your request rate.".to_owned()),
    }
}

/// A token is the last key or folder of its page, so it holds whatever is deleted meanwhile.
fn token_of(place: &Place) -> String {
    let (word, name) = match place {
        Place::After(key) => ("after", key),
        Place::Behind(folder) => ("behind", folder),
    };
    format!("{word}.{}", utf8_percent_encode(name, NON_ALPHANUMERIC))
}

fn place_of(token: &str) -> S3Result<Place> {
    let (word, name) = token.split_once('.').unwrap_or_default();
    match (word, percent_decode_str(name).decode_utf8()) {
        ("after", Ok(key)) => Ok(Place::After(key.into_owned())),
        ("behind", Ok(folder)) => Ok(Place::Behind(folder.into_owned())),
        _ => Err(s3_error!(InvalidArgument, "The continuation token is incorrect")),
    }
}

#[cfg(test)]
mod tests {
    use s3s::dto::Delete;

    use super::*;
    use crate::{Limit, Noise, Noisy, Refusal, Settings};

    const BUCKET: &str = "photos";

    fn model(limit: Option<Limit>, noise: Option<Noise>) -> Model {
        let settings = Settings { limit, noise, seed: 1, ..Settings::default() };
        let model = Model::new(&settings, &[BUCKET]);
        model.store.make_up(BUCKET, (0..10).map(name), 7);
        model
    }

    #[tokio::test]
    async fn lists_versions_page_by_page_and_deletes_them_one_by_one() {
        let mut model = model(None, None);
        model.has_versions = true;
        let ids = [versions::NEWEST_MARKER, "version-1", "version-2"];
        let names: Vec<String> =
            ["a", "a b"].iter().flat_map(|key| ids.map(|id| versioned(key, id))).collect();
        model.store.make_up(BUCKET, names.iter().cloned(), 7);
        let (mut seen, mut markers) = (Vec::new(), (None, None));
        for is_last in [false, false, true] {
            let input = ListObjectVersionsInput {
                bucket: BUCKET.to_owned(),
                prefix: Some("a".to_owned()),
                max_keys: Some(2),
                key_marker: markers.0,
                version_id_marker: markers.1,
                ..ListObjectVersionsInput::default()
            };
            let output = model.list_object_versions(request(input)).await.unwrap().output;
            assert_eq!(output.is_truncated, Some(!is_last));
            let markers_seen = output
                .delete_markers
                .into_iter()
                .flatten()
                .map(|marker| (marker.key, marker.version_id));
            let versions = output
                .versions
                .into_iter()
                .flatten()
                .map(|version| (version.key, version.version_id));
            seen.extend(
                markers_seen
                    .chain(versions)
                    .map(|(key, id)| versioned(&key.unwrap(), &id.unwrap())),
            );
            markers = (output.next_key_marker, output.next_version_id_marker);
        }
        seen.sort_unstable();
        assert_eq!(seen, names);
        let input = DeleteObjectInput::builder()
            .bucket(BUCKET.to_owned())
            .key("a".to_owned())
            .version_id(Some("version-1".to_owned()))
            .build();
        model.delete_object(request(input.unwrap())).await.unwrap();
        assert_eq!(model.store.count(BUCKET, "a"), 5);
        let input =
            ListObjectsV2Input { bucket: BUCKET.to_owned(), ..ListObjectsV2Input::default() };
        let output = model.list_objects_v2(request(input)).await.unwrap().output;
        assert_eq!(
            (output.key_count, output.is_truncated),
            (Some(0), Some(false)),
            "delete markers hide all"
        );
    }

    fn name(number: usize) -> String {
        format!("u1/{}/{number}", number % 3)
    }

    fn request<T>(input: T) -> S3Request<T> {
        S3Request {
            input,
            method: hyper::Method::GET,
            uri: hyper::Uri::default(),
            headers: hyper::HeaderMap::default(),
            extensions: hyper::http::Extensions::default(),
            credentials: None,
            region: None,
            service: None,
            trailing_headers: None,
        }
    }

    async fn delete(model: &Model, is_quiet: bool) -> S3Result<DeleteObjectsOutput> {
        let objects = (0..10)
            .map(|number| ObjectIdentifier { key: name(number), ..ObjectIdentifier::default() });
        let delete = Delete { objects: objects.collect(), quiet: Some(is_quiet) };
        let input =
            DeleteObjectsInput::builder().bucket(BUCKET.to_owned()).delete(delete).build().unwrap();
        model.delete_objects(request(input)).await.map(|response| response.output)
    }

    #[tokio::test]
    async fn refuses_the_keys_for_which_there_is_no_room() {
        let model = model(Some(Limit { refusal: Refusal::Keys, ..Limit::of(6) }), None);
        let output = delete(&model, false).await.unwrap();
        assert_eq!(output.deleted.unwrap().len(), 6);
        let errors: Vec<_> = output
            .errors
            .unwrap()
            .into_iter()
            .map(|error| (error.key.unwrap(), error.code))
            .collect();
        let slow_down = Some("SlowDown".to_owned());
        assert_eq!(errors, [6, 7, 8, 9].map(|number| (name(number), slow_down.clone())));
        assert_eq!(model.store.count(BUCKET, ""), 4);
        let output = delete(&model, true).await.unwrap();
        assert_eq!(
            (output.deleted.unwrap().len(), output.errors.unwrap().len()),
            (0, 10),
            "quiet, and no room at all"
        );
        assert!(model.trace.requests().iter().all(|request| request.is_refused));
    }

    #[tokio::test]
    async fn refuses_requests_as_a_whole() {
        let model = model(Some(Limit::of(15)), None);
        assert_eq!(delete(&model, true).await.unwrap().deleted.unwrap().len(), 0);
        let refused = delete(&model, true).await.unwrap_err();
        assert_eq!(refused.status_code(), Some(StatusCode::SERVICE_UNAVAILABLE));
    }

    #[tokio::test]
    async fn keys_that_fail_at_random_are_deleted_at_the_next_attempt() {
        let model =
            model(None, Some(Noise { what: Noisy::Keys { code: "InternalError" }, share: 1.0 }));
        let output = delete(&model, false).await.unwrap();
        let codes: Vec<_> =
            output.errors.unwrap().into_iter().filter_map(|error| error.code).collect();
        assert_eq!(
            (output.deleted.unwrap().len(), codes),
            (0, vec!["InternalError".to_owned(); 10])
        );
        assert_eq!(model.store.count(BUCKET, ""), 10);
        let output = delete(&model, false).await.unwrap();
        assert_eq!((output.deleted.unwrap().len(), output.errors.unwrap().len()), (10, 0));
        assert_eq!(model.store.count(BUCKET, ""), 0);
    }

    #[tokio::test]
    async fn requests_that_fail_at_random_do_nothing() {
        for (what, status) in [
            (Noisy::Deletions, StatusCode::SERVICE_UNAVAILABLE),
            (Noisy::Requests, StatusCode::INTERNAL_SERVER_ERROR),
        ] {
            let model = model(None, Some(Noise { what, share: 1.0 }));
            assert_eq!(delete(&model, false).await.unwrap_err().status_code(), Some(status));
            let input =
                ListObjectsV2Input { bucket: BUCKET.to_owned(), ..ListObjectsV2Input::default() };
            assert_eq!(
                model.list_objects_v2(request(input)).await.is_ok(),
                what == Noisy::Deletions
            );
            assert_eq!(model.store.count(BUCKET, ""), 10);
            assert!(model.trace.requests()[0].is_refused);
        }
    }

    #[tokio::test]
    async fn lists_folders_page_by_page() {
        let model = model(None, None);
        let (mut folders, mut token) = (Vec::new(), None);
        for is_last in [false, false, true] {
            let input = ListObjectsV2Input {
                bucket: BUCKET.to_owned(),
                prefix: Some("u1/".to_owned()),
                delimiter: Some("/".to_owned()),
                max_keys: Some(1),
                continuation_token: token,
                ..ListObjectsV2Input::default()
            };
            let output = model.list_objects_v2(request(input)).await.unwrap().output;
            folders.extend(
                output.common_prefixes.unwrap().into_iter().filter_map(|folder| folder.prefix),
            );
            assert_eq!((output.key_count, output.is_truncated), (Some(1), Some(!is_last)));
            token = output.next_continuation_token;
        }
        assert_eq!(folders, ["u1/0/", "u1/1/", "u1/2/"]);
    }
}
