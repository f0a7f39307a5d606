//! `knarr undo`: an object as it was.

use super::difference::differences;
use super::read::{Past, Selection};
use super::{at, named, object, revision, text, without_secrets};
use crate::arguments::history::Undo;
use anyhow::{Context as _, Result, bail};
use client::discovery::{ServedResource, discover};
use client::rest::{item_path, status};
use client::{Rest, rest};
use http::Method;
use serde_json::Value;
use std::process::ExitCode;

/// The field manager of what is put back.
const MANAGER: &str = "knarr-undo";
/// Metadata of one life of an object, which another has its own of.
const OF_ONE_LIFE: [&str; 9] = [
    "creationTimestamp",
    "deletionGracePeriodSeconds",
    "deletionTimestamp",
    "generation",
    "managedFields",
    "ownerReferences",
    "resourceVersion",
    "selfLink",
    "uid",
];

/// Puts an object back.
///
/// # Errors
/// When its past is not known, or the API refuses.
pub async fn run(options: &Undo) -> Result<ExitCode> {
    let rest = super::rest(&options.location, options.kubeconfig.as_deref()).await?;
    let (resource, name) = object(Some(&options.resource), options.name.as_deref())?;
    let (Some(resource), Some(name)) = (resource, name) else {
        bail!("which object? knarr undo {}/NAME", options.resource)
    };
    let discovered = discover(&rest).await.context("the API server does not answer as it should")?;
    let served = named(&discovered, resource)?;
    let namespace = if served.namespaced { options.namespace.clone() } else { String::new() };
    let shown = format!("{}/{name}", served.plural);
    let selection = Selection { namespace: namespace.clone(), name: name.to_owned() };
    let past = Past::read(&rest, served, &selection).await?;
    let oldest = past.oldest;
    let states = past.states();
    let Some((_, current)) = states.last() else {
        bail!("nothing is known of {shown}; is it in another namespace?")
    };
    let wanted = match options.to_revision {
        Some(revision) if revision < oldest => {
            bail!("revision {revision} is not kept any more; the oldest that is known is {oldest}")
        }
        Some(revision) => states.iter().rev().find(|(made, _)| *made <= revision),
        None => before_last_change(&states),
    };
    let Some((made, wanted)) = wanted else {
        bail!("{shown} has not changed since revision {oldest}, the oldest that is kept")
    };
    if wanted.is_null() {
        bail!(
            "{shown} did not exist then; to remove it: knarr kubectl delete {shown} {}",
            in_namespace(&namespace)
        );
    }
    let changed = differences(&without_secrets(wish(current)), &without_secrets(wish(wanted)));
    if !current.is_null() && changed.is_empty() {
        println!("{shown} is as it was at revision {made}.");
        return Ok(ExitCode::SUCCESS);
    }
    for difference in &changed {
        for (sign, value) in [('-', &difference.before), ('+', &difference.after)] {
            if let Some(value) = value.as_ref().filter(|_| !current.is_null()) {
                println!("  {sign} {}: {value}", difference.path);
            }
        }
    }
    put(&rest, served, &namespace, current, wanted, options.dry_run).await?;
    let done = if options.dry_run { "would be" } else { "is" };
    println!("{shown} {done} as it was at revision {made}.");
    Ok(ExitCode::SUCCESS)
}

fn in_namespace(namespace: &str) -> String {
    if namespace.is_empty() { String::new() } else { format!("-n {namespace}") }
}

/// The last state in which somebody wished for something else.
fn before_last_change(states: &[(u64, Value)]) -> Option<&(u64, Value)> {
    let (_, current) = states.last()?;
    let current = wish(current);
    states.iter().rev().find(|(_, state)| wish(state) != current)
}

/// What of an object people and programs wish for: neither its status nor what the API server keeps.
fn wish(object: &Value) -> Value {
    let mut wish = object.clone();
    if let Some(fields) = wish.as_object_mut() {
        fields.remove("status");
    }
    if let Some(metadata) = wish.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.retain(|name, _| !OF_ONE_LIFE.contains(&name.as_str()));
    }
    wish
}

/// The object as it is sent: what was wished for, in the life that it has now.
fn sent(current: &Value, wanted: &Value) -> Value {
    let mut object = wish(wanted);
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        for name in ["resourceVersion", "uid", "ownerReferences"] {
            let value = at(current, &["metadata", name]);
            if !value.is_null() {
                metadata.insert(name.to_owned(), value.clone());
            }
        }
    }
    object
}

async fn put(
    rest: &Rest,
    served: &ServedResource,
    namespace: &str,
    current: &Value,
    wanted: &Value,
    dry_run: bool,
) -> Result<()> {
    let name = text(wanted, &["metadata", "name"]);
    let dry_run = if dry_run { "&dryRun=All" } else { "" };
    let collection = served.path(namespace);
    let (method, path) = match current.is_null() {
        true => (Method::POST, collection),
        false => (Method::PUT, item_path(&collection, name, "")),
    };
    let body = serde_json::to_vec(&sent(current, wanted))?;
    let answer = rest.raw(method, &format!("{path}?fieldManager={MANAGER}{dry_run}"), Some(body)).await;
    match answer {
        Err(error) if rest::is_conflict(&error) => {
            bail!("{name} has changed since revision {}; look at it and try again", revision(current))
        }
        Err(error) => match status(&error) {
            Some(status) => bail!("it cannot be put back: {}", status.message),
            None => Err(error.into()),
        },
        Ok(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn object(revision: u64, uid: &str, spec: u64, status: u64) -> Value {
        json!({"kind": "X", "metadata": {"name": "a", "uid": uid, "resourceVersion": revision.to_string(),
               "generation": revision, "labels": {"l": "x"}}, "spec": spec, "status": status})
    }

    #[test]
    fn changes_of_the_status_are_not_undone() {
        let states = [(1, object(1, "u", 1, 0)), (2, object(2, "u", 2, 0)), (3, object(3, "u", 2, 7))];
        assert_eq!(before_last_change(&states).unwrap().0, 1);
        assert!(before_last_change(&states[1..]).is_none());
        assert!(before_last_change(&[]).is_none());
    }

    #[test]
    fn what_was_deleted_is_made_anew_and_what_is_there_keeps_its_life() {
        let states = [(1, object(1, "u", 1, 0)), (4, Value::Null)];
        let wanted = &before_last_change(&states).unwrap().1;
        let made = sent(&Value::Null, wanted);
        assert_eq!(made, json!({"kind": "X", "metadata": {"name": "a", "labels": {"l": "x"}}, "spec": 1}));
        let replaced = sent(&object(9, "v", 3, 0), wanted);
        assert_eq!(
            (&replaced["metadata"]["uid"], &replaced["metadata"]["resourceVersion"]),
            (&json!("v"), &json!("9"))
        );
        assert_eq!(replaced["spec"], 1);
    }
}
