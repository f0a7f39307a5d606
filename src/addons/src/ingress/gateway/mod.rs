//! The Gateway API (`gateway.networking.k8s.io`, standard channel), for the same table and proxy as Ingresses.
//!
//! ```text
//!  GatewayClasses, Gateways, routes, grants ─> compile ─┬─> routes by host, listeners, certificates ─> table
//!                                                       └─> statuses that are not written yet ─> watch
//! ```
//!
//! All Gateways share the nodes' ports 80 and 443: of two with listeners for the same host the routes of both count.
//!
//! | module | what |
//! |---|---|
//! | `types` | specs as they are read |
//! | `hostnames` | names with wildcards |
//! | `listeners` | what a Gateway listens on, and who may attach |
//! | `routes` | which routes attach where |
//! | `rules`, `matching`, `rule` | rules made ready, and as requests meet them |
//! | `cors` | what pages of other origins may do |
//! | `policies` | endpoints that speak TLS |
//! | `status` | conditions |
//! | `serve` | one request by a rule |
//! | `watch` | the objects as the cluster has them |

mod cors;
mod hostnames;
mod listeners;
mod matching;
mod policies;
mod routes;
mod rule;
mod rules;
mod serve;
mod status;
#[cfg(test)]
pub mod tests;
mod types;
mod watch;

pub use hostnames::fits;
pub use matching::Needs;
pub use policies::Policies;
pub use rule::{HeaderChange, Rule};
pub use rules::Kind;
pub use status::Update;
pub use watch::Watched;

use super::encryption::Source;
use super::table::{Heard, Route, Stream};
use k8s_openapi::api::core::v1::Service;
use kube::core::DynamicObject;
use listeners::Found;
use serde_json::{Value, json};
use status::{Condition, Problem, merged};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use types::{GatewaySpec, ReferenceGrantSpec, spec};

/// The group of all its kinds.
pub const GROUP: &str = "gateway.networking.k8s.io";
/// The controller that GatewayClasses of this proxy name.
pub const CONTROLLER: &str = "knarr.io/gateway";
/// So many addresses fit into a status.
const ADDRESSES: usize = 16;
/// What of the API there is, in its conformance tests' names, in order.
const FEATURES: &[&str] = &[
    "BackendTLSPolicy",
    "GRPCRoute",
    "Gateway",
    "GatewayAddressEmpty",
    "GatewayHTTPListenerIsolation",
    "HTTPRoute",
    "HTTPRoute303RedirectStatusCode",
    "HTTPRoute307RedirectStatusCode",
    "HTTPRoute308RedirectStatusCode",
    "HTTPRouteBackendProtocolH2C",
    "HTTPRouteBackendProtocolWebSocket",
    "HTTPRouteBackendRequestHeaderModification",
    "HTTPRouteBackendTimeout",
    "HTTPRouteCORS",
    "HTTPRouteHostRewrite",
    "HTTPRouteMethodMatching",
    "HTTPRouteNamedRouteRule",
    "HTTPRouteParentRefPort",
    "HTTPRoutePathRedirect",
    "HTTPRoutePathRewrite",
    "HTTPRoutePortRedirect",
    "HTTPRouteQueryParamMatching",
    "HTTPRouteRequestMirror",
    "HTTPRouteRequestMultipleMirrors",
    "HTTPRouteRequestPercentageMirror",
    "HTTPRouteRequestTimeout",
    "HTTPRouteResponseHeaderModification",
    "HTTPRouteSchemeRedirect",
    "ReferenceGrant",
    "TLSRoute",
];

/// An object of the API.
pub type Object = Arc<DynamicObject>;

/// The objects of the API.
#[derive(Clone, Debug, Default)]
pub struct Objects {
    /// GatewayClasses.
    pub classes: Vec<Object>,
    /// Gateways.
    pub gateways: Vec<Object>,
    /// Routes of all kinds.
    pub routes: Vec<(Kind, Object)>,
    /// ReferenceGrants.
    pub grants: Vec<Object>,
    /// BackendTLSPolicies.
    pub policies: Vec<Object>,
}

impl Objects {
    /// Objects with authorities that are named.
    pub fn sources(&self) -> BTreeSet<Source> {
        policies::sources(&self.policies)
    }
}

/// What objects are compiled with.
pub struct Inputs<'a> {
    /// Labels of a namespace, if it is there.
    pub labels: &'a dyn Fn(&str) -> Option<BTreeMap<String, String>>,
    /// A Service by namespace and name.
    pub service: &'a dyn Fn(&str, &str) -> Option<Arc<Service>>,
    /// Whether the certificate in a Secret can be used, or why not.
    pub certificate: &'a dyn Fn(&str, &str) -> Result<(), String>,
    /// Whether an object has an authority.
    pub authority: &'a dyn Fn(&Source) -> bool,
    /// The nodes' addresses, in order.
    pub addresses: &'a [String],
    /// The time (RFC 3339).
    pub now: &'a str,
    /// Grants by namespace.
    pub grants: Vec<(&'a str, ReferenceGrantSpec)>,
    /// Policies for Services.
    pub policies: Policies<'a>,
}

