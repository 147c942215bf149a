//! What the environment must tell us: read once at cold start, all faults reported at once.

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;
use std::time::Duration;

use crate::target::Targets;

/// All settings, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// `ERASE_TARGETS`: where users' files are.
    pub targets: Targets,
    /// `CONTINUATION_QUEUE_URL`: where continuations go.
    pub continuation_queue_url: String,
    /// `MAX_DELETES_PER_SECOND`: keys per second of this execution environment; 0, here `None`, is no limit.
    pub max_deletes_per_second: Option<NonZeroU32>,
    /// `MAX_IN_FLIGHT_BATCHES`: delete requests at once.
    pub max_in_flight_batches: NonZeroU32,
    /// `HANDOFF_RESERVE_MS`: time kept back at the end of an invocation; `None` follows the invocation's length.
    pub handoff_reserve: Option<Duration>,
    /// `MAX_IDLE_HOPS`: hops in a row that delete nothing, then the erasure fails.
    pub max_idle_hops: NonZeroU32,
    /// `EXPECTED_BUCKET_OWNER`: the account that must own every bucket.
    pub expected_bucket_owner: Option<String>,
    /// `S3_FORCE_PATH_STYLE`: the bucket in the path instead of the host name, for local servers.
    pub force_path_style: bool,
    /// `AWS_LAMBDA_FUNCTION_TIMEOUT` (seconds), or 60 s: the time of an invocation whose deadline cannot be believed.
    pub fallback_invocation_time: Duration,
}

/// About 3,500 writes per second is what one partition of a bucket takes.
/// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/optimizing-performance.html>
const DEFAULT_MAX_DELETES_PER_SECOND: u32 = 3_500;
const DEFAULT_MAX_IN_FLIGHT_BATCHES: u32 = 8;
/// More requests at once than this are a typing error: 100,000 keys in memory, for each message.
const MOST_IN_FLIGHT_BATCHES: u32 = 100;
const DEFAULT_MAX_IDLE_HOPS: u32 = 3;
/// Less cannot be enough to send a continuation.
const LEAST_RESERVE_MS: u32 = 100;
/// Lambda's longest invocation, see `deadline.rs`: no reserve can be longer.
const MOST_RESERVE_MS: u32 = 900_000;
const DEFAULT_FALLBACK_SECONDS: u32 = 60;

/// Everything that is wrong with the settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    faults: Vec<Fault>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Fault {
    variable: &'static str,
    value: Option<String>,
    expected: String,
}

impl std::error::Error for ConfigError {}

impl fmt::Display for ConfigError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let noun = if self.faults.len() == 1 { "setting is" } else { "settings are" };
        write!(formatter, "{} {noun} wrong:", self.faults.len())?;
        for Fault { variable, value, expected } in &self.faults {
            match value {
                Some(value) => write!(formatter, "\n  {variable} is {value:?}: {expected}")?,
                None => write!(formatter, "\n  {variable} is not set: {expected}")?,
            }
        }
        Ok(())
    }
}

impl Config {
    /// Reads every setting with `lookup`; an empty value counts as not set.
    pub fn from_vars(lookup: impl Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        let mut vars = Vars { lookup, faults: Vec::new() };
        let targets = vars.required("ERASE_TARGETS", "expected s3://BUCKET/{user_id}/[,...]", |text| {
            Targets::parse(text).map_err(|faults| faults.join("; "))
        });
        let continuation_queue_url =
            vars.required("CONTINUATION_QUEUE_URL", "expected the URL of an SQS queue", |text| {
                let is_url = text.starts_with("https://") || text.starts_with("http://");
                let has_path = text.splitn(4, '/').nth(3).is_some_and(|path| !path.is_empty());
                let is_queue_url = is_url && has_path && !text.contains(char::is_whitespace);
                if is_queue_url { Ok(text.to_owned()) } else { Err("expected https://HOST/ACCOUNT/QUEUE".to_owned()) }
            });
        let max_deletes_per_second = vars.number("MAX_DELETES_PER_SECOND", DEFAULT_MAX_DELETES_PER_SECOND, 0, u32::MAX);
        let max_in_flight_batches =
            vars.number("MAX_IN_FLIGHT_BATCHES", DEFAULT_MAX_IN_FLIGHT_BATCHES, 1, MOST_IN_FLIGHT_BATCHES);
        let handoff_reserve_ms =
            vars.optional("HANDOFF_RESERVE_MS", |text| number(text, LEAST_RESERVE_MS, MOST_RESERVE_MS));
        let max_idle_hops = vars.number("MAX_IDLE_HOPS", DEFAULT_MAX_IDLE_HOPS, 1, 1_000);
        let expected_bucket_owner = vars.optional("EXPECTED_BUCKET_OWNER", |text| {
            let is_account = text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_digit());
            if is_account { Ok(text.to_owned()) } else { Err("expected an account id of 12 digits".to_owned()) }
        });
        let force_path_style = vars.optional("S3_FORCE_PATH_STYLE", boolean).unwrap_or(false);
        let fallback_seconds =
            vars.number("AWS_LAMBDA_FUNCTION_TIMEOUT", DEFAULT_FALLBACK_SECONDS, 1, MOST_RESERVE_MS / 1_000);

