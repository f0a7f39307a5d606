//! The rim: caches, requests, the status.

use std::{
    collections::BTreeMap,
    sync::{Arc, OnceLock},
    time::Duration,
};

use api::quota::{self, Amounts, Evaluator, Quota};
use async_trait::async_trait;
use client::{Event, Informer, ObjectKey, Rest, SharedInformers, rest};
use jiff::Timestamp;
use k8s_openapi::{
    api::core::v1::{PersistentVolumeClaim, Pod, ResourceQuota, ResourceQuotaStatus, Service},
    apimachinery::pkg::api::resource::Quantity,
};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::{
    monitors::{self, Monitors, replenish},
    slim,
};
use crate::framework::{Action, Context, Controller, Keys, ReconcileError, Watches};

const NAME: &str = "resourcequota-controller";
/// Everything is counted anew this often (upstream's `--resource-quota-sync-period`).
const RESYNC: Duration = Duration::from_secs(300);
/// A resource that is not served may come to be (upstream looks this often).
const LOOK_AGAIN: Duration = Duration::from_secs(30);
/// After usage came down it is counted once more: a reservation made meanwhile may not have been an object yet.
const SETTLED: Duration = Duration::from_secs(5);

/// Counts; keys are quotas.
pub struct ResourceQuotaController {
    context: Context,
    rest: Rest,
    informers: SharedInformers,
    quotas: Informer<ResourceQuota>,
    pods: Informer<Pod>,
    services: Informer<Service>,
    claims: Informer<PersistentVolumeClaim>,
    monitors: Monitors,
    keys: OnceLock<Keys>,
}

impl ResourceQuotaController {
    /// The controller, not running yet.
    pub fn new(context: &Context) -> Self {
        Self {
            rest: context.rest.clone(),
            informers: context.informers.clone(),
            quotas: context.informers.get(),
            pods: context.pods(),
            services: context.services(),
            claims: context.informers.get(),
            monitors: Monitors::default(),
            keys: OnceLock::new(),
            context: context.clone(),
        }
    }

    /// What the namespace uses of what the quota is about, and when to look again.
    async fn count(
        &self,
        namespace: &str,
        quota: &Quota,
    ) -> Result<(Amounts, Option<Duration>), ReconcileError> {
        let now = self.context.now();
        let (mut used, mut again) = (Amounts::new(), None);
        for evaluator in Evaluator::of_names(quota.wanted.keys().map(String::as_str)) {
            let resource = evaluator.resource();
            let objects = match (resource.group.as_str(), resource.resource.as_str()) {
                ("", "pods") => {
                    let pods = self.pods.list_namespace(namespace);
                    again = soonest(again, pods.iter().filter_map(|pod| stuck_in(pod, now)).min());
                    pods.iter().map(|pod| slim::pod(pod)).collect::<Result<Vec<_>, _>>()?
                }
                ("", "services") => {
                    let services = self.services.list_namespace(namespace);
                    services.iter().map(|service| slim::service(service)).collect::<Result<Vec<_>, _>>()?
                }
                ("", "persistentvolumeclaims") => {
                    let claims = self.claims.list_namespace(namespace);
                    claims.iter().map(|claim| slim::claim(claim)).collect::<Result<Vec<_>, _>>()?
                }
                _ => match self.others(&evaluator, namespace, quota).await? {
                    Some(objects) => objects,
                    None => {
                        again = soonest(again, Some(LOOK_AGAIN));
                        continue;
                    }
                },
            };
            let counted = objects.iter().filter(|object| evaluator.in_scopes(&quota.scopes, object));
            let mut total = Amounts::new();
            for object in counted {
                quota::add(&mut total, &evaluator.usage(object, now));
            }
            for name in quota.wanted.keys().filter(|name| evaluator.is_about(name)) {
                used.insert(name.clone(), total.get(name).copied().unwrap_or_else(quota::zero));
            }
        }
        Ok((used, again))
    }

    /// The objects of a resource without a cache of its own, as far as they matter; `None` when it is not served.
    async fn others(
        &self,
        evaluator: &Evaluator,
        namespace: &str,
        quota: &Quota,
    ) -> Result<Option<Vec<Value>>, ReconcileError> {
        let resource = evaluator.resource();
        let Some(served) = self.monitors.find(&self.rest, resource).await? else { return Ok(None) };
        if let Some(keys) = self.keys.get() {
            self.monitors.watch(&self.informers, resource, &served, &self.quotas, keys);
        }
        let result = if evaluator.reads_objects() {
            monitors::list(&self.rest, &served, namespace).await
        } else if quota.scopes.is_empty() {
            monitors::count(&self.rest, &served, namespace).await.map(|count| vec![Value::Null; count])
        } else {
            Ok(Vec::new())
        };
        match result {
            Err(error) if rest::is_not_found(&error) => {
                self.monitors.forget(resource);
                Ok(None)
            }
            result => Ok(Some(result?)),
        }
    }
}

fn soonest(one: Option<Duration>, other: Option<Duration>) -> Option<Duration> {
    one.into_iter().chain(other).min()
}

/// How long a pod that is being deleted still counts if nobody finishes that.
fn stuck_in(pod: &Pod, now: Timestamp) -> Option<Duration> {
    let deleted = pod.metadata.deletion_timestamp.as_ref()?.0;
    let grace = pod.metadata.deletion_grace_period_seconds.unwrap_or(0);
    let left = deleted.as_second().saturating_add(grace).saturating_sub(now.as_second());
    // A second more: it counts until the second is over.
    u64::try_from(left).ok().map(|seconds| Duration::from_secs(seconds + 1))
}

