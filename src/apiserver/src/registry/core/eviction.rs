//! `pods/eviction`: a deletion that asks the disruption budgets first (policy/v1 Eviction).

use super::binding::set_condition;
use crate::ApiServer;
use crate::admission::Operation;
use crate::body::Body;
use crate::endpoints::body;
use crate::endpoints::create::writer;
use crate::endpoints::{Context, Offer, WriteOptions, delete_options_of, response};
use crate::registry::Served;
use crate::registry::writer::Writer;
use api::value;
use apimachinery::gvk::{GroupResource, Gvk};
use apimachinery::labels::Selector;
use apimachinery::status::{Cause, Result, Status};
use apimachinery::{meta, time};
use http::Response;
use serde_json::{Value, json};
use std::sync::Arc;

/// Seconds after which a refused eviction may be tried again, when the budget has not been looked at yet.
const RETRY_SECONDS: u32 = 10;
/// Pods that a budget remembers as being disrupted before its controller has seen them go (upstream's bound).
const DISRUPTED_PODS_MAX: usize = 2000;

/// Evicts a pod.
pub(crate) async fn evict(
    server: &ApiServer,
    context: &Context,
    served: &Arc<Served>,
    request_body: Body,
) -> Result<Response<Body>> {
    let form = context.form(Offer::PLAIN)?;
    let options = WriteOptions::parse(context, "CreateOptions")?;
    let gvk = Gvk::new("policy", "v1", "Eviction");
    let mut eviction = body::of_kind(context, request_body, &gvk, options.validation).await?;
    let name = context.info.name.as_str();
    if !matches!(meta::name(&eviction), given if given.is_empty() || given == name) {
        return Err(Status::bad_request("name in URL does not match name in Eviction object"));
    }
    let mut request = delete_options_of(eviction.get("deleteOptions").cloned().unwrap_or(json!({})))?;
    request.dry_run |= options.dry_run;
    let writer = Writer { dry_run: request.dry_run, ..writer(server, context, served, &options) };
    let namespace = context.info.namespace.as_str();
    let mut admission = writer.request(Operation::Create, namespace, name, None);
    admission.kind = &gvk;
    writer.chain.admit(&admission, &mut eviction).await?;
    writer.chain.validate(&admission, &eviction).await?;
    let pods = GroupResource::new("", "pods");
    let pod = server.registry().get_value(&pods, namespace, name).await?;
    let pod = pod.ok_or_else(|| Status::not_found(&pods, name))?;
    if needs_budget(&pod) {
        spend_budget(server, context, &pod, request.dry_run).await?;
    }
    if !request.dry_run {
        note_disruption(server, context, namespace, name).await?;
    }
    // What was asked about is the pod that was read, not one of the same name.
    request.options.uid.get_or_insert_with(|| meta::uid(&pod).to_owned());
    let deletion = Writer { subresource: "", options: &request.value, ..writer };
    deletion.delete(namespace, name, &request.options).await?;
    let mut answer = response::status(&Status::success(None), form.media);
    *answer.status_mut() = http::StatusCode::CREATED;
    Ok(answer)
}

/// A pod that does not run, or is on its way out, disrupts nobody.
fn needs_budget(pod: &Value) -> bool {
    let phase = value::text_at(pod, &["status", "phase"]);
    !matches!(phase, "Succeeded" | "Failed" | "Pending") && !meta::is_terminating(pod)
}

fn is_ready(pod: &Value) -> bool {
    value::list_at(pod, &["status", "conditions"])
        .iter()
        .any(|c| value::text(c, "type") == "Ready" && value::text(c, "status") == "True")
}

async fn spend_budget(server: &ApiServer, context: &Context, pod: &Value, dry_run: bool) -> Result<()> {
    let budgets = GroupResource::new("policy", "poddisruptionbudgets");
    let namespace = context.info.namespace.as_str();
    let mut matching = Vec::new();
    for budget in server.registry().list_values(&budgets, namespace).await? {
        if selects(&budget, pod) {
            matching.push(budget);
        }
    }
    let budget = match matching.as_slice() {
        [] => return Ok(()),
        [budget] => budget,
        _ => {
            return Err(Status::internal(
                "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.",
            ));
        }
    };
    if !is_ready(pod) && unready_may_go(budget) {
        return Ok(());
    }
    let name = meta::name(budget).to_owned();
    let pod_name = meta::name(pod).to_owned();
    if dry_run {
        return spend(&mut budget.clone(), &pod_name, context.now);
    }
    server
        .registry()
        .guaranteed_update(&budgets, namespace, &name, |budget| spend(budget, &pod_name, context.now))
        .await
        .map(|_| ())
}

