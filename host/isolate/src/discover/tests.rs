use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt;

use tempfile::TempDir;

use super::*;

fn folder(files: &[&str]) -> TempDir {
    let folder = TempDir::new().unwrap();
    for file in files {
        fs::write(folder.path().join(format!("{PREFIX}{file}{SUFFIX}")), "").unwrap();
    }
    folder
}

fn names(survey: &Survey) -> Vec<&str> {
    survey.candidates.iter().map(|c| c.name.as_str()).collect()
}

#[test]
fn flags_come_before_environment_before_executable_before_user() {
    let [a, b, c, d, e] = ["/flag", "/env1", "/env2", "/opt/bin/bench", "/data"].map(PathBuf::from);
    let variable = std::env::join_paths([b.as_os_str(), OsStr::new(""), c.as_os_str()]).unwrap();
    let path = SearchPath::new(&[a], Some(&variable), Some(&d), Some(&e));
    let order: Vec<_> = path.directories().map(|(path, _)| path.to_str().unwrap()).collect();
    assert_eq!(order, ["/flag", "/env1", "/env2", "/opt/plugins", "/data/plugins"]);
}

#[test]
fn without_a_bin_folder_plugins_lie_beside_the_executable() {
    let path = SearchPath::new(&[], None, Some(Path::new("/opt/tool/bench")), None);
    assert_eq!(path.directories().next().unwrap().0, Path::new("/opt/tool/plugins"));
}

#[test]
fn the_first_file_of_a_name_wins_and_the_other_is_reported() {
    let (first, second) = (folder(&["b", "a"]), folder(&["a", "c"]));
    let flags = [first.path().to_owned(), second.path().to_owned(), first.path().join(".")];
    let survey = SearchPath::new(&flags, None, None, None).survey().unwrap();
    assert_eq!(names(&survey), ["a", "b", "c"]);
    assert_eq!(survey.candidates[0].path.parent(), Some(first.path()));
    assert_eq!(survey.shadowed.len(), 1, "the same directory twice shadows nothing");
    assert_eq!(survey.shadowed[0].0.path.parent(), Some(second.path()));
}

#[test]
fn other_files_are_ignored_and_bad_names_are_shown_escaped() {
    let long = "x".repeat(65);
    let folder = folder(&["ok", "Bad", "", &long, "new\nline"]);
    fs::write(folder.path().join("libother.so"), "").unwrap();
    fs::write(folder.path().join("libbackend_ok.so.1"), "").unwrap();
    let raw = OsString::from_vec([PREFIX.as_bytes(), b"\xff", SUFFIX.as_bytes()].concat());
    fs::write(folder.path().join(raw), "").unwrap();
    let survey = SearchPath::new(&[folder.path().to_owned()], None, None, None).survey().unwrap();
    assert_eq!(names(&survey), ["ok"]);
    assert_eq!(survey.misnamed.len(), 5);
    assert!(survey.misnamed.iter().all(|(shown, _)| !shown.contains('\n')));
}

#[test]
fn a_missing_directory_is_an_error_only_when_asked_for_by_flag() {
    let missing = PathBuf::from("/nonexistent/plugins");
    let error = SearchPath::new(std::slice::from_ref(&missing), None, None, None).survey().unwrap_err();
    assert!(error.to_string().contains("/nonexistent/plugins"), "{error}");
    let survey =
        SearchPath::new(&[], Some(missing.as_os_str()), Some(&missing), Some(&missing)).survey().unwrap();
    assert_eq!(survey.skipped.len(), 1, "only the one of the variable is worth a note");
}

#[test]
fn an_unknown_name_suggests_the_nearest() {
    let folder = folder(&["local", "ray", "sage"]);
    let survey = SearchPath::new(&[folder.path().to_owned()], None, None, None).survey().unwrap();
    let error = survey.find("locla").unwrap_err();
    assert_eq!(error.nearest.as_deref(), Some("local"));
    assert_eq!(
        error.to_string(),
        "there is no backend `locla`; did you mean `local`?; found: local, ray, sage"
    );
    assert_eq!(survey.find("zzz").unwrap_err().nearest, None);
    assert_eq!(survey.find("ray").unwrap().name.as_str(), "ray");
}

#[test]
fn a_folder_that_is_packed_is_replaced_where_the_user_named_it_and_remembered() {
    let (packed, user) = (folder(&["mine"]), folder(&[]));
    let replaced = |path: &Path| -> Result<Option<PathBuf>, String> {
        match path.to_str() {
            Some("broken") => Err("why".to_owned()),
            Some("engine") => Ok(Some(packed.path().to_owned())),
            _ => Ok(None),
        }
    };
    let path = |flag: &str| SearchPath::new(&[flag.into()], None, None, Some(user.path()));
    let survey = path("engine").with_packed(replaced).unwrap().survey().unwrap();
    assert_eq!(survey.candidates[0].path.parent(), Some(packed.path()));
    assert_eq!(survey.candidates[0].source.as_deref(), Some(Path::new("engine")));
    assert_eq!(path("broken").with_packed(replaced).unwrap_err(), "why");
}
