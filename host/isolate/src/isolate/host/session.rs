mod conclude;

use std::fs::File;
use std::io;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::{Directive, Limits, Notice};
use crate::Error;
use crate::isolate::failure::{Answer, Cause, Failure, SPOKE_ON};
use crate::isolate::output::Output;
use crate::isolate::process::{self, Process};
use crate::isolate::whereabouts::Whereabouts;
use crate::isolate::wire::{self, Body, Control, Lines, Order};
use crate::isolate::{Operation, Stop, StopLevel};
use crate::text::bounded;

/// How often the stop flag is looked at.
const TICK: Duration = Duration::from_millis(50);
/// Who looks no later than this has not been away.
const LATE: Duration = Duration::from_millis(200);
/// Bytes that are read of one thing before the others get their turn.
const AT_ONCE: usize = 1 << 20;
/// How long the warden may take from being let go to its report; its own sweep takes at most 10 s.
const REPORT: Duration = Duration::from_secs(20);
/// A channel that is closed before an answer is normal for a process that is just ending. One that takes longer is
/// ended; if it turns out to have ended by itself after all, that is what is said of it.
const CLOSED: Duration = Duration::from_millis(500);
/// Bytes of a phase's name: the host's own code has short ones, and a plugin can speak in its place.
const LONGEST_PHASE: usize = 256;
/// What is said of one that had not.
pub(super) const WENT_ON: &str = "it closed the channel and went on";

/// One call under way.
pub(super) struct Session<'a, O: Operation> {
    limits: &'a Limits,
    subject: String,
    nonce: String,
    phase: String,
    lines: Lines,
    outbox: Vec<u8>,
    output: Output,
    whereabouts: Whereabouts,
    /// Where it was when we ended it.
    ended_in: Option<String>,
    report: Vec<u8>,
    answer: Option<Result<O::Reply, Error>>,
    /// Why we ended it, when it was us.
    verdict: Option<Cause>,
    started: Instant,
    answered: Option<Instant>,
    channel_closed: Option<Instant>,
    output_closed: bool,
    stop: StopLevel,
    cancelled: Option<Instant>,
    let_go: Option<Instant>,
    /// Time between two looks at what came, where it was too long.
    deaf: Duration,
}

impl<'a, O: Operation> Session<'a, O> {
    pub(super) fn new(limits: &'a Limits, subject: String, nonce: String, log: Option<File>) -> Self {
        Self {
            limits,
            subject,
            nonce,
            phase: "start".into(),
            lines: Lines::new(limits.message),
            outbox: Vec::new(),
            output: Output::new(log),
            whereabouts: Whereabouts::default(),
            ended_in: None,
            report: Vec::new(),
            answer: None,
            verdict: None,
            started: Instant::now(),
            answered: None,
            channel_closed: None,
            output_closed: false,
            stop: StopLevel::Go,
            cancelled: None,
            let_go: None,
            deaf: Duration::ZERO,
        }
    }

