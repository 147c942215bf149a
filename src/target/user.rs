//! User ids, and the hash that replaces them in receipts and logs.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use regex_lite::Regex;
use sha2::Sha256;

/// The longest user id, in bytes. It is this function's contract; SQS group ids have the same
/// limit.
/// <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessage.html>
pub const MAX_USER_ID_BYTES: usize = 128;

/// The id of a user: 1 to 128 of `A-Z a-z 0-9 - _ . : @ + =`, and neither `.` nor `..`.
///
/// `Debug` does not show it, so that no log can contain it in clear by accident.
#[derive(Clone, PartialEq, Eq)]
pub struct UserId(String);

/// Why a text is not a valid user id. The error never repeats the text, which may be personal data
/// or 10 MB long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UserIdError {
    /// The id is empty or longer than [`MAX_USER_ID_BYTES`].
    #[error("the user id has {0} bytes, expected 1 to {MAX_USER_ID_BYTES}")]
    Length(usize),
    /// The character at this byte is outside the allowed set.
    #[error("the user id has a character at byte {0} that is none of A-Z a-z 0-9 - _ . : @ + =")]
    Character(usize),
    /// The id is `.` or `..`, which path normalization may remove.
    #[error("the user id is \".\" or \"..\"")]
    Dots,
}

impl UserId {
    /// Parses a text that is a safe path segment by itself. Everything else is rejected and nothing
    /// is corrected.
    pub fn parse(text: &str) -> Result<Self, UserIdError> {
        if text.is_empty() || text.len() > MAX_USER_ID_BYTES {
            return Err(UserIdError::Length(text.len()));
        }
        let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:@+=".contains(&byte);
        if let Some(position) = text.bytes().position(|byte| !is_allowed(byte)) {
            return Err(UserIdError::Character(position));
        }
        if text == "." || text == ".." {
            return Err(UserIdError::Dots);
        }
        Ok(Self(text.to_owned()))
    }

    /// The id in clear: for prefixes and messages, never for logs.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for UserId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("UserId(..)")
    }
}

/// A narrower rule for user ids: a regular expression for the whole id. It can reject ids that are
/// otherwise valid, but allows no others.
#[derive(Debug, Clone)]
pub struct UserIdPattern(Regex);

impl UserIdPattern {
    /// Reads a pattern in the syntax of the `regex` crate; the error says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let parse = |text: &str| Regex::new(text).map_err(|error| error.to_string());
        // The text is parsed by itself first, so that it cannot close the surrounding group.
        parse(text).and_then(|_| parse(&format!("^(?:{text})$"))).map(Self)
    }

    /// Whether the pattern matches the whole id.
    pub fn allows(&self, user: &UserId) -> bool {
        self.0.is_match(&user.0)
    }
}

/// The key of the hash that replaces user ids in receipts and logs. It is empty if no key is set.
#[derive(Clone, Default)]
pub struct HashKey(String);

impl HashKey {
    /// Creates a key from any text. A longer key makes it harder to find user ids by trial.
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// Whether a key is set. Without a key, anyone with a list of user ids can find out to which of
    /// them a hash belongs.
    pub fn is_set(&self) -> bool {
        !self.0.is_empty()
    }

    /// The name of this user in receipts and logs: the HMAC-SHA256 of the id, as 64 hexadecimal
    /// digits.
    pub fn hash(&self, user: &UserId) -> String {
        let mut mac = Hmac::<Sha256>::new_from_slice(self.0.as_bytes())
            .expect("HMAC takes keys of any length");
        mac.update(user.0.as_bytes());
        hex(&mac.finalize().into_bytes())
    }
}

impl fmt::Debug for HashKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("HashKey(..)")
    }
}

/// Formats bytes as lowercase hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
