//! The runs of a baseline again, until it is known whether they are slower now.

use std::path::Path;
use std::time::Instant;

use super::again::Subject;
use super::run::{Failure, Runner, Wanted};
use bench_isolate::isolate::StopLevel;
use bench_judge::gate::GateReport;
use bench_measure::supervise::claim_folder;
use bench_record::evidence::Place;

/// Where the runs go, and how long to go on.
#[derive(Debug)]
pub struct Watch<'a> {
    pub current: &'a Path,
    pub run_id: &'a str,
    /// Most runs of each subject.
    pub most: u32,
    /// From when on no run is begun any more.
    pub until: Option<Instant>,
}

impl Watch<'_> {
    /// Runs each subject whose checks are open once more, looks, and goes on until none is.
    ///
    /// # Errors
    /// When a run fails, or the user wants no more.
    pub fn until_known<R: Runner>(
        &self,
        subjects: &mut [(Subject, R)],
        look: impl Fn() -> Result<GateReport, R::Failure>,
    ) -> Result<GateReport, R::Failure> {
        let mut report = look()?;
        for repeat in 0..self.most {
            let mut done = false;
            for (subject, runner) in subjects.iter_mut() {
                let late = self.until.is_some_and(|until| Instant::now() >= until);
                let label = subject.setting();
                let is_its =
                    |setting: &str, backend: &str| (setting, backend) == (&*label, &*subject.backend);
                let open =
                    report.checks.iter().any(|check| check.is_open && is_its(&check.setting, &check.backend));
                if open && !late {
                    self.run(subject, repeat, runner)?;
                    done = true;
                }
            }
            if !done {
                break;
            }
            report = look()?;
        }
        Ok(report)
    }

    fn run<R: Runner>(&self, subject: &Subject, repeat: u32, runner: &mut R) -> Result<(), R::Failure> {
        if runner.stop().level() > StopLevel::Go {
            return Err(Failure::interrupted());
        }
        let folder = claim_folder(self.current, self.run_id, &subject.backend, repeat)?;
        let wanted = Wanted {
            backend: &subject.backend,
            plan: &subject.plan,
            run_id: self.run_id,
            repeat_index: repeat,
            output_dir: self.current,
            folder: &folder,
            place: Place { until_known: true, ..Place::default() },
            label: format!("{} {}/{} at most", subject.backend, repeat + 1, self.most),
            to_its_end: true,
            loss: None,
        };
        let run = runner.run(&wanted, &mut ())?;
        runner.answered(&run)
    }
}
