//! What is wrong with admission policies and their bindings.

use super::expressions::{self, Declared, Outcome, compile};
use super::rules;
use crate::validation::{self, Errors};
use crate::value::{self, list, text};
use apimachinery::field::{ErrorList, Path};
use apimachinery::meta;
use cel::{Environment, Type};
use serde_json::Value;
use std::collections::BTreeSet;

/// The most audit annotations of a policy.
const MAX_AUDIT_ANNOTATIONS: usize = 20;
/// The longest expression of an audit annotation.
const MAX_ANNOTATION_BYTES: usize = 5 * 1024;

/// What is wrong with a ValidatingAdmissionPolicy. `old` is what it was; conditions that it had are not compiled again.
pub fn validate_validating(policy: &Value, old: Option<&Value>) -> ErrorList {
    let (spec, path) = (value::field(policy, "spec"), Path::new("spec"));
    let mut errors = ErrorList::new();
    let environment = validate_common(spec, old, &path, &mut errors);
    let (validations, annotations) = (list(spec, "validations"), list(spec, "auditAnnotations"));
    if validations.is_empty() && annotations.is_empty() {
        let detail = "validations or auditAnnotations must contain at least one item";
        errors.required(&path.child("validations"), detail);
        errors.required(&path.child("auditAnnotations"), detail);
    }
    let words = without_rights(spec, &environment);
    for (index, validation) in validations.iter().enumerate() {
        let path = path.child("validations").index(index);
        validate_validation(validation, &environment, &words, &path, &mut errors);
    }
    if annotations.len() > MAX_AUDIT_ANNOTATIONS {
        let detail = format!("must not have more than {MAX_AUDIT_ANNOTATIONS} auditAnnotations");
        errors.invalid(
            &path.child("auditAnnotations"),
            value::field(spec, "auditAnnotations").clone(),
            detail,
        );
    }
    let mut keys = BTreeSet::new();
    for (index, annotation) in annotations.iter().enumerate() {
        let path = path.child("auditAnnotations").index(index);
        validate_annotation(policy, annotation, &environment, &path, &mut errors);
        if !keys.insert(text(annotation, "key")) {
            errors.duplicate(&path.child("key"), text(annotation, "key"));
        }
    }
    errors
}

/// What is wrong with a MutatingAdmissionPolicy.
pub fn validate_mutating(policy: &Value, old: Option<&Value>) -> ErrorList {
    let (spec, path) = (value::field(policy, "spec"), Path::new("spec"));
    let mut errors = ErrorList::new();
    let environment = expressions::mutating(&validate_common(spec, old, &path, &mut errors));
    let constraints = value::field(spec, "matchConstraints");
    validate_mutable(constraints, &path.child("matchConstraints"), &mut errors);
    let mutations = list(spec, "mutations");
    if mutations.is_empty() {
        errors.required(&path.child("mutations"), "mutations must contain at least one item");
    }
    for (index, mutation) in mutations.iter().enumerate() {
        validate_mutation(mutation, &environment, &path.child("mutations").index(index), &mut errors);
    }
    let known = ["IfNeeded", "Never"];
    validation::required_one_of(spec, "reinvocationPolicy", &path, &known, &mut errors);
    errors
}

/// What is wrong with what both have. Answers the environment of their expressions, variables included.
fn validate_common(spec: &Value, old: Option<&Value>, path: &Path, errors: &mut ErrorList) -> Environment {
    validation::required_one_of(spec, "failurePolicy", path, &["Fail", "Ignore"], errors);
    let param_kind = value::field(spec, "paramKind");
    if param_kind.is_object() {
        validate_param_kind(param_kind, &path.child("paramKind"), errors);
    }
    let constraints = value::field(spec, "matchConstraints");
    let at = path.child("matchConstraints");
    if constraints.is_object() {
        validate_match(constraints, &at, errors);
        if list(constraints, "resourceRules").is_empty() {
            errors.required(&at.child("resourceRules"), "");
        }
    } else {
        errors.required(&at, "");
    }
    let declared = Declared { params: param_kind.is_object(), authorizer: true };
    let mut environment = expressions::environment(declared).build();
    let old = old.map(|old| value::field(old, "spec"));
    let same = |name: &str| old.is_some_and(|old| value::field(old, name) == value::field(spec, name));
    if !(same("paramKind") && same("matchConditions")) {
        rules::match_conditions(spec, &environment, path, errors);
    }
    for (index, variable) in list(spec, "variables").iter().enumerate() {
        environment = validate_variable(variable, environment, &path.child("variables").index(index), errors);
    }
    environment
}

