//! The metrics of an invocation, in `CloudWatch`'s embedded metric format (EMF): one line of JSON.
//!
//! The line is built by hand, because it is one object per invocation. Of the crates for EMF,
//! metrique has 38 dependencies, and `metrics_cloudwatch_embedded` needs a recorder that is global
//! to the process. A program that only writes one such line (x86-64, `opt-level = "s"`, fat LTO,
//! stripped) has 315 kB by hand with `serde_json`, 382 kB with metrique-writer 0.1.29, and 512 kB
//! with `metrics_cloudwatch_embedded` 0.10.0; from start to end, all three take 1.7 to 1.8 ms.
//! <https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html>

use std::fmt;
use std::time::Duration;

use serde::Serialize;
use serde_json::json;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::erasure::counts::{Counts, Remaining};
use crate::lambda::outcome::Outcome;

/// The namespace of the metrics in `CloudWatch`.
pub const NAMESPACE: &str = "EraseUserFiles";

/// The only dimension. A metric for each user would outlive the user.
pub const DIMENSION: &str = "FunctionName";

/// Every metric and its unit. Every line has all of them, except that `KeysPerSecond` needs at
/// least one key.
pub const METRICS: [(&str, &str); 19] = [
    ("ErasuresCompleted", "Count"),
    ("ErasuresFoundNothing", "Count"),
    ("ErasuresContinued", "Count"),
    ("ErasuresIncomplete", "Count"),
    ("ErasuresFailed", "Count"),
    ("MessagesRejected", "Count"),
    ("ObjectsErased", "Count"),
    ("VersionsErased", "Count"),
    ("DeleteMarkersErased", "Count"),
    ("UploadsAborted", "Count"),
    ("BytesErased", "Bytes"),
    ("KeysRetained", "Count"),
    ("KeysRefused", "Count"),
    ("Throttled", "Count"),
    ("KeysPerSecond", "Count/Second"),
    ("IdleHops", "Count"),
    ("LateWritesFound", "Count"),
    ("OldestErasureAgeSeconds", "Seconds"),
    ("DryRuns", "Count"),
];

/// The metrics of one message.
#[derive(Debug)]
pub(crate) struct MessageMetrics {
    /// What this hop deleted, or would have deleted in a dry run.
    pub(crate) deleted: Counts,
    /// What the hop's last round left.
    pub(crate) left: Remaining,
    /// The number of responses that asked the client to slow down.
    pub(crate) throttles: u64,
    /// Whether the hop made no progress.
    pub(crate) is_idle: bool,
    /// Whether it is a dry run.
    pub(crate) is_dry_run: bool,
    /// Whether it is a late-write sweep.
    pub(crate) is_sweep: bool,
    /// The time since the user's withdrawal or, if the request does not state it, since the request
    /// was sent.
    pub(crate) age: Duration,
}

/// The sums over all messages of an invocation. Each field is a metric.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct InvocationMetrics {
    erasures_completed: u64,
    erasures_found_nothing: u64,
    erasures_continued: u64,
    erasures_incomplete: u64,
    erasures_failed: u64,
    messages_rejected: u64,
    objects_erased: u64,
    versions_erased: u64,
    delete_markers_erased: u64,
    uploads_aborted: u64,
    bytes_erased: u64,
    keys_retained: u64,
    keys_refused: u64,
    throttled: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    keys_per_second: Option<u64>,
    idle_hops: u64,
    late_writes_found: u64,
    oldest_erasure_age_seconds: u64,
    dry_runs: u64,
}

impl InvocationMetrics {
    /// Counts one message; `metrics` is `None` if it could not be read.
    pub(crate) fn add(&mut self, outcome: &Outcome, metrics: Option<&MessageMetrics>) {
        let is_waiting = metrics.is_some_and(|metrics| metrics.is_sweep)
            && matches!(outcome, Outcome::Continued(_));
        let is_over = match outcome {
            Outcome::Erased { found_nothing } => {
                self.erasures_completed += 1;
                self.erasures_found_nothing += u64::from(*found_nothing);
                true
            }
            Outcome::DryRun => {
                self.dry_runs += 1;
                true
            }
            // The delivery that finished the erasure was counted.
            Outcome::Swept | Outcome::AlreadyDone(_) => true,
            Outcome::Continued(_) => {
                self.erasures_continued += u64::from(!is_waiting);
                is_waiting
            }
            Outcome::Incomplete(_) => {
                self.erasures_incomplete += 1;
                false
            }
            Outcome::Failed(_) => {
                self.erasures_failed += 1;
                false
            }
            Outcome::Rejected(_) => {
                self.messages_rejected += 1;
                false
            }
        };
        if let Some(metrics) = metrics {
            self.add_metrics(metrics, is_over);
        }
    }

