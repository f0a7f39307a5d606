//! The cluster's side of joining; what is said is in [`crate::cluster::protocol`].

use super::nodes::Nodes;
use crate::cluster::protocol::{
    ControlPlane, FINISH, Finish, HELLO, Hello, JOIN, JoinAnswer, JoinRequest, NodeCertificates, NodeRole,
    PENDING_SECONDS, VERSION, unfit,
};
use crate::cluster::token::{NAMESPACE, Token, TokenError};
use anyhow::Context as _;
use apimachinery::status::{Reason, Result, Status};
use apimachinery::validation;
use apiserver::endpoints::{OpenPaths, OpenRequest};
use async_trait::async_trait;
use client::rest::{DeleteOptions, is_already_exists};
use client::{ObjectKey, Rest};
use datastore::raft::{Change, ChangeError, Member};
use http::Method;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::api::core::v1::{Endpoints, Node};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::ObjectMeta;
use pki::{Component, Pki};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

/// Leases that stand for nodes that have not finished joining.
const PENDING: &str = "knarr-joining-";
const LABEL: &str = "knarr.io/joining";
/// The files in `pki/` that make a node one of the control plane, and those that not every cluster has.
const FILES: [&str; 8] = [
    "ca.crt",
    "ca.key",
    "front-proxy-ca.crt",
    "front-proxy-ca.key",
    "datastore-ca.crt",
    "datastore-ca.key",
    "service-account.key",
    "service-account.pub",
];
const OPTIONAL_FILES: [&str; 1] = ["encryption-config.yaml"];

/// Answers nodes that want to join.
pub struct Joining(pub Arc<Nodes>);

#[async_trait]
impl OpenPaths for Joining {
    fn covers(&self, path: &str) -> bool {
        matches!(path, HELLO | JOIN | FINISH)
    }

    async fn answer(&self, request: OpenRequest) -> Result<Value> {
        match (request.method, request.path.as_str()) {
            (Method::GET, HELLO) => told(&Hello {
                version: VERSION.to_owned(),
                time: Timestamp::now(),
                ca: self.pki()?.cluster_ca().pem().to_owned(),
            }),
            (Method::POST, JOIN) => {
                let request: JoinRequest = read(&request.body)?;
                let (name, role) = (request.name.clone(), request.role);
                let answered = self.join(request).await;
                match &answered {
                    Ok(_) => tracing::info!(node = name, ?role, "a node joins"),
                    Err(status) => {
                        tracing::warn!(node = name, ?role, "a node was refused: {}", status.message)
                    }
                }
                told(&answered?)
            }
            (Method::POST, FINISH) => {
                let finish: Finish = read(&request.body)?;
                self.finish(&finish).await?;
                tracing::info!(node = finish.name, joined = finish.joined, "a node has finished joining");
                Ok(json!({}))
            }
            _ => Err(Status::method_not_allowed_path()),
        }
    }
}

fn told(value: &impl Serialize) -> Result<Value> {
    serde_json::to_value(value).map_err(Status::internal)
}

fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T> {
    serde_json::from_slice(body).map_err(|error| {
        Status::bad_request(format!(
            "the request is not understood: {error}; install the cluster's version of knarr"
        ))
    })
}

fn failed(error: impl std::fmt::Display) -> Status {
    Status::service_unavailable(format!("{error}; nothing was changed, try again"))
}

fn refused(error: TokenError) -> Status {
    match error {
        TokenError::Refused(_) => Status::failure(403, Reason::Forbidden, error.to_string()),
        TokenError::Failed(why) => failed(why),
    }
}

fn pending_key(name: &str) -> ObjectKey {
    ObjectKey::new(NAMESPACE, format!("{PENDING}{name}"))
}

impl Joining {
    fn pki(&self) -> Result<&Arc<Pki>> {
        self.0.pki().ok_or_else(|| failed("the server is starting"))
    }

    fn rest(&self) -> Result<&Rest> {
        self.0.rest().ok_or_else(|| failed("the server is starting"))
    }

