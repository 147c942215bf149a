//! Deployments in the middle: releases of the function that do not write the same continuations.

use std::time::Duration;

use serde_json::{Value, json};

use crate::world::World;

/// What an environment runs. All of them work as the code under test does, and differ on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Release {
    /// The first one, which knew objects only: no kinds in its checkpoint, no targets in its totals.
    First,
    /// The code under test.
    Current,
    /// A later one, with a format that the code under test cannot read.
    Later,
}

impl Release {
    /// What this release makes of the continuation that the code under test would send.
    pub(crate) fn writes(self, body: &str) -> String {
        let mut fields: Value = serde_json::from_str(body).expect("a continuation is JSON");
        match self {
            Self::Current => return body.to_owned(),
            Self::First => {
                let remove = |value: &mut Value, names: &[&str]| {
                    if let Some(object) = value.as_object_mut() {
                        object.retain(|name, _| !names.contains(&name.as_str()));
                    }
                };
                remove(&mut fields["bookmark"], &["kind", "lanes"]);
                remove(
                    &mut fields["tally"],
                    &["versions", "deleteMarkers", "uploads", "keptNewer", "targets"],
                );
            }
            Self::Later => {
                fields["version"] = 3.into();
                fields["novelty"] = json!({"of": "a later release"});
            }
        }
        fields.to_string()
    }

    /// What the code under test is shown of a message in the place of this release.
    pub(crate) fn reads(self, body: &str) -> String {
        match self {
            Self::First | Self::Current => body.to_owned(),
            Self::Later => body.replacen("\"version\":3", "\"version\":1", 1),
        }
    }
}

/// A deployment while the world goes on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Deployment {
    pub(crate) from: Release,
    pub(crate) to: Release,
    /// When the first environment is replaced.
    pub(crate) at: Duration,
    /// How much later each of the others is.
    pub(crate) gap: Duration,
    /// The new setting names the targets the other way round.
    pub(crate) turns_targets: bool,
}

impl Deployment {
    /// Few worlds have one. Only what the first release knew can have been asked of it.
    pub(crate) fn draw(dice: &mut fastrand::Rng, is_plain: bool) -> Option<Self> {
        let (from, to) = match dice.u32(0..100) {
            0..30 if is_plain => (Release::First, Release::Current),
            0..5 => (Release::Current, Release::Later),
            // Rolled back.
            5..8 => (Release::Later, Release::Current),
            8..12 => (Release::Current, Release::Current),
            _ => return None,
        };
        let (at, gap) = (
            Duration::from_millis(dice.u64(0..30_000)),
            Duration::from_millis(dice.u64(0..10_000)),
        );
        Some(Self { from, to, at, gap, turns_targets: dice.bool() })
    }
}

impl World {
    /// What this environment would run if it began now, and whether that is the new setting.
    pub(crate) fn release_of(&self, environment: usize) -> (Release, bool) {
        let Some(deployment) = self.setup.deployment else {
            return (Release::Current, false);
        };
        let place = u32::try_from(environment).unwrap_or(u32::MAX);
        let is_new = self.age() >= deployment.at + deployment.gap * place;
        // The operator who removes the faults also deploys the release that can read everything.
        let new = if self.is_repaired { Release::Later } else { deployment.to };
        (if is_new { new } else { deployment.from }, is_new)
    }

    /// Whether the first release may have counted something without saying where.
    pub(crate) fn knew_first_release(&self) -> bool {
        self.setup.deployment.is_some_and(|deployment| deployment.from == Release::First)
    }
}
