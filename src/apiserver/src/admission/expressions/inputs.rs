//! What expressions see, and running them.

use super::decisions::Decisions;
use crate::admission::chain::Request;
use crate::admission::matching::{Versioned, request_body};
use api::admissionregistration::expressions::{self, Outcome};
use cel::{Bindings, Budget, Check, Decl, Environment, EvaluationError, Program, Stage};
use serde_json::Value;

/// The values of an evaluation's variables.
pub(in crate::admission) struct Inputs<'a> {
    request: Value,
    object: &'a Value,
    old: &'a Value,
    params: Option<&'a Value>,
    namespace: &'a Value,
    /// What `authorizer.requestResource` begins with.
    resource: Check,
}

impl<'a> Inputs<'a> {
    /// A request as it is seen in one version. `params` are null where a binding has none.
    pub(in crate::admission) fn new(
        request: &Request<'_>,
        seen: &'a Versioned<'_>,
        params: Option<&'a Value>,
        namespace: &'a Value,
    ) -> Self {
        Self {
            request: Value::Object(request_body(request, &seen.invocation)),
            object: &seen.object,
            old: &seen.old,
            params,
            namespace,
            resource: Check {
                stage: Stage::Resource,
                group: request.resource.group.clone(),
                resource: request.resource.resource.clone(),
                subresource: request.subresource.to_owned(),
                namespace: request.namespace.to_owned(),
                name: request.name.to_owned(),
                ..Check::default()
            },
        }
    }

    /// The variables' values. Programs are the policy's own variables.
    pub(in crate::admission) fn bindings<'b>(
        &'b self,
        decisions: &'b Decisions,
        programs: &'b [(String, Program)],
    ) -> Result<Bindings<'b>, EvaluationError> {
        let dynamic = Decl::dynamic();
        let mut bindings = Bindings::new()
            .json("object", self.object, dynamic)?
            .json("oldObject", self.old, dynamic)?
            .json("request", &self.request, expressions::request())?
            .json("namespaceObject", self.namespace, expressions::namespace())?
            .bind("authorizer", cel::Value::authorizer())
            .bind("authorizer.requestResource", cel::Value::check(self.resource.clone()))
            .authorizer(decisions);
        if let Some(params) = self.params {
            bindings = bindings.json("params", params, dynamic)?;
        }
        Ok(programs.iter().fold(bindings, |bindings, (name, program)| bindings.compose(name, program)))
    }
}

/// An expression; or why it cannot be compiled, which is told when it is to be evaluated.
#[derive(Debug)]
pub(in crate::admission) struct Expression {
    /// Its text.
    pub(in crate::admission) source: String,
    program: Result<Program, String>,
}

/// The budget of all evaluations is used up; none that follow run.
#[derive(Debug)]
pub(in crate::admission) struct OutOfBudget(pub(in crate::admission) String);

impl Expression {
    /// Compiles an expression.
    pub(in crate::admission) fn new(environment: &Environment, source: &str, outcome: Outcome) -> Self {
        Self { source: source.to_owned(), program: expressions::compile(environment, source, outcome) }
    }

    /// Whether it could not be compiled.
    pub(in crate::admission) fn is_broken(&self) -> bool {
        self.program.is_err()
    }

    /// The expression's value, or its error in a sentence.
    ///
    /// # Errors
    /// When the budget does not suffice.
    pub(in crate::admission) fn evaluate<'b>(
        &self,
        bindings: &Bindings<'b>,
        budget: &mut Budget,
    ) -> Result<Result<cel::Value<'b>, String>, OutOfBudget> {
        let program = match &self.program {
            Ok(program) => program,
            Err(why) => return Ok(Err(format!("compilation error: {why}"))),
        };
        match program.evaluate(bindings, budget) {
            Ok(value) => Ok(Ok(value)),
            Err(error @ EvaluationError::Budget) => Err(OutOfBudget(error.to_string())),
            Err(error) => Ok(Err(format!("expression '{}' resulted in error: {error}", self.source))),
        }
    }
}
