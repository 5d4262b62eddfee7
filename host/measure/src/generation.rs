//! What answers of a language model took, as the operators that asked for them say. None of it is longer than the host
//! itself waited for the answer: what says otherwise is in no figure.

use std::time::Duration;

use bench_record::evidence::{Generation, Goodput, Percentiles};
use bench_record::histogram::{self, LatencyHistogram};
use bench_workloads::records::{Call, Goals};

/// Of the timed answers.
#[derive(Debug, Default)]
pub struct Calls {
    goals: Goals,
    answers: u64,
    streamed: u64,
    /// Answers whose tokens the service counted.
    counted: u64,
    /// Answers that hold no words.
    wordless: u64,
    /// Answers with times that cannot be.
    impossible: u64,
    good: u64,
    prompt_tokens: u64,
    completion_tokens: u64,
    ttft: LatencyHistogram,
    between: LatencyHistogram,
    tpot: LatencyHistogram,
    answer: LatencyHistogram,
}

impl Calls {
    /// None yet.
    #[must_use]
    pub fn with_goals(goals: Goals) -> Self {
        Self { goals, ..Self::default() }
    }

    /// None yet, by the same goals.
    #[must_use]
    pub fn anew(&self) -> Self {
        Self::with_goals(self.goals)
    }

    /// Takes note of a call for an answer for which the host waited so long, and that may hold no words.
    pub fn take(&mut self, call: &Call, waited: Duration, wordless: bool) {
        self.wordless += u64::from(wordless);
        let waited_us = u64::try_from(waited.as_nanos().div_ceil(1_000)).unwrap_or(u64::MAX);
        match call.is_possible(waited_us) {
            true => self.note(call),
            false => self.impossible += 1,
        }
    }

    fn note(&mut self, call: &Call) {
        self.answers += 1;
        self.answer.record(Duration::from_micros(call.latency_us));
        if let Some(first) = call.first_us {
            self.streamed += 1;
            self.ttft.record(Duration::from_micros(first));
        }
        for gap in &call.gaps_us {
            self.between.record(Duration::from_micros((*gap).into()));
        }
        let per_token = call.per_token_us();
        if let Some(time) = per_token {
            self.tpot.record(Duration::from_micros(time));
        }
        if let (Some(prompt), Some(completion)) = (call.prompt_tokens, call.completion_tokens) {
            self.counted += 1;
            self.prompt_tokens += u64::from(prompt);
            self.completion_tokens += u64::from(completion);
        }
        let within = |time: Option<u64>, goal: Option<f64>| match (time, goal) {
            (_, None) => true,
            (Some(us), Some(ms)) => us as f64 <= ms * 1e3,
            (None, Some(_)) => false,
        };
        // An answer of one token has no further ones.
        let one = call.completion_tokens == Some(1);
        let tpot = if one { Some(0) } else { per_token };
        self.good += u64::from(within(call.first_us, self.goals.ttft_ms) && within(tpot, self.goals.tpot_ms));
    }

    /// For the histograms beside the record.
    pub fn tagged(&self) -> impl Iterator<Item = (&'static str, &LatencyHistogram)> {
        let all = [
            (histogram::TTFT, &self.ttft),
            (histogram::BETWEEN_TOKENS, &self.between),
            (histogram::TPOT, &self.tpot),
            (histogram::ANSWER, &self.answer),
        ];
        all.into_iter().filter(|(_, latencies)| !latencies.is_empty())
    }

    /// For the record; `window` is the time in which timed queries were answered, where that is known.
    #[must_use]
    pub fn evidence(&self, window: Option<Duration>) -> Option<Generation> {
        if self.answers + self.impossible == 0 {
            return None;
        }
        let window = window.filter(|window| !window.is_zero());
        let rate = |count: u64| window.map(|window| count as f64 / window.as_secs_f64());
        let whole = self.counted == self.answers && self.answers > 0;
        let tokens = |count: u64| whole.then_some(count);
        let has_goals = self.goals != Goals::default();
        Some(Generation {
            answers: self.answers,
            streamed: self.streamed,
            ttft_ms: percentiles(&self.ttft),
            between_tokens_ms: percentiles(&self.between),
            tpot_ms: percentiles(&self.tpot),
            answer_ms: percentiles(&self.answer),
            prompt_tokens: tokens(self.prompt_tokens),
            completion_tokens: tokens(self.completion_tokens),
            prompt_tokens_per_second: tokens(self.prompt_tokens).and_then(rate),
            completion_tokens_per_second: tokens(self.completion_tokens).and_then(rate),
            goodput: has_goals.then(|| Goodput {
                ttft_ms: self.goals.ttft_ms,
                tpot_ms: self.goals.tpot_ms,
                answers: self.good,
                per_second: rate(self.good),
            }),
            remarks: self.remarks(),
        })
    }

