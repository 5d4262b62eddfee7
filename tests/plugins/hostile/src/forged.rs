//! The host's words in a plugin's mouth: it finds the nonce of its call in its own memory and says what it likes on the
//! descriptor that the host's code in its process has.

use std::fs::{self, File};
use std::io::Read as _;
use std::os::unix::fs::FileExt as _;

// SAFETY: the signature is that of the C library.
unsafe extern "C" {
    fn write(fd: i32, bytes: *const u8, len: usize) -> isize;
}

/// What a run of 40 queries in no time at all would say of itself.
const REPLY: &str = r#"{"reply":{
    "backend": {"elapsed_seconds": 1e-9, "items_processed": 40, "metrics": {}},
    "measured": {
        "wall_seconds": 1e-9, "emitted": 40, "completed": 40, "failed": 0, "missing": 0, "timed": 40,
        "timed_completed": 40, "duplicates": 0, "unexpected": 0, "join_empty": 0, "throughput": 9.9e9,
        "latency_p50": 0.001, "latency_p95": 0.001, "latency_p99": 0.001, "service_p50": 0.001, "service_p99": 0.001,
        "operators": [], "workers": [], "workers_left_out": 0, "reasons_left_out": 0, "attribution": [],
        "unproven": {"answers": 0, "first": null},
        "doubts": {"spans": 0, "first": null, "busier": null},
        "late": 0, "worst_lateness_seconds": 0.0, "generator": null, "reasons": [], "scores": null, "corpus": null,
        "wrong_clock": 0, "partial": false, "unwritten": [], "peak_rss_bytes": 1000000, "simd": "scalar"
    }
}}"#;

/// Says each of `bodies` (`{}` stands for the reply), and ends the process.
pub fn reply(bodies: &[&str]) -> ! {
    let nonce = nonce().expect("the runner has its request in memory");
    let lines = bodies.iter().map(|body| {
        let body = if *body == "{}" { REPLY.replace('\n', " ") } else { (*body).to_owned() };
        format!("{{\"nonce\":\"{nonce}\",\"body\":{body}}}\n")
    });
    let text: String = lines.collect();
    let sockets = fs::read_dir("/proc/self/fd").expect("Linux").flatten().filter(|entry| {
        fs::read_link(entry.path()).is_ok_and(|target| target.to_string_lossy().starts_with("socket:"))
    });
    // It has a copy of the channel for each direction.
    if let Some(fd) = sockets.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).next() {
        // SAFETY: the bytes are ours; whose the descriptor is, is the point.
        unsafe { write(fd, text.as_ptr(), text.len()) };
    }
    super::_exit(0)
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
