//! The rules that object metadata follows for every kind on create and update: what is filled in, what is
//! kept, what may change (API conventions, "Metadata").

use apimachinery::{meta, time};
use jiff::Timestamp;
use rand::Rng;
use serde_json::{Map, Value};

/// Longest name that `generateName` leads to; the rest is for the random suffix.
const GENERATED_NAME_MAX_BYTES: usize = 63;
/// Random characters of a generated name (upstream's count).
const SUFFIX_BYTES: usize = 5;
/// What suffixes are made of: no vowels and nothing that looks like one, so that no words come out.
const SUFFIX_ALPHABET: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";

/// Gives a new object its uid and creation time, where it has none.
pub(crate) fn fill_created(object: &mut Value, now: Timestamp) {
    if meta::uid(object).is_empty() {
        meta::set(object, "uid", new_uid());
    }
    if meta::string(object, "creationTimestamp").is_empty() {
        meta::set(object, "creationTimestamp", time::rfc3339(now));
    }
}

/// Sets what only the server sets on a new object, whatever the client said.
pub(crate) fn prepare_for_create(object: &mut Value, now: Timestamp) {
    let Some(map) = meta::metadata_mut(object) else { return };
    for field in [
        "uid",
        "resourceVersion",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "selfLink",
        "generation",
    ] {
        map.remove(field);
    }
    map.insert("uid".to_owned(), Value::from(new_uid()));
    map.insert("creationTimestamp".to_owned(), Value::from(time::rfc3339(now)));
    drop_empty(map);
}

/// Carries over from the old object what an update cannot change and need not repeat.
pub(crate) fn prepare_for_update(object: &mut Value, old: &Value) {
    let Some(old) = meta::metadata(old) else { return };
    let Some(map) = meta::metadata_mut(object) else { return };
    map.remove("selfLink");
    // Not the client's to set; whatever it says is ignored.
    for field in ["creationTimestamp", "generation"] {
        keep(map, old, field);
    }
    // May be left out, but not changed.
    for field in
        ["uid", "name", "namespace", "generateName", "deletionTimestamp", "deletionGracePeriodSeconds"]
    {
        if map.get(field).is_none_or(|v| v.is_null() || v.as_str() == Some("")) {
            keep(map, old, field);
        }
    }
    drop_empty(map);
}

fn keep(new: &mut Map<String, Value>, old: &Map<String, Value>, field: &str) {
    match old.get(field) {
        Some(value) => new.insert(field.to_owned(), value.clone()),
        None => new.remove(field),
    };
}

/// Empty lists and maps of metadata are left out, as Go leaves them out.
fn drop_empty(map: &mut Map<String, Value>) {
    map.retain(|name, value| match value {
        // An empty list there is a wish of its own.
        _ if name == "managedFields" => true,
        Value::Null => false,
        Value::Array(items) => !items.is_empty(),
        Value::Object(members) => !members.is_empty(),
        Value::String(text) => !text.is_empty(),
        _ => true,
    });
}

/// A name from `generateName`: the prefix, cut to leave room, and five random characters.
pub(crate) fn generate_name(prefix: &str) -> String {
    let mut end = prefix.len().min(GENERATED_NAME_MAX_BYTES - SUFFIX_BYTES);
    while !prefix.is_char_boundary(end) {
        end -= 1;
    }
    let mut name = prefix.get(..end).unwrap_or("").to_owned();
    let mut random = rand::rng();
    for _ in 0..SUFFIX_BYTES {
        let at = random.random_range(0..SUFFIX_ALPHABET.len());
        name.push(SUFFIX_ALPHABET.get(at).copied().map_or('x', char::from));
    }
    name
}

/// A new random uid (RFC 9562 version 4).
pub(crate) fn new_uid() -> String {
    uuid::Uuid::new_v4().to_string()
}

/// Whether anything but metadata, status (unless it counts) and identity differs: what raises `generation`.
pub(crate) fn desired_state_differs(new: &Value, old: &Value, status_counts: bool) -> bool {
    let (Some(new), Some(old)) = (new.as_object(), old.as_object()) else { return true };
    let counts = |name: &str| match name {
        "metadata" | "kind" | "apiVersion" => false,
        "status" => status_counts,
        _ => true,
    };
    new.iter().any(|(name, value)| counts(name) && old.get(name) != Some(value))
        || old.keys().any(|name| counts(name) && !new.contains_key(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn generated_names_fit_a_label() {
        let name = generate_name(&"a".repeat(100));
        assert_eq!(name.len(), GENERATED_NAME_MAX_BYTES);
        assert!(generate_name("web-").starts_with("web-"));
        assert_eq!(generate_name("web-").len(), 9);
    }

    #[test]
    fn a_new_object_gets_its_identity_from_the_server() {
        let mut object = json!({"metadata": {"name": "a", "uid": "mine", "generation": 7,
            "deletionTimestamp": "2020-01-01T00:00:00Z", "labels": {}}});
        prepare_for_create(&mut object, Timestamp::UNIX_EPOCH);
        assert_ne!(meta::uid(&object), "mine");
        assert_eq!(meta::string(&object, "creationTimestamp"), "1970-01-01T00:00:00Z");
        assert!(!meta::is_terminating(&object));
        assert!(object["metadata"].get("labels").is_none());
    }

    #[test]
    fn an_update_keeps_what_is_not_its_own() {
        let old = json!({"metadata": {"name": "a", "uid": "u", "creationTimestamp": "t", "generation": 3}});
        let mut new = json!({"metadata": {"name": "a", "creationTimestamp": "other", "generation": 9}});
        prepare_for_update(&mut new, &old);
        assert_eq!(new, old);
    }

    #[test]
    fn only_desired_state_raises_the_generation() {
        let old = json!({"metadata": {"a": 1}, "spec": {"x": 1}, "status": {"y": 1}});
        let status = json!({"metadata": {"a": 2}, "spec": {"x": 1}, "status": {"y": 2}});
        let spec = json!({"metadata": {"a": 1}, "spec": {"x": 2}, "status": {"y": 1}});
        assert!(!desired_state_differs(&status, &old, false));
        assert!(desired_state_differs(&status, &old, true));
        assert!(desired_state_differs(&spec, &old, false));
    }
}
