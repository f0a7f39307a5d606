//! `knarr server` and `knarr agent`.

use super::Location;
use crate::server::api_server::ApiServerFlags;
use crate::server::backup_flags::BackupFlags;
use apiserver::GoDuration;
use clap::{Args, ValueEnum};
use ipnet::IpNet;
use std::net::IpAddr;
use std::path::PathBuf;

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
    /// Port that the API server listens on; 0 is any that is free
    #[arg(long, env = "KNARR_HTTPS_LISTEN_PORT", default_value_t = 6443, value_name = "PORT")]
    pub https_listen_port: u16,
    /// Address by which other nodes and pods find the API server (default: the node's own)
    #[arg(long, env = "KNARR_ADVERTISE_ADDRESS", value_name = "IP")]
    pub advertise_address: Option<IpAddr>,
    /// Further name or address in the API server's certificate; can be given often
    #[arg(long, env = "KNARR_TLS_SAN", value_name = "NAME", value_delimiter = ',')]
    pub tls_san: Vec<String>,
    /// Addresses of pods: a network, or one of each family with a comma between them, the primary one first
    #[arg(
        long,
        env = "KNARR_CLUSTER_CIDR",
        default_value = "10.1.0.0/16",
        value_name = "CIDR",
        value_delimiter = ','
    )]
    pub cluster_cidr: Vec<IpNet>,
    /// Prefix of the part of the pods' IPv4 addresses that each node gets
    #[arg(
        long,
        alias = "node-cidr-mask-size-ipv4",
        env = "KNARR_NODE_CIDR_MASK_SIZE",
        default_value_t = controllers::NODE_PREFIX_V4,
        value_name = "BITS"
    )]
    pub node_cidr_mask_size: u8,
    /// Prefix of the part of the pods' IPv6 addresses that each node gets
    #[arg(
        long,
        env = "KNARR_NODE_CIDR_MASK_SIZE_IPV6",
        default_value_t = controllers::NODE_PREFIX_V6,
        value_name = "BITS"
    )]
    pub node_cidr_mask_size_ipv6: u8,
    /// A node that is silent for this long is taken for dead
    #[arg(long, env = "KNARR_NODE_MONITOR_GRACE_PERIOD", default_value_t = GoDuration(controllers::NODE_MONITOR_GRACE_PERIOD), value_name = "DURATION")]
    pub node_monitor_grace_period: GoDuration,
    /// Addresses of Services, of the same families as those of pods
    #[arg(
        long,
        env = "KNARR_SERVICE_CIDR",
        default_value = "10.152.183.0/24",
        value_name = "CIDR",
        value_delimiter = ','
    )]
    pub service_cidr: Vec<IpNet>,
    /// Ports of Services of type NodePort
    #[arg(long, env = "KNARR_SERVICE_NODE_PORT_RANGE", default_value = "30000-32767", value_name = "RANGE")]
    pub service_node_port_range: String,
    /// Address of the cluster's DNS Service (default: the tenth of the Services')
    #[arg(long, env = "KNARR_CLUSTER_DNS", value_name = "IP")]
    pub cluster_dns: Option<IpAddr>,
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
    /// Control-plane nodes beside the three voters that get every write at once, to vote when one dies; those beyond
    /// them follow at leisure. The same on all nodes
    #[arg(long, env = "KNARR_DATASTORE_STANDBYS", default_value_t = 3, value_name = "COUNT")]
    pub datastore_standbys: usize,
    /// What fails together with this node (a rack, a site): voters are spread over them
    #[arg(long, env = "KNARR_FAILURE_DOMAIN", default_value = "", value_name = "NAME")]
    pub failure_domain: String,
    /// Go on with this node alone after the majority of the others was lost for good, and end, as k3s has it: the same
    /// as `knarr datastore recover --yes`
    #[arg(long, env = "KNARR_CLUSTER_RESET")]
    pub cluster_reset: bool,
    /// How long superseded revisions are kept, for `knarr history` and watches that come back; 0 keeps all
    #[arg(
        long,
        env = "KNARR_ETCD_COMPACTION_INTERVAL",
        default_value = "5m",
        value_name = "TIME",
        value_parser = super::history::duration
    )]
    pub etcd_compaction_interval: jiff::SignedDuration,
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
    /// A variable of containerd as NAME=VALUE, such as HTTPS_PROXY for images; can be given often
    #[arg(long, env = "KNARR_CONTAINERD_ENV", value_name = "NAME=VALUE", hide_env_values = true)]
    pub containerd_env: Vec<String>,
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
