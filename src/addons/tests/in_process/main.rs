//! Add-ons against an API server in this process.

#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used, reason = "tests")]

mod engine;
mod helm;
mod hostpath;
mod ingress;
mod loadbalancer;
mod manifests;
mod metrics_server;
mod registry;
mod registry_cache;
mod wire;

use serde_json::Value;
use testkit::{TestServer, eventually};

/// An object once it is as a test wants it.
async fn object(server: &TestServer, path: &str, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
    eventually(&format!("{path}: {what}"), || async {
        let answer = server.get(path).await;
        let object = (answer.code == 200).then(|| answer.json())?;
        holds(&object).then_some(object)
    })
    .await
}

/// Until there is no such object.
async fn gone(server: &TestServer, path: &str) {
    eventually(&format!("{path} is gone"), || async { (server.get(path).await.code == 404).then_some(()) })
        .await;
}
