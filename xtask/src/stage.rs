//! What a user runs, in one folder: `bin/bench`, `plugins/libbackend_*.so`,
//! `lib/libbench_*.so`, `include/*.h`.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::cargo::{cargo, root, run, target};

/// How to build.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Profile {
    Dev,
    Release,
}

impl Profile {
    fn folder(self) -> &'static str {
        match self {
            Self::Dev => "debug",
            Self::Release => "release",
        }
    }
}

/// Plugins that are part of the product: every crate below `plugins/` that makes a backend.
const PLUGINS: [&str; 1] = ["backend-local"];

/// Engines in Python that are part of the product: folders below `plugins/`, packed by the staged bench itself.
const ENGINES: [&str; 3] = ["dask", "ray", "sage"];

/// Builds and stages; returns the folder.
///
/// # Errors
/// When something does not build or cannot be copied.
pub fn stage(profile: Profile) -> Result<PathBuf, String> {
    let mut args = vec!["build"];
    match profile {
        // With the features that tests are built with: crates that are built with others too would be built anew each
        // time, because a library for C has no hash in its name.
        Profile::Dev => args.extend(["--workspace", "--lib", "--bins", "--test", "bench"]),
        Profile::Release => {
            args.push("--release");
            let shipped = ["bench", "bench-workloads", "bench-engine-library"];
            args.extend(shipped.iter().chain(&PLUGINS).flat_map(|name| ["--package", name]));
        }
    }
    run(&mut cargo(args))?;
    let built = target().join(profile.folder());
    let folder = target().join(if profile == Profile::Release { "bench" } else { "bench-dev" });
    place(&built.join("bench"), &folder.join("bin/bench"))?;
    for library in ["libbench_workloads.so", "libbench_python_engine.so"] {
        place(&built.join(library), &folder.join("lib").join(library))?;
    }
    for plugin in PLUGINS {
        let file = format!("lib{}.so", plugin.replace('-', "_"));
        place(&built.join(&file), &folder.join("plugins").join(&file))?;
    }
    for engine in ENGINES {
        pack(&folder, &root().join("plugins").join(engine), &folder.join("plugins"))?;
    }
    for header in ["workloads/include/bench_workloads.h", "plugin-api/include/bench_backend.h"] {
        let from = root().join(header);
        let name = from.file_name().unwrap_or_default();
        place(&from, &folder.join("include").join(name))?;
    }
    Ok(folder)
}

/// Packs the engine in the folder `from` into the folder `to`, as its author would.
///
/// # Errors
/// When it cannot be packed.
pub fn pack(staged: &Path, from: &Path, to: &Path) -> Result<(), String> {
    fs::create_dir_all(to).map_err(|cause| format!("creating {}: {cause}", to.display()))?;
    let mut pack = Command::new(staged.join("bin/bench"));
    run(pack.args(["backends", "pack"]).arg(from).arg("-o").arg(to))
}

/// Copies under a temporary name and renames: a plugin that is mapped right now must not change
/// under its process. Modes are those that vetting asks for, whatever the umask.
///
/// # Errors
/// When a file or folder is in the way.
pub fn place(from: &Path, to: &Path) -> Result<(), String> {
    let step = |what: &str, path: &Path, cause: std::io::Error| format!("{what} {}: {cause}", path.display());
    let folder = to.parent().ok_or_else(|| format!("{} has no folder", to.display()))?;
    fs::create_dir_all(folder).map_err(|cause| step("creating", folder, cause))?;
    let mode = fs::Permissions::from_mode(0o755);
    fs::set_permissions(folder, mode.clone()).map_err(|cause| step("setting the mode of", folder, cause))?;
    let next = to.with_extension("next");
    fs::copy(from, &next).map_err(|cause| step("copying", from, cause))?;
    fs::set_permissions(&next, mode).map_err(|cause| step("setting the mode of", &next, cause))?;
    fs::rename(&next, to).map_err(|cause| step("placing", to, cause))
}
