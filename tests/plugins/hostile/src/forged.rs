//! The host's words in a plugin's mouth: it finds the nonce of its call in its own memory and says what it likes on the
//! descriptor that the host's code in its process has.

use std::fs::{self, File};
use std::io::Read as _;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bench_measure::item::Item;
use bench_measure::operation::{Account, ITEMS_FILE, Measured, RunReply};
use bench_measure::received::Received;
use bench_plugin_api::prelude::Spec;
use bench_workloads::instance::monotonic_ns;
use serde_json::{Value, json};

const SIGUSR1: i32 = 10;

// SAFETY: the signatures are those of the C library.
unsafe extern "C" {
    fn write(fd: i32, bytes: *const u8, len: usize) -> isize;
    safe fn pause() -> i32;
    safe fn signal(number: i32, handler: extern "C" fn(i32)) -> usize;
    safe fn tgkill(process: i32, thread: i32, number: i32) -> i32;
}

/// Replies with 40 answers in no time at all, after announcing these.
pub fn in_no_time(announced: &[Value]) -> ! {
    say(announced, reply(no_time()))
}

/// Replies so, and leaves the channel to the host's own code, which knows of no reply.
pub fn and_more() -> ! {
    tell(&[reply(no_time()), json!({"phase": "run"})]);
    super::_exit(0)
}

fn no_time() -> Measured {
    Measured {
        wall_seconds: 1e-9,
        emitted: 40,
        completed: 40,
        timed: 40,
        timed_completed: 40,
        throughput: 9.9e9,
        ..Measured::default()
    }
}

/// Does nothing for a while, writes down that it answered, and replies in accordance with that, but for the lie.
pub fn plausible(spec: &Spec, lie: &str) -> ! {
    const STEP: Duration = Duration::from_millis(2);
    let (phase, edge) = (|name: &str| json!({"phase": name}), |edge: &str| json!({"event": {"timed": edge}}));
    let answered = if lie == "cut_short" || lie == "untold" { 10 } else { spec.total_items };
    let began_ns = monotonic_ns();
    tell(&[edge("began")]);
    let items: Vec<Item> = (0..answered).map(|number| answer(number, lie, STEP)).collect();
    tell(&[edge("ended")]);
    let (received, _) =
        Received::default().count(items.iter().cloned().map(Ok), &std::env::temp_dir()).expect("items");
    let bytes = items.iter().map(|item| postcard::to_stdvec(item).expect("an item"));
    let lines: Vec<u8> =
        bytes.flat_map(|item| [&(item.len() as u32).to_le_bytes()[..], &item].concat()).collect();
    fs::write(items_file(), lines).expect("it is this user's");
    let failed = if lie == "no_failures" { 0 } else { received.failed };
    let wall_seconds = (monotonic_ns() - began_ns) as f64 / 1e9;
    let measured = Measured {
        wall_seconds: if lie == "backwards" { -1.0 } else { wall_seconds },
        emitted: if lie == "untold" { spec.total_items } else { answered },
        completed: if lie == "wrap" { u64::MAX } else { received.completed },
        failed: if lie == "wrap" { u64::MAX } else { received.failed },
        timed: received.timed_completed + failed,
        timed_completed: received.timed_completed,
        throughput: received.throughput(),
        partial: lie == "cut_short",
        latency_p50: received.response.quantile(0.50),
        latency_p95: received.response.quantile(0.95),
        latency_p99: received.response.quantile(0.99),
        service_p50: received.service.quantile(0.50),
        service_p99: received.service.quantile(0.99),
        ..Measured::default()
    };
    let mut reply = reply(measured);
    if lie == "large" {
        reply["reply"]["backend"]["metrics"] = json!({"all": "x".repeat(30 << 20)});
    }
    say(&[phase("measure")], reply)
}

/// One that took a step and, for one of the lies, failed now and then.
fn answer(number: u64, lie: &str, step: Duration) -> Item {
    let emitted_ns = monotonic_ns();
    std::thread::sleep(step);
    Item {
        query_id: format!("q{number}"),
        ok: lie != "no_failures" || !number.is_multiple_of(4),
        digest: [number as u8; 32],
        intended_ns: emitted_ns,
        emitted_ns,
        answered_ns: monotonic_ns(),
        timed: true,
        stages: Vec::new(),
        call: None,
        wordless: false,
    }
}

