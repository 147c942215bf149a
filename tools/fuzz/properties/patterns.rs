//! Any settings about targets and ids, and any users: no two of them own one key.
//!
//! What a user owns is computed from the settings' text again, without the function's types.

use std::collections::BTreeSet;

use erase_user_files::config::Config;
use erase_user_files::message::erasure::Erasure;
use serde_json::json;

/// How many users are compared with each other.
const MOST_USERS: usize = 24;

/// The settings that say where users' files are, and which ids they have, each on a line.
const SETTINGS: [&str; 6] = [
    "ERASE_TARGETS",
    "ERASE_KEYS",
    "USER_ID_CHARACTERS",
    "USER_ID_LENGTH",
    "USER_ID_EXTRA_CHARACTERS",
    "SCOPE_IDS",
];

/// Takes the settings, and on each line after them a user: an id, or `SCOPE/ID`.
pub(crate) fn check(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let lines: Vec<&str> = text.lines().collect();
    let (settings, users) = lines.split_at(SETTINGS.len().min(lines.len()));
    let queue = "https://sqs.eu-central-1.amazonaws.com/123456789012/erase";
    let lookup = |name: &str| {
        let value = SETTINGS.iter().position(|setting| *setting == name);
        let value = value.and_then(|line| settings.get(line)).copied();
        value.or((name == "CONTINUATION_QUEUE_URL").then_some(queue)).map(str::to_owned)
    };
    let Ok(config) = Config::from_vars(lookup) else {
        return;
    };
    let users: BTreeSet<&str> = users.iter().copied().collect();
    let users = users.into_iter().take(MOST_USERS).filter_map(|user| accepted(user, &config));
    let users: Vec<(User, Erasure)> = users.collect();
    let areas: Vec<_> = users
        .iter()
        .flat_map(|(user, erasure)| {
            config.targets.as_slice().iter().map(move |target| {
                let area = Area::of(&target.to_string(), user);
                let prefix = target.prefix(&erasure.user);
                assert_eq!(area.start(), format!("s3://{}/{}", prefix.bucket(), prefix.as_str()));
                for key in area.keys() {
                    let claimed =
                        prefix.claim(key["s3://".len() + prefix.bucket().len() + 1..].to_owned());
                    assert_eq!(claimed.is_ok(), area.has(&key), "{key} of {area:?}");
                }
                (user, area)
            })
        })
        .collect();
    for (index, (one, mine)) in areas.iter().enumerate() {
        for (other, theirs) in &areas[index..] {
            assert!(
                one == other || !mine.meets(theirs),
                "{one:?} and {other:?} own one key: {mine:?} and {theirs:?} under {settings:?}"
            );
        }
    }
}

/// The scope and the id of a user.
type User = (Option<String>, String);

/// The user, if the function accepts a message about it.
fn accepted(text: &str, config: &Config) -> Option<(User, Erasure)> {
    let (scope, id) = match text.split_once('/') {
        Some((scope, id)) => (Some(scope.to_owned()), id.to_owned()),
        None => (None, text.to_owned()),
    };
    let body = json!({"type": "user-withdrawn", "userId": id, "tenantId": scope}).to_string();
    let erasure = Erasure::parse(&body, None, config).ok()?;
    // What the next hop reads is the same user.
    let next = Erasure { hop: 1, ..erasure.clone() }.continuation();
    let next = Erasure::parse(&next, None, config).expect("a continuation of its own");
    assert_eq!(next.user, erasure.user);
    let scope = scope.filter(|_| !erasure.user.scopes().is_empty());
    Some(((scope, id), erasure))
}

/// What one user owns under one target.
#[derive(Debug)]
enum Area {
    /// All keys that begin so.
    Folder(String),
    /// One key.
    Key(String),
    /// All keys that begin so and have no further slash.
    Names(String),
}

impl Area {
    fn of(target: &str, (scope, id): &User) -> Self {
        let scope = scope.as_deref().unwrap_or_default();
        let filled = target
            .replace("{user_id}", id)
            .replace("{user_id:urlencode}", &encoded(id))
            .replace("{tenant_id}", scope)
            .replace("{tenant_id:urlencode}", &encoded(scope));
        if target.ends_with('/') {
            Self::Folder(filled)
        } else if target.ends_with('*') {
            Self::Names(filled[..filled.len() - 1].to_owned())
        } else {
            Self::Key(filled)
        }
    }

    fn start(&self) -> &str {
        match self {
            Self::Folder(start) | Self::Key(start) | Self::Names(start) => start,
        }
    }

    fn has(&self, key: &str) -> bool {
        match self {
            Self::Folder(start) => key.starts_with(start),
            Self::Key(only) => key == only,
            Self::Names(start) => {
                key.starts_with(start) && key.matches('/').count() == start.matches('/').count()
            }
        }
    }

    /// Some keys, of the user and of neighbours.
    fn keys(&self) -> [String; 5] {
        ["", "1", "/", "a/b", ".jpg"].map(|rest| format!("{}{rest}", self.start()))
    }

    /// Whether some key is in both: then the longer start is in both, or the longer start and any
    /// name behind it.
    fn meets(&self, other: &Self) -> bool {
        [self, other].into_iter().any(|one| {
            let key = match one {
                Self::Key(key) => key.clone(),
                Self::Folder(start) | Self::Names(start) => format!("{start}x"),
            };
            self.has(&key) && other.has(&key)
        })
    }
}

/// RFC 3986, byte by byte.
fn encoded(id: &str) -> String {
    let mut text = String::new();
    for byte in id.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                text.push(char::from(byte));
            }
            _ => text.push_str(&format!("%{byte:02X}")),
        }
    }
    text
}
