//! Ids of users and scopes, and the rules for them.

use std::fmt;

use regex_lite::Regex;

/// The longest user id, in bytes. It is this function's contract; SQS group ids have the same
/// limit.
/// <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessage.html>
pub const MAX_USER_ID_BYTES: usize = 128;

/// The name of a user id in templates.
pub(super) const USER_ID: &str = "user_id";

/// The id of a user, or of a scope: a text that is safe inside one path segment. [`IdRules`] make it.
///
/// `Debug` does not show it, so that no log can contain it in clear by accident.
#[derive(Clone, PartialEq, Eq)]
pub struct UserId(String);

/// Why a text is not a valid user id. The error never repeats the text, which may be personal data
/// or 10 MB long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UserIdError {
    /// The id is empty or longer than [`MAX_USER_ID_BYTES`].
    #[error("the id has {0} bytes, expected 1 to {MAX_USER_ID_BYTES}")]
    Length(usize),
    /// The character at this byte is outside the allowed set.
    #[error(
        "the id has a character at byte {0} that is none of A-Z a-z 0-9 - _ . : @ + =, and not \
         in USER_ID_EXTRA_CHARACTERS"
    )]
    Character(usize),
    /// The id is `.` or `..`, which path normalization may remove.
    #[error("the id is \".\" or \"..\"")]
    Dots,
    /// The character at this byte is not in `USER_ID_CHARACTERS`.
    #[error("the id has a character at byte {0} that is not in USER_ID_CHARACTERS")]
    NotInCharacters(usize),
    /// The id has another length than `USER_ID_LENGTH`.
    #[error("the id has {bytes} bytes, expected {expected} (USER_ID_LENGTH)")]
    OtherLength {
        /// The length of the id.
        bytes: usize,
        /// The length of every id.
        expected: usize,
    },
    /// The id does not match `USER_ID_PATTERN`.
    #[error("the id does not match USER_ID_PATTERN")]
    Pattern,
}

impl UserId {
    /// The id in clear: for prefixes and messages, never for logs.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it has characters of `USER_ID_EXTRA_CHARACTERS`.
    pub(super) fn has_extra_characters(&self) -> bool {
        !self.0.bytes().all(|byte| Characters::OF_IDS.has(byte))
    }
}

impl fmt::Debug for UserId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("UserId(..)")
    }
}

/// A set of ASCII characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Characters(u128);

impl Characters {
    /// The characters that every id may have: `A-Z a-z 0-9 - _ . : @ + =`.
    const OF_IDS: Self = {
        let (mut set, mut byte) = (0, 0_u8);
        while byte < 128 {
            let is_other = matches!(byte, b'-' | b'_' | b'.' | b':' | b'@' | b'+' | b'=');
            if byte.is_ascii_alphanumeric() || is_other {
                set |= 1 << byte;
            }
            byte += 1;
        }
        Self(set)
    };

    /// The characters that ids may have in a deployment with these extra characters.
    fn of_ids(extra: Option<Self>) -> Self {
        Self(Self::OF_IDS.0 | extra.map_or(0, |extra| extra.0))
    }

    fn of(bytes: impl IntoIterator<Item = u8>) -> Self {
        Self(bytes.into_iter().fold(0, |set, byte| set | 1 << byte))
    }

    /// Parses `USER_ID_EXTRA_CHARACTERS`: each character means itself. Not allowed are those
    /// that end a segment, are part of a template or of an encoding, or break the quotation marks
    /// of JSON and of a shell command.
    pub fn parse_extra(text: &str) -> Result<Self, String> {
        let is_extra = |c: char| c.is_ascii_graphic() && !"/\\\"<>{}%".contains(c);
        match text.chars().find(|c| !is_extra(*c)) {
            Some(c) => Err(format!(
                "expected printable ASCII characters except / \\ \" < > {{ }} % and space, but it has {c:?}"
            )),
            None => Ok(Self::of(text.bytes())),
        }
    }

