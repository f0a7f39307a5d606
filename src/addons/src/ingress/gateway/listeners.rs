//! Listeners of Gateways: what each hears, whether it can, and who may attach. Pure.

use super::hostnames::intersection;
use super::rules::Kind;
use super::status::{Condition, Problem};
use super::types::{GatewaySpec, Listener, Reference};
use super::{GROUP, Inputs};
use crate::ingress::table::Side;
use apimachinery::labels::Selector;
use serde_json::Value;

/// The ports of the nodes that the add-on's pods have (`addons/ingress/ingress.yaml`).
const HTTP_PORT: u16 = 80;
const HTTPS_PORT: u16 = 443;

/// What a listener speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP.
    Http,
    /// HTTP over TLS.
    Https,
    /// TLS that is ended here when true.
    Tls(bool),
    /// Something else.
    Other,
}

/// A listener as it was found.
#[derive(Clone, Debug)]
pub struct Found {
    /// Its name.
    pub name: String,
    /// Its port.
    pub port: u16,
    /// What it hears; everything when empty.
    pub hostname: String,
    /// What it speaks.
    pub protocol: Protocol,
    /// `NAMESPACE/NAME` of the Secrets with its certificates, in order.
    pub certificates: Vec<String>,
    /// Kinds of routes that may attach.
    pub kinds: Vec<Kind>,
    /// Whose.
    from: Whose,
    /// Why it is not accepted.
    refused: Option<Problem>,
    /// Why it cannot be told apart from another one.
    conflict: Option<&'static str>,
    /// What it refers to and is not there.
    unresolved: Option<Problem>,
    /// Another one that shares some of its hosts, and TLS.
    overlaps: bool,
}

#[derive(Clone, Debug)]
enum Whose {
    All,
    Same,
    Selected(Selector),
}

impl Found {
    /// Reads a listener of a Gateway of a namespace.
    fn read(listener: &Listener, namespace: &str, inputs: &Inputs<'_>) -> Self {
        let mode = listener.tls.as_ref().map_or("Terminate", |tls| tls.mode.as_str());
        let protocol = match listener.protocol.to_ascii_uppercase().as_str() {
            "HTTP" => Protocol::Http,
            "HTTPS" => Protocol::Https,
            "TLS" => Protocol::Tls(mode != "Passthrough"),
            _ => Protocol::Other,
        };
        let possible: &[Kind] = match protocol {
            Protocol::Http | Protocol::Https => &[Kind::Http, Kind::Grpc],
            Protocol::Tls(_) => &[Kind::Tls],
            Protocol::Other => &[],
        };
        let allowed = &listener.allowed_routes;
        let asked =
            |kind: &&Kind| allowed.kinds.is_empty() || allowed.kinds.iter().any(|one| is_kind(one, **kind));
        let kinds: Vec<Kind> = possible.iter().filter(asked).copied().collect();
        let stranger = allowed.kinds.iter().find(|one| !possible.iter().any(|kind| is_kind(one, *kind)));
        let from = match allowed.namespaces.from.as_str() {
            "All" => Whose::All,
            "Selector" => {
                let selector = Selector::from_label_selector(&allowed.namespaces.selector);
                Whose::Selected(selector.unwrap_or_else(|_| Selector::nothing()))
            }
            _ => Whose::Same,
        };
        let port = listener.port;
        let refused = match protocol {
            Protocol::Other => {
                Some(Problem::new("UnsupportedProtocol", format!("{} is not supported", listener.protocol)))
            }
            Protocol::Http if port != HTTP_PORT => Some(unavailable("HTTP", HTTP_PORT)),
            Protocol::Https if port != HTTPS_PORT => Some(unavailable("HTTPS", HTTPS_PORT)),
            Protocol::Tls(_) if port != HTTPS_PORT => Some(unavailable("TLS", HTTPS_PORT)),
            _ => None,
        };
        let (certificates, unresolved) = match protocol {
            Protocol::Https | Protocol::Tls(true) => certificates(listener, namespace, inputs),
            _ => (Vec::new(), None),
        };
        let unresolved = unresolved.or_else(|| {
            let kind = stranger?.kind.as_deref().unwrap_or_default();
            Some(Problem::new("InvalidRouteKinds", format!("routes of kind {kind} cannot attach")))
        });
        Self {
            name: listener.name.clone(),
            port,
            hostname: listener.hostname.to_ascii_lowercase(),
            protocol,
            certificates,
            kinds,
            from,
            refused,
            conflict: None,
            unresolved,
            overlaps: false,
        }
    }

    /// The side of the proxy that it is on.
    pub fn side(&self) -> Side {
        if self.protocol == Protocol::Http { Side::Plain } else { Side::Secure }
    }

    /// Whether it takes part in serving.
    pub fn serves(&self) -> bool {
        let encrypted = matches!(self.protocol, Protocol::Https | Protocol::Tls(true));
        self.is_accepted() && (!encrypted || !self.certificates.is_empty()) && !self.kinds.is_empty()
    }

    /// Whether it says nothing that cannot be.
    pub fn is_accepted(&self) -> bool {
        self.refused.is_none() && self.conflict.is_none()
    }

    /// Whether routes of a kind in a namespace may attach to a listener of a Gateway of a namespace.
    pub fn allows(&self, kind: Kind, gateway: &str, namespace: &str, inputs: &Inputs<'_>) -> bool {
        self.kinds.contains(&kind)
            && match &self.from {
                Whose::All => true,
                Whose::Same => gateway == namespace,
                Whose::Selected(selector) => {
                    (inputs.labels)(namespace).is_some_and(|labels| selector.matches(&labels))
                }
            }
    }

