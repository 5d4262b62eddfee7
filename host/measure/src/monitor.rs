//! Watches a run's process tree from outside: its memory, how many processes it has, what disturbs it while
//! queries are timed, and the CPU time of those of its processes that nobody waits for.
//!
//! Memory is the proportional set size: pages that workers share (the mapped indexes) count once.

mod unwaited;

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::sys::resource::{UsageWho, getrusage};

use self::unwaited::Unwaited;
use super::energy::{Meter, POWERCAP};
use super::guest::Edge;
use super::processes::{Proc, Reading, tree};
use super::window::{Own, disturbance};
use bench_record::evidence::Disturbance;

/// How often memory and processes are looked at.
const PERIOD: Duration = Duration::from_millis(200);
/// Looking at many large processes takes the kernel a while: this many times as long is paused.
const MOST_WORK: u32 = 30;
/// How often the clocks of processes are read that nobody waits for, while no query is timed.
const OFTEN: Duration = Duration::from_millis(10);

/// Why nothing is known of a disturbance when an edge of the timed queries is missing.
const NOT_TIMED: &str = "no query was timed to its end";

/// Memory of a tree over time, in bytes.
pub type Course = Vec<(Instant, u64)>;

/// What was seen of a run's tree.
#[derive(Debug, Clone)]
pub struct Seen {
    /// Largest of all samples; `None` without one.
    pub peak_bytes: Option<u64>,
    /// Most processes at once.
    pub processes: Option<u64>,
    /// CPU time that the kernel hands to nobody: see `unwaited`.
    pub unwaited: Duration,
    pub memory: Course,
    pub disturbance: Disturbance,
    /// What the machine took from its socket while queries were timed, or why that is not known.
    pub joules: Result<f64, String>,
}

impl Seen {
    /// Of a tree that never was.
    #[must_use]
    pub fn nothing() -> Self {
        let disturbance = Disturbance::unknown(NOT_TIMED);
        let (unwaited, memory) = (Duration::ZERO, Course::new());
        let joules = Err(NOT_TIMED.to_owned());
        Self { peak_bytes: None, processes: None, unwaited, memory, disturbance, joules }
    }
}

/// CPU seconds of the calling process since it started, and the most memory it had, in bytes.
#[must_use]
pub fn own_usage() -> (f64, u64) {
    let usage = getrusage(UsageWho::RUSAGE_SELF).ok();
    let seconds = usage.map_or(0.0, |usage| {
        let micros = |time: nix::sys::time::TimeVal| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6;
        micros(usage.user_time()) + micros(usage.system_time())
    });
    let status = procfs::process::Process::myself().and_then(|process| process.status());
    (seconds, status.ok().and_then(|status| status.vmhwm).unwrap_or(0) * 1024)
}

/// Watches the tree below a process until it is stopped.
pub struct TreeMonitor {
    shared: Arc<Shared>,
    thread: JoinHandle<()>,
    own: Own,
    started: Reading,
    began: Option<Reading>,
    ended: Option<Reading>,
}

struct Shared {
    proc: Proc,
    root: i32,
    stop: AtomicBool,
    /// Queries are being timed.
    timing: AtomicBool,
    samples: Mutex<Samples>,
}

#[derive(Default)]
struct Samples {
    peak_bytes: Option<u64>,
    processes: Option<u64>,
    memory: Course,
    unwaited: Unwaited,
    /// There is one from the first timed query on.
    energy: Option<Result<Meter, String>>,
}

impl Samples {
    fn look_at_energy(&mut self) {
        self.energy.iter_mut().flatten().for_each(Meter::look);
    }

    fn joules(&self, window: Option<f64>) -> Result<f64, String> {
        let (Some(meter), Some(window)) = (&self.energy, window) else { return Err(NOT_TIMED.to_owned()) };
        meter.as_ref().map_err(String::clone)?.joules(Duration::try_from_secs_f64(window).unwrap_or_default())
    }
}

impl TreeMonitor {
    /// Watches everything below process `root`, `root` included. What is below `servers` is neither the run's nor
    /// others'.
    #[must_use]
    pub fn start(root: u32, servers: Vec<i32>) -> Self {
        let root = root as i32;
        let shared = Arc::new(Shared {
            proc: Proc::default(),
            root,
            stop: AtomicBool::new(false),
            timing: AtomicBool::new(false),
            samples: Mutex::default(),
        });
        let thread = std::thread::spawn({
            let shared = Arc::clone(&shared);
            move || shared.watch()
        });
        let own = Own { root, host: std::process::id() as i32, servers, ..Own::default() };
        let started = shared.proc.read();
        Self { shared, thread, own, started, began: None, ended: None }
    }

    /// The first timed query was handed out, or the last was answered. What the machine does is read here
    /// and now, by the caller's thread.
    pub fn edge(&mut self, edge: Edge) {
        let reading = self.shared.proc.read();
        self.shared.timing.store(edge == Edge::Began, Ordering::Relaxed);
        match edge {
            Edge::Began => {
                self.began = Some(reading);
                self.shared.samples().energy = Some(Meter::start(Path::new(POWERCAP)));
            }
            Edge::Ended => {
                self.shared.samples().look_at_energy();
                self.ended = Some(reading);
                // A short run may end before its tree is looked at again, and it is never larger than now.
                self.shared.sample();
            }
        }
        self.thread.thread().unpark();
    }

