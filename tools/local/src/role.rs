//! Roles of the local cloud: any request in their name, and whether their policies let it pass.

use aws_sdk_s3::config::Credentials;
use aws_sigv4::http_request::{
    PayloadChecksumKind, PercentEncodingMode, SignableBody, SignableRequest, SigningSettings,
    UriPathNormalizationMode, sign,
};
use aws_sigv4::sign::v4::SigningParams;
use http_body_util::Full;
use hyper::body::Bytes;
use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use serde_json::Value;
use time::UtcDateTime;

use crate::client::{REGION, authorization_of_root};
use crate::stack::texts;
use crate::{Error, Ministack, Stack};

const IAM_VERSION: &str = "2010-05-08";
const STS_VERSION: &str = "2011-06-15";

/// A role, and the credentials that it gives for an hour.
#[derive(Debug, Clone)]
pub struct Role {
    /// Its ARN.
    pub arn: String,
    credentials: Credentials,
}

impl Role {
    /// Its credentials, as the environment variables that the SDKs read.
    pub fn variables(&self) -> [(&'static str, &str); 3] {
        [
            ("AWS_ACCESS_KEY_ID", self.credentials.access_key_id()),
            ("AWS_SECRET_ACCESS_KEY", self.credentials.secret_access_key()),
            ("AWS_SESSION_TOKEN", self.credentials.session_token().unwrap_or_default()),
        ]
    }

    /// Its name.
    pub fn name(&self) -> &str {
        self.arn.rsplit('/').next().unwrap_or_default()
    }
}

/// A request as it is sent, without its signature.
#[derive(Debug, Clone)]
pub struct Request {
    service: &'static str,
    method: String,
    path: String,
    headers: Vec<(&'static str, String)>,
    body: String,
}

impl Request {
    /// A request of a service (as in a credential scope), from method and path: `GET
    /// /bucket?versioning`.
    pub fn new(service: &'static str, line: &str) -> Self {
        let (method, path) = line.split_once(' ').unwrap_or((line, "/"));
        Self {
            service,
            method: method.to_owned(),
            path: path.to_owned(),
            headers: Vec::new(),
            body: String::new(),
        }
    }

    /// An action of a service that takes forms, such as IAM.
    pub fn form(service: &'static str, version: &str, fields: &[(&str, &str)]) -> Self {
        let fields = [fields, &[("Version", version)]].concat();
        let encode = |(name, value): &(&str, &str)| {
            format!("{name}={}", utf8_percent_encode(value, NON_ALPHANUMERIC))
        };
        let body = fields.iter().map(encode).collect::<Vec<_>>().join("&");
        Self::new(service, "POST /")
            .with_header("content-type", "application/x-www-form-urlencoded")
            .with_body(body)
    }

    /// An action of IAM.
    pub fn iam(fields: &[(&str, &str)]) -> Self {
        Self::form("iam", IAM_VERSION, fields)
    }

    /// An action of a service that takes JSON, such as `AmazonSQS.SendMessage` of SQS.
    pub fn json(service: &'static str, target: &str, body: &Value) -> Self {
        let request =
            Self::new(service, "POST /").with_header("content-type", "application/x-amz-json-1.0");
        request.with_header("x-amz-target", target).with_body(body.to_string())
    }

    /// Whether its answer has no text.
    pub fn is_head(&self) -> bool {
        self.method == "HEAD"
    }

    /// The same with one more header.
    pub fn with_header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// The same with this body.
    pub fn with_body(self, body: impl Into<String>) -> Self {
        Self { body: body.into(), ..self }
    }
}

/// The response.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The text.
    pub body: String,
}

impl Answer {
    /// Whether it was done.
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// The action that a policy did not allow, if that is why it was not done.
    pub fn refused_action(&self) -> Option<&str> {
        let (_, rest) = self.body.split_once("is not authorized to perform: ")?;
        let is_refusal = !self.is_success() && self.body.contains("AccessDenied");
        rest.split_whitespace().next().filter(|_| is_refusal)
    }
}

impl Ministack {
    /// The role that the function of a stack has.
    ///
    /// Its trust policy allows Lambda and no other principal; ministack's root user may assume the
    /// role of every service.
    pub async fn function_role(&self, stack: &Stack) -> Result<Role, Error> {
        let path = format!("GET /2015-03-31/functions/{}/configuration", stack.function_name);
        let text = self.done(None, &Request::new("lambda", &path)).await?;
        let configuration: Value = serde_json::from_str(&text).unwrap_or_default();
        self.assume_role(configuration["Role"].as_str().unwrap_or_default()).await
    }

