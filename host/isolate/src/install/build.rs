//! Making one environment, in a process of its own: whoever ends that process ends pip and all it started.

use std::collections::VecDeque;
use std::io::{self, BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use semver::{Version, VersionReq};
use serde::{Deserialize, Serialize};

use super::Requirements;
use crate::isolate::{Channel, Operation};
use crate::{Error, ErrorKind};

/// What to make, of what, and where.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct InstallRequest {
    pub backend: String,
    pub python: String,
    pub requirements: Requirements,
    /// An empty folder.
    pub folder: PathBuf,
    /// For what pip leaves lying about.
    pub temporary: PathBuf,
}

/// The operation that makes an environment. An event is a line to show.
pub struct Install;

impl Operation for Install {
    const NAME: &'static str = "install";
    const DRAINS: bool = false;
    type Request = InstallRequest;
    type Reply = ();
    type Event = String;

    fn subject(request: &InstallRequest) -> String {
        format!("the environment of `{}`", request.backend)
    }

    fn execute(request: InstallRequest, channel: &Channel<String>) -> Result<(), Error> {
        let mut say = |line: &str| channel.event(line.to_owned());
        channel.phase("python");
        check_version(&request.python, &request.requirements.python)?;
        channel.phase("venv");
        say("creating a virtual environment");
        let mut venv = Command::new(&request.python);
        venv.args(["-m", "venv"]).arg(&request.folder);
        call(&mut venv, &mut say)?.map_err(|ended| no_venv(&request.python, &ended))?;
        channel.phase("pip");
        let mut pip = Command::new(request.folder.join("bin/python"));
        pip.args([
            "-m",
            "pip",
            "install",
            "--no-input",
            "--disable-pip-version-check",
            "--progress-bar",
            "off",
        ]);
        pip.args(&request.requirements.requirements).env("TMPDIR", &request.temporary);
        call(&mut pip, &mut say)?.map_err(|ended| no_packages(&request, &ended))
    }
}

fn unavailable(message: String, remedy: &str) -> Error {
    Error::new(ErrorKind::Unavailable, message, remedy)
}

/// Asks the interpreter itself.
fn check_version(python: &str, bounds: &str) -> Result<(), Error> {
    let other = "install Python 3.10 or newer, or name one with --python";
    let script = "import sys; print('.'.join(map(str, sys.version_info[:3])))";
    let asked = Command::new(python).args(["-c", script]).stdin(Stdio::null()).output();
    let answer = match &asked {
        Ok(output) => String::from_utf8_lossy(&output.stdout).trim().to_owned(),
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => {
            return Err(unavailable(format!("there is no Python interpreter '{python}'"), other));
        }
        Err(cause) => return Err(unavailable(format!("'{python}' cannot be started: {cause}"), other)),
    };
    let Ok(version) = Version::parse(&answer) else {
        return Err(unavailable(format!("'{python}' is not a Python interpreter"), other));
    };
    // Bounds that are not understood are left to pip.
    let fits = VersionReq::parse(&bounds.replace("==", "=")).is_ok_and(|bounds| !bounds.matches(&version));
    if fits {
        return Err(unavailable(format!("'{python}' is Python {version}, and {bounds} is needed"), other));
    }
    Ok(())
}

/// How a command ended that did not succeed.
struct Ended {
    status: String,
    /// The end of what it said.
    lines: VecDeque<String>,
}

impl Ended {
    /// What it called an error, or else said last.
    fn words(&self) -> String {
        let errors = self.lines.iter().filter(|line| line.to_lowercase().starts_with("error"));
        let errors: Vec<&str> = errors.map(String::as_str).collect();
        match (errors.is_empty(), self.lines.back()) {
            (false, _) => errors.join(" / "),
            (true, Some(last)) => last.clone(),
            (true, None) => self.status.clone(),
        }
    }

    fn says(&self, any_of: &[&str]) -> bool {
        self.lines.iter().any(|line| any_of.iter().any(|words| line.contains(words)))
    }
}

fn no_venv(python: &str, ended: &Ended) -> Error {
    let lacks = ended.says(&["ensurepip is not available", "No module named venv", "No module named 'venv'"]);
    if lacks {
        return unavailable(
            format!(
                "'{python}' comes without the modules that make a virtual environment (venv and ensurepip)"
            ),
            "install them (on Debian and Ubuntu: apt install python3-venv), or name another Python with --python",
        );
    }
    unavailable(format!("'{python} -m venv' failed: {}", ended.words()), remedy_of_disk(ended))
}

fn remedy_of_disk(ended: &Ended) -> &'static str {
    let full = ended.says(&["No space left on device", "Disk quota exceeded"]);
    if full {
        "make room, or set BENCH_DATA_DIR to a folder on another disk"
    } else {
        "name another Python with --python"
    }
}

const UNREACHABLE: [&str; 8] = [
    "Retrying (",
    "NewConnectionError",
    "Max retries exceeded",
    "ProxyError",
    "SSLError",
    "ReadTimeoutError",
    "Temporary failure in name resolution",
    "Connection refused",
];

