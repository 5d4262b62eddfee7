//! Every latency of a run, small enough to keep.
//!
//! The unified record has three percentiles. To draw a curve, to merge repeats, or to ask for
//! p99.9 a year later, one needs them all. An HDR histogram holds any number of values with three
//! significant digits in a few kilobytes. It is stored as a standard HdrHistogram interval log
//! (format 1.3, one compressed histogram per line), so every HDR tool can read it.
//!
//! The percentiles *in* the record are read from such a histogram too, so they are right to three
//! significant digits and not exact as those of the Python version were.

use std::io::Read;
use std::path::Path;
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use flate2::read::ZlibDecoder;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::interval_log::{
    IntervalLogIterator, IntervalLogWriter, IntervalLogWriterBuilder, LogEntry, Tag,
};
use hdrhistogram::serialization::{Deserializer, Serializer, V2DeflateSerializer};

use super::found::Found;
use super::units::Millis;
use super::{Error, Result, atomic};

/// Name of the file inside an output directory.
pub const FILE_NAME: &str = "latency.hlog";

/// Tag of the latencies from the intended arrival: those that a record's percentiles are of.
pub const RESPONSE: &str = "response";

/// Tag of the latencies from the actual emission.
pub const SERVICE: &str = "service";

/// Tags of what a language model took: to the first token, between pieces, for each token, and for an answer.
pub const TTFT: &str = "ttft";
pub const BETWEEN_TOKENS: &str = "between_tokens";
pub const TPOT: &str = "tpot";
pub const ANSWER: &str = "answer";

const SIGNIFICANT_DIGITS: u8 = 3;

/// Java's reader and plotter expect the `Interval_Max` column in milliseconds.
const NANOS_PER_MILLI: f64 = 1e6;

/// A histogram of our precision inflates to about 300 kB at most; other tools may use more digits.
const MAX_INFLATED_BYTES: u64 = 64 << 20;

/// A log of ours has some kilobytes; other tools write a line a second.
pub const LARGEST: u64 = 64 << 20;

/// Counters of all histograms of a log together: a kilobyte can unpack to a thousand times as much.
const MOST_VALUES: usize = 1 << 27;

/// Latencies in nanoseconds, to three significant digits.
#[derive(Clone, Debug, PartialEq)]
pub struct LatencyHistogram(Histogram<u64>);

impl Default for LatencyHistogram {
    fn default() -> Self {
        LatencyHistogram::new()
    }
}

impl LatencyHistogram {
    /// An empty histogram that grows to hold whatever is recorded.
    pub fn new() -> Self {
        LatencyHistogram(Histogram::new(SIGNIFICANT_DIGITS).expect("three digits are always allowed"))
    }

    /// Counts one latency. Beyond 584 years it saturates.
    pub fn record(&mut self, latency: Duration) {
        let nanos = u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX);
        // `record` grows the histogram; `saturating_record` alone would clamp to its present size.
        if self.0.record(nanos).is_err() {
            self.0.saturating_record(nanos);
        }
    }

    /// Adds the counts of another histogram.
    pub fn merge(&mut self, other: &LatencyHistogram) -> Result<()> {
        self.0.add(&other.0).map_err(|error| Error::Histogram(error.to_string()))
    }

    /// Number of latencies counted.
    pub fn len(&self) -> u64 {
        self.0.len()
    }

    /// Whether nothing was counted.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The latency that a share `quantile` (0 to 1) of items did not exceed.
    pub fn quantile(&self, quantile: f64) -> Option<Millis> {
        (!self.is_empty() && (0.0..=1.0).contains(&quantile))
            .then(|| Duration::from_nanos(self.0.value_at_quantile(quantile)).into())
    }

    /// The mean.
    pub fn mean(&self) -> Option<Millis> {
        (!self.is_empty()).then(|| Duration::from_nanos(self.0.mean() as u64).into())
    }

    /// The longest latency.
    pub fn max(&self) -> Option<Millis> {
        (!self.is_empty()).then(|| Duration::from_nanos(self.0.max()).into())
    }

    /// Each recorded latency, shortest first, with its count. For drawing.
    pub fn buckets(&self) -> impl Iterator<Item = (Millis, u64)> {
        self.0
            .iter_recorded()
            .map(|bucket| (Duration::from_nanos(bucket.value_iterated_to()).into(), bucket.count_at_value()))
    }
}

