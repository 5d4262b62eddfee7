//! The supervisor's own account of a run: from the items that the sink took.
//!
//! Source and sink share an address space with the plugin, so nothing of the runner's reply is taken on trust. What
//! items say is counted anew here, in a process that no plugin is in; a reply that says otherwise is none.

use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime};

use bench_record::evidence::Steady;
use bench_record::histogram::{self, Interval, LatencyHistogram};
use bench_workloads::records::Goals;

use super::bounds::{Bounds, Broken, Tally};
use super::course::{Begun, Course, Cut};
use super::digest::output_digest;
use super::generation::Calls;
use super::item::Item;
use super::operation::{Measured, throughput};

/// What the sink took.
#[derive(Debug, Default)]
pub struct Received {
    pub completed: u64,
    pub failed: u64,
    pub timed_completed: u64,
    pub timed_failed: u64,
    /// Emission of the first timed query, and its answer of the last. Monotonic nanoseconds.
    pub first_timed_ns: Option<u64>,
    pub last_ns: Option<u64>,
    /// Emission of the first query, timed or not, and when items were finished, in the order in which the sink took
    /// them.
    first_ns: Option<u64>,
    course: Course,
    tally: Tally,
    /// Earliest and latest time of all.
    pub(super) times: Option<(u64, u64)>,
    /// Items that were answered before they were handed out.
    pub(super) backwards: u64,
    /// Of timed answers: from the intended arrival, and from the emission.
    pub response: LatencyHistogram,
    pub service: LatencyHistogram,
    /// Of timed answers, what a language model took for them.
    pub calls: Calls,
}

impl Received {
    /// Nothing yet, of a run whose answers of a language model are good by these `goals`, and which is over when it
    /// breaks one of these `bounds`.
    #[must_use]
    pub fn within(goals: Goals, bounds: Bounds) -> Self {
        Self { calls: Calls::with_goals(goals), tally: Tally::new(bounds), ..Self::default() }
    }

    /// Counts `items`, and digests what they answer, with files in `scratch` while it goes on.
    ///
    /// # Errors
    /// When an item cannot be read. That the digest cannot be made costs the digest alone.
    pub fn count(
        mut self,
        items: impl Iterator<Item = io::Result<Item>>,
        scratch: &Path,
    ) -> io::Result<(Self, io::Result<String>)> {
        let mut unreadable = None;
        let mut items = items.map_while(|item| item.map_err(|cause| unreadable = Some(cause)).ok());
        let good = items.by_ref().inspect(|item| self.take(item)).filter(|item| item.ok);
        let digest = output_digest(good.map(|item| Ok((item.query_id, item.digest))), scratch);
        // Where the digest gave up, the rest is counted all the same.
        items.for_each(|item| self.take(&item));
        unreadable.map_or(Ok((self, digest)), Err)
    }

    /// Counts `items` again, with all before `cut` as warm-up. From there on the backend was as busy as it gets, so the
    /// time of the rest begins with the last answer of the warm-up and not with an emission.
    ///
    /// # Errors
    /// When an item cannot be read.
    pub fn after(&self, cut: Cut, items: impl Iterator<Item = io::Result<Item>>) -> io::Result<Self> {
        let mut rest = Self { calls: self.calls.anew(), ..Self::default() };
        for (number, item) in (0..).zip(items) {
            let item = item?;
            rest.take(&Item { timed: item.timed && !cut.takes(number), ..item });
        }
        rest.first_timed_ns = rest.first_timed_ns.and(Some(cut.at_ns));
        Ok(rest)
    }

    /// From when on the run was steady, and where its warm-up ends, if it has one within what is timed. `at_once` is
    /// how many queries may be under way.
    #[must_use]
    pub fn settling(&self, at_once: u32) -> Option<(Steady, Option<Cut>)> {
        let (first_ns, timed_ns) = self.first_ns.zip(self.first_timed_ns)?;
        let usual_ns = self.service.quantile(0.5).map_or(0.0, |ms| ms.get() * 1e6) as u64;
        let begun = Begun { first_ns, timed_ns, usual_ns, at_once: at_once.into() };
        let (steady, cut) = self.course.judge(begun);
        Some((steady, cut.filter(|cut| cut.at_ns > timed_ns)))
    }

    /// The bound that was broken, by which a run is over.
    #[must_use]
    pub fn broken(&self) -> Option<Broken> {
        self.tally.broken()
    }

    /// Makes a reply that has been held against all that was received state what is timed of it.
    pub fn restate(&self, measured: &mut Measured) {
        measured.timed = self.timed_completed + self.timed_failed;
        measured.timed_completed = self.timed_completed;
        measured.throughput = self.throughput();
        measured.latency_p50 = self.response.quantile(0.50);
        measured.latency_p95 = self.response.quantile(0.95);
        measured.latency_p99 = self.response.quantile(0.99);
        measured.service_p50 = self.service.quantile(0.50);
        measured.service_p99 = self.service.quantile(0.99);
    }

