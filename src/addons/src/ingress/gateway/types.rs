//! The specs of the Gateway API's objects, as far as they are read. One set of types for all kinds of routes.

use kube::core::DynamicObject;
use serde::Deserialize;
use serde_json::Value;

/// `GatewaySpec`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct GatewaySpec {
    /// Name of its GatewayClass.
    pub gateway_class_name: String,
    /// What it listens on.
    pub listeners: Vec<Listener>,
    /// Addresses that are asked for.
    pub addresses: Vec<Address>,
    /// Attributes of what serves it.
    pub infrastructure: Value,
}

/// An address that a Gateway asks for.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Address {
    /// `IPAddress` or another type.
    #[serde(rename = "type")]
    pub kind: String,
    /// Any of its type when empty.
    pub value: String,
}

/// A listener of a Gateway.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Listener {
    /// Its name.
    pub name: String,
    /// The hosts that it hears; all when empty.
    pub hostname: String,
    /// Its port.
    pub port: u16,
    /// `HTTP`, `HTTPS`, `TLS` or another.
    pub protocol: String,
    /// How TLS is dealt with.
    pub tls: Option<ListenerTls>,
    /// Who may attach.
    pub allowed_routes: AllowedRoutes,
}

/// TLS of a listener.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ListenerTls {
    /// `Terminate` or `Passthrough`.
    pub mode: String,
    /// Secrets with certificates.
    pub certificate_refs: Vec<Reference>,
}

/// Who may attach to a listener.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct AllowedRoutes {
    /// Namespaces.
    pub namespaces: RouteNamespaces,
    /// Kinds; those of the protocol when empty.
    pub kinds: Vec<Reference>,
}

/// Namespaces whose routes may attach.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct RouteNamespaces {
    /// `All`, `Selector` or `Same`.
    pub from: String,
    /// A `metav1.LabelSelector`.
    pub selector: Value,
}

/// Any reference: to a parent, a backend, a Secret, a kind. Which fields count depends on where it stands.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Reference {
    /// Group; the default depends on where it stands.
    pub group: Option<String>,
    /// Kind; the default depends on where it stands.
    pub kind: Option<String>,
    /// Namespace; that of the object when none.
    pub namespace: Option<String>,
    /// Name.
    pub name: String,
    /// A listener or a port of the object.
    pub section_name: Option<String>,
    /// A port of the object.
    pub port: Option<u16>,
    /// Share of requests; 1 unless said.
    pub weight: Option<u32>,
    /// What is done to the requests that it gets.
    pub filters: Vec<Filter>,
}

/// The spec of an HTTPRoute, GRPCRoute or TLSRoute.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RouteSpec {
    /// The Gateways that it attaches to.
    pub parent_refs: Vec<Reference>,
    /// Hosts; those of the listeners when empty.
    pub hostnames: Vec<String>,
    /// What goes where.
    pub rules: Vec<RouteRule>,
}

/// A rule of a route.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RouteRule {
    /// Requests that are meant; all when empty.
    pub matches: Vec<RouteMatch>,
    /// What is done to them.
    pub filters: Vec<Filter>,
    /// Where they go.
    pub backend_refs: Vec<Reference>,
    /// How long that may take.
    pub timeouts: Timeouts,
    /// What is tried again (GEP-1731).
    pub retry: Option<Retry>,
}

/// What is tried again.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Retry {
    /// Statuses of answers; what cannot be reached or does not answer is in any case.
    pub codes: Vec<u16>,
    /// How often.
    pub attempts: Option<u32>,
    /// After what time, in the format of GEP-2257.
    pub backoff: Option<String>,
}

/// How long requests may take, in the format of GEP-2257.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Timeouts {
    /// Altogether.
    pub request: Option<String>,
    /// Each attempt.
    pub backend_request: Option<String>,
}

/// What a request has to look like.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RouteMatch {
    /// Its path.
    pub path: Option<ValueMatch>,
    /// Its headers.
    pub headers: Vec<ValueMatch>,
    /// Parameters of its query.
    pub query_params: Vec<ValueMatch>,
    /// Of HTTPRoutes a method of HTTP; of GRPCRoutes `type`, `service` and `method`.
    pub method: Value,
}

/// What a value has to look like.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct ValueMatch {
    /// `Exact`, `PathPrefix` or `RegularExpression`.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// Name of the header or parameter.
    pub name: String,
    /// What it is compared with.
    pub value: Option<String>,
}

/// A filter; which field counts is said by its type.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Filter {
    /// Its type.
    #[serde(rename = "type")]
    pub kind: String,
    /// Headers of requests.
    pub request_header_modifier: HeaderModifier,
    /// Headers of answers.
    pub response_header_modifier: HeaderModifier,
    /// Copies of requests.
    pub request_mirror: RequestMirror,
    /// Sends clients elsewhere.
    pub request_redirect: Rewrite,
    /// Changes host and path.
    pub url_rewrite: Rewrite,
    /// What pages of other origins may do.
    pub cors: CorsPolicy,
}

/// What pages of other origins may do.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CorsPolicy {
    /// Their origins; `*` for all.
    pub allow_origins: Vec<String>,
    /// Whether they may send cookies and passwords along.
    pub allow_credentials: bool,
    /// Methods that they may use; `*` for all.
    pub allow_methods: Vec<String>,
    /// Headers that they may send; `*` for all.
    pub allow_headers: Vec<String>,
    /// Headers of answers that they may read; `*` for all.
    pub expose_headers: Vec<String>,
    /// How long that may be remembered, in seconds.
    pub max_age: Option<u32>,
}

/// Changes of headers.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct HeaderModifier {
    /// Instead of what is there.
    pub set: Vec<ValueMatch>,
    /// To what is there.
    pub add: Vec<ValueMatch>,
    /// Names.
    pub remove: Vec<String>,
}

/// Where copies of requests go.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RequestMirror {
    /// The Service.
    pub backend_ref: Reference,
    /// Of a hundred requests.
    pub percent: Option<u32>,
    /// Of all requests.
    pub fraction: Option<Fraction>,
}

/// A part of all.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Fraction {
    /// So many.
    pub numerator: u32,
    /// Of so many; 100 unless said.
    pub denominator: Option<u32>,
}

/// A redirect, or with host and path only a rewrite.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Rewrite {
    /// Scheme of the new address.
    pub scheme: Option<String>,
    /// Host of the new address.
    pub hostname: Option<String>,
    /// Its path.
    pub path: Option<PathModifier>,
    /// Its port.
    pub port: Option<u16>,
    /// 302 unless said.
    pub status_code: Option<u16>,
}

/// What a path becomes.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PathModifier {
    /// `ReplaceFullPath` or `ReplacePrefixMatch`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The new path.
    pub replace_full_path: Option<String>,
    /// What comes instead of the prefix that matched.
    pub replace_prefix_match: Option<String>,
}

/// The spec of a ReferenceGrant.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct ReferenceGrantSpec {
    /// Who may refer.
    pub from: Vec<Reference>,
    /// To what.
    pub to: Vec<Reference>,
}

/// The spec of an object; none when it is not one.
pub fn spec<T: for<'a> Deserialize<'a>>(object: &DynamicObject) -> Option<T> {
    T::deserialize(object.data.get("spec")?)
        .inspect_err(|error| {
            tracing::warn!(
                name = object.metadata.name,
                "an object of the Gateway API is not understood: {error}"
            );
        })
        .ok()
}
