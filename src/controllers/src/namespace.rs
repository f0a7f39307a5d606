//! Empties namespaces that are being deleted, and lets them go when nothing is left.
//!
//! Upstream counterpart: `namespace-controller`, with ordered deletion (KEP-5080): pods first, so that network
//! policies and what else protects them outlive them.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use async_trait::async_trait;
use client::{
    Event, Informer, ObjectKey, Rest,
    discovery::{self, ServedResource},
    rest,
};
use http::Method;
use jiff::Timestamp;
use k8s_openapi::{
    api::core::v1::{Namespace, NamespaceCondition, Pod},
    apimachinery::pkg::apis::meta::v1::Time,
};
use serde::Deserialize;

use crate::framework::{Action, Context, Controller, ReconcileError, Watches};

const NAME: &str = "namespace-controller";
/// The finalizer in `spec.finalizers` that this controller removes.
const FINALIZER: &str = "kubernetes";
/// How soon to look again at contents that take their time, such as pods that are ending. Pods that are gone
/// bring the namespace back at once; this is for everything else.
const LOOK_AGAIN: Duration = Duration::from_secs(2);
/// The longest pause between looks, once contents have been there for long.
const LOOK_AGAIN_MAX: Duration = Duration::from_secs(30);

/// The controller; keys are Namespaces.
pub struct NamespaceController {
    context: Context,
    rest: Rest,
    namespaces: Informer<Namespace>,
    pods: Informer<Pod>,
}

impl NamespaceController {
    /// The controller, not running yet.
    pub fn new(context: &Context) -> Self {
        Self {
            context: context.clone(),
            rest: context.rest.clone(),
            namespaces: context.informers.get(),
            pods: context.pods(),
        }
    }

    /// Deletes all contents and reports what is left.
    async fn empty(&self, namespace: &str) -> Remaining {
        let mut remaining = Remaining::default();
        let discovered = match discovery::discover(&self.rest).await {
            Ok(discovered) => discovered,
            Err(error) => {
                remaining.discovery_failure =
                    Some(format!("Discovery failed for some groups, 1 failing: {error}"));
                return remaining;
            }
        };
        if !discovered.stale.is_empty() {
            let (count, groups) = (discovered.stale.len(), discovered.stale.join(", "));
            remaining.discovery_failure = Some(format!(
                "Discovery failed for some groups, {count} failing: unable to retrieve the complete list of server \
                 APIs: {groups}: stale GroupVersion discovery: {groups}"
            ));
        }
        let deletable = |served: &&ServedResource| served.namespaced && served.supports(&["delete", "list"]);
        let (pods, others): (Vec<_>, Vec<_>) =
            discovered.resources.iter().filter(deletable).partition(|served| is_pods(served));
        for served in pods {
            self.empty_resource(namespace, served, &mut remaining).await;
        }
        if remaining.is_empty() {
            for served in others {
                self.empty_resource(namespace, served, &mut remaining).await;
            }
        }
        remaining
    }

    async fn empty_resource(&self, namespace: &str, served: &ServedResource, remaining: &mut Remaining) {
        if let Err(error) = self.try_empty(namespace, served, remaining).await {
            let message =
                rest::status(&error).map_or_else(|| error.to_string(), |status| status.message.clone());
            remaining.failures.push(message);
        }
    }

    async fn try_empty(
        &self,
        namespace: &str,
        served: &ServedResource,
        remaining: &mut Remaining,
    ) -> Result<(), kube::Error> {
        let path = served.path(namespace);
        // Looking first costs less than deleting: most namespaces have objects of few resources.
        let mut items = self.list(&path).await?;
        if items.is_empty() {
            return Ok(());
        }
        if served.supports(&["deletecollection"]) {
            let options = serde_json::to_vec(&rest::DeleteOptions::default().propagation("Background"));
            self.rest.raw(Method::DELETE, &path, options.ok()).await?;
        } else {
            for item in items.iter().filter(|item| item.metadata.deletion_timestamp.is_none()) {
                let options = serde_json::to_vec(&rest::DeleteOptions::default().propagation("Background"));
                let item_path = rest::item_path(&path, &item.metadata.name, "");
                match self.rest.raw(Method::DELETE, &item_path, options.ok()).await {
                    Err(error) if rest::is_not_found(&error) => {}
                    result => drop(result?),
                }
            }
        }
        items = self.list(&path).await?;
        remaining.add(served, &items);
        Ok(())
    }

