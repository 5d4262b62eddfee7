//! `bench backends trust`, `pin` and `untrust`.

use std::path::PathBuf;

use super::find::{survey_unfiltered, unknown_backend, untrusted};
use super::output::say;
use super::{Exit, PluginArgs, Stopped};
use bench_isolate::discover::BackendName;
use bench_isolate::install::data_dir;
use bench_isolate::trust::Trust;
use bench_isolate::vet::vet;

/// What to do with the file that a name leads to now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TrustChange {
    Trust,
    Pin,
}

pub fn change_trust(plugins: &PluginArgs, name: &str, change: TrustChange) -> Result<Exit, Stopped> {
    let survey = survey_unfiltered(plugins)?;
    let candidate = survey.find(name).map_err(|unknown| unknown_backend(plugins, unknown))?;
    let vetted = vet(candidate).map_err(|refusal| {
        let remedy = candidate.address().completed(&refusal.remedy());
        Stopped::new(Exit::BadPlugin, format!("backend '{name}': {}", refusal.cause()), remedy)
    })?;
    let (file, ()) = Trust::change(&data()?, |trust| match change {
        TrustChange::Trust => trust.trust(&vetted.name, &vetted.sha256),
        TrustChange::Pin => trust.pin(&vetted.name, &vetted.sha256),
    })
    .map_err(untrusted)?;
    let word = if change == TrustChange::Pin { "pinned" } else { "trusted" };
    say!("{word} '{name}' as {}\n  sha256 {}", vetted.path.display(), vetted.sha256);
    say!("  noted in {}", file.display());
    Ok(Exit::Ok)
}

pub fn untrust(name: &str) -> Result<Exit, Stopped> {
    let parsed = BackendName::parse(name).map_err(|why| {
        Stopped::usage(format!("'{}' is not the name of a backend: {why}", name.escape_default()))
    })?;
    let (_, known) = Trust::change(&data()?, |trust| trust.forget(&parsed)).map_err(untrusted)?;
    if known {
        say!("'{name}' is no longer trusted or pinned");
    } else {
        say!("'{name}' was neither trusted nor pinned");
    }
    Ok(Exit::Ok)
}

fn data() -> Result<PathBuf, Stopped> {
    let missing =
        || Stopped::new(Exit::Usage, "there is no user data directory", "set BENCH_DATA_DIR to a folder");
    data_dir().ok_or_else(missing)
}
