//! `authorizer.group('apps').resource('deployments').check('get').allowed()` and its kin.

use std::sync::Arc;
use std::task::Poll;

use super::{Row, no_overload};
use crate::error::{Answer, EvaluationError};
use crate::evaluate::Context;
use crate::types::Type;
use crate::value::{Opaque, Text, Value};

const AUTHORIZER: &str = "kubernetes.authorization.Authorizer";
const PATH: &str = "kubernetes.authorization.PathCheck";
const GROUP: &str = "kubernetes.authorization.GroupCheck";
const RESOURCE: &str = "kubernetes.authorization.ResourceCheck";

/// Answers checks of expressions.
pub trait Authorizer: Send + Sync {
    /// Decides a check. `Pending` ends the evaluation with [`EvaluationError::Pending`]: the caller has the answer
    /// found (it knows which was asked for) and evaluates again.
    fn authorize(&self, check: &Check) -> Poll<Decided>;
}

/// What is asked of the authorizer. Empty strings are what the expression did not say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Check {
    /// How far the expression came, and so which fields count.
    pub stage: Stage,
    /// `(namespace, name)` of the service account to ask for, instead of the request's user.
    pub service_account: Option<(String, String)>,
    /// A path that is no resource's.
    pub path: String,
    /// API group.
    pub group: String,
    /// Resource, plural.
    pub resource: String,
    /// Subresource.
    pub subresource: String,
    /// Namespace.
    pub namespace: String,
    /// Name of the object.
    pub name: String,
    /// Field selector, as written.
    pub field_selector: String,
    /// Label selector, as written.
    pub label_selector: String,
    /// Verb; empty before `check()`.
    pub verb: String,
}

/// How far a check is built.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stage {
    /// `authorizer`
    #[default]
    Authorizer,
    /// `authorizer.path(...)`
    Path,
    /// `authorizer.group(...)`
    Group,
    /// `authorizer.group(...).resource(...)`
    Resource,
}

/// What the authorizer said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decided {
    /// Whether it is allowed.
    pub allowed: bool,
    /// Why, as the authorizer tells.
    pub reason: String,
    /// What went wrong while deciding; empty if nothing did.
    pub error: String,
}

impl Check {
    pub(crate) fn type_name(&self) -> &'static str {
        match self.stage {
            Stage::Authorizer => AUTHORIZER,
            Stage::Path => PATH,
            Stage::Group => GROUP,
            Stage::Resource => RESOURCE,
        }
    }
}

impl Type {
    /// The type of the variable `authorizer`.
    pub fn authorizer() -> Self {
        Type::Opaque(AUTHORIZER)
    }

    /// The type of the variable `authorizer.requestResource`.
    pub fn resource_check() -> Self {
        Type::Opaque(RESOURCE)
    }
}

impl Value<'_> {
    /// The value of the variable `authorizer`; the bindings' authorizer answers.
    pub fn authorizer() -> Self {
        Self::check(Check::default())
    }

    /// A check begun by the server, as `authorizer.requestResource`.
    pub fn check(check: Check) -> Self {
        Value::Opaque(Opaque::Check(Arc::new(check)))
    }
}

