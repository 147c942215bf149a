//! Requests: which messages ask for an erasure, and where in them the fields are.

use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::config::format::{JsonPointer, Locator, MessageFormat, MessageMatch};
use crate::message::error::{MessageError, WITHDRAWAL};
use crate::message::json;
use crate::target::{IdRules, User};

/// The largest integer that every sender can write exactly. JavaScript rounds larger ones.
/// <https://developer.mozilla.org/en-US/docs/Web/JavaScript/Reference/Global_Objects/Number/MAX_SAFE_INTEGER>
const MAX_INTEGER: u64 = (1 << 53) - 1;

/// What a message asks for.
#[derive(Debug)]
pub(super) struct Request {
    /// The sender's id of the request.
    pub(super) id: Option<String>,
    pub(super) user: User,
    pub(super) withdrawn_at: Option<OffsetDateTime>,
    pub(super) erase_before: Option<OffsetDateTime>,
}

impl Request {
    /// Reads a message that is no continuation.
    pub(super) fn read(
        message: Value,
        format: &MessageFormat,
        rules: &IdRules,
    ) -> Result<Self, MessageError> {
        let (event, topic) = unwrap_sns(message)?;
        if !event.is_object() {
            return Err(MessageError::NotAnObject);
        }
        let is_of_others = |others: &MessageMatch| {
            let is_meant = !is_withdrawal(&event) || others.names_withdrawals();
            is_meant && others.holds(&event, topic.as_deref())
        };
        if format.event.as_ref().is_some_and(is_of_others) {
            return Fields { message: &event, format, has_pointers: true }.read(rules);
        }
        let fields = unwrap_withdrawal(event, format.event.is_some())?;
        // Where events of others are taken, the pointers are theirs.
        Fields { message: &fields, format, has_pointers: format.event.is_none() }.read(rules)
    }
}

/// Takes off SNS's envelope, if there is one; returns the topic, too.
/// <https://docs.aws.amazon.com/sns/latest/dg/sns-sqs-as-subscriber.html>
fn unwrap_sns(mut message: Value) -> Result<(Value, Option<String>), MessageError> {
    if !message["type"].is_null() || message["Type"] != "Notification" {
        return Ok((message, None));
    }
    let inner = message["Message"]
        .as_str()
        .ok_or_else(|| MessageError::NotAString("Message".to_owned()))?;
    let inner = json::parse(inner).map_err(MessageError::Json)?;
    let topic = match message["TopicArn"].take() {
        Value::String(topic) => Some(topic),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
            None
        }
    };
    Ok((inner, topic))
}

/// Whether the event says by its type that it has the format of the contract.
fn is_withdrawal(event: &Value) -> bool {
    event["type"] == WITHDRAWAL || event["type"].is_null() && event["detail-type"] == WITHDRAWAL
}

/// The fields of a `user-withdrawn` message, without the envelope of `EventBridge`.
/// <https://docs.aws.amazon.com/eventbridge/latest/ref/overview-event-structure.html>
fn unwrap_withdrawal(mut message: Value, has_match: bool) -> Result<Value, MessageError> {
    if !is_withdrawal(&message) {
        return Err(if has_match { MessageError::NoMatch } else { MessageError::Type });
    }
    if message["type"] == WITHDRAWAL {
        return Ok(message);
    }
    Ok(message.get_mut("detail").map(Value::take).unwrap_or_default())
}

impl MessageMatch {
    /// Whether messages of the type of the contract are among the events that it describes.
    fn names_withdrawals(&self) -> bool {
        self.values.iter().any(|(_, value)| value == WITHDRAWAL)
    }

    fn holds(&self, event: &Value, topic: Option<&str>) -> bool {
        let is_topic = self.topic_arn.is_none() || self.topic_arn.as_deref() == topic;
        is_topic
            && self.values.iter().all(|(pointer, expected)| match pointer.find(event) {
                Some(Value::String(text)) => text == expected,
                Some(Value::Number(number)) if !number.is_f64() => {
                    expected.as_str() == number.to_string()
                }
                Some(_) | None => false,
            })
    }
}

