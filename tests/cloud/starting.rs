//! The binary where it cannot work: it says why, once, to a person.

use std::process::{Command, Output, Stdio};
use std::time::Duration;

use local::{RecordingServer, user_hash};
use serde_json::Value;
use tokio::time::{Instant, sleep};

use crate::networks::log_with;
use crate::{Failure, Outcome};

const START_LIMIT: Duration = Duration::from_secs(20);

const RIGHT: [(&str, &str); 3] = [
    ("AWS_REGION", "eu-central-1"),
    ("ERASE_TARGETS", "s3://photos/{user_id}/"),
    ("CONTINUATION_QUEUE_URL", "https://sqs.eu-central-1.amazonaws.com/123456789012/erase"),
];
/// Lambda sets it, and `cargo lambda watch` does not.
const IN_LAMBDA: (&str, &str) = ("LAMBDA_TASK_ROOT", "/var/task");
const HINT: &str = "this is a Lambda function: to try it without AWS, use `make run` or `make invoke`, which set \
                    everything that it needs";

const VARIABLES_OF_LAMBDA: [(&str, &str); 5] = [
    ("AWS_LAMBDA_FUNCTION_NAME", "erase-user-files"),
    ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "256"),
    ("AWS_LAMBDA_FUNCTION_VERSION", "1"),
    ("AWS_LAMBDA_LOG_STREAM_NAME", "stream"),
    ("AWS_LAMBDA_LOG_GROUP_NAME", "group"),
];
const KEY: &str = "sixteen letters!";

