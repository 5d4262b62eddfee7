//! The vectors of texts that a service gave: what a run keeps of them, and how far those of two runs are apart.
//!
//! Of very many the ones with the lowest keys are kept. A key is a hash of its text, so that two runs keep those of the
//! same texts.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::Path;

use super::found::Found;

/// Name of the file beside the items.
pub const FILE_NAME: &str = "vectors.bin";
/// Bytes of such a file.
pub const LARGEST: u64 = 4 << 20;

const MAGIC: &[u8; 16] = b"bench vectors 1\n";
const KEY: usize = 16;

/// Vectors in 8 bits, as the indexes hold them, by the key of their text.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Vectors {
    /// Numbers of each.
    pub dimension: usize,
    /// By the hash of the text.
    pub by_key: BTreeMap<u128, Vec<i8>>,
}

/// How far two are apart.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Apart {
    /// Texts that both have a vector of.
    pub texts: u64,
    /// Those with two vectors.
    pub differ: u64,
    /// The largest distance between two, one less the cosine of their angle. Null where none of them differ.
    pub largest_distance: Option<f64>,
}

impl Vectors {
    /// How many fit into a file.
    #[must_use]
    pub fn most(dimension: usize) -> usize {
        (LARGEST as usize - MAGIC.len() - 4) / (KEY + dimension)
    }

    /// Writes those with the lowest keys.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn write(&self, to: &mut impl Write) -> io::Result<()> {
        let dimension = u32::try_from(self.dimension).map_err(io::Error::other)?;
        to.write_all(MAGIC)?;
        to.write_all(&dimension.to_le_bytes())?;
        for (key, vector) in self.by_key.iter().take(Self::most(self.dimension)) {
            to.write_all(&key.to_le_bytes())?;
            let bytes: Vec<u8> = vector.iter().map(|number| number.cast_unsigned()).collect();
            to.write_all(&bytes)?;
        }
        Ok(())
    }

    /// Reads such a file.
    ///
    /// # Errors
    /// When it cannot be read, or is none.
    pub fn load(path: &Path) -> io::Result<Self> {
        let bytes = Found::NAMED.at_most(LARGEST).read(path)?;
        let none = || io::Error::new(io::ErrorKind::InvalidData, "it is no file of vectors");
        let rest = bytes.strip_prefix(MAGIC).ok_or_else(none)?;
        let (dimension, records) = rest.split_first_chunk().ok_or_else(none)?;
        let dimension = u32::from_le_bytes(*dimension) as usize;
        let records = records.chunks(KEY + dimension);
        let by_key = records.map(|record| {
            let (key, vector) = record.split_first_chunk().ok_or_else(none)?;
            let vector: Vec<i8> = vector.iter().map(|byte| byte.cast_signed()).collect();
            if vector.len() == dimension { Ok((u128::from_le_bytes(*key), vector)) } else { Err(none()) }
        });
        Ok(Self { dimension, by_key: by_key.collect::<io::Result<_>>()? })
    }

    /// How far the vectors of the same texts are apart.
    #[must_use]
    pub fn apart(&self, other: &Self) -> Apart {
        let mut apart = Apart { texts: 0, differ: 0, largest_distance: None };
        for (key, mine) in &self.by_key {
            let Some(theirs) = other.by_key.get(key) else { continue };
            apart.texts += 1;
            if mine != theirs {
                apart.differ += 1;
                let distance = distance(mine, theirs);
                apart.largest_distance =
                    Some(apart.largest_distance.map_or(distance, |most| most.max(distance)));
            }
        }
        apart
    }
}

fn distance(a: &[i8], b: &[i8]) -> f64 {
    let product =
        |a: &[i8], b: &[i8]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
    let lengths = (product(a, a) * product(b, b)).sqrt();
    // A vector of nothing is as far from any other as can be without pointing elsewhere.
    if lengths == 0.0 { 1.0 } else { (1.0 - product(a, b) / lengths).max(0.0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vectors(of: &[(u128, [i8; 2])]) -> Vectors {
        Vectors { dimension: 2, by_key: of.iter().map(|(key, vector)| (*key, vector.to_vec())).collect() }
    }

    fn loaded(vectors: &Vectors) -> Vectors {
        let file = tempfile::NamedTempFile::new().unwrap();
        vectors.write(&mut file.as_file()).unwrap();
        Vectors::load(file.path()).unwrap()
    }

    #[test]
    fn what_was_written_is_read() {
        let some = vectors(&[(7, [1, -128]), (u128::MAX, [127, 0])]);
        assert_eq!(loaded(&some), some);
        assert_eq!(loaded(&vectors(&[])), vectors(&[]));
    }

    #[test]
    fn of_very_many_those_with_the_lowest_keys_are_kept() {
        let most = Vectors::most(2) as u128;
        let many = Vectors { dimension: 2, by_key: (0..most + 9).map(|key| (key, vec![1, 2])).collect() };
        let kept = loaded(&many);
        assert_eq!(kept.by_key.last_key_value().unwrap().0, &(most - 1));
    }

    #[test]
    fn another_file_is_none() {
        let file = tempfile::NamedTempFile::new().unwrap();
        for text in [&b""[..], b"something else", b"bench vectors 1\n\x02\0\0\0cut short"] {
            std::fs::write(file.path(), text).unwrap();
            assert!(Vectors::load(file.path()).is_err(), "{text:?}");
        }
    }

    #[test]
    fn only_texts_that_both_know_are_compared_and_the_largest_distance_is_told() {
        let a = vectors(&[(1, [1, 0]), (2, [0, 5]), (3, [3, 3]), (4, [9, 9])]);
        let b = vectors(&[(1, [1, 0]), (2, [5, 0]), (3, [3, 4]), (5, [9, 9])]);
        assert_eq!(a.apart(&b), Apart { texts: 3, differ: 2, largest_distance: Some(1.0) });
        let near = vectors(&[(3, [3, 3])]).apart(&b).largest_distance.unwrap();
        assert!((near - (1.0 - 21.0 / (18.0_f64 * 25.0).sqrt())).abs() < 1e-12);
        assert_eq!(a.apart(&a).largest_distance, None);
    }
}
