//! Arguments of Kubernetes' components as flags of knarr: each is known by the name that the component has for it.

use crate::server::api_server::ApiServerFlags;
use anyhow::{Result, bail};
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};

/// Flags by name, without dashes, and what a launch configuration says of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Flags(BTreeMap<String, Setting>);

/// What is said of a flag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Setting {
    /// It has this value, whatever the configuration file says.
    Is(String),
    /// It has its default, whatever the configuration file says.
    Default,
    /// It has these values besides those of the configuration file.
    Also(BTreeSet<String>),
    /// Of its values NAME=VALUE these are others, or are not there.
    Named(BTreeMap<String, Option<String>>),
}

/// Arguments of one component: null deletes one.
pub type Arguments = BTreeMap<String, Option<String>>;

/// Flags that are NAME=VALUE pairs of something else's flags or variables.
const API_SERVER_PAIRS: &str = "kube-apiserver-arg";
const CONTAINERD_PAIRS: &str = "containerd-env";

/// A component of Kubernetes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Component {
    /// kube-apiserver.
    ApiServer,
    /// kube-controller-manager.
    ControllerManager,
    /// kube-scheduler.
    Scheduler,
    /// kubelet.
    Kubelet,
    /// kube-proxy.
    Proxy,
}

/// Names that a component and knarr have for the same.
type Names = &'static [(&'static str, &'static str)];

impl Component {
    /// Its program.
    fn program(self) -> &'static str {
        match self {
            Self::ApiServer => "kube-apiserver",
            Self::ControllerManager => "kube-controller-manager",
            Self::Scheduler => "kube-scheduler",
            Self::Kubelet => "kubelet",
            Self::Proxy => "kube-proxy",
        }
    }

    /// Besides those of [`ApiServerFlags`], which have kube-apiserver's names.
    fn names(self) -> Names {
        match self {
            Self::ApiServer => &[
                ("advertise-address", "advertise-address"),
                ("audit-log-maxage", "audit-log-maxage"),
                ("audit-log-maxbackup", "audit-log-maxbackup"),
                ("audit-log-maxsize", "audit-log-maxsize"),
                ("audit-log-path", "audit-log-path"),
                ("audit-policy-file", "audit-policy-file"),
                ("bind-address", "bind-address"),
                ("encryption-provider-config", "encryption-provider-config"),
                ("secure-port", "https-listen-port"),
                ("service-cluster-ip-range", "service-cidr"),
                ("service-node-port-range", "service-node-port-range"),
            ],
            Self::ControllerManager => &[
                ("cluster-cidr", "cluster-cidr"),
                ("node-cidr-mask-size", "node-cidr-mask-size"),
                ("node-cidr-mask-size-ipv4", "node-cidr-mask-size"),
                ("node-cidr-mask-size-ipv6", "node-cidr-mask-size-ipv6"),
                ("node-monitor-grace-period", "node-monitor-grace-period"),
                ("service-cluster-ip-range", "service-cidr"),
            ],
            Self::Scheduler => &[],
            Self::Kubelet => &[
                ("cluster-dns", "cluster-dns"),
                ("cluster-domain", "cluster-domain"),
                ("container-runtime-endpoint", "container-runtime-endpoint"),
                ("hostname-override", "node-name"),
                ("node-ip", "node-ip"),
                ("node-labels", "node-label"),
                ("port", "kubelet-port"),
            ],
            Self::Proxy => &[("cluster-cidr", "cluster-cidr"), ("hostname-override", "node-name")],
        }
    }

    /// Knarr's name of one of its flags.
    fn flag(self, name: &str) -> Result<String> {
        if let Some((_, ours)) = self.names().iter().find(|(theirs, _)| *theirs == name) {
            return Ok((*ours).to_owned());
        }
        let own = if self == Self::ApiServer { api_server_flags() } else { BTreeSet::new() };
        if own.contains(name) {
            return Ok(name.to_owned());
        }
        let known: BTreeSet<&str> =
            self.names().iter().map(|(theirs, _)| *theirs).chain(own.iter().map(String::as_str)).collect();
        let program = self.program();
        if known.is_empty() {
            bail!("Knarr has no equivalent of {program}'s flags: leave it out");
        }
        let known = known.into_iter().collect::<Vec<_>>().join(", ");
        bail!("Knarr has no equivalent of {program}'s flag --{name}: leave it out; there are {known}")
    }
}

fn api_server_flags() -> BTreeSet<String> {
    let all = <ApiServerFlags as clap::Args>::augment_args(clap::Command::new("flags"));
    all.get_arguments().filter_map(|argument| argument.get_long()).map(str::to_owned).collect()
}

impl Flags {
    /// What is said of the arguments of a component.
    ///
    /// # Errors
    /// When knarr has no such flag, or something else was said of it before.
    pub fn of_component(&mut self, component: Component, arguments: &Arguments) -> Result<()> {
        for (name, value) in arguments {
            let bare = name.trim_start_matches('-');
            if bare.contains('=') {
                bail!("{name}: the value stands behind a colon, as in `--event-ttl: 5m`");
            }
            let flag = component.flag(bare)?;
            let setting = match value {
                Some(value) if flag == "container-runtime-endpoint" => {
                    Setting::Is(value.strip_prefix("unix://").unwrap_or(value).to_owned())
                }
                Some(value) => Setting::Is(value.clone()),
                None => Setting::Default,
            };
            self.say(name, flag, setting)?;
        }
        Ok(())
    }

