use std::fmt;

use serde::{Deserialize, Serialize};

use crate::text::{nearest, one_line};

/// What users type after `--backend`: 1 to 64 of `a-z`, `0-9` and `_`. Nothing else, because the
/// name ends up in file names, records, charts and shell commands.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct BackendName(String);

impl BackendName {
    /// Checks a name.
    ///
    /// # Errors
    /// With what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        if text.is_empty() {
            return Err("the name is empty");
        }
        if text.len() > 64 {
            return Err("the name has more than 64 characters");
        }
        if !text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_') {
            return Err("a name consists of a-z, 0-9 and _ only");
        }
        Ok(Self(text.to_owned()))
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for BackendName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl TryFrom<String> for BackendName {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::parse(&text)
    }
}

impl From<BackendName> for String {
    fn from(name: BackendName) -> Self {
        name.0
    }
}

/// No plugin has the name the user asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownBackend {
    /// What the user typed.
    pub wanted: String,
    /// The names there are.
    pub found: Vec<String>,
    /// The one most like it, when one is.
    pub nearest: Option<String>,
}

impl UnknownBackend {
    /// Looks for the nearest of `found`.
    pub fn new<'a>(wanted: &str, found: impl Iterator<Item = &'a str>) -> Self {
        let found: Vec<String> = found.map(str::to_owned).collect();
        // 0.75 accepts a slip or two in a short name and refuses an unrelated word.
        let nearest = nearest(wanted, found.iter().map(String::as_str), 0.75).map(str::to_owned);
        Self { wanted: wanted.to_owned(), found, nearest }
    }
}

impl fmt::Display for UnknownBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "there is no backend `{}`", one_line(&self.wanted))?;
        if let Some(nearest) = &self.nearest {
            write!(f, "; did you mean `{nearest}`?")?;
        }
        match self.found.as_slice() {
            [] => write!(f, "; no plugin was found at all: see `bench backends list` for where it looked"),
            found => write!(f, "; found: {}", found.join(", ")),
        }
    }
}

impl std::error::Error for UnknownBackend {}
