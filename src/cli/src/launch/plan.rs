//! What launch configurations say, as a plan without questions left open: everything that is not known, or that Knarr
//! has nothing like, is refused here by its name. No I/O.

use super::flags::{Arguments, Component, Flags};
use crate::cluster::target::{Target, check_token};
use addons::catalog::{self, CORE};
use anyhow::{Context, Result, bail};
use apimachinery::decode;
use serde::Deserialize;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};

/// Versions of the form that are understood, the first and the last.
const VERSIONS: [[u64; 3]; 2] = [[0, 1, 0], [0, 2, 0]];

/// MicroK8s' keys for what Knarr does not have, and what to do instead.
const WITHOUT_EQUIVALENT: [(&str, &str); 13] = [
    ("extraContainerdArgs", "Knarr writes containerd's command line itself"),
    ("extraDqliteArgs", "Knarr has no Dqlite; the flags of its datastore belong into config.yaml"),
    ("extraDqliteEnv", "Knarr has no Dqlite; the flags of its datastore belong into config.yaml"),
    ("extraEtcdArgs", "Knarr has no etcd; the flags of its datastore belong into config.yaml"),
    ("extraEtcdEnv", "Knarr has no etcd; the flags of its datastore belong into config.yaml"),
    ("extraFIPSEnv", "Knarr has no FIPS mode"),
    ("extraFlanneldArgs", "Knarr has no flanneld; extraCNIEnv says which networks pods have"),
    ("extraFlanneldEnv", "Knarr has no flanneld; extraCNIEnv says which networks pods have"),
    ("extraKubeliteEnv", "variables of Knarr itself belong into its unit's file /etc/default/knarr"),
    ("extraMicroK8sAPIServerProxyArgs", "Knarr's workers find the API servers by themselves"),
    ("extraMicroK8sAPIServerProxyEnv", "Knarr's workers find the API servers by themselves"),
    ("extraMicroK8sClusterAgentArgs", "Knarr has no cluster agent: nodes join at the API server's port"),
    ("extraMicroK8sClusterAgentEnv", "Knarr has no cluster agent: nodes join at the API server's port"),
];

/// As MicroK8s' services know the folder of `extraConfigFiles`.
const FILES: [&str; 3] = ["$SNAP_DATA/args/", "${SNAP_DATA}/args/", "/var/snap/microk8s/current/args/"];

/// One file.
#[derive(Clone, Debug)]
pub struct Source {
    /// Where it lies.
    pub path: PathBuf,
    /// What it says.
    pub text: String,
}

/// What is to be done.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// The files it came from, for people.
    pub shown: String,
    /// A digest of all that they say.
    pub digest: String,
    /// Flags of the server, or of the agent.
    pub flags: Flags,
    /// Files by name, for flags to name them.
    pub files: BTreeMap<String, String>,
    /// containerd's `hosts.toml` by registry.
    pub registries: BTreeMap<String, String>,
    /// What is done once, in this order.
    pub steps: Vec<Step>,
}

/// Something that is done once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Joining a cluster.
    Join(Join),
    /// A token that lets any number of nodes in, for ever.
    Token(String),
    /// Adding a repository of add-ons.
    Repository(Repository),
    /// Enabling or disabling an add-on.
    Addon(Addon),
}

/// Where to join.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Join {
    /// `HOST:PORT/TOKEN/CHECK`.
    pub target: String,
    /// Whether it is to run pods only.
    pub worker: bool,
}

/// A repository of add-ons.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repository {
    /// Its name.
    pub name: String,
    /// A git URL, a folder or an archive.
    pub url: String,
    /// Branch or tag; empty for the default one.
    pub reference: String,
}

