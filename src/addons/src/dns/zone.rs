//! What the cluster says about a name: a pure index over Services and their endpoints, and the answers of the
//! Kubernetes DNS specification 1.1.0.

use hickory_proto::rr::rdata::{A, AAAA, CNAME, PTR, SOA, SRV, TXT};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

/// Seconds that answers may be kept: short, since endpoints come and go (CoreDNS' default).
pub const TTL_SECONDS: u32 = 5;

/// A Service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Service {
    /// Addresses; none when headless.
    pub cluster_ips: Vec<IpAddr>,
    /// The name it stands for, if it is an ExternalName.
    pub external_name: Option<String>,
    /// Its ports.
    pub ports: Vec<Port>,
}

/// A named port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    /// Its name; empty when it has none.
    pub name: String,
    /// `tcp`, `udp` or `sctp`.
    pub protocol: String,
    /// Its number.
    pub number: u16,
}

/// An endpoint of a Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Its address.
    pub address: IpAddr,
    /// Its host name, where it has one.
    pub hostname: Option<String>,
    /// Its ports.
    pub ports: Vec<Port>,
}

impl Endpoint {
    /// The first label of its name: its host name, or its address with dashes.
    fn label(&self) -> String {
        self.hostname.clone().unwrap_or_else(|| dashed(self.address))
    }
}

/// What the zone says.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// Records, with what helps beside them.
    Records {
        /// Answers.
        answers: Vec<Record>,
        /// Addresses of the names in the answers.
        additionals: Vec<Record>,
    },
    /// The name is somewhere else: the CNAME, and the name to ask on for.
    Alias {
        /// The CNAME record.
        record: Record,
        /// Its target.
        target: Name,
    },
    /// The name exists, but has no such record. Carries the SOA.
    NoData(Record),
    /// There is no such name. Carries the SOA.
    NoSuchName(Record),
    /// Not a name of the cluster.
    Elsewhere,
}

type Key = (String, String);

/// The index.
#[derive(Debug)]
pub struct Zone {
    domain: Vec<String>,
    origin: Name,
    services: HashMap<Key, Service>,
    // Endpoints by Service, and there by EndpointSlice.
    slices: HashMap<Key, BTreeMap<String, Vec<Endpoint>>>,
    namespaces: std::collections::BTreeSet<String>,
    reverse: HashMap<IpAddr, Vec<Name>>,
    serial: u32,
}

impl Zone {
    /// An empty zone.
    pub fn new(domain: &str) -> Self {
        let domain = domain.trim_end_matches('.').to_lowercase();
        let labels = domain.split('.').map(str::to_owned).collect();
        let mut origin = Name::from_ascii(&domain).unwrap_or_else(|_| Name::root());
        origin.set_fqdn(true);
        Self {
            domain: labels,
            origin,
            services: HashMap::new(),
            slices: HashMap::new(),
            namespaces: std::collections::BTreeSet::new(),
            reverse: HashMap::new(),
            serial: 1,
        }
    }

    /// A namespace that exists (or not, any more).
    pub fn set_namespace(&mut self, name: &str, exists: bool) {
        if exists {
            self.namespaces.insert(name.to_owned());
        } else {
            self.namespaces.remove(name);
        }
    }

    /// A new or changed Service; `None` when it is gone.
    pub fn set_service(&mut self, namespace: &str, name: &str, service: Option<Service>) {
        let key = (namespace.to_owned(), name.to_owned());
        self.forget_reverse(&key);
        match service {
            Some(service) => self.services.insert(key.clone(), service),
            None => self.services.remove(&key),
        };
        self.learn_reverse(&key);
    }