    fn take(&mut self, item: &Item) {
        self.course.take(item.answered_ns);
        self.tally.take(item.timed, item.ok, item.response());
        self.first_ns = Some(self.first_ns.map_or(item.emitted_ns, |ns| ns.min(item.emitted_ns)));
        self.completed += u64::from(item.ok);
        self.failed += u64::from(!item.ok);
        self.backwards += u64::from(item.emitted_ns > item.answered_ns);
        let (earliest, latest) = self.times.get_or_insert((item.emitted_ns, item.answered_ns));
        *earliest = (*earliest).min(item.emitted_ns).min(item.intended_ns);
        *latest = (*latest).max(item.answered_ns);
        if !item.timed {
            return;
        }
        self.timed_completed += u64::from(item.ok);
        self.timed_failed += u64::from(!item.ok);
        self.first_timed_ns = Some(self.first_timed_ns.map_or(item.emitted_ns, |ns| ns.min(item.emitted_ns)));
        self.last_ns = self.last_ns.max(Some(item.answered_ns));
        if item.ok {
            self.response.record(item.response());
            self.service.record(item.service());
            item.call.iter().for_each(|call| self.calls.take(call, item.service(), item.wordless));
        }
    }

    /// From the first timed emission to the last answer.
    #[must_use]
    pub fn window(&self) -> Option<Duration> {
        let (first, last) = self.first_timed_ns.zip(self.last_ns)?;
        Some(Duration::from_nanos(last.saturating_sub(first)))
    }

    /// Completed timed items per second.
    #[must_use]
    pub fn throughput(&self) -> f64 {
        throughput(self.timed_completed, self.first_timed_ns, self.last_ns)
    }

    /// Where a reply says something else than what was received.
    #[must_use]
    pub fn contradictions(&self, said: &Measured) -> Vec<String> {
        let mut wrongs = Vec::new();
        let mut compare = |what: &str, said: f64, received: f64| {
            // A number loses its last digit on its way through JSON.
            if (said - received).abs() > received.abs() * 1e-9 {
                wrongs.push(format!("its reply states {said} {what}, and bench received {received}"));
            }
        };
        compare("answers", said.completed as f64, self.completed as f64);
        compare("failed items", said.failed as f64, self.failed as f64);
        compare("timed answers", said.timed_completed as f64, self.timed_completed as f64);
        // Queries without an answer are no items; a reply that has any is refused for them.
        compare(
            "queries with an answer",
            said.emitted.saturating_sub(said.missing) as f64,
            (self.completed + self.failed) as f64,
        );
        if said.missing == 0 {
            compare("timed items", said.timed as f64, (self.timed_completed + self.timed_failed) as f64);
        }
        compare("answers a second", said.throughput, self.throughput());
        let of = |histogram: &LatencyHistogram, quantile| histogram.quantile(quantile);
        let percentiles = [
            ("p50", said.latency_p50, of(&self.response, 0.50)),
            ("p95", said.latency_p95, of(&self.response, 0.95)),
            ("p99", said.latency_p99, of(&self.response, 0.99)),
            ("p50 of service", said.service_p50, of(&self.service, 0.50)),
            ("p99 of service", said.service_p99, of(&self.service, 0.99)),
        ];
        for (what, said, received) in percentiles {
            let ms = |value: Option<bench_record::units::Millis>| value.map_or(0.0, |ms| ms.get());
            compare(&format!("ms of {what}"), ms(said), ms(received));
        }
        wrongs
    }

