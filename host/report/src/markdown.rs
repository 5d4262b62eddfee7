//! `summary.md`: the report where code is reviewed.
//!
//! The first four sections are those of the guide, in its order and with its columns; scripts read
//! them. What we add comes after. GitHub renders inline HTML, so `<` is escaped along with every
//! character that Markdown would take for markup, and line ends inside a name become spaces.

use std::fmt::Write;

use super::{Artifact, Report, text};
use crate::Result;
use bench_judge::checklist::{Kept, Principle, principles};
use bench_judge::{Metric, Summary};

/// Name of the file.
pub const FILE_NAME: &str = "summary.md";

/// What the guide's section says when nothing differs.
pub const NO_MISMATCHES: &str = "No configuration mismatches detected.";

/// The format.
pub struct Markdown;

impl Report for Markdown {
    fn render(&self, summary: &Summary) -> Result<Vec<Artifact>> {
        Ok(vec![Artifact { name: FILE_NAME.into(), bytes: document(summary).into_bytes() }])
    }
}

/// The document.
pub fn document(summary: &Summary) -> String {
    let mut out = String::new();
    head(&mut out, summary);
    backends(&mut out, summary);
    mismatches(&mut out, summary);
    equality(&mut out, summary);
    verdicts(&mut out, summary);
    estimates(&mut out, summary);
    percentiles(&mut out, summary);
    outliers(&mut out, summary);
    generation(&mut out, summary);
    validity(&mut out, summary);
    let limits = text::limits(summary);
    if !limits.is_empty() {
        section(&mut out, "Notes");
        limits.iter().for_each(|line| item(&mut out, line));
    }
    checklist(&mut out, summary);
    out
}

fn head(out: &mut String, summary: &Summary) {
    let collected = &summary.collected;
    let names = |list: Vec<&str>| list.into_iter().map(escape).collect::<Vec<_>>().join(", ");
    let backends = names(collected.totals.iter().map(|t| t.backend.as_str()).collect());
    let workloads = names(collected.workloads.iter().map(String::as_str).collect());
    let _ = write!(
        out,
        "# Backend Comparison Report\n\n- Total records: {}\n- Backends: {backends}\n- Workloads: {workloads}\n",
        collected.records
    );
    section(out, "Artifacts");
    for name in &summary.artifacts {
        let _ = writeln!(out, "- [{name}]({name})");
    }
}

fn backends(out: &mut String, summary: &Summary) {
    section(out, "Backend Summary");
    table(
        out,
        &["backend", "records", "throughput_mean", "latency_p95_mean", "latency_p99_mean", "success_rate"],
    );
    for totals in &summary.collected.totals {
        let mean = |metric: Metric| text::three(totals.metrics[metric as usize].mean());
        let metrics =
            [Metric::Throughput, Metric::LatencyP95, Metric::LatencyP99, Metric::SuccessRate].map(mean);
        let mut cells = vec![totals.backend.clone(), totals.records.to_string()];
        cells.extend(metrics);
        row(out, &cells);
    }
    out.push_str(
        "\nThroughput in items/s, latencies in ms, each the mean over all records of the backend, speed only \
         over those with answers. \
         success_rate is completed items over emitted items.\n",
    );
    closed_load(out, summary);
}

/// What answers of a language model took, where one was asked, run by run.
fn generation(out: &mut String, summary: &Summary) {
    let runs = summary.collected.runs.iter();
    let mut runs = runs.filter_map(|run| Some((run, run.evidence.generation.as_ref()?))).peekable();
    if runs.peek().is_none() {
        return;
    }
    section(out, "Generation");
    for (run, of) in runs {
        item(out, &format!("{} {}: {}", run.backend, run.run_id, text::generation(of)));
        of.remarks.iter().for_each(|remark| item(out, remark));
    }
}

/// Beside every table of latencies.
fn closed_load(out: &mut String, summary: &Summary) {
    if let Some(note) = text::closed_load(summary) {
        let _ = writeln!(out, "\n{note}");
    }
}

fn mismatches(out: &mut String, summary: &Summary) {
    section(out, "Configuration Mismatches");
    let found = &summary.collected.mismatches;
    if found.is_empty() {
        let _ = writeln!(out, "{NO_MISMATCHES}");
        return;
    }
    table(out, &["workload", "run_id", "backend_count", "detail"]);
    for found in &found.rows {
        row(
            out,
            &[
                found.workload.clone(),
                found.run_id.clone(),
                found.backend_count.to_string(),
                found.detail.clone(),
            ],
        );
    }
    if found.left_out > 0 {
        let _ = writeln!(out, "\nand {} more.", found.left_out);
    }
}

