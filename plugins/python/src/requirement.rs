//! Version bounds, as pip reads them.

use pep440_rs::{Version, VersionSpecifiers};

/// Whether `version` lies within comma-separated bounds such as `>=2.9,<3.0`. Empty bounds accept every version;
/// what is not understood accepts nothing, so that a typo is noticed.
pub fn accepts(bounds: &str, version: &str) -> bool {
    let (Ok(bounds), Ok(version)) = (bounds.parse::<VersionSpecifiers>(), version.parse::<Version>()) else {
        return false;
    };
    bounds.contains(&version)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_compare_versions_and_not_text() {
        for (bounds, version) in [
            (">=2.9,<3.0", "2.60.0"),
            (">=2.9,<3.0", "2.9"),
            (">=2.9,<3.0", "2.9.0"),
            (">=2.9,<3.0", "2.31.0.post1"),
            (">=2.9,<3.0", "2.60.0+cu12"),
            ("==0.3.2.4", "0.3.2.4"),
            ("==2.60", "2.60.0"),
            ("~=3.1", "3.4.1"),
            (">=3.10", "3.11.7"),
            ("", "2026.8.0"),
        ] {
            assert!(accepts(bounds, version), "{version} in {bounds}");
        }
        for (bounds, version) in [
            (">=2.9,<3.0", "3.0.0"),
            // Ray's nightly wheels, and what came before the oldest release that is accepted.
            (">=2.9,<3.0", "3.0.0.dev0"),
            (">=2.9,<3.0", "2.9.0rc1"),
            (">=2.9", "2.8.9"),
            ("==0.3.2.4", "0.3.2.5"),
            (">=3.10", "3.9.1"),
            ("~2", "2"),
            (">=2.9", "unknown"),
        ] {
            assert!(!accepts(bounds, version), "{version} in {bounds}");
        }
    }
}
