//! Why an evaluation has no value.

use std::borrow::Cow;

/// Why an evaluation has no value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EvaluationError {
    /// The expression's own error, in cel-go's words. `&&`, `||`, `all` and `exists` may do without the value.
    #[error("{0}")]
    Expression(Cow<'static, str>),
    /// The evaluation went over the limit of one call.
    #[error("operation cancelled: actual cost limit exceeded")]
    CostLimit,
    /// The budget shared by several evaluations is used up; none that follow will run.
    #[error("validation failed due to running out of cost budget, no further validation rules will be run")]
    Budget,
    /// The authorizer has no answer yet: have it find one, then evaluate again.
    #[error("an authorization decision is pending")]
    Pending,
}

impl EvaluationError {
    /// The expression's own error.
    pub(crate) fn new(message: impl Into<Cow<'static, str>>) -> Self {
        Self::Expression(message.into())
    }

    /// Whether no operator may absorb it.
    pub(crate) fn is_final(&self) -> bool {
        !matches!(self, Self::Expression(_))
    }
}

/// A value or why there is none.
pub(crate) type Answer<'a> = Result<crate::Value<'a>, EvaluationError>;
