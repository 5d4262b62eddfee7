//! A kill as curves and numbers: what was answered a second, and how late, before and after it.

use super::Grid;
use super::charts::Chart;
use super::charts::curves::events_over_time;
use super::sweep::line;
use bench_judge::recovery::{Judgement, Report, Window};

/// The curves.
#[must_use]
pub fn charts(report: &Report) -> Vec<Chart> {
    let judgement = &report.judgement;
    if judgement.windows.is_empty() {
        return Vec::new();
    }
    let points = |of: &dyn Fn(&Window) -> f64| -> Vec<(f64, f64)> {
        judgement.windows.iter().map(|window| (window.at, of(window))).collect()
    };
    let kill = report.killed_after_seconds;
    let answering =
        judgement.seconds_to_drop.zip(judgement.seconds_to_recover).map(|(drop, rest)| kill + drop + rest);
    let back = judgement.seconds_to_p99.filter(|seconds| *seconds > 0.0).map(|seconds| kill + seconds);
    let moments = |other: Option<f64>, name: &'static str| -> Vec<(f64, &'static str)> {
        [(Some(kill), "kill"), (other, name)].into_iter().filter_map(|(at, name)| Some((at?, name))).collect()
    };
    let length = judgement.windows[0].at;
    let answered = line(report.backend.clone(), points(&|window| window.throughput));
    let arrivals = line("arrivals".into(), points(&|window| window.arrivals as f64 / length));
    let p99 = line(report.backend.clone(), points(&|window| window.p99_ms.unwrap_or(f64::NAN)));
    let before =
        judgement.before.map(|before| line("before".into(), points(&|_| before.highest_window_p99_ms)));
    let p99: Vec<_> = [Some(p99), before].into_iter().flatten().collect();
    let name = &report.backend;
    let throughput = events_over_time(
        &format!("{name}: answers over time"),
        "answers per second",
        &[answered, arrivals],
        &moments(answering, "at the offered rate"),
    );
    let latency = events_over_time(
        &format!("{name}: p99 of what arrived, over time"),
        "p99 (ms)",
        &p99,
        &moments(back, "p99 as before"),
    );
    [("recovery_throughput", throughput), ("recovery_latency", latency)]
        .map(|(id, canvas)| Chart { id, canvas, as_png: false })
        .into()
}

/// The numbers.
#[must_use]
pub fn grid(report: &Report) -> Grid {
    let Judgement { before, unknown, .. } = &report.judgement;
    let found = &report.judgement;
    let seconds = |name: &'static str, figure: Option<f64>, says: &str| {
        let value = figure.map_or("n/a".to_owned(), |seconds| format!("{seconds:.2}"));
        // What the verdict says is not said again.
        let why = unknown.get(name).map_or("", |why| if *why == found.why { "as said below" } else { why });
        vec![says.to_owned(), value, "s".to_owned(), why.to_owned()]
    };
    let count =
        |says: &str, count: u64| vec![says.to_owned(), count.to_string(), String::new(), String::new()];
    let ms = |says: &str, figure: Option<f64>| {
        let value = figure.map_or("n/a".to_owned(), |ms| format!("{ms:.1}"));
        vec![says.to_owned(), value, "ms".to_owned(), String::new()]
    };
    let late = match found.late {
        Some(late) => count("late: after the kill, and later than any before", late),
        None => seconds("late", None, "late: after the kill, and later than any before"),
    };
    let rows = vec![
        seconds("seconds_to_drop", found.seconds_to_drop, "from the kill to the drop of the throughput"),
        seconds(
            "seconds_to_recover",
            found.seconds_to_recover,
            "time to recover: from there to the offered rate",
        ),
        seconds(
            "seconds_to_catch_up",
            found.seconds_to_catch_up,
            "from the kill until the backlog was as before",
        ),
        seconds("seconds_to_p99", found.seconds_to_p99, "from the kill until p99 was as before"),
        seconds(
            "latency_debt_seconds",
            found.latency_debt_seconds,
            "latency debt until then, over all items",
        ),
        count("lost: taken and never answered", found.lost),
        count("never taken: due when the run had ended", found.never_taken),
        count("duplicated", found.duplicated + found.unexpected),
        count("failed after the kill", found.failed),
        late,
        ms("p99 before the kill", before.map(|before| before.p99_ms)),
        ms("highest p99 of a window before it", before.map(|before| before.highest_window_p99_ms)),
    ];
    Grid {
        caption: "What the kill came to".into(),
        columns: &["figure", "value#", "unit", "why it is not known"],
        rows,
    }
}

