//! The wire: what a message may say, and the continuation that this function sends to itself.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::bookmark::Bookmark;
use crate::tally::Tally;
use crate::target::{Targets, UserId, UserIdError, hex};

const WITHDRAWAL: &str = "user-withdrawn";
const CONTINUATION: &str = "erasure-continuation";

/// The newest continuation format that this code understands.
const VERSION: u32 = 1;

/// Longest request id, and longest SQS deduplication id, in bytes.
/// <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessage.html>
const MAX_ID_BYTES: usize = 128;

/// The name of one erasure, from the request to the proof: `[A-Za-z0-9._:-]{1,128}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ErasureId(String);

impl ErasureId {
    fn parse(text: &str) -> Result<Self, MessageError> {
        let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._:-".contains(&byte);
        if (1..=MAX_ID_BYTES).contains(&text.len()) && text.bytes().all(is_allowed) {
            Ok(Self(text.to_owned()))
        } else {
            Err(MessageError::Id)
        }
    }

    /// The id of a request that names none: the SQS message's id, or, where even that is missing, the body's hash.
    fn of_message(message_id: Option<&str>, body: &str) -> Self {
        let of_body = || Self(hex(&Sha256::digest(body)[..16]));
        message_id.and_then(|id| Self::parse(id).ok()).unwrap_or_else(of_body)
    }

