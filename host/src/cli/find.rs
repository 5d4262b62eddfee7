//! What a command needs before it starts: the backend, the workloads, and a user who still wants it.

use std::collections::BTreeMap;
use std::path::Path;

use super::pack::packed;
use super::{Exit, PluginArgs, STOP, Stopped, screen};
use bench_isolate::describe::{DEFAULT_TIMEOUT, Description, Listing, Status};
use bench_isolate::discover::{Candidate, SearchPath, Survey, UnknownBackend};
use bench_isolate::install::data_dir;
use bench_isolate::isolate::{Cause, Limits, Runner, StopLevel};
use bench_isolate::options::{self, Given, Taker};
use bench_isolate::text::shell_word;
use bench_isolate::trust::{Trouble, Trust, TrustError};
use bench_isolate::vet::{Vetted, vet};

/// A backend that can run, and what it gets of the options that were given.
#[derive(Debug)]
pub struct ReadyBackend {
    pub plugin: Vetted,
    pub description: Description,
    pub options: Given,
}

/// Finds, vets and asks a backend; the error of an unavailable one is its own words. An option that it does not take
/// is an error whether it is available or not.
pub fn ready_backend(plugins: &PluginArgs, name: &str, given: &Given) -> Result<ReadyBackend, Stopped> {
    let asked = Asked::of(&survey(plugins)?, plugins, name)?;
    let mut options = share(std::slice::from_ref(&asked), given)?;
    asked.ready(options.pop().unwrap_or_default())
}

/// As [`ready_backend`], for all backends of a command: an option is right when one of them has it.
pub fn ready_backends<'a>(
    plugins: &PluginArgs,
    names: impl IntoIterator<Item = &'a str>,
    given: &Given,
) -> Result<BTreeMap<String, ReadyBackend>, Stopped> {
    let asked = Asked::all(plugins, names)?;
    let options = share(&asked, given)?;
    let ready =
        |(asked, options): (Asked, Given)| Ok((asked.candidate.name.to_string(), asked.ready(options)?));
    asked.into_iter().zip(options).map(ready).collect()
}

/// Whether there are such backends, be they available or not.
pub fn check_names<'a>(
    plugins: &PluginArgs,
    names: impl IntoIterator<Item = &'a str>,
) -> Result<(), Stopped> {
    let survey = survey(plugins)?;
    names
        .into_iter()
        .try_for_each(|name| survey.find(name).map(drop).map_err(|unknown| unknown_backend(plugins, unknown)))
}

/// Whether the backends take the options that were given, be they available or not.
pub fn check_options<'a>(
    plugins: &PluginArgs,
    names: impl IntoIterator<Item = &'a str>,
    given: &Given,
) -> Result<(), Stopped> {
    if given.is_empty() {
        return Ok(());
    }
    share(&Asked::all(plugins, names)?, given).map(drop)
}

/// A backend that said what it is.
struct Asked {
    candidate: Candidate,
    listing: Listing,
    description: Description,
}

impl Asked {
    fn of(survey: &Survey, plugins: &PluginArgs, name: &str) -> Result<Self, Stopped> {
        let candidate = survey.find(name).map_err(|unknown| unknown_backend(plugins, unknown))?;
        let runner = Runner::with(Limits::within(DEFAULT_TIMEOUT));
        let listing = Listing::of(candidate, &runner, &STOP);
        go_on()?;
        if let Some(description) = listing.description() {
            let description = description.clone();
            return Ok(Self { candidate: candidate.clone(), listing, description });
        }
        let (cause, remedy) = listing.trouble().unwrap_or_default();
        // The time-out of a run is not that of a description.
        let slow = matches!(&listing.status, Status::Failed { failure }
            if matches!(failure.cause, Cause::TimedOut(_)));
        let look = || {
            let info = format!("bench backends info {name} --timeout 120");
            format!("see how long it needs: {}", listing.address.completed(&info))
        };
        let remedy = if slow { look() } else { remedy };
        Err(Stopped::new(Exit::BadPlugin, format!("backend '{name}': {cause}"), remedy))
    }

