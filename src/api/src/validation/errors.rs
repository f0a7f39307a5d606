//! Short ways to add an error to a list.

use apimachinery::field::{ErrorList, FieldError, Path};
use serde_json::Value;

/// Adds errors to a list.
pub trait Errors {
    /// A value that has to be there is not.
    fn required(&mut self, path: &Path, detail: &str);
    /// A value breaks a rule.
    fn invalid(&mut self, path: &Path, value: impl Into<Value>, detail: impl Into<String>);
    /// A value is not allowed here.
    fn forbidden(&mut self, path: &Path, detail: impl Into<String>);
    /// A value is not one of the known ones.
    fn not_supported(&mut self, path: &Path, value: impl Into<Value>, supported: &[&str]);
    /// A value occurs twice.
    fn duplicate(&mut self, path: &Path, value: impl Into<Value>);
    /// A value refers to nothing.
    fn not_found(&mut self, path: &Path, value: impl Into<Value>);
    /// One error for each message of a check of the text in `field` of the object at `parent`.
    fn check(&mut self, parent: &Path, field: &str, value: &str, messages: Vec<String>);
    /// One error for each message of a check of the text at `path`.
    fn check_at(&mut self, path: &Path, value: &str, messages: Vec<String>);
}

/// Errors of an updated object without those that the stored one has as well: what an older version of the rules let
/// in does not stop other changes. `old` is only asked where there are errors.
pub fn only_new(errors: ErrorList, old: impl FnOnce() -> ErrorList) -> ErrorList {
    if errors.is_empty() {
        return errors;
    }
    let before = old();
    errors.into_iter().filter(|error| !before.contains(error)).collect()
}

impl Errors for ErrorList {
    fn required(&mut self, path: &Path, detail: &str) {
        self.push(FieldError::required(path, detail));
    }

    fn invalid(&mut self, path: &Path, value: impl Into<Value>, detail: impl Into<String>) {
        self.push(FieldError::invalid(path, value, detail));
    }

    fn forbidden(&mut self, path: &Path, detail: impl Into<String>) {
        self.push(FieldError::forbidden(path, detail));
    }

    fn not_supported(&mut self, path: &Path, value: impl Into<Value>, supported: &[&str]) {
        self.push(FieldError::not_supported(path, value, supported));
    }

    fn duplicate(&mut self, path: &Path, value: impl Into<Value>) {
        self.push(FieldError::duplicate(path, value));
    }

    fn not_found(&mut self, path: &Path, value: impl Into<Value>) {
        self.push(FieldError::not_found(path, value));
    }

    fn check(&mut self, parent: &Path, field: &str, value: &str, messages: Vec<String>) {
        if !messages.is_empty() {
            self.check_at(&parent.child(field), value, messages);
        }
    }

    fn check_at(&mut self, path: &Path, value: &str, messages: Vec<String>) {
        self.extend(messages.into_iter().map(|message| FieldError::invalid(path, value, message)));
    }
}