    /// New or changed endpoints of one EndpointSlice of a Service; `None` when it is gone.
    pub fn set_slice(
        &mut self,
        namespace: &str,
        service: &str,
        slice: &str,
        endpoints: Option<Vec<Endpoint>>,
    ) {
        let key = (namespace.to_owned(), service.to_owned());
        self.forget_reverse(&key);
        let slices = self.slices.entry(key.clone()).or_default();
        match endpoints {
            Some(endpoints) => slices.insert(slice.to_owned(), endpoints),
            None => slices.remove(slice),
        };
        if slices.is_empty() {
            self.slices.remove(&key);
        }
        self.learn_reverse(&key);
    }

    /// Answers a question.
    pub fn answer(&self, name: &Name, kind: RecordType) -> Answer {
        if let Some(address) = reverse_address(name) {
            return self.pointers(name, address, kind);
        }
        let labels: Vec<String> = name.iter().map(|l| String::from_utf8_lossy(l).to_lowercase()).collect();
        let Some(inner) = strip(&labels, &self.domain) else { return Answer::Elsewhere };
        let inner: Vec<&str> = inner.iter().map(String::as_str).collect();
        match inner.as_slice() {
            [] if kind == RecordType::SOA => self.records(vec![self.soa()]),
            [] | ["svc" | "pod"] => self.no_data(),
            ["dns-version"] => self.version(name, kind),
            [namespace, "svc" | "pod"] => self.exists(self.namespaces.contains(*namespace)),
            [service, namespace, "svc"] => self.service(name, namespace, service, kind),
            [port, protocol, service, namespace, "svc"]
                if port.starts_with('_') && protocol.starts_with('_') =>
            {
                self.port(name, (namespace, service), port, protocol, kind)
            }
            [protocol, service, namespace, "svc"] if protocol.starts_with('_') => {
                self.exists(self.services.contains_key(&key(namespace, service)))
            }
            [host, service, namespace, "svc"] => self.endpoint(name, host, namespace, service, kind),
            [address, namespace, "pod"] => self.pod(name, address, namespace, kind),
            _ => self.no_such_name(),
        }
    }

    fn service(&self, name: &Name, namespace: &str, service: &str, kind: RecordType) -> Answer {
        let key = key(namespace, service);
        let Some(found) = self.services.get(&key) else { return self.no_such_name() };
        if let Some(target) = &found.external_name {
            let Ok(mut target) = Name::from_utf8(target) else { return self.no_data() };
            target.set_fqdn(true);
            let record = Record::from_rdata(name.clone(), TTL_SECONDS, RData::CNAME(CNAME(target.clone())));
            return Answer::Alias { record, target };
        }
        if kind == RecordType::SRV {
            let ports = self.all_ports(&key, found);
            return self.srv(name, &key, found, |port| ports.contains(port));
        }
        let addresses: Vec<IpAddr> = if found.cluster_ips.is_empty() {
            self.endpoints(&key).map(|e| e.address).collect()
        } else {
            found.cluster_ips.clone()
        };
        self.addresses(name, &addresses, kind)
    }

    fn port(&self, name: &Name, of: (&str, &str), port: &str, protocol: &str, kind: RecordType) -> Answer {
        let key = key(of.0, of.1);
        let Some(found) = self.services.get(&key) else { return self.no_such_name() };
        let wanted = |p: &Port| {
            !p.name.is_empty()
                && Some(p.name.as_str()) == port.get(1..)
                && Some(p.protocol.as_str()) == protocol.get(1..)
        };
        if !self.all_ports(&key, found).iter().any(wanted) {
            return self.no_such_name();
        }
        if kind == RecordType::SRV { self.srv(name, &key, found, wanted) } else { self.no_data() }
    }

    fn endpoint(&self, name: &Name, host: &str, namespace: &str, service: &str, kind: RecordType) -> Answer {
        let key = key(namespace, service);
        let headless =
            self.services.get(&key).is_some_and(|s| s.cluster_ips.is_empty() && s.external_name.is_none());
        let found: Vec<IpAddr> =
            self.endpoints(&key).filter(|e| e.label() == host).map(|e| e.address).collect();
        if !headless || found.is_empty() {
            return self.no_such_name();
        }
        self.addresses(name, &found, kind)
    }

