//! Names in claims, classes and slices: of devices and pools, of attributes and capacities, of shares.

use crate::validation::{Errors, required_text};
use crate::value::{has, text};
use apimachinery::field::{ErrorList, FieldError, Path};
use apimachinery::validation as forms;
use serde_json::Value;

const POOL_MAX_BYTES: usize = 253;
const ID_MAX_BYTES: usize = 32;
const DOMAIN_MAX_BYTES: usize = 63;
const IDENTIFIER: &str = "a valid C identifier must start with alphabetic character or '_', followed by a string of alphanumeric characters or '_' (e.g. 'my_name',  or 'MY_NAME',  or 'MyName', regex used for validation is '[A-Za-z_][A-Za-z0-9_]*')";

/// The name of a request, a device or a set of counters: a label, there even if empty.
pub fn label(object: &Value, name: &str, path: &Path, errors: &mut ErrorList) {
    let value = text(object, name);
    errors.check(path, name, value, forms::dns1123_label(value));
}

/// The name of a pool: subdomains with slashes between them.
pub fn pool(object: &Value, name: &str, path: &Path, errors: &mut ErrorList) {
    if !required_text(object, name, path, errors) {
        return;
    }
    let pool = text(object, name);
    if pool.len() > POOL_MAX_BYTES {
        errors.push(FieldError::too_long(&path.child(name), POOL_MAX_BYTES));
    }
    for part in pool.split('/') {
        errors.check(path, name, part, forms::dns1123_subdomain(part));
    }
}

/// The name of a class, which has to be there.
pub fn class(object: &Value, path: &Path, errors: &mut ErrorList) {
    if required_text(object, "deviceClassName", path, errors) {
        let name = text(object, "deviceClassName");
        errors.check(path, "deviceClassName", name, forms::dns1123_subdomain(name));
    }
}

/// The name of an attribute or a capacity: a C identifier, perhaps in the domain of a driver.
pub fn qualified(name: &str, path: &Path, errors: &mut ErrorList) {
    let mut parts = name.split('/');
    match (parts.next(), parts.next(), parts.next()) {
        (Some(id), None, _) => identifier(id, path, errors),
        (Some(domain), Some(id), None) => {
            if domain.is_empty() {
                errors.invalid(path, "", "the domain must not be empty");
            } else {
                if domain.len() > DOMAIN_MAX_BYTES {
                    errors.push(FieldError::too_long(path, DOMAIN_MAX_BYTES));
                }
                errors.check_at(path, domain, forms::dns1123_subdomain(&domain.to_lowercase()));
            }
            if id.is_empty() {
                errors.invalid(path, "", "the name must not be empty");
            } else {
                identifier(id, path, errors);
            }
        }
        // More than one slash: let through by upstream as well.
        _ => {}
    }
}

/// The same with a domain.
pub fn fully_qualified(name: &str, path: &Path, errors: &mut ErrorList) {
    qualified(name, path, errors);
    if !name.contains('/') {
        errors.invalid(path, name, "a fully qualified name must be a domain and a name separated by a slash");
    }
}

fn identifier(id: &str, path: &Path, errors: &mut ErrorList) {
    if id.len() > ID_MAX_BYTES {
        errors.push(FieldError::too_long(path, ID_MAX_BYTES));
    }
    let well_formed = id.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    if !well_formed {
        errors.invalid(path, id, IDENTIFIER);
    }
}

/// The key of an attribute or a capacity as paths show it: what is too long loses its middle.
pub fn shown_key(key: &str) -> String {
    const MAX: usize = DOMAIN_MAX_BYTES + 1 + ID_MAX_BYTES;
    const DOTS: &str = "...";
    if key.len() <= MAX {
        return key.to_owned();
    }
    let rest = MAX - DOTS.len();
    let head = key.get(..rest.div_ceil(2)).unwrap_or_default();
    let tail = key.get(key.len().saturating_sub(rest / 2)..).unwrap_or_default();
    format!("{head}{DOTS}{tail}")
}

