//! A plugin that misbehaves as `HOSTILE` says: `<phase>:<what>`, for example `is_available:abort`.
//! Without the variable it behaves. Where `ANNOUNCE` names a folder it first leaves a file of its name there.

use std::io::Write as _;
use std::time::Duration;

use bench_plugin_api::prelude::*;
use serde_json::json;

mod ahead;

mod forged;
mod sealed;
mod unwatched;

// SAFETY: the signatures are those of the C library.
unsafe extern "C" {
    safe fn _exit(code: i32) -> !;
    safe fn abort() -> !;
    fn fork() -> i32;
    fn waitpid(pid: i32, status: *mut i32, options: i32) -> i32;
    safe fn setsid() -> i32;
    safe fn close(fd: i32) -> i32;
    safe fn open(path: *const std::ffi::c_char, flags: i32) -> i32;
    safe fn raise(signal: i32) -> i32;
    safe fn kill(pid: i32, signal: i32) -> i32;
    safe fn getppid() -> i32;
}

fn ignore<T>(_: T) {}

/// The file that an earlier run left for this one.
fn kept() -> std::ffi::OsString {
    std::env::var_os("KEPT").expect("a file is named")
}

fn misbehave(phase: &str) {
    let Ok(wish) = std::env::var("HOSTILE") else { return };
    let Some(what) = wish.strip_prefix(phase).and_then(|rest| rest.strip_prefix(':')) else { return };
    if let Some(folder) = std::env::var_os("ANNOUNCE") {
        let _ = std::fs::write(std::path::Path::new(&folder).join("hostile"), "");
    }
    match what {
        "panic" => panic!("hostile on purpose"),
        "abort" => {
            eprintln!("about to abort");
            abort()
        }
        // SAFETY: not at all; that is the point.
        "segfault" => unsafe { std::ptr::null_mut::<u8>().add(8).write_volatile(1) },
        "overflow" => ignore(overflow(0)),
        "exit0" => _exit(0),
        "exit7" => std::process::exit(7),
        "hang" => std::thread::sleep(Duration::from_secs(3600)),
        "spin" => loop {
            std::hint::spin_loop();
        },
        "outlive" => outlive(),
        "children" => {
            for _ in 0..50 {
                let _ = std::process::Command::new("sleep").arg("61.5").spawn();
            }
        }
        "flood" => {
            let line = [b'x'; 8191];
            for _ in 0..32_768 {
                let _ = std::io::stdout().write_all(&line);
                let _ = std::io::stderr().write_all(b"\n");
            }
        }
        "closefds" => (0..1024).for_each(|fd| ignore(close(fd))),
        "replacefds" => {
            (0..1024).for_each(|fd| ignore(close(fd)));
            (0..64).for_each(|_| ignore(open(c"/dev/null".as_ptr(), 1)));
        }
        "closehang" => {
            (0..1024).for_each(|fd| ignore(close(fd)));
            std::thread::sleep(Duration::from_secs(3600));
        }
        "garbage" => {
            // Whatever descriptor the channel has: one of these.
            for fd in 3..32 {
                let _ = std::fs::OpenOptions::new()
                    .write(true)
                    .open(format!("/proc/self/fd/{fd}"))
                    .and_then(|mut file| file.write_all(b"garbage\n"));
                write_raw(fd);
            }
        }
        "sigterm" => ignore(raise(15)),
        "killgroup" => ignore(kill(0, 15)),
        "killwarden" => {
            kill(getppid(), 9);
            std::thread::sleep(Duration::from_secs(2));
        }
        "reply" => forged::in_no_time(&[]),
        "reply_and_more" => forged::and_more(),
        "measured" => forged::in_no_time(&[
            json!({"phase": "measure"}),
            json!({"event": {"timed": "began"}}),
            json!({"event": {"timed": "ended"}}),
        ]),
        "memory" => {
            let mut hoard = Vec::new();
            loop {
                hoard.push(vec![1_u8; 16 << 20]);
            }
        }
        other => eprintln!("unknown wish {other}"),
    }
}

fn write_raw(fd: i32) {
    use std::os::fd::FromRawFd;
    // SAFETY: the file is forgotten, so the descriptor is not closed; writing to one that is not
    // ours is what this fixture is for.
    let mut file = std::mem::ManuallyDrop::new(unsafe { std::fs::File::from_raw_fd(fd) });
    let _ = file.write_all(b"garbage\n");
}

#[allow(unconditional_recursion)]
fn overflow(depth: u64) -> u64 {
    let pad = std::hint::black_box([depth; 512]);
    overflow(depth + 1) + pad[7]
}

/// Double fork and a new session: a daemon that holds stdout and stderr open.
fn outlive() {
    // SAFETY: the child holds no lock that another thread had: this plugin starts none.
    unsafe {
        let between = fork();
        if between == 0 {
            setsid();
            // Returns once it has its name.
            let _ = std::process::Command::new("sleep").arg("60.5").spawn();
            _exit(0);
        }
        waitpid(between, std::ptr::null_mut(), 0);
    }
}

struct Hostile;

impl Default for Hostile {
    fn default() -> Self {
        misbehave("create");
        Self
    }
}

impl Drop for Hostile {
    fn drop(&mut self) {
        misbehave("drop");
    }
}

impl Backend for Hostile {
    const NAME: &'static str = "hostile";

    fn is_available(&self) -> Availability {
        misbehave("is_available");
        // Only what is available gets as far as a run.
        if std::env::var("HOSTILE").is_ok_and(|wish| wish.starts_with("run:")) {
            return Availability::ready("hostile 1.0");
        }
        Availability::missing("it is hostile", "rm libbackend_hostile.so")
    }

    fn run(&self, spec: &Spec, host: &Host) -> Result<Finished, Error> {
        let wish = std::env::var("HOSTILE").unwrap_or_default();
        let what = wish.strip_prefix("run:").unwrap_or_default();
        match what.split_once('_').unwrap_or((what, "")) {
            ("sealed", lie) => return sealed::run(spec, host, lie),
            ("forged", lie) => forged::plausible(spec, lie),
            ("ahead", "") => return ahead::run(spec, host),
            ("asked", "") => return ahead::keep(spec, host),
            ("unwatched", "") => return unwatched::run(spec, host),
            _ => misbehave("run"),
        }
        Ok(Finished::default())
    }

    fn extension(&self, _: &str, _: &str) -> Option<String> {
        misbehave("extension");
        (std::env::var("HOSTILE").as_deref() == Ok("extension:notjson")).then(|| "{".to_owned())
    }
}

extern "C" fn constructor() {
    misbehave("load");
}

#[used]
#[cfg_attr(target_os = "linux", unsafe(link_section = ".init_array"))]
#[cfg_attr(target_os = "macos", unsafe(link_section = "__DATA,__mod_init_func"))]
static CONSTRUCTOR: extern "C" fn() = constructor;

export_backend!(Hostile);
