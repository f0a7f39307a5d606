//! Costs at run time, and what bounds them.

use crate::error::EvaluationError;

/// The cost that one evaluation may have: about a tenth of a second, as Kubernetes reckons (`PerCallLimit`).
pub const PER_CALL_LIMIT: u64 = 1_000_000;

/// The cost of all evaluations for one object, or one policy binding (`RuntimeCELCostBudget`).
pub const RUNTIME_BUDGET: u64 = 10_000_000;

/// The cost of all match conditions of one webhook or policy (`RuntimeCELCostBudgetMatchConditions`).
pub const RUNTIME_BUDGET_MATCH_CONDITIONS: u64 = 2_500_000;

/// The cost that one rule of a custom resource may be estimated at (`StaticEstimatedCostLimit`).
pub const STATIC_RULE_LIMIT: u64 = 10_000_000;

/// The cost that all rules of a custom resource may be estimated at (`StaticEstimatedCRDCostLimit`).
pub const STATIC_CRD_LIMIT: u64 = 100_000_000;

/// Items that one evaluation may copy and compare beyond what its cost tells: expressions whose cost is small
/// can share a value so often that walking it never ends. The largest request (3 MiB) has fewer.
const WORK_LIMIT: u64 = 4_000_000;

/// Cost shared by several evaluations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// What is left for all evaluations.
    pub remaining: u64,
    /// What each may take of it.
    pub per_call: u64,
}

impl Default for Budget {
    /// [`RUNTIME_BUDGET`] and [`PER_CALL_LIMIT`].
    fn default() -> Self {
        Self::new(RUNTIME_BUDGET)
    }
}

impl Budget {
    /// A budget with Kubernetes' limit for each evaluation.
    pub fn new(remaining: u64) -> Self {
        Self { remaining, per_call: PER_CALL_LIMIT }
    }

    /// A budget for one evaluation that nothing else limits.
    pub fn single() -> Self {
        Self { remaining: u64::MAX, per_call: PER_CALL_LIMIT }
    }

    /// Takes off the cost of an evaluation.
    pub(crate) fn spend(&mut self, cost: u64) -> Result<(), EvaluationError> {
        match self.remaining.checked_sub(cost) {
            Some(remaining) => {
                self.remaining = remaining;
                Ok(())
            }
            None => {
                self.remaining = 0;
                Err(EvaluationError::Budget)
            }
        }
    }
}

/// Counts the cost of one evaluation.
#[derive(Debug)]
pub(crate) struct Meter {
    pub(crate) cost: u64,
    limit: u64,
    work: u64,
}

impl Meter {
    pub(crate) fn new(limit: u64) -> Self {
        Self { cost: 0, limit, work: 0 }
    }

    /// Adds cost, as Kubernetes counts it.
    pub(crate) fn charge(&mut self, cost: u64) -> Result<(), EvaluationError> {
        self.cost = self.cost.saturating_add(cost);
        if self.cost > self.limit { Err(EvaluationError::CostLimit) } else { Ok(()) }
    }

    /// Counts work that has no cost.
    pub(crate) fn work(&mut self, items: u64) -> Result<(), EvaluationError> {
        self.work = self.work.saturating_add(items);
        if self.work > WORK_LIMIT { Err(EvaluationError::CostLimit) } else { Ok(()) }
    }
}
