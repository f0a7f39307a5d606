//! BackendTLSPolicies: Services whose endpoints speak TLS, and whom they are verified by. Pure.

use super::status::{Condition, Problem, Update, merged};
use super::types::{Reference, spec};
use super::{CONTROLLER, GROUP, Gateway, Inputs, Object};
use crate::ingress::encryption::{Encryption, Source};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// So many Gateways fit into a status.
const ANCESTORS: usize = 16;

/// The spec of a BackendTLSPolicy.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Spec {
    target_refs: Vec<Reference>,
    validation: Validation,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Validation {
    ca_certificate_refs: Vec<Reference>,
    hostname: String,
    subject_alt_names: Vec<AlternativeName>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct AlternativeName {
    hostname: Option<String>,
}

/// A policy that was looked at.
struct Policy<'a> {
    object: &'a Object,
    spec: Spec,
    /// Why it is not accepted.
    refused: Option<Problem>,
    /// What it refers to and is not there.
    unresolved: Option<Problem>,
    /// What it comes to; what nobody is believed by when something is wrong with it.
    encryption: Encryption,
}

/// All policies, the oldest first.
#[derive(Default)]
pub struct Policies<'a>(Vec<Policy<'a>>);

/// ConfigMaps with authorities that policies name.
pub fn sources(policies: &[Object]) -> BTreeSet<Source> {
    let named = policies.iter().filter_map(|object| {
        let namespace = object.metadata.namespace.as_deref()?;
        Some((namespace, spec::<Spec>(object)?.validation.ca_certificate_refs))
    });
    let one = |(namespace, references): (&str, Vec<Reference>)| -> Vec<Source> {
        references.iter().map(|one| Source::ConfigMap(format!("{namespace}/{}", one.name))).collect()
    };
    named.flat_map(one).collect()
}

impl<'a> Policies<'a> {
    /// Looks at policies, the oldest first; `authority` tells whether a ConfigMap has one.
    pub fn read(objects: Vec<&'a Object>, authority: &dyn Fn(&Source) -> bool) -> Self {
        let mut all: Vec<Policy<'a>> = Vec::new();
        for object in objects {
            let Some(spec) = spec::<Spec>(object) else { continue };
            let namespace = object.metadata.namespace.as_deref().unwrap_or_default();
            let (source, unresolved) = certificates(&spec.validation, namespace, authority);
            let alternatives = &spec.validation.subject_alt_names;
            let others =
                all.iter().filter(|other| other.object.metadata.namespace == object.metadata.namespace);
            let same = |one: &Reference, other: &Reference| {
                one.name == other.name && one.section_name == other.section_name
            };
            let taken = others
                .flat_map(|other| &other.spec.target_refs)
                .any(|other| spec.target_refs.iter().any(|one| same(one, other)));
            let refused = if taken {
                Some(Problem::new("Conflicted", "an older policy has the same target"))
            } else if alternatives.iter().any(|one| one.hostname.is_none()) {
                Some(Problem::new("Invalid", "names that are URIs are not supported"))
            } else if source.is_none() && spec.validation.ca_certificate_refs.is_empty() {
                Some(Problem::new("Invalid", "the system's certificates are not supported: name a ConfigMap"))
            } else if source.is_none() {
                Some(Problem::new("NoValidCACertificate", "no certificate of an authority can be used"))
            } else {
                None
            };
            let encryption = Encryption {
                name: Some(spec.validation.hostname.clone()),
                tells_name: true,
                alternatives: alternatives.iter().filter_map(|one| one.hostname.clone()).collect(),
                verifies: true,
                source: source.filter(|_| refused.is_none()),
                ..Encryption::default()
            };
            all.push(Policy { object, spec, refused, unresolved, encryption });
        }
        Self(all)
    }

    /// How the endpoints of a port of a Service are spoken to; in plain when no policy tells.
    pub fn of(&self, namespace: &str, service: &str, port: Option<&str>) -> Option<Encryption> {
        let find = |section: Option<&str>| {
            self.0.iter().find(|policy| {
                let is = |one: &Reference| targets(one, service) && one.section_name.as_deref() == section;
                let conflicted =
                    policy.refused.as_ref().is_some_and(|problem| problem.reason == "Conflicted");
                !conflicted
                    && policy.object.metadata.namespace.as_deref() == Some(namespace)
                    && policy.spec.target_refs.iter().any(is)
            })
        };
        let named = port.and_then(|port| find(Some(port)));
        named.or_else(|| find(None)).map(|policy| policy.encryption.clone())
    }

