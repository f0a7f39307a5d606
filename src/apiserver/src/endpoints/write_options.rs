//! The options of writes: dry run, field manager, field validation.

use super::body::FieldValidation;
use super::context::Context;
use super::query;
use apimachinery::field::{ErrorList, FieldError, Path};
use apimachinery::gvk::Gvk;
use apimachinery::status::{Result, Status};
use serde_json::{Map, Value, json};

/// Longest manager name.
const MANAGER_MAX_BYTES: usize = 128;

const DELETE_OPTIONS: &str = "DeleteOptions";

/// CreateOptions, UpdateOptions or PatchOptions.
pub(crate) struct WriteOptions {
    /// Whether nothing is to be kept.
    pub(crate) dry_run: bool,
    /// What to do with unknown fields.
    pub(crate) validation: FieldValidation,
    /// Who manages the fields that are set.
    pub(crate) manager: String,
    /// Whether an apply takes fields from their managers.
    pub(crate) force: bool,
    /// As admission plugins see them.
    pub(crate) value: Value,
}

impl WriteOptions {
    /// Reads the options of a request. `kind` is the kind of the options.
    ///
    /// # Errors
    /// 422 for values that are not known.
    pub(crate) fn parse(context: &Context, kind: &str) -> Result<Self> {
        let query = &context.query;
        let manager = query.text("fieldManager");
        let errors = check_manager(manager);
        if !errors.is_empty() {
            return Err(Status::invalid(&Gvk::new("meta.k8s.io", "v1", kind), "", &errors));
        }
        let dry_run = query.dry_run(kind)?;
        let mut value = Map::new();
        value.insert("kind".to_owned(), json!(kind));
        value.insert("apiVersion".to_owned(), json!("meta.k8s.io/v1"));
        if dry_run {
            value.insert("dryRun".to_owned(), json!(["All"]));
        }
        for field in ["fieldManager", "fieldValidation"] {
            if let Some(text) = query.get(field) {
                value.insert(field.to_owned(), json!(text));
            }
        }
        if let Some(force) = query.optional_flag("force") {
            value.insert("force".to_owned(), json!(force));
        }
        Ok(Self {
            dry_run,
            validation: FieldValidation::parse(query.text("fieldValidation"), kind)?,
            manager: context.field_manager(),
            force: query.flag("force"),
            value: Value::Object(value),
        })
    }

    /// Checks what only an apply may and must say.
    ///
    /// # Errors
    /// 422 when `force` is given without an apply, or an apply names no manager.
    pub(crate) fn check_patch(&self, context: &Context, apply: bool) -> Result<()> {
        let mut errors = ErrorList::new();
        if !apply && context.query.get("force").is_some() {
            let detail = "may not be specified for non-apply patch";
            errors.push(FieldError::forbidden(&Path::new("force"), detail));
        }
        if apply && context.query.text("fieldManager").is_empty() {
            let detail = "is required for apply patch";
            errors.push(FieldError::required(&Path::new("fieldManager"), detail));
        }
        if errors.is_empty() {
            return Ok(());
        }
        Err(Status::invalid(&Gvk::new("meta.k8s.io", "v1", "PatchOptions"), "", &errors))
    }
}

fn check_manager(manager: &str) -> ErrorList {
    let at = Path::new("fieldManager");
    let mut errors = ErrorList::new();
    if manager.len() > MANAGER_MAX_BYTES {
        errors.push(FieldError::too_long(&at, MANAGER_MAX_BYTES));
    }
    if let Some(odd) = manager.chars().find(|c| c.is_control()) {
        let detail = format!("should only contain printable characters, found {odd:?}");
        errors.push(FieldError::invalid(&at, manager, detail));
    }
    errors
}

/// Reads DeleteOptions from the body, or where there is none from the query.
///
/// # Errors
/// 400 when the body is something else, 422 for values that are not known or do not go together.
pub(crate) fn delete_options(context: &Context, body: &[u8]) -> Result<DeleteRequest> {
    let value = if body.is_empty() { from_query(context)? } else { super::body::tree(context, body)?.value };
    let mut request = delete_options_of(value)?;
    request.dry_run |= context.query.dry_run(DELETE_OPTIONS)?;
    Ok(request)
}