/// An add-on and what becomes of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Addon {
    /// `[REPOSITORY/]NAME`.
    pub name: String,
    /// Whether it is disabled, not enabled.
    pub disable: bool,
    /// As its hook would get them.
    pub arguments: Vec<String>,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Join(Join { worker: false, .. }) => f.write_str("joining the cluster"),
            Self::Join(_) => f.write_str("joining the cluster as a worker"),
            Self::Token(_) => f.write_str("making the cluster's token"),
            Self::Repository(repository) => write!(f, "adding the repository {}", repository.name),
            Self::Addon(Addon { name, disable: true, .. }) => write!(f, "disabling the add-on {name}"),
            Self::Addon(Addon { name, .. }) => write!(f, "enabling the add-on {name}"),
        }
    }
}

impl Plan {
    /// What the files say together, each document after the other; nothing when none says anything.
    ///
    /// # Errors
    /// What is wrong, in which file and at which key.
    pub fn read(sources: &[Source], data_dir: &Path) -> Result<Option<Self>> {
        let mut plan = Self::default();
        let mut digest = Sha256::new();
        let (mut join, mut token) = (None, None);
        let (mut repositories, mut addons, mut sans) = (Vec::new(), Vec::new(), BTreeSet::new());
        for Source { path, text } in sources {
            let shown = path.display();
            let mut said = false;
            for document in documents(text) {
                let part = Part::read(&document).with_context(|| shown.to_string())?;
                let Some(mut part) = part else { continue };
                said = true;
                plan.flags.then(part.flags().with_context(|| shown.to_string())?);
                plan.files.append(&mut part.extra_config_files);
                plan.registries.append(&mut part.containerd_registry_configs);
                sans.extend(part.extra_sans.into_iter().map(|san| san.0));
                join = part.join.map(|said| Join { target: said.url.0, worker: said.worker }).or(join);
                token = part.persistent_cluster_token.map(|token| token.0).or(token);
                repositories.extend(part.addon_repositories.into_iter().map(Repository::from));
                addons.extend(part.addons.into_iter().map(Addon::from));
            }
            if said {
                digest.update(text.len().to_be_bytes());
                digest.update(text);
                let comma = if plan.shown.is_empty() { "" } else { ", " };
                plan.shown.push_str(&format!("{comma}{shown}"));
            }
        }
        if plan.shown.is_empty() {
            return Ok(None);
        }
        plan.digest = crate::cluster::target::hex(&digest.finalize());
        plan.flags.also("tls-san", sans);
        plan.flags.also("disable", never_enabled(&addons));
        plan.flags.each_value(|value| placed(value, data_dir)).with_context(|| plan.shown.clone())?;
        if let Some(Join { worker: true, .. }) = join {
            let first = [
                ("addons", !addons.is_empty()),
                ("addonRepositories", !repositories.is_empty()),
                ("persistentClusterToken", token.is_some()),
            ];
            if let Some((key, _)) = first.iter().find(|(_, said)| *said) {
                bail!("{}: {key}: a worker has no control plane: say it on a node that has one", plan.shown);
            }
        }
        plan.steps.extend(join.map(Step::Join));
        plan.steps.extend(token.map(Step::Token));
        plan.steps.extend(repositories.into_iter().map(Step::Repository));
        plan.steps.extend(addons.into_iter().map(Step::Addon));
        Ok(Some(plan))
    }
}

/// Add-ons that are on by default and are not to be: they need not be enabled first.
fn never_enabled(addons: &[Addon]) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for addon in addons {
        let name = match addon.name.split_once('/') {
            Some((CORE, name)) => name,
            Some(_) => continue,
            None => &addon.name,
        };
        let Some(known) = catalog::find(name).filter(|known| known.default) else { continue };
        match addon.disable {
            true => _ = names.insert(known.name.clone()),
            false => _ = names.remove(&known.name),
        }
    }
    names
}

/// A flag's value, which may name a file of `extraConfigFiles`.
fn placed(value: &str, data_dir: &Path) -> Result<String> {
    let folder = format!("{}/", crate::paths::Paths::new(data_dir).launch_files().display());
    let value = FILES.iter().fold(value.to_owned(), |value, place| value.replace(place, &folder));
    if value.contains("$SNAP") || value.contains("${SNAP") {
        bail!("{value}: of a snap's folders there is $SNAP_DATA/args only, with extraConfigFiles");
    }
    Ok(value)
}

