use bench_workloads::wl4::params::Params;
use std::io::Write as _;

use clap::FromArgMatches as _;
use tempfile::NamedTempFile;

use super::super::{Cli, RunArgs, command};
use super::*;

/// The commands that take a file, with what each cannot do without.
const COMMANDS: [&[&str]; 7] = [
    &[],
    &["run"],
    &["pair"],
    &["sweep"],
    &["capacity", "--slo", "p99=1s"],
    &["soak", "--duration", "9s"],
    &["recover"],
];

fn written(text: &str) -> NamedTempFile {
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

fn read_with(words: &[&str], file: &NamedTempFile) -> Result<(ArgMatches, ConfigFile), Unreadable> {
    let config = ["--config", file.path().to_str().unwrap()];
    let words = [&["bench"], words, &config].concat();
    read(&command(), &words.iter().map(OsString::from).collect::<Vec<_>>())
}

fn args_of(words: &[&str], text: &str) -> RunArgs {
    let (matches, file) = read_with(words, &written(text)).unwrap();
    let mut cli = Cli::from_arg_matches(&matches).unwrap();
    let mut run = cli.run_args().unwrap().clone();
    run.params = file.params;
    run
}

/// What is said of a file, without its path.
fn complaint(words: &[&str], text: &str) -> String {
    let file = written(text);
    let message = match read_with(words, &file) {
        Err(Unreadable::File(stopped)) => stopped.message,
        Err(Unreadable::Words(error)) => panic!("the words are fine: {error}"),
        Ok((matches, file)) => {
            let mut run = Cli::from_arg_matches(&matches).unwrap().run_args().unwrap().clone();
            run.params.clone_from(&file.params);
            file.located(run.plan().unwrap_err()).message
        }
    };
    message.replace(file.path().to_str().unwrap(), "FILE")
}

/// A value that a flag takes, as TOML.
fn sample(flag: &Arg) -> String {
    if matches!(flag.get_action(), ArgAction::SetTrue) {
        return "true".to_owned();
    }
    if let Some(value) = flag.get_possible_values().first() {
        return format!("{:?}", value.get_name());
    }
    let kind = flag.get_value_names().unwrap_or_default().first().map_or("", |name| name.as_str());
    match kind {
        "N" | "P" | "R" | "MIB" | "MS" | "SEED" | "PID" => "64".to_owned(),
        "SHARE" => "0.25".to_owned(),
        "TIME" => "\"9s\"".to_owned(),
        "GOAL" => "\"p99=2s\"".to_owned(),
        "KEY=VALUE" => "[\"mmr_lambda=0.5\"]".to_owned(),
        "NAME" | "NAMES" | "DIR" | "FILE" | "ID" | "RUN_ID" | "URL" | "COMMAND" => "\"x\"".to_owned(),
        other => panic!("no sample of {other}, which {} takes", flag.get_id()),
    }
}

#[test]
fn every_flag_of_every_command_can_stand_in_a_file() {
    let all = command();
    for needed in COMMANDS {
        let flags = needed.first().map_or(&all, |name| all.find_subcommand(name).unwrap());
        for flag in usable(flags).filter(|flag| flag.get_long().is_some()) {
            let id = flag.get_id().as_str();
            let rest = if id == "trace_format" { &["--trace", "x"][..] } else { &[] };
            let needed = if matches!(id, "slo" | "duration") { &needed[..1] } else { needed };
            let key = flag.get_long().unwrap().replace('-', "_");
            let file = written(&format!("{key} = {}\n", sample(flag)));
            let (matches, _) = read_with(&[needed, rest].concat(), &file)
                .unwrap_or_else(|error| panic!("{needed:?} {key}: {error:?}"));
            let of = matches.subcommand().map_or(&matches, |(_, matches)| matches);
            assert_eq!(of.value_source(id), Some(ValueSource::CommandLine), "{needed:?} {key}");
        }
    }
}

#[test]
fn a_file_takes_what_flags_take() {
    let text = "\u{feff}num_tasks = 2e3\r\nwarmup-items = \"1k\"\ntimeout = \"1m30s\"\nmax_in_flight = 1_000\nload = \"open\"\n\
                rate = 50.0\narrivals = \"poisson\"\ncorpus_shards = 2\nmemory_limit = \"4G\"\nretries = 1\nquick = true\n\
                vdb1_corpus_size = 1e3\njoin_window_seconds = \"1m\"\n[rerank_score_weights]\nsemantic = 0.4\nfreshness = 0.1\n";
    let args = args_of(&["run"], text);
    let plan = args.plan().unwrap();
    assert_eq!((plan.num_tasks, plan.warmup_items, plan.max_in_flight), (2_000, 1_000, 1_000));
    assert_eq!(
        serde_json::to_value(plan.load).unwrap(),
        serde_json::json!({"model": "open", "rate": 50.0, "arrivals": "poisson"})
    );
    assert_eq!((plan.timeout.unwrap().as_secs(), args.memory_bytes()), (90, 4 << 30));
    let params: Params = plan.params.read().unwrap();
    assert_eq!((params.vdb_shards, params.operator_attempts, plan.quick), (2, 2, true));
    assert_eq!((params.vdb1_corpus_size, params.join_window_seconds), (1_000, 60.0));
    let weights = params.rerank_score_weights;
    assert_eq!((weights.semantic, weights.freshness), (0.4, 0.1));
}

#[test]
fn the_same_configuration_has_the_same_hash_however_it_is_given() {
    let words = [
        "run",
        "--items",
        "30",
        "--seed",
        "7",
        "--quick",
        "--load",
        "open",
        "--rate",
        "20",
        "--set",
        "mmr_lambda=0.25",
    ];
    let file = "items = 30\nseed = 7\nquick = true\nload = \"open\"\nrate = 20\nmmr_lambda = 0.25\n";
    let hash = |args: RunArgs| args.plan().unwrap().config_hash();
    assert_eq!(hash(args_of(&["run"], file)), hash(args_of(&words, "")));
}

#[test]
fn a_flag_beats_the_file_and_of_assignments_the_same_key() {
    let file = "seed = 5\nparallelism = [1, 2]\nbackends = [\"a\", \"b\"]\nset = [\"mmr_lambda=0.1\", \"bm25_b=0.1\"]\n\
                [backend_option]\nray_mode = \"naive\"\nray_fusion = \"none\"\n";
    let words = ["sweep", "--seed", "6", "--parallelism", "8", "--backends", "c", "--set", "mmr_lambda=0.9"];
    let (matches, _) =
        read_with(&[&words[..], &["--backend-option", "ray_mode=actors"]].concat(), &written(file)).unwrap();
    let (_, sweep) = matches.subcommand().unwrap();
    let all = |id: &str| sweep.get_many::<String>(id).unwrap().cloned().collect::<Vec<_>>();
    assert_eq!(all("backends"), ["c"]);
    assert_eq!(all("sets"), ["bm25_b=0.1", "mmr_lambda=0.9"]);
    assert_eq!(all("backend_options"), ["ray_fusion=none", "ray_mode=actors"]);
    let run = Cli::from_arg_matches(&matches).unwrap().run_args().unwrap().clone();
    assert_eq!((run.seed, run.parallelism.unwrap().0), (Some(6), vec![8]));
}

#[test]
fn a_sweep_takes_lists() {
    let args = args_of(&["sweep"], "parallelism = [1, 2, 4]\nnodes = \"1,2\"\nrate = [5, 7.5]\n");
    assert_eq!(args.parallelism.unwrap().0, [1, 2, 4]);
    assert_eq!((args.nodes.unwrap().0, args.rate.unwrap().0), (vec![1, 2], vec![5.0, 7.5]));
}

#[test]
fn what_is_wrong_is_said_with_file_and_line() {
    for (words, text, said) in [
        (
            &["run"][..],
            "seed = 1\n\nnum_taks = 5\n",
            "FILE:3: `num_taks` is neither a flag of `bench run` nor a parameter of the workload: did you mean `num_tasks`?",
        ),
        (
            &[],
            "mmr_lamda = 0.5\n",
            "FILE:1: `mmr_lamda` is neither a flag of `bench run` nor a parameter of the workload: did you mean `mmr_lambda`?",
        ),
        (
            &["pair"],
            "output_dir = \"x\"\n",
            "FILE:1: `output_dir` is neither a flag of `bench pair` nor a parameter of the workload: did you mean `output_root`?",
        ),
        (&["run"], "config = \"x\"\n", "FILE:1: `config` is neither"),
        (&["run"], "seed = 1\nnum_tasks = 1.5\n", "FILE:2: num_tasks: '1.5' is not a whole number"),
        (
            &["run"],
            "backend: local\n",
            "FILE:1: key with no value, expected `=` (a configuration file is TOML: key = value)",
        ),
        (
            &["run"],
            "seed = 1\nset = [\"mmr_lambda=7\"]\n",
            "parameter 'mmr_lambda' must be between 0 and 1, not 7 (mmr_lambda is set in FILE:2)",
        ),
        (&["run"], "timeout = -1\n", "FILE:1: timeout: '-1' is below zero"),
        (&["run"], "vdb1_corpus_size = \"x\"\n", "FILE:1: parameter 'vdb1_corpus_size': 'x' is not a number"),
        (&["run"], "load = \"opn\"\n", "FILE:1: load: 'opn' is none of closed, open, nominal"),
        (&["run"], "quick = \"yes\"\n", "FILE:1: quick: it is true or false"),
        (&["run"], "trace = true\n", "FILE:1: trace: it takes a value, and not true or false"),
        (
            &["pair"],
            "\noutput_root = false\n",
            "FILE:2: output_root: it takes a value, and not true or false",
        ),
        (&["run"], "items = 1979-05-27\n", "FILE:1: items: '1979-05-27' is not a number"),
        (&["run"], "seed = 18446744073709551615\n", ": write the number in quotes"),
        (
            &["run"],
            "scheduler = \"loadaware\"\n",
            "FILE:1: scheduler: 'loadaware' is none of fifo, load_aware, default",
        ),
        (&["run"], "# one\nseed = [[1]]\n", "FILE:2: seed: it takes no table and no list of lists"),
        (&["run"], "items = 5\nnum_tasks = 6\n", "FILE:2: num_tasks: line 1 gives it already"),
        (&["run"], "seed = 1\nseed =\n", "FILE:2: "),
        (
            &["run"],
            "[rerank_score_weights]\nsemantics = 0.5\n",
            "FILE:1: there is no parameter `rerank_score_weights.semantics`",
        ),
        // What only the whole plan shows.
        (
            &["run"],
            "seed = 1\nnum_tasks = 0\n",
            "--num-tasks must be at least 1, not 0 (num_tasks is set in FILE:2)",
        ),
        (&["run"], "dbscan_eps = 9\n", "(dbscan_eps is set in FILE:1)"),
        (&["run", "--rate", "5"], "load = \"closed\"\n", "(load is set in FILE:1)"),
        (&["run", "--corpus-size", "9"], "corpus = \"x\"\n", "(corpus is set in FILE:1)"),
        (
            &["run"],
            "parallelism = [1, 2]\n",
            "--parallelism takes one value here; `bench sweep` takes several (parallelism is set in FILE:1)",
        ),
    ] {
        let message = complaint(words, text);
        assert!(message.contains(said), "{text:?}\n said: {message}\nnot: {said}");
    }
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let words = ["bench", "run", "--config", "/no/such/file.toml"].map(OsString::from);
    let Err(Unreadable::File(stopped)) = read(&command(), &words) else { panic!("it was read") };
    assert!(stopped.message.starts_with("cannot read /no/such/file.toml: "), "{}", stopped.message);
}

#[test]
fn what_is_wrong_with_the_words_is_said_as_without_a_file() {
    let file = written("seed = 1\n");
    for words in [&["run", "--sed", "1"][..], &["run", "--seed", "x"], &["soak"]] {
        let Err(Unreadable::Words(_) | Unreadable::File(_)) = read_with(words, &file) else {
            panic!("{words:?}")
        };
    }
    assert!(
        matches!(read_with(&["run", "--help"], &file), Err(Unreadable::Words(help)) if !help.use_stderr())
    );
}