fn validate_variable(
    variable: &Value,
    environment: Environment,
    path: &Path,
    errors: &mut ErrorList,
) -> Environment {
    let (name, expression) = (text(variable, "name"), text(variable, "expression"));
    if name.trim().is_empty() {
        errors.required(&path.child("name"), "name is not specified");
    } else if !cel::is_identifier(name) {
        errors.invalid(&path.child("name"), name, "name is not a valid CEL identifier");
    }
    if expression.trim().is_empty() {
        errors.required(&path.child("expression"), "expression is not specified");
        return environment;
    }
    match compile(&environment, expression, Outcome::Any) {
        Ok(program) => environment.extend().composed(name, program.output_type().clone()).build(),
        Err(why) => {
            errors.invalid(&path.child("expression"), expression, why);
            // Those after it are not wrong because of it.
            environment.extend().composed(name, Type::Dyn).build()
        }
    }
}

/// The environment of messages, which may not depend on rights.
fn without_rights(spec: &Value, environment: &Environment) -> Environment {
    let declared = Declared { params: value::has(spec, "paramKind"), authorizer: false };
    let mut builder = expressions::environment(declared);
    for variable in list(spec, "variables") {
        let name = text(variable, "name");
        let of = environment.compile(&format!("variables.{name}"));
        builder = builder.composed(name, of.map_or(Type::Dyn, |program| program.output_type().clone()));
    }
    builder.build()
}

fn validate_validation(
    validation: &Value,
    environment: &Environment,
    words: &Environment,
    path: &Path,
    errors: &mut ErrorList,
) {
    let expression = text(validation, "expression");
    if expression.trim().is_empty() {
        errors.required(&path.child("expression"), "expression is not specified");
    } else if let Err(why) = compile(environment, expression, Outcome::Bool) {
        errors.invalid(&path.child("expression"), expression, why);
    }
    let worded = text(validation, "messageExpression");
    if !worded.is_empty() {
        let at = path.child("messageExpression");
        if worded.trim().is_empty() {
            errors.invalid(&at, worded, "must be non-empty if specified");
        } else if let Err(why) = compile(words, worded, Outcome::String) {
            errors.invalid(&at, worded, why);
        }
    }
    let message = text(validation, "message");
    if !message.is_empty() && message.trim().is_empty() {
        errors.invalid(&path.child("message"), message, "message must be non-empty if specified");
    } else if message.trim().contains(['\n', '\r']) {
        errors.invalid(&path.child("message"), message, "message must not contain line breaks");
    }
    validation::one_of(
        validation,
        "reason",
        path,
        &["Forbidden", "Invalid", "RequestEntityTooLarge"],
        errors,
    );
}

fn validate_annotation(
    policy: &Value,
    annotation: &Value,
    environment: &Environment,
    path: &Path,
    errors: &mut ErrorList,
) {
    let (key, name) = (text(annotation, "key"), meta::name(policy));
    if name.is_empty() {
        errors.invalid(&path.child("key"), key, "requires metadata.name be non-empty");
    } else {
        let whole = format!("{name}/{key}");
        errors.check(path, "key", &whole, apimachinery::validation::qualified_name(&whole));
    }
    let (at, expression) = (path.child("valueExpression"), text(annotation, "valueExpression"));
    let trimmed = expression.trim();
    if trimmed.is_empty() {
        errors.required(&at, "valueExpression is not specified");
    } else if trimmed.len() > MAX_ANNOTATION_BYTES {
        errors.required(&at, &format!("must not exceed {MAX_ANNOTATION_BYTES} bytes in length"));
    } else if let Err(why) = compile(environment, trimmed, Outcome::StringOrNull) {
        errors.invalid(&at, expression, why);
    }
}

