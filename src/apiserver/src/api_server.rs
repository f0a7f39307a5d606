//! The server: what a request needs to be answered.

mod upkeep;

use crate::admission::{AdmissionConfig, Chain, default_chain};
use crate::aggregation::Aggregator;
use crate::audit::{Annotations, Auditor};
use crate::authentication::{
    Authentication, AuthenticationConfig, OidcDocuments, ServiceAccountTokens, UserInfo,
};
use crate::authorization::{Attributes, Authorizer, Builtin, NodeAuthorizer, Rbac, forbidden};
use crate::body::Body;
use crate::bootstrap;
use crate::config::{Config, MoreMetrics};
use crate::customresources::CustomResources;
use crate::discovery::{Discovery, DiscoveryCache};
use crate::encryption::Encryption;
use crate::endpoints::{Context, Extension, Health, OpenPaths, RequestInfo};
use crate::flowcontrol::{FlowControl, Follower};
use crate::identity::Identity;
use crate::in_process::InProcess;
use crate::metrics::{Metered, Metrics, StorageMetrics};
use crate::openapi::OpenApi;
use crate::outbound::Outbound;
use crate::registry::core::kubernetes_service;
use crate::registry::core::service::Services;
use crate::registry::{LiveResources, Registry, Resources};
use crate::settings_file::ConfigurationError;
use apimachinery::status::{Result, Status};
use http::{Request, Response};
use ipnet::IpNet;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

