//! The wire format: requests, and the continuation that this function sends to itself.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};
use time::OffsetDateTime;

use crate::config::Config;
use crate::erasure::checkpoint::{Checkpoint, MAX_ROUNDS};
use crate::erasure::counts::Totals;
pub use crate::message::error::MessageError;
use crate::message::error::{MAX_ID_BYTES, VERSION};
use crate::message::json;
use crate::message::request::Request;
use crate::target::{IdRules, User, UserId, UserIdError, hex};

const CONTINUATION: &str = "erasure-continuation";

/// The format of a continuation without anything that version 2 added. A release that knows only
/// this version returns continuations of a newer one to the queue.
const FIRST_VERSION: u32 = 1;

/// The largest body, in bytes. No queue carries more.
/// <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-messages.html>
const MAX_BODY_BYTES: usize = 1_048_576;

/// The largest continuation that is accepted, in bytes, so that what a hop adds still fits into a
/// message. Our continuations are smaller, whatever the store returns, because their token and
/// targets have their own limits.
const MAX_CONTINUATION_BYTES: usize = MAX_BODY_BYTES / 2;

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
    #[error("the erasure has reached the limit of {MAX_HOPS} hops")]
    Hops,
}

/// The erasure of one user, in its state at the start of a hop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Erasure {
    /// The erasure's name.
    pub id: ErasureId,
    /// The user to erase.
    pub user: User,
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

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Continuation {
    #[serde(rename = "type")]
    kind: String,
    version: u32,
    erasure_id: String,
    user_id: String,
    /// Since version 2.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    scopes: BTreeMap<String, String>,
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
        let rules = config.targets.id_rules();
        let erasure = if message["type"] == CONTINUATION {
            Self::from_continuation(body, &message["version"], rules)?
        } else {
            let id = ErasureId::of_message(message_id, body);
            Self::from_request(Request::read(message, &config.message_format, rules)?, id)?
        };
        if config.targets.reserves(&erasure.user) {
            return Err(MessageError::ReservedUser);
        }
        Ok(erasure)
    }

    fn from_request(request: Request, default_id: ErasureId) -> Result<Self, MessageError> {
        Ok(Self {
            id: request.id.map_or(Ok(default_id), |id| ErasureId::parse(&id))?,
            user: request.user,
            is_continuation: false,
            hop: 0,
            idle_hops: 0,
            is_dry_run: false,
            sweep_at: None,
            withdrawn_at: request.withdrawn_at,
            erase_before: request.erase_before,
            requested_at: None,
            started_at: None,
            checkpoint: Checkpoint::default(),
            totals: Totals::default(),
        })
    }

    fn from_continuation(
        body: &str,
        version: &Value,
        rules: &IdRules,
    ) -> Result<Self, MessageError> {
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
            user: user_of(&wire, rules)?,
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
            version: if self.user.needs_new_release() { VERSION } else { FIRST_VERSION },
            erasure_id: self.id.0.clone(),
            user_id: self.user.id().as_str().to_owned(),
            scopes: self
                .user
                .scopes()
                .iter()
                .map(|(name, id)| (name.clone(), id.as_str().to_owned()))
                .collect(),
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
            format!("{}\n{}\n{sweep_at}\n{requested_at}", self.user.full_name(), self.is_dry_run);
        let id = format!("{}:{}:{}", self.id.0, self.hop, hex(&Sha256::digest(chain)[..8]));
        if id.len() <= MAX_ID_BYTES { id } else { hex(&Sha256::digest(id)) }
    }

    /// The erasure's id for logs and receipts, without the user's id and the ids of its scopes if
    /// the sender put them there.
    ///
    /// A short id, such as `7`, is only removed as a separate word, because any message id may
    /// contain that digit.
    pub fn redacted_id(&self) -> String {
        let id = redact(&self.id.0, self.user.id(), "{user}");
        self.user
            .scopes()
            .iter()
            .fold(id, |id, (name, scope)| redact(&id, scope, &format!("{{{name}}}")))
    }
}

/// Replaces an id in a text by a name.
fn redact(text: &str, id: &UserId, by: &str) -> String {
    const LONG: usize = 8;
    let id = id.as_str();
    let is_word_char = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
    let (mut redacted, mut rest) = (String::new(), text);
    while let Some(at) = rest.find(id) {
        let (before, after) = (&rest[..at], &rest[at + id.len()..]);
        let is_part_of_word = is_word_char(before.chars().last().or(redacted.chars().last()))
            || is_word_char(after.chars().next());
        redacted.push_str(before);
        redacted.push_str(if id.len() < LONG && is_part_of_word { id } else { by });
        rest = after;
    }
    redacted + rest
}

fn check_size(body: &str, max: usize) -> Result<(), MessageError> {
    let bytes = body.len();
    if bytes > max { Err(MessageError::Size { bytes, max }) } else { Ok(()) }
}

/// The user of a continuation, by the rules of this deployment.
fn user_of(wire: &Continuation, rules: &IdRules) -> Result<User, MessageError> {
    if !wire.scopes.keys().eq(rules.scopes.iter().collect::<BTreeSet<_>>()) {
        return Err(MessageError::Scopes);
    }
    let parse = |name: &str, id: Result<UserId, UserIdError>| {
        id.map_err(|error| MessageError::User { name: name.to_owned(), error })
    };
    let id = parse("/userId", rules.user_id(&wire.user_id))?;
    let scopes = wire.scopes.iter();
    let scopes = scopes.map(|(name, id)| {
        Ok((name.clone(), parse(&format!("/scopes/{name}"), rules.scope_id(id))?))
    });
    Ok(User::new(id, scopes.collect::<Result<_, MessageError>>()?))
}
