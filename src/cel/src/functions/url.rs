//! `url('https://...')` and its parts: what Go's `url.ParseRequestURI` takes.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Row, no_overload};
use crate::error::{Answer, EvaluationError};
use crate::evaluate::Context;
use crate::value::{Key, Map, Opaque, Text, Value};

/// A parsed URL.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Url {
    scheme: String,
    /// Host, with its port and brackets.
    host: String,
    path: String,
    query: String,
}

pub(super) const ROWS: &[Row] = &[
    ("url", "string_to_url", "(string) -> kubernetes.URL", |args, _| match args {
        [Value::String(text)] => match Url::parse(text) {
            Ok(url) => Ok(Value::Opaque(Opaque::Url(Arc::new(url)))),
            Err(error) => {
                let message =
                    format!("URL parse error during conversion from string: parse {:?}: {error}", &**text);
                Err(EvaluationError::new(message))
            }
        },
        _ => no_overload(),
    }),
    ("isURL", "is_url_string", "(string) -> bool", |args, _| match args {
        [Value::String(text)] => Ok(Value::Bool(Url::parse(text).is_ok())),
        _ => no_overload(),
    }),
    ("getScheme", "url_get_scheme", "kubernetes.URL.() -> string", |args, _| {
        part(args, |url| url.scheme.clone())
    }),
    ("getHost", "url_get_host", "kubernetes.URL.() -> string", |args, _| part(args, |url| url.host.clone())),
    ("getHostname", "url_get_hostname", "kubernetes.URL.() -> string", |args, _| {
        part(args, |url| url.hostname_and_port().0.to_owned())
    }),
    ("getPort", "url_get_port", "kubernetes.URL.() -> string", |args, _| {
        part(args, |url| url.hostname_and_port().1.to_owned())
    }),
    ("getEscapedPath", "url_get_escaped_path", "kubernetes.URL.() -> string", |args, _| {
        part(args, |url| url.path.clone())
    }),
    ("getQuery", "url_get_query", "kubernetes.URL.() -> map(string, list(string))", query),
];

fn part<'a>(args: &[Value<'a>], of: fn(&Url) -> String) -> Answer<'a> {
    match args {
        [Value::Opaque(Opaque::Url(url))] => Ok(Value::String(Text::from(of(url)))),
        _ => no_overload(),
    }
}

fn query<'a>(args: &[Value<'a>], _: &mut Context<'_, 'a>) -> Answer<'a> {
    let [Value::Opaque(Opaque::Url(url))] = args else { return no_overload() };
    let mut values: BTreeMap<String, Vec<Value<'a>>> = BTreeMap::new();
    for pair in url.query.split('&').filter(|pair| !pair.is_empty() && !pair.contains(';')) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        if let (Some(key), Some(value)) = (unescape(key, true), unescape(value, true)) {
            values.entry(key).or_default().push(Value::String(Text::from(value)));
        }
    }
    let entries = values.into_iter().map(|(key, values)| (Key::String(Text::from(key)), Value::list(values)));
    Ok(Value::Map(Map::new(entries.collect())))
}

impl Url {
    /// Parses an absolute URI, or an absolute path.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err("empty url".to_owned());
        }
        if text.bytes().any(|byte| byte < b' ' || byte == 0x7f) {
            return Err("net/url: invalid control character in URL".to_owned());
        }
        let (scheme, rest) = split_scheme(text)?;
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let mut url = Url { scheme: scheme.to_ascii_lowercase(), query: query.to_owned(), ..Url::default() };
        if !rest.starts_with('/') {
            // `mailto:name` has neither host nor path.
            return if scheme.is_empty() && rest != "*" {
                Err("invalid URI for request".to_owned())
            } else {
                Ok(url)
            };
        }
        let mut path = rest;
        if let (false, Some(rest)) = (scheme.is_empty(), rest.strip_prefix("//")) {
            let end = rest.find('/').unwrap_or(rest.len());
            let (authority, after) = rest.split_at(end);
            url.host = parse_authority(authority)?;
            path = after;
        }
        unescape(path, false).ok_or_else(|| format!("invalid URL escape {:?}", bad_escape(path)))?;
        url.path = escape_path(path);
        Ok(url)
    }

    fn hostname_and_port(&self) -> (&str, &str) {
        let (host, port) = match self.host.rfind(':') {
            Some(at)
                if self.host.get(at + 1..).is_some_and(|port| port.bytes().all(|b| b.is_ascii_digit())) =>
            {
                (self.host.get(..at).unwrap_or(""), self.host.get(at + 1..).unwrap_or(""))
            }
            _ => (self.host.as_str(), ""),
        };
        match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
            Some(host) => (host, port),
            None => (host, port),
        }
    }
}

fn split_scheme(text: &str) -> Result<(&str, &str), String> {
    for (index, c) in text.char_indices() {
        match c {
            'a'..='z' | 'A'..='Z' => {}
            '0'..='9' | '+' | '-' | '.' if index > 0 => {}
            ':' if index == 0 => return Err("missing protocol scheme".to_owned()),
            ':' => return Ok((text.get(..index).unwrap_or(""), text.get(index + 1..).unwrap_or(""))),
            _ => break,
        }
    }
    Ok(("", text))
}

fn parse_authority(authority: &str) -> Result<String, String> {
    let host = match authority.rsplit_once('@') {
        Some((user, host)) => {
            let valid = |c: char| c.is_ascii_alphanumeric() || "-._:~!$&'()*+,;=%@".contains(c);
            if !user.chars().all(valid) || unescape(user, false).is_none() {
                return Err("net/url: invalid userinfo".to_owned());
            }
            host
        }
        None => authority,
    };
    let port = match host.strip_prefix('[') {
        Some(rest) => match rest.rfind(']') {
            Some(end) => rest.get(end + 1..).unwrap_or(""),
            None => return Err("missing ']' in host".to_owned()),
        },
        None => host.rfind(':').and_then(|at| host.get(at..)).unwrap_or(""),
    };
    let digits = port.strip_prefix(':').unwrap_or(if port.is_empty() { "" } else { "x" });
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(format!("invalid port {port:?} after host"));
    }
    let valid = |c: char| !c.is_ascii() || c.is_ascii_alphanumeric() || "-._~!$&'()*+,;=:[]<>\"%".contains(c);
    if let Some(c) = host.chars().find(|c| !valid(*c)) {
        return Err(format!("invalid character {:?} in host name", c.to_string()));
    }
    unescape(host, false).ok_or_else(|| format!("invalid URL escape {:?}", bad_escape(host)))
}

/// The first `%` that two hexadecimal digits do not follow, with what does.
fn bad_escape(text: &str) -> &str {
    let bad = text.match_indices('%').map(|(at, _)| at).find(|at| {
        let digits = text.as_bytes().get(at + 1..at + 3);
        !digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    });
    bad.and_then(|at| text.get(at..(at + 3).min(text.len())).or(text.get(at..))).unwrap_or("%")
}

/// Decodes `%41`, and `+` in queries; `None` if a `%` stands alone or the bytes are no text.
fn unescape(text: &str, plus_is_space: bool) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'%' => {
                let (high, low) = (bytes.next()?, bytes.next()?);
                let digit = |byte: u8| char::from(byte).to_digit(16);
                out.push(u8::try_from(digit(high)? * 16 + digit(low)?).ok()?);
            }
            b'+' if plus_is_space => out.push(b' '),
            byte => out.push(byte),
        }
    }
    Some(String::from_utf8_lossy(&out).into_owned())
}

/// The path with what may not stand in one escaped.
fn escape_path(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~$&+,/:;=@!'()*[]%".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}
