//! `bench backends pack`, and engines that are used from their folder.

use std::path::{Path, PathBuf};

use clap::Args;

use super::output::say;
use super::shipped::shipped_library;
use super::{Exit, Stopped};
use bench_check::pack::{self, Engine, LIBRARY, PackError};
use bench_isolate::discover::Candidate;
use bench_isolate::install::data_dir;
use bench_isolate::text::shell_word;
use bench_record::canonical_json::sha256_hex;
use bench_record::found::Found;

#[derive(Debug, Args)]
pub struct PackArgs {
    /// The engine's folder, in which engine.toml is
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    /// The plugin to write, or the folder for it [default: libbackend_NAME.so here]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Write nothing: say whether the engine can be packed, and with -o whether that file is what would be written
    #[arg(long)]
    check: bool,
}

pub fn pack(args: &PackArgs) -> Result<Exit, Stopped> {
    let engine = pack::read(&args.folder).map_err(stopped)?;
    let path = pack::output(&engine, args.output.as_deref()).map_err(stopped)?;
    let library = engine.library(&shipped()?).map_err(stopped)?;
    let sha256 = sha256_hex(&library);
    let manifest = &engine.package.manifest;
    let (count, kibibytes) = (engine.package.files.len(), engine.bytes() as f64 / 1024.0);
    let files = if count == 1 { "1 file".to_owned() } else { format!("{count} files") };
    let what = format!("{} {}: {files}, {kibibytes:.1} KiB", manifest.name, manifest.version);
    if !args.check {
        pack::write(&path, &library).map_err(stopped)?;
        say!("packed {what}, into {}\nsha256 {sha256}", shell_word(&path));
        return Ok(Exit::Ok);
    }
    if args.output.is_some()
        && !Found::NAMED.at_most(library.len() as u64).read(&path).is_ok_and(|found| found == library)
    {
        let why = if path.exists() { "is not what would be packed now" } else { "is not there" };
        let again = format!("bench backends pack {} -o {}", shell_word(&args.folder), shell_word(&path));
        return Err(Stopped::new(Exit::BadPlugin, format!("{} {why}", shell_word(&path)), again));
    }
    say!("{what} can be packed\nsha256 {sha256}");
    Ok(Exit::Ok)
}

/// The folder with the plugin of the engine in `folder`; nothing when that is not an engine's folder.
pub fn packed(folder: &Path) -> Result<Option<PathBuf>, Stopped> {
    if !pack::is_engine(folder) {
        return Ok(None);
    }
    keep(&pack::read(folder).map_err(stopped)?).map(Some)
}

/// The plugin of the engine in `folder`.
pub fn candidate(folder: &Path) -> Result<Candidate, Stopped> {
    let engine = pack::read(folder).map_err(stopped)?;
    let file = keep(&engine)?.join(engine.file_name());
    let candidate = Candidate::at(&file).map_err(Stopped::usage)?;
    Ok(candidate.packed_from(folder))
}

fn keep(engine: &Engine) -> Result<PathBuf, Stopped> {
    let data = data_dir().ok_or_else(|| {
        Stopped::new(Exit::Usage, "there is no user data directory", "set BENCH_DATA_DIR to a folder")
    })?;
    pack::kept(engine, &shipped()?, &data).map_err(stopped)
}

fn shipped() -> Result<PathBuf, Stopped> {
    shipped_library("BENCH_PYTHON_ENGINE_LIBRARY", LIBRARY).ok_or_else(|| {
        let remedy = "stage bench (cargo xtask stage), or unpack its archive again";
        Stopped::new(
            Exit::Usage,
            format!("there is no lib/{LIBRARY} beside this bench, which engines are packed into"),
            remedy,
        )
    })
}

fn stopped(error: PackError) -> Stopped {
    let exit = if error.is_output { Exit::Output } else { Exit::Usage };
    Stopped::new(exit, &error.message, error.remedy)
}
