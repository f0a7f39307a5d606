//! `knarr history` and `knarr undo`: what changed, and putting it back.
//!
//! Both are ordinary clients of the API: a watch from the oldest revision that is kept tells all changes since, and a list
//! at that revision what there was before. So who may see a history is who may list and watch the resource.
//! See docs/decisions/0011-history.md.
//!
//! | module | what |
//! |---|---|
//! | [`read`] | asking the API for the past |
//! | [`authors`] | asking it who made that |
//! | [`change`] | a change: when, by whom, of what |
//! | [`difference`] | two states of an object, field by field |
//! | [`undo`] | an object as it was |

mod authors;
mod change;
mod difference;
mod read;
pub mod undo;

use super::output::show;
use super::process;
use crate::arguments::Location;
use crate::arguments::history::History;
use crate::paths::Paths;
use anyhow::{Context as _, Result, bail};
use change::Change;
use client::Rest;
use client::discovery::{Discovered, ServedResource, discover};
use futures::StreamExt as _;
use jiff::Timestamp;
use read::{Past, Selection};
use serde_json::{Value, json};
use std::path::Path;
use std::process::ExitCode;

/// What changes all the time and says little; it is shown to who asks for it.
const NOISE: [&str; 2] = ["events", "leases"];
/// Resources that are asked for at the same time.
const AT_ONCE: usize = 32;

/// Shows what changed.
///
/// # Errors
/// When the API does not answer, or there is no such resource.
pub async fn run(options: &History) -> Result<ExitCode> {
    let rest = rest(&options.location, options.kubeconfig.as_deref()).await?;
    let discovered = discover(&rest).await.context("the API server does not answer as it should")?;
    let (resource, name) = object(options.resource.as_deref(), options.name.as_deref())?;
    let chosen: Vec<ServedResource> = match resource {
        Some(resource) => vec![named(&discovered, resource)?.clone()],
        None => discovered.resources.iter().filter(|served| is_shown(served)).cloned().collect(),
    };
    let alone = chosen.len() == 1;
    let selection = |served: &ServedResource| Selection {
        namespace: options.namespace.clone().filter(|_| served.namespaced).unwrap_or_default(),
        name: name.unwrap_or_default().to_owned(),
    };
    let of_namespace = |served: &ServedResource| served.namespaced || options.namespace.is_none();
    let asked = chosen.iter().filter(|served| of_namespace(served)).map(|served| {
        let (rest, selection) = (&rest, selection(served));
        async move { (served, Past::read_with_authors(rest, served, &selection).await) }
    });
    let mut answered = futures::stream::iter(asked).buffer_unordered(AT_ONCE);
    let (mut changes, mut oldest) = (Vec::new(), 0);
    while let Some((served, past)) = answered.next().await {
        match past {
            Ok(past) => {
                oldest = oldest.max(past.oldest);
                changes.extend(past.changes(served));
            }
            Err(error) if alone => return Err(error),
            Err(error) => eprintln!("{}: {error:#}", served.plural),
        }
    }
    drop(answered);
    changes.sort_by_key(|change| change.revision);
    let now = Timestamp::now();
    let begin = options.since.and_then(|since| now.checked_sub(since).ok());
    let first = changes.iter().find_map(|change| change.at);
    let shown = chosen_changes(changes, begin, options.status);
    let value = Value::Array(shown.iter().map(Change::value).collect());
    show(options.output.output, &value, || shown.iter().map(Change::pretty).collect())?;
    if let (Some(begin), true) = (begin, oldest > 1)
        && first.is_none_or(|first| first > begin)
    {
        eprintln!(
            "Changes up to revision {oldest} are not kept any more: the server forgets what was superseded after its \
             --etcd-compaction-interval."
        );
    }
    if shown.is_empty() {
        eprintln!("Nothing has changed.");
    }
    Ok(ExitCode::SUCCESS)
}

/// The API as who asks.
async fn rest(location: &Location, kubeconfig: Option<&Path>) -> Result<Rest> {
    let Some(path) = kubeconfig else {
        return Ok(Rest::new(process::client(&Paths::new(&location.data_dir)).await?));
    };
    let _ = rustls::crypto::ring::default_provider().install_default();
    Ok(Rest::new(client::from_kubeconfig(path, "knarr").await?))
}

/// What of the changes is asked for. One without a time of its own is as late as the one before it.
fn chosen_changes(all: Vec<Change>, begin: Option<Timestamp>, status: bool) -> Vec<Change> {
    let mut latest = None;
    let mut wanted = |change: &Change| {
        latest = latest.max(change.at);
        let late_enough = begin.is_none_or(|begin| latest.is_some_and(|latest| latest >= begin));
        late_enough && (status || !change.is_of_status_only())
    };
    all.into_iter().filter(|change| wanted(change)).collect()
}

