//! Deploys the project's own `template.yaml`, as `sam package` and `sam deploy` do.

use std::fs::{self, File};
use std::io::{Cursor, Write};
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use aws_sdk_s3::config::RequestChecksumCalculation;
use aws_sdk_s3::primitives::ByteStream;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use crate::client::Call;
use crate::{Error, Ministack, Request, project_root};

const ARTIFACTS: &str = "artifacts";
const CODE_LINE: &str = "CodeUri: .\n";
const ARCHITECTURE_LINE: &str = "Architectures: [arm64]\n";
/// No parameter of the template: the hash key itself, in the place of its secret's ARN.
const HASH_KEY: &str = "ReceiptHashKey";
const HASH_KEY_LINE: &str = "RECEIPT_HASH_KEY_SECRET: !If [MakesHashKey, !GetAtt HashKey.Id, !Ref ReceiptHashKeySecretArn]\n";
/// What the local cloud needs otherwise.
const REPLACED: [(&str, &str); 5] = [
    // It enforces policies, and speaks nothing but plain text.
    ("aws:SecureTransport: 'false'", "aws:SecureTransport: 'never'"),
    // It does not know this condition, and would deny every receipt.
    ("s3:if-none-match: 'true'", "s3:if-none-match: 'never'"),
    // The principal of a role's session is the session, and not the role.
    (
        "aws:PrincipalArn: !GetAtt FunctionRole.Arn",
        "aws:PrincipalArn: !Sub 'arn:aws:sts::${AWS::AccountId}:assumed-role/${FunctionRole}/*'",
    ),
    (
        "[!GetAtt FunctionRole.Arn]",
        "[!Sub 'arn:aws:sts::${AWS::AccountId}:assumed-role/${FunctionRole}/*']",
    ),
    ("${FunctionRole.Arn}", "arn:aws:sts::${AWS::AccountId}:assumed-role/${FunctionRole}/*"),
];
/// The alarms that are computed from metrics, which the local cloud does not know.
const METRIC_MATH: [&str; 2] = ["FoundNothingAlarm", "MoreDeadLettersAlarm"];
/// Each of them decides who may send requests; the template rejects a deployment without any.
const SENDERS: [&str; 5] = [
    "AnySenderOfAccount",
    "EventPattern",
    "ExistingQueueArn",
    "SenderPrincipalArns",
    "WithdrawalTopicArn",
];
const DEPLOY_TIMEOUT: Duration = Duration::from_secs(60);
const CLOUDFORMATION_VERSION: &str = "2010-05-15";

/// What a deployment of the template made.
#[derive(Debug, Clone)]
pub struct Stack {
    /// Name of the stack.
    pub name: String,
    /// Where messages go.
    pub queue_url: String,
    /// Where messages end that could not be processed.
    pub dead_letter_queue_url: String,
    /// Name of the function.
    pub function_name: String,
    /// Where the function's log lines are.
    pub log_group: String,
}

impl Ministack {
    /// Deploys the project's template with this binary as the function's code. Buckets must exist
    /// before.
    ///
    /// The function gets this machine's architecture. `S3ForcePathStyle` is set if `parameters` does
    /// not, and so is `AnySenderOfAccount` if nothing there says who may send. A hash key that the
    /// caller knows is `ReceiptHashKey`: it is put into a secret. If that is empty, there is no key.
    pub async fn deploy(&self, binary: &Path, parameters: &[(&str, &str)]) -> Result<Stack, Error> {
        let code = self.upload(binary).await?;
        let path = project_root().join("template.yaml");
        let mut template = fs::read_to_string(&path).map_err(Error::file("read", &path))?;
        let architecture = if cfg!(target_arch = "aarch64") { "arm64" } else { "x86_64" };
        replace(&mut template, CODE_LINE, &format!("CodeUri: {code}\n"))?;
        replace(&mut template, ARCHITECTURE_LINE, &format!("Architectures: [{architecture}]\n"))?;
        let name = format!("erase-user-files-{}", self.next_stack_number());
        let mut parameters = parameters.to_vec();
        let secret;
        match parameters.iter_mut().find(|(name, _)| *name == HASH_KEY) {
            Some(given @ (_, "")) => {
                *given = ("ReceiptHashKeySecretArn", "");
                replace(&mut template, HASH_KEY_LINE, "RECEIPT_HASH_KEY: ''\n")?;
            }
            Some(given) => {
                secret = self.store_secret(&name, given.1).await?;
                *given = ("ReceiptHashKeySecretArn", &secret);
            }
            None => {}
        }
        if !parameters.iter().any(|(name, _)| SENDERS.contains(name)) {
            parameters.push(("AnySenderOfAccount", "true"));
        }
        self.create(&name, adapted(&template)?, &parameters).await
    }

