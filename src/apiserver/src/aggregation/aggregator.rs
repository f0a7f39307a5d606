//! What the rest of the server sees of aggregation, and the tasks behind it.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use apimachinery::gvk::GroupResource;
use apimachinery::status::Result;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use parking_lot::RwLock;
use rustls::sign::CertifiedKey;
use storage::StorageError;
use tokio::time::Instant;

use super::api_service::{ApiService, Condition, Remote};
use super::documents::{self, OpenApiElsewhere, Overlay, RemoteVersion};
use super::registration::{self, Definitions, DefinitionsSink};
use super::swagger::Swagger;
use super::table::{ApiServices, Services, Slices, Table};
use super::{GROUP, availability, proxy};
use crate::body::Body;
use crate::cached::Feed;
use crate::endpoints::Context;
use crate::outbound::Outbound;
use crate::registry::{Registry, Resources, prefix};

/// How often a server that answers is asked again (upstream's resync).
const RESYNC: Duration = Duration::from_secs(30);
/// How soon one that does not is asked again: soon at first, then as seldom as the others.
const FIRST_RETRY: Duration = Duration::from_secs(1);
/// How often its OpenAPI index is read (upstream's interval of OpenAPI aggregation).
const OPENAPI_INTERVAL: Duration = Duration::from_secs(60);

/// Where OpenAPI documents of groups and versions are, by the path of what they describe.
const OPENAPI: &str = "/openapi/v3";

/// Aggregation. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Aggregator {
    shared: Arc<Shared>,
}

struct Shared {
    registry: Registry,
    outbound: Outbound,
    table: Arc<Table>,
    definitions: Arc<Definitions>,
    documents: RwLock<BTreeMap<String, Document>>,
    /// Counts changes of what discovery shows.
    generation: AtomicU64,
    _feeds: Vec<Feed>,
}

/// What a server said of one group and version when it last answered.
#[derive(Clone, Default)]
struct Document {
    resources: Vec<serde_json::Value>,
    fresh: bool,
    openapi: Option<String>,
    /// Whether it has v2 only.
    legacy: bool,
    swagger: Option<Arc<Swagger>>,
    /// The entity tag of the document of v2 that it is from.
    swagger_tag: Option<HeaderValue>,
    openapi_read: Option<Instant>,
}

