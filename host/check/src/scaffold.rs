//! `bench backends new`: a project that builds at once and is checked at once.
//!
//! The sources are those of `plugins/examples/`, which the tests build and run: there is no second
//! copy to rot. What is around them (build file, test, README, CI) lies beside this file.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use bench_isolate::discover::BackendName;
use bench_isolate::isolate::Temporary;

/// Languages there are templates for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Language {
    Rust,
    C,
    Cpp,
    Go,
    Zig,
    Python,
}

/// A project, before it is on disk.
pub struct Project {
    files: Vec<(&'static str, String)>,
    /// A lock file to begin with, so that the same versions are built that this bench was.
    lock: Option<PathBuf>,
}

const HEADER: &str = include_str!("../../../plugin-api/include/bench_backend.h");
const IGNORE: &str = "/target\n/build\n/.zig-cache\n/results\n/libbackend_*.so\n__pycache__\n";

/// What a project's CI installs before it builds.
fn tools(language: Language) -> &'static str {
    match language {
        Language::Go => "      - uses: actions/setup-go@v5\n        with:\n          go-version: stable\n",
        Language::Zig => {
            "      - name: Install Zig\n        run: pip install ziglang && echo 'ZIG=python3 -m ziglang' >> \"$GITHUB_ENV\"\n"
        }
        _ => "",
    }
}

/// Where a project in Rust takes the plugin API from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Api {
    /// Its folder on this machine.
    Folder(PathBuf),
    /// A commit of a repository that has bench's source.
    Commit { repository: String, revision: String },
}

impl Api {
    /// As the value of a dependency in a `Cargo.toml`.
    fn dependency(&self) -> String {
        let text = |text: &str| format!("\"{}\"", text.escape_default());
        match self {
            Self::Folder(folder) => format!("{{ path = {} }}", text(&folder.to_string_lossy())),
            Self::Commit { repository, revision } => {
                format!("{{ git = {}, rev = {} }}", text(repository), text(revision))
            }
        }
    }

    /// The lock file of the source tree that this is part of.
    fn lock(&self) -> Option<PathBuf> {
        match self {
            Self::Folder(folder) => Some(folder.parent()?.join("Cargo.lock")),
            Self::Commit { .. } => None,
        }
    }
}

/// A project for backend `name`. `api` is for Rust.
#[must_use]
pub fn project(name: &BackendName, language: Language, api: Option<&Api>) -> Project {
    let api_text = api.map(Api::dependency).unwrap_or_default();
    let fill = |text: &str, example: &str| {
        let text = text.replace(example, name.as_str());
        text.replace("@NAME@", name.as_str()).replace("@API@", &api_text).replace("@TOOLS@", tools(language))
    };
    let (c, cpp, python, rust) = ("example_c", "example_cpp", "example_python", "example_rust");
    let (go, zig) = ("example_go", "example_zig");
    let files: Vec<(&'static str, String)> = match language {
        Language::Rust => vec![
            ("Cargo.toml", fill(include_str!("scaffold/rust/Cargo.toml.in"), rust)),
            ("src/lib.rs", fill(include_str!("../../../plugins/examples/rust/src/lib.rs"), rust)),
            ("tests/conformance.rs", fill(include_str!("scaffold/rust/conformance.rs.in"), rust)),
            ("README.md", fill(include_str!("scaffold/rust/README.md.in"), rust)),
            (".github/workflows/ci.yml", fill(include_str!("scaffold/rust/ci.yml.in"), rust)),
        ],
        Language::C => vec![
            ("Makefile", fill(include_str!("scaffold/c/Makefile.in"), c)),
            ("src/backend.c", fill(include_str!("../../../plugins/examples/c/backend_example_c.c"), c)),
            ("include/bench_backend.h", HEADER.to_owned()),
            ("README.md", fill(include_str!("scaffold/c/README.md.in"), c)),
            (".github/workflows/ci.yml", fill(include_str!("scaffold/c/ci.yml.in"), c)),
        ],
        Language::Cpp => vec![
            ("Makefile", fill(include_str!("scaffold/cpp/Makefile.in"), cpp)),
            (
                "src/backend.cpp",
                fill(include_str!("../../../plugins/examples/cpp/backend_example_cpp.cpp"), cpp),
            ),
            ("include/bench_backend.h", HEADER.to_owned()),
            ("README.md", fill(include_str!("scaffold/c/README.md.in"), cpp)),
            (".github/workflows/ci.yml", fill(include_str!("scaffold/c/ci.yml.in"), cpp)),
        ],
        Language::Go => vec![
            ("Makefile", fill(include_str!("scaffold/go/Makefile.in"), go)),
            ("go.mod", fill(include_str!("../../../plugins/examples/go/go.mod"), go)),
            ("backend.go", fill(include_str!("../../../plugins/examples/go/backend.go"), go)),
            ("words.go", fill(include_str!("../../../plugins/examples/go/words.go"), go)),
            ("calls.h", fill(include_str!("../../../plugins/examples/go/calls.h"), go)),
            ("table.c", fill(include_str!("../../../plugins/examples/go/table.c"), go)),
            ("exports.map", fill(include_str!("../../../plugins/examples/go/exports.map"), go)),
            ("include/bench_backend.h", HEADER.to_owned()),
            ("README.md", fill(include_str!("scaffold/go/README.md.in"), go)),
            (".github/workflows/ci.yml", fill(include_str!("scaffold/c/ci.yml.in"), go)),
        ],
        Language::Zig => vec![
            ("Makefile", fill(include_str!("scaffold/zig/Makefile.in"), zig)),
            ("src/backend.zig", fill(include_str!("../../../plugins/examples/zig/backend.zig"), zig)),
            ("include/bench_backend.h", HEADER.to_owned()),
            ("README.md", fill(include_str!("scaffold/zig/README.md.in"), zig)),
            (".github/workflows/ci.yml", fill(include_str!("scaffold/c/ci.yml.in"), zig)),
        ],
        Language::Python => vec![
            ("engine.toml", fill(include_str!("../../../plugins/examples/python/engine.toml"), python)),
            ("driver.py", fill(include_str!("../../../plugins/examples/python/driver.py"), python)),
            ("test_engine.py", fill(include_str!("scaffold/python/test_engine.py.in"), python)),
            ("README.md", fill(include_str!("scaffold/python/README.md.in"), python)),
            (".github/workflows/ci.yml", fill(include_str!("scaffold/python/ci.yml.in"), python)),
        ],
    };
    let lock = api.and_then(Api::lock);
    let lock = lock.filter(|lock| language == Language::Rust && lock.is_file());
    Project { files: files.into_iter().chain([(".gitignore", IGNORE.to_owned())]).collect(), lock }
}

