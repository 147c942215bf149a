//! The programs in `examples/`, run as another team would: one sends, one waits for the receipt.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use local::{
    Lock, Ministack, Package, create_bucket_with_object_lock, install, lock_version, project_root,
    put_object,
};

use crate::{Failure, Outcome, within};

const TEST_LIMIT: Duration = Duration::from_secs(180);
const HASH_KEY: &str = "only-for-these-tests";

/// How one language runs a program of its folder.
struct Language {
    program: PathBuf,
    arguments: Vec<String>,
    folder: PathBuf,
    /// The file or folder of a program, as this language names it.
    name: fn(&str) -> String,
}

/// What a program needs to know about the cloud, and what it printed.
struct Desk<'a> {
    language: &'a Language,
    variables: Vec<(&'static str, String)>,
}

impl Desk<'_> {
    /// Runs a program; returns its exit code with both of its outputs.
    fn run(
        &self,
        name: &str,
        arguments: &[&str],
    ) -> Result<(Option<i32>, String, String), Failure> {
        let mut command = Command::new(&self.language.program);
        command.args(&self.language.arguments).arg((self.language.name)(name)).args(arguments);
        // Nothing of this machine's own AWS configuration.
        command.current_dir(&self.language.folder).env("AWS_CONFIG_FILE", "/dev/null");
        command.env("AWS_SHARED_CREDENTIALS_FILE", "/dev/null").env_remove("AWS_PROFILE");
        let output = command.envs(self.variables.iter().cloned()).output()?;
        let text = |bytes| String::from_utf8_lossy(bytes).trim_end().to_owned();
        Ok((output.status.code(), text(&output.stdout), text(&output.stderr)))
    }
}

/// Everything that the examples promise, in one cloud.
async fn try_all(language: &Language) -> Outcome {
    let cloud = Ministack::start().await?;
    within(TEST_LIMIT, async {
        let s3 = cloud.s3();
        create_bucket_with_object_lock(&s3, "vault").await?;
        for key in ["u1/a", "u1/b", "u10/keep", "u3/a"] {
            put_object(&s3, "vault", key, b"12345").await?;
        }
        let held = put_object(&s3, "vault", "u2/held", b"12345").await?.unwrap_or_default();
        lock_version(&s3, "vault", "u2/held", &held, Lock::LegalHold).await?;
        let parameters = [
            ("Target1Bucket", "vault"),
            ("ReceiptHashKey", HASH_KEY),
            ("CreateErasedQueue", "true"),
            ("FunctionTimeout", "10"),
        ];
        let stack =
            cloud.deploy(Path::new(env!("CARGO_BIN_EXE_erase-user-files")), &parameters).await?;
        let buckets = s3.list_buckets().send().await?.buckets.unwrap_or_default();
        let receipts = one_of(buckets.into_iter().filter_map(|bucket| bucket.name), "receipts")?;
        let queues = cloud.sqs().list_queues().send().await?.queue_urls.unwrap_or_default();
        let variables = [
            ("AWS_ENDPOINT_URL", cloud.endpoint()),
            ("AWS_ACCESS_KEY_ID", "test"),
            ("AWS_SECRET_ACCESS_KEY", "test"),
            ("AWS_REGION", "us-east-1"),
            ("AWS_DEFAULT_REGION", "us-east-1"),
            // What Node.js and the SDKs have to say about their next releases.
            ("NODE_NO_WARNINGS", "1"),
            ("QUEUE_URL", &stack.queue_url),
            ("RECEIPTS_URI", &format!("s3://{receipts}/receipts/")),
            ("RECEIPT_HASH_KEY", HASH_KEY),
        ];
        let variables = variables.map(|(name, value)| (name, value.to_owned())).to_vec();
        let mut desk = Desk { language, variables };

        a_proof_is_about_one_user(&desk)?;
        what_is_held_is_told_and_is_no_success(&desk)?;
        what_would_be_refused_is_not_sent(&desk)?;
        desk.variables
            .push(("RECEIPT_EVENTS_QUEUE_URL", one_of(queues.into_iter(), "ErasedQueue")?));
        events_tell_of_receipts(&desk)?;
        desk.variables.push(("QUEUE_URL", format!("{}x", stack.queue_url)));
        what_cannot_be_sent_is_told(&desk)
    })
    .await
}

fn one_of(mut names: impl Iterator<Item = String>, part: &str) -> Result<String, Failure> {
    names
        .find(|name| name.contains(part))
        .ok_or_else(|| Failure(format!("nothing is called {part}")))
}