fn is_shown(served: &ServedResource) -> bool {
    served.supports(&["list", "watch"]) && !NOISE.contains(&served.plural.as_str())
}

/// `RESOURCE/NAME` and `RESOURCE NAME` are the same.
fn object<'a>(
    resource: Option<&'a str>,
    name: Option<&'a str>,
) -> Result<(Option<&'a str>, Option<&'a str>)> {
    Ok(match (resource.and_then(|resource| resource.split_once('/')), name) {
        (Some(_), Some(name)) => bail!("the object is named twice: leave {name:?} out"),
        (Some((resource, name)), None) => (Some(resource), Some(name)),
        (None, name) => (resource, name),
    })
}

fn named<'a>(discovered: &'a Discovered, name: &str) -> Result<&'a ServedResource> {
    let served = discovered.named(name).with_context(|| {
        format!("there is no resource {name:?}; `knarr kubectl api-resources` lists what there is")
    })?;
    if !served.supports(&["list", "watch"]) {
        bail!("{name} cannot be watched, so nothing is known of its past");
    }
    Ok(served)
}

/// A part of a larger value.
fn at<'a>(object: &'a Value, path: &[&str]) -> &'a Value {
    path.iter().fold(object, |value, name| value.get(name).unwrap_or(&Value::Null))
}

fn text<'a>(object: &'a Value, path: &[&str]) -> &'a str {
    at(object, path).as_str().unwrap_or_default()
}

fn revision(object: &Value) -> u64 {
    text(object, &["metadata", "resourceVersion"]).parse().unwrap_or(0)
}

/// Secrets are changed, not shown.
fn without_secrets(mut object: Value) -> Value {
    if text(&object, &["kind"]) == "Secret" {
        for field in ["data", "stringData"] {
            let values = object.get_mut(field).and_then(Value::as_object_mut);
            values.into_iter().flatten().for_each(|(_, value)| *value = hidden(value));
        }
        let annotations = object.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut);
        // `kubectl apply` keeps a copy.
        if let Some(copy) =
            annotations.and_then(|all| all.get_mut("kubectl.kubernetes.io/last-applied-configuration"))
        {
            *copy = hidden(copy);
        }
    }
    object
}

/// Tells apart what differs, and no more.
fn hidden(value: &Value) -> Value {
    let digest = cri::image::oci::sha256(value.to_string().as_bytes());
    json!(format!("(hidden, {})", digest.get(7..15).unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_is_named_in_one_of_two_ways() {
        assert_eq!(object(Some("deploy/web"), None).unwrap(), (Some("deploy"), Some("web")));
        assert_eq!(object(Some("deploy"), Some("web")).unwrap(), (Some("deploy"), Some("web")));
        assert_eq!(object(None, None).unwrap(), (None, None));
        assert!(object(Some("deploy/web"), Some("x")).is_err());
    }

    #[test]
    fn a_change_without_a_time_is_as_late_as_the_one_before() {
        let at = |seconds: i64| Timestamp::from_second(seconds).ok();
        let change =
            |revision, at| Change { revision, at, ..Change::of(&json!({}), &json!({"x": revision}), "x") };
        let all = || vec![change(1, at(100)), change(2, None), change(3, at(200)), change(4, None)];
        let chosen =
            |begin| chosen_changes(all(), begin, false).iter().map(|c| c.revision).collect::<Vec<_>>();
        assert_eq!(chosen(None), [1, 2, 3, 4]);
        assert_eq!(chosen(at(150)), [3, 4]);
        assert_eq!(chosen(at(300)), [0_u64; 0]);
    }

    #[test]
    fn secrets_are_not_shown_but_differ() {
        let secret = |value: &str| {
            without_secrets(json!({"kind": "Secret", "data": {"p": value}, "metadata": {"annotations": {
                "kubectl.kubernetes.io/last-applied-configuration": value, "a": "b"}}}))
        };
        let (one, other) = (secret("c2VjcmV0"), secret("b3RoZXI="));
        assert!(!one.to_string().contains("c2VjcmV0") && one["data"] != other["data"]);
        assert_eq!(one["metadata"]["annotations"]["a"], "b");
        let config = json!({"kind": "ConfigMap", "data": {"p": "x"}});
        assert_eq!(without_secrets(config.clone()), config);
    }
}