/// Reads DeleteOptions.
///
/// # Errors
/// 400 when it is something else, 422 for values that are not known or do not go together.
pub(crate) fn delete_options_of(mut value: Value) -> Result<DeleteRequest> {
    const KIND: &str = DELETE_OPTIONS;
    if !value.is_object() {
        return Err(Status::bad_request("the body of a delete has to be DeleteOptions"));
    }
    let kind = value.get("kind").and_then(Value::as_str).unwrap_or("");
    if !kind.is_empty() && kind != KIND {
        return Err(Status::bad_request(format!("{kind} cannot be handled as a {KIND}")));
    }
    let mut dry_run = false;
    for wish in value.get("dryRun").and_then(Value::as_array).into_iter().flatten() {
        query::check_dry_run(KIND, wish.as_str().unwrap_or(""))?;
        dry_run = true;
    }
    let propagation = propagation(&value)?;
    let precondition = |field: &str| {
        value.pointer(&format!("/preconditions/{field}")).and_then(Value::as_str).map(str::to_owned)
    };
    let options = crate::registry::deletion::DeleteOptions {
        grace_seconds: value.get("gracePeriodSeconds").and_then(Value::as_i64),
        uid: precondition("uid"),
        resource_version: precondition("resourceVersion"),
        propagation,
    };
    if let Some(map) = value.as_object_mut() {
        map.insert("kind".to_owned(), json!(KIND));
        map.insert("apiVersion".to_owned(), json!("meta.k8s.io/v1"));
        if dry_run {
            map.insert("dryRun".to_owned(), json!(["All"]));
        }
    }
    Ok(DeleteRequest { options, dry_run, value })
}

/// What a delete asks for.
pub(crate) struct DeleteRequest {
    /// How to delete.
    pub(crate) options: crate::registry::deletion::DeleteOptions,
    /// Whether nothing is to be kept.
    pub(crate) dry_run: bool,
    /// As admission plugins see it.
    pub(crate) value: Value,
}

fn from_query(context: &Context) -> Result<Value> {
    let mut value = Map::new();
    if let Some(seconds) = context.query.number("gracePeriodSeconds")? {
        value.insert("gracePeriodSeconds".to_owned(), json!(seconds));
    }
    if let Some(policy) = context.query.get("propagationPolicy") {
        value.insert("propagationPolicy".to_owned(), json!(policy));
    }
    if let Some(orphan) = context.query.optional_flag("orphanDependents") {
        value.insert("orphanDependents".to_owned(), json!(orphan));
    }
    Ok(Value::Object(value))
}

fn propagation(value: &Value) -> Result<Option<crate::registry::deletion::Propagation>> {
    use crate::registry::deletion::Propagation;
    let policy = value.get("propagationPolicy").and_then(Value::as_str);
    let orphan = value.get("orphanDependents").and_then(Value::as_bool);
    let at = Path::new("propagationPolicy");
    let refuse = |error: FieldError| {
        Err(Status::invalid(&Gvk::new("meta.k8s.io", "v1", "DeleteOptions"), "", &vec![error]))
    };
    match (policy, orphan) {
        (Some(policy), Some(_)) => refuse(FieldError::invalid(
            &at,
            policy,
            "orphanDependents and deletionPropagation cannot be both set",
        )),
        (Some("Orphan"), None) | (None, Some(true)) => Ok(Some(Propagation::Orphan)),
        (Some("Background"), None) | (None, Some(false)) => Ok(Some(Propagation::Background)),
        (Some("Foreground"), None) => Ok(Some(Propagation::Foreground)),
        (Some(other), None) => {
            refuse(FieldError::not_supported(&at, other, &["Foreground", "Background", "Orphan", "nil"]))
        }
        (None, None) => Ok(None),
    }
}
