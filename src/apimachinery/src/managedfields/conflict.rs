//! Conflicts between managers, in the words of kube-apiserver.

use super::field_set::FieldSet;
use super::path;
use crate::status::{Cause, Details, Reason, Status};

/// Fields that another manager owns and the applied configuration would change.
pub(super) struct Conflict {
    /// The other manager, as [`super::entry::Entry::describe`] has it.
    pub(super) manager: String,
    pub(super) fields: FieldSet,
}

/// 409 with a cause per field.
pub(super) fn status(mut conflicts: Vec<Conflict>) -> Status {
    conflicts.sort_by(|a, b| a.manager.cmp(&b.manager));
    let mut causes = Vec::new();
    let mut lines = Vec::new();
    for conflict in &conflicts {
        lines.push(format!("conflicts with {}:", conflict.manager));
        for steps in conflict.fields.paths() {
            let path = path::display(&steps);
            lines.push(format!("- {path}"));
            causes.push(Cause {
                reason: "FieldManagerConflict".to_owned(),
                message: format!("conflict with {}", conflict.manager),
                field: path,
            });
        }
    }
    let message = match causes.as_slice() {
        [one] => format!("Apply failed with 1 conflict: {}: {}", one.message, one.field),
        many => format!("Apply failed with {} conflicts: {}", many.len(), lines.join("\n")),
    };
    Status::failure(409, Reason::Conflict, message).with_details(Details { causes, ..Details::default() })
}
