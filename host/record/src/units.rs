//! Numbers that know their unit.
//!
//! A bare `f64` in a record once meant seconds to its writer and milliseconds to its reader. These
//! newtypes make that a compile error, and they refuse NaN and infinities when made, so that no
//! later step has to ask. In JSON each is a plain number.
//!
//! They are ordered and comparable for equality, which `f64` is not: there is no NaN, and `-0.0`
//! becomes `0.0`.

use std::cmp::Ordering;
use std::fmt;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};

use super::{Error, Result};

/// The SI symbol of a number without a unit. It is never printed.
const DIMENSIONLESS: &str = "1";

macro_rules! unit {
    ($(#[$doc:meta])* $name:ident, $symbol:literal, $what:literal, $min:expr, $max:expr) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
        #[serde(transparent)]
        #[schemars(inline, extend("unit" = $symbol))]
        pub struct $name(f64);

        impl $name {
            /// The symbol of the unit; "1" if it has no dimension.
            pub const SYMBOL: &'static str = $symbol;

            /// Wraps a number that is already in this unit. Refuses NaN, infinities and, where the
            /// unit has bounds, what lies outside them.
            pub fn new(value: f64) -> Result<Self> {
                if !value.is_finite() {
                    return Err(Error::NotFinite { name: $what.into(), value });
                }
                let (min, max): (f64, f64) = ($min, $max);
                if value < min || value > max {
                    return Err(Error::OutOfRange { name: $what.into(), min, max, value });
                }
                // Adding zero turns -0.0 into 0.0, so that equality and order agree.
                Ok($name(value + 0.0))
            }

            /// The bare number, for arithmetic and drawing.
            pub const fn get(self) -> f64 {
                self.0
            }
        }

        impl PartialEq for $name {
            fn eq(&self, other: &Self) -> bool {
                self.cmp(other) == Ordering::Equal
            }
        }

        impl Eq for $name {}

        impl PartialOrd for $name {
            fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
                Some(self.cmp(other))
            }
        }

        impl Ord for $name {
            fn cmp(&self, other: &Self) -> Ordering {
                self.0.total_cmp(&other.0)
            }
        }

        impl fmt::Display for $name {
            /// Honours the precision: `{:.1}` gives one decimal.
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)?;
                if $symbol != DIMENSIONLESS {
                    write!(f, " {}", $symbol)?;
                }
                Ok(())
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
                let value = f64::deserialize(deserializer)?;
                $name::new(value).map_err(serde::de::Error::custom)
            }
        }
    };
}

unit!(
    /// A time in milliseconds. Negative values are allowed, since differences are times too.
    Millis, "ms", "a time in milliseconds", f64::MIN, f64::MAX
);
unit!(
    /// A time in seconds. Negative values are allowed, since differences are times too.
    Seconds, "s", "a time in seconds", f64::MIN, f64::MAX
);
unit!(
    /// A rate.
    ItemsPerSecond, "items/s", "a rate in items per second", f64::MIN, f64::MAX
);
unit!(
    /// A share of a whole, from 0 to 1.
    Fraction, "1", "a fraction", 0.0, 1.0
);

impl From<Duration> for Millis {
    fn from(duration: Duration) -> Self {
        // One division, so that 2 ns is 2e-6 ms and not a neighbour of it.
        Millis(duration.as_nanos() as f64 / 1e6)
    }
}

impl From<Duration> for Seconds {
    fn from(duration: Duration) -> Self {
        Seconds(duration.as_secs_f64())
    }
}

impl ItemsPerSecond {
    /// `None` when no time passed: a rate over nothing is not zero, it is unknown.
    pub fn over(items: u64, time: Seconds) -> Option<Self> {
        (time.0 > 0.0).then(|| ItemsPerSecond::new(items as f64 / time.0).ok()).flatten()
    }
}

impl Fraction {
    /// `None` when the whole is nothing, or smaller than its part.
    pub fn of(part: u64, whole: u64) -> Option<Self> {
        (whole > 0 && part <= whole).then(|| Fraction(part as f64 / whole as f64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nan_and_infinities_are_refused_by_name() {
        for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            let error = Millis::new(bad).unwrap_err().to_string();
            assert!(error.starts_with("a time in milliseconds must be a finite number"), "{error}");
        }
    }

    #[test]
    fn a_fraction_stays_between_zero_and_one() {
        assert!(Fraction::new(1.0).is_ok());
        assert_eq!(
            Fraction::new(1.5).unwrap_err().to_string(),
            "a fraction must be between 0 and 1, found 1.5"
        );
        assert_eq!(Fraction::of(3, 4), Some(Fraction(0.75)));
        assert_eq!(Fraction::of(0, 0), None);
    }

    #[test]
    fn json_sees_a_plain_number() {
        assert_eq!(serde_json::to_string(&Millis::new(40.0).unwrap()).unwrap(), "40.0");
        assert_eq!(serde_json::from_str::<Millis>("40").unwrap(), Millis(40.0));
    }

    #[test]
    fn json_cannot_smuggle_in_a_bad_fraction() {
        assert!(serde_json::from_str::<Fraction>("2").is_err());
    }

    #[test]
    fn a_part_of_a_millisecond_is_kept() {
        assert_eq!(Millis::from(Duration::from_micros(1500)), Millis(1.5));
    }

    #[test]
    fn a_duration_becomes_the_nearest_number() {
        assert_eq!(Millis::from(Duration::from_nanos(2)).get(), 2e-6);
    }

    #[test]
    fn a_rate_over_no_time_is_unknown() {
        assert_eq!(ItemsPerSecond::over(10, Seconds(0.0)), None);
        assert_eq!(ItemsPerSecond::over(10, Seconds(4.0)), Some(ItemsPerSecond(2.5)));
    }

    #[test]
    fn minus_zero_equals_zero() {
        assert_eq!(Millis::new(-0.0).unwrap(), Millis::new(0.0).unwrap());
    }

    #[test]
    fn text_carries_the_unit_and_honours_precision() {
        assert_eq!(format!("{:.1}", Millis(1.25)), "1.2 ms");
        assert_eq!(Fraction(0.5).to_string(), "0.5");
    }
}
