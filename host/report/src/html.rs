//! `report.html`: everything on one page that needs nothing else.
//!
//! No network, no script needed to read it. The template escapes every value; only the charts go in
//! as they are, and [`super::charts::svg`] has escaped those. As a second line of defence the page
//! forbids itself everything but its own style and its one script, by a content security policy
//! with the script's hash: even markup that slipped through could not run.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use minijinja::value::Serde;
use minijinja::{AutoEscape, Environment};
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::charts::{self, Chart, svg};
use super::{Artifact, Report, text};
use crate::Result;
use bench_judge::Summary;
use bench_judge::equality::Outcome;

pub mod curves;
mod tables;

/// Name of the file.
pub const FILE_NAME: &str = "report.html";

/// The skeleton of every page and its parts, and the two pages.
const TEMPLATES: [(&str, &str); 4] = [
    ("base.html", include_str!("html/base.html.jinja")),
    ("parts.html", include_str!("html/parts.html.jinja")),
    (FILE_NAME, include_str!("html/report.html.jinja")),
    (curves::TEMPLATE, include_str!("html/curves.html.jinja")),
];
const STYLE: &str = include_str!("html/report.css");
const SCRIPT: &str = include_str!("html/sort.js");

/// The format, with the charts to show.
pub struct Page<'a>(pub &'a [Chart]);

/// What a template is given.
#[derive(Serialize)]
struct Shell<T> {
    style: &'static str,
    script: &'static str,
    script_hash: String,
    #[serde(flatten)]
    page: T,
}

/// Fills in a template.
fn fill(template: &str, page: impl Serialize) -> Result<Artifact> {
    let mut environment = Environment::new();
    environment.set_auto_escape_callback(|_| AutoEscape::Html);
    for (name, source) in TEMPLATES {
        environment.add_template(name, source)?;
    }
    let script_hash = BASE64.encode(Sha256::digest(SCRIPT));
    let shell = Shell { style: STYLE, script: SCRIPT, script_hash, page };
    let text = environment.get_template(template)?.render(Serde(shell))?;
    Ok(Artifact { name: FILE_NAME.into(), bytes: (text + "\n").into_bytes() })
}

#[derive(Serialize)]
struct Context {
    records: u64,
    backends: Vec<String>,
    workloads: Vec<String>,
    glance: Vec<Headline>,
    charts: Vec<Figure>,
    summary: tables::Table,
    /// What its latencies are worth.
    closed_load: Option<String>,
    mismatches: Option<tables::Table>,
    mismatches_left_out: u64,
    equality: Vec<EqualitySection>,
    verdicts: Option<tables::Table>,
    alpha: f64,
    margin: String,
    metrics: Option<tables::Table>,
    percentiles: Option<tables::Table>,
    outliers: Vec<String>,
    validity: tables::Table,
    notes: Vec<String>,
    artifacts: Vec<String>,
    sources: Vec<String>,
    sources_left_out: usize,
}

/// A sentence that a reader must not miss.
#[derive(Serialize)]
struct Headline {
    kind: &'static str,
    text: String,
}

#[derive(Serialize)]
struct Figure {
    id: &'static str,
    title: String,
    description: String,
    svg: String,
}

#[derive(Serialize)]
struct EqualitySection {
    setting: String,
    kind: &'static str,
    text: &'static str,
    backends: Vec<(String, String)>,
    differences: Vec<Vec<String>>,
}

impl Report for Page<'_> {
    fn render(&self, summary: &Summary) -> Result<Vec<Artifact>> {
        Ok(vec![fill(FILE_NAME, self.context(summary))?])
    }
}

impl Page<'_> {
    fn context(&self, summary: &Summary) -> Context {
        const SOURCES: usize = 50;
        let collected = &summary.collected;
        let sources = collected.sources.iter().take(SOURCES).map(|source| source.path.display().to_string());
        Context {
            records: collected.records,
            backends: collected.totals.iter().map(|totals| totals.backend.clone()).collect(),
            workloads: collected.workloads.clone(),
            glance: glance(summary),
            charts: self.0.iter().map(figure).collect(),
            summary: tables::summary(summary),
            closed_load: text::closed_load(summary),
            mismatches: (!collected.mismatches.is_empty()).then(|| tables::mismatches(summary)),
            mismatches_left_out: collected.mismatches.left_out,
            equality: summary.equality.iter().map(|e| equality(summary, e)).collect(),
            verdicts: (!summary.comparisons.is_empty()).then(|| tables::verdicts(summary)),
            alpha: summary.options.alpha,
            margin: text::percent(summary.options.margin),
            metrics: (!summary.estimates.is_empty()).then(|| tables::metrics(summary)),
            percentiles: (!summary.latencies.is_empty()).then(|| tables::percentiles(summary)),
            outliers: summary.outliers.iter().map(text::outlier).collect(),
            validity: tables::validity(summary),
            notes: [
                text::about(summary),
                text::variances(summary),
                text::cost(summary),
                text::limits(summary),
            ]
            .concat(),
            artifacts: summary.artifacts.clone(),
            sources: sources.collect(),
            sources_left_out: collected.sources.len().saturating_sub(SOURCES),
        }
    }
}

