//! Starting the driver, alone in a session, and ending it.

use std::fs::{self, File};
use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::{AsFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use bench_plugin_api::sdk::{Error, Spec};
use rustix::io::{dup2, fcntl_dupfd_cloexec};
use rustix::pipe::{PipeFlags, fcntl_setpipe_size, pipe_with};
use rustix::process::{Signal, getpid, getppid, set_parent_process_death_signal, setsid};
use tempfile::TempDir;

use crate::session::Session;
use crate::{Engine, Interpreter, Launch};

/// The modules of `bench_engine`, each with its path.
const SDK: &[(&str, &[u8])] = include!(concat!(env!("OUT_DIR"), "/sdk.rs"));

const DRIVER: &str = "driver.py";

/// The driver's own numbers for: events, messages, the lifeline.
const DRIVER_FDS: [RawFd; 3] = [3, 4, 5];
/// Our ends live above them, so that none is overwritten before it is copied.
const ABOVE: RawFd = 10;
/// A micro-batch of large records fits without either side having to wait for the other.
const PIPE_BYTES: usize = 1 << 20;
/// Longest private directory: runtimes put sockets below it, whose paths may not exceed 107 bytes.
const LONGEST_DIR: usize = 40;
/// Where sockets can be when the user's own place for temporary files is not short and plain.
const EVERYBODYS: [&str; 3] = ["/tmp", "/var/tmp", "/dev/shm"];
/// What a driver gets to end by itself when it said that it is done, or closed the channel.
const LAST_WORDS: Duration = Duration::from_secs(10);
/// What it gets after SIGTERM.
const GRACE: Duration = Duration::from_secs(3);

/// Variables that the driver inherits. The last ones are read by workloads and their HTTP client.
const INHERITED: [&str; 14] = [
    "PATH",
    "TZ",
    "LD_LIBRARY_PATH",
    "BENCH_SIMD",
    "OPENAI_API_KEY",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "ALL_PROXY",
];

/// A driver process and everything that comes with it; ends with this object.
pub struct Driver {
    session: Session,
    /// Ends when this process does, however it does.
    _lifeline: OwnedFd,
    dir: TempDir,
}

/// The channel's ends on this side.
pub struct Pipes {
    pub events: File,
    pub messages: File,
}

/// The private directory of a run. Removed when dropped.
pub fn private_dir(spec: &Spec) -> io::Result<TempDir> {
    let own = spec.extra("temp_dir").map(PathBuf::from).into_iter().chain([std::env::temp_dir()]);
    plain_dir(own.chain(EVERYBODYS.map(PathBuf::from)))
}

/// A new folder in the first of `places` that takes one and that a socket's path has room for. Runtimes also
/// stumble over letters outside ASCII there.
fn plain_dir(places: impl Iterator<Item = PathBuf>) -> io::Result<TempDir> {
    let fits = |dir: &Path| dir.as_os_str().len() + 10 <= LONGEST_DIR && dir.as_os_str().is_ascii();
    let make = |dir: &PathBuf| tempfile::Builder::new().prefix("d").rand_bytes(6).tempdir_in(dir);
    let places: Vec<PathBuf> = places.filter(|dir| fits(dir)).collect();
    places.iter().find_map(|dir| make(dir).ok()).ok_or_else(|| {
        io::Error::other(format!(
            "there is no folder for the runtime's sockets: set TMPDIR to one that you may write and whose path is \
             plain and has {} letters at most",
            LONGEST_DIR - 10
        ))
    })
}

impl Driver {
    /// Starts the engine's driver. Call it from the thread that waits for it: the kernel kills the
    /// driver when that *thread* ends.
    pub fn start(
        engine: &Engine,
        interpreter: &Interpreter,
        dir: TempDir,
        launch: &Launch,
    ) -> Result<(Self, Pipes), Error> {
        let failed = |cause: io::Error| {
            Error::Runtime(format!("the {} driver could not be started: {cause}", engine.display))
        };
        lay_out(engine, dir.path(), launch).map_err(failed)?;
        let mut command = command(interpreter, dir.path(), launch).map_err(failed)?;
        let (events_out, events_in) = pipe().map_err(failed)?;
        let (messages_out, messages_in) = pipe().map_err(failed)?;
        let (lifeline_out, lifeline) = pipe().map_err(failed)?;
        for end in [&events_in, &messages_out] {
            // A smaller pipe works too.
            let _ = fcntl_setpipe_size(end, PIPE_BYTES);
        }
        let lifeline_out = engine.starts_processes.then_some(lifeline_out);
        if lifeline_out.is_some() {
            command.env("BENCH_LIFELINE", DRIVER_FDS[2].to_string());
        }
        // The pipe through which `spawn` hears of a failed exec must not get one of these numbers.
        let _reserved = reserve(DRIVER_FDS).map_err(failed)?;
        let parent = getpid();
        // SAFETY: between fork and exec only system calls are made; nothing allocates or locks.
        unsafe {
            command.pre_exec(move || {
                setsid()?;
                set_parent_process_death_signal(Some(Signal::KILL))?;
                if getppid() != Some(parent) {
                    return Err(io::ErrorKind::BrokenPipe.into()); // It died before the line above.
                }
                become_fd(&events_out, DRIVER_FDS[0])?;
                become_fd(&messages_in, DRIVER_FDS[1])?;
                lifeline_out.as_ref().map_or(Ok(()), |end| become_fd(end, DRIVER_FDS[2]))
            });
        }
        let session = Session::new(command.spawn().map_err(failed)?);
        // Dropping the command closes the child's ends here: they live in its closure.
        drop(command);
        let driver = Self { session, _lifeline: lifeline, dir };
        Ok((driver, Pipes { events: events_in.into(), messages: messages_out.into() }))
    }

    /// After the driver said that it is done: lets it end, then ends what it left behind.
    pub fn finish(&mut self) -> Option<ExitStatus> {
        if !self.session.wait(LAST_WORDS) {
            tracing::warn!(target: "driver", "was done but did not end; it is killed now");
        }
        self.session.end(GRACE)
    }

    /// Ends the driver and everything it started.
    pub fn stop(&mut self) -> Option<ExitStatus> {
        self.session.end(GRACE)
    }

    /// After the channel closed: how the driver ended, by itself if it is about to.
    pub fn autopsy(&mut self) -> Option<ExitStatus> {
        self.session.wait(LAST_WORDS);
        self.session.end(GRACE)
    }

    /// Leaves the private directory to the host, if it lies in the host's own temporary directory.
    pub fn leave_dir(&mut self, spec: &Spec) {
        let removed_by_host = spec.extra("temp_dir").is_some_and(|given| self.dir.path().starts_with(given));
        self.dir.disable_cleanup(removed_by_host);
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.session.end(GRACE);
    }
}

/// Puts everything that the driver imports beside it, and makes the folders of the run.
fn lay_out(engine: &Engine, dir: &Path, launch: &Launch) -> io::Result<()> {
    let own = launch.files.iter().map(|(name, source)| (*name, source.as_bytes()));
    let driver = launch.sources.is_empty().then_some((DRIVER, engine.driver.as_bytes()));
    for (name, source) in SDK.iter().copied().chain(driver).chain(own).chain(launch.sources.iter().copied()) {
        let file = dir.join(name);
        if let Some(folder) = file.parent() {
            fs::create_dir_all(folder)?;
        }
        fs::write(file, source)?;
    }
    ["home", "tmp", "run"].iter().try_for_each(|folder| fs::create_dir(dir.join(folder)))
}

/// The driver's command line and environment. What it prints goes where this process prints: the host keeps that
/// whoever is killed, so nothing may wait in a buffer.
fn command(interpreter: &Interpreter, dir: &Path, launch: &Launch) -> io::Result<Command> {
    let mut command = Command::new(&interpreter.program);
    // As -I, but the folder of the script stays importable: that is where bench_engine is.
    let driver = dir.join(launch.driver.unwrap_or(DRIVER));
    command.args(["-E", "-s", "-B", "-u"]).arg(driver).current_dir(dir).env_clear();
    command.envs(INHERITED.iter().filter_map(|name| Some((name, std::env::var_os(name)?))));
    command.envs([("LC_ALL", "C.UTF-8"), ("PYTHONDONTWRITEBYTECODE", "1"), ("PYTHONNOUSERSITE", "1")]);
    command.env("PYTHONUNBUFFERED", "1"); // for the processes that the runtime starts
    for (name, folder) in [
        ("HOME", "home"),
        ("TMPDIR", "tmp"),
        ("XDG_RUNTIME_DIR", "run"),
        ("XDG_CACHE_HOME", "home/.cache"),
        ("XDG_CONFIG_HOME", "home/.config"),
        ("XDG_DATA_HOME", "home/.local/share"),
        ("XDG_STATE_HOME", "home/.local/state"),
        ("BENCH_FAULT_DIR", "run"),
    ] {
        command.env(name, dir.join(folder));
    }
    command
        .envs(launch.env.iter().map(|(name, value)| (name, value.replace("{dir}", &dir.to_string_lossy()))));
    command.stdin(Stdio::null());
    Ok(command)
}

/// A pipe whose ends are out of the way of the driver's numbers: (read end, write end).
fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let (read, write) = pipe_with(PipeFlags::CLOEXEC)?;
    Ok((fcntl_dupfd_cloexec(read, ABOVE)?, fcntl_dupfd_cloexec(write, ABOVE)?))
}

