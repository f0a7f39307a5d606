//! Snapshots of what the cluster says, and the statuses that its objects are told.

use super::CONTROLLER;
use super::encryption::{Credentials, Source};
use super::gateway::{self, Inputs, Objects, Policies, Update, Watched};
use super::snapshot::{self, Pool, Snapshot};
use super::table::Table;
use crate::http::Ready;
use client::informer::HandlerGuard;
use client::nodes::own_addresses;
use client::rest::Patch;
use client::{Informer, ObjectKey, Rest, Scope, SharedInformers};
use k8s_openapi::api::core::v1::{ConfigMap, Node, Secret, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::{Ingress, IngressClass};
use parking_lot::RwLock;
use serde_json::{Value, json};
use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;

const CLASS: &str = "kubernetes.io/ingress.class";
/// The label that names an EndpointSlice's Service.
const SERVICE_NAME: &str = "kubernetes.io/service-name";
/// Index of EndpointSlices by Service, `NAMESPACE/NAME`.
const BY_SERVICE: &str = "service";
/// What comes within this time makes one snapshot: a rollout changes a slice many times a second.
const TOGETHER: Duration = Duration::from_millis(20);
/// How often authorities are read again: their objects are not watched, since that would be watching all Secrets and
/// ConfigMaps.
const AUTHORITIES: Duration = Duration::from_secs(30);
/// How long the users of an Ingress that is new are waited for.
const FIRST: Duration = Duration::from_secs(5);
/// How often it is looked whether the Gateway API is there, while it is not, and statuses are tried again.
const AGAIN: Duration = Duration::from_secs(10);

struct Cluster {
    ingresses: Informer<Ingress>,
    classes: Informer<IngressClass>,
    services: Informer<Service>,
    slices: Informer<EndpointSlice>,
    secrets: Informer<Secret>,
    nodes: Informer<Node>,
    gateways: Option<Watched>,
    /// Secrets with users by `NAMESPACE/NAME`: a password that is changed counts at once.
    users: HashMap<String, Option<WatchedSecret>>,
    changed: Arc<Notify>,
    rest: Rest,
    default_certificate: String,
}

/// One Secret as it is.
struct WatchedSecret {
    key: ObjectKey,
    found: Informer<Secret>,
    _guard: HandlerGuard,
    /// Ends the watch with it.
    _informers: SharedInformers,
}

impl WatchedSecret {
    /// Begins to watch a Secret, `NAMESPACE/NAME`; none when there can be none of this name. Changes are told to `changed`.
    async fn start(name: &str, client: &kube::Client, changed: &Arc<Notify>) -> Option<Self> {
        let (namespace, secret) = name.split_once('/')?;
        // A person has written it, and it becomes a part of a selector.
        let possible = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.');
        if secret.is_empty() || !secret.chars().all(possible) {
            return None;
        }
        let scope =
            Scope { field_selector: format!("metadata.name={secret}"), ..Scope::namespace(namespace) };
        let informers = SharedInformers::new(client.clone());
        let (found, changed) = (informers.scoped::<Secret>(&scope), changed.clone());
        let guard = found.add_handler(move |_| changed.notify_one());
        // What comes later comes as a change.
        let _ = tokio::time::timeout(FIRST, found.synced()).await;
        let key = ObjectKey::new(namespace, secret);
        Some(Self { key, found, _guard: guard, _informers: informers })
    }

    /// Lines of htpasswd, if there are any.
    fn lines(&self) -> Option<String> {
        let secret = self.found.get(&self.key)?;
        String::from_utf8(secret.data.as_ref()?.get("auth")?.0.clone()).ok()
    }
}

/// Keeps `current` as the cluster is, for ever.
pub async fn watch(
    informers: SharedInformers,
    current: Arc<RwLock<Arc<Snapshot>>>,
    default_certificate: String,
    ready: Ready,
) {
    let mut cluster = Cluster {
        ingresses: informers.get(),
        classes: informers.get(),
        services: informers.get(),
        slices: informers.get(),
        secrets: informers.scoped(&Scope::fields("type=kubernetes.io/tls")),
        nodes: informers.get(),
        gateways: None,
        users: HashMap::new(),
        changed: Arc::new(Notify::new()),
        rest: Rest::new(informers.client().clone()),
        default_certificate,
    };
    cluster.slices.add_index(BY_SERVICE, |slice| {
        let service = slice.metadata.labels.as_ref().and_then(|labels| labels.get(SERVICE_NAME));
        let namespace = slice.metadata.namespace.as_deref().unwrap_or_default();
        service.map(|service| format!("{namespace}/{service}")).into_iter().collect()
    });
    let changed = cluster.changed.clone();
    let notify = || {
        let changed = changed.clone();
        move || changed.notify_one()
    };
    let (a, b, c, d, e, f) = (notify(), notify(), notify(), notify(), notify(), notify());
    let _guards = (
        cluster.ingresses.add_handler(move |_| a()),
        cluster.classes.add_handler(move |_| b()),
        cluster.services.add_handler(move |_| c()),
        cluster.slices.add_handler(move |_| d()),
        cluster.secrets.add_handler(move |_| e()),
        cluster.nodes.add_handler(move |_| f()),
    );
    cluster.ingresses.synced().await;
    cluster.classes.synced().await;
    cluster.services.synced().await;
    cluster.slices.synced().await;
    cluster.secrets.synced().await;
    cluster.nodes.synced().await;
    let mut told = Vec::new();
    loop {
        if cluster.gateways.is_none() {
            cluster.gateways = Watched::start(&informers, &cluster.rest, &changed).await;
        }
        let (snapshot, updates) = cluster.snapshot().await;
        if snapshot.table.wrong != told {
            for why in &snapshot.table.wrong {
                tracing::warn!("{why}");
            }
            told.clone_from(&snapshot.table.wrong);
        }
        let reads_again = !snapshot.credentials.is_empty();
        *current.write() = Arc::new(snapshot);
        ready.set();
        cluster.tell_addresses().await;
        let told_all = cluster.tell(&updates).await;
        tokio::select! {
            () = changed.notified() => tokio::time::sleep(TOGETHER).await,
            () = tokio::time::sleep(AUTHORITIES), if reads_again => {}
            () = tokio::time::sleep(AGAIN), if cluster.gateways.is_none() || !told_all => {}
        }
    }
}

impl Cluster {
    /// The Ingresses that are this proxy's: of a class that names it, or of none.
    fn mine(&self) -> Vec<Arc<Ingress>> {
        let mut all = self.ingresses.list();
        all.retain(|ingress| {
            let annotation = ingress.metadata.annotations.as_ref().and_then(|all| all.get(CLASS));
            let class = ingress.spec.as_ref().and_then(|spec| spec.ingress_class_name.as_ref());
            let Some(class) = class.or(annotation) else { return true };
            let class = self.classes.get(&ObjectKey::cluster(class.as_str()));
            let controller = class.as_ref().and_then(|class| class.spec.as_ref()?.controller.as_deref());
            controller == Some(CONTROLLER)
        });
        all
    }

    async fn snapshot(&mut self) -> (Snapshot, Vec<Update>) {
        let mut table = Table::compile(&self.mine());
        let objects = self.gateways.as_ref().map(Watched::objects).unwrap_or_default();
        let mut credentials = HashMap::new();
        for source in objects.sources() {
            let found = Arc::new(self.credentials(&source).await);
            credentials.insert(source, found);
        }
        let updates = self.join_gateways(&objects, &credentials, &mut table);
        let mut pools = HashMap::new();
        for backend in table.backends() {
            let Some(service) = self.services.find(&backend.namespace, &backend.service) else { continue };
            let key = format!("{}/{}", backend.namespace, backend.service);
            let endpoints = snapshot::endpoints(&backend, &service, &self.slices.by_index(BY_SERVICE, &key));
            pools.insert(backend, Pool::new(endpoints));
        }
        let mut certificates = HashMap::new();
        for name in table
            .certificate_secrets()
            .iter()
            .chain(Some(&self.default_certificate).filter(|name| !name.is_empty()))
        {
            let (namespace, secret) = name.split_once('/').unwrap_or_default();
            match self.secrets.find(namespace, secret).map(|secret| snapshot::certificate(&secret)) {
                Some(Ok(certificate)) => drop(certificates.insert(name.clone(), certificate)),
                Some(Err(why)) => table.wrong.push(format!("certificate of Secret {name}: {why}")),
                None => table.wrong.push(format!("there is no Secret {name} of type kubernetes.io/tls")),
            }
        }
        let users = self.users(table.user_secrets()).await;
        for source in table.sources() {
            if let Entry::Vacant(place) = credentials.entry(source) {
                let found = self.credentials(place.key()).await;
                place.insert(Arc::new(found));
            }
        }
        let default_certificate = certificates.get(&self.default_certificate).cloned();
        (Snapshot { table, pools, certificates, default_certificate, users, credentials }, updates)
    }

    /// Lines of htpasswd by Secret. Those that nobody names any more are not watched any more.
    async fn users(&mut self, names: BTreeSet<String>) -> HashMap<String, String> {
        self.users.retain(|name, _| names.contains(name));
        let mut users = HashMap::new();
        for name in names {
            if !self.users.contains_key(&name) {
                let watched = WatchedSecret::start(&name, self.rest.client(), &self.changed).await;
                self.users.insert(name.clone(), watched);
            }
            let lines = self.users.get(&name).and_then(|watched| watched.as_ref()?.lines());
            // Without users nobody gets in.
            users.insert(name, lines.unwrap_or_default());
        }
        users
    }

    /// Certificates and keys as they are now; nothing of an object that is not there.
    async fn credentials(&self, source: &Source) -> Credentials {
        let key = |name: &str| {
            let (namespace, name) = name.split_once('/').unwrap_or_default();
            ObjectKey::new(namespace, name)
        };
        match source {
            Source::Secret(name) => {
                let found = self.rest.get::<Secret>(&key(name)).await.ok().flatten();
                let mut data = found.and_then(|secret| secret.data).unwrap_or_default();
                let mut take = |key: &str| data.remove(key).map(|bytes| bytes.0).unwrap_or_default();
                Credentials {
                    authorities: take("ca.crt"),
                    certificate: take("tls.crt"),
                    key: take("tls.key"),
                }
            }
            Source::ConfigMap(name) => {
                let found = self.rest.get::<ConfigMap>(&key(name)).await.ok().flatten();
                let mut data = found.and_then(|map| map.data).unwrap_or_default();
                let authorities = data.remove("ca.crt").unwrap_or_default().into_bytes();
                Credentials { authorities, ..Credentials::default() }
            }
        }
    }

    /// Adds what the Gateway API says. Answers the statuses that are to be written.
    fn join_gateways(
        &self,
        objects: &Objects,
        credentials: &HashMap<Source, Arc<Credentials>>,
        table: &mut Table,
    ) -> Vec<Update> {
        let Some(watched) = &self.gateways else { return Vec::new() };
        let service = |namespace: &str, name: &str| self.services.find(namespace, name);
        let certificate = |namespace: &str, name: &str| {
            let secret = self.secrets.find(namespace, name);
            let secret = secret
                .ok_or_else(|| format!("there is no Secret {namespace}/{name} of type kubernetes.io/tls"))?;
            let usable = snapshot::certificate(&secret);
            usable.map(drop).map_err(|why| format!("certificate of Secret {namespace}/{name}: {why}"))
        };
        let labels = |namespace: &str| watched.labels(namespace);
        let (addresses, now) = (self.addresses(), format!("{:.0}", jiff::Timestamp::now()));
        let inputs = Inputs {
            labels: &labels,
            service: &service,
            certificate: &certificate,
            authority: &|source| credentials.get(source).is_some_and(|found| found.has_authority()),
            addresses: &addresses,
            now: &now,
            grants: Vec::new(),
            policies: Policies::default(),
        };
        let mut output = gateway::compile(objects, &inputs.with(objects));
        table.join(&mut output);
        output.updates
    }

    /// Writes statuses. Answers whether all were written; one that somebody else has changed comes again by itself.
    async fn tell(&self, updates: &[Update]) -> bool {
        let mut all = true;
        for update in updates {
            let written = self.rest.raw_patch(&update.path, &Patch::Merge(update.patch.clone())).await;
            if let Err(error) = written {
                tracing::debug!(path = update.path, "a status is not written: {error}");
                all &= client::rest::is_conflict(&error) || client::rest::is_not_found(&error);
            }
        }
        all
    }

    /// The nodes' own addresses, in order.
    fn addresses(&self) -> Vec<String> {
        let nodes = self.nodes.list();
        let own = nodes.iter().flat_map(|node| own_addresses(node));
        let mut ips: Vec<String> = own.map(|address| address.to_string()).collect();
        ips.sort_unstable();
        ips
    }

    /// Every proxy finds the same addresses; the first one writes them.
    async fn tell_addresses(&self) {
        let ips = self.addresses();
        let wanted: Vec<Value> = ips.iter().map(|ip| json!({"ip": ip})).collect();
        for ingress in self.mine() {
            let status = ingress.status.as_ref().and_then(|status| status.load_balancer.as_ref());
            let told = status.and_then(|status| status.ingress.as_deref()).unwrap_or_default();
            let mut told: Vec<&str> = told.iter().filter_map(|one| one.ip.as_deref()).collect();
            told.sort_unstable();
            if told == ips {
                continue;
            }
            let patch = Patch::Merge(json!({"status": {"loadBalancer": {"ingress": wanted}}}));
            let written = self.rest.patch::<Ingress>(&ObjectKey::of(&*ingress), "status", &patch).await;
            if let Err(error) = written {
                tracing::debug!("an Ingress does not learn its addresses: {error}");
            }
        }
    }
}