    /// `10-1-0-7.NAMESPACE.pod`: the address that the name spells, as CoreDNS' `pods insecure` does.
    fn pod(&self, name: &Name, address: &str, namespace: &str, kind: RecordType) -> Answer {
        let spelt =
            address.replace('-', ".").parse().or_else(|_| address.replace('-', ":").parse::<IpAddr>());
        match spelt {
            Ok(address) if self.namespaces.contains(namespace) => self.addresses(name, &[address], kind),
            _ => self.no_such_name(),
        }
    }

    fn version(&self, name: &Name, kind: RecordType) -> Answer {
        if kind != RecordType::TXT {
            return self.no_data();
        }
        let text = RData::TXT(TXT::new(vec!["1.1.0".to_owned()]));
        self.records(vec![Record::from_rdata(name.clone(), TTL_SECONDS, text)])
    }

    fn pointers(&self, name: &Name, address: IpAddr, kind: RecordType) -> Answer {
        match self.reverse.get(&address) {
            None => Answer::Elsewhere,
            Some(_) if kind != RecordType::PTR => self.no_data(),
            Some(targets) => self.records(
                targets
                    .iter()
                    .map(|t| Record::from_rdata(name.clone(), TTL_SECONDS, RData::PTR(PTR(t.clone()))))
                    .collect(),
            ),
        }
    }

    fn srv(&self, name: &Name, key: &Key, service: &Service, wanted: impl Fn(&Port) -> bool) -> Answer {
        let (mut answers, mut additionals) = (Vec::new(), Vec::new());
        let mut add = |port: &Port, target: Name, addresses: &[IpAddr]| {
            // Priority 0, weight 100: all endpoints are alike.
            let data = RData::SRV(SRV::new(0, 100, port.number, target.clone()));
            answers.push(Record::from_rdata(name.clone(), TTL_SECONDS, data));
            let known =
                addresses.iter().map(|a| Record::from_rdata(target.clone(), TTL_SECONDS, address_data(*a)));
            additionals.extend(known);
        };
        let base = self.service_name(key);
        if service.cluster_ips.is_empty() {
            for endpoint in self.endpoints(key) {
                let Ok(target) = base.prepend_label(endpoint.label()) else { continue };
                for port in endpoint.ports.iter().filter(|p| wanted(p)) {
                    add(port, target.clone(), &[endpoint.address]);
                }
            }
        } else {
            for port in service.ports.iter().filter(|p| wanted(p)) {
                add(port, base.clone(), &service.cluster_ips);
            }
        }
        if answers.is_empty() {
            return self.no_data();
        }
        additionals.dedup();
        Answer::Records { answers, additionals }
    }

    fn all_ports(&self, key: &Key, service: &Service) -> Vec<Port> {
        if service.cluster_ips.is_empty() {
            self.endpoints(key).flat_map(|e| e.ports.iter().cloned()).collect()
        } else {
            service.ports.clone()
        }
    }

    fn addresses(&self, name: &Name, addresses: &[IpAddr], kind: RecordType) -> Answer {
        let fits = |a: &&IpAddr| match kind {
            RecordType::A => a.is_ipv4(),
            RecordType::AAAA => a.is_ipv6(),
            RecordType::ANY => true,
            _ => false,
        };
        let records: Vec<Record> = addresses
            .iter()
            .filter(fits)
            .map(|a| Record::from_rdata(name.clone(), TTL_SECONDS, address_data(*a)))
            .collect();
        if records.is_empty() { self.no_data() } else { self.records(records) }
    }

    fn endpoints(&self, key: &Key) -> impl Iterator<Item = &Endpoint> {
        self.slices.get(key).into_iter().flat_map(BTreeMap::values).flatten()
    }

    fn service_name(&self, (namespace, service): &Key) -> Name {
        let labels = [service.as_str(), namespace.as_str(), "svc"];
        let mut name = Name::from_labels(labels).unwrap_or_else(|_| Name::root());
        name.set_fqdn(false);
        let mut name = name.append_domain(&self.origin).unwrap_or_else(|_| self.origin.clone());
        name.set_fqdn(true);
        name
    }

