//! All targets of the function.

use std::collections::BTreeSet;

use sha2::{Digest, Sha256};

use super::folder::S3Folder;
use super::template::Target;
use super::user::{UserId, hex};

/// The maximum number of targets: each has an entry in every receipt and continuation, and both
/// must fit their limits.
///
/// Lambda's 4 KB of environment variables have room for some dozens.
/// <https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html>
pub const MAX_TARGETS: usize = 100;

/// All targets of the function, in the order in which they are erased. There are 1 to
/// [`MAX_TARGETS`] targets without duplicates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Targets {
    list: Vec<Target>,
    mark: String,
    /// User ids that no user may have, because their folder would contain other users' folders, or
    /// be inside one.
    reserved: BTreeSet<String>,
}

impl Targets {
    /// Parses a comma-separated list. The error has the reason for every invalid entry.
    pub fn parse(text: &str) -> Result<Self, Vec<String>> {
        let mut list: Vec<Target> = Vec::new();
        let mut faults = Vec::new();
        for entry in text.split(',').map(str::trim) {
            match Target::parse(entry) {
                Ok(target) if list.contains(&target) => {
                    faults.push(format!("\"{entry}\" is listed twice"));
                }
                Ok(target) => list.push(target),
                Err(error) => faults.push(format!("\"{entry}\": {error}")),
            }
        }
        if list.len() > MAX_TARGETS {
            faults.push(format!("{} targets, expected at most {MAX_TARGETS}", list.len()));
        }
        if !faults.is_empty() {
            return Err(faults);
        }
        let pairs = list.iter().flat_map(|outer| list.iter().map(move |inner| (outer, inner)));
        let reserved =
            pairs.filter_map(|(outer, inner)| outer.conflicting_user_id(inner)).collect();
        let names = list.iter().map(Target::to_string).collect::<Vec<_>>().join(",");
        Ok(Self { mark: hex(&Sha256::digest(names)[..8]), list, reserved })
    }

    /// A short name of this list and its order; another list has another name.
    pub fn mark(&self) -> &str {
        &self.mark
    }

    /// The targets in their order.
    pub fn as_slice(&self) -> &[Target] {
        &self.list
    }

    /// The first target whose erasures could delete the contents of this folder, if any.
    pub fn target_containing(&self, folder: &S3Folder) -> Option<&Target> {
        self.list.iter().find(|target| folder.may_be_inside(target))
    }

    /// Whether this id is a fixed folder of another target. The user's folder would then contain
    /// other users' folders, or be inside one.
    pub fn reserves(&self, user: &UserId) -> bool {
        self.reserved.contains(user.as_str())
    }
}
