//! The plan of a round, and where a hop is in it. No I/O and no clock.
//!
//! A round is a list of passes: for each target its unfinished uploads, then its data. Uploads come
//! first, because an upload that is completed in the meantime becomes an object, and has to be
//! listed as one. Only [`Cursor::advance`] moves through the list.

use crate::erasure::checkpoint::{Checkpoint, KeyRange};
use crate::erasure::report::PassError;
use crate::erasure::split::MAX_RANGES;
use crate::ports::store::{Kind, StoreError};
use crate::target::{Target, Targets};

/// What a pass lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pass {
    Uploads,
    /// Objects, or versions and delete markers, as the bucket has it.
    Data,
}

const PASSES: [Pass; 2] = [Pass::Uploads, Pass::Data];

/// Where a pass resumes: the kind that was listed, and the ranges that are not done. No ranges: at
/// its start.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Resume {
    pub(super) kind: Option<Kind>,
    pub(super) ranges: Vec<KeyRange>,
}

/// How a pass ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum PassEnd {
    /// Everything that it listed has an outcome.
    Complete,
    /// The stop time came.
    OutOfTime(Resume),
    /// The stop time came, and the target has to be listed from its start.
    OutOfTimeAtStart,
    /// The target has to be listed from its start: its bucket has versioning now, or the store
    /// rejected the token of a page.
    Restart(Option<StoreError>),
    /// The pass is left for this round. The other passes can still be done.
    Failed(PassError),
    /// The whole erasure has to stop.
    Aborted(PassError),
}

/// What follows from the end of a pass.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Next {
    /// Another pass, or the end of the round.
    Pass,
    /// The hop ends here, at the stop time.
    Stop,
    Abort(PassError),
}

/// The pass that comes next, and where it resumes.
#[derive(Debug)]
pub(super) struct Cursor<'p> {
    targets: &'p Targets,
    /// The number of passes of this round before this one.
    number: usize,
    resume: Resume,
}

impl<'p> Cursor<'p> {
    /// At the first pass of a round.
    pub(super) fn at_start(targets: &'p Targets) -> Self {
        Self { targets, number: 0, resume: Resume::default() }
    }

    /// At the position of a checkpoint. `None`: the position has no meaning here, because another
    /// list of targets has another order, or an earlier release wrote a token without its kind.
    pub(super) fn resume(targets: &'p Targets, checkpoint: &Checkpoint) -> Option<Self> {
        let Some(name) = checkpoint.target.as_deref() else {
            return Some(Self::at_start(targets));
        };
        if checkpoint.setting.as_deref().is_some_and(|setting| setting != targets.mark()) {
            return None;
        }
        let target = targets.as_slice().iter().position(|target| target.to_string() == name)?;
        let ranges = checkpoint.resume_ranges();
        let (pass, resume) = match checkpoint.kind? {
            Kind::Uploads => (Pass::Uploads, Resume { kind: Some(Kind::Uploads), ranges }),
            // Earlier releases deleted delete markers in a pass of their own, after that of the data.
            Kind::DeleteMarkers => (Pass::Data, Resume::default()),
            kind @ (Kind::Objects | Kind::Versions) => {
                (Pass::Data, Resume { kind: Some(kind), ranges })
            }
        };
        let number = PASSES.len() * target + usize::from(pass == Pass::Data);
        (resume.ranges.len() <= MAX_RANGES).then_some(Self { targets, number, resume })
    }

    /// The target and what to list there; `None` at the end of the round.
    pub(super) fn pass(&self) -> Option<(&'p Target, Pass)> {
        let target = self.targets.as_slice().get(self.number / PASSES.len())?;
        Some((target, PASSES[self.number % PASSES.len()]))
    }

    /// Takes out where the pass resumes.
    pub(super) fn take_resume(&mut self) -> Resume {
        std::mem::take(&mut self.resume)
    }

    /// How many passes of the round come after this one.
    pub(super) fn passes_behind(&self) -> usize {
        (PASSES.len() * self.targets.as_slice().len()).saturating_sub(self.number + 1)
    }

    /// Moves on from the end of the current pass.
    pub(super) fn advance(&mut self, end: PassEnd) -> Next {
        let start_of_target = self.number - self.number % PASSES.len();
        let (number, resume, next) = match end {
            PassEnd::Complete | PassEnd::Failed(_) => {
                (self.number + 1, Resume::default(), Next::Pass)
            }
            PassEnd::OutOfTime(resume) => (self.number, resume, Next::Stop),
            PassEnd::OutOfTimeAtStart => (start_of_target, Resume::default(), Next::Stop),
            PassEnd::Restart(_) => (start_of_target, Resume::default(), Next::Pass),
            PassEnd::Aborted(error) => (self.number, Resume::default(), Next::Abort(error)),
        };
        (self.number, self.resume) = (number, resume);
        next
    }

