//! What is due and not answered, over time.

use super::Course;

/// After this moment so many were due and not answered, some of whom nobody ever answers.
#[derive(Debug, Clone, Copy)]
struct Step {
    at: f64,
    backlog: u64,
    lost: u64,
}

/// The curve, until the last arrival.
pub(super) struct Backlog {
    steps: Vec<Step>,
}

impl Backlog {
    pub(super) fn of(course: &Course) -> Self {
        let arrivals = course.arrivals.iter().map(|arrival| (arrival.due, true, arrival.answer.is_none()));
        let answers = course.arrivals.iter().filter_map(|arrival| Some((arrival.answer?.at, false, false)));
        let mut events: Vec<_> =
            arrivals.chain(answers).filter(|event| event.0 <= course.last_due()).collect();
        // Of what comes at the same time the arrival is first: nothing is answered before it is there.
        events.sort_by(|a, b| a.0.total_cmp(&b.0).then(b.1.cmp(&a.1)));
        let (mut backlog, mut lost) = (0, 0);
        let steps = events.into_iter().map(|(at, arrives, for_ever)| {
            backlog = if arrives { backlog + 1 } else { u64::saturating_sub(backlog, 1) };
            lost += u64::from(for_ever);
            Step { at, backlog, lost }
        });
        Self { steps: steps.collect() }
    }

    /// The largest there was from one moment to another.
    pub(super) fn most(&self, from: f64, until: f64) -> u64 {
        let within = self.steps.iter().filter(|step| (from..=until).contains(&step.at));
        within.map(|step| step.backlog).max().unwrap_or(0)
    }

    /// When, after `from`, it came to exceed `usual` and went on to exceed it clearly: in a longer time chance alone
    /// goes a little further.
    pub(super) fn exceeds(&self, usual: u64, from: f64) -> Option<f64> {
        let clearly = usual + usual / 2 + 2;
        let after = self.steps.partition_point(|step| step.at <= from);
        let clear = after + self.steps[after..].iter().position(|step| step.backlog > clearly)?;
        let last_usual = self.steps[after..clear].iter().rposition(|step| step.backlog <= usual);
        let crossing = last_usual.map_or(after, |at| after + at + 1);
        Some(self.steps[crossing].at)
    }

    /// When, after `from`, it was largest: from then on at every moment as many had been answered as had arrived since.
    pub(super) fn peak(&self, from: f64) -> f64 {
        let after = &self.steps[self.steps.partition_point(|step| step.at < from)..];
        let most = after.iter().map(|step| step.backlog).max().unwrap_or(0);
        after.iter().find(|step| step.backlog == most).map_or(from, |step| step.at)
    }

    /// When, after `from`, it was `usual` again, but for what nobody will ever answer.
    pub(super) fn returns(&self, usual: u64, from: f64) -> Option<f64> {
        let after = self.steps.iter().filter(|step| step.at > from);
        after.into_iter().find(|step| step.backlog.saturating_sub(step.lost) <= usual).map(|step| step.at)
    }
}
