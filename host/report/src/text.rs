//! How findings are put into words and numbers into digits, once for all formats.

use std::collections::BTreeMap;

use bench_judge::describe::{Estimate, Outlier};
use bench_judge::equality::{Difference, Outcome};
use bench_judge::judge::{Comparison, Ranking};
use bench_judge::kept::Altered;
use bench_judge::stats::support::Supported;
use bench_judge::stats::verdict::Verdict;
use bench_judge::variance::{More, Variance};
use bench_judge::{Metric, Summary};
use bench_record::evidence::{Generation, Percentiles};
use bench_record::units::Millis;
use bench_record::vectors::Apart;

/// What stands where there is no number.
pub const NONE: &str = "n/a";

/// Three decimals, as the guide's table has them.
pub fn three(value: Option<f64>) -> String {
    value.filter(|v| v.is_finite()).map_or(NONE.into(), |v| format!("{v:.3}"))
}

/// Four significant digits, and no more than three decimals.
pub fn short(value: f64) -> String {
    if !value.is_finite() {
        return NONE.into();
    }
    let before = if value == 0.0 { 0 } else { value.abs().log10().floor() as i32 };
    format!("{value:.*}", usize::try_from(3 - before).unwrap_or(0).min(3))
}

/// A share as per cent with one decimal.
pub fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

/// A p-value; small ones as a bound.
pub fn p_value(p: Option<f64>) -> String {
    match p {
        None => NONE.into(),
        Some(p) if p < 0.0001 => "< 0.0001".into(),
        Some(p) => format!("{p:.4}"),
    }
}

/// `[1.2, 1.4]`, or nothing.
pub fn interval(interval: Option<bench_judge::stats::Interval>) -> String {
    interval.map_or(NONE.into(), |i| format!("[{}, {}]", short(i.low), short(i.high)))
}

/// A percentile, or what it needs.
pub fn supported(value: Option<Supported>) -> String {
    match value {
        None => NONE.into(),
        Some(Supported::Value(value)) => short(value),
        Some(Supported::NeedsMore(items)) => needs(items),
    }
}

/// The mean of an estimate, or what it needs.
pub fn mean(estimate: &Estimate) -> String {
    estimate.needs_items.map_or_else(|| short(estimate.mean), needs)
}

fn needs(items: u64) -> String {
    format!("n/a, needs {items} more items")
}

/// A metric with its unit, for people.
pub fn metric(metric: Metric) -> &'static str {
    match metric {
        Metric::Throughput => "throughput (items/s)",
        Metric::LatencyP50 => "p50 latency (ms)",
        Metric::LatencyP95 => "p95 latency (ms)",
        Metric::LatencyP99 => "p99 latency (ms)",
        Metric::SuccessRate => "success rate",
        Metric::Duration => "duration (s)",
        Metric::CpuPerMillion => "CPU time (s per million items)",
        Metric::EnergyPerMillion => "energy (J per million items)",
    }
}

/// What latency under a closed load is worth: said beside the number, wherever one is shown.
pub const CLOSED_LOAD: &str = "Under a closed load latency is the queries in flight divided by the throughput (Little's \
     law) and says nothing of the runtime: compare it at one rate that all sustain, with --load open --rate R.";

/// [`CLOSED_LOAD`], and how many of the records it is about; nothing when all loads were open.
pub fn closed_load(summary: &Summary) -> Option<String> {
    match (summary.collected.closed, summary.collected.records) {
        (0, _) => None,
        (closed, records) if closed == records => Some(CLOSED_LOAD.into()),
        (closed, records) => Some(format!("{CLOSED_LOAD} Closed: {closed} of {records} records.")),
    }
}

/// What stopping early was allowed by; nothing where no comparison did.
pub fn until_known(summary: &Summary) -> Option<String> {
    summary.comparisons.iter().any(|comparison| comparison.until_known).then(|| {
        "Pairs were added until the verdict on throughput was known. Its intervals and p-values are those of bets on the \
         signs of the log-ratios, which hold at every look (docs/statistics.md)."
            .to_owned()
    })
}

