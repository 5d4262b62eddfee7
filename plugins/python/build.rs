//! Embeds every module of `bench_engine`, whatever they are called: a driver finds them beside it.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs};

const SDK: &str = "bench_engine";

fn main() {
    println!("cargo::rerun-if-changed={SDK}");
    let root = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo says it"));
    let mut modules: Vec<PathBuf> = fs::read_dir(root.join(SDK))
        .into_iter()
        .flatten()
        .map(|entry| entry.expect("a folder can be read").path())
        .filter(|path| path.extension().is_some_and(|end| end == "py"))
        .collect();
    modules.sort();
    let mut table = "&[".to_owned();
    for module in modules {
        let name = Path::new(SDK).join(module.file_name().expect("it is a file"));
        write!(
            table,
            "({:?}, include_bytes!({:?})),",
            name.display().to_string(),
            module.display().to_string()
        )
        .expect("memory can be written");
    }
    table.push(']');
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo says it"));
    fs::write(out.join("sdk.rs"), table).expect("the folder is cargo's for us");
}
