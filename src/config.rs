//! The settings in the environment. They are read once at cold start, and all errors are reported
//! together.

use std::num::{NonZeroU32, NonZeroU64};
use std::time::Duration;

use self::format::{JsonPointer, Locator, MessageFormat, MessageMatch, scope_ids};
pub use self::vars::ConfigError;
use self::vars::{Vars, number};
use crate::target::{
    AccountId, BucketOwners, Characters, HashKey, IdLength, IdRules, S3Folder, Target, Targets,
    UserIdPattern,
};

pub mod format;
mod vars;

/// All settings, validated.
#[derive(Debug, Clone)]
pub struct Config {
    /// `ERASE_TARGETS` and `ERASE_KEYS`, in this order: where users' files are. With them, the
    /// settings that say which ids users have.
    pub targets: Targets,
    /// `CONTINUATION_QUEUE_URL`: where continuations go.
    pub continuation_queue_url: String,
    /// `MAX_DELETES_PER_SECOND`: keys per second of this execution environment; `None` (0 in the
    /// environment) if there is no limit.
    pub max_deletes_per_second: Option<NonZeroU32>,
    /// `MAX_IN_FLIGHT_BATCHES`: the number of concurrent delete requests.
    pub max_in_flight_batches: NonZeroU32,
    /// `HANDOFF_RESERVE_MS`: the time reserved at the end of an invocation; `None` if it depends on
    /// the invocation's length.
    pub handoff_reserve: Option<Duration>,
    /// `MAX_IDLE_HOPS`: after this number of consecutive hops that delete nothing, the erasure ends
    /// as incomplete.
    pub max_idle_hops: NonZeroU32,
    /// `MAX_OBJECTS`: the object limit, in objects and versions of one erasure.
    pub max_objects: Option<NonZeroU64>,
    /// `DRY_RUN`: whether the function only counts and deletes nothing.
    pub dry_run: bool,
    /// `MESSAGE_MATCH` and the pointers: how a request is recognized, and where its fields are.
    pub message_format: MessageFormat,
    /// `RECEIPTS_URI` and related settings: where and how receipts are stored.
    pub receipts: Option<ReceiptSettings>,
    /// `RECEIPT_HASH_KEY`: the key of the hash that replaces user ids.
    pub hash_key: HashKey,
    /// `RECEIPT_HASH_KEY_SECRET`: the name or ARN of the Secrets Manager secret that has the key
    /// instead. The cold start reads it into [`Config::hash_key`].
    pub hash_key_secret: Option<String>,
    /// `LATE_WRITE_SWEEP_SECONDS`: the time from the proof to the late-write sweep; `None` if there
    /// is no sweep.
    pub late_write_sweep: Option<Duration>,
    /// `BYPASS_GOVERNANCE_RETENTION`: whether to delete versions that are retained in governance
    /// mode.
    pub bypass_governance_retention: bool,
    /// `EXPECTED_BUCKET_OWNER`: the accounts that must own the buckets of the targets.
    pub bucket_owners: BucketOwners,
    /// `S3_FORCE_PATH_STYLE`: whether the bucket is in the path instead of the host name, for local
    /// servers.
    pub force_path_style: bool,
    /// `AWS_LAMBDA_FUNCTION_TIMEOUT` (seconds), or 60 s: the time of an invocation whose announced
    /// deadline is implausible.
    pub fallback_invocation_time: Duration,
}

/// Where and how receipts are stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReceiptSettings {
    /// `RECEIPTS_URI`: the folder of the receipts.
    pub folder: S3Folder,
    /// `EXPECTED_RECEIPTS_OWNER`: the account that must own the bucket.
    pub expected_owner: Option<AccountId>,
    /// `RECEIPTS_SSE` and `RECEIPTS_KMS_KEY_ID`: the encryption that the request for every receipt
    /// names; `None` if the bucket's default applies.
    pub encryption: Option<Encryption>,
}

