//! The flags of `knarr server`, checked and with what they leave out.

use super::addresses;
use super::api_server::ApiServerFlags;
use super::cidrs;
use crate::arguments::{Network, NodeFlags, Server};
use crate::backups::keeper::Keeping;
use crate::cluster::facts::Facts;
use crate::cluster::networks::Networks;
use crate::cluster::protocol::Common;
use crate::commands::{process::State, unit};
use crate::launch;
use crate::paths::Paths;
use anyhow::{Context, Result, bail};
use apimachinery::validation;
use apiserver::GoDuration;
use apiserver::audit::{Delivery, LogOptions};
use controllers::NodePrefixes;
use datastore::raft::Ticket;
use jiff::SignedDuration;
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

/// Nodes give a sign of life every ten seconds: one that comes late must not make a node look dead.
const SHORTEST_GRACE: Duration = Duration::from_secs(15);

/// How the datastore is encrypted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Encryption {
    /// As it was at the last start.
    AsBefore,
    /// With a key of its own.
    OwnKey,
    /// As a file says.
    File(PathBuf),
}

/// What a server runs with.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Folder of all state.
    pub data_dir: PathBuf,
    /// Name of the node.
    pub node_name: String,
    /// Addresses that were given; empty to follow the default route.
    pub node_ips: Vec<IpAddr>,
    /// The address that others reach the node at.
    pub address: IpAddr,
    /// Labels of the node.
    pub node_labels: BTreeMap<String, String>,
    /// Where the API server listens.
    pub bind: SocketAddr,
    /// The address that others reach the API server at.
    pub advertise: IpAddr,
    /// Port of the API server.
    pub port: u16,
    /// Further names in its certificate.
    pub san_names: Vec<String>,
    /// Further addresses in its certificate.
    pub san_addresses: Vec<IpAddr>,
    /// Addresses of pods.
    pub cluster_cidr: Networks,
    /// Prefixes of the parts of them that each node gets.
    pub node_prefixes: NodePrefixes,
    /// How long a node may be silent.
    pub node_monitor_grace_period: Duration,
    /// Addresses of Services.
    pub service_cidr: Networks,
    /// Ports of Services of type NodePort.
    pub node_ports: RangeInclusive<u16>,
    /// Address of the DNS Service.
    pub cluster_dns: IpAddr,
    /// Domain of the cluster.
    pub cluster_domain: String,
    /// A further kubeconfig and its mode.
    pub kubeconfig: Option<(PathBuf, u32)>,
    /// How the datastore is encrypted.
    pub encryption: Encryption,
    /// Audit policy and log.
    pub audit: Option<(PathBuf, Option<LogOptions>)>,
    /// Whether pods run here.
    pub agent: bool,
    /// Add-ons that are not enabled by default.
    pub without_addons: Vec<String>,
    /// Socket of a foreign runtime.
    pub runtime_endpoint: Option<PathBuf>,
    /// Mirrors and credentials.
    pub registries: PathBuf,
    /// Variables of containerd.
    pub containerd_environment: BTreeMap<String, String>,
    /// Whether knarr makes the pod network.
    pub own_network: bool,
    /// Port of the kubelet.
    pub kubelet_port: u16,
    /// Port of the datastore, for other nodes.
    pub datastore_port: u16,
    /// Nodes of the datastore that follow the voters closely.
    pub datastore_standbys: usize,
    /// What fails together with the node.
    pub failure_domain: String,
    /// Its place in the cluster that it has joined.
    pub ticket: Option<Ticket>,
    /// Flags of the API server.
    pub api_server: ApiServerFlags,
    /// Which backups are made and kept.
    pub backups: Keeping,
    /// Where etcd's API is served, if at all.
    pub etcd_clients: Option<SocketAddr>,
    /// How long superseded revisions are kept; for ever without.
    pub compaction_interval: Option<Duration>,
    /// Files of the configuration.
    pub files: Vec<PathBuf>,
    /// The flags as they were, for a restart by `knarr reset`.
    arguments: Vec<String>,
}

