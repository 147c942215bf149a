//! One round: the passes over all targets.
//!
//! A fault stays where it is: a pass that fails is left for this round, and all other passes are
//! done in the same round.

use std::pin::pin;

use futures::future::{Either, join, select};
use tokio::time::sleep;

use crate::deadline::time_until;
use crate::erasure::batch::BatchSink;
use crate::erasure::checkpoint::Checkpoint;
use crate::erasure::context::{Context, Scope};
use crate::erasure::pass::run_pass;
use crate::erasure::plan::{Cursor, Next, Pass, PassEnd, Resume};
use crate::erasure::report::TargetError;
use crate::limiter::ReadClass;
use crate::ports::store::{Kind, ListedEntry, Page, ReadStore, StoreError};
use crate::target::Prefix;

/// How a round ended.
#[derive(Debug)]
pub(super) enum RoundEnd {
    Complete,
    OutOfTime,
    Aborted(TargetError),
}

/// Runs the passes of one round from the checkpoint on, and moves it.
pub(super) async fn run_round<S: ReadStore>(
    cx: &Context<'_, S>,
    sink: &impl BatchSink<S>,
    checkpoint: &mut Checkpoint,
) -> RoundEnd {
    cx.progress.begin_round(checkpoint);
    let targets = cx.erasure.targets;
    let mut cursor = Cursor::resume(targets, checkpoint).unwrap_or_else(|| {
        cx.progress.restart_round(cx.is_dry_run);
        Cursor::at_start(targets)
    });
    let mut prefetched = None;
    // How much was deleted when the store last rejected a token, and at which target.
    let mut rejected_at = None;
    let end = loop {
        let Some((target, pass)) = cursor.pass() else { break RoundEnd::Complete };
        let resume = cursor.take_resume();
        let step = Step {
            target: target.to_string(),
            prefix: target.prefix(cx.erasure.user),
            passes_behind: cursor.passes_behind(),
            may_prefetch: may_prefetch(cx, checkpoint),
        };
        let mut end = match pass {
            Pass::Uploads => run_uploads(cx, sink, &step, resume, &mut prefetched).await,
            Pass::Data => run_data(cx, sink, &step, resume, prefetched.take()).await,
        };
        if let PassEnd::Restart(Some(error)) = &end {
            let at = Some((step.target.clone(), cx.progress.deleted()));
            if rejected_at == at {
                // A store that rejects its tokens again and again is not asked again.
                end = PassEnd::Failed(error.clone().into());
            }
            rejected_at = at;
        }
        note_end(cx, &step.target, &end).await;
        match cursor.advance(end) {
            Next::Pass => {}
            Next::Stop => break RoundEnd::OutOfTime,
            Next::Abort(error) => {
                break RoundEnd::Aborted(TargetError { target: step.target, error });
            }
        }
    };
    cursor.save(checkpoint);
    end
}

/// One pass of the round.
#[derive(Debug)]
struct Step {
    /// The target, as its setting names it.
    target: String,
    prefix: Prefix,
    passes_behind: usize,
    may_prefetch: bool,
}

impl Step {
    fn scope(&self, kind: Kind) -> Scope<'_> {
        // The pass over the data of the same target may come after it.
        let is_last_target = self.passes_behind <= usize::from(kind == Kind::Uploads);
        Scope::new((&self.target, &self.prefix), kind, is_last_target)
    }

    /// The pass begins, with so many passes after it.
    fn begin<S: ReadStore>(&self, cx: &Context<'_, S>, passes_behind: usize) {
        cx.patience.begin_pass(time_until(cx.erasure.stop), passes_behind);
    }
}

/// Whether objects are listed before it is known whether the bucket has any: in the first round
/// only, because later rounds find almost nothing, and an empty page has to be listed again anyway.
/// With `erase_before`, items are listed as late as possible, because they may be overwritten in
/// the meantime. The one round of a dry run has to be as good as a proof.
fn may_prefetch<S>(cx: &Context<'_, S>, checkpoint: &Checkpoint) -> bool {
    checkpoint.round == 1 && cx.erasure.erase_before.is_none() && !cx.is_dry_run
}

/// Records how a pass ended, where that is more than a position.
async fn note_end<S: ReadStore>(cx: &Context<'_, S>, target: &str, end: &PassEnd) {
    match end {
        PassEnd::Failed(error) => {
            cx.progress
                .record_error(TargetError { target: target.to_owned(), error: error.clone() });
        }
        PassEnd::Restart(rejected) => {
            cx.progress.restart_target(target, cx.is_dry_run);
            if let Some(error) = rejected {
                cx.progress.record_transient_error(target, error.clone());
                cx.progress.retried();
                sleep(cx.limiter.backoff(1)).await;
            }
        }
        PassEnd::OutOfTimeAtStart if cx.is_dry_run => cx.progress.reset_counts(target),
        PassEnd::OutOfTimeAtStart
        | PassEnd::Complete
        | PassEnd::OutOfTime(_)
        | PassEnd::Aborted(_) => {}
    }
}

