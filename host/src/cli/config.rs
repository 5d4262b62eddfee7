//! `--config FILE`: flags, written down. There is one definition of what flags there are, what they take and what
//! goes with what, which is that of the command line: each key of the file is put in front of the words of the
//! command line as its flag, unless they give it themselves. Any other key is a parameter of the workload.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use bench_record::found::Found;
use bench_workloads::list::WORKLOADS;
use bench_workloads::parameters::Table;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command};
use serde_json::Value;
use toml::Spanned;

use super::plan::set_written;
use super::{Exit, Stopped};
use bench_isolate::text::nearest;

/// Flags that no file has: they are about the file, or end in a text.
const NOT_IN_A_FILE: [&str; 3] = ["config", "help", "version"];
/// Bytes of a file: one has a line a flag, and something else may be endless.
const LARGEST: u64 = 1 << 20;
/// Closer names than this are worth a question.
const NEAR: f64 = 0.75;

/// What a configuration file says beside flags, and where it says what.
#[derive(Debug, Clone, Default)]
pub struct ConfigFile {
    path: PathBuf,
    /// Each key, in the file's spelling, with its line.
    lines: Vec<(String, usize)>,
    /// Parameters of the workload. Those of a table have its name before a dot.
    pub params: Vec<(String, Value)>,
}

/// Why a command line cannot be read.
#[derive(Debug)]
pub enum Unreadable {
    /// The command line itself, or help was asked for.
    Words(clap::Error),
    /// The file, or the two together.
    File(Stopped),
}

impl From<clap::Error> for Unreadable {
    fn from(error: clap::Error) -> Self {
        Self::Words(error)
    }
}

/// Reads a command line and the file that it names.
///
/// # Errors
/// The first thing that is wrong, with its line where it is in the file.
pub fn read(command: &Command, words: &[OsString]) -> Result<(ArgMatches, ConfigFile), Unreadable> {
    // What is wrong with the words is said below; here the file may still bring what they lack.
    let given = command.clone().ignore_errors(true).try_get_matches_from(words)?;
    let (flags, matches, place) = match given.subcommand() {
        Some((name, matches)) => (command.find_subcommand(name), matches, 2),
        None => (Some(command), &given, 1),
    };
    let path = matches.try_get_one::<PathBuf>("config").ok().flatten();
    let (Some(flags), Some(path)) = (flags, path) else {
        return Ok((command.clone().try_get_matches_from(words)?, ConfigFile::default()));
    };
    let (added, file) = ConfigFile::read(path, flags, matches).map_err(Unreadable::File)?;
    let mut all = words.to_vec();
    let place = place.min(all.len());
    all.splice(place..place, added.into_iter().map(OsString::from));
    match command.clone().try_get_matches_from(all) {
        Ok(matches) => Ok((matches, file)),
        Err(error) if error.use_stderr() => {
            let text = error.to_string();
            Err(Unreadable::File(file.located(Stopped::usage(text.trim_start_matches("error: ").trim_end()))))
        }
        Err(help) => Err(help.into()),
    }
}

impl ConfigFile {
    /// The file's flags as words that the command line does not say already.
    fn read(path: &Path, flags: &Command, given: &ArgMatches) -> Result<(Vec<String>, Self), Stopped> {
        let text = Found::NAMED.at_most(LARGEST).open(path).and_then(io::read_to_string);
        let text =
            text.map_err(|cause| Stopped::usage(format!("cannot read {}: {cause}", path.display())))?;
        // An editor may have put a mark before the first line.
        let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
        let line_of = |offset: usize| text[..offset.min(text.len())].matches('\n').count() + 1;
        let at = |line: usize, what: &str| Stopped::usage(format!("{}:{line}: {what}", path.display()));
        let table: BTreeMap<Spanned<String>, Spanned<toml::Value>> =
            toml::from_str(text).map_err(|error| {
                let what = match error.message().trim() {
                    what if what.contains("too large") => format!("{what}: write the number in quotes"),
                    what => format!("{what} (a configuration file is TOML: key = value)"),
                };
                at(line_of(error.span().map_or(0, |span| span.start)), &what)
            })?;
        let mut entries: Vec<_> = table.into_iter().collect();
        entries.sort_by_key(|(key, _)| key.span().start);
        let mut file = Self { path: path.to_owned(), ..Self::default() };
        let (mut words, mut seen) = (Vec::new(), Vec::<(&clap::Id, usize)>::new());
        for (key, value) in entries {
            let (line, key) = (line_of(key.span().start), key.into_inner());
            let wrong = |what: String| at(line, &what);
            let value = match value.into_inner() {
                // 00:01:30 is a time of TOML's own.
                toml::Value::Datetime(time) => Ok(time.to_string().into()),
                value => serde_json::to_value(value),
            };
            let value = value.map_err(|cause| wrong(format!("{key}: {cause}")))?;
            file.lines.push((key.clone(), line));
            let Some(flag) = flag(flags, &key) else {
                file.parameter(&key, value)
                    .map_err(|what| wrong(what.unwrap_or_else(|| unknown(&key, flags))))?;
                continue;
            };
            if let Some((_, first)) = seen.iter().find(|(id, _)| *id == flag.get_id()) {
                return Err(wrong(format!("{key}: line {first} gives it already")));
            }
            seen.push((flag.get_id(), line));
            let written = as_words(flag, &value).map_err(|why| wrong(format!("{key}: {why}")))?;
            // What is wrong with what is set names the parameter, and not the flag.
            file.lines.extend(assigned(flag, &written).map(|key| (key, line)));
            probe(flags, &written).map_err(|why| wrong(format!("{key}: {why}")))?;
            words.extend(without_given(flag, written, given));
        }
        Ok((words, file))
    }

