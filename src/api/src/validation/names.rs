//! Names that refer to things: segments of paths, domain-prefixed paths, CSI drivers, qualified domain names.

use super::Errors;
use crate::value::text;
use apimachinery::field::{ErrorList, ErrorType, FieldError, Path};
use apimachinery::validation as forms;
use serde_json::Value;

/// The longest name of a CSI driver (the CSI specification, GetPluginInfo).
const CSI_DRIVER_MAX_BYTES: usize = 63;
const HTTP_PATH_FORM: &str = "Invalid path (regex used for validation is '[A-Za-z0-9/\\-._~%!$&'()*+,;=:]+')";

/// A text that must be there and may stand in a URL path.
pub fn required_path_segment(object: &Value, name: &str, path: &Path, errors: &mut ErrorList) {
    if super::required_text(object, name, path, errors) {
        super::text_form(object, name, path, forms::path_segment, errors);
    }
}

/// A path below a domain: `example.com/name`.
pub fn domain_prefixed_path(value: &str, path: &Path, errors: &mut ErrorList) {
    let Some((domain, rest)) = value.split_once('/').filter(|(a, b)| !a.is_empty() && !b.is_empty()) else {
        return if value.is_empty() {
            errors.required(path, "");
        } else {
            errors.invalid(path, value, "must be a domain-prefixed path (such as \"acme.io/foo\")");
        };
    };
    errors.check_at(path, domain, forms::dns1123_subdomain(domain));
    let in_path = |b: u8| b.is_ascii_alphanumeric() || b"/-._~%!$&'()*+,;=:".contains(&b);
    if !rest.bytes().all(in_path) {
        errors.invalid(path, rest, HTTP_PATH_FORM);
    }
}

/// The name of a CSI driver in field `name`: a subdomain in any case.
pub fn csi_driver_name(object: &Value, name: &str, path: &Path, errors: &mut ErrorList) {
    if !super::required_text(object, name, path, errors) {
        return;
    }
    let driver = text(object, name);
    if driver.len() > CSI_DRIVER_MAX_BYTES {
        errors.push(FieldError::too_long(&path.child(name), CSI_DRIVER_MAX_BYTES));
    }
    errors.check(path, name, driver, forms::dns1123_subdomain(&driver.to_lowercase()));
}

/// A domain name of at least two labels; a dot may end it.
pub fn fully_qualified_domain(name: &str, path: &Path, errors: &mut ErrorList) {
    if name.is_empty() {
        return errors.required(path, "");
    }
    let name = name.strip_suffix('.').unwrap_or(name);
    let problems = forms::dns1123_subdomain(name);
    if !problems.is_empty() {
        return errors.invalid(path, name, problems.join(","));
    }
    if !name.contains('.') {
        return errors.invalid(path, name, "should be a domain with at least two segments separated by dots");
    }
    for label in name.split('.') {
        let problems = forms::dns1123_label(label);
        if !problems.is_empty() {
            return errors.invalid(path, label, problems.join(","));
        }
    }
}

/// A value breaks a rule, and showing it would not help.
pub fn invalid_unshown(path: &Path, detail: &str, errors: &mut ErrorList) {
    errors.push(FieldError {
        kind: ErrorType::Invalid,
        field: path.to_string(),
        bad_value: None,
        detail: detail.to_owned(),
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn told(rule: impl Fn(&Path, &mut ErrorList)) -> Vec<String> {
        let mut errors = ErrorList::new();
        rule(&Path::new("x"), &mut errors);
        errors.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_path_has_a_domain_in_front() {
        let check = |value: &str| told(|path, errors| domain_prefixed_path(value, path, errors));
        assert!(check("example.com/a/b").is_empty());
        assert_eq!(check(""), ["x: Required value"]);
        for bad in ["example.com", "/a", "example.com/"] {
            assert!(
                check(bad)[0].ends_with("must be a domain-prefixed path (such as \"acme.io/foo\")"),
                "{bad}"
            );
        }
        assert!(check("Ex/a")[0].starts_with("x: Invalid value: \"Ex\": a lowercase RFC 1123 subdomain"));
        assert!(check("ex/a b")[0].starts_with("x: Invalid value: \"a b\": Invalid path (regex"));
    }

    #[test]
    fn a_domain_has_two_labels() {
        let check = |value: &str| told(|path, errors| fully_qualified_domain(value, path, errors));
        assert!(check("example.com").is_empty() && check("example.com.").is_empty());
        assert_eq!(
            check("example"),
            [
                "x: Invalid value: \"example\": should be a domain with at least two segments separated by dots"
            ]
        );
        assert!(check(&format!("{}.com", "a".repeat(64)))[0].contains("must be no more than 63 bytes"));
    }

    #[test]
    fn drivers_are_subdomains_of_a_label_s_length() {
        let check = |name: &str| {
            told(|path, errors| csi_driver_name(&json!({"driver": name}), "driver", path, errors))
        };
        assert!(check("Disks.example.com").is_empty());
        assert_eq!(check(&"a".repeat(64)), ["x.driver: Too long: may not be more than 63 bytes"]);
        assert_eq!(check(""), ["x.driver: Required value"]);
    }
}
