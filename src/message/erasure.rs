//! The wire format: requests, and the continuation that this function sends to itself.

use std::num::NonZeroU32;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::config::Config;
use crate::erasure::checkpoint::{Checkpoint, MAX_ROUNDS};
use crate::erasure::counts::Totals;
use crate::message::json;
use crate::target::{UserId, UserIdError, hex};

const WITHDRAWAL: &str = "user-withdrawn";
const CONTINUATION: &str = "erasure-continuation";

/// The newest continuation format that this code understands.
const VERSION: u32 = 1;

/// The largest body, in bytes. No queue carries more.
/// <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-messages.html>
const MAX_BODY_BYTES: usize = 1_048_576;

/// The largest continuation that is accepted, in bytes, so that what a hop adds still fits into a
/// message. Our continuations are smaller, whatever the store returns, because their token and
/// targets have their own limits.
const MAX_CONTINUATION_BYTES: usize = MAX_BODY_BYTES / 2;

/// The longest request id and the longest SQS deduplication id, in bytes.
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

    /// The id of a request that names none: the SQS message's id or, if that is missing too, a hash
    /// of the body.
    fn of_message(message_id: Option<&str>, body: &str) -> Self {
        let of_body = || Self(hex(&Sha256::digest(body)[..16]));
        message_id.and_then(|id| Self::parse(id).ok()).unwrap_or_else(of_body)
    }

    /// The id in clear. The sender may have put the user's id into it, so logs use
    /// [`Erasure::redacted_id`].
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The limit of every chain of continuations, whatever else fails: 10,000 hops of 15 minutes are
/// three months.
const MAX_HOPS: u32 = 10_000;

/// Why a chain of continuations ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ChainLimit {
    /// Too many consecutive hops made no progress.
    #[error("{0} hops in a row deleted nothing")]
    IdleHops(u32),
    /// The chain has too many hops in total.
    #[error("it has taken {MAX_HOPS} hops")]
    Hops,
}

/// The erasure of one user, in its state at the start of a hop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Erasure {
    /// The erasure's name.
    pub id: ErasureId,
    /// The user to erase.
    pub user: UserId,
    /// Whether an invocation has worked on it before.
    pub is_continuation: bool,
    /// How many invocations have worked on it before.
    pub hop: u32,
    /// How many consecutive hops before this one deleted nothing.
    pub idle_hops: u32,
    /// Whether it is a dry run.
    pub is_dry_run: bool,
    /// When the late-write sweep is due, if this is one.
    pub sweep_at: Option<OffsetDateTime>,
    /// When the user withdrew, if the request states it.
    pub withdrawn_at: Option<OffsetDateTime>,
    /// Items that were last modified at this time or later are kept.
    pub erase_before: Option<OffsetDateTime>,
    /// When the request was sent.
    pub requested_at: Option<OffsetDateTime>,
    /// When the first hop began.
    pub started_at: Option<OffsetDateTime>,
    /// How far the erasure has come.
    pub checkpoint: Checkpoint,
    /// What the erasure has counted.
    pub totals: Totals,
}

