//! The driver process: its life, and the two pipes to it. `driver.py` describes what they carry.

use std::fs;
use std::io::{BufRead as _, BufReader, Read, Write};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use bench_plugin_api::prelude::*;
use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::Value;

use crate::python::Python;

/// Ships the code with the plugin, so that one file is all there is to install.
const SOURCES: [(&str, &str); 2] = [
    ("driver.py", include_str!("../python/driver.py")),
    ("bench_dask_worker.py", include_str!("../python/bench_dask_worker.py")),
];

/// How often a run looks whether the user wants it to stop.
const TICK: Duration = Duration::from_millis(100);

/// Starts the driver, feeds it, and hands on what it says until it is done.
pub fn run(python: &Python, config: &Value, spec: &Spec, host: &Host) -> Result<Finished, Error> {
    let folder =
        Path::new(spec.extra("temp_dir").ok_or_else(|| Error::runtime("the host gave no temp_dir"))?);
    for (name, source) in SOURCES {
        fs::write(folder.join(name), source).map_err(Error::runtime)?;
    }
    let mut driver = Driver::start(python, folder)?;
    let mut input = driver.take_input();
    writeln!(input, "{config}").map_err(Error::runtime)?;
    let mut input = Some(input);
    let output = driver.take_output();

    let (said, saying) = channel();
    let sink = host.clone();
    thread::spawn(move || {
        // Ends with the pipe: the last thing said is then the reason.
        let mut output = BufReader::new(output);
        while let Some(message) = receive(&mut output, &sink).transpose() {
            if said.send(message).is_err() {
                break;
            }
        }
    });
    // Held until the driver has ended, since it takes a closed pipe for the end of the plugin.
    let mut feeder = None;
    loop {
        match saying.recv_timeout(TICK) {
            Err(RecvTimeoutError::Timeout) if host.is_cancelled() => return Err(Error::Cancelled),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return Err(driver.ended_early()),
            Ok(Err(error)) => return Err(error),
            Ok(Ok(Said::Phase(phase))) => {
                host.progress(&phase, "");
                if phase == "steady"
                    && let Some(input) = input.take()
                {
                    let (host, size) = (host.clone(), spec.batch_size());
                    feeder = Some(thread::spawn(move || feed(input, &host, size)));
                }
            }
            Ok(Ok(Said::Failed(reason))) => return Err(Error::Runtime(reason)),
            Ok(Ok(Said::Done(metrics))) => {
                driver.wait();
                // It has told of every result, so it has read the whole stream.
                feeder.and_then(|feeder| feeder.join().ok()).transpose()?;
                return Ok(Finished { metrics: vec![("dask".to_owned(), metrics)] });
            }
        }
    }
}

/// Hands the host's events to the driver. Blocks in both, so it has a thread of its own.
fn feed(mut input: ChildStdin, host: &Host, batch_size: u32) -> Result<ChildStdin, Error> {
    let mut send = |batch: &[u8]| {
        let length = u32::try_from(batch.len()).map_err(Error::runtime)?;
        input.write_all(&length.to_le_bytes()).and_then(|()| input.write_all(batch)).map_err(Error::runtime)
    };
    while let Some(events) = host.next_events(batch_size)? {
        if !events.is_empty() {
            send(&events)?;
        }
    }
    send(&[])?;
    Ok(input)
}

/// What the driver says, but for results.
enum Said {
    Phase(String),
    Failed(String),
    Done(Value),
}

/// The next message that is not a result; results go to the sink at once.
fn receive(output: &mut impl Read, host: &Host) -> Result<Option<Said>, Error> {
    let mut header = [0; 5];
    loop {
        if output.read_exact(&mut header).is_err() {
            return Ok(None);
        }
        let [kind, length @ ..] = header;
        let mut body = vec![0; u32::from_le_bytes(length) as usize];
        if output.read_exact(&mut body).is_err() {
            return Ok(None);
        }
        let text = || String::from_utf8_lossy(&body).into_owned();
        return match kind {
            b'E' => {
                host.emit(&body)?;
                continue;
            }
            b'P' => Ok(Some(Said::Phase(text()))),
            b'F' => Ok(Some(Said::Failed(text()))),
            b'D' => {
                serde_json::from_slice(&body).map(|metrics| Some(Said::Done(metrics))).map_err(Error::runtime)
            }
            other => Err(Error::runtime(format!("the driver sent a message of unknown kind {other}"))),
        };
    }
}

fn forward(log: ChildStderr) {
    for line in BufReader::new(log).lines().map_while(Result::ok) {
        tracing::info!("{line}");
    }
}

/// The driver and everything it starts, in one process group that ends with this value.
struct Driver {
    child: Child,
    group: Pid,
    log: Option<JoinHandle<()>>,
}

impl Driver {
    fn start(python: &Python, folder: &Path) -> Result<Self, Error> {
        let mut command = Command::new(&python.interpreter);
        command.arg(folder.join("driver.py")).process_group(0);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // Settings of the user's own Dask would make runs differ from machine to machine.
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("DASK_") {
                command.env_remove(name);
            }
        }
        command.env("TMPDIR", folder).env("DASK_CONFIG", folder).env("DASK_ROOT_CONFIG", folder);
        command.env("PYTHONDONTWRITEBYTECODE", "1").env_remove("PYTHONPATH").env_remove("PYTHONHOME");
        let child = command.spawn().map_err(|cause| {
            Error::runtime(format!("{} does not run: {cause}", python.interpreter.display()))
        })?;
        let group = Pid::from_child(&child);
        let mut driver = Self { child, group, log: None };
        let log = driver.child.stderr.take().expect("piped");
        driver.log = Some(thread::spawn(move || forward(log)));
        Ok(driver)
    }

    fn take_input(&mut self) -> ChildStdin {
        self.child.stdin.take().expect("piped")
    }

    fn take_output(&mut self) -> ChildStdout {
        self.child.stdout.take().expect("piped")
    }

    fn wait(&mut self) {
        // An error means that it was waited for already.
        let _ = self.child.wait();
    }

    fn ended_early(&mut self) -> Error {
        let how = self.child.wait().map_or_else(|cause| cause.to_string(), |status| status.to_string());
        Error::runtime(format!("the driver of Dask ended early ({how}); its last words are in the log"))
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        // Fails when nobody is left, which is what is wanted.
        let _ = kill_process_group(self.group, Signal::KILL);
        self.wait();
        // Everyone who could write is dead: the last words are all there to be forwarded.
        let _ = self.log.take().map(JoinHandle::join);
    }
}
