//! Whose clock a span is by, and how far that clock is from the sink's.
//!
//! The monotonic clocks of two machines have nothing in common but their pace, and not quite that. A span says by a tag
//! in which place it was stamped ([`Place`]); what the backend tells with [`EXTENSION`] says whose place that is, and what
//! its clock showed between a question and its answer. The offset is taken from the answer that was there soonest; it is
//! wrong by half the round trip at most. Told twice, at deploy and at the end, the pace is known as well.
//!
//! Nothing is assumed of a clock that nobody told of: what depends on it is not known.

use std::collections::{BTreeMap, BTreeSet};

use bench_dataflow::frame::Span;
use bench_record::evidence;
use bench_workloads::place::{ClockId, Place};
use bench_workloads::seal::Key;
use serde::{Deserialize, Serialize};

/// The extension of the host by which a backend tells of its workers' clocks, as often as it likes.
pub const EXTENSION: &str = "bench.clocks/1";

/// Most workers and threads that are taken note of: what comes over the channel has an end.
pub const MOST_WORKERS: usize = 4096;
const MOST_THREADS: usize = 1 << 16;
/// Bytes of a host's name.
const LONGEST_NAME: usize = 256;

/// What a backend tells: what each worker process answered to one question.
#[derive(Debug, Deserialize)]
pub struct Told {
    /// The clock that `sent_ns` and `received_ns` are by.
    pub driver: ClockId,
    pub workers: Vec<Reading>,
}

/// A worker process and its clock. The times are missing where nobody asked for them, because the clock is the driver's.
#[derive(Debug, Deserialize)]
pub struct Reading {
    /// The machine, as it calls itself.
    pub host: String,
    #[serde(flatten)]
    pub place: Place,
    pub process: u32,
    /// Numbers of its threads.
    #[serde(default)]
    pub threads: Vec<u32>,
    /// When it was asked, by the driver's clock; what its own clock showed; and when the answer was there.
    #[serde(default)]
    pub sent_ns: Option<u64>,
    #[serde(default)]
    pub read_ns: Option<u64>,
    #[serde(default)]
    pub received_ns: Option<u64>,
    /// What it had used by then.
    #[serde(default)]
    pub usage: Option<Usage>,
}

/// What a process says of itself and of its machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct Usage {
    /// CPU time of all its threads since it started.
    pub cpu_ns: u64,
    /// The most memory that it had at once.
    pub peak_bytes: u64,
    /// CPU time that all cores of the machine were neither idle nor waiting, since it started.
    #[serde(default)]
    pub machine_busy_ns: Option<u64>,
    #[serde(default)]
    pub machine_cores: Option<u32>,
}

impl Reading {
    /// The machine's name, no longer than it may be.
    #[must_use]
    pub fn host_name(&self) -> String {
        self.host.chars().take(LONGEST_NAME).collect()
    }
}

/// A process, by the place that its number is of. Where threads were not told of, each counts as one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Process {
    pub place: u16,
    pub number: u32,
}

/// A moment by the sink's clock, and how far it can be off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    pub ns: u64,
    pub within_ns: u64,
}

/// One answer of a clock, by the sink's.
#[derive(Debug, Clone, Copy)]
struct Sample {
    here_ns: i128,
    there_ns: i128,
    within_ns: u64,
}

/// A clock that is not the sink's.
#[derive(Debug)]
struct Foreign {
    id: ClockId,
    hosts: BTreeSet<String>,
    /// One for each time that was told of it.
    samples: Vec<Sample>,
}

impl Foreign {
    fn moment(&self, there_ns: u64) -> Option<Moment> {
        let (first, last) = (self.samples.first()?, self.samples.last()?);
        let since = i128::from(there_ns) - first.there_ns;
        let here = first.here_ns + since + (since as f64 * self.slower().unwrap_or(0.0)) as i128;
        Some(Moment { ns: u64::try_from(here).unwrap_or(0), within_ns: first.within_ns.max(last.within_ns) })
    }

