//! Asking the API for the past of a resource.

use super::authors::{self, Author};
use super::change::Change;
use super::{revision, text};
use anyhow::{Context as _, Result, bail};
use client::Rest;
use client::discovery::ServedResource;
use futures::{AsyncBufReadExt as _, StreamExt as _};
use http::{Method, Request};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;
use std::collections::BTreeMap;

/// How long one watch lasts: it ends by itself, with a bookmark that tells how far it got.
const WATCH_SECONDS: u64 = 1;
/// Watches until everything was told, and attempts to begin: the oldest revision may be forgotten meanwhile.
const ATTEMPTS: usize = 30;

/// Which objects.
#[derive(Clone, Debug, Default)]
pub(super) struct Selection {
    /// All when empty.
    pub(super) namespace: String,
    /// All when empty.
    pub(super) name: String,
}

/// What is known of a resource's past.
#[derive(Clone, Debug, Default)]
pub(super) struct Past {
    /// The oldest revision that is known.
    pub(super) oldest: u64,
    /// What there was then.
    base: Vec<Value>,
    /// What was told since: type and object.
    events: Vec<(String, Value)>,
    /// Who made the changes, by their revisions, if that was asked for.
    authors: BTreeMap<u64, Author>,
}

impl Selection {
    /// The name as a parameter.
    fn fields(&self) -> String {
        match self.name.as_str() {
            "" => String::new(),
            name => format!("&fieldSelector=metadata.name%3D{}", utf8_percent_encode(name, NON_ALPHANUMERIC)),
        }
    }
}

impl Past {
    /// Asks for everything that is known, and who made it so.
    ///
    /// # Errors
    /// When the API refuses.
    pub(super) async fn read_with_authors(
        rest: &Rest,
        served: &ServedResource,
        selection: &Selection,
    ) -> Result<Self> {
        let past = Self::read(rest, served, selection).await?;
        let last = past.events.iter().map(|(_, object)| revision(object)).max();
        let Some(last) = last else { return Ok(past) };
        let path = served.path(&selection.namespace);
        let authors = authors::read(rest, &path, &selection.fields(), past.oldest, last).await?;
        Ok(Self { authors, ..past })
    }

    /// Asks for everything that is known.
    ///
    /// # Errors
    /// When the API refuses.
    pub(super) async fn read(rest: &Rest, served: &ServedResource, selection: &Selection) -> Result<Self> {
        let path = served.path(&selection.namespace);
        let fields = selection.fields();
        let now = list(rest, &format!("{path}?limit=1{fields}")).await?.0;
        let mut past = Self { oldest: 1, ..Self::default() };
        let mut reached = 0;
        for _ in 0..ATTEMPTS {
            let after = reached.max(past.oldest);
            let query = format!(
                "{path}?watch=true&allowWatchBookmarks=true&timeoutSeconds={WATCH_SECONDS}&resourceVersion={after}{fields}"
            );
            match past.watch(rest, &query, &mut reached, now).await? {
                Some(oldest) => past = Self { oldest, ..Self::default() },
                None if reached >= now => {
                    // What was forgotten meanwhile cannot be listed any more, but what there was then has not changed.
                    let exact =
                        format!("{path}?resourceVersion={}&resourceVersionMatch=Exact{fields}", past.oldest);
                    match list(rest, &exact).await {
                        Ok((_, base)) => {
                            past.base = base;
                            return Ok(past);
                        }
                        Err(error) if is_gone(&error) => {
                            reached = 0;
                            past = Self { oldest: 1, ..Self::default() };
                        }
                        Err(error) => return Err(error),
                    }
                }
                None => {}
            }
        }
        bail!("it changes faster than it can be read")
    }

    /// Takes in what one watch tells. Answers the oldest revision when what it began with is forgotten.
    async fn watch(&mut self, rest: &Rest, query: &str, reached: &mut u64, now: u64) -> Result<Option<u64>> {
        let request = Request::get(query).body(Vec::new())?;
        let answer = rest.client().request_stream(request).await?;
        let mut lines = answer.lines();
        while let Some(line) = lines.next().await {
            let mut event: Value = serde_json::from_str(&line?).context("an event is not understood")?;
            let kind = text(&event, &["type"]).to_owned();
            let object = event.get_mut("object").map(Value::take).unwrap_or_default();
            let bookmark = kind == "BOOKMARK";
            match kind.as_str() {
                "ERROR" => match oldest(&object) {
                    Some(oldest) if *reached == 0 => return Ok(Some(oldest)),
                    _ => bail!("{}", text(&object, &["message"])),
                },
                "BOOKMARK" => *reached = revision(&object).max(*reached),
                _ => {
                    *reached = revision(&object).max(*reached);
                    // What happens meanwhile is another time's history.
                    if *reached <= now {
                        self.events.push((kind, object));
                    }
                }
            }
            if *reached > now || bookmark && *reached >= now {
                break;
            }
        }
        Ok(None)
    }

