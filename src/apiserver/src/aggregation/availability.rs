//! Whether the Service behind an APIService answers.
//!
//! Upstream counterpart: `kube-aggregator/pkg/controllers/status/remote`.

use std::time::Duration;

use api::value;
use apimachinery::gvk::GroupResource;
use apimachinery::meta;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use http::{HeaderMap, Request, header};

use super::api_service::{ApiService, Condition, Remote};
use super::identity;
use crate::authentication::{GROUP_MASTERS, UserInfo};
use crate::outbound::{Limits, Outbound, SERVICE_NAME, ready};
use crate::registry::Registry;

/// So many attempts are made before a service is not available: the Service may have several endpoints.
const ATTEMPTS: usize = 5;
/// What an attempt may take, and how long a document may be: OpenAPI of large servers has some MiB.
const LIMITS: Limits = Limits { timeout: Duration::from_secs(5), max_bytes: 16 * 1024 * 1024 };

/// Who asks aggregated servers for their discovery: one that may always.
pub(super) fn asker() -> UserInfo {
    UserInfo {
        name: "system:kube-aggregator".into(),
        groups: vec![GROUP_MASTERS.into()],
        ..UserInfo::default()
    }
}

/// What is to be said of an APIService, and the list of resources that the service gave.
pub(super) async fn check(
    registry: &Registry,
    outbound: &Outbound,
    service: &ApiService,
) -> (Condition, Option<Bytes>) {
    let Some(remote) = &service.remote else { return (Condition::local(), None) };
    let address = match find(registry, remote).await {
        Ok(address) => address,
        Err(condition) => return (condition, None),
    };
    let path = format!("/apis/{}/{}", service.group, service.version);
    let shown = format!("https://{address}{path}");
    let mut answer = ask(outbound, remote, &path, &shown).await;
    if answer.is_err() {
        let mut attempts: FuturesUnordered<_> =
            (1..ATTEMPTS).map(|_| ask(outbound, remote, &path, &shown)).collect();
        while let (Err(_), Some(next)) = (&answer, attempts.next().await) {
            answer = next;
        }
    }
    match answer {
        Ok(body) => (Condition::new("True", "Passed", "all checks passed"), Some(body)),
        Err(why) => {
            let message = format!("failing or missing response from {shown}: {why}");
            (Condition::new("False", "FailedDiscoveryCheck", message), None)
        }
    }
}

/// Looks at the Service and its endpoints; returns where it is, as messages show it.
async fn find(registry: &Registry, remote: &Remote) -> Result<String, Condition> {
    let Remote { namespace, service: name, port, .. } = remote;
    let no = |reason: &str, message: String| Condition::new("False", reason, message);
    let unknown = |reason: &str, what: &str, why: String| {
        let message = format!("{what}service/{name} in {namespace:?} cannot be checked due to: {why}");
        Condition::new("Unknown", reason, message)
    };
    let services = GroupResource::new("", "services");
    let service = registry.get_value(&services, namespace, name).await;
    let service = service.map_err(|status| unknown("ServiceAccessError", "", status.message))?;
    let Some(service) = service else {
        return Err(no("ServiceNotFound", format!("service/{name} in {namespace:?} is not present")));
    };
    let spec = value::field(&service, "spec");
    if value::text(spec, "type") == "ExternalName" {
        return Ok(format!("{}:{port}", value::text(spec, "externalName")));
    }
    let address = format!("{}:{port}", value::text(spec, "clusterIP"));
    if !matches!(value::text(spec, "type"), "" | "ClusterIP") {
        return Ok(address);
    }
    let ports = value::list(spec, "ports");
    let Some(found) = ports.iter().find(|p| value::int(p, "port") == Some((*port).into())) else {
        let message = format!("service/{name} in {namespace:?} is not listening on port {port}");
        return Err(no("ServicePortError", message));
    };
    let port_name = value::text(found, "name");
    let slices = GroupResource::new("discovery.k8s.io", "endpointslices");
    let slices = registry.list_values(&slices, namespace).await;
    let slices = slices.map_err(|s| unknown("EndpointsAccessError", "endpoints for ", s.message))?;
    let mut own = slices.iter().filter(|slice| meta::label(slice, SERVICE_NAME) == Some(name));
    if !own.any(|slice| ready(slice, port_name).next().is_some()) {
        let message = format!(
            "endpoints for service/{name} in {namespace:?} have no addresses with port name {port_name:?}"
        );
        return Err(no("MissingEndpoints", message));
    }
    Ok(address)
}

async fn ask(outbound: &Outbound, remote: &Remote, path: &str, shown: &str) -> Result<Bytes, String> {
    let answer = get(outbound, remote, path, &HeaderMap::new()).await;
    let answer = answer.map_err(|why| format!("Get {shown:?}: {why}"))?;
    // What lies between 200 and 300 is an answer.
    if !answer.status().is_success() {
        return Err(format!("bad status from {shown}: {}", answer.status().as_u16()));
    }
    Ok(answer.into_body())
}

/// Asks an aggregated server for a document, on behalf of this server.
pub(super) async fn get(
    outbound: &Outbound,
    remote: &Remote,
    path_and_query: &str,
    headers: &HeaderMap,
) -> Result<http::Response<Bytes>, String> {
    let endpoint = remote.endpoint.as_ref().map_err(Clone::clone)?;
    let (path, query) = path_and_query.split_once('?').map_or((path_and_query, None), |(p, q)| (p, Some(q)));
    let mut request = Request::new(Bytes::new());
    *request.uri_mut() = endpoint.url(path, query).map_err(|error| error.to_string())?;
    *request.headers_mut() = headers.clone();
    if !headers.contains_key(header::ACCEPT) {
        request.headers_mut().insert(header::ACCEPT, http::HeaderValue::from_static("application/json"));
    }
    identity::set(request.headers_mut(), &asker());
    outbound.call(endpoint, request, LIMITS).await.map_err(|error| error.cause())
}
