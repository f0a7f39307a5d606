//! Which routes attach to which listeners, and what they are told about it. Pure.

use super::hostnames::intersection;
use super::rules::{Compiled, Compiler, Kind};
use super::status::{Condition, Problem, Update, merged};
use super::types::{Reference, RouteSpec, spec};
use super::{CONTROLLER, GROUP, Gateway, Inputs, Object, Output};
use crate::ingress::table::{Attachment, Route, Stream, Target};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Attaches a route to the Gateways that it names, and says what it should be told.
pub fn attach(
    kind: Kind,
    object: &Object,
    inputs: &Inputs<'_>,
    gateways: &mut [Gateway],
    output: &mut Output,
) {
    let Some(route) = spec::<RouteSpec>(object) else { return };
    let namespace = object.metadata.namespace.as_deref().unwrap_or_default();
    let mut compiler = Compiler { inputs, kind, namespace, unresolved: Vec::new() };
    let rules: Vec<Result<Compiled, Problem>> = route.rules.iter().map(|rule| compiler.rule(rule)).collect();
    let told = told(&rules, compiler.unresolved.first());
    let mut attached = BTreeSet::new();
    let parents = object.data.pointer("/spec/parentRefs").and_then(Value::as_array);
    let before = object.data.pointer("/status/parents").and_then(Value::as_array);
    let is_mine = |entry: &Value| entry.get("controllerName").and_then(Value::as_str) == Some(CONTROLLER);
    let mut entries: Vec<Value> =
        before.into_iter().flatten().filter(|entry| !is_mine(entry)).cloned().collect();
    for (raw, reference) in parents.into_iter().flatten().zip(&route.parent_refs) {
        let Some(at) = parent(reference, namespace, gateways) else { continue };
        let Some(gateway) = gateways.get_mut(at) else { continue };
        let mut conditions = told.clone();
        match listeners(kind, &route, reference, namespace, gateway, inputs) {
            Ok(heard) if conditions.iter().all(|one| one.kind != "Accepted" || one.holds) => {
                for (listener, hosts) in heard {
                    output.used.extend(services(&rules).map(|(there, name)| (at, there, name)));
                    if attached.insert((at, listener)) {
                        publish(kind, gateway, listener, &hosts, &rules, output);
                    }
                }
            }
            Ok(_) => {}
            Err(problem) => {
                conditions.retain(|one| !matches!(one.kind, "Accepted" | "PartiallyInvalid"));
                conditions.push(Condition::no("Accepted", problem.reason, problem.message));
            }
        }
        let same = |entry: &&Value| is_mine(entry) && entry.get("parentRef") == Some(raw);
        let old = before.into_iter().flatten().find(same).and_then(|entry| entry.get("conditions"));
        let conditions = merged(old, &conditions, object.metadata.generation.unwrap_or_default(), inputs.now);
        entries.push(json!({"parentRef": raw, "controllerName": CONTROLLER, "conditions": conditions}));
    }
    for (gateway, listener) in attached {
        let count = gateways.get_mut(gateway).and_then(|gateway| gateway.attached.get_mut(listener));
        if let Some(count) = count {
            *count += 1;
        }
    }
    // A route of nobody's has no status, and needs none.
    if before.is_some() || !entries.is_empty() {
        output.updates.extend(Update::of(kind.plural(), object, json!({"parents": entries})));
    }
}

/// Namespaces and names of the Services that rules use.
fn services(rules: &[Result<Compiled, Problem>]) -> impl Iterator<Item = (String, String)> {
    let rules = rules.iter().filter_map(|rule| rule.as_ref().ok());
    let choices =
        rules.flat_map(|(_, rule)| rule.choices.iter().filter_map(|choice| choice.backend.as_ref()));
    choices.map(|backend| (backend.namespace.clone(), backend.service.clone()))
}

