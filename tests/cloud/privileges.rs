//! What the deployed role may do: tested with its own credentials, not by reading the policy.
//!
//! Each row of a table is one request. A row that should be denied must be denied for the action
//! that it names, and the root user must succeed with the same request afterwards: then the policy
//! denied it, and nothing else. A row that should be allowed is first tried by a role that may do
//! everything except the action that it names: this shows that ministack checks its policies for
//! that action, so that an allowed request proves something.
//!
//! | module | one line |
//! |---|---|
//! | `rows` | the tables: what the function needs, and what its role must not allow |
//! | `world` | a stack, its role, and everything that the rows request |
//! | `missing` | each permission removed, and what the function then reports |

mod missing;
mod rows;
mod world;

use std::collections::BTreeSet;
use std::time::Duration;

use local::{Ministack, Request, Role, project_root};
use serde_json::{Value, json};

use self::missing::MISSED;
use self::rows::Row;
use self::world::{THE_KEY, World};
pub(crate) use self::world::{ask_for_json, request_of};
use crate::deployed::Deployed;
use crate::{Failure, Outcome, assert_same, within};

const PAGE: &str = "docs/least-privilege.md";
const TEST_LIMIT: Duration = Duration::from_secs(120);

/// What no row can show, because ministack decides it in another way: see
/// `ministack_iam_differences_are_as_listed`.
const NOT_TRIED: [&str; 10] = [
    // Only S3, SQS and Secrets Manager may use a key for the role. Ministack's do not ask for it.
    "kms:Decrypt",
    "kms:GenerateDataKey",
    // It asks about the log group, while AWS asks about the log stream, as the policy does.
    "logs:CreateLogStream",
    "logs:PutLogEvents",
    // Only Lambda itself uses these, with a request that does not name the function; ministack has
    // no such requests, and does not name the function in the others.
    "ec2:AssignPrivateIpAddresses",
    "ec2:CreateNetworkInterface",
    "ec2:DeleteNetworkInterface",
    "ec2:DescribeNetworkInterfaces",
    "ec2:DescribeSubnets",
    "ec2:UnassignPrivateIpAddresses",
];

/// What the function does not miss here. All else is in `missing::MISSED`.
const NOT_MISSED: [&str; 4] = [
    // Without it, the function does not start, and the local cloud keeps nothing of that.
    "secretsmanager:GetSecretValue",
    // Lambda uses these with the role; ministack takes the messages in its own name.
    "sqs:ReceiveMessage",
    "sqs:DeleteMessage",
    "sqs:GetQueueAttributes",
];

/// Words of the role in the template that look like an action and are none of its permissions.
const NO_PERMISSIONS: [&str; 3] = ["kms:ViaService", "lambda:SourceFunctionArn", "sts:AssumeRole"];

/// Whether a role was denied this row's action; else what happened.
async fn refusal(world: &World<'_>, role: &Role, row: &Row) -> Result<Option<String>, Failure> {
    let answer = world.cloud().ask(Some(role), &row.request).await?;
    let is_refused = match answer.refused_action() {
        Some(action) => row.is_decided_by(action),
        None => row.request.is_head() && answer.status == 403,
    };
    Ok((!is_refused).then(|| {
        format!("not refused for {}: {row}\n    {} {}", row.action, answer.status, answer.body)
    }))
}

/// Whether the request was allowed; else what happened.
async fn success(
    world: &World<'_>,
    who: Option<&Role>,
    row: &Row,
) -> Result<Option<String>, Failure> {
    let answer = world.cloud().ask(who, &row.request).await?;
    let name = who.map_or("root", Role::name);
    Ok((!answer.is_success())
        .then(|| format!("{name} did not succeed: {row}\n    {} {}", answer.status, answer.body)))
}

/// A role that may do nothing yet.
async fn new_role(cloud: &Ministack) -> Result<Role, Failure> {
    let trust = json!({
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}],
    });
    let fields = [
        ("Action", "CreateRole"),
        ("RoleName", "tried"),
        ("AssumeRolePolicyDocument", &trust.to_string()),
    ];
    let answer = cloud.ask(None, &Request::iam(&fields)).await?;
    assert!(answer.is_success(), "{answer:?}");
    Ok(cloud.assume_role("arn:aws:iam::000000000000:role/tried").await?)
}

