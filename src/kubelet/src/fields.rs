//! `fieldRef` and `resourceFieldRef`: the downward API's values. Pure.

use crate::pod;
use crate::resources;
use k8s_openapi::api::core::v1::{Container, Pod, ResourceFieldSelector};
use std::collections::BTreeMap;
use thiserror::Error;

/// A reference to a field or resource that means nothing.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum FieldRefError {
    /// No such field.
    #[error("unsupported fieldPath: {0}")]
    Field(String),
    /// No such container.
    #[error("container {0} not found")]
    Container(String),
    /// No such resource.
    #[error("unsupported container resource : {0}")]
    Resource(String),
}

/// What fields depend on besides the pod's object.
#[derive(Debug, Clone, Default)]
pub struct FieldContext<'a> {
    /// The pod's addresses: known once its sandbox is up, before its status is posted.
    pub pod_ips: &'a [String],
    /// The node's addresses.
    pub host_ips: &'a [String],
    /// The node's allocatable CPU (millicores) and memory, storage (bytes): the limit of the unlimited.
    pub allocatable: BTreeMap<String, i64>,
}

/// The value of a pod's field.
///
/// # Errors
/// When there is no such field.
pub fn field_value(pod: &Pod, path: &str, context: &FieldContext<'_>) -> Result<String, FieldRefError> {
    let metadata = &pod.metadata;
    if let Some((map, key)) = path.strip_suffix("']").and_then(|path| path.split_once("['")) {
        let map = match map {
            "metadata.labels" => &metadata.labels,
            "metadata.annotations" => &metadata.annotations,
            _ => return Err(FieldRefError::Field(path.to_owned())),
        };
        return Ok(map
            .iter()
            .flatten()
            .find(|(name, _)| *name == key)
            .map(|(_, v)| v.clone())
            .unwrap_or_default());
    }
    let spec = pod::spec(pod);
    Ok(match path {
        "metadata.name" => pod::name(pod).to_owned(),
        "metadata.namespace" => pod::namespace(pod).to_owned(),
        "metadata.uid" => pod::uid(pod).to_owned(),
        "metadata.labels" => lines(metadata.labels.as_ref()),
        "metadata.annotations" => lines(metadata.annotations.as_ref()),
        "spec.nodeName" => spec.node_name.clone().unwrap_or_default(),
        "spec.serviceAccountName" => spec.service_account_name.clone().unwrap_or_default(),
        "status.hostIP" => context.host_ips.first().cloned().unwrap_or_default(),
        "status.hostIPs" => context.host_ips.join(","),
        "status.podIP" => context.pod_ips.first().cloned().unwrap_or_default(),
        "status.podIPs" => context.pod_ips.join(","),
        _ => return Err(FieldRefError::Field(path.to_owned())),
    })
}

/// The value of a request or limit, in units of the selector's divisor, rounded up.
///
/// # Errors
/// When there is no such container or resource.
pub fn resource_value(
    pod: &Pod,
    own: Option<&Container>,
    selector: &ResourceFieldSelector,
    context: &FieldContext<'_>,
) -> Result<String, FieldRefError> {
    let named = selector.container_name.as_deref().filter(|name| !name.is_empty());
    let found = match named {
        Some(name) => pod::container(pod, name).ok_or_else(|| FieldRefError::Container(name.to_owned()))?,
        None => std::borrow::Cow::Borrowed(own.ok_or_else(|| FieldRefError::Container(String::new()))?),
    };
    let unsupported = || FieldRefError::Resource(selector.resource.clone());
    let (list, resource) = selector.resource.split_once('.').ok_or_else(unsupported)?;
    let known =
        matches!(resource, "cpu" | "memory" | "ephemeral-storage") || resource.starts_with("hugepages-");
    if !known {
        return Err(unsupported());
    }
    let amount = match list {
        // Without a limit the node's allocatable is the limit.
        "limits" => resources::amount(resources::limits(&found), resource)
            .filter(|limit| *limit > 0)
            .or_else(|| context.allocatable.get(resource).copied()),
        "requests" => resources::amount(resources::requests(&found), resource),
        _ => return Err(unsupported()),
    };
    let amount = amount.unwrap_or(0);
    let divisor = selector.divisor.as_ref().filter(|divisor| !divisor.0.is_empty() && divisor.0 != "0");
    // CPU is counted in thousandths on both sides, so that a divisor of 1m works.
    let divisor = match (resource, divisor) {
        ("cpu", Some(divisor)) => resources::milli_value(divisor),
        ("cpu", None) => 1000,
        (_, Some(divisor)) => resources::value(divisor),
        (_, None) => 1,
    };
    let divisor = divisor.max(1);
    Ok((amount / divisor + i64::from(amount % divisor > 0)).to_string())
}

/// A map as the downward API writes it: `key="value"` a line, sorted, quoted as Go quotes.
fn lines(map: Option<&BTreeMap<String, String>>) -> String {
    let lines: Vec<String> =
        map.into_iter().flatten().map(|(key, value)| format!("{key}={}", quote(value))).collect();
    lines.join("\n")
}

fn quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            control if control.is_control() => out.push_str(&format!("\\x{:02x}", u32::from(control))),
            other => out.push(other),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod() -> Pod {
        serde_json::from_value(json!({"metadata": {"name": "p", "labels": {"b": "2\"", "a": "1"}},
            "spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": "250m", "memory": "10Mi"}}}]}}))
        .unwrap()
    }

    #[test]
    fn fields_read_as_the_downward_api_words_them() {
        let context =
            FieldContext { pod_ips: &["10.1.0.2".into(), "fd00::2".into()], ..FieldContext::default() };
        let value = |path: &str| field_value(&pod(), path, &context);
        assert_eq!(value("metadata.labels").unwrap(), "a=\"1\"\nb=\"2\\\"\"");
        assert_eq!(value("metadata.labels['a']").unwrap(), "1");
        assert_eq!(value("status.podIPs").unwrap(), "10.1.0.2,fd00::2");
        assert_eq!(value("spec.foo").unwrap_err(), FieldRefError::Field("spec.foo".into()));
    }

    #[test]
    fn resources_are_divided_and_rounded_up() {
        let context =
            FieldContext { allocatable: BTreeMap::from([("cpu".into(), 2000)]), ..FieldContext::default() };
        let value = |resource: &str, divisor: Option<&str>| {
            let mut selector = json!({"resource": resource, "containerName": "c"});
            if let Some(divisor) = divisor {
                selector["divisor"] = json!(divisor);
            }
            resource_value(&pod(), None, &serde_json::from_value(selector).unwrap(), &context).unwrap()
        };
        assert_eq!(value("requests.cpu", None), "1");
        assert_eq!(value("requests.cpu", Some("1m")), "250");
        assert_eq!(value("requests.memory", Some("1Mi")), "10");
        assert_eq!(value("limits.cpu", None), "2");
    }
}