    /// Deploys a template, [`adapted`], that says itself where the function's code is.
    pub async fn deploy_template(
        &self,
        template: String,
        parameters: &[(&str, &str)],
    ) -> Result<Stack, Error> {
        let name = format!("erase-user-files-{}", self.next_stack_number());
        self.create(&name, template, parameters).await
    }

    async fn create(
        &self,
        name: &str,
        template: String,
        parameters: &[(&str, &str)],
    ) -> Result<Stack, Error> {
        let address = self.store_template(name, template).await?;
        self.create_stack(name, &address, parameters).await?;
        self.deployed_stack(name).await
    }

    /// Waits until a stack exists, independent of who deploys it, and makes its function take
    /// messages.
    pub async fn deployed_stack(&self, name: &str) -> Result<Stack, Error> {
        let description = self.wait_for_stack(name).await?;
        let output = |key: &str| {
            let after = description
                .split(&format!("<OutputKey>{key}</OutputKey>"))
                .nth(1)
                .unwrap_or_default();
            let value = texts(after, "OutputValue").into_iter().next();
            value.ok_or_else(|| {
                Error::service("deploy the template", format!("it has no output {key}"))
            })
        };
        let stack = Stack {
            queue_url: output("QueueUrl")?,
            dead_letter_queue_url: output("DeadLetterQueueUrl")?,
            function_name: output("FunctionName")?,
            log_group: output("LogGroup")?,
            name: name.to_owned(),
        };
        self.fix_event_source(&stack).await?;
        Ok(stack)
    }

    /// Zips the binary as `bootstrap`, stores it, and returns its `s3://` address. The same binary
    /// is stored once.
    async fn upload(&self, binary: &Path) -> Result<String, Error> {
        let about = fs::metadata(binary).map_err(Error::file("read", binary))?;
        let modified = about
            .modified()
            .ok()
            .and_then(|time| time.duration_since(UNIX_EPOCH).ok())
            .unwrap_or_default();
        let key = format!("{}-{}.zip", about.len(), modified.as_nanos());
        let address = format!("s3://{ARTIFACTS}/{key}");
        let s3 = self.s3();
        if s3.head_object().bucket(ARTIFACTS).key(&key).send().await.is_ok() {
            return Ok(address);
        }
        // In us-east-1, making one's own bucket again is no error.
        self.create_bucket(ARTIFACTS).await?;
        let body = ByteStream::from(zip(binary)?);
        // Hashing a large file is slow in a debug build, and nothing can happen to it on the way.
        let lax = aws_sdk_s3::Config::builder()
            .request_checksum_calculation(RequestChecksumCalculation::WhenRequired);
        let put = s3.put_object().bucket(ARTIFACTS).key(&key).body(body).customize();
        let put = put.config_override(lax).disable_payload_signing().send().await;
        put.map(|_| address).map_err(|error| Error::sdk("store the function's code", error))
    }

    /// Stores the template, as `sam deploy` does, and returns its URL: a request itself takes
    /// 51,200 bytes at most.
    /// <https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/cloudformation-limits.html>
    async fn store_template(&self, name: &str, template: String) -> Result<String, Error> {
        let key = format!("{name}.yaml");
        self.create_bucket(ARTIFACTS).await?;
        let put = self
            .s3()
            .put_object()
            .bucket(ARTIFACTS)
            .key(&key)
            .body(ByteStream::from(template.into_bytes()));
        put.send().await.map_err(|error| Error::sdk("store the template", error))?;
        Ok(format!("{}/{ARTIFACTS}/{key}", self.endpoint()))
    }