    fn learn_reverse(&mut self, key: &Key) {
        for (address, name) in self.reverse_of(key) {
            let names = self.reverse.entry(address).or_default();
            if !names.contains(&name) {
                names.push(name);
            }
        }
    }

    fn forget_reverse(&mut self, key: &Key) {
        for (address, name) in self.reverse_of(key) {
            if let Some(names) = self.reverse.get_mut(&address) {
                names.retain(|n| *n != name);
                if names.is_empty() {
                    self.reverse.remove(&address);
                }
            }
        }
        self.serial = self.serial.wrapping_add(1);
    }

    /// The addresses that lead back to a Service: its own, or its endpoints' where it has none.
    fn reverse_of(&self, key: &Key) -> Vec<(IpAddr, Name)> {
        let Some(service) = self.services.get(key) else { return Vec::new() };
        let base = self.service_name(key);
        if !service.cluster_ips.is_empty() {
            return service.cluster_ips.iter().map(|a| (*a, base.clone())).collect();
        }
        self.endpoints(key)
            .filter(|e| e.hostname.is_some())
            .filter_map(|e| Some((e.address, base.prepend_label(e.label()).ok()?)))
            .collect()
    }

    fn exists(&self, exists: bool) -> Answer {
        if exists { self.no_data() } else { self.no_such_name() }
    }

    fn records(&self, answers: Vec<Record>) -> Answer {
        Answer::Records { answers, additionals: Vec::new() }
    }

    fn no_data(&self) -> Answer {
        Answer::NoData(self.soa())
    }

    fn no_such_name(&self) -> Answer {
        Answer::NoSuchName(self.soa())
    }

    fn soa(&self) -> Record {
        let child = |label: &str| self.origin.prepend_label(label).unwrap_or_else(|_| self.origin.clone());
        let soa = SOA::new(child("ns.dns"), child("hostmaster"), self.serial, 7200, 1800, 86400, TTL_SECONDS);
        Record::from_rdata(self.origin.clone(), TTL_SECONDS, RData::SOA(soa))
    }
}

fn key(namespace: &str, service: &str) -> Key {
    (namespace.to_owned(), service.to_owned())
}

fn address_data(address: IpAddr) -> RData {
    match address {
        IpAddr::V4(address) => RData::A(A(address)),
        IpAddr::V6(address) => RData::AAAA(AAAA(address)),
    }
}

fn dashed(address: IpAddr) -> String {
    address.to_string().replace(['.', ':'], "-")
}

/// What stands before the zone's labels, if the name is in the zone.
fn strip<'a>(labels: &'a [String], domain: &[String]) -> Option<&'a [String]> {
    let at = labels.len().checked_sub(domain.len())?;
    let (inner, suffix) = labels.split_at_checked(at)?;
    (suffix == domain).then_some(inner)
}

/// The address that a name in `in-addr.arpa` or `ip6.arpa` spells.
fn reverse_address(name: &Name) -> Option<IpAddr> {
    let labels: Vec<String> = name.iter().map(|l| String::from_utf8_lossy(l).to_lowercase()).collect();
    let (zone, rest) = match labels.as_slice() {
        [rest @ .., zone, arpa] if arpa == "arpa" => (zone.as_str(), rest),
        _ => return None,
    };
    match (zone, rest.len()) {
        ("in-addr", 4) => rest.iter().rev().cloned().collect::<Vec<_>>().join(".").parse().ok(),
        ("ip6", 32) => {
            let digits: String = rest.iter().rev().map(String::as_str).collect();
            let bits = u128::from_str_radix(&digits, 16).ok()?;
            Some(IpAddr::V6(bits.into()))
        }
        _ => None,
    }
}

#[cfg(test)]
#[path = "zone_tests.rs"]
mod tests;
