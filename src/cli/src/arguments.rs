//! Every command with its flags. Flags that k3s has keep k3s' names, commands that MicroK8s has keep
//! MicroK8s' names. Every flag of `knarr server` is also a key of the configuration file and an environment
//! variable `KNARR_...`.

pub mod cluster;
pub mod datastore;

use crate::server::api_server::ApiServerFlags;
use crate::server::backup_flags::BackupFlags;
use apiserver::GoDuration;
use clap::{Args, Parser, Subcommand, ValueEnum};
use ipnet::IpNet;
use std::net::IpAddr;
use std::path::PathBuf;

/// Kubernetes in one binary.
#[derive(Debug, Parser)]
#[command(name = "knarr", version, about, max_term_width = 110)]
pub struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a node in the foreground: datastore, API server, controllers, scheduler, kubelet and proxy
    Server(Box<Server>),
    /// Run a node without a control plane in the foreground: kubelet, proxy and pod network
    Agent(Box<Agent>),
    /// Start Knarr in the background
    Start(Start),
    /// Stop Knarr, all pods and the container runtime
    Stop(Stop),
    /// Remove everything from the cluster and start anew
    Reset(Reset),
    /// Show whether Knarr is running, and its add-ons
    Status(Status),
    /// Print a kubeconfig for the administrator
    Config(Config),
    /// Run kubectl against this node
    #[command(disable_help_flag = true)]
    Kubectl(Kubectl),
    /// Enable add-ons
    Enable(AddonNames),
    /// Disable add-ons
    Disable(AddonNames),
    /// Print what to run on a node that is to join this one
    AddNode(cluster::AddNode),
    /// Make this node one of a cluster
    Join(cluster::Join),
    /// Make this node leave its cluster
    Leave(cluster::Leave),
    /// Make the cluster forget another node
    RemoveNode(cluster::RemoveNode),
    /// Tokens that let nodes in
    Token(cluster::Token),
    /// Look after the datastore: backup, restore, status, recovery
    #[command(subcommand, visible_alias = "dbctl")]
    Datastore(datastore::Datastore),
    /// Manage add-ons of others
    Addons(Addons),
    /// Print the version
    Version,
    /// Run an add-on's server (inside its pod)
    #[command(hide = true, subcommand)]
    Addon(AddonServer),
    /// Hold a pod's namespaces (inside a sandbox)
    #[command(hide = true)]
    Pause,
}

/// Where a node keeps its things; every command that speaks to a node takes it.
#[derive(Args, Clone, Debug)]
pub struct Location {
    /// Folder that holds all state of this node
    #[arg(long, env = "KNARR_DATA_DIR", default_value = "/var/lib/knarr", value_name = "DIR")]
    pub data_dir: PathBuf,
    /// Configuration file; its keys are the flags of `knarr server`
    #[arg(long, env = "KNARR_CONFIG", default_value = "/etc/knarr/config.yaml", value_name = "FILE")]
    pub config: PathBuf,
}