/// The documents of a text, each on its lines: what a parser says of lines is true for the file.
fn documents(text: &str) -> Vec<String> {
    let mut all = vec![String::new()];
    for (number, line) in text.lines().enumerate() {
        let begins =
            line.strip_prefix("---").is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t']));
        if begins {
            all.push("\n".repeat(number));
        }
        if let Some(last) = all.last_mut() {
            last.push_str(line);
            last.push('\n');
        }
    }
    all
}

/// A text, a number, true or false: all are texts to a flag.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "Value")]
struct Scalar(String);

impl TryFrom<Value> for Scalar {
    type Error = String;

    fn try_from(value: Value) -> Result<Self, String> {
        match value {
            Value::String(text) => Ok(Self(text)),
            Value::Bool(value) => Ok(Self(value.to_string())),
            Value::Number(number) if number.is_f64() => {
                Err(format!("{number} has to stand in quotes: 1.30 would be 1.3"))
            }
            Value::Number(number) => Ok(Self(number.to_string())),
            other => Err(format!("{other} is no text")),
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Part {
    #[serde(default)]
    addon_repositories: Vec<PartRepository>,
    #[serde(default)]
    addons: Vec<PartAddon>,
    #[serde(default)]
    containerd_registry_configs: BTreeMap<String, String>,
    #[serde(default, rename = "extraCNIEnv")]
    extra_cni_env: BTreeMap<String, Option<Scalar>>,
    #[serde(default)]
    extra_config_files: BTreeMap<String, String>,
    #[serde(default)]
    extra_containerd_env: BTreeMap<String, Option<Scalar>>,
    #[serde(default, rename = "extraKubeAPIServerArgs")]
    extra_kube_api_server_args: BTreeMap<String, Option<Scalar>>,
    #[serde(default)]
    extra_kube_controller_manager_args: BTreeMap<String, Option<Scalar>>,
    #[serde(default)]
    extra_kube_proxy_args: BTreeMap<String, Option<Scalar>>,
    #[serde(default)]
    extra_kube_scheduler_args: BTreeMap<String, Option<Scalar>>,
    #[serde(default)]
    extra_kubelet_args: BTreeMap<String, Option<Scalar>>,
    #[serde(default, rename = "extraSANs")]
    extra_sans: Vec<Scalar>,
    #[serde(default)]
    join: Option<PartJoin>,
    #[serde(default)]
    persistent_cluster_token: Option<Scalar>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PartAddon {
    name: Scalar,
    #[serde(default)]
    disable: bool,
    #[serde(default)]
    args: Option<Vec<Scalar>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PartRepository {
    name: Scalar,
    url: Scalar,
    #[serde(default)]
    reference: Option<Scalar>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PartJoin {
    url: Scalar,
    #[serde(default)]
    worker: bool,
}

impl From<PartAddon> for Addon {
    fn from(part: PartAddon) -> Self {
        let arguments = part.args.unwrap_or_default().into_iter().map(|argument| argument.0).collect();
        Self { name: part.name.0, disable: part.disable, arguments }
    }
}

impl From<PartRepository> for Repository {
    fn from(part: PartRepository) -> Self {
        let reference = part.reference.map(|reference| reference.0).unwrap_or_default();
        Self { name: part.name.0, url: part.url.0, reference }
    }
}

impl Part {
    /// One document; nothing when it is empty.
    fn read(document: &str) -> Result<Option<Self>> {
        let says_nothing = |line: &str| line.is_empty() || line.starts_with('#') || line == "---";
        if document.lines().map(str::trim).all(says_nothing) {
            return Ok(None);
        }
        let mut keys = match decode::yaml(document.as_bytes())?.value {
            Value::Null => return Ok(None),
            Value::Object(keys) => keys,
            _ => bail!("must be a map, which begins with `version: 0.2.0`"),
        };
        check_version(keys.remove("version").as_ref())?;
        // A key with nothing behind it is as good as none.
        keys.retain(|_, value| !value.is_null());
        for (key, instead) in WITHOUT_EQUIVALENT {
            let said = keys.remove(key);
            if said.is_some_and(|said| said.as_object().is_none_or(|said| !said.is_empty())) {
                bail!("{key}: {instead}; take the key out of the file");
            }
        }
        let part = Self::by_key(keys)?;
        part.check()?;
        Ok(Some(part))
    }

    /// What is wrong is told with the key it stands at.
    fn by_key(keys: serde_json::Map<String, Value>) -> Result<Self> {
        for (key, value) in &keys {
            let one = [(key.clone(), value.clone())].into_iter().collect();
            if let Err(error) = serde_json::from_value::<Self>(Value::Object(one)) {
                bail!("{key}: {error}");
            }
        }
        Ok(serde_json::from_value(Value::Object(keys))?)
    }

    fn check(&self) -> Result<()> {
        if let Some(join) = &self.join {
            Target::parse(&join.url.0).context("join.url")?;
        }
        if let Some(token) = &self.persistent_cluster_token {
            check_token(&token.0).context("persistentClusterToken")?;
        }
        for (key, names) in [
            ("extraConfigFiles", self.extra_config_files.keys()),
            ("containerdRegistryConfigs", self.containerd_registry_configs.keys()),
        ] {
            for name in names {
                if name.is_empty() || name.contains('/') || name.starts_with('.') {
                    bail!(
                        "{key}: {name:?} is no name of a file: it has no slashes and does not begin with a dot"
                    );
                }
            }
        }
        if let Some(addon) = self.addons.iter().find(|addon| addon.name.0.contains(':')) {
            bail!("addons: {:?}: what stands behind the colon belongs into `args`", addon.name.0);
        }
        Ok(())
    }

    /// What it says of flags.
    fn flags(&self) -> Result<Flags> {
        let mut flags = Flags::default();
        for (key, component, said) in [
            ("extraKubeAPIServerArgs", Component::ApiServer, &self.extra_kube_api_server_args),
            (
                "extraKubeControllerManagerArgs",
                Component::ControllerManager,
                &self.extra_kube_controller_manager_args,
            ),
            ("extraKubeProxyArgs", Component::Proxy, &self.extra_kube_proxy_args),
            ("extraKubeSchedulerArgs", Component::Scheduler, &self.extra_kube_scheduler_args),
            ("extraKubeletArgs", Component::Kubelet, &self.extra_kubelet_args),
        ] {
            flags.of_component(component, &arguments(said)).context(key)?;
        }
        flags.of_networks(&arguments(&self.extra_cni_env)).context("extraCNIEnv")?;
        flags.of_containerd(arguments(&self.extra_containerd_env));
        Ok(flags)
    }
}

fn arguments(said: &BTreeMap<String, Option<Scalar>>) -> Arguments {
    said.iter().map(|(name, value)| (name.clone(), value.as_ref().map(|value| value.0.clone()))).collect()
}

fn check_version(version: Option<&Value>) -> Result<()> {
    let [first, last] = VERSIONS.map(|version| version.map(|part| part.to_string()).join("."));
    let Some(version) = version.filter(|version| !version.is_null()) else {
        bail!("version: it is missing; say `version: {last}`");
    };
    let text = version.as_str().map_or_else(|| version.to_string(), str::to_owned);
    let parts: Vec<Option<u64>> = text.split('.').map(|part| part.parse().ok()).collect();
    let [Some(major), Some(minor), Some(patch)] = parts.as_slice() else {
        bail!("version: {text} is none; say `version: {last}`");
    };
    let version = [*major, *minor, *patch];
    if version < VERSIONS[0] || version > VERSIONS[1] {
        bail!("version: {text} is not understood, only {first} to {last}; a newer Knarr may");
    }
    Ok(())
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
