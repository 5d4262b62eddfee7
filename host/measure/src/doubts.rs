//! What spans say is what came back from a backend: whether it can be, by the host's own clock.
//!
//! A span that cannot be is counted and belongs to no figure, and then there are no figures of operators: what is left
//! of them would look whole. The limits are such that no true span ever exceeds one:
//!
//! * an operator starts after its query was handed out and before that query was answered;
//! * it was not busy for longer than there was time since the run began: a span may bear the time of earlier calls that
//!   emitted nothing, so its end says nothing;
//! * all of them together were not busy for longer than all threads and instances that were seen had time.

use bench_dataflow::frame::Span;
use serde::{Deserialize, Serialize};

use super::clocks::Moment;

/// What cannot be, so far.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Doubts {
    /// Spans.
    pub spans: u64,
    /// What is wrong with the first of them, and its node.
    pub first: Option<(u16, String)>,
    /// Nanoseconds that operators say they were busy, and those there were, where that is more.
    pub busier: Option<(u64, u64)>,
}

impl Doubts {
    /// Whether there is one.
    #[must_use]
    pub fn any(&self) -> bool {
        self.spans > 0 || self.busier.is_some()
    }

    /// Whether a span can be, of a run that began at `began_ns`, on a record that was handed out at `emitted_ns` (if
    /// the operator is one that queries pass) and answered at `answered_ns`. Takes note of one that cannot. `start` is
    /// when it started by this clock; where that is not known, nothing of it is doubted.
    pub fn admit(
        &mut self,
        span: &Span,
        start: Option<Moment>,
        began_ns: u64,
        emitted_ns: Option<u64>,
        answered_ns: u64,
    ) -> bool {
        let seconds = |ns: u64| ns as f64 / 1e9;
        let earliest = emitted_ns.unwrap_or(began_ns);
        let time = answered_ns.saturating_sub(began_ns);
        let (from, to) = start.map_or((answered_ns, earliest), |start| {
            (start.ns.saturating_add(start.within_ns), start.ns.saturating_sub(start.within_ns))
        });
        let wrong = if from < earliest {
            let what = if emitted_ns.is_some() { "its query was handed out" } else { "the run began" };
            format!("started {:.6} s before {what}", seconds(earliest - from))
        } else if to > answered_ns {
            format!("started {:.6} s after its query was answered", seconds(to - answered_ns))
        } else if span.busy_ns > time {
            format!(
                "was busy for {:.6} s in the first {:.6} s of the run",
                seconds(span.busy_ns),
                seconds(time)
            )
        } else {
            return true;
        };
        self.spans += 1;
        self.first.get_or_insert((span.node, wrong));
        false
    }

    /// Operators were busy for `busy_ns` in all, by those spans that can be, where `lanes` threads and instances had
    /// `time_ns` each.
    pub fn sum(&mut self, busy_ns: u64, lanes: u64, time_ns: u64) {
        let most = time_ns.saturating_mul(lanes);
        if busy_ns > most {
            self.busier = Some((busy_ns, most));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(start_ns: u64, busy_ns: u64) -> Span {
        Span { start_ns, busy_ns, digest: 0, worker: 1, node: 3, instance: 0, place: 0, seal: 0 }
    }

    /// Of a query that was handed out at 1,000 and answered at 2,000, in a run that began at 500.
    fn first_doubt(span: Span, on_path: bool) -> Option<String> {
        let mut doubts = Doubts::default();
        let start = Moment { ns: span.start_ns, within_ns: 0 };
        let admitted = doubts.admit(&span, Some(start), 500, on_path.then_some(1_000), 2_000);
        assert_eq!(admitted, !doubts.any());
        doubts.first.map(|(_, wrong)| wrong)
    }

    #[test]
    fn a_span_within_its_query_can_be_and_may_bear_the_time_of_earlier_calls() {
        assert_eq!(first_doubt(span(1_000, 1_000), true), None);
        assert_eq!(first_doubt(span(1_900, 1_500), true), None);
        assert_eq!(first_doubt(span(2_000, 0), true), None);
    }

    #[test]
    fn an_operator_that_queries_do_not_pass_may_have_worked_before_the_query_was_handed_out() {
        assert_eq!(first_doubt(span(600, 100), false), None);
        assert!(first_doubt(span(600, 100), true).unwrap().ends_with("before its query was handed out"));
        assert!(first_doubt(span(499, 1), false).unwrap().ends_with("before the run began"));
    }

    #[test]
    fn a_span_of_another_clock_is_doubted_beyond_what_that_is_known_to_and_one_of_an_unknown_clock_never() {
        let admit = |start| Doubts::default().admit(&span(0, 1), start, 500, Some(1_000), 2_000);
        let at = |ns| Some(Moment { ns, within_ns: 50 });
        assert!(admit(at(950)) && admit(at(2_050)) && admit(None));
        assert!(!admit(at(949)) && !admit(at(2_051)));
        assert!(!Doubts::default().admit(&span(0, 1_501), None, 500, Some(1_000), 2_000));
    }

    #[test]
    fn times_that_wrap_are_as_impossible_as_others() {
        assert!(first_doubt(span(1_000, u64::MAX), true).unwrap().contains("was busy for 18446744073."));
        assert!(first_doubt(span(u64::MAX, 1), true).unwrap().ends_with("after its query was answered"));
    }

    #[test]
    fn all_together_are_busy_no_longer_than_all_threads_have_time() {
        let mut doubts = Doubts::default();
        doubts.sum(3_000, 3, 1_000);
        doubts.sum(u64::MAX, u64::MAX, 2);
        assert!(!doubts.any());
        doubts.sum(3_001, 3, 1_000);
        assert_eq!(doubts.busier, Some((3_001, 3_000)));
    }
}