    async fn join(&self, request: JoinRequest) -> Result<JoinAnswer> {
        let now = Timestamp::now();
        if let Some(why) = unfit(&request.version, request.time, VERSION, now) {
            return Err(Status::bad_request(why));
        }
        let name = &request.name;
        if let Some(why) = validation::dns1123_subdomain(name).first() {
            return Err(Status::bad_request(format!("the node's name {name:?}: {why}; give it --node-name")));
        }
        let rest = self.rest()?;
        let token = Token::find(rest, &request.token, now).await.map_err(refused)?;
        let pending = rest.get::<Lease>(&pending_key(name)).await.map_err(failed)?;
        let settings = self.0.settings();
        let taken = settings.node_name == *name
            || pending.is_none()
                && (self.0.member(name).is_some()
                    || rest.get::<Node>(&ObjectKey::cluster(name)).await.map_err(failed)?.is_some());
        if taken {
            return Err(Status::failure(
                409,
                Reason::AlreadyExists,
                format!(
                    "the cluster has a node named {name} already: give this one another --node-name, or first run \
                     `knarr remove-node {name}` on a node of the cluster"
                ),
            ));
        }
        // What is asked for is looked at before anything changes.
        let (datastore, certificates) = match request.role {
            NodeRole::ControlPlane => (Some(self.datastore_address(&request)?), None),
            NodeRole::Worker => (None, Some(self.sign(&request, now)?)),
        };
        token.claim(rest, name).await.map_err(refused)?;
        let control_plane = match datastore {
            Some(address) => Some(self.add_member(rest, &request, address, pending, now).await?),
            None => {
                note_pending(rest, name, pending, now).await?;
                None
            }
        };
        Ok(JoinAnswer {
            ca: self.pki()?.cluster_ca().pem().to_owned(),
            api_servers: self.api_servers(rest).await,
            common: settings.common(),
            control_plane,
            certificates,
        })
    }

    fn datastore_address(&self, request: &JoinRequest) -> Result<SocketAddr> {
        let given = request.datastore.as_deref().unwrap_or_default();
        let address = given.parse::<SocketAddr>().ok().filter(|address| !address.ip().is_unspecified());
        let address = address.ok_or_else(|| {
            Status::bad_request(format!("{given:?} is no address of a datastore; give the node a --node-ip"))
        })?;
        if address.ip().is_loopback() && !self.0.settings().address.is_loopback() {
            return Err(Status::bad_request(format!(
                "other nodes cannot reach {address}; give the node that joins a --node-ip of the network"
            )));
        }
        Ok(address)
    }

    fn sign(&self, request: &JoinRequest, now: Timestamp) -> Result<NodeCertificates> {
        let Some(requests) = &request.requests else {
            return Err(Status::bad_request("a worker has to send requests for its certificates"));
        };
        let authority = self.pki()?.cluster_ca();
        let sign = |component, text: &str| {
            let signed = authority.sign_for(component, &request.name, &request.addresses, text, now);
            signed.map_err(|error| Status::bad_request(error.to_string()))
        };
        let optional = |component, text: Option<&str>| text.map(|text| sign(component, text)).transpose();
        Ok(NodeCertificates {
            kubelet: sign(Component::KubeletClient, &requests.kubelet)?,
            kubelet_serving: optional(Component::KubeletServing, requests.kubelet_serving.as_deref())?,
            proxy: optional(Component::Proxy, requests.proxy.as_deref())?,
        })
    }

    async fn add_member(
        &self,
        rest: &Rest,
        request: &JoinRequest,
        address: SocketAddr,
        pending: Option<Lease>,
        now: Timestamp,
    ) -> Result<ControlPlane> {
        let cluster = self.0.found().await.map_err(|error| failed(format!("{error:#}")))?;
        let files = self.files()?;
        let again = pending.is_some();
        note_pending(rest, &request.name, pending, now).await?;
        if again && let Some(before) = self.0.member(&request.name) {
            // It was cut short the last time, and has nothing of it left.
            cluster.change(Change::Remove(before)).await.map_err(|error| failed(&error))?;
        }
        let member = Member {
            name: request.name.clone(),
            address: address.to_string(),
            failure_domain: request.failure_domain.clone(),
        };
        match cluster.change(Change::Add(member)).await {
            Ok(node) => {
                self.0.grown();
                Ok(ControlPlane { ticket: cluster.ticket(node), files })
            }
            Err(error) => {
                forget_pending(rest, &request.name).await;
                Err(match error {
                    ChangeError::Refused(why) => Status::failure(409, Reason::Conflict, why),
                    ChangeError::Unfinished(why) => failed(why),
                })
            }
        }
    }

    fn files(&self) -> Result<BTreeMap<String, String>> {
        let mut files = BTreeMap::new();
        let directory = self.0.paths().pki();
        for (name, optional) in
            FILES.iter().map(|name| (name, false)).chain(OPTIONAL_FILES.iter().map(|name| (name, true)))
        {
            match std::fs::read_to_string(directory.join(name)) {
                Ok(text) => _ = files.insert((*name).to_owned(), text),
                Err(error) if optional && error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => return Err(failed(format!("cannot read {name}: {error}"))),
            }
        }
        Ok(files)
    }