fn equality(out: &mut String, summary: &Summary) {
    section(out, "Equality");
    if summary.equality.is_empty() {
        out.push_str("No configuration was run often enough to compare answers.\n");
    }
    for equality in &summary.equality {
        let setting = escape(&summary.collected.settings[equality.setting].label());
        let _ = writeln!(out, "- **{setting}**: {}", text::equality(equality.outcome));
        for (backend, digests) in &equality.backends {
            let _ = writeln!(out, "  - {}: {}", escape(backend), escape(&text::digests(digests)));
        }
        for line in equality.differences.iter().flat_map(text::difference) {
            let _ = writeln!(out, "  - {}", escape(&line));
        }
    }
    summary.altered.iter().map(text::altered).for_each(|line| item(out, &line));
    text::unanswered(summary).iter().for_each(|line| item(out, line));
}

fn verdicts(out: &mut String, summary: &Summary) {
    section(out, "Verdicts");
    if summary.comparisons.is_empty() {
        out.push_str("There are no two backends to compare.\n");
        return;
    }
    table(
        out,
        &[
            "setting",
            "metric",
            "backends",
            "verdict",
            "ratio",
            "95 % interval",
            "pairs",
            "p",
            "p (Holm)",
            "p (Wilcoxon)",
        ],
    );
    for comparison in &summary.comparisons {
        let unpaired = if comparison.paired { "" } else { " (unpaired)" };
        row(
            out,
            &[
                summary.collected.settings[comparison.setting].label(),
                text::metric(comparison.metric).into(),
                format!("{} / {}", comparison.first, comparison.second),
                text::verdict(comparison),
                text::three(comparison.ratio),
                text::interval(comparison.ratio_interval),
                format!("{}{unpaired}", comparison.pairs),
                text::p_value(comparison.p),
                text::p_value(comparison.adjusted_p),
                text::p_value(comparison.wilcoxon_p),
            ],
        );
    }
    let _ = writeln!(
        out,
        "\nExact sign-flip test on log-ratios of pairs (a permutation test where there are no pairs), Holm's \
         correction per metric, significance {}, equivalence margin {}.",
        summary.options.alpha,
        text::percent(summary.options.margin)
    );
    if let Some(note) = text::until_known(summary) {
        let _ = writeln!(out, "\n{note}");
    }
    let lines = [text::about(summary), text::variances(summary), text::cost(summary)].concat();
    lines.iter().for_each(|line| {
        let _ = writeln!(out, "\n{}", escape(line));
    });
}

fn checklist(out: &mut String, summary: &Summary) {
    section(out, "Principles of the SPEC Research Group");
    table(out, &["principle", "kept", "how"]);
    for Principle { name, kept, how } in principles(summary) {
        let kept = match kept {
            Kept::Yes => "yes",
            Kept::Partly => "partly",
            Kept::No => "no",
        };
        row(out, &[name.into(), kept.into(), how]);
    }
}

fn estimates(out: &mut String, summary: &Summary) {
    section(out, "Metrics");
    table(out, &["setting", "backend", "metric", "runs", "mean", "standard deviation", "95 % interval"]);
    for estimate in &summary.estimates {
        row(
            out,
            &[
                summary.collected.settings[estimate.setting].label(),
                estimate.backend.clone(),
                text::metric(estimate.metric).into(),
                estimate.runs.to_string(),
                text::mean(estimate),
                estimate.deviation.map_or(text::NONE.into(), text::short),
                text::interval(estimate.interval.filter(|_| estimate.needs_items.is_none())),
            ],
        );
    }
    closed_load(out, summary);
}

fn percentiles(out: &mut String, summary: &Summary) {
    if summary.latencies.is_empty() {
        return;
    }
    section(out, "Latency Percentiles");
    table(
        out,
        &["setting", "backend", "items", "p50 (ms)", "p90 (ms)", "p95 (ms)", "p99 (ms)", "p99.9 (ms)"],
    );
    for latencies in &summary.latencies {
        let mut cells = vec![
            summary.collected.settings[latencies.setting].label(),
            latencies.backend.clone(),
            latencies.items.to_string(),
        ];
        cells.extend(latencies.percentiles.map(text::supported));
        row(out, &cells);
    }
    out.push_str("\nOver the items of all repeats together.\n");
    closed_load(out, summary);
}

fn outliers(out: &mut String, summary: &Summary) {
    section(out, "Outliers");
    if summary.outliers.is_empty() {
        out.push_str("No run stands apart from the others of its backend.\n");
    }
    summary.outliers.iter().for_each(|outlier| item(out, &text::outlier(outlier)));
}

fn validity(out: &mut String, summary: &Summary) {
    section(out, "Validity");
    table(out, &["setting", "backend", "runs", "INVALID", "not finished", "reasons and mends"]);
    for validity in text::validity(summary) {
        let reasons: Vec<String> = validity.reasons.iter().map(text::reason).collect();
        let setting = summary.collected.settings[validity.setting].label();
        let mut cells = vec![setting, validity.backend.clone()];
        cells.extend(validity.counts.map(|count| count.to_string()));
        cells.push(reasons.join("; "));
        row(out, &cells);
    }
}

fn section(out: &mut String, title: &str) {
    let _ = write!(out, "\n## {title}\n\n");
}

