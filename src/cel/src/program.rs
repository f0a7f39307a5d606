//! Compiled expressions.

use crate::bindings::Bindings;
use crate::error::EvaluationError;
use crate::estimate::CostRange;
use crate::meter::Budget;
use crate::plan::Node;
use crate::types::Type;
use crate::value::Value;

/// A checked expression, ready to be evaluated any number of times, by any number of threads.
#[derive(Debug)]
pub struct Program {
    output: Type,
    cost: CostRange,
    plan: Node,
    /// Names of the environment's variables, by index.
    variables: Vec<String>,
}

impl Program {
    pub(crate) fn new(output: Type, cost: CostRange, plan: Node, variables: Vec<String>) -> Self {
        Self { output, cost, plan, variables }
    }

    /// The type of the expression.
    pub fn output_type(&self) -> &Type {
        &self.output
    }

    /// What an evaluation can cost, by the sizes that the declarations of the variables allow. A rule of a custom
    /// resource costs the `max` of this for each value that the schema lets there be.
    pub fn estimated_cost(&self) -> CostRange {
        self.cost
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