    /// Stores a secret, and returns its ARN.
    async fn store_secret(&self, name: &str, secret: &str) -> Result<String, Error> {
        let body = json!({ "Name": name, "SecretString": secret });
        let request = Request::json("secretsmanager", "secretsmanager.CreateSecret", &body);
        let answer = self.ask(None, &request).await?;
        let stored: Value = serde_json::from_str(&answer.body).unwrap_or_default();
        let arn = stored["ARN"].as_str().map(str::to_owned);
        arn.ok_or_else(|| Error::service("store a secret", answer.body))
    }

    async fn create_stack(
        &self,
        name: &str,
        template_url: &str,
        parameters: &[(&str, &str)],
    ) -> Result<(), Error> {
        let mut all = vec![("S3ForcePathStyle", "true")];
        all.retain(|(name, _)| parameters.iter().all(|(given, _)| given != name));
        all.extend(parameters);
        let mut form = vec![
            ("Action".to_owned(), "CreateStack"),
            ("Version".to_owned(), CLOUDFORMATION_VERSION),
            ("StackName".to_owned(), name),
            ("TemplateURL".to_owned(), template_url),
            ("Capabilities.member.1".to_owned(), "CAPABILITY_IAM"),
            ("Capabilities.member.2".to_owned(), "CAPABILITY_AUTO_EXPAND"),
        ];
        for (index, (name, value)) in all.iter().enumerate() {
            form.push((format!("Parameters.member.{}.ParameterKey", index + 1), name));
            form.push((format!("Parameters.member.{}.ParameterValue", index + 1), value));
        }
        self.ask_cloudformation(&form).await.map(|_| ())
    }

    async fn wait_for_stack(&self, name: &str) -> Result<String, Error> {
        let deadline = Instant::now() + DEPLOY_TIMEOUT;
        loop {
            let description = self.about_stack("DescribeStacks", name).await?;
            let status = texts(&description, "StackStatus").concat();
            if status == "CREATE_COMPLETE" {
                return Ok(description);
            }
            if status != "CREATE_IN_PROGRESS" || Instant::now() > deadline {
                let events = self.about_stack("DescribeStackEvents", name).await?;
                let reasons = texts(&events, "ResourceStatusReason").join("\n");
                return Err(Error::service("deploy the template", format!("{status}\n{reasons}")));
            }
            sleep(Duration::from_millis(50)).await;
        }
    }

    async fn about_stack(&self, action: &str, name: &str) -> Result<String, Error> {
        let form = [("Action", action), ("Version", CLOUDFORMATION_VERSION), ("StackName", name)];
        self.ask_cloudformation(&form.map(|(name, value)| (name.to_owned(), value))).await
    }

    async fn ask_cloudformation(&self, form: &[(String, &str)]) -> Result<String, Error> {
        let encode = |(name, value): &(String, &str)| {
            format!("{name}={}", utf8_percent_encode(value, NON_ALPHANUMERIC))
        };
        let body = form.iter().map(encode).collect::<Vec<_>>().join("&").into_bytes();
        let headers = [("content-type", "application/x-www-form-urlencoded")];
        let call =
            Call { method: "POST", service: "cloudformation", path: "/", headers: &headers, body };
        self.plain().send(call).await
    }