/// The id of a share of a device (RFC 9562), where there is one.
pub fn share_id(object: &Value, path: &Path, errors: &mut ErrorList) {
    if !has(object, "shareID") {
        return;
    }
    let id = text(object, "shareID");
    let shaped = |id: &str| {
        id.bytes().enumerate().all(|(i, b)| match i {
            8 | 13 | 18 | 23 => b == b'-',
            _ => b.is_ascii_hexdigit(),
        })
    };
    let problem = match id.len() {
        36 if !shaped(id) => "error validating uid: invalid UUID format".to_owned(),
        36 if id.bytes().all(|b| !b.is_ascii_uppercase()) => return,
        32 | 36 | 38 | 45 => "uid must be in RFC 4122 normalized form, `xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx` with lowercase hexadecimal characters".to_owned(),
        length => format!("error validating uid: invalid UUID length: {length}"),
    };
    errors.invalid(&path.child("shareID"), id, problem);
}

/// Whether a text is a version (Semantic Versioning 2.0.0).
pub fn is_version(version: &str) -> bool {
    let (rest, build) = split(version, '+');
    let (core, before) = split(rest, '-');
    let all = |text: Option<&str>, form: fn(&str) -> bool| text.is_none_or(|text| text.split('.').all(form));
    core.split('.').count() == 3
        && core.split('.').all(is_number)
        && all(before, |id| is_identifier(id) && (is_number(id) || !id.bytes().all(|b| b.is_ascii_digit())))
        && all(build, is_identifier)
}

fn split(text: &str, at: char) -> (&str, Option<&str>) {
    text.split_once(at).map_or((text, None), |(head, tail)| (head, Some(tail)))
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) && (text == "0" || !text.starts_with('0'))
}

fn is_identifier(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn told(check: impl Fn(&Path, &mut ErrorList)) -> Vec<String> {
        let mut errors = ErrorList::new();
        check(&Path::new("x"), &mut errors);
        errors.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn versions_are_semantic() {
        for good in ["1.2.3", "0.0.0", "1.0.0-alpha.1", "1.0.0-0a", "1.0.0+build.007", "1.2.3-x-y+z-1"] {
            assert!(is_version(good), "{good}");
        }
        for bad in ["1.2", "v1.2.3", "01.2.3", "1.2.3-01", "1.2.3-", "1.2.3+", "1.2.3-a..b", "1.2.3.4"] {
            assert!(!is_version(bad), "{bad}");
        }
    }

    #[test]
    fn names_of_attributes_are_identifiers_in_a_domain() {
        for good in ["memory", "gpu.example.com/memory", "a/b/c"] {
            assert!(told(|path, errors| qualified(good, path, errors)).is_empty(), "{good}");
        }
        assert_eq!(
            told(|path, errors| qualified("/", path, errors)),
            [
                "x: Invalid value: \"\": the domain must not be empty",
                "x: Invalid value: \"\": the name must not be empty"
            ]
        );
        assert_eq!(
            told(|path, errors| fully_qualified("a-b", path, errors)),
            [
                format!("x: Invalid value: \"a-b\": {IDENTIFIER}"),
                "x: Invalid value: \"a-b\": a fully qualified name must be a domain and a name separated by a slash"
                    .to_owned()
            ]
        );
        assert_eq!(
            told(|path, errors| qualified(&"a".repeat(33), path, errors)),
            ["x: Too long: may not be more than 32 bytes"]
        );
        assert_eq!(shown_key(&"k".repeat(200)).len(), 96);
    }

    #[test]
    fn pools_are_paths_and_shares_have_plain_ids() {
        assert!(told(|path, errors| pool(&json!({"p": "node-1/a.b"}), "p", path, errors)).is_empty());
        assert_eq!(told(|path, errors| pool(&json!({}), "p", path, errors)), ["x.p: Required value"]);
        assert_eq!(told(|path, errors| pool(&json!({"p": "a//b"}), "p", path, errors)).len(), 1);
        let share = |id: &str| told(|path, errors| share_id(&json!({"shareID": id}), path, errors));
        assert!(share("a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11").is_empty());
        assert_eq!(
            share("x"),
            ["x.shareID: Invalid value: \"x\": error validating uid: invalid UUID length: 1"]
        );
        assert_eq!(share("A0EEBC99-9c0b-4ef8-bb6d-6bb9bd380a11").len(), 1);
    }
}