fn no_packages(request: &InstallRequest, ended: &Ended) -> Error {
    let wanted = request.requirements.requirements.join(", ");
    if let Some(line) = ended.lines.iter().find(|line| UNREACHABLE.iter().any(|words| line.contains(words))) {
        let again = format!(
            "check the network and http_proxy, https_proxy and PIP_INDEX_URL, then run again: bench backends install {}",
            request.backend
        );
        return unavailable(format!("pip cannot reach its package index for {wanted}: {line}"), &again);
    }
    unavailable(format!("pip could not install {wanted}: {}", ended.words()), remedy_of_disk(ended))
}

/// Runs a command to its end. The outer error is one of ours.
fn call(command: &mut Command, say: &mut dyn FnMut(&str)) -> Result<Result<(), Ended>, Error> {
    /// Lines of the end that are kept.
    const KEPT: usize = 40;
    let host = |cause: io::Error| Error::new(ErrorKind::Host, format!("running pip: {cause}"), "");
    let (reader, writer) = io::pipe().map_err(host)?;
    let second = writer.try_clone().map_err(host)?;
    let mut child = command.stdin(Stdio::null()).stdout(writer).stderr(second).spawn().map_err(host)?;
    // The command keeps the writing ends; without this the pipe would never end.
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let mut lines = VecDeque::new();
    for line in BufReader::new(reader).split(b'\n').map_while(Result::ok) {
        let line = String::from_utf8_lossy(&line).trim_end().to_owned();
        say(&line);
        lines.push_back(line);
        if lines.len() > KEPT {
            lines.pop_front();
        }
    }
    let status = child.wait().map_err(host)?;
    Ok(if status.success() { Ok(()) } else { Err(Ended { status: status.to_string(), lines }) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(script: &str) -> Ended {
        call(Command::new("sh").args(["-c", script]), &mut |_| ()).unwrap().unwrap_err()
    }

    fn request() -> InstallRequest {
        let requirements = Requirements { python: ">=3.10".into(), requirements: vec!["x==1".into()] };
        let (folder, temporary) = ("/f".into(), "/t".into());
        InstallRequest { backend: "x".into(), python: "python3".into(), requirements, folder, temporary }
    }

    #[test]
    fn a_failing_command_shows_what_it_called_an_error_or_said_last() {
        let mut seen = Vec::new();
        let script = "echo one; echo ERROR: two >&2; echo three; exit 3";
        let ended_so = call(Command::new("sh").args(["-c", script]), &mut |line| seen.push(line.to_owned()));
        assert_eq!(ended_so.unwrap().unwrap_err().words(), "ERROR: two");
        assert_eq!(seen, ["one", "ERROR: two", "three"]);
        assert_eq!(ended("echo one; echo two; exit 1").words(), "two");
        assert_eq!(ended("exit 3").words(), "exit status: 3");
    }

    #[test]
    fn each_cause_that_pip_and_venv_tell_apart_has_its_own_remedy() {
        let offline = ended(
            "echo 'WARNING: Retrying (Retry(total=4)) after NewConnectionError'; echo 'ERROR: No matching distribution found for x==1'; exit 1",
        );
        let error = no_packages(&request(), &offline);
        assert!(error.message.starts_with("pip cannot reach its package index for x==1: WARNING: Retrying"));
        assert!(error.remedy.ends_with("bench backends install x") && error.remedy.contains("https_proxy"));
        let none =
            no_packages(&request(), &ended("echo 'ERROR: No matching distribution found for x==1'; exit 1"));
        assert!(
            none.message.ends_with("No matching distribution found for x==1")
                && none.remedy.contains("--python")
        );
        let full =
            no_packages(&request(), &ended("echo 'ERROR: [Errno 28] No space left on device'; exit 1"));
        assert!(full.remedy.contains("BENCH_DATA_DIR"));
        let debian = no_venv("python3", &ended("echo 'because ensurepip is not available.'; exit 1"));
        assert!(debian.remedy.contains("apt install python3-venv"));
    }

    #[test]
    fn a_python_that_is_none_or_too_old_is_refused_before_anything_is_made() {
        let refused = |python: &str, bounds: &str| check_version(python, bounds).unwrap_err().message;
        assert_eq!(refused("no-such-python", ">=3.10"), "there is no Python interpreter 'no-such-python'");
        assert_eq!(refused("true", ">=3.10"), "'true' is not a Python interpreter");
        assert!(refused("/", ">=3.10").starts_with("'/' cannot be started"));
        let folder = tempfile::tempdir().unwrap();
        let old = folder.path().join("python3.9");
        std::fs::write(&old, "#!/bin/sh\necho 3.9.2\n").unwrap();
        std::fs::set_permissions(&old, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let old = old.to_str().unwrap();
        assert_eq!(refused(old, ">=3.10,<4"), format!("'{old}' is Python 3.9.2, and >=3.10,<4 is needed"));
        assert_eq!(check_version(old, ">=3.9"), Ok(()));
        assert_eq!(check_version(old, "whatever"), Ok(()));
    }
}