    pub(super) fn run(
        mut self,
        mut process: Process,
        opening: Vec<u8>,
        watch: &mut dyn FnMut(Notice<'_, O::Event>) -> Directive,
        stop: &Stop,
    ) -> Result<Answer<O::Reply>, Box<Failure>> {
        self.outbox = opening;
        let directive = watch(Notice::Started(process.id()));
        self.order(directive);
        let mut looked = Instant::now();
        let reported = loop {
            if self.let_go.is_some_and(|since| since.elapsed() > REPORT) {
                break false;
            }
            self.follow(stop);
            self.judge(&process);
            let exchanged = self.exchange(&process, watch);
            let now = Instant::now();
            // After it, for it may be the last.
            self.deaf += Some(now.duration_since(looked)).filter(|time| *time > LATE).unwrap_or_default();
            looked = now;
            match exchanged {
                Ok(false) => {}
                Ok(true) => break true,
                Err(cause) => {
                    // The warden still gets its time to clean up; this must not spin meanwhile.
                    self.verdict.get_or_insert(Cause::Host(format!("watching the child: {cause}")));
                    std::thread::sleep(TICK);
                }
            }
        };
        // What was written just before the end.
        let _ = self.drain_channel(&process, usize::MAX, watch);
        let _ = self.drain_output(&process, usize::MAX);
        if !reported {
            process.force();
        }
        self.output.log.close();
        let mut concluded = self.conclude();
        match &mut concluded {
            Ok(answer) => answer._keeper = process.has_scratch().then_some(process),
            // What it wants is of no interest any more.
            Err(failure) => drop(watch(Notice::Failed(failure))),
        }
        concluded
    }

    /// Passes on what the user asked for, each level once. What has not begun has nothing to drain: a runtime that
    /// is only starting is not waited for.
    fn follow(&mut self, stop: &Stop) {
        self.order(match stop.level() {
            StopLevel::Go => Directive::Continue,
            StopLevel::Drain if O::DRAINS && self.whereabouts.has_begun() => Directive::Drain,
            StopLevel::Drain => Directive::Kill,
            StopLevel::Kill => Directive::Kill,
        });
    }

    fn order(&mut self, directive: Directive) {
        let (level, control) = match directive {
            Directive::Continue => return,
            Directive::Drain => (StopLevel::Drain, Control::Drain),
            Directive::Kill => (StopLevel::Kill, Control::Cancel),
        };
        if level <= self.stop {
            return;
        }
        self.stop = level;
        if level == StopLevel::Kill {
            self.cancelled = Some(Instant::now());
        }
        // A nonce and an enum always serialise.
        let order = wire::line(&Order { nonce: self.nonce.clone(), control }).unwrap_or_default();
        self.outbox.extend(order);
    }

    /// Ends the call when it is time to.
    fn judge(&mut self, process: &Process) {
        if self.let_go.is_some() {
            return;
        }
        let over =
            |since: Option<Instant>, limit: Duration| since.is_some_and(|since| since.elapsed() > limit);
        let timeout = self.limits.timeout.filter(|limit| self.started.elapsed() > *limit);
        let verdict = if self.verdict.is_some() {
            None
        } else if self.answered.is_some() {
            // The runner limits its own closing; this is for one that cannot even do that.
            if !over(self.answered, self.limits.close_grace + CLOSED) {
                return;
            }
            None
        } else if over(self.cancelled, self.limits.cancel_grace) {
            Some(Cause::Stopped)
        } else if let Some(limit) = timeout {
            Some(Cause::TimedOut(limit))
        } else if over(self.channel_closed, CLOSED) {
            Some(Cause::Protocol(WENT_ON.into()))
        } else {
            return;
        };
        self.verdict = self.verdict.take().or(verdict);
        self.ended_in = self.whereabouts.told(Instant::now());
        self.let_go = Some(Instant::now());
        process.let_go();
    }

    /// Waits for something and deals with it. True when the warden has reported or is gone.
    fn exchange(
        &mut self,
        process: &Process,
        watch: &mut dyn FnMut(Notice<'_, O::Event>) -> Directive,
    ) -> io::Result<bool> {
        let mut wanted = PollFlags::IN;
        wanted.set(PollFlags::OUT, !self.outbox.is_empty());
        let mut descriptors = vec![PollFd::new(&process.lifeline, PollFlags::IN)];
        if self.is_listening() {
            descriptors.push(PollFd::new(&process.channel, wanted));
        }
        if !self.output_closed {
            descriptors.push(PollFd::new(&process.output, PollFlags::IN));
        }
        match poll(&mut descriptors, Some(&self.patience())) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        if !self.outbox.is_empty() && self.channel_closed.is_none() {
            // A runner that is gone does not read; how it ended is told on the lifeline.
            let sent = process::write(&process.channel, &self.outbox).unwrap_or(self.outbox.len());
            self.outbox.drain(..sent);
        }
        self.drain_channel(process, AT_ONCE, watch)?;
        self.drain_output(process, AT_ONCE)?;
        self.drain_lifeline(process)
    }

    fn patience(&self) -> Timespec {
        let left = self.limits.timeout.map(|limit| limit.saturating_sub(self.started.elapsed()));
        let wait = left.map_or(TICK, |left| left.clamp(Duration::from_millis(1), TICK));
        Timespec { tv_sec: 0, tv_nsec: i64::from(wait.subsec_nanos()) }
    }

    /// After a violation nothing that comes is worth reading.
    fn is_listening(&self) -> bool {
        self.channel_closed.is_none() && self.verdict.is_none()
    }

    /// Reads at most about `most` bytes, so that one who never pauses keeps neither a time-out nor Ctrl-C waiting.
    fn drain_channel(
        &mut self,
        process: &Process,
        most: usize,
        watch: &mut dyn FnMut(Notice<'_, O::Event>) -> Directive,
    ) -> io::Result<()> {
        let mut buffer = [0; 64 << 10];
        let mut total = 0;
        while self.is_listening() && total < most {
            match process::read(&process.channel, &mut buffer)? {
                None => return Ok(()),
                Some(0) => self.channel_closed = Some(Instant::now()),
                Some(count) => {
                    total += count;
                    self.lines.push(&buffer[..count]);
                    if let Err(violation) = self.read_lines(watch) {
                        self.answer = None;
                        self.verdict = Some(Cause::Protocol(violation));
                    }
                }
            }
        }
        Ok(())
    }

    fn read_lines(&mut self, watch: &mut dyn FnMut(Notice<'_, O::Event>) -> Directive) -> Result<(), String> {
        while let Some(line) = self.lines.next_line()? {
            if self.answer.is_some() {
                return Err(SPOKE_ON.into());
            }
            let notice = match wire::read::<O::Event, O::Reply>(&line, &self.nonce)? {
                Body::Phase(name) => {
                    let name = bounded(&name, LONGEST_PHASE);
                    self.phase.clone_from(&name);
                    Notice::Phase(name)
                }
                Body::Event(event) => {
                    if let Some(line) = O::log_line(&event) {
                        self.output.log.line(&line);
                    }
                    if let Some(news) = O::news(&event) {
                        self.whereabouts.take(news, Instant::now());
                    }
                    Notice::Event(event)
                }
                Body::Reply(reply) => {
                    self.settle(Ok(reply));
                    continue;
                }
                Body::Failed(error) => {
                    self.settle(Err(error.bounded()));
                    continue;
                }
            };
            let directive = watch(notice);
            self.order(directive);
        }
        Ok(())
    }

    fn settle(&mut self, answer: Result<O::Reply, Error>) {
        self.answer = Some(answer);
        self.answered = Some(Instant::now());
    }

    /// Reads at most about `most` bytes, so that a flood does not keep the channel waiting.
    fn drain_output(&mut self, process: &Process, most: usize) -> io::Result<()> {
        let mut buffer = [0; 64 << 10];
        let mut total = 0;
        while !self.output_closed && total < most {
            match process::read(&process.output, &mut buffer)? {
                None => return Ok(()),
                Some(0) => self.output_closed = true,
                Some(count) => {
                    self.output.push(&buffer[..count]);
                    total += count;
                }
            }
        }
        Ok(())
    }

    fn drain_lifeline(&mut self, process: &Process) -> io::Result<bool> {
        let mut buffer = [0; 4096];
        loop {
            match process::read(&process.lifeline, &mut buffer)? {
                None => return Ok(false),
                Some(0) => return Ok(true),
                // Its report is one line.
                Some(count) => {
                    self.report.extend_from_slice(&buffer[..count]);
                    if buffer[..count].contains(&b'\n') {
                        return Ok(true);
                    }
                }
            }
        }
    }
}
