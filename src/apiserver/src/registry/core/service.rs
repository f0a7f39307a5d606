//! Cluster IPs and node ports of Services.
//!
//! An address is taken by creating its `IPAddress` object, a node port by creating a record of its own: the
//! store lets only one of two succeed, whoever tries, and a restart forgets nothing (KEP-1880).

use super::allocation::{Allocator, Taken};
use super::service_families as families;
use crate::registry::served::Served;
use crate::registry::writer::Writer;
use api::value;
use apimachinery::family::Family;
use apimachinery::field::{FieldError, Path};
use apimachinery::meta;
use apimachinery::status::{Result, Status};
use ipnet::IpNet;
use serde_json::{Value, json};
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::sync::Arc;
use storage::Storage;

/// Hands out addresses and ports.
#[derive(Clone)]
pub(crate) struct Services {
    allocator: Allocator,
}

/// What was taken for a write that has not happened yet, and what it will make free.
pub(crate) struct Reservation {
    allocator: Allocator,
    taken: Vec<Taken>,
    freed: Vec<Taken>,
}

impl Reservation {
    /// The write happened.
    pub(crate) async fn commit(self) {
        self.allocator.free(&self.freed).await;
    }

    /// The write did not happen.
    pub(crate) async fn release(self) {
        self.allocator.free(&self.taken).await;
    }
}

impl Services {
    /// Hands out addresses of these networks (the first is the default family) and ports of this range.
    pub(crate) fn new(
        storage: Arc<dyn Storage>,
        networks: Vec<IpNet>,
        node_ports: RangeInclusive<u16>,
    ) -> Self {
        Self { allocator: Allocator::new(storage, networks, node_ports) }
    }

    /// Takes what a new Service needs.
    ///
    /// # Errors
    /// 422 when what it asks for is taken or out of range, 500 when there is nothing left.
    pub(crate) async fn begin_create(
        &self,
        writer: &Writer<'_>,
        object: &mut Value,
    ) -> Result<Option<Reservation>> {
        self.begin(writer, object, &Value::Null).await
    }

    /// Takes what a changed Service needs, and notes what it no longer does.
    ///
    /// # Errors
    /// As [`Services::begin_create`].
    pub(crate) async fn begin_update(
        &self,
        writer: &Writer<'_>,
        object: &mut Value,
        old: &Value,
    ) -> Result<Option<Reservation>> {
        if !writer.subresource.is_empty() {
            return Ok(None);
        }
        self.begin(writer, object, old).await
    }

    async fn begin(
        &self,
        writer: &Writer<'_>,
        object: &mut Value,
        old: &Value,
    ) -> Result<Option<Reservation>> {
        if !is_service(writer.served) {
            return Ok(None);
        }
        let mut reservation =
            Reservation { allocator: self.allocator.clone(), taken: Vec::new(), freed: Vec::new() };
        let name = meta::name(object).to_owned();
        let mut order = Order { services: self, writer, reservation: &mut reservation, service: &name };
        let result = match order.addresses(object, old).await {
            Ok(()) => order.ports(object, old).await,
            Err(e) => Err(e),
        };
        match result {
            Ok(()) => Ok(Some(reservation)),
            Err(e) => {
                reservation.release().await;
                Err(e)
            }
        }
    }

    /// Frees what a deleted Service had.
    pub(crate) async fn release(&self, served: &Served, old: &Value) {
        if is_service(served) {
            self.allocator.free(&held(old)).await;
        }
    }

    /// Makes the records agree with the Services that there are: what a crash between two writes left.
    ///
    /// # Errors
    /// When the store fails.
    pub(crate) async fn repair(&self, now: jiff::Timestamp) -> Result<()> {
        self.allocator.repair(now).await
    }
}

fn is_service(served: &Served) -> bool {
    served.stored_as().group.is_empty() && served.stored_as().resource == "services"
}

/// The addresses and ports that a Service holds.
pub(super) fn held(service: &Value) -> Vec<Taken> {
    let mut held: Vec<Taken> = cluster_ips(service).into_iter().map(Taken::Address).collect();
    held.extend(node_ports(service).into_iter().map(Taken::NodePort));
    held
}

