//! A well-behaved plugin.

use bench_plugin_api::prelude::*;

#[derive(Default)]
struct Healthy;

impl Backend for Healthy {
    const NAME: &'static str = "healthy";

    fn is_available(&self) -> Availability {
        Availability::ready("healthy 1.0")
    }

    fn run(&self, spec: &Spec, host: &Host) -> Result<Finished, Error> {
        let mut pipeline = InlinePipeline::new(host)?;
        while let Some(events) = host.next_events(spec.batch_size())? {
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
