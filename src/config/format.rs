//! The settings that say how a request is recognized, and where in it the fields are.

use serde_json::Value;
use serde_json_path::JsonPath;

/// The most conditions of `MESSAGE_MATCH`.
const MAX_CONDITIONS: usize = 4;

/// The name by which `MESSAGE_MATCH` names the topic in SNS's envelope.
const TOPIC_ARN: &str = "TopicArn";

/// How a request is recognized, and where its fields are.
#[derive(Debug, Clone)]
pub struct MessageFormat {
    /// `MESSAGE_MATCH`: which events of others are requests. `None` if only `user-withdrawn` is.
    pub event: Option<MessageMatch>,
    /// `USER_ID_POINTER`: the user's id.
    pub user_id: Locator,
    /// `REQUEST_ID_POINTER`: the id of the request.
    pub request_id: Option<JsonPointer>,
    /// `WITHDRAWN_AT_POINTER`: when the user withdrew.
    pub withdrawn_at: Option<JsonPointer>,
    /// `ERASE_BEFORE_POINTER`: items that were modified at this time or later are kept.
    pub erase_before: Option<JsonPointer>,
    /// `SCOPE_IDS`: the id of each scope.
    pub scopes: Vec<(String, JsonPointer)>,
}

/// The conditions by which an event of others is a request. All of them must hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MessageMatch {
    /// The values that the event must have.
    pub values: Vec<(JsonPointer, String)>,
    /// The topic that SNS's envelope must name.
    pub topic_arn: Option<String>,
}

impl MessageMatch {
    /// Parses `MESSAGE_MATCH`: 1 to 4 pairs `POINTER=VALUE`, separated by commas.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut parsed = Self { values: Vec::new(), topic_arn: None };
        let entries = split_list(text);
        if entries.len() > MAX_CONDITIONS {
            let count = entries.len();
            return Err(format!("expected at most {MAX_CONDITIONS} pairs, but it has {count}"));
        }
        for entry in entries {
            let pair = entry.split_once('=').filter(|(_, value)| !value.is_empty());
            let (name, value) = pair.ok_or_else(|| {
                format!("expected POINTER=VALUE with a value, as in /type=user.deleted: {entry:?}")
            })?;
            if value.contains('*') {
                return Err(format!(
                    "expected a value that is compared as it is, without *: {value:?}"
                ));
            }
            if name == TOPIC_ARN {
                if !is_topic(value) {
                    return Err(format!("expected the ARN of an SNS topic: {value:?}"));
                }
                if parsed.topic_arn.replace(value.to_owned()).is_some() {
                    return Err(format!("{TOPIC_ARN} is listed twice, and both pairs must hold"));
                }
                continue;
            }
            let pointer = JsonPointer::parse(name)?;
            if parsed.values.iter().any(|(other, _)| *other == pointer) {
                return Err(format!(
                    "{name:?} is listed twice, and all pairs must hold: a function of its own \
                     takes the events of another type"
                ));
            }
            parsed.values.push((pointer, value.to_owned()));
        }
        Ok(parsed)
    }
}

fn is_topic(text: &str) -> bool {
    let parts: Vec<&str> = text.split(':').collect();
    parts.len() == 6
        && parts[0] == "arn"
        && parts[2] == "sns"
        && parts.iter().all(|it| !it.is_empty())
}

/// Splits a list at its commas; `\,` is a comma in an entry.
fn split_list(text: &str) -> Vec<String> {
    let mut entries = vec![String::new()];
    let mut rest = text;
    while let Some(at) = rest.find(',') {
        let is_escaped = rest[..at].ends_with('\\');
        let entry = entries.last_mut().expect("there is always an entry");
        entry.push_str(if is_escaped { &rest[..at - 1] } else { &rest[..at] });
        if is_escaped {
            entry.push(',');
        } else {
            entries.push(String::new());
        }
        rest = &rest[at + 1..];
    }
    entries.last_mut().expect("there is always an entry").push_str(rest);
    let trimmed = entries.into_iter().map(|entry| entry.trim_start().to_owned());
    trimmed.collect()
}

/// The most scopes of a user id.
const MAX_SCOPES: usize = 2;

/// The longest name of a scope, in bytes.
const MAX_SCOPE_NAME_BYTES: usize = 32;

/// Parses `SCOPE_IDS`: 1 to 2 pairs `NAME=POINTER`, separated by commas.
pub(super) fn scope_ids(text: &str) -> Result<Vec<(String, JsonPointer)>, String> {
    let entries = split_list(text);
    if entries.len() > MAX_SCOPES {
        return Err(format!("expected at most {MAX_SCOPES} scopes, but it has {}", entries.len()));
    }
    let mut scopes: Vec<(String, JsonPointer)> = Vec::new();
    for entry in entries {
        let (name, pointer) = entry.split_once('=').ok_or_else(|| {
            format!("expected NAME=POINTER, as in tenant_id=/tenantId: {entry:?}")
        })?;
        let is_name = (1..=MAX_SCOPE_NAME_BYTES).contains(&name.len())
            && name.starts_with(|c: char| c.is_ascii_lowercase())
            && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
        if !is_name {
            return Err(format!(
                "expected a name of 1 to {MAX_SCOPE_NAME_BYTES} of a-z and _ that begins with a \
                 letter: {name:?}"
            ));
        }
        if name == "user_id" || scopes.iter().any(|(other, _)| other == name) {
            return Err(format!("expected a name for each scope that nothing else has: {name:?}"));
        }
        scopes.push((name.to_owned(), JsonPointer::parse(pointer)?));
    }
    Ok(scopes)
}

