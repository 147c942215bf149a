//! The policies of `deploy/policies/`, with IAM enforced: what an operator, a smoke test and a
//! deployer may do with them, and what not.
//!
//! A request that should be allowed is tried a second time with its action denied, and must be
//! denied then: so the local cloud does ask its policies about it. A request that should be
//! forbidden must be denied for its action.
//!
//! Ministack 1.5.33 does not ask its policies about `lambda:UpdateEventSourceMapping`, has no redrive,
//! and deploys the resources of a stack in its own name: these permissions are not tried here. That
//! the deployer's are complete, `tests/template/deployer.py` checks against what AWS documents.

use std::time::Duration;

use local::{Ministack, Request, Role, project_root, put_object};
use serde_json::{Value, json};

use crate::deployed::Deployed;
use crate::objects::put_user_and_neighbours;
use crate::privileges::{denial, put_policy, request_of};
use crate::smoke::smoke;
use crate::{Failure, Outcome, within};

const TEST_LIMIT: Duration = Duration::from_secs(110);
/// The stack that the files are written for. For another one, its name takes the place.
const STACK_IN_FILES: &str = "erase-user-files";
/// The most that IAM takes of a managed policy, without white space:
/// <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html>
const POLICY_SIGNS_MAX: usize = 6_144;

/// A request, and the action that policies decide it by.
struct Row(&'static str, Request);

/// A policy file for this stack.
fn policy(name: &str, stack: &str) -> Result<String, Failure> {
    let path = project_root().join(format!("deploy/policies/{name}.json"));
    let text = std::fs::read_to_string(path)?;
    let signs = text.chars().filter(|sign| !sign.is_whitespace()).count();
    assert!(signs <= POLICY_SIGNS_MAX, "{name} has {signs} characters");
    Ok(text.replace(STACK_IN_FILES, stack))
}

/// A role with these policy files and no other permission.
async fn role_with(
    cloud: &Ministack,
    name: &str,
    files: &[&str],
    stack: &str,
) -> Result<Role, Failure> {
    let trust = json!({
        "Version": "2012-10-17",
        "Statement": [{ "Effect": "Allow", "Principal": { "AWS": "*" }, "Action": "sts:AssumeRole" }],
    });
    let fields = [
        ("Action", "CreateRole"),
        ("RoleName", name),
        ("AssumeRolePolicyDocument", &trust.to_string()),
    ];
    let answer = cloud.ask(None, &Request::iam(&fields)).await?;
    assert!(answer.is_success(), "{answer:?}");
    for file in files {
        let document = policy(file, stack)?;
        let fields = [
            ("Action", "PutRolePolicy"),
            ("RoleName", name),
            ("PolicyName", *file),
            ("PolicyDocument", &document),
        ];
        let answer = cloud.ask(None, &Request::iam(&fields)).await?;
        assert!(answer.is_success(), "{answer:?}");
    }
    Ok(cloud.assume_role(&format!("arn:aws:iam::000000000000:role/{name}")).await?)
}

/// Tries all requests; says of all of them together what is wrong.
async fn try_all(cloud: &Ministack, role: &Role, allowed: &[Row], forbidden: &[Row]) -> Outcome {
    let mut wrong = Vec::new();
    for Row(action, request) in forbidden {
        let answer = cloud.ask(Some(role), request).await?;
        if answer.refused_action() != Some(action) {
            wrong.push(format!("not denied for {action}: {request:?}: {answer:?}"));
        }
    }
    for Row(action, request) in allowed {
        put_policy(cloud, role, json!([denial(action)])).await?;
        let answer = cloud.ask(Some(role), request).await?;
        if answer.refused_action() != Some(action) {
            wrong.push(format!("allowed although {action} is denied: {request:?}: {answer:?}"));
        }
    }
    put_policy(cloud, role, json!([denial("s3:CreateBucket")])).await?;
    for Row(action, request) in allowed {
        let answer = cloud.ask(Some(role), request).await?;
        if !answer.is_success() {
            wrong.push(format!("{action} is not allowed: {request:?}: {answer:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

fn cloudformation(action: &str, fields: &[(&str, &str)]) -> Request {
    Request::form("cloudformation", "2010-05-15", &[&[("Action", action)], fields].concat())
}

fn cloudwatch(action: &str, fields: &[(&str, &str)]) -> Request {
    Request::form("monitoring", "2010-08-01", &[&[("Action", action)], fields].concat())
}

/// A stack, and the files of a user.
async fn world(cloud: &Ministack) -> Result<Deployed<'_>, Failure> {
    cloud.create_bucket("photos").await?;
    put_user_and_neighbours(cloud, "photos", 3).await?;
    let parameters = [
        ("Target1Bucket", "photos"),
        ("AlertEmail", "a@example.org"),
        ("CreateErasedQueue", "true"),
    ];
    Deployed::new(cloud, &parameters).await
}

/// Name of the bucket that the stack made for its receipts.
async fn receipts_bucket(cloud: &Ministack) -> Result<String, Failure> {
    let buckets = cloud.s3().list_buckets().send().await?;
    let names = buckets.buckets().iter().filter_map(|bucket| bucket.name());
    let name = names.into_iter().find(|name| name.contains("-receipts-"));
    Ok(name.ok_or_else(|| Failure("no bucket for receipts".to_owned()))?.to_owned())
}

#[tokio::test]
async fn smoke_test_works_with_the_operators_policies() -> Outcome {
    let cloud = Ministack::start().await?;
    within(TEST_LIMIT, async {
        let deployed = world(&cloud).await?;
        let name = &deployed.stack.name;
        let operator = role_with(&cloud, "operator", &["operator", "smoke"], name).await?;
        let report = smoke(&cloud, name, &operator.variables()).await?;
        assert_eq!(report.code(), Some(0), "{report:#?}");
        for step in ["settings", "erasure", "event", "dead letter", "notification", "removal"] {
            assert!(report.results().contains(&(step, "shown")), "{step}: {report:#?}");
        }

        // Nothing that was not sent is missed, and all else is removed.
        put_policy(&cloud, &operator, json!([denial("sqs:SendMessage")])).await?;
        let report = smoke(&cloud, name, &operator.variables()).await?;
        assert_eq!(report.code(), Some(0), "{report:#?}");
        assert!(report.text("erasure").contains("SendMessage is missing"), "{report:#?}");
        assert!(report.results().contains(&("removal", "shown")), "{report:#?}");

        // Who may only read the stack learns what else is needed.
        let reader = role_with(&cloud, "reader", &[], name).await?;
        let reading =
            json!([{ "Effect": "Allow", "Action": "cloudformation:Describe*", "Resource": "*" }]);
        put_policy(&cloud, &reader, reading).await?;
        let report = smoke(&cloud, name, &reader.variables()).await?;
        assert_eq!(report.code(), Some(0), "{report:#?}");
        let missing = [
            ("settings", "permission lambda:InvokeFunction is missing"),
            ("alarm", "permission cloudwatch:DescribeAlarms is missing"),
            ("notification", "permission events:DescribeRule is missing"),
        ];
        for (step, text) in missing {
            assert!(report.results().contains(&(step, "not shown")), "{step}: {report:#?}");
            assert!(report.text(step).contains(text), "{step}: {report:#?}");
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn operators_policy_allows_its_tasks_and_no_more() -> Outcome {
    let cloud = Ministack::start().await?;
    within(TEST_LIMIT, async {
        let deployed = world(&cloud).await?;
        let stack = &deployed.stack;
        let operator = role_with(&cloud, "operator", &["operator"], &stack.name).await?;
        let (queue, dead) = (&stack.queue_url, &stack.dead_letter_queue_url);
        let receipts = receipts_bucket(&cloud).await?;
        put_object(&cloud.s3(), &receipts, "receipts/r-1/erased.json", b"{}").await?;
        let function = &stack.function_name;
        let configuration = format!("/2015-03-31/functions/{function}/configuration");
        let change =
            |line: String, body: Value| Request::new("lambda", &line).with_body(body.to_string());
        let s3 = |line: &str| Request::new("s3", line);
        let url = |url: &str| json!({ "QueueUrl": url });
        let receipt = format!("{receipts}/receipts/r-1/erased.json");
        let role = cloud.function_role(stack).await?;
        let policy = [("RoleName", role.name()), ("PolicyName", "x"), ("PolicyDocument", "{}")];
        let fields = [&[("Action", "PutRolePolicy")][..], &policy].concat();
        let name = [("StackName", stack.name.as_str())];
        let allowed = [
            Row("cloudformation:DescribeStacks", cloudformation("DescribeStacks", &name)),
            Row("cloudwatch:DescribeAlarms", cloudwatch("DescribeAlarms", &[])),
            Row(
                "lambda:GetFunctionConfiguration",
                Request::new("lambda", &format!("GET {configuration}")),
            ),
            Row("s3:GetObject", s3(&format!("GET /{receipt}"))),
            Row("s3:ListBucket", s3(&format!("GET /{receipts}?list-type=2&prefix=receipts/"))),
            Row("sqs:GetQueueAttributes", request_of("sqs:GetQueueAttributes", &url(queue))),
            Row("sqs:ReceiveMessage", request_of("sqs:ReceiveMessage", &url(dead))),
            Row(
                "sqs:SendMessage",
                request_of("sqs:SendMessage", &json!({ "QueueUrl": queue, "MessageBody": "{}" })),
            ),
        ];
        let forbidden = [
            Row("cloudformation:DeleteStack", cloudformation("DeleteStack", &name)),
            Row("cloudformation:UpdateStack", cloudformation("UpdateStack", &name)),
            Row("iam:PutRolePolicy", Request::iam(&fields)),
            Row(
                "lambda:UpdateFunctionConfiguration",
                change(format!("PUT {configuration}"), json!({ "Timeout": 3 })),
            ),
            Row("s3:DeleteObject", s3(&format!("DELETE /{receipt}"))),
            Row("s3:PutObject", s3(&format!("PUT /{receipts}/receipts/r-2/erased.json"))),
            Row("s3:GetObject", s3("GET /photos/u1/photos/0")),
            Row("s3:DeleteObject", s3("DELETE /photos/u1/photos/0")),
            Row("sqs:PurgeQueue", request_of("sqs:PurgeQueue", &url(dead))),
            Row("sqs:DeleteQueue", request_of("sqs:DeleteQueue", &url(queue))),
            Row("sqs:ReceiveMessage", request_of("sqs:ReceiveMessage", &url(queue))),
            Row(
                "sqs:SetQueueAttributes",
                request_of(
                    "sqs:SetQueueAttributes",
                    &json!({ "QueueUrl": queue, "Attributes": { "VisibilityTimeout": "1" } }),
                ),
            ),
        ];
        try_all(&cloud, &operator, &allowed, &forbidden).await
    })
    .await
}

#[tokio::test]
async fn deployers_policy_allows_its_stack_and_no_data() -> Outcome {
    let cloud = Ministack::start().await?;
    within(TEST_LIMIT, async {
        let deployed = world(&cloud).await?;
        let stack = &deployed.stack;
        let deployer = role_with(&cloud, "deployer", &["deployer"], &stack.name).await?;
        let receipts = receipts_bucket(&cloud).await?;
        put_object(&cloud.s3(), &receipts, "receipts/r-1/erased.json", b"{}").await?;
        let own = |part: &str| format!("{}-{part}", stack.name);
        let trust = json!({
            "Version": "2012-10-17",
            "Statement": [{ "Effect": "Allow", "Principal": { "Service": "lambda.amazonaws.com" }, "Action": "sts:AssumeRole" }],
        })
        .to_string();
        let create_role = |name: &str| {
            Request::iam(&[("Action", "CreateRole"), ("RoleName", name), ("AssumeRolePolicyDocument", &trust)])
        };
        let admin = "arn:aws:iam::aws:policy/AdministratorAccess";
        let function_role = cloud.function_role(stack).await?;
        let attach = [("Action", "AttachRolePolicy"), ("RoleName", function_role.name()), ("PolicyArn", admin)];
        let describe = |name: &str| cloudformation("DescribeStacks", &[("StackName", name)]);
        let queue = |name: &str| request_of("sqs:CreateQueue", &json!({ "QueueName": name }));
        let send = json!({ "QueueUrl": stack.queue_url, "MessageBody": "{}" });
        let s3 = |line: &str| Request::new("s3", line);
        let allowed = [
            Row("cloudformation:DescribeStacks", describe(&stack.name)),
            Row("iam:CreateRole", create_role(&own("FunctionRole-2"))),
            Row("s3:GetBucketVersioning", s3(&format!("GET /{receipts}?versioning"))),
            Row("sqs:CreateQueue", queue(&own("Queue-2"))),
        ];
        let forbidden = [
            Row("cloudformation:DeleteStack", cloudformation("DeleteStack", &[("StackName", "another")])),
            Row("iam:AttachRolePolicy", Request::iam(&attach)),
            Row("iam:CreateRole", create_role("another")),
            Row("s3:DeleteObject", s3("DELETE /photos/u1/photos/0")),
            Row("s3:GetObject", s3("GET /photos/u1/photos/0")),
            Row("s3:DeleteObject", s3(&format!("DELETE /{receipts}/receipts/r-1/erased.json"))),
            Row("s3:GetObject", s3(&format!("GET /{receipts}/receipts/r-1/erased.json"))),
            Row("sqs:CreateQueue", queue("another")),
            Row("sqs:SendMessage", request_of("sqs:SendMessage", &send)),
            Row("sqs:PurgeQueue", request_of("sqs:PurgeQueue", &json!({ "QueueUrl": stack.queue_url }))),
        ];
        try_all(&cloud, &deployer, &allowed, &forbidden).await
    })
    .await
}
