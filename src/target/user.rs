//! Users, and the hash that replaces them in receipts and logs.

use std::collections::BTreeMap;
use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::ids::{IdRules, USER_ID, UserId, UserIdError};

/// The user of an erasure: the user's id, and the id of every scope in which it holds.
#[derive(Clone, PartialEq, Eq)]
pub struct User {
    id: UserId,
    scopes: BTreeMap<String, UserId>,
}

impl User {
    /// Parses a user of a deployment without settings about ids. Everything that is no valid id is
    /// rejected, and nothing is corrected.
    pub fn parse(text: &str) -> Result<Self, UserIdError> {
        Ok(Self { id: IdRules::default().user_id(text)?, scopes: BTreeMap::new() })
    }

    /// Creates a user from the ids of a message.
    pub fn new(id: UserId, scopes: BTreeMap<String, UserId>) -> Self {
        Self { id, scopes }
    }

    /// The user's id.
    pub fn id(&self) -> &UserId {
        &self.id
    }

    /// The id of every scope, by the scope's name.
    pub fn scopes(&self) -> &BTreeMap<String, UserId> {
        &self.scopes
    }

    /// All ids as one text in which two different users always differ: `NAME=ID/` for each scope in
    /// the order of the names, then the user's id. No id has a slash, and no name has a `=`.
    pub fn full_name(&self) -> String {
        let scopes = self.scopes.iter().map(|(name, id)| format!("{name}={}/", id.as_str()));
        scopes.chain([self.id.as_str().to_owned()]).collect()
    }

    /// Whether a release that knows neither scopes nor `USER_ID_EXTRA_CHARACTERS` would reject the
    /// user, or take it for another one.
    pub fn needs_new_release(&self) -> bool {
        !self.scopes.is_empty() || self.id.has_extra_characters()
    }

    /// The id that replaces the placeholder of this name.
    pub(super) fn value(&self, name: &str) -> Option<&str> {
        let id = if name == USER_ID { Some(&self.id) } else { self.scopes.get(name) };
        id.map(UserId::as_str)
    }
}

impl fmt::Debug for User {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("User(..)")
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

    /// The name of this user in receipts and logs: the HMAC-SHA256 of [`User::full_name`], as 64
    /// hexadecimal digits. Without scopes, this text is the user's id.
    pub fn hash(&self, user: &User) -> String {
        let mut mac = Hmac::<Sha256>::new_from_slice(self.0.as_bytes())
            .expect("HMAC takes keys of any length");
        mac.update(user.full_name().as_bytes());
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