/// What verdicts on pairs are about: one input, or inputs like those that were drawn.
pub fn about(summary: &Summary) -> Vec<String> {
    let settings = &summary.collected.settings;
    let of_pairs = summary.comparisons.iter().filter(|c| c.paired && c.metric == Metric::Throughput);
    let mut pairs: BTreeMap<usize, u64> = BTreeMap::new();
    for comparison in of_pairs {
        let most = pairs.entry(comparison.setting).or_default();
        *most = comparison.pairs.max(*most);
    }
    let place = |setting: usize| match settings.len() {
        1 => String::new(),
        _ => format!(" ({})", settings[setting].label()),
    };
    let about = |(setting, pairs): (&usize, &u64)| {
        let seed = settings[*setting].seed;
        match settings[*setting].drawn {
            true => format!(
                "What is said{} holds for inputs like those of {} drawn from {seed}, on this machine.",
                place(*setting),
                many(*pairs, "seed", "seeds")
            ),
            false => format!(
                "What is said{} is about one input, that of seed {seed}, on this machine; pairs with seeds of their own \
                 would say more.",
                place(*setting)
            ),
        }
    };
    pairs.iter().map(about).collect()
}

/// Where variance arises, and what to repeat more, a line for each comparison in pairs.
pub fn variances(summary: &Summary) -> Vec<String> {
    let line = |split: &Variance| {
        let share = |part: f64| format!("{:.0} %", part / split.total() * 100.0);
        let common = match summary.collected.settings[split.setting].drawn {
            true => "common to both runs of a pair (its seed, and the machine at that time)",
            false => "common to both runs of a pair (the machine at that time)",
        };
        let own = match split.item {
            Some(item) => format!("{} of the run, {} of its items", share(split.run), share(item)),
            None => format!("{} of the run and its items", share(split.run)),
        };
        let more = match split.more {
            More::Pairs => "more pairs (--repeat) narrow the interval, more items hardly do",
            More::Items => {
                "more items (--num-tasks) narrow the interval as well as more pairs do, and take less time"
            }
        };
        format!(
            "Throughput of {} and {} varies by {} from run to run. Of the variance {} is {common}, {own}; {more}.",
            split.first,
            split.second,
            percent(split.total().sqrt()),
            share(split.shared)
        )
    };
    summary.variances.iter().map(line).collect()
}

/// What a million items cost, a line for each backend and setting; nothing without a price.
pub fn cost(summary: &Summary) -> Vec<String> {
    let Some(price) = summary.options.price else { return Vec::new() };
    let settings = summary.collected.settings.len();
    let of = |estimate: &Estimate| {
        let place = match settings {
            1 => String::new(),
            _ => format!(" ({})", summary.collected.settings[estimate.setting].label()),
        };
        let money = |seconds: f64| short(seconds / 3600.0 * price);
        let between = estimate.interval.map_or(String::new(), |interval| {
            format!(" [{}, {}]", money(interval.low), money(interval.high))
        });
        let cost = money(estimate.mean);
        format!(
            "A million items cost {cost}{between} on {}{place}, at {price} an hour of a core.",
            estimate.backend
        )
    };
    let estimates = summary.estimates.iter().filter(|estimate| estimate.metric == Metric::CpuPerMillion);
    estimates.map(of).collect()
}

/// A number and its noun.
pub fn many(count: u64, one: &str, several: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { several })
}

/// One comparison as a sentence without its end.
pub fn verdict(comparison: &Comparison) -> String {
    let Comparison { first, second, .. } = comparison;
    let (better, worse) = match comparison.metric {
        Metric::CpuPerMillion | Metric::EnergyPerMillion => ("cheaper", "dearer"),
        _ => ("faster", "slower"),
    };
    let unit = |count: u64| match (comparison.paired, count) {
        (true, 1) => "pair",
        (true, _) => "pairs",
        (false, 1) => "run of each",
        (false, _) => "runs of each",
    };
    match comparison.ranking {
        Ranking::Verdict(Verdict::FasterBy { share }) => {
            format!("{first} is {better} than {second} by {}", percent(share))
        }
        Ranking::Verdict(Verdict::SlowerBy { share }) => {
            format!("{first} is {worse} than {second} by {}", percent(share))
        }
        Ranking::Verdict(Verdict::EquivalentWithin { margin }) => {
            format!("{first} and {second} are equivalent within {}", percent(margin))
        }
        Ranking::Verdict(Verdict::Inconclusive { need_more_pairs }) => {
            format!("inconclusive: need {need_more_pairs} more {}", unit(need_more_pairs))
        }
        Ranking::AnswersDiffer => "not ranked: the answers differ".into(),
        Ranking::NoCommonSetting => "not ranked: no configuration was run on both".into(),
        Ranking::NoValidRuns => "not ranked: one side has no valid, finished run with answers".into(),
        Ranking::NotMeasured => "not ranked: not measured on both".into(),
        Ranking::NeedsItems(items) => needs(items),
    }
}

