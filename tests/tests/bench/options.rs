//! `--backend-option KEY=VALUE`: each backend says what it takes, and what nobody takes is refused before anything
//! runs.

use std::fs;
use std::path::Path;
use std::process::Command;

use bench_tests::pairs::{text, tree};
use bench_tests::rows::all_hold;
use bench_tests::{bench, folder, records, small_run, stderr, stdout, succeed};
use serde_json::{Value, json};
use tempfile::TempDir;

/// Every command that runs a backend, with where it writes; pair and sweep have `local` beside `healthy`.
const COMMANDS: [(&[&str], &str); 7] = [
    (&["--backend", "healthy"], "--output-dir"),
    (&["run", "--backend", "healthy"], "--output-dir"),
    (&["capacity", "--slo", "p99=1s", "--backend", "healthy"], "--output-dir"),
    (&["soak", "--duration", "1s", "--backend", "healthy"], "--output-dir"),
    (&["recover", "--backend", "healthy"], "--output-dir"),
    (&["pair", "--backends", "local,healthy"], "--output-root"),
    (&["sweep", "--backends", "local,healthy"], "--output-root"),
];

/// Options that `healthy` does not take, each with what is said of it.
const WRONG: [(&str, &str); 9] = [
    ("colur=red", "did you mean `colour`?"),
    ("Colour=red", "did you mean `colour`?"),
    ("stall-ms=1", "did you mean `stall_ms`?"),
    ("xyz=1", "'healthy' has stall_ms, colour, place, title"),
    ("colour=gren", "it takes red, green or blue: did you mean `green`?"),
    ("colour=", "it takes red, green or blue"),
    ("stall_ms=1.5", "it takes a whole number from 0 to 60000"),
    ("stall_ms=60001", "it takes a whole number from 0 to 60000"),
    ("place=here", "it takes HOST:PORT"),
];

fn command(words: &[&str], output_flag: &str, output: &Path, plugins: &Path) -> Command {
    let mut command = bench(words);
    command.args(["--workload", "null", "--num-tasks", "20", "--no-user-plugins"]);
    if matches!(words[0], "soak" | "recover") {
        // How many items they have is their own affair.
        command = bench(words);
        command.args(["--workload", "null", "--no-user-plugins"]);
    }
    command.args([output_flag, text(output), "--plugins-dir", text(plugins)]);
    command
}

#[test]
fn every_command_refuses_what_no_backend_takes_and_says_what_there_is() {
    let (plugins, place) = (folder(&[("healthy", "healthy")]), TempDir::new().unwrap());
    let output = place.path().join("results");
    let info = format!("try: bench backends info healthy --plugins-dir {}", plugins.path().display());
    let rows: Vec<_> = COMMANDS.iter().flat_map(|row| WRONG.iter().map(move |wrong| (row, wrong))).collect();
    all_hold(&rows, |((words, flag), (option, says))| {
        for more in [&["--backend-option", option][..], &["--dry-run", "--backend-option", option]] {
            let refused = command(words, flag, &output, plugins.path()).args(more).output().unwrap();
            let said = stderr(&refused);
            let fine = refused.status.code() == Some(2)
                && said.contains(&format!("--backend-option {option}: "))
                && [says, info.as_str()].iter().all(|part| said.contains(part))
                && !said.contains("author")
                && stdout(&refused).is_empty();
            if !fine {
                return Err(format!("{words:?} {more:?}: {:?} {said}", refused.status.code()));
            }
        }
        Ok(())
    });
    assert!(!output.exists(), "nothing ran");
}

#[test]
fn a_file_of_settings_is_checked_alike_and_named() {
    let (plugins, place) = (folder(&[("healthy", "healthy")]), TempDir::new().unwrap());
    let file = place.path().join("bench.toml");
    fs::write(&file, "seed = 1\n[backend_option]\ncolur = \"red\"\n").unwrap();
    for (words, flag) in COMMANDS {
        let mut command = command(words, flag, &place.path().join("results"), plugins.path());
        let refused = command.args(["--config", text(&file)]).output().unwrap();
        assert_eq!(refused.status.code(), Some(2), "{words:?}: {}", stderr(&refused));
        for part in ["did you mean `colour`?", "bench.toml:2"] {
            assert!(stderr(&refused).contains(part), "{words:?}: {}", stderr(&refused));
        }
    }
}