fn validate_mutation(mutation: &Value, environment: &Environment, path: &Path, errors: &mut ErrorList) {
    let (own, other, outcome) = match text(mutation, "patchType") {
        "" => return errors.required(&path.child("patchType"), ""),
        "ApplyConfiguration" => ("applyConfiguration", "jsonPatch", Outcome::Object),
        "JSONPatch" => ("jsonPatch", "applyConfiguration", Outcome::JsonPatch),
        unknown => {
            let known = ["ApplyConfiguration", "JSONPatch"];
            return errors.not_supported(&path.child("patchType"), unknown, &known);
        }
    };
    let kind = text(mutation, "patchType");
    if value::has(mutation, own) {
        let at = path.child(own).child("expression");
        let expression = text(value::field(mutation, own), "expression");
        if expression.trim().is_empty() {
            errors.required(&at, "");
        } else if let Err(why) = compile(environment, expression, outcome) {
            errors.invalid(&at, expression, why);
        }
    } else {
        errors.required(&path.child(own), &format!("must be specified when patchType is {kind}"));
    }
    if value::has(mutation, other) {
        let detail = format!("must not be specified when patchType is {kind}");
        errors.invalid(&path.child(other), format!("{{{other}}}"), detail);
    }
}

fn validate_param_kind(kind: &Value, path: &Path, errors: &mut ErrorList) {
    use apimachinery::validation::{dns1035_label, dns1123_subdomain};
    let (at, api_version) = (path.child("apiVersion"), text(kind, "apiVersion"));
    if api_version.is_empty() {
        errors.required(&at, "");
    } else if api_version.matches('/').count() > 1 {
        errors.invalid(&at, api_version, format!("unexpected GroupVersion string: {api_version}"));
    } else {
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        let wrong = if group.is_empty() { Vec::new() } else { dns1123_subdomain(group) };
        if !wrong.is_empty() {
            errors.invalid(&at, group, wrong.join(","));
        }
        if version.is_empty() {
            errors.invalid(&at, api_version, "version must be specified");
        } else if let wrong = dns1035_label(version)
            && !wrong.is_empty()
        {
            errors.invalid(&at, version, wrong.join(","));
        }
    }
    let name = text(kind, "kind");
    if name.is_empty() {
        errors.required(&path.child("kind"), "");
    } else if let wrong = dns1035_label(&name.to_lowercase())
        && !wrong.is_empty()
    {
        let detail = format!("may have mixed case, but should otherwise match: {}", wrong.join(","));
        errors.invalid(&path.child("kind"), name, detail);
    }
}

/// What is wrong with match resources.
fn validate_match(resources: &Value, path: &Path, errors: &mut ErrorList) {
    validation::required_one_of(resources, "matchPolicy", path, &["Equivalent", "Exact"], errors);
    for name in ["namespaceSelector", "objectSelector"] {
        if value::has(resources, name) {
            validation::label_selector(resources, name, path, errors);
        } else {
            errors.required(&path.child(name), "");
        }
    }
    for name in ["resourceRules", "excludeResourceRules"] {
        for (index, rule) in list(resources, name).iter().enumerate() {
            rules::validate_named(rule, &path.child(name).index(index), errors);
        }
    }
}

/// Refuses rules for what cannot be changed.
fn validate_mutable(resources: &Value, path: &Path, errors: &mut ErrorList) {
    let at = path.child("resourceRules").child("operations");
    for operation in list(resources, "resourceRules").iter().flat_map(|rule| value::texts(rule, "operations"))
    {
        if !rules::MUTABLE_OPERATIONS.contains(&operation) {
            errors.not_supported(&at, operation, &rules::MUTABLE_OPERATIONS);
        }
    }
}

