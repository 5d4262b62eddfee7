//! A campaign from its first step to its last.

use bench_isolate::isolate::StopLevel;

use super::run::{Failure, Runner};

/// Steps that are known beforehand, and what they come to.
pub trait Campaign {
    type Step;
    /// What all steps together say.
    type Found;

    /// All steps, in order. The same for the same plan.
    fn steps(&self) -> Vec<Self::Step>;

    /// Whether nothing of a step is left to do.
    fn is_finished(&self, step: &Self::Step) -> bool;

    /// Whether nothing more needs to be found out, or can be after these steps `failed`, when it would be a step's turn.
    fn is_settled(&self, _next: &Self::Step, _failed: &[&Self::Step]) -> bool {
        false
    }

    /// Whether a step is not worth trying after another failed.
    fn is_hopeless(&self, _step: &Self::Step, _failed: &Self::Step) -> bool {
        false
    }

    /// Does a step.
    ///
    /// # Errors
    /// When it failed.
    fn job<R: Runner>(&self, step: &Self::Step, runner: &mut R) -> Result<(), R::Failure>;

    /// Writes down what the finished steps say.
    ///
    /// # Errors
    /// When it cannot be written.
    fn conclude(&self) -> bench_record::Result<Self::Found>;
}

/// How it ended.
#[derive(Debug)]
pub struct Ended<S, F> {
    /// The user stopped it; steps may be left.
    pub interrupted: bool,
    /// Steps that failed, in order.
    pub failures: Vec<(S, F)>,
}