/// An empty selector selects every pod of the namespace (policy/v1).
fn selects(budget: &Value, pod: &Value) -> bool {
    let Some(selector) = budget.pointer("/spec/selector") else { return false };
    let Ok(selector) = Selector::from_label_selector(selector) else { return false };
    let empty = serde_json::Map::new();
    selector.matches(meta::labels(pod).unwrap_or(&empty))
}

/// KEP-3017: pods that are not ready go always, or while the application has what it needs.
fn unready_may_go(budget: &Value) -> bool {
    if value::text_at(budget, &["spec", "unhealthyPodEvictionPolicy"]) == "AlwaysAllow" {
        return true;
    }
    let number = |field: &str| value::int_at(budget, &["status", field]).unwrap_or(0);
    number("desiredHealthy") > 0 && number("currentHealthy") >= number("desiredHealthy")
}

/// Takes one disruption out of a budget.
fn spend(budget: &mut Value, pod: &str, now: jiff::Timestamp) -> Result<()> {
    let number = |field: &str| value::int_at(budget, &["status", field]).unwrap_or(0);
    let name = meta::name(budget).to_owned();
    let refuse = |message: String, retry: u32| {
        let mut status = Status::too_many_requests(
            "Cannot evict pod as it would violate the pod's disruption budget.",
            retry,
        );
        if let Some(details) = status.details.as_mut() {
            details.causes.push(Cause {
                reason: "DisruptionBudget".to_owned(),
                message,
                field: String::new(),
            });
        }
        Err(status)
    };
    if number("observedGeneration") < meta::generation(budget) {
        return refuse(
            format!("The disruption budget {name} is still being processed by the server."),
            RETRY_SECONDS,
        );
    }
    let disrupted = budget.pointer("/status/disruptedPods").and_then(Value::as_object).map_or(0, |m| m.len());
    if number("disruptionsAllowed") <= 0 || disrupted > DISRUPTED_PODS_MAX {
        let (needs, has) = (number("desiredHealthy"), number("currentHealthy"));
        return refuse(
            format!("The disruption budget {name} needs {needs} healthy pods and has {has} currently"),
            0,
        );
    }
    let left = number("disruptionsAllowed") - 1;
    if let Some(status) = value::ensure_object(budget, "status") {
        value::set(status, "disruptionsAllowed", left);
        if let Some(pods) = value::ensure_object(status, "disruptedPods") {
            value::set(pods, pod, time::rfc3339(now));
        }
    }
    Ok(())
}

async fn note_disruption(server: &ApiServer, context: &Context, namespace: &str, name: &str) -> Result<()> {
    let pods = GroupResource::new("", "pods");
    server
        .registry()
        .guaranteed_update(&pods, namespace, name, |pod| {
            set_condition(
                pod,
                json!({
                    "type": "DisruptionTarget",
                    "status": "True",
                    "reason": "EvictionByEvictionAPI",
                    "message": "Eviction API: evicting",
                    "lastProbeTime": null,
                    "lastTransitionTime": time::rfc3339(context.now),
                }),
            );
            Ok(())
        })
        .await
        .map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_is_spent_and_then_refuses() {
        let mut budget = json!({"metadata": {"name": "b", "generation": 1},
            "status": {"observedGeneration": 1, "disruptionsAllowed": 1, "desiredHealthy": 2, "currentHealthy": 3}});
        let now = jiff::Timestamp::UNIX_EPOCH;
        spend(&mut budget, "p", now).unwrap();
        assert_eq!(budget["status"]["disruptionsAllowed"], 0);
        assert!(budget["status"]["disruptedPods"]["p"].is_string());
        let refused = spend(&mut budget, "q", now).unwrap_err();
        assert_eq!(refused.code, 429);
        assert_eq!(
            refused.details.unwrap().causes[0].message,
            "The disruption budget b needs 2 healthy pods and has 3 currently"
        );
    }

    #[test]
    fn a_budget_that_nobody_looked_at_refuses() {
        let mut budget =
            json!({"metadata": {"name": "b", "generation": 2}, "status": {"disruptionsAllowed": 1}});
        assert_eq!(spend(&mut budget, "p", jiff::Timestamp::UNIX_EPOCH).unwrap_err().code, 429);
    }
}
