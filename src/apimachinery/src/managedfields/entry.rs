//! One manager's entry in `metadata.managedFields`.

use std::collections::HashMap;

use serde_json::{Map, Value, json};

use super::field_set::{FieldSet, MEMBER, Trie};

/// Most entries of operation `Update`: more than any sane set of clients, and a bound on what each write costs. The
/// oldest are merged beyond that.
const MAX_UPDATERS: usize = 10;

/// Manager of the entries that the oldest updates were merged into.
const ANCIENT: &str = "ancient-changes";

/// What a manager did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Operation {
    /// Server-side apply.
    Apply,
    /// Anything else.
    Update,
}

/// One entry. Two entries never have the same manager, operation, subresource and, for updates, version.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Entry {
    pub(super) manager: String,
    pub(super) operation: Operation,
    pub(super) api_version: String,
    pub(super) subresource: String,
    /// RFC 3339; empty if unknown.
    pub(super) time: String,
    pub(super) fields: FieldSet,
}

impl Entry {
    /// Whether writes of this manager belong to the entry.
    pub(super) fn is(
        &self,
        operation: Operation,
        manager: &str,
        api_version: &str,
        subresource: &str,
    ) -> bool {
        self.operation == operation
            && self.manager == manager
            && self.subresource == subresource
            && (operation == Operation::Apply || self.api_version == api_version)
    }

    /// The manager in a conflict's message.
    pub(super) fn describe(&self) -> String {
        let mut text = format!("{:?}", self.manager);
        if !self.subresource.is_empty() {
            text.push_str(&format!(" with subresource {:?}", self.subresource));
        }
        if self.operation == Operation::Update {
            text.push_str(&format!(" using {}", self.api_version));
        }
        text
    }
}

/// Reads `metadata.managedFields`. None if some entry cannot be read: then none counts.
pub(super) fn decode(entries: Value) -> Option<Vec<Entry>> {
    let Value::Array(entries) = entries else { return None };
    entries.into_iter().map(decode_entry).collect()
}

fn decode_entry(entry: Value) -> Option<Entry> {
    let Value::Object(mut entry) = entry else { return None };
    let mut text = |name: &str| match entry.remove(name) {
        None | Some(Value::Null) => Some(String::new()),
        Some(Value::String(text)) => Some(text),
        Some(_) => None,
    };
    let operation = match text("operation")?.as_str() {
        "Apply" => Operation::Apply,
        "Update" => Operation::Update,
        _ => return None,
    };
    if text("fieldsType")? != "FieldsV1" {
        return None;
    }
    let (manager, api_version) = (text("manager")?, text("apiVersion")?);
    let (subresource, time) = (text("subresource")?, text("time")?);
    let fields = match entry.remove("fieldsV1") {
        None | Some(Value::Null) => Map::new(),
        Some(Value::Object(trie)) if is_valid(&trie) => trie,
        Some(_) => return None,
    };
    Some(Entry { manager, operation, api_version, subresource, time, fields: FieldSet::from_trie(fields) })
}

fn is_valid(trie: &Trie) -> bool {
    trie.iter().all(|(step, child)| {
        let known = step == MEMBER || ["f:", "k:", "v:", "i:"].iter().any(|kind| step.starts_with(kind));
        known && child.as_object().is_some_and(is_valid)
    })
}

/// Writes `metadata.managedFields`, in the order of kube-apiserver; None if nobody owns anything.
pub(super) fn encode(mut entries: Vec<Entry>) -> Option<Value> {
    entries.retain(|entry| !entry.fields.is_empty());
    if entries.is_empty() {
        return None;
    }
    entries.sort_by(|a, b| {
        let key = |entry: &Entry| (entry.operation, entry.time.clone(), entry.manager.clone());
        key(a)
            .cmp(&key(b))
            .then_with(|| a.api_version.cmp(&b.api_version))
            .then_with(|| a.subresource.cmp(&b.subresource))
    });
    Some(Value::Array(entries.into_iter().map(encode_entry).collect()))
}

