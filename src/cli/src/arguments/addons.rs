//! Commands about add-ons, and the add-ons' servers.

use super::Location;
use clap::{Args, Subcommand, ValueEnum};
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;

/// Arguments of `knarr enable` and `knarr disable`.
#[derive(Args, Debug)]
pub struct AddonNames {
    /// Where the node keeps its things.
    #[command(flatten)]
    pub location: Location,
    /// Add-ons, as `[REPOSITORY/]NAME[:ARGUMENT...]`, or one with its flags
    #[arg(required = true, value_name = "ADDON", allow_hyphen_values = true)]
    pub addons: Vec<String>,
}

/// Arguments of `knarr addons`.
#[derive(Args, Debug)]
pub struct Addons {
    /// Where the node keeps its things.
    #[command(flatten)]
    pub location: Location,
    /// What of.
    #[command(subcommand)]
    pub command: AddonsCommand,
}

/// What `knarr addons` manages.
#[derive(Debug, Subcommand)]
pub enum AddonsCommand {
    /// Manage repositories
    #[command(subcommand)]
    Repo(RepositoryCommand),
    /// List the images of others that add-ons need, one a line: what has to be imported where there is no network
    Images {
        /// Add-ons; all when none is named
        names: Vec<String>,
    },
}

/// What is done with repositories.
#[derive(Debug, Subcommand)]
pub enum RepositoryCommand {
    /// Add a repository
    Add {
        /// Its name
        name: String,
        /// A git URL, a folder or a tar archive
        url: String,
        /// Branch or tag to fetch
        #[arg(long, default_value = "", value_name = "REF")]
        reference: String,
        /// Replace a repository of that name
        #[arg(long)]
        force: bool,
    },
    /// List repositories
    List {
        /// How to show them
        #[arg(short = 'o', long, visible_alias = "output", default_value = "table", value_name = "FORMAT")]
        format: RepositoryFormat,
    },
    /// Fetch a repository again
    Update {
        /// Its name
        name: String,
    },
    /// Remove a repository; what it enabled stays
    Remove {
        /// Its name
        name: String,
    },
}

/// Formats of `knarr addons repo list`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum RepositoryFormat {
    /// For people.
    Table,
    /// JSON.
    Json,
    /// YAML.
    Yaml,
}

/// The servers that add-on pods run.
#[derive(Debug, Subcommand)]
pub enum AddonServer {
    /// Cluster DNS
    Dns(AddonDns),
    /// Provisioner of volumes in a directory of the node
    Storage(AddonStorage),
    /// What nodes and pods use
    MetricsServer(AddonPorts),
    /// Registry of images
    Registry(AddonRegistry),
    /// Tells containerd of the registry's cache
    RegistryMirrors(AddonMirrors),
    /// Reverse proxy
    Ingress(AddonIngress),
    /// Addresses for Services of type LoadBalancer
    Loadbalancer(AddonLoadbalancer),
    /// An address of the node itself
    HostAccess(AddonHostAccess),
    /// The dashboard's page, and its way to the API server
    Dashboard(AddonDashboard),
}

/// Flags of `knarr addon dashboard`.
#[derive(Args, Debug)]
pub struct AddonDashboard {
    /// Ports; the first is that of HTTPS.
    #[command(flatten)]
    pub ports: AddonPorts,
    /// Host of the API server
    #[arg(long, env = "KUBERNETES_SERVICE_HOST", value_name = "IP")]
    pub api_host: IpAddr,
    /// Port of the API server
    #[arg(long, env = "KUBERNETES_SERVICE_PORT", value_name = "PORT")]
    pub api_port: u16,
    /// Authority of the API server's certificate
    #[arg(long, value_name = "FILE")]
    pub api_authority: PathBuf,
}

/// Flags of `knarr addon host-access`.
#[derive(Args, Debug)]
pub struct AddonHostAccess {
    /// The address
    #[arg(long, value_name = "IP")]
    pub ip: Ipv4Addr,
    /// Port for /health, /ready and /metrics
    #[arg(long, default_value_t = 8080, value_name = "PORT")]
    pub health_port: u16,
}