/// Why a server could not be made.
#[derive(Debug, thiserror::Error)]
pub enum NewError {
    /// The store cannot be read.
    #[error("cannot read the store")]
    Storage(#[from] storage::StorageError),
    /// A configuration cannot be used.
    #[error("cannot use the configuration")]
    Configuration(#[from] ConfigurationError),
    /// What a cluster has from the start could not be written.
    #[error("cannot write {what}: {status}")]
    Bootstrap {
        /// What was to be written.
        what: &'static str,
        /// Why it was not.
        status: Box<Status>,
    },
}

/// The API server. Cheap to clone.
#[derive(Clone)]
pub struct ApiServer {
    inner: Arc<Inner>,
}

struct Inner {
    registry: Registry,
    resources: Arc<LiveResources>,
    services: Services,
    admission: Chain,
    outbound: Outbound,
    authentication: Authentication,
    authorizer: Arc<dyn Authorizer>,
    rbac: Arc<Rbac>,
    tokens: Arc<ServiceAccountTokens>,
    oidc: OidcDocuments,
    openapi: OpenApi,
    aggregator: Aggregator,
    custom_resources: CustomResources,
    discovery: DiscoveryCache,
    health: Health,
    flow_control: Arc<FlowControl>,
    flow_follower: Follower,
    metrics: Metrics,
    storage_metrics: Arc<StorageMetrics>,
    more_metrics: Vec<MoreMetrics>,
    extensions: Vec<Arc<dyn Extension>>,
    encryption: Option<Arc<Encryption>>,
    auditor: Option<Arc<Auditor>>,
    kubelet_client: Option<Arc<rustls::ClientConfig>>,
    service_cidrs: Vec<IpNet>,
    event_ttl: Duration,
    advertise: (IpAddr, u16),
    open_paths: Option<Arc<dyn OpenPaths>>,
    identity: Identity,
    shutdown: CancellationToken,
}

impl ApiServer {
    /// A server over a store, ready to answer. Writes what a cluster has from the start, where it is missing.
    ///
    /// # Errors
    /// When the store cannot be read or written, or a certificate cannot be used.
    pub async fn new(config: Config) -> std::result::Result<Self, NewError> {
        let storage_metrics = Arc::<StorageMetrics>::default();
        let registry = Registry::new(Arc::new(Metered::new(config.storage, Arc::clone(&storage_metrics))));
        let rbac = Rbac::start(&registry).await?;
        let node: Arc<dyn Authorizer> = NodeAuthorizer::new(registry.clone());
        let local = SocketAddr::new(config.advertise_address, config.https_port);
        let outbound = Outbound::new(registry.clone(), local, config.route_to_endpoints);
        let builtin = Builtin { node, rbac: Arc::clone(&rbac) as _, outbound: outbound.clone() };
        let authorizer: Arc<dyn Authorizer> = config.authorization.start(builtin)?;
        let oidc = OidcDocuments::new(
            &config.tokens.issuer,
            &format!("https://{}", authority(config.advertise_address, config.https_port)),
            &config.service_account_keys,
        );
        let tokens =
            Arc::new(ServiceAccountTokens::new(config.tokens, config.service_account_keys, registry.clone()));
        let resources = Arc::new(LiveResources::built_in(&config.runtime_config));
        let admission = default_chain(&AdmissionConfig {
            registry: registry.clone(),
            authorizer: Arc::clone(&authorizer),
            rbac: Arc::clone(&rbac),
            resources: Arc::clone(&resources),
            outbound: outbound.clone(),
            control: config.admission_control,
        })
        .await?;
        let request_header = config.request_header;
        let front_proxies = request_header.as_ref().map(|header| header.authorities.as_slice());
        let extension = bootstrap::ExtensionAuthentication {
            client_ca_pem: pem(&config.client_authorities),
            request_header_ca_pem: pem(front_proxies.unwrap_or_default()),
            request_header: request_header.clone(),
        };
        let authentication = Authentication::new(
            AuthenticationConfig {
                client_authorities: config.client_authorities,
                request_header,
                service_accounts: Some(Arc::clone(&tokens)),
                token_file: config.token_file,
                bootstrap_tokens: config.bootstrap_tokens,
                anonymous: config.anonymous,
                issuers: config.issuers,
                webhook: config.token_webhook,
            },
            registry.clone(),
            Arc::clone(&authorizer),
            &outbound,
        )?;
        if let Some(auditor) = &config.audit {
            auditor.start(&outbound)?;
        }
        let flow_control = FlowControl::new(config.max_requests_in_flight);
        let flow_follower = Follower::start(&registry, &flow_control).await?;
        let aggregator = Aggregator::start(&registry, outbound.clone(), config.front_proxy_client).await?;
        let services =
            Services::new(Arc::clone(registry.storage()), config.service_cidrs.clone(), config.node_ports);
        let server = Self {
            inner: Arc::new(Inner {
                aggregator,
                custom_resources: CustomResources::start(&registry).await?,
                discovery: DiscoveryCache::default(),
                admission,
                outbound,
                resources,
                services,
                authentication,
                authorizer,
                rbac,
                tokens,
                oidc,
                openapi: OpenApi::default(),
                health: Health::default(),
                flow_control,
                flow_follower,
                metrics: Metrics::default(),
                storage_metrics,
                more_metrics: config.more_metrics,
                extensions: config.extensions,
                encryption: config.encryption,
                auditor: config.audit,
                kubelet_client: config.kubelet_client,
                service_cidrs: config.service_cidrs,
                event_ttl: config.event_ttl,
                advertise: (config.advertise_address, config.https_port),
                open_paths: config.open_paths,
                identity: Identity::new(
                    &config.hostname,
                    reachable(config.advertise_address, config.https_port),
                ),
                shutdown: CancellationToken::new(),
                registry,
            }),
        };
        server.bootstrap(&extension, &pem(&config.serving_authorities)).await?;
        Ok(server)
    }

    /// Takes this server off the list that clients go by, unless it is the last: it is about to end.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn withdraw(&self) -> Result<()> {
        kubernetes_service::withdraw(self).await
    }

    pub(crate) fn identity(&self) -> &Identity {
        &self.inner.identity
    }

    /// Who answers a path that anybody may ask for.
    pub(crate) fn open_path(&self, path: &str) -> Option<&Arc<dyn OpenPaths>> {
        self.inner.open_paths.as_ref().filter(|open| open.covers(path))
    }

    /// Answers a request. Never fails and never panics: what goes wrong is told in the response.
    pub async fn handle(&self, request: Request<Body>) -> Response<Body> {
        crate::endpoints::handle(self, request).await
    }

    /// Serves connections until `shutdown`, then drains: readiness fails, watches end, requests finish. The
    /// configuration decides about certificates; the protocols (ALPN) are set here.
    pub async fn serve(
        self,
        listener: TcpListener,
        tls: Arc<rustls::ServerConfig>,
        shutdown: CancellationToken,
    ) {
        crate::server::serve(self, listener, tls, shutdown).await;
    }

    /// The server as a `tower` service for one user: no socket, no TLS, no credentials.
    pub fn in_process(&self, user: UserInfo) -> InProcess {
        InProcess::new(self.clone(), user)
    }

    /// The stored objects.
    pub fn registry(&self) -> &Registry {
        &self.inner.registry
    }

    /// Everything that is served now.
    pub fn resources(&self) -> Arc<Resources> {
        self.inner.resources.load()
    }

    /// What is served, also later.
    pub fn live_resources(&self) -> &Arc<LiveResources> {
        &self.inner.resources
    }

    /// Checks that `/readyz` makes; others may add theirs.
    pub fn health(&self) -> &Health {
        &self.inner.health
    }

    /// Decides who may do what.
    pub fn authorizer(&self) -> &Arc<dyn Authorizer> {
        &self.inner.authorizer
    }

    /// The rules of roles and bindings.
    pub fn rbac(&self) -> &Rbac {
        &self.inner.rbac
    }

    /// Issues and checks service account tokens.
    pub fn tokens(&self) -> &Arc<ServiceAccountTokens> {
        &self.inner.tokens
    }

    pub(crate) fn authentication(&self) -> &Authentication {
        &self.inner.authentication
    }

    pub(crate) fn oidc(&self) -> &OidcDocuments {
        &self.inner.oidc
    }

    pub(crate) fn openapi(&self) -> &OpenApi {
        &self.inner.openapi
    }

    pub(crate) fn aggregator(&self) -> &Aggregator {
        &self.inner.aggregator
    }

    /// The documents of discovery, as of now.
    pub(crate) fn discovery(&self) -> Arc<Discovery> {
        let overlay = || self.aggregator().overlay();
        self.inner.discovery.of(&self.resources(), self.aggregator().generation(), overlay)
    }

    pub(crate) fn services(&self) -> &Services {
        &self.inner.services
    }

    pub(crate) fn admission(&self) -> &Chain {
        &self.inner.admission
    }

    pub(crate) fn flow_control(&self) -> &Arc<FlowControl> {
        &self.inner.flow_control
    }

    /// Tells of requests.
    pub(crate) fn auditor(&self) -> Option<&Arc<Auditor>> {
        self.inner.auditor.as_ref()
    }

    /// Calls webhooks and aggregated servers.
    pub fn outbound(&self) -> &Outbound {
        &self.inner.outbound
    }

    pub(crate) fn metrics(&self) -> &Metrics {
        &self.inner.metrics
    }

    /// Who serves a path that is none of Kubernetes' own.
    pub(crate) fn extension(&self, path: &str) -> Option<&Arc<dyn Extension>> {
        self.inner.extensions.iter().find(|extension| {
            let rest = path.strip_prefix(extension.path());
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        })
    }

    /// What else `/metrics` tells.
    pub(crate) fn more_metrics(&self) -> &[MoreMetrics] {
        &self.inner.more_metrics
    }

    pub(crate) fn storage_metrics(&self) -> &StorageMetrics {
        &self.inner.storage_metrics
    }

    pub(crate) fn kubelet_client(&self) -> Option<&Arc<rustls::ClientConfig>> {
        self.inner.kubelet_client.as_ref()
    }

    pub(crate) fn service_cidrs(&self) -> &[IpNet] {
        &self.inner.service_cidrs
    }

    pub(crate) fn advertise(&self) -> (IpAddr, u16) {
        self.inner.advertise
    }

    /// Whether the store answers reads.
    pub(crate) async fn storage_answers(&self) -> bool {
        self.registry().storage().count("/registry/core/namespaces/").await.is_ok()
    }

    /// Whether all KMS plugins answer; `None` when there are none.
    pub(crate) async fn kms_answers(&self) -> Option<bool> {
        match &self.inner.encryption {
            Some(encryption) => encryption.plugins_are_fine().await,
            None => None,
        }
    }

    /// Readiness fails and watches end from now on.
    pub fn begin_shutdown(&self) {
        self.inner.health.begin_shutdown();
        self.inner.shutdown.cancel();
    }

    /// Done when the server shuts down.
    pub(crate) fn shutdown_token(&self) -> &CancellationToken {
        &self.inner.shutdown
    }

    pub(crate) fn custom_resources(&self) -> &CustomResources {
        &self.inner.custom_resources
    }

    pub(crate) fn ended(&self) -> WaitForCancellationFutureOwned {
        self.inner.shutdown.clone().cancelled_owned()
    }

    /// Asks whether the caller may do what the request says.
    ///
    /// # Errors
    /// 403 when not.
    pub(crate) async fn authorize(
        &self,
        user: &UserInfo,
        info: &RequestInfo,
        annotations: &Annotations,
    ) -> Result<()> {
        let attributes = Attributes::of(user, info);
        let decision = self.inner.authorizer.authorize(&attributes).await;
        if annotations.are_kept() {
            let word = if decision.allowed() { "allow" } else { "forbid" };
            annotations.add("authorization.k8s.io/decision", word);
            annotations.add("authorization.k8s.io/reason", decision.reason());
        }
        if decision.allowed() { Ok(()) } else { Err(forbidden(&attributes, decision.reason())) }
    }

    /// Asks whether the caller of a request may also do this to its object.
    ///
    /// # Errors
    /// 403 when not.
    pub(crate) async fn authorize_verb(&self, context: &Context, verb: &str) -> Result<()> {
        self.decide(&Attributes { verb, ..Attributes::of(&context.user, &context.info) }).await
    }

    async fn decide(&self, attributes: &Attributes<'_>) -> Result<()> {
        let decision = self.inner.authorizer.authorize(attributes).await;
        if decision.allowed() { Ok(()) } else { Err(forbidden(attributes, decision.reason())) }
    }
}

/// Certificates as PEM (RFC 7468).
fn pem(certificates: &[rustls_pki_types::CertificateDer<'static>]) -> String {
    use base64::Engine;
    /// Characters of a line (RFC 7468 section 2).
    const LINE: usize = 64;
    let mut out = String::new();
    for certificate in certificates {
        let text = base64::engine::general_purpose::STANDARD.encode(certificate);
        out.push_str("-----BEGIN CERTIFICATE-----\n");
        for line in text.as_bytes().chunks(LINE) {
            out.push_str(&String::from_utf8_lossy(line));
            out.push('\n');
        }
        out.push_str("-----END CERTIFICATE-----\n");
    }
    out
}

/// Where clients on other machines reach a server, if they can.
fn reachable(address: IpAddr, port: u16) -> Option<SocketAddr> {
    (!address.is_loopback() && !address.is_unspecified()).then(|| SocketAddr::new(address, port))
}

/// An address and port as a URL has them.
fn authority(address: IpAddr, port: u16) -> String {
    std::net::SocketAddr::new(address, port).to_string()
}
