//! `cargo xtask bench-compare`: `bench compare` beside pandas, on the same million records.

use std::fs::{self, File};
use std::io::{self, BufWriter, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::table::{Spread, Table, figure};
use super::{machine, python, verdict, write};
use crate::Done;
use crate::cargo::target;
use crate::stage::{Profile, stage};

/// Aims of the project.
const MOST_MIB: f64 = 200.0;
const LEAST_RATIO: f64 = 10.0;

/// Flags.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// How many records to compare, half of each backend.
    #[arg(long, default_value_t = 1_000_000)]
    records: u32,
    /// How often to run each program; they take turns.
    #[arg(long, default_value_t = 3)]
    repeats: usize,
}

/// Makes the records, has both programs compare them, and prints how they did.
///
/// # Errors
/// When something does not build, install or run, or the two programs did not read the same.
pub fn run(args: &Args) -> Done {
    let bench = stage(Profile::Release)?.join("bin/bench");
    let python = python::PANDAS.python()?;
    let folder = target().join("bench-compare");
    let input = folder.join("records");
    let bytes = generate(&input, args.records).map_err(|cause| format!("{}: {cause}", input.display()))?;
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..args.repeats.max(1) {
        let mut command = Command::new(&bench);
        command.args(["compare", "--json"]).arg(&input).arg("--output-dir").arg(folder.join("bench"));
        ours.push(measured(&mut command)?);
        let mut command = python::script(&python, "compare_pandas.py");
        theirs.push(measured(command.arg(folder.join("pandas")).arg(&input))?);
    }
    same_work(&ours[0].answer, &theirs[0].answer)?;
    let report = Report { bytes, ours, theirs };
    report.print(args.records);
    let path = target().join("bench-compare.json");
    write(&path, &report.json(args.records))?;
    println!("\n{}", path.display());
    Ok(())
}

/// What a program printed, how long it took and the most memory it had.
struct Measured {
    answer: Value,
    seconds: f64,
    peak_mib: f64,
}

/// Runs a program that prints JSON.
fn measured(command: &mut Command) -> Result<Measured, String> {
    let shown = format!("{command:?}").replace('"', "");
    let failed = |cause: io::Error| format!("{shown}: {cause}");
    eprintln!("{shown}");
    let started = Instant::now();
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn().map_err(failed)?;
    let mut printed = child.stdout.take();
    let reader = std::thread::spawn(move || {
        let mut text = String::new();
        printed.as_mut().map_or(Ok(0), |printed| printed.read_to_string(&mut text)).map(|_| text)
    });
    let mut peak_kib = 0;
    let status = loop {
        // The kernel keeps the high-water mark; it is gone with the process, so it is read until then.
        peak_kib = high_water(child.id()).unwrap_or(0).max(peak_kib);
        match child.try_wait().map_err(failed)? {
            Some(status) => break status,
            None => std::thread::sleep(Duration::from_millis(2)),
        }
    };
    let seconds = started.elapsed().as_secs_f64();
    let text = reader.join().map_err(|_| format!("{shown}: its output was not read"))?.map_err(failed)?;
    if !status.success() {
        return Err(format!("{shown}: {status}"));
    }
    let answer = serde_json::from_str(&text).map_err(|cause| format!("{shown}: {cause}"))?;
    Ok(Measured { answer, seconds, peak_mib: f64::from(peak_kib) / 1024.0 })
}

fn high_water(pid: u32) -> Option<u32> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().trim_end_matches("kB").trim().parse().ok()
}

fn same_work(ours: &Value, theirs: &Value) -> Done {
    if ours["records"] == theirs["records"] {
        return Ok(());
    }
    Err(format!("bench compared {} records and pandas {}", ours["records"], theirs["records"]))
}

struct Report {
    bytes: u64,
    ours: Vec<Measured>,
    theirs: Vec<Measured>,
}

impl Report {
    fn ours(&self) -> Spread {
        Spread::of(self.ours.iter().map(|run| run.seconds))
    }

    /// What pandas took for these of its parts.
    fn theirs(&self, parts: &[&str]) -> Spread {
        let of = |run: &Measured| parts.iter().filter_map(|part| run.answer[*part].as_f64()).sum();
        Spread::of(self.theirs.iter().map(of))
    }

    fn whole(&self) -> Spread {
        self.theirs(&["read_seconds", "compute_seconds", "write_seconds"])
    }

    fn without_writing(&self) -> Spread {
        self.theirs(&["read_seconds", "compute_seconds"])
    }

    fn peak(runs: &[Measured]) -> f64 {
        runs.iter().map(|run| run.peak_mib).fold(0.0, f64::max)
    }

