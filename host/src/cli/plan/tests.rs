use bench_workloads::wl4::params::Params;
use clap::{Args as _, Command, FromArgMatches as _};

use super::*;

fn args(words: &[&str]) -> Result<RunArgs, clap::Error> {
    let command = RunArgs::augment_args(Command::new("bench"));
    let matches = command.try_get_matches_from([&["bench"], words].concat())?;
    RunArgs::from_arg_matches(&matches)
}

fn plan(words: &[&str]) -> Plan {
    args(words).unwrap().plan().unwrap()
}

#[test]
fn every_flag_of_a_kind_takes_every_form_of_it() {
    let words = [
        ["-n", "2k"],
        ["--warmup-items", "1e3"],
        ["--corpus-size", "1_000"],
        ["--parity-batch-size", "3.2e1"],
        ["--max-in-flight", "1k"],
        ["--retries", "0e0"],
        ["--repeat", "1e1"],
        ["--rate", "1.5k"],
        ["--load", "open"],
        ["--timeout", "1m30s"],
        ["--llm-latency-ms", "0.25s"],
        ["--memory-limit", "2G"],
    ];
    let args = args(&words.concat()).unwrap();
    assert_eq!(args.memory_bytes(), 2 << 30);
    let plan = args.plan().unwrap();
    let params: Params = plan.params.read().unwrap();
    assert_eq!((plan.num_tasks, plan.warmup_items, params.vdb1_corpus_size), (2_000, 1_000, 1_000));
    assert_eq!((plan.parity_batch_size, plan.max_in_flight, plan.repeat), (32, 1_000, 10));
    assert_eq!(plan.load, Load::Open { rate: 1_500.0, arrivals: Arrivals::Fixed });
    assert_eq!((plan.timeout, params.llm_latency_ms), (Some(Duration::from_secs(90)), 250));
}

#[test]
fn what_is_refused_is_refused_once_with_the_flag_and_the_reason() {
    for (flag, value, why) in [
        ("--num-tasks", "1.5", "'1.5' is not a whole number"),
        ("--warmup-items", "-3", "'-3' is below zero"),
        ("--corpus-size", "1e30", "'1e30' is too large, 4294967295 is the most"),
        ("--timeout", "-5s", "'-5s' is below zero"),
        ("--timeout", "soon", "'soon' is not a duration"),
        ("--rate", "fast", "'fast' is not a number"),
        ("--memory-limit", "1", "'1' is too little, 64 MiB is the least"),
    ] {
        let error = args(&[flag, value]).unwrap_err().to_string();
        assert!(error.starts_with(&format!("error: invalid value '{value}' for '{flag} <")), "{error}");
        assert!(error.contains(why), "{error}");
    }
}

#[test]
fn parameters_take_what_flags_of_their_kind_take() {
    let set = |set: &'static str| ["--set", set];
    let sets = [
        set("vdb1_corpus_size=1e3"),
        set("query_qps=1k"),
        set("join_window_seconds=1m"),
        set("category_batch_timeout_ms=0.7s"),
        set("request_timeout_ms=5_000"),
        set("llm_model=7"),
    ];
    let params: Params = plan(&sets.concat()).params.read().unwrap();
    assert_eq!(
        (params.vdb1_corpus_size, params.query_qps, params.join_window_seconds),
        (1_000, 1_000.0, 60.0)
    );
    assert_eq!((params.category_batch_timeout_ms, params.request_timeout_ms), (700, 5_000));
    let wrong = args(&["--set", "vdb1_corpus_size=many"]).unwrap().plan().unwrap_err().message;
    assert!(wrong.starts_with("--set vdb1_corpus_size=many: 'many' is not a number"), "{wrong}");
}

#[test]
fn gaps_between_arrivals_that_change_nothing_are_told() {
    for (words, told) in [
        (&["--arrivals", "poisson"][..], true),
        (&["--arrivals", "fixed", "--load", "closed"], true),
        (&["--arrivals", "poisson", "--rate", "5"], false),
        (&["--arrivals", "fixed", "--load", "nominal"], false),
        (&[], false),
    ] {
        let args = args(words).unwrap();
        let is_open = args.plan().unwrap().load != Load::Closed;
        assert_eq!(args.idle_arrivals(is_open).is_some(), told, "{words:?}");
    }
}

#[test]
fn a_name_that_is_none_is_refused_with_those_that_are() {
    for name in ["loadaware", "FIFO", "load-aware", ""] {
        let error = args(&["--scheduler", name]).unwrap_err().to_string();
        assert!(error.contains("fifo, load_aware, default"), "{name}: {error}");
    }
    for (name, said) in [
        (
            "Light",
            "there is no preset 'Light', there are default, light, extreme, cpu_optimized: did you mean 'light'?",
        ),
        ("x", "there is no preset 'x', there are default, "),
    ] {
        let wrong = args(&["--preset", name]).unwrap().plan().unwrap_err().message;
        assert!(wrong.starts_with(said), "{wrong}");
    }
    for (set, said) in [
        ("MMR_LAMBDA=0.5", "unknown parameter 'MMR_LAMBDA': did you mean 'mmr_lambda'?"),
        ("mmr_final_k=1.5", "'1.5' is not a whole number"),
        ("stage_top_k=[5, 4.5, 3, 2]", "invalid type: floating point `4.5`, expected a whole number"),
        ("rerank_score_weights=0.5", "expected an object with its members, as in {\"name\": 0.5}"),
    ] {
        let wrong = args(&["--set", set]).unwrap().plan().unwrap_err().message;
        assert!(wrong.ends_with(said), "{wrong}");
    }
}

#[test]
fn an_empty_name_of_a_cache_folder_is_none() {
    assert_eq!(plan(&["--cache-dir", ""]).cache_dir, default_cache_dir());
    assert_ne!(plan(&["--cache-dir", "x"]).cache_dir, default_cache_dir());
}