/// Fills every free one of `numbers`, which are consecutive, for as long as the result lives.
fn reserve(numbers: [RawFd; 3]) -> io::Result<Vec<OwnedFd>> {
    let null = File::open("/dev/null")?;
    numbers.iter().map(|_| Ok(fcntl_dupfd_cloexec(&null, numbers[0])?)).collect()
}

/// In the child: makes `number` a copy of `from` that survives exec.
fn become_fd(from: &OwnedFd, number: RawFd) -> io::Result<()> {
    // SAFETY: the number is overwritten by dup2 and never closed through this object; whatever it
    // named before belongs to this forked copy alone.
    let mut target = ManuallyDrop::new(unsafe { OwnedFd::from_raw_fd(number) });
    Ok(dup2(from.as_fd(), &mut target)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_get_a_place_whose_path_is_short_and_plain() {
        let shm = PathBuf::from("/dev/shm");
        let long = PathBuf::from(format!("/tmp/{}", "x".repeat(80)));
        for unfit in [PathBuf::from("/tmp/t\u{fc}"), long, PathBuf::from("/nonexistent")] {
            let dir = plain_dir([unfit, shm.clone()].into_iter()).unwrap();
            assert!(dir.path().starts_with(&shm), "{}", dir.path().display());
        }
        let error = plain_dir([PathBuf::from("/nonexistent")].into_iter()).unwrap_err();
        assert!(error.to_string().contains("set TMPDIR"), "{error}");
    }
}