/// Flags of `knarr server`.
#[derive(Args, Clone, Debug)]
pub struct Server {
    /// Where the node keeps its things.
    #[command(flatten)]
    pub location: Location,
    /// What every node has.
    #[command(flatten)]
    pub node: NodeFlags,
    /// Address that the API server listens on
    #[arg(long, env = "KNARR_BIND_ADDRESS", default_value = "0.0.0.0", value_name = "IP")]
    pub bind_address: IpAddr,
    /// Port that the API server listens on
    #[arg(long, env = "KNARR_HTTPS_LISTEN_PORT", default_value_t = 6443, value_name = "PORT")]
    pub https_listen_port: u16,
    /// Further name or address in the API server's certificate; can be given often
    #[arg(long, env = "KNARR_TLS_SAN", value_name = "NAME", value_delimiter = ',')]
    pub tls_san: Vec<String>,
    /// Addresses of pods
    #[arg(long, env = "KNARR_CLUSTER_CIDR", default_value = "10.1.0.0/16", value_name = "CIDR")]
    pub cluster_cidr: IpNet,
    /// Prefix of the part of the pods' addresses that each node gets
    #[arg(long, env = "KNARR_NODE_CIDR_MASK_SIZE", default_value_t = controllers::NODE_PREFIX_V4, value_name = "BITS")]
    pub node_cidr_mask_size: u8,
    /// A node that is silent for this long is taken for dead
    #[arg(long, env = "KNARR_NODE_MONITOR_GRACE_PERIOD", default_value_t = GoDuration(controllers::NODE_MONITOR_GRACE_PERIOD), value_name = "DURATION")]
    pub node_monitor_grace_period: GoDuration,
    /// Addresses of Services
    #[arg(long, env = "KNARR_SERVICE_CIDR", default_value = "10.152.183.0/24", value_name = "CIDR")]
    pub service_cidr: IpNet,
    /// Ports of Services of type NodePort
    #[arg(long, env = "KNARR_SERVICE_NODE_PORT_RANGE", default_value = "30000-32767", value_name = "RANGE")]
    pub service_node_port_range: String,
    /// Address of the cluster's DNS Service
    #[arg(long, env = "KNARR_CLUSTER_DNS", default_value = "10.152.183.10", value_name = "IP")]
    pub cluster_dns: IpAddr,
    /// Domain of the cluster
    #[arg(long, env = "KNARR_CLUSTER_DOMAIN", default_value = "cluster.local", value_name = "DOMAIN")]
    pub cluster_domain: String,
    /// Also write the administrator's kubeconfig to this file
    #[arg(long, env = "KNARR_WRITE_KUBECONFIG", value_name = "FILE")]
    pub write_kubeconfig: Option<PathBuf>,
    /// Mode of that file, in octal
    #[arg(long, env = "KNARR_WRITE_KUBECONFIG_MODE", default_value = "600", value_name = "MODE")]
    pub write_kubeconfig_mode: String,
    /// Run the control plane alone: no kubelet, no pods, no root needed
    #[arg(long, env = "KNARR_DISABLE_AGENT")]
    pub disable_agent: bool,
    /// Encrypt Secrets in the datastore, with a key that is made at the first start
    #[arg(long, env = "KNARR_SECRETS_ENCRYPTION")]
    pub secrets_encryption: bool,
    /// EncryptionConfiguration of the datastore; read again when it changes
    #[arg(
        long,
        env = "KNARR_ENCRYPTION_PROVIDER_CONFIG",
        value_name = "FILE",
        conflicts_with = "secrets_encryption"
    )]
    pub encryption_provider_config: Option<PathBuf>,
    /// Audit policy: which requests the audit log tells of
    #[arg(long, env = "KNARR_AUDIT_POLICY_FILE", value_name = "FILE")]
    pub audit_policy_file: Option<PathBuf>,
    /// Audit log; `-` is standard output
    #[arg(long, env = "KNARR_AUDIT_LOG_PATH", value_name = "FILE", requires = "audit_policy_file")]
    pub audit_log_path: Option<PathBuf>,
    /// Days that old audit logs are kept; 0 is for ever
    #[arg(long, env = "KNARR_AUDIT_LOG_MAXAGE", default_value_t = 0, value_name = "DAYS")]
    pub audit_log_maxage: u32,
    /// Old audit logs that are kept; 0 is all
    #[arg(long, env = "KNARR_AUDIT_LOG_MAXBACKUP", default_value_t = 0, value_name = "COUNT")]
    pub audit_log_maxbackup: u32,
    /// Megabytes after which a new audit log is begun
    #[arg(long, env = "KNARR_AUDIT_LOG_MAXSIZE", default_value_t = 100, value_name = "MEGABYTES")]
    pub audit_log_maxsize: u32,
    /// Do not enable an add-on at the first start; can be given often
    #[arg(long, env = "KNARR_DISABLE", value_name = "ADDON", value_delimiter = ',')]
    pub disable: Vec<String>,
    /// Port that the datastore listens on for other nodes, once there are any
    #[arg(long, env = "KNARR_DATASTORE_PORT", default_value_t = 19001, value_name = "PORT")]
    pub datastore_port: u16,
    /// What fails together with this node (a rack, a site): voters are spread over them
    #[arg(long, env = "KNARR_FAILURE_DOMAIN", default_value = "", value_name = "NAME")]
    pub failure_domain: String,
    /// Go on with this node alone after the majority of the others was lost for good, and end, as k3s has it: the same
    /// as `knarr datastore recover --yes`
    #[arg(long, env = "KNARR_CLUSTER_RESET")]
    pub cluster_reset: bool,
    /// Port of etcd's API for reading, which etcdctl understands; 0 serves none
    #[arg(long, env = "KNARR_ETCD_CLIENT_PORT", default_value_t = 0, value_name = "PORT")]
    pub etcd_client_port: u16,
    /// Address of etcd's API
    #[arg(long, env = "KNARR_ETCD_CLIENT_ADDRESS", default_value = "127.0.0.1", value_name = "IP")]
    pub etcd_client_address: IpAddr,
    /// Flags of backups, with k3s' names
    #[command(flatten)]
    pub backups: BackupFlags,
    /// Flags of the API server, with kube-apiserver's names
    #[command(flatten)]
    pub api_server: ApiServerFlags,
    /// A flag of the API server as NAME=VALUE, in k3s' way; can be given often
    #[arg(
        long,
        env = "KNARR_KUBE_APISERVER_ARG",
        value_name = "NAME=VALUE",
        help_heading = "Kubernetes API server"
    )]
    pub kube_apiserver_arg: Vec<String>,
    /// Log more; twice for everything
    #[arg(short = 'v', long = "verbose", action = clap::ArgAction::Count)]
    pub verbose: u8,
}