impl<'a> Inputs<'a> {
    /// With what these objects say of references and Services.
    pub fn with(mut self, objects: &'a Objects) -> Self {
        let grant = |object: &'a Object| Some((object.metadata.namespace.as_deref()?, spec(object)?));
        self.grants = objects.grants.iter().filter_map(grant).collect();
        self.policies = Policies::read(by_age(objects.policies.iter().collect(), |one| one), self.authority);
        self
    }

    /// Whether an object of a kind of this API and a namespace may refer to one of the core API, by kind, namespace and
    /// name.
    fn permits(&self, from: (&str, &str), to: (&str, &str, &str)) -> bool {
        if from.1 == to.1 {
            return true;
        }
        self.grants.iter().filter(|(namespace, _)| *namespace == to.1).any(|(_, grant)| {
            let is = |given: &Option<String>, wanted: &str| given.as_deref().unwrap_or_default() == wanted;
            grant
                .from
                .iter()
                .any(|one| is(&one.group, GROUP) && is(&one.kind, from.0) && is(&one.namespace, from.1))
                && grant.to.iter().any(|one| {
                    is(&one.group, "") && is(&one.kind, to.0) && (one.name.is_empty() || one.name == to.2)
                })
        })
    }
}

/// What objects come to.
#[derive(Debug, Default)]
pub struct Output {
    /// Routes by host.
    pub routes: Vec<(String, Route)>,
    /// What listeners hear.
    pub heard: Vec<Heard>,
    /// `NAMESPACE/NAME` of Secrets with certificates, by host.
    pub certificates: Vec<(String, String)>,
    /// Connections of TLS by the name that they ask for.
    pub streams: Vec<(String, Stream)>,
    /// Services by the number of a Gateway whose routes use them.
    used: BTreeSet<(usize, String, String)>,
    /// Statuses that are not written yet.
    pub updates: Vec<Update>,
}

/// A Gateway of the proxy's.
pub struct Gateway {
    object: Object,
    spec: GatewaySpec,
    /// Its listeners.
    found: Vec<Found>,
    /// How many routes each listener has.
    attached: Vec<u32>,
    /// The number of its first listener among those of all.
    first: usize,
    /// Why it is not accepted.
    refused: Option<Problem>,
}

impl Gateway {
    fn namespace(&self) -> &str {
        self.object.metadata.namespace.as_deref().unwrap_or_default()
    }

    fn name(&self) -> &str {
        self.object.metadata.name.as_deref().unwrap_or_default()
    }

    fn status(&self, inputs: &Inputs<'_>) -> Value {
        let generation = self.object.metadata.generation.unwrap_or_default();
        let old = self.object.data.get("status");
        let serving = self.refused.is_none() && self.found.iter().any(Found::serves);
        let asked: Vec<&str> = self
            .spec
            .addresses
            .iter()
            .map(|one| one.value.as_str())
            .filter(|value| !value.is_empty())
            .collect();
        let (usable, strange): (Vec<&str>, Vec<&str>) =
            asked.into_iter().partition(|one| inputs.addresses.iter().any(|address| address == one));
        let given: Vec<&str> = match usable.is_empty() {
            true => inputs.addresses.iter().map(String::as_str).take(ADDRESSES).collect(),
            false => usable,
        };
        let names = |wanted: &dyn Fn(&&Found) -> bool| {
            self.found.iter().filter(wanted).map(|one| one.name.as_str()).collect::<Vec<_>>().join(", ")
        };
        let bad = names(&|one| !one.is_accepted());
        let accepted = match &self.refused {
            Some(problem) => Condition::no("Accepted", problem.reason, &problem.message),
            None if bad.is_empty() => Condition::yes("Accepted", "Accepted", ""),
            None if self.found.iter().any(Found::is_accepted) => {
                let good = names(&|one| one.is_accepted());
                let message = format!("accepted: {good}; not accepted: {bad}");
                Condition::yes("Accepted", "ListenersNotValid", message)
            }
            None => Condition::no("Accepted", "ListenersNotValid", format!("not accepted: {bad}")),
        };
        let programmed = if !serving {
            Condition::no("Programmed", "Invalid", "no listener can be served")
        } else if !strange.is_empty() {
            let message = format!("{} is no address of a node", strange.join(", "));
            Condition::no("Programmed", "AddressNotUsable", message)
        } else if given.is_empty() {
            Condition::no("Programmed", "AddressNotAssigned", "no node has an address")
        } else {
            Condition::yes("Programmed", "Programmed", "")
        };
        let old_listeners = old.and_then(|old| old.get("listeners")?.as_array());
        let listeners: Vec<Value> = self
            .found
            .iter()
            .zip(&self.attached)
            .map(|(found, attached)| {
                let same = |one: &&Value| one.get("name").and_then(Value::as_str) == Some(&found.name);
                let old = old_listeners.into_iter().flatten().find(same).and_then(|one| one.get("conditions"));
                json!({"name": found.name, "attachedRoutes": attached, "supportedKinds": listeners::kinds(found),
                    "conditions": merged(old, &found.conditions(), generation, inputs.now)})
            })
            .collect();
        let addresses: Vec<Value> = match serving {
            true => given.iter().map(|ip| json!({"type": "IPAddress", "value": ip})).collect(),
            false => Vec::new(),
        };
        let old = old.and_then(|old| old.get("conditions"));
        let conditions = merged(old, &[accepted, programmed], generation, inputs.now);
        json!({"addresses": addresses, "conditions": conditions, "listeners": listeners})
    }
}