/// What it came to, in words: the verdict, what was killed, and what to know of it.
#[must_use]
pub fn words(report: &Report) -> Vec<String> {
    let Report { backend, judgement, killed, run_failed, .. } = report;
    let mut words = vec![format!("{backend}: {}: {}", judgement.verdict.name(), judgement.why)];
    let at = killed.at.map_or(String::new(), |at| format!(" ({at})"));
    let what = match (&killed.operator, &killed.processes[..]) {
        (Some(operator), _) => format!("operator {operator} panicked at query {}", killed.after),
        (None, [first, more @ ..]) => {
            let more = if more.is_empty() { String::new() } else { format!(" and {} below it", more.len()) };
            let what = killed.what.name();
            format!(
                "killed {what} after {} answers: process {}{more}, {}",
                killed.after,
                first.pid,
                first.shown()
            )
        }
        (None, []) => format!("killed {}", killed.what.name()),
    };
    words.push(format!("{what}, {:.2} s after the first arrival{at}", report.killed_after_seconds));
    if killed.in_flight == Some(0) {
        words.push("no query was under way at that moment: nothing was there to be lost".to_owned());
    }
    if killed.calls == Some(0) {
        words.push("no answer before it bears the work of what was killed".to_owned());
    }
    if let Some(why) = run_failed.as_ref().filter(|why| !judgement.why.contains(why.as_str())) {
        words.push(format!("the run ended without a result: {why}"));
    }
    let share =
        report.share.map_or(String::new(), |share| format!(", {:.0} % of the closed loop's", share * 100.0));
    words.push(format!("load: {} arrivals at {:.1}/s{share}", report.arrivals, report.rate));
    if !report.doubts.is_empty() {
        words.push(format!("the run is INVALID: {}", report.doubts.join(", ")));
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;
    use bench_judge::recovery::{Answer, Arrival, Course, judge};
    use bench_record::evidence::{Killed, KilledProcess, Victim};
    use bench_record::time::UtcTime;

    /// A hundred a second for a minute, each answered after 10 ms, but for what comes within `outage` after 24 s.
    fn report(outage: f64, lost: usize) -> Report {
        let arrivals = (0..6_000).map(|number| {
            let due = f64::from(number) / 100.0;
            let at = if (24.0..24.0 + outage).contains(&due) { 24.0 + outage } else { due } + 0.01;
            Arrival { due, answer: Some(Answer { at, ok: true }) }
        });
        let mut arrivals: Vec<Arrival> = arrivals.collect();
        arrivals.iter_mut().skip(2_401).take(lost).for_each(|arrival| arrival.answer = None);
        let course = Course {
            arrivals,
            settle: 1_200,
            taken: 6_000,
            killed_at: 24.0,
            duplicated: 0,
            unexpected: 0,
            broke: None,
        };
        Report {
            backend: "ray".into(),
            workload: "wl4".into(),
            nodes: 1,
            parallelism: 2,
            run_id: "r".into(),
            timestamp: UtcTime::now(),
            config_hash: "c".into(),
            rate: 100.0,
            share: Some(0.8),
            closed_loop_throughput: Some(125.0),
            arrivals: 6_000,
            duration_seconds: 59.99,
            killed: Killed {
                what: Victim::Worker,
                after: 2_400,
                at: None,
                monotonic_ns: Some(1),
                processes: vec![KilledProcess { pid: 77, command: "ray::Front".into() }],
                calls: Some(900),
                in_flight: Some(0),
                operator: None,
            },
            killed_after_seconds: 24.0,
            run_failed: None,
            doubts: Vec::new(),
            judgement: judge(&course),
        }
    }

    #[test]
    fn curves_have_the_kill_and_the_moment_when_it_was_over() {
        let [throughput, latency] = &charts(&report(3.0, 0))[..] else { panic!("two charts") };
        assert!(
            throughput.canvas.description.contains("kill at 24.00 s, at the offered rate at 2"),
            "{}",
            throughput.canvas.description
        );
        assert!(latency.canvas.description.contains("p99 as before at 27"), "{}", latency.canvas.description);
        let [throughput, latency] = &charts(&report(0.0, 0))[..] else { panic!("two charts") };
        for chart in [throughput, latency] {
            assert!(chart.canvas.description.ends_with("kill at 24.00 s."), "{}", chart.canvas.description);
        }
    }

    #[test]
    fn the_words_say_what_was_killed_and_that_nothing_was_under_way() {
        let words = words(&report(0.0, 0)).join("\n");
        assert!(words.starts_with("ray: not felt: neither backlog nor p99 left what they were"), "{words}");
        assert!(
            words.contains("killed a worker after 2400 answers: process 77, ray::Front, 24.00 s after"),
            "{words}"
        );
        assert!(words.contains("no query was under way at that moment"), "{words}");
    }

    #[test]
    fn what_is_not_known_has_its_reason_beside_it_and_what_is_lost_its_number() {
        let grid = grid(&report(0.0, 3));
        let row = |begins: &str| grid.rows.iter().find(|row| row[0].starts_with(begins)).unwrap();
        assert_eq!(
            row("from the kill to the drop")[1..],
            ["n/a", "s", "the backlog never exceeded what it was before the kill"]
        );
        assert_eq!((row("lost")[1].as_str(), row("time to recover")[1].as_str()), ("3", "0.00"));
    }
}
