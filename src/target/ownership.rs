//! Whether another user could own the same key.

use super::ids::IdRules;
use super::key::Extent;
use super::pattern::{Filled, Match, Segment};
use super::template::Target;
use super::user::User;

/// What one user owns under one target.
pub(super) struct Area<'a> {
    target: &'a Target,
    user: &'a User,
    segments: Vec<Filled>,
}

impl<'a> Area<'a> {
    /// Creates the area. `None` if the user lacks a scope of the target.
    pub(super) fn new(target: &'a Target, user: &'a User) -> Option<Self> {
        Some(Self { target, user, segments: target.fill(user)? })
    }

    /// Whether this user must be rejected because of another target: a different user could own
    /// the same key there. Of the two, the one whose id covers fixed text of the other's target is
    /// rejected; if none or both do, both are.
    ///
    /// If the targets are `s3://b/{user_id}/` and `s3://b/users/{user_id}/`, the folder of a user
    /// `users` would contain all users' folders of the second target: `users` is rejected, and a
    /// user `12`, whose folder `users/12/` that is, is not.
    pub(super) fn conflicts(&self, other: &Target, rules: &IdRules) -> bool {
        self.overlaps(other, rules).iter().any(|matches| {
            let pairs = || self.segments.iter().zip(matches);
            let i_cover = pairs().any(|(mine, theirs)| theirs.is_covered_by(mine));
            let they_cover = pairs().any(|(mine, theirs)| theirs.covers(mine));
            !self.is_same_user(other, matches) && (i_cover || !they_cover)
        })
    }

    /// The ways in which users of the other target own keys of this area: for each segment that
    /// both have, how the other target's matches this one's text.
    fn overlaps(&self, other: &Target, rules: &IdRules) -> Vec<Vec<Match>> {
        let Some(whole) = self.count_of_whole_segments(other) else {
            return Vec::new();
        };
        let pairs = || self.segments.iter().zip(&other.segments);
        let matches =
            pairs().take(whole).map(|(mine, theirs)| theirs.match_whole(&mine.text, rules));
        let Some(matches) = matches.collect::<Option<Vec<_>>>() else {
            return Vec::new();
        };
        let is_file = |target: &Target| target.extent != Extent::Folder;
        match pairs().nth(whole).filter(|_| is_file(self.target) && is_file(other)) {
            None => vec![matches],
            Some((mine, theirs)) => self
                .name_matches(mine, (other, theirs), rules)
                .into_iter()
                .map(|name| matches.iter().cloned().chain([name]).collect())
                .collect(),
        }
    }

    /// How many segments of both must match as a whole for a common key; `None` if there can be
    /// none. A folder contains everything that is deeper.
    fn count_of_whole_segments(&self, other: &Target) -> Option<usize> {
        let (mine, theirs) = (self.segments.len(), other.segments.len());
        let count = match (self.target.extent, other.extent) {
            (Extent::Folder, Extent::Folder) => Some(mine.min(theirs)),
            (Extent::Folder, Extent::Key | Extent::Names) => (mine < theirs).then_some(mine),
            (Extent::Key | Extent::Names, Extent::Folder) => (theirs < mine).then_some(theirs),
            (Extent::Key, Extent::Key) => (mine == theirs).then_some(mine),
            // The names of the files are compared by their beginnings.
            (Extent::Key | Extent::Names, Extent::Key | Extent::Names) => {
                (mine == theirs).then_some(mine - 1)
            }
        };
        count.filter(|_| self.target.bucket() == other.bucket())
    }

    /// How names of files of both targets can be the same, if at least one has open names.
    fn name_matches(
        &self,
        mine: &Filled,
        (other, theirs): (&Target, &Segment),
        rules: &IdRules,
    ) -> Vec<Match> {
        let mut matches = Vec::new();
        if other.extent == Extent::Names {
            matches.extend(theirs.match_beginning(&mine.text, rules));
        }
        if self.target.extent == Extent::Names {
            matches.extend(theirs.match_longer(&mine.text, rules));
        }
        matches
    }

    /// Whether the matches show every id of the other target, and all are this user's.
    fn is_same_user(&self, other: &Target, matches: &[Match]) -> bool {
        let mut placeholders = other.segments.iter().map(Segment::placeholder).enumerate();
        placeholders.all(|(index, placeholder)| {
            let id = matches.get(index).and_then(|found| found.id.as_deref());
            placeholder.is_none_or(|it| id.is_some() && id == self.user.value(&it.name))
        })
    }
}