    /// The changes, each from the state before it.
    pub(super) fn changes(mut self, served: &ServedResource) -> Vec<Change> {
        let authors = std::mem::take(&mut self.authors);
        let dot = if served.group.is_empty() { "" } else { "." };
        let resource = format!("{}{dot}{}", served.plural, served.group);
        let mut changes = Vec::new();
        self.walk(|before, after, revision| {
            let change = Change { revision, ..Change::of(before, after, &resource) };
            changes.push(change.made_by(authors.get(&revision).cloned()));
        });
        changes
    }

    /// The states of the objects, oldest first, each with the revision that made it; `null` is no object.
    pub(super) fn states(self) -> Vec<(u64, Value)> {
        let mut states: Vec<(u64, Value)> =
            self.base.iter().map(|object| (revision(object), object.clone())).collect();
        self.walk(|_, after, revision| states.push((revision, after.clone())));
        states
    }

    fn walk(self, mut tell: impl FnMut(&Value, &Value, u64)) {
        let mut known: BTreeMap<String, Value> =
            self.base.into_iter().map(|object| (key(&object), object)).collect();
        for (kind, object) in self.events {
            let (key, at) = (key(&object), revision(&object));
            let before = known.remove(&key).unwrap_or_default();
            // Its last state tells when its deletion began.
            if kind == "DELETED" {
                tell(&object, &Value::Null, at);
            } else {
                tell(&before, &object, at);
                known.insert(key, object);
            }
        }
    }
}

fn key(object: &Value) -> String {
    format!("{}/{}", text(object, &["metadata", "namespace"]), text(object, &["metadata", "name"]))
}

/// Revision and objects of a list; each is told its kind, which lists leave out.
async fn list(rest: &Rest, path: &str) -> Result<(u64, Vec<Value>)> {
    let answer = rest.raw(Method::GET, path, None).await?;
    let mut list: Value = serde_json::from_str(&answer).context("a list is not understood")?;
    let kind = text(&list, &["kind"]).trim_end_matches("List").to_owned();
    let version = text(&list, &["apiVersion"]).to_owned();
    let mut items = match list.get_mut("items").map(Value::take) {
        Some(Value::Array(items)) => items,
        _ => Vec::new(),
    };
    for item in items.iter_mut().filter_map(Value::as_object_mut) {
        item.insert("apiVersion".to_owned(), Value::String(version.clone()));
        item.insert("kind".to_owned(), Value::String(kind.clone()));
    }
    Ok((revision(&list), items))
}

fn is_gone(error: &anyhow::Error) -> bool {
    error.downcast_ref::<kube::Error>().is_some_and(client::rest::is_gone)
}

/// The oldest revision, out of what Kubernetes says when one is forgotten: `too old resource version: 1 (812)`.
fn oldest(status: &Value) -> Option<u64> {
    let message = text(status, &["message"]);
    message.rsplit_once('(')?.1.strip_suffix(')')?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn object(name: &str, revision: u64, value: u64) -> Value {
        json!({"metadata": {"name": name, "namespace": "n", "resourceVersion": revision.to_string()}, "data": value})
    }

    fn past() -> Past {
        let event = |kind: &str, object| (kind.to_owned(), object);
        Past {
            oldest: 3,
            base: vec![object("a", 2, 1), object("b", 3, 1)],
            events: vec![
                event("MODIFIED", object("a", 4, 2)),
                event("DELETED", object("b", 5, 1)),
                event("ADDED", object("b", 6, 9)),
            ],
            authors: BTreeMap::from([(5, Author { user: "alice".to_owned(), ..Author::default() })]),
        }
    }

    #[test]
    fn each_change_is_told_from_the_state_before() {
        let served = ServedResource {
            group: "apps".into(),
            version: "v1".into(),
            kind: "Thing".into(),
            plural: "things".into(),
            names: Vec::new(),
            namespaced: true,
            verbs: Vec::new(),
            versions: Vec::new(),
        };
        let changes = past().changes(&served);
        let told: Vec<(u64, &str, &str)> =
            changes.iter().map(|change| (change.revision, change.what, change.name.as_str())).collect();
        assert_eq!(told, [(4, "updated", "a"), (5, "deleted", "b"), (6, "created", "b")]);
        assert_eq!(changes[0].differences[0].before, Some(json!(1)));
        assert_eq!(changes[0].resource, "things.apps");
        let users: Vec<Option<&str>> =
            changes.iter().map(|change| change.author.as_ref().map(|author| author.user.as_str())).collect();
        assert_eq!(users, [None, Some("alice"), None]);
    }

    #[test]
    fn states_are_told_with_the_revisions_that_made_them() {
        let states = past().states();
        let told: Vec<(u64, bool)> =
            states.iter().map(|(revision, state)| (*revision, state.is_null())).collect();
        assert_eq!(told, [(2, false), (3, false), (4, false), (5, true), (6, false)]);
    }

    #[test]
    fn what_is_forgotten_is_told_with_what_is_not() {
        assert_eq!(oldest(&json!({"message": "too old resource version: 1 (812)"})), Some(812));
        assert_eq!(oldest(&json!({"message": "something else"})), None);
    }
}