    /// Ministack keeps a parameter in `ScalingConfig` as text, and its poller fails on it.
    /// `CloudFormation` makes it a number, and so do we.
    async fn fix_event_source(&self, stack: &Stack) -> Result<(), Error> {
        const PATH: &str = "/2015-03-31/event-source-mappings/";
        let path = format!("{PATH}?FunctionName={}", stack.function_name);
        let text = self.plain().send(ask_lambda(&path)).await?;
        let unreadable = |error: serde_json::Error| {
            Error::service("read the event source mapping", error.to_string())
        };
        let answer: Value = serde_json::from_str(&text).map_err(unreadable)?;
        for mapping in answer["EventSourceMappings"].as_array().into_iter().flatten() {
            let Some(limit) = mapping["ScalingConfig"]["MaximumConcurrency"].as_str() else {
                continue;
            };
            let path = format!("{PATH}{}", mapping["UUID"].as_str().unwrap_or_default());
            let body = json!({ "ScalingConfig": { "MaximumConcurrency": limit.parse::<u32>().unwrap_or(2) } });
            let body = body.to_string().into_bytes();
            self.plain().send(Call { method: "PUT", body, ..ask_lambda(&path) }).await?;
        }
        Ok(())
    }
}

fn ask_lambda(path: &str) -> Call<'_> {
    Call { method: "GET", service: "lambda", path, ..Call::default() }
}

/// A template without what the local cloud does not know.
pub fn adapted(template: &str) -> Result<String, Error> {
    let mut template = template.to_owned();
    for (old, new) in REPLACED {
        replace(&mut template, old, new)?;
    }
    for alarm in METRIC_MATH {
        template = without_resource(&template, alarm)?;
    }
    Ok(template)
}

/// Replaces a text everywhere in the template.
fn replace(template: &mut String, old: &str, new: &str) -> Result<(), Error> {
    if !template.contains(old) {
        return Err(Error::service("deploy the template", format!("expected `{old}` in it")));
    }
    *template = template.replace(old, new);
    Ok(())
}

/// The template without a resource, and without the list entry that names its ARN.
fn without_resource(template: &str, name: &str) -> Result<String, Error> {
    let (entry, start) = (format!("!GetAtt {name}.Arn"), format!("  {name}:"));
    let mut is_inside = false;
    let mut cut = 0;
    let is_kept = |line: &&str| {
        let begins_resource = line.starts_with("  ") && !line.starts_with("   ")
            || !line.is_empty() && !line.starts_with(' ');
        is_inside = if begins_resource { *line == start } else { is_inside };
        let is_cut = is_inside || line.contains(&entry);
        cut += usize::from(is_cut);
        !is_cut
    };
    let lines: Vec<&str> = template.lines().filter(is_kept).collect();
    if cut < 3 {
        return Err(Error::service(
            "deploy the template",
            format!("expected a resource {name} in it"),
        ));
    }
    Ok(lines.join("\n") + "\n")
}

fn zip(binary: &Path) -> Result<Vec<u8>, Error> {
    let mut code = File::open(binary).map_err(Error::file("read", binary))?;
    let options = SimpleFileOptions::default()
        .compression_method(CompressionMethod::Stored)
        .unix_permissions(0o755);
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    let failed =
        |error: zip::result::ZipError| Error::service("zip the function", error.to_string());
    zip.start_file("bootstrap", options).map_err(failed)?;
    std::io::copy(&mut code, &mut zip).map_err(Error::file("zip", binary))?;
    zip.flush().map_err(Error::file("zip", binary))?;
    Ok(zip.finish().map_err(failed)?.into_inner())
}

/// The texts of all XML elements of this name that contain only text, with XML's five entities
/// resolved.
pub(crate) fn texts(xml: &str, tag: &str) -> Vec<String> {
    let (begin, end) = (format!("<{tag}>"), format!("</{tag}>"));
    let texts = xml.split(&begin).skip(1).filter_map(|rest| rest.split_once(&end));
    texts.map(|(text, _)| resolve_entities(text)).collect()
}

fn resolve_entities(text: &str) -> String {
    let text = text.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"");
    // Last, or "&amp;lt;" would be resolved twice.
    text.replace("&apos;", "'").replace("&#39;", "'").replace("&amp;", "&")
}

#[cfg(test)]
mod tests {
    #[test]
    fn finds_texts_between_tags() {
        assert_eq!(super::texts("<a>1</a><b>x</b><a>2&amp;&lt;</a>", "a"), ["1", "2&<"]);
    }
}
