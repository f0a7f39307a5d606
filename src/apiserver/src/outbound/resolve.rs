//! Where Services and names are.

use super::error::io_cause;
use super::slices::{SERVICE_NAME, ready};
use crate::registry::Registry;
use api::value;
use apimachinery::gvk::GroupResource;
use apimachinery::meta;
use apimachinery::status::Status;
use hickory_resolver::TokioResolver;
use rand::seq::SliceRandom;
use serde_json::Value;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use tokio::net::TcpStream;

/// Upstream's dial timeout.
const DIAL_TIMEOUT: Duration = Duration::from_secs(30);
/// The only port of a Service that is a name elsewhere.
const EXTERNAL_NAME_PORT: u16 = 443;

/// Finds and reaches Services and names.
pub(super) struct Resolver {
    registry: Registry,
    /// Where `kubernetes.default.svc` is: here, whatever its Service says.
    local: SocketAddr,
    /// Whether Services are reached at their endpoints, rather than at their cluster IPs.
    to_endpoints: bool,
}

/// A place to connect to.
#[derive(Debug, PartialEq, Eq)]
enum Place {
    At(SocketAddr),
    Named(String, u16),
}

impl Resolver {
    pub(super) fn new(registry: Registry, local: SocketAddr, to_endpoints: bool) -> Self {
        Self { registry, local, to_endpoints }
    }

    /// Connects to a Service's port.
    ///
    /// # Errors
    /// A sentence.
    pub(super) async fn connect_service(
        &self,
        namespace: &str,
        name: &str,
        port: u16,
    ) -> Result<TcpStream, String> {
        if (namespace, name) == ("default", "kubernetes") && port == EXTERNAL_NAME_PORT {
            return dial(&[self.local]).await;
        }
        let services = GroupResource::new("", "services");
        let service = self.registry.get_value(&services, namespace, name).await;
        let service = service.map_err(|status| status.message)?;
        // As a lister says it.
        let service =
            service.ok_or_else(|| Status::not_found(&GroupResource::new("", "service"), name).message)?;
        if self.to_endpoints && value::text(value::field(&service, "spec"), "type") != "ExternalName" {
            return dial(&self.endpoints(&service, namespace, name, port).await?).await;
        }
        match place(&service, name, port)? {
            Place::At(address) => dial(&[address]).await,
            Place::Named(host, port) => self.connect_host(&host, port).await,
        }
    }

    /// The ready endpoints of a Service's port, in any order.
    async fn endpoints(
        &self,
        service: &Value,
        namespace: &str,
        name: &str,
        port: u16,
    ) -> Result<Vec<SocketAddr>, String> {
        let ports = value::list_at(service, &["spec", "ports"]);
        let Some(found) = ports.iter().find(|p| value::int(p, "port") == Some(port.into())) else {
            return Err(format!("no service port {port} found for service {name:?}"));
        };
        let port_name = value::text(found, "name");
        let slices = GroupResource::new("discovery.k8s.io", "endpointslices");
        let slices = self.registry.list_values(&slices, namespace).await.map_err(|status| status.message)?;
        let own = slices.iter().filter(|slice| meta::label(slice, SERVICE_NAME) == Some(name));
        let mut addresses: Vec<SocketAddr> = own
            .flat_map(|slice| ready(slice, port_name))
            .filter_map(|(address, port)| Some(SocketAddr::new(address.parse().ok()?, port)))
            .collect();
        if addresses.is_empty() {
            return Err(format!("no endpoints available for service {name:?}"));
        }
        addresses.shuffle(&mut rand::rng());
        Ok(addresses)
    }

    /// Connects to a host by name or address.
    ///
    /// # Errors
    /// A sentence.
    pub(super) async fn connect_host(&self, host: &str, port: u16) -> Result<TcpStream, String> {
        if let Ok(ip) = host.trim_matches(['[', ']']).parse::<IpAddr>() {
            return dial(&[SocketAddr::new(ip, port)]).await;
        }
        // The files are read anew each time: connections are few, and what they say may change.
        let resolver = TokioResolver::builder_tokio().and_then(hickory_resolver::ResolverBuilder::build);
        let resolver = resolver.map_err(|e| format!("dial tcp: lookup {host}: {e}"))?;
        let found = tokio::time::timeout(DIAL_TIMEOUT, resolver.lookup_ip(host)).await;
        let found = found.map_err(|_| format!("dial tcp: lookup {host}: i/o timeout"))?;
        let addresses: Vec<SocketAddr> = match found {
            Ok(found) => found.iter().map(|ip| SocketAddr::new(ip, port)).collect(),
            Err(e) if e.is_no_records_found() || e.is_nx_domain() => Vec::new(),
            Err(e) => return Err(format!("dial tcp: lookup {host}: {e}")),
        };
        if addresses.is_empty() {
            return Err(format!("dial tcp: lookup {host}: no such host"));
        }
        dial(&addresses).await
    }
}

