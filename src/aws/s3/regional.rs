//! Sends the requests to the targets' buckets: within their limits, with the owner that is
//! expected, and to the region that the bucket is in.

use std::cell::RefCell;
use std::collections::HashMap;
use std::time::Duration;

use aws_sdk_s3::Client;
use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::config::interceptors::BeforeTransmitInterceptorContextMut;
use aws_sdk_s3::config::{Builder, ConfigBag, Intercept, Region, RuntimeComponents};
use aws_sdk_s3::error::{BoxError, SdkError};
use tokio::time::Instant;

use crate::aws::s3::errors::{region_of, within};
use crate::deadline::time_until;
use crate::target::BucketOwners;

/// A client for buckets in any region. All of its requests share one connection pool, and differ
/// only in the region that they are signed for and, unless an endpoint is set, in the host.
#[derive(Debug)]
pub(super) struct RegionalClient {
    pub(super) client: Client,
    owners: BucketOwners,
    /// The regions of the buckets that are not in the client's own region, as S3 named them. They
    /// are remembered as long as the execution environment lives.
    regions: RefCell<HashMap<String, Region>>,
}

impl RegionalClient {
    pub(super) fn new(client: Client, owners: BucketOwners) -> Self {
        Self { client, owners, regions: RefCell::default() }
    }

    /// Sends a request about a bucket. `request` sends it with the settings that it gets.
    ///
    /// If S3 answers that the bucket is in another region, the request is sent once more, to that
    /// region, within the same limit. The region is remembered if an answer comes from there. A
    /// bucket that was created again in yet another region is found in the same way.
    /// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/Redirects.html>
    pub(super) async fn send<T, E, F>(
        &self,
        bucket: &str,
        limit: Duration,
        request: impl Fn(&Client, Builder) -> F,
    ) -> Result<T, SdkError<E, HttpResponse>>
    where
        F: Future<Output = Result<T, SdkError<E, HttpResponse>>>,
    {
        let end = Instant::now() + limit;
        let known = self.regions.borrow().get(bucket).cloned();
        let region = known.as_ref().or(self.client.config().region());
        let answer = request(&self.client, self.settings(bucket, region, limit)).await;
        let Some(named) = answer.as_ref().err().and_then(|error| other_region(error, region))
        else {
            return answer;
        };
        let settings = self.settings(bucket, Some(&named), time_until(end));
        let answer = request(&self.client, settings).await;
        let is_answered =
            answer.as_ref().map_or_else(|error| error.raw_response().is_some(), |_| true);
        if is_answered {
            self.regions.borrow_mut().insert(bucket.to_owned(), named);
        }
        answer
    }

    fn settings(&self, bucket: &str, region: Option<&Region>, limit: Duration) -> Builder {
        let settings = within(limit).region(region.cloned());
        match self.owners.of(bucket) {
            Some(owner) => settings.interceptor(ExpectedOwner(owner.as_str().to_owned())),
            None => settings,
        }
    }
}

/// The region that S3 names in an error, if the request was sent to another one. S3 answers with
/// 301, 307, 400 or 403, depending on the age of the region and on how far the request got.
fn other_region<E>(error: &SdkError<E, HttpResponse>, sent_to: Option<&Region>) -> Option<Region> {
    let response = error.raw_response()?;
    let named = region_of(response)?;
    let is_redirect = matches!(response.status().as_u16(), 301 | 307 | 400 | 403);
    (is_redirect && sent_to.is_none_or(|region| region.as_ref() != named))
        .then(|| Region::new(named.to_owned()))
}

/// Adds the header with the account that must own the bucket, to every operation alike.
#[derive(Debug)]
struct ExpectedOwner(String);

impl Intercept for ExpectedOwner {
    fn name(&self) -> &'static str {
        "ExpectedOwner"
    }

    fn modify_before_signing(
        &self,
        context: &mut BeforeTransmitInterceptorContextMut<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let headers = context.request_mut().headers_mut();
        headers.try_insert("x-amz-expected-bucket-owner", self.0.clone())?;
        Ok(())
    }
}