/// The latencies of one stretch of a run.
#[derive(Clone, Debug, PartialEq)]
pub struct Interval {
    /// What was measured, if there is more than one thing. No space, comma or line end.
    pub tag: Option<String>,
    /// When the stretch began, from the start of the run. Stored to the millisecond.
    pub start: Duration,
    /// How long it was. Stored to the millisecond.
    pub length: Duration,
    /// Its latencies.
    pub latencies: LatencyHistogram,
}

/// Writes an interval log. `began` is when the run started; intervals count from there.
pub fn save(path: &Path, began: SystemTime, intervals: &[Interval]) -> Result<()> {
    let text = log(began, intervals).map_err(|error| error.in_file(path))?;
    atomic::write(path, &text)
}

/// Reads an interval log, ours or another tool's, as long as its values are nanoseconds.
pub fn load(path: &Path) -> Result<Vec<Interval>> {
    let text = Found::NAMED.at_most(LARGEST).read(path).map_err(Error::io("read", path))?;
    let (mut intervals, mut room) = (Vec::new(), MOST_VALUES);
    for entry in IntervalLogIterator::new(&text) {
        let entry = entry.map_err(|error| {
            let hdrhistogram::serialization::interval_log::LogIteratorError::ParseError { offset } = error;
            let before = &text[..offset.min(text.len())];
            let line = 1 + before.iter().filter(|&&byte| byte == b'\n').count() as u64;
            Error::Histogram("not a line of an HdrHistogram log".into()).at_line(path, line)
        })?;
        // StartTime and BaseTime say when the run was; the intervals are relative to them.
        if let LogEntry::Interval(found) = entry {
            let latencies = decode(found.encoded_histogram()).map_err(|error| error.in_file(path))?;
            let left = room.checked_sub(latencies.0.distinct_values());
            room = left.ok_or_else(|| Error::Histogram("it unpacks to too much".into()).in_file(path))?;
            intervals.push(Interval {
                tag: found.tag().map(|tag| tag.as_str().to_owned()),
                start: found.start_timestamp(),
                length: found.duration(),
                latencies,
            });
        }
    }
    Ok(intervals)
}

/// The latencies of whole items in a log: the intervals with the tag [`RESPONSE`], or, in a log of another
/// tool, those without a tag. `None` when there are neither, or nothing was counted.
pub fn whole_items(intervals: &[Interval]) -> Result<Option<LatencyHistogram>> {
    match tagged(intervals, Some(RESPONSE))? {
        Some(all) => Ok(Some(all)),
        None => tagged(intervals, None),
    }
}

/// The latencies of the intervals with this tag, or without one. `None` when nothing was counted.
pub fn tagged(intervals: &[Interval], wanted: Option<&str>) -> Result<Option<LatencyHistogram>> {
    let mut all = LatencyHistogram::new();
    for interval in intervals.iter().filter(|interval| interval.tag.as_deref() == wanted) {
        all.merge(&interval.latencies)?;
    }
    Ok(Some(all).filter(|all| !all.is_empty()))
}

