//! What a command needs before it starts: the backend, the workloads, and a user who still wants it.

use std::path::{Path, PathBuf};

use super::{Exit, PluginArgs, STOP, Stopped, screen};
use bench_isolate::describe::{DEFAULT_TIMEOUT, Description, Listing, Status};
use bench_isolate::discover::{SearchPath, Survey, UnknownBackend};
use bench_isolate::install::data_dir;
use bench_isolate::isolate::{Cause, Limits, Runner, StopLevel};
use bench_isolate::text::shell_word;
use bench_isolate::trust::{Trust, TrustError};
use bench_isolate::vet::{Vetted, vet};
use bench_measure::guest::WorkloadLibrary;
use bench_record::canonical_json::sha256_hex;

/// Finds, vets and asks a backend; the error of an unavailable one is its own words.
pub fn ready_backend(plugins: &PluginArgs, name: &str) -> Result<(Vetted, Description), Stopped> {
    let survey = survey(plugins)?;
    let candidate = survey.find(name).map_err(|unknown| unknown_backend(plugins, unknown))?;
    let runner = Runner::with(Limits::within(DEFAULT_TIMEOUT));
    let listing = Listing::of(candidate, &runner, &STOP);
    go_on()?;
    if let Some((cause, remedy)) = listing.trouble() {
        return Err(match listing.description() {
            Some(_) => {
                Stopped::new(Exit::Unavailable, format!("backend '{name}' is not available: {cause}"), remedy)
            }
            None => {
                // The time-out of a run is not that of a description.
                let slow = matches!(&listing.status, Status::Failed { failure }
                    if matches!(failure.cause, Cause::TimedOut(_)));
                let look = || {
                    let info = format!("bench backends info {name} --timeout 120");
                    format!("see how long it needs: {}", listing.address.completed(&info))
                };
                let remedy = if slow { look() } else { remedy };
                Stopped::new(Exit::BadPlugin, format!("backend '{name}': {cause}"), remedy)
            }
        });
    }
    let vetted = vet(candidate).map_err(|refusal| {
        let remedy = listing.address.completed(&refusal.remedy());
        Stopped::new(Exit::BadPlugin, format!("backend '{name}': {}", refusal.cause()), remedy)
    })?;
    match listing.description() {
        Some(description) => Ok((vetted, description.clone())),
        None => Err(Stopped::new(Exit::BadPlugin, format!("backend '{name}' could not be described"), "")),
    }
}

/// No plugin has the name; where it was looked for is where the list looks too.
pub fn unknown_backend(plugins: &PluginArgs, unknown: UnknownBackend) -> Stopped {
    Stopped::new(Exit::UnknownBackend, unknown, format!("bench backends list{}", plugins.flags()))
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

/// `lib/libbench_workloads.so` of the staged layout, or beside the executable.
#[must_use]
pub fn workload_library() -> Option<WorkloadLibrary> {
    let named = std::env::var_os("BENCH_WORKLOADS_LIBRARY").map(PathBuf::from);
    let executable = std::env::current_exe().ok()?.canonicalize().ok()?;
    let folder = executable.parent()?;
    let file = "libbench_workloads.so";
    let candidates = named.into_iter().chain([folder.join("../lib").join(file), folder.join(file)]);
    let path = candidates.filter_map(|path| path.canonicalize().ok()).find(|path| path.is_file())?;
    let sha256 = sha256_hex(&std::fs::read(&path).ok()?);
    Some(WorkloadLibrary { path, sha256 })
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
    match error.is_damaged {
        true => {
            let remedy = format!("mend or remove {}", shell_word(&error.path));
            Stopped::new(Exit::BadPlugin, error, remedy)
        }
        false => {
            let remedy = "set BENCH_DATA_DIR to a folder that you may read and write";
            Stopped::new(Exit::Output, error, remedy)
        }
    }
}