    /// Parses `USER_ID_CHARACTERS`: characters, and ranges of digits or letters, as in `0-9a-f-`.
    /// `extra` may be used in addition to the characters that every id may have.
    pub fn parse_narrow(text: &str, extra: Option<Self>) -> Result<Self, String> {
        let all = Self::of_ids(extra);
        let (mut set, mut rest) = (Self(0), text.as_bytes());
        while let Some((&first, after)) = rest.split_first() {
            let range = match after {
                [b'-', last, after @ ..] => {
                    rest = after;
                    let is_range = |class: fn(&u8) -> bool| class(&first) && class(last);
                    let is_of_one_class = is_range(u8::is_ascii_digit)
                        || is_range(u8::is_ascii_lowercase)
                        || is_range(u8::is_ascii_uppercase);
                    if !is_of_one_class || first > *last {
                        return Err("expected characters and ranges of digits or letters, like \
                                    0-9a-f-, with - itself at the start or end"
                            .to_owned());
                    }
                    first..=*last
                }
                after => {
                    rest = after;
                    first..=first
                }
            };
            if let Some(odd) = range.clone().find(|byte| !all.has(*byte)) {
                return Err(format!(
                    "expected only characters that ids may have (A-Z a-z 0-9 - _ . : @ + = and \
                     USER_ID_EXTRA_CHARACTERS), but it has {:?}",
                    char::from(odd)
                ));
            }
            set = Self(set.0 | Self::of(range).0);
        }
        Ok(set)
    }

    /// Whether the character is in the set.
    pub(super) fn has(self, byte: u8) -> bool {
        byte < 128 && self.0 >> byte & 1 == 1
    }
}

/// The length of every user id, 1 to [`MAX_USER_ID_BYTES`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IdLength(usize);

impl IdLength {
    /// Parses `USER_ID_LENGTH`.
    pub fn parse(text: &str) -> Result<Self, String> {
        let length = text.parse().ok().filter(|length| (1..=MAX_USER_ID_BYTES).contains(length));
        length
            .map(Self)
            .ok_or_else(|| format!("expected a whole number from 1 to {MAX_USER_ID_BYTES}"))
    }
}

/// Which ids this deployment accepts.
#[derive(Debug, Clone, Default)]
pub struct IdRules {
    /// `USER_ID_EXTRA_CHARACTERS`: characters that ids may have in addition to
    /// `A-Z a-z 0-9 - _ . : @ + =`.
    pub extra: Option<Characters>,
    /// `USER_ID_CHARACTERS`: the characters of all user ids.
    pub characters: Option<Characters>,
    /// `USER_ID_LENGTH`: the length of all user ids.
    pub length: Option<IdLength>,
    /// `USER_ID_PATTERN`: a pattern that user ids must match in addition.
    pub pattern: Option<UserIdPattern>,
    /// `SCOPE_IDS`: the names of the scopes in which user ids hold.
    pub scopes: Vec<String>,
}

impl IdRules {
    /// Parses the id of a user.
    pub fn user_id(&self, text: &str) -> Result<UserId, UserIdError> {
        let id = self.scope_id(text)?;
        if let Some(characters) = self.characters
            && let Some(position) = text.bytes().position(|byte| !characters.has(byte))
        {
            return Err(UserIdError::NotInCharacters(position));
        }
        if let Some(IdLength(expected)) = self.length.filter(|length| length.0 != text.len()) {
            return Err(UserIdError::OtherLength { bytes: text.len(), expected });
        }
        if self.pattern.as_ref().is_some_and(|pattern| !pattern.allows(&id)) {
            return Err(UserIdError::Pattern);
        }
        Ok(id)
    }

    /// Parses the id of a scope. The settings that describe user ids do not apply to it.
    pub fn scope_id(&self, text: &str) -> Result<UserId, UserIdError> {
        if text.is_empty() || text.len() > MAX_USER_ID_BYTES {
            return Err(UserIdError::Length(text.len()));
        }
        let allowed = Characters::of_ids(self.extra);
        if let Some(position) = text.bytes().position(|byte| !allowed.has(byte)) {
            return Err(UserIdError::Character(position));
        }
        if text == "." || text == ".." {
            return Err(UserIdError::Dots);
        }
        Ok(UserId(text.to_owned()))
    }

    /// Whether a placeholder of this name may have this value.
    pub(super) fn allows(&self, name: &str, value: &str) -> bool {
        let id = if name == USER_ID { self.user_id(value) } else { self.scope_id(value) };
        id.is_ok()
    }

    /// Whether a user id may continue behind this text.
    pub(super) fn allows_longer(&self, text: &str) -> bool {
        let allowed = self.characters.unwrap_or_else(|| Characters::of_ids(self.extra));
        let longest = self.length.map_or(MAX_USER_ID_BYTES, |length| length.0);
        text.len() < longest && text.bytes().all(|byte| allowed.has(byte))
    }

    /// Whether a user's id is known from a text that begins with it, if this character follows it.
    pub(super) fn ends_before(&self, byte: u8) -> bool {
        self.length.is_some() || self.characters.is_some_and(|characters| !characters.has(byte))
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
