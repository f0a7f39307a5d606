//! What add-ons there are. Each is a folder of `addons/` with an `addon.yaml` and plain manifests.

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
    /// Files beside `addon.yaml`, in the order in which they are applied.
    pub manifests: Vec<String>,
    /// Objects that are waited for.
    #[serde(default)]
    pub readiness: Vec<Target>,
    /// The manifests' texts.
    #[serde(skip)]
    pub texts: Vec<String>,
}

/// An argument of an add-on.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Argument {
    /// Name; in manifests it is written `${NAME}` in capitals.
    pub name: String,
    /// One line for people.
    pub help: String,
    /// What values it takes.
    #[serde(rename = "type", default)]
    pub kind: ArgumentKind,
    /// Value when none is given; without one the argument is required.
    #[serde(default)]
    pub default: Option<String>,
}

/// What values an argument takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ArgumentKind {
    /// Any text without quotes, braces and line ends.
    #[default]
    Text,
    /// `IP[:PORT]`, separated by commas.
    Addresses,
    /// A whole number.
    Integer,
    /// `true` or `false`.
    Boolean,
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
}

/// An add-on's folder as it is built into the binary.
struct Folder {
    addon: &'static str,
    files: &'static [(&'static str, &'static str)],
}

const FOLDERS: &[Folder] = &[Folder {
    addon: include_str!("../../../addons/dns/addon.yaml"),
    files: &[
        ("rbac.yaml", include_str!("../../../addons/dns/rbac.yaml")),
        ("dns.yaml", include_str!("../../../addons/dns/dns.yaml")),
    ],
}];

static ADDONS: LazyLock<Vec<Addon>> =
    LazyLock::new(|| FOLDERS.iter().filter_map(|folder| read(folder).ok()).collect());

fn read(folder: &Folder) -> Result<Addon, String> {
    let mut addon: Addon = serde_saphyr::from_str(folder.addon).map_err(|e| e.to_string())?;
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

/// One add-on of the binary.
pub fn find(name: &str) -> Option<&'static Addon> {
    all().iter().find(|addon| addon.name == name)
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
    }
}
