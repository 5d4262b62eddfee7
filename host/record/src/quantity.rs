//! Numbers, durations, shares and sizes in the ways that people write them. Every flag, every key of a
//! configuration file and every `--set` of one kind is read by the same function here, so that what one takes
//! all of them take.

use std::time::Duration;

use jiff::{SignedDuration, Span, SpanRelativeTo};

/// No limit on time is longer: clocks and timers take it, and nobody waits for 115 days.
pub const LONGEST: Duration = Duration::from_secs(10_000_000);

/// Several whole numbers; see [`count`].
pub fn counts<T: TryFrom<u128>>(text: &str) -> Result<Vec<T>, String> {
    text.split(',').map(|part| count(part.trim())).collect()
}

/// A whole number: `1000`, `1_000`, `1e3`, `1k`. It is reckoned in whole numbers throughout, so that large
/// seeds keep every digit.
pub fn count<T: TryFrom<u128>>(text: &str) -> Result<T, String> {
    let form = || format!("'{text}' is not a number: write it like 1000, 1_000, 1e3 or 1k");
    let number = Decimal::read(text).ok_or_else(form)?;
    if number.negative {
        return Err(format!("'{text}' is below zero"));
    }
    let most = (1..=128).rev().map(|bits| u128::MAX >> (128 - bits)).find(|most| T::try_from(*most).is_ok());
    let large = || format!("'{text}' is too large, {} is the most", most.unwrap_or_default());
    match number.whole() {
        Whole::Number(number) => T::try_from(number).map_err(|_| large()),
        Whole::TooLarge => Err(large()),
        Whole::Fraction => Err(format!("'{text}' is not a whole number")),
    }
}

/// Several numbers; see [`number`].
pub fn numbers(text: &str) -> Result<Vec<f64>, String> {
    text.split(',').map(|part| number(part.trim())).collect()
}

/// A number, which may have a fraction: `12.5`, `1_000`, `1e3`, `1.5k`.
pub fn number(text: &str) -> Result<f64, String> {
    let form = || format!("'{text}' is not a number: write it like 1000, 12.5, 1e3 or 1k");
    let number = Decimal::read(text).ok_or_else(form)?.float();
    if number.is_finite() { Ok(number) } else { Err(format!("'{text}' is too large")) }
}

/// A length of time above zero: seconds, or with units as in `30s`, `1m30s`, `500ms`, `2h`, `PT1M30S`.
pub fn duration(text: &str) -> Result<Duration, String> {
    let most = || format!("'{text}' is too long, {} is the most", shown(LONGEST));
    let length = match Decimal::read(text).filter(|number| number.suffix.is_none()) {
        Some(number) if number.negative => return Err(format!("'{text}' is below zero")),
        Some(number) => Duration::try_from_secs_f64(number.float()).map_err(|_| most())?,
        None => {
            let form = || {
                format!(
                    "'{text}' is not a duration: write seconds, or units as in 30s, 1m30s, 500ms, 2h or PT1M30S"
                )
            };
            // Months and years are of no one length; a day of a benchmark has 24 hours.
            let days = SpanRelativeTo::days_are_24_hours();
            let span: Span = text.trim().parse().map_err(|_| form())?;
            let length: SignedDuration = span.to_duration(days).map_err(|_| form())?;
            Duration::try_from(length).map_err(|_| format!("'{text}' is below zero"))?
        }
    };
    match length {
        Duration::ZERO => Err(format!("'{text}' is no time at all: it must be above 0 seconds")),
        length if length > LONGEST => Err(most()),
        length => Ok(length),
    }
}

/// A length of time from `least` to `most`; see [`duration`].
pub fn duration_within(
    least: Duration,
    most: Duration,
) -> impl Fn(&str) -> Result<Duration, String> + Clone + Send + Sync + 'static {
    move |text| {
        let length = duration(text)?;
        let fine = (least..=most).contains(&length);
        let range = || format!("'{text}' must be from {} to {}", shown(least), shown(most));
        if fine { Ok(length) } else { Err(range()) }
    }
}