    fn say(&mut self, name: &str, flag: String, setting: Setting) -> Result<()> {
        if self.0.get(&flag).is_some_and(|before| *before != setting) {
            bail!("{name}: something else is said of --{flag} at another place");
        }
        self.0.insert(flag, setting);
        Ok(())
    }

    /// The networks of the cluster, as MicroK8s' `extraCNIEnv` names them.
    ///
    /// # Errors
    /// When a network is missing or a name is none of these, or something else was said of them before.
    pub fn of_networks(&mut self, variables: &Arguments) -> Result<()> {
        const NAMES: [&str; 6] = [
            "IPv4_SUPPORT",
            "IPv4_CLUSTER_CIDR",
            "IPv4_SERVICE_CIDR",
            "IPv6_SUPPORT",
            "IPv6_CLUSTER_CIDR",
            "IPv6_SERVICE_CIDR",
        ];
        if let Some(other) = variables.keys().find(|name| !NAMES.contains(&name.as_str())) {
            bail!("Knarr has no equivalent of {other}: leave it out; there are {}", NAMES.join(", "));
        }
        let said = |name: &str| variables.get(name).and_then(Option::as_deref);
        let supported = |name: &str, default: bool| match said(name) {
            None => Ok(default),
            Some("true") => Ok(true),
            Some("false") => Ok(false),
            Some(other) => bail!("{name}: {other:?} is neither true nor false"),
        };
        let families =
            [("IPv4", supported("IPv4_SUPPORT", true)?), ("IPv6", supported("IPv6_SUPPORT", false)?)];
        let only_first = !families.iter().any(|(family, used)| *family == "IPv6" && *used);
        for (network, flag) in [("CLUSTER_CIDR", "cluster-cidr"), ("SERVICE_CIDR", "service-cidr")] {
            let mut networks = Vec::new();
            for (family, used) in families {
                let name = format!("{family}_{network}");
                match said(&name) {
                    Some(_) if !used => bail!("{name}: {family}_SUPPORT says that {family} is not used"),
                    Some(cidr) => networks.push(cidr),
                    None if used && !only_first => bail!("{name} is missing"),
                    None => {}
                }
            }
            if !networks.is_empty() {
                self.say(network, flag.to_owned(), Setting::Is(networks.join(",")))?;
            }
        }
        Ok(())
    }

    /// Variables of containerd; null takes one away.
    pub fn of_containerd(&mut self, variables: Arguments) {
        if !variables.is_empty() {
            self.0.insert(CONTAINERD_PAIRS.to_owned(), Setting::Named(variables));
        }
    }

    /// Further values of a flag.
    pub fn also(&mut self, flag: &str, values: BTreeSet<String>) {
        if !values.is_empty() {
            self.0.insert(flag.to_owned(), Setting::Also(values));
        }
    }

    /// Whether anything is said of a flag.
    pub fn mentions(&self, flag: &str) -> bool {
        self.0.contains_key(flag)
    }

    /// With what a later part says, which wins.
    pub fn then(&mut self, later: Self) {
        for (flag, setting) in later.0 {
            match (self.0.get_mut(&flag), setting) {
                (Some(Setting::Also(all)), Setting::Also(more)) => all.extend(more),
                (Some(Setting::Named(all)), Setting::Named(more)) => all.extend(more),
                (_, setting) => _ = self.0.insert(flag, setting),
            }
        }
    }

    /// Replaces something in all values.
    ///
    /// # Errors
    /// Those of `change`, with the flag.
    pub fn each_value(&mut self, change: impl Fn(&str) -> Result<String>) -> Result<()> {
        for (flag, setting) in &mut self.0 {
            if let Setting::Is(value) = setting {
                *value = change(value).map_err(|error| error.context(format!("--{flag}")))?;
            }
        }
        Ok(())
    }

    /// Changes the entries of a configuration file, as far as the command knows the flags.
    pub fn apply(&self, entries: &mut Map<String, Value>, known: &BTreeSet<String>) {
        for (flag, setting) in self.0.iter().filter(|(flag, _)| known.contains(*flag)) {
            let before = entries.remove(flag);
            let values = match setting {
                Setting::Is(value) => vec![Value::from(value.as_str())],
                Setting::Default => Vec::new(),
                Setting::Also(more) => {
                    let mut all = items(before);
                    all.extend(more.iter().map(|value| Value::from(value.as_str())));
                    all
                }
                Setting::Named(pairs) => {
                    let mut all = without(before, |name| pairs.contains_key(name));
                    let said =
                        pairs.iter().filter_map(|(name, value)| Some(format!("{name}={}", value.as_ref()?)));
                    all.extend(said.map(Value::from));
                    all
                }
            };
            if !values.is_empty() {
                entries.insert(flag.clone(), Value::Array(values));
            }
            // The same flag in k3s' way would win.
            if let Some(pairs) = entries.remove(API_SERVER_PAIRS) {
                let pairs = without(Some(pairs), |name| name.trim_start_matches('-') == flag);
                entries.insert(API_SERVER_PAIRS.to_owned(), Value::Array(pairs));
            }
        }
    }
}

fn items(value: Option<Value>) -> Vec<Value> {
    match value {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::Array(items)) => items,
        Some(one) => vec![one],
    }
}

/// The items but those NAME=VALUE whose name is unwanted.
fn without(value: Option<Value>, unwanted: impl Fn(&str) -> bool) -> Vec<Value> {
    let name = |item: &Value| item.as_str().and_then(|text| Some(text.split_once('=')?.0.to_owned()));
    items(value).into_iter().filter(|item| !name(item).is_some_and(|name| unwanted(&name))).collect()
}

#[cfg(test)]
#[path = "flags_tests.rs"]
mod tests;
