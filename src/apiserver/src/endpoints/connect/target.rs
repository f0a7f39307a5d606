//! Where a request is passed on to.

use apimachinery::status::{Result, Status};
use std::net::{IpAddr, SocketAddr};

/// How the other end is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scheme {
    /// Plain.
    Http,
    /// TLS whose certificate nobody can check: a pod's or Service's own.
    Https,
    /// TLS to a kubelet, both sides checked.
    Kubelet,
}

/// The other end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Target {
    /// How it is spoken to.
    pub(crate) scheme: Scheme,
    /// Where it is.
    pub(crate) address: SocketAddr,
}

/// A name in the URL of a proxy request, taken apart: `[https:]name[:port]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ProxyName {
    /// Whether TLS is to be used.
    pub(crate) https: bool,
    /// The object.
    pub(crate) name: String,
    /// Port, by number or name; empty for the first.
    pub(crate) port: String,
}

impl ProxyName {
    /// Takes a name apart.
    ///
    /// # Errors
    /// 400 when it has another form.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let parts: Vec<&str> = text.split(':').collect();
        let (scheme, name, port) = match parts.as_slice() {
            [name] => ("", *name, ""),
            [name, port] => ("", *name, *port),
            [scheme, name, port] => (*scheme, *name, *port),
            _ => return Err(Status::bad_request(format!("invalid request \"{text}\""))),
        };
        if !matches!(scheme, "" | "http" | "https") || name.is_empty() {
            return Err(Status::bad_request(format!("invalid request \"{text}\"")));
        }
        Ok(Self { https: scheme == "https", name: name.to_owned(), port: port.to_owned() })
    }

    /// The scheme that was asked for.
    pub(crate) fn scheme(&self) -> Scheme {
        if self.https { Scheme::Https } else { Scheme::Http }
    }
}

/// Reads an address that an object holds.
///
/// # Errors
/// 503 when it is none.
pub(crate) fn address(ip: &str, port: u16) -> Result<SocketAddr> {
    let ip: IpAddr =
        ip.parse().map_err(|_| Status::service_unavailable(format!("no address is known ({ip:?})")))?;
    // Proxying must not reach what only this machine can: the same rule as upstream's.
    if ip.is_unspecified() || ip.is_multicast() {
        return Err(Status::bad_request("address not allowed"));
    }
    Ok(SocketAddr::new(ip, port))
}

/// Refuses addresses that pods and Services cannot have, and that would open what listens only for this machine.
///
/// # Errors
/// 400 when the address is one of them.
pub(crate) fn check_remote(address: SocketAddr) -> Result<SocketAddr> {
    let link_local = match address.ip() {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => (ip.segments().first().copied().unwrap_or(0) & 0xffc0) == 0xfe80,
    };
    if address.ip().is_loopback() || link_local {
        return Err(Status::bad_request("address not allowed"));
    }
    Ok(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proxy_names_are_taken_apart() {
        let name = |text: &str| ProxyName::parse(text).unwrap();
        assert_eq!(name("web"), ProxyName { https: false, name: "web".into(), port: String::new() });
        assert_eq!(name("web:80").port, "80");
        assert_eq!(name("https:web:").scheme(), Scheme::Https);
        assert!(ProxyName::parse("ftp:web:1").is_err());
        assert!(ProxyName::parse("a:b:c:d").is_err());
    }

    #[test]
    fn this_machine_is_not_reached_through_a_proxy() {
        assert!(check_remote("127.0.0.1:80".parse().unwrap()).is_err());
        assert!(check_remote("169.254.1.1:80".parse().unwrap()).is_err());
        assert!(check_remote("10.1.0.3:80".parse().unwrap()).is_ok());
    }
}
