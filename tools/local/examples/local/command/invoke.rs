//! The function by itself, under `cargo lambda watch` and `cargo lambda invoke`, without a queue
//! before it.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use local::{
    Error, Ministack, Package, ServerProcess, free_ports, function_binary, install, inventory,
    list_keys, project_root,
};
use tokio::process::Command;
use tokio::time::{Instant, sleep};

use super::{DOCUMENTS, Failure, HASH_KEY, PHOTOS, RECEIPTS, RECEIPTS_URI, USERS, seed, show};

const START_TIMEOUT: Duration = Duration::from_secs(20);

/// `local invoke [EVENT_FILE]`
pub(crate) async fn invoke(event: &str) -> Result<(), Failure> {
    let event = project_root().join(event);
    if !event.is_file() {
        return Err(Failure::Check(format!("there is no file {}", event.display())));
    }
    let cargo_lambda = install(Package::CargoLambda).await?.join("cargo-lambda");
    let binary = function_binary()?;
    let cloud = Ministack::start().await?;
    seed::make_buckets(&cloud).await?;
    seed::store_neighbours(&cloud).await?;
    let objects = [seed::odd_objects("u1"), seed::plain_objects("u1", 300)].concat();
    seed::store(&cloud, PHOTOS, "objects of u1", objects).await?;
    seed::store_versions(&cloud, "u1", &[format!("{USERS}u1/")], (20, 3)).await?;
    let queue = cloud.sqs().create_queue().queue_name("erase-user-files").send().await;
    let queue = queue
        .ok()
        .and_then(|answer| answer.queue_url)
        .ok_or_else(|| Error::service("make a queue", "no answer"))?;

    let [port] = free_ports()?;
    // Without `--only-lambda-apis` it would build the function once more, for minutes.
    let line =
        format!("lambda watch --only-lambda-apis --invoke-address 127.0.0.1 --invoke-port {port}");
    let mut arguments = words(&line);
    arguments.push(format!("--manifest-path={}", project_root().join("Cargo.toml").display()));
    let mut watch =
        ServerProcess::start("cargo-lambda-watch", &cargo_lambda, &arguments, &cargo_home())?;
    wait_for_port(&mut watch, port).await?;
    let function =
        ServerProcess::start("function", &binary, &[], &environment(&cloud, &queue, port))?;

    println!("cargo lambda invoke --data-file {}", event.display());
    let answer = ask(&cargo_lambda, port, &event).await?;
    println!("\nThe function's log:\n{}", function.last_words());
    println!("\nThe answer:\n{}", answer.trim());
    let s3 = cloud.s3();
    let photos = inventory(&s3, PHOTOS, "u1/").await?;
    let documents = inventory(&s3, DOCUMENTS, &format!("{USERS}u1/")).await?;
    println!("\nWhat is left of u1: {}", show::kinds(show::counts(&[photos, documents].concat())));
    for key in list_keys(&s3, RECEIPTS, "").await? {
        println!("Receipt: s3://{RECEIPTS}/{key}");
    }
    Ok(())
}

/// `local install cargo-lambda`
pub(crate) async fn install_cargo_lambda() -> Result<(), Failure> {
    install(Package::CargoLambda).await?;
    Ok(())
}

fn words(line: &str) -> Vec<String> {
    line.split_whitespace().map(str::to_owned).collect()
}

async fn wait_for_port(watch: &mut ServerProcess, port: u16) -> Result<(), Failure> {
    let deadline = Instant::now() + START_TIMEOUT;
    while watch.is_running() && Instant::now() < deadline {
        if tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_ok() {
            return Ok(());
        }
        sleep(Duration::from_millis(50)).await;
    }
    Err(Failure::Check(format!("cargo lambda watch did not start:\n{}", watch.last_words())))
}

async fn ask(cargo_lambda: &Path, port: u16, event: &Path) -> Result<String, Failure> {
    let line = format!("lambda invoke --invoke-address 127.0.0.1 --invoke-port {port} --data-file");
    let mut command = Command::new(cargo_lambda);
    command.args(words(&line)).arg(event).stdin(Stdio::null()).kill_on_drop(true);
    let output = command
        .output()
        .await
        .map_err(|error| Error::service("run cargo lambda invoke", error.to_string()))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    Err(Failure::Check(format!("cargo lambda invoke failed: {words}")))
}

/// The variables by which rustup and cargo find their folders: cargo lambda reads the workspace.
#[expect(clippy::disallowed_methods, reason = "the server inherits these variables")]
fn cargo_home() -> Vec<(&'static str, String)> {
    let names = ["HOME", "CARGO_HOME", "RUSTUP_HOME", "RUSTUP_TOOLCHAIN"];
    names.into_iter().filter_map(|name| Some((name, std::env::var(name).ok()?))).collect()
}

/// What Lambda and the template would set.
fn environment(cloud: &Ministack, queue: &str, port: u16) -> Vec<(&'static str, String)> {
    vec![
        ("AWS_LAMBDA_RUNTIME_API", format!("http://127.0.0.1:{port}/.rt/_")),
        ("AWS_LAMBDA_FUNCTION_NAME", "_".to_owned()),
        ("AWS_LAMBDA_FUNCTION_VERSION", "1".to_owned()),
        ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "256".to_owned()),
        ("AWS_LAMBDA_FUNCTION_TIMEOUT", "60".to_owned()),
        ("AWS_LAMBDA_LOG_FORMAT", "JSON".to_owned()),
        ("AWS_LAMBDA_LOG_LEVEL", "INFO".to_owned()),
        ("AWS_ENDPOINT_URL", cloud.endpoint().to_owned()),
        ("AWS_REGION", "us-east-1".to_owned()),
        ("AWS_ACCESS_KEY_ID", "test".to_owned()),
        ("AWS_SECRET_ACCESS_KEY", "test".to_owned()),
        (
            "ERASE_TARGETS",
            format!("s3://{PHOTOS}/{{user_id}}/,s3://{DOCUMENTS}/{USERS}{{user_id}}/"),
        ),
        ("RECEIPTS_URI", RECEIPTS_URI.to_owned()),
        ("RECEIPT_HASH_KEY", HASH_KEY.to_owned()),
        ("CONTINUATION_QUEUE_URL", queue.to_owned()),
        ("S3_FORCE_PATH_STYLE", "true".to_owned()),
    ]
}
