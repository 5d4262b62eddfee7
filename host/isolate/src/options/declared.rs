//! One option by a plugin's own account. The account is outside text: it is read strictly, so that what a user is told
//! is what the plugin means.

use regex_lite::{Regex, RegexBuilder};
use serde::{Deserialize, Serialize};

use super::{name_is_fine, nearest};
use crate::text::one_line;

/// Bytes of a compiled pattern: it comes from a plugin.
const PATTERN: usize = 1 << 20;

/// An option as a plugin declares it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Declared {
    pub name: String,
    /// What it does.
    pub meaning: String,
    /// What holds when it is not given.
    #[serde(default)]
    pub default: Option<String>,
    /// All that it takes, when that can be listed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub values: Option<Vec<String>>,
    /// Or a number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub number: Option<Range>,
    /// Or text that a regular expression describes as a whole; any text without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pattern: Option<String>,
    /// The pattern in words, such as `HOST:PORT`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub takes: Option<String>,
}

/// Numbers that an option takes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Range {
    /// Without a fraction.
    #[serde(default)]
    pub whole: bool,
    #[serde(default)]
    pub minimum: Option<f64>,
    #[serde(default)]
    pub maximum: Option<f64>,
}

/// Reads a plugin's answer to [`OPTIONS`](super::OPTIONS).
///
/// # Errors
/// With what is wrong with it.
pub fn read(answer: &str) -> Result<Vec<Declared>, String> {
    let mut declared: Vec<Declared> = serde_json::from_str(answer).map_err(|cause| cause.to_string())?;
    for option in &mut declared {
        option.meaning = one_line(&option.meaning);
        option.takes = option.takes.as_deref().map(one_line);
    }
    for (place, option) in declared.iter().enumerate() {
        let wrong = |what: &str| format!("option `{}`: {what}", one_line(&option.name));
        name_is_fine(&option.name).map_err(wrong)?;
        if declared[..place].iter().any(|other| other.name == option.name) {
            return Err(wrong("it is declared twice"));
        }
        option.check().map_err(|what| wrong(&what))?;
    }
    Ok(declared)
}

impl Declared {
    fn check(&self) -> Result<(), String> {
        if self.meaning.is_empty() {
            return Err("it does not say what it means".to_owned());
        }
        let kinds = [self.values.is_some(), self.number.is_some(), self.pattern.is_some()];
        if kinds.into_iter().filter(|given| *given).count() > 1 {
            return Err("it has more than one of `values`, `number` and `pattern`".to_owned());
        }
        if let Some(values) = &self.values {
            let shown = |value: &String| !value.is_empty() && *value == one_line(value);
            if values.is_empty() || !values.iter().all(shown) {
                return Err("a value of its list cannot be written, or there is none".to_owned());
            }
        }
        if let Some(Range { minimum: Some(least), maximum: Some(most), .. }) = self.number
            && least > most
        {
            return Err("its least number is above its most".to_owned());
        }
        self.compiled().map_err(|cause| format!("its pattern: {cause}"))?;
        match &self.default {
            Some(default) => self.accepts(default).map_err(|why| format!("its default '{default}': {why}")),
            None => Ok(()),
        }
    }

    fn compiled(&self) -> Result<Option<Regex>, String> {
        let compile =
            |pattern: &String| RegexBuilder::new(&format!("^(?:{pattern})$")).size_limit(PATTERN).build();
        self.pattern.as_ref().map(compile).transpose().map_err(|cause| cause.to_string())
    }

    /// What it takes, for people.
    #[must_use]
    pub fn form(&self) -> String {
        match (&self.values, &self.number, &self.takes, &self.pattern) {
            (Some(values), ..) => one_of(values),
            (None, Some(range), ..) => range.form(),
            (None, None, Some(form), _) => form.clone(),
            (None, None, None, Some(pattern)) => format!("text like {}", one_line(pattern)),
            (None, None, None, None) => "any text".to_owned(),
        }
    }

    /// Whether it can be set to `value`.
    ///
    /// # Errors
    /// With what it takes, and the nearest value.
    pub fn accepts(&self, value: &str) -> Result<(), String> {
        let (fits, near) = match (&self.values, &self.number, self.compiled()) {
            (Some(values), ..) => {
                let near = nearest(value, values.iter().map(String::as_str));
                (values.iter().any(|known| known == value), near)
            }
            (None, Some(range), _) => (range.holds(value), None),
            (None, None, Ok(Some(pattern))) => (pattern.is_match(value), None),
            // A pattern that is none was refused when the plugin was asked.
            (None, None, _) => (true, None),
        };
        let near = near.map_or(String::new(), |near| format!(": did you mean `{near}`?"));
        if fits { Ok(()) } else { Err(format!("it takes {}{near}", self.form())) }
    }
}