/// An interval log as it is written; see [`save`].
///
/// # Errors
/// When a tag has a space, a comma or a line end.
//
// The header order is the one Java's `HistogramLogWriter` uses. The legend is not a comment, so
// the crate's writer cannot place it; hence two writers on one buffer.
pub fn log(began: SystemTime, intervals: &[Interval]) -> Result<Vec<u8>> {
    let mut text = Vec::new();
    let mut serializer = V2DeflateSerializer::new();
    IntervalLogWriterBuilder::new()
        .add_comment("[Histogram log format version 1.3]")
        .add_comment("[Latencies in nanoseconds; Interval_Max in milliseconds]")
        .with_start_time(began)
        .with_base_time(began)
        .begin_log_with(&mut text, &mut serializer)
        .map_err(written)?;
    text.extend_from_slice(
        b"\"StartTimestamp\",\"Interval_Length\",\"Interval_Max\",\"Interval_Compressed_Histogram\"\n",
    );
    let mut body = Vec::new();
    let mut writer = IntervalLogWriterBuilder::new()
        .with_max_value_divisor(NANOS_PER_MILLI)
        .begin_log_with(&mut body, &mut serializer)
        .map_err(written)?;
    for interval in intervals {
        write_interval(&mut writer, interval)?;
    }
    text.extend_from_slice(&body);
    Ok(text)
}

fn write_interval<S: Serializer>(
    writer: &mut IntervalLogWriter<'_, '_, Vec<u8>, S>,
    interval: &Interval,
) -> Result<()>
where
    S::SerializeError: std::fmt::Debug,
{
    let tag = match &interval.tag {
        None => None,
        Some(text) => Some(Tag::new(text).ok_or_else(|| {
            Error::Histogram(format!("the tag {text:?} has a space, a comma or a line end"))
        })?),
    };
    writer
        .write_histogram(&interval.latencies.0, interval.start, interval.length, tag)
        .map_err(|error| Error::Histogram(format!("{error:?}")))
}

fn written(error: std::io::Error) -> Error {
    Error::Histogram(error.to_string())
}