    async fn list(&self, path: &str) -> Result<Vec<Item>, kube::Error> {
        let request = http::Request::get(path)
            .header(http::header::ACCEPT, client::reflector::ACCEPT_METADATA_LIST)
            .body(Vec::new())
            .map_err(kube::Error::HttpError)?;
        let result = self.rest.client().request_text(request).await;
        match result {
            Ok(text) => {
                let list: ItemList = serde_json::from_str(&text).map_err(kube::Error::SerdeError)?;
                Ok(list.items.unwrap_or_default())
            }
            // Not served any more, or never listable: nothing to delete.
            Err(error) if rest::status(&error).is_some_and(|status| matches!(status.code, 404 | 405)) => {
                Ok(Vec::new())
            }
            Err(error) => Err(error),
        }
    }

    async fn report(&self, key: &ObjectKey, remaining: &Remaining) -> Result<(), ReconcileError> {
        let now = self.context.now();
        self.rest
            .update::<Namespace>(key, "status", |namespace| {
                if namespace.metadata.deletion_timestamp.is_none() {
                    return false;
                }
                let before = namespace.status.clone();
                let status = namespace.status.get_or_insert_default();
                status.phase = Some("Terminating".into());
                set_conditions(status.conditions.get_or_insert_default(), remaining, now);
                before != namespace.status
            })
            .await?;
        Ok(())
    }

    async fn finalize(&self, key: &ObjectKey) -> Result<(), ReconcileError> {
        self.rest
            .update::<Namespace>(key, "finalize", |namespace| {
                let Some(finalizers) = namespace.spec.as_mut().and_then(|spec| spec.finalizers.as_mut())
                else {
                    return false;
                };
                let before = finalizers.len();
                finalizers.retain(|finalizer| finalizer != FINALIZER);
                namespace.metadata.managed_fields = None;
                before != namespace.spec.iter().flat_map(|spec| spec.finalizers.iter().flatten()).count()
            })
            .await?;
        Ok(())
    }
}

fn is_pods(served: &ServedResource) -> bool {
    served.group.is_empty() && served.plural == "pods"
}

#[derive(Deserialize)]
struct ItemList {
    items: Option<Vec<Item>>,
}

#[derive(Deserialize)]
struct Item {
    metadata: ItemMeta,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ItemMeta {
    name: String,
    #[serde(default)]
    finalizers: Option<Vec<String>>,
    #[serde(default)]
    deletion_timestamp: Option<String>,
}

/// What is still in a namespace, and what went wrong.
#[derive(Debug, Default)]
struct Remaining {
    /// Instances per resource.
    counts: BTreeMap<String, usize>,
    /// Instances per finalizer.
    finalizers: BTreeMap<String, usize>,
    failures: Vec<String>,
    discovery_failure: Option<String>,
}

impl Remaining {
    fn add(&mut self, served: &ServedResource, items: &[Item]) {
        if items.is_empty() {
            return;
        }
        let name = if served.group.is_empty() {
            format!("{}.", served.plural)
        } else {
            format!("{}.{}", served.plural, served.group)
        };
        self.counts.insert(name, items.len());
        for finalizer in items.iter().flat_map(|item| item.metadata.finalizers.iter().flatten()) {
            *self.finalizers.entry(finalizer.clone()).or_default() += 1;
        }
    }