    /// Each of `names` once.
    fn all<'a>(plugins: &PluginArgs, names: impl IntoIterator<Item = &'a str>) -> Result<Vec<Self>, Stopped> {
        let survey = survey(plugins)?;
        let mut all: Vec<Self> = Vec::new();
        for name in names {
            if !all.iter().any(|asked| asked.candidate.name.as_str() == name) {
                all.push(Self::of(&survey, plugins, name)?);
            }
        }
        Ok(all)
    }

    fn ready(self, options: Given) -> Result<ReadyBackend, Stopped> {
        let Self { candidate, listing, description } = self;
        let name = &candidate.name;
        if let Some((cause, remedy)) = listing.trouble() {
            let text = format!("backend '{name}' is not available: {cause}");
            return Err(Stopped::new(Exit::Unavailable, text, remedy));
        }
        let plugin = vet(&candidate).map_err(|refusal| {
            let remedy = listing.address.completed(&refusal.remedy());
            Stopped::new(Exit::BadPlugin, format!("backend '{name}': {}", refusal.cause()), remedy)
        })?;
        Ok(ReadyBackend { plugin, description, options })
    }
}

/// What each backend gets of `given`.
fn share(asked: &[Asked], given: &Given) -> Result<Vec<Given>, Stopped> {
    let taker = |asked: &Asked| (asked.candidate.name.to_string(), asked.description.options.clone());
    let takers: Vec<_> = asked.iter().map(taker).collect();
    let takers: Vec<Taker<'_>> =
        takers.iter().map(|(name, declared)| (name.as_str(), declared.as_deref())).collect();
    let shared = options::share(given, &takers).map_err(|refused| {
        let info = format!("bench backends info {}", refused.backend);
        let whose = asked.iter().find(|asked| asked.candidate.name.as_str() == refused.backend);
        let remedy = whose.map_or_else(|| info.clone(), |asked| asked.listing.address.completed(&info));
        Stopped::new(Exit::Usage, refused.message, remedy)
    })?;
    for name in &shared.unchecked {
        screen::warning(&format!(
            "backend '{name}' does not say what options it takes: --backend-option is passed on unchecked"
        ));
    }
    Ok(shared.by_backend)
}

/// No plugin has the name; where it was looked for is where the list looks too. An engine in Python is found by its own
/// folder, and not by the one above it.
pub fn unknown_backend(plugins: &PluginArgs, unknown: UnknownBackend) -> Stopped {
    let mut below = plugins.plugins_dir.iter().map(|folder| folder.join(&unknown.wanted));
    let engine = below.find(|folder| folder.join("engine.toml").is_file());
    let remedy = match engine {
        Some(engine) => format!("bench backends list --plugins-dir {}", shell_word(&engine)),
        None => format!("bench backends list{}", plugins.flags()),
    };
    Stopped::new(Exit::UnknownBackend, unknown, remedy)
}

/// Everything on the search path, with what the user demands of each file.
pub fn survey(plugins: &PluginArgs) -> Result<Survey, Stopped> {
    let mut survey = survey_unfiltered(plugins)?;
    let Some(data) = data_dir() else { return Ok(survey) };
    let trust = trust_list(&data)?;
    trust.demand(&mut survey.candidates, plugins.only_trusted);
    Ok(survey)
}

/// Everything on the search path; what is odd about it goes to standard error.
pub fn survey_unfiltered(plugins: &PluginArgs) -> Result<Survey, Stopped> {
    let path = SearchPath::of_this_process(&plugins.plugins_dir, !plugins.no_user_plugins);
    let path = path.with_packed(packed)?;
    let survey = path.survey().map_err(Stopped::usage)?;
    for (name, why) in &survey.misnamed {
        screen::warning(&format!("plugin file {name} is left out: {why}"));
    }
    for (hidden, by) in &survey.shadowed {
        screen::warning(&format!("{} is hidden by {}", shell_word(&hidden.path), shell_word(by)));
    }
    Ok(survey)
}

/// Fails when the user wants it to be over before anything was done.
pub fn go_on() -> Result<(), Stopped> {
    match STOP.level() {
        StopLevel::Go => Ok(()),
        _ => Err(Stopped::new(Exit::Interrupted, "interrupted before it had begun", "")),
    }
}

/// The user's list below `data`.
///
/// # Errors
/// When it cannot be read: then nothing is to be loaded.
pub fn trust_list(data: &Path) -> Result<Trust, Stopped> {
    Trust::load(data).map_err(untrusted)
}

/// The list of trusted plugins cannot be used.
pub fn untrusted(error: TrustError) -> Stopped {
    let exit = if error.trouble == Trouble::Damaged { Exit::BadPlugin } else { Exit::Output };
    let remedy = error.remedy();
    Stopped::new(exit, error, remedy)
}
