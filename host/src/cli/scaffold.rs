//! `bench backends new`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::output::say;
use super::{Exit, Stopped};
use bench_check::scaffold::{Api, Language, ScaffoldError, project, source_of_the_api};
use bench_isolate::discover::BackendName;

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Lang {
    Rust,
    C,
    Cpp,
    Go,
    Zig,
    Python,
}

impl From<Lang> for Language {
    fn from(lang: Lang) -> Self {
        match lang {
            Lang::Rust => Self::Rust,
            Lang::C => Self::C,
            Lang::Cpp => Self::Cpp,
            Lang::Go => Self::Go,
            Lang::Zig => Self::Zig,
            Lang::Python => Self::Python,
        }
    }
}

#[derive(Debug, Args)]
pub struct NewArgs {
    /// What users will type after --backend: a-z, 0-9 and _
    name: String,
    /// Language
    #[arg(long, value_enum, value_name = "LANG", default_value = "rust")]
    lang: Lang,
    /// Folder of the project, which must not exist yet [default: NAME]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Folder of bench-plugin-api, which is not published, for Rust [default: that of the source tree this
    /// bench was built from]
    #[arg(long, value_name = "DIR")]
    plugin_api_path: Option<PathBuf>,
    /// Repository with bench's source, for Rust: the project is then the same on every machine
    #[arg(long, value_name = "URL", requires = "plugin_api_rev", conflicts_with = "plugin_api_path")]
    plugin_api_git: Option<String>,
    /// Which commit of that repository
    #[arg(long, value_name = "COMMIT", requires = "plugin_api_git")]
    plugin_api_rev: Option<String>,
}

pub fn new(args: &NewArgs) -> Result<Exit, Stopped> {
    let name = BackendName::parse(&args.name).map_err(|why| {
        let shown = args.name.escape_default();
        Stopped::new(
            Exit::Usage,
            format!("'{shown}' cannot name a backend: {why}"),
            "bench backends new my_engine",
        )
    })?;
    let api = api(args)?;
    let folder = args.dir.clone().unwrap_or_else(|| PathBuf::from(name.as_str()));
    project(&name, args.lang.into(), api.as_ref()).write(&folder).map_err(|error| match error {
        ScaffoldError::Exists(_) => Stopped::new(Exit::Usage, error, "choose another folder with --dir"),
        ScaffoldError::Io { .. } => Stopped::new(Exit::Output, error, "check that you may write there"),
    })?;
    let built = match args.lang {
        Lang::Rust => format!("cargo build\n  bench backends check target/debug/libbackend_{name}.so"),
        Lang::C | Lang::Cpp | Lang::Go | Lang::Zig => {
            format!("make\n  bench backends check build/libbackend_{name}.so")
        }
        Lang::Python => "bench backends pack .\n  bench backends check .".to_owned(),
    };
    say!("made {}. Next:\n  cd {}\n  {built}", folder.display(), folder.display());
    Ok(Exit::Ok)
}

/// Where the API crate is, for Rust.
fn api(args: &NewArgs) -> Result<Option<Api>, Stopped> {
    if args.lang != Lang::Rust {
        return Ok(None);
    }
    if let (Some(repository), Some(revision)) = (args.plugin_api_git.clone(), args.plugin_api_rev.clone()) {
        return Ok(Some(Api::Commit { repository, revision }));
    }
    let given = args.plugin_api_path.clone().or_else(source_of_the_api).ok_or_else(|| {
        Stopped::new(
            Exit::Usage,
            "bench-plugin-api is not published, and the source tree that this bench was built from is gone",
            "name the folder plugin-api of a copy of bench's source with --plugin-api-path, or a commit with --plugin-api-git and --plugin-api-rev",
        )
    })?;
    let real = given.canonicalize().ok().filter(|real| real.join("Cargo.toml").is_file());
    let missing = || Stopped::usage(format!("--plugin-api-path {}: there is no crate", given.display()));
    real.map(|folder| Some(Api::Folder(folder))).ok_or_else(missing)
}
