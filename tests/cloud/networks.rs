//! The binary in a network with an HTTPS proxy, or with a certificate authority of its own.
//!
//! Everything that answers is on the loopback interface: `example.invalid` is a name that no server
//! has.

use std::fs;
use std::path::Path;
use std::process::{Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use local::RecordingServer;
use tokio::process::Command;
use tokio::time::{Instant, sleep};

use crate::{Failure, Outcome};

const MESSAGE: &str = include_str!("../../events/user-withdrawn.json");
/// How long the function may work on it: it tries again until its time is over.
const INVOCATION: Duration = Duration::from_secs(4);
/// The start of the process, and the invocation.
const LIMIT: Duration = Duration::from_secs(20);

const ENDPOINT: &str = "https://s3.example.invalid";
const FORBIDDEN: &str = "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n";

/// What Lambda sets, and the function's own settings.
const VARIABLES: &[(&str, &str)] = &[
    ("AWS_ACCESS_KEY_ID", "test"),
    ("AWS_SECRET_ACCESS_KEY", "test"),
    ("AWS_REGION", "us-east-1"),
    ("AWS_LAMBDA_FUNCTION_NAME", "erase-user-files"),
    ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "256"),
    ("AWS_LAMBDA_FUNCTION_VERSION", "1"),
    ("AWS_LAMBDA_LOG_STREAM_NAME", "stream"),
    ("AWS_LAMBDA_LOG_GROUP_NAME", "group"),
    ("AWS_ENDPOINT_URL", ENDPOINT),
    ("CONTINUATION_QUEUE_URL", "https://sqs.us-east-1.amazonaws.com/123456789012/erase-user-files"),
    ("ERASE_TARGETS", "s3://photos/{user_id}/"),
    ("RECEIPT_HASH_KEY", "otherwise-it-warns"),
    ("S3_FORCE_PATH_STYLE", "true"),
];

/// Runs the binary with these variables in addition to the usual ones, until it has answered a
/// message or has ended.
///
/// Returns the request line of the answer, if there is one, and what it printed.
async fn run_with(variables: &[(&str, &str)]) -> Result<(Option<String>, Output), Failure> {
    let runtime = RecordingServer::start(one_message()).await?;
    let mut function = Command::new(env!("CARGO_BIN_EXE_erase-user-files"))
        .env_clear()
        .envs(VARIABLES.iter().copied())
        .env("AWS_LAMBDA_FUNCTION_TIMEOUT", INVOCATION.as_secs().to_string())
        .env("AWS_LAMBDA_RUNTIME_API", runtime.endpoint().trim_start_matches("http://"))
        .envs(variables.iter().copied())
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let deadline = Instant::now() + LIMIT;
    let is_answer = |line: &String| line.starts_with("POST /2018-06-01/runtime/invocation/");
    let answer = || runtime.requests().into_iter().find(is_answer);
    while answer().is_none() && function.try_wait()?.is_none() && Instant::now() < deadline {
        sleep(Duration::from_millis(10)).await;
    }
    // No error if it has ended by itself.
    function.start_kill()?;
    Ok((answer(), function.wait_with_output().await?))
}

/// Lambda's Runtime API with one message: when the function asks for the next one, no answer comes.
/// <https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html>
fn one_message() -> impl Fn(&str) -> Option<String> + Send + Sync + 'static {
    let is_taken = AtomicBool::new(false);
    move |line: &str| {
        if line.starts_with("POST ") {
            return Some("HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n".to_owned());
        }
        let is_first = !is_taken.swap(true, Ordering::Relaxed);
        is_first.then(|| {
            format!(
                "HTTP/1.1 200 OK\r\n\
                Lambda-Runtime-Aws-Request-Id: 1\r\n\
                Lambda-Runtime-Deadline-Ms: {}\r\n\
                Lambda-Runtime-Invoked-Function-Arn: arn:aws:lambda:us-east-1:123456789012:function:erase\r\n\
                Content-Length: {}\r\n\r\n{MESSAGE}",
                deadline_ms(),
                MESSAGE.len()
            )
        })
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "Lambda announces the end of an invocation on the wall clock"
)]
fn deadline_ms() -> u128 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    (now + INVOCATION).as_millis()
}

/// What the binary logs while it works on the message.
pub(crate) async fn log_with(variables: &[(&str, &str)]) -> Result<String, Failure> {
    let (answer, output) = run_with(variables).await?;
    let is_answered = answer
        .is_some_and(|line| line.starts_with("POST /2018-06-01/runtime/invocation/1/response "));
    if is_answered {
        Ok(String::from_utf8(output.stdout)?)
    } else {
        Err(Failure(format!("no answer: {output:?}")))
    }
}

fn forbid(_line: &str) -> Option<String> {
    Some(FORBIDDEN.to_owned())
}

/// A file of certificates, or of something else.
struct Bundle(String);

impl Bundle {
    fn new(name: &str, text: &str) -> Result<Self, Failure> {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR"))
            .join(format!("{name}-{}.pem", std::process::id()));
        fs::write(&path, text)?;
        Ok(Self(path.display().to_string()))
    }

