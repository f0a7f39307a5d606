//! Groups of the Kubernetes project need its approval (KEP-1111).

use apimachinery::field::{ErrorList, FieldError, Path};
use serde_json::Value;

use crate::json::{at, field, text};

const ANNOTATION: &str = "api-approved.kubernetes.io";

/// What the annotation says.
#[derive(PartialEq, Eq)]
enum Approval {
    Missing,
    Invalid,
    Bypassed,
    Approved,
}

pub(super) fn validate(definition: &Value, old: Option<&Value>, errors: &mut ErrorList) {
    if !is_protected(text(field(definition, "spec"), "group")) {
        return;
    }
    let (approval, value) = approval(definition);
    // Whoever updates something else is not to blame.
    if old.is_some_and(|old| self::approval(old).0 == approval) {
        return;
    }
    let path = Path::new("metadata").child("annotations").key(ANNOTATION);
    let (must, see) = (
        format!("protected groups must have approval annotation \"{ANNOTATION}\""),
        "see https://github.com/kubernetes/enhancements/pull/1111",
    );
    match approval {
        Approval::Missing => errors.push(FieldError::required(&path, format!("{must}, {see}"))),
        Approval::Invalid => {
            let detail = format!("{must} with either a URL or a reason starting with \"unapproved\", {see}");
            errors.push(FieldError::invalid(&path, value, detail));
        }
        Approval::Bypassed | Approval::Approved => {}
    }
}

/// `k8s.io`, `kubernetes.io` and all below them.
fn is_protected(group: &str) -> bool {
    ["k8s.io", "kubernetes.io"]
        .iter()
        .any(|domain| group.strip_suffix(domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.')))
}

fn approval(definition: &Value) -> (Approval, &str) {
    let value = at(definition, &["metadata", "annotations", ANNOTATION]).as_str().unwrap_or_default();
    let is_url = value
        .split_once("://")
        .is_some_and(|(scheme, rest)| !scheme.is_empty() && !rest.is_empty() && !rest.starts_with('/'));
    let approval = match value {
        "" => Approval::Missing,
        value if value.starts_with("unapproved") => Approval::Bypassed,
        _ if is_url => Approval::Approved,
        _ => Approval::Invalid,
    };
    (approval, value)
}