    /// Takes a key as a parameter of the workload. The error is empty for one that is not known.
    fn parameter(&mut self, key: &str, value: Value) -> Result<(), Option<String>> {
        let tables: Vec<&Table> = tables().filter(|table| table.defaults().get(key).is_some()).collect();
        if tables.is_empty() {
            return Err(None);
        }
        if let Value::Object(members) = value {
            return members.into_iter().try_for_each(|(name, value)| {
                let name = format!("{key}.{name}");
                self.parameter(&name, value)
                    .map_err(|why| why.or(Some(format!("there is no parameter `{name}`"))))
            });
        }
        let fits = |table: &Table| set_written(table, &mut table.defaults(), key, value.clone());
        // One workload that takes it is enough: which one runs is said elsewhere.
        let refused =
            tables.into_iter().map(fits).reduce(|refused, next| refused.or_else(|why| next.map_err(|_| why)));
        refused.unwrap_or(Ok(())).map_err(Some)?;
        self.params.push((key.to_owned(), value));
        Ok(())
    }

    /// The same error, with the line of each key that it is about.
    #[must_use]
    pub fn located(&self, mut stopped: Stopped) -> Stopped {
        if stopped.exit != Exit::Usage {
            return stopped;
        }
        let is_about = |key: &str| {
            let (flag, name) = (format!("--{}", key.replace('_', "-")), key.replace('-', "_"));
            mentions(&stopped.message, &flag) || name.contains('_') && mentions(&stopped.message, &name)
        };
        let about = self.lines.iter().filter(|(key, _)| is_about(key));
        let path = self.path.display();
        let places: Vec<String> = about.map(|(key, line)| format!("{key} is set in {path}:{line}")).collect();
        if !places.is_empty() {
            stopped.message = format!("{} ({})", stopped.message, places.join("; "));
        }
        stopped
    }
}

/// The parameters of each workload.
fn tables() -> impl Iterator<Item = &'static Table> {
    WORKLOADS.into_iter().map(|workload| workload.parameters())
}

/// The flag that a key means.
fn flag<'a>(flags: &'a Command, key: &str) -> Option<&'a Arg> {
    let name = key.replace('_', "-");
    usable(flags).find(|flag| names(flag).any(|known| known == name))
}

/// Flags that a file may have: not those that this command has others for.
fn usable(flags: &Command) -> impl Iterator<Item = &Arg> {
    flags
        .get_arguments()
        .filter(|flag| !flag.is_hide_set() && !NOT_IN_A_FILE.contains(&flag.get_id().as_str()))
}

fn names(flag: &Arg) -> impl Iterator<Item = &str> {
    flag.get_long().into_iter().chain(flag.get_all_aliases().unwrap_or_default())
}

fn unknown(key: &str, flags: &Command) -> String {
    let params = tables().flat_map(|table| table.rows).map(|row| row.name.to_owned());
    let flags_of = |flag: &Arg| names(flag).map(|name| name.replace('-', "_")).collect::<Vec<_>>();
    let known = usable(flags).flat_map(flags_of).chain(params);
    let known: Vec<String> = known.collect();
    let nearest = nearest(key, known.iter().map(String::as_str), NEAR);
    let question = nearest.map_or(String::new(), |name| format!(": did you mean `{name}`?"));
    let command = flags.get_name();
    let command = if command == "bench" { "bench run".to_owned() } else { format!("bench {command}") };
    format!("`{key}` is neither a flag of `{command}` nor a parameter of the workload{question}")
}

