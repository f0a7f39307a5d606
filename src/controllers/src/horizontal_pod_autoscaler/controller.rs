//! Reading scales and metrics; writing scales, statuses and events.

use super::metrics::PodMetricsList;
use super::rates::{Bounds, Memory, Reason};
use super::usage::{self, Outcome, Subject, Target, Tolerances};
use crate::framework::{Action, Context, Controller, ReconcileError, Watches};
use apimachinery::labels::Selector;
use apimachinery::quantity::Quantity;
use async_trait::async_trait;
use client::discovery::{self, Discovered};
use client::{Event, EventRecorder, EventType, Informer, ObjectKey, Rest, rest};
use jiff::Timestamp;
use k8s_openapi::api::autoscaling::v2::{
    ContainerResourceMetricStatus, HorizontalPodAutoscaler, HorizontalPodAutoscalerBehavior,
    HorizontalPodAutoscalerCondition, HorizontalPodAutoscalerStatus, MetricSpec, MetricStatus, MetricTarget,
    MetricValueStatus, ResourceMetricStatus,
};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as QuantityText;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

const NAME: &str = "horizontal-pod-autoscaler";
/// How often each autoscaler is looked at; upstream's default.
const PERIOD: Duration = Duration::from_secs(15);
/// How far from the target nothing is done; upstream's default.
const TOLERANCE: f64 = 0.1;

/// The controller; keys are HorizontalPodAutoscalers.
pub struct HorizontalPodAutoscaling {
    context: Context,
    rest: Rest,
    autoscalers: Informer<HorizontalPodAutoscaler>,
    pods: Informer<Pod>,
    recorder: EventRecorder,
    memories: Mutex<HashMap<ObjectKey, Memory>>,
    discovered: tokio::sync::Mutex<Discovered>,
}

/// What a metric of the spec calls for.
struct Found {
    replicas: i32,
    what: String,
    status: MetricStatus,
}

/// Why a metric says nothing.
struct Failure {
    reason: &'static str,
    message: String,
}

impl HorizontalPodAutoscaling {
    /// The controller, not running yet.
    pub fn new(context: &Context) -> Self {
        Self {
            context: context.clone(),
            rest: context.rest.clone(),
            autoscalers: context.informers.get(),
            pods: context.pods(),
            recorder: context.recorder(NAME),
            memories: Mutex::default(),
            discovered: tokio::sync::Mutex::default(),
        }
    }

    /// The path of the target's scale.
    async fn scale_path(&self, autoscaler: &HorizontalPodAutoscaler) -> Result<String, String> {
        let target = &autoscaler.spec.scale_target_ref;
        let api_version = target.api_version.as_deref().filter(|v| !v.is_empty()).unwrap_or("v1");
        let namespace = autoscaler.metadata.namespace.as_deref().unwrap_or_default();
        let mut discovered = self.discovered.lock().await;
        if discovered.find(api_version, &target.kind).is_none() {
            *discovered = discovery::discover(&self.rest).await.map_err(|error| error.to_string())?;
        }
        let served = discovered.find(api_version, &target.kind).ok_or_else(|| {
            format!("no matches for kind \"{}\" in group \"{}\"", target.kind, group_of(api_version))
        })?;
        Ok(rest::item_path(&served.path(namespace), &target.name, "scale"))
    }

