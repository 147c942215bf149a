//! The smoke test of a deployed stack, `tools/smoke/smoke.py`: what it shows of a stack that works,
//! and that it fails on stacks that do not.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use local::{Ministack, Package, Request, enable_versioning, install, inventory, project_root};
use serde_json::{Value, json};
use tokio::process::Command;
use tokio::time::sleep;

use crate::deployed::Deployed;
use crate::notifications::subscribe;
use crate::objects::put_user_and_neighbours;
use crate::privileges::{ask_for_json, denial, put_policy};
use crate::{Failure, Outcome, within};

const TEST_LIMIT: Duration = Duration::from_secs(110);
/// What the smoke test waits for in vain takes this long.
const WAIT_SECONDS: &str = "8";
/// The version of `CloudFormation`'s API.
const VERSION: &str = "2010-05-15";
const POLL: Duration = Duration::from_millis(100);
/// Credentials of the local cloud's root user.
pub(crate) const ROOT: [(&str, &str); 2] =
    [("AWS_ACCESS_KEY_ID", "test"), ("AWS_SECRET_ACCESS_KEY", "test")];

/// What the smoke test reported.
#[derive(Debug)]
pub(crate) struct Report {
    code: Option<i32>,
    output: String,
    /// Result and text by step.
    steps: BTreeMap<String, (String, String)>,
}

impl Report {
    /// The results of all steps, in the order of their names.
    pub(crate) fn results(&self) -> Vec<(&str, &str)> {
        self.steps.iter().map(|(step, (result, _))| (step.as_str(), result.as_str())).collect()
    }

    /// The exit code: 0 unless a step failed.
    pub(crate) fn code(&self) -> Option<i32> {
        self.code
    }

    pub(crate) fn text(&self, step: &str) -> &str {
        self.steps.get(step).map_or("", |(_, text)| text)
    }

    pub(crate) fn output(&self) -> &str {
        &self.output
    }
}

/// Runs the smoke test with the Python and the boto3 that the local cloud has brought along.
pub(crate) async fn smoke(
    cloud: &Ministack,
    stack: &str,
    credentials: &[(&str, &str)],
) -> Result<Report, Failure> {
    let port = cloud.endpoint().rsplit(':').next().unwrap_or_default();
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("smoke-{port}"));
    if folder.exists() {
        std::fs::remove_dir_all(&folder)?;
    }
    let mut command = Command::new(install(Package::Ministack).await?.join("python"));
    command.arg("-B").arg(project_root().join("tools/smoke/smoke.py"));
    command.args([stack, "--seconds", WAIT_SECONDS, "--report"]).arg(&folder);
    command.env("AWS_CONFIG_FILE", "/dev/null").env("AWS_SHARED_CREDENTIALS_FILE", "/dev/null");
    command.env_remove("AWS_PROFILE").env_remove("AWS_SESSION_TOKEN");
    command.env("AWS_ENDPOINT_URL", cloud.endpoint()).env("AWS_DEFAULT_REGION", "us-east-1");
    let done = command.envs(credentials.iter().copied()).kill_on_drop(true).output().await?;
    let output = String::from_utf8_lossy(&[done.stdout, done.stderr].concat()).into_owned();
    let mut reports = std::fs::read_dir(&folder)?.flatten().map(|entry| entry.path());
    let report = reports.find(|path| path.extension().is_some_and(|ending| ending == "json"));
    let report = report.ok_or_else(|| Failure(format!("no report: {output}")))?;
    let report: Value = serde_json::from_slice(&std::fs::read(report)?)?;
    let text = |row: &Value, name: &str| row[name].as_str().unwrap_or_default().to_owned();
    let rows = report["steps"].as_array().into_iter().flatten();
    let steps = rows.map(|row| (text(row, "step"), (text(row, "result"), text(row, "text"))));
    Ok(Report { code: done.status.code(), output, steps: steps.collect() })
}

