//! What `metrics.k8s.io` tells of the pods of a namespace.

use apimachinery::quantity::Quantity;
use client::Rest;
use jiff::{SignedDuration, Timestamp};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use std::collections::BTreeMap;

/// Of when a pod's use is when the answer does not say over what time it was measured; upstream's resolution.
const WINDOW: SignedDuration = SignedDuration::from_secs(60);

/// The use of one resource by one pod.
#[derive(Clone, Debug, PartialEq)]
pub struct PodMetric {
    /// End of the time that it was measured over.
    pub timestamp: Timestamp,
    /// How long it was measured.
    pub window: SignedDuration,
    /// In thousandths: of cores, or of bytes.
    pub milli: i64,
}

/// By pod.
pub type PodMetrics = BTreeMap<String, PodMetric>;

/// One answer.
#[derive(Debug, Deserialize)]
pub struct PodMetricsList {
    #[serde(default)]
    items: Vec<Item>,
}

#[derive(Debug, Deserialize)]
struct Item {
    metadata: Metadata,
    timestamp: Timestamp,
    #[serde(default)]
    window: String,
    #[serde(default)]
    containers: Vec<Container>,
}

#[derive(Debug, Deserialize)]
struct Metadata {
    name: String,
}

#[derive(Debug, Deserialize)]
struct Container {
    name: String,
    #[serde(default)]
    usage: BTreeMap<String, String>,
}

impl PodMetricsList {
    /// Asks for the pods that a selector names.
    ///
    /// # Errors
    /// When nobody serves metrics, or the answer is none.
    pub async fn fetch(rest: &Rest, namespace: &str, selector: &str) -> Result<Self, kube::Error> {
        let selector = utf8_percent_encode(selector, NON_ALPHANUMERIC);
        let path =
            format!("/apis/metrics.k8s.io/v1beta1/namespaces/{namespace}/pods?labelSelector={selector}");
        let text = rest.raw(http::Method::GET, &path, None).await?;
        serde_json::from_str(&text).map_err(kube::Error::SerdeError)
    }

    /// The use of a resource: by whole pods, or by one container of each.
    ///
    /// # Errors
    /// Tells when no pod's is known.
    pub fn of(&self, resource: &str, container: Option<&str>) -> Result<PodMetrics, String> {
        if self.items.is_empty() {
            return Err(format!(
                "unable to get metrics for resource {resource}: no metrics returned from resource metrics API"
            ));
        }
        let used = |c: &Container| Some(c.usage.get(resource)?.parse::<Quantity>().ok()?.milli_value());
        let metric = |item: &Item| {
            let milli = match container {
                Some(name) => used(item.containers.iter().find(|c| c.name == name)?)?,
                None => item.containers.iter().map(used).sum::<Option<i64>>()?,
            };
            let window = item.window.parse().unwrap_or(WINDOW);
            Some((item.metadata.name.clone(), PodMetric { timestamp: item.timestamp, window, milli }))
        };
        Ok(self.items.iter().filter_map(metric).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_pods_use_is_that_of_its_containers_or_of_one() {
        let list: PodMetricsList = serde_json::from_value(json!({"items": [
            {"metadata": {"name": "a"}, "timestamp": "2026-01-01T00:00:00Z", "window": "1m0.5s", "containers": [
                {"name": "x", "usage": {"cpu": "100m", "memory": "1Ki"}},
                {"name": "y", "usage": {"cpu": "50000000n"}}]},
            {"metadata": {"name": "b"}, "timestamp": "2026-01-01T00:00:00Z", "containers": []}]}))
        .unwrap();
        let cpu = list.of("cpu", None).unwrap();
        assert_eq!(cpu["a"].milli, 150);
        assert_eq!(cpu["a"].window, SignedDuration::from_millis(60_500));
        assert_eq!(cpu["b"].milli, 0);
        assert_eq!(list.of("cpu", Some("y")).unwrap()["a"].milli, 50);
        // Half of a pod is not its use.
        assert!(!list.of("memory", None).unwrap().contains_key("a"));
        assert_eq!(list.of("memory", Some("x")).unwrap()["a"].milli, 1_024_000);
        assert!(
            PodMetricsList { items: Vec::new() }.of("cpu", None).unwrap_err().contains("no metrics returned")
        );
    }
}
