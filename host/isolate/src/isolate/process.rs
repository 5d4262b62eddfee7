//! The operating system's half of a call: the processes and descriptors of `isolate`'s picture.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::net::{AddressFamily, Shutdown, SocketFlags, SocketType, shutdown, socketpair};
use rustix::pipe::{PipeFlags, pipe_with};

use super::SUBCOMMAND;

/// Variables that name the call's temporary directories, as many as there are. The warden makes them and removes
/// them, because it is the one process that neither a plugin's crash nor the host's end takes along.
pub(super) fn scratch_variables() -> impl Iterator<Item = String> {
    (0..).map(|number: u32| format!("BENCH_SCRATCH_{number}"))
}

/// A warden with a runner below it, seen from the host. All descriptors are non-blocking.
///
/// Dropping it lets go of the lifeline and waits for the warden, hence for the end of everything below.
#[derive(Debug)]
pub(super) struct Process {
    warden: Child,
    scratch: Vec<PathBuf>,
    pub channel: OwnedFd,
    pub lifeline: OwnedFd,
    pub output: OwnedFd,
}

impl Process {
    pub(super) fn spawn(
        program: &Path,
        variables: &[(OsString, OsString)],
        scratch: &[PathBuf],
    ) -> io::Result<Self> {
        // Everything is close-on-exec from birth: calls in other threads spawn at the same time.
        let socket = || socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None);
        let (channel, their_channel) = socket()?;
        let (lifeline, their_lifeline) = socket()?;
        let (output, their_output) = pipe_with(PipeFlags::CLOEXEC)?;
        for ours in [&channel, &lifeline, &output] {
            rustix::io::ioctl_fionbio(ours, true)?;
        }
        let warden = Command::new(program)
            .arg0("bench")
            .arg(SUBCOMMAND)
            .envs(variables.iter().cloned())
            .envs(scratch.iter().zip(scratch_variables()).map(|(scratch, name)| (name, scratch)))
            .stdin(Stdio::from(their_channel))
            .stdout(Stdio::from(their_lifeline))
            .stderr(Stdio::from(their_output))
            .spawn()?;
        Ok(Self { warden, scratch: scratch.to_owned(), channel, lifeline, output })
    }

    pub(super) fn id(&self) -> u32 {
        self.warden.id()
    }

    /// Tells the warden to kill everything and report.
    pub(super) fn let_go(&self) {
        // Fails only when the warden is gone already.
        let _ = shutdown(self.lifeline.as_fd(), Shutdown::Write);
    }

    /// Ends a warden that has not reported in time.
    pub(super) fn force(&mut self) {
        // Fails only when it has exited; it is not reaped yet, so the id is still its own.
        let _ = self.warden.kill();
    }

    /// Whether there are temporary directories that the warden keeps until this is dropped.
    pub(super) fn has_scratch(&self) -> bool {
        !self.scratch.is_empty()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Fails only when the warden is gone already.
        let _ = shutdown(self.lifeline.as_fd(), Shutdown::Both);
        let status = self.warden.wait();
        // A warden that ended by itself has tidied up, or has never made anything.
        if status.is_ok_and(|status| status.code().is_none()) {
            self.scratch.iter().for_each(|scratch| drop(std::fs::remove_dir_all(scratch)));
        }
    }
}

/// Reads what is there. `Ok(None)`: nothing now; `Ok(Some(0))`: the end.
pub(super) fn read(from: &impl AsFd, buffer: &mut [u8]) -> io::Result<Option<usize>> {
    match rustix::io::retry_on_intr(|| rustix::io::read(from, &mut *buffer)) {
        Ok(count) => Ok(Some(count)),
        Err(rustix::io::Errno::AGAIN) => Ok(None),
        // How a socket says that the other end died with data unread.
        Err(rustix::io::Errno::CONNRESET) => Ok(Some(0)),
        Err(error) => Err(error.into()),
    }
}

/// Writes what fits now.
pub(super) fn write(to: &impl AsFd, bytes: &[u8]) -> io::Result<usize> {
    match rustix::io::retry_on_intr(|| rustix::io::write(to, bytes)) {
        Ok(count) => Ok(count),
        Err(rustix::io::Errno::AGAIN) => Ok(0),
        Err(error) => Err(error.into()),
    }
}