/// The status that follows from a count; `None` when the quota has it.
fn plan(quota: &Quota, counted: &Amounts) -> Option<Amounts> {
    let mut used = quota::mask(&quota.used, &quota.wanted);
    used.extend(quota::mask(counted, &quota.wanted));
    (quota.hard != quota.wanted || used != quota.used).then_some(used)
}

fn quantities(amounts: &Amounts) -> BTreeMap<String, Quantity> {
    amounts.iter().map(|(name, amount)| (name.clone(), Quantity(amount.to_string()))).collect()
}

#[async_trait]
impl Controller for ResourceQuotaController {
    fn name(&self) -> &'static str {
        NAME
    }

    fn watches(self: Arc<Self>, watches: &mut Watches) {
        let _ = self.keys.set(watches.keys().clone());
        // Its status changes with every object that is admitted.
        watches.mapped(&self.quotas, |event, keys| {
            if let Event::Applied(quota, old) = event
                && old.as_ref().is_none_or(|old| old.spec != quota.spec)
            {
                keys.add(ObjectKey::of(&**quota));
            }
        });
        let quotas = self.quotas.clone();
        watches.mapped(&self.pods, move |event, keys| {
            let goes = match event {
                Event::Deleted(_) => true,
                Event::Applied(pod, Some(old)) => slim::pod_differs(old, pod),
                Event::Applied(_, None) => false,
            };
            if goes {
                replenish(&quotas, keys, event.object().metadata.namespace.as_deref().unwrap_or_default());
            }
        });
        let quotas = self.quotas.clone();
        watches.mapped(&self.services, move |event, keys| {
            let goes = match event {
                Event::Deleted(_) => true,
                Event::Applied(service, old) => old.as_ref().is_some_and(|old| old.spec != service.spec),
            };
            if goes {
                replenish(&quotas, keys, event.object().metadata.namespace.as_deref().unwrap_or_default());
            }
        });
        let quotas = self.quotas.clone();
        watches.mapped(&self.claims, move |event, keys| {
            let goes = match event {
                Event::Deleted(_) => true,
                Event::Applied(claim, old) => {
                    old.as_ref().is_some_and(|old| old.spec != claim.spec || old.status != claim.status)
                }
            };
            if goes {
                replenish(&quotas, keys, event.object().metadata.namespace.as_deref().unwrap_or_default());
            }
        });
    }

    async fn reconcile(&self, key: &ObjectKey) -> Result<Action, ReconcileError> {
        // Not from the cache: admission changes quotas all the time, and what it reserved must not be overwritten.
        let Some(mut object) = self.rest.get::<ResourceQuota>(key).await? else { return Ok(Action::Done) };
        let quota = Quota::from(rest::to_value(&object)?);
        let (counted, again) = self.count(&key.namespace, &quota).await?;
        let Some(used) = plan(&quota, &counted) else { return Ok(Action::after(again)) };
        let less = quota.used.iter().any(|(name, before)| used.get(name).is_none_or(|now| now < before));
        object.status = Some(ResourceQuotaStatus {
            hard: Some(quantities(&quota.wanted)),
            used: Some(quantities(&used)),
        });
        self.rest.replace_status(&object).await?;
        Ok(Action::after(soonest(again, less.then_some(SETTLED))))
    }

    async fn background(&self, keys: Keys, stop: CancellationToken) {
        let mut resync = tokio::time::interval(RESYNC);
        resync.tick().await;
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = resync.tick() => self.quotas.keys().into_iter().for_each(|key| keys.add(key)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn quota(hard: Value, status: Value) -> Quota {
        Quota::from(json!({"metadata": {"name": "q"}, "spec": {"hard": hard}, "status": status}))
    }

    #[test]
    fn the_status_is_what_was_counted_of_what_is_limited() {
        let counted = quota::amounts(&json!({"u": {"pods": "2", "secrets": "7"}}), "u");
        let planned = |quota: &Quota| plan(quota, &counted).map(|used| quota::pretty(&used));
        let fresh = quota(json!({"pods": "5"}), json!({}));
        assert_eq!(planned(&fresh).as_deref(), Some("pods=2"));
        let right = quota(json!({"pods": "5"}), json!({"hard": {"pods": "5"}, "used": {"pods": "2"}}));
        assert_eq!(planned(&right), None);
        // What nobody can count now keeps what was counted before; what is not limited any more goes.
        let more = quota(
            json!({"pods": "5", "count/widgets.example.com": "1"}),
            json!({"hard": {"pods": "5"}, "used": {"pods": "3", "count/widgets.example.com": "1", "cpu": "1"}}),
        );
        assert_eq!(planned(&more).as_deref(), Some("count/widgets.example.com=1,pods=2"));
    }

    #[test]
    fn a_pod_in_its_end_is_looked_at_when_its_time_is_over() {
        let mut pod = Pod::default();
        assert_eq!(stuck_in(&pod, Timestamp::UNIX_EPOCH), None);
        let at = |seconds| Timestamp::from_second(seconds).unwrap();
        pod.metadata.deletion_timestamp = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(at(100)));
        pod.metadata.deletion_grace_period_seconds = Some(30);
        assert_eq!(stuck_in(&pod, at(90)), Some(Duration::from_secs(41)));
        assert_eq!(stuck_in(&pod, at(131)), None);
    }
}