/// The crate's own deserializer believes the sizes that a file states. So the text is inflated
/// here, up to a limit, and the stated size is compared with what is there.
fn decode(text: &str) -> Result<LatencyHistogram> {
    const COMPRESSED_COOKIE: [u8; 4] = [0x1c, 0x84, 0x93, 0x14];
    const OUTER_HEADER: usize = 8;
    const INNER_HEADER: usize = 40;
    let bad = |reason: &str| Error::Histogram(reason.into());

    let bytes = BASE64.decode(text).map_err(|error| bad(&error.to_string()))?;
    if !bytes.starts_with(&COMPRESSED_COOKIE) || bytes.len() < OUTER_HEADER {
        return Err(bad("not a compressed V2 histogram"));
    }
    let mut inner = Vec::new();
    ZlibDecoder::new(&bytes[OUTER_HEADER..])
        .take(MAX_INFLATED_BYTES)
        .read_to_end(&mut inner)
        .map_err(|error| bad(&error.to_string()))?;
    let stated = inner.get(4..8).and_then(|size| size.try_into().ok()).map(u32::from_be_bytes);
    let present = inner.len().saturating_sub(INNER_HEADER);
    if stated.is_none_or(|stated| stated as usize > present) {
        return Err(bad("the histogram is cut short"));
    }
    let mut histogram: Histogram<u64> =
        Deserializer::new().deserialize(&mut inner.as_slice()).map_err(|error| bad(&error.to_string()))?;
    // A stored histogram has fixed bounds. One that is merged into must be able to grow.
    histogram.auto(true);
    Ok(LatencyHistogram(histogram))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn histogram(micros: impl IntoIterator<Item = u64>) -> LatencyHistogram {
        let mut histogram = LatencyHistogram::new();
        micros.into_iter().for_each(|n| histogram.record(Duration::from_micros(n)));
        histogram
    }

    fn interval(tag: Option<&str>, second: u64) -> Interval {
        Interval {
            tag: tag.map(str::to_owned),
            start: Duration::from_secs(second),
            length: Duration::from_millis(1500),
            latencies: histogram(1..=1000),
        }
    }

    fn saved(intervals: &[Interval]) -> (String, Result<Vec<Interval>>) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE_NAME);
        let began = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        save(&path, began, intervals).unwrap();
        (fs::read_to_string(&path).unwrap(), load(&path))
    }

    fn load_text(text: &str) -> Result<Vec<Interval>> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE_NAME);
        fs::write(&path, text).unwrap();
        load(&path)
    }

    #[test]
    fn intervals_survive_the_round_trip() {
        let intervals = [interval(None, 0), interval(Some("warm-up"), 2)];
        assert_eq!(saved(&intervals).1.unwrap(), intervals);
    }

    #[test]
    fn whole_items_are_the_responses_or_what_has_no_tag() {
        let count = |intervals: &[Interval]| whole_items(intervals).unwrap().map(|all| all.len());
        let ours = [interval(Some(RESPONSE), 0), interval(Some(SERVICE), 0), interval(Some(RESPONSE), 2)];
        assert_eq!(count(&ours), Some(2_000));
        assert_eq!(count(&[interval(None, 0), interval(Some("gc"), 0)]), Some(1_000));
        assert_eq!(count(&[interval(Some(SERVICE), 0)]), None);
    }

    #[test]
    fn the_log_opens_as_other_tools_expect() {
        let (text, _) = saved(&[interval(Some("a"), 2)]);
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines[0], "#[Histogram log format version 1.3]");
        assert!(lines.contains(&"#[StartTime: 1800000000.000 (seconds since epoch)]"), "{text}");
        assert!(lines.iter().any(|line| line.starts_with("\"StartTimestamp\",\"Interval_Length\"")));
        assert!(lines.last().unwrap().starts_with("Tag=a,2.000,1.500,1.000,HISTFAAA"), "{text}");
    }

    #[test]
    fn a_log_without_intervals_is_empty_not_wrong() {
        assert_eq!(saved(&[]).1.unwrap(), []);
    }

    #[test]
    fn quantiles_are_in_milliseconds() {
        let latencies = histogram(1..=1000);
        let median = latencies.quantile(0.5).unwrap().get();
        assert!((median - 0.5).abs() < 0.001, "{median}");
        assert!(latencies.max().unwrap() >= Millis::new(1.0).unwrap());
        assert_eq!(latencies.buckets().map(|(_, count)| count).sum::<u64>(), 1000);
    }

    #[test]
    fn an_empty_histogram_has_no_quantiles() {
        assert_eq!(LatencyHistogram::new().quantile(0.5), None);
        assert_eq!(LatencyHistogram::new().max(), None);
    }

    #[test]
    fn a_loaded_histogram_can_take_longer_latencies() {
        let mut loaded = saved(&[interval(None, 0)]).1.unwrap().remove(0).latencies;
        loaded.merge(&histogram([90_000_000])).unwrap();
        loaded.record(Duration::from_secs(7200));
        assert_eq!(loaded.len(), 1002);
    }

    #[test]
    fn the_longest_latency_there_is_can_be_recorded() {
        let mut latencies = histogram([1]);
        latencies.record(Duration::MAX);
        assert_eq!(latencies.len(), 2);
        assert!(latencies.max().unwrap().get() > 1e13);
    }

    #[test]
    fn a_bad_tag_is_refused() {
        let error =
            save(Path::new("/nowhere/x"), SystemTime::now(), &[interval(Some("a b"), 0)]).unwrap_err();
        assert!(error.to_string().contains("the tag \"a b\""), "{error}");
    }

    #[test]
    fn a_line_that_is_no_interval_is_named() {
        let error = load_text("#[StartTime: 1.0 (x)]\nhello\n").unwrap_err().to_string();
        assert!(error.contains("latency.hlog:2: bad latency histogram"), "{error}");
    }

    #[test]
    fn a_damaged_histogram_is_an_error_not_a_crash() {
        let (text, _) = saved(&[interval(None, 0)]);
        let start = text.find("HISTF").unwrap();
        // Cut it anywhere, and flip any character: either it still reads or it is an error.
        for end in start..text.len() - 1 {
            let _ = load_text(&format!("{}\n", &text[..end]));
            let mut flipped = text.clone().into_bytes();
            flipped[end] = if flipped[end] == b'B' { b'C' } else { b'B' };
            let _ = load_text(&String::from_utf8(flipped).unwrap());
        }
        assert!(load_text(&format!("{}\n", &text[..start + 40])).is_err());
    }
}