/// Where a Service's port is, as upstream's cluster IP resolver finds it.
fn place(service: &Value, name: &str, port: u16) -> Result<Place, String> {
    let spec = value::field(service, "spec");
    match value::text(spec, "type") {
        "ExternalName" if port == EXTERNAL_NAME_PORT => {
            Ok(Place::Named(value::text(spec, "externalName").to_owned(), port))
        }
        "ExternalName" => Err(format!("port must be {EXTERNAL_NAME_PORT}")),
        "" | "ClusterIP" | "NodePort" | "LoadBalancer" => {
            let ip = value::text(spec, "clusterIP");
            if ip == "None" {
                return Err("cannot route to service with ClusterIP \"None\"".to_owned());
            }
            if !value::list(spec, "ports").iter().any(|p| value::int(p, "port") == Some(port.into())) {
                return Err(format!("no service port {port} found for service {name:?}"));
            }
            let ip: IpAddr = ip.parse().map_err(|_| format!("service {name:?} has no cluster IP"))?;
            Ok(Place::At(SocketAddr::new(ip, port)))
        }
        other => Err(format!("unsupported service type {other:?}")),
    }
}

/// Connects to the first address that answers.
async fn dial(addresses: &[SocketAddr]) -> Result<TcpStream, String> {
    let mut last = String::new();
    for address in addresses {
        match tokio::time::timeout(DIAL_TIMEOUT, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                stream.set_nodelay(true).map_err(|e| e.to_string())?;
                return Ok(stream);
            }
            Ok(Err(e)) => last = format!("dial tcp {address}: connect: {}", io_cause(&e)),
            Err(_) => last = format!("dial tcp {address}: i/o timeout"),
        }
    }
    Err(last)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cached::testing::{create, registry};
    use serde_json::json;

    #[tokio::test]
    async fn a_service_is_at_its_endpoints_where_nobody_programs_cluster_ips() {
        let registry = registry().await;
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let there = listener.local_addr().unwrap();
        let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web", "namespace": "a"},
            "spec": {"type": "ClusterIP", "clusterIP": "None", "ports": [{"name": "s", "port": 443}]}});
        create(&registry, service).await;
        let resolver = Resolver::new(registry.clone(), there, true);
        let told = async |port| resolver.connect_service("a", "web", port).await.map(drop).unwrap_err();
        assert_eq!(told(80).await, "no service port 80 found for service \"web\"");
        assert_eq!(told(443).await, "no endpoints available for service \"web\"");
        let slice = |name: &str, of: &str, address: &str, ready: bool| {
            json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
                "metadata": {"name": name, "namespace": "a", "labels": {SERVICE_NAME: of}},
                "ports": [{"name": "s", "port": there.port()}],
                "endpoints": [{"addresses": [address], "conditions": {"ready": ready}}]})
        };
        create(&registry, slice("other", "db", "127.0.0.1", true)).await;
        create(&registry, slice("not-ready", "web", "127.0.0.1", false)).await;
        assert_eq!(told(443).await, "no endpoints available for service \"web\"");
        create(&registry, slice("ready", "web", "127.0.0.1", true)).await;
        let stream = resolver.connect_service("a", "web", 443).await.unwrap();
        assert_eq!(stream.peer_addr().unwrap(), there);
    }

    #[test]
    fn a_service_is_at_its_cluster_ip() {
        let service =
            json!({"spec": {"type": "ClusterIP", "clusterIP": "10.0.0.7", "ports": [{"port": 443}]}});
        assert_eq!(place(&service, "web", 443), Ok(Place::At("10.0.0.7:443".parse().unwrap())));
        assert_eq!(
            place(&service, "web", 8443).unwrap_err(),
            "no service port 8443 found for service \"web\""
        );
        let headless = json!({"spec": {"clusterIP": "None", "ports": [{"port": 443}]}});
        assert_eq!(
            place(&headless, "web", 443).unwrap_err(),
            "cannot route to service with ClusterIP \"None\""
        );
        let external = json!({"spec": {"type": "ExternalName", "externalName": "a.example"}});
        assert_eq!(place(&external, "web", 443), Ok(Place::Named("a.example".into(), 443)));
        assert_eq!(place(&external, "web", 80).unwrap_err(), "port must be 443");
    }
}
