//! How the checks of the acceptance suite ended.

use std::any::Any;
use std::fmt::{self, Display, Formatter};
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures::FutureExt;
use tokio::time::{Instant, timeout};

use crate::stores::{Checked, Stop};
use crate::{Failure, Outcome};

/// The most of a reason that one line has, in characters.
const MOST: usize = 300;

#[derive(Debug)]
enum Verdict {
    Passed,
    /// The store does not have what the check needs.
    Skipped(String),
    Failed(String),
}

impl Verdict {
    fn reason(&self) -> &str {
        match self {
            Self::Passed => "",
            Self::Skipped(reason) | Self::Failed(reason) => reason,
        }
    }
}

/// A check and how it ended: one line of the report.
#[derive(Debug)]
pub(crate) struct Line {
    claim: String,
    verdict: Verdict,
    time: Duration,
}

impl Display for Line {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        let word = match self.verdict {
            Verdict::Passed => "passed",
            Verdict::Skipped(_) => "skipped",
            Verdict::Failed(_) => "failed",
        };
        write!(formatter, "{word:<8}{:>6.1} s  {}", self.time.as_secs_f64(), self.claim)?;
        match self.verdict.reason() {
            "" => Ok(()),
            reason => write!(formatter, ": {}", in_one_line(reason)),
        }
    }
}

/// All checks so far.
#[derive(Debug, Default)]
pub(crate) struct Results(Vec<Line>);

impl Results {
    /// Runs a check and records how it ended. Whatever happens in it, the next one can run.
    pub(crate) async fn add(
        &mut self,
        claim: String,
        limit: Duration,
        check: impl Future<Output = Checked>,
    ) -> &Line {
        let begin = Instant::now();
        // A failed assertion ends this check and no other.
        let check = AssertUnwindSafe(Box::pin(check)).catch_unwind();
        let verdict = match timeout(limit, check).await {
            Ok(Ok(Ok(()))) => Verdict::Passed,
            Ok(Ok(Err(Stop::Lacks(reason)))) => Verdict::Skipped(reason),
            Ok(Ok(Err(Stop::Failed(Failure(reason))))) => Verdict::Failed(reason),
            Ok(Err(panic)) => Verdict::Failed(text_of(&*panic)),
            Err(_elapsed) => Verdict::Failed(format!("it was not completed within {limit:?}")),
        };
        self.0.push(Line { claim, verdict, time: begin.elapsed() });
        &self.0[self.0.len() - 1]
    }

    /// Fails unless every check has passed.
    pub(crate) fn must_pass(&self) -> Outcome {
        self.must_have_none(|verdict| !matches!(verdict, Verdict::Passed))
    }

    /// Fails if a check has failed.
    pub(crate) fn must_not_fail(&self) -> Outcome {
        self.must_have_none(|verdict| matches!(verdict, Verdict::Failed(_)))
    }

    fn must_have_none(&self, is_bad: fn(&Verdict) -> bool) -> Outcome {
        let bad = self.0.iter().filter(|line| is_bad(&line.verdict));
        let bad: Vec<String> =
            bad.map(|line| format!("{}: {}", line.claim, line.verdict.reason())).collect();
        if bad.is_empty() { Ok(()) } else { Err(Failure(bad.join("\n"))) }
    }
}

impl Display for Results {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        for line in &self.0 {
            writeln!(formatter, "{line}")?;
        }
        let count = |is_one: fn(&Verdict) -> bool| {
            self.0.iter().filter(|line| is_one(&line.verdict)).count()
        };
        let passed = count(|verdict| matches!(verdict, Verdict::Passed));
        let failed = count(|verdict| matches!(verdict, Verdict::Failed(_)));
        writeln!(
            formatter,
            "{passed} passed, {failed} failed, {} skipped",
            self.0.len() - passed - failed
        )
    }
}

/// A text without line breaks, cut off where it is long.
pub(crate) fn in_one_line(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.chars().count() <= MOST {
        return line;
    }
    line.chars().take(MOST).chain(['…']).collect()
}

fn text_of(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("a panic without a text").to_owned()
}

#[tokio::test]
async fn failing_check_does_not_stop_other_checks() {
    let limit = Duration::from_millis(100);
    let mut results = Results::default();
    let panics = async {
        assert!(limit.is_zero(), "two\nlines");
        Ok(())
    };
    results.add("panics".to_owned(), limit, panics).await;
    results.add("hangs".to_owned(), limit, std::future::pending()).await;
    results
        .add("lacks".to_owned(), limit, async { Err(Stop::Lacks("no versioning".to_owned())) })
        .await;
    results.add("fails".to_owned(), limit, async { Err(Failure("x".repeat(1_000)).into()) }).await;
    results.add("passes".to_owned(), limit, async { Ok(()) }).await;
    let text = results.to_string();
    let lines: Vec<&str> = text.lines().collect();
    assert!(
        lines[0].starts_with("failed ") && lines[0].ends_with(" s  panics: two lines"),
        "{text}"
    );
    assert!(lines[1].ends_with("s  hangs: it was not completed within 100ms"), "{text}");
    assert!(
        lines[2].starts_with("skipped ") && lines[2].ends_with("s  lacks: no versioning"),
        "{text}"
    );
    assert!(lines[3].ends_with(&format!("s  fails: {}…", "x".repeat(MOST))), "{text}");
    assert!(lines[4].starts_with("passed ") && lines[4].ends_with("s  passes"), "{text}");
    assert_eq!(lines[5..], ["1 passed, 3 failed, 1 skipped"]);
    assert!(results.must_pass().is_err() && results.must_not_fail().is_err());
    assert!(Results::default().must_pass().is_ok());
}