/// What is wrong with the status of a ValidatingAdmissionPolicy.
pub fn validate_status(policy: &Value) -> ErrorList {
    let (status, path, mut errors) = (value::field(policy, "status"), Path::new("status"), ErrorList::new());
    let warnings = list(value::field(status, "typeChecking"), "expressionWarnings");
    for (index, warning) in warnings.iter().enumerate() {
        let path = path.child("typeChecking").child("expressionWarnings").index(index);
        validation::required_text(warning, "warning", &path, &mut errors);
        if text(warning, "fieldRef").trim().is_empty() {
            errors.required(&path.child("fieldRef"), "");
        }
    }
    validation::conditions(status, "conditions", &path, &mut errors);
    errors
}

/// What is wrong with a ValidatingAdmissionPolicyBinding.
pub fn validate_validating_binding(binding: &Value) -> ErrorList {
    const ACTIONS: [&str; 3] = ["Audit", "Deny", "Warn"];
    let (spec, mut errors) = (value::field(binding, "spec"), validate_binding(binding, VALIDATING_RESOURCES));
    let path = Path::new("spec").child("validationActions");
    let (mut seen, actions) = (BTreeSet::new(), value::texts(spec, "validationActions"));
    for (index, action) in actions.enumerate() {
        if !ACTIONS.contains(&action) {
            errors.not_supported(&path.index(index), action, &ACTIONS);
        }
        if !seen.insert(action) {
            errors.duplicate(&path.index(index), action);
        }
    }
    if seen.contains("Deny") && seen.contains("Warn") {
        errors.invalid(
            &path,
            value::field(spec, "validationActions").clone(),
            "must not contain both Deny and Warn (repeating the same validation failure information in the API response and headers serves no purpose)",
        );
    }
    if seen.is_empty() {
        errors.required(&path, "at least one validation action is required");
    }
    errors
}

/// What is wrong with a MutatingAdmissionPolicyBinding.
pub fn validate_mutating_binding(binding: &Value) -> ErrorList {
    let mut errors = validate_binding(binding, "matchResources");
    let resources = value::at(binding, &["spec", "matchResources"]);
    validate_mutable(resources, &Path::new("spec").child("matchResources"), &mut errors);
    errors
}

/// As upstream writes the path of a validating binding's `matchResources`.
const VALIDATING_RESOURCES: &str = "matchResouces";

fn validate_binding(binding: &Value, resources: &str) -> ErrorList {
    let (spec, path, mut errors) = (value::field(binding, "spec"), Path::new("spec"), ErrorList::new());
    let name = text(spec, "policyName");
    if name.is_empty() {
        errors.required(&path.child("policyName"), "");
    } else {
        errors.check(&path, "policyName", name, apimachinery::validation::dns1123_subdomain(name));
    }
    if value::has(spec, "paramRef") {
        validate_param_ref(value::field(spec, "paramRef"), &path.child("paramRef"), &mut errors);
    }
    if value::has(spec, "matchResources") {
        validate_match(value::field(spec, "matchResources"), &path.child(resources), &mut errors);
    }
    errors
}

fn validate_param_ref(reference: &Value, path: &Path, errors: &mut ErrorList) {
    let name = text(reference, "name");
    let selects = value::has(reference, "selector");
    if !name.is_empty() {
        errors.check(path, "name", name, apimachinery::validation::path_segment(name));
        if selects {
            errors.forbidden(&path.child("name"), "name and selector are mutually exclusive");
        }
    }
    if selects {
        validation::label_selector(reference, "selector", path, errors);
        if !name.is_empty() {
            errors.forbidden(&path.child("selector"), "name and selector are mutually exclusive");
        }
    }
    if name.is_empty() && !selects {
        errors.required(path, "one of name or selector must be specified");
    }
    validation::required_one_of(reference, "parameterNotFoundAction", path, &["Deny", "Allow"], errors);
}
