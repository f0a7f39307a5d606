//! Answers of `metrics.k8s.io/v1beta1` out of what is known. Pure.

use super::samples::{ContainerName, Scrape, Use, used};
use apimachinery::labels::Selector;
use apimachinery::status::Status;
use jiff::Timestamp;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, HashMap};

/// Group and version.
pub const GROUP_VERSION: &str = "metrics.k8s.io/v1beta1";

/// Labels by name (of nodes), or by namespace and name (of pods).
pub type Labels = BTreeMap<String, String>;

/// The nodes' last two answers.
#[derive(Debug, Default)]
pub struct Known {
    nodes: HashMap<String, (Option<Scrape>, Scrape)>,
}

impl Known {
    /// A kubelet answered. An answer out of the kubelet's cache, which says nothing new, changes nothing.
    pub fn add(&mut self, node: &str, scrape: Scrape) {
        let newer = |old: &Scrape| scrape.node.cpu.map(|(_, at)| at) > old.node.cpu.map(|(_, at)| at);
        match self.nodes.get_mut(node) {
            Some((_, last)) if !newer(last) => {}
            Some((before, last)) => *before = Some(std::mem::replace(last, scrape)),
            None => drop(self.nodes.insert(node.to_owned(), (None, scrape))),
        }
    }

    /// Forgets nodes that are not there any more.
    pub fn retain(&mut self, is_there: impl Fn(&str) -> bool) {
        self.nodes.retain(|name, _| is_there(name));
    }

    /// `NodeMetrics` of a node; none when it is not known what it uses.
    pub fn node(&self, name: &str, labels: &Labels) -> Option<Value> {
        let (before, now) = self.nodes.get(name)?;
        let used = used(before.as_ref().map(|scrape| &scrape.node), &now.node)?;
        Some(json!({
            "kind": "NodeMetrics",
            "apiVersion": GROUP_VERSION,
            "metadata": metadata("", name, labels, used.at_ms),
            "timestamp": time(used.at_ms),
            "window": duration(used.window_ms),
            "usage": usage(&used),
        }))
    }

    /// `PodMetrics` of a pod on a node, with those of its containers that run; none when one of them is too young to tell.
    pub fn pod(
        &self,
        (namespace, name): (&str, &str),
        node: &str,
        containers: &[String],
        labels: &Labels,
    ) -> Option<Value> {
        let (before, now) = self.nodes.get(node)?;
        let mut all = Vec::new();
        // The pod's time is that of the container that was looked at first.
        let mut first: Option<Use> = None;
        for container in containers {
            let key = ContainerName {
                namespace: namespace.to_owned(),
                pod: name.to_owned(),
                container: container.clone(),
            };
            let Some(now) = now.containers.get(&key) else { continue };
            let used = used(before.as_ref().and_then(|scrape| scrape.containers.get(&key)), now)?;
            if first.is_none_or(|first| used.at_ms < first.at_ms) {
                first = Some(used);
            }
            all.push(json!({"name": container, "usage": usage(&used)}));
        }
        let first = first?;
        Some(json!({
            "kind": "PodMetrics",
            "apiVersion": GROUP_VERSION,
            "metadata": metadata(namespace, name, labels, first.at_ms),
            "timestamp": time(first.at_ms),
            "window": duration(first.window_ms),
            "containers": all,
        }))
    }
}

/// What a path asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    /// A document that is always the same.
    Document(Value),
    /// All nodes.
    Nodes,
    /// One node.
    Node(String),
    /// All pods of a namespace, or of all.
    Pods(Option<String>),
    /// One pod.
    Pod(String, String),
    /// Nothing that there is.
    Nothing,
}

/// Reads a path.
pub fn asked(path: &str) -> Asked {
    let segments: Vec<&str> = path.split('/').filter(|segment| !segment.is_empty()).collect();
    let rest = match segments.as_slice() {
        ["apis"] => {
            return Asked::Document(json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": [group()]}));
        }
        ["apis", "metrics.k8s.io"] => return Asked::Document(group()),
        ["openapi", "v3"] => return Asked::Document(json!({"paths": {}})),
        ["apis", "metrics.k8s.io", "v1beta1", rest @ ..] => rest,
        _ => return Asked::Nothing,
    };
    match rest {
        [] => Asked::Document(resources()),
        ["nodes"] => Asked::Nodes,
        ["nodes", name] => Asked::Node((*name).to_owned()),
        ["pods"] => Asked::Pods(None),
        ["namespaces", namespace, "pods"] => Asked::Pods(Some((*namespace).to_owned())),
        ["namespaces", namespace, "pods", name] => Asked::Pod((*namespace).to_owned(), (*name).to_owned()),
        _ => Asked::Nothing,
    }
}

/// The label selector of a query.
///
/// # Errors
/// When it is none.
pub fn selector(query: Option<&str>) -> Result<Selector, Status> {
    let text = query.unwrap_or("").split('&').find_map(|pair| pair.strip_prefix("labelSelector="));
    // A plus is a blank in a query.
    let text = text.unwrap_or("").replace('+', " ");
    let text = percent_encoding::percent_decode_str(&text).decode_utf8_lossy();
    Selector::parse(&text).map_err(|error| Status::bad_request(error.to_string()))
}

/// A list of `NodeMetrics` or `PodMetrics`.
pub fn list(kind: &str, items: Vec<Value>) -> Value {
    json!({"kind": kind, "apiVersion": GROUP_VERSION, "metadata": {}, "items": items})
}

fn group() -> Value {
    let version = json!({"groupVersion": GROUP_VERSION, "version": "v1beta1"});
    json!({"kind": "APIGroup", "apiVersion": "v1", "name": "metrics.k8s.io", "versions": [version],
        "preferredVersion": version})
}

fn resources() -> Value {
    let resource = |name: &str, kind: &str, namespaced: bool| json!({"name": name, "singularName": "", "namespaced": namespaced, "kind": kind, "verbs": ["get", "list"]});
    json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": GROUP_VERSION, "resources": [
        resource("nodes", "NodeMetrics", false), resource("pods", "PodMetrics", true)]})
}

