//! How patient a client is, and how long a service asks it to wait.

use std::time::{Duration, SystemTime};

/// How patient a client is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Patience {
    /// For one attempt, from connecting to the last byte.
    pub timeout: Duration,
    /// In all; at least 1.
    pub attempts: u32,
    /// Before the second attempt; it doubles from then on.
    pub backoff: Duration,
    /// The longest wait that a server may ask for with `Retry-After`.
    pub longest_wait: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(30),
            attempts: 3,
            backoff: Duration::from_secs(1),
            longest_wait: Duration::from_secs(30),
        }
    }
}

impl Patience {
    /// The wait after attempt number `attempt`, which counts from 1.
    pub(super) fn wait(&self, attempt: u32, asked: Option<Duration>) -> Duration {
        let doubled = 1_u32.checked_shl(attempt - 1).unwrap_or(u32::MAX);
        asked.unwrap_or_else(|| self.backoff.saturating_mul(doubled)).min(self.longest_wait)
    }
}

/// Reads `Retry-After`: seconds, or a date.
pub(super) fn retry_after(value: &str, now: SystemTime) -> Option<Duration> {
    let value = value.trim();
    if let Ok(seconds) = value.parse::<f64>() {
        return Duration::try_from_secs_f64(seconds).ok();
    }
    let then = httpdate::parse_http_date(value).ok()?;
    // A date that has passed asks for no wait at all.
    Some(then.duration_since(now).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_asked_for_in_seconds_or_by_a_date() {
        let now = httpdate::parse_http_date("Wed, 21 Oct 2015 07:28:00 GMT").unwrap();
        for (value, seconds) in [
            ("120", Some(120.0)),
            (" 0.5 ", Some(0.5)),
            ("Wed, 21 Oct 2015 07:28:30 GMT", Some(30.0)),
            ("Wednesday, 21-Oct-15 07:29:00 GMT", Some(60.0)),
            ("Wed, 21 Oct 2015 07:00:00 GMT", Some(0.0)),
            ("-3", None),
            ("soon", None),
        ] {
            assert_eq!(retry_after(value, now).map(|wait| wait.as_secs_f64()), seconds, "{value}");
        }
    }

    #[test]
    fn waits_double_and_are_never_longer_than_the_longest() {
        let patience = Patience { attempts: 99, ..Patience::default() };
        let waits = [1, 2, 3, 6, 90].map(|attempt| patience.wait(attempt, None).as_secs());
        assert_eq!(waits, [1, 2, 4, 30, 30]);
        assert_eq!(patience.wait(1, Some(Duration::from_secs(3600))), patience.longest_wait);
        assert_eq!(patience.wait(3, Some(Duration::ZERO)), Duration::ZERO);
    }
}