fn a_proof_is_about_one_user(desk: &Desk<'_>) -> Outcome {
    assert_eq!(
        desk.run("request_erasure", &["u1", "r-1"])?,
        (Some(0), "r-1".to_owned(), String::new())
    );
    let (code, said, complaint) = desk.run("read_receipt", &["r-1", "u1"])?;
    assert_eq!((code, complaint.as_str()), (Some(0), ""), "{said}");
    assert!(
        said.starts_with("erased: 2 objects and versions, 10 bytes, proven empty at 20"),
        "{said}"
    );
    let (code, said, complaint) = desk.run("read_receipt", &["r-1", "u10"])?;
    assert_eq!((code, said.as_str()), (Some(1), ""));
    assert!(
        complaint.contains("not known: ") && complaint.contains("about another user"),
        "{complaint}"
    );
    let (code, said, complaint) = desk.run("read_receipt", &["r", "u1", "1"])?;
    assert_eq!((code, said.as_str()), (Some(1), ""));
    assert!(complaint.contains("no proof within 1 s"), "r-1 is another request: {complaint}");
    Ok(())
}

fn what_is_held_is_told_and_is_no_success(desk: &Desk<'_>) -> Outcome {
    assert_eq!(
        desk.run("request_erasure", &["u2", "r-2"])?,
        (Some(0), "r-2".to_owned(), String::new())
    );
    let (code, said, complaint) = desk.run("read_receipt", &["r-2", "u2", "6"])?;
    assert_eq!(code, Some(1), "{said} {complaint}");
    assert!(said.starts_with("incomplete: ") && said.contains("legal-hold: 1"), "{said}");
    assert!(
        complaint.contains("no proof within 6 s: look at the dead-letter queue"),
        "{complaint}"
    );
    Ok(())
}

fn what_would_be_refused_is_not_sent(desk: &Desk<'_>) -> Outcome {
    for arguments in [&["../u1"][..], &["u1", "not a request id"], &[".."], &["u1\n"], &[]] {
        let (code, said, complaint) = desk.run("request_erasure", arguments)?;
        assert_eq!((code, said.as_str()), (Some(2), ""), "{arguments:?}: {complaint}");
        assert!(!complaint.is_empty());
    }
    Ok(())
}

/// As S3 sends them through `EventBridge`; those of the other requests are there, too.
fn events_tell_of_receipts(desk: &Desk<'_>) -> Outcome {
    let (code, id, complaint) = desk.run("request_erasure", &["u3"])?;
    assert_eq!((code, id.len(), complaint.as_str()), (Some(0), 36, ""), "a UUID: {id}");
    let (code, said, complaint) = desk.run("read_receipt", &[&id, "u3"])?;
    assert_eq!((code, complaint.as_str()), (Some(0), ""), "{said}");
    assert!(said.starts_with("erased: 1 objects and versions"), "{said}");
    Ok(())
}

fn what_cannot_be_sent_is_told(desk: &Desk<'_>) -> Outcome {
    let (code, said, complaint) = desk.run("request_erasure", &["u1", "r-4"])?;
    assert_eq!((code, said.as_str()), (Some(1), ""));
    assert!(
        complaint.contains("perhaps not sent: ") && complaint.contains("request id r-4"),
        "{complaint}"
    );
    Ok(())
}

/// With the boto3 that the local cloud has brought along.
#[tokio::test]
async fn python_examples_work() -> Outcome {
    let program = install(Package::Ministack).await?.join("python");
    let folder = project_root().join("examples/python");
    let arguments = vec!["-B".to_owned()];
    let name = |name: &str| format!("{name}.py");
    Box::pin(try_all(&Language { program, arguments, folder, name })).await
}

/// The reader that is a Lambda function has unit tests of its own, which need no server.
#[tokio::test]
async fn lambda_example_passes_its_tests() -> Outcome {
    let program = install(Package::Ministack).await?.join("python");
    let folder = project_root().join("examples/lambda");
    let output = Command::new(program)
        .args(["-B", "-m", "unittest", "--verbose"])
        .current_dir(folder)
        .output()?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() && said.contains("Ran 4 tests"), "{said}");
    Ok(())
}

#[tokio::test]
#[ignore = "needs Node.js and packages from npm: make examples"]
async fn typescript_examples_work() -> Outcome {
    let folder = project_root().join(".local/examples");
    let program = folder.join("node_modules/.bin/tsx");
    let name = |name: &str| format!("{name}.ts");
    Box::pin(try_all(&Language { program, arguments: Vec::new(), folder, name })).await
}

#[tokio::test]
#[ignore = "needs Java 17 and packages from Maven Central: make examples"]
async fn java_examples_work() -> Outcome {
    let folder = project_root().join("examples/java");
    let libraries = project_root().join(".local/examples/java/*").display().to_string();
    let name = |name: &str| match name {
        "request_erasure" => "RequestErasure.java".to_owned(),
        _ => "ReadReceipt.java".to_owned(),
    };
    let arguments = vec!["-cp".to_owned(), libraries];
    Box::pin(try_all(&Language { program: "java".into(), arguments, folder, name })).await
}

#[tokio::test]
#[ignore = "needs Go and packages from a module proxy: make examples"]
async fn go_examples_work() -> Outcome {
    // Not with `go run`, which turns each exit code but 0 into 1.
    let folder = project_root().join(".local/examples/go");
    let name = str::to_owned;
    let program = "/usr/bin/env".into();
    let arguments = vec![format!("PATH={}", folder.display())];
    Box::pin(try_all(&Language { program, arguments, folder, name })).await
}
