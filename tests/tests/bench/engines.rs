//! Engines in Python alone: a folder with `engine.toml` becomes one file, which is a plugin like any other. What is
//! done to that file afterwards, and what is wrong with an engine, is said in one sentence.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use bench_tests::skip::skip;
use bench_tests::{bench, digest, mark, marked, small_run, staged, stderr, stdout, succeed};
use tempfile::TempDir;

/// The author of a new engine, with a data folder of their own.
struct Author {
    place: TempDir,
    /// As it is in the new engine.
    driver: String,
}

impl Author {
    /// `None` where there is no Python.
    fn new() -> Option<Self> {
        if Command::new("python3").arg("--version").output().is_err() {
            skip("there is no python3", "");
            return None;
        }
        let author = Self { place: TempDir::new().unwrap(), driver: String::new() };
        let engine = author.engine();
        succeed(author.bench(&["backends", "new", "mine", "--lang", "python", "--dir"]).arg(&engine));
        let driver = fs::read_to_string(engine.join("driver.py")).unwrap();
        Some(Self { driver, ..author })
    }

    fn engine(&self) -> PathBuf {
        self.place.path().join("engine")
    }

    fn write(&self, file: &str, text: &str) {
        fs::write(self.engine().join(file), text).unwrap();
    }

    fn bench(&self, args: &[&str]) -> Command {
        let mut command = bench(args);
        command.env("BENCH_DATA_DIR", self.place.path().join("data")).current_dir(self.place.path());
        command
    }

    /// Packs the engine into a folder `plugins`; returns the plugin.
    fn pack(&self) -> PathBuf {
        let plugins = self.place.path().join("plugins");
        fs::create_dir_all(&plugins).unwrap();
        succeed(self.bench(&["backends", "pack", "engine", "-o", "plugins"]).current_dir(self.place.path()));
        plugins.join("libbackend_mine.so")
    }

    /// A small run of the plugin, or of the engine, in `folder`.
    fn run(&self, folder: &Path, more: &[&str]) -> (PathBuf, Command) {
        let output = self.place.path().join("results");
        let flags = ["--plugins-dir", folder.to_str().unwrap()];
        let mut run = small_run("mine", &output, &[&flags[..], more].concat());
        run.env("BENCH_DATA_DIR", self.place.path().join("data"));
        (output, run)
    }

    /// What a run of the engine says that fails.
    fn failing(&self, more: &[&str]) -> (Option<i32>, String) {
        let (mark, (_, mut run)) = (mark(), self.run(&self.engine(), more));
        let output = run.env("MARK", &mark).output().unwrap();
        assert!(!output.status.success(), "{}", said(&output));
        assert_eq!(marked(&mark), [""; 0], "nothing is left running");
        (output.status.code(), error(&output))
    }
}

/// Everything that a command said, on one line however wide the terminal is.
fn said(output: &Output) -> String {
    (stdout(output) + &stderr(output)).split_whitespace().collect::<Vec<&str>>().join(" ")
}

/// The error that a command ends with, on one line.
fn error(output: &Output) -> String {
    let text = stderr(output);
    let (_, error) = text.split_once("error: ").unwrap_or_else(|| panic!("no error: {text}"));
    assert!(!error.contains("error: "), "one error and no more: {text}");
    error.split_whitespace().collect::<Vec<&str>>().join(" ")
}

fn info(author: &Author, plugin: &Path) -> String {
    let folder = plugin.parent().unwrap().to_str().unwrap();
    let name = plugin.file_stem().unwrap().to_str().unwrap().trim_start_matches("libbackend_");
    let mut info = author.bench(&["backends", "info", name, "--no-user-plugins", "--plugins-dir", folder]);
    said(&info.output().unwrap())
}

#[test]
fn a_packed_engine_gives_the_answers_of_local() {
    let Some(author) = Author::new() else { return };
    let plugin = author.pack();
    let (output, mut run) = author.run(plugin.parent().unwrap(), &["--parallelism", "2"]);
    succeed(&mut run);
    let local = TempDir::new().unwrap();
    succeed(&mut small_run("local", local.path(), &["--parallelism", "2"]));
    assert_eq!(digest(&output), digest(local.path()));
    let record = bench_tests::records(&output).remove(0);
    assert_eq!(record["backend"], "mine");
}