impl Aggregator {
    /// Follows APIServices and what they depend on. Calls to other servers are made as `identity`.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub(crate) async fn start(
        registry: &Registry,
        outbound: Outbound,
        identity: Option<Arc<CertifiedKey>>,
    ) -> std::result::Result<Self, StorageError> {
        let (table, definitions) = (Arc::new(Table::new(identity)), Arc::new(Definitions::default()));
        let storage = registry.storage();
        let of = |group: &str, resource: &str| prefix(&GroupResource::new(group, resource), "");
        let definitions_of = of("apiextensions.k8s.io", "customresourcedefinitions");
        let feeds = vec![
            Feed::start(Arc::clone(storage), of(GROUP, "apiservices"), ApiServices(Arc::clone(&table)))
                .await?,
            Feed::start(Arc::clone(storage), of("", "services"), Services(Arc::clone(&table))).await?,
            Feed::start(
                Arc::clone(storage),
                of("discovery.k8s.io", "endpointslices"),
                Slices(Arc::clone(&table)),
            )
            .await?,
            Feed::start(Arc::clone(storage), definitions_of, DefinitionsSink(Arc::clone(&definitions)))
                .await?,
        ];
        let shared = Shared {
            registry: registry.clone(),
            outbound,
            table,
            definitions,
            documents: RwLock::default(),
            generation: AtomicU64::default(),
            _feeds: feeds,
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Makes the APIServices of built-in groups.
    ///
    /// # Errors
    /// When the store fails.
    pub(crate) async fn register(&self, resources: &Resources) -> Result<()> {
        registration::register_built_in(&self.shared.registry, resources).await
    }

    /// Keeps conditions, documents and the APIServices of custom resources current, until `ended`.
    pub(crate) fn run(&self, ended: impl Future<Output = ()> + Send + 'static) {
        let shared = Arc::clone(&self.shared);
        tokio::spawn(async move {
            tokio::select! {
                () = ended => {}
                () = shared.watch_availability() => {}
                () = shared.follow_definitions() => {}
            }
        });
    }

    /// The APIService for a path below `/apis`, or an OpenAPI document of such, that another server serves.
    pub(crate) fn remote(&self, path: &str) -> Option<Arc<ApiService>> {
        if !self.shared.table.any_remote() {
            return None;
        }
        let openapi = path.strip_prefix(OPENAPI);
        let path = openapi.unwrap_or(path);
        let mut segments = path.split('/').filter(|segment| !segment.is_empty());
        match (segments.next(), segments.next(), segments.next()) {
            (Some("apis"), Some(group), Some(version)) => {
                let service = self.shared.table.remote(group, version)?;
                // What it does not have itself is answered here.
                let converted = openapi.is_some() && self.shared.is_legacy(&service);
                (!converted).then_some(service)
            }
            _ => None,
        }
    }

    /// Passes a request on to who serves it.
    pub(crate) async fn pass_on(
        &self,
        service: &ApiService,
        context: &Context,
        parts: Parts,
        body: Body,
    ) -> Response<Body> {
        proxy::pass_on(&self.shared.outbound, service, context, parts, body).await
    }

    /// Changes when what [`Aggregator::overlay`] answers does.
    pub(crate) fn generation(&self) -> u64 {
        self.shared.generation.load(Ordering::Acquire)
    }

    /// What discovery has to show besides what is served here, and in which order.
    pub(crate) fn overlay(&self) -> Overlay {
        self.shared.overlay()
    }

    /// OpenAPI of others.
    pub(crate) fn openapi(&self) -> OpenApiElsewhere {
        let documents = self.shared.documents.read();
        let services = self.shared.table.all();
        let mut elsewhere = OpenApiElsewhere::default();
        for service in services.iter().filter(|service| service.remote.is_some()) {
            let Some(document) = documents.get(&service.name) else { continue };
            let path = format!("apis/{}/{}", service.group, service.version);
            if let Some(url) = &document.openapi {
                elsewhere.v3.insert(path, url.clone());
            } else if let Some(swagger) = document.swagger.as_ref().filter(|_| document.legacy) {
                let url = format!("{OPENAPI}/{path}?hash={}", swagger.v3_hash());
                elsewhere.v3.insert(path.clone(), url);
                elsewhere.converted.insert(path, Arc::clone(swagger));
            }
            elsewhere.v2.extend(document.swagger.clone());
        }
        elsewhere
    }
}

impl Shared {
    fn is_legacy(&self, service: &ApiService) -> bool {
        self.documents.read().get(&service.name).is_some_and(|document| document.legacy)
    }

    fn overlay(&self) -> Overlay {
        let documents = self.documents.read();
        let mut overlay = Overlay::default();
        for service in self.table.all() {
            let ranks = (service.group_priority, service.version_priority);
            overlay.ranks.insert((service.group.clone(), service.version.clone()), ranks);
            if service.remote.is_some() {
                let known = documents.get(&service.name);
                overlay.versions.push(RemoteVersion {
                    group: service.group.clone(),
                    version: service.version.clone(),
                    resources: known.map(|known| known.resources.clone()).unwrap_or_default(),
                    fresh: known.is_some_and(|known| known.fresh),
                });
            }
        }
        overlay
    }

    async fn watch_availability(&self) {
        let mut retry = FIRST_RETRY;
        let mut shown = Overlay::default();
        loop {
            let all_fine = self.check_all().await;
            let now = self.overlay();
            if now != shown {
                shown = now;
                self.generation.fetch_add(1, Ordering::Release);
            }
            let pause = if all_fine { RESYNC } else { retry };
            tokio::select! {
                () = self.table.changed.notified() => retry = FIRST_RETRY,
                // Where nothing is served elsewhere there is nothing to ask.
                () = tokio::time::sleep(pause), if self.table.any_remote() => {
                    retry = if all_fine { FIRST_RETRY } else { (retry * 2).min(RESYNC) };
                }
            }
        }
    }

    /// Returns whether everything is available.
    async fn check_all(&self) -> bool {
        let services = self.table.all();
        self.documents.write().retain(|name, _| {
            services.iter().any(|service| service.name == *name && service.remote.is_some())
        });
        let mut checks: FuturesUnordered<_> = services.iter().map(|service| self.check(service)).collect();
        let mut all_fine = true;
        while let Some(fine) = checks.next().await {
            all_fine &= fine;
        }
        all_fine
    }

    async fn check(&self, service: &ApiService) -> bool {
        let (condition, list) = availability::check(&self.registry, &self.outbound, service).await;
        if service.condition.as_ref() != Some(&condition)
            && let Err(status) = self.write(service, &condition).await
            && !status.is_not_found()
        {
            tracing::warn!(api_service = service.name, error = status.message, "cannot write a condition");
        }
        let fine = condition.status == "True";
        if service.remote.is_some() {
            self.read(service, fine, list).await;
        }
        fine
    }

    async fn write(&self, service: &ApiService, condition: &Condition) -> Result<()> {
        let resource = GroupResource::new(GROUP, "apiservices");
        let update = self.registry.guaranteed_update(&resource, "", &service.name, |object| {
            // Another one of the same name will be looked at on its own.
            if apimachinery::meta::uid(object) == service.uid {
                condition.write(object, jiff::Timestamp::now());
            }
            Ok(())
        });
        update.await.map(drop)
    }

    /// Takes what a server says of itself.
    async fn read(&self, service: &ApiService, fine: bool, list: Option<Bytes>) {
        let mut document = self.documents.read().get(&service.name).cloned().unwrap_or_default();
        let resources = list.and_then(|list| documents::resources(&list, &service.group, &service.version));
        document.fresh = fine && resources.is_some();
        if let Some(resources) = resources {
            document.resources = resources;
        }
        let due = document.openapi_read.is_none_or(|at| at.elapsed() >= OPENAPI_INTERVAL);
        if fine
            && due
            && let Some(remote) = &service.remote
        {
            self.read_openapi(service, remote, &mut document).await;
            document.openapi_read = Some(Instant::now());
        }
        self.documents.write().insert(service.name.clone(), document);
    }

    async fn read_openapi(&self, service: &ApiService, remote: &Remote, document: &mut Document) {
        let (group, version) = (service.group.as_str(), service.version.as_str());
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        match availability::get(&self.outbound, remote, "/openapi/v3", &headers).await {
            Ok(answer) if answer.status().is_success() => {
                document.openapi = documents::openapi_url(answer.body(), group, version);
                document.legacy = false;
            }
            // It has none.
            Ok(answer) => {
                document.openapi = None;
                document.legacy = answer.status() == StatusCode::NOT_FOUND;
            }
            Err(why) => tracing::debug!(api_service = service.name, why, "cannot read its OpenAPI"),
        }
        if let Some(tag) = &document.swagger_tag {
            headers.insert(header::IF_NONE_MATCH, tag.clone());
        }
        match availability::get(&self.outbound, remote, "/openapi/v2", &headers).await {
            Ok(answer) if answer.status() == StatusCode::NOT_MODIFIED => {}
            Ok(answer) if answer.status().is_success() => {
                document.swagger_tag = answer.headers().get(header::ETAG).cloned();
                document.swagger = Swagger::of(answer.body(), group, version).map(Arc::new);
            }
            Ok(_) => (document.swagger, document.swagger_tag) = (None, None),
            Err(why) => tracing::debug!(api_service = service.name, why, "cannot read its OpenAPI"),
        }
    }

    async fn follow_definitions(&self) {
        loop {
            self.definitions.changed.notified().await;
            while let Err(status) = self.definitions.register(&self.registry).await {
                tracing::warn!(error = status.message, "cannot register the groups of custom resources");
                tokio::time::sleep(FIRST_RETRY).await;
            }
        }
    }
}
