//! `cargo xtask bench-operators`.

use std::process::Command;

use serde_json::{Map, Value, json};

use super::table::{Table, figure};
use super::{cache_dir, executable, json as json_of, machine, python, verdict, write};
use crate::Done;
use crate::cargo::target;

/// Flags.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A fraction of a second in all, for a first look: figures are rough.
    #[arg(long)]
    quick: bool,
    /// Leave numpy out.
    #[arg(long)]
    without_numpy: bool,
}

/// A row of the table: its name in both programs, what it is, and what the Python original needed for
/// the same (its specification, section 8), in microseconds.
struct Line {
    name: &'static str,
    what: &'static str,
    original_us: Option<f64>,
}

const fn line(name: &'static str, what: &'static str, original_us: Option<f64>) -> Line {
    Line { name, what, original_us }
}

const LINES: [Line; 21] = [
    line("product_window", "product 1500 x 1024, window still", Some(212.0)),
    line("join_moving", "join, window moving (1 document + 1 query) *", Some(34_085.0)),
    line("product_index", "product 10000 x 1024", None),
    line("search_1", "exact search 10000 x 1024, top 25", Some(1_433.0)),
    line("search_16", "  per query, 16 at once", None),
    line("graph_bfs", "graph BFS, 200 nodes", Some(6_857.0)),
    line("graph_bfs_arrays", "  numpy in arrays throughout, as the original", Some(6_857.0)),
    line("dedup_60", "dedup of 60, 1024-d", Some(3_276.0)),
    line("dedup_200", "dedup of 200, 1024-d (original: 250, 128-d)", Some(8_641.0)),
    line("rerank_50", "rerank 50 -> 15", Some(551.0)),
    line("mmr_15", "MMR 15 -> 10", Some(1_095.0)),
    line("bm25_20", "BM25 rerank, 20 documents", Some(410.0)),
    line("merge", "merge of two halves *", None),
    line("batches", "category + global batch, per query *", None),
    line("generate", "generate an answer", None),
    line("embed_query", "embed a query", None),
    line("embed_doc", "embed a document", None),
    line("generate_query", "make a query's text", Some(15.0)),
    line("generate_doc", "make a document's text", Some(36.0)),
    line("sink", "sink, one record", Some(33.0)),
    line("query", "all operators of a query, as in a run *", None),
];

/// An aim of the project: a quotient of two measured figures.
struct Aim {
    row: &'static str,
    /// (program, row) above and below the line.
    above: (&'static str, &'static str),
    below: (&'static str, &'static str),
    least: f64,
}

const fn aim(
    row: &'static str,
    above: (&'static str, &'static str),
    below: (&'static str, &'static str),
    least: f64,
) -> Aim {
    Aim { row, above, below, least }
}

const AIMS: [Aim; 7] = [
    aim("join_moving", ("numpy", "product_window"), ("ours", "join_moving"), 1.0),
    aim("search_1", ("numpy", "product_index"), ("ours", "search_1"), 3.0),
    aim("search_16", ("ours", "search_1"), ("ours", "search_16"), 1.0),
    aim("dedup_60", ("numpy", "dedup_60"), ("ours", "dedup_60"), 10.0),
    aim("mmr_15", ("numpy", "mmr_15"), ("ours", "mmr_15"), 20.0),
    aim("graph_bfs", ("numpy", "graph_bfs"), ("ours", "graph_bfs"), 50.0),
    aim("query", ("second", "query"), ("ours", "query"), 250.0),
];

/// Times both programs and compares.
///
/// # Errors
/// When something does not build, or the two programs did not do the same work.
pub fn run(args: &Args) -> Done {
    let binary = executable("bench-workloads", "operators")?;
    let data = target().join("bench-operators");
    let quick: &[&str] = if args.quick { &["--quick"] } else { &[] };
    let mut ours = Command::new(binary);
    ours.arg("--data").arg(&data).arg("--cache-dir").arg(cache_dir()).args(quick);
    let mut ours = json_of(&mut ours)?;
    add_sink(&mut ours)?;
    let numpy = if args.without_numpy { Err("left out".to_owned()) } else { python::NUMPY.python() };
    let numpy = match numpy {
        Ok(python) => json_of(python::script(&python, "operators_numpy.py").arg(&data).args(quick))?,
        Err(why) => {
            println!("numpy was not measured: {why}\n");
            json!({"rows": {}, "mismatches": [], "missing": why})
        }
    };
    let figures = Figures { ours: &ours, numpy: &numpy };
    let mut report = Vec::new();
    let mut table = Table::new(&[
        "operator, us per operation",
        "ours",
        "numpy",
        "ratio",
        "original",
        "limit",
        "reached",
        "aim",
    ]);
    for line in &LINES {
        let row = figures.row(line);
        table.row(row.cells());
        report.push(row.json());
    }
    table.print();
    explain(&ours, &numpy);
    in_a_run(&ours);
    let path = target().join("bench-operators.json");
    let document = json!({"machine": machine(), "rows": report, "ours": ours, "numpy": numpy});
    write(&path, &document)?;
    println!("\n{}", path.display());
    match numpy["mismatches"].as_array().filter(|all| !all.is_empty()) {
        None => Ok(()),
        Some(all) => Err(format!("numpy and ours did not do the same work: {}", Value::from(all.clone()))),
    }
}