    /// Writes the position into the checkpoint. The start of the first pass, and the end of the
    /// round, are the start of a round.
    pub(super) fn save(self, checkpoint: &mut Checkpoint) {
        checkpoint.clear_position();
        let is_at_start = self.number == 0 && self.resume.ranges.is_empty();
        if let Some((target, pass)) = self.pass().filter(|_| !is_at_start) {
            checkpoint.setting = Some(self.targets.mark().to_owned());
            checkpoint.target = Some(target.to_string());
            // Objects where it is not known yet what kind of data the bucket has.
            let unknown = if pass == Pass::Uploads { Kind::Uploads } else { Kind::Objects };
            checkpoint.kind = Some(self.resume.kind.unwrap_or(unknown));
            checkpoint.set_ranges(self.resume.ranges);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU64;

    use super::*;

    fn targets() -> Targets {
        Targets::parse("s3://photos/{user_id}/,s3://mails/{user_id}/").unwrap()
    }

    fn ranges(token: &str) -> Resume {
        let ranges = vec![KeyRange { token: Some(token.to_owned()), until: None }];
        Resume { kind: Some(Kind::Versions), ranges }
    }

    #[test]
    fn each_end_of_a_pass_has_one_next_position() {
        let failed = || PassError::Store(StoreError::Permanent("denied".to_owned()));
        let limit = || PassError::ObjectLimit(NonZeroU64::MIN);
        let targets = targets();
        // Passes: 0 and 1 at the first target, 2 and 3 at the second, 4 is the end of the round.
        let table = [
            (0, PassEnd::Complete, 1, None, Next::Pass),
            (0, PassEnd::Failed(failed()), 1, None, Next::Pass),
            (1, PassEnd::Complete, 2, None, Next::Pass),
            (3, PassEnd::Failed(failed()), 4, None, Next::Pass),
            (1, PassEnd::OutOfTime(ranges("t")), 1, Some(ranges("t")), Next::Stop),
            (3, PassEnd::OutOfTimeAtStart, 2, None, Next::Stop),
            (3, PassEnd::Restart(None), 2, None, Next::Pass),
            (2, PassEnd::Restart(None), 2, None, Next::Pass),
            (3, PassEnd::Aborted(limit()), 3, None, Next::Abort(limit())),
        ];
        for (number, end, then, resume, next) in table {
            let mut cursor = Cursor { targets: &targets, number, resume: Resume::default() };
            assert_eq!(cursor.advance(end.clone()), next, "{end:?}");
            assert_eq!(cursor.number, then, "{end:?}");
            assert_eq!(cursor.resume, resume.unwrap_or_default(), "{end:?}");
        }
    }

    #[test]
    fn a_position_is_resumed_where_it_was_saved() {
        let targets = targets();
        for (number, resume) in [(1, Resume::default()), (2, Resume::default()), (3, ranges("t"))] {
            let saved = Cursor { targets: &targets, number, resume: resume.clone() };
            let mut checkpoint = Checkpoint { round: 3, ..Checkpoint::default() };
            saved.save(&mut checkpoint);
            let resumed = Cursor::resume(&targets, &checkpoint).unwrap();
            assert_eq!((resumed.number, &resumed.resume.ranges), (number, &resume.ranges));
            assert!(!checkpoint.is_at_start_of_round() && checkpoint.round == 3);
        }
        for number in [0, 4] {
            let mut checkpoint = Checkpoint::default();
            Cursor { targets: &targets, number, resume: Resume::default() }.save(&mut checkpoint);
            assert!(checkpoint.is_at_start_of_round(), "{number}");
        }
    }

    #[test]
    fn a_position_that_has_no_meaning_here_is_not_resumed() {
        let targets = targets();
        let mut checkpoint = Checkpoint::default();
        Cursor { targets: &targets, number: 3, resume: ranges("t") }.save(&mut checkpoint);
        let turned = Targets::parse("s3://mails/{user_id}/,s3://photos/{user_id}/").unwrap();
        assert!(Cursor::resume(&turned, &checkpoint).is_none(), "another order of the targets");
        for (kind, number) in [(Kind::DeleteMarkers, 3), (Kind::Versions, 3), (Kind::Uploads, 2)] {
            let old = Checkpoint { kind: Some(kind), setting: None, ..checkpoint.clone() };
            assert_eq!(Cursor::resume(&targets, &old).unwrap().number, number, "{kind:?}");
        }
        let no_kind = Checkpoint { kind: None, ..checkpoint.clone() };
        assert!(Cursor::resume(&targets, &no_kind).is_none());
        let unknown = Checkpoint { target: Some("s3://x/{user_id}/".to_owned()), ..checkpoint };
        assert!(Cursor::resume(&targets, &unknown).is_none());
    }
}