fn figure(chart: &Chart) -> Figure {
    Figure {
        id: chart.id,
        title: chart.canvas.title.clone(),
        description: chart.canvas.description.clone(),
        svg: svg::render(&chart.canvas, svg::Home::Page(chart.id)),
    }
}

/// The verdicts on throughput, and whatever takes away from them.
fn glance(summary: &Summary) -> Vec<Headline> {
    const MOST: usize = 12;
    let several = summary.collected.settings.len() > 1;
    let place = |setting: usize| {
        if several { format!(" ({})", charts::short_setting(summary, setting)) } else { String::new() }
    };
    let main = bench_judge::Metric::Throughput;
    let throughput = summary.comparisons.iter().filter(|comparison| comparison.metric == main);
    let verdicts = throughput.map(|comparison| {
        let verdict = text::verdict(comparison);
        // Other verdicts name the two themselves.
        let names = match text::verdict_kind(comparison) {
            "open" | "bad" => format!("{} and {}: ", comparison.first, comparison.second),
            _ => String::new(),
        };
        Headline {
            kind: text::verdict_kind(comparison),
            text: format!("Throughput: {names}{verdict}{}.", place(comparison.setting)),
        }
    });
    let mut lines: Vec<Headline> = verdicts.take(MOST).collect();
    for equality in summary.equality.iter().filter(|equality| equality.differs()).take(MOST) {
        let text = format!("Answers differ between backends{}.", place(equality.setting));
        lines.push(Headline { kind: "bad", text });
    }
    let altered = summary.altered.iter().map(text::altered).take(MOST);
    lines.extend(altered.map(|text| Headline { kind: "bad", text }));
    let unanswered = text::unanswered(summary).into_iter().take(MOST);
    lines.extend(unanswered.map(|text| Headline { kind: "bad", text }));
    let mismatches = summary.collected.mismatches.rows.len() as u64 + summary.collected.mismatches.left_out;
    if mismatches > 0 {
        let places = text::many(mismatches, "place", "places");
        let text = format!("Configurations differ in {places}: results are not directly comparable there.");
        lines.push(Headline { kind: "bad", text });
    }
    let invalid: u64 = summary.collected.groups.iter().map(|group| group.invalid).sum();
    if invalid > 0 {
        let kept = if summary.options.include_invalid {
            "counted all the same"
        } else {
            "left out of every verdict"
        };
        lines.push(Headline {
            kind: "open",
            text: format!("INVALID: {} {kept}.", text::many(invalid, "run", "runs")),
        });
    }
    lines
}

