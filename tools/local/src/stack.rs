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
use crate::{Error, Ministack, project_root};

const ARTIFACTS: &str = "artifacts";
const CODE_LINE: &str = "CodeUri: .";
/// The condition of every statement that denies plain text. The local cloud enforces policies, and
/// speaks nothing else.
const PLAIN_TEXT: &str = "aws:SecureTransport: 'false'";
/// The alarm that is computed from two metrics, which the local cloud does not know.
const METRIC_MATH: &str = "FoundNothingAlarm";
const DEPLOY_TIMEOUT: Duration = Duration::from_secs(60);
const CLOUDFORMATION_VERSION: &str = "2010-05-15";

/// What a deployment of the template made.
#[derive(Debug, Clone)]
pub struct Stack {
    /// Name of the stack.
    pub name: String,
    /// Where messages go.
    pub queue_url: String,
    /// Where messages end that could not be worked off.
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
    /// `S3ForcePathStyle` and this machine's `Architecture` are set if `parameters` does not.
    pub async fn deploy(&self, binary: &Path, parameters: &[(&str, &str)]) -> Result<Stack, Error> {
        let code = self.upload(binary).await?;
        let path = project_root().join("template.yaml");
        let template = fs::read_to_string(&path).map_err(Error::file("read", &path))?;
        if template.lines().filter(|line| line.trim() == CODE_LINE).count() != 1 {
            return Err(Error::service(
                "deploy the template",
                format!("expected one line `{CODE_LINE}` in it"),
            ));
        }
        let template = template.replace(&format!("{CODE_LINE}\n"), &format!("CodeUri: {code}\n"));
        self.deploy_template(adapted(&template)?, parameters).await
    }

    /// Deploys a template, [`adapted`], that says itself where the function's code is.
    pub async fn deploy_template(
        &self,
        template: String,
        parameters: &[(&str, &str)],
    ) -> Result<Stack, Error> {
        let name = format!("erase-user-files-{}", self.next_stack_number());
        let address = self.store_template(&name, template).await?;
        self.create_stack(&name, &address, parameters).await?;
        self.deployed_stack(&name).await
    }

    /// Waits until a stack is there, whoever deploys it, and makes its function take messages.
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

    async fn create_stack(
        &self,
        name: &str,
        template_url: &str,
        parameters: &[(&str, &str)],
    ) -> Result<(), Error> {
        let architecture = if cfg!(target_arch = "aarch64") { "arm64" } else { "x86_64" };
        let mut all = vec![("S3ForcePathStyle", "true"), ("Architecture", architecture)];
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
    if !template.contains(PLAIN_TEXT) {
        return Err(Error::service(
            "deploy the template",
            format!("expected `{PLAIN_TEXT}` in it"),
        ));
    }
    let template = template.replace(PLAIN_TEXT, "aws:SecureTransport: 'never'");
    without_resource(&template, METRIC_MATH)
}

/// The template without a resource, and without the list entry that names its ARN.
fn without_resource(template: &str, name: &str) -> Result<String, Error> {
    let (entry, start) = (format!("- !GetAtt {name}.Arn"), format!("  {name}:"));
    let mut is_inside = false;
    let mut cut = 0;
    let is_kept = |line: &&str| {
        let begins_resource = line.starts_with("  ") && !line.starts_with("   ")
            || !line.is_empty() && !line.starts_with(' ');
        is_inside = if begins_resource { *line == start } else { is_inside };
        let is_cut = is_inside || line.trim() == entry;
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
