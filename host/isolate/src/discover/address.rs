use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{BackendName, Candidate, Origin};
use crate::text::shell_word;

/// How a command line reaches the very file that a plugin was found in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Address {
    name: BackendName,
    /// What has to be given with `--plugins-dir`; nothing where every command looks anyway.
    folder: Option<PathBuf>,
}

/// Subcommands of `bench backends` that take a name and `--plugins-dir`.
const COMMANDS: [&str; 5] = ["install", "info", "check", "trust", "pin"];

impl Address {
    pub(super) fn of(candidate: &Candidate) -> Self {
        let folder = match candidate.source.as_deref().or(candidate.path.parent()) {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        // A variable may have been set for one command only.
        let wanted = matches!(candidate.origin, Origin::Flag | Origin::Environment);
        Self { name: candidate.name.clone(), folder: wanted.then(|| folder.to_owned()) }
    }

    /// `text` with the flag added to every command about this plugin that needs it: whoever wrote the command, such as
    /// the plugin itself, may not have known where it was found.
    #[must_use]
    pub fn completed(&self, text: &str) -> String {
        let Some(folder) = &self.folder else { return text.to_owned() };
        let flag = format!(" --plugins-dir {}", shell_word(folder));
        COMMANDS.iter().fold(text.to_owned(), |text, command| {
            let command = format!("bench backends {command} {}", self.name);
            let mut parts = text.split(command.as_str());
            let first = parts.next().unwrap_or_default().to_owned();
            parts.fold(first, |done, rest| {
                let longer_name =
                    rest.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_' || c == '.');
                let flag = if longer_name || rest.starts_with(&flag) { "" } else { &flag };
                done + &command + flag + rest
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(path: &str, origin: Origin) -> Address {
        let candidate = Candidate { origin, ..Candidate::at(Path::new(path)).unwrap() };
        candidate.address()
    }

    #[test]
    fn commands_about_a_plugin_say_where_it_was_found() {
        let found = address("/my plugins/libbackend_ray.so", Origin::Flag);
        let completed = |text| found.completed(text);
        assert_eq!(
            completed("bench backends install ray    (or pip, then bench backends info ray)"),
            "bench backends install ray --plugins-dir '/my plugins'    (or pip, then bench backends info ray --plugins-dir '/my plugins')"
        );
        let once = completed("bench backends pin ray");
        assert_eq!(completed(&once), once);
        for other in [
            "bench backends install ray2",
            "bench backends install dask",
            "report this",
            "bench backends untrust ray",
        ] {
            assert_eq!(completed(other), other);
        }
    }

    #[test]
    fn an_engine_is_reached_by_its_folder_and_not_by_what_was_packed_from_it() {
        let packed = Candidate::at(Path::new("/data/packed/ray-12/libbackend_ray.so")).unwrap();
        let found = packed.packed_from(Path::new("engines/ray")).address();
        let remedy = found.completed("bench backends install ray");
        assert_eq!(remedy, "bench backends install ray --plugins-dir engines/ray");
    }

    #[test]
    fn only_where_commands_do_not_look_anyway() {
        let remedy = |path, origin| address(path, origin).completed("bench backends install ray");
        assert_eq!(remedy("libbackend_ray.so", Origin::Flag), "bench backends install ray --plugins-dir .");
        assert_eq!(
            remedy("p/libbackend_ray.so", Origin::Environment),
            "bench backends install ray --plugins-dir p"
        );
        assert_eq!(remedy("/p/libbackend_ray.so", Origin::User), "bench backends install ray");
        assert_eq!(remedy("/p/libbackend_ray.so", Origin::Executable), "bench backends install ray");
    }
}
