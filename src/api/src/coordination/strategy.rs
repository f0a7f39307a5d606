//! How the leader is chosen among candidates (KEP-4355).

use crate::validation::Errors;
use apimachinery::field::{ErrorList, Path};
use apimachinery::validation as forms;

/// The one strategy that Kubernetes has itself.
pub const OLDEST: &str = "OldestEmulationVersion";

/// What is wrong with a strategy: Kubernetes' own, or one with a domain.
pub fn validate(strategy: &str, path: &Path, errors: &mut ErrorList) {
    if strategy.contains('/') {
        errors.check_at(path, strategy, forms::qualified_name(strategy));
    } else if strategy != OLDEST {
        errors.not_supported(path, strategy, &[OLDEST]);
    }
}
