//! A change: when, by whom, of what.

use super::authors::Author;
use super::difference::{Difference, differences};
use super::{at, revision, text, without_secrets};
use crate::commands::who;
use apimachinery::time::rfc3339;
use jiff::Timestamp;
use serde_json::{Value, json};
use std::fmt::Write as _;

/// Characters of a value that are shown to people.
const SHOWN: usize = 160;

/// A change of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Change {
    /// The revision that it made.
    pub(super) revision: u64,
    /// When, as the datastore noted it, or else as far as the object tells.
    pub(super) at: Option<Timestamp>,
    /// Who, if the datastore noted it.
    pub(super) author: Option<Author>,
    /// The programs (field managers) whose fields changed.
    pub(super) by: Vec<String>,
    /// What happened: created, updated or deleted.
    pub(super) what: &'static str,
    /// `PLURAL.GROUP`.
    pub(super) resource: String,
    /// Of the object.
    pub(super) namespace: String,
    /// Of the object.
    pub(super) name: String,
    /// What differs; of updates.
    pub(super) differences: Vec<Difference>,
}

impl Change {
    /// The change from one state to another; `null` is no object.
    pub(super) fn of(before: &Value, after: &Value, resource: &str) -> Self {
        let there = if after.is_null() { before } else { after };
        let what = match (before.is_null(), after.is_null()) {
            (true, _) => "created",
            (false, true) => "deleted",
            (false, false) => "updated",
        };
        let changed = managers(before, after);
        let time = |object: &Value, path: &[&str]| text(object, path).parse::<Timestamp>().ok();
        let marked = time(there, &["metadata", "deletionTimestamp"])
            .filter(|_| what == "deleted" || at(before, &["metadata", "deletionTimestamp"]).is_null());
        let at = match what {
            "created" => time(there, &["metadata", "creationTimestamp"]),
            _ => marked.or_else(|| changed.iter().filter_map(|entry| time(entry, &["time"])).max()),
        };
        let mut by: Vec<String> = changed.iter().map(|entry| text(entry, &["manager"]).to_owned()).collect();
        by.dedup();
        let hide = |object: &Value| without_secrets(object.clone());
        let differences =
            if what == "updated" { differences(&hide(before), &hide(after)) } else { Vec::new() };
        Self {
            revision: revision(there),
            at,
            author: None,
            by,
            what,
            resource: resource.to_owned(),
            namespace: text(there, &["metadata", "namespace"]).to_owned(),
            name: text(there, &["metadata", "name"]).to_owned(),
            differences,
        }
    }

    /// With what the datastore noted.
    pub(super) fn made_by(self, author: Option<Author>) -> Self {
        let at = author.as_ref().and_then(|author| author.at).or(self.at);
        Self { at, author, ..self }
    }

    /// Whether nobody's wish changed.
    pub(super) fn is_of_status_only(&self) -> bool {
        let of_status = |path: &str| path == "status" || path.starts_with("status.");
        self.what == "updated" && self.differences.iter().all(|difference| of_status(&difference.path))
    }

    /// As JSON.
    pub(super) fn value(&self) -> Value {
        let difference =
            |one: &Difference| json!({"path": one.path, "before": one.before, "after": one.after});
        let (user, impersonator) = match &self.author {
            Some(author) => (Some(&author.user), author.impersonator.as_ref()),
            None => (None, None),
        };
        json!({
            "revision": self.revision, "time": self.at.map(|at| at.to_string()), "user": user,
            "impersonator": impersonator, "by": self.by, "change": self.what,
            "resource": self.resource, "namespace": self.namespace, "name": self.name,
            "differences": self.differences.iter().map(difference).collect::<Vec<_>>(),
        })
    }

    /// For people.
    pub(super) fn pretty(&self) -> String {
        let time = self.at.map_or_else(|| format!("{:20}", ""), rfc3339);
        let slash = if self.namespace.is_empty() { "" } else { "/" };
        let by = by(self.author.as_ref(), &self.by.join(", "));
        let mut shown = format!(
            "{:<8} {time} {} {} {}{slash}{}{by}\n",
            self.revision, self.what, self.resource, self.namespace, self.name
        );
        for Difference { path, before, after } in &self.differences {
            for (sign, value) in [('-', before), ('+', after)] {
                if let Some(value) = value {
                    // Writing into a string does not fail.
                    let _ = writeln!(shown, "  {sign} {path}: {}", short(value));
                }
            }
        }
        shown
    }
}

