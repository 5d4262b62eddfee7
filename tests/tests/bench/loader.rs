//! Libraries that the system's loader refuses: its own sentence is shown wherever the plugin is asked for, with what
//! mends it, and nothing of the plugin has run before.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use bench_tests::{bench, folder, small_run, staged, stderr, stdout, succeed};
use tempfile::TempDir;

/// What is wrong, the loader's words, and what mends it.
struct Refused {
    build: fn(&Path),
    says: &'static str,
    mends: &'static str,
}

/// The example in C with `code` at its end, as the plugin `example_c` in `folder`.
fn plugin(folder: &Path, code: &str, link: &[&str]) {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../plugins/examples/c/backend_example_c.c");
    let source = folder.join("plugin.c");
    fs::write(&source, fs::read_to_string(example).unwrap() + code).unwrap();
    let mut cc = Command::new("cc");
    cc.args(["-shared", "-fPIC", "-pthread", "-I"]).arg(staged().join("include")).arg(&source);
    cc.arg("-o").arg(file(folder)).arg("-L").arg(folder).args(link);
    succeed(&mut cc);
}

fn file(folder: &Path) -> PathBuf {
    folder.join("libbackend_example_c.so")
}

/// A library of the plugin's own.
fn library(folder: &Path, name: &str, code: &str, more: &[&str]) {
    let source = folder.join("library.c");
    fs::write(&source, code).unwrap();
    let mut cc = Command::new("cc");
    cc.current_dir(folder).args(["-shared", "-fPIC", "library.c", "-o", name]).args(more);
    succeed(&mut cc);
}

const REFUSED: [Refused; 6] = [
    Refused {
        build: |folder| {
            plugin(folder, "extern void forgotten(void);\nvoid never_called(void) { forgotten(); }\n", &[])
        },
        says: "undefined symbol: forgotten",
        mends: "link the plugin with the library that defines forgotten, and build it again",
    },
    Refused {
        build: |folder| {
            plugin(folder, "extern int forgotten;\nint *never_read(void) { return &forgotten; }\n", &[])
        },
        says: "undefined symbol: forgotten",
        mends: "link the plugin with the library that defines forgotten, and build it again",
    },
    Refused {
        build: |folder| {
            let code = "extern void also_forgotten(void);\n\
                        __attribute__((constructor)) static void early(void) { also_forgotten(); }\n";
            plugin(folder, code, &[]);
        },
        says: "undefined symbol: also_forgotten",
        mends: "link the plugin with the library that defines also_forgotten, and build it again",
    },
    // The library is there, and lacks what it is needed for.
    Refused {
        build: |folder| {
            library(folder, "libother.so", "void other(void) {}\n", &[]);
            let code = "extern void other(void);\nvoid never_called(void) { other(); }\n";
            plugin(folder, code, &["-lother", "-Wl,-rpath,$ORIGIN"]);
            library(folder, "libother.so", "void another(void) {}\n", &[]);
        },
        says: "undefined symbol: other",
        mends: "link the plugin with the library that defines other, and build it again",
    },
    Refused {
        build: |folder| {
            library(folder, "libother.so", "void other(void) {}\n", &[]);
            plugin(folder, "extern void other(void);\nvoid never_called(void) { other(); }\n", &["-lother"]);
        },
        says: "libother.so: cannot open shared object file",
        mends: "install the library libother.so, or name its folder in LD_LIBRARY_PATH",
    },
    Refused {
        build: |folder| {
            let versions = |version: &str| {
                fs::write(folder.join("versions"), format!("{version} {{ global: other; local: *; }};\n"))
                    .unwrap();
                library(folder, "libother.so", "void other(void) {}\n", &["-Wl,--version-script=versions"]);
            };
            versions("OTHER_2");
            let code = "extern void other(void);\nvoid never_called(void) { other(); }\n";
            plugin(folder, code, &["-lother", "-Wl,-rpath,$ORIGIN"]);
            versions("OTHER_1");
        },
        says: "version `OTHER_2' not found",
        mends: "build the plugin on this machine, or on one whose libraries are no newer",
    },
];

/// Waits in the loader until it is told to go on.
const WAITS: &str = "#include <fcntl.h>\n#include <unistd.h>\n\
    __attribute__((constructor)) static void early(void) {\n\
        char one; int gate = open(\"GATE\", O_RDONLY);\n\
        while (read(gate, &one, 1) > 0) {}\n\
        close(gate);\n\
    }\n";

