//! A well-behaved plugin that tests can watch and hold up. With the option `stall_ms` it stands still once, after its
//! first batches. Where `ANNOUNCE` names a folder, being asked whether it is available leaves a file of its name
//! there. Where `HOLD` names a file, a run waits after its first batch until the file is there, and says so: its
//! phase is `held`. `SLOW_START` is how many batches it is slow with at its beginning. What it declares of its
//! options is in `DECLARES`: `nothing`, or an answer of any kind.

use std::path::{Path, PathBuf};
use std::time::Duration;

use bench_plugin_api::prelude::*;

/// The batch before which a stall comes.
const STALL_AT: u32 = 100;
/// What a batch takes at least while it starts slowly, and then.
const SLOW: [Duration; 2] = [Duration::from_millis(20), Duration::from_millis(1)];
/// Between looks at the file that ends a hold.
const LOOK: Duration = Duration::from_millis(5);

/// One of each kind.
const OPTIONS: [BackendOption; 4] = [
    BackendOption {
        name: "stall_ms",
        meaning: "how long it stands still, once",
        default: Some("0"),
        takes: Takes::Number { whole: true, minimum: Some(0.0), maximum: Some(60_000.0) },
    },
    BackendOption {
        name: "colour",
        meaning: "nothing",
        default: Some("red"),
        takes: Takes::OneOf(&["red", "green", "blue"]),
    },
    BackendOption {
        name: "place",
        meaning: "nothing",
        default: None,
        takes: Takes::Like { pattern: "[a-z]+:[0-9]+", form: "HOST:PORT" },
    },
    BackendOption { name: "title", meaning: "nothing", default: None, takes: Takes::Text },
];

#[derive(Default)]
struct Healthy;

impl Backend for Healthy {
    const NAME: &'static str = "healthy";

    fn is_available(&self) -> Availability {
        if let Some(folder) = std::env::var_os("ANNOUNCE") {
            let _ = std::fs::write(Path::new(&folder).join(Self::NAME), "");
        }
        Availability::ready("healthy 1.0")
    }

    fn run(&self, spec: &Spec, host: &Host) -> Result<Finished, Error> {
        let mut pipeline = InlinePipeline::new(host)?;
        let stall = Duration::from_millis(spec.number("stall_ms", 0).into());
        let slow: Option<u32> = std::env::var("SLOW_START").ok().and_then(|batches| batches.parse().ok());
        let mut batches = 0;
        while let Some(events) = host.next_events(spec.batch_size())? {
            batches += 1;
            if batches == STALL_AT {
                std::thread::sleep(stall);
            }
            if let Some(slow) = slow {
                std::thread::sleep(SLOW[usize::from(batches > slow)]);
            }
            host.emit(&pipeline.process(&events)?)?;
            if batches == 1 {
                hold(host)?;
            }
        }
        host.emit(&pipeline.finish()?)?;
        Ok(Finished::default())
    }

    fn options(&self) -> Option<&'static [BackendOption]> {
        (std::env::var("DECLARES").as_deref() != Ok("nothing")).then_some(&OPTIONS)
    }

    fn extension(&self, id: &str, _: &str) -> Option<String> {
        let declares = std::env::var("DECLARES").ok().filter(|answer| answer != "nothing");
        if id == "bench.options/1" && declares.is_some() {
            return declares;
        }
        (id == "bench.requirements/1").then(|| r#"{"python": ["nothing"]}"#.to_owned())
    }
}

/// Stands still for as long as the test wants, or until the run is cancelled.
fn hold(host: &Host) -> Result<(), Error> {
    let Some(release) = std::env::var_os("HOLD").map(PathBuf::from) else { return Ok(()) };
    host.progress("held", "");
    while !release.exists() {
        if host.is_cancelled() {
            return Err(Error::Cancelled);
        }
        std::thread::sleep(LOOK);
    }
    Ok(())
}

export_backend!(Healthy);