    async fn look(
        &self,
        key: &ObjectKey,
        autoscaler: &HorizontalPodAutoscaler,
        next: &mut HorizontalPodAutoscaler,
    ) -> Result<(), ReconcileError> {
        let now = self.context.now();
        let path = self.scale_path(autoscaler).await;
        let scale = match &path {
            Ok(path) => self.rest.raw(http::Method::GET, path, None).await.map_err(|e| e.to_string()),
            Err(why) => Err(why.clone()),
        };
        let (path, mut scale) = match (path, scale) {
            (Ok(path), Ok(text)) => (path, serde_json::from_str::<Value>(&text).unwrap_or_default()),
            (Err(why), _) | (_, Err(why)) => {
                self.recorder.about(autoscaler, EventType::Warning, "FailedGetScale", why.clone());
                let message =
                    format!("the HPA controller was unable to get the target's current scale: {why}");
                condition(next, "AbleToScale", false, ("FailedGetScale", &message), now);
                return Ok(());
            }
        };
        let got = ("SucceededGetScale", "the HPA controller was able to get the target's current scale");
        condition(next, "AbleToScale", true, got, now);
        let number = |path: &str| {
            scale.pointer(path).and_then(Value::as_i64).and_then(|n| i32::try_from(n).ok()).unwrap_or(0)
        };
        let (wished, current) = (number("/spec/replicas"), number("/status/replicas"));
        let selector = scale.pointer("/status/selector").and_then(Value::as_str).unwrap_or("").to_owned();
        let spec = &autoscaler.spec;
        let bounds = Bounds { min: spec.min_replicas.unwrap_or(1), max: spec.max_replicas };
        status(next).current_replicas = Some(current);
        let (desired, why) = if wished == 0 && bounds.min != 0 {
            let disabled =
                ("ScalingDisabled", "scaling is disabled since the replica count of the target is zero");
            condition(next, "ScalingActive", false, disabled, now);
            (0, String::new())
        } else if wished > bounds.max {
            (bounds.max, "Current number of replicas above Spec.MaxReplicas".to_owned())
        } else if wished < bounds.min {
            (bounds.min, "Current number of replicas below Spec.MinReplicas".to_owned())
        } else {
            let Some((wanted, what)) = self.measure(autoscaler, next, wished, &selector, now).await else {
                return Ok(());
            };
            let decision = {
                let mut memories = self.memories.lock();
                let memory = memories.entry(key.clone()).or_default();
                memory.decide(wished, wanted, bounds, spec.behavior.as_ref(), now)
            };
            let ready: Reason = ("ReadyForNewScale", "recommended size matches current size");
            condition(next, "AbleToScale", true, decision.stabilized.unwrap_or(ready), now);
            let within: Reason = ("DesiredWithinRange", "the desired count is within the acceptable range");
            let limited = decision.limited.is_some();
            condition(next, "ScalingLimited", limited, decision.limited.unwrap_or(within), now);
            let why = match wanted.cmp(&wished) {
                std::cmp::Ordering::Greater => format!("{what} above target"),
                _ => "All metrics below target".to_owned(),
            };
            (decision.replicas, why)
        };
        status(next).desired_replicas = desired;
        if desired == wished {
            return Ok(());
        }
        if let Some(replicas) = scale.pointer_mut("/spec/replicas") {
            *replicas = json!(desired);
        } else if let Some(spec) = scale.get_mut("spec").and_then(Value::as_object_mut) {
            spec.insert("replicas".to_owned(), json!(desired));
        }
        let written = self.rest.raw(http::Method::PUT, &path, Some(scale.to_string().into_bytes())).await;
        if let Err(error) = written {
            let message = format!("New size: {desired}; reason: {why}; error: {error}");
            self.recorder.about(autoscaler, EventType::Warning, "FailedRescale", message);
            let message = format!("the HPA controller was unable to update the target scale: {error}");
            condition(next, "AbleToScale", false, ("FailedUpdateScale", &message), now);
            status(next).desired_replicas = wished;
            return Ok(());
        }
        let message = format!("the HPA controller was able to update the target scale to {desired}");
        condition(next, "AbleToScale", true, ("SucceededRescale", &message), now);
        let message = format!("New size: {desired}; reason: {why}");
        self.recorder.about(autoscaler, EventType::Normal, "SuccessfulRescale", message);
        self.memories.lock().entry(key.clone()).or_default().changed(wished, desired, now);
        status(next).last_scale_time = Some(Time(now));
        Ok(())
    }