    /// Every API server that the cluster knows, this one at least.
    async fn api_servers(&self, rest: &Rest) -> Vec<String> {
        let settings = self.0.settings();
        let own = SocketAddr::new(settings.advertise, settings.port).to_string();
        let endpoints = rest.get::<Endpoints>(&ObjectKey::new("default", "kubernetes")).await;
        let mut servers = endpoints.ok().flatten().map(|endpoints| addresses(&endpoints)).unwrap_or_default();
        if !servers.contains(&own) {
            servers.insert(0, own);
        }
        servers
    }

    async fn finish(&self, finish: &Finish) -> Result<()> {
        let rest = self.rest()?;
        let token = Token::find(rest, &finish.token, Timestamp::now()).await.map_err(refused)?;
        let claimed = !token.once || token.claimed.as_deref() == Some(finish.name.as_str());
        let pending = rest.get::<Lease>(&pending_key(&finish.name)).await.map_err(failed)?;
        if !claimed || pending.is_none() {
            return Err(Status::failure(
                409,
                Reason::Conflict,
                format!("node {} is not joining, or was given up", finish.name),
            ));
        }
        if finish.joined {
            forget_pending(rest, &finish.name).await;
            // It expires by itself otherwise.
            let _ = token.used(rest).await;
            return Ok(());
        }
        forget(&self.0, rest, &finish.name).await.map_err(|error| failed(format!("{error:#}")))
    }
}

/// `ADDRESS:PORT` of all that Endpoints list.
pub fn addresses(endpoints: &Endpoints) -> Vec<String> {
    let mut all = Vec::new();
    for subset in endpoints.subsets.iter().flatten() {
        let port = subset.ports.iter().flatten().next().and_then(|port| u16::try_from(port.port).ok());
        let ips = subset.addresses.iter().flatten().filter_map(|address| address.ip.parse().ok());
        all.extend(ips.filter_map(|ip| Some(SocketAddr::new(ip, port?).to_string())));
    }
    all
}

async fn note_pending(rest: &Rest, name: &str, before: Option<Lease>, now: Timestamp) -> Result<()> {
    let key = pending_key(name);
    let mut metadata = before.map(|lease| lease.metadata).unwrap_or_else(|| ObjectMeta {
        name: Some(key.name.clone()),
        namespace: Some(key.namespace.clone()),
        labels: Some(BTreeMap::from([(LABEL.to_owned(), String::new())])),
        ..ObjectMeta::default()
    });
    metadata.managed_fields = None;
    let again = metadata.uid.is_some();
    let spec = LeaseSpec {
        holder_identity: Some(name.to_owned()),
        lease_duration_seconds: Some(PENDING_SECONDS),
        renew_time: Some(MicroTime(now)),
        ..LeaseSpec::default()
    };
    let lease = Lease { metadata, spec: Some(spec) };
    let written = if again { rest.replace(&lease).await } else { rest.create(&lease).await };
    match written {
        Ok(_) => Ok(()),
        Err(error) if is_already_exists(&error) => {
            Err(failed(format!("node {name} is joining already, by another request")))
        }
        Err(error) => Err(failed(error)),
    }
}

async fn forget_pending(rest: &Rest, name: &str) {
    if let Err(error) = rest.delete::<Lease>(&pending_key(name), &DeleteOptions::default()).await {
        tracing::warn!(node = name, "what says that it joins is left, and goes by itself: {error}");
    }
}

/// Makes the cluster forget a node that did not join.
async fn forget(nodes: &Arc<Nodes>, rest: &Rest, name: &str) -> anyhow::Result<()> {
    nodes.remove(name, true).await?;
    rest.delete::<Node>(&ObjectKey::cluster(name), &DeleteOptions::default()).await?;
    forget_pending(rest, name).await;
    Ok(())
}

/// Makes the cluster forget nodes that never said that they had joined, and tokens whose time is over.
///
/// # Errors
/// When the API or the datastore refuses; it is tried again.
pub async fn sweep(nodes: &Arc<Nodes>) -> anyhow::Result<()> {
    let Some(rest) = nodes.rest() else { return Ok(()) };
    let now = Timestamp::now();
    for lease in rest.list::<Lease>(NAMESPACE, LABEL).await.context("cannot list leases")? {
        let Some(spec) = lease.spec else { continue };
        let renewed = spec.renew_time.map_or(now, |time| time.0);
        let (Some(name), true) = (
            spec.holder_identity,
            renewed.checked_add(SignedDuration::from_secs(PENDING_SECONDS.into())).is_ok_and(|end| end < now),
        ) else {
            continue;
        };
        tracing::warn!(node = name, "a node did not finish joining; it is forgotten");
        forget(nodes, rest, &name).await?;
    }
    Token::sweep(rest, now).await
}
