//! The host's side of a call: one loop that reads everything a child can say and knows every way
//! in which it can end.

mod session;

use std::ffi::OsString;
use std::fs::File;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::path::PathBuf;
use std::time::Duration;

use super::failure::{Answer, Cause, Failure};
use super::process::Process;
use super::wire::Opening;
use super::{Operation, Stop, wire};
use bench_record::found::Found;
use session::Session;

/// What a call may take.
#[derive(Debug, Clone)]
pub struct Limits {
    /// From start to answer; none by default.
    pub timeout: Option<Duration>,
    /// Bytes of private memory (`RLIMIT_DATA`), per process; none by default.
    pub memory: Option<u64>,
    /// Bytes of one message.
    pub message: usize,
    /// How long destructors may take after the answer.
    pub close_grace: Duration,
    /// How long an operation may take to end by itself once it is cancelled.
    pub cancel_grace: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            timeout: None,
            memory: None,
            message: 32 << 20,
            close_grace: Duration::from_millis(500),
            cancel_grace: Duration::from_secs(1),
        }
    }
}

impl Limits {
    /// No more than `timeout` in all.
    #[must_use]
    pub fn within(timeout: Duration) -> Self {
        Self { timeout: Some(timeout), ..Self::default() }
    }
}

/// What happens during a call.
#[derive(Debug)]
pub enum Notice<'a, E> {
    /// The child processes exist; this is the one at the root of their tree.
    Started(u32),
    /// A phase begins.
    Phase(String),
    /// The operation says something.
    Event(E),
    /// Nothing runs any more and there is no answer. The scratch directory is still there.
    Failed(&'a Failure),
}

/// What the one who watches wants next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Directive {
    /// Go on.
    Continue,
    /// As a first Ctrl-C.
    Drain,
    /// As a second Ctrl-C.
    Kill,
}

/// How operations are run in child processes.
#[derive(Debug, Clone)]
pub struct Runner {
    /// The `bench` binary.
    pub program: PathBuf,
    /// What a call may take.
    pub limits: Limits,
    /// A file that receives, appended, what the child prints and says: the first 64 MiB of a call and its end.
    pub log: Option<PathBuf>,
    /// Added to the environment of the child.
    pub variables: Vec<(OsString, OsString)>,
    /// Temporary directories for the call: they are made, and removed when the answer is dropped.
    pub scratch: Vec<PathBuf>,
}

impl Default for Runner {
    fn default() -> Self {
        let (program, limits) = (this_binary(), Limits::default());
        Self { program, limits, log: None, variables: Vec::new(), scratch: Vec::new() }
    }
}

/// On Linux the link, not its target: it stays this very binary when the file is replaced.
fn this_binary() -> PathBuf {
    let link = PathBuf::from("/proc/self/exe");
    if cfg!(target_os = "linux") && link.exists() {
        return link;
    }
    std::env::current_exe().unwrap_or_else(|_| PathBuf::from("bench"))
}

impl Runner {
    /// This binary, with these limits.
    #[must_use]
    pub fn with(limits: Limits) -> Self {
        Self { limits, ..Self::default() }
    }

    /// Carries out `O` in a child process and waits for it. When it returns, nothing of the child
    /// is left running, but for a warden that keeps the scratch directory.
    ///
    /// # Errors
    /// With the reason why there is no answer.
    pub fn call<O: Operation>(
        &self,
        request: O::Request,
        watch: &mut dyn FnMut(Notice<'_, O::Event>) -> Directive,
        stop: &Stop,
    ) -> Result<Answer<O::Reply>, Box<Failure>> {
        let subject = O::subject(&request);
        let failed = |what: String| {
            let (phase, cause) = ("start".to_owned(), Cause::Host(what));
            let (subject, tail, left_behind) = (subject.clone(), String::new(), Vec::new());
            Box::new(Failure { subject, phase, whereabouts: None, cause, tail, left_behind })
        };
        let nonce = nonce();
        let opening = Opening {
            nonce: nonce.clone(),
            operation: O::NAME.to_owned(),
            memory: self.limits.memory,
            close_grace_ms: self.limits.close_grace.as_millis() as u64,
            request,
        };
        let opening = wire::line(&opening).map_err(|cause| failed(format!("its request: {cause}")))?;
        let log = self
            .log
            .as_ref()
            .map(|path| Found::SHARED.open_with(File::options().append(true).create(true), path));
        let log = log.transpose().map_err(|cause| failed(format!("the log file: {cause}")))?;
        let process = Process::spawn(&self.program, &self.variables, &self.scratch)
            .map_err(|cause| failed(format!("starting {}: {cause}", self.program.display())))?;
        Session::<O>::new(&self.limits, subject, nonce, log).run(process, opening, watch, stop)
    }
}

/// 128 random bits, from the keys the standard library draws for each of its hash maps.
fn nonce() -> String {
    let word = || RandomState::new().build_hasher().finish();
    format!("{:016x}{:016x}", word(), word())
}
