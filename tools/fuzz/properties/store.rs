//! The real adapter over a store that gives a predefined response, and remembers the request.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aws_sdk_s3::config::http::{HttpRequest, HttpResponse};
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_s3::primitives::SdkBody;
use aws_smithy_runtime_api::client::http::{
    HttpConnector, HttpConnectorFuture, SharedHttpConnector, http_client_fn,
};
use aws_smithy_runtime_api::http::StatusCode;
use erase_user_files::aws::s3::store::{S3, S3Reader};
use erase_user_files::ports::store::{
    DeleteResult, DeleteStore, Item, Kind, Page, ReadStore, StoreError,
};
use erase_user_files::target::{BucketOwners, Prefix, Target, User};
use tokio::runtime::{Builder, Runtime};

const LIMIT: Duration = Duration::from_secs(20);

/// What the next request gets, and the URL of the last one.
#[derive(Debug, Default)]
struct Exchange {
    body: Vec<u8>,
    asked: String,
}

#[derive(Debug, Clone, Default)]
struct Connector(Arc<Mutex<Exchange>>);

impl Connector {
    fn exchange(&self) -> MutexGuard<'_, Exchange> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl HttpConnector for Connector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let mut exchange = self.exchange();
        request.uri().clone_into(&mut exchange.asked);
        let status = StatusCode::try_from(200).expect("a status");
        HttpConnectorFuture::ready(Ok(HttpResponse::new(
            status,
            SdkBody::from(exchange.body.clone()),
        )))
    }
}

/// A store behind the real adapter, without a network.
#[derive(Debug)]
pub(crate) struct Store {
    runtime: Runtime,
    connector: Connector,
    client: aws_sdk_s3::Client,
    reader: S3Reader,
    eraser: S3,
    /// Whose files are listed.
    pub(crate) prefix: Prefix,
}

impl Store {
    fn new() -> Self {
        let connector = Connector::default();
        let shared = SharedHttpConnector::new(connector.clone());
        let config = aws_sdk_s3::Config::builder()
            .behavior_version(BehaviorVersion::v2026_01_12())
            .region(Region::from_static("eu-central-1"))
            .credentials_provider(Credentials::for_tests())
            .http_client(http_client_fn(move |_settings, _components| shared.clone()))
            .retry_config(RetryConfig::disabled())
            .build();
        let client = aws_sdk_s3::Client::from_conf(config);
        let target = Target::parse("s3://photos/{user_id}/").expect("a target");
        Self {
            runtime: Builder::new_current_thread().enable_time().build().expect("a runtime"),
            connector,
            reader: S3Reader::new(&client, BucketOwners::default()),
            eraser: S3::new(&client, BucketOwners::default(), false),
            client,
            prefix: target.prefix(&User::parse("u1").expect("an id")),
        }
    }

    /// What the adapter makes of this answer to a listing.
    pub(crate) fn list(
        &self,
        kind: Kind,
        token: Option<&str>,
        body: &[u8],
    ) -> Result<Page, StoreError> {
        body.clone_into(&mut self.connector.exchange().body);
        self.runtime.block_on(self.reader.list(&self.prefix, kind, token, LIMIT))
    }

    /// What the adapter makes of this answer to a delete of objects.
    pub(crate) fn delete(&self, items: &[Item], body: &[u8]) -> Result<DeleteResult, StoreError> {
        body.clone_into(&mut self.connector.exchange().body);
        self.runtime.block_on(self.eraser.delete(&self.prefix, items, LIMIT))
    }

    /// What the adapter makes of this answer to the question for versioning. A new one each time:
    /// it remembers.
    pub(crate) fn is_versioned(&self, body: &[u8]) -> Result<bool, StoreError> {
        body.clone_into(&mut self.connector.exchange().body);
        let reader = S3Reader::new(&self.client, BucketOwners::default());
        self.runtime.block_on(reader.is_versioned(&self.prefix, LIMIT))
    }

    /// A parameter of the last request's URL.
    pub(crate) fn asked(&self, parameter: &str) -> Option<String> {
        let exchange = self.connector.exchange();
        let (_, query) = exchange.asked.split_once('?')?;
        let value =
            query.split('&').find_map(|pair| pair.strip_prefix(parameter)?.strip_prefix('='))?;
        Some(crate::properties::keys::decoded(value).expect("our own requests are encoded"))
    }
}

/// Runs with this thread's store: making one takes longer than asking it.
pub(crate) fn with_store<R>(run: impl FnOnce(&Store) -> R) -> R {
    thread_local!(static STORE: Store = Store::new());
    STORE.with(run)
}