#[test]
fn a_check_that_is_stopped_says_how_far_it_came_and_nothing_of_the_plugin() {
    use bench_tests::following::Following;
    use rustix::fs::{CWD, FileType, Mode, mknodat};
    use rustix::process::{Pid, Signal, kill_process};
    let folder = TempDir::new().unwrap();
    let (gate, text) = (folder.path().join("gate"), folder.path().join("said"));
    mknodat(CWD, &gate, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    plugin(folder.path(), &WAITS.replace("GATE", gate.to_str().unwrap()), &[]);
    let bench = bench_tests::bench_path();
    let script = format!(
        "exec {} backends check {} > {}",
        bench.display(),
        file(folder.path()).display(),
        text.display()
    );
    let mut check = Following::start(Command::new("sh").args(["-c", &script]));
    // Opens once the plugin is in its constructor.
    let held = fs::File::options().write(true).open(&gate).unwrap();
    kill_process(Pid::from_child(&check), Signal::INT).unwrap();
    check.until("stopping: what is under way is finished first");
    drop(held);
    assert_eq!(check.end().status.code(), Some(130));
    let said = fs::read_to_string(text).unwrap();
    assert!(said.contains("backend 'example_c' was not checked to the end, 0 of "), "{said}");
    assert!(!said.contains("conforms"), "{said}");
}

/// `bench backends …` on the plugin in `folder`.
fn backends(folder: &Path, args: &[&str]) -> Output {
    let mut command = bench(&["backends"]);
    command.args(args).args(["--no-user-plugins", "--plugins-dir"]).arg(folder).output().unwrap()
}

/// Everything that a command said, on one line however wide the terminal is.
fn said(output: &Output) -> String {
    (stdout(output) + &stderr(output)).split_whitespace().collect::<Vec<&str>>().join(" ")
}

#[test]
fn the_loaders_sentence_and_its_remedy_are_shown_wherever_the_plugin_is_asked_for() {
    for Refused { build, says, mends } in REFUSED {
        let (place, output) = (folder(&[]), TempDir::new().unwrap());
        build(place.path());
        let plugins = place.path().to_str().unwrap();
        let listed = backends(place.path(), &["list", "--json"]);
        let info = backends(place.path(), &["info", "example_c"]);
        let checked = backends(place.path(), &["check", "example_c", "--only", "every-item-once"]);
        let run = small_run("example_c", output.path(), &["--plugins-dir", plugins]).output().unwrap();
        for answer in [&listed, &info, &checked, &run] {
            assert!(said(answer).contains(says), "{says}: {}", said(answer));
            assert!(!said(answer).contains("author"), "{}", said(answer));
        }
        for answer in [&info, &checked, &run] {
            assert!(said(answer).contains(mends), "{mends}: {}", said(answer));
        }
        let codes = [&listed, &info, &checked, &run].map(|answer| answer.status.code());
        assert_eq!(codes, [Some(0), Some(0), Some(14), Some(8)], "{says}");
        assert!(!output.path().join("runs").exists(), "nothing was begun");
    }
}

/// What a plugin says as soon as it is loaded, with the help of a library of its own.
const NEIGHBOUR: &str = r#"
#include <stdio.h>
extern int other(void);
__attribute__((constructor)) static void tell(void) {
    fprintf(stderr, "the neighbour says %d\n", other());
}
"#;

#[test]
fn a_plugin_finds_the_libraries_beside_it_and_leaves_nothing_behind() {
    let (place, output, temp) = (folder(&[]), TempDir::new().unwrap(), TempDir::new().unwrap());
    library(place.path(), "libother.so", "int other(void) { return 42; }\n", &[]);
    plugin(place.path(), NEIGHBOUR, &["-lother", "-Wl,-rpath,$ORIGIN"]);
    let plugins = place.path().to_str().unwrap();
    let mut run = small_run("example_c", output.path(), &["--plugins-dir", plugins, "--workload", "null"]);
    succeed(run.env("TMPDIR", temp.path()));
    let folders = fs::read_dir(output.path().join("runs")).unwrap();
    let log = fs::read_to_string(folders.flatten().next().unwrap().path().join("run.log")).unwrap();
    assert!(log.contains("the neighbour says 42\n"), "{log}");
    assert!(!log.contains("is loaded from its file"), "{log}");
    assert_eq!(fs::read_dir(temp.path()).unwrap().count(), 0);
}

#[test]
fn a_plugin_that_asks_the_system_where_it_lies_is_told() {
    // It calls itself what its file is called, which it has from `dladdr`.
    let place = folder(&[]);
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("plugins/many/many.c");
    let mut cc = Command::new("cc");
    cc.args(["-shared", "-fPIC", "-I"]).arg(staged().join("include")).arg(source).arg("-ldl");
    succeed(cc.arg("-o").arg(place.path().join("libbackend_somewhere.so")));
    let info = said(&backends(place.path(), &["info", "somewhere"]));
    assert!(info.contains("one of many"), "{info}");
}

#[test]
fn a_needed_library_that_is_named_in_the_variable_mends_it() {
    let (place, elsewhere, output) = (folder(&[]), TempDir::new().unwrap(), TempDir::new().unwrap());
    (REFUSED[4].build)(place.path());
    fs::rename(place.path().join("libother.so"), elsewhere.path().join("libother.so")).unwrap();
    let plugins = place.path().to_str().unwrap();
    let mut run = small_run("example_c", output.path(), &["--plugins-dir", plugins]);
    assert_eq!(run.output().unwrap().status.code(), Some(8));
    succeed(run.env("LD_LIBRARY_PATH", elsewhere.path()));
}

#[test]
fn what_the_remedy_for_a_symbol_prints_lists_every_symbol() {
    let place = folder(&[]);
    let code = "extern void one(void), two(void);\nvoid never_called(void) { one(); two(); }\n";
    plugin(place.path(), code, &[]);
    let info = said(&backends(place.path(), &["info", "example_c"]));
    let command = info.split_once("(ldd").and_then(|(_, rest)| rest.split_once(" lists")).unwrap().0;
    let mut shell = Command::new("sh");
    let listed = said(&shell.args(["-c", &format!("ldd{command}")]).output().unwrap());
    assert!(listed.contains("undefined symbol: one") && listed.contains("undefined symbol: two"), "{listed}");
}
