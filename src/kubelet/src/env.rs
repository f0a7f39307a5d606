//! Environment variables of containers. Pure: the caller brings ConfigMaps, Secrets and Services.

use crate::expansion::expand;
use crate::fields;
use crate::pod;
use k8s_openapi::api::core::v1::{ConfigMap, Container, EnvVarSource, Pod, Secret, Service};
use std::collections::BTreeMap;
use std::sync::Arc;
use thiserror::Error;

/// A container's environment could not be put together.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum EnvError {
    /// A ConfigMap that is not optional does not exist.
    #[error("configmap \"{0}\" not found")]
    NoConfigMap(String),
    /// A Secret that is not optional does not exist.
    #[error("secret \"{0}\" not found")]
    NoSecret(String),
    /// A ConfigMap lacks the key.
    #[error("couldn't find key {key} in ConfigMap {namespace}/{name}")]
    NoConfigMapKey {
        /// Namespace.
        namespace: String,
        /// ConfigMap.
        name: String,
        /// Key.
        key: String,
    },
    /// A Secret lacks the key.
    #[error("couldn't find key {key} in Secret {namespace}/{name}")]
    NoSecretKey {
        /// Namespace.
        namespace: String,
        /// Secret.
        name: String,
        /// Key.
        key: String,
    },
    /// A field or resource reference means nothing.
    #[error("{0}")]
    Field(#[from] fields::FieldRefError),
    /// A source of a kind that is not supported.
    #[error("env {name}: {kind} is not supported")]
    Unsupported {
        /// Variable.
        name: String,
        /// Source.
        kind: &'static str,
    },
}

/// The objects that a pod's environment refers to.
#[derive(Debug, Clone, Default)]
pub struct EnvObjects {
    /// ConfigMaps of the pod's namespace, by name.
    pub config_maps: BTreeMap<String, Arc<ConfigMap>>,
    /// Secrets of the pod's namespace, by name.
    pub secrets: BTreeMap<String, Arc<Secret>>,
}

/// Variables in the order in which later ones replace earlier ones: services, `envFrom`, `env`.
///
/// # Errors
/// When something that is not optional is missing: the container must not start.
pub fn environment(
    pod: &Pod,
    container: &Container,
    objects: &EnvObjects,
    services: &BTreeMap<String, String>,
    context: &fields::FieldContext<'_>,
) -> Result<Vec<(String, String)>, EnvError> {
    let mut result: BTreeMap<String, String> = BTreeMap::new();
    for source in container.env_from.iter().flatten() {
        let prefix = source.prefix.as_deref().unwrap_or("");
        if let Some(reference) = &source.config_map_ref {
            match objects.config_maps.get(&reference.name) {
                Some(map) => {
                    for (key, value) in map.data.iter().flatten() {
                        insert_from(&mut result, prefix, key, value.clone());
                    }
                }
                None if reference.optional == Some(true) => {}
                None => return Err(EnvError::NoConfigMap(reference.name.clone())),
            }
        } else if let Some(reference) = &source.secret_ref {
            match objects.secrets.get(&reference.name) {
                Some(secret) => {
                    for (key, value) in secret.data.iter().flatten() {
                        insert_from(&mut result, prefix, key, String::from_utf8_lossy(&value.0).into_owned());
                    }
                }
                None if reference.optional == Some(true) => {}
                None => return Err(EnvError::NoSecret(reference.name.clone())),
            }
        }
    }
    for variable in container.env.iter().flatten() {
        let value = match (&variable.value, &variable.value_from) {
            (Some(value), None) => {
                // What is known so far first, then the services.
                Some(expand(value, |name| result.get(name).or_else(|| services.get(name)).cloned()))
            }
            (_, Some(source)) => value_from(pod, container, &variable.name, source, objects, context)?,
            (None, None) => Some(String::new()),
        };
        if let Some(value) = value {
            result.insert(variable.name.clone(), value);
        }
    }
    for (name, value) in services {
        result.entry(name.clone()).or_insert_with(|| value.clone());
    }
    Ok(result.into_iter().collect())
}

/// Since 1.34 any printable ASCII name but `=` goes (KEP-4369); others are skipped as ever.
fn insert_from(result: &mut BTreeMap<String, String>, prefix: &str, key: &str, value: String) {
    let name = format!("{prefix}{key}");
    let printable = name.bytes().all(|byte| (0x20..0x7f).contains(&byte) && byte != b'=');
    if !name.is_empty() && printable {
        result.insert(name, value);
    }
}