/// Why a body is not a valid message. The text never repeats the body.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// The body is larger than any queue carries, or than any continuation of ours.
    #[error("the body has {bytes} bytes, expected at most {max}")]
    Size {
        /// The size of the body.
        bytes: usize,
        /// The largest accepted size.
        max: usize,
    },
    /// The body is not JSON, or has the same field twice.
    #[error("the body is not valid JSON: {0}")]
    Json(String),
    /// The body is valid JSON, but not an object.
    #[error("the body is not a JSON object")]
    NotAnObject,
    /// `type` is missing or unknown, and the body is not an envelope.
    #[error("\"type\" is not {WITHDRAWAL:?}, nor is it wrapped by SNS or EventBridge as such")]
    Type,
    /// A field is missing or has the wrong JSON type.
    #[error("{0:?} is missing or not a JSON string")]
    NotAString(String),
    /// A field is not a time.
    #[error("{0:?} is not a time as in RFC 3339, like 2026-01-31T12:00:00Z")]
    Time(&'static str),
    /// The user's id is unsafe.
    #[error("\"userId\": {0}")]
    User(#[from] UserIdError),
    /// The user's id does not match this deployment's pattern.
    #[error("\"userId\" does not match USER_ID_PATTERN")]
    UserPattern,
    /// The user's folder would contain other users' folders, or be inside one.
    #[error(
        "\"userId\" is a fixed folder of another target: this user's folder would hold those of others, or lie in one"
    )]
    ReservedUser,
    /// The id of the request or erasure has an invalid form.
    #[error("the request id is not 1 to {MAX_ID_BYTES} of A-Z a-z 0-9 . _ : -")]
    Id,
    /// The fields of a continuation cannot be read.
    #[error("the continuation cannot be read at line {line}, column {column}")]
    Continuation {
        /// The line in the body, from 1.
        line: usize,
        /// The column in the line, from 1.
        column: usize,
    },
    /// A later release sent the continuation, during a deployment. A newer execution environment
    /// has to process it.
    #[error("the continuation has format version {0}, this release understands up to {VERSION}")]
    NewerVersion(u64),
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
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    dry_run: bool,
    #[serde(
        default,
        with = "time::serde::rfc3339::option",
        skip_serializing_if = "Option::is_none"
    )]
    sweep_at: Option<OffsetDateTime>,
    #[serde(
        default,
        with = "time::serde::rfc3339::option",
        skip_serializing_if = "Option::is_none"
    )]
    withdrawn_at: Option<OffsetDateTime>,
    #[serde(
        default,
        with = "time::serde::rfc3339::option",
        skip_serializing_if = "Option::is_none"
    )]
    erase_before: Option<OffsetDateTime>,
    #[serde(
        default,
        with = "time::serde::rfc3339::option",
        skip_serializing_if = "Option::is_none"
    )]
    requested_at: Option<OffsetDateTime>,
    #[serde(
        default,
        with = "time::serde::rfc3339::option",
        skip_serializing_if = "Option::is_none"
    )]
    started_at: Option<OffsetDateTime>,
    #[serde(default, rename = "bookmark")]
    checkpoint: Checkpoint,
    #[serde(default, rename = "tally")]
    totals: Totals,
}

impl Erasure {
    /// Parses a message's body and ignores unknown fields. The sender decides which user is erased,
    /// but never where.
    pub fn parse(
        body: &str,
        message_id: Option<&str>,
        config: &Config,
    ) -> Result<Self, MessageError> {
        // The size is checked before parsing, because parsed JSON takes up to a hundred times as
        // much memory.
        check_size(body, MAX_BODY_BYTES)?;
        let message = json::parse(body).map_err(MessageError::Json)?;
        if !message.is_object() {
            return Err(MessageError::NotAnObject);
        }
        let erasure = if message["type"] == CONTINUATION {
            Self::from_continuation(body, &message["version"])?
        } else {
            let id = ErasureId::of_message(message_id, body);
            Self::from_withdrawal(&unwrap(message)?, id, &config.user_id_pointer)?
        };
        if config.user_id_pattern.as_ref().is_some_and(|pattern| !pattern.allows(&erasure.user)) {
            return Err(MessageError::UserPattern);
        }
        if config.targets.reserves(&erasure.user) {
            return Err(MessageError::ReservedUser);
        }
        Ok(erasure)
    }