    /// By what share of a second it falls behind in one.
    fn slower(&self) -> Option<f64> {
        let (first, last) = (self.samples.first()?, self.samples.last()?);
        let (here, there) = (last.here_ns - first.here_ns, last.there_ns - first.there_ns);
        (there > 0).then(|| (here - there) as f64 / there as f64)
    }

    fn evidence(&self) -> evidence::Clock {
        let seconds = |ns: i128| ns as f64 / 1e9;
        let within = self.samples.iter().map(|sample| sample.within_ns).max();
        evidence::Clock {
            hosts: self.hosts.iter().cloned().collect(),
            offset_seconds: self.samples.first().map(|sample| seconds(sample.there_ns - sample.here_ns)),
            within_seconds: within.map(|ns| ns as f64 / 1e9),
            drift_ppm: self.slower().map(|share| -share * 1e6),
        }
    }
}

/// A place that was told of.
#[derive(Debug)]
struct Known {
    place: Place,
    host: String,
    /// Among the foreign ones; absent for the sink's own.
    clock: Option<usize>,
    /// Process by thread.
    processes: BTreeMap<u32, u32>,
    /// Another place has the same tag.
    ambiguous: bool,
}

/// All clocks of a run.
#[derive(Debug, Default)]
pub struct Clocks {
    key: Option<Key>,
    here: Option<Place>,
    own: u16,
    own_is_ambiguous: bool,
    places: BTreeMap<u16, Known>,
    foreign: Vec<Foreign>,
    threads: usize,
    /// The first place of a span whose clock is not known.
    unplaced: Option<u16>,
}

impl Clocks {
    /// Those of a run with this key, whose sink is in this process.
    #[must_use]
    pub fn new(key: Key) -> Self {
        Self::of(key, Place::here().clone())
    }

    fn of(key: Key, here: Place) -> Self {
        let own = here.tag(Some(key));
        Self { key: Some(key), own, here: Some(here), ..Self::default() }
    }

    /// Takes note of what a backend tells.
    pub fn take(&mut self, told: Told) {
        let Some(here) = self.here.clone() else { return };
        let comparable = told.driver == here.clock;
        // The answer that was there soonest is the best of those that came together.
        let mut best: BTreeMap<usize, Sample> = BTreeMap::new();
        for reading in told.workers.into_iter().take(MOST_WORKERS) {
            let Some(clock) = self.know(&reading, &here) else { continue };
            let times = (reading.sent_ns, reading.read_ns, reading.received_ns);
            let (Some(sent), Some(read), Some(received)) = times else { continue };
            if !comparable || received < sent {
                continue;
            }
            let sample = Sample {
                here_ns: i128::midpoint(sent.into(), received.into()),
                there_ns: read.into(),
                within_ns: (received - sent).div_ceil(2),
            };
            let least = best.entry(clock).or_insert(sample);
            if sample.within_ns < least.within_ns {
                *least = sample;
            }
        }
        for (clock, sample) in best {
            self.foreign[clock].samples.push(sample);
        }
    }

    /// Takes note of a worker; returns its clock unless it is the sink's.
    fn know(&mut self, reading: &Reading, here: &Place) -> Option<usize> {
        let tag = reading.place.tag(self.key);
        if reading.place == *here {
            return None;
        }
        if tag == self.own {
            self.own_is_ambiguous = true;
            return None;
        }
        let host = reading.host_name();
        if self.places.len() >= MOST_WORKERS && !self.places.contains_key(&tag) {
            return None;
        }
        let foreign = &mut self.foreign;
        let known = self.places.entry(tag).or_insert_with(|| {
            let id = &reading.place.clock;
            let clock = (*id != here.clock).then(|| {
                foreign.iter().position(|other| other.id == *id).unwrap_or_else(|| {
                    foreign.push(Foreign { id: id.clone(), hosts: BTreeSet::new(), samples: Vec::new() });
                    foreign.len() - 1
                })
            });
            let place = reading.place.clone();
            Known { place, host: host.clone(), clock, processes: BTreeMap::new(), ambiguous: false }
        });
        if known.place != reading.place {
            known.ambiguous = true;
            return None;
        }
        for thread in reading.threads.iter().chain([&reading.process]) {
            if self.threads < MOST_THREADS {
                self.threads += usize::from(known.processes.insert(*thread, reading.process).is_none());
            }
        }
        let clock = known.clock?;
        self.foreign[clock].hosts.insert(host);
        Some(clock)
    }