/// A project could not be written.
#[derive(Debug, thiserror::Error)]
pub enum ScaffoldError {
    #[error("{} exists already", .0.display())]
    Exists(PathBuf),
    #[error("{}: {cause}", path.display())]
    Io { path: PathBuf, cause: io::Error },
}

impl Project {
    /// Writes it to `folder`, which must not exist yet: all of it, or nothing.
    ///
    /// # Errors
    /// When the folder exists, or a file cannot be written.
    pub fn write(&self, folder: &Path) -> Result<(), ScaffoldError> {
        if folder.symlink_metadata().is_ok() {
            return Err(ScaffoldError::Exists(folder.to_owned()));
        }
        let parent = match folder.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let io = |path: &Path| {
            let path = path.to_owned();
            move |cause| ScaffoldError::Io { path, cause }
        };
        fs::create_dir_all(parent).map_err(io(parent))?;
        let place = Temporary::beside(parent).map_err(io(parent))?;
        for (name, text) in &self.files {
            let file = place.path().join(name);
            let inside = file.parent().unwrap_or(parent);
            fs::create_dir_all(inside).map_err(io(inside))?;
            fs::write(&file, text).map_err(io(&file))?;
        }
        if let Some(lock) = &self.lock {
            fs::copy(lock, place.path().join("Cargo.lock")).map_err(io(lock))?;
        }
        // The folder of a project is not private, as a temporary one is.
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(place.path(), mode).map_err(io(place.path()))?;
        place.rename(folder).map_err(io(folder))
    }
}

/// The source tree that this bench was built from, if it is still there.
#[must_use]
pub fn source_of_the_api() -> Option<PathBuf> {
    let api = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2)?.join("plugin-api");
    api.join("Cargo.toml").is_file().then_some(api)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name() -> BackendName {
        BackendName::parse("my_engine").unwrap()
    }

    #[test]
    fn nothing_of_the_example_or_of_a_placeholder_remains() {
        use Language::{C, Cpp, Go, Python, Rust, Zig};
        for language in [Rust, C, Cpp, Go, Zig, Python] {
            let project = project(&name(), language, Some(&Api::Folder("/somewhere/plugin-api".into())));
            let text: String = project.files.iter().map(|(_, text)| text.as_str()).collect();
            for word in ["example_", "@NAME@", "@API@", "@TOOLS@"] {
                assert!(!text.contains(word), "{language:?}: {word}");
            }
            assert!(text.contains("my_engine"));
        }
    }

    #[test]
    fn the_api_is_a_folder_or_a_commit() {
        let text = |api: Api| project(&name(), Language::Rust, Some(&api)).files.remove(0).1;
        let folder = text(Api::Folder("/a b/plugin-api".into()));
        assert!(folder.contains("bench-plugin-api = { path = \"/a b/plugin-api\" }"), "{folder}");
        let (repository, revision) = ("ssh://host/bench".to_owned(), "0123abc".to_owned());
        let commit = text(Api::Commit { repository, revision });
        assert!(commit.contains("{ git = \"ssh://host/bench\", rev = \"0123abc\" }"), "{commit}");
    }

    #[test]
    fn what_exists_is_not_touched() {
        let place = tempfile::tempdir().unwrap();
        let folder = place.path().join("project");
        let project = project(&name(), Language::C, None);
        project.write(&folder).unwrap();
        assert!(matches!(project.write(&folder), Err(ScaffoldError::Exists(_))));
        assert_eq!(fs::read_dir(place.path()).unwrap().count(), 1, "no half-written folder is left");
    }
}
