//! All targets of the function.

use sha2::{Digest, Sha256};

use super::folder::S3Folder;
use super::ids::IdRules;
use super::ownership::Area;
use super::template::Target;
use super::user::{User, hex};

/// The maximum number of targets: each has an entry in every receipt and continuation, and both
/// must fit their limits.
///
/// Lambda's 4 KB of environment variables have room for some dozens.
/// <https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html>
pub const MAX_TARGETS: usize = 100;

/// All targets of the function, in the order in which they are erased. There are 1 to
/// [`MAX_TARGETS`] targets without duplicates.
#[derive(Debug, Clone)]
pub struct Targets {
    list: Vec<Target>,
    mark: String,
    rules: IdRules,
}

impl Targets {
    /// Parses `ERASE_TARGETS` of a deployment without other settings about users.
    pub fn parse(text: &str) -> Result<Self, Vec<String>> {
        let rules = IdRules::default();
        Self::new(Target::folders(text, &rules)?, rules).map_err(|error| vec![error])
    }

    /// Creates the list. The error is that there are too many.
    pub fn new(list: Vec<Target>, rules: IdRules) -> Result<Self, String> {
        if list.len() > MAX_TARGETS {
            return Err(format!("{} targets, expected at most {MAX_TARGETS}", list.len()));
        }
        let names = list.iter().map(Target::to_string).collect::<Vec<_>>().join(",");
        Ok(Self { mark: hex(&Sha256::digest(names)[..8]), list, rules })
    }

    /// A short name of this list and its order; another list has another name.
    pub fn mark(&self) -> &str {
        &self.mark
    }

    /// The targets in their order.
    pub fn as_slice(&self) -> &[Target] {
        &self.list
    }

    /// The rules for the ids of users and scopes.
    pub fn id_rules(&self) -> &IdRules {
        &self.rules
    }

    /// The first target whose erasures could delete the contents of this folder, if any.
    pub fn target_containing(&self, folder: &S3Folder) -> Option<&Target> {
        self.list.iter().find(|target| folder.may_be_inside(target, &self.rules))
    }

    /// Whether this user must be rejected, because a different user could own the same key under
    /// another target.
    pub fn reserves(&self, user: &User) -> bool {
        self.list.iter().any(|target| {
            let others = || self.list.iter().filter(|other| *other != target);
            Area::new(target, user)
                .is_none_or(|area| others().any(|other| area.conflicts(other, &self.rules)))
        })
    }
}