fn value_from(
    pod: &Pod,
    container: &Container,
    variable: &str,
    source: &EnvVarSource,
    objects: &EnvObjects,
    context: &fields::FieldContext<'_>,
) -> Result<Option<String>, EnvError> {
    let namespace = || pod::namespace(pod).to_owned();
    if let Some(field) = &source.field_ref {
        return Ok(Some(fields::field_value(pod, &field.field_path, context)?));
    }
    if let Some(resource) = &source.resource_field_ref {
        return Ok(Some(fields::resource_value(pod, Some(container), resource, context)?));
    }
    if let Some(selector) = &source.config_map_key_ref {
        let optional = selector.optional == Some(true);
        let Some(map) = objects.config_maps.get(&selector.name) else {
            return if optional { Ok(None) } else { Err(EnvError::NoConfigMap(selector.name.clone())) };
        };
        return match map.data.iter().flatten().find(|(key, _)| **key == selector.key) {
            Some((_, value)) => Ok(Some(value.clone())),
            None if optional => Ok(None),
            None => Err(EnvError::NoConfigMapKey {
                namespace: namespace(),
                name: selector.name.clone(),
                key: selector.key.clone(),
            }),
        };
    }
    if let Some(selector) = &source.secret_key_ref {
        let optional = selector.optional == Some(true);
        let Some(secret) = objects.secrets.get(&selector.name) else {
            return if optional { Ok(None) } else { Err(EnvError::NoSecret(selector.name.clone())) };
        };
        return match secret.data.iter().flatten().find(|(key, _)| **key == selector.key) {
            Some((_, value)) => Ok(Some(String::from_utf8_lossy(&value.0).into_owned())),
            None if optional => Ok(None),
            None => Err(EnvError::NoSecretKey {
                namespace: namespace(),
                name: selector.name.clone(),
                key: selector.key.clone(),
            }),
        };
    }
    let kind = if source.file_key_ref.is_some() { "fileKeyRef" } else { "an unknown source" };
    Err(EnvError::Unsupported { name: variable.to_owned(), kind })
}

/// Names of the ConfigMaps and Secrets that a container's environment reads.
pub fn references(container: &Container) -> (Vec<&str>, Vec<&str>) {
    let mut maps = Vec::new();
    let mut secrets = Vec::new();
    for source in container.env_from.iter().flatten() {
        maps.extend(source.config_map_ref.as_ref().map(|reference| reference.name.as_str()));
        secrets.extend(source.secret_ref.as_ref().map(|reference| reference.name.as_str()));
    }
    for source in container.env.iter().flatten().filter_map(|variable| variable.value_from.as_ref()) {
        maps.extend(source.config_map_key_ref.as_ref().map(|reference| reference.name.as_str()));
        secrets.extend(source.secret_key_ref.as_ref().map(|reference| reference.name.as_str()));
    }
    (maps, secrets)
}

/// The variables by which a pod finds Services: those of its namespace where `links` is set, and always the
/// API server's `default/kubernetes`.
pub fn service_variables<'a>(
    namespace: &str,
    services: impl Iterator<Item = &'a Service>,
    links: bool,
) -> BTreeMap<String, String> {
    let mut chosen: BTreeMap<&str, &Service> = BTreeMap::new();
    for service in services {
        let (Some(name), of) = (service.metadata.name.as_deref(), service.metadata.namespace.as_deref())
        else {
            continue;
        };
        let own = of == Some(namespace);
        let master = of == Some("default") && name == "kubernetes";
        let has_address = service
            .spec
            .as_ref()
            .and_then(|spec| spec.cluster_ip.as_deref())
            .is_some_and(|ip| !ip.is_empty() && ip != "None");
        if has_address && ((own && links) || (master && (!chosen.contains_key(name) || !own))) {
            // A namespace's own service named "kubernetes" wins over the API server's.
            if master && !own && chosen.contains_key(name) {
                continue;
            }
            chosen.insert(name, service);
        }
    }
    let mut variables = BTreeMap::new();
    for (name, service) in chosen {
        describe_service(name, service, &mut variables);
    }
    variables
}