/// What is asked while the uploads of a target are aborted.
#[derive(Debug)]
struct Prefetched {
    /// Whether the bucket has versioning; `None` if the stop time came first.
    is_versioned: Option<Result<bool, StoreError>>,
    /// The first page of objects.
    page: Option<Page>,
}

/// The pass over the uploads of a target. Concurrently, it is asked what the pass over its data
/// needs to know.
async fn run_uploads<S: ReadStore>(
    cx: &Context<'_, S>,
    sink: &impl BatchSink<S>,
    step: &Step,
    resume: Resume,
    prefetched: &mut Option<Prefetched>,
) -> PassEnd {
    let uploads = step.scope(Kind::Uploads);
    let objects = Scope::new((&step.target, &step.prefix), Kind::Objects, uploads.is_last_target);
    cx.patience.begin_target();
    step.begin(cx, step.passes_behind);
    let ask = prefetch(cx, &objects, step.may_prefetch);
    let (answer, end) = join(ask, run_pass(cx, sink, &uploads, resume.ranges, None)).await;
    *prefetched = Some(answer);
    end
}

/// The pass over the data of a target: objects, or versions and delete markers.
async fn run_data<S: ReadStore>(
    cx: &Context<'_, S>,
    sink: &impl BatchSink<S>,
    step: &Step,
    resume: Resume,
    prefetched: Option<Prefetched>,
) -> PassEnd {
    let Prefetched { is_versioned, page } = match prefetched {
        Some(prefetched) => prefetched,
        None => {
            // The hop resumes here: the question belongs to the uploads' share of the time.
            cx.patience.begin_target();
            step.begin(cx, step.passes_behind + 1);
            let is_versioned = ask_for_versioning(cx, &step.scope(Kind::Objects)).await;
            Prefetched { is_versioned, page: None }
        }
    };
    let kind = match is_versioned {
        None => return PassEnd::OutOfTime(resume),
        Some(Err(error)) => return PassEnd::Failed(error.into()),
        Some(Ok(true)) => Kind::Versions,
        Some(Ok(false)) => Kind::Objects,
    };
    if !resume.ranges.is_empty() && resume.kind != Some(kind) {
        return PassEnd::Restart(None);
    }
    step.begin(cx, step.passes_behind);
    let scope = step.scope(kind);
    let page = page.filter(|_| kind == Kind::Objects && resume.ranges.is_empty());
    let end = run_pass(cx, sink, &scope, resume.ranges, page).await;
    let may_be_proof = cx.is_dry_run || cx.progress.may_be_proof();
    if end != PassEnd::Complete || kind == Kind::Versions || !may_be_proof {
        return end;
    }
    // Versioning may have been switched on since it was asked for: a plain delete has only hidden
    // the data since then. A bucket that has no versioning after the listing had none during it.
    match ask_for_versioning(cx, &scope).await {
        None => PassEnd::OutOfTimeAtStart,
        Some(Err(error)) => PassEnd::Failed(error.into()),
        Some(Ok(true)) => PassEnd::Restart(None),
        Some(Ok(false)) => PassEnd::Complete,
    }
}

/// Whether the bucket has versioning; `None` if the stop time came first.
async fn ask_for_versioning<S: ReadStore>(
    cx: &Context<'_, S>,
    scope: &Scope<'_>,
) -> Option<Result<bool, StoreError>> {
    let request = |timeout| cx.store.is_versioned(scope.prefix, timeout);
    cx.until_stop(cx.retry_read(scope, ReadClass::Other, request)).await
}

/// Asks whether the bucket has versioning, and lists the first page of objects. If the bucket has
/// versioning, the page is of no use, and behind many delete markers it may take longer than all
/// the rest: it is not waited for.
async fn prefetch<S: ReadStore>(
    cx: &Context<'_, S>,
    objects: &Scope<'_>,
    prefetches_page: bool,
) -> Prefetched {
    let ask = pin!(ask_for_versioning(cx, objects));
    let page = pin!(async { if prefetches_page { first_page(cx, objects).await } else { None } });
    match select(ask, page).await {
        Either::Left((is_versioned @ Some(Ok(false)), page)) => {
            Prefetched { is_versioned, page: page.await }
        }
        Either::Left((is_versioned, _)) => Prefetched { is_versioned, page: None },
        Either::Right((page, ask)) => Prefetched { is_versioned: ask.await, page },
    }
}

/// The first page of objects. One without the user's objects is listed again after the uploads: an upload that was
/// completed between the two listings may be in neither, and a round that finds nothing is the
/// proof.
async fn first_page<S: ReadStore>(cx: &Context<'_, S>, objects: &Scope<'_>) -> Option<Page> {
    let request = |timeout| cx.store.list(objects.prefix, objects.kind, None, timeout);
    let page = cx.until_stop(cx.retry_read(objects, ReadClass::Other, request)).await?.ok()?;
    let is_own = |entry: &ListedEntry| !objects.prefix.is_neighbour(&entry.key);
    page.entries.iter().any(is_own).then_some(page)
}
