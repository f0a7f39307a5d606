//! Asking the API who made changes.

use super::text;
use anyhow::{Context as _, Result};
use client::Rest;
use http::Method;
use jiff::Timestamp;
use serde_json::Value;
use std::collections::BTreeMap;

/// Who made a change, and when, as the datastore noted it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Author {
    /// The user.
    pub(super) user: String,
    /// Who acted as that user, if it was somebody else.
    pub(super) impersonator: Option<String>,
    /// When.
    pub(super) at: Option<Timestamp>,
}

/// The authors of the changes of a collection with `after < revision <= last`, by revision: as far as they are known,
/// which a server that is not knarr's, or of a version before, says of nobody.
///
/// # Errors
/// When the API refuses.
pub(super) async fn read(
    rest: &Rest,
    path: &str,
    fields: &str,
    mut after: u64,
    last: u64,
) -> Result<BTreeMap<u64, Author>> {
    let mut all = BTreeMap::new();
    while after < last {
        // The limit is for who takes this for a list.
        let asked = format!("{path}?knarr.io/authors=true&limit=10000&resourceVersion={after}{fields}");
        let answer = rest.raw(Method::GET, &asked, None).await?;
        let answer: Value = serde_json::from_str(&answer).context("an answer is not understood")?;
        match page(&answer, &mut all) {
            Some(reached) if reached > after => after = reached,
            _ => break,
        }
    }
    Ok(all)
}

/// Takes in one answer. Returns the revision up to which it tells, if it tells of authors.
fn page(answer: &Value, all: &mut BTreeMap<u64, Author>) -> Option<u64> {
    if text(answer, &["kind"]) != "AuthorList" {
        return None;
    }
    for item in answer.get("items").and_then(Value::as_array).into_iter().flatten() {
        let Ok(revision) = text(item, &["resourceVersion"]).parse() else { continue };
        let impersonator = item.get("impersonator").and_then(Value::as_str).map(str::to_owned);
        let (user, at) = (text(item, &["user"]).to_owned(), text(item, &["time"]).parse().ok());
        all.insert(revision, Author { user, impersonator, at });
    }
    text(answer, &["metadata", "resourceVersion"]).parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn authors_are_told_by_revision_and_lists_of_objects_tell_of_none() {
        let mut all = BTreeMap::new();
        let answer = json!({"kind": "AuthorList", "metadata": {"resourceVersion": "9"}, "items": [
            {"resourceVersion": "7", "user": "alice", "time": "2026-01-02T03:04:05.678Z"},
            {"resourceVersion": "8", "user": "bob", "impersonator": "root", "time": null}]});
        assert_eq!(page(&answer, &mut all), Some(9));
        let alice = all.get(&7).unwrap();
        assert_eq!((alice.user.as_str(), &alice.impersonator), ("alice", &None));
        assert_eq!(alice.at.unwrap().as_millisecond() % 1000, 678);
        let bob = all.get(&8).unwrap();
        assert_eq!((bob.impersonator.as_deref(), bob.at), (Some("root"), None));
        let other = json!({"kind": "PodList", "metadata": {"resourceVersion": "10"}, "items": [{}]});
        assert_eq!((page(&other, &mut all), all.len()), (None, 2));
    }
}