fn metadata(namespace: &str, name: &str, labels: &Labels, at_ms: i64) -> Value {
    let mut fields = Map::new();
    fields.insert("name".to_owned(), json!(name));
    if !namespace.is_empty() {
        fields.insert("namespace".to_owned(), json!(namespace));
    }
    fields.insert("creationTimestamp".to_owned(), json!(time(at_ms)));
    if !labels.is_empty() {
        fields.insert("labels".to_owned(), json!(labels));
    }
    Value::Object(fields)
}

fn usage(used: &Use) -> Value {
    json!({"cpu": format!("{}n", used.cpu_nano), "memory": format!("{}Ki", used.memory_bytes / 1024)})
}

/// RFC 3339 with seconds.
fn time(at_ms: i64) -> String {
    let time = Timestamp::from_second(at_ms.div_euclid(1000)).unwrap_or(Timestamp::UNIX_EPOCH);
    time.to_string()
}

/// As Go writes a duration.
fn duration(ms: i64) -> String {
    let (minutes, rest) = (ms / 60_000, ms % 60_000);
    let mut seconds = format!("{}.{:03}", rest / 1000, rest % 1000);
    seconds.truncate(seconds.trim_end_matches('0').trim_end_matches('.').len());
    match (minutes / 60, minutes % 60) {
        (0, 0) => format!("{seconds}s"),
        (0, minutes) => format!("{minutes}m{seconds}s"),
        (hours, minutes) => format!("{hours}h{minutes}m{seconds}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scrape(cpu: f64, at: i64) -> Scrape {
        Scrape::parse(&format!(
            "node_cpu_usage_seconds_total {cpu} {at}\nnode_memory_working_set_bytes 2048 {at}\n\
             container_cpu_usage_seconds_total{{container=\"c\",namespace=\"n\",pod=\"p\"}} {cpu} {at}\n\
             container_memory_working_set_bytes{{container=\"c\",namespace=\"n\",pod=\"p\"}} 4096 {at}\n"
        ))
    }

    #[test]
    fn two_answers_make_metrics() {
        let mut known = Known::default();
        known.add("m", scrape(10.0, 1_700_000_000_000));
        assert_eq!(known.node("m", &Labels::new()), None);
        // The same again says nothing.
        known.add("m", scrape(10.0, 1_700_000_000_000));
        known.add("m", scrape(11.5, 1_700_000_015_250));
        let labels = Labels::from([("a".to_owned(), "b".to_owned())]);
        let node = known.node("m", &labels).unwrap();
        assert_eq!(node["usage"], json!({"cpu": "98360656n", "memory": "2Ki"}));
        assert_eq!(node["window"], "15.25s");
        assert_eq!(node["timestamp"], "2023-11-14T22:13:35Z");
        assert_eq!(node["metadata"]["labels"]["a"], "b");
        let pod = known.pod(("n", "p"), "m", &["c".to_owned()], &labels).unwrap();
        assert_eq!(pod["containers"][0]["usage"]["memory"], "4Ki");
        assert_eq!(pod["metadata"]["namespace"], "n");
        assert_eq!(known.pod(("n", "p"), "m", &["c".to_owned(), "ended".to_owned()], &labels), Some(pod));
        assert_eq!(known.pod(("n", "p"), "m", &["ended".to_owned()], &labels), None);
        known.retain(|_| false);
        assert_eq!(known.node("m", &labels), None);
    }

    #[test]
    fn paths_are_what_kubernetes_asks_for() {
        let path = |rest: &str| asked(&format!("/apis/metrics.k8s.io/v1beta1{rest}"));
        assert!(matches!(path(""), Asked::Document(document) if document["kind"] == "APIResourceList"));
        assert_eq!(path("/nodes"), Asked::Nodes);
        assert_eq!(path("/pods"), Asked::Pods(None));
        assert_eq!(path("/namespaces/n/pods/p"), Asked::Pod("n".to_owned(), "p".to_owned()));
        assert_eq!(path("/namespaces/n"), Asked::Nothing);
        assert_eq!(asked("/api/v1/nodes"), Asked::Nothing);
    }

    #[test]
    fn selectors_come_encoded() {
        let labels = Labels::from([("app".to_owned(), "x".to_owned())]);
        assert!(selector(Some("limit=5&labelSelector=app+in+%28x%2Cy%29")).unwrap().matches(&labels));
        assert!(!selector(Some("labelSelector=app%3Dz")).unwrap().matches(&labels));
        assert!(selector(None).unwrap().matches(&labels));
        assert_eq!(selector(Some("labelSelector=%21%21")).unwrap_err().code, 400);
    }

    #[test]
    fn durations_are_gos() {
        for (ms, text) in [(15_000, "15s"), (60_500, "1m0.5s"), (3_600_001, "1h0m0.001s"), (10, "0.01s")] {
            assert_eq!(duration(ms), text);
        }
    }
}
