//! Compiled expressions.

use crate::bindings::Bindings;
use crate::error::EvaluationError;
use crate::meter::Budget;
use crate::plan::Node;
use crate::types::Type;
use crate::value::Value;

/// A checked expression, ready to be evaluated any number of times, by any number of threads.
#[derive(Debug)]
pub struct Program {
    output: Type,
    plan: Node,
    /// Names of the environment's variables, by index.
    variables: Vec<String>,
}

impl Program {
    pub(crate) fn new(output: Type, plan: Node, variables: Vec<String>) -> Self {
        Self { output, plan, variables }
    }

    /// The type of the expression.
    pub fn output_type(&self) -> &Type {
        &self.output
    }

    /// Evaluates the expression; takes its cost from the budget.
    ///
    /// # Errors
    /// The expression's own error, or one of the limits: see [`EvaluationError`].
    pub fn evaluate<'a>(
        &self,
        bindings: &Bindings<'a>,
        budget: &mut Budget,
    ) -> Result<Value<'a>, EvaluationError> {
        crate::evaluate::evaluate(&self.plan, &self.variables, bindings, budget)
    }
}
