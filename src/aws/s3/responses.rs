//! Parses S3's two large responses in one pass, and only if the document is complete.

use std::borrow::Cow;

use aws_sdk_s3::error::{BoxError, ErrorMetadata};
use aws_sdk_s3::operation::delete_objects::{DeleteObjectsError, DeleteObjectsOutput};
use aws_sdk_s3::operation::list_objects_v2::{ListObjectsV2Error, ListObjectsV2Output};
use aws_sdk_s3::primitives::{DateTime, DateTimeFormat};
use aws_sdk_s3::types::{DeletedObject, EncodingType, Error as KeyError, Object};
use aws_smithy_runtime_api::client::interceptors::context::{Error, Output};
use aws_smithy_runtime_api::client::orchestrator::{HttpResponse, Metadata, OrchestratorError};
use aws_smithy_runtime_api::client::ser_de::DeserializeResponse;
use aws_smithy_types::config_bag::ConfigBag;

use crate::aws::s3::xml::{Content, TruncatedXml, walk};
use aws_sdk_s3::config::interceptors::{
    AfterDeserializationInterceptorContextRef, BeforeDeserializationInterceptorContextRef,
};
use aws_sdk_s3::config::{Intercept, RuntimeComponents};
use aws_smithy_runtime_api::client::ser_de::SharedResponseDeserializer;

/// Accepts an XML response only if it is one complete document.
#[derive(Debug)]
pub(super) struct RequireCompleteXml;

/// The response that this module parses; `None` if the SDK's XML reader parses it. The SDK's reader
/// does not report what it could not read.
fn answer(config: &ConfigBag) -> Option<ParsedOperation> {
    config.load::<Metadata>().and_then(|operation| ParsedOperation::to(operation.name()))
}

impl Intercept for RequireCompleteXml {
    fn name(&self) -> &'static str {
        "RequireCompleteXml"
    }

    fn read_before_deserialization(
        &self,
        context: &BeforeDeserializationInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        if context.response().status().is_success()
            && let Some(answer) = answer(config)
        {
            config.interceptor_state().store_put(SharedResponseDeserializer::new(answer));
        }
        Ok(())
    }

    fn read_after_deserialization(
        &self,
        context: &AfterDeserializationInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let body = context.response().body().bytes().unwrap_or_default();
        let is_unread = context.response().status().is_success() && answer(config).is_none();
        // Some responses consist of a status alone.
        if is_unread && !body.is_empty() && walk(body, |_path, _content| Some(())).is_none() {
            return Err(TruncatedXml.into());
        }
        Ok(())
    }
}

/// The response to parse.
#[derive(Debug, Clone, Copy)]
pub(super) enum ParsedOperation {
    ListObjectsV2,
    DeleteObjects,
}

impl ParsedOperation {
    /// The response to an operation; `None` if the SDK parses it.
    pub(super) fn to(operation: &str) -> Option<Self> {
        match operation {
            "ListObjectsV2" => Some(Self::ListObjectsV2),
            "DeleteObjects" => Some(Self::DeleteObjects),
            _ => None,
        }
    }
}

impl DeserializeResponse for ParsedOperation {
    fn deserialize_nonstreaming_with_config(
        &self,
        response: &HttpResponse,
        _config: &ConfigBag,
    ) -> Result<Output, OrchestratorError<Error>> {
        let body = response.body().bytes().unwrap_or_default();
        let damaged = || OrchestratorError::response(TruncatedXml.into());
        let mut failure = ResponseError::default();
        let (output, error) = match self {
            Self::ListObjectsV2 => {
                let output = Output::erase(read_listing(body, &mut failure).ok_or_else(damaged)?);
                (
                    output,
                    failure.metadata().map(|meta| Error::erase(ListObjectsV2Error::generic(meta))),
                )
            }
            Self::DeleteObjects => {
                let output = Output::erase(read_deletion(body, &mut failure).ok_or_else(damaged)?);
                (
                    output,
                    failure.metadata().map(|meta| Error::erase(DeleteObjectsError::generic(meta))),
                )
            }
        };
        error.map_or(Ok(output), |error| Err(OrchestratorError::operation(error)))
    }
}

