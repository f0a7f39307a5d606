//! What add-ons there are. Each is a folder of `addons/` with an `addon.yaml` and plain manifests.

use apimachinery::decode;
use serde::Deserialize;
use std::sync::LazyLock;

/// The repository of the add-ons that are part of the binary, in MicroK8s' name.
pub const CORE: &str = "core";

/// An `addon.yaml`.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Addon {
    /// Name, as `knarr enable` takes it.
    pub name: String,
    /// Other names that `knarr enable` takes.
    #[serde(default)]
    pub aliases: Vec<String>,
    /// One line for people.
    pub description: String,
    /// Version of the add-on.
    pub version: String,
    /// Whether it is enabled at the first start of a cluster.
    #[serde(default)]
    pub default: bool,
    /// Add-ons that have to be enabled first.
    #[serde(default)]
    pub dependencies: Vec<String>,
    /// What can be said after `NAME:`, in order.
    #[serde(default)]
    pub arguments: Vec<Argument>,
    /// What can be said after `NAME:` when it is disabled.
    #[serde(default)]
    pub disabling: Vec<Disabling>,
    /// Files beside `addon.yaml`, in the order in which they are applied.
    #[serde(default)]
    pub manifests: Vec<String>,
    /// Images of others that it needs, for import where there is no network.
    #[serde(default)]
    pub images: Vec<String>,
    /// Why it is always enabled: a part of knarr that others have as an add-on.
    #[serde(default)]
    pub always: Option<String>,
    /// A git repository of add-ons that is added with it, under its name; the argument `reference` says what of.
    #[serde(default)]
    pub repository: Option<String>,
    /// Objects that are waited for.
    #[serde(default)]
    pub readiness: Vec<Target>,
    /// What people are told when it is enabled.
    #[serde(default)]
    pub hint: Option<String>,
    /// The manifests' texts.
    #[serde(skip)]
    pub texts: Vec<String>,
}

impl Addon {
    /// All names it goes by.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        std::iter::once(&self.name).chain(&self.aliases).map(String::as_str)
    }
}

/// An argument of an add-on.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Argument {
    /// Name; in manifests it is written `${NAME}` in capitals.
    pub name: String,
    /// One line for people.
    pub help: String,
    /// Letter of its flag.
    #[serde(default)]
    pub short: Option<String>,
    /// What values it takes.
    #[serde(rename = "type", default)]
    pub kind: ArgumentKind,
    /// The only values that it takes; any of its type when empty.
    #[serde(default)]
    pub values: Vec<String>,
    /// Value when none is given; without one the argument is required.
    #[serde(default)]
    pub default: Option<String>,
}

/// What disabling an add-on does only when it is asked to, by this word.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Disabling {
    /// The word.
    pub name: String,
    /// One line for people.
    pub help: String,
    /// A provisioner whose volumes are deleted, with what is in them.
    #[serde(default)]
    pub volumes_of: Option<String>,
}

/// What values an argument takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ArgumentKind {
    /// Any text without quotes, brackets, `#` and line ends.
    #[default]
    Text,
    /// `IP[:PORT]`, separated by commas.
    Addresses,
    /// One IPv4 address.
    Address,
    /// `FIRST-LAST` or CIDRs, separated by commas.
    Ranges,
    /// A whole number.
    Integer,
    /// `true` or `false`.
    Boolean,
    /// A quantity of bytes, such as `20Gi`.
    Size,
}

/// An object that tells when an add-on is ready.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Target {
    /// Its API version.
    pub api_version: String,
    /// Its kind.
    pub kind: String,
    /// Its namespace.
    #[serde(default)]
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// An argument: when it is neither empty nor `false`, there is no such object.
    #[serde(default)]
    pub unless: Option<String>,
    /// The other way round.
    #[serde(default)]
    pub when: Option<String>,
}

/// An add-on's folder as it is built into the binary.
struct Folder {
    addon: &'static str,
    files: &'static [(&'static str, &'static str)],
}

macro_rules! folder {
    ($name:literal: $($file:literal),*) => {
        Folder {
            addon: include_str!(concat!("../../../addons/", $name, "/addon.yaml")),
            files: &[$(($file, include_str!(concat!("../../../addons/", $name, "/", $file)))),*],
        }
    };
}

const FOLDERS: &[Folder] = &[
    folder!("cert-manager": "cert-manager.yaml"),
    folder!("community":),
    folder!("dashboard": "dashboard.yaml"),
    folder!("dns": "rbac.yaml", "dns.yaml"),
    folder!("ha-cluster":),
    folder!("helm":),
    folder!("host-access": "host-access.yaml"),
    folder!("hostpath-storage": "rbac.yaml", "storage.yaml"),
    folder!("ingress": "rbac.yaml", "gateway-api.yaml", "ingress.yaml"),
    folder!("loadbalancer": "rbac.yaml", "loadbalancer.yaml"),
    folder!("metrics-server": "rbac.yaml", "metrics-server.yaml"),
    folder!("observability": "metrics.yaml", "logs.yaml", "traces.yaml"),
    folder!("rbac":),
    folder!("registry": "registry.yaml", "mirrors.yaml"),
];

static ADDONS: LazyLock<Vec<Addon>> =
    LazyLock::new(|| FOLDERS.iter().filter_map(|folder| read(folder).ok()).collect());

fn read(folder: &Folder) -> Result<Addon, String> {
    let mut addon: Addon = decode::from_yaml(folder.addon).map_err(|e| e.to_string())?;
    for name in &addon.manifests {
        let (_, text) =
            folder.files.iter().find(|(file, _)| file == name).ok_or_else(|| format!("{name} is missing"))?;
        addon.texts.push((*text).to_owned());
    }
    Ok(addon)
}

/// All add-ons of the binary, by name.
pub fn all() -> &'static [Addon] {
    &ADDONS
}

/// One add-on of the binary, by any of its names.
pub fn find(name: &str) -> Option<&'static Addon> {
    all().iter().find(|addon| addon.names().any(|one| one == name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_folder_reads_and_names_all_its_files() {
        for folder in FOLDERS {
            let addon = read(folder).unwrap();
            assert_eq!(
                addon.texts.len(),
                folder.files.len(),
                "{}: a file is not named in addon.yaml",
                addon.name
            );
        }
        assert_eq!(all().len(), FOLDERS.len());
        let mut names: Vec<&str> = all().iter().flat_map(Addon::names).collect();
        names.sort_unstable();
        let count = names.len();
        names.dedup();
        assert_eq!(names.len(), count, "two add-ons have one name");
    }
}