    /// The sink's own place.
    #[must_use]
    pub fn here(&self) -> Option<&Place> {
        self.here.as_ref()
    }

    /// A place that was told of.
    #[must_use]
    pub fn place(&self, tag: u16) -> Option<&Place> {
        self.places.get(&tag).map(|known| &known.place)
    }

    /// The tag of the sink's own place.
    #[must_use]
    pub fn own(&self) -> u16 {
        self.own
    }

    /// Whether a span was stamped in the sink's own place, where clock and threads need no telling.
    #[must_use]
    pub fn is_here(&self, span: &Span) -> bool {
        span.place == self.own
    }

    /// When a span started, by the sink's clock; nothing where that cannot be told.
    #[must_use]
    pub fn start(&self, span: &Span) -> Option<Moment> {
        self.moment(span.place, span.start_ns)
    }

    /// A time of a place, by the sink's clock.
    #[must_use]
    pub fn moment(&self, place: u16, ns: u64) -> Option<Moment> {
        if place == self.own {
            return (!self.own_is_ambiguous).then_some(Moment { ns, within_ns: 0 });
        }
        let known = self.places.get(&place).filter(|known| !known.ambiguous)?;
        known.clock.map_or(Some(Moment { ns, within_ns: 0 }), |clock| self.foreign[clock].moment(ns))
    }

    /// The process of a thread of another place.
    #[must_use]
    pub fn process(&self, place: u16, thread: u32) -> Process {
        let told = self.places.get(&place).and_then(|known| known.processes.get(&thread));
        Process { place, number: told.copied().unwrap_or(thread) }
    }

    /// What a place calls its machine; nothing for the sink's own and for those that nobody told of.
    #[must_use]
    pub fn host(&self, place: u16) -> Option<&str> {
        self.places.get(&place).map(|known| known.host.as_str())
    }

    /// What was missed may be known by now.
    pub fn forget_misses(&mut self) {
        self.unplaced = None;
    }

    /// A span by no known clock was met.
    pub fn miss(&mut self, span: &Span) {
        self.unplaced.get_or_insert(span.place);
    }

    /// Why times of spans cannot be held against each other, if that is so.
    #[must_use]
    pub fn unknown(&self) -> Option<String> {
        let tag = self.unplaced?;
        Some(match self.places.get(&tag) {
            None if tag == self.own => TOGETHER.to_owned(),
            None => "operators ran by a clock that the backend said nothing of".to_owned(),
            Some(known) if known.ambiguous => TOGETHER.to_owned(),
            Some(known) => {
                format!("the clock of `{}` was never compared with that of this machine", known.host)
            }
        })
    }

    /// For the record: every clock that is not the sink's.
    #[must_use]
    pub fn evidence(&self) -> Vec<evidence::Clock> {
        self.foreign.iter().map(Foreign::evidence).collect()
    }
}

const TOGETHER: &str = "two places of this run have equal tags by chance, so that their spans cannot be told apart: \
                        the next run will have others";

/// A process that results came from, for the reply: where it is not of this place, with the name of its machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerUse {
    pub host: Option<String>,
    pub process: u32,
    pub spans: u64,
}

