//! Which files of a folder are the engine's.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use bench_engine_package::{FILE, Manifest, path_is_fine, section};
use bench_isolate::text::shell_word;
use bench_record::found::Found;

use super::PackError;

/// What is in a folder that is something else: an environment, another repository, another engine.
const SOMETHING_ELSE: [&str; 3] = ["pyvenv.cfg", ".git", FILE];
/// Folders that are no part of an engine, beside hidden ones.
const NO_PART: [&str; 8] =
    ["__pycache__", "build", "dist", "node_modules", "results", "target", "test", "tests"];

/// Reads the files of the engine in `folder`.
pub(super) fn read(folder: &Path, manifest: &Manifest) -> Result<BTreeMap<String, Vec<u8>>, PackError> {
    let driver = folder.join(&manifest.driver);
    if driver.symlink_metadata().is_err() {
        let message =
            format!("{} is not there, and engine.toml says that it is the driver", shell_word(&driver));
        return Err(PackError::new(message, "write it, or name another with `driver` in engine.toml"));
    }
    let mut paths = vec![driver];
    match manifest.files.as_slice() {
        [] => python_files(folder, &mut paths)?,
        patterns => patterns.iter().try_for_each(|pattern| matching(folder, pattern, &mut paths))?,
    }
    paths.sort();
    paths.dedup();
    let sizes = paths.iter().map(|path| size(path)).collect::<Result<Vec<u64>, _>>()?;
    // Nothing of what cannot fit is read.
    if sizes.iter().sum::<u64>() > section::LIMIT as u64 {
        let largest = paths.iter().zip(sizes.iter().copied()).max_by_key(|(_, size)| *size);
        return Err(does_not_fit(folder, sizes.iter().sum(), largest));
    }
    let mut files = BTreeMap::new();
    for path in paths {
        let name = name_in(folder, &path)?;
        files.insert(
            name,
            Found::NAMED
                .at_most(section::LIMIT as u64)
                .read(&path)
                .map_err(|cause| unreadable(&path, &cause))?,
        );
    }
    Ok(files)
}

/// The engine fits by the size of its files, and with their names and the manifest it does not.
pub(super) fn too_large(folder: &Path, files: &BTreeMap<String, Vec<u8>>) -> PackError {
    let paths: Vec<(PathBuf, u64)> =
        files.iter().map(|(name, bytes)| (folder.join(name), bytes.len() as u64)).collect();
    let largest = paths.iter().max_by_key(|(_, size)| *size).map(|(path, size)| (path, *size));
    does_not_fit(folder, paths.iter().map(|(_, size)| size).sum(), largest)
}

fn does_not_fit(folder: &Path, bytes: u64, largest: Option<(&PathBuf, u64)>) -> PackError {
    let limit = section::LIMIT >> 10;
    let largest = largest.map_or(String::new(), |(path, size)| {
        format!("; the largest is {}, {}", shell_word(path), kibibytes(size))
    });
    let message = format!(
        "the engine in {} is too large to be packed: its files have {}, and with their names and engine.toml they may \
         have {limit} KiB{largest}",
        shell_word(folder),
        kibibytes(bytes)
    );
    PackError::new(
        message,
        "say with `files` in engine.toml what belongs to it, or put the rest into a package that `requirements` names",
    )
}

fn kibibytes(bytes: u64) -> String {
    format!("{:.1} KiB", bytes as f64 / 1024.0)
}

fn unreadable(path: &Path, cause: &dyn std::fmt::Display) -> PackError {
    PackError::new(format!("cannot read {}: {cause}", shell_word(path)), "")
}

fn size(path: &Path) -> Result<u64, PackError> {
    let found = fs::metadata(path).map_err(|cause| unreadable(path, &cause))?;
    // Opening a FIFO would wait for a writer.
    if !found.is_file() {
        return Err(unreadable(path, &"it is not a regular file"));
    }
    Ok(found.len())
}

/// The path of a file as it is packed.
fn name_in(folder: &Path, path: &Path) -> Result<String, PackError> {
    let inside = path.strip_prefix(folder).unwrap_or(path);
    let Some(name) = inside.to_str() else {
        return Err(unreadable(path, &"its name is not UTF-8"));
    };
    path_is_fine(name).map_err(|why| PackError::new(why, format!("call {} otherwise", shell_word(path))))?;
    Ok(name.to_owned())
}

/// Every Python file below `folder` that is part of the engine.
fn python_files(folder: &Path, found: &mut Vec<PathBuf>) -> Result<(), PackError> {
    for entry in fs::read_dir(folder).map_err(|cause| unreadable(folder, &cause))? {
        let entry = entry.map_err(|cause| unreadable(folder, &cause))?;
        let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
        let kind = entry.file_type().map_err(|cause| unreadable(&path, &cause))?;
        if name.starts_with('.') {
            continue;
        }
        if kind.is_dir() {
            // A link to a folder is not followed: it may lead in a circle.
            if !NO_PART.contains(&name.as_str())
                && !SOMETHING_ELSE.iter().any(|sign| path.join(sign).exists())
            {
                python_files(&path, found)?;
            }
        } else if name.ends_with(".py") && !is_test(&name) {
            found.push(path);
        }
    }
    Ok(())
}

fn is_test(name: &str) -> bool {
    name.starts_with("test_") || name.ends_with("_test.py") || name == "conftest.py"
}

/// Files below `folder` that a pattern of `files` means.
fn matching(folder: &Path, pattern: &str, found: &mut Vec<PathBuf>) -> Result<(), PackError> {
    let wrong = |why: &dyn std::fmt::Display| PackError::new(format!("`files` in engine.toml: {why}"), "");
    path_is_fine(pattern).map_err(|why| wrong(&why))?;
    let Some(root) = folder.to_str() else { return Err(unreadable(folder, &"its path is not UTF-8")) };
    let whole = format!("{}/{pattern}", glob::Pattern::escape(root));
    let paths = glob::glob(&whole).map_err(|cause| wrong(&format!("'{pattern}' is no pattern: {cause}")))?;
    let before = found.len();
    for path in paths {
        let path = path.map_err(|cause| unreadable(cause.path(), &cause.error()))?;
        if !path.is_dir() {
            found.push(path);
        }
    }
    match found.len() {
        after if after == before => Err(wrong(&format!("nothing is called '{pattern}'"))),
        _ => Ok(()),
    }
}
