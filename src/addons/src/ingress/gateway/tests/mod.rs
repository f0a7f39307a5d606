mod listeners;
mod routes;

use super::*;
use crate::ingress::table::{Asked, Backend, Side, Table, Target};
use ::http::{HeaderMap, HeaderName, HeaderValue, Method};

/// What a cluster has.
#[derive(Default)]
pub struct World {
    objects: Objects,
    /// Services `NAMESPACE/NAME` with port 80.
    services: Vec<String>,
    secrets: Vec<String>,
    labels: BTreeMap<String, String>,
}

fn object(value: Value) -> Object {
    Arc::new(serde_json::from_value(value).unwrap())
}

fn meta(name: &str, age: u32) -> Value {
    let (namespace, name) = name.split_once('/').unwrap_or(("n", name));
    json!({"namespace": namespace, "name": name, "generation": 3, "resourceVersion": "9",
        "creationTimestamp": format!("2026-01-01T00:00:{:02}Z", 60 - age)})
}

impl World {
    /// A class, and Services `n/a`, `n/b`, `n/c` and `other/o`.
    pub fn new() -> Self {
        let class =
            json!({"metadata": {"name": "public", "generation": 1}, "spec": {"controllerName": CONTROLLER}});
        let mut world = Self::default();
        world.objects.classes.push(object(class));
        world.services = ["n/a", "n/b", "n/c", "other/o"].map(str::to_owned).to_vec();
        world
    }

    pub fn gateway(mut self, name: &str, listeners: Value) -> Self {
        self.objects.gateways.push(object(json!({"metadata": meta(name, 1),
            "spec": {"gatewayClassName": "public", "listeners": listeners}})));
        self
    }

    /// A route; `to` is a Gateway, or more of a reference to one.
    pub fn route(
        mut self,
        kind: Kind,
        name: &str,
        age: u32,
        to: Value,
        hosts: &[&str],
        rules: Value,
    ) -> Self {
        let parent = if to.is_string() { json!({"name": to}) } else { to };
        let spec = json!({"parentRefs": [parent], "hostnames": hosts, "rules": rules});
        self.objects.routes.push((kind, object(json!({"metadata": meta(name, age), "spec": spec}))));
        self
    }

    /// A policy for the Services of a name, or more of references to them.
    pub fn policy(mut self, name: &str, age: u32, target: &str, authority: &str) -> Self {
        let (service, section) =
            target.split_once(':').map_or((target, None), |(one, other)| (one, Some(other)));
        let mut target = json!({"group": "", "kind": "Service", "name": service});
        if let Some(section) = section {
            target["sectionName"] = json!(section);
        }
        let authority = json!([{"group": "", "kind": "ConfigMap", "name": authority}]);
        self.objects
            .policies
            .push(object(json!({"metadata": meta(name, age), "spec": {"targetRefs": [target],
            "validation": {"hostname": "s.example", "caCertificateRefs": authority}}})));
        self
    }

    pub fn secret(mut self, name: &str) -> Self {
        self.secrets.push(name.to_owned());
        self
    }

    fn grant(mut self, namespace: &str, from: Value, to: Value) -> Self {
        let metadata = json!({"namespace": namespace, "name": "g"});
        self.objects.grants.push(object(json!({"metadata": metadata, "spec": {"from": [from], "to": [to]}})));
        self
    }

    pub fn compiled(&self) -> Output {
        let service = |namespace: &str, name: &str| {
            let key = format!("{namespace}/{name}");
            self.services.contains(&key).then(|| {
                let spec = json!({"spec": {"ports": [{"port": 80}, {"port": 81, "appProtocol": "kubernetes.io/h2c"}]}});
                Arc::new(serde_json::from_value(spec).unwrap())
            })
        };
        let certificate = |namespace: &str, name: &str| {
            let key = format!("{namespace}/{name}");
            if self.secrets.contains(&key) { Ok(()) } else { Err(format!("there is no Secret {key}")) }
        };
        let labels = |namespace: &str| (namespace == "other").then(|| self.labels.clone());
        let addresses = ["192.0.2.1".to_owned(), "192.0.2.2".to_owned()];
        let inputs = Inputs {
            labels: &labels,
            service: &service,
            certificate: &certificate,
            authority: &|source| *source == Source::ConfigMap("n/ca".to_owned()),
            addresses: &addresses,
            now: "2026-02-01T00:00:00Z",
            grants: Vec::new(),
            policies: Policies::default(),
        };
        compile(&self.objects, &inputs.with(&self.objects))
    }

    pub fn table(&self) -> Table {
        let mut table = Table::default();
        table.join(&mut self.compiled());
        table
    }

    /// The status that an object is told.
    fn status(&self, kind: &str, name: &str) -> Value {
        let updates = self.compiled().updates;
        let update = updates.iter().find(|update| update.path.ends_with(&format!("/{kind}/{name}/status")));
        update.map(|update| update.patch["status"].clone()).unwrap_or_default()
    }

    /// What a route is told: whether it is accepted, whether its references are resolved, and why.
    fn told(&self, kind: &str, name: &str) -> Vec<String> {
        conditions(&self.status(kind, name)["parents"][0]["conditions"])
    }
}