/// Compiles all objects. Of two with equal claims the older one counts.
pub fn compile(objects: &Objects, inputs: &Inputs<'_>) -> Output {
    let mut output = Output::default();
    let controller = |class: &&Object| {
        class.data.pointer("/spec/controllerName").and_then(Value::as_str) == Some(CONTROLLER)
    };
    let mut classes = BTreeMap::new();
    for class in objects.classes.iter().filter(controller) {
        let refused = class.data.pointer("/spec/parametersRef").is_some();
        let condition = match refused {
            true => Condition::no("Accepted", "InvalidParameters", "parameters are not supported"),
            false => Condition::yes("Accepted", "Accepted", ""),
        };
        let old = class.data.pointer("/status/conditions");
        let generation = class.metadata.generation.unwrap_or_default();
        let features: Vec<Value> = FEATURES.iter().map(|name| json!({"name": name})).collect();
        let status = json!({"conditions": merged(old, &[condition], generation, inputs.now), "supportedFeatures": features});
        output.updates.extend(Update::of("gatewayclasses", class, status));
        classes.insert(class.metadata.name.as_deref().unwrap_or_default(), refused);
    }
    let mut gateways = Vec::new();
    let mut first = 0;
    for object in by_age(objects.gateways.iter().collect(), |one| one) {
        let Some(spec) = spec::<GatewaySpec>(object) else { continue };
        if classes.get(spec.gateway_class_name.as_str()) != Some(&false) {
            continue;
        }
        let found = listeners::read(&spec, object.metadata.namespace.as_deref().unwrap_or_default(), inputs);
        let refused = refused(&spec);
        let count = found.len();
        gateways.push(Gateway {
            object: object.clone(),
            spec,
            attached: vec![0; count],
            found,
            first,
            refused,
        });
        first += count;
    }
    for (at, gateway) in gateways.iter().enumerate().filter(|(_, gateway)| gateway.refused.is_none()) {
        for (number, found) in gateway.found.iter().enumerate().filter(|(_, found)| found.serves()) {
            let (side, hostname) = (found.side(), found.hostname.clone());
            if !matches!(found.protocol, listeners::Protocol::Tls(_)) {
                output.heard.push(Heard { gateway: at, listener: gateway.first + number, side, hostname });
            }
            let certificates = found.certificates.iter().cloned();
            output.certificates.extend(certificates.map(|secret| (found.hostname.clone(), secret)));
        }
    }
    for (kind, object) in by_age(objects.routes.iter().collect(), |one| &one.1) {
        routes::attach(*kind, object, inputs, &mut gateways, &mut output);
    }
    let told = inputs.policies.updates(&output.used, &gateways, inputs);
    output.updates.extend(told);
    for gateway in &gateways {
        output.updates.extend(Update::of("gateways", &gateway.object, gateway.status(inputs)));
    }
    output
}

/// Why a Gateway cannot be accepted, whatever its listeners are.
fn refused(spec: &GatewaySpec) -> Option<Problem> {
    if spec.infrastructure.get("parametersRef").is_some() {
        return Some(Problem::new("InvalidParameters", "parameters are not supported"));
    }
    let strange = spec.addresses.iter().find(|one| !matches!(one.kind.as_str(), "" | "IPAddress"))?;
    Some(Problem::new("UnsupportedAddress", format!("addresses of type {} are not supported", strange.kind)))
}

/// The oldest first, then by namespace and name.
fn by_age<T>(mut all: Vec<&T>, object: impl Fn(&T) -> &Object) -> Vec<&T> {
    all.sort_by_cached_key(|one| {
        let metadata = &object(one).metadata;
        let time = metadata.creation_timestamp.as_ref().map(|time| time.0);
        (time, metadata.namespace.clone(), metadata.name.clone())
    });
    all
}