    fn add_metrics(&mut self, metrics: &MessageMetrics, is_over: bool) {
        let sum = |sum: &mut u64, more: u64| *sum = sum.saturating_add(more);
        sum(&mut self.throttled, metrics.throttles);
        sum(&mut self.keys_retained, metrics.left.retained_total());
        sum(&mut self.keys_refused, metrics.left.not_deleted());
        sum(&mut self.idle_hops, u64::from(metrics.is_idle && !is_over));
        if metrics.is_dry_run {
            return;
        }
        sum(&mut self.objects_erased, metrics.deleted.objects);
        sum(&mut self.versions_erased, metrics.deleted.versions);
        sum(&mut self.delete_markers_erased, metrics.deleted.delete_markers);
        sum(&mut self.uploads_aborted, metrics.deleted.uploads);
        sum(&mut self.bytes_erased, metrics.deleted.bytes);
        if metrics.is_sweep {
            // The sweep follows a proof that nothing remained, so that everything it finds was
            // written later.
            sum(&mut self.late_writes_found, metrics.deleted.total());
        } else if !is_over {
            self.oldest_erasure_age_seconds =
                self.oldest_erasure_age_seconds.max(metrics.age.as_secs());
        }
    }

    /// Calculates the rate after all messages are counted.
    pub(crate) fn within(mut self, duration: Duration) -> Self {
        let keys = [self.objects_erased, self.versions_erased, self.delete_markers_erased];
        let keys = keys.into_iter().fold(0_u64, u64::saturating_add);
        let ms = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX).max(1);
        self.keys_per_second = (keys > 0).then(|| keys.saturating_mul(1_000) / ms);
        self
    }
}

/// Writes a line for each invocation.
pub struct Metrics {
    function_name: String,
    level: String,
    write: Box<dyn Fn(&str)>,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { function_name, level, write: _ } = self;
        formatter
            .debug_struct("Metrics")
            .field("function_name", function_name)
            .field("level", level)
            .finish()
    }
}

impl Metrics {
    /// Creates the writer. `log_level` is the function's `AWS_LAMBDA_LOG_LEVEL`; every metrics line
    /// has a level that passes it. `write` gets lines without a line ending.
    pub fn new(
        function_name: String,
        log_level: Option<&str>,
        write: impl Fn(&str) + 'static,
    ) -> Self {
        let level =
            log_level.filter(|level| !level.is_empty()).unwrap_or("INFO").to_ascii_uppercase();
        Self { function_name, level, write: Box::new(write) }
    }

    /// Writes the metrics of an invocation that ends at `now`.
    pub(crate) fn write(&self, numbers: &InvocationMetrics, now: OffsetDateTime) {
        let mut line = json!(numbers);
        let of_line = METRICS.iter().filter(|(name, _)| line.get(name).is_some());
        let definitions: Vec<_> =
            of_line.map(|(name, unit)| json!({ "Name": name, "Unit": unit })).collect();
        line["_aws"] = json!({
            "Timestamp": now.unix_timestamp_nanos() / 1_000_000,
            "CloudWatchMetrics": [{ "Namespace": NAMESPACE, "Dimensions": [[DIMENSION]], "Metrics": definitions }],
        });
        line[DIMENSION] = json!(self.function_name);
        // Lambda treats a line without a level or a timestamp as INFO, and drops lines below the
        // function's log level:
        // https://docs.aws.amazon.com/lambda/latest/dg/monitoring-cloudwatchlogs-log-level.html
        line["level"] = json!(self.level);
        line["timestamp"] = json!(now.format(&Rfc3339).unwrap_or_default());
        (self.write)(&line.to_string());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fields_are_the_metrics() {
        let all =
            json!(InvocationMetrics { keys_per_second: Some(1), ..InvocationMetrics::default() });
        let mut fields: Vec<&str> = all.as_object().unwrap().keys().map(String::as_str).collect();
        let mut names: Vec<&str> = METRICS.iter().map(|(name, _)| *name).collect();
        fields.sort_unstable();
        names.sort_unstable();
        assert_eq!(fields, names);
    }

    #[test]
    fn the_pace_is_that_of_the_keys_and_needs_one() {
        let pace = |numbers: InvocationMetrics, ms| {
            numbers.within(Duration::from_millis(ms)).keys_per_second
        };
        let keys = InvocationMetrics {
            objects_erased: 1_000,
            versions_erased: 500,
            delete_markers_erased: 250,
            ..InvocationMetrics::default()
        };
        assert_eq!(pace(keys.clone(), 500), Some(3_500));
        assert_eq!(pace(keys, 0), Some(1_750_000));
        assert_eq!(
            pace(InvocationMetrics { uploads_aborted: 5, ..InvocationMetrics::default() }, 500),
            None
        );
    }
}
