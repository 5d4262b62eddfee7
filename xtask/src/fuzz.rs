//! `cargo xtask fuzz`, `cargo xtask miri` and `cargo xtask asan`: what needs a nightly compiler.

use std::fs;
use std::process::{Command, Stdio};

use crate::Done;
use crate::cargo::{forget_this_package, root, run, target};
use crate::ci::compile;
use crate::stage::place;

/// Flags.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// How long each target runs.
    #[arg(long, default_value_t = 60)]
    seconds: u32,
    /// Only this one: a file of fuzz/fuzz_targets.
    #[arg(long)]
    target: Option<String>,
}

/// Runs every fuzz target for a while, from the seeds in fuzz/seeds and what earlier runs found.
///
/// # Errors
/// When a tool is missing, or an input was found that breaks a target; it is then in fuzz/artifacts.
pub fn fuzz(args: &Args) -> Done {
    needs(&["+nightly", "fuzz", "--version"], "rustup toolchain install nightly; cargo install cargo-fuzz")?;
    for name in targets()? {
        if args.target.as_ref().is_some_and(|wanted| *wanted != name) {
            continue;
        }
        let corpus = target().join("fuzz-corpus").join(&name);
        fs::create_dir_all(&corpus).map_err(|cause| format!("{}: {cause}", corpus.display()))?;
        let seeds = root().join("fuzz/seeds").join(&name);
        let mut command = nightly();
        command.args(["fuzz", "run", "--fuzz-dir", "fuzz", "--target-dir"]).arg(target().join("fuzz"));
        command.arg(&name).args([&corpus, &seeds]).arg("--");
        command.arg(format!("-max_total_time={}", args.seconds)).arg("-print_final_stats=1");
        run(command.args(["-max_len=8192", "-rss_limit_mb=4096", "-timeout=10"]))?;
    }
    Ok(())
}

/// What Miri runs: the plugin API, trait objects and layouts and all, and the host's side of the C ABI,
/// where most of the unsafe code is.
///
/// Not there, because Miri calls no foreign code: loading a library. Plugins in C, and the examples, are
/// loaded and run by the tests of the whole binary.
const UNDER_MIRI: [&[&str]; 2] = [
    &["--package", "bench-plugin-api", "--lib", "--test", "layout"],
    &["--package", "bench-isolate", "--lib", "--", "load::"],
];

/// Runs the tests of [`UNDER_MIRI`].
///
/// # Errors
/// When Miri is missing or finds something.
pub fn miri() -> Done {
    needs(&["+nightly", "miri", "--version"], "rustup +nightly component add miri rust-src")?;
    for tests in UNDER_MIRI {
        let mut command = nightly();
        // abi_stable reads static layouts through pointers that Stacked Borrows refuses; Tree Borrows is
        // the model that replaces it. Leaks are meant: modules and a host's table live for ever.
        command.env("MIRIFLAGS", "-Zmiri-tree-borrows -Zmiri-disable-isolation -Zmiri-ignore-leaks");
        command.args(["miri", "test", "--target-dir"]).arg(target().join("miri"));
        run(command.args(tests))?;
    }
    Ok(())
}

/// What the address sanitiser watches: the host, with the two C plugins that the tests load. They are not
/// instrumented, but what they allocate, free and copy is.
const UNDER_ASAN: [(&str, &str); 2] = [
    ("plugins/examples/c/backend_example_c.c", "example_c"),
    ("plugins/examples/cpp/backend_example_cpp.cpp", "example_cpp"),
];

/// Runs the conformance suite on real libraries in a host with the address sanitiser: what Miri cannot.
///
/// # Errors
/// When nightly is missing, or something is found.
pub fn asan() -> Done {
    let triple = &format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    needs(&["+nightly", "--version"], "rustup toolchain install nightly")?;
    let built = target().join("asan");
    let mut build = nightly();
    // Naming the target keeps the flags from build scripts.
    build.env("RUSTFLAGS", "-Zsanitizer=address").args(["build", "--package", "bench", "--target", triple]);
    run(build.arg("--target-dir").arg(&built))?;
    let staged = built.join("staged");
    place(&built.join(triple).join("debug/bench"), &staged.join("bin/bench"))?;
    let header = "include/bench_backend.h";
    place(&root().join("plugin-api").join(header), &staged.join(header))?;
    for (source, name) in UNDER_ASAN {
        let plugin = staged.join("plugins").join(format!("libbackend_{name}.so"));
        place(&compile(&staged, source, name)?, &plugin)?;
        let mut check = Command::new(staged.join("bin/bench"));
        check.args(["backends", "check"]).arg(plugin);
        // Its shadow of the memory is larger than any machine's; leaks are meant, see above.
        check.args(["--memory-limit", "1099511627776"]).env("ASAN_OPTIONS", "detect_leaks=0");
        // All but `create-and-drop-do-not-grow`: the sanitiser keeps what was freed, for a while.
        check.args(["--only", "^([^c]|c[^r])", "--timeout", "120"]);
        run(&mut check)?;
    }
    Ok(())
}

/// The nightly cargo. `cargo xtask` runs under another toolchain, whose variables would win.
fn nightly() -> Command {
    let mut command = Command::new("cargo");
    command.arg("+nightly").current_dir(root());
    for variable in ["RUSTUP_TOOLCHAIN", "CARGO", "RUSTC", "RUSTDOC"] {
        command.env_remove(variable);
    }
    forget_this_package(&mut command);
    command
}

fn needs(args: &[&str], install: &str) -> Done {
    let mut command = nightly();
    // The first argument is nightly's own.
    command.args(&args[1..]).stdout(Stdio::null()).stderr(Stdio::null());
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        _ => Err(format!("`cargo {}` does not work; {install}", args.join(" "))),
    }
}

/// Names of the targets, from the files there are.
fn targets() -> Result<Vec<String>, String> {
    let folder = root().join("fuzz/fuzz_targets");
    let entries = fs::read_dir(&folder).map_err(|cause| format!("{}: {cause}", folder.display()))?;
    let names = entries.flatten().filter_map(|entry| entry.path().file_stem()?.to_str().map(str::to_owned));
    let mut names: Vec<String> = names.collect();
    names.sort();
    Ok(names)
}