#[cfg(test)]
pub(super) mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn key() -> Key {
        "0000000000000001".to_owned().try_into().unwrap()
    }

    pub fn place(boot: &str) -> Place {
        Place { clock: ClockId { boot: boot.into(), time: String::new() }, pids: "pids".into() }
    }

    /// A run whose sink is on `here`.
    pub fn clocks() -> Clocks {
        Clocks::of(key(), place("here"))
    }

    /// What host `boot` answered, once for each (sent, read, received).
    pub fn told(boot: &str, answers: &[(u64, u64, u64)]) -> Told {
        let workers: Vec<Value> = answers
            .iter()
            .map(|(sent, read, received)| {
                json!({"host": format!("host-{boot}"), "boot": boot, "time": "", "pids": "pids", "process": 7,
                       "threads": [7, 8], "sent_ns": sent, "read_ns": read, "received_ns": received})
            })
            .collect();
        serde_json::from_value(json!({"driver": {"boot": "here", "time": ""}, "workers": workers})).unwrap()
    }

    pub fn tag(boot: &str) -> u16 {
        place(boot).tag(Some(key()))
    }

    #[test]
    fn the_offset_is_that_of_the_soonest_answer_and_wrong_by_half_its_way_at_most() {
        let mut clocks = clocks();
        clocks.take(told("b", &[(1_000, 500_900, 2_000), (3_000, 502_050, 3_100), (4_000, 504_000, 9_000)]));
        // It was 502,050 there when it was 3,050 here, give or take 50.
        let moment = clocks.moment(tag("b"), 502_250);
        assert_eq!(moment, Some(Moment { ns: 3_250, within_ns: 50 }));
        let [clock] = &clocks.evidence()[..] else { panic!("one clock") };
        assert_eq!(clock.hosts, ["host-b"]);
        assert_eq!((clock.offset_seconds, clock.within_seconds), (Some(499e-6), Some(50e-9)));
    }

    #[test]
    fn a_clock_that_goes_faster_is_followed_from_deploy_to_end() {
        let mut clocks = clocks();
        let day = 100_000_000_000_000;
        clocks.take(told("b", &[(1_000_000, day, 1_000_000)]));
        // It gains a thousandth.
        clocks.take(told("b", &[(2_000_000, day + 1_001_000, 2_000_000)]));
        let ns = |there| clocks.moment(tag("b"), there).unwrap().ns;
        assert_eq!((ns(day), ns(day + 1_001_000)), (1_000_000, 2_000_000));
        assert!(ns(day + 500_500).abs_diff(1_500_000) <= 1);
        assert!(clocks.evidence()[0].drift_ppm.unwrap() > 998.0, "{:?}", clocks.evidence());
    }

    #[test]
    fn a_clock_that_nobody_told_of_is_unknown_and_so_is_one_that_was_not_compared() {
        let mut clocks = clocks();
        let span = |boot| Span {
            start_ns: 1,
            busy_ns: 1,
            digest: 0,
            worker: 1,
            node: 0,
            instance: 0,
            place: tag(boot),
            seal: 0,
        };
        assert_eq!(clocks.start(&span("here")), Some(Moment { ns: 1, within_ns: 0 }));
        assert_eq!((clocks.start(&span("b")), clocks.unknown()), (None, None));
        clocks.miss(&span("b"));
        assert!(clocks.unknown().unwrap().ends_with("the backend said nothing of"));
        let mut elsewhere = told("b", &[(1, 2, 3)]);
        elsewhere.driver.boot = "c".into();
        clocks.take(elsewhere);
        assert_eq!(clocks.start(&span("b")), None);
        assert!(clocks.unknown().unwrap().starts_with("the clock of `host-b` was never compared"));
    }

    #[test]
    fn a_container_of_this_machine_has_its_clock_and_threads_of_its_own() {
        let mut clocks = clocks();
        let mut told = told("here", &[(1, 2, 3)]);
        told.workers[0].place.pids = "others".into();
        let other = told.workers[0].place.tag(Some(key()));
        clocks.take(told);
        assert_eq!(clocks.moment(other, 55), Some(Moment { ns: 55, within_ns: 0 }));
        assert_eq!(clocks.process(other, 8), Process { place: other, number: 7 });
        assert_eq!(clocks.process(other, 9), Process { place: other, number: 9 });
        assert!(clocks.evidence().is_empty());
    }

    #[test]
    fn times_that_cannot_be_are_no_comparison_and_nothing_overflows() {
        let mut clocks = clocks();
        clocks.take(told("b", &[(3, 2, 1)]));
        assert_eq!(clocks.moment(tag("b"), 5), None);
        clocks.take(told("b", &[(0, u64::MAX, u64::MAX)]));
        clocks.take(told("b", &[(u64::MAX, 0, u64::MAX)]));
        assert!(clocks.moment(tag("b"), 0).is_some() && clocks.moment(tag("b"), u64::MAX).is_some());
    }
}
