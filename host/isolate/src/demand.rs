//! What the user demands of a plugin file.

use serde::Serialize;

/// What a file must be to be loaded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Demand {
    /// On the list of trusted files of its name.
    Trusted(Vec<String>),
    /// This one.
    Pinned(String),
}

impl Demand {
    /// Whether a file of this SHA-256 is what is wanted.
    #[must_use]
    pub fn met_by(&self, sha256: &str) -> bool {
        match self {
            Self::Trusted(list) => list.iter().any(|known| known == sha256),
            Self::Pinned(pinned) => pinned == sha256,
        }
    }
}