    /// The latencies as the log of a run that took so long and is just over.
    ///
    /// # Errors
    /// Of a histogram that cannot be encoded; none that was counted here.
    pub fn latencies(&self, wall_seconds: f64) -> bench_record::Result<Vec<u8>> {
        let length = Duration::try_from_secs_f64(wall_seconds).unwrap_or_default();
        let interval = |tag: &str, latencies: &LatencyHistogram| Interval {
            tag: Some(tag.to_owned()),
            start: Duration::ZERO,
            length,
            latencies: latencies.clone(),
        };
        let items = [(histogram::RESPONSE, &self.response), (histogram::SERVICE, &self.service)];
        let all = items.into_iter().chain(self.calls.tagged());
        let intervals: Vec<Interval> = all.map(|(tag, latencies)| interval(tag, latencies)).collect();
        let began = SystemTime::now().checked_sub(length).unwrap_or(SystemTime::UNIX_EPOCH);
        histogram::log(began, &intervals)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use bench_workloads::records::Call;

    use super::*;

    pub const MS: u64 = 1_000_000;

    fn item(number: u64, emitted_ns: u64, answered_ns: u64) -> Item {
        Item {
            query_id: format!("q{number}"),
            ok: number != 3,
            digest: [number as u8; 32],
            intended_ns: emitted_ns,
            emitted_ns,
            answered_ns,
            timed: number > 0,
            stages: Vec::new(),
            call: None,
            wordless: false,
        }
    }

    /// Five items a millisecond apart, each answered after two; the first is not timed, the fourth failed.
    pub fn received(from_ns: u64) -> Received {
        let items = (0..5).map(|i| item(i, from_ns + i * MS, from_ns + i * MS + 2 * MS));
        Received::default().count(items.map(Ok), &std::env::temp_dir()).unwrap().0
    }

    pub fn said(received: &Received) -> Measured {
        let mut said = Measured {
            completed: received.completed,
            failed: received.failed,
            emitted: received.completed + received.failed,
            ..Measured::default()
        };
        received.restate(&mut said);
        said
    }

    #[test]
    fn items_are_counted_and_timed() {
        let received = received(0);
        assert_eq!((received.completed, received.failed), (4, 1));
        assert_eq!((received.timed_completed, received.timed_failed), (3, 1));
        assert_eq!(received.window(), Some(Duration::from_millis(5)));
        assert!((received.throughput() - 600.0).abs() < 1e-9);
        assert_eq!(received.contradictions(&said(&received)), Vec::<String>::new());
    }

    #[test]
    fn what_comes_before_the_cut_is_received_and_not_timed() {
        // The third answer is the last of the warm-up, four milliseconds after the first query.
        let cut = Cut { items: 3, at_ns: 4 * MS };
        let items = (0..5).map(|i| item(i, i * MS, i * MS + 2 * MS));
        let goals = Goals { ttft_ms: Some(1.0), tpot_ms: None };
        let call = Call { latency_us: 900, first_us: Some(500), last_us: Some(800), ..Call::default() };
        let items = items.map(|item| Ok(Item { call: Some(call.clone()), ..item }));
        let all = Received::within(goals, Bounds::default());
        let rest = all.after(cut, items).unwrap();
        let generation = rest.calls.evidence(rest.window()).unwrap();
        assert_eq!((generation.answers, generation.goodput.map(|good| good.answers)), (1, Some(1)));
        assert_eq!((rest.completed, rest.failed), (4, 1));
        assert_eq!((rest.timed_completed, rest.timed_failed), (1, 1));
        assert_eq!(rest.window(), Some(Duration::from_millis(2)));
        let mut measured = said(&received(0));
        rest.restate(&mut measured);
        assert_eq!((measured.timed, measured.timed_completed, measured.completed), (2, 1, 4));
        assert!((measured.throughput - 500.0).abs() < 1e-9, "{}", measured.throughput);
        // What was received says nothing else than before.
        assert_eq!(rest.contradictions(&measured), Vec::<String>::new());
    }

    #[test]
    fn warm_up_is_found_by_the_answers_themselves() {
        let of = |slow: u64| {
            let mut now_ns = 0;
            let items = (0..1_000).map(move |number| {
                let emitted_ns = now_ns;
                now_ns += if number < slow { 10 * MS } else { MS };
                Ok(Item { ok: true, ..item(number + 1, emitted_ns, now_ns) })
            });
            Received::default().count(items, &std::env::temp_dir()).unwrap().0.settling(16).unwrap()
        };
        let (steady, cut) = of(100);
        let cut = cut.unwrap();
        assert!((80..=120).contains(&cut.items), "{cut:?}");
        assert_eq!(steady.warmup_items, Some(cut.items));
        assert_eq!(of(0).1, None);
    }

    #[test]
    fn a_reply_that_says_something_else_is_contradicted() {
        let received = received(0);
        let more = Measured { completed: 1_000, throughput: 9.9e9, ..said(&received) };
        let wrongs = received.contradictions(&more).join("; ");
        assert!(wrongs.contains("its reply states 1000 answers, and bench received 4"), "{wrongs}");
        assert!(wrongs.contains("9900000000 answers a second, and bench received 600"), "{wrongs}");
        let faster = Measured { latency_p50: None, ..said(&received) };
        assert_eq!(
            received.contradictions(&faster),
            ["its reply states 0 ms of p50, and bench received 2.000895"]
        );
    }

    #[test]
    fn failures_and_queries_that_a_reply_keeps_silent_about_are_missed() {
        let received = received(0);
        let fewer = Measured { timed: 3, emitted: 40, ..said(&received) };
        assert_eq!(
            received.contradictions(&fewer),
            [
                "its reply states 40 queries with an answer, and bench received 5",
                "its reply states 3 timed items, and bench received 4"
            ]
        );
    }

    #[test]
    fn an_item_that_cannot_be_read_is_an_error() {
        let items = [Ok(item(0, 0, 1)), Err(io::Error::other("cut short"))];
        let error = Received::default().count(items.into_iter(), &std::env::temp_dir()).unwrap_err();
        assert_eq!(error.to_string(), "cut short");
    }
}