/// The server-side encryption that a request names.
/// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/serv-side-encryption.html>
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Encryption {
    /// With S3's keys: `AES256`.
    Aes256,
    /// With a KMS key: `aws:kms`.
    Kms {
        /// The key's id or ARN; `None` if it is the account's AWS managed key for S3.
        key_id: Option<String>,
    },
}

/// One partition of a bucket accepts about 3,500 writes per second.
/// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/optimizing-performance.html>
const DEFAULT_MAX_DELETES_PER_SECOND: u32 = 3_500;
const DEFAULT_MAX_IN_FLIGHT_BATCHES: u32 = 8;
/// A larger number of concurrent requests is a typing error: this many already hold 100,000 keys in
/// memory for each message.
const MOST_IN_FLIGHT_BATCHES: u32 = 100;
const DEFAULT_MAX_IDLE_HOPS: u32 = 3;
/// A shorter reserve cannot suffice to send a continuation.
const LEAST_RESERVE_MS: u32 = 100;
/// No reserve can be longer than Lambda's longest invocation; see `deadline.rs`.
const MOST_RESERVE_MS: u32 = 900_000;
const DEFAULT_FALLBACK_SECONDS: u32 = 60;
/// The longest delay of the late-write sweep: twice the seven days that a presigned URL can be
/// valid.
/// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/using-presigned-url.html>
const MOST_SWEEP_SECONDS: u32 = 14 * 24 * 3_600;

impl Config {
    /// Reads every setting with `lookup`; an empty value counts as unset.
    pub fn from_vars(lookup: impl Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        let mut vars = Vars { lookup, faults: Vec::new() };
        let scopes = vars.optional("SCOPE_IDS", scope_ids).unwrap_or_default();
        let id_rules = id_rules(&mut vars, &scopes);
        let targets = targets(&mut vars, &id_rules);
        let message_format = message_format(&mut vars, scopes);
        let continuation_queue_url =
            vars.required("CONTINUATION_QUEUE_URL", "expected the URL of an SQS queue", queue_url);
        let max_deletes_per_second =
            vars.number("MAX_DELETES_PER_SECOND", DEFAULT_MAX_DELETES_PER_SECOND, 0, u32::MAX);
        let max_in_flight_batches = vars.number(
            "MAX_IN_FLIGHT_BATCHES",
            DEFAULT_MAX_IN_FLIGHT_BATCHES,
            1,
            MOST_IN_FLIGHT_BATCHES,
        );
        let handoff_reserve_ms = vars
            .optional("HANDOFF_RESERVE_MS", |text| number(text, LEAST_RESERVE_MS, MOST_RESERVE_MS));
        let max_idle_hops = vars.number("MAX_IDLE_HOPS", DEFAULT_MAX_IDLE_HOPS, 1, 1_000);
        let max_objects = vars.optional("MAX_OBJECTS", |text| {
            text.parse::<NonZeroU64>().map_err(|_error| "expected a whole number from 1".to_owned())
        });
        let dry_run = vars.boolean("DRY_RUN");
        let receipts = receipts(&mut vars, targets.as_ref());
        let hash_key = vars.optional("RECEIPT_HASH_KEY", |text| Ok(HashKey::new(text.to_owned())));
        let late_write_sweep = vars.optional("LATE_WRITE_SWEEP_SECONDS", |text| {
            sweep(text, continuation_queue_url.as_deref())
        });
        let bypass_governance_retention = vars.boolean("BYPASS_GOVERNANCE_RETENTION");
        let bucket_owners = vars.optional("EXPECTED_BUCKET_OWNER", |text| {
            BucketOwners::parse(text, targets.as_ref()).map_err(|faults| faults.join("; "))
        });
        let force_path_style = vars.boolean("S3_FORCE_PATH_STYLE");
        let fallback_seconds = vars.number(
            "AWS_LAMBDA_FUNCTION_TIMEOUT",
            DEFAULT_FALLBACK_SECONDS,
            1,
            MOST_RESERVE_MS / 1_000,
        );
        let hash_key_secret = vars
            .optional("RECEIPT_HASH_KEY_SECRET", |text| hash_key_secret(text, hash_key.is_some()));

        match (targets, continuation_queue_url) {
            (Some(targets), Some(continuation_queue_url)) if vars.faults.is_empty() => Ok(Self {
                targets,
                continuation_queue_url,
                max_deletes_per_second: NonZeroU32::new(max_deletes_per_second),
                max_in_flight_batches: NonZeroU32::new(max_in_flight_batches)
                    .unwrap_or(NonZeroU32::MIN),
                handoff_reserve: handoff_reserve_ms.map(|ms| Duration::from_millis(ms.into())),
                max_idle_hops: NonZeroU32::new(max_idle_hops).unwrap_or(NonZeroU32::MIN),
                max_objects,
                dry_run,
                message_format,
                receipts,
                hash_key: hash_key.unwrap_or_default(),
                hash_key_secret,
                late_write_sweep: late_write_sweep.filter(|after| !after.is_zero()),
                bypass_governance_retention,
                bucket_owners: bucket_owners.unwrap_or_default(),
                force_path_style,
                fallback_invocation_time: Duration::from_secs(fallback_seconds.into()),
            }),
            _ => Err(ConfigError { faults: vars.faults }),
        }
    }

