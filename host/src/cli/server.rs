//! Servers of the user's own on this machine. What they use is theirs and nobody else's load; one may be started for
//! the command, and ends with it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bench_isolate::isolate::{Directive, Failure, Limits, Notice, Runner, Stop, StopLevel};
use bench_isolate::server::{Serve, ServeRequest};
use bench_measure::plan::Plan;
use bench_record::evidence::Server;
use bench_workloads::text::endpoint::Served;
use clap::Args;
use procfs::process::Process;

use super::signals::AtOnce;
use super::{Stopped, screen};

/// How often a server is asked that has been started and does not answer yet.
const PERIOD: Duration = Duration::from_millis(250);
/// A large model takes its time to load. `--timeout` says otherwise.
const LONGEST_START: Duration = Duration::from_secs(3600);
/// What a server may take to end by itself.
const GRACE: Duration = Duration::from_secs(5);

/// Servers that this command uses.
#[derive(Debug, Clone, Default, Args)]
pub struct ServerArgs {
    /// Process of a server on this machine that is asked (repeatable): what it and its children use is not the load of
    /// others, and is told
    #[arg(long, value_name = "PID", value_delimiter = ',', value_parser = pid, allow_hyphen_values = true, help_heading = "Server")]
    server_pid: Vec<i32>,
    /// Command of the shell that starts such a server and goes on for as long as it serves: bench waits until the
    /// addresses it was given answer, and at its end ends everything that the command started
    #[arg(long, value_name = "COMMAND", allow_hyphen_values = true, help_heading = "Server")]
    server_command: Option<String>,
}

fn pid(text: &str) -> Result<i32, String> {
    let pid = text.trim().parse().ok().filter(|pid| *pid > 0);
    pid.ok_or_else(|| "a process has a number from 1".to_owned())
}

impl ServerArgs {
    #[must_use]
    pub fn is_given(&self) -> bool {
        !self.server_pid.is_empty() || self.server_command.is_some()
    }

    /// Takes note of the servers, starts the one that is to be started, and says what is served for `plan`.
    ///
    /// # Errors
    /// When a server is none, does not start or does not answer.
    pub fn served(&self, plan: &Plan) -> Result<Option<Served>, Stopped> {
        // Nothing is under way yet that could be finished.
        let _at_once = AtOnce::begin();
        for pid in &self.server_pid {
            let server =
                declared_by(*pid).map_err(|why| Stopped::usage(format!("--server-pid {pid}: {why}")))?;
            servers().push(server);
        }
        let ask = || plan.workload.served(&plan.open_spec());
        let Some(command) = &self.server_command else { return ask().map_err(Stopped::usage) };
        let wrong = |why: &str| Stopped::usage(format!("--server-command: {why}"));
        let flags = plan.workload.parameters().services();
        if flags.iter().all(|(_, parameter)| !plan.params.get(parameter).is_some_and(|url| url.is_string())) {
            let flags: Vec<String> = flags.iter().map(|(flag, _)| format!("--{flag}")).collect();
            return Err(wrong(&format!(
                "nothing asks a server: give its address with {}",
                flags.join(" or ")
            )));
        }
        if ask().is_ok() {
            return Err(wrong(
                "somebody answers there already: name that process with --server-pid, or end it",
            ));
        }
        start(command);
        screen::note("waiting for the server of --server-command to answer");
        let (since, longest) = (Instant::now(), plan.timeout.unwrap_or(LONGEST_START));
        loop {
            let error = match ask() {
                Ok(served) => return Ok(served),
                Err(error) => error,
            };
            if let Some(failure) = ended() {
                return Err(wrong(&format!("the server ended before it answered: {}", failure.reason())));
            }
            if !error.may_pass() {
                return Err(Stopped::usage(error));
            }
            if since.elapsed() > longest {
                let waited = longest.as_secs();
                return Err(wrong(&format!("the server has not answered within {waited} s: {error}")));
            }
            std::thread::sleep(PERIOD);
        }
    }
}

/// The server that has this process.
fn declared_by(pid: i32) -> Result<Server, &'static str> {
    let parent = |pid: i32| Process::new(pid).and_then(|process| process.stat()).map(|stat| stat.ppid).ok();
    let own = std::process::id() as i32;
    let is_ours = pid == 1 || std::iter::successors(Some(own), |pid| parent(*pid)).any(|ours| ours == pid);
    if is_ours {
        return Err("bench itself was started by it, so that all that bench uses would be the server's");
    }
    let name = Process::new(pid).and_then(|process| process.stat()).map(|stat| stat.comm);
    let name = name.map_err(|_| "there is no such process")?;
    Ok(Server { pid: pid as u32, name: Some(name), started: false })
}

static SERVERS: Mutex<Vec<Server>> = Mutex::new(Vec::new());
static STARTED: Mutex<Option<Started>> = Mutex::new(None);

/// A server under way.
struct Started {
    stop: Arc<Stop>,
    /// Ends with it.
    thread: JoinHandle<Option<Box<Failure>>>,
}

fn servers() -> MutexGuard<'static, Vec<Server>> {
    SERVERS.lock().unwrap_or_else(PoisonError::into_inner)
}

fn started() -> MutexGuard<'static, Option<Started>> {
    STARTED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// All servers of this command.
#[must_use]
pub fn declared() -> Vec<Server> {
    servers().clone()
}

fn start(command: &str) {
    let (stop, request) = (Arc::new(Stop::new()), ServeRequest { command: command.to_owned() });
    let (say, root) = mpsc::channel();
    let thread = std::thread::spawn({
        let stop = Arc::clone(&stop);
        move || {
            let runner = Runner::with(Limits { cancel_grace: GRACE, ..Limits::default() });
            let mut watch = |notice: Notice<'_, ()>| {
                if let Notice::Started(pid) = notice {
                    let _ = say.send(pid);
                }
                Directive::Continue
            };
            runner.call::<Serve>(request, &mut watch, &stop).err()
        }
    });
    // Nothing comes of one that could not be started: the thread has ended then.
    servers().extend(root.recv().map(|pid| Server { pid, name: None, started: true }));
    *started() = Some(Started { stop, thread });
}

/// Why the server that was started runs no more.
fn ended() -> Option<Box<Failure>> {
    let over = started().take_if(|server| server.thread.is_finished())?;
    over.thread.join().ok().flatten()
}

/// Ends the server that was started, and waits until nothing is left of it.
pub fn end() {
    if let Some(failure) = ended() {
        screen::warning(&format!("--server-command: {failure}"));
    }
    if let Some(server) = started().take() {
        server.stop.raise(StopLevel::Kill);
        // What it came to is of no interest any more.
        let _ = server.thread.join();
    }
}