fn equality(summary: &Summary, equality: &bench_judge::equality::Equality) -> EqualitySection {
    EqualitySection {
        setting: summary.collected.settings[equality.setting].label(),
        kind: match equality.outcome {
            Outcome::Equal => "good",
            Outcome::Differ => "bad",
            Outcome::Unanswered => "bad",
            Outcome::Unknown => "open",
        },
        text: text::equality(equality.outcome),
        backends: equality
            .backends
            .iter()
            .map(|(name, digests)| (name.clone(), text::digests(digests)))
            .collect(),
        differences: equality.differences.iter().map(text::difference).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bench_judge::testing::{collected, paired, record};
    use bench_judge::{Options, summarize};
    use serde_json::{Value, json};

    fn page(records: &[Value]) -> String {
        let summary = summarize(collected(records), &Options::default());
        let charts = super::super::charts::draw_all(&summary);
        let mut files = Page(&charts).render(&summary).unwrap();
        String::from_utf8(files.remove(0).bytes).unwrap()
    }

    fn plain() -> String {
        page(&paired(&[("sage", &[20.0, 21.0, 22.0]), ("ray", &[10.0, 11.0, 12.0])]))
    }

    #[test]
    fn names_of_third_parties_never_become_markup() {
        let evil = "</title><script>alert(1)</script><img src=x onerror=alert(1)>\"'|\nü";
        let mut records = paired(&[(evil, &[20.0, 21.0]), ("ray", &[10.0, 11.0])]);
        records[0]["extra"]["validity"] =
            json!({"verdict": "INVALID", "findings": [{"code": evil, "message": evil, "mend": evil}]});
        records[1]["extra"]["output_digest"] = json!(evil);
        let mut other = record(evil, "x", 9);
        other["config_hash"] = json!(evil);
        records.extend([other, record("ray", "x", 10)]);
        let page = page(&records);
        assert_eq!(page.matches("<script").count(), 1);
        assert!(!page.contains("<img") && !page.contains("</title><script>"));
        assert!(page.contains("&lt;script&gt;"));
    }

    #[test]
    fn beside_latencies_of_a_closed_load_stands_what_they_are_worth() {
        let mut records = paired(&[("sage", &[20.0]), ("ray", &[10.0])]);
        assert!(!page(&records).contains("Little"));
        records.iter_mut().for_each(|record| record["extra"]["load"] = json!({"model": "closed"}));
        let page = page(&records);
        assert_eq!(
            page.matches("divided by the throughput (Little").count(),
            2,
            "in the summary and in the metrics"
        );
        assert!(page.contains("closed load: in flight / throughput"), "in the chart's title");
    }

    #[test]
    fn nothing_is_fetched_and_only_our_script_may_run() {
        let page = plain();
        for needle in ["src=", "url(", "@import", "<link", "http://", "https://"] {
            let foreign = page.replace("http://www.w3.org/2000/svg", "");
            assert!(!foreign.contains(needle), "{needle}");
        }
        let hash = BASE64.encode(Sha256::digest(SCRIPT));
        assert!(
            page.contains(&format!("script-src &#39;sha256-{hash}"))
                || page.contains(&format!("script-src 'sha256-{hash}'"))
        );
        assert!(page.contains(&format!("<script>{SCRIPT}</script>")));
    }

    #[test]
    fn the_page_is_built_for_everyone() {
        let page = plain();
        assert!(page.starts_with("<!doctype html>\n<html lang=\"en\">"));
        assert_eq!(page.matches("<h1").count(), 1);
        assert_eq!(page.matches("<table").count(), page.matches("<caption").count());
        assert_eq!(page.matches("<th ").count(), page.matches("scope=").count());
        assert_eq!(page.matches("<svg ").count(), page.matches("role=\"img\"").count());
        assert!(page.contains("<main") && page.contains("prefers-color-scheme: dark"));
    }

    /// Contrast of two colours as WCAG 2 defines it.
    fn contrast(one: &str, other: &str) -> f64 {
        let luminance = |colour: &str| -> f64 {
            let part = |at: usize| {
                let value = f64::from(u8::from_str_radix(&colour[at..at + 2], 16).unwrap()) / 255.0;
                if value <= 0.04045 { value / 12.92 } else { ((value + 0.055) / 1.055).powf(2.4) }
            };
            0.2126 * part(1) + 0.7152 * part(3) + 0.0722 * part(5)
        };
        let (a, b) = (luminance(one), luminance(other));
        (a.max(b) + 0.05) / (a.min(b) + 0.05)
    }

    #[test]
    fn every_colour_stands_out_from_what_is_behind_it_in_light_and_dark() {
        assert!((contrast("#ffffff", "#000000") - 21.0).abs() < 1e-9);
        let palettes: Vec<&str> =
            STYLE.split(":root {").skip(1).map(|p| p.split('}').next().unwrap()).collect();
        assert_eq!(palettes.len(), 2);
        for palette in palettes {
            let colour = |name: &str| {
                let (_, rest) = palette.split_once(&format!("--{name}: ")).unwrap();
                rest.split(';').next().unwrap()
            };
            let check = |ink: &str, back: &str, least: f64| {
                let found = contrast(colour(ink), colour(back));
                assert!(found >= least, "{ink} on {back}: {found:.2}");
            };
            for (ink, back) in [("text", "back"), ("text", "panel"), ("muted", "back"), ("muted", "panel")] {
                check(ink, back, 4.5);
            }
            for (ink, back) in [("link", "back"), ("axis", "back")] {
                check(ink, back, 4.5);
            }
            for tag in ["good", "bad", "same", "open"] {
                check(tag, &format!("{tag}-back"), 4.5);
            }
            // Marks of charts are not text.
            (0..8).for_each(|series| check(&format!("s{series}"), "back", 3.0));
            check("focus", "back", 3.0);
        }
    }

    #[test]
    fn without_a_run_that_counts_the_page_says_so_and_still_draws_what_was_measured() {
        let mut records = paired(&[("sage", &[20.0, 21.0]), ("ray", &[10.0, 11.0])]);
        for record in &mut records {
            record["extra"]["validity"] = json!({"verdict": "INVALID", "findings": []});
            record["latency_p95"] = json!(3.0);
        }
        let page = page(&records);
        assert!(page.contains("No run counts"));
        assert!(!page.contains("id=\"t-metrics\"") && !page.contains("othing was measured"));
    }

    #[test]
    fn ids_are_unique() {
        let page = plain();
        let mut ids: Vec<&str> =
            page.split(" id=\"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
        let all = ids.len();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), all);
    }
}
