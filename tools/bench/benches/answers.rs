//! What one page of 1,000 objects costs the function's CPU: its listing, and its deletion, with the
//! SDK and all checks, without a network.

use std::time::Duration;

use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_s3::primitives::SdkBody;
use aws_smithy_runtime_api::client::http::{
    HttpConnectorFuture, SharedHttpConnector, http_client_fn,
};
use aws_smithy_runtime_api::http::StatusCode;
use divan::Bencher;
use divan::counter::ItemsCount;
use erase_user_files::aws::s3::store::S3;
use erase_user_files::ports::store::{DeleteStore, Item, Kind, ReadStore};
use erase_user_files::target::{BucketOwners, Key, Prefix, Target, User};
use tokio::runtime::{Builder, Runtime};

const KEYS: usize = 1_000;
const LIMIT: Duration = Duration::from_secs(20);

fn item(key: Key) -> Item {
    Item { kind: Kind::Objects, key, other_key: None, id: None, bytes: 0, last_modified: None }
}

fn main() {
    divan::main();
}

#[divan::bench]
fn list(bencher: Bencher<'_, '_>) {
    let entries: String = keys()
        .map(|key| {
            format!(
                "<Contents><Key>{key}</Key><LastModified>2026-11-23T09:52:00.000Z</LastModified>\
                 <ETag>&quot;9a0364b9e99bb480dd25e1f0284c8555&quot;</ETag><Size>12345</Size>\
                 <StorageClass>STANDARD</StorageClass></Contents>"
            )
        })
        .collect();
    let (runtime, s3, prefix) = scene(format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">\
         <Name>photos</Name><Prefix>u1/</Prefix><KeyCount>{KEYS}</KeyCount><MaxKeys>1000</MaxKeys>\
         <EncodingType>url</EncodingType><IsTruncated>false</IsTruncated>{entries}</ListBucketResult>"
    ));
    bencher.counter(ItemsCount::new(KEYS)).bench_local(|| {
        let page = runtime.block_on(s3.list(&prefix, Kind::Objects, None, LIMIT)).expect("a page");
        assert_eq!(page.entries.len(), KEYS);
    });
}

#[divan::bench]
fn delete(bencher: Bencher<'_, '_>) {
    let entries: String =
        keys().map(|key| format!("<Deleted><Key>{key}</Key></Deleted>")).collect();
    let (runtime, s3, prefix) = scene(format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<DeleteResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">\
         {entries}</DeleteResult>"
    ));
    let items: Vec<_> = keys().map(|key| item(prefix.claim(key).expect("a key of u1"))).collect();
    bencher.counter(ItemsCount::new(KEYS)).bench_local(|| {
        let deletion = runtime.block_on(s3.delete(&prefix, &items, LIMIT)).expect("an answer");
        assert!(deletion.failures.is_empty());
    });
}

fn keys() -> impl Iterator<Item = String> {
    (0..KEYS).map(|number| format!("u1/photos/2026/{number:08}.jpg"))
}

/// The real adapter before a store that has one answer.
fn scene(body: String) -> (Runtime, S3, Prefix) {
    let connector = SharedHttpConnector::new(Answers(body));
    let config = aws_sdk_s3::Config::builder()
        .behavior_version(BehaviorVersion::v2026_01_12())
        .region(Region::from_static("eu-central-1"))
        .credentials_provider(Credentials::for_tests())
        .http_client(http_client_fn(move |_settings, _components| connector.clone()))
        .retry_config(RetryConfig::disabled())
        .build();
    let s3 = S3::new(&aws_sdk_s3::Client::from_conf(config), BucketOwners::default(), false);
    let target = Target::parse("s3://photos/{user_id}/").expect("a target");
    let prefix = target.prefix(&User::parse("u1").expect("an id"));
    (Builder::new_current_thread().enable_time().build().expect("a runtime"), s3, prefix)
}

#[derive(Debug)]
struct Answers(String);

impl aws_smithy_runtime_api::client::http::HttpConnector for Answers {
    fn call(&self, _request: aws_sdk_s3::config::http::HttpRequest) -> HttpConnectorFuture {
        let status = StatusCode::try_from(200).expect("a status");
        HttpConnectorFuture::ready(Ok(HttpResponse::new(status, SdkBody::from(self.0.clone()))))
    }
}