    /// Takes a role on.
    pub async fn assume_role(&self, arn: &str) -> Result<Role, Error> {
        let fields = [("Action", "AssumeRole"), ("RoleArn", arn), ("RoleSessionName", "tried")];
        let answer = self.done(None, &Request::form("sts", STS_VERSION, &fields)).await?;
        let field = |tag: &str| {
            let value = texts(&answer, tag).into_iter().next();
            value.ok_or_else(|| {
                Error::service(format!("assume {arn}"), format!("no {tag} in {answer}"))
            })
        };
        let (key, secret) = (field("AccessKeyId")?, field("SecretAccessKey")?);
        let credentials =
            Credentials::new(key, secret, Some(field("SessionToken")?), None, "ministack");
        Ok(Role { arn: arn.to_owned(), credentials })
    }

    /// All statements of a role's policies. It may have none but its own.
    pub async fn statements(&self, role: &Role) -> Result<Vec<Value>, Error> {
        let about = |action| [("Action", action), ("RoleName", role.name())];
        let attached = self.done(None, &Request::iam(&about("ListAttachedRolePolicies"))).await?;
        if attached.contains("<PolicyArn>") {
            return Err(Error::service(
                "read a role's policies",
                format!("others are attached to it: {attached}"),
            ));
        }
        let mut statements = Vec::new();
        for policy in
            texts(&self.done(None, &Request::iam(&about("ListRolePolicies"))).await?, "member")
        {
            let fields = [&about("GetRolePolicy")[..], &[("PolicyName", &policy)]].concat();
            let document =
                texts(&self.done(None, &Request::iam(&fields)).await?, "PolicyDocument").concat();
            let document = percent_decode_str(&document).decode_utf8_lossy();
            let document: Value = serde_json::from_str(&document).unwrap_or_default();
            statements.extend(document["Statement"].as_array().cloned().unwrap_or_default());
        }
        Ok(statements)
    }

    /// Sends a request in the name of a role, or of the root user, who may do everything.
    pub async fn ask(&self, who: Option<&Role>, request: &Request) -> Result<Answer, Error> {
        let doing = format!("ask {} to {} {}", request.service, request.method, request.path);
        let failed = |error: &dyn std::error::Error| Error::service(&doing, error.to_string());
        let uri = format!("{}{}", self.endpoint(), request.path);
        let mut whole = hyper::Request::builder().method(request.method.as_str()).uri(&uri);
        for (name, value) in &request.headers {
            whole = whole.header(*name, value);
        }
        if who.is_none() {
            whole = whole.header("authorization", authorization_of_root(request.service));
        }
        let body = Full::new(Bytes::from(request.body.clone()));
        let mut whole = whole.body(body).map_err(|error| failed(&error))?;
        if let Some(role) = who {
            let signature = signature(role, request, &uri).map_err(|error| failed(&*error))?;
            signature.apply_to_request_http1x(&mut whole);
        }
        let (status, body) = self.plain().exchange(&doing, whole).await?;
        Ok(Answer { status: status.as_u16(), body })
    }

    /// The text of the answer to a request that must succeed.
    async fn done(&self, who: Option<&Role>, request: &Request) -> Result<String, Error> {
        let answer = self.ask(who, request).await?;
        let doing = || format!("ask {} to {} {}", request.service, request.method, request.path);
        if answer.is_success() {
            Ok(answer.body)
        } else {
            Err(Error::service(doing(), answer.body))
        }
    }
}

fn signature(
    role: &Role,
    request: &Request,
    uri: &str,
) -> Result<aws_sigv4::http_request::SigningInstructions, Box<dyn std::error::Error>> {
    let identity = role.credentials.clone().into();
    let mut settings = SigningSettings::default();
    // As S3 wants it; to the paths of the others it makes no difference.
    settings.percent_encoding_mode = PercentEncodingMode::Single;
    settings.uri_path_normalization_mode = UriPathNormalizationMode::Disabled;
    settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
    let parameters = SigningParams::builder()
        .identity(&identity)
        .region(REGION)
        .name(request.service)
        .time(UtcDateTime::now().into())
        .settings(settings)
        .build()?
        .into();
    let headers = request.headers.iter().map(|(name, value)| (*name, value.as_str()));
    let body = SignableBody::Bytes(request.body.as_bytes());
    let signable = SignableRequest::new(&request.method, uri, headers, body)?;
    Ok(sign(signable, &parameters)?.into_parts().0)
}