/// Whole milliseconds, of a flag that has the unit in its name: a number of them, or with units as in `1.5s`.
pub fn milliseconds(text: &str) -> Result<u32, String> {
    if Decimal::read(text).is_some() {
        return count(text);
    }
    let length = duration(text)?;
    let whole = length.subsec_nanos() % 1_000_000 == 0;
    let milliseconds = u32::try_from(length.as_millis()).ok().filter(|_| whole);
    milliseconds.ok_or_else(|| format!("'{text}' must be whole milliseconds, {} at most", u32::MAX))
}

/// A share of a whole, from 0 to 1: `0.05` or `5%`.
pub fn share(text: &str) -> Result<f64, String> {
    let (written, unit) = text.strip_suffix('%').map_or((text, 1.0), |number| (number, 100.0));
    let share = Decimal::read(written.trim_end()).map(|number| number.float() / unit);
    let fine = share.filter(|share| (0.0..=1.0).contains(share));
    fine.ok_or_else(|| format!("'{text}' is not a share: write it from 0 to 1, or from 0% to 100%"))
}

/// Memory in MiB: a number of them, or with a unit as in `512MiB` or `4G`, where 1 G is 1024 MiB.
pub fn mebibytes(text: &str) -> Result<u64, String> {
    let form = || format!("'{text}' is not a size: write MiB, or a unit as in 512MiB or 4G");
    let units = [("m", 1), ("g", 1 << 10), ("t", 1 << 20)];
    let lower = text.trim().to_ascii_lowercase();
    let short = lower.strip_suffix("ib").or(lower.strip_suffix('b')).unwrap_or(&lower);
    let unit = units.into_iter().find_map(|(unit, mib)| Some((short.strip_suffix(unit)?, mib)));
    let (written, mib) = match unit {
        Some((written, mib)) => (written.trim_end(), mib),
        // Bytes and kibibytes would be read as something else a million times as large.
        None if short.len() < lower.len() => return Err(form()),
        None => (text, 1),
    };
    let number = Decimal::read(written).filter(|number| number.suffix.is_none()).ok_or_else(form)?;
    let size = number.float() * mib as f64;
    match size {
        _ if number.negative => Err(format!("'{text}' is below zero")),
        size if size.fract() != 0.0 => Err(format!("'{text}' must be whole MiB")),
        size if size > (1_u64 << 40) as f64 => {
            Err(format!("'{text}' is too large, {} MiB is the most", 1_u64 << 40))
        }
        size => Ok(size as u64),
    }
}

/// A length of time as [`duration`] reads it.
#[must_use]
pub fn shown(length: Duration) -> String {
    SignedDuration::try_from(length).map_or_else(|_| format!("{length:?}"), |length| format!("{length:#}"))
}

/// A number as it was written, exactly.
struct Decimal<'a> {
    negative: bool,
    /// Whole part and fraction without the point, `_` and leading zeros.
    digits: String,
    /// The number is `digits` × 10^`power`.
    power: i64,
    suffix: Option<&'a str>,
}

enum Whole {
    Number(u128),
    TooLarge,
    Fraction,
}

