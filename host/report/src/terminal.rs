//! The summary in the terminal: what to know before opening anything.
//!
//! Only the main table, the verdicts and what stands in their way. Control characters in a name
//! could recolour or rewrite the screen, so none gets through.

use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{ContentArrangement, Table};

use super::text;
use bench_judge::{Metric, Summary};

/// Columns assumed when nothing is known of the terminal.
pub const DEFAULT_WIDTH: u16 = 100;

/// The text, ending in a line end. `width` is that of the terminal.
pub fn render(summary: &Summary, width: Option<u16>) -> String {
    let mut parts = vec![backends(summary, width).to_string()];
    if !summary.comparisons.is_empty() {
        parts.push(verdicts(summary, width).to_string());
    }
    let notes = [text::closed_load(summary), text::until_known(summary)];
    let mut lines: Vec<String> = notes.into_iter().flatten().collect();
    for equality in summary.equality.iter().filter(|equality| equality.differs()) {
        lines.push(format!("Answers differ in {}:", summary.collected.settings[equality.setting].label()));
        lines.extend(equality.differences.iter().flat_map(text::difference).map(|line| format!("  {line}")));
    }
    lines.extend(summary.altered.iter().map(text::altered));
    lines.extend(text::unanswered(summary));
    for found in &summary.collected.mismatches.rows {
        lines.push(format!("Configurations differ ({}): {}", found.differing.join(", "), found.detail));
    }
    lines.extend(summary.outliers.iter().map(|outlier| format!("Outlier: {}", text::outlier(outlier))));
    for validity in text::validity(summary).iter().filter(|validity| validity.counts[1] > 0) {
        let [runs, invalid, _] = validity.counts;
        lines.push(format!("{invalid} of {runs} runs of {} are INVALID:", validity.backend));
        lines.extend(validity.reasons.iter().map(|reason| format!("  {}", text::reason(reason))));
    }
    lines.extend([text::about(summary), text::variances(summary), text::cost(summary)].concat());
    lines.extend(text::limits(summary));
    const SHOWN: usize = 30;
    let more = lines.len().saturating_sub(SHOWN);
    lines.truncate(SHOWN);
    if more > 0 {
        lines.push(format!("and {more} more lines in summary.md"));
    }
    parts.extend(lines.iter().map(|line| clean(line)));
    parts.join("\n") + "\n"
}

fn backends(summary: &Summary, width: Option<u16>) -> Table {
    let mut table = table(width, &["backend", "records", "throughput", "p95 ms", "p99 ms", "success rate"]);
    for totals in &summary.collected.totals {
        let mean = |metric: Metric| text::three(totals.metrics[metric as usize].mean());
        table.add_row([
            clean(&totals.backend),
            totals.records.to_string(),
            mean(Metric::Throughput),
            mean(Metric::LatencyP95),
            mean(Metric::LatencyP99),
            mean(Metric::SuccessRate),
        ]);
    }
    table
}

fn verdicts(summary: &Summary, width: Option<u16>) -> Table {
    let several = summary.comparisons.iter().any(|c| c.setting != summary.comparisons[0].setting);
    let mut columns = vec!["metric", "backends", "verdict", "ratio", "95 % interval", "pairs", "p (Holm)"];
    if several {
        columns.insert(0, "setting");
    }
    let mut table = table(width, &columns);
    for comparison in &summary.comparisons {
        let mut cells = vec![
            text::metric(comparison.metric).to_owned(),
            clean(&format!("{} / {}", comparison.first, comparison.second)),
            clean(&text::verdict(comparison)),
            text::three(comparison.ratio),
            text::interval(comparison.ratio_interval),
            comparison.pairs.to_string(),
            text::p_value(comparison.adjusted_p),
        ];
        if several {
            cells.insert(0, clean(&summary.collected.settings[comparison.setting].label()));
        }
        table.add_row(cells);
    }
    table
}

fn table(width: Option<u16>, columns: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED).set_content_arrangement(ContentArrangement::Dynamic);
    table.set_width(width.unwrap_or(DEFAULT_WIDTH)).set_header(columns);
    table
}

/// Without control characters and without marks that reverse the direction of text.
pub fn clean(text: &str) -> String {
    let is_trick = |c: char| matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    text.chars().map(|c| if c.is_control() || is_trick(c) { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use bench_judge::testing::{collected, paired};
    use bench_judge::{Options, summarize};

    #[test]
    fn the_table_shows_backends_and_verdicts() {
        let summary =
            summarize(collected(&paired(&[("sage", &[20.0]), ("ray", &[10.0])])), &Options::default());
        let text = render(&summary, Some(120));
        assert!(text.contains("sage") && text.contains("20.000") && text.contains("inconclusive"), "{text}");
    }

    #[test]
    fn the_latency_of_a_closed_load_is_said_to_follow_from_the_throughput() {
        let mut records = paired(&[("sage", &[20.0]), ("ray", &[10.0])]);
        records[0]["extra"]["load"] = serde_json::json!({"model": "closed"});
        let shown = render(&summarize(collected(&records), &Options::default()), Some(120));
        assert!(shown.contains(text::CLOSED_LOAD) && shown.contains("Closed: 1 of 2 records."), "{shown}");
    }

    #[test]
    fn what_made_runs_invalid_is_told_apart_from_what_mends_it() {
        let mut records = paired(&[("sage", &[20.0]), ("ray", &[10.0])]);
        records[0]["extra"]["validity"] = serde_json::json!({"verdict": "INVALID", "findings": [
            {"code": "other_load", "message": "others used 80 % of the CPU time", "mend": "stop other work"},
        ]});
        let shown = render(&summarize(collected(&records), &Options::default()), Some(120));
        let expected = "1 of 1 runs of sage are INVALID:\n  1 run: other_load: others used 80 % of the CPU time (mend: stop other work)";
        assert!(shown.contains(expected), "{shown}");
    }

    #[test]
    fn a_name_cannot_steer_the_terminal() {
        let evil = "\u{1b}[31mred\nline\u{202e}";
        let summary =
            summarize(collected(&paired(&[(evil, &[20.0]), ("ray", &[10.0])])), &Options::default());
        let text = render(&summary, Some(120));
        assert!(!text.contains('\u{1b}') && !text.contains('\u{202e}'), "{text}");
    }
}