/// The sink belongs to the host, and so does the program that times it.
fn add_sink(ours: &mut Value) -> Done {
    let binary = executable("bench-measure", "direct")?;
    let mut command = Command::new(binary);
    command.args(["sink", "--workload", "null", "--num-tasks", "12000"]);
    let mut sink = json_of(&mut command)?;
    sink["name"] = "sink".into();
    // Operators of a query, summed over the replay of a run.
    let operators = ours["operators"].as_object().cloned().unwrap_or_default();
    let query: f64 = operators.values().filter_map(|one| one["median_us"].as_f64()).sum();
    if let Some(rows) = ours["rows"].as_array_mut() {
        rows.extend([sink, json!({"name": "query", "median_us": query})]);
    }
    Ok(())
}

struct Figures<'a> {
    ours: &'a Value,
    numpy: &'a Value,
}

struct Row<'a> {
    line: &'a Line,
    ours: Option<f64>,
    numpy: Option<f64>,
    limit: Option<(f64, String)>,
    aim: Option<(f64, f64)>,
}

impl Figures<'_> {
    fn our_row(&self, name: &str) -> Option<&Value> {
        self.ours["rows"].as_array()?.iter().find(|row| row["name"] == name)
    }

    fn microseconds(&self, (program, row): (&str, &str)) -> Option<f64> {
        match program {
            "ours" => self.our_row(row)?["median_us"].as_f64(),
            "second" => Some(1e6),
            _ => self.numpy["rows"][row]["median_us"].as_f64(),
        }
    }

    fn row<'a>(&self, line: &'a Line) -> Row<'a> {
        let limit = self.our_row(line.name).and_then(|row| {
            let limit = &row["limit"];
            Some((limit["least_us"].as_f64()?, limit["by"].as_str()?.to_owned()))
        });
        let aim = AIMS.iter().find(|aim| aim.row == line.name);
        Row {
            line,
            // Two ways of writing it in Python, one of ours.
            ours: self.microseconds(("ours", line.name.trim_end_matches("_arrays"))),
            numpy: self.microseconds(("numpy", line.name)),
            limit,
            aim: aim.and_then(|aim| {
                Some((self.microseconds(aim.above)? / self.microseconds(aim.below)?, aim.least))
            }),
        }
    }
}

impl Row<'_> {
    fn ratio(&self) -> Option<f64> {
        Some(self.numpy? / self.ours?)
    }

    /// Share of the machine's limit that is reached.
    fn reached(&self) -> Option<f64> {
        Some(self.limit.as_ref()?.0 / self.ours?)
    }

    fn cells(&self) -> [String; 8] {
        let times = |ratio: Option<f64>| ratio.map_or("-".to_owned(), |r| format!("{}x", figure(Some(r))));
        [
            self.line.what.to_owned(),
            figure(self.ours),
            figure(self.numpy),
            times(self.ratio()),
            figure(self.line.original_us),
            self.limit.as_ref().map_or("-".to_owned(), |(us, by)| format!("{} {by}", figure(Some(*us)))),
            self.reached().map_or("-".to_owned(), |share| format!("{:.0} %", share * 100.0)),
            self.aim.map_or(String::new(), |(value, least)| {
                format!("{} of {}: {}", figure(Some(value)), figure(Some(least)), verdict(value >= least))
            }),
        ]
    }

    fn json(&self) -> Value {
        json!({
            "row": self.line.name,
            "what": self.line.what,
            "ours_us": self.ours,
            "numpy_us": self.numpy,
            "ratio": self.ratio(),
            "original_us": self.line.original_us,
            "limit_us": self.limit.as_ref().map(|limit| limit.0),
            "limited_by": self.limit.as_ref().map(|limit| &limit.1),
            "limit_reached": self.reached(),
            "aim": self.aim.map(|(value, least)| json!({"value": value, "least": least, "met": value >= least})),
        })
    }
}

fn explain(ours: &Value, numpy: &Value) {
    let limits = &ours["limits"];
    let rates: Vec<String> = (limits["read"].as_array().into_iter().flatten())
        .map(|one| {
            let kib = one["bytes"].as_u64().unwrap_or(0) >> 10;
            format!("{kib} KiB {} GB/s", figure(one["gigabytes_per_second"].as_f64()))
        })
        .collect();
    println!(
        "\nOne thread. ours: {} products; numpy {}, {}, one thread.",
        ours["simd"].as_str().unwrap_or("?"),
        numpy["numpy"].as_str().unwrap_or("-"),
        numpy["blas"].as_str().unwrap_or("-")
    );
    println!(
        "limit: the least time for the bytes read or the 8-bit products made, from what this core does:"
    );
    println!(
        "  reads of {}; {} G multiply-adds/s.",
        rates.join(", "),
        figure(limits["giga_macs_per_second"].as_f64())
    );
    println!("*: ours as an engine calls it, with decoding, encoding, digests and spans.");
    println!("Aims: join against numpy's product of a still window, search against numpy's product alone,");
    println!("  16 at once against one, queries per second of one core, the others against numpy's version.");
}

/// What the operators cost per query in a run.
fn in_a_run(ours: &Value) {
    let empty = Map::new();
    let operators = ours["operators"].as_object().unwrap_or(&empty);
    let all: f64 = operators.values().filter_map(|one| one["median_us"].as_f64()).sum();
    println!("\nAs an engine calls them, in batches of 16 queries:");
    let mut table = Table::new(&["operator, us per query", "median", "share", "bytes in"]);
    for (name, one) in operators {
        let us = one["median_us"].as_f64();
        let share = us.map_or("-".to_owned(), |us| format!("{:.0} %", us / all * 100.0));
        table.row([name.clone(), figure(us), share, one["input_bytes"].to_string()]);
    }
    table.row(["all".to_owned(), figure(Some(all)), String::new(), String::new()]);
    table.print();
}
