//! What people see: progress on standard error, results on standard output, colour only on a
//! terminal and never with `NO_COLOR`.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use anstyle::{AnsiColor, Style};
use bench_workloads::judge::Scores;
use comfy_table::{CellAlignment, ColumnConstraint, ContentArrangement, Table, Width, presets};
use indicatif::{ProgressBar, ProgressStyle};

pub use super::output::error;
use super::output::{say, tell};
use super::top::Top;
use bench_isolate::text::one_line;
use bench_measure::guest::{Edge, RunEvent};
use bench_measure::supervise::{Finished, Watcher};
use bench_record::evidence::Load;
use bench_report::text::{self, CLOSED_LOAD, NONE};
use bench_report::{Grid, terminal};

const YELLOW: Style = AnsiColor::Yellow.on_default();
const GREEN: Style = AnsiColor::Green.on_default();
const DIM: Style = Style::new().dimmed();

/// A terminal that says it is narrower does not know how wide it is.
const NARROWEST: u16 = 20;

/// How often a line is printed where there is no terminal to draw a bar on.
const LINE_PERIOD: Duration = Duration::from_secs(5);
/// The same with `--verbose`, where the first finished items have a line as well.
const VERBOSE_PERIOD: Duration = Duration::from_secs(1);

/// Prints a warning.
pub fn warning(text: &str) {
    tell!("{YELLOW}warning{YELLOW:#}: {text}");
}

/// Prints a line on standard error.
pub fn note(text: &str) {
    tell!("{DIM}{text}{DIM:#}");
}

/// Prints the path of a file that was written.
pub fn path(path: &std::path::Path) {
    say!("{DIM}{}{DIM:#}", path.display());
}

/// A spinner for work without a known length; a plain line where there is no terminal.
pub struct Spinner(Option<ProgressBar>);

impl Spinner {
    /// Starts spinning.
    #[must_use]
    pub fn start(text: &str) -> Self {
        if !std::io::stderr().is_terminal() {
            note(text);
            return Self(None);
        }
        let bar = ProgressBar::new_spinner().with_message(text.to_owned());
        bar.enable_steady_tick(Duration::from_millis(100));
        Self(Some(bar))
    }

    /// Changes the text.
    pub fn say(&self, text: &str) {
        match &self.0 {
            Some(bar) => bar.set_message(text.to_owned()),
            None => note(text),
        }
    }
}

impl Drop for Spinner {
    fn drop(&mut self) {
        if let Some(bar) = &self.0 {
            bar.finish_and_clear();
        }
    }
}

/// The progress of one run.
pub struct RunProgress {
    bar: Option<ProgressBar>,
    verbose: bool,
    label: String,
    total: u64,
    started: Instant,
    /// Items that were finished when last looked at.
    finished: u64,
    /// When the first timed item was handed out, and what was finished by then: start-up and warm-up are in no rate.
    timed: Option<(Instant, u64)>,
    /// None before the first one.
    last_line: Option<Instant>,
    /// Warnings of the plugin that were shown.
    warnings: u32,
    top: Option<Top>,
}

/// More warnings of a run are in its log only.
const MOST_WARNINGS: u32 = 100;

impl RunProgress {
    /// Progress of `total` items, called `label`.
    #[must_use]
    pub fn new(label: &str, total: u64, verbose: bool) -> Self {
        let template = "{prefix:.bold} [{bar:30}] {pos}/{len} {msg} {per_sec} eta {eta}";
        let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
        let bar = std::io::stderr().is_terminal().then(|| {
            ProgressBar::new(total).with_style(style.progress_chars("=> ")).with_prefix(label.to_owned())
        });
        let (started, last_line) = (Instant::now(), None);
        Self {
            bar,
            verbose,
            label: label.to_owned(),
            total,
            started,
            finished: 0,
            timed: None,
            last_line,
            warnings: 0,
            top: None,
        }
    }

