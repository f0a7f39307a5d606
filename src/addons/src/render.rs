//! Manifests with arguments and settings put in. `${NAME}` stands for a value; anything else stays as it is.

use crate::catalog::Addon;
use apimachinery::decode;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

/// An annotation with the value of an argument: an object is left out when that is neither empty nor `false`.
const UNLESS: &str = "addons.knarr.io/unless";
/// The other way round: an object is left out when the value is empty or `false`.
const WHEN: &str = "addons.knarr.io/when";

/// What a cluster's manifests may name besides arguments.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Settings {
    /// `${IMAGE}`: the image that holds this binary.
    pub image: String,
    /// `${CLUSTER_DNS}`: address of the DNS Service.
    pub cluster_dns: String,
    /// `${CLUSTER_DOMAIN}`.
    pub cluster_domain: String,
    /// `${DATA_DIR}`: where a node keeps its things.
    pub data_dir: String,
}

/// Why an add-on cannot be rendered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RenderError {
    /// A manifest is damaged.
    #[error("manifest {file} of add-on {addon}: {why}")]
    Manifest {
        /// The add-on.
        addon: String,
        /// The file.
        file: String,
        /// What is wrong.
        why: String,
    },
}

/// The objects of an add-on in the order in which they are applied, out of the values of its arguments.
///
/// # Errors
/// When a manifest is damaged.
pub fn render(
    addon: &Addon,
    mut values: BTreeMap<String, String>,
    settings: &Settings,
) -> Result<Vec<Value>, RenderError> {
    values.insert("IMAGE".to_owned(), settings.image.clone());
    values.insert("CLUSTER_DNS".to_owned(), settings.cluster_dns.clone());
    values.insert("CLUSTER_DOMAIN".to_owned(), settings.cluster_domain.clone());
    values.insert("DATA_DIR".to_owned(), settings.data_dir.clone());
    let mut objects = Vec::new();
    for (file, text) in addon.manifests.iter().zip(&addon.texts) {
        let damaged =
            |why: String| RenderError::Manifest { addon: addon.name.clone(), file: file.clone(), why };
        let text = substitute(text, &values).map_err(damaged)?;
        for document in text.split("\n---") {
            if document.lines().all(|line| line.trim().is_empty() || line.starts_with('#')) {
                continue;
            }
            let object = decode::yaml(document.as_bytes()).map_err(|e| damaged(e.to_string()))?.value;
            let given = |name| {
                let value = object.pointer("/metadata/annotations")?.get(name)?.as_str()?;
                Some(!matches!(value, "" | "false"))
            };
            if given(UNLESS) != Some(true) && given(WHEN) != Some(false) {
                objects.push(object);
            }
        }
    }
    Ok(objects)
}

fn substitute(text: &str, values: &BTreeMap<String, String>) -> Result<String, String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        out.push_str(before);
        let (name, after) = after.split_once('}').ok_or("a ${ has no }")?;
        out.push_str(values.get(name).ok_or_else(|| format!("nothing stands for ${{{name}}}"))?);
        rest = after;
    }
    out.push_str(rest);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{arguments, catalog};

    fn rendered(addon: &Addon, given: &[&str]) -> Vec<Value> {
        let settings = Settings {
            image: "i:1".to_owned(),
            cluster_dns: "10.0.0.10".to_owned(),
            cluster_domain: "c.local".to_owned(),
            data_dir: "/data".to_owned(),
        };
        let given: Vec<String> = given.iter().map(|one| (*one).to_owned()).collect();
        let given = arguments::read(addon, &given).unwrap();
        render(addon, arguments::values(addon, &given).unwrap(), &settings).unwrap()
    }

    #[test]
    fn every_add_on_renders_with_its_defaults() {
        for addon in catalog::all() {
            let objects = rendered(addon, &[]);
            assert_eq!(
                objects.is_empty(),
                addon.always.is_some() || addon.repository.is_some(),
                "{}",
                addon.name
            );
            for object in &objects {
                assert!(object["metadata"]["name"].is_string() && object["kind"].is_string(), "{object}");
            }
        }
    }

    #[test]
    fn an_object_can_depend_on_an_argument() {
        let addon = catalog::find("prometheus").unwrap();
        let names = |given: &[&str]| {
            let objects = rendered(addon, given);
            objects.iter().map(|o| o["metadata"]["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(names(&[]), ["observability", "kube-prom-stack", "loki", "tempo", "tempo-datasource"]);
        assert_eq!(names(&["without-tempo=true"]), ["observability", "kube-prom-stack", "loki"]);
        let without = rendered(addon, &["without-tempo=true"]);
        assert!(!without.iter().any(|o| o["spec"].to_string().contains("tempo")), "{without:?}");
        let images: Vec<&str> =
            addon.images.iter().filter_map(|image| image.rsplit_once(':')).map(|(_, tag)| tag).collect();
        let values: String = rendered(addon, &[])
            .iter()
            .filter_map(|o| o["spec"]["valuesContent"].as_str().map(str::to_owned))
            .collect();
        for tag in images {
            assert!(values.contains(&format!("tag: {tag}")), "the charts are not told of {tag}");
        }
    }

    #[test]
    fn arguments_and_settings_are_put_in() {
        let objects = rendered(catalog::find("dns").unwrap(), &["8.8.8.8,1.1.1.1"]);
        let of = |kind: &str| objects.iter().find(|o| o["kind"] == kind).unwrap();
        assert_eq!(of("Service")["spec"]["clusterIP"], "10.0.0.10");
        assert!(
            of("ConfigMap")["data"]["config.yaml"].as_str().unwrap().contains("upstream: [8.8.8.8,1.1.1.1]")
        );
    }
}
