//! Numbers for readers.

use std::fmt::{self, Display};
use std::time::Duration;

use crate::machine::{machine, today};

/// What a run has to say: a table, and what it checked.
#[derive(Debug, Default)]
pub struct Report {
    title: String,
    rows: Vec<(String, String)>,
    checks: Vec<(bool, String)>,
}

impl Report {
    pub(crate) fn new(title: impl Into<String>) -> Self {
        let measured = ("measured on".to_owned(), format!("{}, {} UTC", machine(), today()));
        Self { title: title.into(), rows: vec![measured], ..Self::default() }
    }

    pub(crate) fn row(&mut self, name: &str, value: impl Display) {
        self.rows.push((name.to_owned(), value.to_string()));
    }

    pub(crate) fn check(&mut self, is_met: bool, what: impl Into<String>) {
        self.checks.push((is_met, what.into()));
    }

    /// Whether everything that was promised is so.
    pub fn is_good(&self) -> bool {
        self.checks.iter().all(|(is_met, _)| *is_met)
    }
}

impl Display for Report {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "# {}\n\n| | |\n|---|---|", self.title)?;
        for (name, value) in &self.rows {
            writeln!(formatter, "| {name} | {value} |")?;
        }
        writeln!(formatter)?;
        for (is_met, what) in &self.checks {
            writeln!(formatter, "- {} {what}", if *is_met { "yes:" } else { "**NO:**" })?;
        }
        Ok(())
    }
}

/// Durations as a reader needs them: the least, the middle, nearly the most, the most.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Spread {
    pub(crate) least: Duration,
    pub(crate) median: Duration,
    pub(crate) p95: Duration,
    pub(crate) most: Duration,
}

impl Spread {
    pub(crate) fn of(times: impl IntoIterator<Item = Duration>) -> Self {
        let mut times: Vec<Duration> = times.into_iter().collect();
        times.sort_unstable();
        let at = |percent: usize| {
            let rank = (times.len() * percent).div_ceil(100).max(1);
            times.get(rank - 1).copied().unwrap_or_default()
        };
        Self { least: at(0), median: at(50), p95: at(95), most: at(100) }
    }
}

impl Display for Spread {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { least, median, p95, most } = self;
        let show = |time: &Duration| seconds(*time);
        write!(formatter, "{} / {} / {} / {}", show(least), show(median), show(p95), show(most))
    }
}

/// The command line, for a reader who wants to repeat the run.
pub fn command_line() -> String {
    std::env::args().collect::<Vec<_>>().join(" ")
}

/// A time in seconds, as exact as its size deserves.
pub(crate) fn seconds(time: Duration) -> String {
    let decimals = if time < Duration::from_secs(10) { 3 } else { 1 };
    format!("{:.decimals$} s", time.as_secs_f64())
}

/// How much of a whole, in percent.
pub(crate) fn percent(part: f64, whole: f64) -> String {
    format!("{:.1} %", 100.0 * part / whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_middle_and_the_ends() {
        let spread = Spread::of((1..=100).rev().map(Duration::from_secs));
        let [least, median, p95, most] = [1, 50, 95, 100].map(Duration::from_secs);
        assert_eq!(spread, Spread { least, median, p95, most });
        assert_eq!(Spread::of([]), Spread::default());
    }

    #[test]
    fn shows_times() {
        assert_eq!(seconds(Duration::from_millis(61)), "0.061 s");
        assert_eq!(seconds(Duration::from_millis(12_345)), "12.3 s");
    }
}