#[tokio::test]
async fn smoke_test_passes_on_a_working_stack_and_leaves_nothing() -> Outcome {
    let cloud = Ministack::start().await?;
    within(TEST_LIMIT, async {
        let s3 = cloud.s3();
        cloud.create_bucket("photos").await?;
        put_user_and_neighbours(&cloud, "photos", 5).await?;
        cloud.create_bucket("vault").await?;
        enable_versioning(&s3, "vault").await?;
        let parameters = [
            ("Target1Bucket", "photos"),
            ("Target2Bucket", "vault"),
            ("Target2Prefix", "users/{user_id}/files/"),
            ("CreateErasedQueue", "true"),
            ("AlertEmail", "team@example.org"),
        ];
        let deployed = Deployed::new(&cloud, &parameters).await?;
        let (_topic, listener) = subscribe(&cloud).await?;
        let before = inventory(&s3, "photos", "").await?;

        let report = smoke(&cloud, &deployed.stack.name, &ROOT).await?;
        let said = report.output();
        assert_eq!(report.code(), Some(0), "{said}");
        let expected = [
            // What the local cloud does not have: a history of actions, and redrives.
            ("alarm", "not shown"),
            ("dead letter", "shown"),
            ("erasure", "shown"),
            ("event", "shown"),
            ("notification", "shown"),
            ("redrive", "not shown"),
            ("removal", "shown"),
            ("settings", "shown"),
        ];
        assert_eq!(report.results(), expected, "{said}");
        assert!(report.text("erasure").contains("1 delete markers, 2 uploads"), "{said}");
        assert_eq!(inventory(&s3, "photos", "").await?, before, "{said}");
        assert_eq!(inventory(&s3, "vault", "").await?, [], "{said}");
        let buckets = s3.list_buckets().send().await?;
        let names = buckets.buckets().iter().filter_map(|bucket| bucket.name());
        for receipts in names.filter(|name| name.contains("-receipts-")) {
            assert_eq!(inventory(&s3, receipts, "").await?, [], "{said}");
        }
        for queue in [&deployed.stack.queue_url, &deployed.stack.dead_letter_queue_url] {
            assert_eq!(cloud.queue_depth(queue).await?, 0, "{queue}: {said}");
        }
        let received = cloud.sqs().receive_message().queue_url(listener).max_number_of_messages(10);
        let received = received.send().await?.messages.unwrap_or_default();
        let received: Vec<String> =
            received.into_iter().filter_map(|message| message.body).collect();
        for part in ["ErrorAlarm", "incomplete-5.json"] {
            assert!(
                received.iter().any(|body| body.contains(part)),
                "{part} in {received:#?}: {said}"
            );
        }
        Ok(())
    })
    .await
}

/// Redrives, and the history of an alarm's actions.
#[tokio::test]
async fn smoke_test_understands_what_only_aws_answers() -> Outcome {
    let mut command = Command::new(install(Package::Ministack).await?.join("python"));
    command.arg("-B").arg(project_root().join("tools/smoke/test_smoke.py"));
    let done = command.kill_on_drop(true).output().await?;
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    Ok(())
}

/// Takes `ReportBatchItemFailures` from the event source mapping.
async fn forget_failures(cloud: &Ministack, function: &str) -> Outcome {
    let list = format!("GET /2015-03-31/event-source-mappings/?FunctionName={function}");
    let mappings = ask_for_json(cloud, &Request::new("lambda", &list)).await?;
    let id = mappings["EventSourceMappings"][0]["UUID"].as_str().unwrap_or_default();
    let line = format!("PUT /2015-03-31/event-source-mappings/{id}");
    let change = json!({ "FunctionResponseTypes": [] }).to_string();
    ask_for_json(cloud, &Request::new("lambda", &line).with_body(change)).await?;
    Ok(())
}