    /// Shows each stage as well.
    #[must_use]
    pub fn with_top(mut self, wanted: bool) -> Self {
        self.top = wanted.then(Top::default);
        if let Some(bar) = self.bar.as_ref().filter(|_| wanted) {
            let template = "{prefix:.bold} [{bar:30}] {pos}/{len} {per_sec} eta {eta}\n{msg}";
            bar.set_style(
                ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()),
            );
        }
        self
    }

    /// Whether it is time for another line.
    fn is_due(&self, finished: u64) -> bool {
        match self.last_line {
            None if self.verbose => finished > 0,
            last => {
                let period = if self.verbose { VERBOSE_PERIOD } else { LINE_PERIOD };
                last.unwrap_or(self.started).elapsed() >= period
            }
        }
    }

    /// Items per second since the first timed one was handed out.
    fn rate(&self, finished: u64) -> Option<f64> {
        let (since, before) = self.timed?;
        let seconds = since.elapsed().as_secs_f64();
        (seconds > 0.0).then(|| finished.saturating_sub(before) as f64 / seconds)
    }

    /// A plugin's words are in it.
    fn line(&self, text: &str) {
        let text = one_line(text);
        match &self.bar {
            Some(bar) => bar.suspend(|| note(&text)),
            None => note(&text),
        }
    }
}

impl Watcher for RunProgress {
    fn event(&mut self, event: &RunEvent) {
        match event {
            RunEvent::Progress { finished, failed, in_flight, .. } => {
                let failed = if *failed > 0 { format!(", {failed} failed") } else { String::new() };
                self.finished = *finished;
                if let Some(bar) = &self.bar {
                    bar.set_position(*finished);
                    if self.top.is_none() {
                        bar.set_message(format!("({in_flight} in flight{failed})"));
                    }
                } else if self.is_due(*finished) {
                    self.last_line = Some(Instant::now());
                    let rate = self.rate(*finished).map_or(String::new(), |rate| format!(", {rate:.1}/s"));
                    note(&format!("{}: {finished}/{} items{failed}{rate}", self.label, self.total));
                }
            }
            RunEvent::Stages(stages) => {
                let Some(lines) = self.top.as_mut().map(|top| top.look(Instant::now(), stages)) else {
                    return;
                };
                match &self.bar {
                    Some(bar) => bar.set_message(lines.join("\n")),
                    None => lines.iter().for_each(|line| note(line)),
                }
            }
            RunEvent::Phase { name, detail, .. } => self.phase(format!("{name} {detail}").trim_end()),
            RunEvent::Timed(Edge::Began) => {
                self.timed = Some((Instant::now(), self.finished));
                if let Some(bar) = &self.bar {
                    bar.reset_elapsed();
                    bar.reset_eta();
                }
            }
            RunEvent::Kill(kill) => self.line(&format!("{}: {}", self.label, kill.words())),
            RunEvent::Timed(Edge::Ended) | RunEvent::LogFiles(_) | RunEvent::Workers(_) => {}
            RunEvent::Log { level, target, message } => {
                if self.verbose || *level <= 2 {
                    self.warnings += 1;
                    match self.warnings {
                        number if self.verbose || number <= MOST_WARNINGS => {
                            self.line(&format!("{target}: {message}"));
                        }
                        number if number == MOST_WARNINGS + 1 => self.line(&format!(
                            "{}: more than {MOST_WARNINGS} warnings; the others are in run.log",
                            self.label
                        )),
                        _ => {}
                    }
                }
            }
        }
    }

    fn phase(&mut self, phase: &str) {
        if self.verbose {
            self.line(&format!("{} phase: {}", self.label, phase.trim()));
        } else if let Some(bar) = &self.bar {
            bar.set_message(format!("({})", phase.trim()));
        }
    }
}

impl Drop for RunProgress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// Columns that a table may take: the terminal's; without one what COLUMNS says, or 100.
#[must_use]
pub fn width() -> u16 {
    let terminal = rustix::termios::tcgetwinsize(std::io::stdout()).map(|size| size.ws_col);
    let columns = std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok());
    let fine = |width: &u16| *width >= NARROWEST;
    terminal.ok().filter(fine).or(columns.filter(fine)).unwrap_or(terminal::DEFAULT_WIDTH)
}

/// A borderless table with a bold head.
#[must_use]
pub fn table(head: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::UTF8_HORIZONTAL_ONLY).set_content_arrangement(ContentArrangement::Dynamic);
    table.set_width(width()).set_header(head.iter().copied());
    // A head may wrap between its words, and not within one where there is room.
    let words = head.iter().map(|head| head.split(' ').map(str::len).max().unwrap_or_default() as u16 + 2);
    let words: Vec<u16> = words.collect();
    if words.iter().sum::<u16>() <= width() {
        let least = words.into_iter().map(|word| ColumnConstraint::LowerBoundary(Width::Fixed(word)));
        table.set_constraints(least);
    }
    table
}

