//! Settings of a backend itself, which users give as `--backend-option KEY=VALUE`.
//!
//! A plugin declares them so that the host can refuse a misspelt one before anything runs: an option that is
//! silently ignored measures something else than what was asked for.

use serde_json::{Value, json};

/// The extension by which the host asks for them. The answer is a list of `{"name", "meaning", "default"}`, each with
/// `values`, with `number`, with `pattern` and `takes`, or with none of them for any text.
pub const OPTIONS: &str = "bench.options/1";

/// One setting.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BackendOption {
    /// What comes before the `=`: lower case letters, digits and `_`.
    pub name: &'static str,
    /// What it does, in a sentence.
    pub meaning: &'static str,
    /// What holds when it is not given, if that can be written as a value.
    pub default: Option<&'static str>,
    /// What may come after the `=`.
    pub takes: Takes,
}

/// What an option may be set to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Takes {
    /// One of these.
    OneOf(&'static [&'static str]),
    /// A number.
    Number {
        /// Without a fraction.
        whole: bool,
        /// The least, if there is one.
        minimum: Option<f64>,
        /// The most, if there is one.
        maximum: Option<f64>,
    },
    /// Text that a regular expression describes as a whole.
    Like {
        /// The expression; look-around and back-references are not known.
        pattern: &'static str,
        /// The same for people, such as `HOST:PORT`.
        form: &'static str,
    },
    /// Any text.
    Text,
}

impl BackendOption {
    fn to_json(self) -> Value {
        let mut value = json!({"name": self.name, "meaning": self.meaning, "default": self.default});
        match self.takes {
            Takes::OneOf(values) => value["values"] = json!(values),
            Takes::Number { whole, minimum, maximum } => {
                value["number"] = json!({"whole": whole, "minimum": minimum, "maximum": maximum});
            }
            Takes::Like { pattern, form } => {
                value["pattern"] = pattern.into();
                value["takes"] = form.into();
            }
            Takes::Text => {}
        }
        value
    }
}

/// The answer to [`OPTIONS`].
#[must_use]
pub fn options_answer(options: &[BackendOption]) -> String {
    Value::from_iter(options.iter().map(|option| option.to_json())).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_is_what_the_guide_for_authors_says() {
        let options = [
            BackendOption {
                name: "mode",
                meaning: "how",
                default: Some("fast"),
                takes: Takes::OneOf(&["fast", "slow"]),
            },
            BackendOption {
                name: "address",
                meaning: "where",
                default: None,
                takes: Takes::Like { pattern: ".+:[0-9]+", form: "HOST:PORT" },
            },
            BackendOption {
                name: "lanes",
                meaning: "how many",
                default: Some("2"),
                takes: Takes::Number { whole: true, minimum: Some(1.0), maximum: None },
            },
        ];
        let answer: Value = serde_json::from_str(&options_answer(&options)).unwrap();
        let expected = json!([
            {"name": "mode", "meaning": "how", "default": "fast", "values": ["fast", "slow"]},
            {"name": "address", "meaning": "where", "default": null, "pattern": ".+:[0-9]+", "takes": "HOST:PORT"},
            {"name": "lanes", "meaning": "how many", "default": "2",
             "number": {"whole": true, "minimum": 1.0, "maximum": null}},
        ]);
        assert_eq!(answer, expected);
        assert_eq!(options_answer(&[]), "[]");
    }
}
