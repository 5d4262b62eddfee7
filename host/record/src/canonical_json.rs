//! One spelling for every configuration, so that its hash means something.
//!
//! The canonical form: object keys sorted by code point at every level, no spaces, only `"`, `\`
//! and control characters escaped, floats as Python's `repr` writes them, whole numbers as whole
//! numbers. It equals Python's
//! `json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)`.
//!
//! `40` and `40.0` are different on purpose: a flag that changes its type is a different
//! configuration. Whole numbers reach from -2^63 to 2^64 - 1; JSON text beyond that reads as a float.

use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use crate::json_style;

/// How many digits of a hash are shown to people and used in directory names.
const SHORT: usize = 12;

/// The canonical form of a JSON value. A [`Value`] cannot hold a NaN, so this cannot fail.
pub fn canonical_json(value: &Value) -> String {
    // Neither can writing a value into memory.
    json_style::to_compact(&sorted(value)).unwrap_or_default()
}

/// SHA-256 of the canonical form, as 64 hexadecimal digits.
pub fn config_hash(value: &Value) -> String {
    sha256_hex(canonical_json(value).as_bytes())
}

/// The first twelve digits of a hash.
pub fn short(hash: &str) -> &str {
    hash.get(..SHORT).unwrap_or(hash)
}

/// SHA-256 as 64 hexadecimal digits.
pub fn sha256_hex(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

/// Rust orders strings by UTF-8 bytes, which is the order of code points. UTF-16 would differ.
fn sorted(value: &Value) -> Value {
    match value {
        Value::Array(items) => items.iter().map(sorted).collect(),
        Value::Object(map) => {
            let mut entries: Vec<_> = map.iter().collect();
            entries.sort_unstable_by_key(|(key, _)| key.as_str());
            let entries = entries.into_iter().map(|(key, value)| (key.clone(), sorted(value)));
            Value::Object(entries.collect::<Map<_, _>>())
        }
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_shipped_artefacts_hashes_are_reproduced() {
        let fifo = json!({"scheduler": "fifo", "items": 200, "parallelism": 4, "nodes": 1, "seed": 42});
        let mut default = fifo.clone();
        default["scheduler"] = json!("default");
        assert_eq!(short(&config_hash(&fifo)), "ee27ecc0aa8a");
        assert_eq!(short(&config_hash(&default)), "16e642c8dad9");
    }

    #[test]
    fn the_guides_command_has_the_pythons_hash() {
        let value = json!({"seed": 42, "scheduler": "fifo", "parallelism": 4, "nodes": 1, "items": 20});
        assert_eq!(config_hash(&value), "08569619a677a8b938a0e13a2b7fd8c44eb152323dd5f7d99b25fea6330aa0ee");
    }

    #[test]
    fn the_pythons_repro_manifest_hash_is_reproduced() {
        let value = json!({
            "backend": "sage", "items": 200, "nodes": 1, "parallelism": 4, "scheduler": "fifo", "seed": 42,
            "workload": "scheduler_comparison",
        });
        assert_eq!(config_hash(&value), "6e815bcc341dece7edee19bfa38583987e571c0bc3d223dac5521a2cc66ecd72");
    }

    #[test]
    fn backend_hashes_are_those_of_the_names() {
        let sage = "7e5d4325a44714fc86a9b6989e41e966a7297bfe7e913c15fb9ab19588e33d61";
        let ray = "c04bc270f965db4d7ab365b3b865b743e35e13e295c7b15fb795e2a01d24a639";
        assert_eq!(sha256_hex(b"sage"), sage);
        assert_eq!(sha256_hex(b"ray"), ray);
    }

    #[test]
    fn keys_are_sorted_at_every_level() {
        let value = json!({"b": {"z": 1, "y": [{"d": 1, "c": 2}]}, "a": null, "B": true});
        assert_eq!(canonical_json(&value), r#"{"B":true,"a":null,"b":{"y":[{"c":2,"d":1}],"z":1}}"#);
    }

    #[test]
    fn keys_are_sorted_by_code_point_and_not_by_utf16_unit() {
        // U+FF5E comes before U+1F600, but in UTF-16 the latter starts with 0xD83D.
        let value = json!({"\u{1F600}": 1, "\u{FF5E}": 2, "é": 3, "z": 4, "": 5});
        assert_eq!(canonical_json(&value), "{\"\":5,\"z\":4,\"é\":3,\"\u{FF5E}\":2,\"\u{1F600}\":1}");
    }

    #[test]
    fn non_ascii_keys_have_pythons_hash() {
        let value = json!({"größe": 1.5, "名前": "値", "\u{1F600}": 1, "\u{FF5E}": "a\u{7f}\u{2028}"});
        assert_eq!(config_hash(&value), "b8fb9bb19f9fa113cf1e24c83e1ed44a9774477d5527bce056fab9e00d72c828");
    }

    #[test]
    fn only_quotes_backslashes_and_control_characters_are_escaped() {
        let value = json!("\" \\ / \u{8} \t \n \u{c} \r \u{0} \u{1f} \u{7f} é \u{2028}");
        let expected = "\"\\\" \\\\ / \\b \\t \\n \\f \\r \\u0000 \\u001f \u{7f} é \u{2028}\"";
        assert_eq!(canonical_json(&value), expected);
    }

    #[test]
    fn floats_are_written_as_python_writes_them() {
        let value = json!([40.0, 0.15, 1e-5, 1e16, 40, -0.0, 1e15]);
        assert_eq!(canonical_json(&value), "[40.0,0.15,1e-05,1e+16,40,-0.0,1000000000000000.0]");
    }

    #[test]
    fn a_whole_number_and_a_float_hash_differently() {
        assert_ne!(config_hash(&json!({"qps": 40})), config_hash(&json!({"qps": 40.0})));
    }

    #[test]
    fn the_largest_whole_numbers_stay_whole() {
        assert_eq!(
            canonical_json(&json!([u64::MAX, i64::MIN])),
            "[18446744073709551615,-9223372036854775808]"
        );
    }

    #[test]
    fn text_that_is_read_back_hashes_the_same() {
        let value = json!({"a": [0.1, 1e-300, 5e-324, 123456789.123], "b": {"c": "x"}});
        let text = canonical_json(&value);
        assert_eq!(canonical_json(&serde_json::from_str(&text).unwrap()), text);
    }

    #[test]
    fn a_short_hash_has_twelve_digits() {
        assert_eq!(short("0123456789abcdef"), "0123456789ab");
        assert_eq!(short("0123"), "0123");
    }
}
