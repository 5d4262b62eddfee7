//! `engine.toml`, read strictly: a key that is misspelt would be ignored in silence.

use std::path::Path;

use bench_engine_package::{FILE, Manifest};
use bench_isolate::discover::BackendName;
use bench_isolate::options;
use bench_isolate::text::{nearest, shell_word};
use bench_record::found::Found;

use super::PackError;

/// Larger is no manifest.
const LARGEST: u64 = 256 << 10;
/// Closer names than this are worth a question.
const NEAR: f64 = 0.75;

pub(super) fn read(folder: &Path) -> Result<Manifest, PackError> {
    let path = folder.join(FILE);
    let shown = shell_word(&path);
    let unreadable =
        |cause: &dyn std::fmt::Display| PackError::new(format!("cannot read {shown}: {cause}"), "");
    let metadata = match std::fs::metadata(&path) {
        Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => {
            let message = match folder.metadata() {
                Ok(found) if found.is_dir() => format!("{} has no {FILE}", shell_word(folder)),
                Ok(_) => format!("{} is not a folder", shell_word(folder)),
                Err(cause) => format!("cannot read {}: {cause}", shell_word(folder)),
            };
            return Err(PackError::new(
                message,
                "bench backends new my_engine --lang python makes a folder with one",
            ));
        }
        Err(cause) if cause.kind() == std::io::ErrorKind::NotADirectory => {
            return Err(PackError::new(format!("{} is not a folder", shell_word(folder)), ""));
        }
        found => found.map_err(|cause| unreadable(&cause))?,
    };
    // Whatever else has this name may be endless.
    if !metadata.is_file() || metadata.len() > LARGEST {
        return Err(unreadable(&"it is not a file of 256 KiB or less"));
    }
    let bytes = Found::NAMED.at_most(LARGEST).read(&path).map_err(|cause| unreadable(&cause))?;
    let text = String::from_utf8(bytes).map_err(|_| unreadable(&"it is not UTF-8"))?;
    parse(&text).map_err(|(line, why)| {
        let place = line.map_or(String::new(), |line| format!(":{line}"));
        PackError::new(format!("{shown}{place}: {why}"), "")
    })
}

/// Reads and checks the text of a manifest. The error has its line where that is known.
fn parse(text: &str) -> Result<Manifest, (Option<usize>, String)> {
    // An editor may have put a mark before the first line.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let manifest: Manifest = toml::from_str(text).map_err(|error| {
        let line = error.span().map(|span| text[..span.start.min(text.len())].matches('\n').count() + 1);
        // What is missing is on no line.
        let line = line.filter(|_| !error.message().starts_with("missing field"));
        (line, with_nearest(error.message().trim()))
    })?;
    let manifest = manifest.completed();
    check(&manifest).map_err(|why| (None, why))?;
    Ok(manifest)
}

fn check(manifest: &Manifest) -> Result<(), String> {
    let name = &manifest.name;
    BackendName::parse(name).map_err(|why| format!("`name`: '{}': {why}", name.escape_default()))?;
    manifest.check()?;
    if semver::Version::parse(&manifest.version).is_err() {
        let version = &manifest.version;
        return Err(format!(
            "`version`: '{version}' is not a version as semantic versioning has it, such as 0.1.0"
        ));
    }
    let declared = serde_json::to_string(&manifest.options).map_err(|cause| cause.to_string())?;
    options::read(&declared).map(drop).map_err(|why| format!("`options`: {why}"))
}

/// An unknown key is told with the nearest of those that would be known there.
fn with_nearest(message: &str) -> String {
    let Some(rest) = message.strip_prefix("unknown field `") else { return message.to_owned() };
    let mut words = rest.split('`').step_by(2);
    let key = words.next().unwrap_or_default();
    // The words between are `, expected one of ` and commas.
    let known: Vec<&str> = rest.split('`').skip(2).step_by(2).collect();
    let question = nearest(key, known.iter().copied(), NEAR);
    let question = question.map_or(String::new(), |name| format!(": did you mean `{name}`?"));
    format!("there is no key `{key}`{question} (there are {})", known.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: &str = "name = \"x\"\nversion = \"0.1.0\"\n";

    fn wrong(more: &str) -> (Option<usize>, String) {
        parse(&format!("{SMALL}{more}")).unwrap_err()
    }

    #[test]
    fn an_unknown_key_is_told_with_its_line_and_the_nearest_wherever_it_stands() {
        for (more, line, why) in [
            ("requirments = []\n", 3, "there is no key `requirments`: did you mean `requirements`?"),
            ("plain-pip = \"x\"\n", 3, "did you mean `plain_pip`?"),
            ("[[imports]]\nmodul = \"x\"\n", 4, "there is no key `modul`: did you mean `module`?"),
            ("[[options]]\nname = \"a\"\nmeanings = \"m\"\n", 5, "did you mean `meaning`?"),
            (
                "[[options]]\nname = \"a\"\nmeaning = \"m\"\nnumber = {min = 1}\n",
                6,
                "did you mean `minimum`?",
            ),
            ("colour = \"red\"\n", 3, "there is no key `colour` (there are name, version, "),
        ] {
            let (at, said) = wrong(more);
            assert!(said.contains(why), "{more}: {said}");
            assert_eq!(at, Some(line), "{more}: {said}");
        }
    }

    #[test]
    fn what_is_not_toml_or_of_another_type_is_told_with_its_line() {
        assert_eq!(wrong("nodes = 3\n").0, Some(3));
        assert!(wrong("nodes = 3\n").1.contains("true, false or the name of an option"));
        assert!(wrong("requirements = \"ray\"\n").1.contains("expected a sequence"));
        assert_eq!(wrong("=\n").0, Some(3));
        assert_eq!(parse("version = \"1.0.0\"\n").unwrap_err(), (None, "missing field `name`".to_owned()));
    }

    #[test]
    fn names_versions_and_options_are_those_of_the_host() {
        let named = |name: &str| parse(&format!("name = \"{name}\"\nversion = \"1.0.0\"\n")).unwrap_err().1;
        assert_eq!(named("My-Engine"), "`name`: 'My-Engine': a name consists of a-z, 0-9 and _ only");
        assert_eq!(named(""), "`name`: '': the name is empty");
        let version = parse("name = \"x\"\nversion = \"1.0\"\n").unwrap_err().1;
        assert!(version.starts_with("`version`: '1.0' is not a version"), "{version}");
        let option = wrong("[[options]]\nname = \"seed\"\nmeaning = \"m\"\n").1;
        assert!(option.starts_with("`options`: option `seed`: this belongs to the plan"), "{option}");
    }

    #[test]
    fn a_mark_before_the_first_line_is_no_part_of_it() {
        assert_eq!(parse(&format!("\u{feff}{SMALL}")).unwrap().name, "x");
    }
}