fn is_assignment(flag: &Arg) -> bool {
    flag.get_value_names().is_some_and(|names| names.iter().any(|name| name == "KEY=VALUE"))
}

/// A value as it would stand on the command line.
fn as_words(flag: &Arg, value: &Value) -> Result<Vec<String>, String> {
    let name = flag.get_long().unwrap_or_default();
    let word = |text: String| format!("--{name}={text}");
    let several = matches!(flag.get_action(), ArgAction::Append);
    match (flag.get_action(), value) {
        (ArgAction::SetTrue, Value::Bool(true)) => Ok(vec![format!("--{name}")]),
        (ArgAction::SetTrue, Value::Bool(false)) => Ok(Vec::new()),
        (ArgAction::SetTrue, _) => Err("it is true or false".to_owned()),
        (_, Value::Array(values)) => {
            let texts = values.iter().map(scalar).collect::<Result<Vec<_>, _>>()?;
            Ok(if several { texts.into_iter().map(word).collect() } else { vec![word(texts.join(","))] })
        }
        (_, Value::Object(members)) if is_assignment(flag) => {
            members.iter().map(|(key, value)| Ok(word(format!("{key}={}", scalar(value)?)))).collect()
        }
        (_, Value::Bool(_)) => Err("it takes a value, and not true or false".to_owned()),
        (_, value) => Ok(vec![word(scalar(value)?)]),
    }
}

fn scalar(value: &Value) -> Result<String, String> {
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Number(_) | Value::Bool(_) => Ok(value.to_string()),
        _ => Err("it takes no table and no list of lists".to_owned()),
    }
}

/// What the command line would say of these words alone.
fn probe(flags: &Command, words: &[String]) -> Result<(), String> {
    let words = std::iter::once(flags.get_name().to_owned()).chain(words.iter().cloned());
    let Err(error) = flags.clone().try_get_matches_from(words) else { return Ok(()) };
    let context = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => text.clone(),
        Some(ContextValue::Strings(texts)) => texts.join(", "),
        _ => String::new(),
    };
    match error.kind() {
        // What goes with it is elsewhere.
        ErrorKind::MissingRequiredArgument => Ok(()),
        ErrorKind::ValueValidation => {
            Err(std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string))
        }
        ErrorKind::InvalidValue => Err(format!(
            "'{}' is none of {}",
            context(ContextKind::InvalidValue),
            context(ContextKind::ValidValue)
        )),
        _ => {
            Err(error.to_string().lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned())
        }
    }
}

/// What is left of a flag's words where the command line, or the environment, has it too. Of assignments it is
/// the keys that count.
fn without_given(flag: &Arg, words: Vec<String>, given: &ArgMatches) -> Vec<String> {
    let id = flag.get_id().as_str();
    let source = given.value_source(id);
    if !matches!(source, Some(ValueSource::CommandLine | ValueSource::EnvVariable)) {
        return words;
    }
    if !is_assignment(flag) {
        return Vec::new();
    }
    let known: Vec<String> =
        given.get_many::<String>(id).unwrap_or_default().map(|assignment| key_of(assignment)).collect();
    let name = assignment_of(flag);
    words.into_iter().filter(|word| !known.contains(&key_of(word.trim_start_matches(&name)))).collect()
}

/// How a word that assigns by a flag begins.
fn assignment_of(flag: &Arg) -> String {
    format!("--{}=", flag.get_long().unwrap_or_default())
}

fn key_of(assignment: &str) -> String {
    assignment.split('=').next().unwrap_or_default().trim().to_owned()
}

/// What the words of a flag assign to; nothing where it assigns nothing.
fn assigned(flag: &Arg, words: &[String]) -> impl Iterator<Item = String> {
    let name = assignment_of(flag);
    let words = words.iter().filter(|_| is_assignment(flag));
    words.map(move |word| key_of(word.trim_start_matches(&name)))
}

/// Whether a text has a word that is not part of a longer one.
fn mentions(text: &str, word: &str) -> bool {
    let part = |c: char| c.is_alphanumeric() || c == '_' || c == '-';
    text.match_indices(word).any(|(at, _)| {
        let (before, after) = (text[..at].chars().next_back(), text[at + word.len()..].chars().next());
        !before.is_some_and(part) && !after.is_some_and(part)
    })
}

#[cfg(test)]
mod tests;
