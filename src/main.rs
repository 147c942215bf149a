//! Reads the environment, builds the clients and runs the handler.

use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, SdkConfig};
use aws_smithy_http_client::Connector;
use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore, rustls_provider::CryptoMode};
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use erase_user_files::aws::s3::receipts::S3Receipts;
use erase_user_files::aws::s3::store::{S3, S3Reader};
use erase_user_files::aws::secrets::read_hash_key;
use erase_user_files::aws::sqs::Sqs;
use erase_user_files::config::Config;
use erase_user_files::deadline::CONNECT_TIMEOUT;
use erase_user_files::erasure::dry_run::DryRun;
use erase_user_files::erasure::engine::Engine;
use erase_user_files::erasure::erase::Eraser;
use erase_user_files::lambda::handler::Handler;
use erase_user_files::lambda::metrics::Metrics;
use lambda_runtime::{LambdaEvent, service_fn};
use lambda_runtime_api_client::{Client, body::Body, build_request};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tracing::warn;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::prelude::*;

/// How long the client keeps an idle connection. S3 closes idle connections after about 20 s; the
/// client closes them first, so that S3 closes none during a request.
const POOL_IDLE_TIMEOUT: Duration = Duration::from_secs(15);

/// What to do with the program outside Lambda, whatever its settings are.
const WITHOUT_AWS: &str = "this is a Lambda function: to try it without AWS, use `make run` or `make invoke`, \
                           which set everything that it needs";

#[expect(clippy::disallowed_methods, reason = "this is the one place that reads the environment")]
fn variable(name: &str) -> Option<String> {
    // A value that is not UTF-8 must not count as unset, because DRY_RUN would then be off.
    std::env::var_os(name).map(|value| value.to_string_lossy().into_owned())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    start_logging();
    let (text, is_to_be_reported) = match Box::pin(start()).await {
        Ok((config, aws)) => match Box::pin(run(config, &aws)).await {
            Ok(()) => return ExitCode::SUCCESS,
            Err(error) => (format!("Lambda's runtime API does not respond: {error}"), false),
        },
        Err(text) => (text, true),
    };
    say_why(&text);
    if is_to_be_reported {
        report(&text).await;
    }
    ExitCode::FAILURE
}

#[expect(clippy::print_stderr, reason = "plain, not JSON: the person who deploys reads this one")]
fn say_why(text: &str) {
    eprintln!("erase-user-files cannot start: {text}");
}

/// Reports a failed start to Lambda, which then logs and returns the reason. `cargo lambda watch`
/// returns it to the first invocation, which otherwise waits for ever: for that, the report waits
/// for the first invocation, and nothing limits it. Lambda itself answers immediately, and limits
/// the start.
/// <https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html#runtimes-api-initerror>
async fn report(text: &str) {
    const KIND: &str = "Runtime.ConfigInvalid";
    let Some(api) = variable("AWS_LAMBDA_RUNTIME_API").and_then(|api| api.parse().ok()) else {
        return;
    };
    let body = serde_json::json!({ "errorType": KIND, "errorMessage": text }).to_string();
    let request = build_request()
        .method("POST")
        .uri("/2018-06-01/runtime/init/error")
        .header("lambda-runtime-function-error-type", KIND)
        .body(Body::from(body));
    let client = Client::builder().with_endpoint(api).build();
    let sent = match (client, request) {
        (Ok(client), Ok(request)) => client.call(request).await.map(|_| ()),
        (Err(error), _) => Err(error.into()),
        (_, Err(error)) => Err(error.into()),
    };
    if let Err(error) = sent {
        say_why(&format!("and the reason cannot be reported to Lambda: {error}"));
    }
}

/// Reads the settings, and all that has to be read by them.
async fn start() -> Result<(Config, SdkConfig), String> {
    let config = Config::of_process(variable).map_err(|error| error.to_string());
    let is_in_lambda = variable("LAMBDA_TASK_ROOT").is_some();
    let mut config = match config {
        Err(text) if !is_in_lambda => return Err(format!("{text}\n{WITHOUT_AWS}")),
        Ok(_) if variable("AWS_LAMBDA_RUNTIME_API").is_none() => return Err(WITHOUT_AWS.to_owned()),
        config => config?,
    };
    let aws = aws_config::defaults(BehaviorVersion::v2026_01_12())
        .http_client(http_client(trusted_authorities()?))
        // The callers of the adapters retry, within the remaining time and the limiter's rate.
        .retry_config(RetryConfig::disabled())
        .timeout_config(TimeoutConfig::builder().connect_timeout(CONNECT_TIMEOUT).build())
        .load()
        .await;
    if let Some(secret) = config.hash_key_secret.take() {
        config.hash_key = read_hash_key(&aws, &secret).await.map_err(|error| error.to_string())?;
    }
    Ok((config, aws))
}

