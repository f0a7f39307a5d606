//! What an API server is made of.

use crate::admission::AdmissionControl;
use crate::audit::Auditor;
use crate::authentication::{
    IssuerOptions, RequestHeaderConfig, TokenFile, TokenSettings, TokenWebhookOptions,
};
use crate::authorization::AuthorizationOptions;
use crate::encryption::Encryption;
use crate::endpoints::{Extension, OpenPaths};
use crate::registry::RuntimeConfig;
use ipnet::IpNet;
use pki::ServiceAccountKeys;
use rustls::sign::CertifiedKey;
use rustls_pki_types::CertificateDer;
use std::net::{IpAddr, Ipv4Addr};
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;
use storage::Storage;

/// Ports that Services of type NodePort get, as upstream has them.
pub const DEFAULT_NODE_PORTS: RangeInclusive<u16> = 30000..=32767;

/// Upstream's `--max-requests-inflight` (400) and `--max-mutating-requests-inflight` (200), which flow control
/// takes together.
pub const DEFAULT_REQUESTS_IN_FLIGHT: u32 = 600;

/// Writes metrics in Prometheus' text form.
pub type MoreMetrics = fn(&mut String) -> std::fmt::Result;

/// Everything an [`crate::ApiServer`] needs from outside.
pub struct Config {
    /// Where objects are kept. It has to be opened with [`crate::registry::FieldExtractor`].
    pub storage: Arc<dyn Storage>,
    /// Networks of cluster IPs, one or two; the first is the default family.
    pub service_cidrs: Vec<IpNet>,
    /// Whether Services behind webhooks and APIServices are reached at their endpoints, rather than at their cluster
    /// IPs (upstream's `--enable-aggregator-routing`): where nothing here programs cluster IPs.
    pub route_to_endpoints: bool,
    /// Which of the built-in versions and resources are served.
    pub runtime_config: RuntimeConfig,
    /// Ports that Services of type NodePort get.
    pub node_ports: RangeInclusive<u16>,
    /// The address under which the cluster reaches this server.
    pub advertise_address: IpAddr,
    /// The port under which the cluster reaches this server.
    pub https_port: u16,
    /// The machine's name, by which servers of one cluster know each other (KEP-1965).
    pub hostname: String,
    /// What anybody may ask for besides health checks.
    pub open_paths: Option<Arc<dyn OpenPaths>>,
    /// Authorities of client certificates.
    pub client_authorities: Vec<CertificateDer<'static>>,
    /// Authorities of the certificates that this server shows: told to everybody in `kube-public/cluster-info`. Nothing
    /// is told when there are none.
    pub serving_authorities: Vec<CertificateDer<'static>>,
    /// Front proxies, and how they name users; none are believed when absent.
    pub request_header: Option<RequestHeaderConfig>,
    /// As what this server shows itself to aggregated servers.
    pub front_proxy_client: Option<Arc<CertifiedKey>>,
    /// Keys of service account tokens.
    pub service_account_keys: ServiceAccountKeys,
    /// How service account tokens are issued and accepted.
    pub tokens: TokenSettings,
    /// Static tokens.
    pub token_file: Option<TokenFile>,
    /// How many requests are answered at a time; flow control divides them among its levels.
    pub max_requests_in_flight: u32,
    /// How long Events are kept that nobody renews.
    pub event_ttl: Duration,
    /// Tells of requests, if anything is to be told.
    pub audit: Option<Arc<Auditor>>,
    /// Whether requests without credentials are let in as `system:anonymous`.
    pub anonymous: bool,
    /// Whether bootstrap tokens are accepted.
    pub bootstrap_tokens: bool,
    /// Issuers of further tokens.
    pub issuers: IssuerOptions,
    /// Who is asked about tokens that nobody else knows.
    pub token_webhook: Option<TokenWebhookOptions>,
    /// The store's encryption, whose plugins health checks ask.
    pub encryption: Option<Arc<Encryption>>,
    /// What `/metrics` tells besides the server's own, such as what this process's clients count.
    pub more_metrics: Vec<MoreMetrics>,
    /// What is served beside Kubernetes' own.
    pub extensions: Vec<Arc<dyn Extension>>,
    /// How admission plugins are configured.
    pub admission_control: AdmissionControl,
    /// Who decides about requests.
    pub authorization: AuthorizationOptions,
    /// How kubelets are reached: the client certificate, and whom to believe. Without it there are no logs, exec
    /// and the like.
    pub kubelet_client: Option<Arc<rustls::ClientConfig>>,
}

impl Config {
    /// A configuration with the usual networks and ports, on this store and with these keys.
    pub fn new(storage: Arc<dyn Storage>, service_account_keys: ServiceAccountKeys) -> Self {
        Self {
            storage,
            runtime_config: RuntimeConfig::default(),
            service_cidrs: vec![default_service_cidr()],
            route_to_endpoints: false,
            node_ports: DEFAULT_NODE_PORTS,
            advertise_address: IpAddr::V4(Ipv4Addr::LOCALHOST),
            https_port: 6443,
            hostname: hostname(),
            open_paths: None,
            client_authorities: Vec::new(),
            serving_authorities: Vec::new(),
            request_header: None,
            front_proxy_client: None,
            service_account_keys,
            tokens: TokenSettings::for_domain("cluster.local"),
            token_file: None,
            max_requests_in_flight: DEFAULT_REQUESTS_IN_FLIGHT,
            event_ttl: crate::registry::EVENT_TTL,
            audit: None,
            anonymous: true,
            bootstrap_tokens: true,
            issuers: IssuerOptions::default(),
            token_webhook: None,
            admission_control: AdmissionControl::default(),
            encryption: None,
            more_metrics: Vec::new(),
            extensions: Vec::new(),
            authorization: AuthorizationOptions::default(),
            kubelet_client: None,
        }
    }
}

/// The kernel's name of this machine.
fn hostname() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = name.trim();
    if name.is_empty() { "localhost".to_owned() } else { name.to_owned() }
}

/// `10.152.183.0/24`, as MicroK8s has it.
pub fn default_service_cidr() -> IpNet {
    IpNet::V4(ipnet::Ipv4Net::new_assert(Ipv4Addr::new(10, 152, 183, 0), 24))
}