    fn from_withdrawal(
        fields: &Value,
        default_id: ErasureId,
        pointer: &str,
    ) -> Result<Self, MessageError> {
        let not_a_string = || MessageError::NotAString(pointer.to_owned());
        let user_id = fields.pointer(pointer).and_then(Value::as_str).ok_or_else(not_a_string)?;
        Ok(Self {
            id: text(fields, "requestId")?.map_or(Ok(default_id), ErasureId::parse)?,
            user: UserId::parse(user_id)?,
            is_continuation: false,
            hop: 0,
            idle_hops: 0,
            is_dry_run: false,
            sweep_at: None,
            withdrawn_at: time(fields, "withdrawnAt")?,
            erase_before: time(fields, "eraseBefore")?,
            requested_at: None,
            started_at: None,
            checkpoint: Checkpoint::default(),
            totals: Totals::default(),
        })
    }

    fn from_continuation(body: &str, version: &Value) -> Result<Self, MessageError> {
        // The version is checked first: a newer format may have changed the meaning of any other
        // field.
        if let Some(version) = version.as_u64().filter(|version| *version > VERSION.into()) {
            return Err(MessageError::NewerVersion(version));
        }
        check_size(body, MAX_CONTINUATION_BYTES)?;
        let wire: Continuation = serde_json::from_str(body).map_err(|error| {
            MessageError::Continuation { line: error.line(), column: error.column() }
        })?;
        Ok(Self {
            id: ErasureId::parse(&wire.erasure_id)?,
            user: UserId::parse(&wire.user_id)?,
            is_continuation: true,
            hop: wire.hop,
            idle_hops: wire.idle_hops,
            is_dry_run: wire.dry_run,
            sweep_at: wire.sweep_at,
            withdrawn_at: wire.withdrawn_at,
            erase_before: wire.erase_before,
            requested_at: wire.requested_at,
            started_at: wire.started_at,
            checkpoint: wire.checkpoint,
            totals: wire.totals,
        })
    }

    /// The checkpoint at which this delivery of the message begins. It is the stored checkpoint,
    /// except for a redelivered last attempt: an earlier delivery has already worked there, so this
    /// one uses its time for a proof. The rest of a last round is tried twice, because it may be
    /// long and a delivery may be cut short.
    pub fn starting_checkpoint(&self, delivery: u32, max_idle_hops: NonZeroU32) -> Checkpoint {
        let mut place = self.checkpoint.clone();
        let is_last_try = || self.next_hop(true, max_idle_hops).is_err();
        let is_last_round = place.round >= MAX_ROUNDS && !place.is_at_start_of_round();
        if !self.is_dry_run && (delivery > 2 && is_last_round || delivery > 1 && is_last_try()) {
            place.start_next_round();
        }
        place
    }

    /// The same erasure for the next hop, unless too many consecutive hops were idle.
    pub fn next_hop(&self, was_idle: bool, max_idle_hops: NonZeroU32) -> Result<Self, ChainLimit> {
        let idle_hops = if was_idle {
            self.idle_hops.saturating_add(1)
        } else if self.is_dry_run {
            // A dry run whose receipt cannot be stored counts everything again each time, which is
            // no progress.
            self.idle_hops
        } else {
            0
        };
        if idle_hops >= max_idle_hops.get() {
            return Err(ChainLimit::IdleHops(idle_hops));
        }
        Self { idle_hops, ..self.clone() }.next_hop_unchecked()
    }

    /// The same erasure for the next hop, whether or not this one made progress.
    pub fn next_hop_unchecked(&self) -> Result<Self, ChainLimit> {
        let hop = self.hop.saturating_add(1);
        if hop > MAX_HOPS { Err(ChainLimit::Hops) } else { Ok(Self { hop, ..self.clone() }) }
    }

    /// The body of the message that continues this erasure from its current state.
    pub fn continuation(&self) -> String {
        let wire = Continuation {
            kind: CONTINUATION.to_owned(),
            version: VERSION,
            erasure_id: self.id.0.clone(),
            user_id: self.user.as_str().to_owned(),
            hop: self.hop,
            idle_hops: self.idle_hops,
            dry_run: self.is_dry_run,
            sweep_at: self.sweep_at,
            withdrawn_at: self.withdrawn_at,
            erase_before: self.erase_before,
            requested_at: self.requested_at,
            started_at: self.started_at,
            checkpoint: self.checkpoint.clone(),
            totals: self.totals.clone(),
        };
        let json = serde_json::to_string(&wire)
            .expect("strings, numbers and checked times always serialize");
        // SQS rejects these two characters, and serde_json does not escape them.
        // https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessage.html
        json.replace('\u{fffe}', "\\ufffe").replace('\u{ffff}', "\\uffff")
    }