    /// Reads every setting of the process: those of [`Config::from_vars`], and those of the AWS SDK
    /// without which no request can be sent.
    pub fn of_process(lookup: impl Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        let config = Self::from_vars(&lookup);
        let mut vars = Vars { lookup, faults: Vec::new() };
        // https://docs.aws.amazon.com/sdkref/latest/guide/feature-region.html
        if ["AWS_REGION", "AWS_DEFAULT_REGION"].iter().any(|name| vars.value(name).is_some()) {
            return config;
        }
        vars.faults = config.err().map(|error| error.faults).unwrap_or_default();
        let expected =
            "expected the region of the function and its queue, for example eu-central-1";
        vars.fault("AWS_REGION", expected.to_owned());
        Err(ConfigError { faults: vars.faults })
    }
}

/// Which ids users have.
fn id_rules<L>(vars: &mut Vars<L>, scopes: &[(String, JsonPointer)]) -> IdRules
where
    L: Fn(&str) -> Option<String>,
{
    let extra = vars.optional("USER_ID_EXTRA_CHARACTERS", Characters::parse_extra);
    IdRules {
        extra,
        characters: vars
            .optional("USER_ID_CHARACTERS", |text| Characters::parse_narrow(text, extra)),
        length: vars.optional("USER_ID_LENGTH", IdLength::parse),
        pattern: vars.optional("USER_ID_PATTERN", |text| {
            UserIdPattern::parse(text)
                .map_err(|error| format!("expected a regular expression: {error}"))
        }),
        scopes: scopes.iter().map(|(name, _)| name.clone()).collect(),
    }
}

/// Where users' files are. Faults of the settings about ids come first: targets depend on them.
fn targets<L>(vars: &mut Vars<L>, rules: &IdRules) -> Option<Targets>
where
    L: Fn(&str) -> Option<String>,
{
    let faults_before = vars.faults.len();
    let join = |faults: Vec<String>| faults.join("; ");
    let files = vars.optional("ERASE_KEYS", |text| Target::files(text, rules).map_err(join));
    let parse = |text: &str| Target::folders(text, rules).map_err(join);
    let folders = if files.is_some() || vars.faults.len() > faults_before {
        vars.optional("ERASE_TARGETS", parse)
    } else {
        vars.required(
            "ERASE_TARGETS",
            "expected s3://BUCKET/{user_id}/[,...], or ERASE_KEYS",
            parse,
        )
    };
    if vars.faults.len() > faults_before {
        return None;
    }
    let variable = if folders.is_some() { "ERASE_TARGETS" } else { "ERASE_KEYS" };
    let list: Vec<Target> = folders.into_iter().chain(files).flatten().collect();
    // Only the number of both together can be wrong now.
    Targets::new(list, rules.clone()).map_err(|expected| vars.fault(variable, expected)).ok()
}