/// Gives a role one more policy, or another one in the place of the last.
pub(crate) async fn put_policy(cloud: &Ministack, role: &Role, statements: Value) -> Outcome {
    let policy = json!({ "Version": "2012-10-17", "Statement": statements }).to_string();
    let fields = [
        ("Action", "PutRolePolicy"),
        ("RoleName", role.name()),
        ("PolicyName", "more"),
        ("PolicyDocument", &policy),
    ];
    let answer = cloud.ask(None, &Request::iam(&fields)).await?;
    assert!(answer.is_success(), "{answer:?}");
    Ok(())
}

pub(crate) fn denial(action: &str) -> Value {
    json!({ "Effect": "Deny", "Action": action, "Resource": "*" })
}

/// Lets a role do everything but one action.
async fn allow_all_but(cloud: &Ministack, role: &Role, action: &str) -> Outcome {
    put_policy(
        cloud,
        role,
        json!([{ "Effect": "Allow", "Action": "*", "Resource": "*" }, denial(action)]),
    )
    .await
}

/// Tries every row; says of all of them together what is wrong.
async fn try_all(world: &World<'_>, allowed: &[Row], refused: &[Row]) -> Outcome {
    let (contents, depths) = (world.contents().await?, world.depths().await?);
    let mut wrong = Vec::new();
    for row in refused {
        wrong.extend(refusal(world, &world.role, row).await?);
    }
    let powerful = new_role(world.cloud()).await?;
    for row in allowed {
        allow_all_but(world.cloud(), &powerful, row.action).await?;
        wrong.extend(refusal(world, &powerful, row).await?);
    }
    allow_all_but(world.cloud(), &powerful, "s3:CreateBucket").await?;
    wrong.extend(refusal(world, &powerful, &rows::taking_the_role_on(world)).await?);
    assert_same(&world.contents().await?, &contents, "what was refused did something");
    assert_eq!(world.depths().await?, depths, "what was refused did something to a queue");
    for row in allowed {
        wrong.extend(success(world, Some(&world.role), row).await?);
    }
    for row in refused {
        wrong.extend(success(world, None, row).await?);
    }
    assert!(
        wrong.is_empty(),
        "{} of {} rows:\n{}",
        wrong.len(),
        allowed.len() + refused.len(),
        wrong.join("\n")
    );
    Ok(())
}

fn all(tables: impl IntoIterator<Item = Vec<Row>>) -> Vec<Row> {
    tables.into_iter().flatten().collect()
}

/// Every statement's name in the template's role, and every word there that looks like an action.
fn words_of_the_template() -> Result<(BTreeSet<String>, BTreeSet<String>), Failure> {
    let template = std::fs::read_to_string(project_root().join("template.yaml"))?;
    let role = template
        .split_once("\n  FunctionRole:\n")
        .and_then(|(_, rest)| rest.split_once("\n  Function:\n"));
    let (role, _) = role.ok_or_else(|| {
        Failure("FunctionRole and Function do not follow in the template".to_owned())
    })?;
    let (mut names, mut actions) = (BTreeSet::new(), BTreeSet::new());
    for line in role.lines().filter(|line| !line.trim_start().starts_with('#')) {
        names.extend(line.split_once("Sid: ").map(|(_, name)| name.trim().to_owned()));
        let words = line.split(|sign: char| {
            !(sign.is_ascii_alphanumeric() || matches!(sign, ':' | '*' | '-' | '.'))
        });
        let is_action = |(service, action): (&str, &str)| {
            service.starts_with(|sign: char| sign.is_ascii_lowercase())
                && action.starts_with(|sign: char| sign.is_ascii_uppercase() || sign == '*')
                && !action.contains(':')
        };
        actions.extend(
            words.filter(|word| word.split_once(':').is_some_and(is_action)).map(str::to_owned),
        );
    }
    Ok((names, actions))
}

