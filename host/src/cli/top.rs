//! `--top`: what each stage of a run does while it goes on.
//!
//! Everything is seen at the sink, from the spans of what arrived there since the last look, so it holds for
//! every runtime and adds nothing to what a worker does; it lags behind by the latency of a query.

use std::time::Instant;

use bench_measure::outcome::StageUse;

/// Compares each look with the one before.
#[derive(Default)]
pub struct Top {
    before: Option<(Instant, Vec<StageUse>)>,
}

impl Top {
    /// A line for each stage; nothing at the first look.
    pub fn look(&mut self, now: Instant, stages: &[StageUse]) -> Vec<String> {
        let Some((then, before)) = self.before.replace((now, stages.to_vec())) else { return Vec::new() };
        let seconds = now.duration_since(then).as_secs_f64();
        let width = stages.iter().map(|stage| stage.name.chars().count()).max().unwrap_or(0);
        let pairs = stages.iter().zip(&before).filter(|_| seconds > 0.0);
        pairs.map(|(stage, before)| line(stage, before, seconds, width)).collect()
    }
}

fn line(now: &StageUse, before: &StageUse, seconds: f64, width: usize) -> String {
    let per_second = |now: u64, before: u64| now.saturating_sub(before) as f64 / seconds;
    // Documents leave their spans on whichever query comes next: how many they were is not seen here.
    let rate = if now.on_path {
        format!("{:9.1}/s", per_second(now.records, before.records))
    } else {
        "documents".to_owned() + "  "
    };
    // Little's law: what waits is what arrives times how long it waits.
    let queue = match now.waited_ns.zip(before.waited_ns) {
        Some((now, before)) => format!("{:7.1}", per_second(now, before) / 1e9),
        None => "unknown".to_owned(),
    };
    let busy = per_second(now.busy_ns, before.busy_ns) / 1e9 / f64::from(now.instances.max(1));
    let name = &now.name;
    format!(
        "  {name:width$} {rate}  queue {queue}  busy {:3.0} % of {}",
        (busy * 100.0).min(100.0),
        now.instances
    )
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_stage_is_described_by_what_changed_since_the_last_look() {
        let stage = |name: &str, on_path, records, busy_ns, waited_ns| StageUse {
            name: name.into(),
            on_path,
            records,
            busy_ns,
            waited_ns: Some(waited_ns),
            instances: 2,
        };
        let mut top = Top::default();
        let start = Instant::now();
        let first = [stage("vdb1", true, 100, 0, 0), stage("embed_d", false, 10, 0, 0)];
        assert!(top.look(start, &first).is_empty());
        let second = [
            stage("vdb1", true, 500, 3_000_000_000, 8_000_000_000),
            stage("embed_d", false, 30, 400_000_000, 0),
        ];
        assert_eq!(
            top.look(start + Duration::from_secs(2), &second),
            [
                "  vdb1        200.0/s  queue     4.0  busy  75 % of 2",
                "  embed_d documents    queue     0.0  busy  10 % of 2",
            ]
        );
    }

    #[test]
    fn a_queue_by_clocks_that_are_not_known_is_unknown() {
        let stage = |waited_ns| StageUse {
            name: "vdb1".into(),
            on_path: true,
            records: 1,
            busy_ns: 0,
            waited_ns,
            instances: 1,
        };
        let (mut top, start) = (Top::default(), Instant::now());
        top.look(start, &[stage(Some(0))]);
        let lines = top.look(start + Duration::from_secs(2), &[stage(None)]);
        assert_eq!(lines, ["  vdb1       0.0/s  queue unknown  busy   0 % of 1"]);
    }
}
