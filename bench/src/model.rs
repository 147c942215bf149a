//! A model of S3: what this function asks of it, with S3's latency and S3's limit. The protocol is that of `s3s`.

use std::collections::HashMap;
use std::str::FromStr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures::TryStreamExt;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use s3s::dto::{
    DeleteObjectsInput, DeleteObjectsOutput, DeletedObject, ETagCondition, EncodingType, Error as KeyError,
    GetBucketVersioningInput, GetBucketVersioningOutput, GetObjectInput, GetObjectOutput, ListMultipartUploadsInput,
    ListMultipartUploadsOutput, ListObjectsV2Input, ListObjectsV2Output, Object, PutObjectInput, PutObjectOutput,
    StreamingBlob,
};
use s3s::{S3, S3Request, S3Response, S3Result, s3_error};
use tokio::time::{Instant, sleep};

use crate::store::Store;
use crate::trace::{Operation, Trace};

/// The most that one listing answers, and one DeleteObjects takes.
const PAGE: usize = 1_000;
/// What S3 leaves as it is where a listing's keys are URL-encoded.
const IN_URL: &AsciiSet = &NON_ALPHANUMERIC.remove(b'/').remove(b'-').remove(b'_').remove(b'.').remove(b'*');

/// How long answers take: a fixed part, and one that grows with the keys.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Latency {
    /// Of a page of 1,000 keys.
    pub listing: Duration,
    /// Of a DeleteObjects of 1,000 keys.
    pub deletion: Duration,
    /// Of every other request, and of the smallest listing or deletion.
    pub least: Duration,
    /// By how much of itself a time may be shorter or longer, evenly spread: 0 to 1.
    pub spread: f64,
}

impl Latency {
    fn of(self, full: Duration, keys: usize, chance: f64) -> Duration {
        let part = f64::from(u32::try_from(keys.min(PAGE)).unwrap_or(0)) / 1_000.0;
        let time = self.least + full.saturating_sub(self.least).mul_f64(part);
        time.mul_f64(1.0 + self.spread * (2.0 * chance - 1.0))
    }
}

/// A fault of the store that the function cannot know of, to see that the checks of a run can fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plant {
    /// None: S3 as it should be.
    Nothing,
    /// Each hundredth deletion says "deleted" of its last key, and keeps it.
    Keep,
    /// Each hundredth deletion takes along the user's last key, which nobody named.
    Steal,
}

impl FromStr for Plant {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "nothing" => Ok(Self::Nothing),
            "keep" => Ok(Self::Keep),
            "steal" => Ok(Self::Steal),
            other => Err(format!("{other:?}: expected nothing, keep or steal")),
        }
    }
}

/// What S3 lets a partition take, as a token bucket of one second.
#[derive(Debug)]
struct Partition {
    keys: f64,
    filled: Instant,
}

/// The model. Each bucket is one partition.
#[derive(Debug)]
pub(crate) struct Model {
    pub(crate) store: std::sync::Arc<Store>,
    pub(crate) trace: Trace,
    latency: Latency,
    /// Keys per second and partition; `None`: as many as come.
    keys_per_second: Option<u32>,
    plant: Plant,
    partitions: Mutex<HashMap<String, Partition>>,
    chance: Mutex<(fastrand::Rng, u64)>,
}

impl Model {
    pub(crate) fn new(store: std::sync::Arc<Store>, trace: Trace, settings: &crate::Settings) -> Self {
        Self {
            store,
            trace,
            latency: settings.latency,
            keys_per_second: settings.partition_limit,
            plant: settings.plant,
            partitions: Mutex::default(),
            chance: Mutex::new((fastrand::Rng::with_seed(settings.seed), 0)),
        }
    }

    async fn take(&self, full: Duration, keys: usize) {
        let chance = self.chance.lock().unwrap_or_else(PoisonError::into_inner).0.f64();
        sleep(self.latency.of(full, keys, chance)).await;
    }

    /// A request of no account.
    async fn pass(&self) {
        let pending = self.trace.begin(Operation::Other);
        self.take(self.latency.least, 0).await;
        pending.answered();
    }

    /// Whether the partition takes so many keys now. It takes a request as a whole, or nothing of it.
    fn admits(&self, bucket: &str, keys: usize) -> bool {
        let Some(limit) = self.keys_per_second.map(f64::from) else { return true };
        let keys = f64::from(u32::try_from(keys).unwrap_or(u32::MAX));
        let now = Instant::now();
        let mut partitions = self.partitions.lock().unwrap_or_else(PoisonError::into_inner);
        let partition = partitions.entry(bucket.to_owned()).or_insert(Partition { keys: limit, filled: now });
        let since = now - partition.filled;
        partition.keys = (partition.keys + since.as_secs_f64() * limit).min(limit);
        partition.filled = now;
        let is_admitted = partition.keys >= keys.min(limit);
        partition.keys -= if is_admitted { keys } else { 0.0 };
        is_admitted
    }

