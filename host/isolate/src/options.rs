//! Settings of a backend itself, `--backend-option KEY=VALUE`: what a plugin declares of them, and who gets which of
//! those that a user gave. One that nobody knows would be ignored in silence, and another experiment be measured
//! than was asked for.

use regex_lite::{Regex, RegexBuilder};
use serde::{Deserialize, Serialize};

/// The extension by which a plugin declares its options.
pub const OPTIONS: &str = "bench.options/1";

/// Entries of a plugin's spec that come from the plan: an option must not contradict them.
pub const FROM_THE_PLAN: [&str; 7] =
    ["nodes", "parity_batch_size", "max_in_flight", "seed", "run_id", "temp_dir", "operator_attempts"];

/// Names closer than this are worth a question.
const NEAR: f64 = 0.7;
/// Bytes of a compiled pattern: it comes from a plugin.
const PATTERN: usize = 1 << 20;

/// An option as a plugin declares it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
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
    /// Otherwise a regular expression for the whole value; any text without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pattern: Option<String>,
    /// The pattern in words, such as `HOST:PORT`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub takes: Option<String>,
}

/// Options that a user gave, each key once.
pub type Given = Vec<(String, String)>;

/// Reads a plugin's answer to [`OPTIONS`].
///
/// # Errors
/// With what is wrong with it.
pub fn read(answer: &str) -> Result<Vec<Declared>, String> {
    let declared: Vec<Declared> = serde_json::from_str(answer).map_err(|cause| cause.to_string())?;
    for (place, option) in declared.iter().enumerate() {
        let name = &option.name;
        name_is_fine(name).map_err(|why| format!("option `{name}`: {why}"))?;
        if declared[..place].iter().any(|other| other.name == *name) {
            return Err(format!("option `{name}` is declared twice"));
        }
        if option.values.as_ref().is_some_and(Vec::is_empty) {
            return Err(format!("option `{name}` takes no value at all"));
        }
        option.compiled().map_err(|cause| format!("the pattern of option `{name}`: {cause}"))?;
        if let Some(default) = &option.default {
            option.accepts(default).map_err(|why| format!("the default of option `{name}`: {why}"))?;
        }
    }
    Ok(declared)
}

/// Whether something can be the key of an option.
///
/// # Errors
/// With the reason why not.
pub fn name_is_fine(name: &str) -> Result<(), &'static str> {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    if name.is_empty() || !name.chars().all(plain) {
        return Err("a key holds lower-case letters, digits and '_'");
    }
    if FROM_THE_PLAN.contains(&name) {
        return Err("this belongs to the plan, which has a flag for it");
    }
    Ok(())
}

impl Declared {
    fn compiled(&self) -> Result<Option<Regex>, String> {
        let compile = |pattern: &String| RegexBuilder::new(&format!("^(?:{pattern})$")).size_limit(PATTERN).build();
        self.pattern.as_ref().map(compile).transpose().map_err(|cause| cause.to_string())
    }

    /// What it takes, for people.
    #[must_use]
    pub fn form(&self) -> String {
        match (&self.values, &self.takes, &self.pattern) {
            (Some(values), ..) => one_of(values),
            (None, Some(form), _) => form.clone(),
            (None, None, Some(pattern)) => format!("text like {pattern}"),
            (None, None, None) => "any text".to_owned(),
        }
    }

    /// Whether it can be set to `value`.
    ///
    /// # Errors
    /// With what it takes, and the nearest value.
    pub fn accepts(&self, value: &str) -> Result<(), String> {
        let near = match (&self.values, self.compiled()) {
            (Some(values), _) if values.iter().any(|known| known == value) => return Ok(()),
            (Some(values), _) => question(value, values.iter().map(String::as_str)),
            (None, Ok(Some(pattern))) if !pattern.is_match(value) => String::new(),
            // A pattern that is none was refused when the plugin was asked.
            (None, _) => return Ok(()),
        };
        Err(format!("`{}` takes {}, not '{value}'{near}", self.name, self.form()))
    }
}

/// A backend and what it declares; nothing when it does not say what it takes.
pub type Taker<'a> = (&'a str, Option<&'a [Declared]>);

/// What each backend gets of the options that a user gave.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Shared {
    /// In the order of the backends.
    pub by_backend: Vec<Given>,
    /// Keys that are passed on to backends that declare nothing, so that nobody knows whether they are heard.
    pub unchecked: Vec<(String, String)>,
}

/// An option that nobody takes, or not so.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Refused {
    /// Cause, nearest, and what there is.
    pub message: String,
    /// Whose declaration says so.
    pub backend: String,
}