impl<'a> Decimal<'a> {
    fn read(text: &'a str) -> Option<Self> {
        let text = text.trim();
        let suffixes = [("k", 3), ("K", 3), ("M", 6), ("G", 9)];
        let found = suffixes.into_iter().find(|(suffix, _)| text.ends_with(suffix));
        let (suffix, thousands) = found.map_or((None, 0), |(suffix, power)| (Some(suffix), power));
        let text = text.strip_suffix(suffix.unwrap_or_default()).unwrap_or(text);
        let (sign, text) = text.split_at(usize::from(text.starts_with(['+', '-'])));
        let (mantissa, exponent) = match text.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, Self::exponent(exponent)?),
            None => (text, 0),
        };
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let pointed = mantissa.len() > whole.len();
        let digits = Self::digits(whole)? + &if pointed { Self::digits(fraction)? } else { String::new() };
        let behind = fraction.bytes().filter(u8::is_ascii_digit).count() as i64;
        Some(Self {
            negative: sign == "-",
            digits: digits.trim_start_matches('0').to_owned(),
            power: thousands + exponent - behind,
            suffix,
        })
    }

    /// Digits with `_` between them and nowhere else; there is one at least.
    fn digits(text: &str) -> Option<String> {
        let fine =
            text.split('_').all(|group| !group.is_empty() && group.bytes().all(|b| b.is_ascii_digit()));
        fine.then(|| text.replace('_', ""))
    }

    fn exponent(text: &str) -> Option<i64> {
        let digits = Self::digits(text.strip_prefix(['+', '-']).unwrap_or(text))?;
        // What does not fit is as good as infinite, or nothing.
        let size = digits.parse::<i64>().unwrap_or(i64::MAX).min(1_000_000);
        Some(if text.starts_with('-') { -size } else { size })
    }

    fn whole(&self) -> Whole {
        let significant = self.digits.trim_end_matches('0');
        let power = self.power + (self.digits.len() - significant.len()) as i64;
        let scale = match u32::try_from(power) {
            _ if significant.is_empty() => return Whole::Number(0),
            Ok(power) => 10_u128.checked_pow(power),
            Err(_) if power < 0 => return Whole::Fraction,
            Err(_) => None,
        };
        let number =
            significant.parse::<u128>().ok().zip(scale).and_then(|(number, scale)| number.checked_mul(scale));
        number.map_or(Whole::TooLarge, Whole::Number)
    }

    fn float(&self) -> f64 {
        let sign = if self.negative { "-" } else { "" };
        // Always a number: digits and a power of ten.
        format!("{sign}0{}e{}", self.digits, self.power).parse().unwrap_or(f64::NAN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_may_be_written_in_several_ways() {
        for text in [
            "1000", "1_000", "1e3", "1E3", "1k", "1K", "+1000", "1.0e3", "10e2", "0.001M", "1000.0", " 1000 ",
        ] {
            assert_eq!(count(text), Ok(1000_u32), "{text}");
        }
        assert_eq!(count("18446744073709551615"), Ok(u64::MAX));
        assert_eq!(count("9007199254740993"), Ok(9_007_199_254_740_993_u64), "no float holds it");
        assert_eq!((count("0"), count("0e5"), count("1M")), (Ok(0_u32), Ok(0_u32), Ok(1_000_000_u32)));
        assert_eq!(counts("1,2, 4"), Ok(vec![1_u32, 2, 4]));
    }

    #[test]
    fn what_is_no_count_is_told_why() {
        let why = |text: &str| count::<u32>(text).unwrap_err();
        for text in ["1.5", "1e-3", "0.0005k", "12.0001"] {
            assert_eq!(why(text), format!("'{text}' is not a whole number"));
        }
        assert_eq!(why("-3"), "'-3' is below zero");
        for text in [
            "4294967296",
            "1e30",
            "5G",
            "99999999999999999999999999999999999999999",
            "1e99999999999999999999",
        ] {
            assert_eq!(why(text), format!("'{text}' is too large, 4294967295 is the most"));
        }
        assert!(
            count::<u64>("18446744073709551616").unwrap_err().ends_with("18446744073709551615 is the most")
        );
        for text in [
            "", "abc", "1,000", "1__0", "_1", "1_", "e3", "1e", "1.", ".5", "0x10", "1 000", "１", "nan",
            "inf", "1kk", "--1",
        ] {
            assert!(why(text).contains("write it like 1000"), "{text}");
        }
        assert!(counts::<u32>("1,,2").is_err());
    }

    #[test]
    fn a_number_may_have_a_fraction() {
        assert_eq!((number("12.5"), number("1.5k"), number("2e-3")), (Ok(12.5), Ok(1500.0), Ok(0.002)));
        assert_eq!((number("-1"), number("0.1")), (Ok(-1.0), Ok(0.1)));
        for text in ["1e999", "1e99999999999999"] {
            assert_eq!(number(text), Err(format!("'{text}' is too large")));
        }
        for text in ["", "NaN", "inf", "1,5"] {
            assert!(number(text).unwrap_err().contains("is not a number"), "{text}");
        }
        assert_eq!(numbers("10, 20.5"), Ok(vec![10.0, 20.5]));
    }

    #[test]
    fn a_duration_may_be_written_in_several_ways() {
        for text in [
            "90",
            "90.0",
            "9e1",
            "90s",
            "1m30s",
            "1m 30s",
            "1.5m",
            "PT1M30S",
            "pt90s",
            "90 seconds",
            "90000ms",
            "0.025h",
        ] {
            assert_eq!(duration(text), Ok(Duration::from_secs(90)), "{text}");
        }
        assert_eq!(
            (duration("500ms"), duration("0.5")),
            (Ok(Duration::from_millis(500)), Ok(Duration::from_millis(500)))
        );
        assert_eq!(
            (duration("1d"), duration("24h")),
            (Ok(Duration::from_secs(86_400)), Ok(Duration::from_secs(86_400)))
        );
        for length in [Duration::from_secs(10), Duration::from_millis(1_500), LONGEST] {
            assert_eq!(duration(&shown(length)), Ok(length));
        }
    }

    #[test]
    fn what_is_no_duration_is_told_why() {
        for text in ["0", "0s", "0.0", "PT0S"] {
            assert!(duration(text).unwrap_err().ends_with("it must be above 0 seconds"), "{text}");
        }
        for text in ["-5", "-5s", "5s ago"] {
            assert_eq!(duration(text), Err(format!("'{text}' is below zero")));
        }
        for text in ["1e30", "1e999", "120d", "10000001"] {
            assert!(duration(text).unwrap_err().starts_with(&format!("'{text}' is too long, ")), "{text}");
        }
        for text in ["", "s", "5x", "1M", "2k", "5 parsecs", "1y", "2mo", "inf", "nan", "€", "1m30"] {
            assert!(duration(text).unwrap_err().contains("is not a duration"), "{text}");
        }
        let trial = duration_within(Duration::from_secs(1), Duration::from_secs(3600));
        assert_eq!(trial("2m"), Ok(Duration::from_secs(120)));
        assert_eq!(trial("500ms"), Err("'500ms' must be from 1s to 1h".to_owned()));
    }

    #[test]
    fn milliseconds_are_a_count_or_have_a_unit() {
        assert_eq!(
            (milliseconds("250"), milliseconds("0"), milliseconds("1.5s")),
            (Ok(250), Ok(0), Ok(1_500))
        );
        for text in ["0.5", "100us", "60d", "-1"] {
            assert!(milliseconds(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_share_is_a_percentage_or_a_fraction() {
        assert_eq!(
            (share("5%"), share("0.05"), share("0"), share("100 %")),
            (Ok(0.05), Ok(0.05), Ok(0.0), Ok(1.0))
        );
        for wrong in ["5", "-1%", "101%", "NaN", "five", "", "%"] {
            assert!(share(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn memory_is_in_mebibytes_or_has_a_unit() {
        for text in ["4096", "4_096", "4096MiB", "4096M", "4G", "4GiB", "4gb", "4 GiB", "4.0g"] {
            assert_eq!(mebibytes(text), Ok(4096), "{text}");
        }
        for wrong in ["", "4KiB", "4096B", "0.5", "-1G", "1e30", "G", "4kG", "4k", "4kM"] {
            assert!(mebibytes(wrong).is_err(), "{wrong}");
        }
    }
}