/// Does what is left to do. A step that fails keeps no other from its turn.
pub fn drive<C: Campaign, R: Runner>(campaign: &C, runner: &mut R) -> Ended<C::Step, R::Failure> {
    let mut failures: Vec<(C::Step, R::Failure)> = Vec::new();
    for step in campaign.steps() {
        if runner.stop().level() > StopLevel::Go {
            return Ended { interrupted: true, failures };
        }
        let hopeless = failures.iter().any(|(failed, _)| campaign.is_hopeless(&step, failed));
        if hopeless || campaign.is_finished(&step) {
            continue;
        }
        let failed: Vec<&C::Step> = failures.iter().map(|(failed, _)| failed).collect();
        if campaign.is_settled(&step, &failed) {
            break;
        }
        if let Err(failure) = campaign.job(&step, runner) {
            if failure.is_interrupted() || runner.stop().level() > StopLevel::Drain {
                return Ended { interrupted: true, failures };
            }
            runner.trouble(&failure);
            failures.push((step, failure));
        }
    }
    Ended { interrupted: false, failures }
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use super::*;
    use crate::run::Wanted;
    use bench_isolate::isolate::Stop;
    use bench_judge::capacity::Report;
    use bench_measure::plan::Plan;
    use bench_measure::supervise::{Finished, Watcher};

    /// Six steps of two sides, the even and the odd ones.
    #[derive(Default)]
    struct Six {
        finished: Vec<u32>,
        failing: Vec<u32>,
        interrupted: Vec<u32>,
        hopeless: bool,
        settled_before: Option<u32>,
        settled_by_failure: bool,
    }

    struct Why {
        interrupted: bool,
    }

    #[derive(Default)]
    struct Log {
        stop: Stop,
        stop_at: Option<(u32, StopLevel)>,
        done: Vec<u32>,
        troubles: usize,
    }

    impl Campaign for Six {
        type Step = u32;
        type Found = ();

        fn steps(&self) -> Vec<u32> {
            (0..6).collect()
        }

        fn is_finished(&self, step: &u32) -> bool {
            self.finished.contains(step)
        }

        fn is_settled(&self, next: &u32, failed: &[&u32]) -> bool {
            self.settled_before == Some(*next) || self.settled_by_failure && !failed.is_empty()
        }

        fn is_hopeless(&self, step: &u32, failed: &u32) -> bool {
            self.hopeless && step % 2 == failed % 2
        }

        fn job<R: Runner>(&self, step: &u32, runner: &mut R) -> Result<(), R::Failure> {
            runner.note(&step.to_string());
            match self.interrupted.contains(step) {
                true => Err(R::Failure::interrupted()),
                false if self.failing.contains(step) => Err(bench_record::Error::NoItems.into()),
                false => Ok(()),
            }
        }

        fn conclude(&self) -> bench_record::Result<()> {
            Ok(())
        }
    }

    impl From<bench_record::Error> for Why {
        fn from(_: bench_record::Error) -> Self {
            Self { interrupted: false }
        }
    }

    impl Failure for Why {
        fn interrupted() -> Self {
            Self { interrupted: true }
        }

        fn is_interrupted(&self) -> bool {
            self.interrupted
        }

        fn broken(&self) -> Option<&str> {
            None
        }

        fn logged(&self) -> (u8, String) {
            (1, String::new())
        }
    }

    impl Runner for Log {
        type Failure = Why;

        fn run(&mut self, _: &Wanted<'_>, _: &mut dyn Watcher) -> Result<Finished, Why> {
            Err(Why::interrupted())
        }

        fn prepare(&mut self, _: &Plan) -> Result<(), Why> {
            Ok(())
        }

        fn answered(&self, _: &Finished) -> Result<(), Why> {
            Ok(())
        }

        fn stop(&self) -> &Stop {
            &self.stop
        }

        fn note(&mut self, step: &str) {
            let step = step.parse().unwrap();
            self.done.push(step);
            if let Some((_, level)) = self.stop_at.filter(|(at, _)| *at == step) {
                self.stop.raise(level);
            }
        }

        fn trouble(&mut self, _: &Why) {
            self.troubles += 1;
        }

        fn keep(&mut self, _: &Path, _: &Report) -> Result<Vec<PathBuf>, Why> {
            Ok(Vec::new())
        }
    }

    /// Steps that were done, steps that failed, and whether it was interrupted.
    fn driven(campaign: &Six, mut log: Log) -> (Vec<u32>, Vec<u32>, bool) {
        let ended = drive(campaign, &mut log);
        assert_eq!(log.troubles, ended.failures.len(), "each failure is told once");
        (log.done, ended.failures.into_iter().map(|(step, _)| step).collect(), ended.interrupted)
    }

    #[test]
    fn what_is_finished_is_not_done_again() {
        let six = Six { finished: vec![0, 3], ..Six::default() };
        assert_eq!(driven(&six, Log::default()), (vec![1, 2, 4, 5], vec![], false));
    }

    #[test]
    fn what_is_settled_is_not_gone_on_with() {
        let six = Six { settled_before: Some(4), ..Six::default() };
        assert_eq!(driven(&six, Log::default()), (vec![0, 1, 2, 3], vec![], false));
        let six = Six { finished: vec![4], ..six };
        assert_eq!(driven(&six, Log::default()), (vec![0, 1, 2, 3, 5], vec![], false));
    }

    #[test]
    fn a_failure_may_settle_that_nothing_can_be_found_out() {
        let six = Six { failing: vec![2], settled_by_failure: true, ..Six::default() };
        assert_eq!(driven(&six, Log::default()), (vec![0, 1, 2], vec![2], false));
    }

    #[test]
    fn a_step_that_fails_keeps_only_hopeless_ones_from_their_turn() {
        let six = Six { failing: vec![1], ..Six::default() };
        assert_eq!(driven(&six, Log::default()), ((0..6).collect(), vec![1], false));
        let six = Six { hopeless: true, ..six };
        assert_eq!(driven(&six, Log::default()), (vec![0, 1, 2, 4], vec![1], false));
    }

    #[test]
    fn a_stop_ends_it_after_the_step_that_is_under_way() {
        for level in [StopLevel::Drain, StopLevel::Kill] {
            let log = || Log { stop_at: Some((2, level)), ..Log::default() };
            assert_eq!(driven(&Six::default(), log()), (vec![0, 1, 2], vec![], true));
        }
        // After the last one nothing is left that a stop could end.
        let log = Log { stop_at: Some((5, StopLevel::Drain)), ..Log::default() };
        assert_eq!(driven(&Six::default(), log), ((0..6).collect(), vec![], false));
    }

    #[test]
    fn a_step_that_the_user_ended_is_no_failure() {
        let six = Six { interrupted: vec![2], ..Six::default() };
        assert_eq!(driven(&six, Log::default()), (vec![0, 1, 2], vec![], true));
        // One that failed while a stop was asked for did fail, unless it was killed.
        let six = Six { failing: vec![2], ..Six::default() };
        let log = |level| Log { stop_at: Some((2, level)), ..Log::default() };
        assert_eq!(driven(&six, log(StopLevel::Drain)), (vec![0, 1, 2], vec![2], true));
        assert_eq!(driven(&six, log(StopLevel::Kill)), (vec![0, 1, 2], vec![], true));
    }
}