    fn print(&self, records: u32) {
        println!(
            "{records} records, {} MB in two files; each program {} times:\n",
            self.bytes / 1_000_000,
            self.ours.len()
        );
        let mut table = Table::new(&["", "s", "least .. most", "ratio", "peak MiB"]);
        let ours = self.ours();
        let mut row = |label: &str, seconds: Spread, peak: f64| {
            let [middle, range] = seconds.show();
            let ratio = format!("{}x", figure(Some(seconds.median / ours.median)));
            table.row([label.to_owned(), middle, range, ratio, figure(Some(peak))]);
        };
        row("bench compare, whole process: reads, judges, writes everything", ours, Self::peak(&self.ours));
        row(
            "pandas as the Python version works: reads, computes, writes",
            self.whole(),
            Self::peak(&self.theirs),
        );
        row("pandas without writing", self.without_writing(), Self::peak(&self.theirs));
        table.print();
        let ratio = self.whole().median / ours.median;
        let peak = Self::peak(&self.ours);
        println!(
            "\ntime ratio {}x, aim {LEAST_RATIO}: {}",
            figure(Some(ratio)),
            verdict(ratio >= LEAST_RATIO)
        );
        println!("peak memory {} MiB, aim {MOST_MIB}: {}", figure(Some(peak)), verdict(peak <= MOST_MIB));
    }

    fn json(&self, records: u32) -> Value {
        let ours = self.ours();
        json!({
            "machine": machine(),
            "records": records,
            "bytes": self.bytes,
            "pandas": self.theirs[0].answer["pandas"],
            "bench_seconds": ours.json(),
            "bench_peak_mib": Self::peak(&self.ours),
            "pandas_seconds": self.whole().json(),
            "pandas_without_writing_seconds": self.without_writing().json(),
            "pandas_peak_mib": Self::peak(&self.theirs),
            "ratio": self.whole().median / ours.median,
            "ratio_without_writing": self.without_writing().median / ours.median,
        })
    }
}

/// Writes results of two backends in the guide's fields; returns their size in bytes.
///
/// Eight runs to an id, four of each backend, as `bench pair --repeat 4` leaves them.
fn generate(folder: &Path, records: u32) -> io::Result<u64> {
    const PER_ID: u32 = 4;
    let mut bytes = 0;
    for (backend, speed) in [("sage", 120.0), ("ray", 100.0)] {
        let path: PathBuf = folder.join(backend).join("unified_results.jsonl");
        fs::create_dir_all(folder.join(backend))?;
        let mut file = BufWriter::new(File::create(&path)?);
        let mut noise = Noise(0x9e37_79b9_7f4a_7c15 ^ u64::from(backend.len() as u32));
        for n in 0..records / 2 {
            let throughput = speed * (0.9 + 0.2 * noise.unit());
            let p50 = 1000.0 / throughput * (0.8 + 0.1 * noise.unit());
            let id = n / PER_ID;
            let (minute, second) = (n / 60, n % 60);
            let record = json!({
                "backend": backend,
                "workload": "wl4",
                "run_id": format!("{:08x}-0000-4000-8000-{id:012x}", id.wrapping_mul(2_654_435_761)),
                "seed": 42,
                "nodes": 1,
                "parallelism": 4,
                "throughput": throughput,
                "latency_p50": p50,
                "latency_p95": p50 * (1.5 + noise.unit()),
                "latency_p99": p50 * (3.0 + noise.unit()),
                "success_rate": 1.0,
                "duration_seconds": 500.0 / throughput,
                "timestamp": format!(
                    "2026-{:02}-{:02}T{:02}:{:02}:{second:02}.{:06}+00:00",
                    1 + minute / 40_320 % 12, 1 + minute / 1440 % 28, minute / 60 % 24, minute % 60, n % 1_000_000
                ),
                "config_hash": "a3f1b2c4d5e6f7089a0b1c2d3e4f5061728394a5b6c7d8e9f00112233445566f",
                "extra": {
                    "pair_index": n % PER_ID,
                    "scheduler": "fifo",
                    "output_digest": "5f2b9a1c7d3e4f60",
                    "items": {"emitted": 500, "completed": 500, "failed": 0, "timed": 500},
                    "validity": {"verdict": "VALID", "findings": []},
                },
            });
            writeln!(file, "{record}")?;
        }
        file.flush()?;
        bytes += fs::metadata(&path)?.len();
    }
    Ok(bytes)
}

/// The same numbers on every machine: xorshift64*.
struct Noise(u64);

impl Noise {
    /// At least 0, below 1.
    fn unit(&mut self) -> f64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 11) as f64 / (1_u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_records_are_made_every_time_half_of_each_backend() {
        let folder = std::env::temp_dir().join(format!("bench-xtask-{}", std::process::id()));
        let read =
            |backend: &str| fs::read_to_string(folder.join(backend).join("unified_results.jsonl")).unwrap();
        generate(&folder, 20).unwrap();
        let first = (read("sage"), read("ray"));
        generate(&folder, 20).unwrap();
        assert_eq!(first, (read("sage"), read("ray")));
        let records: Vec<Value> = first.1.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(records.len(), 10);
        assert!(records.iter().all(|record| record["backend"] == "ray"));
        assert_ne!(records[0]["throughput"], records[1]["throughput"]);
        fs::remove_dir_all(&folder).unwrap();
    }
}
