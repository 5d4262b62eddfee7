//! Every reason not to load a file, with what to do about it, in one place.

use std::path::PathBuf;

use serde::Serialize;

use super::image::Flaw;
use super::{LARGEST, SMALLEST};
use crate::discover::BackendName;
use crate::text::{one_line, shell_word};

/// Why a file was not loaded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "reason", rename_all = "snake_case")]
pub enum Refusal {
    /// The system would not let us see it.
    Unreadable {
        /// File or directory.
        path: PathBuf,
        /// What the system said.
        cause: String,
    },
    /// Its path is not UTF-8.
    PathNotText {
        /// The path.
        path: PathBuf,
    },
    /// Something other than a regular file.
    NotAFile {
        /// The path.
        path: PathBuf,
        /// What it is, with its article.
        is: &'static str,
    },
    /// Someone else owns the file or its directory.
    ForeignOwner {
        /// File or directory.
        path: PathBuf,
        /// The owner's user id.
        owner: u32,
    },
    /// Others may write to the file or its directory.
    WritableByOthers {
        /// All that they may write.
        places: Vec<Exposed>,
    },
    /// Nothing can be loaded from where it lies.
    NoExec {
        /// The file.
        path: PathBuf,
        /// Where its file system is mounted.
        mount: PathBuf,
    },
    /// Too small or too large to be a plugin.
    Size {
        /// The file.
        path: PathBuf,
        /// Its size.
        bytes: u64,
    },
    /// It changed while, or after, it was being looked at.
    Changed {
        /// The file.
        path: PathBuf,
    },
    /// Its content is not a plugin for this machine.
    Image {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        flaw: Flaw,
    },
    /// The user did not vouch for this content.
    Untrusted {
        /// The file.
        path: PathBuf,
        /// What it is called.
        name: BackendName,
        /// Its SHA-256.
        sha256: String,
        /// Whether another content is pinned, or this one is just not on the list.
        pinned: bool,
    },
}

/// A file or directory that others may write.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Exposed {
    /// Where it is.
    pub path: PathBuf,
    /// Permission bits.
    pub mode: u32,
}

impl Refusal {
    /// What is wrong, one clause.
    #[must_use]
    pub fn cause(&self) -> String {
        match self {
            Self::Unreadable { path, cause } => {
                format!("{} cannot be read: {}", shell_word(path), one_line(cause))
            }
            Self::PathNotText { path } => format!("the path {} is not valid UTF-8", shell_word(path)),
            Self::NotAFile { path, is } => format!("{} is {is}", shell_word(path)),
            Self::ForeignOwner { path, owner } => {
                format!("{} belongs to user {owner}, neither you nor root", shell_word(path))
            }
            Self::WritableByOthers { places } => {
                let shown = |place: &Exposed| {
                    format!("{} can be written by others (mode {:04o})", shell_word(&place.path), place.mode)
                };
                places.iter().map(shown).collect::<Vec<_>>().join(", and ")
            }
            Self::NoExec { path, mount } => format!(
                "{} lies on {}, which is mounted noexec: nothing on it can be loaded",
                shell_word(path),
                shell_word(mount)
            ),
            Self::Size { path, bytes } => format!("{} has {bytes} bytes", shell_word(path)),
            Self::Changed { path } => format!("{} changed while it was being checked", shell_word(path)),
            Self::Untrusted { path, sha256, pinned: true, .. } => {
                format!("{} is not the file that was pinned (its sha256 is {sha256})", shell_word(path))
            }
            Self::Untrusted { path, sha256, .. } => {
                format!("{} is not on the list of trusted files (its sha256 is {sha256})", shell_word(path))
            }
            Self::Image { path, flaw } => format!("{}: {}", shell_word(path), one_line(&flaw.to_string())),
        }
    }

    /// What to do about it.
    #[must_use]
    pub fn remedy(&self) -> String {
        match self {
            Self::Unreadable { .. } => "check that it exists and that you may read it".into(),
            Self::PathNotText { .. } => "move it to a folder with a plain name".into(),
            Self::NotAFile { .. } => "put the plugin's library there, or remove it".into(),
            Self::ForeignOwner { path, .. } => {
                format!("if you trust it, install your own copy: sudo chown $(id -u) {}", shell_word(path))
            }
            Self::WritableByOthers { places } => {
                let words: Vec<String> = places.iter().map(|place| shell_word(&place.path)).collect();
                format!("run: chmod go-w {}", words.join(" "))
            }
            Self::NoExec { mount, .. } => format!(
                "copy it to a folder on another file system and name that with --plugins-dir, or run: sudo mount -o remount,exec {}",
                shell_word(mount)
            ),
            Self::Size { .. } => {
                format!("a plugin has {SMALLEST} bytes to {} MiB: build or copy it again", LARGEST >> 20)
            }
            Self::Changed { .. } => "wait until it is fully written, then try again".into(),
            Self::Untrusted { name, pinned: true, .. } => {
                format!("if you replaced it yourself, run: bench backends pin {name}")
            }
            Self::Untrusted { name, .. } => format!("if you trust it, run: bench backends trust {name}"),
            Self::Image { flaw, .. } => match flaw {
                Flaw::Format | Flaw::NotShared(_) => {
                    "build the plugin as a `cdylib` and copy that file".into()
                }
                Flaw::Damaged(_) => "copy or build it again".into(),
                Flaw::Machine(_) => "build the plugin on, or for, this machine".into(),
                Flaw::NoEntry => {
                    "export it with `bench_plugin_api::export_backend!`, or in C `bench_backend_entry_v1`"
                        .into()
                }
            },
        }
    }
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}; {}", self.cause(), self.remedy())
    }
}

impl std::error::Error for Refusal {}