    /// Takes the keys away, and says how many are gone.
    fn remove(&self, bucket: &str, keys: &[&str]) -> u64 {
        let number = {
            let mut chance = self.chance.lock().unwrap_or_else(PoisonError::into_inner);
            chance.1 += 1;
            chance.1
        };
        let is_planted = number.is_multiple_of(100);
        match self.plant {
            Plant::Keep if is_planted => {
                let kept = keys.split_last().map_or(keys, |(_, others)| others);
                self.store.remove(bucket, kept.iter().copied())
            }
            Plant::Steal if is_planted => {
                let folder = keys.first().and_then(|key| key.split_once('/')).map_or("", |(folder, _)| folder);
                // The last one: what is listed already would be counted all the same.
                let stolen = self.store.last(bucket, &format!("{folder}/"));
                self.store.remove(bucket, keys.iter().copied().chain(stolen.as_deref()))
            }
            Plant::Nothing | Plant::Keep | Plant::Steal => self.store.remove(bucket, keys.iter().copied()),
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
        let mut pending = self.trace.begin(Operation::List);
        let prefix = input.prefix.clone().unwrap_or_default();
        let after = match &input.continuation_token {
            Some(token) => Some(key_of(token)?),
            None => input.start_after.clone(),
        };
        let max = input.max_keys.and_then(|max| usize::try_from(max).ok()).unwrap_or(PAGE).min(PAGE);
        let page = self.store.page(&input.bucket, &prefix, after.as_deref(), max);
        let page = page.ok_or_else(|| s3_error!(NoSuchBucket))?;
        self.take(self.latency.listing, page.keys.len()).await;

        let is_encoded = input.encoding_type.as_ref().is_some_and(|kind| kind.as_str() == EncodingType::URL);
        let shown = |key: &str| if is_encoded { encoded(key) } else { key.to_owned() };
        let last = page.keys.last().filter(|_| page.is_truncated).map(|(key, _)| token_of(key));
        let contents = page.keys.iter().map(|(key, bytes)| Object {
            key: Some(shown(key)),
            size: i64::try_from(*bytes).ok(),
            ..Object::default()
        });
        let output = ListObjectsV2Output {
            name: Some(input.bucket),
            prefix: Some(shown(&prefix)),
            max_keys: i32::try_from(max).ok(),
            key_count: i32::try_from(page.keys.len()).ok(),
            continuation_token: input.continuation_token,
            is_truncated: Some(page.is_truncated),
            next_continuation_token: last,
            encoding_type: input.encoding_type,
            contents: Some(contents.collect()),
            ..ListObjectsV2Output::default()
        };
        pending.note(|request| request.keys = page.keys.len() as u64);
        pending.answered();
        Ok(S3Response::new(output))
    }

    /// The keys are gone as soon as the request is there, and the answer comes later: whoever hangs up meanwhile has
    /// deleted them without knowing.
    async fn delete_objects(
        &self,
        request: S3Request<DeleteObjectsInput>,
    ) -> S3Result<S3Response<DeleteObjectsOutput>> {
        let DeleteObjectsInput { bucket, delete, .. } = request.input;
        if delete.objects.is_empty() || delete.objects.len() > PAGE {
            return Err(s3_error!(MalformedXML));
        }
        let mut pending = self.trace.begin(Operation::Delete);
        if !self.admits(&bucket, delete.objects.len()) {
            self.take(self.latency.least, 0).await;
            pending.note(|request| request.is_refused = true);
            pending.answered();
            return Err(s3_error!(SlowDown));
        }
        let keys: Vec<&str> = delete.objects.iter().map(|object| object.key.as_str()).collect();
        let gone = self.remove(&bucket, &keys);
        pending.note(|request| request.keys = gone);
        self.take(self.latency.deletion, keys.len()).await;
        pending.answered();
        let deleted = |key| DeletedObject { key: Some(key), ..DeletedObject::default() };
        let is_quiet = delete.quiet.unwrap_or(false);
        let named = delete.objects.into_iter().filter(|_| !is_quiet).map(|object| deleted(object.key));
        let output = DeleteObjectsOutput {
            deleted: Some(named.collect()),
            errors: Some(Vec::<KeyError>::new()),
            ..DeleteObjectsOutput::default()
        };
        Ok(S3Response::new(output))
    }

    /// No bucket here has versioning.
    async fn get_bucket_versioning(
        &self,
        _request: S3Request<GetBucketVersioningInput>,
    ) -> S3Result<S3Response<GetBucketVersioningOutput>> {
        self.pass().await;
        Ok(S3Response::new(GetBucketVersioningOutput::default()))
    }

    /// Nobody here begins an upload.
    async fn list_multipart_uploads(
        &self,
        request: S3Request<ListMultipartUploadsInput>,
    ) -> S3Result<S3Response<ListMultipartUploadsOutput>> {
        self.pass().await;
        let output = ListMultipartUploadsOutput {
            bucket: Some(request.input.bucket),
            prefix: request.input.prefix.as_deref().map(encoded),
            encoding_type: request.input.encoding_type,
            is_truncated: Some(false),
            ..ListMultipartUploadsOutput::default()
        };
        Ok(S3Response::new(output))
    }

    async fn put_object(&self, request: S3Request<PutObjectInput>) -> S3Result<S3Response<PutObjectOutput>> {
        let input = request.input;
        let mut pending = self.trace.begin(Operation::Put);
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
        Ok(S3Response::new(PutObjectOutput::default()))
    }

    async fn get_object(&self, request: S3Request<GetObjectInput>) -> S3Result<S3Response<GetObjectOutput>> {
        let pending = self.trace.begin(Operation::Other);
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

fn encoded(key: &str) -> String {
    utf8_percent_encode(key, IN_URL).to_string()
}

/// A token is the last key of its page, so it holds whatever is deleted meanwhile.
fn token_of(key: &str) -> String {
    format!("after.{}", utf8_percent_encode(key, NON_ALPHANUMERIC))
}

fn key_of(token: &str) -> S3Result<String> {
    let key = token.strip_prefix("after.").and_then(|key| percent_decode_str(key).decode_utf8().ok());
    key.map(|key| key.into_owned()).ok_or_else(|| s3_error!(InvalidArgument, "The continuation token is incorrect"))
}