impl Range {
    fn holds(&self, text: &str) -> bool {
        if self.whole && text.parse::<i64>().is_err() {
            return false;
        }
        let Some(number) = text.parse::<f64>().ok().filter(|number| number.is_finite()) else { return false };
        self.minimum.is_none_or(|least| number >= least) && self.maximum.is_none_or(|most| number <= most)
    }

    fn form(&self) -> String {
        let kind = if self.whole { "a whole number" } else { "a number" };
        match (self.minimum, self.maximum) {
            (Some(least), Some(most)) => format!("{kind} from {least} to {most}"),
            (Some(least), None) => format!("{kind} of {least} or more"),
            (None, Some(most)) => format!("{kind} of {most} or less"),
            (None, None) => kind.to_owned(),
        }
    }
}

fn one_of(values: &[String]) -> String {
    match values {
        [only] => only.clone(),
        [all @ .., last] => format!("{} or {last}", all.join(", ")),
        [] => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(kind: &str) -> Declared {
        let kind = if kind.is_empty() { String::new() } else { format!(", {kind}") };
        read(&format!(r#"[{{"name": "a", "meaning": "m"{kind}}}]"#)).unwrap().remove(0)
    }

    #[test]
    fn a_value_is_checked_by_its_kind() {
        let lanes = r#""number": {"whole": true, "minimum": 1, "maximum": 8}"#;
        let seconds = r#""number": {"minimum": 0.5}"#;
        let address = r#""pattern": "[^:]+:[0-9]+", "takes": "HOST:PORT""#;
        for (kind, right, wrong, form) in [
            (r#""values": ["x", "y", "z"]"#, &["x", "z"][..], &["", "X", "x ", "xy"][..], "x, y or z"),
            (
                lanes,
                &["1", "8", "+3"],
                &["0", "9", "1.5", "1e0", "-1", "", "one", "nan"],
                "a whole number from 1 to 8",
            ),
            (
                seconds,
                &["0.5", "1e3", "7"],
                &["0.4", "-1", "inf", "NaN", "1s", ""],
                "a number of 0.5 or more",
            ),
            (r#""number": {}"#, &["-1.5", "0"], &["x", "infinity"], "a number"),
            (address, &["h:1"], &["h", "h:1\n", "a:1:2", "", "h:1 "], "HOST:PORT"),
            ("", &["", "anything"], &[], "any text"),
        ] {
            let option = one(kind);
            assert_eq!(option.form(), form);
            for value in right {
                assert_eq!(option.accepts(value), Ok(()), "{kind}: {value:?}");
            }
            for value in wrong {
                let why = option.accepts(value).unwrap_err();
                assert!(why.starts_with(&format!("it takes {form}")), "{kind}: {value:?}: {why}");
            }
        }
    }

    #[test]
    fn a_declaration_that_makes_no_sense_is_named() {
        for (answer, why) in [
            ("[", "EOF"),
            ("{}", "expected a sequence"),
            (r#"[{"name": "a"}]"#, "missing field `meaning`"),
            (r#"[{"name": "a", "meaning": " "}]"#, "does not say what it means"),
            (r#"[{"name": "A-b", "meaning": "m"}]"#, "lower-case letters"),
            (r#"[{"name": "seed", "meaning": "m"}]"#, "belongs to the plan"),
            (r#"[{"name": "a", "meaning": "m"}, {"name": "a", "meaning": "m"}]"#, "declared twice"),
            (r#"[{"name": "a", "meaning": "m", "values": []}]"#, "there is none"),
            (r#"[{"name": "a", "meaning": "m", "values": ["x\u001b[2J"]}]"#, "cannot be written"),
            (r#"[{"name": "a", "meaning": "m", "values": ["x"], "number": {}}]"#, "more than one of"),
            (r#"[{"name": "a", "meaning": "m", "number": {"minimum": 2, "maximum": 1}}]"#, "above its most"),
            (r#"[{"name": "a", "meaning": "m", "pattern": "("}]"#, "its pattern"),
            (
                r#"[{"name": "a", "meaning": "m", "values": ["x"], "default": "y"}]"#,
                "its default 'y': it takes x",
            ),
            (
                r#"[{"name": "a", "meaning": "m", "number": {"whole": true}, "default": "1.5"}]"#,
                "a whole number",
            ),
        ] {
            let error = read(answer).unwrap_err();
            assert!(error.contains(why), "{answer}: {error}");
        }
    }

    #[test]
    fn what_a_plugin_says_of_itself_reaches_no_terminal_as_it_is() {
        let answer = r#"[{"name": "a", "meaning": "one\u001b[2J\ntwo", "pattern": "x", "takes": "\u202ex"}]"#;
        let option = read(answer).unwrap().remove(0);
        assert!(
            !option.meaning.contains(['\u{1b}', '\n']) && !option.form().contains('\u{202e}'),
            "{option:?}"
        );
    }
}
