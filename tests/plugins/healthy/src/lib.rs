//! A well-behaved plugin. With the option `stall_ms` it stands still once, after its first batches.

use std::time::Duration;

use bench_plugin_api::prelude::*;

/// The batch before which a stall comes.
const STALL_AT: u32 = 100;

#[derive(Default)]
struct Healthy;

impl Backend for Healthy {
    const NAME: &'static str = "healthy";

    fn is_available(&self) -> Availability {
        Availability::ready("healthy 1.0")
    }

    fn run(&self, spec: &Spec, host: &Host) -> Result<Finished, Error> {
        let mut pipeline = InlinePipeline::new(host)?;
        let stall = Duration::from_millis(spec.number("stall_ms", 0).into());
        let mut batches = 0;
        while let Some(events) = host.next_events(spec.batch_size())? {
            batches += 1;
            if batches == STALL_AT {
                std::thread::sleep(stall);
            }
            host.emit(&pipeline.process(&events)?)?;
        }
        host.emit(&pipeline.finish()?)?;
        Ok(Finished::default())
    }

    fn extension(&self, id: &str, _: &str) -> Option<String> {
        (id == "bench.requirements/1").then(|| r#"{"python": ["nothing"]}"#.to_owned())
    }
}

export_backend!(Healthy);
