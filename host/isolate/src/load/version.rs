use semver::Version;

use crate::{Error, ErrorKind};

/// The API version of the host, parsed.
pub type HostVersion = Version;

/// Whether a plugin compiled against API `plugin` works in a host of API `host`: the major versions
/// are equal and the plugin's minor version is not newer. Before 1.0 the minor version plays the
/// part of the major one, as in Cargo: it must be equal. Patch versions never matter.
///
/// # Errors
/// With which of the two must be rebuilt.
pub fn compatible(plugin: &str, host: &HostVersion) -> Result<(), Error> {
    let refuse = |message: String, remedy: String| Err(Error::new(ErrorKind::Incompatible, message, remedy));
    let Ok(version) = Version::parse(plugin) else {
        return refuse(
            format!("it states the API version `{plugin}`, which is not a version"),
            "rebuild the plugin with an unmodified bench-plugin-api".into(),
        );
    };
    let (theirs, ours) = ((version.major, version.minor), (host.major, host.minor));
    let same = if host.major == 0 { theirs == ours } else { theirs.0 == ours.0 && theirs.1 <= ours.1 };
    if same {
        return Ok(());
    }
    let message = format!("it is built against plugin API {version}, this host speaks {host}");
    if theirs > ours {
        refuse(
            message,
            format!(
                "update bench to one that speaks {}.{}, or build the plugin against {host}",
                theirs.0, theirs.1
            ),
        )
    } else {
        refuse(message, format!("rebuild the plugin against bench-plugin-api {}.{}", ours.0, ours.1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ok(plugin: &str, host: &str) -> bool {
        compatible(plugin, &Version::parse(host).unwrap()).is_ok()
    }

    #[test]
    fn an_older_or_equal_minor_of_the_same_major_loads() {
        assert!(ok("1.0.0", "1.3.0") && ok("1.3.9", "1.3.0"));
        assert!(!ok("1.4.0", "1.3.0") && !ok("2.0.0", "1.3.0") && !ok("0.3.0", "1.3.0"));
    }

    #[test]
    fn before_one_the_minor_is_the_major() {
        assert!(ok("0.1.7", "0.1.0"));
        assert!(!ok("0.1.0", "0.2.0") && !ok("0.2.0", "0.1.0") && !ok("1.1.0", "0.1.0"));
    }

    #[test]
    fn the_remedy_says_which_side_to_rebuild() {
        let host = Version::new(1, 2, 0);
        assert!(compatible("1.3.0", &host).unwrap_err().remedy.starts_with("update bench"));
        assert!(compatible("0.9.0", &host).unwrap_err().remedy.starts_with("rebuild the plugin"));
        assert!(compatible("one", &host).unwrap_err().message.contains("`one`"));
    }
}
