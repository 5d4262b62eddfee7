//! A run in which something was killed: what came due, and what was answered. All times are seconds since the first
//! arrival.

/// An arrival, and its answer, where there is one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Arrival {
    /// By the schedule.
    pub due: f64,
    /// The first.
    pub answer: Option<Answer>,
}

/// An answer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Answer {
    pub at: f64,
    /// Whether it is one, and no failure.
    pub ok: bool,
}

impl Arrival {
    /// How long its answer took.
    #[must_use]
    pub fn waited(&self) -> Option<f64> {
        self.answer.map(|answer| answer.at - self.due)
    }
}

/// The run.
#[derive(Debug, Clone, PartialEq)]
pub struct Course {
    /// Everything that the schedule has, in its order.
    pub arrivals: Vec<Arrival>,
    /// How many of them only settle the backend.
    pub settle: usize,
    /// How many of them the backend took.
    pub taken: u64,
    pub killed_at: f64,
    pub duplicated: u64,
    pub unexpected: u64,
    /// Why the run ended without a result.
    pub broke: Option<String>,
}

impl Course {
    /// When the last arrival was due: what follows only empties the backend.
    #[must_use]
    pub fn last_due(&self) -> f64 {
        self.arrivals.last().map_or(0.0, |arrival| arrival.due)
    }

    /// From when on arrivals count.
    #[must_use]
    pub fn settled_at(&self) -> f64 {
        self.arrivals.get(self.settle).map_or(self.last_due(), |arrival| arrival.due)
    }

    /// Why nobody is answered any more: the run has ended, and what came last has no answer.
    pub(super) fn ended(&self) -> Option<String> {
        let why = self.broke.as_ref()?;
        let unanswered = self.arrivals.last().is_some_and(|arrival| arrival.answer.is_none());
        unanswered.then(|| format!("the run failed: {why}"))
    }

    /// Seconds that each answer took which came after the kill, and the answer.
    pub(super) fn after_kill(&self) -> impl Iterator<Item = (f64, Answer)> {
        let answered = self.arrivals.iter().filter_map(|arrival| Some((arrival.waited()?, arrival.answer?)));
        answered.filter(|(_, answer)| answer.at > self.killed_at)
    }
}
