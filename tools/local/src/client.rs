//! The AWS clients, and plain HTTP for the few calls that are not worth another SDK crate.

use std::time::Duration;

use aws_smithy_http_client::Builder;
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::{Request, StatusCode};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;

use crate::Error;

pub(crate) const REGION: &str = "us-east-1";
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

pub(crate) fn s3(endpoint: &str) -> aws_sdk_s3::Client {
    use aws_sdk_s3::config::{BehaviorVersion, Credentials, Region};
    let config = aws_sdk_s3::Config::builder()
        .behavior_version(BehaviorVersion::v2026_01_12())
        .credentials_provider(Credentials::new("test", "test", None, None, "local"))
        .endpoint_url(endpoint)
        .force_path_style(true)
        .http_client(Builder::new().build_http())
        .region(Region::from_static(REGION))
        .build();
    aws_sdk_s3::Client::from_conf(config)
}

pub(crate) fn sqs(endpoint: &str) -> aws_sdk_sqs::Client {
    use aws_sdk_sqs::config::{BehaviorVersion, Credentials, Region};
    let config = aws_sdk_sqs::Config::builder()
        .behavior_version(BehaviorVersion::v2026_01_12())
        .credentials_provider(Credentials::new("test", "test", None, None, "local"))
        .endpoint_url(endpoint)
        .http_client(Builder::new().build_http())
        .region(Region::from_static(REGION))
        .build();
    aws_sdk_sqs::Client::from_conf(config)
}

/// Ministack looks up the key and its service, and takes any signature of its root user.
pub(crate) fn authorization_of_root(service: &str) -> String {
    let scope = format!("test/20260101/{REGION}/{service}/aws4_request");
    format!("AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, Signature=0")
}

/// One request in the name of the local root user: method, service (as in a credential scope),
/// path, headers, body.
#[derive(Debug, Default)]
pub(crate) struct Call<'a> {
    pub(crate) method: &'a str,
    pub(crate) service: &'a str,
    pub(crate) path: &'a str,
    pub(crate) headers: &'a [(&'a str, &'a str)],
    pub(crate) body: Vec<u8>,
}

/// Plain HTTP to ministack, with connections that are used again.
#[derive(Debug)]
pub(crate) struct Plain {
    endpoint: String,
    client: Client<HttpConnector, Full<Bytes>>,
}

impl Plain {
    pub(crate) fn new(endpoint: &str) -> Self {
        Self {
            endpoint: endpoint.to_owned(),
            client: Client::builder(TokioExecutor::new()).build_http(),
        }
    }

    /// Sends a call and takes the text of the answer; any status but a success is an error with
    /// that text.
    pub(crate) async fn send(&self, call: Call<'_>) -> Result<String, Error> {
        let doing = format!("ask {} for {}", call.service, call.path);
        let mut request = Request::builder()
            .method(call.method)
            .uri(format!("{}{}", self.endpoint, call.path))
            .header("authorization", authorization_of_root(call.service));
        for (name, value) in call.headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(Bytes::from(call.body)));
        let request = request.map_err(|error| Error::service(&doing, error.to_string()))?;
        let (status, body) = self.exchange(&doing, request).await?;
        if status.is_success() {
            Ok(body)
        } else {
            Err(Error::service(doing, format!("{status}: {body}")))
        }
    }

    /// Sends a request as it is, and takes the answer, whatever its status.
    pub(crate) async fn exchange(
        &self,
        doing: &str,
        request: Request<Full<Bytes>>,
    ) -> Result<(StatusCode, String), Error> {
        let failed = |message: String| Error::service(doing, message);
        let exchange = async {
            let answer =
                self.client.request(request).await.map_err(|error| failed(error.to_string()))?;
            let status = answer.status();
            let body =
                answer.into_body().collect().await.map_err(|error| failed(error.to_string()))?;
            Ok((status, String::from_utf8_lossy(&body.to_bytes()).into_owned()))
        };
        let answer = tokio::time::timeout(ANSWER_TIMEOUT, exchange).await;
        answer.map_err(|_elapsed| failed(format!("no answer within {ANSWER_TIMEOUT:?}")))?
    }
}