/// Who made a change, and with which programs, in words.
fn by(author: Option<&Author>, programs: &str) -> String {
    match author {
        None if programs.is_empty() => String::new(),
        None => format!(" by {programs}"),
        Some(Author { user, impersonator, .. }) => {
            let with = if programs.is_empty() { String::new() } else { format!(" ({programs})") };
            format!(" by {}{with}", who(user, impersonator.as_deref()))
        }
    }
}

/// Entries of `managedFields` that are new or another.
fn managers(before: &Value, after: &Value) -> Vec<Value> {
    let list =
        |object: &Value| at(object, &["metadata", "managedFields"]).as_array().cloned().unwrap_or_default();
    let known = list(before);
    list(after).into_iter().filter(|entry| !known.contains(entry)).collect()
}

fn short(value: &Value) -> String {
    let whole = value.to_string();
    match whole.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}...", whole.get(..end).unwrap_or_default()),
        None => whole,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(revision: &str, replicas: i64, manager: &str, time: &str) -> Value {
        json!({"metadata": {"name": "web", "namespace": "n", "resourceVersion": revision,
            "creationTimestamp": "2026-01-01T00:00:00Z",
            "managedFields": [{"manager": "first", "time": "2026-01-01T00:00:00Z"}, {"manager": manager, "time": time}]},
            "spec": {"replicas": replicas}})
    }

    #[test]
    fn a_change_tells_when_and_by_whom() {
        let before = object("5", 1, "first", "2026-01-01T00:00:00Z");
        let after = object("7", 3, "kubectl-edit", "2026-01-02T00:00:00Z");
        let change = Change::of(&before, &after, "deployments.apps");
        assert_eq!(
            (change.revision, change.what, change.by.as_slice()),
            (7, "updated", &["kubectl-edit".to_owned()][..])
        );
        assert_eq!(
            change.pretty(),
            "7        2026-01-02T00:00:00Z updated deployments.apps n/web by kubectl-edit\n  - spec.replicas: 1\n  + \
             spec.replicas: 3\n"
        );
        assert_eq!(change.value()["differences"][0]["after"], 3);
        let created = Change::of(&Value::Null, &before, "x");
        assert_eq!(
            (created.what, created.at.unwrap().to_string().as_str()),
            ("created", "2026-01-01T00:00:00Z")
        );
        let deleted = Change::of(&after, &Value::Null, "x");
        assert_eq!((deleted.what, deleted.revision, deleted.at), ("deleted", 7, None));
    }

    #[test]
    fn what_the_datastore_noted_counts_more_than_what_the_object_says() {
        let before = object("5", 1, "first", "2026-01-01T00:00:00Z");
        let after = object("7", 3, "kubectl-edit", "2026-01-02T00:00:00Z");
        let author = |impersonator: Option<&str>| Author {
            user: "alice".to_owned(),
            impersonator: impersonator.map(str::to_owned),
            at: "2026-01-03T00:00:00.5Z".parse().ok(),
        };
        let change = Change::of(&before, &after, "x").made_by(Some(author(None)));
        assert!(
            change
                .pretty()
                .starts_with("7        2026-01-03T00:00:00Z updated x n/web by alice (kubectl-edit)\n"),
            "{}",
            change.pretty()
        );
        let told = change.value();
        assert_eq!((&told["user"], &told["impersonator"]), (&json!("alice"), &Value::Null));
        assert_eq!(told["by"], json!(["kubectl-edit"]));
        let deleted = Change::of(&after, &Value::Null, "x").made_by(Some(author(Some("root"))));
        assert_eq!(
            deleted.pretty(),
            "7        2026-01-03T00:00:00Z deleted x n/web by alice, impersonated by root\n"
        );
        assert_eq!(deleted.value()["impersonator"], "root");
        // Where nothing was noted, it is as the object says.
        let change = Change::of(&before, &after, "x");
        assert_eq!(change.clone().made_by(None), change);
        assert_eq!(change.value()["user"], Value::Null);
    }

    #[test]
    fn nobodys_wish_changes_with_the_status() {
        let status = |ready: i64| json!({"status": {"ready": ready}, "metadata": {"resourceVersion": "1"}});
        assert!(Change::of(&status(0), &status(1), "x").is_of_status_only());
        let (spec, other) = (json!({"statusline": 1}), json!({"statusline": 2}));
        assert!(!Change::of(&spec, &other, "x").is_of_status_only());
        assert!(!Change::of(&status(1), &Value::Null, "x").is_of_status_only());
    }

    #[test]
    fn long_values_are_cut() {
        let text = short(&json!("ä".repeat(500)));
        assert!(text.ends_with("...") && text.chars().count() == SHOWN + 3);
    }
}
