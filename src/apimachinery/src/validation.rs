//! The forms of names, labels, ports and the like, with the messages of
//! `k8s.io/apimachinery/pkg/util/validation`. Every check answers what is wrong; empty means right.

/// Longest DNS-1123 label (RFC 1123 section 2.1).
pub const DNS1123_LABEL_MAX_BYTES: usize = 63;
/// Longest DNS-1123 subdomain (RFC 1123 section 2.1).
pub const DNS1123_SUBDOMAIN_MAX_BYTES: usize = 253;

const LABEL_FORM: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";
const SUBDOMAIN_FORM: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
const DNS1035_FORM: &str = "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')";
const QUALIFIED_FORM: &str = "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
const LABEL_VALUE_FORM: &str = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";
const WILDCARD_FORM: &str = "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which must consist of lower case alphanumeric characters, '-' or '.' and end with an alphanumeric character (e.g. '*.example.com', regex used for validation is '\\*\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
const ENV_FORM: &str =
    "a valid environment variable name must consist only of printable ASCII characters other than '='";
const CONFIG_KEY_FORM: &str = "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')";

fn max_length(max: usize) -> String {
    format!("must be no more than {max} bytes")
}

fn is_label_form(text: &str) -> bool {
    let bytes = text.as_bytes();
    let alphanumeric = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    bytes.first().is_some_and(alphanumeric)
        && bytes.last().is_some_and(alphanumeric)
        && bytes.iter().all(|b| alphanumeric(b) || *b == b'-')
}

fn is_name_form(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.first().is_some_and(u8::is_ascii_alphanumeric)
        && bytes.last().is_some_and(u8::is_ascii_alphanumeric)
        && bytes.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
}

fn check(text: &str, max: usize, form_holds: bool, form: &str) -> Vec<String> {
    let mut errors = Vec::new();
    if text.len() > max {
        errors.push(max_length(max));
    }
    if !form_holds {
        errors.push(form.to_owned());
    }
    errors
}

/// A lower-case RFC 1123 label.
pub fn dns1123_label(text: &str) -> Vec<String> {
    check(text, DNS1123_LABEL_MAX_BYTES, is_label_form(text), LABEL_FORM)
}

/// A lower-case RFC 1123 subdomain.
pub fn dns1123_subdomain(text: &str) -> Vec<String> {
    check(text, DNS1123_SUBDOMAIN_MAX_BYTES, text.split('.').all(is_label_form), SUBDOMAIN_FORM)
}

/// An RFC 1035 label: like RFC 1123 but starting with a letter.
pub fn dns1035_label(text: &str) -> Vec<String> {
    let form = is_label_form(text) && text.as_bytes().first().is_some_and(u8::is_ascii_lowercase);
    check(text, DNS1123_LABEL_MAX_BYTES, form, DNS1035_FORM)
}

/// A subdomain after `*.`.
pub fn wildcard_dns1123_subdomain(text: &str) -> Vec<String> {
    let form = text.strip_prefix("*.").is_some_and(|rest| rest.split('.').all(is_label_form));
    check(text, DNS1123_SUBDOMAIN_MAX_BYTES, form, WILDCARD_FORM)
}

/// A name with an optional DNS prefix: `example.com/name`. The form of label keys, finalizers, conditions.
pub fn qualified_name(text: &str) -> Vec<String> {
    let mut errors = Vec::new();
    let (prefix, name) = match text.split_once('/') {
        None => (None, text),
        Some((_, name)) if name.contains('/') => {
            return vec![format!(
                "a qualified name {QUALIFIED_FORM} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"
            )];
        }
        Some((prefix, name)) => (Some(prefix), name),
    };
    if let Some(prefix) = prefix {
        if prefix.is_empty() {
            errors.push("prefix part must be non-empty".to_owned());
        } else {
            errors.extend(dns1123_subdomain(prefix).into_iter().map(|why| format!("prefix part {why}")));
        }
    }
    if name.is_empty() {
        errors.push("name part must be non-empty".to_owned());
    } else if name.len() > DNS1123_LABEL_MAX_BYTES {
        errors.push(format!("name part {}", max_length(DNS1123_LABEL_MAX_BYTES)));
    }
    if !is_name_form(name) {
        errors.push(format!("name part {QUALIFIED_FORM}"));
    }
    errors
}

/// The value of a label.
pub fn label_value(text: &str) -> Vec<String> {
    check(text, DNS1123_LABEL_MAX_BYTES, text.is_empty() || is_name_form(text), LABEL_VALUE_FORM)
}