pub(super) const ROWS: &[Row] = &[
    (
        "path",
        "authorizer_path",
        "kubernetes.authorization.Authorizer.(string) -> kubernetes.authorization.PathCheck",
        path,
    ),
    (
        "group",
        "authorizer_group",
        "kubernetes.authorization.Authorizer.(string) -> kubernetes.authorization.GroupCheck",
        |args, _| {
            build(args, |check, text| {
                check.stage = Stage::Group;
                check.group = text;
            })
        },
    ),
    (
        "serviceAccount",
        "authorizer_serviceaccount",
        "kubernetes.authorization.Authorizer.(string, string) -> kubernetes.authorization.Authorizer",
        service_account,
    ),
    (
        "resource",
        "groupcheck_resource",
        "kubernetes.authorization.GroupCheck.(string) -> kubernetes.authorization.ResourceCheck",
        |args, _| {
            build(args, |check, text| {
                check.stage = Stage::Resource;
                check.resource = text;
            })
        },
    ),
    (
        "subresource",
        "resourcecheck_subresource",
        "kubernetes.authorization.ResourceCheck.(string) -> kubernetes.authorization.ResourceCheck",
        |args, _| build(args, |check, text| check.subresource = text),
    ),
    (
        "namespace",
        "resourcecheck_namespace",
        "kubernetes.authorization.ResourceCheck.(string) -> kubernetes.authorization.ResourceCheck",
        |args, _| build(args, |check, text| check.namespace = text),
    ),
    (
        "name",
        "resourcecheck_name",
        "kubernetes.authorization.ResourceCheck.(string) -> kubernetes.authorization.ResourceCheck",
        |args, _| build(args, |check, text| check.name = text),
    ),
    (
        "fieldSelector",
        "authorizer_fieldselector",
        "kubernetes.authorization.ResourceCheck.(string) -> kubernetes.authorization.ResourceCheck",
        |args, _| build(args, |check, text| check.field_selector = text),
    ),
    (
        "labelSelector",
        "authorizer_labelselector",
        "kubernetes.authorization.ResourceCheck.(string) -> kubernetes.authorization.ResourceCheck",
        |args, _| build(args, |check, text| check.label_selector = text),
    ),
    (
        "check",
        "pathcheck_check",
        "kubernetes.authorization.PathCheck.(string) -> kubernetes.authorization.Decision",
        decide,
    ),
    (
        "check",
        "resourcecheck_check",
        "kubernetes.authorization.ResourceCheck.(string) -> kubernetes.authorization.Decision",
        decide,
    ),
    ("errored", "decision_errored", "kubernetes.authorization.Decision.() -> bool", |args, _| {
        read(args, |decided| Value::Bool(!decided.error.is_empty()))
    }),
    ("error", "decision_error", "kubernetes.authorization.Decision.() -> string", |args, _| {
        read(args, |decided| Value::string(decided.error.as_str()))
    }),
    ("allowed", "decision_allowed", "kubernetes.authorization.Decision.() -> bool", |args, _| {
        read(args, |decided| Value::Bool(decided.allowed))
    }),
    ("reason", "decision_reason", "kubernetes.authorization.Decision.() -> string", |args, _| {
        read(args, |decided| Value::string(decided.reason.as_str()))
    }),
];

fn build<'a>(args: &[Value<'a>], change: fn(&mut Check, String)) -> Answer<'a> {
    let [Value::Opaque(Opaque::Check(check)), Value::String(text)] = args else { return no_overload() };
    let mut check = (**check).clone();
    change(&mut check, text.to_string());
    Ok(Value::check(check))
}

fn path<'a>(args: &[Value<'a>], _: &mut Context<'_, 'a>) -> Answer<'a> {
    if matches!(args.get(1), Some(Value::String(path)) if path.is_empty()) {
        return Err(EvaluationError::new("path must not be empty"));
    }
    build(args, |check, text| {
        check.stage = Stage::Path;
        check.path = text;
    })
}

fn service_account<'a>(args: &[Value<'a>], _: &mut Context<'_, 'a>) -> Answer<'a> {
    use apimachinery::validation::{dns1123_label, dns1123_subdomain};
    let [Value::Opaque(Opaque::Check(check)), Value::String(namespace), Value::String(name)] = args else {
        return no_overload();
    };
    let fault = |what: &str, text: &Text<'_>| {
        EvaluationError::new(format!("Invalid service account {what}: {text:?}"))
    };
    if !dns1123_subdomain(name).is_empty() {
        return Err(fault("name", name));
    }
    if !dns1123_label(namespace).is_empty() {
        return Err(fault("namespace", namespace));
    }
    let mut check = (**check).clone();
    check.service_account = Some((namespace.to_string(), name.to_string()));
    Ok(Value::check(check))
}

fn decide<'a>(args: &[Value<'a>], context: &mut Context<'_, 'a>) -> Answer<'a> {
    let [Value::Opaque(Opaque::Check(check)), Value::String(verb)] = args else { return no_overload() };
    let Some(authorizer) = context.authorizer() else {
        return Err(EvaluationError::new("no authorizer to ask"));
    };
    let mut check = (**check).clone();
    check.verb = verb.to_string();
    match authorizer.authorize(&check) {
        Poll::Ready(decided) => Ok(Value::Opaque(Opaque::Decision(Arc::new(decided)))),
        Poll::Pending => Err(EvaluationError::Pending),
    }
}

fn read<'a>(args: &[Value<'a>], of: fn(&Decided) -> Value<'a>) -> Answer<'a> {
    match args {
        [Value::Opaque(Opaque::Decision(decided))] => Ok(of(decided)),
        _ => no_overload(),
    }
}
