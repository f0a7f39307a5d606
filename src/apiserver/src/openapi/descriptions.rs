//! What types and fields mean, in the words of the Kubernetes API, as the `k8s-openapi` crate has them.
//!
//! The build script writes them down, compressed. They are read for the types of one document at a time and dropped
//! after it: all of them together would be several megabytes.

use flate2::bufread::ZlibDecoder;
use serde_json::{Map, Value, json};
use std::io::{BufRead as _, BufReader};

/// What `build.rs` wrote, in the form that is told there.
static WRITTEN: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptions.z"));

/// Descriptions of some types and of their fields.
pub(super) struct Descriptions {
    types: Map<String, Value>,
}

impl Descriptions {
    /// Descriptions of the types that are wanted, by their full names.
    pub(super) fn of(wanted: impl Fn(&str) -> bool) -> Self {
        let lines = BufReader::new(ZlibDecoder::new(WRITTEN)).lines().map_while(Result::ok);
        let types = lines.filter_map(|line| {
            let (name, words) = line.split_once('\t').filter(|(name, _)| wanted(name))?;
            Some((name.to_owned(), serde_json::from_str(words).ok()?))
        });
        Self { types: types.collect() }
    }

    /// Takes out what is said about a type. Lists, which the crate has no types of, are described here.
    pub(super) fn take(&mut self, name: &str) -> Described {
        let kind = name.rsplit_once('.').map_or(name, |(_, kind)| kind);
        let item = kind.strip_suffix("List").filter(|item| !item.is_empty());
        let schema = match (self.types.remove(name), item) {
            (Some(schema), _) => schema,
            (None, Some(item)) => list(item),
            (None, None) => Value::Null,
        };
        Described { schema }
    }
}

/// Descriptions of one type and of its fields.
pub(super) struct Described {
    schema: Value,
}

/// What can be said about any list of objects.
fn list(item: &str) -> Value {
    json!({
        "description": format!("{item}List is a list of objects of kind {item}."),
        "properties": {
            "apiVersion": {"description": "Group and version of the form in which the list is told."},
            "items": {"description": format!("The objects of kind {item}.")},
            "kind": {"description": "Kind of the list."},
            "metadata": {"description": "What is known of the list as a whole: its revision, and how it continues."},
        },
    })
}

impl Described {
    /// Nothing is said.
    pub(super) fn nothing() -> Self {
        Self { schema: Value::Null }
    }

    /// Of the type.
    pub(super) fn whole(&self) -> Option<&str> {
        self.schema.get("description")?.as_str()
    }

    /// Of a field.
    pub(super) fn field(&self, name: &str) -> Option<&str> {
        self.schema.get("properties")?.get(name)?.get("description")?.as_str()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wanted_is_described_and_nothing_else() {
        let mut descriptions = Descriptions::of(|name| name.starts_with("io.k8s.api.core.v1."));
        let container = descriptions.take("io.k8s.api.core.v1.Container");
        assert!(container.whole().unwrap().starts_with("A single application container"));
        assert!(container.field("image").unwrap().contains("image name"));
        assert!(descriptions.take("io.k8s.api.apps.v1.Deployment").whole().is_none());
    }

    #[test]
    fn nothing_is_made_that_nobody_wants() {
        assert!(Descriptions::of(|_| false).types.is_empty());
    }
}