/// A table of text, numbers to the right.
pub fn grid(grid: &Grid) {
    let name = |column: &&'static str| column.trim_end_matches('#');
    let mut table = table(&grid.columns.iter().map(name).collect::<Vec<_>>());
    for (column, head) in table.column_iter_mut().zip(grid.columns) {
        if head.ends_with('#') {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table.add_rows(&grid.rows);
    say!("{table}");
}

/// The results of a command's runs.
pub fn results(finished: &[Finished], output_dir: &std::path::Path) {
    let mut table = table(&[
        "backend",
        "items",
        "items/s",
        "p50 ms",
        "p95 ms",
        "p99 ms",
        "success",
        "peak MiB",
        "CPU ms/item",
    ]);
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    for run in finished {
        let (record, evidence) = (&run.record, run.record.evidence());
        let ms = |latency: Option<bench_record::units::Millis>| {
            latency.map_or("n/a".to_owned(), |ms| format!("{:.2}", ms.get()))
        };
        let number = |number: Option<f64>, digits: usize| {
            number.map_or("n/a".to_owned(), |number| format!("{number:.digits$}"))
        };
        table.add_row([
            record.backend.clone(),
            run.measured.timed.to_string(),
            format!("{:.1}", record.throughput.get()),
            ms(record.latency_p50),
            ms(record.latency_p95),
            ms(record.latency_p99),
            format!("{:.4}", record.success_rate.get()),
            number(evidence.memory_peak_bytes.map(|bytes| bytes as f64 / f64::from(1 << 20)), 0),
            number(
                evidence.cpu_seconds.map(|seconds| seconds * (1e3 / run.measured.emitted.max(1) as f64)),
                2,
            ),
        ]);
    }
    say!("{table}");
    if finished.iter().any(|run| run.record.evidence().load == Some(Load::Closed)) {
        say!("{DIM}{CLOSED_LOAD}{DIM:#}");
    }
    for run in finished {
        if let Some(scores) = &run.measured.scores {
            say!("{}", quality(scores));
        }
        if let Some(generation) = &run.record.evidence().generation {
            say!("{}", text::generation(generation));
            generation.remarks.iter().for_each(|remark| say!("{DIM}{remark}{DIM:#}"));
        }
        let repeat = run.record.evidence().repeat_index.unwrap_or_default();
        let name = format!("{} #{repeat}", run.record.backend);
        if run.findings.is_empty() {
            say!("{GREEN}VALID{GREEN:#}    {name}");
        }
        for finding in &run.findings {
            say!("{YELLOW}INVALID{YELLOW:#}  {name}: {} ({})", finding.message(), finding.mend());
        }
        for reason in &run.measured.reasons {
            say!("{YELLOW}failed{YELLOW:#}   {name}: {reason}");
        }
    }
    if let Some(run) = finished.last() {
        let digest = run.measured.output_digest.as_deref().map_or(NONE, short);
        say!(
            "{DIM}output_digest {}  config_hash {}{DIM:#}",
            digest,
            run.record.config_hash.as_deref().map_or("", short)
        );
    }
    for file in ["unified_results.jsonl", "unified_results.csv", "repro_manifest.json"] {
        say!("{DIM}{}{DIM:#}", output_dir.join(file).display());
    }
}

/// How good the rankings are, in a line.
fn quality(scores: &Scores) -> String {
    let figure = |figure: Option<f64>| figure.map_or(NONE.to_owned(), |figure| format!("{figure:.4}"));
    let retrieval = &scores.retrieval;
    let judged = match (&scores.reason, scores.failed_queries) {
        (Some(reason), _) => reason.clone(),
        (None, failed) => {
            let failed =
                if failed > 0 { format!(", {failed} of them failed and count 0") } else { String::new() };
            format!(
                "{} judged queries{failed}; recall@{} {}, MRR@10 {} of the retrieval stage",
                retrieval.judged_queries,
                retrieval.k,
                figure(retrieval.recall_at_k),
                figure(retrieval.mrr_at_10),
            )
        }
    };
    let stemmed = scores
        .bm25_stemmed
        .map_or(String::new(), |stemmed| format!("  stemmed BM25 {}", figure(stemmed.ndcg_at_10)));
    format!(
        "nDCG@10  retrieval {}  final ranking {}  plain BM25 {}{stemmed}  ({judged})",
        figure(retrieval.ndcg_at_10),
        figure(scores.ranking.ndcg_at_10),
        figure(scores.bm25.ndcg_at_10),
    )
}

fn short(hash: &str) -> &str {
    hash.get(..12).unwrap_or(hash)
}
