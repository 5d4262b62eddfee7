//! Engines that are used from their folder: each is packed into a place of its own below bench's data folder, named by
//! its content, so that a change is another file and whoever runs the old one is left alone.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use bench_record::canonical_json::sha256_hex;
use bench_record::found::Found;

use super::{Engine, PackError, write};

/// Older versions of an engine that stay, whatever their age.
const KEPT: usize = 4;
/// Younger ones stay too: a long run may be using one.
const YOUNG: Duration = Duration::from_secs(24 * 3600);

/// The plugin of `engine` in a folder of its own below `data`; returns that folder.
///
/// # Errors
/// When the library cannot be read or the plugin cannot be written.
pub fn kept(engine: &Engine, shipped: &Path, data: &Path) -> Result<PathBuf, PackError> {
    let library = engine.library(shipped)?;
    let (name, sha256) = (&engine.package.manifest.name, sha256_hex(&library));
    let all = data.join("packed");
    let folder = all.join(format!("{name}-{}", &sha256[..16]));
    let file = folder.join(engine.file_name());
    // Read and not believed: what is loaded is what was packed just now.
    if Found::LEFT.at_most(library.len() as u64).read(&file).is_ok_and(|found| found == library) {
        return Ok(folder);
    }
    let remedy = "set BENCH_DATA_DIR to a folder that you may write";
    let failed = |cause: std::io::Error| PackError::output(&folder, &cause, remedy);
    fs::create_dir_all(&folder).map_err(failed)?;
    // Whatever the umask: others could put a plugin there.
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).map_err(failed)?;
    write(&file, &library).map_err(|error| PackError { remedy: remedy.to_owned(), ..error })?;
    forget_old(&all, name, &folder);
    Ok(folder)
}

/// Removes versions of `name` that nobody uses any more. What cannot be removed does no harm.
fn forget_old(all: &Path, name: &str, newest: &Path) {
    let entries = fs::read_dir(all).into_iter().flatten().flatten();
    // No name of a backend holds a dash.
    let own = |entry: &fs::DirEntry| {
        entry
            .file_name()
            .to_str()
            .is_some_and(|found| found.rsplit_once('-').is_some_and(|(of, _)| of == name))
    };
    let dated = |entry: fs::DirEntry| Some((entry.metadata().ok()?.modified().ok()?, entry.path()));
    let mut others: Vec<(SystemTime, PathBuf)> =
        entries.filter(own).filter_map(dated).filter(|(_, path)| path != newest).collect();
    others.sort_by(|a, b| b.cmp(a));
    for (made, path) in others.into_iter().skip(KEPT) {
        if made.elapsed().is_ok_and(|age| age > YOUNG) {
            let _ = fs::remove_dir_all(path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_many_versions_the_old_ones_go_and_those_of_other_engines_stay() {
        let data = tempfile::tempdir().unwrap();
        let old = SystemTime::now() - 30 * YOUNG;
        let mut made = Vec::new();
        for at in 0..8 {
            for name in ["mine", "mine_too"] {
                let folder = data.path().join(format!("{name}-{at}"));
                fs::create_dir(&folder).unwrap();
                let age = Duration::from_secs(3600 * at);
                fs::File::open(&folder).unwrap().set_modified(old + age).unwrap();
                made.push(folder);
            }
        }
        forget_old(data.path(), "mine", &data.path().join("mine-0"));
        let left: Vec<bool> =
            made.iter().filter(|path| path.exists()).map(|path| path.ends_with("mine-0")).collect();
        assert_eq!(left.len(), 8 + 1 + KEPT);
        assert!(left.contains(&true), "the newest is what was just packed, whatever its age");
        let young = data.path().join("mine-99");
        fs::create_dir(&young).unwrap();
        forget_old(data.path(), "mine", &data.path().join("mine-7"));
        assert!(young.exists());
    }
}