fn descriptors() -> impl Iterator<Item = (PathBuf, PathBuf)> {
    let entries = fs::read_dir("/proc/self/fd").expect("Linux").flatten();
    entries.filter_map(|entry| Some((entry.path(), fs::read_link(entry.path()).ok()?)))
}

/// Where the host's code in this process keeps its items.
fn items_file() -> PathBuf {
    descriptors().map(|(_, target)| target).find(|target| target.ends_with(ITEMS_FILE)).expect("it is open")
}

/// Announces these, replies, and ends the process; nobody else has a word after the reply.
fn say(announced: &[Value], reply: Value) -> ! {
    let (channel, text) = (channel()[0], lines(&[announced, &[reply]].concat()));
    silence();
    put(channel, &text);
    super::_exit(0)
}

/// Stops every other thread of the process for good. From here on nothing may wait for what one of them holds.
fn silence() {
    static SILENT: AtomicUsize = AtomicUsize::new(0);
    extern "C" fn for_good(_: i32) {
        SILENT.fetch_add(1, Ordering::SeqCst);
        loop {
            pause();
        }
    }
    let own = fs::read_link("/proc/thread-self").expect("Linux");
    let threads = fs::read_dir("/proc/self/task").expect("Linux").flatten().map(|entry| entry.file_name());
    let others: Vec<i32> = threads
        .filter(|name| own.file_name() != Some(name))
        .filter_map(|name| name.to_str()?.parse().ok())
        .collect();
    signal(SIGUSR1, for_good);
    let process = std::process::id() as i32;
    let told = others.into_iter().filter(|thread| tgkill(process, *thread, SIGUSR1) == 0).count();
    while SILENT.load(Ordering::SeqCst) < told {
        std::hint::spin_loop();
    }
}

fn reply(measured: Measured) -> Value {
    let items_processed = measured.completed.saturating_add(measured.failed);
    let backend = Account { elapsed_seconds: 1e-9, items_processed, metrics: serde_json::Map::new() };
    json!({"reply": RunReply { backend, measured }})
}

/// The host's descriptors: one for each direction.
fn channel() -> Vec<i32> {
    let sockets = descriptors().filter(|(_, target)| target.to_string_lossy().starts_with("socket:"));
    sockets.filter_map(|(path, _)| path.file_name()?.to_str()?.parse().ok()).collect()
}

fn tell(bodies: &[Value]) {
    put(channel()[0], &lines(bodies));
}

/// As the host's own code sends them.
fn lines(bodies: &[Value]) -> String {
    let nonce = nonce().expect("the runner has its request in memory");
    bodies.iter().map(|body| format!("{{\"nonce\":\"{nonce}\",\"body\":{body}}}\n")).collect()
}

fn put(channel: i32, text: &str) {
    // SAFETY: the bytes are ours; whose the descriptor is, is the point.
    unsafe { write(channel, text.as_ptr(), text.len()) };
}

/// The request begins with it.
fn nonce() -> Option<String> {
    const BEFORE: &[u8] = b"{\"nonce\":\"";
    let memory = File::open("/proc/self/mem").ok()?;
    let mut maps = String::new();
    File::open("/proc/self/maps").ok()?.read_to_string(&mut maps).ok()?;
    maps.lines().filter(|line| line.contains(" rw-p ")).find_map(|line| {
        let (from, to) = line.split_once(' ')?.0.split_once('-')?;
        let (from, to) = (u64::from_str_radix(from, 16).ok()?, u64::from_str_radix(to, 16).ok()?);
        let mut bytes = vec![0; usize::try_from(to - from).ok().filter(|len| *len < 1 << 26)?];
        memory.read_exact_at(&mut bytes, from).ok()?;
        let found = bytes.windows(BEFORE.len()).enumerate().filter(|(_, window)| *window == BEFORE);
        found.into_iter().find_map(|(at, _)| {
            let nonce = bytes.get(at + BEFORE.len()..at + BEFORE.len() + 32)?;
            nonce.iter().all(u8::is_ascii_hexdigit).then(|| String::from_utf8_lossy(nonce).into_owned())
        })
    })
}
