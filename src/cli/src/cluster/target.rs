//! `HOST:PORT/TOKEN/CHECK`: where to join, and the proof of both sides.

use anyhow::{Result, bail};
use rustls_pki_types::CertificateDer;
use sha2::{Digest as _, Sha256};
use std::fmt::{self, Write as _};
use std::net::{IpAddr, Ipv6Addr};

/// Hexadecimal digits of a token at least: 128 bits.
pub const TOKEN_DIGITS: usize = 32;
/// Hexadecimal digits of a check: 128 bits, so that nobody makes another authority with the same.
const CHECK_DIGITS: usize = 32;

/// Where to join.
#[derive(Clone, PartialEq, Eq)]
pub struct Target {
    /// A name or an address, without brackets.
    pub host: String,
    /// The port of the API server.
    pub port: u16,
    /// The secret.
    pub token: String,
    /// The pin of the cluster authority; see [`check_of`].
    pub check: String,
}

impl Target {
    /// Reads what `add-node` has printed.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self> {
        let form = "it has to be HOST:PORT/TOKEN/CHECK, as `knarr add-node` prints it";
        let mut parts = text.trim().trim_start_matches("https://").split('/');
        let (Some(place), Some(token)) = (parts.next(), parts.next()) else {
            bail!("{text:?} says no token: {form}");
        };
        let Some(check) = parts.next().filter(|check| !check.is_empty()) else {
            bail!(
                "the CHECK behind the token is missing, so this node could not tell the cluster from somebody who \
                 poses as it: {form}"
            );
        };
        if parts.next().is_some() {
            bail!("{text:?} has too many parts: {form}");
        }
        let (host, port) = match place.strip_prefix('[').and_then(|rest| rest.split_once("]:")) {
            Some((host, _)) if host.parse::<Ipv6Addr>().is_err() => {
                bail!("{place}: in brackets stands an IPv6 address, such as [fd00::1]:6443")
            }
            Some((host, port)) => (host, port),
            None => match place.rsplit_once(':') {
                _ if place.starts_with('[') => bail!("{place:?} names no port: {form}"),
                Some((host, _)) if host.contains(':') => {
                    bail!("{place}: an IPv6 address stands in brackets, such as [{host}]:6443")
                }
                Some((host, port)) => (host, port),
                None => bail!("{place:?} names no port: {form}"),
            },
        };
        let Some(port) = port.parse().ok().filter(|port| *port > 0) else {
            bail!("{port:?} is no port: {form}")
        };
        if host.is_empty() {
            bail!("{place:?} names no host: {form}");
        }
        check_token(token)?;
        if check.len() != CHECK_DIGITS || !is_hex(check) {
            bail!(
                "the CHECK {check:?} is not {CHECK_DIGITS} hexadecimal digits: copy the whole line that `knarr add-node` prints"
            );
        }
        Ok(Self { host: host.to_owned(), port, token: token.to_owned(), check: check.to_lowercase() })
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", place(&self.host, self.port))
    }
}

/// Whether a text can be a token.
///
/// # Errors
/// What is wrong with it.
pub fn check_token(token: &str) -> Result<()> {
    if token.len() < TOKEN_DIGITS || token.len() > 128 || !is_hex(token) {
        bail!("a token is {TOKEN_DIGITS} to 128 hexadecimal digits");
    }
    Ok(())
}

fn is_hex(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// `HOST:PORT`, with brackets around an IPv6 address.
pub fn place(host: &str, port: u16) -> String {
    match host.parse() {
        Ok(IpAddr::V6(address)) => format!("[{address}]:{port}"),
        _ => format!("{host}:{port}"),
    }
}

/// The pin of an authority: the beginning of its certificate's SHA-256 digest.
pub fn check_of(authority: &CertificateDer<'_>) -> String {
    let mut digits = hex(&Sha256::digest(authority));
    digits.truncate(CHECK_DIGITS);
    digits
}

/// Bytes as hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "0123456789abcdef0123456789abcdef";
    const CHECK: &str = "ABCDEFabcdef0123456789abcdef0123";

    #[test]
    fn names_and_addresses_of_both_families_are_places() {
        for (given, host) in
            [("node-1.example", "node-1.example"), ("10.0.0.1", "10.0.0.1"), ("[fd00::1]", "fd00::1")]
        {
            let target = Target::parse(&format!("{given}:6443/{TOKEN}/{CHECK}")).unwrap();
            assert_eq!((target.host.as_str(), target.port), (host, 6443));
            assert_eq!(place(&target.host, 6443), format!("{given}:6443"));
            assert_eq!((target.token.as_str(), target.check), (TOKEN, CHECK.to_lowercase()));
        }
    }

    #[test]
    fn what_is_wrong_is_told() {
        for (text, told) in [
            (format!("a:6443/{TOKEN}"), "CHECK"),
            (format!("a:6443/{TOKEN}/"), "CHECK"),
            ("a:6443".to_owned(), "no token"),
            (format!("a/{TOKEN}/{CHECK}"), "no port"),
            (format!("a:0/{TOKEN}/{CHECK}"), "no port"),
            (format!("fd00::1:6443/{TOKEN}/{CHECK}"), "brackets"),
            (format!("[node-1]:6443/{TOKEN}/{CHECK}"), "in brackets"),
            (format!("[fd00::1]/{TOKEN}/{CHECK}"), "no port"),
            (format!(":6443/{TOKEN}/{CHECK}"), "no host"),
            (format!("a:6443/{TOKEN}/abc"), "CHECK"),
            (format!("a:6443/xyz/{CHECK}"), "a token is"),
            (format!("a:6443/{TOKEN}/{CHECK}/x"), "too many"),
        ] {
            let error = Target::parse(&text).unwrap_err().to_string();
            assert!(error.contains(told), "{text}: {error}");
        }
    }
}
