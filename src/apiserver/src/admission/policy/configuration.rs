//! Policies as they are stored, compiled.

use crate::admission::expressions::{Conditions, Expression};
use crate::admission::matching::Criteria;
use api::admissionregistration::expressions::{Declared, Outcome, compile, environment, mutating};
use api::value;
use apimachinery::gvk::Gvk;
use apimachinery::meta;
use cel::environment::Builder;
use cel::{Environment, Program};
use serde_json::Value;

/// What both kinds of policies have.
pub(super) struct Policy<T> {
    /// Its name.
    pub(super) name: String,
    /// Which requests it is for (`matchConstraints`).
    pub(super) criteria: Criteria,
    /// Whether a request goes on when the policy cannot be evaluated.
    pub(super) ignores_failures: bool,
    /// The kind of its parameters.
    pub(super) param_kind: Option<Gvk>,
    /// Conditions besides the criteria.
    pub(super) conditions: Option<Conditions>,
    /// `variables`, in order.
    pub(super) variables: Vec<(String, Program)>,
    /// What it checks or changes.
    pub(super) rules: T,
}

/// What a ValidatingAdmissionPolicy checks.
pub(super) struct Checks {
    pub(super) validations: Vec<Validation>,
    pub(super) annotations: Vec<Annotation>,
}

/// One of `validations`.
pub(super) struct Validation {
    pub(super) expression: Expression,
    /// `messageExpression`.
    pub(super) worded: Option<Expression>,
    pub(super) message: String,
    pub(super) reason: String,
}

/// One of `auditAnnotations`.
pub(super) struct Annotation {
    pub(super) key: String,
    pub(super) value: Expression,
}

/// What a MutatingAdmissionPolicy changes.
pub(super) struct Changes {
    pub(super) mutations: Vec<Mutation>,
    /// Whether it is evaluated again after others changed the object.
    pub(super) reinvocable: bool,
}

/// One of `mutations`.
pub(super) enum Mutation {
    /// What the expression evaluates to is merged onto the object, as an apply does.
    Apply(Expression),
    /// What the expression evaluates to is a JSON patch.
    Patch(Expression),
}

/// Reads a ValidatingAdmissionPolicy.
pub(super) fn validating(policy: &Value) -> Policy<Checks> {
    read(policy, |spec, whole, declared| {
        // Words may not depend on rights.
        let worded = extend(environment(Declared { authorizer: false, ..declared }), whole).build();
        let environment = extend(environment(declared), whole).build();
        let validations = value::list(spec, "validations").iter().map(|validation| {
            let message = value::text(validation, "messageExpression");
            Validation {
                expression: Expression::new(
                    &environment,
                    value::text(validation, "expression"),
                    Outcome::Bool,
                ),
                worded: (!message.trim().is_empty())
                    .then(|| Expression::new(&worded, message, Outcome::String)),
                message: value::text(validation, "message").trim().to_owned(),
                reason: value::text(validation, "reason").to_owned(),
            }
        });
        let annotations = value::list(spec, "auditAnnotations").iter().map(|annotation| Annotation {
            key: value::text(annotation, "key").to_owned(),
            value: Expression::new(
                &environment,
                value::text(annotation, "valueExpression").trim(),
                Outcome::StringOrNull,
            ),
        });
        Checks { validations: validations.collect(), annotations: annotations.collect() }
    })
}

/// Reads a MutatingAdmissionPolicy.
pub(super) fn mutating_policy(policy: &Value) -> Policy<Changes> {
    read(policy, |spec, variables, declared| {
        let environment = mutating(&extend(environment(declared), variables).build());
        let mutations = value::list(spec, "mutations").iter().filter_map(|mutation| {
            let source = |name: &str| value::text(value::field(mutation, name), "expression");
            match value::text(mutation, "patchType") {
                "ApplyConfiguration" => {
                    let source = source("applyConfiguration");
                    Some(Mutation::Apply(Expression::new(&environment, source, Outcome::Object)))
                }
                "JSONPatch" => {
                    let source = source("jsonPatch");
                    Some(Mutation::Patch(Expression::new(&environment, source, Outcome::JsonPatch)))
                }
                _ => None,
            }
        });
        Changes {
            mutations: mutations.collect(),
            reinvocable: value::text(spec, "reinvocationPolicy") == "IfNeeded",
        }
    })
}

fn read<T>(policy: &Value, rules: impl FnOnce(&Value, &[(String, Program)], Declared) -> T) -> Policy<T> {
    let spec = value::field(policy, "spec");
    let param_kind = value::field(spec, "paramKind");
    let declared = Declared { params: param_kind.is_object(), authorizer: true };
    let variables = compile_variables(spec, environment(declared).build());
    Policy {
        name: meta::name(policy).to_owned(),
        criteria: Criteria::of_resources(value::field(spec, "matchConstraints")),
        ignores_failures: value::text(spec, "failurePolicy") == "Ignore",
        param_kind: param_kind.is_object().then(|| {
            Gvk::from_api_version(value::text(param_kind, "apiVersion"), value::text(param_kind, "kind"))
        }),
        conditions: Conditions::read(value::list(spec, "matchConditions"), declared.params),
        rules: rules(spec, &variables, declared),
        variables,
    }
}

/// Each variable may refer to those before it. One that cannot be compiled is left out: what refers to it cannot be
/// compiled either, and says so.
fn compile_variables(spec: &Value, mut environment: Environment) -> Vec<(String, Program)> {
    let mut variables = Vec::new();
    for variable in value::list(spec, "variables") {
        let name = value::text(variable, "name");
        if let Ok(program) = compile(&environment, value::text(variable, "expression"), Outcome::Any) {
            environment = environment.extend().composed(name, program.output_type().clone()).build();
            variables.push((name.to_owned(), program));
        }
    }
    variables
}

fn extend(environment: Builder, variables: &[(String, Program)]) -> Builder {
    variables
        .iter()
        .fold(environment, |builder, (name, program)| builder.composed(name, program.output_type().clone()))
}