fn as_list(value: &Value) -> Vec<String> {
    let values = value.as_array().map_or_else(|| std::slice::from_ref(value), Vec::as_slice);
    values.iter().filter_map(|value| value.as_str().map(str::to_owned)).collect()
}

/// Fails unless the role has everything that the template can give, and every permission of it has
/// a row.
async fn assert_is_complete(world: &World<'_>, allowed: &[Row]) -> Outcome {
    let statements = world.cloud().statements(&world.role).await?;
    let names: BTreeSet<String> =
        statements.iter().flat_map(|statement| as_list(&statement["Sid"])).collect();
    let actions: BTreeSet<String> =
        statements.iter().flat_map(|statement| as_list(&statement["Action"])).collect();
    let (expected_names, mut expected_actions) = words_of_the_template()?;
    expected_actions.retain(|action| !NO_PERMISSIONS.contains(&action.as_str()));
    assert_same(
        &Vec::from_iter(&names),
        &Vec::from_iter(&expected_names),
        "statements of the role and the template",
    );
    assert_same(
        &Vec::from_iter(&actions),
        &Vec::from_iter(&expected_actions),
        "actions of the role and the template",
    );
    let granted = statements.iter().filter(|statement| statement["Effect"] == "Allow");
    let granted: BTreeSet<String> =
        granted.flat_map(|statement| as_list(&statement["Action"])).collect();
    let granted = Vec::from_iter(granted);
    let tried = allowed.iter().map(|row| row.action).chain(NOT_TRIED).map(str::to_owned);
    let tried = Vec::from_iter(tried.collect::<BTreeSet<_>>());
    assert_same(&tried, &granted, "permissions that are tried, and those of the role");
    let missed = MISSED.map(|(action, _user, _words)| action);
    let missed = missed.into_iter().chain(NOT_MISSED).chain(NOT_TRIED).map(str::to_owned);
    let missed = Vec::from_iter(missed.collect::<BTreeSet<_>>());
    assert_same(
        &missed,
        &granted,
        "permissions that the function would miss, and those of the role",
    );
    let page = std::fs::read_to_string(project_root().join(PAGE))?;
    let untold: Vec<&String> =
        granted.iter().filter(|action| !page.contains(&format!("`{action}`"))).collect();
    assert!(untold.is_empty(), "{PAGE} does not say what these are for: {untold:?}");
    Ok(())
}

#[tokio::test]
async fn role_allows_exactly_what_an_erasure_needs() -> Outcome {
    let cloud = Ministack::start().await?;
    within(TEST_LIMIT, async {
        let world = World::new(&cloud, &[]).await?;
        let allowed = all([
            rows::looking(),
            rows::erasing(&world),
            rows::keeping_receipts(&world),
            rows::using_the_queue(&world),
            rows::reading_the_hash_key(&world),
            rows::beyond_need(&world),
        ]);
        let refused = all([rows::bypassing(&world), rows::forbidden(&world)]);
        try_all(&world, &allowed, &refused).await
    })
    .await
}

async fn assert_cannot_delete(how: &'static str) -> Outcome {
    let cloud = Ministack::start().await?;
    within(TEST_LIMIT, async {
        let parameters = [(how, "true"), ("BypassGovernanceRetention", "true")];
        let world = World::new(&cloud, &parameters).await?;
        let allowed =
            all([rows::looking(), rows::keeping_receipts(&world), rows::using_the_queue(&world)]);
        let refused =
            all([rows::erasing(&world), rows::bypassing(&world), rows::forbidden(&world)]);
        try_all(&world, &allowed, &refused).await
    })
    .await
}

#[tokio::test]
async fn dry_run_role_denies_deletes() -> Outcome {
    assert_cannot_delete("DryRun").await
}

#[tokio::test]
async fn paused_role_denies_deletes() -> Outcome {
    assert_cannot_delete("Paused").await
}