impl Settings {
    /// Checks the flags.
    ///
    /// # Errors
    /// What is wrong with them, and what to say instead.
    pub fn check(options: Server) -> Result<Self> {
        let data_dir = std::path::absolute(&options.location.data_dir)?;
        let facts = Facts::load(&Paths::new(&data_dir))?;
        let node_name = match facts.as_ref().and_then(|facts| facts.node_name.clone()) {
            Some(known) if options.node.node_name.is_none() => known,
            _ => node_name(&options.node)?,
        };
        let address = match options.node.node_ip.first() {
            Some(address) => *address,
            // A control plane alone may live on a machine without any network.
            None => addresses::primary().unwrap_or(IpAddr::from([127, 0, 0, 1])),
        };
        if !options.disable_agent && address.is_loopback() {
            bail!(
                "this machine has no address and no default route; give one with --node-ip, or use --disable-agent"
            );
        }
        let given = options.node.node_ip.iter().map(|address| ("--node-ip", address));
        for (flag, address) in
            given.chain(options.advertise_address.iter().map(|one| ("--advertise-address", one)))
        {
            if matches!(address, IpAddr::V6(address) if address.is_unicast_link_local()) {
                bail!("{flag} {address} leads nowhere beyond its link; give another address");
            }
            if address.is_unspecified() {
                bail!("{flag} {address} is no address that others can reach; give one of this node");
            }
        }
        if !options.disable_agent && !nix::unistd::geteuid().is_root() {
            bail!(
                "running pods needs root; run this as root, or use --disable-agent for the control plane alone"
            );
        }
        cidrs::check_sizes(&options)?;
        if options.node_monitor_grace_period.0 < SHORTEST_GRACE {
            bail!(
                "--node-monitor-grace-period {} is too short: nodes give a sign of life every 10 s, say {} at least",
                options.node_monitor_grace_period,
                GoDuration(SHORTEST_GRACE)
            );
        }
        let common = match &facts {
            Some(facts) => facts.common.clone(),
            None => cidrs::common(&options)?,
        };
        cidrs::check(&common, &options)?;
        let (san_addresses, san_names): (Vec<_>, Vec<_>) =
            options.tls_san.iter().partition(|san| san.parse::<IpAddr>().is_ok());
        let files = files(&options)?;
        Ok(Self {
            data_dir,
            node_labels: labels(&options.node.node_label)?,
            node_name,
            node_ips: options.node.node_ip.clone(),
            address,
            bind: SocketAddr::new(options.bind_address, options.https_listen_port),
            advertise: options.advertise_address.unwrap_or(address),
            port: options.https_listen_port,
            san_names: san_names.into_iter().cloned().collect(),
            san_addresses: san_addresses.into_iter().filter_map(|san| san.parse().ok()).collect(),
            cluster_cidr: common.cluster_cidr,
            node_prefixes: NodePrefixes {
                v4: options.node_cidr_mask_size,
                v6: options.node_cidr_mask_size_ipv6,
            },
            node_monitor_grace_period: options.node_monitor_grace_period.0,
            service_cidr: common.service_cidr,
            node_ports: common.node_ports.0..=common.node_ports.1,
            cluster_dns: common.cluster_dns,
            cluster_domain: common.cluster_domain,
            kubeconfig: match &options.write_kubeconfig {
                Some(path) => Some((path.clone(), mode(&options.write_kubeconfig_mode)?)),
                None => None,
            },
            encryption: match &options.encryption_provider_config {
                Some(path) => Encryption::File(path.clone()),
                None if options.secrets_encryption => Encryption::OwnKey,
                None => Encryption::AsBefore,
            },
            audit: options.audit_policy_file.clone().map(|policy| {
                let log = options.audit_log_path.clone().map(|path| LogOptions {
                    path,
                    max_age_days: options.audit_log_maxage,
                    max_backups: options.audit_log_maxbackup,
                    max_size_megabytes: options.audit_log_maxsize,
                    delivery: Delivery::to_log(),
                });
                (policy, log)
            }),
            agent: !options.disable_agent,
            without_addons: options.disable.clone(),
            runtime_endpoint: options.node.container_runtime_endpoint.clone(),
            registries: options.node.private_registry.clone(),
            containerd_environment: variables(&options.node.containerd_env)?,
            own_network: options.node.network == Network::Knarr,
            kubelet_port: options.node.kubelet_port,
            datastore_port: options.datastore_port,
            datastore_standbys: options.datastore_standbys,
            failure_domain: options.failure_domain.clone(),
            ticket: facts.and_then(|facts| facts.ticket),
            api_server: options.api_server.with(&options.kube_apiserver_arg)?,
            backups: options.backups.keeping(&std::path::absolute(&options.location.data_dir)?)?,
            etcd_clients: (options.etcd_client_port != 0)
                .then(|| SocketAddr::new(options.etcd_client_address, options.etcd_client_port)),
            compaction_interval: compaction(options.etcd_compaction_interval),
            files,
            arguments: std::env::args().skip(2).collect(),
        })
    }