    /// What policies are told, for the Gateways (by number) whose routes use Services.
    pub fn updates(
        &self,
        used: &BTreeSet<(usize, String, String)>,
        gateways: &[Gateway],
        inputs: &Inputs<'_>,
    ) -> Vec<Update> {
        self.0.iter().filter_map(|policy| policy.update(used, gateways, inputs)).collect()
    }
}

impl Policy<'_> {
    fn update(
        &self,
        used: &BTreeSet<(usize, String, String)>,
        gateways: &[Gateway],
        inputs: &Inputs<'_>,
    ) -> Option<Update> {
        let namespace = self.object.metadata.namespace.as_deref().unwrap_or_default();
        let before = self.object.data.pointer("/status/ancestors").and_then(Value::as_array);
        let is_mine = |entry: &Value| entry.get("controllerName").and_then(Value::as_str) == Some(CONTROLLER);
        let mut entries: Vec<Value> =
            before.into_iter().flatten().filter(|entry| !is_mine(entry)).cloned().collect();
        let accepted = match &self.refused {
            None => Condition::yes("Accepted", "Accepted", ""),
            Some(problem) => Condition::no("Accepted", problem.reason, &problem.message),
        };
        let resolved = match &self.unresolved {
            None => Condition::yes("ResolvedRefs", "ResolvedRefs", ""),
            Some(problem) => Condition::no("ResolvedRefs", problem.reason, &problem.message),
        };
        let wanted = [accepted, resolved];
        let is_used = |at: usize| {
            let mut services = used.iter().filter(|(gateway, there, _)| *gateway == at && there == namespace);
            services.any(|(_, _, service)| self.spec.target_refs.iter().any(|one| targets(one, service)))
        };
        for (_, gateway) in gateways.iter().enumerate().filter(|(at, _)| is_used(*at)) {
            if entries.len() >= ANCESTORS {
                break;
            }
            let ancestor = json!({"group": GROUP, "kind": "Gateway", "namespace": gateway.namespace(), "name": gateway.name()});
            let same = |entry: &&Value| is_mine(entry) && entry.get("ancestorRef") == Some(&ancestor);
            let old = before.into_iter().flatten().find(same).and_then(|entry| entry.get("conditions"));
            let generation = self.object.metadata.generation.unwrap_or_default();
            let conditions = merged(old, &wanted, generation, inputs.now);
            entries.push(
                json!({"ancestorRef": ancestor, "controllerName": CONTROLLER, "conditions": conditions}),
            );
        }
        (before.is_some() || !entries.is_empty())
            .then(|| Update::of("backendtlspolicies", self.object, json!({"ancestors": entries})))?
    }
}

fn targets(reference: &Reference, service: &str) -> bool {
    let core = reference.group.as_deref().unwrap_or_default().is_empty();
    core && reference.kind.as_deref() == Some("Service") && reference.name == service
}

/// The first ConfigMap that can be used, and what is wrong with another one.
fn certificates(
    validation: &Validation,
    namespace: &str,
    authority: &dyn Fn(&Source) -> bool,
) -> (Option<Source>, Option<Problem>) {
    let (mut found, mut wrong) = (None, None);
    for reference in &validation.ca_certificate_refs {
        let kind = reference.kind.as_deref().unwrap_or_default();
        let source = Source::ConfigMap(format!("{namespace}/{}", reference.name));
        if kind != "ConfigMap" || !reference.group.as_deref().unwrap_or_default().is_empty() {
            let message = format!("certificates of kind {kind} are not supported");
            wrong = wrong.or_else(|| Some(Problem::new("InvalidKind", message)));
        } else if authority(&source) {
            found = found.or(Some(source));
        } else {
            let message = format!("ConfigMap {namespace}/{} has no certificate in ca.crt", reference.name);
            wrong = wrong.or_else(|| Some(Problem::new("InvalidCACertificateRef", message)));
        }
    }
    (found, wrong)
}
