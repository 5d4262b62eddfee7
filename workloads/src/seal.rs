//! What ties a span to its run: a seal that an operator sets under its span and the sink compares.
//!
//! The key is drawn for each run and reaches operators with what they are opened from, never with a record. A span from
//! an earlier run, one that was made up, and one that was moved to another record or changed bear no seal of this run.
//!
//! It is no signature: 16 bits tell one forgery in 65,536 wrong, which is enough where a single one that is found out
//! spoils the run, and whoever opens operators in a process of its own is told the key.

use std::fmt;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};

use bench_dataflow::frame::{SPAN_LEN, Span};
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

/// What a span says of the body that its operator wrote.
#[must_use]
pub fn digest(body: &[u8]) -> u64 {
    xxh3_64(body)
}

/// The key of a run.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Key(u64);

impl Key {
    /// One that nobody knows before.
    #[must_use]
    pub fn random() -> Self {
        // The standard library draws keys for each of its hash maps.
        Self(RandomState::new().build_hasher().finish())
    }

    #[inline]
    fn seal_of(self, seq: u64, span: &[u8; SPAN_LEN]) -> [u8; 2] {
        let mut bytes = [0; 8 + SPAN_LEN];
        bytes[..8].copy_from_slice(&seq.to_le_bytes());
        bytes[8..].copy_from_slice(span);
        bytes[8 + Span::SEAL.start..8 + Span::SEAL.end].fill(0);
        let [.., above, highest] = xxh3_64_with_seed(&bytes, self.0).to_le_bytes();
        [above, highest]
    }

    /// Seals a span as it lies on record `seq`.
    #[inline]
    pub fn seal(self, seq: u64, span: &mut [u8; SPAN_LEN]) {
        let seal = self.seal_of(seq, span);
        span[Span::SEAL].copy_from_slice(&seal);
    }

    /// Whether an operator of this run left this span, as it lies there, on record `seq`.
    #[must_use]
    #[inline]
    pub fn fits(self, seq: u64, span: &[u8; SPAN_LEN]) -> bool {
        span[Span::SEAL] == self.seal_of(seq, span)
    }

    /// The span as it belongs to record `seq`.
    #[must_use]
    pub fn sealed(self, seq: u64, span: Span) -> Span {
        let mut bytes = span.to_bytes();
        self.seal(seq, &mut bytes);
        Span::read(&bytes)
    }

    /// A share of a span of record `from`, one of so many, as it belongs to record `to`. What bears no seal gets none.
    #[must_use]
    pub fn shared(self, span: Span, from: u64, to: u64, of: u32) -> Span {
        let share = Span { busy_ns: span.busy_ns / u64::from(of.max(1)), ..span };
        if self.fits(from, &span.to_bytes()) { self.sealed(to, share) } else { share }
    }
}

impl Key {
    /// A number for a text, another one in another run.
    #[must_use]
    pub fn number(self, text: &str) -> u64 {
        xxh3_64_with_seed(text.as_bytes(), self.0)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(…)")
    }
}

impl From<Key> for String {
    fn from(key: Key) -> Self {
        format!("{:016x}", key.0)
    }
}

impl TryFrom<String> for Key {
    type Error = std::num::ParseIntError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        u64::from_str_radix(&text, 16).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPAN: Span =
        Span { start_ns: 5, busy_ns: 60, digest: 7, worker: 8, node: 9, instance: 1, place: 4, seal: 0 };

    #[test]
    fn a_span_fits_its_run_and_record_and_no_other_and_not_once_it_was_changed() {
        let (key, other) = (Key(1), Key(2));
        let sealed = key.sealed(3, SPAN);
        let fits = |key: Key, seq, span: Span| key.fits(seq, &span.to_bytes());
        assert!(fits(key, 3, sealed));
        assert!(!fits(key, 4, sealed) && !fits(other, 3, sealed) && !fits(key, 3, SPAN));
        for changed in [
            Span { start_ns: 6, ..sealed },
            Span { busy_ns: 61, ..sealed },
            Span { digest: 8, ..sealed },
            Span { worker: 9, ..sealed },
            Span { node: 10, ..sealed },
            Span { instance: 2, ..sealed },
            Span { place: 5, ..sealed },
        ] {
            assert!(!fits(key, 3, changed), "{changed:?}");
        }
    }

    #[test]
    fn a_share_of_a_sealed_span_is_sealed_and_one_of_a_forged_span_is_not() {
        let key = Key(1);
        let share = key.shared(key.sealed(3, SPAN), 3, 7, 12);
        assert!(key.fits(7, &share.to_bytes()));
        assert_eq!((share.busy_ns, share.digest), (5, SPAN.digest));
        assert!(!key.fits(7, &key.shared(SPAN, 3, 7, 12).to_bytes()));
    }

    #[test]
    fn a_key_travels_as_text_that_no_reader_of_numbers_rounds() {
        let text = serde_json::to_string(&Key(u64::MAX - 1)).unwrap();
        assert_eq!(text, "\"fffffffffffffffe\"");
        assert_eq!(serde_json::from_str::<Key>(&text).unwrap(), Key(u64::MAX - 1));
        assert_ne!(Key::random(), Key::random());
    }

    #[test]
    fn time_beyond_what_a_span_holds_is_sealed_as_it_arrives() {
        let sealed = Key(1).sealed(0, Span { busy_ns: u64::MAX, ..SPAN });
        assert!(Key(1).fits(0, &sealed.to_bytes()));
        assert_eq!(sealed.busy_ns, Span::MOST_BUSY_NS);
    }
}