    /// The first address of the Service network: the API server's own Service.
    pub fn first_service_address(&self) -> IpAddr {
        cidrs::first_service_address(&self.service_cidr)
    }

    /// What all nodes of its cluster have in common.
    pub fn common(&self) -> Common {
        Common {
            cluster_cidr: self.cluster_cidr,
            service_cidr: self.service_cidr,
            node_ports: (*self.node_ports.start(), *self.node_ports.end()),
            cluster_dns: self.cluster_dns,
            cluster_domain: self.cluster_domain.clone(),
        }
    }

    /// The port of the API server is another: any that was free.
    pub fn on_port(&mut self, port: u16) {
        self.port = port;
        self.bind.set_port(port);
    }

    /// What other commands need to know.
    pub fn state(&self) -> State {
        State {
            node_name: self.node_name.clone(),
            address: self.address.to_string(),
            port: self.port,
            agent: self.agent,
            runtime_endpoint: self.runtime_endpoint.clone(),
            own_network: self.own_network,
            arguments: self.arguments.clone(),
            files: self.files.clone(),
            kubeconfig: self.kubeconfig.as_ref().map(|(path, _)| path.clone()),
            unit: unit::own(),
        }
    }
}

/// The name of the node: what was given, or the host's.
///
/// # Errors
/// When it cannot be a node's.
pub fn node_name(flags: &NodeFlags) -> Result<String> {
    let name = match &flags.node_name {
        Some(name) => name.clone(),
        None => host_name()?,
    };
    match validation::dns1123_subdomain(&name).first() {
        Some(why) => bail!("--node-name {name:?}: {why}"),
        None => Ok(name),
    }
}

/// The files that flags name, with their whole paths.
fn files(options: &Server) -> Result<Vec<PathBuf>> {
    let named = [
        Some(&options.location.config),
        Some(&options.node.private_registry),
        options.encryption_provider_config.as_ref(),
        options.audit_policy_file.as_ref(),
        options.api_server.authentication_config.as_ref(),
        options.api_server.authorization_config.as_ref(),
        options.api_server.admission_control_config_file.as_ref(),
    ];
    let launch = launch::files(&options.location.config)?;
    let all = named.into_iter().flatten().chain(&launch);
    all.map(|path| Ok(std::path::absolute(path)?)).collect()
}

/// The host name in lower case: capitals are no name of a node.
fn host_name() -> Result<String> {
    let name = nix::unistd::gethostname().context("cannot read the host name; give --node-name")?;
    Ok(name.to_string_lossy().to_lowercase())
}

/// The labels of `--node-label`.
///
/// # Errors
/// Which is none.
pub fn labels(given: &[String]) -> Result<BTreeMap<String, String>> {
    let mut labels = BTreeMap::new();
    for label in given {
        let Some((name, value)) = label.split_once('=') else {
            bail!("--node-label {label:?} is not NAME=VALUE")
        };
        let mut wrong = validation::qualified_name(name);
        wrong.extend(validation::label_value(value));
        if let Some(why) = wrong.first() {
            bail!("--node-label {label:?}: {why}");
        }
        labels.insert(name.to_owned(), value.to_owned());
    }
    Ok(labels)
}

