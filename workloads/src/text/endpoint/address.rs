//! Addresses: what they must be, how they are shown, and where a redirection leads.

/// An address without the user and password that it may hold, and without a query, which may hold a key.
pub fn shown(url: &str) -> String {
    let url = url.split_once('?').map_or(url, |(url, _)| url);
    let (scheme, rest) = url.split_once("://").map_or(("", url), |(scheme, rest)| (scheme, rest));
    let (host, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
    let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
    if scheme.is_empty() { format!("{host}{path}") } else { format!("{scheme}://{host}{path}") }
}

/// Who is named in front of the host, with the password.
pub fn user(url: &str) -> Option<&str> {
    authority(url).rsplit_once('@').map(|(user, _)| user)
}

/// Why the port is none. What reads addresses takes the usual one instead, where somebody else may listen.
pub fn wrong_port(url: &str) -> Option<String> {
    let authority = authority(url);
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let after = host.rfind(']').map_or(host, |end| &host[end + 1..]);
    let (_, port) = after.rsplit_once(':')?;
    let is_one = port.is_empty() || port.parse::<u16>().is_ok_and(|port| port > 0);
    (!is_one).then(|| format!("its port {port:?} is not a number from 1 to 65535"))
}

fn authority(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.split(['/', '?', '#']).next().unwrap_or_default()
}

/// Where a redirection leads, from the address that was asked.
pub fn led(from: &str, to: &str) -> String {
    let (scheme, rest) = from.split_once("://").unwrap_or(("http", from));
    match to {
        _ if to.contains("://") => to.to_owned(),
        _ if to.starts_with("//") => format!("{scheme}:{to}"),
        _ if to.starts_with('/') => format!("{scheme}://{}{to}", authority(from)),
        _ => {
            let path = rest.split(['?', '#']).next().unwrap_or_default();
            let folder = path.rsplit_once('/').map_or(path, |(folder, _)| folder);
            format!("{scheme}://{folder}/{to}")
        }
    }
}

/// The address of a service that is asked for `path` at `url`.
pub fn base_of<'a>(url: &'a str, path: &str) -> Option<&'a str> {
    url.trim_end_matches('/').strip_suffix(path)?.strip_suffix('/')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_is_none_is_told_and_not_taken_for_the_usual_one() {
        for (url, port) in [
            ("http://h:99999/v1", "99999"),
            ("http://h:abc/v1", "abc"),
            ("https://u:p@h:0/v1", "0"),
            ("http://[::1]:65536", "65536"),
            ("h:3128x", "3128x"),
        ] {
            assert!(wrong_port(url).unwrap().contains(&format!("{port:?}")), "{url}");
        }
        for url in ["http://h/v1", "http://h:65535/v1", "http://[::1]/v1", "u:p@h:1", "http://h:/a:b"] {
            assert_eq!(wrong_port(url), None, "{url}");
        }
    }

    #[test]
    fn a_redirection_leads_where_it_says_from_where_it_was() {
        for (to, place) in [
            ("https://other/v1/embeddings", "https://other/v1/embeddings"),
            ("//other/v1/embeddings", "http://other/v1/embeddings"),
            ("/v2/embeddings", "http://h:8/v2/embeddings"),
            ("models", "http://h:8/v1/models"),
        ] {
            assert_eq!(led("http://h:8/v1/embeddings?k=v", to), place);
        }
        assert_eq!(base_of("http://h/v2/chat/completions/", "chat/completions"), Some("http://h/v2"));
        assert_eq!(base_of("http://h/sign-in", "embeddings"), None);
        assert_eq!(base_of("http://h/noembeddings", "embeddings"), None);
    }

    #[test]
    fn a_user_is_not_shown() {
        assert_eq!(shown("http://me:secret@h:1/v1?key=k"), "http://h:1/v1");
        assert_eq!((user("http://me:secret@h:1/v1"), user("http://h/a@b")), (Some("me:secret"), None));
    }
}
