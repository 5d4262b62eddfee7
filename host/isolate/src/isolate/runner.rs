//! The child process: from the hidden subcommand to an answer.

mod channel;

use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::Duration;

use rustix::process::{Pid, Resource, Rlimit, setrlimit};
use serde_json::Value;

pub use channel::Channel;

use self::channel::Shared;
use super::exit::*;
use super::failure::{NO_FOLDER, NO_PROCESS};
use super::wire::{Body, Opening};
use super::{Operation, warden};
use crate::{Error, ErrorKind, limits, temporary};

// SAFETY: the signatures are those of the C library that std links on every Unix.
unsafe extern "C" {
    fn fork() -> i32;
    /// With no handler this only sets a disposition, which is sound at any time.
    safe fn signal(number: i32, handler: usize) -> usize;
}

/// `SIG_DFL`.
const DEFAULT: usize = 0;

/// An operation with its types erased.
pub struct Handler {
    name: &'static str,
    execute: fn(Value, Shared),
}

impl Handler {
    /// The handler of `O`.
    #[must_use]
    pub fn of<O: Operation>() -> Self {
        Self { name: O::NAME, execute: execute::<O> }
    }
}

fn execute<O: Operation>(request: Value, shared: Shared) {
    let channel = Channel::<O::Event>::new(shared.clone());
    let outcome = serde_json::from_value(request)
        .map_err(|cause| Error::new(ErrorKind::Host, format!("the request for {}: {cause}", O::NAME), ""))
        .and_then(|request| {
            // Nothing of ours is used after a panic but the channel, which tolerates one.
            catch_unwind(AssertUnwindSafe(|| O::execute(request, &channel))).unwrap_or_else(|panic| {
                Err(match limits::no_thread(&*panic) {
                    // What mends it is said where it is told.
                    Some(cause) => Error::new(ErrorKind::Host, cause, ""),
                    None => Error::new(
                        ErrorKind::Host,
                        format!("{} panicked in the host's own code", O::NAME),
                        "report this to the authors of bench",
                    ),
                })
            })
        });
    shared.answer(match outcome {
        Ok(reply) => Body::<O::Event, O::Reply>::Reply(reply),
        Err(error) => Body::Failed(error),
    });
}

/// Does `O` in this very process, with nothing between a plugin and it: for a debugger. What would be
/// told on the way is dropped; destructors run before it returns. Without a warden, the temporary folder is made here,
/// as this process's own, and is left.
///
/// # Errors
/// As [`Operation::execute`].
pub fn in_process<O: Operation>(request: O::Request, scratch: &Path) -> Result<O::Reply, Error> {
    let host = |cause: std::io::Error| Error::new(ErrorKind::Host, format!("a channel: {cause}"), "");
    temporary::make(scratch)
        .map_err(|cause| Error::new(ErrorKind::Host, format!("{}: {cause}", scratch.display()), ""))?;
    let (ours, theirs) = std::os::unix::net::UnixStream::pair().map_err(host)?;
    // Ends with the last of the channel's descriptors.
    std::thread::spawn(move || std::io::copy(&mut &ours, &mut std::io::sink()));
    let reader = BufReader::new(File::from(OwnedFd::from(theirs)));
    let shared = Shared::new(reader, String::new()).map_err(host)?;
    let reply = O::execute(request, &Channel::new(shared.clone()));
    shared.close(Duration::from_secs(3600));
    reply
}

/// What the hidden subcommand does: becomes warden and runner, and never returns. Must be called
/// before the process has started a thread.
pub fn serve(handlers: &[Handler]) -> ! {
    match prepare() {
        Ok(channel) => run(handlers, channel),
        Err(cause) => {
            // Fails where nobody would read it.
            let _ = writeln!(std::io::stderr(), "{cause}");
            end(2)
        }
    }
}

