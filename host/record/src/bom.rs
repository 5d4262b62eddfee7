//! Editors and shells of other systems put a byte order mark in front of UTF-8. It is no part of the text.

use serde::de::DeserializeOwned;

const MARK: &[u8] = "\u{feff}".as_bytes();

/// `text` without a mark.
#[must_use]
pub fn strip(text: &[u8]) -> &[u8] {
    text.strip_prefix(MARK).unwrap_or(text)
}

/// JSON, with a mark or without.
///
/// # Errors
/// As serde_json's.
pub fn json<T: DeserializeOwned>(text: &[u8]) -> serde_json::Result<T> {
    serde_json::from_slice(strip(text))
}
