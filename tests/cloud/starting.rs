//! The binary where it cannot work: it says why, once, to a person.

use std::process::{Command, Output, Stdio};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::Failure;
use crate::Outcome;

const START_LIMIT: Duration = Duration::from_secs(20);

const RIGHT: [(&str, &str); 2] = [
    ("ERASE_TARGETS", "s3://photos/{user_id}/"),
    ("CONTINUATION_QUEUE_URL", "https://sqs.eu-central-1.amazonaws.com/123456789012/erase"),
];

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
async fn missing_settings_are_listed() -> Outcome {
    let text = complaint(start_with(&[]).await?)?;
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 3, "{text}");
    assert_eq!(lines[0], "erase-user-files cannot start: 2 settings are wrong:");
    assert!(lines[1].trim().starts_with("ERASE_TARGETS is not set: "), "{text}");
    assert!(lines[2].trim().starts_with("CONTINUATION_QUEUE_URL is not set: "), "{text}");
    Ok(())
}

#[tokio::test]
async fn all_invalid_settings_are_in_one_message() -> Outcome {
    let wrong = [
        ("ERASE_TARGETS", "s3://photos/users-{user_id}/"),
        ("CONTINUATION_QUEUE_URL", "erase"),
        ("MAX_DELETES_PER_SECOND", "fast"),
        ("MAX_IN_FLIGHT_BATCHES", "0"),
        ("HANDOFF_RESERVE_MS", "1s"),
        ("MAX_IDLE_HOPS", "-1"),
        ("EXPECTED_BUCKET_OWNER", "me"),
        ("S3_FORCE_PATH_STYLE", "1"),
    ];
    for runtime in [None, Some(("AWS_LAMBDA_RUNTIME_API", "127.0.0.1:1"))] {
        let mut variables = wrong.to_vec();
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
    assert_eq!(text.lines().count(), 1, "{text}");
    assert!(text.contains("Lambda function") && text.contains("make run"), "{text}");
    Ok(())
}

#[tokio::test]
async fn unreachable_lambda_api_ends_the_process() -> Outcome {
    let mut variables = RIGHT.to_vec();
    variables.extend([
        ("AWS_LAMBDA_RUNTIME_API", "127.0.0.1:1"),
        ("AWS_LAMBDA_FUNCTION_NAME", "erase-user-files"),
        ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "256"),
        ("AWS_LAMBDA_FUNCTION_VERSION", "1"),
        ("AWS_LAMBDA_LOG_STREAM_NAME", "stream"),
        ("AWS_LAMBDA_LOG_GROUP_NAME", "group"),
        ("AWS_REGION", "eu-central-1"),
        ("RECEIPT_HASH_KEY", "otherwise-it-warns"),
    ]);
    let text = complaint(start_with(&variables).await?)?;
    assert_eq!(text.lines().count(), 1, "{text}");
    assert!(text.starts_with("erase-user-files cannot start: "), "{text}");
    Ok(())
}
