//! Reads embedded metrics as `CloudWatch` would, and fails where it would drop them without a word.
//! <https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html>

#![expect(clippy::panic, reason = "a test may end with a message of its own")]

use std::collections::BTreeMap;

use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// The units that the format knows, of those that are ours.
const UNITS: [&str; 4] = ["Bytes", "Count", "Count/Second", "Seconds"];

/// What one line says.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Embedded {
    pub(crate) namespace: String,
    pub(crate) dimensions: BTreeMap<String, String>,
    /// By name.
    pub(crate) metrics: BTreeMap<String, f64>,
    pub(crate) level: String,
}

impl Embedded {
    /// `None` where a line is no embedded metrics: it has no `_aws`.
    pub(crate) fn read(line: &str) -> Option<Self> {
        let root: Value = serde_json::from_str(line).ok()?;
        let meta = root.get("_aws")?;
        assert!(line.len() <= 1_048_576, "a line of {} bytes", line.len());
        let at = meta["Timestamp"].as_i64().expect("milliseconds since 1970");
        let written = OffsetDateTime::parse(text(&root["timestamp"]), &Rfc3339).expect("RFC 3339");
        assert_eq!(
            i128::from(at),
            written.unix_timestamp_nanos() / 1_000_000,
            "two times in {line}"
        );
        let directives = meta["CloudWatchMetrics"].as_array().expect("an array of directives");
        let [directive] = &directives[..] else { panic!("{} directives", directives.len()) };
        let namespace = text(&directive["Namespace"]).to_owned();
        assert!(
            (1..=1_024).contains(&namespace.len()) && !namespace.starts_with("AWS/"),
            "{namespace:?}"
        );
        let sets = directive["Dimensions"].as_array().expect("dimension sets");
        let [set] = &sets[..] else { panic!("{} dimension sets", sets.len()) };
        let dimension = |name: &Value| {
            let value = text(&root[text(name)]);
            assert!((1..=1_024).contains(&value.len()), "dimension {name}: {value:?}");
            (text(name).to_owned(), value.to_owned())
        };
        let dimensions = set.as_array().expect("a set").iter().map(dimension).collect();
        let definitions = directive["Metrics"].as_array().expect("definitions");
        assert!((1..=100).contains(&definitions.len()), "{} metrics", definitions.len());
        let metric = |definition: &Value| {
            let (name, unit) = (text(&definition["Name"]), text(&definition["Unit"]));
            assert!(UNITS.contains(&unit), "{name} in {unit}");
            (
                name.to_owned(),
                root[name].as_f64().unwrap_or_else(|| panic!("{name} has no number in {line}")),
            )
        };
        let metrics: BTreeMap<_, _> = definitions.iter().map(metric).collect();
        assert_eq!(metrics.len(), definitions.len(), "a metric twice in {line}");
        let level = text(&root["level"]).to_owned();
        Some(Self { namespace, dimensions, metrics, level })
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text"))
}