/// Flags of `knarr addon loadbalancer`.
#[derive(Args, Debug)]
pub struct AddonLoadbalancer {
    /// The node that it runs on
    #[arg(long, env = "KNARR_NODE_NAME", value_name = "NAME")]
    pub node_name: String,
    /// Addresses that may be given, FIRST-LAST or CIDRs; the nodes' own when there are none
    #[arg(long, default_value = "", value_name = "RANGES")]
    pub ranges: String,
    /// Port for /health, /ready and /metrics
    #[arg(long, default_value_t = 8080, value_name = "PORT")]
    pub health_port: u16,
}

/// Flags of `knarr addon ingress`.
#[derive(Args, Debug)]
pub struct AddonIngress {
    /// Ports; the first is that of HTTP.
    #[command(flatten)]
    pub ports: AddonPorts,
    /// Port of HTTPS
    #[arg(long, value_name = "PORT")]
    pub https_port: u16,
    /// Secret with the certificate for hosts that have none
    #[arg(long, default_value = "", value_name = "NAMESPACE/NAME")]
    pub default_ssl_certificate: String,
}

/// Flags of `knarr addon registry`.
#[derive(Args, Debug)]
pub struct AddonRegistry {
    /// Ports.
    #[command(flatten)]
    pub ports: AddonPorts,
    /// Where images are
    #[arg(long, value_name = "DIR")]
    pub directory: PathBuf,
    /// How large it may become, such as 20Gi
    #[arg(long, value_name = "SIZE")]
    pub size: String,
    /// Registries that it keeps images of, as images call them; http:// before one means without TLS
    #[arg(long, default_value = "", value_name = "HOST,...")]
    pub proxy: String,
}

/// Flags of `knarr addon registry-mirrors`.
#[derive(Args, Debug)]
pub struct AddonMirrors {
    /// Where containerd looks for mirrors
    #[arg(long, value_name = "DIR")]
    pub directory: PathBuf,
    /// Registries that are mirrored
    #[arg(long, value_name = "HOST,...")]
    pub proxy: String,
    /// The mirror
    #[arg(long, value_name = "URL")]
    pub mirror: String,
    /// Port for /health, /ready and /metrics
    #[arg(long, default_value_t = 8080, value_name = "PORT")]
    pub health_port: u16,
}

/// Flags of an add-on's server that has ports and nothing else.
#[derive(Args, Debug)]
pub struct AddonPorts {
    /// Port to listen on
    #[arg(long, value_name = "PORT")]
    pub port: u16,
    /// Port for /health, /ready and /metrics
    #[arg(long, default_value_t = 8080, value_name = "PORT")]
    pub health_port: u16,
}

/// Flags of `knarr addon storage`.
#[derive(Args, Debug)]
pub struct AddonStorage {
    /// The node that it runs on
    #[arg(long, env = "KNARR_NODE_NAME", value_name = "NAME")]
    pub node_name: String,
    /// Where volumes are, in the pod and on the node
    #[arg(long, value_name = "DIR")]
    pub directory: PathBuf,
    /// Port for /health, /ready and /metrics
    #[arg(long, default_value_t = 8080, value_name = "PORT")]
    pub health_port: u16,
}

/// Flags of `knarr addon dns`.
#[derive(Args, Debug)]
pub struct AddonDns {
    /// Address to listen on; 0.0.0.0 and :: are all addresses of both families
    #[arg(long, env = "KNARR_DNS_BIND", default_value = "0.0.0.0", value_name = "IP")]
    pub bind: IpAddr,
    /// Port to listen on, UDP and TCP
    #[arg(long, env = "KNARR_DNS_PORT", default_value_t = 53, value_name = "PORT")]
    pub port: u16,
    /// Port for /health, /ready and /metrics
    #[arg(long, env = "KNARR_DNS_HEALTH_PORT", default_value_t = 8080, value_name = "PORT")]
    pub health_port: u16,
    /// Domain of the cluster
    #[arg(long, env = "KNARR_CLUSTER_DOMAIN", default_value = "cluster.local", value_name = "DOMAIN")]
    pub cluster_domain: String,
    /// Server that is asked for everything else; default: those of /etc/resolv.conf
    #[arg(long, env = "KNARR_DNS_FORWARD", value_name = "IP[:PORT]", value_delimiter = ',')]
    pub forward: Vec<String>,
    /// Configuration file that is read again when it changes (stub domains, upstream servers)
    #[arg(long, env = "KNARR_DNS_CONFIG", value_name = "FILE")]
    pub config_file: Option<PathBuf>,
}
