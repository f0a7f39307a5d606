//! Notes of a validating policy for the audit log.

use crate::admission::chain::Request;
use std::collections::BTreeMap;

/// The longest value; what is longer is cut off.
const MAX_BYTES: usize = 10 * 1024;

/// The values of one policy's annotations, by key. Bindings may come to different ones.
#[derive(Default)]
pub(super) struct Collected(BTreeMap<String, Vec<String>>);

impl Collected {
    /// Adds a value, unless it is there.
    pub(super) fn add(&mut self, key: &str, mut value: String) {
        let mut end = value.len().min(MAX_BYTES);
        while !value.is_char_boundary(end) {
            end -= 1;
        }
        value.truncate(end);
        let values = self.0.entry(key.to_owned()).or_default();
        if !values.contains(&value) {
            values.push(value);
        }
    }

    /// Notes them.
    pub(super) fn publish(self, policy: &str, request: &Request<'_>) {
        for (key, values) in self.0 {
            request.annotations.add(format!("{policy}/{key}"), values.join(", "));
        }
    }
}
