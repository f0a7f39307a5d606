//! The access reviews of `authorization.k8s.io/v1`: each takes the object that was posted and fills in its status.

use apimachinery::field::{ErrorList, FieldError, Path};
use apimachinery::gvk::Gvk;
use apimachinery::status::{Result, Status};
use serde_json::{Value, json};

use super::attributes::{Attributes, Authorizer, Decision, ResolvedRules};
use crate::authentication::UserInfo;

/// SubjectAccessReview: may that user do this?
///
/// # Errors
/// 422 when the object asks for nothing or for two things at once.
pub async fn subject_access_review(authorizer: &dyn Authorizer, review: &mut Value) -> Result<()> {
    let spec = review.get("spec").cloned().unwrap_or_default();
    let mut errors = validate_what(&spec);
    errors.extend(validate_who(&spec));
    refuse(review, "SubjectAccessReview", &errors)?;
    let user = user_of(&spec);
    decide(authorizer, &user, &spec, review).await;
    Ok(())
}

/// LocalSubjectAccessReview: the same within a namespace.
///
/// # Errors
/// 422 also when the namespaces differ.
pub async fn local_subject_access_review(
    authorizer: &dyn Authorizer,
    namespace: &str,
    review: &mut Value,
) -> Result<()> {
    let spec = review.get("spec").cloned().unwrap_or_default();
    let mut errors = validate_what(&spec);
    errors.extend(validate_who(&spec));
    let at = Path::new("spec").child("resourceAttributes");
    if spec.get("nonResourceAttributes").is_some_and(|what| !what.is_null()) {
        let path = Path::new("spec").child("nonResourceAttributes");
        errors.push(FieldError::forbidden(&path, "disallowed on this kind of request"));
    } else if let Some(asked) = spec.pointer("/resourceAttributes/namespace").and_then(Value::as_str)
        && asked != namespace
    {
        errors.push(FieldError::invalid(&at.child("namespace"), asked, "must match metadata.namespace"));
    }
    refuse(review, "LocalSubjectAccessReview", &errors)?;
    let user = user_of(&spec);
    decide(authorizer, &user, &spec, review).await;
    Ok(())
}

/// SelfSubjectAccessReview: may the caller do this? (`kubectl auth can-i`)
///
/// # Errors
/// 422 when the object asks for nothing or for two things at once.
pub async fn self_subject_access_review(
    authorizer: &dyn Authorizer,
    user: &UserInfo,
    review: &mut Value,
) -> Result<()> {
    let spec = review.get("spec").cloned().unwrap_or_default();
    refuse(review, "SelfSubjectAccessReview", &validate_what(&spec))?;
    decide(authorizer, user, &spec, review).await;
    Ok(())
}

/// SelfSubjectRulesReview: all the caller may do in a namespace (`kubectl auth can-i --list`).
///
/// # Errors
/// 400 without a namespace.
pub fn self_subject_rules_review(
    authorizer: &dyn Authorizer,
    user: &UserInfo,
    review: &mut Value,
) -> Result<()> {
    let namespace = review.pointer("/spec/namespace").and_then(Value::as_str).unwrap_or("").to_owned();
    if namespace.is_empty() {
        return Err(Status::bad_request("no namespace on request"));
    }
    let ResolvedRules { rules, errors } = authorizer.rules_for(user, &namespace);
    let mut resource_rules = Vec::new();
    let mut non_resource_rules = Vec::new();
    for rule in rules {
        if !rule.resources.is_empty() {
            let mut entry =
                json!({"verbs": rule.verbs, "apiGroups": rule.api_groups, "resources": rule.resources});
            if let Some(entry) = entry.as_object_mut()
                && !rule.resource_names.is_empty()
            {
                entry.insert("resourceNames".into(), json!(rule.resource_names));
            }
            resource_rules.push(entry);
        }
        if !rule.non_resource_urls.is_empty() {
            non_resource_rules.push(json!({"verbs": rule.verbs, "nonResourceURLs": rule.non_resource_urls}));
        }
    }
    let mut status = json!({
        "resourceRules": resource_rules,
        "nonResourceRules": non_resource_rules,
        "incomplete": !errors.is_empty(),
    });
    if let Some(status) = status.as_object_mut()
        && !errors.is_empty()
    {
        status.insert("evaluationError".into(), json!(errors.join(", ")));
    }
    set_status(review, status);
    Ok(())
}

