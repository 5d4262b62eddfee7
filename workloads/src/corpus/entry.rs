//! A line of documents or of queries, as people write them.

use std::fmt;

use serde::de::{Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

/// A document or a query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub id: String,
    /// Empty where there is none.
    pub title: String,
    /// As the title.
    pub text: String,
}

#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct Written<'a> {
    #[serde(rename = "_id", borrow)]
    id: Option<&'a RawValue>,
    title: Option<Words>,
    text: Option<Words>,
}

impl Entry {
    /// Reads a line of JSON. Ids, titles and texts may be numbers, titles and texts may be null.
    pub fn of(line: &str) -> Result<Self, String> {
        const WANTED: &str = "each line holds one object";
        if line.trim_start().starts_with('[') {
            return Err(format!("this is a list: {WANTED}"));
        }
        let written: Written = serde_json::from_str(line).map_err(|e| {
            // The position in the line helps; the line within the line does not.
            let what = e.to_string().replace("at line 1 column", "at column");
            if e.is_data() { what } else { format!("not JSON: {what} ({WANTED})") }
        })?;
        let Some(id) = written.id else { return Err("missing field `_id`".to_owned()) };
        let id = match id.get().as_bytes()[0] {
            b'"' => serde_json::from_str(id.get()).map_err(|e| format!("field `_id`: {e}"))?,
            // As it stands there: digits beyond those of a machine's number are digits of the id.
            b'-' | b'0'..=b'9' => id.get().to_owned(),
            _ => return Err(format!("field `_id` is {}: write it as text or as a number", id.get())),
        };
        if id.is_empty() {
            return Err("the _id is empty".to_owned());
        }
        let words = |words: Option<Words>| words.map(|words| words.0).unwrap_or_default();
        Ok(Self { id, title: words(written.title), text: words(written.text) })
    }
}

/// Text, or a number that is meant as text.
struct Words(String);

impl<'de> Deserialize<'de> for Words {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(AnyWords)
    }
}

struct AnyWords;

impl<'de> Visitor<'de> for AnyWords {
    type Value = Words;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("text")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Words, E> {
        Ok(Words(text.to_owned()))
    }

    fn visit_string<E: Error>(self, text: String) -> Result<Words, E> {
        Ok(Words(text))
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Words, E> {
        Ok(Words(value.to_string()))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Words, E> {
        Ok(Words(number.to_string()))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Words, E> {
        Ok(Words(number.to_string()))
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Words, E> {
        Ok(Words(number.to_string()))
    }

    fn visit_unit<E: Error>(self) -> Result<Words, E> {
        Ok(Words(String::new()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Words, A::Error> {
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Err(A::Error::custom("title and text are text, not a list: join it into one"))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Words, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Err(A::Error::custom("title and text are text, not an object"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(line: &str) -> (String, String, String) {
        let entry = Entry::of(line).unwrap();
        (entry.id, entry.title, entry.text)
    }

    #[test]
    fn ids_and_texts_may_be_numbers_and_texts_may_be_missing() {
        for (line, expected) in [
            (r#"{"_id": "a", "title": "t", "text": "x"}"#, ("a", "t", "x")),
            (r#"{"_id": 7, "title": 1984, "text": null}"#, ("7", "1984", "")),
            (r#"{"_id": "a", "title": null, "metadata": {"_id": 3}}"#, ("a", "", "")),
            (r#"{"text": 1.5, "_id": -3}"#, ("-3", "", "1.5")),
            (r#"{"_id": "\u00e9\n", "text": true}"#, ("é\n", "", "true")),
            (r#"{"_id": 123456789012345678901234567890}"#, ("123456789012345678901234567890", "", "")),
        ] {
            let expected = (expected.0.to_owned(), expected.1.to_owned(), expected.2.to_owned());
            assert_eq!(entry(line), expected, "{line}");
        }
    }

    #[test]
    fn what_is_no_entry_is_refused_with_field_and_cause() {
        for (line, why) in [
            (r#"{"text": "x"}"#, "missing field `_id`"),
            (r#"{"_id": null}"#, "missing field `_id`"),
            (r#"{"_id": ""}"#, "the _id is empty"),
            (r#"{"_id": [1]}"#, "field `_id` is [1]: write it as text or as a number"),
            (r#"{"_id": "a", "text": ["x"]}"#, "not a list: join it into one at column 26"),
            (r#"{"_id": "a", "title": {}}"#, "not an object at column 24"),
            (r#"{"_id": "a""#, "not JSON: EOF while parsing an object at column 11"),
            ("[]", "this is a list: each line holds one object"),
            (r#"["a", "t", "x"]"#, "this is a list: each line holds one object"),
            (r#" [{"_id": "a", "text": "x"}]"#, "this is a list: each line holds one object"),
            ("5", "expected an object"),
            (r#"{"_id": "a"},"#, "not JSON: trailing characters at column 13 (each line holds one object)"),
        ] {
            let error = Entry::of(line).unwrap_err();
            assert!(error.contains(why), "{line}: {error}");
        }
    }
}