/// A name that may stand as one segment of a URL path.
pub fn path_segment(text: &str) -> Vec<String> {
    if matches!(text, "." | "..") {
        return vec![format!("may not be '{text}'")];
    }
    ["/", "%"].iter().filter(|c| text.contains(**c)).map(|c| format!("may not contain '{c}'")).collect()
}

/// The name of an environment variable.
pub fn environment_variable_name(text: &str) -> Vec<String> {
    let form = !text.is_empty() && text.bytes().all(|b| (b' '..=b'~').contains(&b) && b != b'=');
    if form { Vec::new() } else { vec![ENV_FORM.to_owned()] }
}

/// A key of a ConfigMap or Secret.
pub fn config_map_key(text: &str) -> Vec<String> {
    let mut errors = Vec::new();
    if text.len() > DNS1123_SUBDOMAIN_MAX_BYTES {
        errors.push(max_length(DNS1123_SUBDOMAIN_MAX_BYTES));
    }
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
    {
        errors.push(CONFIG_KEY_FORM.to_owned());
    } else if text == "." {
        errors.push("must not be '.'".to_owned());
    } else if text == ".." {
        errors.push("must not be '..'".to_owned());
    } else if text.starts_with("..") {
        errors.push("must not start with '..'".to_owned());
    }
    errors
}

/// A port number.
pub fn port_number(port: i64) -> Vec<String> {
    if (1..=65535).contains(&port) {
        Vec::new()
    } else {
        vec!["must be between 1 and 65535, inclusive".to_owned()]
    }
}

/// A port name (RFC 6335 section 5.1): at most 15 letters, digits and single dashes, at least one letter.
pub fn port_name(text: &str) -> Vec<String> {
    let mut errors = Vec::new();
    let bytes = text.as_bytes();
    if text.len() > 15 {
        errors.push(max_length(15));
    }
    if !bytes.iter().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'-') || bytes.is_empty() {
        errors.push("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)".to_owned());
    }
    if !bytes.iter().any(u8::is_ascii_lowercase) {
        errors.push("must contain at least one letter (a-z)".to_owned());
    }
    if text.contains("--") {
        errors.push("must not contain consecutive hyphens".to_owned());
    }
    if text.starts_with('-') || text.ends_with('-') {
        errors.push("must not begin or end with a hyphen".to_owned());
    }
    errors
}

/// An IP address, as new objects have to write it.
pub fn ip_address(text: &str) -> Vec<String> {
    if text.parse::<std::net::IpAddr>().is_ok() {
        Vec::new()
    } else {
        vec!["must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)".to_owned()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_told_apart() {
        assert!(dns1123_label("my-name").is_empty());
        assert!(!dns1123_label("My").is_empty());
        assert!(!dns1123_label("").is_empty());
        assert!(!dns1123_label("a.b").is_empty());
        assert!(!dns1123_label(&"a".repeat(64)).is_empty());
        assert!(dns1123_subdomain("a.b-c.1").is_empty());
        assert!(!dns1123_subdomain("a..b").is_empty());
        assert!(dns1035_label("a1").is_empty());
        assert!(!dns1035_label("1a").is_empty());
        assert!(wildcard_dns1123_subdomain("*.example.com").is_empty());
        assert!(!wildcard_dns1123_subdomain("*example.com").is_empty());
    }

    #[test]
    fn qualified_names_may_have_a_prefix() {
        assert!(qualified_name("example.com/My_name.1").is_empty());
        assert!(qualified_name("app").is_empty());
        for bad in ["", "/a", "a/", "a/b/c", "Ex/a", "-a", "a b"] {
            assert!(!qualified_name(bad).is_empty(), "{bad}");
        }
    }

    #[test]
    fn ports_have_numbers_and_names() {
        assert!(port_number(80).is_empty());
        assert!(!port_number(0).is_empty());
        assert!(port_name("http-2").is_empty());
        for bad in ["", "80", "-a", "a--b", "averyveryverylong", "Http"] {
            assert!(!port_name(bad).is_empty(), "{bad}");
        }
    }

    #[test]
    fn config_keys_cannot_climb() {
        assert!(config_map_key("a.b_c-D").is_empty());
        for bad in ["", ".", "..", "..a", "a/b"] {
            assert!(!config_map_key(bad).is_empty(), "{bad}");
        }
    }
}
