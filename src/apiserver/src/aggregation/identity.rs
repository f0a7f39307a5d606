//! Who asks, told to aggregated servers in headers (they believe this server's certificate).

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::authentication::UserInfo;

const USER: HeaderName = HeaderName::from_static("x-remote-user");
const UID: HeaderName = HeaderName::from_static("x-remote-uid");
const GROUP: HeaderName = HeaderName::from_static("x-remote-group");
const EXTRA_PREFIX: &str = "x-remote-extra-";

/// Puts a user into headers; what names another goes.
pub(super) fn set(headers: &mut HeaderMap, user: &UserInfo) {
    let others: Vec<HeaderName> =
        headers.keys().filter(|name| name.as_str().starts_with("x-remote-")).cloned().collect();
    for name in others {
        headers.remove(name);
    }
    let mut add = |name: HeaderName, value: &str| {
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.append(name, value);
        }
    };
    add(USER, &user.name);
    if !user.uid.is_empty() {
        add(UID, &user.uid);
    }
    for group in &user.groups {
        add(GROUP, group);
    }
    for (key, values) in &user.extra {
        let Ok(name) = HeaderName::from_bytes(format!("{EXTRA_PREFIX}{}", escape(key)).as_bytes()) else {
            continue;
        };
        for value in values {
            add(name.clone(), value);
        }
    }
}

/// A key as part of a header's name: what may not stand there, and `%`, is escaped.
fn escape(key: &str) -> String {
    key.bytes().fold(String::new(), |mut out, byte| {
        if byte.is_ascii_alphanumeric() || b"!#$&'*+-.^_`|~".contains(&byte) {
            out.push(char::from(byte.to_ascii_lowercase()));
        } else {
            out.push_str(&format!("%{byte:02x}"));
        }
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_told_whole_and_alone() {
        let mut headers = HeaderMap::new();
        headers.insert("x-remote-extra-forged", HeaderValue::from_static("1"));
        headers.insert("x-remote-user", HeaderValue::from_static("forged"));
        let mut user = UserInfo::new("jane", &["a"]);
        user.extra.insert("example.org/k%".into(), vec!["1".into(), "2".into()]);
        set(&mut headers, &user);
        let all = |name: &str| headers.get_all(name).iter().collect::<Vec<_>>();
        assert_eq!(all("x-remote-user"), ["jane"]);
        assert_eq!(all("x-remote-group"), ["a", "system:authenticated"]);
        assert_eq!(all("x-remote-extra-example.org%2fk%25"), ["1", "2"]);
        assert!(all("x-remote-extra-forged").is_empty() && all("x-remote-uid").is_empty());
    }
}