/// What Lambda's Runtime API answers to a report.
fn accept(_line: &str) -> Option<String> {
    Some(json("202 Accepted", r#"{"status":"OK"}"#))
}

fn json(status: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
    )
}

/// Runs the binary with these variables and no others, from the root folder, until it ends.
async fn start_with(variables: &[(&str, &str)]) -> Result<Output, Failure> {
    let mut function = Command::new(env!("CARGO_BIN_EXE_erase-user-files"))
        .env_clear()
        .envs(variables.iter().copied())
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let deadline = Instant::now() + START_LIMIT;
    while function.try_wait()?.is_none() {
        if Instant::now() > deadline {
            function.kill()?;
            let output = function.wait_with_output()?;
            return Err(Failure(format!(
                "the function still runs after {START_LIMIT:?}: {output:?}"
            )));
        }
        sleep(Duration::from_millis(10)).await;
    }
    Ok(function.wait_with_output()?)
}

/// What it said on standard error, having failed and said nothing on standard output.
fn complaint(output: Output) -> Result<String, Failure> {
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert_eq!(String::from_utf8(output.stdout)?, "", "standard output");
    Ok(String::from_utf8(output.stderr)?)
}

#[tokio::test]
async fn missing_settings_are_listed_with_what_to_do_outside_lambda() -> Outcome {
    for variables in [&[][..], &[IN_LAMBDA]] {
        let text = complaint(start_with(variables).await?)?;
        let lines: Vec<&str> = text.lines().collect();
        let hints = if variables.is_empty() { vec![HINT] } else { vec![] };
        assert_eq!(lines[0], "erase-user-files cannot start: 3 settings are wrong:");
        assert!(lines[1].trim().starts_with("ERASE_TARGETS is not set: "), "{text}");
        assert!(lines[2].trim().starts_with("CONTINUATION_QUEUE_URL is not set: "), "{text}");
        assert!(lines[3].trim().starts_with("AWS_REGION is not set: "), "{text}");
        assert_eq!(lines[4..], hints, "{text}");
    }
    Ok(())
}

#[tokio::test]
async fn all_invalid_settings_are_in_one_message() -> Outcome {
    let wrong = [
        ("ERASE_TARGETS", "s3://photos/{user_id}"),
        ("CONTINUATION_QUEUE_URL", "erase"),
        ("MAX_DELETES_PER_SECOND", "fast"),
        ("MAX_IN_FLIGHT_BATCHES", "0"),
        ("HANDOFF_RESERVE_MS", "1s"),
        ("MAX_IDLE_HOPS", "-1"),
        ("EXPECTED_BUCKET_OWNER", "me"),
        ("S3_FORCE_PATH_STYLE", "1"),
        ("RECEIPT_HASH_KEY_SECRET", "no name"),
    ];
    let api = RecordingServer::start(accept).await?;
    let address = api.endpoint().trim_start_matches("http://");
    for runtime in [None, Some(("AWS_LAMBDA_RUNTIME_API", address))] {
        let mut variables = wrong.to_vec();
        variables.extend([IN_LAMBDA, RIGHT[0]]);
        variables.extend(runtime);
        let text = complaint(start_with(&variables).await?)?;
        assert_eq!(text.lines().count(), 1 + wrong.len(), "{text}");
        assert!(text.contains(&format!("{} settings are wrong", wrong.len())), "{text}");
        for (variable, value) in wrong {
            assert!(
                text.contains(&format!("\n  {variable} is {value:?}: ")),
                "{variable} is not listed: {text}"
            );
        }
    }
    Ok(())
}

#[tokio::test]
async fn start_outside_lambda_explains_usage() -> Outcome {
    let text = complaint(start_with(&RIGHT).await?)?;
    assert_eq!(text, format!("erase-user-files cannot start: {HINT}\n"));
    Ok(())
}

#[tokio::test]
async fn failed_start_is_reported_to_lambda_once() -> Outcome {
    let api = RecordingServer::start(accept).await?;
    let with_path = format!("{}/.rt/_", api.endpoint());
    for address in [api.endpoint(), &with_path] {
        let mut variables = VARIABLES_OF_LAMBDA.to_vec();
        variables.push(("AWS_LAMBDA_RUNTIME_API", address));
        let text = complaint(start_with(&variables).await?)?;
        let reason = text.strip_prefix("erase-user-files cannot start: ").unwrap_or_default();
        let report: Value = serde_json::from_str(&api.bodies().pop().unwrap_or_default())?;
        assert_eq!(report["errorMessage"], reason.trim_end(), "{text}");
        assert_eq!(report["errorType"], "Runtime.ConfigInvalid");
    }
    let lines =
        ["", "/.rt/_"].map(|path| format!("POST {path}/2018-06-01/runtime/init/error HTTP/1.1"));
    assert_eq!(api.requests(), lines);
    Ok(())
}

#[tokio::test]
async fn hash_key_is_read_from_the_secret_before_the_first_event() -> Outcome {
    let secret = format!(r#"{{"SecretString":"{KEY}"}}"#);
    let secrets = RecordingServer::start(move |_line| Some(json("200 OK", &secret))).await?;
    let log = log_with(&[
        ("RECEIPT_HASH_KEY", ""),
        ("RECEIPT_HASH_KEY_SECRET", "erase/hash-key"),
        ("AWS_ENDPOINT_URL_SECRETS_MANAGER", secrets.endpoint()),
    ])
    .await?;
    assert_eq!(secrets.requests(), ["POST / HTTP/1.1"]);
    assert!(log.contains(&user_hash(KEY, "u1")), "{log}");
    assert!(!log.contains(KEY) && !log.contains("RECEIPT_HASH_KEY is not set"), "{log}");
    Ok(())
}

#[tokio::test]
async fn unreadable_secret_ends_the_start() -> Outcome {
    let api = RecordingServer::start(accept).await?;
    let denied = r#"{"__type":"AccessDeniedException","Message":"no"}"#;
    let secrets = RecordingServer::start(|_line| Some(json("400 Bad Request", denied))).await?;
    let mut variables = VARIABLES_OF_LAMBDA.to_vec();
    variables.extend(RIGHT);
    variables.extend([
        IN_LAMBDA,
        ("AWS_LAMBDA_RUNTIME_API", api.endpoint()),
        ("AWS_ACCESS_KEY_ID", "test"),
        ("AWS_SECRET_ACCESS_KEY", "test"),
        ("RECEIPT_HASH_KEY_SECRET", "erase/hash-key"),
        ("AWS_ENDPOINT_URL_SECRETS_MANAGER", secrets.endpoint()),
    ]);
    let text = complaint(start_with(&variables).await?)?;
    assert_eq!(text.lines().count(), 1, "{text}");
    for part in [
        r#"RECEIPT_HASH_KEY_SECRET is "erase/hash-key": "#,
        "AccessDeniedException",
        "is secretsmanager:GetSecretValue granted",
    ] {
        assert!(text.contains(part), "{part} is missing in: {text}");
    }
    assert_eq!(api.requests(), ["POST /2018-06-01/runtime/init/error HTTP/1.1"]);
    // Wrong settings are reported before the secret is read.
    variables.push(("MAX_OBJECTS", "0"));
    let text = complaint(start_with(&variables).await?)?;
    assert!(text.contains("1 setting is wrong:\n  MAX_OBJECTS is "), "{text}");
    assert_eq!(secrets.requests().len(), 1);
    Ok(())
}

#[tokio::test]
async fn unreachable_lambda_api_ends_the_process() -> Outcome {
    let mut variables = RIGHT.to_vec();
    variables.extend(VARIABLES_OF_LAMBDA);
    variables.extend([
        ("AWS_LAMBDA_RUNTIME_API", "127.0.0.1:1"),
        ("RECEIPT_HASH_KEY", "otherwise-it-warns"),
    ]);
    let text = complaint(start_with(&variables).await?)?;
    assert_eq!(text.lines().count(), 1, "{text}");
    assert!(text.starts_with("erase-user-files cannot start: "), "{text}");
    Ok(())
}
