//! `ip('10.0.0.1')` and what kind of address it is.

use std::net::IpAddr;

use super::{Row, no_overload};
use crate::error::{Answer, EvaluationError};
use crate::value::{Opaque, Text, Value};

pub(super) const ROWS: &[Row] = &[
    ("ip", "string_to_ip", "(string) -> net.IP", |args, _| match args {
        [Value::String(text)] => Ok(Value::Opaque(Opaque::Ip(parse(text)?))),
        _ => no_overload(),
    }),
    ("isIP", "is_ip", "(string) -> bool", |args, _| match args {
        [Value::String(text)] => Ok(Value::Bool(parse(text).is_ok())),
        _ => no_overload(),
    }),
    ("ip.isCanonical", "ip_is_canonical", "(string) -> bool", |args, _| match args {
        [Value::String(text)] => Ok(Value::Bool(parse(text)?.to_string() == **text)),
        _ => no_overload(),
    }),
    ("string", "ip_to_string", "(net.IP) -> string", |args, _| {
        of(args, |ip| Value::String(Text::from(ip.to_string())))
    }),
    ("family", "ip_family", "net.IP.() -> int", |args, _| {
        of(args, |ip| Value::Int(if ip.is_ipv4() { 4 } else { 6 }))
    }),
    ("isUnspecified", "ip_is_unspecified", "net.IP.() -> bool", |args, _| {
        of(args, |ip| ip.is_unspecified().into())
    }),
    ("isLoopback", "ip_is_loopback", "net.IP.() -> bool", |args, _| of(args, |ip| ip.is_loopback().into())),
    ("isLinkLocalMulticast", "ip_is_link_local_multicast", "net.IP.() -> bool", |args, _| {
        of(args, |ip| link_local_multicast(ip).into())
    }),
    ("isLinkLocalUnicast", "ip_is_link_local_unicast", "net.IP.() -> bool", |args, _| {
        of(args, |ip| link_local_unicast(ip).into())
    }),
    ("isGlobalUnicast", "ip_is_global_unicast", "net.IP.() -> bool", |args, _| {
        of(args, |ip| {
            let broadcast = matches!(ip, IpAddr::V4(ip) if ip.is_broadcast());
            let special =
                ip.is_unspecified() || ip.is_loopback() || ip.is_multicast() || link_local_unicast(ip);
            (!broadcast && !special).into()
        })
    }),
];

/// An address without a zone; IPv4 within IPv6 is refused.
pub(super) fn parse(text: &str) -> Result<IpAddr, EvaluationError> {
    if text.contains('%') {
        return Err(EvaluationError::new(format!("IP address {text:?} with zone value is not allowed")));
    }
    let address: IpAddr = text.parse().map_err(|_| {
        EvaluationError::new(format!(
            "IP Address {text:?} parse error during conversion from string: ParseAddr({text:?}): unable to parse IP"
        ))
    })?;
    match address {
        IpAddr::V6(ip) if ip.to_ipv4_mapped().is_some() => {
            Err(EvaluationError::new(format!("IPv4-mapped IPv6 address {text:?} is not allowed")))
        }
        address => Ok(address),
    }
}

fn link_local_multicast(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => matches!(ip.octets(), [224, 0, 0, _]),
        IpAddr::V6(ip) => matches!(ip.octets(), [0xff, second, ..] if second & 0x0f == 0x02),
    }
}

fn link_local_unicast(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    }
}

fn of<'a>(args: &[Value<'a>], read: fn(IpAddr) -> Value<'a>) -> Answer<'a> {
    match args {
        [Value::Opaque(Opaque::Ip(ip))] => Ok(read(*ip)),
        _ => no_overload(),
    }
}
