//! Names of signers and of what is named after them.

use crate::validation::Errors;
use apimachinery::field::{ErrorList, FieldError, Path};
use apimachinery::validation::{self as forms, DNS1123_LABEL_MAX_BYTES, DNS1123_SUBDOMAIN_MAX_BYTES};

/// The longest life of a pod's certificate, in seconds: 91 days.
const MOST_SECONDS: i64 = 91 * 24 * 60 * 60;
/// The longest life of one by a signer of Kubernetes itself, in seconds: a day.
const MOST_SECONDS_KUBERNETES: i64 = 24 * 60 * 60;
/// A domain, a slash, and a namespace and an object's name with a dot between.
const SIGNER_MAX_BYTES: usize =
    DNS1123_SUBDOMAIN_MAX_BYTES + 1 + DNS1123_SUBDOMAIN_MAX_BYTES + 1 + DNS1123_LABEL_MAX_BYTES;

/// The name of a signer: `example.com/signer`.
pub fn signer_name(name: &str, path: &Path, errors: &mut ErrorList) {
    if name.is_empty() {
        errors.required(path, "");
        return;
    }
    let Some((domain, rest)) = name.split_once('/').filter(|(_, rest)| !rest.contains('/')) else {
        errors.invalid(
            path,
            name,
            "must be a fully qualified domain and path of the form 'example.com/signer-name'",
        );
        return;
    };
    if domain.len() > DNS1123_SUBDOMAIN_MAX_BYTES {
        errors.push(FieldError::too_long(path, DNS1123_SUBDOMAIN_MAX_BYTES));
    }
    labels(domain, forms::dns1123_label, path, errors);
    if !domain.contains('.') {
        errors.invalid(path, domain, "should be a domain with at least two segments separated by dots");
    }
    labels(rest, forms::dns1123_subdomain, path, errors);
    if name.len() > SIGNER_MAX_BYTES {
        errors.push(FieldError::too_long(path, SIGNER_MAX_BYTES));
    }
}

/// The first of the parts between dots that is wrong.
fn labels(text: &str, form: fn(&str) -> Vec<String>, path: &Path, errors: &mut ErrorList) {
    let wrong = text.split('.').map(|label| (label, form(label))).find(|(_, messages)| !messages.is_empty());
    for message in wrong.iter().flat_map(|(label, messages)| {
        messages.iter().map(move |message| format!("validating label \"{label}\": {message}"))
    }) {
        errors.invalid(path, text, message);
    }
}

/// What is wrong with the name of the trust bundle of a signer; `signer` is empty where it has none.
pub fn trust_bundle_name(name: &str, signer: &str) -> Vec<String> {
    if signer.is_empty() {
        if name.contains(':') {
            return vec!["ClusterTrustBundle without signer name must not have \":\" in its name".to_owned()];
        }
        return forms::dns1123_subdomain(name);
    }
    let prefix = format!("{}:", signer.replace('/', ":"));
    match name.strip_prefix(&prefix) {
        Some(rest) => forms::dns1123_subdomain(rest),
        None => {
            vec![format!("ClusterTrustBundle for signerName {signer} must be named with prefix {prefix}")]
        }
    }
}

/// The longest life, in seconds, of a pod's certificate by this signer.
pub fn most_seconds(signer: &str) -> i64 {
    let domain = signer.split('/').next().unwrap_or("");
    let own = domain == "kubernetes.io" || domain.ends_with(".kubernetes.io");
    if own { MOST_SECONDS_KUBERNETES } else { MOST_SECONDS }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(name: &str) -> Vec<String> {
        let mut errors = ErrorList::new();
        signer_name(name, &Path::new("s"), &mut errors);
        errors.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn signers_are_a_domain_and_a_path() {
        assert!(told("example.com/signer.with.dots").is_empty());
        assert_eq!(told(""), ["s: Required value"]);
        for name in ["example.com", "example.com/a/b"] {
            assert_eq!(
                told(name),
                [format!(
                    "s: Invalid value: \"{name}\": must be a fully qualified domain and path of the form 'example.com/signer-name'"
                )]
            );
        }
        assert_eq!(
            told("local/signer"),
            ["s: Invalid value: \"local\": should be a domain with at least two segments separated by dots"]
        );
        assert!(told("Example.com/x")[0].starts_with(
            "s: Invalid value: \"Example.com\": validating label \"Example\": a lowercase RFC 1123 label must"
        ));
        assert!(told("example.com/")[0].starts_with("s: Invalid value: \"\": validating label \"\""));
    }

    #[test]
    fn bundles_are_named_after_their_signer() {
        assert!(trust_bundle_name("example.com:signer:one", "example.com/signer").is_empty());
        assert!(trust_bundle_name("one", "").is_empty());
        assert_eq!(
            trust_bundle_name("one", "example.com/signer"),
            [
                "ClusterTrustBundle for signerName example.com/signer must be named with prefix example.com:signer:"
            ]
        );
        assert_eq!(
            trust_bundle_name("a:b", ""),
            ["ClusterTrustBundle without signer name must not have \":\" in its name"]
        );
    }
}