#[test]
fn a_mistake_is_said_before_what_is_not_installed() {
    let (plugins, data) = (folder(&[("driven", "driven")]), TempDir::new().unwrap());
    let mut run = command(&["run", "--backend", "driven"], "--output-dir", data.path(), plugins.path());
    run.env("BENCH_DATA_DIR", data.path()).env("DRIVEN_REQUIREMENT", "tiny==1");
    let unavailable = run.output().unwrap();
    assert_eq!(unavailable.status.code(), Some(4), "{}", stderr(&unavailable));
    let refused = run.args(["--backend-option", "behav=well"]).output().unwrap();
    assert_eq!(refused.status.code(), Some(2), "{}", stderr(&refused));
    assert!(stderr(&refused).contains("did you mean `behave`?"), "{}", stderr(&refused));
}

#[test]
fn of_several_backends_each_gets_its_own() {
    let (plugins, root) = (folder(&[("healthy", "healthy")]), TempDir::new().unwrap());
    for words in [&["pair", "--backends", "local,healthy"], &["sweep", "--backends", "local,healthy"]] {
        let id = words[0];
        let mut command = command(words, "--output-root", root.path(), plugins.path());
        command.args(["--run-id", id, "--backend-option", "colour=green"]).args(["--repeat", "1"]);
        succeed(&mut command);
        let given = |backend: &str| {
            let records = records(&tree(root.path(), id).join("backends").join(backend));
            records[0]["extra"]["backend_options"].clone()
        };
        assert_eq!((given("local"), given("healthy")), (json!({}), json!({"colour": "green"})));
    }
}

#[test]
fn a_backend_that_does_not_say_what_it_takes_gets_all_with_a_warning() {
    let (plugins, output) = (folder(&[("healthy", "healthy")]), TempDir::new().unwrap());
    let mut run = command(&["run", "--backend", "healthy"], "--output-dir", output.path(), plugins.path());
    run.env("DECLARES", "nothing");
    let quiet = succeed(&mut run);
    assert!(!stderr(&quiet).contains("passed on unchecked"), "{}", stderr(&quiet));
    let ran = succeed(run.args(["--backend-option", "any_thing=1"]));
    let warning =
        "backend 'healthy' does not say what options it takes: --backend-option is passed on unchecked";
    assert!(stderr(&ran).contains(warning), "{}", stderr(&ran));
    assert_eq!(records(output.path())[1]["extra"]["backend_options"], json!({"any_thing": "1"}));
    // What cannot be a key is none all the same.
    let refused = run.args(["--backend-option", "any-thing=1"]).output().unwrap();
    assert_eq!(refused.status.code(), Some(2), "{}", stderr(&refused));
}

/// What `bench backends info` says of a backend's options.
fn declared(backend: &str) -> Value {
    let answer = stdout(&succeed(&mut bench(&["backends", "info", backend, "--json", "--no-user-plugins"])));
    serde_json::from_str::<Value>(&answer).unwrap()["description"]["options"].clone()
}

#[test]
fn info_lists_the_options_of_each_backend_with_values_meaning_and_default() {
    let plugins = folder(&[("healthy", "healthy")]);
    let info = |declares: Option<&str>| {
        let mut info = bench(&["backends", "info", "healthy", "--plugins-dir", text(plugins.path())]);
        info.envs(declares.map(|answer| ("DECLARES", answer)));
        stdout(&succeed(&mut info))
    };
    let expected = "options    stall_ms=a whole number from 0 to 60000 [default: 0]\n\
                    \x20            how long it stands still, once\n\
                    \x20          colour=red, green or blue [default: red]\n";
    assert!(info(None).contains(expected), "{}", info(None));
    assert!(info(Some("[]")).contains("options    none"));
    assert!(info(Some("nothing")).contains("options    not said: "));
    assert_eq!(declared("local"), json!([]));
    for (backend, name, values, default) in [
        ("sage", "sage_engine", json!(["environment", "flow"]), json!("environment")),
        ("ray", "ray_mode", json!(["actors", "naive", "compiled"]), json!("actors")),
        ("ray", "ray_address", Value::Null, Value::Null),
        ("dask", "dask_address", Value::Null, Value::Null),
    ] {
        let all = declared(backend);
        let option = all.as_array().unwrap().iter().find(|option| option["name"] == name).expect(name);
        assert_eq!((&option["values"], &option["default"]), (&values, &default), "{name}");
        assert!(option["meaning"].as_str().unwrap().len() > 10, "{name}");
    }
}

