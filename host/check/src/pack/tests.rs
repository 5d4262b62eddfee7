use std::fs;
use std::os::unix::fs::symlink;

use tempfile::TempDir;

use super::*;

const MANIFEST: &str = "name = \"mine\"\nversion = \"0.1.0\"\n";

fn folder(files: &[(&str, &str)]) -> TempDir {
    let folder = TempDir::new().unwrap();
    for (name, text) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    folder
}

fn names(folder: &TempDir) -> Vec<String> {
    read(folder.path()).unwrap().package.files.into_keys().collect()
}

#[test]
fn python_files_belong_to_an_engine_and_its_surroundings_do_not() {
    let folder = folder(&[
        ("engine.toml", MANIFEST),
        ("driver.py", ""),
        ("parts/worker.py", ""),
        ("parts/__pycache__/worker.py", ""),
        ("tests/helper.py", ""),
        ("test_driver.py", ""),
        ("driver_test.py", ""),
        ("conftest.py", ""),
        (".hidden/x.py", ""),
        ("env/pyvenv.cfg", ""),
        ("env/lib/x.py", ""),
        ("bench/.git/HEAD", ""),
        ("bench/x.py", ""),
        ("other/engine.toml", ""),
        ("other/driver.py", ""),
        ("README.md", ""),
        ("data.json", "{}"),
    ]);
    symlink("..", folder.path().join("circle")).unwrap();
    assert_eq!(names(&folder), ["driver.py", "parts/worker.py"]);
    let manifest = format!("{MANIFEST}files = [\"data.json\", \"parts/*.py\"]\n");
    fs::write(folder.path().join("engine.toml"), manifest).unwrap();
    assert_eq!(names(&folder), ["data.json", "driver.py", "parts/worker.py"], "the driver always");
}

#[test]
fn what_is_missing_or_of_another_kind_is_named() {
    let empty = TempDir::new().unwrap();
    let wrong = |folder: &TempDir| read(folder.path()).unwrap_err();
    assert!(wrong(&empty).message.ends_with("has no engine.toml"));
    assert!(wrong(&empty).remedy.contains("--lang python"));
    let without = folder(&[("engine.toml", MANIFEST)]);
    let error = wrong(&without);
    assert!(
        error.message.contains("driver.py is not there, and engine.toml says that it is the driver"),
        "{error}"
    );
    let pattern = folder(&[("engine.toml", &format!("{MANIFEST}files = [\"*.json\"]\n")), ("driver.py", "")]);
    assert!(wrong(&pattern).message.contains("nothing is called '*.json'"));
    let above = folder(&[("engine.toml", &format!("{MANIFEST}files = [\"../*.py\"]\n")), ("driver.py", "")]);
    assert!(wrong(&above).message.contains("is not a path below the engine's folder"));
    let taken = folder(&[("engine.toml", MANIFEST), ("driver.py", ""), ("bench_engine/x.py", "")]);
    assert!(wrong(&taken).message.contains("is taken"));
    let nowhere = folder(&[("engine.toml", MANIFEST)]);
    symlink("gone.py", nowhere.path().join("driver.py")).unwrap();
    assert!(wrong(&nowhere).message.contains("cannot read"));
    let pipe = folder(&[("engine.toml", MANIFEST), ("driver.py", "")]);
    rustix::fs::mkfifoat(rustix::fs::CWD, pipe.path().join("pipe.py"), 0o600.into()).unwrap();
    assert!(wrong(&pipe).message.contains("pipe.py: it is not a regular file"));
    let file = folder(&[("engine.toml", MANIFEST)]);
    let error = read(&file.path().join("engine.toml")).unwrap_err();
    assert!(error.message.ends_with("engine.toml is not a folder"), "{error}");
}

#[test]
fn what_is_too_large_is_told_with_the_largest_file() {
    let large = "#".repeat(200 << 10);
    let folder =
        folder(&[("engine.toml", MANIFEST), ("driver.py", &large), ("more.py", &large[..100 << 10])]);
    let error = read(folder.path()).unwrap_err();
    assert!(
        error.message.contains("its files have 300.0 KiB") && error.message.contains("256 KiB"),
        "{error}"
    );
    assert!(error.message.contains("driver.py, 200.0 KiB"), "{error}");
    // By its files alone it would fit.
    fs::write(folder.path().join("more.py"), "#".repeat((56 << 10) - 10)).unwrap();
    assert!(read(folder.path()).unwrap_err().message.contains("too large"));
}

#[test]
fn a_plugin_is_called_as_its_engine() {
    let folder = folder(&[("engine.toml", MANIFEST), ("driver.py", "")]);
    let engine = read(folder.path()).unwrap();
    let at = |given: Option<&str>| output(&engine, given.map(Path::new));
    assert_eq!(at(None).unwrap(), Path::new("libbackend_mine.so"));
    assert_eq!(at(Some("x/libbackend_mine.so")).unwrap(), Path::new("x/libbackend_mine.so"));
    assert_eq!(output(&engine, Some(folder.path())).unwrap(), folder.path().join("libbackend_mine.so"));
    let error = at(Some("x/libbackend_yours.so")).unwrap_err();
    assert_eq!(error.remedy, "-o x/libbackend_mine.so");
}

#[test]
fn another_file_than_the_shipped_one_is_refused() {
    let folder = folder(&[("engine.toml", MANIFEST), ("driver.py", ""), ("text.so", "no library")]);
    let engine = read(folder.path()).unwrap();
    let test = std::env::current_exe().unwrap();
    for shipped in [folder.path().join("text.so"), folder.path().join("gone.so"), test] {
        let error = engine.library(&shipped).unwrap_err();
        assert!(error.message.contains("cannot be used to pack engines"), "{error}");
        assert!(error.remedy.contains("stage"), "{}", error.remedy);
    }
}