    fn remarks(&self) -> Vec<String> {
        let mut remarks = Vec::new();
        if self.streamed < self.answers {
            let whole = self.answers - self.streamed;
            remarks.push(format!(
                "{whole} of {} answers did not come in pieces: of them no time to the first token is known",
                self.answers
            ));
        }
        if self.counted < self.answers {
            let silent = self.answers - self.counted;
            remarks.push(format!(
                "of {silent} of {} answers the service did not count the tokens",
                self.answers
            ));
        }
        if self.wordless > 0 {
            remarks.push(format!(
                "{} of {} answers hold no words: the model only thought, or was stopped before it said any",
                self.wordless,
                self.answers + self.impossible
            ));
        }
        if self.impossible > 0 {
            remarks.push(format!(
                "{} answers came with times that cannot be, and are left out",
                self.impossible
            ));
        }
        remarks
    }
}

fn percentiles(of: &LatencyHistogram) -> Option<Percentiles> {
    (!of.is_empty()).then(|| Percentiles {
        mean: of.mean(),
        p50: of.quantile(0.50),
        p95: of.quantile(0.95),
        p99: of.quantile(0.99),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(first_us: u64, per_token_us: u64) -> Call {
        let last_us = first_us + 10 * per_token_us;
        Call {
            latency_us: last_us + 5,
            first_us: Some(first_us),
            last_us: Some(last_us),
            gaps_us: vec![per_token_us as u32; 10],
            prompt_tokens: Some(100),
            completion_tokens: Some(11),
        }
    }

    fn taken(goals: Goals, calls: &[Call]) -> Calls {
        let mut all = Calls::with_goals(goals);
        calls.iter().for_each(|call| all.take(call, Duration::from_secs(10), false));
        all
    }

    fn ms(found: Option<Percentiles>) -> f64 {
        found.unwrap().p50.unwrap().get()
    }

    #[test]
    fn times_and_tokens_are_those_of_the_calls() {
        let all = taken(Goals::default(), &[call(200_000, 20_000), call(200_000, 20_000)]);
        let found = all.evidence(Some(Duration::from_secs(2))).unwrap();
        for (found, expected) in [
            (found.ttft_ms, 200.0),
            (found.between_tokens_ms, 20.0),
            (found.tpot_ms, 20.0),
            (found.answer_ms, 400.0),
        ] {
            assert!((ms(found) / expected - 1.0).abs() < 0.002, "{found:?} {expected}");
        }
        assert_eq!((found.prompt_tokens, found.completion_tokens), (Some(200), Some(22)));
        assert_eq!(
            (found.prompt_tokens_per_second, found.completion_tokens_per_second),
            (Some(100.0), Some(11.0))
        );
        assert_eq!((found.goodput, found.remarks), (None, vec![]));
    }

    #[test]
    fn good_is_what_meets_every_goal() {
        let calls = [call(200_000, 20_000), call(400_000, 20_000), call(200_000, 40_000)];
        let good = |ttft_ms, tpot_ms| {
            taken(Goals { ttft_ms, tpot_ms }, &calls)
                .evidence(Some(Duration::from_secs(1)))
                .unwrap()
                .goodput
                .map(|good| good.answers)
        };
        assert_eq!(good(Some(200.0), Some(20.0)), Some(1));
        assert_eq!(good(Some(200.0), None), Some(2));
        assert_eq!(good(None, Some(30.0)), Some(2));
        assert_eq!(good(None, None), None);
    }

    #[test]
    fn what_is_not_known_is_null_and_said() {
        let plain = Call { latency_us: 7, ..Call::default() };
        let found = taken(Goals::default(), &[call(1, 1), plain]).evidence(None).unwrap();
        assert_eq!((found.answers, found.streamed, found.completion_tokens), (2, 1, None));
        assert_eq!(found.remarks.len(), 2);
        assert!(found.remarks[0].starts_with("1 of 2 answers did not come in pieces"), "{found:?}");
    }

    #[test]
    fn answers_without_words_are_counted() {
        let mut all = Calls::default();
        [true, false, true]
            .into_iter()
            .for_each(|wordless| all.take(&call(1, 1), Duration::from_secs(10), wordless));
        let found = all.evidence(None).unwrap();
        assert_eq!(found.answers, 3);
        assert!(found.remarks[0].starts_with("2 of 3 answers hold no words"), "{found:?}");
    }

    #[test]
    fn times_longer_than_the_host_waited_are_in_no_figure() {
        let mut all = Calls::default();
        all.take(&call(200_000, 20_000), Duration::from_millis(100), false);
        let found = all.evidence(None).unwrap();
        assert_eq!((found.answers, found.ttft_ms), (0, None));
        assert_eq!(found.remarks, ["1 answers came with times that cannot be, and are left out"]);
        assert!(Calls::default().evidence(None).is_none());
    }
}
