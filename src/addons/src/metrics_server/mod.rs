//! The server of the `metrics-server` add-on: `metrics.k8s.io/v1beta1`, which `kubectl top` and autoscalers ask.
//!
//! Every 15 seconds each node's kubelet is asked for `/metrics/resource`; the difference of two answers is what was used.
//! Nothing is stored. Only the API server may connect: it shows the front proxy's certificate, and has authenticated and
//! authorized whoever asks.
//!
//! ```text
//!  kubelets ─(token, TLS)─> scrape ─> Known ─> answer ─(front proxy's certificate)─> API server
//! ```
//!
//! Upstream counterpart: `kubernetes-sigs/metrics-server`.

mod answer;
mod kubelets;
mod samples;
mod tls;

use crate::http::{self as web, Body, Handler, Ready};
use ::http::{Method, Request, Response, StatusCode};
use answer::{Asked, Known, Labels, asked, list};
use apimachinery::gvk::GroupResource;
use apimachinery::status::Status;
use async_trait::async_trait;
use client::{Informer, SharedInformers};
use hyper::body::Incoming;
use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use parking_lot::RwLock;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub use kubelets::{KubeletClient, Kubelets};
pub use tls::{FrontProxyTls, TlsError, front_proxy, watch_front_proxy};

/// How often kubelets are asked; upstream's default.
pub const PERIOD: Duration = Duration::from_secs(15);

/// What the server needs.
pub struct Config {
    /// Informers over the cluster.
    pub informers: SharedInformers,
    /// How kubelets are asked.
    pub kubelets: Arc<dyn Kubelets>,
    /// How often.
    pub period: Duration,
    /// Set when the first kubelets have answered twice.
    pub ready: Ready,
}

/// Nodes, pods, and what they use.
pub struct Metrics {
    nodes: Informer<Node>,
    pods: Informer<Pod>,
    known: RwLock<Known>,
    /// Whoever drops these ends the watches.
    _informers: SharedInformers,
}

/// Asks kubelets until `stop`; what they tell is served by what is returned.
pub async fn start(config: Config, stop: CancellationToken) -> Arc<Metrics> {
    let metrics = Arc::new(Metrics {
        nodes: config.informers.get(),
        pods: config.informers.pods(),
        known: RwLock::default(),
        _informers: config.informers,
    });
    metrics.nodes.synced().await;
    metrics.pods.synced().await;
    let asking = metrics.clone();
    tokio::spawn(async move {
        loop {
            asking.scrape(&config.kubelets).await;
            if asking.nodes.list().iter().any(|node| asking.node(node).is_some()) {
                config.ready.set();
            }
            // The first answers are wanted soon.
            let pause = if config.ready.get() { config.period } else { config.period / 15 };
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
            }
        }
    });
    metrics
}

impl Metrics {
    async fn scrape(&self, kubelets: &Arc<dyn Kubelets>) {
        let nodes = self.nodes.list();
        self.known
            .write()
            .retain(|name| nodes.iter().any(|node| node.metadata.name.as_deref() == Some(name)));
        let mut asking = JoinSet::new();
        for node in nodes {
            let kubelets = kubelets.clone();
            asking.spawn(async move {
                let told = kubelets.ask(&node).await;
                (node.metadata.name.clone().unwrap_or_default(), told)
            });
        }
        while let Some(Ok((name, told))) = asking.join_next().await {
            match told {
                Ok(text) => self.known.write().add(&name, samples::Scrape::parse(&text)),
                Err(why) => tracing::warn!("the kubelet of node {name} does not tell what is used: {why}"),
            }
        }
    }

    fn node(&self, node: &Node) -> Option<Value> {
        self.known.read().node(name(&node.metadata), labels(&node.metadata))
    }

    fn pod(&self, pod: &Pod) -> Option<Value> {
        let spec = pod.spec.as_ref()?;
        let sidecars = spec.init_containers.iter().flatten();
        let sidecars = sidecars.filter(|c| c.restart_policy.as_deref() == Some("Always"));
        let containers: Vec<String> =
            spec.containers.iter().chain(sidecars).map(|c| c.name.clone()).collect();
        let meta = &pod.metadata;
        let namespace = meta.namespace.as_deref().unwrap_or_default();
        let node = spec.node_name.as_deref()?;
        self.known.read().pod((namespace, name(meta)), node, &containers, labels(meta))
    }

    /// Answers one path.
    fn answer(&self, path: &str, query: Option<&str>) -> Result<Value, Status> {
        let resource =
            |name: &str| GroupResource { group: "metrics.k8s.io".to_owned(), resource: name.to_owned() };
        match asked(path) {
            Asked::Document(document) => Ok(document),
            Asked::Nothing => Err(Status::not_found(&resource("paths"), path)),
            Asked::Nodes => {
                let selector = answer::selector(query)?;
                let mut nodes = self.nodes.list();
                nodes.retain(|node| selector.matches(labels(&node.metadata)));
                Ok(list("NodeMetricsList", nodes.iter().filter_map(|node| self.node(node)).collect()))
            }
            Asked::Pods(namespace) => {
                let selector = answer::selector(query)?;
                let mut pods = match namespace {
                    Some(namespace) => self.pods.list_namespace(&namespace),
                    None => self.pods.list(),
                };
                pods.retain(|pod| selector.matches(labels(&pod.metadata)));
                Ok(list("PodMetricsList", pods.iter().filter_map(|pod| self.pod(pod)).collect()))
            }
            Asked::Node(name) => {
                let node = self.nodes.find("", &name).and_then(|node| self.node(&node));
                node.ok_or_else(|| Status::not_found(&resource("nodes"), &name))
            }
            Asked::Pod(namespace, name) => {
                let pod = self.pods.find(&namespace, &name).and_then(|pod| self.pod(&pod));
                pod.ok_or_else(|| Status::not_found(&resource("pods"), &format!("{namespace}/{name}")))
            }
        }
    }
}

#[async_trait]
impl Handler for Metrics {
    async fn handle(self: Arc<Self>, request: Request<Incoming>, _client: SocketAddr) -> Response<Body> {
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            return web::text(StatusCode::METHOD_NOT_ALLOWED, "metrics can only be read");
        }
        match self.answer(request.uri().path(), request.uri().query()) {
            Ok(value) => web::json(StatusCode::OK, &value),
            Err(status) => {
                let code = StatusCode::from_u16(status.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
                web::json(code, &json!(status))
            }
        }
    }
}

fn name(meta: &ObjectMeta) -> &str {
    meta.name.as_deref().unwrap_or_default()
}

fn labels(meta: &ObjectMeta) -> &Labels {
    static NONE: Labels = Labels::new();
    meta.labels.as_ref().unwrap_or(&NONE)
}