/// Gives each backend the options that it declares. What none declares goes to those that declare nothing, where
/// there are any.
///
/// # Errors
/// The first option that no backend has, or a value that some backend does not take.
pub fn share(given: &Given, takers: &[Taker<'_>]) -> Result<Shared, Refused> {
    let mut shared = Shared { by_backend: vec![Given::new(); takers.len()], unchecked: Vec::new() };
    for (key, value) in given {
        let mut known = false;
        for ((backend, declared), own) in takers.iter().zip(&mut shared.by_backend) {
            let Some(option) = declared.and_then(|all| all.iter().find(|option| option.name == *key)) else {
                continue;
            };
            let refused = |why| Refused {
                message: format!("option {why} (of backend '{backend}')"),
                backend: (*backend).to_owned(),
            };
            option.accepts(value).map_err(refused)?;
            known = true;
            own.push((key.clone(), value.clone()));
        }
        if known {
            continue;
        }
        let silent = takers.iter().zip(&mut shared.by_backend).filter(|((_, declared), _)| declared.is_none());
        for ((backend, _), own) in silent {
            known = true;
            own.push((key.clone(), value.clone()));
            shared.unchecked.push(((*backend).to_owned(), key.clone()));
        }
        if !known {
            return Err(unknown(key, takers));
        }
    }
    Ok(shared)
}

fn unknown(key: &str, takers: &[Taker<'_>]) -> Refused {
    let names = |declared: Option<&'_ [Declared]>| -> Vec<String> {
        declared.unwrap_or_default().iter().map(|option| option.name.clone()).collect()
    };
    let all: Vec<(String, String)> = takers
        .iter()
        .flat_map(|(backend, declared)| names(*declared).into_iter().map(|name| ((*backend).to_owned(), name)))
        .collect();
    let nearest = nearest(key, all.iter().map(|(_, name)| name.as_str()));
    let whose = nearest.and_then(|nearest| all.iter().find(|(_, name)| name == nearest));
    let first = takers.first().map_or("", |(backend, _)| *backend);
    let backend = whose.map_or(first, |(backend, _)| backend);
    let has = takers.iter().map(|(backend, declared)| match names(*declared) {
        names if names.is_empty() => format!("'{backend}' has none"),
        names => format!("'{backend}' has {}", names.join(", ")),
    });
    let near = nearest.map_or(String::new(), |name| format!(": did you mean `{name}`?"));
    let has: Vec<String> = has.collect();
    let message = match takers {
        [(only, _)] => format!("backend '{only}' has no option `{key}`{near} ({})", has.join("; ")),
        _ => format!("none of the backends has an option `{key}`{near} ({})", has.join("; ")),
    };
    Refused { message, backend: backend.to_owned() }
}

fn question<'a>(text: &str, known: impl Iterator<Item = &'a str>) -> String {
    nearest(text, known).map_or(String::new(), |name| format!(": did you mean '{name}'?"))
}

fn nearest<'a>(text: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let near = known.map(|name| (strsim::jaro_winkler(name, text), name)).filter(|(near, _)| *near > NEAR);
    near.max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, name)| name)
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

    fn ray() -> Vec<Declared> {
        read(
            r#"[{"name": "ray_mode", "meaning": "m", "default": "actors", "values": ["actors", "naive", "compiled"]},
                {"name": "ray_address", "meaning": "m", "pattern": "[^:]+:[0-9]+", "takes": "HOST:PORT"}]"#,
        )
        .unwrap()
    }

    fn given(options: &[(&str, &str)]) -> Given {
        options.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    fn refused(options: &[(&str, &str)], takers: &[Taker<'_>]) -> String {
        share(&given(options), takers).unwrap_err().message
    }

    #[test]
    fn a_misspelt_option_is_refused_with_the_nearest_and_all_there_are() {
        let ray = ray();
        let message = refused(&[("ray_adress", "x:1")], &[("ray", Some(&ray))]);
        let expected = "backend 'ray' has no option `ray_adress`: did you mean `ray_address`? ('ray' has ray_mode, ray_address)";
        assert_eq!(message, expected);
        let message = refused(&[("foo", "bar")], &[("local", Some(&[]))]);
        assert_eq!(message, "backend 'local' has no option `foo` ('local' has none)");
    }

    #[test]
    fn a_value_that_is_not_taken_is_refused_with_what_is() {
        let ray = ray();
        let message = refused(&[("ray_mode", "actor")], &[("ray", Some(&ray))]);
        assert_eq!(message, "option `ray_mode` takes actors, naive or compiled, not 'actor': did you mean 'actors'? (of backend 'ray')");
        for wrong in ["x", "x:1\n", "a:1:2", ""] {
            let message = refused(&[("ray_address", wrong)], &[("ray", Some(&ray))]);
            assert!(message.contains("takes HOST:PORT, not"), "{wrong:?}: {message}");
        }
    }

    #[test]
    fn each_backend_gets_its_own_options_and_one_that_declares_nothing_the_rest() {
        let (ray, both) = (ray(), given(&[("ray_mode", "naive"), ("other", "1")]));
        let shared = share(&both, &[("ray", Some(&ray)), ("local", Some(&[])), ("old", None)]).unwrap();
        let expected = [given(&[("ray_mode", "naive")]), Given::new(), given(&[("other", "1")])];
        assert_eq!(shared.by_backend, expected);
        assert_eq!(shared.unchecked, given(&[("old", "other")]));
        let refused = share(&both, &[("local", Some(&[])), ("ray", Some(&ray))]).unwrap_err();
        assert!(refused.message.starts_with("none of the backends has an option `other`"), "{refused}");
    }

    #[test]
    fn a_declaration_that_makes_no_sense_is_named() {
        for (answer, why) in [
            ("{", "EOF"),
            ("{}", "expected a sequence"),
            (r#"[{"name": "a"}]"#, "missing field `meaning`"),
            (r#"[{"name": "A-b", "meaning": "m"}]"#, "lower-case letters"),
            (r#"[{"name": "seed", "meaning": "m"}]"#, "belongs to the plan"),
            (r#"[{"name": "a", "meaning": "m"}, {"name": "a", "meaning": "m"}]"#, "declared twice"),
            (r#"[{"name": "a", "meaning": "m", "values": []}]"#, "no value at all"),
            (r#"[{"name": "a", "meaning": "m", "pattern": "("}]"#, "the pattern of option `a`"),
            (r#"[{"name": "a", "meaning": "m", "values": ["x"], "default": "y"}]"#, "the default of option `a`"),
        ] {
            let error = read(answer).unwrap_err();
            assert!(error.contains(why), "{answer}: {error}");
        }
    }
}