    /// Whether nothing is left that is known of.
    fn is_empty(&self) -> bool {
        self.counts.is_empty() && self.failures.is_empty()
    }

    fn is_done(&self) -> bool {
        self.is_empty() && self.discovery_failure.is_none()
    }
}

fn set_conditions(conditions: &mut Vec<NamespaceCondition>, remaining: &Remaining, now: Timestamp) {
    let list = |counts: &BTreeMap<String, usize>, what: &str| {
        let texts: Vec<String> =
            counts.iter().map(|(name, count)| format!("{name} {what} {count} resource instances")).collect();
        texts.join(", ")
    };
    let content = format!("Some resources are remaining: {}", list(&remaining.counts, "has"));
    let finalizers = format!(
        "Some content in the namespace has finalizers remaining: {}",
        list(&remaining.finalizers, "in")
    );
    let failures = remaining.failures.join(", ");
    let when = |bad: bool, reason: &'static str, message: String| bad.then_some((reason, message));
    let all = [
        (
            "NamespaceDeletionDiscoveryFailure",
            remaining.discovery_failure.clone().map(|message| ("DiscoveryFailed", message)),
            ("ResourcesDiscovered", "All resources successfully discovered"),
        ),
        (
            "NamespaceDeletionGroupVersionParsingFailure",
            None,
            ("ParsedGroupVersions", "All legacy kube types successfully parsed"),
        ),
        (
            "NamespaceDeletionContentFailure",
            when(
                !remaining.failures.is_empty(),
                "ContentDeletionFailed",
                format!(
                    "Failed to delete all resource types, {} remaining: {failures}",
                    remaining.failures.len()
                ),
            ),
            ("ContentDeleted", "All content successfully deleted, may be waiting on finalization"),
        ),
        (
            "NamespaceContentRemaining",
            when(!remaining.counts.is_empty(), "SomeResourcesRemain", content),
            ("ContentRemoved", "All content successfully removed"),
        ),
        (
            "NamespaceFinalizersRemaining",
            when(!remaining.finalizers.is_empty(), "SomeFinalizersRemain", finalizers),
            ("ContentHasNoFinalizers", "All content-preserving finalizers finished"),
        ),
    ];
    for (type_, bad, (good_reason, good_message)) in all {
        let (status, reason, message) = match bad {
            Some((reason, message)) => ("True", reason, message),
            None => ("False", good_reason, good_message.to_owned()),
        };
        set_condition(conditions, type_, status, reason, message, now);
    }
}

fn set_condition(
    conditions: &mut Vec<NamespaceCondition>,
    type_: &str,
    status: &str,
    reason: &str,
    message: String,
    now: Timestamp,
) {
    match conditions.iter_mut().find(|condition| condition.type_ == type_) {
        Some(known) => {
            if known.status != status {
                known.last_transition_time = Some(Time(now));
            }
            known.status = status.into();
            known.reason = Some(reason.into());
            known.message = Some(message);
        }
        None => conditions.push(NamespaceCondition {
            type_: type_.into(),
            status: status.into(),
            reason: Some(reason.into()),
            message: Some(message),
            last_transition_time: Some(Time(now)),
        }),
    }
}

/// Waits longer the longer the deletion has lasted.
fn pause(deleted_at: Option<Timestamp>, now: Timestamp) -> Duration {
    let elapsed = deleted_at.map_or(0, |at| now.duration_since(at).as_secs().max(0));
    Duration::from_secs(u64::try_from(elapsed).unwrap_or(0) / 10).clamp(LOOK_AGAIN, LOOK_AGAIN_MAX)
}

#[async_trait]
impl Controller for NamespaceController {
    fn name(&self) -> &'static str {
        NAME
    }

