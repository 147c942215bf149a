//! Any two texts as the ids of two users: what belongs to one never belongs to the other.

use erase_user_files::message::erasure::Erasure;
use erase_user_files::target::{HashKey, Target, User, UserIdError};
use serde_json::json;

use super::erasures::{configs, is_user_id};

const TEMPLATES: [&str; 3] =
    ["s3://photos/{user_id}/", "s3://photos/users/{user_id}/files/", "s3://photos/a/b/{user_id}/"];

/// Takes two ids and the rest of a key, each on a line.
pub(crate) fn check(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let mut lines = text.splitn(3, '\n');
    let (one, other, rest) = (lines.next(), lines.next(), lines.next().unwrap_or_default());
    let ids = [one, other].map(|text| text.and_then(checked));
    if let [Some(one), Some(other)] = &ids {
        assert_eq!(one == other, one.full_name() == other.full_name());
        assert_eq!(one == other, HashKey::default().hash(one) == HashKey::default().hash(other));
        for template in TEMPLATES {
            let target = Target::parse(template).expect("a target");
            let (mine, theirs) = (target.prefix(one), target.prefix(other));
            assert!(mine.as_str().ends_with('/'));
            assert_eq!(mine.as_str().starts_with(theirs.as_str()), one == other);
            let key = format!("{}{rest}", mine.as_str());
            assert_eq!(theirs.claim(key.clone()).is_ok(), one == other);
            assert_eq!(mine.claim(key.clone()).map(|key| key.as_str().to_owned()), Ok(key));
            assert_eq!(mine.claim(rest.to_owned()).is_ok(), rest.starts_with(mine.as_str()));
        }
    }
}

/// An id is taken as it is or not at all, alone and in a message.
fn checked(text: &str) -> Option<User> {
    let parsed = User::parse(text);
    assert_eq!(parsed.is_ok(), is_user_id(text), "{text:?}");
    let [config, _] = configs();
    let body = json!({"type": "user-withdrawn", "userId": text}).to_string();
    assert_eq!(Erasure::parse(&body, None, config).is_ok(), parsed.is_ok());
    match parsed {
        Ok(id) => {
            assert_eq!(id.full_name(), text);
            assert!(text.len() < 7 || !format!("{id:?}").contains(text), "an id in a log");
            Some(id)
        }
        Err(UserIdError::Length(length)) => {
            assert_eq!(length, text.len());
            None
        }
        Err(UserIdError::Character(at)) => {
            assert!(is_user_id(&text[..at]) || matches!(&text[..at], "" | "." | ".."));
            assert!(!is_user_id(&format!("a{}", text[at..].chars().next().expect("a character"))));
            None
        }
        Err(
            error @ (UserIdError::NotInCharacters(_)
            | UserIdError::OtherLength { .. }
            | UserIdError::Pattern),
        ) => unreachable!("no setting narrows the ids here: {error}"),
        Err(UserIdError::Dots) => {
            assert!(text == "." || text == "..");
            None
        }
    }
}