/// Sets the parameter `Paused`, and leaves everything else as it was, as the runbook does.
async fn pause(cloud: &Ministack, stack: &str) -> Outcome {
    let kept = ["AnySenderOfAccount", "FunctionTimeout", "S3ForcePathStyle", "Target1Bucket"];
    let mut fields = vec![
        ("Action".to_owned(), "UpdateStack"),
        ("StackName".to_owned(), stack),
        ("UsePreviousTemplate".to_owned(), "true"),
        ("Capabilities.member.1".to_owned(), "CAPABILITY_IAM"),
        ("Capabilities.member.2".to_owned(), "CAPABILITY_AUTO_EXPAND"),
        ("Parameters.member.1.ParameterKey".to_owned(), "Paused"),
        ("Parameters.member.1.ParameterValue".to_owned(), "true"),
    ];
    for (index, name) in kept.into_iter().enumerate() {
        let place = format!("Parameters.member.{}", index + 2);
        fields.push((format!("{place}.ParameterKey"), name));
        fields.push((format!("{place}.UsePreviousValue"), "true"));
    }
    let fields: Vec<(&str, &str)> = fields.iter().map(|(key, value)| (&**key, *value)).collect();
    let updated = cloud.ask(None, &Request::form("cloudformation", VERSION, &fields)).await?;
    assert!(updated.is_success(), "{updated:?}");
    let about = [("Action", "DescribeStacks"), ("StackName", stack)];
    loop {
        let answer = cloud.ask(None, &Request::form("cloudformation", VERSION, &about)).await?;
        if answer.body.contains("<StackStatus>UPDATE_COMPLETE</StackStatus>") {
            return Ok(());
        }
        let is_going_on = answer.body.contains("_IN_PROGRESS</StackStatus>");
        assert!(is_going_on, "{answer:?}");
        sleep(POLL).await;
    }
}

#[tokio::test]
async fn smoke_test_fails_on_broken_stacks() -> Outcome {
    let cloud = Ministack::start().await?;
    within(TEST_LIMIT, async {
        cloud.create_bucket("photos").await?;
        put_user_and_neighbours(&cloud, "photos", 5).await?;
        let s3 = cloud.s3();
        let before = inventory(&s3, "photos", "").await?;
        let target = ("Target1Bucket", "photos");

        let broken = Deployed::new(&cloud, &[target, ("UserIdPattern", "(")]).await?;
        let report = smoke(&cloud, &broken.stack.name, &ROOT).await?;
        assert_eq!(report.code(), Some(1), "{report:#?}");
        assert!(report.text("settings").contains("the function cannot start"), "{report:#?}");

        let lossy = Deployed::new(&cloud, &[target]).await?;
        forget_failures(&cloud, &lossy.stack.function_name).await?;
        let report = smoke(&cloud, &lossy.stack.name, &ROOT).await?;
        assert_eq!(report.code(), Some(1), "{report:#?}");
        let results = report.results();
        assert!(results.contains(&("erasure", "shown")), "{report:#?}");
        assert!(results.contains(&("dead letter", "FAILED")), "{report:#?}");
        assert!(report.text("dead letter").contains("ReportBatchItemFailures"), "{report:#?}");

        let powerless = Deployed::new(&cloud, &[target]).await?;
        let role = cloud.function_role(&powerless.stack).await?;
        put_policy(&cloud, &role, json!([denial("s3:DeleteObject")])).await?;
        let report = smoke(&cloud, &powerless.stack.name, &ROOT).await?;
        assert_eq!(report.code(), Some(1), "{report:#?}");
        assert!(report.results().contains(&("erasure", "FAILED")), "{report:#?}");
        assert!(report.text("removal").contains("the request of smoke-test-"), "{report:#?}");

        let dry = Deployed::new(&cloud, &[target, ("DryRun", "true")]).await?;
        let report = smoke(&cloud, &dry.stack.name, &ROOT).await?;
        assert_eq!(report.code(), Some(0), "{report:#?}");
        assert!(report.text("erasure").contains("none deleted"), "{report:#?}");
        assert!(report.results().contains(&("removal", "shown")), "{report:#?}");

        // A stopped stack is no broken one.
        pause(&cloud, &lossy.stack.name).await?;
        let report = smoke(&cloud, &lossy.stack.name, &ROOT).await?;
        assert_eq!(report.code(), Some(0), "{report:#?}");
        assert!(report.text("erasure").contains("the stack is stopped"), "{report:#?}");
        assert_eq!(inventory(&s3, "photos", "").await?, before);
        Ok(())
    })
    .await
}