        match (targets, continuation_queue_url) {
            (Some(targets), Some(continuation_queue_url)) if vars.faults.is_empty() => Ok(Self {
                targets,
                continuation_queue_url,
                max_deletes_per_second: NonZeroU32::new(max_deletes_per_second),
                max_in_flight_batches: NonZeroU32::new(max_in_flight_batches).unwrap_or(NonZeroU32::MIN),
                handoff_reserve: handoff_reserve_ms.map(|ms| Duration::from_millis(ms.into())),
                max_idle_hops: NonZeroU32::new(max_idle_hops).unwrap_or(NonZeroU32::MIN),
                expected_bucket_owner,
                force_path_style,
                fallback_invocation_time: Duration::from_secs(fallback_seconds.into()),
            }),
            _ => Err(ConfigError { faults: vars.faults }),
        }
    }
}

/// Reads variables one by one and collects what is wrong with them.
struct Vars<Lookup> {
    lookup: Lookup,
    faults: Vec<Fault>,
}

impl<Lookup: Fn(&str) -> Option<String>> Vars<Lookup> {
    fn required<T>(
        &mut self,
        variable: &'static str,
        expected: &str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<T> {
        let faults_before = self.faults.len();
        let value = self.optional(variable, parse);
        if value.is_none() && self.faults.len() == faults_before {
            self.faults.push(Fault { variable, value: None, expected: expected.to_owned() });
        }
        value
    }

    fn optional<T>(&mut self, variable: &'static str, parse: impl Fn(&str) -> Result<T, String>) -> Option<T> {
        let value = (self.lookup)(variable).filter(|value| !value.is_empty())?;
        match parse(&value) {
            Ok(parsed) => Some(parsed),
            Err(expected) => {
                self.faults.push(Fault { variable, value: Some(value), expected });
                None
            }
        }
    }

    fn number(&mut self, variable: &'static str, default: u32, least: u32, most: u32) -> u32 {
        self.optional(variable, |text| number(text, least, most)).unwrap_or(default)
    }
}

fn number(text: &str, least: u32, most: u32) -> Result<u32, String> {
    let in_range = u32::from_str(text).ok().filter(|number| (least..=most).contains(number));
    in_range.ok_or_else(|| format!("expected a whole number from {least} to {most}"))
}

fn boolean(text: &str) -> Result<bool, String> {
    match text {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err("expected true or false".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(settings: &[(&str, &str)]) -> Result<Config, ConfigError> {
        Config::from_vars(|variable| {
            let found = settings.iter().find(|(name, _)| *name == variable);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    const REQUIRED: [(&str, &str); 2] = [
        ("ERASE_TARGETS", "s3://photos/{user_id}/,s3://exports/users/{user_id}/"),
        ("CONTINUATION_QUEUE_URL", "https://sqs.eu-central-1.amazonaws.com/123456789012/erase"),
    ];

    #[test]
    fn has_the_documented_defaults() {
        let config = with(&REQUIRED).unwrap();
        assert_eq!(config.max_deletes_per_second, NonZeroU32::new(3_500));
        assert_eq!(config.max_in_flight_batches.get(), 8);
        assert_eq!(config.handoff_reserve, None);
        assert_eq!(config.max_idle_hops.get(), 3);
        assert_eq!(config.expected_bucket_owner, None);
        assert!(!config.force_path_style);
        assert_eq!(config.fallback_invocation_time, Duration::from_secs(60));
    }

    #[test]
    fn an_empty_value_counts_as_not_set() {
        let empty = ["MAX_DELETES_PER_SECOND", "HANDOFF_RESERVE_MS", "EXPECTED_BUCKET_OWNER", "S3_FORCE_PATH_STYLE"];
        let mut settings = REQUIRED.to_vec();
        settings.extend(empty.map(|variable| (variable, "")));
        assert_eq!(with(&settings), with(&REQUIRED));
    }

    #[test]
    fn reports_every_fault_with_variable_value_and_expectation() {
        let error = with(&[
            ("ERASE_TARGETS", "s3://photos/{user_id},https://photos,s3://ok-bucket/{user_id}/"),
            ("MAX_DELETES_PER_SECOND", "fast"),
            ("MAX_IN_FLIGHT_BATCHES", "0"),
            ("HANDOFF_RESERVE_MS", "99"),
            ("MAX_IDLE_HOPS", "0"),
            ("EXPECTED_BUCKET_OWNER", "me"),
            ("S3_FORCE_PATH_STYLE", "yes"),
            ("AWS_LAMBDA_FUNCTION_TIMEOUT", "soon"),
        ])
        .unwrap_err();
        let text = error.to_string();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "9 settings are wrong:");
        assert_eq!(lines.len(), 10, "{text}");
        assert!(text.contains(r#"MAX_DELETES_PER_SECOND is "fast": expected a whole number from 0 to"#), "{text}");
        assert!(text.contains("CONTINUATION_QUEUE_URL is not set: expected the URL of an SQS queue"), "{text}");
        assert!(text.contains(r#""https://photos": expected s3://BUCKET/PREFIX"#), "{text}");
        assert!(text.contains(r#"S3_FORCE_PATH_STYLE is "yes": expected true or false"#), "{text}");
    }
}