/// One word for colouring: `good` when ranked, `same` when equivalent, `bad` when the answers differ,
/// else `open`.
pub fn verdict_kind(comparison: &Comparison) -> &'static str {
    match comparison.ranking {
        // Slower is a finding like any other, not a failure.
        Ranking::Verdict(Verdict::FasterBy { .. } | Verdict::SlowerBy { .. }) => "good",
        Ranking::Verdict(Verdict::EquivalentWithin { .. }) => "same",
        Ranking::AnswersDiffer => "bad",
        _ => "open",
    }
}

/// Digests as they are shown: of many inputs the first few.
pub fn digests(digests: &[String]) -> String {
    const SHOWN: usize = 4;
    match digests {
        [] => "no digest".to_owned(),
        digests if digests.len() <= SHOWN => digests.join(", "),
        digests => format!("{}, and {} more", digests[..SHOWN].join(", "), digests.len() - SHOWN),
    }
}

/// What the digests of a setting say.
pub fn equality(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Equal => "equal: all runs of all backends gave the same answers",
        Outcome::Differ => "DIFFERENT: the answers differ, so these backends are not ranked",
        Outcome::Unanswered => "unknown: some runs have no answers",
        Outcome::Unknown => "unknown: not every run recorded an output digest",
    }
}

/// A file that is no longer what a run wrote, as a sentence.
pub fn altered(altered: &Altered) -> String {
    let Altered { backend, run_id, file, why } = altered;
    format!("{} of run {run_id} of {backend} {why}: measure again, or take out its record.", file.display())
}

/// Backends whose runs were not answered, as sentences.
pub fn unanswered(summary: &Summary) -> Vec<String> {
    let groups = summary.collected.groups.iter().filter(|group| group.unanswered > 0);
    let sentence = |group: &bench_judge::model::Group| {
        let runs = many(group.records, "run", "runs");
        let (some, backend) = (group.unanswered, &group.backend);
        format!("{some} of {runs} of {backend} answered no query at all: nothing of that is compared.")
    };
    groups.map(sentence).collect()
}

/// Where answers part, one line each.
pub fn difference(difference: &Difference) -> Vec<String> {
    let Difference { first, second, .. } = difference;
    let who =
        if first == second { format!("{first} contradicts itself") } else { format!("{first} and {second}") };
    let mut lines = match difference.items {
        Some(items) => vec![format!("{who}: {items} items differ")],
        None => vec![who],
    };
    lines.extend(difference.embeddings.as_ref().map(embeddings));
    lines.extend(difference.examples.iter().map(|example| {
        let stage =
            example.stage.as_deref().map_or("no stage differs".into(), |stage| format!("first at {stage}"));
        format!("item {}: {stage} ({} / {})", example.query_id, example.first, example.second)
    }));
    lines.extend(difference.note.clone());
    lines
}

/// Whether answers differ because their texts have other vectors.
fn embeddings(apart: &Apart) -> String {
    let Apart { texts, differ, largest_distance } = *apart;
    match largest_distance {
        Some(distance) => format!(
            "answers differ because embeddings did: {differ} of {texts} texts have another vector, the largest distance (1 - cosine) is {distance:.2e}"
        ),
        None => format!("the embeddings are not why: all {texts} texts that both kept have the same vectors"),
    }
}

/// An outlier as a sentence without its end.
pub fn outlier(outlier: &Outlier) -> String {
    let repeat = outlier.repeat.map_or(String::new(), |repeat| format!(" repeat {repeat}"));
    format!(
        "{}{repeat} of run {}: {} is {} against a median of {} (modified z-score {:.1}), {}",
        outlier.backend,
        outlier.run_id,
        metric(outlier.metric),
        short(outlier.value),
        short(outlier.median),
        outlier.score,
        outlier.cause.as_deref().map_or("no known cause".into(), |cause| format!("known cause: {cause}"))
    )
}

/// Why runs do not count: the reason, what mends it, and how many runs it struck.
pub fn reason((reason, mend, times): &(String, String, u64)) -> String {
    let mend = if mend.is_empty() { String::new() } else { format!(" (mend: {mend})") };
    format!("{}: {}{mend}", many(*times, "run", "runs"), reason.trim_end_matches('.'))
}

/// A row of the validity table: backend, runs, valid, invalid, not judged or not finished, reasons.
pub struct Validity {
    /// Name of the backend.
    pub backend: String,
    /// Index of the setting.
    pub setting: usize,
    /// Runs read, of which INVALID, of which unfinished.
    pub counts: [u64; 3],
    /// Each reason with its mend and how often it was given.
    pub reasons: Vec<(String, String, u64)>,
}