    fn watches(self: Arc<Self>, watches: &mut Watches) {
        watches.mapped(&self.namespaces, |event, keys| {
            if let Event::Applied(namespace, _) = event
                && namespace.metadata.deletion_timestamp.is_some()
            {
                keys.add(ObjectKey::of(&**namespace));
            }
        });
        let namespaces = self.namespaces.store().clone();
        let pods = self.pods.store().clone();
        watches.mapped(&self.pods, move |event, keys| {
            let Event::Deleted(pod) = event else { return };
            let name = pod.metadata.namespace.as_deref().unwrap_or_default();
            let terminating = |namespace: &Namespace| namespace.metadata.deletion_timestamp.is_some();
            if namespaces.find("", name).is_some_and(|namespace| terminating(&namespace))
                && pods.list_namespace(name).is_empty()
            {
                keys.add(ObjectKey::cluster(name));
            }
        });
    }

    async fn reconcile(&self, key: &ObjectKey) -> Result<Action, ReconcileError> {
        let Some(namespace) = self.namespaces.get(key) else { return Ok(Action::Done) };
        let Some(deleted_at) = namespace.metadata.deletion_timestamp.as_ref() else {
            return Ok(Action::Done);
        };
        let finalizers =
            namespace.spec.as_ref().and_then(|spec| spec.finalizers.as_deref()).unwrap_or_default();
        if !finalizers.iter().any(|finalizer| finalizer == FINALIZER) {
            return Ok(Action::Done);
        }
        let remaining = self.empty(&key.name).await;
        if remaining.is_done() {
            self.finalize(key).await?;
            return Ok(Action::Done);
        }
        self.report(key, &remaining).await?;
        Ok(Action::RequeueAfter(pause(Some(deleted_at.0), self.context.now())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn served(group: &str, plural: &str) -> ServedResource {
        ServedResource {
            group: group.into(),
            version: "v1".into(),
            kind: "Kind".into(),
            plural: plural.into(),
            names: Vec::new(),
            namespaced: true,
            verbs: Vec::new(),
            versions: vec!["v1".into()],
        }
    }

    fn items(count: usize, finalizer: Option<&str>) -> Vec<Item> {
        let finalizers = finalizer.map(|finalizer| vec![finalizer.to_owned()]);
        (0..count)
            .map(|_| Item { metadata: ItemMeta { finalizers: finalizers.clone(), ..ItemMeta::default() } })
            .collect()
    }

    #[test]
    fn conditions_say_what_is_left_and_why() {
        let mut remaining = Remaining::default();
        remaining.add(&served("", "pods"), &items(2, None));
        remaining.add(&served("example.com", "widgets"), &items(1, Some("example.com/hold")));
        let mut conditions = Vec::new();
        let now = Timestamp::from_second(100).unwrap();
        set_conditions(&mut conditions, &remaining, now);
        let find = |conditions: &[NamespaceCondition], type_: &str| {
            let condition = conditions.iter().find(|condition| condition.type_ == type_).unwrap();
            (condition.status.clone(), condition.message.clone().unwrap())
        };
        assert_eq!(conditions.len(), 5);
        assert_eq!(
            find(&conditions, "NamespaceContentRemaining"),
            (
                "True".into(),
                "Some resources are remaining: pods. has 2 resource instances, widgets.example.com has 1 resource \
                 instances"
                    .into()
            )
        );
        assert_eq!(
            find(&conditions, "NamespaceFinalizersRemaining").1,
            "Some content in the namespace has finalizers remaining: example.com/hold in 1 resource instances"
        );
        set_conditions(&mut conditions, &Remaining::default(), now);
        assert_eq!(find(&conditions, "NamespaceContentRemaining").0, "False");
    }

    #[test]
    fn looks_become_rarer_with_time() {
        let now = Timestamp::from_second(10_000).unwrap();
        let ago = |seconds: i64| Some(Timestamp::from_second(10_000 - seconds).unwrap());
        assert_eq!(pause(ago(1), now), LOOK_AGAIN);
        assert_eq!(pause(ago(100), now), Duration::from_secs(10));
        assert_eq!(pause(ago(9_000), now), LOOK_AGAIN_MAX);
    }
}
