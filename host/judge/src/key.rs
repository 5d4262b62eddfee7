//! A sort key that compares as bytes.
//!
//! Sorting by workload, run, backend and time puts everything that belongs together side by side:
//! copies of one run, the runs of one pair, the rows of `comparison.csv`. So one sort answers them
//! all, and what follows needs to remember only its neighbours.
//!
//! Texts end in two zero bytes, and a zero byte inside one is followed by 0xff, so that no text
//! can imitate the end of another and the order is that of the texts. After the texts come the
//! time and then where the record was found, JSONL before CSV.

const END: [u8; 2] = [0, 0];
const ESCAPED_ZERO: [u8; 2] = [0, 0xff];

/// Bytes at the end of a key that say where the record was found.
const PLACE: usize = 13;

/// Writes the key of a record.
pub(crate) fn write(
    out: &mut Vec<u8>,
    texts: [&str; 3],
    micros: i64,
    is_csv: bool,
    source: u32,
    offset: u64,
) {
    for text in texts {
        put(out, text);
    }
    out.extend_from_slice(&(micros as u64 ^ 1 << 63).to_be_bytes());
    out.push(u8::from(is_csv));
    out.extend_from_slice(&source.to_be_bytes());
    out.extend_from_slice(&offset.to_be_bytes());
}

/// What makes two records the same run: everything but the place.
pub(crate) fn identity(key: &[u8]) -> &[u8] {
    &key[..key.len().saturating_sub(PLACE)]
}

/// In which source the record was found.
pub(crate) fn source(key: &[u8]) -> u32 {
    let at = key.len().saturating_sub(PLACE) + 1;
    key.get(at..at + 4).and_then(|bytes| bytes.try_into().ok()).map_or(0, u32::from_be_bytes)
}

/// The parts for workload, run and backend, still escaped.
pub(crate) fn parts(key: &[u8]) -> [&[u8]; 3] {
    let mut rest = key;
    [(); 3].map(|()| {
        let end = end_of_text(rest);
        let part = &rest[..end];
        rest = rest.get(end + END.len()..).unwrap_or_default();
        part
    })
}

/// A part as text.
pub(crate) fn text(part: &[u8]) -> String {
    String::from_utf8_lossy(part).into_owned().replace("\0\u{fffd}", "\0")
}

fn put(out: &mut Vec<u8>, text: &str) {
    if memchr::memchr(0, text.as_bytes()).is_none() {
        out.extend_from_slice(text.as_bytes());
    } else {
        for byte in text.bytes() {
            if byte == 0 { out.extend_from_slice(&ESCAPED_ZERO) } else { out.push(byte) }
        }
    }
    out.extend_from_slice(&END);
}

fn end_of_text(bytes: &[u8]) -> usize {
    let mut from = 0;
    while let Some(zero) = memchr::memchr(0, &bytes[from..]) {
        if bytes.get(from + zero + 1) != Some(&ESCAPED_ZERO[1]) {
            return from + zero;
        }
        from += zero + ESCAPED_ZERO.len();
    }
    bytes.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(texts: [&str; 3], micros: i64, source: u32) -> Vec<u8> {
        let mut out = Vec::new();
        write(&mut out, texts, micros, false, source, 9);
        out
    }

    #[test]
    fn bytes_order_as_texts_then_time() {
        let keys = [
            key(["wl", "a", "ray"], 5, 0),
            key(["wl", "a", "sage"], -5, 0),
            key(["wl", "a", "sage"], 5, 0),
            key(["wl", "a\0", "b"], 0, 0),
            key(["wl", "ab", "b"], 0, 0),
            key(["wl4", "a", "b"], 0, 0),
        ];
        assert!(keys.is_sorted());
    }

    #[test]
    fn parts_come_back_even_with_zero_bytes() {
        let key = key(["w\0\0l", "ü", "ray"], 5, 77);
        assert_eq!(parts(&key).map(text), ["w\0\0l", "ü", "ray"]);
        assert_eq!(source(&key), 77);
    }

    #[test]
    fn the_place_does_not_change_the_identity() {
        assert_eq!(identity(&key(["w", "r", "b"], 5, 1)), identity(&key(["w", "r", "b"], 5, 2)));
        assert_ne!(identity(&key(["w", "r", "b"], 5, 1)), identity(&key(["w", "r", "b"], 6, 1)));
    }
}
