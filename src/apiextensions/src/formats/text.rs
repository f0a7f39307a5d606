//! Names and addresses, and base64.

use std::sync::LazyLock;

use regex::Regex;

/// What Go's `url.ParseRequestURI` takes: an absolute URI or an absolute path (RFC 3986).
pub(super) fn is_request_uri(text: &str) -> bool {
    if text.is_empty() || text.bytes().any(|byte| byte < b' ' || byte == 0x7f) {
        return false;
    }
    if text == "*" {
        return true;
    }
    let (scheme, rest) = match scheme(text) {
        Some(Some((scheme, rest))) => (scheme, rest),
        Some(None) => ("", text),
        None => return false,
    };
    let rest = rest.split_once('?').map_or(rest, |(rest, _)| rest);
    if !rest.starts_with('/') {
        return !scheme.is_empty();
    }
    let (authority, path) = match rest.strip_prefix("//") {
        Some(after) if !scheme.is_empty() || !rest.starts_with("///") => {
            let end = after.find('/').unwrap_or(after.len());
            after.split_at_checked(end).unwrap_or((after, ""))
        }
        _ => ("", rest),
    };
    is_authority(authority) && is_escaped(path)
}

/// Scheme and what follows; Some(None) if there is none, None if there is one but it is wrong.
fn scheme(text: &str) -> Option<Option<(&str, &str)>> {
    for (at, c) in text.char_indices() {
        match c {
            'a'..='z' | 'A'..='Z' => {}
            '0'..='9' | '+' | '-' | '.' if at > 0 => {}
            ':' if at == 0 => return None,
            ':' => return Some(text.split_once(':')),
            _ => return Some(None),
        }
    }
    Some(None)
}

fn is_authority(authority: &str) -> bool {
    let (user, host) = authority.rsplit_once('@').unwrap_or(("", authority));
    let user_right = is_escaped(user)
        && user.chars().all(|c| c.is_ascii_alphanumeric() || "-._:~!$&'()*+,;=%@".contains(c));
    let (name, port) = if let Some(rest) = host.strip_prefix('[') {
        let Some((name, after)) = rest.split_once(']') else { return false };
        (name, after)
    } else {
        host.rfind(':').and_then(|at| host.split_at_checked(at)).unwrap_or((host, ""))
    };
    let port_right = match port.strip_prefix(':') {
        Some(digits) => digits.bytes().all(|byte| byte.is_ascii_digit()),
        None => port.is_empty(),
    };
    let name_right = name
        .chars()
        .all(|c| !c.is_ascii() || c.is_ascii_alphanumeric() || "-_.~!$&'()*+,;=:[]<>\"%".contains(c));
    user_right && port_right && name_right && is_escaped(name)
}

/// Whether every `%` begins an escape.
fn is_escaped(text: &str) -> bool {
    text.split('%')
        .skip(1)
        .all(|after| after.as_bytes().get(..2).is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit)))
}

/// An address of RFC 5322, with or without a display name.
pub(super) fn is_email(text: &str) -> bool {
    let text = text.trim_matches([' ', '\t']);
    let Some(inner) = text.strip_suffix('>') else { return is_addr_spec(text) };
    match inner.rfind('<').and_then(|at| inner.split_at_checked(at)) {
        Some((name, address)) => is_phrase(name.trim()) && is_addr_spec(address.trim_start_matches('<')),
        None => false,
    }
}

fn is_phrase(name: &str) -> bool {
    let quoted = name.len() > 1 && name.starts_with('"') && name.ends_with('"');
    quoted || name.chars().all(|c| is_atom(c) || matches!(c, ' ' | '.'))
}

fn is_addr_spec(text: &str) -> bool {
    let Some((local, domain)) = text.rfind('@').and_then(|at| text.split_at_checked(at)) else {
        return false;
    };
    let domain = domain.trim_start_matches('@');
    let quoted = |text: &str| {
        text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).is_some_and(|inner| {
            let mut escaped = false;
            inner.chars().all(|c| {
                let right = escaped || !matches!(c, '"' | '\r' | '\n');
                escaped = !escaped && c == '\\';
                right
            }) && !escaped
        })
    };
    let literal = domain.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    (is_dot_atom(local) || quoted(local))
        && (is_dot_atom(domain) || literal.is_some_and(|literal| literal.parse::<std::net::IpAddr>().is_ok()))
}

fn is_dot_atom(text: &str) -> bool {
    text.split('.').all(|atom| !atom.is_empty() && atom.chars().all(is_atom))
}

fn is_atom(c: char) -> bool {
    c.is_ascii_alphanumeric() || "!#$%&'*+-/=?^_`{|}~".contains(c) || !c.is_ascii()
}

/// A host name of RFC 1034, with letters and symbols of all scripts.
pub(super) fn is_hostname(text: &str) -> bool {
    static LABEL: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r"^[a-zA-Z0-9\p{S}\p{L}-]+$").ok());
    let labels: Vec<&str> = text.split('.').collect();
    let known = |label: &&str| {
        label.len() <= 63 && LABEL.as_ref().is_some_and(|label_form| label_form.is_match(label))
    };
    if text.len() > 255 || !labels.iter().all(known) {
        return false;
    }
    let Some((last, before)) = labels.split_last() else { return false };
    if before.is_empty() {
        // A dash may only be the second character.
        let rest = last.char_indices().nth(1).and_then(|(at, _)| last.get(at..)).unwrap_or_default();
        return !last.starts_with('-') && !rest.strip_prefix('-').unwrap_or(rest).contains('-');
    }
    let inner = |label: &&str| !label.starts_with('-') && !label.ends_with('-');
    before.iter().all(inner) && inner(last) && !last.contains("--") && last.chars().count() > 1
}

/// Standard base64 with padding (RFC 4648 section 4) of at least one byte.
pub(super) fn is_base64(text: &str) -> bool {
    let body = text.trim_end_matches('=');
    let padding = text.len() - body.len();
    !body.is_empty()
        && padding <= 2
        && text.len().is_multiple_of(4)
        && body.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/'))
}
