//! The wire: what a message may say, and the continuation that this function sends to itself.

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

/// Largest body, in bytes: more than this no queue carries.
/// <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-messages.html>
const MAX_BODY_BYTES: usize = 1_048_576;

/// Largest continuation that is read, in bytes: what a hop adds to it still fits into a message.
/// Ours are smaller, whatever the store says: its token and its targets have their own limits.
const MAX_CONTINUATION_BYTES: usize = MAX_BODY_BYTES / 2;

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

    /// The id of a request that names none: the SQS message's id, or, where even that is missing,
    /// the body's hash.
    fn of_message(message_id: Option<&str>, body: &str) -> Self {
        let of_body = || Self(hex(&Sha256::digest(body)[..16]));
        message_id.and_then(|id| Self::parse(id).ok()).unwrap_or_else(of_body)
    }

    /// The id in clear. A caller may have put the user's id into it: logs use
    /// [`Erasure::redacted_id`].
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The end of every chain of continuations, whatever else fails: 10,000 hops of 15 minutes are
/// three months.
const MAX_HOPS: u32 = 10_000;

/// Why a chain of continuations ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ChainLimit {
    /// Too many hops in a row were of no use.
    #[error("{0} hops in a row deleted nothing")]
    IdleHops(u32),
    /// Too many hops in all.
    #[error("it has taken {MAX_HOPS} hops")]
    Hops,
}

/// The erasure of one user, as it stands at the start of a hop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Erasure {
    /// Its name.
    pub id: ErasureId,
    /// Who is erased.
    pub user: UserId,
    /// Whether an invocation has worked on it before.
    pub is_continuation: bool,
    /// How many invocations have worked on it before.
    pub hop: u32,
    /// How many hops in a row, up to here, have deleted nothing.
    pub idle_hops: u32,
    /// Whether it only counts.
    pub is_dry_run: bool,
    /// For the sweep after the proof: when it is due.
    pub sweep_at: Option<OffsetDateTime>,
    /// When the user withdrew, if the request says so.
    pub withdrawn_at: Option<OffsetDateTime>,
    /// What was last modified at this moment or after it is kept.
    pub erase_before: Option<OffsetDateTime>,
    /// When the request was sent.
    pub requested_at: Option<OffsetDateTime>,
    /// When the first hop began.
    pub started_at: Option<OffsetDateTime>,
    /// How far it has come.
    pub checkpoint: Checkpoint,
    /// What it has counted.
    pub totals: Totals,
}

/// Why a body is no message for this function. Never repeats what the body says.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// Too large: what no queue would carry, or no continuation of ours.
    #[error("the body has {bytes} bytes, expected at most {max}")]
    Size {
        /// How large it is.
        bytes: usize,
        /// How large it may be.
        max: usize,
    },
    /// Not JSON, or a field that stands in it twice.
    #[error("the body is not valid JSON: {0}")]
    Json(String),
    /// Valid JSON, but no object.
    #[error("the body is not a JSON object")]
    NotAnObject,
    /// `type` is missing or unknown, and it is no envelope either.
    #[error("\"type\" is not {WITHDRAWAL:?}, nor is it wrapped by SNS or EventBridge as such")]
    Type,
    /// A field is missing or of the wrong JSON type.
    #[error("{0:?} is missing or not a JSON string")]
    NotAString(String),
    /// A field is no time.
    #[error("{0:?} is not a time as in RFC 3339, like 2026-01-31T12:00:00Z")]
    Time(&'static str),
    /// The user's id is not safe.
    #[error("\"userId\": {0}")]
    User(#[from] UserIdError),
    /// The user's id is not as this deployment wants it.
    #[error("\"userId\" does not match USER_ID_PATTERN")]
    UserPattern,
    /// The user's folder would hold other users' folders, or lie within one.
    #[error(
        "\"userId\" is a fixed folder of another target: this user's folder would hold those of others, or lie in one"
    )]
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
    /// A continuation of a later release, met during a deployment: for a newer execution
    /// environment to take.
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
    /// Reads a message's body. Unknown fields are ignored; whoever may send decides who is erased,
    /// never where.
    pub fn parse(
        body: &str,
        message_id: Option<&str>,
        config: &Config,
    ) -> Result<Self, MessageError> {
        // Before it is read: what is read takes up to a hundred times as much memory.
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
        // The version first: a newer format may have changed what any other field means.
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

    /// Where this delivery of the message begins: at the checkpoint. But a last try that comes again
    /// has been there before: its time is for a proof. The rest of a last round is tried twice: it
    /// may be long, and a delivery cut short.
    pub fn starting_checkpoint(&self, delivery: u32, max_idle_hops: NonZeroU32) -> Checkpoint {
        let mut place = self.checkpoint.clone();
        let is_last_try = || self.next_hop(true, max_idle_hops).is_err();
        let is_last_round = place.round >= MAX_ROUNDS && !place.is_at_start_of_round();
        if !self.is_dry_run && (delivery > 2 && is_last_round || delivery > 1 && is_last_try()) {
            place.start_next_round();
        }
        place
    }

    /// The same erasure for the hop after this one, unless too many in a row were idle.
    pub fn next_hop(&self, was_idle: bool, max_idle_hops: NonZeroU32) -> Result<Self, ChainLimit> {
        let idle_hops = if was_idle {
            self.idle_hops.saturating_add(1)
        } else if self.is_dry_run {
            // One whose receipt cannot be stored counts everything anew each time, which is no
            // progress.
            self.idle_hops
        } else {
            0
        };
        if idle_hops >= max_idle_hops.get() {
            return Err(ChainLimit::IdleHops(idle_hops));
        }
        Self { idle_hops, ..self.clone() }.next_hop_unchecked()
    }

    /// The same erasure for the hop after this one, whatever this one was good for.
    pub fn next_hop_unchecked(&self) -> Result<Self, ChainLimit> {
        let hop = self.hop.saturating_add(1);
        if hop > MAX_HOPS { Err(ChainLimit::Hops) } else { Ok(Self { hop, ..self.clone() }) }
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
        // SQS refuses these two characters, and serde_json does not escape them.
        // https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessage.html
        json.replace('\u{fffe}', "\\ufffe").replace('\u{ffff}', "\\uffff")
    }

    /// What a FIFO queue drops duplicates by: `erasureId:hop:` and 16 hexadecimal digits, the same
    /// for each delivery of a message and different for all else that may have the same request id:
    /// another user, a dry run, a sweep, another request. Its hash where it is too long for SQS.
    pub fn deduplication_id(&self) -> String {
        let time = |at: Option<OffsetDateTime>| at.map_or(0, OffsetDateTime::unix_timestamp_nanos);
        let (sweep_at, requested_at) = (time(self.sweep_at), time(self.requested_at));
        let chain =
            format!("{}\n{}\n{sweep_at}\n{requested_at}", self.user.as_str(), self.is_dry_run);
        let id = format!("{}:{}:{}", self.id.0, self.hop, hex(&Sha256::digest(chain)[..8]));
        if id.len() <= MAX_ID_BYTES { id } else { hex(&Sha256::digest(id)) }
    }

    /// The erasure's id for logs and receipts: without the user's id, should the caller have put it
    /// there.
    ///
    /// A short user id, such as `7`, is looked for as a word of its own: any id of a message may
    /// hold that digit.
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

/// Takes the message out of the envelopes that it may have come in: of each service one, at most.
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