/// Moves the descriptors out of a plugin's reach and forks. Returns in the runner only.
fn prepare() -> std::io::Result<OwnedFd> {
    use rustix::stdio;
    for socket in [stdio::stdin(), stdio::stdout()] {
        let mode = rustix::fs::fstat(socket)?.st_mode;
        if rustix::fs::FileType::from_raw_mode(mode) != rustix::fs::FileType::Socket {
            return Err(std::io::Error::other(
                "this is an internal command of bench: it is started by the host only",
            ));
        }
    }
    let channel = rustix::io::fcntl_dupfd_cloexec(stdio::stdin(), 3)?;
    let lifeline = rustix::io::fcntl_dupfd_cloexec(stdio::stdout(), 3)?;
    stdio::dup2_stdin(File::open("/dev/null")?)?;
    stdio::dup2_stdout(stdio::stderr())?;
    // An ignored SIGCHLD is inherited, and would keep the warden from learning how the runner ended.
    signal(rustix::process::Signal::CHILD.as_raw(), DEFAULT);
    // May fail in ways that only make us easier to interrupt.
    let _ = rustix::process::setsid();
    adopt_orphans();
    let warden = rustix::process::getpid();
    single_threaded()?;
    warden::make_scratch().map_err(|cause| std::io::Error::other(format!("{NO_FOLDER}{cause}")))?;
    // SAFETY: this process has one thread, so that the child is a complete copy of it.
    match unsafe { fork() } {
        0 => {
            drop(lifeline);
            let _ = rustix::process::setsid();
            end_with(warden);
            Ok(channel)
        }
        // No number of a process is what says that there is none.
        pid => match (pid > 0).then(|| Pid::from_raw(pid)).flatten() {
            Some(runner) => {
                drop(channel);
                warden::watch(runner, &lifeline)
            }
            None => {
                let cause = std::io::Error::last_os_error();
                Err(std::io::Error::other(format!("{NO_PROCESS}{cause}")))
            }
        },
    }
}

#[cfg(target_os = "linux")]
fn single_threaded() -> std::io::Result<()> {
    match std::fs::read_dir("/proc/self/task")?.count() {
        1 => Ok(()),
        threads => Err(std::io::Error::other(format!("{threads} threads were started before it"))),
    }
}

#[cfg(target_os = "linux")]
fn adopt_orphans() {
    // Fails before Linux 3.4 only.
    let _ = rustix::process::set_child_subreaper(Some(rustix::process::getpid()));
}

/// The runner must not outlive its warden, even one that was killed.
#[cfg(target_os = "linux")]
fn end_with(warden: Pid) {
    let _ = rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL));
    if rustix::process::getppid() != Some(warden) {
        end(CHANNEL_LOST);
    }
}

#[cfg(not(target_os = "linux"))]
fn single_threaded() -> std::io::Result<()> {
    Ok(())
}

#[cfg(not(target_os = "linux"))]
fn adopt_orphans() {}

#[cfg(not(target_os = "linux"))]
fn end_with(_: Pid) {}

fn run(handlers: &[Handler], channel: OwnedFd) -> ! {
    let no_core = Rlimit { current: Some(0), maximum: Some(0) };
    // A core dump is only a nuisance.
    let _ = setrlimit(Resource::Core, no_core);
    let mut reader = BufReader::new(File::from(channel));
    let mut line = String::new();
    let opening = match reader.read_line(&mut line) {
        Ok(count) if count > 0 => serde_json::from_str::<Opening<Value>>(&line).ok(),
        _ => None,
    };
    let Some(opening) = opening else { end(NO_REQUEST) };
    if let Some(bytes) = opening.memory {
        // Private memory, not address space: runtimes reserve far more of that than they use.
        let limit = Rlimit { current: Some(bytes), maximum: Some(bytes) };
        let _ = setrlimit(Resource::Data, limit);
    }
    let Ok(shared) = Shared::new(reader, opening.nonce) else { end(NO_THREAD) };
    match handlers.iter().find(|handler| handler.name == opening.operation) {
        Some(handler) => (handler.execute)(opening.request, shared.clone()),
        None => shared.answer(Body::<(), ()>::Failed(Error::new(
            ErrorKind::Host,
            format!("this binary has no operation `{}`", opening.operation),
            "do not replace bench while it runs",
        ))),
    }
    let closed = shared.close(Duration::from_millis(opening.close_grace_ms));
    end(if closed { 0 } else { SLOW_TO_CLOSE })
}
