//! From everything that was seen of a call to the one thing that is said about it.

use std::time::Instant;

use rustix::process::Signal;

use super::{Session, WENT_ON};
use crate::isolate::ending::{Ending, signal_name};
use crate::isolate::exit::{CHANNEL_LOST, NO_REQUEST, NO_THREAD, SLOW_TO_CLOSE};
use crate::isolate::failure::{Answer, Cause, Failure, NO_FOLDER, NO_PROCESS, Remark};
use crate::isolate::warden::Report;
use crate::isolate::{Operation, StopLevel};
use crate::{ErrorKind, limits};

impl<O: Operation> Session<'_, O> {
    pub(super) fn conclude(self) -> Result<Answer<O::Reply>, Box<Failure>> {
        let report = serde_json::from_slice::<Report>(&self.report).ok();
        let ending = report.as_ref().map(|report| report.ending);
        let cpu = report.as_ref().and_then(|report| report.cpu.clone());
        let left_behind = report.map(|report| report.left_behind).unwrap_or_default();
        let stopped = self.stop == StopLevel::Kill;
        let whereabouts = self.ended_in.or_else(|| self.whereabouts.told(Instant::now()));
        let tail = self.output.into_tail();
        let cause = match (verdict(self.verdict, ending), self.answer, ending) {
            (Some(cause), _, _) => cause,
            (None, Some(Ok(reply)), _) => {
                let remarks = remarks(ending, self.let_go.is_some(), left_behind);
                return Ok(Answer {
                    reply,
                    remarks,
                    tail,
                    started: self.started,
                    answered: self.answered.unwrap_or(self.started),
                    deaf: self.deaf,
                    stopped: self.stop != StopLevel::Go,
                    cpu,
                    _keeper: None,
                });
            }
            (None, Some(Err(error)), _) if stopped && error.kind == ErrorKind::Cancelled => Cause::Stopped,
            (None, Some(Err(error)), _) => Cause::Plugin(error),
            (None, None, _) if stopped => Cause::Stopped,
            (None, None, Some(Ending::Exit(CHANNEL_LOST))) => {
                Cause::Protocol("it closed the descriptor on which its answer was due".into())
            }
            (None, None, Some(Ending::Exit(NO_REQUEST))) => Cause::Host("the child got no request".into()),
            (None, None, Some(Ending::Exit(NO_THREAD))) => Cause::Host(limits::NO_THREAD.to_owned()),
            (None, None, Some(Ending::Exit(code))) => Cause::Exited(code),
            (None, None, Some(Ending::Signal(number))) => match self.limits.memory {
                Some(limit) if starved(&tail) => Cause::OutOfMemory(limit),
                _ => Cause::Signalled(signal_name(number)),
            },
            (None, None, None) if [NO_FOLDER, NO_PROCESS].iter().any(|words| tail.contains(words)) => {
                Cause::Host(tail.trim().to_owned())
            }
            (None, None, None) => Cause::Protocol("the process that watched over it is gone".into()),
        };
        let (subject, phase) = (self.subject, self.phase);
        Err(Box::new(Failure { subject, phase, whereabouts, cause, tail, left_behind }))
    }
}

/// On a busy machine a process may take its time between closing the channel and being gone: one that ended
/// otherwise than by our signal did not go on.
fn verdict(verdict: Option<Cause>, ending: Option<Ending>) -> Option<Cause> {
    let ended = ending.is_some_and(|ending| ending != Ending::Signal(Signal::KILL.as_raw()));
    verdict.filter(|cause| !(ended && *cause == Cause::Protocol(WENT_ON.into())))
}

/// Whether what a process printed last says that it got no memory. The kernel does not tell.
fn starved(tail: &str) -> bool {
    let signs = ["memory allocation of", "bad_alloc", "annot allocate memory", "ut of memory", "MemoryError"];
    signs.iter().any(|sign| tail.contains(sign))
}

fn remarks(ending: Option<Ending>, let_go: bool, left_behind: Vec<String>) -> Vec<Remark> {
    let mut remarks = Vec::new();
    match ending {
        Some(Ending::Exit(0)) => {}
        Some(Ending::Exit(SLOW_TO_CLOSE)) => remarks.push(Remark::SlowToClose),
        _ if let_go => remarks.push(Remark::SlowToClose),
        Some(ending) => remarks.push(Remark::EndedBadly(ending)),
        None => remarks.push(Remark::EndedBadly(Ending::Exit(CHANNEL_LOST))),
    }
    if !left_behind.is_empty() {
        remarks.push(Remark::LeftBehind(left_behind));
    }
    remarks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_was_only_slow_to_be_gone_did_not_go_on() {
        let went_on = || Some(Cause::Protocol(WENT_ON.into()));
        assert_eq!(verdict(went_on(), Some(Ending::Exit(0))), None);
        assert_eq!(verdict(went_on(), Some(Ending::Signal(11))), None);
        assert_eq!(verdict(went_on(), Some(Ending::Signal(9))), went_on());
        assert_eq!(verdict(went_on(), None), went_on());
        assert_eq!(verdict(Some(Cause::Stopped), Some(Ending::Exit(0))), Some(Cause::Stopped));
    }
}