fn conditions(all: &Value) -> Vec<String> {
    let mut told: Vec<String> = all
        .as_array()
        .into_iter()
        .flatten()
        .map(|one| {
            let text = |field: &str| one[field].as_str().unwrap().to_owned();
            format!("{} {} {}", text("type"), text("status"), text("reason"))
        })
        .collect();
    told.sort();
    told
}

pub fn http() -> Value {
    json!([{"name": "http", "port": 80, "protocol": "HTTP", "allowedRoutes": {"namespaces": {"from": "Same"}}}])
}

pub fn to(service: &str) -> Value {
    json!([{"name": service, "port": 80}])
}

/// A rule for a path.
fn rule(kind: &str, path: &str, service: &str) -> Value {
    json!({"matches": [{"path": {"type": kind, "value": path}}], "backendRefs": to(service)})
}

/// The Service that gets a request.
fn service(table: &Table, method: &str, url: &str, headers: &[(&str, &str)]) -> String {
    let (host, rest) = url.split_once('/').unwrap();
    let path = format!("/{rest}");
    let (path, query) =
        path.split_once('?').map_or((path.as_str(), None), |(path, query)| (path, Some(query)));
    let method: Method = method.parse().unwrap();
    let headers: HeaderMap = headers
        .iter()
        .map(|(k, v)| (HeaderName::from_bytes(k.as_bytes()).unwrap(), HeaderValue::from_str(v).unwrap()))
        .collect();
    let asked = Asked { side: Side::Plain, host, path, query, method: &method, headers: &headers };
    match table.find(&asked).map(|route| &route.target) {
        Some(Target::Rule(rule)) => {
            rule.choices[0].backend.as_ref().map_or("-".to_owned(), |b| b.service.clone())
        }
        Some(Target::Path(path)) => path.backend.service.clone(),
        None => String::new(),
    }
}

#[test]
fn policies_say_which_endpoints_speak_tls() {
    let world = World::new().gateway("g", http());
    let world = world.route(
        Kind::Http,
        "r",
        1,
        json!("g"),
        &[],
        json!([{"backendRefs": [{"name": "a", "port": 80}, {"name": "b", "port": 80}]}]),
    );
    let world = world.policy("old", 5, "a", "ca").policy("young", 1, "a", "ca").policy("bad", 1, "b", "none");
    let told =
        |name: &str| conditions(&world.status("backendtlspolicies", name)["ancestors"][0]["conditions"]);
    assert_eq!(told("old"), ["Accepted True Accepted", "ResolvedRefs True ResolvedRefs"]);
    assert_eq!(told("young")[0], "Accepted False Conflicted");
    assert_eq!(
        told("bad"),
        ["Accepted False NoValidCACertificate", "ResolvedRefs False InvalidCACertificateRef"]
    );
    let ancestor = world.status("backendtlspolicies", "old")["ancestors"][0]["ancestorRef"].clone();
    assert_eq!(ancestor, json!({"group": GROUP, "kind": "Gateway", "namespace": "n", "name": "g"}));
    let output = world.compiled();
    let Target::Rule(rule) = &output.routes[0].1.target else { panic!("a route has rules") };
    let of = |at: usize| rule.choices[at].options.encryption.clone().unwrap();
    assert_eq!(of(0).source, Some(Source::ConfigMap("n/ca".to_owned())));
    assert_eq!((of(1).source, of(1).verifies), (None, true), "nobody is believed");
    assert_eq!(
        World::new().policy("p", 1, "c", "ca").compiled().updates.len(),
        1,
        "only the class has something to learn"
    );
}

#[test]
fn routes_of_gateways_and_ingresses_share_a_table() {
    let ingress = json!({"metadata": {"namespace": "n", "name": "i"}, "spec": {"rules": [{"host": "h", "http": {"paths": [
        {"path": "/", "pathType": "Prefix", "backend": {"service": {"name": "ingress", "port": {"number": 80}}}}]}}]}});
    let world = World::new().gateway("g", http());
    let rules = json!([rule("PathPrefix", "/", "a"), rule("PathPrefix", "/api", "b")]);
    let world = world.route(Kind::Http, "r", 1, json!("g"), &["h"], rules);
    let mut table = Table::compile(&[Arc::new(serde_json::from_value(ingress).unwrap())]);
    table.join(&mut world.compiled());
    assert_eq!(service(&table, "GET", "h/", &[]), "ingress");
    assert_eq!(service(&table, "GET", "h/api", &[]), "b");
}

#[test]
fn statuses_settle() {
    let mut world = World::new().gateway("g", http());
    world = world.route(Kind::Http, "r", 1, json!("g"), &[], json!([{"backendRefs": to("a")}]));
    for update in world.compiled().updates {
        let name = update.path.rsplit('/').nth(1).unwrap();
        let objects = &mut world.objects;
        let all = objects
            .classes
            .iter_mut()
            .chain(&mut objects.gateways)
            .chain(objects.routes.iter_mut().map(|(_, o)| o));
        for object in all.filter(|object| object.metadata.name.as_deref() == Some(name)) {
            Arc::make_mut(object).data["status"] = update.patch["status"].clone();
        }
    }
    assert_eq!(world.compiled().updates, []);
    // A route that leaves loses what it was told.
    Arc::make_mut(&mut world.objects.routes[0].1).data["spec"]["parentRefs"] = json!([]);
    assert_eq!(world.status("httproutes", "r"), json!({"parents": []}));
}