    /// The id in clear. A caller may have put the user's id into it: logs use [`Erasure::log_name`].
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The erasure of one user, as it stands at the start of a hop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Erasure {
    /// Its name.
    pub id: ErasureId,
    /// Who is erased.
    pub user: UserId,
    /// How many invocations have worked on it before.
    pub hop: u32,
    /// How many hops in a row, up to here, have deleted nothing.
    pub idle_hops: u32,
    /// When the user withdrew, if the request says so.
    pub withdrawn_at: Option<OffsetDateTime>,
    /// Objects last modified at this moment or after it are kept.
    pub erase_before: Option<OffsetDateTime>,
    /// How far it has come.
    pub bookmark: Bookmark,
    /// What it has counted.
    pub tally: Tally,
}

/// Why a body is no message for this function. Never repeats what the body says.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// Not JSON, or a field that stands in it twice.
    #[error("the body is not valid JSON: {0}")]
    Json(String),
    /// Valid JSON, but no object.
    #[error("the body is not a JSON object")]
    NotAnObject,
    /// `type` is missing or unknown.
    #[error("\"type\" is not {WITHDRAWAL:?}")]
    Type,
    /// A field is missing or of the wrong JSON type.
    #[error("{0:?} is missing or not a JSON string")]
    NotAString(&'static str),
    /// A field is no time.
    #[error("{0:?} is not a time as in RFC 3339, like 2026-01-31T12:00:00Z")]
    Time(&'static str),
    /// The user's id is not safe.
    #[error("\"userId\": {0}")]
    User(#[from] UserIdError),
    /// The user's folder would hold other users' folders.
    #[error("\"userId\" is a fixed folder of another target: this user's folder would hold those of others")]
    ReservedUser,
    /// The request's or erasure's id is not as agreed.
    #[error("the request id is not 1 to {MAX_ID_BYTES} of A-Z a-z 0-9 . _ : -")]
    Id,
    /// A continuation whose fields cannot be read.
    #[error("the continuation cannot be read at line {line}, column {column}")]
    Continuation {
        /// Line in the body, from 1.
        line: usize,
        /// Column in the line, from 1.
        column: usize,
    },
    /// A continuation of a later release, met during a deployment: for a newer execution environment to take.
    #[error("the continuation has format version {0}, this release understands up to {VERSION}")]
    NewerVersion(u32),
}

#[derive(Deserialize)]
struct Head {
    #[serde(rename = "type")]
    kind: Option<Value>,
    version: Option<Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Withdrawal {
    user_id: Option<Value>,
    request_id: Option<Value>,
    withdrawn_at: Option<Value>,
    erase_before: Option<Value>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Continuation {
    #[serde(rename = "type")]
    kind: String,
    version: u32,
    erasure_id: String,
    user_id: String,
    hop: u32,
    #[serde(default)]
    idle_hops: u32,
    #[serde(default, with = "time::serde::rfc3339::option", skip_serializing_if = "Option::is_none")]
    withdrawn_at: Option<OffsetDateTime>,
    #[serde(default, with = "time::serde::rfc3339::option", skip_serializing_if = "Option::is_none")]
    erase_before: Option<OffsetDateTime>,
    #[serde(default)]
    bookmark: Bookmark,
    #[serde(default)]
    tally: Tally,
}

impl Erasure {
    /// Reads a message's body. Unknown fields are ignored; whoever may send decides who is erased, never where.
    pub fn parse(body: &str, message_id: Option<&str>, targets: &Targets) -> Result<Self, MessageError> {
        // Derived structs would take a JSON array for an object, field by field.
        if !body.trim_start().starts_with('{') {
            return Err(match serde_json::from_str::<serde::de::IgnoredAny>(body) {
                Ok(_) => MessageError::NotAnObject,
                Err(error) => MessageError::Json(error.to_string()),
            });
        }
        let head: Head = from_json(body)?;
        let erasure = match head.kind.as_ref().and_then(Value::as_str) {
            Some(WITHDRAWAL) => Self::from_withdrawal(&from_json(body)?, message_id, body)?,
            Some(CONTINUATION) => Self::from_continuation(body, head.version.as_ref())?,
            Some(_) | None => return Err(MessageError::Type),
        };
        if targets.reserves(&erasure.user) {
            return Err(MessageError::ReservedUser);
        }
        Ok(erasure)
    }

    fn from_withdrawal(withdrawal: &Withdrawal, message_id: Option<&str>, body: &str) -> Result<Self, MessageError> {
        let user_id = text(withdrawal.user_id.as_ref(), "userId")?.ok_or(MessageError::NotAString("userId"))?;
        let id = match text(withdrawal.request_id.as_ref(), "requestId")? {
            Some(request_id) => ErasureId::parse(request_id)?,
            None => ErasureId::of_message(message_id, body),
        };
        Ok(Self {
            id,
            user: UserId::parse(user_id)?,
            hop: 0,
            idle_hops: 0,
            withdrawn_at: time(withdrawal.withdrawn_at.as_ref(), "withdrawnAt")?,
            erase_before: time(withdrawal.erase_before.as_ref(), "eraseBefore")?,
            bookmark: Bookmark::default(),
            tally: Tally::default(),
        })
    }

    fn from_continuation(body: &str, version: Option<&Value>) -> Result<Self, MessageError> {
        // The version first: a newer format may have changed what any other field means.
        if let Some(version) = version.and_then(Value::as_u64).and_then(|version| u32::try_from(version).ok())
            && version > VERSION
        {
            return Err(MessageError::NewerVersion(version));
        }
        let wire: Continuation = serde_json::from_str(body)
            .map_err(|error| MessageError::Continuation { line: error.line(), column: error.column() })?;
        Ok(Self {
            id: ErasureId::parse(&wire.erasure_id)?,
            user: UserId::parse(&wire.user_id)?,
            hop: wire.hop,
            idle_hops: wire.idle_hops,
            withdrawn_at: wire.withdrawn_at,
            erase_before: wire.erase_before,
            bookmark: wire.bookmark,
            tally: wire.tally,
        })
    }

    /// The body of the message that goes on with this erasure as it stands.
    pub fn continuation(&self) -> String {
        let wire = Continuation {
            kind: CONTINUATION.to_owned(),
            version: VERSION,
            erasure_id: self.id.0.clone(),
            user_id: self.user.as_str().to_owned(),
            hop: self.hop,
            idle_hops: self.idle_hops,
            withdrawn_at: self.withdrawn_at,
            erase_before: self.erase_before,
            bookmark: self.bookmark.clone(),
            tally: self.tally,
        };
        let json = serde_json::to_string(&wire).expect("strings, numbers and checked times always serialize");
        // SQS refuses these two characters, and serde_json does not escape them.
        // https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessage.html
        json.replace('\u{fffe}', "\\ufffe").replace('\u{ffff}', "\\uffff")
    }

    /// What a FIFO queue knows this hop by: `erasureId:hop`, or its hash where that is too long for SQS.
    pub fn deduplication_id(&self) -> String {
        let id = format!("{}:{}", self.id.0, self.hop);
        if id.len() <= MAX_ID_BYTES { id } else { hex(&Sha256::digest(id)) }
    }

    /// The erasure's id for logs: without the user's id, should the caller have put it there.
    pub fn log_name(&self) -> String {
        self.id.0.replace(self.user.as_str(), "{user}")
    }
}

fn from_json<'a, T: Deserialize<'a>>(body: &'a str) -> Result<T, MessageError> {
    // With all fields of type Value, serde_json's messages name positions and our own fields, never contents.
    serde_json::from_str(body).map_err(|error| MessageError::Json(error.to_string()))
}

fn text<'a>(value: Option<&'a Value>, field: &'static str) -> Result<Option<&'a str>, MessageError> {
    value.map(|value| value.as_str().ok_or(MessageError::NotAString(field))).transpose()
}

fn time(value: Option<&Value>, field: &'static str) -> Result<Option<OffsetDateTime>, MessageError> {
    let parse = |text| OffsetDateTime::parse(text, &Rfc3339).map_err(|_error| MessageError::Time(field));
    text(value, field)?.map(parse).transpose()
}