/// What a route is told wherever it attaches.
fn told(rules: &[Result<Compiled, Problem>], unresolved: Option<&Problem>) -> Vec<Condition> {
    let resolved = match unresolved {
        None => Condition::yes("ResolvedRefs", "ResolvedRefs", ""),
        Some(problem) => Condition::no("ResolvedRefs", problem.reason, &problem.message),
    };
    let dropped: Vec<(usize, &Problem)> =
        rules.iter().enumerate().filter_map(|(at, rule)| Some((at, rule.as_ref().err()?))).collect();
    let mut all = vec![resolved];
    match dropped.first() {
        None => all.push(Condition::yes("Accepted", "Accepted", "")),
        Some((_, problem)) if dropped.len() == rules.len() => {
            all.push(Condition::no("Accepted", problem.reason, &problem.message));
        }
        Some((_, first)) => {
            let which: Vec<String> = dropped.iter().map(|(at, _)| at.to_string()).collect();
            let message = format!("Dropped Rule {}: {}", which.join(", "), first.message);
            all.push(Condition::yes("Accepted", "Accepted", ""));
            all.push(Condition::yes("PartiallyInvalid", first.reason, message));
        }
    }
    all
}

/// The Gateway that a reference means, if it is one of the proxy's.
fn parent(reference: &Reference, namespace: &str, gateways: &[Gateway]) -> Option<usize> {
    let is = |given: &Option<String>, wanted: &str| given.as_deref().is_none_or(|given| given == wanted);
    if !is(&reference.group, GROUP) || !is(&reference.kind, "Gateway") {
        return None;
    }
    let namespace = reference.namespace.as_deref().unwrap_or(namespace);
    gateways.iter().position(|gateway| gateway.namespace() == namespace && gateway.name() == reference.name)
}

/// The listeners that take a route, with the hosts that they have in common.
fn listeners(
    kind: Kind,
    route: &RouteSpec,
    reference: &Reference,
    namespace: &str,
    gateway: &Gateway,
    inputs: &Inputs<'_>,
) -> Result<Vec<(usize, Vec<String>)>, Problem> {
    let named: Vec<usize> = gateway
        .found
        .iter()
        .enumerate()
        .filter(|(_, found)| reference.section_name.as_ref().is_none_or(|name| *name == found.name))
        .filter(|(_, found)| reference.port.is_none_or(|port| port == found.port))
        .map(|(at, _)| at)
        .collect();
    if named.is_empty() {
        return Err(Problem::new("NoMatchingParent", "the Gateway has no such listener"));
    }
    let found = |at: &usize| gateway.found.get(*at);
    let allowed: Vec<usize> = named
        .into_iter()
        .filter(|at| found(at).is_some_and(|one| one.allows(kind, gateway.namespace(), namespace, inputs)))
        .collect();
    if allowed.is_empty() {
        let message = format!("no listener takes a {} of namespace {namespace}", kind.name());
        return Err(Problem::new("NotAllowedByListeners", message));
    }
    let mut heard = Vec::new();
    for at in allowed {
        let own = found(&at).map_or("", |one| one.hostname.as_str());
        let hosts: Vec<String> = if route.hostnames.is_empty() {
            vec![own.to_owned()]
        } else {
            let hosts = route.hostnames.iter().map(|host| host.to_ascii_lowercase());
            hosts.filter_map(|host| intersection(own, &host).map(str::to_owned)).collect()
        };
        if !hosts.is_empty() {
            heard.push((at, hosts));
        }
    }
    if heard.is_empty() {
        let message = "no listener has a host of the route's";
        return Err(Problem::new("NoMatchingListenerHostname", message));
    }
    Ok(heard)
}

/// Lets requests of a listener meet the rules.
fn publish(
    kind: Kind,
    gateway: &Gateway,
    listener: usize,
    hosts: &[String],
    rules: &[Result<Compiled, Problem>],
    output: &mut Output,
) {
    let Some(found) = gateway.found.get(listener).filter(|found| gateway.refused.is_none() && found.serves())
    else {
        return;
    };
    for host in hosts {
        for (matches, rule) in rules.iter().filter_map(|rule| rule.as_ref().ok()) {
            if kind == Kind::Tls {
                let terminate = !found.certificates.is_empty();
                output.streams.push((host.clone(), Stream { terminate, rule: rule.clone() }));
                continue;
            }
            for (pattern, needs) in matches {
                let attachment =
                    Attachment { listener: gateway.first + listener, needs: Arc::new(needs.clone()) };
                let target = Target::Rule(rule.clone());
                let route = Route { pattern: pattern.clone(), target, attachment: Some(attachment) };
                output.routes.push((host.clone(), route));
            }
        }
    }
}
