//! Version bounds as pip writes them, as far as bounds on released versions go.

/// Whether `version` lies within comma-separated bounds such as `>=2.9,<3.0`. An empty bound accepts
/// everything; one that is not understood accepts nothing, so that a typo is noticed.
pub fn accepts(bounds: &str, version: &str) -> bool {
    let version = release(version);
    bounds.split(',').map(str::trim).filter(|bound| !bound.is_empty()).all(|bound| {
        let split = bound.find(|c: char| c.is_ascii_digit()).unwrap_or(bound.len());
        let (operator, wanted) = (bound[..split].trim(), release(&bound[split..]));
        match operator {
            "==" => version == wanted,
            "!=" => version != wanted,
            ">=" => version >= wanted,
            "<=" => version <= wanted,
            ">" => version > wanted,
            "<" => version < wanted,
            _ => false,
        }
    })
}

/// The numbers of the release: `2.60.0rc1` is `[2, 60]`. Trailing zeros do not count.
fn release(version: &str) -> Vec<u64> {
    let mut numbers = Vec::new();
    for part in version.trim().split('.') {
        let digits = part.find(|c: char| !c.is_ascii_digit()).unwrap_or(part.len());
        match part[..digits].parse() {
            Ok(number) => numbers.push(number),
            Err(_) => break,
        }
        if digits < part.len() {
            break;
        }
    }
    while numbers.last() == Some(&0) {
        numbers.pop();
    }
    numbers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_compare_numbers_and_not_text() {
        for (bounds, version) in [
            (">=2.9,<3.0", "2.60.0"),
            (">=2.9,<3.0", "2.9"),
            ("==0.3.2.4", "0.3.2.4"),
            ("==2.60", "2.60.0"),
            (">=3.10", "3.11.7"),
            ("", "anything"),
        ] {
            assert!(accepts(bounds, version), "{version} in {bounds}");
        }
        for (bounds, version) in [
            (">=2.9,<3.0", "3.0.0"),
            (">=2.9", "2.8.9"),
            ("==0.3.2.4", "0.3.2.5"),
            (">=3.10", "3.9.1"),
            ("~2", "2"),
        ] {
            assert!(!accepts(bounds, version), "{version} in {bounds}");
        }
    }
}