/// Validity of every group.
pub fn validity(summary: &Summary) -> Vec<Validity> {
    let collected = &summary.collected;
    let of_group = |group: &bench_judge::model::Group| {
        let mut reasons: Vec<(String, String, u64)> = Vec::new();
        for finding in
            collected.runs_of(group.setting, &group.backend).flat_map(|run| &run.evidence.validity.findings)
        {
            // The message has the run's own numbers in it; the code is what repeats.
            match reasons.iter_mut().find(|reason| reason.0.starts_with(&finding.code)) {
                Some(reason) => reason.2 += 1,
                None => {
                    reasons.push((format!("{}: {}", finding.code, finding.message), finding.mend.clone(), 1));
                }
            }
        }
        Validity {
            backend: group.backend.clone(),
            setting: group.setting,
            counts: [group.records, group.invalid, group.partial],
            reasons,
        }
    };
    collected.groups.iter().map(of_group).collect()
}

/// What was left out for want of room, as sentences.
pub fn limits(summary: &Summary) -> Vec<String> {
    let collected = &summary.collected;
    let mut lines = Vec::new();
    if collected.duplicates > 0 {
        lines.push(format!("{} copies of runs were found and not counted again.", collected.duplicates));
    }
    if collected.groups_left_out > 0 {
        let left_out = collected.groups_left_out;
        lines.push(format!("{left_out} runs have so many different configurations that they are only in the totals and in comparison.csv."));
    }
    if collected.runs_left_out > 0 {
        let (kept, left_out) = (collected.runs.len(), collected.runs_left_out);
        lines.push(format!(
            "Outliers, latencies and reasons come from the first {kept} runs; {left_out} more were read."
        ));
    }
    lines
}

/// What answers of a language model took, in a line.
#[must_use]
pub fn generation(generation: &Generation) -> String {
    let ms = |figure: Option<Millis>| figure.map_or(NONE.to_owned(), |ms| format!("{:.1}", ms.get()));
    let pair = |of: &Option<Percentiles>| {
        let of = of.unwrap_or_default();
        format!("{}/{}", ms(of.p50), ms(of.p95))
    };
    let rate = |rate: Option<f64>| rate.map_or(NONE.to_owned(), |rate| format!("{rate:.1}"));
    let good = generation.goodput.map_or(String::new(), |good| {
        format!("  goodput {}/s ({} of {} answers)", rate(good.per_second), good.answers, generation.answers)
    });
    format!(
        "p50/p95 ms  TTFT {}  TPOT {}  between tokens {}  answer {};  tokens/s in {} out {}{good}",
        pair(&generation.ttft_ms),
        pair(&generation.tpot_ms),
        pair(&generation.between_tokens_ms),
        pair(&generation.answer_ms),
        rate(generation.prompt_tokens_per_second),
        rate(generation.completion_tokens_per_second),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use bench_judge::testing::{collected, drawn, paired};
    use bench_judge::{Options, summarize};

    #[test]
    fn numbers_are_short_and_not_wrong() {
        assert_eq!(
            [1234.567, 12.3456, 0.01234, 0.0, 123456.0].map(short),
            ["1235", "12.35", "0.012", "0.000", "123456"]
        );
        assert_eq!(
            (short(f64::NAN), three(None), three(Some(2.0))),
            ("n/a".into(), "n/a".into(), "2.000".into())
        );
        assert_eq!((p_value(Some(0.00001)), p_value(Some(0.03125))), ("< 0.0001".into(), "0.0312".into()));
    }

    #[test]
    fn a_verdict_says_which_inputs_it_is_about_and_what_to_repeat_more() {
        let speeds = [100.0, 102.0, 99.0, 101.0, 98.0, 103.0];
        let said = |records: &[serde_json::Value]| {
            let summary = summarize(collected(records), &Options::default());
            [about(&summary), variances(&summary)].concat()
        };
        let other = speeds.map(|speed| 200.0 - speed);
        let seeds = said(&drawn(&[("ray", &speeds), ("sage", &other)]));
        assert_eq!(
            seeds[0],
            "What is said holds for inputs like those of 6 seeds drawn from 42, on this machine."
        );
        assert!(
            seeds[1].starts_with("Throughput of ray and sage varies by 2.6 % from run to run."),
            "{seeds:?}"
        );
        assert!(
            seeds[1].contains("(its seed, and the machine") && seeds[1].contains("more pairs"),
            "{seeds:?}"
        );
        let one = said(&paired(&[("ray", &speeds), ("sage", &other)]));
        assert!(one[0].contains("is about one input, that of seed 42"), "{one:?}");
        assert_eq!(said(&paired(&[("ray", &speeds)])), Vec::<String>::new(), "one backend is not compared");
    }

    #[test]
    fn an_unsupported_percentile_says_what_it_needs() {
        assert_eq!(supported(Some(Supported::NeedsMore(39))), "n/a, needs 39 more items");
    }
}
