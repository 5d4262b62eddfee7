//! Points in time, always UTC.
//!
//! Written as Python's `datetime.isoformat()` writes UTC, to the microsecond. Read more widely:
//! any offset is converted, and a time without one is taken as UTC, because that is what the
//! Python version meant.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::Offset;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Error, Result};

/// A point in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, JsonSchema)]
#[schemars(inline, with = "String", extend("format" = "date-time"))]
pub struct UtcTime(Timestamp);

impl UtcTime {
    /// The time now.
    pub fn now() -> Self {
        UtcTime(Timestamp::now())
    }
}

impl From<Timestamp> for UtcTime {
    fn from(timestamp: Timestamp) -> Self {
        UtcTime(timestamp)
    }
}

impl From<UtcTime> for Timestamp {
    fn from(time: UtcTime) -> Self {
        time.0
    }
}

impl fmt::Display for UtcTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.strftime("%Y-%m-%dT%H:%M:%S.%6f+00:00"))
    }
}

impl FromStr for UtcTime {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let zoned = text.parse::<Timestamp>();
        let found = zoned.or_else(|error| match text.parse::<DateTime>() {
            Ok(local) => Offset::UTC.to_timestamp(local),
            Err(_) => Err(error),
        });
        found.map(UtcTime).map_err(|error| Error::Time { text: text.to_owned(), reason: error.to_string() })
    }
}

impl Serialize for UtcTime {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for UtcTime {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> String {
        text.parse::<UtcTime>().unwrap().to_string()
    }

    #[test]
    fn python_times_come_back_as_they_were() {
        let text = "2026-01-31T12:34:56.012345+00:00";
        assert_eq!(read(text), text);
    }

    #[test]
    fn every_spelling_of_utc_is_understood() {
        let expected = "2026-01-31T12:00:00.000000+00:00";
        for text in [
            "2026-01-31T12:00:00Z",
            "2026-01-31T12:00:00",
            "2026-01-31T13:00:00+01:00",
            "2026-01-31 12:00:00+00:00",
        ] {
            assert_eq!(read(text), expected, "{text}");
        }
    }

    #[test]
    fn nonsense_is_refused_with_the_text() {
        let error = "yesterday".parse::<UtcTime>().unwrap_err().to_string();
        assert!(error.contains("\"yesterday\" is not an ISO-8601 time"), "{error}");
    }
}