/// What the policies of a queue and of the bucket deny to all principals, also to an administrator.
#[tokio::test]
async fn nobody_else_writes_receipts_dead_letters_or_requests() -> Outcome {
    let cloud = Ministack::start().await?;
    within(TEST_LIMIT, async {
        cloud.create_bucket("photos").await?;
        let sender = "arn:aws:iam::000000000000:role/user-service";
        let parameters = [("Target1Bucket", "photos"), ("SenderPrincipalArns", sender)];
        let deployed = Deployed::new(&cloud, &parameters).await?;
        let buckets = cloud.s3().list_buckets().send().await?;
        let mut buckets = buckets.buckets().iter().filter_map(|bucket| bucket.name());
        let bucket = buckets.find(|name| name.contains("-receipts-")).unwrap_or_default();
        let put = |key: &str| Request::new("s3", &format!("PUT /{bucket}/{key}")).with_body("{}");
        let send = |url: &str| {
            request_of("sqs:SendMessage", &json!({ "QueueUrl": url, "MessageBody": "{}" }))
        };
        let function = cloud.function_role(&deployed.stack).await?;
        let administrator = new_role(&cloud).await?;
        allow_all_but(&cloud, &administrator, "s3:CreateBucket").await?;
        let (queue, dead) = (&deployed.stack.queue_url, &deployed.stack.dead_letter_queue_url);
        let receipt = put("receipts/e-1/erased.json");
        for (who, request, is_allowed) in [
            (&function, &receipt, true),
            (&administrator, &receipt, false),
            (&administrator, &put("elsewhere"), true),
            (&administrator, &send(queue), false),
            (&function, &send(queue), true),
            (&administrator, &send(dead), false),
            (&function, &send(dead), false),
        ] {
            let answer = cloud.ask(Some(who), request).await?;
            let found = (answer.is_success(), answer.refused_action().is_some());
            assert_eq!(found, (is_allowed, !is_allowed), "{} {request:?} {answer:?}", who.name());
        }
        Ok(())
    })
    .await
}

/// What a function in a VPC with a key of its own needs.
const EVERYTHING: [(&str, &str); 7] = [
    ("BypassGovernanceRetention", "true"),
    ("KmsKeyArn", THE_KEY),
    ("ExistingKmsKeyArns", THE_KEY),
    ("ReceiptsSse", "aws:kms"),
    ("ReceiptsKmsKeyId", THE_KEY),
    ("VpcSubnetIds", "subnet-00000001"),
    ("VpcSecurityGroupIds", "sg-00000001"),
];

#[tokio::test]
async fn every_template_permission_is_tested() -> Outcome {
    let cloud = Ministack::start().await?;
    within(TEST_LIMIT, async {
        let world = World::new(&cloud, &EVERYTHING).await?;
        let allowed = all([
            rows::looking(),
            rows::erasing(&world),
            rows::bypassing(&world),
            rows::keeping_receipts(&world),
            rows::using_the_queue(&world),
            rows::reading_the_hash_key(&world),
        ]);
        assert_is_complete(&world, &allowed).await?;
        try_all(&world, &allowed, &rows::forbidden(&world)).await
    })
    .await
}

/// As listed in `docs/least-privilege.md`. If ministack no longer has one, a row of a table can
/// test more.
#[tokio::test]
async fn ministack_iam_differences_are_as_listed() -> Outcome {
    let cloud = Ministack::start().await?;
    within(TEST_LIMIT, async {
        let world = World::new(&cloud, &EVERYTHING).await?;
        let mut wrong = Vec::new();
        for (aws, request, expected) in rows::differences(&world) {
            let answer = cloud.ask(Some(&world.role), &request).await?;
            let found = answer.refused_action().map_or_else(|| answer.status.to_string(), str::to_owned);
            if found != expected {
                wrong.push(format!("AWS: {aws}. Ministack: expected {expected}, got {found}: {request:?} {answer:?}"));
            }
        }
        // The first key of a DeleteObjects is decided as if it had no version.
        let powerful = new_role(&cloud).await?;
        allow_all_but(&cloud, &powerful, "s3:DeleteObjectVersion").await?;
        let answer = cloud.ask(Some(&powerful), &rows::one_version(&world).request).await?;
        assert_eq!(answer.refused_action(), None, "{answer:?}");
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
        Ok(())
    })
    .await
}
