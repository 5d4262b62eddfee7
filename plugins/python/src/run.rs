//! One run: events down in a thread of their own, messages up in this one.

use std::fs::File;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::Duration;

use bench_plugin_api::sdk::{Error, Finished, Host, Spec};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::channel::{Incoming, Messages, send};
use crate::config::config;
use crate::driver::{Driver, private_dir};
use crate::{Engine, Launch};

/// How often a quiet run looks whether it was cancelled.
const LOOK: Duration = Duration::from_millis(100);

/// See [`Engine::run`].
pub fn run(engine: &Engine, spec: &Spec, host: &Host, launch: Launch) -> Result<Finished, Error> {
    host.progress("start-up", &format!("the {} driver has not answered", engine.display));
    let (interpreter, versions) = engine.resolve()?;
    let dir = private_dir(spec).map_err(Error::runtime)?;
    let config = config(engine, spec, host, dir.path(), launch.config.clone())?;
    let logs: Vec<PathBuf> = launch.logs.iter().map(|pattern| dir.path().join(pattern)).collect();
    let host_reads_logs = host.extension("bench.logs/1", &json!({"files": logs}).to_string()).is_some();
    let (mut driver, pipes) = Driver::start(engine, &interpreter, dir, &launch)?;
    let (go, may_go) = mpsc::channel();
    let pumped = start_pump(host.clone(), config, spec.batch_size(), pipes.events, may_go)?;
    let mut talk = Talk { host, go: Some(go), phase: "start-up".to_owned(), metrics: Map::new() };
    match talk.listen(&mut Messages::new(pipes.messages)) {
        Ok(Ended::Done) => {
            if let Some(status) = driver.finish().filter(|status| !status.success()) {
                tracing::warn!(target: "driver", %status, "was done, then failed to end cleanly");
            }
        }
        failed => {
            if host_reads_logs {
                driver.leave_dir(spec);
            }
            let Err(error) = failed else {
                let status = driver.autopsy();
                // A pump that failed took the driver with it: its reason is the one that counts.
                pumped.try_recv().unwrap_or(Ok(()))?;
                return Err(Error::Runtime(talk.death(engine, status)));
            };
            driver.stop();
            return Err(error);
        }
    }
    let packages: Map<String, Value> =
        versions.into_iter().map(|(name, version)| (name.to_owned(), version.into())).collect();
    let runtime =
        json!({"python": interpreter.version, "interpreter": interpreter.program, "packages": packages});
    talk.metrics.insert("runtime".to_owned(), runtime);
    Ok(Finished { metrics: talk.metrics.into_iter().collect() })
}

/// Sends the configuration and, once told to go, the events. How it went arrives in the receiver.
///
/// The thread is not joined when a run fails: it may be waiting in `next_events` for answers that will
/// never come, and nothing in the ABI can call it back. It ends with the runner process.
fn start_pump(
    host: Host,
    config: String,
    batch_size: u32,
    mut events: File,
    may_go: Receiver<()>,
) -> Result<Receiver<Result<(), Error>>, Error> {
    let (report, reported) = mpsc::channel();
    let pump = move || {
        let result = pump(&host, &config, batch_size, &mut events, &may_go);
        // Before `events` closes, so that whoever sees the driver end because of it finds the reason.
        let _ = report.send(result);
    };
    std::thread::Builder::new().name("events".into()).spawn(pump).map_err(Error::runtime)?;
    Ok(reported)
}

fn pump(
    host: &Host,
    config: &str,
    batch_size: u32,
    events: &mut File,
    may_go: &Receiver<()>,
) -> Result<(), Error> {
    // A driver that cannot be written to has ended, which the other thread sees and explains.
    if send(events, config.as_bytes()).is_err() || may_go.recv().is_err() {
        return Ok(());
    }
    while let Some(batch) = host.next_events(batch_size)? {
        if !batch.is_empty() && send(events, &batch).is_err() {
            return Ok(());
        }
    }
    let _ = send(events, &[]);
    Ok(())
}

enum Ended {
    /// The driver said so.
    Done,
    /// The channel closed before it did.
    Silence,
}

struct Talk<'a> {
    host: &'a Host,
    /// Used up by the first `steady`: asking the host for events starts its clock.
    go: Option<Sender<()>>,
    phase: String,
    metrics: Map<String, Value>,
}

#[derive(Deserialize)]
struct Phase {
    phase: String,
    #[serde(default)]
    detail: String,
}

#[derive(Deserialize)]
struct Line {
    level: String,
    message: String,
}

#[derive(Deserialize)]
struct Failure {
    kind: String,
    message: String,
    #[serde(default)]
    remedy: String,
}

impl Talk<'_> {
    fn listen(&mut self, messages: &mut Messages) -> Result<Ended, Error> {
        loop {
            if self.host.is_cancelled() {
                return Err(Error::Cancelled);
            }
            match messages.next(LOOK).map_err(Error::runtime)? {
                Incoming::Nothing => {}
                Incoming::Closed => return Ok(Ended::Silence),
                Incoming::Message(b'D', _) => return Ok(Ended::Done),
                Incoming::Message(kind, payload) => self.take(kind, payload)?,
            }
        }
    }

    fn take(&mut self, kind: u8, payload: &[u8]) -> Result<(), Error> {
        match kind {
            b'R' => self.host.emit(payload)?,
            b'P' => {
                let Phase { phase, detail } = read(payload)?;
                self.host.progress(&phase, &detail);
                if phase == "steady"
                    && let Some(go) = self.go.take()
                {
                    // Without a receiver the driver is ending, which shows soon enough.
                    let _ = go.send(());
                }
                self.phase = phase;
            }
            b'L' => log(&read(payload)?),
            // A host that does not know of clocks takes all for one.
            b'C' => drop(self.host.extension("bench.clocks/1", &String::from_utf8_lossy(payload))),
            b'M' => self.metrics.extend(read::<Map<String, Value>>(payload)?),
            b'E' => return Err(failure(read(payload)?)),
            other => {
                return Err(Error::Runtime(format!("the driver sent a message of unknown kind {other}")));
            }
        }
        Ok(())
    }

    fn death(&self, engine: &Engine, status: Option<ExitStatus>) -> String {
        let how = status.map_or_else(|| "in a way that is not known".to_owned(), |status| status.to_string());
        format!(
            "the {} driver ended ({how}) in phase {}, before it was done and after {} results",
            engine.display,
            self.phase,
            self.host.emitted()
        )
    }
}

fn read<'a, T: Deserialize<'a>>(payload: &'a [u8]) -> Result<T, Error> {
    serde_json::from_slice(payload)
        .map_err(|cause| Error::Runtime(format!("a message of the driver: {cause}")))
}

fn failure(Failure { kind, message, remedy }: Failure) -> Error {
    match kind.as_str() {
        "unavailable" => Error::Unavailable { reason: message, remedy },
        "unsupported" => Error::Unsupported(message),
        "cancelled" => Error::Cancelled,
        "invalid" => Error::Invalid(message),
        _ if remedy.is_empty() => Error::Runtime(message),
        _ => Error::Runtime(format!("{message}. {remedy}")),
    }
}

fn log(line: &Line) {
    let Line { level, message } = line;
    match level.as_str() {
        "error" => tracing::error!(target: "driver", "{message}"),
        "warn" => tracing::warn!(target: "driver", "{message}"),
        "debug" => tracing::debug!(target: "driver", "{message}"),
        "trace" => tracing::trace!(target: "driver", "{message}"),
        _ => tracing::info!(target: "driver", "{message}"),
    }
}