    /// Processes outside of the tree that work for the run.
    pub fn also(&mut self, workers: &[u32]) {
        // Each time all that are known: a plugin may tell as often as it likes.
        self.own.workers = workers.iter().filter_map(|worker| i32::try_from(*worker).ok()).collect();
    }

    /// Stops watching. To be called when everything in the tree has ended; `adopted` are the processes that
    /// the tree's root waited for.
    #[must_use]
    pub fn finish(self, adopted: &[i32]) -> Seen {
        self.shared.stop.store(true, Ordering::Relaxed);
        self.thread.thread().unpark();
        // A thread that panicked leaves what it had seen.
        let _ = self.thread.join();
        let disturbance = match (&self.began, &self.ended) {
            (Some(began), Some(ended)) => disturbance(&self.started, began, ended, &self.own),
            _ => Disturbance::unknown(NOT_TIMED),
        };
        let samples = std::mem::take(&mut *self.shared.samples());
        let joules = samples.joules(disturbance.window_seconds);
        Seen {
            peak_bytes: samples.peak_bytes,
            processes: samples.processes,
            unwaited: samples.unwaited.lost(adopted),
            joules,
            memory: samples.memory,
            disturbance,
        }
    }
}

impl Shared {
    fn samples(&self) -> MutexGuard<'_, Samples> {
        self.samples.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn watch(&self) {
        let mut next = Instant::now();
        while !self.stop.load(Ordering::Relaxed) {
            let now = Instant::now();
            if now >= next {
                self.sample();
                next = Instant::now() + PERIOD.max(now.elapsed() * MOST_WORK);
            } else {
                self.samples().unwaited.look(&self.proc);
            }
            let often = !self.timing.load(Ordering::Relaxed) && self.samples().unwaited.has_living();
            let left = next.saturating_duration_since(Instant::now());
            std::thread::park_timeout(if often { left.min(OFTEN) } else { left });
        }
    }

    /// Looks at the whole tree.
    fn sample(&self) {
        let processes = self.proc.read().processes;
        let found = tree(&processes, self.root);
        if found.is_empty() {
            return;
        }
        let bytes = found.iter().filter_map(|pid| self.proc.bytes(*pid)).sum();
        let mut samples = self.samples();
        if self.timing.load(Ordering::Relaxed) {
            samples.look_at_energy();
        }
        samples.memory.push((Instant::now(), bytes));
        samples.peak_bytes = samples.peak_bytes.max(Some(bytes));
        samples.processes = samples.processes.max(Some(found.len() as u64));
        samples.unwaited.look_at_all(&self.proc, &processes, &found);
    }
}

#[cfg(test)]
mod tests {
    use super::super::processes::tests::MadeUp;
    use super::*;

    fn watching(made: &MadeUp) -> Shared {
        Shared {
            proc: made.proc(),
            root: 10,
            stop: AtomicBool::new(false),
            timing: AtomicBool::new(false),
            samples: Mutex::default(),
        }
    }

    #[test]
    fn a_tree_that_was_never_seen_has_no_peaks() {
        let shared = watching(&MadeUp::new());
        shared.sample();
        let samples = shared.samples();
        assert_eq!((samples.peak_bytes, samples.processes, samples.memory.len()), (None, None, 0));
    }

    #[test]
    fn peaks_are_those_of_the_largest_sample() {
        let made = MadeUp::new();
        let shared = watching(&made);
        made.process(10, 1, 'S', 0, 0);
        made.process(11, 10, 'S', 0, 0);
        shared.sample();
        made.ends(11);
        shared.sample();
        let samples = shared.samples();
        let page = procfs::page_size();
        // Three pages each, from the resident set where the kernel tells no proportional one.
        assert_eq!((samples.peak_bytes, samples.processes), (Some(6 * page), Some(2)));
        let course: Vec<u64> = samples.memory.iter().map(|(_, bytes)| *bytes).collect();
        assert_eq!(course, [6 * page, 3 * page]);
    }

    #[test]
    fn the_end_of_the_timed_queries_is_a_sample() {
        let mut monitor = TreeMonitor::start(std::process::id(), Vec::new());
        monitor.edge(Edge::Began);
        monitor.edge(Edge::Ended);
        let seen = monitor.finish(&[]);
        assert!(seen.processes >= Some(1) && seen.peak_bytes > Some(1 << 20), "{seen:?}");
        assert!(seen.disturbance.window_seconds.is_some_and(|window| window > 0.0), "{seen:?}");
    }

    #[test]
    fn without_timed_queries_the_disturbance_is_unknown() {
        let seen = TreeMonitor::start(std::process::id(), Vec::new()).finish(&[]);
        assert_eq!(seen.disturbance.others, None);
        assert_eq!(seen.disturbance.unknown["others"], NOT_TIMED);
    }

    #[test]
    fn own_usage_is_measured() {
        let (seconds, bytes) = own_usage();
        assert!(seconds > 0.0 && bytes > 1 << 20);
    }
}
