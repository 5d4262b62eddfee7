//! What a comparison needs of a record, in a hundred and seventy-six bytes.
//!
//! A million records do not fit in memory as objects. Their numbers do as numbers, and texts that
//! only have to be told apart do as hashes. Whoever needs a text itself reads it from the record's
//! row, which travels beside these facts.

use xxhash_rust::xxh3::{xxh3_64, xxh3_128};

/// The measured quantities of the unified record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// Items per second.
    Throughput,
    /// Median latency, ms.
    LatencyP50,
    /// 95th percentile of latency, ms.
    LatencyP95,
    /// 99th percentile of latency, ms.
    LatencyP99,
    /// Share of items completed.
    SuccessRate,
    /// Wall-clock time, s.
    Duration,
    /// CPU seconds of the whole run per million completed items. It stands in the record's evidence.
    CpuPerMillion,
    /// Joules of the whole machine per million timed items. It stands in the record's evidence.
    EnergyPerMillion,
}

impl Metric {
    /// All of them, in the record's order.
    pub const ALL: [Metric; 8] = [
        Metric::Throughput,
        Metric::LatencyP50,
        Metric::LatencyP95,
        Metric::LatencyP99,
        Metric::SuccessRate,
        Metric::Duration,
        Metric::CpuPerMillion,
        Metric::EnergyPerMillion,
    ];

    /// Those that a verdict is given on. Throughput is the main one; the others are read beside it.
    pub const JUDGED: [Metric; 6] = [
        Metric::Throughput,
        Metric::LatencyP50,
        Metric::LatencyP95,
        Metric::LatencyP99,
        Metric::CpuPerMillion,
        Metric::EnergyPerMillion,
    ];

    /// Its field in the record, or its name.
    pub fn name(self) -> &'static str {
        match self {
            Metric::Throughput => "throughput",
            Metric::LatencyP50 => "latency_p50",
            Metric::LatencyP95 => "latency_p95",
            Metric::LatencyP99 => "latency_p99",
            Metric::SuccessRate => "success_rate",
            Metric::Duration => "duration_seconds",
            Metric::CpuPerMillion => "cpu_seconds_per_million",
            Metric::EnergyPerMillion => "joules_per_million",
        }
    }

    /// Its unit, or nothing.
    pub fn unit(self) -> &'static str {
        ["items/s", "ms", "ms", "ms", "", "s", "s", "J"][self as usize]
    }

    /// Whether more of it is better.
    pub fn higher_is_better(self) -> bool {
        matches!(self, Metric::Throughput | Metric::SuccessRate)
    }

    /// The percentile it is, from 0 to 1, if it is one.
    pub fn percentile(self) -> Option<f64> {
        match self {
            Metric::LatencyP50 => Some(0.50),
            Metric::LatencyP95 => Some(0.95),
            Metric::LatencyP99 => Some(0.99),
            _ => None,
        }
    }
}

/// One number per metric. NaN stands for "not measured".
pub type Metrics = [f64; Metric::ALL.len()];

const WORDS: usize = 22;

/// How many bytes [`Facts`] are.
pub(crate) const BYTES: usize = WORDS * 8;

const NO_PAIR: u64 = u64::MAX;
const INVALID: u64 = 1;
const PARTIAL: u64 = 2;
const HAS_DIGEST: u64 = 4;
const CLOSED: u64 = 8;
const UNTIL_KNOWN: u64 = 16;
const DRAWN: u64 = 32;

/// The numbers of a record and the hashes of its texts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Facts {
    /// Seed of the setting.
    pub seed: u64,
    /// Seed of every random choice of this run. Another one where pairs have seeds of their own.
    pub input: u64,
    /// Whether they have.
    pub drawn: bool,
    /// Worker nodes.
    pub nodes: u32,
    /// Parallelism of each operator.
    pub parallelism: u32,
    /// What was measured.
    pub metrics: Metrics,
    /// Which pair of a paired run this is.
    pub pair: Option<u64>,
    /// Timed items, or zero when unknown.
    pub items: u64,
    /// Hash of workload, seed, nodes, parallelism and `config_hash`.
    pub setting: u128,
    /// Hash of the output digest, if there is one.
    pub digest: Option<u128>,
    /// Hash of `config_hash`; zero when it is null. The same for the next two.
    pub config: u64,
    /// Hash of the plugin API's version.
    pub api: u64,
    /// Hash of the host's description.
    pub host: u64,
    /// Hash of what the embedding endpoint served.
    pub embedding: u64,
    /// Whether the run was judged INVALID.
    pub invalid: bool,
    /// Whether the run did not finish.
    pub partial: bool,
    /// Whether events came as fast as they were finished, so that its latency follows from its throughput.
    pub closed: bool,
    /// Whether pairs like this one went on until their verdict was known.
    pub until_known: bool,
}

