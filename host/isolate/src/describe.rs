//! What is this plugin, and is it ready? The first operation, and the one that every other command
//! begins with: a plugin that cannot be described is not run.

mod listing;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

pub use listing::{DEFAULT_TIMEOUT, Listing, Status, list};

use super::discover::BackendName;
use super::isolate::{Channel, Operation};
use super::load::{LoadedBackend, load};
use super::options::{self, Declared, OPTIONS};
use super::text::bounded;
use super::vet::Vetted;
use super::{Error, ErrorKind};

/// The extension by which a plugin says what has to be installed for it.
pub const REQUIREMENTS: &str = "bench.requirements/1";

/// A plugin by its own account, and what we know of its file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Description {
    /// What users type after `--backend`.
    pub name: BackendName,
    /// Its own version.
    pub plugin_version: String,
    /// The plugin API it was compiled against.
    pub api_version: String,
    /// The ABI it speaks: `rust/1`.
    pub abi: String,
    /// The real file.
    pub path: PathBuf,
    /// SHA-256 of the file.
    pub sha256: String,
    /// Whether it can run here and now.
    pub availability: Availability,
    /// What `bench backends install` needs, as the plugin states it.
    pub requirements: Option<serde_json::Value>,
    /// What `--backend-option` takes; nothing when the plugin does not say.
    pub options: Option<Vec<Declared>>,
}

/// Whether a backend can run here and now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Availability {
    /// It can.
    pub available: bool,
    /// The version of its runtime, or the reason why it cannot.
    pub detail: String,
    /// The command that mends it; empty when available.
    pub remedy: String,
}

/// Bytes of a version, of what is said of a runtime, and of an answer to an extension: every record and every list
/// repeats them.
const NAME: usize = 256;
const WORDS: usize = 4 << 10;
const ANSWER: usize = 1 << 20;

fn wrong(message: String) -> Error {
    Error::new(ErrorKind::Invalid, message, "report this to the plugin's author")
}

/// What a backend answers to an extension, if it has it.
fn asked(backend: &dyn LoadedBackend, extension: &str) -> Result<Option<String>, Error> {
    match backend.extension(extension, "{}") {
        Some(answer) if answer.len() > ANSWER => {
            Err(wrong(format!("its answer to {extension} has {} bytes, more than {ANSWER}", answer.len())))
        }
        answer => Ok(answer),
    }
}

/// Loads a plugin and asks it about itself.
pub struct Describe;

impl Operation for Describe {
    const NAME: &'static str = "describe";
    const DRAINS: bool = false;
    type Request = Vetted;
    type Reply = Description;
    type Event = ();

    fn subject(vetted: &Vetted) -> String {
        format!("backend `{}`", vetted.name)
    }

    fn execute(vetted: Vetted, channel: &Channel<()>) -> Result<Description, Error> {
        let backend = load(&vetted, &|phase| channel.phase(phase))?;
        channel.phase("is_available");
        let answer = backend.availability();
        channel.phase(REQUIREMENTS);
        let requirements = asked(&*backend, REQUIREMENTS)?.map(|text| serde_json::from_str(&text));
        let requirements = requirements
            .transpose()
            .map_err(|cause| wrong(format!("its answer to {REQUIREMENTS} is not JSON: {cause}")))?;
        channel.phase(OPTIONS);
        let options = asked(&*backend, OPTIONS)?.map(|text| options::read(&text)).transpose();
        let options =
            options.map_err(|cause| wrong(format!("its answer to {OPTIONS} makes no sense: {cause}")))?;
        let description = Description {
            plugin_version: bounded(backend.plugin_version(), NAME),
            api_version: bounded(backend.api_version(), NAME),
            abi: backend.abi().to_owned(),
            availability: Availability {
                available: answer.available,
                detail: bounded(&answer.detail, WORDS),
                remedy: bounded(&answer.remedy, WORDS),
            },
            requirements,
            options,
            name: vetted.name,
            path: vetted.path,
            sha256: vetted.sha256,
        };
        channel.phase("drop");
        channel.drop_after_answer(backend);
        Ok(description)
    }
}
