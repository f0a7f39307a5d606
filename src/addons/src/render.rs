//! Manifests with arguments and settings put in. `${NAME}` stands for a value; anything else stays as it is.

use crate::catalog::{Addon, Argument, ArgumentKind};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

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
}

/// Why an add-on cannot be rendered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RenderError {
    /// More arguments than the add-on has.
    #[error("add-on {addon} takes {takes} argument(s), {given} given{usage}")]
    TooMany {
        /// The add-on.
        addon: String,
        /// How many it takes.
        takes: usize,
        /// How many were given.
        given: usize,
        /// How to write it.
        usage: String,
    },
    /// An argument without a default was not given.
    #[error("add-on {addon} needs the argument {name}: {help}")]
    Missing {
        /// The add-on.
        addon: String,
        /// The argument.
        name: String,
        /// What it is.
        help: String,
    },
    /// An argument's value has the wrong form.
    #[error("argument {name} of add-on {addon}: {value:?} is not {expected}")]
    Value {
        /// The add-on.
        addon: String,
        /// The argument.
        name: String,
        /// What was given.
        value: String,
        /// What it should be.
        expected: &'static str,
    },
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

/// The objects of an add-on in the order in which they are applied.
///
/// # Errors
/// When the arguments do not fit or a manifest is damaged.
pub fn render(addon: &Addon, given: &[String], settings: &Settings) -> Result<Vec<Value>, RenderError> {
    let values = values(addon, given, settings)?;
    let mut objects = Vec::new();
    for (file, text) in addon.manifests.iter().zip(&addon.texts) {
        let damaged =
            |why: String| RenderError::Manifest { addon: addon.name.clone(), file: file.clone(), why };
        let text = substitute(text, &values).map_err(damaged)?;
        for document in text.split("\n---") {
            if document.lines().all(|line| line.trim().is_empty() || line.starts_with('#')) {
                continue;
            }
            objects.push(serde_saphyr::from_str(document).map_err(|e| damaged(e.to_string()))?);
        }
    }
    Ok(objects)
}

fn values(
    addon: &Addon,
    given: &[String],
    settings: &Settings,
) -> Result<BTreeMap<String, String>, RenderError> {
    if given.len() > addon.arguments.len() {
        let names: Vec<String> = addon.arguments.iter().map(|a| a.name.to_uppercase()).collect();
        return Err(RenderError::TooMany {
            addon: addon.name.clone(),
            takes: addon.arguments.len(),
            given: given.len(),
            usage: if names.is_empty() {
                String::new()
            } else {
                format!(": {}:{}", addon.name, names.join(":"))
            },
        });
    }
    let mut values = BTreeMap::from([
        ("IMAGE".to_owned(), settings.image.clone()),
        ("CLUSTER_DNS".to_owned(), settings.cluster_dns.clone()),
        ("CLUSTER_DOMAIN".to_owned(), settings.cluster_domain.clone()),
    ]);
    for (at, argument) in addon.arguments.iter().enumerate() {
        let value = given.get(at).filter(|v| !v.is_empty()).or(argument.default.as_ref());
        let value = value.ok_or_else(|| RenderError::Missing {
            addon: addon.name.clone(),
            name: argument.name.clone(),
            help: argument.help.clone(),
        })?;
        check(addon, argument, value)?;
        values.insert(argument.name.to_uppercase().replace('-', "_"), value.clone());
    }
    Ok(values)
}

fn check(addon: &Addon, argument: &Argument, value: &str) -> Result<(), RenderError> {
    let (holds, expected) = match argument.kind {
        ArgumentKind::Text => (
            !value.contains(['"', '\'', '{', '}', '[', ']', '\n']),
            "text without quotes, brackets and line ends",
        ),
        ArgumentKind::Addresses => (
            value.is_empty() || value.split(',').all(|part| address(part).is_some()),
            "IP[:PORT], separated by commas",
        ),
        ArgumentKind::Integer => (value.parse::<i64>().is_ok(), "a whole number"),
        ArgumentKind::Boolean => (matches!(value, "true" | "false"), "true or false"),
    };
    if holds {
        return Ok(());
    }
    Err(RenderError::Value {
        addon: addon.name.clone(),
        name: argument.name.clone(),
        value: value.to_owned(),
        expected,
    })
}

/// Reads `IP` or `IP:PORT`; the port of DNS unless one is given.
pub fn address(text: &str) -> Option<SocketAddr> {
    let text = text.trim();
    text.parse().ok().or_else(|| Some(SocketAddr::new(text.parse::<IpAddr>().ok()?, 53)))
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
    use crate::catalog;

    fn settings() -> Settings {
        Settings {
            image: "i:1".to_owned(),
            cluster_dns: "10.0.0.10".to_owned(),
            cluster_domain: "c.local".to_owned(),
        }
    }

    #[test]
    fn every_add_on_renders_with_its_defaults() {
        for addon in catalog::all() {
            let objects = render(addon, &[], &settings()).unwrap();
            assert!(!objects.is_empty());
            for object in &objects {
                assert!(object["metadata"]["name"].is_string() && object["kind"].is_string(), "{object}");
            }
        }
    }

    #[test]
    fn arguments_and_settings_are_put_in() {
        let objects =
            render(catalog::find("dns").unwrap(), &["8.8.8.8,1.1.1.1".to_owned()], &settings()).unwrap();
        let of = |kind: &str| objects.iter().find(|o| o["kind"] == kind).unwrap();
        assert_eq!(of("Service")["spec"]["clusterIP"], "10.0.0.10");
        assert!(
            of("ConfigMap")["data"]["config.yaml"].as_str().unwrap().contains("upstream: [8.8.8.8,1.1.1.1]")
        );
    }

    #[test]
    fn wrong_arguments_are_refused_with_what_is_expected() {
        let dns = catalog::find("dns").unwrap();
        let refused = |given: &[&str]| {
            let given: Vec<String> = given.iter().map(|g| (*g).to_owned()).collect();
            render(dns, &given, &settings()).unwrap_err().to_string()
        };
        assert!(refused(&["example.com"]).contains("is not IP[:PORT]"));
        assert!(refused(&["8.8.8.8", "x"]).contains("dns:UPSTREAM"));
    }
}