/// The certificate authorities that AWS's tools trust: those in `AWS_CA_BUNDLE`, or the system's if
/// it is not set.
/// <https://docs.aws.amazon.com/sdkref/latest/guide/feature-gen-config.html>
fn trusted_authorities() -> Result<TlsContext, String> {
    let store = match variable("AWS_CA_BUNDLE").filter(|path| !path.is_empty()) {
        None => TrustStore::default(),
        Some(path) => {
            let wrong = |why: &str| {
                format!("AWS_CA_BUNDLE is {path:?}: expected a file of PEM certificates, {why}")
            };
            let bundle = std::fs::read(&path).map_err(|error| wrong(&error.to_string()))?;
            // The connector would panic at a certificate that it cannot read.
            let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bundle).collect();
            let certificates = certificates.map_err(|error| wrong(&error.to_string()))?;
            if certificates.is_empty() {
                return Err(wrong("it has none"));
            }
            let mut roots = RootCertStore::empty();
            for certificate in certificates {
                roots.add(certificate).map_err(|error| wrong(&error.to_string()))?;
            }
            TrustStore::empty().with_pem_certificate(bundle)
        }
    };
    TlsContext::builder()
        .with_trust_store(store)
        .build()
        .map_err(|error| format!("TLS cannot be set up: {error}"))
}

/// A client that honours `HTTPS_PROXY`, `HTTP_PROXY` and `NO_PROXY`.
fn http_client(trusted: TlsContext) -> SharedHttpClient {
    aws_smithy_http_client::Builder::new().build_with_connector_fn(move |settings, components| {
        let mut connector = Connector::builder()
            .proxy_config(ProxyConfig::from_env())
            .pool_idle_timeout(POOL_IDLE_TIMEOUT)
            .tls_provider(Provider::Rustls(CryptoMode::AwsLc))
            .tls_context(trusted.clone());
        connector.set_connector_settings(settings.cloned());
        connector.set_sleep_impl(components.and_then(|components| components.sleep_impl()));
        connector.build()
    })
}

async fn run(config: Config, aws: &SdkConfig) -> Result<(), lambda_runtime::Error> {
    let s3_config =
        aws_sdk_s3::config::Builder::from(aws).force_path_style(config.force_path_style).build();
    let s3 = aws_sdk_s3::Client::from_conf(s3_config);
    let owners = config.bucket_owners.clone();
    let receipts = config.receipts.clone().map(|settings| S3Receipts::new(&s3, settings));
    let sqs = Sqs::new(aws_sdk_sqs::Client::new(aws), config.continuation_queue_url.clone());
    if !config.hash_key.is_set() {
        warn!(
            "no hash key is set (RECEIPT_HASH_KEY_SECRET or RECEIPT_HASH_KEY): anyone with a list of user ids can find out whom a receipt or log line is about"
        );
    }
    if config.dry_run {
        serve(config, DryRun(S3Reader::new(&s3, owners)), sqs, receipts).await
    } else {
        let bypass = config.bypass_governance_retention;
        serve(config, Eraser(S3::new(&s3, owners, bypass)), sqs, receipts).await
    }
}

async fn serve(
    config: Config,
    work: impl Engine,
    sqs: Sqs,
    receipts: Option<S3Receipts>,
) -> Result<(), lambda_runtime::Error> {
    let handler =
        &Handler::new(config, work, sqs, receipts, fastrand::u64(..)).with_metrics(metrics());
    // The event is read as JSON first: lambda_runtime logs parts of what it cannot deserialize, and
    // those parts may be personal data.
    lambda_runtime::run(service_fn(|event: LambdaEvent<serde_json::Value>| {
        // The future is boxed: it is large, and rustc cannot compute its layout otherwise.
        Box::pin(handler.handle(event.payload, event.context.deadline))
    }))
    .await
}

fn metrics() -> Metrics {
    let function_name =
        variable("AWS_LAMBDA_FUNCTION_NAME").unwrap_or_else(|| env!("CARGO_PKG_NAME").to_owned());
    Metrics::new(function_name, variable("AWS_LAMBDA_LOG_LEVEL").as_deref(), |line| {
        if let Err(error) = writeln!(std::io::stdout(), "{line}") {
            warn!(reason = %error, "metrics not written");
        }
    })
}

/// The modules in which the SDK logs an error that it replaces by another one, with everything that
/// S3 said, which may include keys. They are off at every level. The second entry is the module's
/// full name, so that no filter of the operator can be more specific.
const NEVER_LOGGED: [&str; 2] =
    ["aws_smithy_runtime", "aws_smithy_runtime_api::client::interceptors::context"];

/// Starts logging, as JSON lines with a timestamp unless `AWS_LAMBDA_LOG_FORMAT` is `Text`. Lambda
/// treats every line without a timestamp as INFO.
/// <https://docs.aws.amazon.com/lambda/latest/dg/monitoring-cloudwatchlogs-log-level.html>
fn start_logging() {
    let level =
        variable("AWS_LAMBDA_LOG_LEVEL").or_else(|| variable("RUST_LOG")).unwrap_or_default();
    let level = if level.eq_ignore_ascii_case("fatal") { "error" } else { &level };
    let filter = level.parse().ok().filter(|_: &Targets| !level.is_empty());
    let lines = tracing_subscriber::fmt().with_max_level(LevelFilter::TRACE).with_target(false);
    let filter = filter.unwrap_or_else(|| Targets::new().with_default(LevelFilter::INFO));
    let filter = filter.with_targets(NEVER_LOGGED.map(|target| (target, LevelFilter::OFF)));
    if variable("AWS_LAMBDA_LOG_FORMAT").is_some_and(|format| format.eq_ignore_ascii_case("text")) {
        lines.with_ansi(false).finish().with(filter).init();
    } else {
        lines.json().flatten_event(true).with_span_list(false).finish().with(filter).init();
    }
}