#[test]
fn a_declaration_that_makes_no_sense_is_the_plugins_fault_and_check_says_so() {
    let plugins = folder(&[("healthy", "healthy")]);
    let plugin = plugins.path().join("libbackend_healthy.so");
    let check = |declares: &str| {
        let only = ["--only", "^options-are-declared$"];
        let mut check = bench(&["backends", "check", text(&plugin)]);
        check.args(only).env("DECLARES", declares).output().unwrap()
    };
    let declaration = r#"[{"name": "a", "meaning": "m", "values": ["x"], "default": "y"}]"#;
    let failed = check(declaration);
    assert_eq!(failed.status.code(), Some(14), "{}", stdout(&failed));
    assert!(stdout(&failed).contains("option `a`: its default 'y': it takes x"), "{}", stdout(&failed));
    let silent = check("nothing");
    assert_eq!(silent.status.code(), Some(0), "{}", stdout(&silent));
    assert!(
        stdout(&silent).contains("warning") && stdout(&silent).contains("it does not answer bench.options/1")
    );
    assert!(stdout(&check("[]")).contains("conforms: 1 ok"));
    let output = TempDir::new().unwrap();
    let mut run = command(&["run", "--backend", "healthy"], "--output-dir", output.path(), plugins.path());
    let refused = run.env("DECLARES", declaration).output().unwrap();
    assert_eq!(refused.status.code(), Some(8), "{}", stderr(&refused));
    assert!(stderr(&refused).contains("report this to the plugin's author"), "{}", stderr(&refused));
}

#[test]
fn a_dry_run_of_any_command_runs_nothing_and_shows_who_gets_what() {
    let (plugins, place) = (folder(&[("healthy", "healthy")]), TempDir::new().unwrap());
    let output = place.path().join("results");
    for (words, flag) in COMMANDS {
        let mut command = command(words, flag, &output, plugins.path());
        let shown = succeed(command.args(["--dry-run", "--backend-option", "colour=blue"]));
        let shown: Value = serde_json::from_str(&stdout(&shown)).unwrap();
        let given = match words[0] {
            "pair" | "sweep" => &shown["plan"]["backend_options"],
            _ => &shown["backend"]["options"],
        };
        assert!(
            *given == json!({"colour": "blue"}) || *given == json!([["colour", "blue"]]),
            "{words:?}: {shown}"
        );
    }
    assert!(!output.exists(), "nothing ran");
}

#[test]
fn a_dry_run_finds_what_a_run_would_find_before_it_begins() {
    let place = TempDir::new().unwrap();
    let (output, cache) = (place.path().join("results"), place.path().join("cache"));
    for (words, flag) in [
        (["pair", "--backends", "local,nope"], "--output-root"),
        (["sweep", "--backends", "nope"], "--output-root"),
        (["run", "--backend", "nope"], "--output-dir"),
    ] {
        let refused = bench(&words).args(["--dry-run", flag, text(&output)]).output().unwrap();
        assert_eq!(refused.status.code(), Some(3), "{words:?}");
        assert!(stderr(&refused).contains("there is no backend `nope`"), "{}", stderr(&refused));
    }
    // Before anything is prepared, too.
    for dry in [&[][..], &["--dry-run"]] {
        let mut command = bench(&[
            "run",
            "--backend",
            "local",
            "--quick",
            "--run-id",
            "a/b",
            "--output-dir",
            text(&output),
        ]);
        let refused = command.args(["--cache-dir", text(&cache)]).args(dry).output().unwrap();
        assert_eq!(
            (refused.status.code(), cache.exists(), output.exists()),
            (Some(2), false, false),
            "{dry:?}"
        );
    }
}

#[test]
fn a_run_takes_what_is_declared_and_keeps_it() {
    let output = TempDir::new().unwrap();
    let refused = small_run("local", output.path(), &["--backend-option", "foo=bar"]).output().unwrap();
    assert!(stderr(&refused).contains("'local' has none"), "{}", stderr(&refused));
    let plugins = folder(&[("healthy", "healthy")]);
    let mut run = command(&["run", "--backend", "healthy"], "--output-dir", output.path(), plugins.path());
    for option in ["colour=blue", "stall_ms=1", "place=here:1", "title=any text = at all"] {
        run.args(["--backend-option", option]);
    }
    succeed(&mut run);
    let expected =
        json!({"colour": "blue", "stall_ms": "1", "place": "here:1", "title": "any text = at all"});
    assert_eq!(records(output.path())[0]["extra"]["backend_options"], expected);
}
