//! `cidr('10.0.0.0/8')` and what it contains.

use std::fmt;
use std::net::IpAddr;

use super::{Row, no_overload};
use crate::error::{Answer, EvaluationError};
use crate::evaluate::Context;
use crate::value::{Opaque, Text, Value};

/// A network: an address, not necessarily its first, and the length of the prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cidr {
    pub(crate) address: IpAddr,
    pub(crate) prefix: u8,
}

pub(super) const ROWS: &[Row] = &[
    ("cidr", "string_to_cidr", "(string) -> net.CIDR", |args, _| match args {
        [Value::String(text)] => Ok(Value::Opaque(Opaque::Cidr(Cidr::parse(text)?))),
        _ => no_overload(),
    }),
    ("isCIDR", "is_cidr", "(string) -> bool", |args, _| match args {
        [Value::String(text)] => Ok(Value::Bool(Cidr::parse(text).is_ok())),
        _ => no_overload(),
    }),
    ("string", "cidr_to_string", "(net.CIDR) -> string", |args, _| {
        of(args, |cidr| Value::String(Text::from(cidr.to_string())))
    }),
    ("ip", "cidr_ip", "net.CIDR.() -> net.IP", |args, _| {
        of(args, |cidr| Value::Opaque(Opaque::Ip(cidr.address)))
    }),
    ("masked", "masked", "net.CIDR.() -> net.CIDR", |args, _| {
        of(args, |cidr| Value::Opaque(Opaque::Cidr(cidr.masked())))
    }),
    ("prefixLength", "prefix_length", "net.CIDR.() -> int", |args, _| {
        of(args, |cidr| Value::Int(i64::from(cidr.prefix)))
    }),
    ("containsIP", "cidr_contains_ip_string", "net.CIDR.(string) -> bool", contains_ip),
    ("containsIP", "cidr_contains_ip_ip", "net.CIDR.(net.IP) -> bool", contains_ip),
    ("containsCIDR", "cidr_contains_cidr_string", "net.CIDR.(string) -> bool", contains_cidr),
    ("containsCIDR", "cidr_contains_cidr", "net.CIDR.(net.CIDR) -> bool", contains_cidr),
];

fn of<'a>(args: &[Value<'a>], read: fn(Cidr) -> Value<'a>) -> Answer<'a> {
    match args {
        [Value::Opaque(Opaque::Cidr(cidr))] => Ok(read(*cidr)),
        _ => no_overload(),
    }
}

fn contains_ip<'a>(args: &[Value<'a>], _: &mut Context<'_, 'a>) -> Answer<'a> {
    let (cidr, ip) = match args {
        [Value::Opaque(Opaque::Cidr(cidr)), Value::Opaque(Opaque::Ip(ip))] => (cidr, *ip),
        [Value::Opaque(Opaque::Cidr(cidr)), Value::String(text)] => (cidr, super::ip::parse(text)?),
        _ => return no_overload(),
    };
    Ok(Value::Bool(cidr.contains(ip)))
}

fn contains_cidr<'a>(args: &[Value<'a>], _: &mut Context<'_, 'a>) -> Answer<'a> {
    let (cidr, other) = match args {
        [Value::Opaque(Opaque::Cidr(cidr)), Value::Opaque(Opaque::Cidr(other))] => (cidr, *other),
        [Value::Opaque(Opaque::Cidr(cidr)), Value::String(text)] => (cidr, Cidr::parse(text)?),
        _ => return no_overload(),
    };
    Ok(Value::Bool(cidr.prefix <= other.prefix && cidr.contains(other.address)))
}

impl Cidr {
    fn parse(text: &str) -> Result<Self, EvaluationError> {
        let fault = |why: &str| {
            let message = format!(
                "network address parse error during conversion from string: netip.ParsePrefix({text:?}): {why}"
            );
            EvaluationError::new(message)
        };
        let (address, prefix) = text.rsplit_once('/').ok_or_else(|| fault("no '/'"))?;
        let address = super::ip::parse(address).map_err(|error| fault(&error.to_string()))?;
        let digits = prefix.len() <= 3 && prefix.bytes().all(|byte| byte.is_ascii_digit());
        let leading_zero = prefix.len() > 1 && prefix.starts_with('0');
        let bad = || fault(&format!("bad bits after slash: {prefix:?}"));
        let prefix: u8 = prefix.parse().ok().filter(|_| digits && !leading_zero).ok_or_else(bad)?;
        if prefix > if address.is_ipv4() { 32 } else { 128 } {
            return Err(fault("prefix length out of range"));
        }
        Ok(Self { address, prefix })
    }

    fn masked(self) -> Self {
        let address = match self.address {
            IpAddr::V4(ip) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(self.prefix)).unwrap_or(0);
                IpAddr::V4((u32::from(ip) & mask).into())
            }
            IpAddr::V6(ip) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(self.prefix)).unwrap_or(0);
                IpAddr::V6((u128::from(ip) & mask).into())
            }
        };
        Self { address, prefix: self.prefix }
    }

    fn contains(self, ip: IpAddr) -> bool {
        self.address.is_ipv4() == ip.is_ipv4()
            && Self { address: ip, prefix: self.prefix }.masked() == self.masked()
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}