    /// The id by which a FIFO queue drops duplicates: `erasureId:hop:` and 16 hexadecimal digits.
    /// It is the same for each delivery of a message, and differs for everything else that may have
    /// the same request id: another user, a dry run, a sweep, another request. If it is too long
    /// for SQS, its hash is used.
    pub fn deduplication_id(&self) -> String {
        let time = |at: Option<OffsetDateTime>| at.map_or(0, OffsetDateTime::unix_timestamp_nanos);
        let (sweep_at, requested_at) = (time(self.sweep_at), time(self.requested_at));
        let chain =
            format!("{}\n{}\n{sweep_at}\n{requested_at}", self.user.as_str(), self.is_dry_run);
        let id = format!("{}:{}:{}", self.id.0, self.hop, hex(&Sha256::digest(chain)[..8]));
        if id.len() <= MAX_ID_BYTES { id } else { hex(&Sha256::digest(id)) }
    }

    /// The erasure's id for logs and receipts, without the user's id if the sender put it there.
    ///
    /// A short user id, such as `7`, is only removed as a separate word, because any message id may
    /// contain that digit.
    pub fn redacted_id(&self) -> String {
        const LONG: usize = 8;
        let (id, user) = (self.id.0.as_str(), self.user.as_str());
        let is_word_char = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
        let (mut name, mut rest) = (String::new(), id);
        while let Some(at) = rest.find(user) {
            let (before, after) = (&rest[..at], &rest[at + user.len()..]);
            let is_part_of_word = is_word_char(before.chars().last().or(name.chars().last()))
                || is_word_char(after.chars().next());
            name.push_str(before);
            name.push_str(if user.len() < LONG && is_part_of_word { user } else { "{user}" });
            rest = after;
        }
        name.push_str(rest);
        name
    }
}

fn check_size(body: &str, max: usize) -> Result<(), MessageError> {
    let bytes = body.len();
    if bytes > max { Err(MessageError::Size { bytes, max }) } else { Ok(()) }
}

/// Unwraps the message from its envelopes: at most one of each service.
/// <https://docs.aws.amazon.com/sns/latest/dg/sns-sqs-as-subscriber.html>,
/// <https://docs.aws.amazon.com/eventbridge/latest/ref/overview-event-structure.html>
fn unwrap(message: Value) -> Result<Value, MessageError> {
    let mut message = message;
    if message["type"].is_null() && message["Type"] == "Notification" {
        let inner = message["Message"]
            .as_str()
            .ok_or_else(|| MessageError::NotAString("Message".to_owned()))?;
        message = json::parse(inner).map_err(MessageError::Json)?;
    }
    if message["type"] == WITHDRAWAL {
        return Ok(message);
    }
    if message["type"].is_null() && message["detail-type"] == WITHDRAWAL {
        return Ok(message.get_mut("detail").map(Value::take).unwrap_or_default());
    }
    Err(MessageError::Type)
}

fn text<'a>(fields: &'a Value, field: &'static str) -> Result<Option<&'a str>, MessageError> {
    let not_a_string = || MessageError::NotAString(field.to_owned());
    fields.get(field).map(|value| value.as_str().ok_or_else(not_a_string)).transpose()
}

fn time(fields: &Value, field: &'static str) -> Result<Option<OffsetDateTime>, MessageError> {
    let parse =
        |text| OffsetDateTime::parse(text, &Rfc3339).map_err(|_error| MessageError::Time(field));
    text(fields, field)?.map(parse).transpose()
}
