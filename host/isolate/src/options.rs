//! Settings of a backend itself, `--backend-option KEY=VALUE`: what a plugin declares of them, and who gets which of
//! those that a user gave. One that nobody knows would be ignored in silence, and another experiment be measured
//! than was asked for.

mod declared;

pub use declared::{Declared, Range, read};

use crate::text;

/// The extension by which a plugin declares its options.
pub const OPTIONS: &str = "bench.options/1";

/// Entries of a plugin's spec that come from the plan: an option must not contradict them.
pub const FROM_THE_PLAN: [&str; 7] =
    ["nodes", "parity_batch_size", "max_in_flight", "seed", "run_id", "temp_dir", "operator_attempts"];

/// Names closer than this are worth a question.
const NEAR: f64 = 0.7;

/// Options that a user gave, each key once.
pub type Given = Vec<(String, String)>;

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

/// A backend and what it declares; nothing when it does not say what it takes.
pub type Taker<'a> = (&'a str, Option<&'a [Declared]>);

/// What each backend gets of the options that a user gave.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Shared {
    /// In the order of the backends.
    pub by_backend: Vec<Given>,
    /// Backends that declare nothing, so that nobody knows whether they heed what is passed on to them.
    pub unchecked: Vec<String>,
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

/// Gives each backend the options that it declares, and all of them to a backend that declares nothing.
///
/// # Errors
/// The first option that no backend takes, or a value that some backend does not take.
pub fn share(given: &Given, takers: &[Taker<'_>]) -> Result<Shared, Refused> {
    let mut shared = Shared { by_backend: vec![Given::new(); takers.len()], unchecked: Vec::new() };
    for (key, value) in given {
        let mut taken = false;
        for ((backend, declared), own) in takers.iter().zip(&mut shared.by_backend) {
            let refused = |why| Refused {
                message: format!("--backend-option {key}={value}: {why} (backend '{backend}')"),
                backend: (*backend).to_owned(),
            };
            match declared.map(|all| all.iter().find(|option| option.name == *key)) {
                Some(None) => continue,
                Some(Some(option)) => option.accepts(value).map_err(refused)?,
                None => name_is_fine(key).map_err(|why| refused(why.to_owned()))?,
            }
            taken = true;
            own.push((key.clone(), value.clone()));
        }
        if !taken {
            return Err(unknown(key, value, takers));
        }
    }
    let silent = takers.iter().filter(|(_, declared)| declared.is_none() && !given.is_empty());
    shared.unchecked = silent.map(|(backend, _)| (*backend).to_owned()).collect();
    Ok(shared)
}

/// Nobody has the key; everybody says what they take.
fn unknown(key: &str, value: &str, takers: &[Taker<'_>]) -> Refused {
    let names = |taker: &Taker<'_>| -> Vec<String> {
        taker.1.unwrap_or_default().iter().map(|option| option.name.clone()).collect()
    };
    let all: Vec<(&str, String)> =
        takers.iter().flat_map(|taker| names(taker).into_iter().map(|name| (taker.0, name))).collect();
    let nearest = nearest(key, all.iter().map(|(_, name)| name.as_str()));
    let whose = all.iter().find(|(_, name)| nearest.is_none_or(|nearest| name == nearest));
    let backend = whose.map(|(backend, _)| *backend).or(takers.first().map(|(backend, _)| *backend));
    let has = takers.iter().map(|taker| match names(taker) {
        names if names.is_empty() => format!("'{}' has none", taker.0),
        names => format!("'{}' has {}", taker.0, names.join(", ")),
    });
    let has = has.collect::<Vec<String>>().join("; ");
    let near = nearest.map_or(String::new(), |name| format!(": did you mean `{name}`?"));
    let nobody = match takers {
        [(only, _)] => format!("backend '{only}' has no such option"),
        _ => "none of the backends has such an option".to_owned(),
    };
    let message = format!("--backend-option {key}={value}: {nobody}{near} ({has})");
    Refused { message, backend: backend.unwrap_or_default().to_owned() }
}

fn nearest<'a>(text: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    text::nearest(text, known, NEAR)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ray() -> Vec<Declared> {
        read(
            r#"[{"name": "ray_mode", "meaning": "m", "default": "actors", "values": ["actors", "naive"]},
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
    fn an_unknown_option_is_refused_with_the_nearest_and_all_there_are() {
        let ray = ray();
        for key in ["ray_adress", "ray-address", "RAY_ADDRESS", "address"] {
            let message = refused(&[(key, "x:1")], &[("ray", Some(&ray))]);
            let expected = format!(
                "--backend-option {key}=x:1: backend 'ray' has no such option: did you mean `ray_address`? ('ray' has ray_mode, ray_address)"
            );
            assert_eq!(message, expected);
        }
        let message = refused(&[("foo", "bar")], &[("local", Some(&[]))]);
        let expected = "--backend-option foo=bar: backend 'local' has no such option ('local' has none)";
        assert_eq!(message, expected);
    }

    #[test]
    fn a_value_that_is_not_taken_is_refused_with_what_is_and_whose_it_is() {
        let ray = ray();
        let message = refused(&[("ray_mode", "actor")], &[("local", Some(&[])), ("ray", Some(&ray))]);
        let expected = "--backend-option ray_mode=actor: it takes actors or naive: did you mean `actors`? (backend 'ray')";
        assert_eq!(message, expected);
    }

    #[test]
    fn each_backend_gets_its_own_options_and_one_that_declares_nothing_all() {
        let (ray, one) = (ray(), given(&[("ray_mode", "naive")]));
        let both = given(&[("ray_mode", "naive"), ("other", "1")]);
        let shared = share(&both, &[("ray", Some(&ray)), ("local", Some(&[])), ("old", None)]).unwrap();
        assert_eq!(shared.by_backend, [one, Given::new(), both.clone()]);
        assert_eq!(shared.unchecked, ["old"]);
        let refused = share(&both, &[("local", Some(&[])), ("ray", Some(&ray))]).unwrap_err();
        assert!(refused.message.contains("none of the backends has such an option"), "{refused}");
    }

    #[test]
    fn a_backend_that_declares_nothing_gets_no_key_that_cannot_be_one() {
        assert!(refused(&[("A b", "1")], &[("old", None)]).contains("a key holds lower-case letters"));
        assert!(refused(&[("seed", "1")], &[("old", None)]).contains("belongs to the plan"));
        assert_eq!(share(&Given::new(), &[("old", None)]).unwrap().unchecked, Vec::<String>::new());
    }
}