/// Where in a message a field is, as in RFC 6901.
/// <https://www.rfc-editor.org/rfc/rfc6901>
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JsonPointer(String);

impl JsonPointer {
    /// Parses a pointer to something inside the message.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let has_odd_tilde = text.split('~').skip(1).any(|rest| !rest.starts_with(['0', '1']));
        if text.starts_with('/') && !has_odd_tilde {
            Ok(Self(text.to_owned()))
        } else {
            Err("expected a JSON pointer like /userId or /user/id (RFC 6901)".to_owned())
        }
    }

    /// The pointer, as the setting names it.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The value at this place of a message.
    pub fn find<'v>(&self, message: &'v Value) -> Option<&'v Value> {
        message.pointer(&self.0)
    }
}

/// Where in a message the user's id is.
#[derive(Debug, Clone)]
pub enum Locator {
    /// At a fixed place.
    Pointer(JsonPointer),
    /// At the one place that a query selects (RFC 9535).
    /// <https://www.rfc-editor.org/rfc/rfc9535>
    Query(JsonPath),
}

impl Locator {
    /// Parses `USER_ID_POINTER`: a query if it begins with `$`.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        if text.starts_with('$') {
            let query = JsonPath::parse(text);
            query.map(Self::Query).map_err(|error| format!("expected a JSONPath query: {error}"))
        } else {
            JsonPointer::parse(text).map(Self::Pointer)
        }
    }
}

impl Default for Locator {
    /// `/userId`
    fn default() -> Self {
        Self::Pointer(JsonPointer("/userId".to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn match_pairs_are_split_at_commas_that_are_not_escaped() {
        let parsed =
            MessageMatch::parse(r"/detail-type=Auth0 log, /detail/data/type=a\,b=c").unwrap();
        let pairs: Vec<_> = parsed.values.iter().map(|(p, v)| (p.as_str(), v.as_str())).collect();
        assert_eq!(pairs, [("/detail-type", "Auth0 log"), ("/detail/data/type", "a,b=c")]);
        assert_eq!(parsed.topic_arn, None);
        let arn = "arn:aws:sns:eu-central-1:123456789012:deleted";
        let parsed = MessageMatch::parse(&format!("TopicArn={arn}")).unwrap();
        assert_eq!((parsed.values.len(), parsed.topic_arn.as_deref()), (0, Some(arn)));
    }

    #[test]
    fn invalid_matches_are_rejected_with_reason() {
        for (text, reason) in [
            ("user.deleted", "expected POINTER=VALUE"),
            ("/type=", "expected POINTER=VALUE with a value"),
            ("/type=a,", "expected POINTER=VALUE"),
            (",", "expected POINTER=VALUE"),
            ("type=user.deleted", "expected a JSON pointer"),
            ("=user.deleted", "expected a JSON pointer"),
            ("/a~2=b", "expected a JSON pointer"),
            ("/type=a,/type=b", "listed twice"),
            ("/type=user.*", "without *"),
            ("TopicArn=deleted", "expected the ARN of an SNS topic"),
            (
                "TopicArn=arn:aws:sqs:eu-central-1:123456789012:q",
                "expected the ARN of an SNS topic",
            ),
            ("TopicArn=arn:aws:sns:a:1:t,TopicArn=arn:aws:sns:a:1:u", "listed twice"),
            ("/a=1,/b=2,/c=3,/d=4,/e=5", "at most 4 pairs"),
        ] {
            let error = MessageMatch::parse(text).expect_err(text);
            assert!(error.contains(reason), "{text}: {error}");
        }
    }

    #[test]
    fn scopes_have_names_of_their_own_and_pointers() {
        let scopes = scope_ids("tenant_id=/tenantId,org=/a/b").unwrap();
        let pairs: Vec<_> = scopes.iter().map(|(name, p)| (name.as_str(), p.as_str())).collect();
        assert_eq!(pairs, [("tenant_id", "/tenantId"), ("org", "/a/b")]);
        for (text, reason) in [
            ("tenant_id", "expected NAME=POINTER"),
            ("tenant_id=tenantId", "expected a JSON pointer"),
            ("tenant_id=/a,tenant_id=/b", "that nothing else has"),
            ("user_id=/a", "that nothing else has"),
            ("tenantId=/a", "of a-z and _"),
            ("_a=/a", "of a-z and _"),
            ("=/a", "of a-z and _"),
            ("a=/a,b=/b,c=/c", "at most 2 scopes"),
        ] {
            let error = scope_ids(text).expect_err(text);
            assert!(error.contains(reason), "{text}: {error}");
        }
        assert!(scope_ids(&format!("{}=/a", "a".repeat(33))).is_err());
        assert!(scope_ids(&format!("{}=/a", "a".repeat(32))).is_ok());
    }

    #[test]
    fn a_query_must_be_valid() {
        let query =
            "$.subject_identities[?@.identity_type=='controller_customer_id'].identity_value";
        assert!(matches!(Locator::parse(query), Ok(Locator::Query(_))));
        assert!(matches!(Locator::parse("/a/b"), Ok(Locator::Pointer(_))));
        for text in ["$.", "$[", "$[?]", "$.a b", "@.a", "$[?search(@.a, 'b')]"] {
            assert!(Locator::parse(text).is_err(), "{text}");
        }
    }
}
