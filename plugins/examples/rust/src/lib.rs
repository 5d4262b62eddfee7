//! A backend in Rust: one thread runs the whole graph. `InlinePipeline` is the part to replace by a
//! runtime of your own; `plugins/local` does that with tokio.

use bench_plugin_api::prelude::*;

/// The backend.
#[derive(Default)]
pub struct Example;

impl Backend for Example {
    const NAME: &'static str = "example_rust";

    fn is_available(&self) -> Availability {
        Availability::ready("one thread of Rust")
    }

    /// One entry for each setting of your own, which users give as `--backend-option KEY=VALUE` and you find with
    /// `spec.extra(KEY)`. This backend has none, so that the host refuses all.
    fn options(&self) -> Option<&'static [BackendOption]> {
        Some(&[])
    }

    fn run(&self, spec: &Spec, host: &Host) -> Result<Finished, Error> {
        if spec.number("nodes", 1) > 1 {
            let why = "this example runs in one process and cannot use several nodes: leave --nodes at 1";
            return Err(Error::Unsupported(why.into()));
        }
        host.progress("deploy", "");
        let mut pipeline = InlinePipeline::new(host)?;
        host.progress("steady", "");
        let mut batches = 0_u64;
        while let Some(events) = host.next_events(spec.batch_size())? {
            if host.is_cancelled() {
                return Err(Error::Cancelled);
            }
            host.emit(&pipeline.process(&events)?)?;
            batches += 1;
        }
        host.progress("drain", "");
        host.emit(&pipeline.finish()?)?;
        tracing::info!(batches, "all events are processed");
        Ok(Finished { metrics: vec![("batches_read".into(), batches.into())] })
    }
}

export_backend!(Example);

#[cfg(test)]
mod tests {
    use bench_plugin_api::testkit::{expected, fake_host, spec};

    use super::*;

    #[test]
    fn every_item_arrives_once() {
        let (host, seen) = fake_host(50);
        Example.run(&spec(50, 1), &host).unwrap();
        assert_eq!(seen.lock().unwrap().results, expected(50));
    }
}
