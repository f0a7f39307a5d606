//! Before a pod is bound: writes which volumes its claims get, and waits until they have them.

use crate::framework::plugins::{Choice, reaches};
use crate::run::{Scheduler, State};
use client::Rest;
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use std::time::Duration;
use tokio::time::timeout;
use volume_binding::{SELECTED_NODE, annotation, bind_volume, is_fully_bound, set_annotation};

/// How long a volume may take to be made (upstream's `bindTimeoutSeconds`).
const TIMEOUT: Duration = Duration::from_secs(600);

/// Carries a choice out.
///
/// # Errors
/// In words, when somebody came between, the volume cannot be had on the node, or it takes too long.
pub(crate) async fn bind(scheduler: &Scheduler, choice: &Choice, node: &str) -> Result<(), String> {
    if choice.is_empty() {
        return Ok(());
    }
    let mut changes = scheduler.volumes_changed.subscribe();
    write(&scheduler.rest, choice, node).await.map_err(|error| format!("binding volumes: {error}"))?;
    let done = async {
        loop {
            if is_done(&scheduler.state.lock(), choice, node)? {
                return Ok(());
            }
            if changes.changed().await.is_err() {
                return Err("the scheduler ends".to_owned());
            }
        }
    };
    match timeout(TIMEOUT, done).await {
        Ok(result) => result,
        Err(_) => Err("binding volumes: timed out waiting for the condition".to_owned()),
    }
}

async fn write(rest: &Rest, choice: &Choice, node: &str) -> Result<(), kube::Error> {
    for (claim, volume) in &choice.bind {
        if let Some(changed) = bind_volume(volume, claim) {
            rest.replace(&changed).await?;
        }
    }
    for claim in &choice.provision {
        if annotation(&claim.metadata, SELECTED_NODE) != Some(node) {
            let mut changed = PersistentVolumeClaim::clone(claim);
            set_annotation(&mut changed.metadata, SELECTED_NODE, node);
            rest.replace(&changed).await?;
        }
    }
    Ok(())
}

/// Whether every claim has its volume.
fn is_done(state: &State, choice: &Choice, node: &str) -> Result<bool, String> {
    let chosen = state.cache.nodes().find(|known| known.name() == node).and_then(|known| known.node.as_ref());
    let claims = choice.bind.iter().map(|(claim, _)| (claim, false));
    for (claim, provisioned) in claims.chain(choice.provision.iter().map(|claim| (claim, true))) {
        let (namespace, name) = key(claim);
        let Some(now) = state.volumes.claim(namespace, name) else {
            return Err(format!("persistentvolumeclaim \"{name}\" not found"));
        };
        if now.metadata.deletion_timestamp.is_some() {
            return Err(format!("persistentvolumeclaim \"{name}\" is being deleted"));
        }
        if !is_fully_bound(now) {
            if provisioned && is_rejected(claim, now, node) {
                return Err(format!("provisioning failed for PVC \"{name}\""));
            }
            return Ok(false);
        }
        let volume_name = now.spec.as_ref().and_then(|spec| spec.volume_name.as_deref()).unwrap_or("");
        let Some(volume) = state.volumes.volume(volume_name) else { return Ok(false) };
        if chosen.is_some_and(|node| !reaches(node, volume)) {
            return Err(format!("pv \"{volume_name}\" node affinity doesn't match node \"{node}\""));
        }
    }
    Ok(true)
}

/// A provisioner that cannot make the volume there takes the node's name away again.
fn is_rejected(before: &PersistentVolumeClaim, now: &PersistentVolumeClaim, node: &str) -> bool {
    let version = |claim: &PersistentVolumeClaim| -> u64 {
        claim.metadata.resource_version.as_deref().and_then(|text| text.parse().ok()).unwrap_or(0)
    };
    version(now) > version(before) && annotation(&now.metadata, SELECTED_NODE) != Some(node)
}

fn key(claim: &PersistentVolumeClaim) -> (&str, &str) {
    let meta = &claim.metadata;
    (meta.namespace.as_deref().unwrap_or(""), meta.name.as_deref().unwrap_or(""))
}
