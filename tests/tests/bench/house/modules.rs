//! Which modules of a crate need each other, read from the paths in their sources.
//!
//! Modules are compared with their siblings; what lies below a module is part of it, and what a module takes from
//! the one above it is looked up among that one's re-exports. Unit tests may need what they like.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// What a module needs of its siblings.
type Needs = BTreeMap<String, BTreeSet<String>>;

/// Every circle in the crate whose sources are in `folder`, in words.
pub fn circles(folder: &Path) -> Vec<String> {
    below(folder, &folder.join("lib.rs"), "crate")
}

fn below(folder: &Path, parent: &Path, path: &str) -> Vec<String> {
    let siblings = children(folder);
    let exported = exports(&code(parent), &siblings);
    let needs: Needs =
        siblings.iter().map(|name| (name.clone(), needs(folder, name, path, &siblings, &exported))).collect();
    let mut found: Vec<String> =
        circle(&needs).map(|names| format!("{}: {names}", folder.display())).into_iter().collect();
    for name in &siblings {
        let own = [folder.join(format!("{name}.rs")), folder.join(name).join("mod.rs")];
        if let Some(own) = own.iter().find(|own| own.is_file() && folder.join(name).is_dir()) {
            found.extend(below(&folder.join(name), own, &format!("{path}::{name}")));
        }
    }
    found
}

/// Modules that are files or folders of `folder`.
fn children(folder: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let modules = entries
        .filter(|path| path.extension().is_some_and(|end| end == "rs") || path.join("mod.rs").is_file());
    let names = modules.map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned());
    names.filter(|name| !["lib", "main", "mod", "tests"].contains(&name.as_str())).collect()
}

fn needs(
    folder: &Path,
    name: &str,
    path: &str,
    siblings: &BTreeSet<String>,
    exported: &BTreeMap<String, String>,
) -> BTreeSet<String> {
    let mut needs = BTreeSet::new();
    for (file, depth) in files(folder, name) {
        let code = code(&file);
        for prefix in [path.to_owned(), vec!["super"; depth + 1].join("::")] {
            let named =
                firsts(&code, &prefix).into_iter().map(|name| exported.get(&name).cloned().unwrap_or(name));
            needs.extend(named.filter(|other| other != name && siblings.contains(other)));
        }
    }
    needs
}

/// The files of a module, and how far each is below it.
fn files(folder: &Path, name: &str) -> Vec<(PathBuf, usize)> {
    let mut files = vec![(folder.join(format!("{name}.rs")), 0)];
    let mut folders = vec![(folder.join(name), 1)];
    while let Some((folder, depth)) = folders.pop() {
        for path in fs::read_dir(folder).into_iter().flatten().map(|entry| entry.unwrap().path()) {
            match path.file_name().unwrap().to_str().unwrap() {
                "tests.rs" => {}
                "mod.rs" => files.push((path, depth - 1)),
                name if name.ends_with(".rs") => files.push((path, depth)),
                _ if path.is_dir() => folders.push((path, depth + 1)),
                _ => {}
            }
        }
    }
    files.retain(|(path, _)| path.is_file());
    files
}

/// Every file of Rust below `folder`, but those that only help tests.
pub fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for path in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            let name = path.file_name().unwrap().to_str().unwrap();
            match name {
                "tests.rs" | "testing.rs" | "benches" => {}
                _ if path.is_dir() => folders.push(path),
                _ if name.ends_with(".rs") => files.push(path),
                _ => {}
            }
        }
    }
    files
}

/// A file without comments and unit tests.
pub fn code(file: &Path) -> String {
    let text = fs::read_to_string(file).unwrap();
    let text = text.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
    text.lines().map(|line| line.split("//").next().unwrap_or_default()).collect::<Vec<_>>().join("\n")
}

/// Names that a module hands on, and from which child.
fn exports(code: &str, siblings: &BTreeSet<String>) -> BTreeMap<String, String> {
    let mut exports = BTreeMap::new();
    for used in code.split(';').filter_map(|item| {
        item.rsplit_once("use ").filter(|(before, _)| before.trim_end().ends_with(['b', ')']))
    }) {
        if let Some((child, names)) = used.1.split_once("::").filter(|(child, _)| siblings.contains(*child)) {
            exports.extend(words(names).map(|name| (name.to_owned(), child.to_owned())));
        }
    }
    exports
}

/// What follows each `prefix::`, also in a list in braces: the first word of every path.
fn firsts(code: &str, prefix: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let start = format!("{prefix}::");
    for (at, _) in code.match_indices(&start) {
        let before = code[..at].chars().next_back();
        if before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':') {
            continue;
        }
        let rest = &code[at + start.len()..];
        match rest.strip_prefix('{') {
            None => found.extend(words(rest).next().map(str::to_owned)),
            Some(list) => found.extend(of_list(list)),
        }
    }
    found
}

/// The first word of each path in a list, up to the brace that closes it.
fn of_list(list: &str) -> Vec<String> {
    let (mut depth, mut part, mut parts) = (0, String::new(), Vec::new());
    for c in list.chars() {
        match c {
            '}' if depth == 0 => break,
            ',' if depth == 0 => parts.push(std::mem::take(&mut part)),
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        part.push(c);
    }
    parts.push(part);
    parts.iter().filter_map(|part| words(part).next().map(str::to_owned)).collect()
}

pub fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|word| !word.is_empty())
}

/// Modules that need themselves through others.
fn circle(needs: &Needs) -> Option<String> {
    let reached = |from: &String| {
        let mut seen = BTreeSet::new();
        let mut next = vec![from];
        while let Some(name) = next.pop() {
            next.extend(needs[name].iter().filter(|needed| seen.insert((*needed).clone())));
        }
        seen
    };
    let guilty: Vec<&str> =
        needs.keys().filter(|name| reached(name).contains(*name)).map(String::as_str).collect();
    (!guilty.is_empty()).then(|| guilty.join(", "))
}

#[test]
fn a_circle_is_seen_through_lists_and_reexports() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
    write("lib.rs", "mod a;\nmod b;\nmod c;\npub use a::{Left, Right};\n");
    write("a.rs", "use super::{c, b::{X, Y}};\n");
    write("b.rs", "use crate::Left;\n");
    write("c.rs", "// use super::a;\n#[cfg(test)]\nmod tests {\n    use crate::a;\n}\n");
    let found = circles(folder.path());
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].ends_with(": a, b"), "{found:?}");
}