fn cluster_ips(service: &Value) -> Vec<IpAddr> {
    let spec = value::field(service, "spec");
    if value::text(spec, "type") == "ExternalName" {
        return Vec::new();
    }
    value::texts(spec, "clusterIPs").filter_map(|ip| ip.parse().ok()).collect()
}

fn node_ports(service: &Value) -> Vec<u16> {
    let spec = value::field(service, "spec");
    let mut ports: Vec<u16> = value::list(spec, "ports")
        .iter()
        .filter_map(|port| value::int(port, "nodePort"))
        .chain(value::int(spec, "healthCheckNodePort"))
        .filter_map(|port| u16::try_from(port).ok())
        .filter(|port| *port > 0)
        .collect();
    ports.sort_unstable();
    ports.dedup();
    ports
}

/// One Service being served.
struct Order<'a, 'b> {
    services: &'a Services,
    writer: &'a Writer<'b>,
    reservation: &'a mut Reservation,
    service: &'a str,
}

impl Order<'_, '_> {
    fn invalid(&self, error: FieldError) -> Status {
        Status::invalid(&self.writer.served.gvk, self.service, &vec![error])
    }

    async fn take(&mut self, what: Taken, object: &Value) -> std::result::Result<(), Status> {
        if self.writer.dry_run {
            return self.services.allocator.check(&what).await;
        }
        self.services.allocator.take(&what, object).await?;
        self.reservation.taken.push(what);
        Ok(())
    }

    async fn addresses(&mut self, object: &mut Value, old: &Value) -> Result<()> {
        let networks = self.services.allocator.networks().to_vec();
        families::fill(object, &networks).map_err(|e| self.invalid(e))?;
        let before = cluster_ips(old);
        let families = families::wanted(object);
        let spec = value::field(object, "spec");
        let mut given: Vec<String> = value::texts(spec, "clusterIPs").map(str::to_owned).collect();
        let headless = given.first().is_some_and(|ip| ip == "None");
        let external = value::text(spec, "type") == "ExternalName";
        if !headless && !external {
            for (n, family) in families.iter().enumerate() {
                match given.get(n).and_then(|ip| ip.parse::<IpAddr>().ok()) {
                    Some(ip) if before.contains(&ip) => {}
                    Some(ip) => {
                        let what = Taken::Address(ip);
                        if let Err(e) = self.take(what, object).await {
                            return Err(self.address_refused(&given, ip, &e));
                        }
                    }
                    None => {
                        let ip = self.any_address(*family, object).await?;
                        given.push(ip.to_string());
                    }
                }
            }
            if let Some(spec) = value::object_mut(object, "spec") {
                if let Some(first) = given.first() {
                    value::set(spec, "clusterIP", first.as_str());
                }
                value::set(spec, "clusterIPs", given);
            }
        }
        let after = cluster_ips(object);
        let freed = before.into_iter().filter(|ip| !after.contains(ip)).map(Taken::Address);
        self.reservation.freed.extend(freed);
        Ok(())
    }

    fn address_refused(&self, given: &[String], ip: IpAddr, error: &Status) -> Status {
        if error.code >= 500 {
            return error.clone();
        }
        let at = Path::new("spec").child("clusterIPs");
        let detail = format!("failed to allocate IP {ip}: {}", error.message);
        self.invalid(FieldError::invalid(&at, json!(given), detail))
    }

    async fn any_address(&mut self, family: Family, object: &Value) -> Result<IpAddr> {
        for ip in self.services.allocator.free_addresses(family).await? {
            match self.take(Taken::Address(ip), object).await {
                Ok(()) => return Ok(ip),
                Err(e) if e.code >= 500 => return Err(e),
                Err(_) => {}
            }
        }
        Err(Status::internal("failed to allocate a serviceIP: range is full"))
    }