/// The variables of `--containerd-env`.
///
/// # Errors
/// Which is none.
pub fn variables(given: &[String]) -> Result<BTreeMap<String, String>> {
    let pairs = given.iter().map(|variable| match variable.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => bail!("--containerd-env {variable:?} is not NAME=VALUE"),
    });
    pairs.collect()
}

/// None for ever; more often than each second is no use.
fn compaction(interval: SignedDuration) -> Option<Duration> {
    let seconds = u64::try_from(interval.as_secs()).unwrap_or(0);
    (!interval.is_zero()).then(|| Duration::from_secs(seconds.max(1)))
}

fn mode(text: &str) -> Result<u32> {
    match u32::from_str_radix(text, 8) {
        Ok(mode) if mode <= 0o777 => Ok(mode),
        _ => bail!("--write-kubeconfig-mode {text:?} is no file mode in octal, such as 600"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser as _;

    fn check(flags: &[&str]) -> Result<Settings> {
        let all = ["knarr", "server", "--disable-agent", "--node-name=n", "--node-ip=10.0.0.1"];
        let arguments = crate::arguments::Arguments::parse_from(all.iter().chain(flags));
        let crate::arguments::Command::Server(options) = arguments.command else { panic!("not the server") };
        Settings::check(*options)
    }

    #[test]
    fn what_cannot_work_is_refused_with_what_to_say_instead() {
        for (flags, told) in [
            (&["--node-monitor-grace-period=5s"][..], "15s at least"),
            (&["--service-cidr=10.1.3.0/24", "--cluster-dns=10.1.3.10"][..], "overlap"),
            (&["--cluster-dns=10.9.9.9"], "is not in --service-cidr"),
            (&["--service-node-port-range=9"], "is not LOW-HIGH"),
            (&["--write-kubeconfig=/x", "--write-kubeconfig-mode=rw"], "no file mode"),
            (&["--node-label=a"], "is not NAME=VALUE"),
            (&["--containerd-env==a"], "is not NAME=VALUE"),
            (&["--cluster-cidr=10.1.0.0/30"], "too small"),
            (&["--cluster-cidr=10.1.0.0/24", "--node-cidr-mask-size=20"], "too small"),
            (&["--node-cidr-mask-size=30"], "not between"),
            (&["--cluster-cidr=fd00:1::/48"], "different families"),
            (&["--cluster-cidr=10.1.0.0/16,fd00:1::/48"], "different families"),
            (
                &["--cluster-cidr=fd00:1::/48,10.1.0.0/16", "--service-cidr=10.9.0.0/24,fd00:2::/112"],
                "in the same order",
            ),
            (&["--cluster-cidr=10.1.0.0/16,10.2.0.0/16"], "neither one network nor"),
            (&["--cluster-cidr=fd00:1::/68", "--service-cidr=fd00:2::/112"], "/64 at least"),
            (&["--cluster-cidr=fd00:1::/48", "--service-cidr=fd00:1::/112"], "overlap"),
            (&["--node-cidr-mask-size-ipv6=127"], "not between"),
            (&["--node-ip=fe80::1"], "beyond its link"),
            (&["--advertise-address=::"], "others can reach"),
        ] {
            let error = check(flags).unwrap_err().to_string();
            assert!(error.contains(told), "{flags:?}: {error}");
        }
    }

    #[test]
    fn pods_and_services_have_addresses_of_one_family_or_of_both() {
        let told = |flags: &[&str]| {
            let settings = check(flags).unwrap();
            (
                settings.cluster_cidr.to_string(),
                settings.service_cidr.to_string(),
                settings.cluster_dns.to_string(),
                settings.first_service_address().to_string(),
            )
        };
        let expected = |one: &str, two: &str, three: &str, four: &str| {
            (one.to_owned(), two.to_owned(), three.to_owned(), four.to_owned())
        };
        let both = ["--cluster-cidr=10.1.0.0/16,fd00:1::/56", "--service-cidr=10.9.0.0/24,fd00:2::/112"];
        assert_eq!(
            told(&both),
            expected("10.1.0.0/16,fd00:1::/56", "10.9.0.0/24,fd00:2::/112", "10.9.0.10", "10.9.0.1")
        );
        // As a list in the file, and the other one first.
        let both = [
            "--cluster-cidr=fd00:1::/56",
            "--cluster-cidr=10.1.0.0/16",
            "--service-cidr=fd00:2::/112,10.9.0.0/24",
        ];
        assert_eq!(
            told(&both),
            expected("fd00:1::/56,10.1.0.0/16", "fd00:2::/112,10.9.0.0/24", "fd00:2::a", "fd00:2::1")
        );
        let six = ["--cluster-cidr=fd00:1::/56", "--service-cidr=fd00:2::/112", "--cluster-dns=fd00:2::53"];
        assert_eq!(told(&six), expected("fd00:1::/56", "fd00:2::/112", "fd00:2::53", "fd00:2::1"));
        let sizes = check(&["--node-cidr-mask-size-ipv4=26", "--node-cidr-mask-size-ipv6=72"]).unwrap();
        assert_eq!((sizes.node_prefixes.v4, sizes.node_prefixes.v6), (26, 72));
    }

    #[test]
    fn the_api_server_is_told_of_by_the_node_s_address_or_another() {
        let told = |flags: &[&str]| check(flags).unwrap().advertise.to_string();
        assert_eq!(told(&[]), "10.0.0.1");
        assert_eq!(told(&["--advertise-address=fd00::7"]), "fd00::7");
    }

    #[test]
    fn superseded_revisions_are_kept_as_long_as_said() {
        let kept = |flags: &[&str]| check(flags).unwrap().compaction_interval;
        assert_eq!(kept(&[]), Some(Duration::from_secs(300)));
        assert_eq!(kept(&["--etcd-compaction-interval=1h30m"]), Some(Duration::from_secs(5400)));
        assert_eq!(kept(&["--etcd-compaction-interval=10ms"]), Some(Duration::from_secs(1)));
        assert_eq!(kept(&["--etcd-compaction-interval=0"]), None);
    }

    #[test]
    fn a_node_of_a_cluster_keeps_its_name_when_the_host_gets_another() {
        let folder = tempfile::tempdir().unwrap();
        let place = format!("--data-dir={}", folder.path().display());
        let check = |more: &[&str]| {
            let all = ["knarr", "server", "--disable-agent", "--node-ip=10.0.0.1", place.as_str()];
            let arguments = crate::arguments::Arguments::parse_from(all.iter().chain(more));
            let crate::arguments::Command::Server(options) = arguments.command else {
                panic!("not the server")
            };
            Settings::check(*options).unwrap()
        };
        let alone = check(&[]);
        assert_ne!(alone.node_name, "before");
        let facts = Facts { common: alone.common(), node_name: Some("before".into()), ticket: None };
        facts.save(&Paths::new(folder.path())).unwrap();
        assert_eq!(check(&[]).node_name, "before");
        assert_eq!(check(&["--node-name=other"]).node_name, "other");
    }

    #[test]
    fn names_and_addresses_of_the_certificate_are_told_apart() {
        let settings = check(&["--tls-san=a.example,10.0.0.9,fd00::9", "--tls-san=b.example"]).unwrap();
        assert_eq!(settings.san_names, ["a.example", "b.example"]);
        let addresses: [IpAddr; 2] = ["10.0.0.9".parse().unwrap(), "fd00::9".parse().unwrap()];
        assert_eq!(settings.san_addresses, addresses);
        assert_eq!(settings.first_service_address(), "10.152.183.1".parse::<IpAddr>().unwrap());
    }
}
