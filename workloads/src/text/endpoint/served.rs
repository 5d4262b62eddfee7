//! What an endpoint serves, whatever it is asked for.
//!
//! Behind one address and one model name may stand another model tomorrow, and its vectors fit no index of
//! today's. So a fixed text is embedded and its vector is remembered as 64 bits: bit `i` says on which side of
//! a random plane `i` it lies. Vectors at an angle of `a` differ in about `64 a / π` bits. Rounding on another
//! machine or in another batch turns a vector by less than 0.02 and changes hardly ever a bit, and at most two
//! are let pass; a vector of another model is at about a right angle and changes half of them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{Endpoint, EndpointError};
use crate::random::stream;

/// Words of several subjects, so that models differ in it.
const PROBE: &str = "The lift of a wing in a slipstream, quarterly earnings, a vaccine trial, \
    violins and oregano: which of these did the committee discuss first?";

/// Bits that may differ between two vectors of one model.
const MOST_DIFFERING: u32 = 2;

/// Tells models apart by what they make of one text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Fingerprint(u64);

impl Fingerprint {
    /// Of a vector of any length but zero.
    #[must_use]
    pub fn of(vector: &[f64]) -> Self {
        let bit = |number: u64| {
            let mut plane = stream(0, "model fingerprint", number);
            let product: f64 = vector.iter().map(|value| value * (plane.unit() - 0.5)).sum();
            u64::from(product > 0.0) << number
        };
        Self((0..64).map(bit).sum())
    }

    /// In how many of its bits another one differs.
    #[must_use]
    pub fn distance(self, other: Self) -> u32 {
        (self.0 ^ other.0).count_ones()
    }

    /// Whether both are of one model, rounding aside.
    #[must_use]
    pub fn is_of_the_model_of(self, other: Self) -> bool {
        self.distance(other) <= MOST_DIFFERING
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl FromStr for Fingerprint {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bits = u64::from_str_radix(text, 16).ok().filter(|_| text.len() == 16);
        bits.map(Self).ok_or_else(|| format!("{text:?} is no fingerprint of 16 hexadecimal digits"))
    }
}

impl TryFrom<String> for Fingerprint {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Fingerprint> for String {
    fn from(fingerprint: Fingerprint) -> Self {
        fingerprint.to_string()
    }
}

/// What an endpoint serves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Served {
    /// What it calls its model, if it says so.
    pub model: Option<String>,
    pub dimension: u32,
    pub fingerprint: Fingerprint,
}

impl Served {
    /// Whether vectors of both fit one another.
    #[must_use]
    pub fn is_the_model_of(&self, other: &Self) -> bool {
        self.model == other.model
            && self.dimension == other.dimension
            && self.fingerprint.is_of_the_model_of(other.fingerprint)
    }
}

impl fmt::Display for Served {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let model = self.model.as_deref().unwrap_or("without a name");
        write!(f, "{model}, dimension {}, fingerprint {}", self.dimension, self.fingerprint)
    }
}

impl Endpoint {
    /// Asks for the vector of the probe.
    ///
    /// # Errors
    /// When the endpoint does not give it.
    pub fn served(&self) -> Result<Served, EndpointError> {
        let embedded = self.embeddings(&[PROBE])?;
        let vector = &embedded.vectors[0];
        let dimension = vector.len() as u32;
        Ok(Served { model: embedded.model, dimension, fingerprint: Fingerprint::of(vector) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A vector as a model gives one, with noise of a share of its length added.
    fn vector(model: u64, dimension: usize, noise: f64) -> Vec<f64> {
        let (mut values, mut random) = (stream(model, "values", 0), stream(model, "noise", 0));
        (0..dimension).map(|_| values.unit() - 0.5 + noise * (random.unit() - 0.5)).collect()
    }

    fn bits(model: u64, dimension: usize, noise: f64) -> Fingerprint {
        Fingerprint::of(&vector(model, dimension, noise))
    }

    #[test]
    fn rounding_does_not_make_another_model() {
        for dimension in [8, 64, 1024, 4096] {
            for model in 0..20 {
                let exact = bits(model, dimension, 0.0);
                assert_eq!(exact, bits(model, dimension, 1e-7), "{model}");
                assert!(exact.is_of_the_model_of(bits(model, dimension, 1e-3)), "{model}");
                let scaled: Vec<f64> = vector(model, dimension, 0.0).iter().map(|v| v * 37.5).collect();
                assert_eq!(exact, Fingerprint::of(&scaled));
            }
        }
    }

    #[test]
    fn another_model_is_far_away() {
        for dimension in [8, 64, 1024] {
            let all: Vec<Fingerprint> = (0..20).map(|model| bits(model, dimension, 0.0)).collect();
            for (at, one) in all.iter().enumerate() {
                let nearest = all[at + 1..].iter().map(|other| one.distance(*other)).min();
                assert!(nearest.is_none_or(|distance| distance > 5), "{dimension}: {nearest:?}");
            }
        }
    }

    #[test]
    fn whole_numbers_lie_on_no_plane() {
        // As of a service that counts words: many sums of such a vector would be zero for planes of ±1.
        let vector: Vec<f64> = (0..64).map(|i| f64::from(i % 3) - 1.0).collect();
        let near: Vec<f64> = vector.iter().enumerate().map(|(i, v)| v + 1e-9 * (i % 2) as f64).collect();
        assert_eq!(Fingerprint::of(&vector), Fingerprint::of(&near));
    }

    #[test]
    fn a_fingerprint_is_written_and_read() {
        let fingerprint = bits(1, 64, 0.0);
        let text = serde_json::to_string(&fingerprint).unwrap();
        assert_eq!(text.len(), 18);
        assert_eq!(serde_json::from_str::<Fingerprint>(&text).unwrap(), fingerprint);
        assert!("zz".parse::<Fingerprint>().is_err() && "0".parse::<Fingerprint>().is_err());
    }
}