    /// What it is told.
    pub fn conditions(&self) -> Vec<Condition> {
        let accepted = match (&self.refused, self.conflict) {
            (Some(problem), _) => Condition::no("Accepted", problem.reason, &problem.message),
            (None, Some(reason)) => {
                Condition::no("Accepted", reason, "another listener has the same port and host")
            }
            (None, None) => Condition::yes("Accepted", "Accepted", ""),
        };
        let programmed = if self.serves() {
            Condition::yes("Programmed", "Programmed", "")
        } else {
            Condition::no("Programmed", "Invalid", "see the other conditions")
        };
        let resolved = match &self.unresolved {
            Some(problem) => Condition::no("ResolvedRefs", problem.reason, &problem.message),
            None => Condition::yes("ResolvedRefs", "ResolvedRefs", ""),
        };
        let conflicted = match self.conflict {
            Some(reason) => {
                Condition::yes("Conflicted", reason, "another listener has the same port and host")
            }
            None => Condition::no("Conflicted", "NoConflicts", ""),
        };
        let mut all = vec![accepted, programmed, resolved, conflicted];
        if self.overlaps {
            let message =
                "another listener of the port has some of the same hosts: clients may reuse connections";
            all.push(Condition::yes("OverlappingTLSConfig", "OverlappingHostnames", message));
        }
        all
    }
}

/// The listeners of a Gateway of a namespace.
pub fn read(spec: &GatewaySpec, namespace: &str, inputs: &Inputs<'_>) -> Vec<Found> {
    let mut all: Vec<Found> = spec.listeners.iter().map(|one| Found::read(one, namespace, inputs)).collect();
    let marks: Vec<(Option<&'static str>, bool)> = all
        .iter()
        .enumerate()
        .map(|(at, one)| {
            let others = || {
                let other =
                    all.iter().enumerate().filter(move |(other, _)| *other != at).map(|(_, other)| other);
                other.filter(|other| other.port == one.port && other.protocol != Protocol::Other)
            };
            let conflict = others().find_map(|other| match (one.protocol, other.protocol) {
                (Protocol::Other, _) => None,
                (a, b) if (a == Protocol::Http) != (b == Protocol::Http) => Some("ProtocolConflict"),
                _ if one.hostname != other.hostname => None,
                (Protocol::Tls(_), Protocol::Tls(_)) => Some("HostnameConflict"),
                (a, b) if a == b => Some("HostnameConflict"),
                _ => Some("ProtocolConflict"),
            });
            let encrypted = |found: &Found| !matches!(found.protocol, Protocol::Http | Protocol::Other);
            let overlaps = encrypted(one)
                && others()
                    .any(|other| encrypted(other) && intersection(&one.hostname, &other.hostname).is_some());
            (conflict, overlaps)
        })
        .collect();
    for (found, (conflict, overlaps)) in all.iter_mut().zip(marks) {
        found.conflict = conflict;
        found.overlaps = overlaps;
    }
    all
}

fn unavailable(protocol: &str, port: u16) -> Problem {
    Problem::new(
        "PortUnavailable",
        format!("{protocol} is served on port {port} of the nodes, and on no other"),
    )
}

fn is_kind(reference: &Reference, kind: Kind) -> bool {
    reference.group.as_deref().is_none_or(|group| group == GROUP)
        && reference.kind.as_deref() == Some(kind.name())
}

/// The Secrets of a listener that can be used, and what is wrong with the first that cannot.
fn certificates(listener: &Listener, namespace: &str, inputs: &Inputs<'_>) -> (Vec<String>, Option<Problem>) {
    let (mut usable, mut wrong) = (Vec::new(), None);
    for reference in listener.tls.iter().flat_map(|tls| &tls.certificate_refs) {
        match certificate(reference, namespace, inputs) {
            Ok(secret) => usable.push(secret),
            Err(problem) => wrong = wrong.or(Some(problem)),
        }
    }
    if usable.is_empty() && wrong.is_none() {
        wrong = Some(Problem::new("InvalidCertificateRef", "no Secret with a certificate is named"));
    }
    (usable, wrong)
}

/// The Secret that a reference means.
fn certificate(reference: &Reference, namespace: &str, inputs: &Inputs<'_>) -> Result<String, Problem> {
    let invalid = |message| Problem::new("InvalidCertificateRef", message);
    let kind = reference.kind.as_deref().unwrap_or("Secret");
    if kind != "Secret" || reference.group.as_deref().is_some_and(|group| !group.is_empty()) {
        return Err(invalid(format!("certificates of kind {kind} are not supported")));
    }
    let there = reference.namespace.as_deref().unwrap_or(namespace);
    let secret = format!("{there}/{}", reference.name);
    if !inputs.permits(("Gateway", namespace), ("Secret", there, &reference.name)) {
        let message = format!("no ReferenceGrant permits to refer to Secret {secret}");
        return Err(Problem::new("RefNotPermitted", message));
    }
    (inputs.certificate)(there, &reference.name).map(|()| secret).map_err(invalid)
}

/// Kinds of routes as a status names them.
pub fn kinds(found: &Found) -> Value {
    found.kinds.iter().map(|kind| serde_json::json!({"group": GROUP, "kind": kind.name()})).collect()
}