/// <https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectsV2.html>
fn read_listing(body: &[u8], failure: &mut ResponseError) -> Option<ListObjectsV2Output> {
    let mut listing = ListObjectsV2Output::builder().build();
    let mut contents = Vec::new();
    let mut object = Object::builder().build();
    walk(body, |path, content| {
        match path {
            ["ListBucketResult", "Contents", "Key"] => {
                object.key = Some(content.text()?.into_owned());
            }
            ["ListBucketResult", "Contents", "Size"] => object.size = Some(content.parse()?),
            ["ListBucketResult", "Contents", "LastModified"] => {
                let time = DateTime::from_str(&content.text()?, DateTimeFormat::DateTimeWithOffset);
                object.last_modified = Some(time.ok()?);
            }
            ["ListBucketResult", "Contents"] => {
                contents.push(std::mem::replace(&mut object, Object::builder().build()));
            }
            ["ListBucketResult", "EncodingType"] => {
                listing.encoding_type = Some(EncodingType::from(&*content.text()?));
            }
            ["ListBucketResult", "IsTruncated"] => listing.is_truncated = Some(content.parse()?),
            ["ListBucketResult", "KeyCount"] => listing.key_count = Some(content.parse()?),
            ["ListBucketResult", "NextContinuationToken"] => {
                listing.next_continuation_token = Some(content.text()?.into_owned());
            }
            ["ListBucketResult", "Prefix"] => listing.prefix = Some(content.text()?.into_owned()),
            ["ListBucketResult", ..] => {}
            _ => failure.show(path, content)?,
        }
        Some(())
    })?;
    listing.contents = Some(contents);
    Some(listing)
}

/// <https://docs.aws.amazon.com/AmazonS3/latest/API/API_DeleteObjects.html>
fn read_deletion(body: &[u8], failure: &mut ResponseError) -> Option<DeleteObjectsOutput> {
    let (mut all_deleted, mut errors) = (Vec::new(), Vec::new());
    let mut deleted = DeletedObject::builder().build();
    let mut error = KeyError::builder().build();
    walk(body, |path, content| {
        match path {
            ["DeleteResult", "Deleted", "Key"] => deleted.key = Some(content.text()?.into_owned()),
            ["DeleteResult", "Deleted", "VersionId"] => {
                deleted.version_id = Some(content.text()?.into_owned());
            }
            ["DeleteResult", "Deleted", "DeleteMarker"] => {
                deleted.delete_marker = Some(content.parse()?);
            }
            ["DeleteResult", "Deleted", "DeleteMarkerVersionId"] => {
                deleted.delete_marker_version_id = Some(content.text()?.into_owned());
            }
            ["DeleteResult", "Deleted"] => {
                all_deleted.push(std::mem::replace(&mut deleted, DeletedObject::builder().build()));
            }
            ["DeleteResult", "Error", "Key"] => error.key = Some(content.text()?.into_owned()),
            ["DeleteResult", "Error", "VersionId"] => {
                error.version_id = Some(content.text()?.into_owned());
            }
            ["DeleteResult", "Error", "Code"] => error.code = Some(content.text()?.into_owned()),
            ["DeleteResult", "Error"] => {
                errors.push(std::mem::replace(&mut error, KeyError::builder().build()));
            }
            ["DeleteResult", ..] => {}
            _ => failure.show(path, content)?,
        }
        Some(())
    })?;
    Some(
        DeleteObjectsOutput::builder()
            .set_deleted(Some(all_deleted))
            .set_errors(Some(errors))
            .build(),
    )
}

/// An error in a response with HTTP 200: S3 began the response before it failed.
/// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/ErrorBestPractices.html>
#[derive(Debug, Default)]
struct ResponseError {
    is_there: bool,
    code: Option<String>,
    message: Option<String>,
}

impl ResponseError {
    /// Accepts an element of an error, and no other.
    fn show(&mut self, path: &[&str], content: Content<'_>) -> Option<()> {
        match path {
            ["Error", "Code"] => self.code = Some(content.text()?.into_owned()),
            ["Error", "Message"] => self.message = content.text().map(Cow::into_owned),
            ["Error", ..] => self.is_there = true,
            _ => return None,
        }
        Some(())
    }

    fn metadata(self) -> Option<ErrorMetadata> {
        let mut metadata = ErrorMetadata::builder();
        if let Some(code) = self.code {
            metadata = metadata.code(code);
        }
        if let Some(message) = self.message {
            metadata = metadata.message(message);
        }
        self.is_there.then(|| metadata.build())
    }
}
