//! How JSON looks on disk: exactly as Python's `json.dumps` writes it.
//!
//! The first version of this benchmark was written in Python, and its hashes and files are still
//! compared with ours. Two programs agree on a hash only if they agree on every byte. The only
//! difficult byte is in a float: both languages print the shortest digits that read back to the
//! same number, but Python writes `1e-05` and `1e+16` where Rust writes `1e-5` and `1e16`, and
//! `40.0` always keeps its point.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::ser::{Formatter, Serializer};

use super::Result;

/// A float as Python's `repr` writes it.
pub fn python_float(value: f64) -> String {
    let scientific = shortest(value);
    let Some((mantissa, exponent)) = scientific.split_once('e') else {
        return scientific; // NaN or infinite; no caller lets one through.
    };
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if !(-4..16).contains(&exponent) {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{mantissa}e{sign}{:02}", exponent.abs());
    }
    let (sign, mantissa) = mantissa.strip_prefix('-').map_or(("", mantissa), |rest| ("-", rest));
    let digits = mantissa.replace('.', "");
    match usize::try_from(exponent) {
        Err(_) => format!("{sign}0.{}{digits}", "0".repeat(exponent.unsigned_abs() as usize - 1)),
        Ok(before) if digits.len() <= before + 1 => format!("{sign}{digits:0<width$}.0", width = before + 1),
        Ok(before) => format!("{sign}{}.{}", &digits[..=before], &digits[before + 1..]),
    }
}

/// The shortest digits that read back to `value`, in scientific notation.
///
/// About one large float in a thousand lies exactly half-way between two equally short texts. Rust
/// takes the upper one, Python the even one. Formatting with that many digits rounds to even.
fn shortest(value: f64) -> String {
    let text = format!("{value:e}");
    let digits = text.split('e').next().unwrap_or_default().bytes().filter(u8::is_ascii_digit).count();
    let even = format!("{value:.*e}", digits.saturating_sub(1));
    // Next to a power of two the nearest text of that length may belong to another float.
    if even.parse() == Ok(value) { even } else { text }
}

/// One line with `", "` and `": "` between things: Python's default.
pub fn to_line<T: Serialize + ?Sized>(value: &T) -> Result<String> {
    write(value, PythonStyle { item: b", ", colon: b": " })
}

/// No spaces at all: Python's `separators=(",", ":")`.
pub fn to_compact<T: Serialize + ?Sized>(value: &T) -> Result<String> {
    write(value, PythonStyle { item: b",", colon: b":" })
}

fn write<T: Serialize + ?Sized>(value: &T, style: PythonStyle) -> Result<String> {
    let mut bytes = Vec::with_capacity(512);
    value.serialize(&mut Serializer::with_formatter(&mut bytes, style))?;
    // serde_json writes UTF-8 only, so nothing is ever replaced here.
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// serde_json already escapes as Python does with `ensure_ascii=False`.
struct PythonStyle {
    item: &'static [u8],
    colon: &'static [u8],
}

impl PythonStyle {
    fn separate<W: ?Sized + Write>(&self, writer: &mut W, first: bool) -> io::Result<()> {
        if first { Ok(()) } else { writer.write_all(self.item) }
    }
}

impl Formatter for PythonStyle {
    fn write_f64<W: ?Sized + Write>(&mut self, writer: &mut W, value: f64) -> io::Result<()> {
        writer.write_all(python_float(value).as_bytes())
    }

    fn begin_array_value<W: ?Sized + Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        self.separate(writer, first)
    }

    fn begin_object_key<W: ?Sized + Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        self.separate(writer, first)
    }

    fn begin_object_value<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        writer.write_all(self.colon)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn lines_are_spaced_as_python_spaces_them() {
        let value = json!({"a": [1, 2.0, null], "b": {"c": "é"}, "d": {}});
        assert_eq!(to_line(&value).unwrap(), r#"{"a": [1, 2.0, null], "b": {"c": "é"}, "d": {}}"#);
    }

    #[test]
    fn compact_has_no_spaces() {
        assert_eq!(to_compact(&json!({"a": [1, 2]})).unwrap(), r#"{"a":[1,2]}"#);
    }

    /// Printed by Python 3.11's `repr`. A few hundred thousand random floats were compared as well.
    // The lint would have us write what Rust prints, which is the point in question.
    #[allow(clippy::excessive_precision)]
    #[test]
    fn floats_are_written_as_python_writes_them() {
        let python = [
            (0.0, "0.0"),
            (-0.0, "-0.0"),
            (1.0, "1.0"),
            (-1.0, "-1.0"),
            (40.0, "40.0"),
            (0.15, "0.15"),
            (0.1, "0.1"),
            (0.30000000000000004, "0.30000000000000004"),
            (0.3333333333333333, "0.3333333333333333"),
            (2.5, "2.5"),
            (100.0, "100.0"),
            (1e2, "100.0"),
            (123456789.123, "123456789.123"),
            (0.001, "0.001"),
            (0.0001, "0.0001"),
            (0.00012345, "0.00012345"),
            (0.00009999, "9.999e-05"),
            (1e-5, "1e-05"),
            (1.5e-5, "1.5e-05"),
            (1e-7, "1e-07"),
            (1.25e-10, "1.25e-10"),
            (1e-100, "1e-100"),
            (5e-324, "5e-324"),
            (2.2250738585072014e-308, "2.2250738585072014e-308"),
            (2.225073858507201e-308, "2.225073858507201e-308"),
            (9007199254740992.0, "9007199254740992.0"),
            (9007199254740993.0, "9007199254740992.0"),
            (999999999999999.9, "999999999999999.9"),
            (9999999999999998.0, "9999999999999998.0"),
            (1e15, "1000000000000000.0"),
            (1e16, "1e+16"),
            (1.2345678901234568e16, "1.2345678901234568e+16"),
            (1e17, "1e+17"),
            (1e21, "1e+21"),
            (1e22, "1e+22"),
            (1e23, "1e+23"),
            (1.7976931348623157e308, "1.7976931348623157e+308"),
            (-1.5e-9, "-1.5e-09"),
            (-2e300, "-2e+300"),
            (5.684341886080802e-14, "5.684341886080802e-14"),
            (4.35, "4.35"),
            (2.675, "2.675"),
            (1e100, "1e+100"),
            (6.02214076e23, "6.02214076e+23"),
            (233891771783429.625, "233891771783429.62"),
            (-637637799964508.25, "-637637799964508.2"),
            (1113178120592002.25, "1113178120592002.2"),
            (-2152548015248394.25, "-2152548015248394.2"),
            (1735861081508451.25, "1735861081508451.2"),
            (5e-05, "5e-05"),
            (0.0012, "0.0012"),
            (12345678.5, "12345678.5"),
        ];
        for (value, expected) in python {
            assert_eq!(python_float(value), expected);
        }
    }
}