impl Facts {
    /// Whether any item was answered. Without answers there is nothing to compare.
    pub fn answered(&self) -> bool {
        self.metrics[Metric::SuccessRate as usize] > 0.0
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        let flags = (u64::from(self.invalid) * INVALID)
            | (u64::from(self.partial) * PARTIAL)
            | (u64::from(self.closed) * CLOSED)
            | (u64::from(self.until_known) * UNTIL_KNOWN)
            | (u64::from(self.drawn) * DRAWN)
            | (u64::from(self.digest.is_some()) * HAS_DIGEST);
        let digest = self.digest.unwrap_or(0);
        let sizes = u64::from(self.nodes) << 32 | u64::from(self.parallelism);
        let m = self.metrics.map(f64::to_bits);
        let words: [u64; WORDS] = [
            self.seed,
            sizes,
            m[0],
            m[1],
            m[2],
            m[3],
            m[4],
            m[5],
            self.pair.unwrap_or(NO_PAIR),
            self.items,
            self.setting as u64,
            (self.setting >> 64) as u64,
            digest as u64,
            (digest >> 64) as u64,
            self.config,
            self.api,
            self.host,
            flags,
            self.embedding,
            m[6],
            self.input,
            m[7],
        ];
        words.iter().for_each(|word| out.extend_from_slice(&word.to_le_bytes()));
    }

    pub(crate) fn decode(bytes: &[u8]) -> Facts {
        let mut w = [0_u64; WORDS];
        for (word, chunk) in w.iter_mut().zip(bytes.as_chunks::<8>().0) {
            *word = u64::from_le_bytes(*chunk);
        }
        let wide = |low: u64, high: u64| u128::from(low) | u128::from(high) << 64;
        Facts {
            seed: w[0],
            input: w[20],
            drawn: w[17] & DRAWN != 0,
            nodes: (w[1] >> 32) as u32,
            parallelism: w[1] as u32,
            metrics: [w[2], w[3], w[4], w[5], w[6], w[7], w[19], w[21]].map(f64::from_bits),
            pair: (w[8] != NO_PAIR).then_some(w[8]),
            items: w[9],
            setting: wide(w[10], w[11]),
            digest: (w[17] & HAS_DIGEST != 0).then(|| wide(w[12], w[13])),
            config: w[14],
            api: w[15],
            host: w[16],
            embedding: w[18],
            invalid: w[17] & INVALID != 0,
            partial: w[17] & PARTIAL != 0,
            closed: w[17] & CLOSED != 0,
            until_known: w[17] & UNTIL_KNOWN != 0,
        }
    }
}

/// A hash that is zero only for "nothing".
pub(crate) fn hash_text(text: Option<&str>) -> u64 {
    text.map_or(0, |text| xxh3_64(text.as_bytes()).max(1))
}

/// A hash wide enough that a million texts do not collide.
pub(crate) fn hash_wide(bytes: &[u8]) -> u128 {
    xxh3_128(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_come_back_as_they_were() {
        let mut facts = Facts {
            seed: u64::MAX,
            input: 8,
            drawn: true,
            nodes: 3,
            parallelism: 7,
            metrics: [1.0, 2.0, 3.0, 4.0, 0.5, 6.0, 7.0, 8.0],
            pair: Some(0),
            items: 9,
            setting: u128::MAX - 5,
            digest: Some(12),
            config: 1,
            api: 2,
            host: 3,
            embedding: 4,
            invalid: true,
            partial: false,
            closed: true,
            until_known: true,
        };
        for _ in 0..2 {
            let mut bytes = Vec::new();
            facts.encode(&mut bytes);
            assert_eq!((bytes.len(), Facts::decode(&bytes)), (BYTES, facts));
            (facts.pair, facts.digest, facts.invalid, facts.partial) = (None, None, false, true);
            (facts.closed, facts.until_known, facts.drawn) = (false, false, false);
        }
    }

    #[test]
    fn nothing_and_empty_text_are_not_the_same() {
        assert_ne!(hash_text(None), hash_text(Some("")));
    }
}