fn encode_entry(entry: Entry) -> Value {
    let operation = match entry.operation {
        Operation::Apply => "Apply",
        Operation::Update => "Update",
    };
    let mut map = Map::new();
    map.insert("apiVersion".to_owned(), entry.api_version.into());
    map.insert("fieldsType".to_owned(), json!("FieldsV1"));
    map.insert("fieldsV1".to_owned(), Value::Object(entry.fields.into_trie()));
    map.insert("manager".to_owned(), entry.manager.into());
    map.insert("operation".to_owned(), operation.into());
    if !entry.subresource.is_empty() {
        map.insert("subresource".to_owned(), entry.subresource.into());
    }
    if !entry.time.is_empty() {
        map.insert("time".to_owned(), entry.time.into());
    }
    Value::Object(map)
}

/// Merges the oldest update entries, version by version, until there are few enough.
pub(super) fn cap(entries: &mut Vec<Entry>) {
    let mut updaters: Vec<usize> = (0..entries.len())
        .filter(|at| entries.get(*at).is_some_and(|e| e.operation == Operation::Update))
        .collect();
    let mut count = updaters.len();
    if count <= MAX_UPDATERS {
        return;
    }
    let age = |at: &usize| entries.get(*at).map(|entry| (entry.time.clone(), entry.manager.clone()));
    updaters.sort_by_key(age);
    // Per version: where the entry is that the others are merged into.
    let mut buckets: HashMap<String, usize> = HashMap::new();
    let mut gone = vec![false; entries.len()];
    for at in updaters {
        if count <= MAX_UPDATERS {
            break;
        }
        let Some(entry) = entries.get(at) else { continue };
        let Some(bucket) = buckets.get(&entry.api_version).copied() else {
            buckets.insert(entry.api_version.clone(), at);
            continue;
        };
        let (time, fields) = (entry.time.clone(), entry.fields.clone());
        if let Some(bucket) = entries.get_mut(bucket) {
            bucket.manager = ANCIENT.to_owned();
            bucket.subresource.clear();
            // The younger of the two.
            bucket.time = time;
            bucket.fields.add(fields);
        }
        if let Some(gone) = gone.get_mut(at) {
            *gone = true;
        }
        count -= 1;
    }
    let mut gone = gone.into_iter();
    entries.retain(|_| !gone.next().unwrap_or(false));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn update(manager: &str, time: &str, version: &str) -> Value {
        json!({"manager": manager, "operation": "Update", "apiVersion": version, "time": time,
            "fieldsType": "FieldsV1", "fieldsV1": {format!("f:{manager}"): {}}})
    }

    #[test]
    fn entries_are_written_applies_first_then_by_time() {
        let mut apply = update("z", "2024-01-03T00:00:00Z", "v1");
        apply["operation"] = "Apply".into();
        let entries = json!([
            update("b", "2024-01-02T00:00:00Z", "v1"),
            update("a", "2024-01-01T00:00:00Z", "v1"),
            apply
        ]);
        let written = encode(decode(entries.clone()).unwrap()).unwrap();
        assert_eq!(written, json!([entries[2], entries[1], entries[0]]));
    }

    #[test]
    fn what_cannot_be_read_is_none() {
        for bad in [
            json!({}),
            json!([{}]),
            json!([{"operation": "Apply", "fieldsType": "FieldsV2"}]),
            json!([{"operation": "Apply", "fieldsType": "FieldsV1", "fieldsV1": {"x": {}}}]),
            json!([{"operation": "Apply", "fieldsType": "FieldsV1", "fieldsV1": {"f:x": 1}}]),
        ] {
            assert_eq!(decode(bad), None);
        }
    }

    #[test]
    fn the_oldest_updates_of_a_version_are_merged_beyond_ten() {
        let mut entries: Vec<Value> = (0..11)
            .map(|i| update(&format!("m{i}"), &format!("2024-01-{:02}T00:00:00Z", i + 1), "v1"))
            .collect();
        entries.push(update("other", "2023-01-01T00:00:00Z", "v2"));
        let mut entries = decode(entries.into()).unwrap();
        cap(&mut entries);
        assert_eq!(entries.len(), 10);
        let ancient = entries.iter().find(|entry| entry.manager == ANCIENT).unwrap();
        assert_eq!(ancient.time, "2024-01-03T00:00:00Z");
        assert_eq!(Value::from(ancient.fields.trie().clone()), json!({"f:m0": {}, "f:m1": {}, "f:m2": {}}));
        assert!(entries.iter().any(|entry| entry.manager == "other"));
    }
}