/// The fields of one message.
struct Fields<'m> {
    message: &'m Value,
    format: &'m MessageFormat,
    /// Whether the pointers of the settings apply; otherwise the fields have the names of the
    /// contract. The scopes are at the same place in both cases.
    has_pointers: bool,
}

impl Fields<'_> {
    fn read(&self, rules: &IdRules) -> Result<Request, MessageError> {
        let MessageFormat { request_id, withdrawn_at, erase_before, .. } = self.format;
        Ok(Request {
            id: self.request_id(self.pointer(request_id))?,
            user: self.user(rules)?,
            withdrawn_at: self.time(self.pointer(withdrawn_at), "withdrawnAt")?,
            erase_before: self.time(self.pointer(erase_before), "eraseBefore")?,
        })
    }

    fn pointer<'f>(&self, of_setting: &'f Option<JsonPointer>) -> Option<&'f JsonPointer> {
        of_setting.as_ref().filter(|_| self.has_pointers)
    }

    fn user(&self, rules: &IdRules) -> Result<User, MessageError> {
        let default = Locator::default();
        let (name, value) = match if self.has_pointers { &self.format.user_id } else { &default } {
            Locator::Pointer(pointer) => (pointer.as_str().to_owned(), pointer.find(self.message)),
            Locator::Query(query) => {
                let nodes = query.query(self.message).all();
                let [value] = nodes[..] else {
                    return Err(MessageError::Query(nodes.len()));
                };
                ("USER_ID_POINTER".to_owned(), Some(value))
            }
        };
        let text = id_text(&name, value)?;
        let id = rules.user_id(&text).map_err(|error| MessageError::User { name, error })?;
        let scopes = self.format.scopes.iter().map(|(scope, pointer)| {
            let name = pointer.as_str().to_owned();
            let text = id_text(&name, pointer.find(self.message))?;
            let id = rules.scope_id(&text).map_err(|error| MessageError::User { name, error })?;
            Ok((scope.clone(), id))
        });
        Ok(User::new(id, scopes.collect::<Result<_, MessageError>>()?))
    }

    /// A pointer that is set must find an id; the field of the contract is optional.
    fn request_id(&self, pointer: Option<&JsonPointer>) -> Result<Option<String>, MessageError> {
        match pointer {
            Some(pointer) => id_text(pointer.as_str(), pointer.find(self.message)).map(Some),
            None => Ok(self.text("requestId")?.map(str::to_owned)),
        }
    }

    /// A pointer that is set must find a time; the field of the contract is optional.
    fn time(
        &self,
        pointer: Option<&JsonPointer>,
        field: &str,
    ) -> Result<Option<OffsetDateTime>, MessageError> {
        let (name, text) = match pointer {
            Some(pointer) => {
                let name = pointer.as_str();
                let text = pointer.find(self.message).and_then(Value::as_str);
                (name, Some(text.ok_or_else(|| MessageError::NotAString(name.to_owned()))?))
            }
            None => (field, self.text(field)?),
        };
        let parse = |text| {
            OffsetDateTime::parse(text, &Rfc3339)
                .map_err(|_error| MessageError::Time(name.to_owned()))
        };
        text.map(parse).transpose()
    }

    fn text(&self, field: &str) -> Result<Option<&str>, MessageError> {
        let not_a_string = || MessageError::NotAString(field.to_owned());
        let value = self.message.get(field);
        value.map(|value| value.as_str().ok_or_else(not_a_string)).transpose()
    }
}

/// An id: a JSON string, or an integer as its digits. Other numbers have several spellings.
fn id_text(name: &str, value: Option<&Value>) -> Result<String, MessageError> {
    let name = name.to_owned();
    match value {
        Some(Value::String(text)) => Ok(text.clone()),
        Some(Value::Number(number)) => match number.as_u64().filter(|it| *it <= MAX_INTEGER) {
            Some(integer) => Ok(integer.to_string()),
            None => Err(MessageError::Number(name)),
        },
        Some(Value::Array(_)) => Err(MessageError::Many(name)),
        Some(Value::Null | Value::Bool(_) | Value::Object(_)) | None => {
            Err(MessageError::NotAnId(name))
        }
    }
}