fn message_format<L>(vars: &mut Vars<L>, scopes: Vec<(String, JsonPointer)>) -> MessageFormat
where
    L: Fn(&str) -> Option<String>,
{
    MessageFormat {
        event: vars.optional("MESSAGE_MATCH", MessageMatch::parse),
        user_id: vars.optional("USER_ID_POINTER", Locator::parse).unwrap_or_default(),
        request_id: vars.optional("REQUEST_ID_POINTER", JsonPointer::parse),
        withdrawn_at: vars.optional("WITHDRAWN_AT_POINTER", JsonPointer::parse),
        erase_before: vars.optional("ERASE_BEFORE_POINTER", JsonPointer::parse),
        scopes,
    }
}

fn receipts<L>(vars: &mut Vars<L>, targets: Option<&Targets>) -> Option<ReceiptSettings>
where
    L: Fn(&str) -> Option<String>,
{
    let folder = vars.optional("RECEIPTS_URI", |text| receipts_folder(text, targets));
    let expected_owner = vars.optional("EXPECTED_RECEIPTS_OWNER", |text| {
        AccountId::parse(text).map_err(|error| error.to_string())
    });
    let is_kms = vars.optional("RECEIPTS_SSE", |text| match text {
        "AES256" => Ok(false),
        "aws:kms" => Ok(true),
        _ => Err("expected AES256 or aws:kms".to_owned()),
    });
    let key_id = vars.optional("RECEIPTS_KMS_KEY_ID", |text| match is_kms {
        Some(true) if !text.contains(char::is_whitespace) => Ok(text.to_owned()),
        Some(true) => Err("expected the id or the ARN of a KMS key".to_owned()),
        Some(false) | None => Err("expected no key unless RECEIPTS_SSE is aws:kms".to_owned()),
    });
    let encryption =
        is_kms.map(|is_kms| if is_kms { Encryption::Kms { key_id } } else { Encryption::Aes256 });
    Some(ReceiptSettings { folder: folder?, expected_owner, encryption })
}

fn queue_url(text: &str) -> Result<String, String> {
    let is_url = text.starts_with("https://") || text.starts_with("http://");
    let has_path = text.splitn(4, '/').nth(3).is_some_and(|path| !path.is_empty());
    if is_url && has_path && !text.contains(char::is_whitespace) {
        Ok(text.to_owned())
    } else {
        Err("expected https://HOST/ACCOUNT/QUEUE".to_owned())
    }
}

/// Checks the name or ARN of a secret.
/// <https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_CreateSecret.html>
fn hash_key_secret(text: &str, has_key: bool) -> Result<String, String> {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"/_+=.@-:".contains(&byte);
    if has_key {
        Err("expected no secret together with RECEIPT_HASH_KEY: only one of them can be set"
            .to_owned())
    } else if text.len() <= 2_048 && text.bytes().all(is_allowed) {
        Ok(text.to_owned())
    } else {
        Err("expected the name or the ARN of a secret in Secrets Manager".to_owned())
    }
}

fn receipts_folder(text: &str, targets: Option<&Targets>) -> Result<S3Folder, String> {
    let folder = S3Folder::parse(text).map_err(|error| error.to_string())?;
    match targets.and_then(|targets| targets.target_containing(&folder)) {
        Some(target) => Err(format!(
            "expected a folder outside of every target, but {target} would erase receipts"
        )),
        None => Ok(folder),
    }
}

