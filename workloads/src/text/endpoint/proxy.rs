//! Which proxy a call goes through, by the variables that every program heeds.
//!
//! `http_proxy` for http, `https_proxy` for https, `all_proxy` for both, each also in capitals; `no_proxy`
//! names the hosts that are asked directly, by name (with all below it), by address or by network.

use std::net::IpAddr;

use super::{Fault, address};

/// A proxy, and where its address comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proxy {
    pub proxy: ureq::Proxy,
    pub variable: &'static str,
    /// Its address without user and password.
    pub shown: String,
}

/// The proxy for an address, where one is named and the host is no exception.
///
/// # Errors
/// When the variable holds no address of a proxy.
pub fn proxy_for(
    scheme: &str,
    host: &str,
    port: u16,
    variable: &dyn Fn(&str) -> Option<String>,
) -> Result<Option<Proxy>, Fault> {
    let names: [&'static str; 4] = match scheme {
        "https" => ["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"],
        _ => ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"],
    };
    let set = |name: &&str| variable(name).map(|value| value.trim().to_owned()).filter(|v| !v.is_empty());
    let Some((name, value)) = names.iter().find_map(|name| Some((*name, set(name)?))) else {
        return Ok(None);
    };
    let exceptions = ["no_proxy", "NO_PROXY"].iter().find_map(set).unwrap_or_default();
    if is_exception(&exceptions, host, port) {
        return Ok(None);
    }
    let shown = address::shown(&value);
    let wrong = |why: &str| Fault::Environment {
        variable: name.to_owned(),
        value: shown.clone(),
        why: format!("{why}. Write it as http://host:port"),
    };
    if let Some(why) = address::wrong_port(&value) {
        return Err(wrong(&why));
    }
    let proxy = ureq::Proxy::new(&value).map_err(|_| wrong("this is no address of a proxy"))?;
    Ok(Some(Proxy { proxy, variable: name, shown }))
}

fn is_exception(list: &str, host: &str, port: u16) -> bool {
    let host = host.trim_matches(['[', ']']).to_lowercase();
    let address: Option<IpAddr> = host.parse().ok();
    list.split([',', ' ', '\t']).filter(|entry| !entry.is_empty()).any(|entry| {
        let entry = entry.to_lowercase();
        if let (Some(address), Some((network, bits))) = (address, entry.split_once('/')) {
            let network = network.parse().ok().zip(bits.parse().ok());
            return network.is_some_and(|(network, bits)| is_within(address, network, bits));
        }
        let (name, of_port) = match entry.rsplit_once(':').map(|(name, port)| (name, port.parse::<u16>())) {
            // More colons than one are an IPv6 address.
            Some((name, Ok(of_port))) if !name.contains(':') || name.ends_with(']') => (name, Some(of_port)),
            _ => (entry.as_str(), None),
        };
        let name = name.trim_start_matches('*').trim_start_matches('.').trim_matches(['[', ']']);
        let is_it = name.is_empty() || host == name || host.ends_with(&format!(".{name}"));
        is_it && of_port.is_none_or(|of_port| of_port == port)
    })
}

fn is_within(address: IpAddr, network: IpAddr, bits: u32) -> bool {
    match (address, network) {
        (IpAddr::V4(a), IpAddr::V4(n)) => {
            bits <= 32 && (a.to_bits() ^ n.to_bits()).checked_shr(32 - bits).unwrap_or(0) == 0
        }
        (IpAddr::V6(a), IpAddr::V6(n)) => {
            bits <= 128 && (a.to_bits() ^ n.to_bits()).checked_shr(128 - bits).unwrap_or(0) == 0
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(scheme: &str, host: &str, variables: &[(&str, &str)]) -> Option<(&'static str, String)> {
        let variable = |name: &str| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        };
        let proxy = proxy_for(scheme, host, 8080, &variable).unwrap();
        proxy.map(|proxy| (proxy.variable, proxy.shown))
    }

    #[test]
    fn each_scheme_has_its_proxy_and_all_proxy_is_for_both() {
        let both = [("http_proxy", "http://one:1"), ("HTTPS_PROXY", "http://two:2"), ("all_proxy", "a:3")];
        assert_eq!(chosen("http", "h", &both), Some(("http_proxy", "http://one:1".into())));
        assert_eq!(chosen("https", "h", &both), Some(("HTTPS_PROXY", "http://two:2".into())));
        assert_eq!(chosen("https", "h", &both[..1]), None);
        assert_eq!(chosen("https", "h", &both[2..]), Some(("all_proxy", "a:3".into())));
        assert_eq!(chosen("http", "h", &[("http_proxy", " ")]), None);
    }

    #[test]
    fn a_password_is_not_shown() {
        for (written, shown) in [("http://me:secret@p:1", "http://p:1"), ("me:secret@p:1", "p:1")] {
            assert_eq!(chosen("http", "h", &[("http_proxy", written)]).unwrap().1, shown);
        }
    }

    #[test]
    fn what_is_no_address_is_named_with_its_variable() {
        let error = proxy_for("http", "h", 80, &|name| (name == "http_proxy").then(|| "ht!tp:// x".into()));
        assert!(error.unwrap_err().to_string().starts_with("http_proxy=ht!tp:// x: "));
        let error = proxy_for("https", "h", 443, &|name| (name == "ALL_PROXY").then(|| "p:99999".into()));
        assert_eq!(
            error.unwrap_err().to_string(),
            "ALL_PROXY=p:99999: its port \"99999\" is not a number from 1 to 65535. Write it as http://host:port"
        );
    }

    #[test]
    fn exceptions_are_names_with_all_below_them_addresses_and_networks() {
        let direct = |host: &str, list: &str| {
            chosen("http", host, &[("http_proxy", "http://p:1"), ("NO_PROXY", list)]).is_none()
        };
        for (host, list) in [
            ("localhost", "localhost,127.0.0.1"),
            ("api.corp.example", "corp.example"),
            ("api.corp.example", " .corp.example "),
            ("API.corp.example", "*.Corp.example"),
            ("anything", "*"),
            ("127.0.0.1", "10.0.0.0/8, 127.0.0.0/8"),
            ("[fd00::7]", "fd00::/8"),
            ("::1", "::1"),
            ("h", "h:8080"),
            ("10.1.2.3", "0.0.0.0/0"),
        ] {
            assert!(direct(host, list), "{host} {list}");
        }
        for (host, list) in [
            ("corp.example.org", "corp.example"),
            ("notcorp.example", "corp.example"),
            ("h", "h:80"),
            ("127.0.0.1", "10.0.0.0/8"),
            ("127.0.0.1", "127.0.0.0/99"),
            ("h", ""),
        ] {
            assert!(!direct(host, list), "{host} {list}");
        }
    }
}
