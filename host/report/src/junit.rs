//! A gate's checks as JUnit XML, which every CI system shows.
//!
//! A regression or mismatch is a failure, invalid runs are an error (nothing was measured), and
//! inconclusive is skipped: CI then shows it without turning red on noise.

use std::fmt::Write;

use bench_judge::gate::{Check, GateOutcome, GateReport};

/// The document.
pub fn render(report: &GateReport) -> String {
    let count = |outcomes: &[GateOutcome]| {
        report.checks.iter().filter(|check| outcomes.contains(&check.outcome)).count()
    };
    let failures = count(&[GateOutcome::Regression, GateOutcome::Mismatch]);
    let (errors, skipped) = (count(&[GateOutcome::Invalid]), count(&[GateOutcome::Inconclusive]));
    let tests = report.checks.len();
    let mut xml = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    let counts = format!("tests=\"{tests}\" failures=\"{failures}\" errors=\"{errors}\"");
    let _ = writeln!(xml, "<testsuites name=\"bench gate\" {counts}>");
    let _ = writeln!(xml, "  <testsuite name=\"bench gate\" {counts} skipped=\"{skipped}\">");
    report.checks.iter().for_each(|check| case(&mut xml, check));
    xml.push_str("  </testsuite>\n</testsuites>\n");
    xml
}

fn case(xml: &mut String, check: &Check) {
    let metric = check.metric.map_or("comparability", |metric| metric.name());
    let name = escape(&format!("{} {metric} ({})", check.backend, check.setting));
    let class = escape(&format!("bench.gate.{}", check.backend));
    let text = escape(&check.explanation);
    let _ = writeln!(xml, "    <testcase classname=\"{class}\" name=\"{name}\">");
    let _ = match check.outcome {
        GateOutcome::Pass => writeln!(xml, "      <system-out>{text}</system-out>"),
        GateOutcome::Inconclusive => writeln!(xml, "      <skipped message=\"{text}\"/>"),
        GateOutcome::Invalid => writeln!(xml, "      <error type=\"invalid\" message=\"{text}\"/>"),
        GateOutcome::Regression => writeln!(xml, "      <failure type=\"regression\" message=\"{text}\"/>"),
        GateOutcome::Mismatch => writeln!(xml, "      <failure type=\"mismatch\" message=\"{text}\"/>"),
    };
    xml.push_str("    </testcase>\n");
}

/// Text for XML 1.0, which has no way at all to say most control characters.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\t' | '\n' | '\r' => {
                let _ = write!(out, "&#{};", letter as u32);
            }
            '\0'..='\u{1f}' | '\u{fffe}' | '\u{ffff}' => out.push('\u{fffd}'),
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use bench_judge::Metric;

    fn check(outcome: GateOutcome) -> Check {
        Check {
            setting: "wl4".into(),
            backend: "a\"<b>&'\u{1}\n".into(),
            metric: Some(Metric::Throughput),
            outcome,
            explanation: "is <slow> & \"sad\"".into(),
            slowdown: None,
            bounds: None,
            until_known: false,
            is_open: false,
        }
    }

    #[test]
    fn outcomes_are_counted_and_everything_is_escaped() {
        use GateOutcome::{Inconclusive, Invalid, Mismatch, Pass, Regression};
        let checks = [Pass, Inconclusive, Regression, Invalid, Mismatch].map(check).to_vec();
        let xml = render(&GateReport { outcome: Mismatch, checks });
        assert!(xml.contains("tests=\"5\" failures=\"2\" errors=\"1\" skipped=\"1\""), "{xml}");
        assert!(xml.contains("classname=\"bench.gate.a&quot;&lt;b&gt;&amp;&#39;\u{fffd}&#10;\""), "{xml}");
        assert!(xml.contains("message=\"is &lt;slow&gt; &amp; &quot;sad&quot;\""), "{xml}");
        assert!(!xml.contains("<b>") && !xml.contains("<slow>"));
    }
}