    fn path(&self) -> &str {
        &self.0
    }
}

impl Drop for Bundle {
    fn drop(&mut self) {
        drop(fs::remove_file(&self.0));
    }
}

#[tokio::test]
async fn requests_go_through_the_proxy() -> Outcome {
    let proxy = RecordingServer::start(forbid).await?;
    let log = log_with(&[("HTTPS_PROXY", proxy.endpoint())]).await?;
    let requests = proxy.requests();
    assert!(!requests.is_empty(), "the proxy was not asked: {log}");
    for line in requests {
        assert_eq!(line, "CONNECT s3.example.invalid:443 HTTP/1.1");
    }
    Ok(())
}

#[tokio::test]
async fn no_proxy_hosts_are_reached_directly() -> Outcome {
    let proxy = RecordingServer::start(forbid).await?;
    let log =
        log_with(&[("HTTPS_PROXY", proxy.endpoint()), ("NO_PROXY", "example.invalid")]).await?;
    assert!(proxy.requests().is_empty(), "{:?}: {log}", proxy.requests());
    assert!(log.contains(r#""outcome":"failed""#), "{log}");
    Ok(())
}

/// `SSL_CERT_FILE` is used as the system's authorities here, so that the test does not depend on
/// those of this machine.
#[tokio::test]
async fn ca_bundle_replaces_system_authorities() -> Outcome {
    let (server, authority) = RecordingServer::start_tls(forbid).await?;
    let (_, unrelated) = RecordingServer::start_tls(forbid).await?;
    let (right, wrong) = (Bundle::new("right", &authority)?, Bundle::new("wrong", &unrelated)?);
    let both = Bundle::new("both", &format!("A comment.\n{unrelated}{authority}"))?;
    let (right, wrong, both) = (right.path(), wrong.path(), both.path());
    for (system, bundle, is_trusted) in [
        (wrong, right, true),
        (wrong, both, true),
        (right, wrong, false),
        (right, "", true),
        (wrong, "", false),
    ] {
        let asked_before = server.requests().len();
        let variables = [
            ("AWS_ENDPOINT_URL", server.endpoint()),
            ("SSL_CERT_FILE", system),
            ("AWS_CA_BUNDLE", bundle),
        ];
        let log = log_with(&variables).await?;
        let requests = server.requests().split_off(asked_before);
        let is_asked = requests.iter().any(|line| line.starts_with("GET /photos"));
        assert_eq!(is_asked, is_trusted, "{variables:?}: {requests:?}: {log}");
        assert_eq!(log.contains("invalid peer certificate"), !is_trusted, "{variables:?}: {log}");
        assert!(is_trusted || requests.is_empty(), "{variables:?}: {requests:?}");
    }
    Ok(())
}

#[tokio::test]
async fn ca_bundle_without_certificates_prevents_start() -> Outcome {
    let empty = Bundle::new("empty", "no certificate\n")?;
    let begin = "-----BEGIN CERTIFICATE-----";
    let truncated = Bundle::new("truncated", &format!("{begin}\nAAAA\n"))?;
    let none = Bundle::new("none", &format!("{begin}\nAAAA\n-----END CERTIFICATE-----\n"))?;
    for (path, why) in [
        ("/no/such/bundle.pem", "No such file or directory"),
        (empty.path(), "it has none"),
        (truncated.path(), "missing section end marker"),
        (none.path(), "invalid peer certificate"),
    ] {
        let (answer, output) = run_with(&[("AWS_CA_BUNDLE", path)]).await?;
        assert_eq!((output.status.code(), answer), (Some(1), None), "{output:?}");
        assert!(output.stdout.is_empty(), "{output:?}");
        let text = String::from_utf8(output.stderr)?;
        assert_eq!(text.lines().count(), 1, "{text}");
        let expected =
            format!("AWS_CA_BUNDLE is {path:?}: expected a file of PEM certificates, {why}");
        assert!(
            text.starts_with("erase-user-files cannot start: ") && text.contains(&expected),
            "{text}"
        );
    }
    Ok(())
}

/// An answer that is an error for the SDK, and then damaged for the function: of the first error,
/// nothing may be shown.
#[tokio::test]
async fn connection_errors_are_logged_once_at_every_level() -> Outcome {
    let body = r#"<Error name="passport-anna">"#;
    let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    let store = RecordingServer::start(move |_line| Some(answer.clone())).await?;
    for level in ["info", "info,aws_smithy_runtime=trace,aws_smithy_runtime_api::client=error"] {
        let log = log_with(&[("AWS_ENDPOINT_URL", store.endpoint()), ("RUST_LOG", level)]).await?;
        assert!(
            log.contains("BrokenAnswer") && log.contains(r#""level":"INFO""#),
            "{level}: {log}"
        );
        assert!(!log.contains("previous error") && !log.contains("passport"), "{level}: {log}");
    }
    Ok(())
}
