//! The tools that are compared, and how each is called.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use clap::ValueEnum;
use tokio::process::Command;

use crate::world::PHOTOS;

/// What deletes one key with each request is given no more of them.
const MOST_ONE_BY_ONE: u64 = 5_000;
/// What takes minutes for a million.
const MOST_IN_A_ROW: u64 = 100_000;
/// The keys per second that S3 lets a partition delete at least, for a tool that takes it as an option.
const TOLD_RATE: &str = "3500";

/// A tool that empties a prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Tool {
    /// The function of this project.
    Ours,
    /// `s5cmd rm`.
    S5cmd,
    /// `s3rm`, the program of s3rm-rs.
    S3rm,
    /// The same program, with the limit as an option.
    S3rmTold,
    /// A script that alternates between a page and its deletion.
    Boto3,
    /// A script that reads all pages and then deletes all keys.
    #[value(name = "listall")]
    ListAll,
    /// `aws s3 rm`.
    #[value(name = "aws")]
    AwsCli,
}

/// Where the others are.
#[derive(Debug, Clone)]
pub(crate) struct Peers {
    /// What `make bench` has installed.
    pub(crate) folder: PathBuf,
    /// Our scripts.
    pub(crate) scripts: PathBuf,
}

impl Tool {
    /// Its name on the command line.
    pub(crate) fn word(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }

    /// For readers.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Ours => "erase-user-files",
            Self::S5cmd => "s5cmd",
            Self::S3rm => "s3rm-rs",
            Self::S3rmTold => "s3rm-rs, given the rate",
            Self::Boto3 => "boto3 loop",
            Self::ListAll => "list all, then delete",
            Self::AwsCli => "aws s3 rm",
        }
    }

    /// How many of so many keys it is given.
    pub(crate) fn share_of(self, keys: u64) -> u64 {
        match self {
            Self::Ours | Self::S5cmd | Self::S3rm | Self::S3rmTold => keys,
            Self::Boto3 | Self::ListAll => keys.min(MOST_IN_A_ROW),
            Self::AwsCli => keys.min(MOST_ONE_BY_ONE),
        }
    }

    /// What says its version. Our own needs none.
    fn version_command(self, peers: &Peers) -> Vec<String> {
        let words: &[&str] = match self {
            Self::Ours => &[],
            Self::S5cmd => &["version"],
            Self::S3rm | Self::S3rmTold | Self::AwsCli => &["--version"],
            Self::Boto3 | Self::ListAll => {
                &["-c", "import boto3; print('boto3 ' + boto3.__version__)"]
            }
        };
        peers.command(self, words)
    }

    /// What erases everything below a prefix.
    pub(crate) fn command(
        self,
        peers: &Peers,
        endpoint: &str,
        prefix: &str,
        has_versions: bool,
    ) -> Vec<String> {
        let place = format!("s3://{PHOTOS}/{prefix}");
        let script = |name: &str| peers.scripts.join(name).display().to_string();
        match self {
            Self::Ours => Vec::new(),
            Self::S5cmd => {
                let all = has_versions.then_some("--all-versions");
                let words: Vec<&str> =
                    ["--endpoint-url", endpoint, "rm"].into_iter().chain(all).collect();
                peers.command(self, &[&words[..], &[&format!("{place}*")]].concat())
            }
            Self::S3rm | Self::S3rmTold => {
                let all = has_versions.then_some("--delete-all-versions");
                let rate = if self == Self::S3rmTold {
                    &["--rate-limit-objects", TOLD_RATE][..]
                } else {
                    &[]
                };
                let words =
                    ["--force", "--target-endpoint-url", endpoint, "--target-force-path-style"];
                peers.command(
                    self,
                    &words
                        .iter()
                        .chain(rate)
                        .copied()
                        .chain(all)
                        .chain([&*place])
                        .collect::<Vec<_>>(),
                )
            }
            Self::Boto3 => {
                peers.command(self, &[&script("peers/boto3_loop.py"), endpoint, PHOTOS, prefix])
            }
            Self::ListAll => {
                peers.command(self, &[&script("peers/list_all.py"), endpoint, PHOTOS, prefix])
            }
            Self::AwsCli => peers
                .command(self, &["--endpoint-url", endpoint, "s3", "rm", "--recursive", &place]),
        }
    }

    /// Its version; `None`: it is not there, or the Python that measures it.
    pub(crate) async fn version(self, peers: &Peers) -> Option<String> {
        if self != Self::Ours && !peers.python().exists() {
            return None;
        }
        let words = self.version_command(peers);
        let Some((program, words)) = words.split_first() else {
            return Some(String::new());
        };
        let output = Command::new(program)
            .args(words)
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output()
            .await
            .ok()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.lines().next().filter(|_| output.status.success()).map(str::to_owned)
    }
}

impl Peers {
    /// The Python that has boto3, and runs our scripts.
    pub(crate) fn python(&self) -> PathBuf {
        self.folder.join("python/bin/python3")
    }

    fn command(&self, tool: Tool, words: &[&str]) -> Vec<String> {
        let program = match tool {
            Tool::Ours => return Vec::new(),
            Tool::S5cmd => self.folder.join("bin/s5cmd"),
            Tool::S3rm | Tool::S3rmTold => self.folder.join("bin/s3rm"),
            Tool::Boto3 | Tool::ListAll => self.python(),
            Tool::AwsCli => self.folder.join("python/bin/aws"),
        };
        std::iter::once(program.display().to_string())
            .chain(words.iter().map(|word| (*word).to_owned()))
            .collect()
    }

    /// The folders of a checkout.
    pub(crate) fn of(folder: &Path) -> Self {
        Self { folder: folder.to_owned(), scripts: PathBuf::from(env!("CARGO_MANIFEST_DIR")) }
    }
}