    /// How many replicas the metrics call for, and which of them the most; none when they say nothing.
    async fn measure(
        &self,
        autoscaler: &HorizontalPodAutoscaler,
        next: &mut HorizontalPodAutoscaler,
        current: i32,
        selector: &str,
        now: Timestamp,
    ) -> Option<(i32, String)> {
        let spec = &autoscaler.spec;
        if selector.is_empty() {
            self.recorder.about(autoscaler, EventType::Warning, "SelectorRequired", "selector is required");
            let missing = ("InvalidSelector", "the HPA target's scale is missing a selector");
            condition(next, "ScalingActive", false, missing, now);
            return None;
        }
        let namespace = autoscaler.metadata.namespace.as_deref().unwrap_or_default();
        let Ok(parsed) = Selector::parse(selector) else {
            let message = format!(
                "couldn't convert selector into a corresponding internal selector object: {selector}"
            );
            condition(next, "ScalingActive", false, ("InvalidSelector", &message), now);
            return None;
        };
        let none = std::collections::BTreeMap::new();
        let pods: Vec<Arc<Pod>> = self
            .pods
            .list_namespace(namespace)
            .into_iter()
            .filter(|pod| parsed.matches(pod.metadata.labels.as_ref().unwrap_or(&none)))
            .collect();
        let used = PodMetricsList::fetch(&self.rest, namespace, selector).await.map_err(|e| e.to_string());
        let metrics = spec.metrics.as_deref().unwrap_or_default();
        let (mut best, mut statuses, mut failures) = (None::<Found>, Vec::new(), Vec::new());
        for metric in metrics {
            match one(metric, current, &used, &pods, spec.behavior.as_ref(), now) {
                Ok(found) => {
                    statuses.push(found.status.clone());
                    if best.as_ref().is_none_or(|best| found.replicas > best.replicas) {
                        best = Some(found);
                    }
                }
                Err(failure) => failures.push(failure),
            }
        }
        for failure in &failures {
            self.recorder.about(autoscaler, EventType::Warning, failure.reason, failure.message.clone());
        }
        status(next).current_metrics = Some(statuses);
        // Half of the metrics may still say that more is wanted, never that less is.
        let more = best.as_ref().is_some_and(|best| best.replicas >= current);
        if let Some(first) = failures.first().filter(|_| !more) {
            let message = format!("the HPA was unable to compute the replica count: {}", first.message);
            condition(next, "ScalingActive", false, (first.reason, &message), now);
            let message = format!(
                "invalid metrics ({} invalid out of {}), first error is: {}",
                failures.len(),
                metrics.len(),
                first.message
            );
            self.recorder.about(autoscaler, EventType::Warning, "FailedComputeMetricsReplicas", message);
            return None;
        }
        let best = best?;
        let message =
            format!("the HPA was able to successfully calculate a replica count from {}", best.what);
        condition(next, "ScalingActive", true, ("ValidMetricFound", &message), now);
        Some((best.replicas, best.what))
    }
}

/// What one metric of the spec calls for.
fn one(
    metric: &MetricSpec,
    current: i32,
    used: &Result<PodMetricsList, String>,
    pods: &[Arc<Pod>],
    behavior: Option<&HorizontalPodAutoscalerBehavior>,
    now: Timestamp,
) -> Result<Found, Failure> {
    let (resource, container, target, reason) = match (&metric.resource, &metric.container_resource) {
        (Some(source), _) if metric.type_ == "Resource" => {
            (&source.name, None, &source.target, "FailedGetResourceMetric")
        }
        (_, Some(source)) if metric.type_ == "ContainerResource" => {
            (&source.name, Some(&source.container), &source.target, "FailedGetContainerResourceMetric")
        }
        _ => {
            let (reason, api) = match metric.type_.as_str() {
                "Pods" => ("FailedGetPodsMetric", "custom"),
                "Object" => ("FailedGetObjectMetric", "custom"),
                _ => ("FailedGetExternalMetric", "external"),
            };
            return Err(Failure { reason, message: format!("no {api} metrics API is supported") });
        }
    };
    let failed = |message: String| Failure {
        reason,
        message: format!("failed to get {resource} {}: {message}", word(target)),
    };
    let aim = match (target.average_utilization, &target.average_value) {
        (Some(percent), _) => Target::Utilization(percent),
        (None, Some(value)) => Target::AverageValue(
            value.0.parse::<Quantity>().map_err(|error| failed(error.to_string()))?.milli_value(),
        ),
        (None, None) => {
            return Err(failed("neither a utilization target nor a value target was set".to_owned()));
        }
    };
    let list = used.as_ref().map_err(|why| {
        failed(format!("unable to get metrics for resource {resource}: unable to fetch metrics from resource metrics API: {why}"))
    })?;
    let subject = Subject {
        resource,
        container: container.map(String::as_str),
        target: aim,
        tolerances: tolerances(behavior),
    };
    let metrics = list.of(resource, subject.container).map_err(failed)?;
    let outcome = usage::replicas(current, metrics, pods, subject, now).map_err(failed)?;
    let what = match (aim, container) {
        (Target::Utilization(_), None) => format!("{resource} resource utilization (percentage of request)"),
        (Target::Utilization(_), Some(_)) => {
            format!("{resource} container resource utilization (percentage of request)")
        }
        (Target::AverageValue(_), None) => format!("{resource} resource"),
        (Target::AverageValue(_), Some(_)) => format!("{resource} container resource"),
    };
    Ok(Found { replicas: outcome.replicas, what, status: metric_status(metric, outcome) })
}