/// Flags of every node, with or without a control plane.
#[derive(Args, Clone, Debug)]
pub struct NodeFlags {
    /// Name of the node (default: the host name in lower case)
    #[arg(long, env = "KNARR_NODE_NAME", value_name = "NAME")]
    pub node_name: Option<String>,
    /// Address of the node (default: that of the default route's interface)
    #[arg(long, env = "KNARR_NODE_IP", value_name = "IP", value_delimiter = ',')]
    pub node_ip: Vec<IpAddr>,
    /// Label of the node at its registration, NAME=VALUE
    #[arg(long, env = "KNARR_NODE_LABEL", value_name = "LABEL", value_delimiter = ',')]
    pub node_label: Vec<String>,
    /// Socket of a CRI runtime to use in place of the containerd that knarr runs
    #[arg(long, env = "KNARR_CONTAINER_RUNTIME_ENDPOINT", value_name = "SOCKET")]
    pub container_runtime_endpoint: Option<PathBuf>,
    /// Registry mirrors and credentials, in the format of k3s
    #[arg(
        long,
        env = "KNARR_PRIVATE_REGISTRY",
        default_value = "/etc/knarr/registries.yaml",
        value_name = "FILE"
    )]
    pub private_registry: PathBuf,
    /// Pod network
    #[arg(long, env = "KNARR_NETWORK", default_value = "knarr", value_name = "NETWORK")]
    pub network: Network,
    /// Port of the kubelet
    #[arg(long, env = "KNARR_KUBELET_PORT", default_value_t = 10250, value_name = "PORT")]
    pub kubelet_port: u16,
}

/// Flags of `knarr agent`.
#[derive(Args, Clone, Debug)]
pub struct Agent {
    /// Where the node keeps its things.
    #[command(flatten)]
    pub location: Location,
    /// What every node has.
    #[command(flatten)]
    pub node: NodeFlags,
    /// API server to begin with, https://HOST:PORT, in place of those known from joining; can be given often
    #[arg(short = 's', long, env = "KNARR_SERVER", value_name = "URL", value_delimiter = ',')]
    pub server: Vec<String>,
    /// Join the cluster of --server first, unless this node has joined: TOKEN/CHECK, as `knarr add-node --format
    /// token-check` prints it
    #[arg(short = 't', long, env = "KNARR_TOKEN", value_name = "TOKEN", hide_env_values = true)]
    pub token: Option<String>,
    /// Address that the kubelet listens on
    #[arg(long, env = "KNARR_BIND_ADDRESS", default_value = "0.0.0.0", value_name = "IP")]
    pub bind_address: IpAddr,
    /// Log more; twice for everything
    #[arg(short = 'v', long = "verbose", action = clap::ArgAction::Count)]
    pub verbose: u8,
}

/// Who makes the pod network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Network {
    /// knarr's own CNI plugin.
    Knarr,
    /// Something else in /etc/cni/net.d.
    None,
}

/// Flags of `knarr start`.
#[derive(Args, Debug)]
pub struct Start {
    /// Where the node keeps its things.
    #[command(flatten)]
    pub location: Location,
    /// Flags for `knarr server`, after `--`
    #[arg(last = true)]
    pub server: Vec<String>,
}

/// Flags of `knarr stop`.
#[derive(Args, Debug)]
pub struct Stop {
    /// Where the node keeps its things.
    #[command(flatten)]
    pub location: Location,
}

/// Flags of `knarr reset`.
#[derive(Args, Debug)]
pub struct Reset {
    /// Where the node keeps its things.
    #[command(flatten)]
    pub location: Location,
    /// Also remove images and the volumes of pods
    #[arg(long)]
    pub destroy_storage: bool,
}

/// Flags of `knarr status`.
#[derive(Args, Debug)]
pub struct Status {
    /// Where the node keeps its things.
    #[command(flatten)]
    pub location: Location,
    /// Wait until the node is Ready
    #[arg(short = 'w', long)]
    pub wait_ready: bool,
    /// Seconds to wait at most; 0 waits for ever
    #[arg(short = 't', long, default_value_t = 0, value_name = "SECONDS")]
    pub timeout: u64,
    /// How to show it
    #[arg(long, default_value = "pretty", value_name = "FORMAT")]
    pub format: Format,
    /// Only tell whether this add-on is enabled
    #[arg(short = 'a', long, value_name = "ADDON")]
    pub addon: Option<String>,
}

/// Formats of `knarr status`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    Pretty,
    /// One line per add-on.
    Short,
    /// YAML.
    Yaml,
    /// JSON.
    Json,
}

/// Flags of `knarr config`.
#[derive(Args, Debug)]
pub struct Config {
    /// Where the node keeps its things.
    #[command(flatten)]
    pub location: Location,
    /// Use the loopback address in place of the node's
    #[arg(short = 'l', long)]
    pub use_loopback: bool,
}

/// Arguments of `knarr kubectl`: all are kubectl's own.
#[derive(Args, Debug)]
pub struct Kubectl {
    /// Folder that holds all state of this node.
    #[arg(skip = data_dir())]
    pub data_dir: PathBuf,
    /// What kubectl is to do
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub arguments: Vec<std::ffi::OsString>,
}

fn data_dir() -> PathBuf {
    std::env::var_os("KNARR_DATA_DIR").map_or_else(|| PathBuf::from("/var/lib/knarr"), PathBuf::from)
}

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
        #[arg(long, default_value = "table", value_name = "FORMAT")]
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
    /// Reverse proxy
    Ingress(AddonIngress),
    /// Addresses for Services of type LoadBalancer
    Loadbalancer(AddonLoadbalancer),
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
    /// Address to listen on
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
