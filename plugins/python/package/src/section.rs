//! How an engine lies in the reserved section of a library.
//!
//! ```text
//! offset  size
//!      0    16  "bench engine 1", two NULs
//!     16     8  bytes of the payload, little endian; 0 when there is no engine
//!     24    32  SHA-256 of the payload
//!     56     8  0
//!     64     .  the payload: the package, in postcard's form
//! ```
//!
//! The section is part of what the loader maps and of what is hashed when a plugin is vetted: nothing is read from a
//! second place, and `strip` leaves it alone.

use sha2::{Digest as _, Sha256};

use super::{Package, path_is_fine};

/// The section's name in an ELF file.
pub const NAME: &str = ".bench_engine";
/// How the section begins.
pub const MAGIC: [u8; 16] = *b"bench engine 1\0\0";
/// Most bytes of an engine: manifest, sources and their names.
pub const LIMIT: usize = 256 << 10;
/// The section's size.
pub const SIZE: usize = HEAD + LIMIT;

const HEAD: usize = 64;

/// A section without an engine.
#[must_use]
pub const fn empty() -> [u8; SIZE] {
    let mut section = [0; SIZE];
    let mut at = 0;
    while at < MAGIC.len() {
        section[at] = MAGIC[at];
        at += 1;
    }
    section
}

/// The engine does not fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it has {bytes} bytes, and {LIMIT} are the most")]
pub struct TooLarge {
    /// As many as it has.
    pub bytes: usize,
}

/// What is in a section is not an engine.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Flaw {
    /// The library as it ships.
    #[error("no engine is packed into it")]
    Empty,
    /// Bytes were changed after it was packed.
    #[error("the engine in it was changed after it was packed: {0}")]
    Changed(&'static str),
}

/// The section that holds `package`, always the same for the same package.
///
/// # Errors
/// When it is larger than [`LIMIT`].
pub fn of(package: &Package) -> Result<Vec<u8>, TooLarge> {
    // A manifest is JSON here as well: postcard cannot tell which keys are there.
    let manifest = serde_json::to_string(&package.manifest).unwrap_or_default();
    let payload = postcard::to_allocvec(&(manifest, &package.files)).unwrap_or_default();
    if payload.len() > LIMIT {
        return Err(TooLarge { bytes: payload.len() });
    }
    let mut section = empty().to_vec();
    section[16..24].copy_from_slice(&(payload.len() as u64).to_le_bytes());
    section[24..56].copy_from_slice(&Sha256::digest(&payload));
    section[HEAD..HEAD + payload.len()].copy_from_slice(&payload);
    Ok(section)
}

/// The engine in a section.
///
/// # Errors
/// When there is none, or it is not as it was packed.
pub fn read(section: &[u8]) -> Result<Package, Flaw> {
    let changed = Flaw::Changed;
    if section.len() != SIZE || section[..16] != MAGIC {
        return Err(changed("it does not begin as it should"));
    }
    let length = section[16..24].iter().rev().fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte));
    // Not compared with `empty()`, which would then lie in the library a second time.
    if section[16..HEAD].iter().all(|byte| *byte == 0) {
        return Err(Flaw::Empty);
    }
    let payload = usize::try_from(length).ok().filter(|length| *length <= LIMIT);
    let payload = payload.ok_or(changed("its length is wrong"))?;
    let payload = &section[HEAD..HEAD + payload];
    if section[24..56] != *Sha256::digest(payload) {
        return Err(changed("its SHA-256 is another"));
    }
    let (manifest, files): (String, _) =
        postcard::from_bytes(payload).map_err(|_| changed("it cannot be read"))?;
    let manifest = serde_json::from_str(&manifest).map_err(|_| changed("its engine.toml cannot be read"))?;
    let package = Package { manifest, files };
    match package.files.keys().all(|path| path_is_fine(path).is_ok()) {
        true => Ok(package),
        false => Err(changed("a file of it lies elsewhere")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(source: &[u8]) -> Package {
        let manifest = serde_json::from_str(r#"{"name": "x", "version": "1.0.0"}"#).unwrap();
        Package { manifest, files: [("driver.py".to_owned(), source.to_vec())].into() }
    }

    #[test]
    fn what_is_written_is_read_and_always_the_same() {
        let package = package(b"print('\xff')\n");
        let section = of(&package).unwrap();
        assert_eq!(section.len(), SIZE);
        assert_eq!(read(&section).unwrap(), package);
        assert_eq!(of(&package).unwrap(), section);
    }

    #[test]
    fn the_library_as_it_ships_has_none() {
        assert_eq!(read(&empty()), Err(Flaw::Empty));
    }

    #[test]
    fn every_changed_byte_of_head_and_payload_is_noticed() {
        let section = of(&package(b"print()\n")).unwrap();
        let end = HEAD + u64::from_le_bytes(section[16..24].try_into().unwrap()) as usize;
        for at in (0..56).chain(HEAD..end) {
            for bit in [0x01, 0x80] {
                let mut other = section.clone();
                other[at] ^= bit;
                assert!(matches!(read(&other), Err(Flaw::Changed(_))), "byte {at}");
            }
        }
        assert!(matches!(read(&section[..SIZE - 1]), Err(Flaw::Changed(_))));
    }

    #[test]
    fn what_is_too_large_is_refused_with_its_size() {
        let fits = of(&package(&vec![b'#'; LIMIT - 1_000]));
        assert!(fits.is_ok());
        let error = of(&package(&vec![b'#'; LIMIT])).unwrap_err();
        assert!(error.bytes > LIMIT && error.to_string().contains("262144 are the most"), "{error}");
    }
}