fn describe_service(name: &str, service: &Service, variables: &mut BTreeMap<String, String>) {
    let Some(spec) = &service.spec else { return };
    let (Some(ip), Some(ports)) = (spec.cluster_ip.as_deref(), spec.ports.as_deref()) else { return };
    let shell = |text: &str| text.to_uppercase().replace('-', "_");
    let prefix = shell(name);
    let host = if ip.contains(':') { format!("[{ip}]") } else { ip.to_owned() };
    variables.insert(format!("{prefix}_SERVICE_HOST"), ip.to_owned());
    for (index, port) in ports.iter().enumerate() {
        let number = port.port;
        if index == 0 {
            variables.insert(format!("{prefix}_SERVICE_PORT"), number.to_string());
        }
        if let Some(port_name) = port.name.as_deref().filter(|name| !name.is_empty()) {
            variables.insert(format!("{prefix}_SERVICE_PORT_{}", shell(port_name)), number.to_string());
        }
        let protocol = port.protocol.as_deref().unwrap_or("TCP");
        let url = format!("{}://{host}:{number}", protocol.to_lowercase());
        if index == 0 {
            variables.insert(format!("{prefix}_PORT"), url.clone());
        }
        let base = format!("{prefix}_PORT_{number}_{protocol}");
        variables.insert(base.clone(), url);
        variables.insert(format!("{base}_PROTO"), protocol.to_lowercase());
        variables.insert(format!("{base}_PORT"), number.to_string());
        variables.insert(format!("{base}_ADDR"), ip.to_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod() -> Pod {
        serde_json::from_value(json!({"metadata": {"name": "p", "namespace": "n"}, "spec": {"containers": [{
            "name": "a",
            "envFrom": [{"prefix": "P_", "configMapRef": {"name": "m"}}, {"secretRef": {"name": "o", "optional": true}}],
            "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "$(A)-$(P_k)-$(NO)-$(KUBERNETES_SERVICE_HOST)"},
                {"name": "N", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
                {"name": "S", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}]}]}}))
        .unwrap()
    }

    fn objects() -> EnvObjects {
        let map = serde_json::from_value(json!({"metadata": {}, "data": {"k": "v"}})).unwrap();
        let secret = serde_json::from_value(json!({"metadata": {}, "data": {"k": "c2VjcmV0"}})).unwrap();
        EnvObjects {
            config_maps: BTreeMap::from([("m".to_owned(), Arc::new(map))]),
            secrets: BTreeMap::from([("s".to_owned(), Arc::new(secret))]),
        }
    }

    fn services() -> BTreeMap<String, String> {
        let services: Vec<Service> = [
            json!({"metadata": {"name": "kubernetes", "namespace": "default"},
                "spec": {"clusterIP": "10.0.0.1", "ports": [{"name": "https", "port": 443}]}}),
            json!({"metadata": {"name": "my-db", "namespace": "n"},
                "spec": {"clusterIP": "10.0.0.2", "ports": [{"port": 53, "protocol": "UDP"}]}}),
            json!({"metadata": {"name": "headless", "namespace": "n"}, "spec": {"clusterIP": "None"}}),
        ]
        .into_iter()
        .map(|value| serde_json::from_value(value).unwrap())
        .collect();
        service_variables("n", services.iter(), true)
    }

    #[test]
    fn variables_come_from_everywhere() {
        let pod = pod();
        let context = fields::FieldContext::default();
        let found = environment(&pod, &pod::containers(&pod)[0], &objects(), &services(), &context).unwrap();
        let get = |name: &str| found.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
        assert_eq!(get("P_k"), Some("v"));
        assert_eq!(get("B"), Some("1-v-$(NO)-10.0.0.1"));
        assert_eq!(get("N"), Some("p"));
        assert_eq!(get("S"), Some("secret"));
        assert_eq!(get("MY_DB_PORT_53_UDP"), Some("udp://10.0.0.2:53"));
        assert_eq!(get("KUBERNETES_SERVICE_PORT_HTTPS"), Some("443"));
    }

    #[test]
    fn what_is_missing_is_named() {
        let pod = pod();
        let objects = EnvObjects { secrets: BTreeMap::new(), ..objects() };
        let context = fields::FieldContext::default();
        let error =
            environment(&pod, &pod::containers(&pod)[0], &objects, &BTreeMap::new(), &context).unwrap_err();
        assert_eq!(error.to_string(), "secret \"s\" not found");
    }
}