async fn decide(authorizer: &dyn Authorizer, user: &UserInfo, spec: &Value, review: &mut Value) {
    let resource = spec.get("resourceAttributes").filter(|what| !what.is_null());
    let text = |field: &str| {
        let from = resource.or_else(|| spec.get("nonResourceAttributes"));
        from.and_then(|what| what.get(field)).and_then(Value::as_str).unwrap_or("").to_owned()
    };
    let (verb, namespace, group, version) = (text("verb"), text("namespace"), text("group"), text("version"));
    let (name, path) = (text("name"), text("path"));
    let (plural, subresource) = (text("resource"), text("subresource"));
    let field_selector = field_selector(resource);
    let label_selector = label_selector(resource);
    let attributes = Attributes {
        user,
        verb: &verb,
        namespace: &namespace,
        api_group: &group,
        // As upstream: an absent version stands for any.
        api_version: if version.is_empty() { "*" } else { &version },
        resource: &plural,
        subresource: &subresource,
        name: &name,
        path: &path,
        field_selector: &field_selector,
        label_selector: &label_selector,
        resource_request: resource.is_some(),
    };
    let decision = authorizer.authorize(&attributes).await;
    let mut status = json!({"allowed": decision.allowed()});
    if let Some(status) = status.as_object_mut() {
        if matches!(decision, Decision::Deny(_)) {
            status.insert("denied".into(), json!(true));
        }
        if !decision.reason().is_empty() {
            status.insert("reason".into(), json!(decision.reason()));
        }
    }
    set_status(review, status);
}

/// The field selector of the review in query syntax: what requests carry and authorizers read.
fn field_selector(resource: Option<&Value>) -> String {
    let Some(selector) = resource.and_then(|what| what.get("fieldSelector")) else { return String::new() };
    if let Some(raw) = selector.get("rawSelector").and_then(Value::as_str) {
        return raw.to_owned();
    }
    let requirements = selector.get("requirements").and_then(Value::as_array).into_iter().flatten();
    let terms: Vec<String> = requirements
        .filter_map(|term| {
            let key = term.get("key")?.as_str()?;
            let value = term.get("values")?.as_array()?.first()?.as_str()?;
            match term.get("operator")?.as_str()? {
                "In" => Some(format!("{key}={value}")),
                "NotIn" => Some(format!("{key}!={value}")),
                _ => None,
            }
        })
        .collect();
    terms.join(",")
}

/// The label selector of the review in query syntax.
fn label_selector(resource: Option<&Value>) -> String {
    let Some(selector) = resource.and_then(|what| what.get("labelSelector")) else { return String::new() };
    if let Some(raw) = selector.get("rawSelector").and_then(Value::as_str) {
        return raw.to_owned();
    }
    let requirements = selector.get("requirements").and_then(Value::as_array).into_iter().flatten();
    let terms: Vec<String> = requirements
        .filter_map(|term| {
            let key = term.get("key")?.as_str()?;
            let values = term.get("values").and_then(Value::as_array).into_iter().flatten();
            let values = values.filter_map(Value::as_str).collect::<Vec<_>>().join(",");
            match term.get("operator")?.as_str()? {
                "In" => Some(format!("{key} in ({values})")),
                "NotIn" => Some(format!("{key} notin ({values})")),
                "Exists" => Some(key.to_owned()),
                "DoesNotExist" => Some(format!("!{key}")),
                _ => None,
            }
        })
        .collect();
    terms.join(",")
}

fn user_of(spec: &Value) -> UserInfo {
    let text = |field: &str| spec.get(field).and_then(Value::as_str).unwrap_or("").to_owned();
    let strings = |list: &Value| -> Vec<String> {
        list.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
    };
    UserInfo {
        name: text("user"),
        uid: text("uid"),
        groups: spec.get("groups").map(strings).unwrap_or_default(),
        extra: spec
            .get("extra")
            .and_then(Value::as_object)
            .map(|extra| extra.iter().map(|(key, values)| (key.to_lowercase(), strings(values))).collect())
            .unwrap_or_default(),
    }
}

fn validate_what(spec: &Value) -> ErrorList {
    let path = Path::new("spec");
    let given = |field: &str| spec.get(field).is_some_and(|what| !what.is_null());
    let mut errors = Vec::new();
    match (given("resourceAttributes"), given("nonResourceAttributes")) {
        (true, true) => errors.push(FieldError::invalid(
            &path.child("nonResourceAttributes"),
            spec.get("nonResourceAttributes").cloned().unwrap_or_default(),
            "cannot be specified in combination with resourceAttributes",
        )),
        (false, false) => errors.push(FieldError::invalid(
            &path.child("resourceAttributes"),
            Value::Null,
            "exactly one of nonResourceAttributes or resourceAttributes must be specified",
        )),
        _ => {}
    }
    errors
}

fn validate_who(spec: &Value) -> ErrorList {
    let no_user = spec.get("user").and_then(Value::as_str).is_none_or(str::is_empty);
    let no_groups = spec.get("groups").and_then(Value::as_array).is_none_or(Vec::is_empty);
    if no_user && no_groups {
        let path = Path::new("spec").child("user");
        return vec![FieldError::invalid(&path, "", "at least one of user or group must be specified")];
    }
    Vec::new()
}

fn refuse(review: &Value, kind: &str, errors: &ErrorList) -> Result<()> {
    if errors.is_empty() {
        return Ok(());
    }
    let kind = Gvk::new("authorization.k8s.io", "v1", kind);
    Err(Status::invalid(&kind, apimachinery::meta::name(review), errors))
}

fn set_status(review: &mut Value, status: Value) {
    if let Some(review) = review.as_object_mut() {
        review.insert("status".into(), status);
    }
}

#[cfg(test)]
#[path = "review_tests.rs"]
mod tests;