/// A packed plugin of each version of the API, compressed. `tests/kept/README.md` says how one is added.
fn kept() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("kept");
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    files.filter(|file| file.extension().is_some_and(|extension| extension == "gz")).collect()
}

#[test]
fn what_was_packed_with_each_version_of_the_api_still_gives_the_answers_of_local() {
    let Some(author) = Author::new() else { return };
    let local = TempDir::new().unwrap();
    succeed(&mut small_run("local", local.path(), &["--parallelism", "2"]));
    assert!(!kept().is_empty());
    for file in kept() {
        let plugins = TempDir::new().unwrap();
        fs::set_permissions(plugins.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let plugin = plugins.path().join("libbackend_mine.so");
        let mut packed = flate2::read::GzDecoder::new(fs::File::open(&file).unwrap());
        std::io::copy(&mut packed, &mut fs::File::create(&plugin).unwrap()).unwrap();
        fs::set_permissions(&plugin, fs::Permissions::from_mode(0o755)).unwrap();
        let (output, mut run) = author.run(plugins.path(), &["--parallelism", "2"]);
        succeed(&mut run);
        assert_eq!(digest(&output), digest(local.path()), "{}", file.display());
        fs::remove_dir_all(output).unwrap();
    }
}

#[test]
fn every_command_takes_the_folder_itself_and_a_change_counts_at_once() {
    let Some(author) = Author::new() else { return };
    let engine = author.engine();
    let folder = engine.to_str().unwrap();
    let on = |args: &[&str]| {
        said(&succeed(author.bench(args).args(["--no-user-plugins", "--plugins-dir", folder])))
    };
    assert!(on(&["backends", "list"]).contains("mine"));
    assert!(on(&["backends", "info", "mine"]).contains("version 0.1.0"));
    assert!(on(&["backends", "install", "mine"]).contains("backend 'mine' needs nothing installed"));
    let manifest = fs::read_to_string(engine.join("engine.toml")).unwrap();
    author.write("engine.toml", &manifest.replace("version = \"0.1.0\"", "version = \"0.2.0\""));
    assert!(on(&["backends", "info", "mine"]).contains("version 0.2.0"));
    let (output, mut run) = author.run(&engine, &["--workload", "null"]);
    succeed(&mut run);
    assert_eq!(bench_tests::records(&output).len(), 1);
    let checked =
        author.bench(&["backends", "check", folder, "--only", "every-item|loads|name"]).output().unwrap();
    assert!(said(&checked).contains("backend 'mine' conforms"), "{}", said(&checked));
    assert!(!engine.join("libbackend_mine.so").exists(), "nothing is put into the folder");
}

#[test]
fn who_names_the_folder_above_an_engine_is_told_of_its_own() {
    let Some(author) = Author::new() else { return };
    let above = author.place.path().to_str().unwrap();
    let ended = author.bench(&["run", "--backend", "engine", "--plugins-dir", above]).output().unwrap();
    let remedy = format!("bench backends list --plugins-dir {}", author.engine().display());
    assert_eq!((ended.status.code(), said(&ended).contains(&remedy)), (Some(3), true), "{}", said(&ended));
    let folder = author.engine();
    let listed = author.bench(&["backends", "list", "--plugins-dir", folder.to_str().unwrap()]).output();
    assert!(said(&listed.unwrap()).contains("mine"));
}

#[test]
fn the_same_folder_gives_the_same_file_and_check_says_whether_it_is_still_so() {
    let Some(author) = Author::new() else { return };
    let plugin = author.pack();
    let first = fs::read(&plugin).unwrap();
    fs::remove_file(&plugin).unwrap();
    assert!(fs::read(author.pack()).unwrap() == first);
    let check =
        || author.bench(&["backends", "pack", "engine", "-o", "plugins", "--check"]).output().unwrap();
    assert!(check().status.success(), "{}", said(&check()));
    author.write("driver.py", &(author.driver.clone() + "\n# changed\n"));
    assert_eq!(check().status.code(), Some(8));
    assert!(error(&check()).contains("is not what would be packed now"), "{}", said(&check()));
    assert!(fs::read(&plugin).unwrap() == first, "nothing is written");
    fs::remove_file(&plugin).unwrap();
    assert!(error(&check()).contains("libbackend_mine.so is not there"), "{}", said(&check()));
}

#[test]
fn a_stripped_plugin_is_still_the_engine() {
    let Some(author) = Author::new() else { return };
    let plugin = author.pack();
    if Command::new("strip").arg("--version").output().is_err() {
        return skip("there is no strip", "");
    }
    let before = fs::metadata(&plugin).unwrap().len();
    succeed(Command::new("strip").arg("--strip-all").arg(&plugin));
    assert!(fs::metadata(&plugin).unwrap().len() < before);
    let (output, mut run) = author.run(plugin.parent().unwrap(), &["--workload", "null"]);
    succeed(&mut run);
    assert_eq!(bench_tests::records(&output).len(), 1);
}

#[test]
fn a_pin_holds_for_all_of_an_engine() {
    let Some(author) = Author::new() else { return };
    let plugin = author.pack();
    let folder = plugin.parent().unwrap().to_str().unwrap();
    succeed(&mut author.bench(&["backends", "pin", "mine", "--no-user-plugins", "--plugins-dir", folder]));
    assert!(info(&author, &plugin).contains("available yes"));
    author.write("driver.py", &(author.driver.clone() + "\n# changed\n"));
    author.pack();
    assert!(info(&author, &plugin).contains("is not the file that was pinned"), "{}", info(&author, &plugin));
    author.write("driver.py", &author.driver);
    author.pack();
    assert!(info(&author, &plugin).contains("available yes"), "{}", info(&author, &plugin));
}

#[test]
fn what_was_done_to_a_plugin_after_it_was_packed_is_said() {
    let Some(author) = Author::new() else { return };
    let plugin = author.pack();
    let whole = fs::read(&plugin).unwrap();
    let at = |text: &[u8]| whole.windows(text.len()).position(|bytes| bytes == text).expect("it is in there");

    let renamed = plugin.with_file_name("libbackend_yours.so");
    fs::rename(&plugin, &renamed).unwrap();
    let answer = info(&author, &renamed);
    assert!(answer.contains("its file is named `yours` but it calls itself `mine`"), "{answer}");
    assert!(answer.contains("rename the file to libbackend_mine"), "{answer}");
    fs::remove_file(&renamed).unwrap();

    let changed = |place: usize| {
        let mut bytes = whole.clone();
        bytes[place] ^= 1;
        fs::write(&plugin, bytes).unwrap();
        info(&author, &plugin)
    };
    let driver = at(author.driver.as_bytes().first_chunk::<60>().unwrap());
    // The code that looks for it has it too.
    let magic = b"bench engine 1\0\0";
    let section = whole[..driver].windows(magic.len()).rposition(|bytes| bytes == magic).unwrap();
    for place in [driver, section + 16, section + 30, section + 3] {
        let answer = changed(place);
        assert!(answer.contains("the engine in it was changed after it was packed"), "{place}: {answer}");
        assert!(answer.contains("pack it again: bench backends pack"), "{place}: {answer}");
    }

    for part in [whole.len() / 2, whole.len() - 1000] {
        fs::write(&plugin, &whole[..part]).unwrap();
        assert!(info(&author, &plugin).contains("it is damaged or cut short"), "{}", info(&author, &plugin));
    }
}

#[test]
fn the_library_that_ships_is_no_engine_by_itself() {
    let Some(author) = Author::new() else { return };
    let plugin = author.pack();
    fs::copy(staged().join("lib/libbench_python_engine.so"), &plugin).unwrap();
    let answer = info(&author, &plugin);
    assert!(
        answer.contains("no engine is packed into it") && answer.contains("bench backends pack"),
        "{answer}"
    );
}

/// What is wrong with a folder, by the file and its text, and what is said.
struct Wrong(&'static str, &'static str, &'static str, &'static str);

const WRONG: &[Wrong] = &[
    Wrong(
        "no key of this name",
        "engine.toml",
        "requirments = []\n",
        "engine.toml:1: there is no key `requirments`: did you mean `requirements`?",
    ),
    Wrong("no TOML", "engine.toml", "name = mine\n", "engine.toml:1: "),
    Wrong(
        "a name that is none",
        "engine.toml",
        "name = \"My Engine\"\nversion = \"0.1.0\"\n",
        "a name consists of a-z, 0-9 and _ only",
    ),
    Wrong(
        "no such driver",
        "engine.toml",
        "name = \"mine\"\nversion = \"0.1.0\"\ndriver = \"engine.py\"\n",
        "engine.py is not there",
    ),
];

#[test]
fn what_is_wrong_with_a_folder_is_said_by_every_command_and_nothing_is_written() {
    let Some(author) = Author::new() else { return };
    for Wrong(what, file, text, says) in WRONG {
        author.write(file, text);
        for args in [
            &["backends", "pack", "engine"][..],
            &["backends", "check", "engine"],
            &["run", "--backend", "mine", "--plugins-dir", "engine"],
            &["backends", "list", "--plugins-dir", "engine"],
        ] {
            let output = author.bench(args).output().unwrap();
            assert_eq!(output.status.code(), Some(2), "{what}: {}", said(&output));
            assert!(error(&output).contains(says), "{what}: {}", said(&output));
        }
    }
    assert!(!author.place.path().join("libbackend_mine.so").exists());
    assert!(!author.place.path().join("data/packed").exists());
}

#[test]
fn an_engine_that_is_too_large_is_refused_with_what_is_largest_in_it() {
    let Some(author) = Author::new() else { return };
    author.write("tables.py", &"X = 1\n".repeat(50_000));
    let output = author.bench(&["backends", "pack", "engine"]).output().unwrap();
    let error = error(&output);
    assert_eq!(output.status.code(), Some(2), "{error}");
    assert!(error.contains("is too large to be packed") && error.contains("tables.py, 293.0 KiB"), "{error}");
}

#[test]
fn a_plugin_of_another_name_is_not_written() {
    let Some(author) = Author::new() else { return };
    let output = author.bench(&["backends", "pack", "engine", "-o", "libbackend_yours.so"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(error(&output).contains("try: -o libbackend_mine.so"), "{}", said(&output));
    assert!(!author.place.path().join("libbackend_yours.so").exists());
}

#[test]
fn a_driver_that_cannot_be_read_by_python_is_told_with_pythons_sentence() {
    let Some(author) = Author::new() else { return };
    author.write("driver.py", "def main(channel:\n");
    let (code, error) = author.failing(&[]);
    assert_eq!(code, Some(1), "{error}");
    assert!(error.contains("the mine driver ended") && error.contains("SyntaxError: "), "{error}");
}

#[test]
fn a_driver_that_imports_what_is_missing_is_told_by_its_name() {
    let Some(author) = Author::new() else { return };
    author.write("driver.py", "import of_no_package\n");
    let (code, error) = author.failing(&[]);
    assert_eq!(code, Some(1), "{error}");
    assert!(error.contains("ModuleNotFoundError: No module named 'of_no_package'"), "{error}");
}

#[test]
fn a_module_that_the_manifest_names_is_missed_before_anything_is_started() {
    let Some(author) = Author::new() else { return };
    let manifest = fs::read_to_string(author.engine().join("engine.toml")).unwrap();
    author
        .write("engine.toml", &manifest.replace("imports = []", "imports = [{module = \"of_no_package\"}]"));
    let (code, error) = author.failing(&[]);
    assert_eq!(code, Some(4), "{error}");
    assert!(error.contains("needs the Python module `of_no_package`, which is not installed in "), "{error}");
    assert!(error.contains("BENCH_PYTHON_MINE"), "{error}");
}

#[test]
fn a_driver_that_never_answers_is_ended_by_the_time_out() {
    let Some(author) = Author::new() else { return };
    author.write("driver.py", "import time\ntime.sleep(1_000_000)\n");
    let (code, error) = author.failing(&["--timeout", "3"]);
    assert_eq!(code, Some(5), "{error}");
    assert!(error.contains("the mine driver has not answered"), "{error}");
}

#[test]
fn a_driver_that_prints_a_megabyte_is_told_by_its_last_line() {
    let Some(author) = Author::new() else { return };
    author.write(
        "driver.py",
        "print('x' * 1_000_000)\nprint('line\\n' * 200_000)\nraise SystemExit('the end of it')\n",
    );
    let (code, error) = author.failing(&[]);
    assert_eq!(code, Some(1), "{error}");
    assert!(error.contains("the end of it") && error.len() < 1_000, "{error}");
}

#[test]
fn what_is_inherited_reaches_the_driver_and_what_is_not_does_not() {
    let Some(author) = Author::new() else { return };
    let manifest = fs::read_to_string(author.engine().join("engine.toml")).unwrap();
    let manifest = manifest.replace("nodes = false", "nodes = false\ninherit = [\"JAVA_HOME\"]");
    author.write("engine.toml", &(manifest + "\n[env]\nMINE_PLACE = \"{dir}/place\"\n"));
    let print = "import os, sys\nsys.exit(f\"{os.environ.get('JAVA_HOME')} {os.environ.get('OTHER')} {os.environ['MINE_PLACE'] == os.getcwd() + '/place'}\")\n";
    author.write("driver.py", print);
    let (_, mut run) = author.run(&author.engine(), &[]);
    let output = run.env("JAVA_HOME", "/opt/java").env("OTHER", "/opt/other").output().unwrap();
    assert!(error(&output).contains("/opt/java None True"), "{}", said(&output));
}

#[test]
fn more_machines_than_an_engine_can_use_are_refused() {
    let Some(author) = Author::new() else { return };
    let (code, error) = author.failing(&["--nodes", "2"]);
    assert_eq!(code, Some(2), "{error}");
    assert!(
        error.contains("mine cannot use 2 nodes: it runs on one machine only. Leave --nodes at 1"),
        "{error}"
    );
}

#[test]
fn the_manifests_of_this_repository_are_as_the_schema_says() {
    let schema: serde_json::Value =
        serde_json::from_slice(&succeed(&mut bench(&["schema", "engine"])).stdout).unwrap();
    let schema = jsonschema::options().build(&schema).unwrap();
    let plugins = Path::new(env!("CARGO_MANIFEST_DIR")).join("../plugins");
    let folders = [plugins.clone(), plugins.join("examples")].map(|folder| fs::read_dir(folder).unwrap());
    let manifests = folders.into_iter().flatten().map(|entry| entry.unwrap().path().join("engine.toml"));
    let mut seen = 0;
    for manifest in manifests.filter(|manifest| manifest.is_file()) {
        let value: serde_json::Value = toml::from_str(&fs::read_to_string(&manifest).unwrap()).unwrap();
        let wrong: Vec<String> = schema.iter_errors(&value).map(|error| error.to_string()).collect();
        assert!(wrong.is_empty(), "{}: {wrong:?}", manifest.display());
        seen += 1;
    }
    assert!(seen > 0);
    for wrong in [r#"{"version": "1.0.0"}"#, r#"{"name": "x", "version": "1.0.0", "requirments": []}"#] {
        assert!(!schema.is_valid(&serde_json::from_str(wrong).unwrap()), "{wrong}");
    }
}

/// The rest of it is `cargo xtask spark`, because Spark has 456 MB.
#[test]
fn the_example_for_spark_is_packed_and_says_what_it_needs() {
    let (folder, data) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let spark = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("plugins/examples/spark");
    succeed(bench(&["backends", "pack", "-o"]).arg(folder.path()).arg(&spark));
    let plugins = ["--plugins-dir", folder.path().to_str().unwrap(), "--no-user-plugins"];
    let described = succeed(
        bench(&["backends", "info", "spark", "--json"]).args(plugins).env("BENCH_DATA_DIR", data.path()),
    );
    let info: serde_json::Value = serde_json::from_slice(&described.stdout).unwrap();
    assert_eq!(info["description"]["requirements"]["requirements"][0], "pyspark==4.3.0", "{info}");
    let output = TempDir::new().unwrap();
    let run =
        small_run("spark", output.path(), &plugins[..2]).env("BENCH_DATA_DIR", data.path()).output().unwrap();
    assert_eq!(run.status.code(), Some(4), "{}", stderr(&run));
    assert!(error(&run).contains("bench backends install spark"), "{}", stderr(&run));
}