fn metric_status(metric: &MetricSpec, outcome: Outcome) -> MetricStatus {
    let current = MetricValueStatus {
        average_utilization: outcome.utilization,
        average_value: Some(QuantityText(Quantity::from_milli(outcome.average_milli).to_string())),
        value: None,
    };
    MetricStatus {
        type_: metric.type_.clone(),
        resource: metric
            .resource
            .as_ref()
            .map(|source| ResourceMetricStatus { name: source.name.clone(), current: current.clone() }),
        container_resource: metric.container_resource.as_ref().map(|source| ContainerResourceMetricStatus {
            name: source.name.clone(),
            container: source.container.clone(),
            current,
        }),
        ..MetricStatus::default()
    }
}

fn tolerances(behavior: Option<&HorizontalPodAutoscalerBehavior>) -> Tolerances {
    let of = |rules: Option<&k8s_openapi::api::autoscaling::v2::HPAScalingRules>| {
        let text = rules.and_then(|rules| rules.tolerance.as_ref());
        text.and_then(|text| text.0.parse::<Quantity>().ok()).map_or(TOLERANCE, |q| q.as_approximate_float())
    };
    Tolerances {
        up: of(behavior.and_then(|b| b.scale_up.as_ref())),
        down: of(behavior.and_then(|b| b.scale_down.as_ref())),
    }
}

fn word(target: &MetricTarget) -> &'static str {
    if target.average_utilization.is_some() { "utilization" } else { "usage" }
}

fn group_of(api_version: &str) -> &str {
    api_version.split_once('/').map_or("", |(group, _)| group)
}

fn status(autoscaler: &mut HorizontalPodAutoscaler) -> &mut HorizontalPodAutoscalerStatus {
    autoscaler.status.get_or_insert_default()
}

fn condition(
    autoscaler: &mut HorizontalPodAutoscaler,
    type_: &str,
    holds: bool,
    (reason, message): (&str, &str),
    now: Timestamp,
) {
    let word = if holds { "True" } else { "False" };
    let all = status(autoscaler).conditions.get_or_insert_default();
    let since = match all.iter().find(|c| c.type_ == type_ && c.status == word) {
        Some(same) => same.last_transition_time.clone(),
        None => Some(Time(now)),
    };
    let new = HorizontalPodAutoscalerCondition {
        type_: type_.to_owned(),
        status: word.to_owned(),
        reason: Some(reason.to_owned()),
        message: Some(message.to_owned()),
        last_transition_time: since,
    };
    match all.iter_mut().find(|c| c.type_ == type_) {
        Some(old) => *old = new,
        None => all.push(new),
    }
}

#[async_trait]
impl Controller for HorizontalPodAutoscaling {
    fn name(&self) -> &'static str {
        NAME
    }

    fn watches(self: Arc<Self>, watches: &mut Watches) {
        // A status that was written here is no reason to look again.
        watches.mapped(&self.autoscalers, |event, keys| match event {
            Event::Applied(new, Some(old)) if new.spec == old.spec => {}
            _ => keys.add(ObjectKey::of(&**event.object())),
        });
        watches.reads(&self.pods);
    }

    async fn reconcile(&self, key: &ObjectKey) -> Result<Action, ReconcileError> {
        let Some(autoscaler) = self.autoscalers.get(key) else {
            self.memories.lock().remove(key);
            return Ok(Action::Done);
        };
        let mut next = (*autoscaler).clone();
        status(&mut next).observed_generation = autoscaler.metadata.generation;
        self.look(key, &autoscaler, &mut next).await?;
        if next.status != autoscaler.status {
            match self.rest.replace_status(&next).await {
                Err(error) if rest::is_not_found(&error) => {}
                result => drop(result?),
            }
        }
        Ok(Action::RequeueAfter(PERIOD))
    }
}