fn item(out: &mut String, line: &str) {
    let _ = writeln!(out, "- {}", escape(line));
}

fn table(out: &mut String, columns: &[&str]) {
    let _ = writeln!(out, "| {} |", columns.join(" | "));
    let _ = writeln!(out, "|{}", " --- |".repeat(columns.len()));
}

fn row(out: &mut String, cells: &[String]) {
    let cells: Vec<String> = cells.iter().map(|cell| escape(cell)).collect();
    let _ = writeln!(out, "| {} |", cells.join(" | "));
}

/// Text that Markdown and HTML leave alone. `_` inside words is left too, as GitHub does.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut before = ' ';
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        let after = letters.peek().copied().unwrap_or(' ');
        match letter {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '_' if before.is_alphanumeric() && after.is_alphanumeric() => out.push('_'),
            '\\' | '|' | '`' | '*' | '_' | '[' | ']' | '#' | '~' | '!' | '$' => {
                out.push('\\');
                out.push(letter);
            }
            // A mention would notify somebody, and an address would become a link.
            '@' => out.push_str("&#64;"),
            ':' if after == '/' => out.push_str("&#58;"),
            letter if letter.is_control() || matches!(letter, '\u{2028}' | '\u{2029}') => out.push(' '),
            // Text that runs the other way could make a row read as something else.
            '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => out.push('\u{fffd}'),
            letter => out.push(letter),
        }
        before = letter;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use bench_judge::testing::{collected, paired, record};
    use bench_judge::{Options, summarize};
    use serde_json::{Value, json};

    fn rendered(records: &[Value]) -> String {
        let mut summary = summarize(collected(records), &Options::default());
        summary.artifacts = vec!["summary.md".into(), "comparison.csv".into()];
        document(&summary)
    }

    #[test]
    fn the_guides_sections_come_first_and_in_order() {
        let text = rendered(&paired(&[("sage", &[20.0]), ("ray", &[10.0])]));
        let sections: Vec<_> = text.lines().filter(|line| line.starts_with('#')).collect();
        let guide = [
            "# Backend Comparison Report",
            "## Artifacts",
            "## Backend Summary",
            "## Configuration Mismatches",
        ];
        assert_eq!(sections[..4], guide);
        assert_eq!(
            sections[4..],
            [
                "## Equality",
                "## Verdicts",
                "## Metrics",
                "## Outliers",
                "## Validity",
                "## Principles of the SPEC Research Group"
            ]
        );
        assert!(text.contains("| ray | 1 | 10.000 | 2.250 | n/a | 1.000 |"), "{text}");
        assert!(text.contains(NO_MISMATCHES));
    }

    #[test]
    fn beside_latencies_of_a_closed_load_stands_what_they_are_worth() {
        let mut records = paired(&[("sage", &[20.0]), ("ray", &[10.0])]);
        let mut said = |loads: [&str; 2]| {
            for (record, model) in records.iter_mut().zip(loads) {
                record["extra"]["load"] = json!({"model": model});
            }
            rendered(&records)
        };
        let closed = said(["closed", "closed"]);
        assert_eq!(
            closed.matches(text::CLOSED_LOAD).count(),
            2,
            "in the summary and in the metrics: {closed}"
        );
        assert!(closed.contains("--load open --rate R"));
        assert!(said(["closed", "open"]).contains("Closed: 1 of 2 records."));
        assert!(!said(["open", "open"]).contains("Little"));
    }

    #[test]
    fn a_backend_without_answers_is_named_and_has_no_speed() {
        let mut records = paired(&[("sage", &[20.0]), ("ray", &[10.0])]);
        records[1]["success_rate"] = json!(0.0);
        let text = rendered(&records);
        assert!(text.contains("1 of 1 run of ray answered no query at all"), "{text}");
        assert!(text.contains("| ray | 1 | n/a | n/a | n/a | 0.000 |"), "{text}");
    }

    #[test]
    fn names_of_third_parties_stay_text() {
        let evil = "<script>alert(1)</script>|`x`\n# head [a](javascript:x) @all";
        let mut other = record(evil, "1", 1);
        other["seed"] = json!(7);
        let text = rendered(&[record("ray", "1", 0), other]);
        assert!(
            !text.contains("<script>") && !text.contains("\n# head") && !text.contains("[a](java"),
            "{text}"
        );
        assert!(text.contains("\\|\\`x\\` \\# head"), "{text}");
        // Every row of a table has the columns of its header.
        let bars = |line: &str| line.replace("\\|", "").matches('|').count();
        let rows: Vec<_> = text.lines().skip_while(|line| !line.starts_with("| backend")).take(4).collect();
        assert!(rows.iter().all(|line| bars(line) == bars(rows[0])), "{rows:?}");
    }

    #[test]
    fn words_with_underscores_stay_readable() {
        assert_eq!(escape("config_hash _x_ ü"), "config_hash \\_x\\_ ü");
    }
}