    async fn ports(&mut self, object: &mut Value, old: &Value) -> Result<()> {
        let before = node_ports(old);
        let spec = value::field(object, "spec");
        let kind = value::text(spec, "type").to_owned();
        let allocates = kind == "NodePort"
            || (kind == "LoadBalancer"
                && value::boolean(spec, "allocateLoadBalancerNodePorts") != Some(false));
        let wants_health = kind == "LoadBalancer" && value::text(spec, "externalTrafficPolicy") == "Local";
        // What is asked for comes first, so that nothing picked at random is in its way.
        let asked: Vec<(usize, u16)> = value::list(spec, "ports")
            .iter()
            .enumerate()
            .filter_map(|(n, p)| Some((n, u16::try_from(value::int(p, "nodePort")?).ok()?)))
            .filter(|(_, port)| *port > 0)
            .collect();
        let mut mine = Vec::new();
        for (n, port) in asked {
            if !before.contains(&port)
                && !mine.contains(&port)
                && let Err(e) = self.take(Taken::NodePort(port), object).await
            {
                let at = Path::new("spec").child("ports").index(n).child("nodePort");
                return Err(self.port_refused(&at, port, e));
            }
            mine.push(port);
        }
        if let Some(port) = health_port(object) {
            if !before.contains(&port)
                && !mine.contains(&port)
                && let Err(e) = self.take(Taken::NodePort(port), object).await
            {
                return Err(self.port_refused(&Path::new("spec").child("healthCheckNodePort"), port, e));
            }
            mine.push(port);
        } else if wants_health {
            let port = self.any_port(object, &mine).await?;
            mine.push(port);
            if let Some(spec) = value::object_mut(object, "spec") {
                value::set(spec, "healthCheckNodePort", port);
            }
        }
        if allocates {
            self.fill_ports(object, &mut mine).await?;
        }
        let after = node_ports(object);
        let freed = before.into_iter().filter(|port| !after.contains(port)).map(Taken::NodePort);
        self.reservation.freed.extend(freed);
        Ok(())
    }

    async fn fill_ports(&mut self, object: &mut Value, mine: &mut Vec<u16>) -> Result<()> {
        let count = value::list_at(object, &["spec", "ports"]).len();
        for n in 0..count {
            let ports = value::list_at(object, &["spec", "ports"]);
            let Some(port) = ports.get(n) else { continue };
            if value::int(port, "nodePort").unwrap_or(0) > 0 {
                continue;
            }
            // The same number over TCP and UDP has the same node port.
            let number = value::int(port, "port");
            let shared = ports
                .iter()
                .filter(|p| {
                    value::int(p, "port") == number
                        && value::text(p, "protocol") != value::text(port, "protocol")
                })
                .find_map(|p| value::int(p, "nodePort").filter(|n| *n > 0))
                .and_then(|n| u16::try_from(n).ok());
            let chosen = match shared {
                Some(port) => port,
                None => self.any_port(object, mine).await?,
            };
            mine.push(chosen);
            if let Some(port) =
                value::object_mut(object, "spec").and_then(|spec| value::list_mut(spec, "ports").get_mut(n))
            {
                value::set(port, "nodePort", chosen);
            }
        }
        Ok(())
    }

    fn port_refused(&self, at: &Path, port: u16, error: Status) -> Status {
        if error.code >= 500 {
            return error;
        }
        self.invalid(FieldError::invalid(at, port, error.message))
    }

    async fn any_port(&mut self, object: &Value, mine: &[u16]) -> Result<u16> {
        for port in self.services.allocator.free_ports().await? {
            if mine.contains(&port) {
                continue;
            }
            match self.take(Taken::NodePort(port), object).await {
                Ok(()) => return Ok(port),
                Err(e) if e.code >= 500 => return Err(e),
                Err(_) => {}
            }
        }
        Err(Status::internal("failed to allocate a nodePort: range is full"))
    }
}

fn health_port(object: &Value) -> Option<u16> {
    value::int_at(object, &["spec", "healthCheckNodePort"])
        .and_then(|port| u16::try_from(port).ok())
        .filter(|port| *port > 0)
}