/// Parses the delay of the late-write sweep. FIFO queues do not support delays of single messages.
/// <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-message-timers.html>
fn sweep(text: &str, queue_url: Option<&str>) -> Result<Duration, String> {
    let seconds = number(text, 0, MOST_SWEEP_SECONDS)?;
    if seconds > 0 && queue_url.is_some_and(|url| url.ends_with(".fifo")) {
        return Err(
            "expected 0 with a FIFO queue: the sweep needs a standard queue as CONTINUATION_QUEUE_URL".to_owned()
        );
    }
    Ok(Duration::from_secs(seconds.into()))
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
        assert_eq!(config.bucket_owners, BucketOwners::default());
        assert_eq!(config.hash_key_secret, None);
        assert!(!config.force_path_style);
        assert_eq!(config.fallback_invocation_time, Duration::from_secs(60));
    }

    #[test]
    fn takes_each_setting_up_to_its_bound_and_no_further() {
        let is_taken = |name, value| with(&[&[(name, value)], &REQUIRED[..]].concat()).is_ok();
        for (name, taken, refused) in [
            ("LATE_WRITE_SWEEP_SECONDS", "1209600", "1209601"),
            ("AWS_LAMBDA_FUNCTION_TIMEOUT", "900", "901"),
            ("EXPECTED_BUCKET_OWNER", "123456789012", "1234567890123"),
            ("EXPECTED_BUCKET_OWNER", "000000000000", "12345678901x"),
            (
                "EXPECTED_BUCKET_OWNER",
                "photos=123456789012,exports=000000000000",
                "photos=123456789012",
            ),
            ("RECEIPT_HASH_KEY_SECRET", "erase/hash-key", "erase hash key"),
            (
                "RECEIPT_HASH_KEY_SECRET",
                "arn:aws:secretsmanager:eu-central-1:123456789012:secret:key-a1B2c3",
                "key?",
            ),
            ("CONTINUATION_QUEUE_URL", "http://localhost:4566/1/erase", "sqs://localhost/1/erase"),
            ("CONTINUATION_QUEUE_URL", "https://sqs/1/erase.fifo", "https://sqs/"),
            ("CONTINUATION_QUEUE_URL", "https://sqs/erase", "https://sqs/1/my erase"),
        ] {
            assert!(is_taken(name, taken), "{name}={taken}");
            assert!(!is_taken(name, refused), "{name}={refused}");
        }
    }

    #[test]
    fn an_empty_value_counts_as_not_set() {
        let empty = [
            "MAX_DELETES_PER_SECOND",
            "HANDOFF_RESERVE_MS",
            "EXPECTED_BUCKET_OWNER",
            "S3_FORCE_PATH_STYLE",
            "RECEIPTS_URI",
            "RECEIPT_HASH_KEY",
            "RECEIPT_HASH_KEY_SECRET",
            "DRY_RUN",
            "MAX_OBJECTS",
            "USER_ID_PATTERN",
            "USER_ID_POINTER",
            "LATE_WRITE_SWEEP_SECONDS",
        ];
        let mut settings = REQUIRED.to_vec();
        settings.extend(empty.map(|variable| (variable, "")));
        let shown = |settings: &[_]| format!("{:?}", with(settings).unwrap());
        assert_eq!(shown(&settings), shown(&REQUIRED));
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
            ("MAX_OBJECTS", "0"),
            ("DRY_RUN", "1"),
            ("USER_ID_PATTERN", "u)|(.*"),
            ("USER_ID_POINTER", "userId"),
            ("RECEIPTS_URI", "s3://receipts"),
            ("LATE_WRITE_SWEEP_SECONDS", "1209601"),
            ("BYPASS_GOVERNANCE_RETENTION", "TRUE"),
        ])
        .unwrap_err();
        let text = error.to_string();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "16 settings are wrong:");
        assert_eq!(lines.len(), 17, "{text}");
        assert!(
            text.contains(r#"MAX_DELETES_PER_SECOND is "fast": expected a whole number from 0 to"#),
            "{text}"
        );
        assert!(
            text.contains("CONTINUATION_QUEUE_URL is not set: expected the URL of an SQS queue"),
            "{text}"
        );
        assert!(text.contains(r#""https://photos": expected s3://BUCKET/PREFIX"#), "{text}");
        assert!(text.contains(r#"S3_FORCE_PATH_STYLE is "yes": expected true or false"#), "{text}");
        assert!(
            text.contains(r#"USER_ID_PATTERN is "u)|(.*": expected a regular expression: "#),
            "{text}"
        );
        assert!(
            text.contains(r#"USER_ID_POINTER is "userId": expected a JSON pointer like /userId"#),
            "{text}"
        );
        assert!(
            text.contains(r#"RECEIPTS_URI is "s3://receipts": expected s3://BUCKET/PREFIX/"#),
            "{text}"
        );
    }

    #[test]
    fn a_sweep_needs_a_queue_that_can_delay() {
        let mut settings = vec![REQUIRED[0], ("LATE_WRITE_SWEEP_SECONDS", "60")];
        settings.push((
            "CONTINUATION_QUEUE_URL",
            "https://sqs.eu-central-1.amazonaws.com/123456789012/erase.fifo",
        ));
        let error = with(&settings).unwrap_err().to_string();
        assert!(error.contains("the sweep needs a standard queue"), "{error}");
        settings[1].1 = "0";
        assert_eq!(with(&settings).unwrap().late_write_sweep, None);
    }

    #[test]
    fn the_hash_key_has_one_source_and_no_error_shows_it() {
        let settings = [
            REQUIRED[0],
            REQUIRED[1],
            ("RECEIPT_HASH_KEY", "hush"),
            ("RECEIPT_HASH_KEY_SECRET", "erase/hash-key"),
        ];
        let text = with(&settings).unwrap_err().to_string();
        assert!(text.contains("RECEIPT_HASH_KEY_SECRET is \"erase/hash-key\": "), "{text}");
        assert!(
            text.contains("together with RECEIPT_HASH_KEY") && !text.contains("hush"),
            "{text}"
        );
        let config = with(&[REQUIRED[0], REQUIRED[1], settings[3]]).unwrap();
        assert_eq!(config.hash_key_secret.as_deref(), Some("erase/hash-key"));
    }

    #[test]
    fn the_owners_are_those_of_folders_and_files() {
        let mut settings = REQUIRED.to_vec();
        settings.push(("ERASE_KEYS", "s3://avatars/{user_id}"));
        settings.push(("EXPECTED_BUCKET_OWNER", "photos=111122223333,exports=444455556666"));
        let text = with(&settings).unwrap_err().to_string();
        assert!(text.contains("bucket \"avatars\" of a target has no account"), "{text}");
        settings[3].1 = "photos=111122223333,exports=444455556666,avatars=111122223333";
        assert!(with(&settings).is_ok());
    }

    #[test]
    fn a_missing_region_is_reported_with_all_other_faults() {
        let of_process = |settings: &[(&str, &str)]| {
            Config::of_process(|variable| {
                let found = settings.iter().find(|(name, _)| *name == variable);
                found.map(|(_, value)| (*value).to_owned())
            })
        };
        for (variable, value, faults) in [
            ("AWS_REGION", "eu-central-1", 0),
            ("AWS_DEFAULT_REGION", "eu-central-1", 0),
            ("AWS_REGION", "", 1),
            ("MAX_OBJECTS", "0", 2),
        ] {
            let read = of_process(&[REQUIRED[0], REQUIRED[1], (variable, value)]);
            let text = read.err().map(|error| error.to_string()).unwrap_or_default();
            assert_eq!(text.lines().skip(1).count(), faults, "{text}");
            assert_eq!(text.contains("AWS_REGION is not set: expected "), faults > 0, "{text}");
        }
    }

    #[test]
    fn no_debug_output_has_the_hash_key() {
        let settings = [REQUIRED[0], REQUIRED[1], ("RECEIPT_HASH_KEY", "hush")];
        assert!(!format!("{:?}", with(&settings)).contains("hush"));
    }
}
