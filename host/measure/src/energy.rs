//! What the machine took from its socket while queries were timed, by the energy counters of its processors.
//!
//! The kernel shows them below `/sys/class/powercap` (RAPL, of Intel and AMD): one for each package, and one for the
//! memory at it where there is such a counter. They count microjoules, wrap after some minutes at full power, and
//! are moved about once a millisecond. They know nothing of processes: what idles and what others do is in them too.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Where the kernel shows them.
pub const POWERCAP: &str = "/sys/class/powercap";
/// Less time than this and the counters' steps of a millisecond are more than two hundredths of the figure.
const LEAST_WINDOW: Duration = Duration::from_millis(100);

/// A counter.
#[derive(Debug)]
struct Zone {
    file: PathBuf,
    /// The value after which it begins at 0 again.
    range: u64,
    last: u64,
}

/// Adds up what the counters of a machine count.
#[derive(Debug)]
pub struct Meter {
    zones: Vec<Zone>,
    microjoules: u64,
    failure: Option<String>,
}

impl Meter {
    /// Begins with the counters below `root`.
    ///
    /// # Errors
    /// Why nothing can be known, in words.
    pub fn start(root: &Path) -> Result<Self, String> {
        let none = || "this machine shows no energy counters".to_owned();
        let entries = fs::read_dir(root).map_err(|_| none())?;
        let mut folders: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
        folders.sort();
        let counted = folders.iter().filter(|folder| is_counted(folder));
        let zones = counted.map(|folder| Zone::open(folder)).collect::<Result<Vec<_>, _>>()?;
        if zones.is_empty() { Err(none()) } else { Ok(Self { zones, microjoules: 0, failure: None }) }
    }

    /// Adds what was counted since the last look. To be called more often than the counters wrap.
    pub fn look(&mut self) {
        for zone in &mut self.zones {
            match read(&zone.file) {
                Ok(now) => {
                    // The counter passes its range once at most, and then from it to 0.
                    let since = if now < zone.last { zone.range - zone.last + now } else { now - zone.last };
                    self.microjoules = self.microjoules.saturating_add(since);
                    zone.last = now;
                }
                Err(why) => self.failure = Some(why),
            }
        }
    }

    /// Joules of a window of this length.
    ///
    /// # Errors
    /// Why that is not known, in words.
    pub fn joules(&self, window: Duration) -> Result<f64, String> {
        if let Some(failure) = &self.failure {
            return Err(failure.clone());
        }
        if window < LEAST_WINDOW {
            return Err(format!("queries were timed for less than {} ms", LEAST_WINDOW.as_millis()));
        }
        Ok(self.microjoules as f64 / 1e6)
    }
}

impl Zone {
    fn open(folder: &Path) -> Result<Self, String> {
        let file = folder.join("energy_uj");
        let last = read(&file)?;
        let range = read(&folder.join("max_energy_range_uj"))?;
        if range < last {
            return Err(format!("{} is beyond its own range", file.display()));
        }
        Ok(Self { file, range, last })
    }
}

/// Packages, and memory, which no package counts. Cores are within their package, and a platform holds everything.
fn is_counted(folder: &Path) -> bool {
    let name = fs::read_to_string(folder.join("name")).unwrap_or_default();
    name.starts_with("package-") || name.trim() == "dram"
}

fn read(file: &Path) -> Result<u64, String> {
    let cannot = |cause: io::Error| format!("{} cannot be read: {cause}", file.display());
    let text = fs::read_to_string(file).map_err(cannot)?;
    text.trim().parse().map_err(|cause| cannot(io::Error::other(cause)))
}

#[cfg(test)]
mod tests {
    use super::*;

    struct MadeUp(tempfile::TempDir);

    impl MadeUp {
        fn new() -> Self {
            Self(tempfile::tempdir().unwrap())
        }

        fn zone(&self, folder: &str, name: &str, microjoules: u64) -> &Self {
            let folder = self.0.path().join(folder);
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join("name"), format!("{name}\n")).unwrap();
            fs::write(folder.join("energy_uj"), format!("{microjoules}\n")).unwrap();
            fs::write(folder.join("max_energy_range_uj"), "1000000000\n").unwrap();
            self
        }

        fn meter(&self) -> Result<Meter, String> {
            Meter::start(self.0.path())
        }
    }

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn packages_and_their_memory_count_and_what_is_within_them_or_around_them_does_not() {
        let made = MadeUp::new();
        let at = |joules: u64| {
            let micro = joules * 1_000_000;
            made.zone("intel-rapl:0", "package-0", micro).zone("intel-rapl:0:0", "core", micro);
            made.zone("intel-rapl:0:1", "dram", micro).zone("intel-rapl:1", "package-1", micro);
            made.zone("intel-rapl:2", "psys", micro);
        };
        at(100);
        let mut meter = made.meter().unwrap();
        at(103);
        meter.look();
        at(107);
        meter.look();
        assert_eq!(meter.joules(SECOND), Ok(21.0));
    }

    #[test]
    fn a_counter_that_begins_again_goes_on() {
        let made = MadeUp::new();
        let mut meter = made.zone("intel-rapl:0", "package-0", 999_000_000).meter().unwrap();
        made.zone("intel-rapl:0", "package-0", 4_000_000);
        meter.look();
        assert_eq!(meter.joules(SECOND), Ok(5.0));
    }

    #[test]
    fn what_cannot_be_known_has_its_reason() {
        let made = MadeUp::new();
        assert_eq!(made.meter().unwrap_err(), "this machine shows no energy counters");
        assert!(Meter::start(&made.0.path().join("none")).is_err());
        let mut meter = made.zone("intel-rapl:0", "package-0", 1).meter().unwrap();
        let short = meter.joules(Duration::from_millis(99)).unwrap_err();
        assert_eq!(short, "queries were timed for less than 100 ms");
        fs::write(made.0.path().join("intel-rapl:0/energy_uj"), "many").unwrap();
        meter.look();
        assert!(meter.joules(SECOND).unwrap_err().contains("energy_uj cannot be read"), "{meter:?}");
        assert!(made.meter().unwrap_err().contains("energy_uj cannot be read"));
    }
}
