//! Volumes that go when their add-on is disabled, with what is in them: `disable hostpath-storage:destroy-storage`.
//!
//! Nothing on a disk is touched here. Claims are deleted, volumes get the policy `Delete`, and the provisioner of each
//! node does the rest as ever; so all of this is before the provisioner itself goes, and needs nodes that are alive. It
//! is refused before anything is changed when somebody uses a volume, and goes on where it ended when repeated.

use super::EngineError;
use client::nodes::is_ready;
use client::rest::{self, DeleteOptions, Patch};
use client::{ObjectKey, Rest};
use k8s_openapi::api::core::v1::{Node, PersistentVolume, PersistentVolumeClaim, Pod};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tokio::time::Instant;
use volume_binding::{PROVISIONED_BY, annotation, pod_claims};

const HOSTNAME: &str = "kubernetes.io/hostname";
/// How often the volumes are looked at: controllers and provisioners take some hundred milliseconds for one.
const PERIOD: Duration = Duration::from_millis(500);

/// Why volumes are still there.
#[derive(Debug, thiserror::Error)]
pub enum VolumesError {
    /// Pods use them.
    #[error("nothing is changed: pods use volumes that would be destroyed: {}; delete them first", .0.join(", "))]
    InUse(Vec<String>),
    /// What is in them is on nodes that do not answer.
    #[error("nothing is changed: volumes are on nodes that are not Ready: {}; start or remove these first", .0.join(", "))]
    NotReady(Vec<String>),
    /// Nobody is there who would delete them.
    #[error(
        "Addon {addon} is disabled, so that nobody deletes its {count} volume(s): `knarr enable {addon}`, then disable \
         it like this again"
    )]
    Disabled {
        /// The add-on.
        addon: String,
        /// How many there are.
        count: usize,
    },
    /// It took too long.
    #[error(
        "volumes are not deleted after {seconds} s: {}; look at `knarr kubectl describe persistentvolumes`, and repeat \
         this", volumes.join(", ")
    )]
    Remaining {
        /// Which.
        volumes: Vec<String>,
        /// How long it was waited for.
        seconds: u64,
    },
}

/// Whose volumes, and whether their provisioner runs.
pub(super) struct Doomed<'a> {
    pub addon: &'a str,
    pub provisioner: &'a str,
    pub enabled: bool,
}

/// What is to be done about a volume now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// Others are at it.
    Wait,
    /// Its claim goes.
    DeleteClaim,
    /// It goes itself.
    Delete,
    /// Its provisioner is gone with its node, and with both what was in it.
    Release,
}

/// Deletes the volumes of a provisioner; ends when none is left.
pub(super) async fn destroy(
    rest: &Rest,
    doomed: &Doomed<'_>,
    patience: Duration,
    tell: &mut (dyn FnMut(String) + Send),
) -> Result<(), EngineError> {
    let volumes = volumes_of(rest, doomed.provisioner).await?;
    if volumes.is_empty() {
        return Ok(());
    }
    let pods = rest.list::<Pod>("", "").await.map_err(failed("list", "pods"))?;
    let nodes = rest.list::<Node>("", "").await.map_err(failed("list", "nodes"))?;
    check(doomed, &volumes, &pods, &nodes)?;
    let there: BTreeSet<&str> = nodes.iter().filter_map(|node| node.metadata.name.as_deref()).collect();
    let begin = Instant::now();
    let mut left = volumes;
    while !left.is_empty() {
        tell(format!("Destroying {} volume(s)", left.len()));
        for volume in &left {
            take(rest, doomed.provisioner, volume, step(volume, &there)).await?;
        }
        if begin.elapsed() > patience {
            let volumes = left.iter().map(|volume| name(volume).to_owned()).collect();
            return Err(VolumesError::Remaining { volumes, seconds: begin.elapsed().as_secs() }.into());
        }
        tokio::time::sleep(PERIOD).await;
        left = volumes_of(rest, doomed.provisioner).await?;
    }
    Ok(())
}

async fn volumes_of(rest: &Rest, provisioner: &str) -> Result<Vec<PersistentVolume>, EngineError> {
    let all = rest.list::<PersistentVolume>("", "").await.map_err(failed("list", "persistentvolumes"))?;
    Ok(all.into_iter().filter(|v| annotation(&v.metadata, PROVISIONED_BY) == Some(provisioner)).collect())
}

/// Whether all can go.
fn check(
    doomed: &Doomed<'_>,
    volumes: &[PersistentVolume],
    pods: &[Pod],
    nodes: &[Node],
) -> Result<(), VolumesError> {
    let claims: BTreeSet<ObjectKey> = volumes.iter().filter_map(claim).map(|(key, _)| key).collect();
    let users: Vec<String> = pods.iter().filter(|pod| uses(pod, &claims)).map(shown).collect();
    if !users.is_empty() {
        return Err(VolumesError::InUse(users));
    }
    let ready: BTreeMap<&str, bool> =
        nodes.iter().filter_map(|node| Some((node.metadata.name.as_deref()?, is_ready(node)))).collect();
    let silent = |node: &&str| ready.get(node) == Some(&false);
    let silent: BTreeSet<&str> = volumes.iter().filter_map(node_of).filter(silent).collect();
    if !silent.is_empty() {
        return Err(VolumesError::NotReady(silent.into_iter().map(str::to_owned).collect()));
    }
    if !doomed.enabled {
        return Err(VolumesError::Disabled { addon: doomed.addon.to_owned(), count: volumes.len() });
    }
    Ok(())
}

fn step(volume: &PersistentVolume, nodes: &BTreeSet<&str>) -> Step {
    let phase = phase(volume);
    let deleted = volume.metadata.deletion_timestamp.is_some();
    let lost = node_of(volume).is_some_and(|node| !nodes.contains(node));
    match phase {
        "Bound" => Step::DeleteClaim,
        _ if lost && deleted => Step::Release,
        _ if lost || phase == "Available" => Step::Delete,
        _ => Step::Wait,
    }
}

async fn take(
    rest: &Rest,
    provisioner: &str,
    volume: &PersistentVolume,
    step: Step,
) -> Result<(), EngineError> {
    let key = ObjectKey::of(volume);
    let what = || format!("PersistentVolume {}", key.name);
    let policy = volume.spec.as_ref().and_then(|spec| spec.persistent_volume_reclaim_policy.as_deref());
    if policy != Some("Delete") {
        let patch = Patch::Merge(json!({"spec": {"persistentVolumeReclaimPolicy": "Delete"}}));
        match rest.patch::<PersistentVolume>(&key, "", &patch).await {
            Err(error) if !rest::is_not_found(&error) => return Err(failed("change", &what())(error)),
            _ => {}
        }
    }
    match step {
        Step::Wait => {}
        Step::DeleteClaim => {
            let Some((claim, uid)) = claim(volume) else { return Ok(()) };
            match rest.delete::<PersistentVolumeClaim>(&claim, &DeleteOptions::uid(uid)).await {
                // Another one of that name by now.
                Err(error) if !rest::is_conflict(&error) => {
                    return Err(failed("delete", &format!("PersistentVolumeClaim {claim}"))(error));
                }
                _ => {}
            }
        }
        Step::Delete => {
            let delete = rest.delete::<PersistentVolume>(&key, &DeleteOptions::default()).await;
            delete.map_err(failed("delete", &what()))?;
        }
        Step::Release => {
            let release = |volume: &mut PersistentVolume| {
                let Some(finalizers) = volume.metadata.finalizers.as_mut() else { return false };
                let before = finalizers.len();
                finalizers.retain(|finalizer| finalizer != provisioner);
                finalizers.len() < before
            };
            rest.update::<PersistentVolume>(&key, "", release).await.map_err(failed("release", &what()))?;
        }
    }
    Ok(())
}

/// The claim that a volume is bound to, with its uid.
fn claim(volume: &PersistentVolume) -> Option<(ObjectKey, String)> {
    let reference = volume.spec.as_ref()?.claim_ref.as_ref().filter(|_| phase(volume) == "Bound")?;
    let key = ObjectKey::new(reference.namespace.as_deref()?, reference.name.as_deref()?);
    Some((key, reference.uid.clone()?))
}

/// Whether a pod that has not ended names one of these claims, by itself or as one of its own (ephemeral volumes).
fn uses(pod: &Pod, claims: &BTreeSet<ObjectKey>) -> bool {
    let ended = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    if matches!(ended, Some("Succeeded" | "Failed")) {
        return false;
    }
    let namespace = text(&pod.metadata.namespace);
    pod_claims(pod).any(|(name, _)| claims.contains(&ObjectKey::new(namespace, &name)))
}

fn node_of(volume: &PersistentVolume) -> Option<&str> {
    let required = volume.spec.as_ref()?.node_affinity.as_ref()?.required.as_ref()?;
    let mut all =
        required.node_selector_terms.iter().flat_map(|term| term.match_expressions.iter().flatten());
    all.find(|one| one.key == HOSTNAME)?.values.as_ref()?.first().map(String::as_str)
}

fn phase(volume: &PersistentVolume) -> &str {
    volume.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or_default()
}

fn name(volume: &PersistentVolume) -> &str {
    text(&volume.metadata.name)
}

fn shown(pod: &Pod) -> String {
    format!("{}/{}", text(&pod.metadata.namespace), text(&pod.metadata.name))
}

fn text(name: &Option<String>) -> &str {
    name.as_deref().unwrap_or_default()
}

fn failed(verb: &'static str, what: &str) -> impl FnOnce(kube::Error) -> EngineError {
    let what = what.to_owned();
    move |source| EngineError::Api { verb, what, source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    const HOSTPATH: Doomed<'static> =
        Doomed { addon: "hostpath-storage", provisioner: "knarr.io/hostpath", enabled: true };

    fn volume(node: &str, phase: &str, claim: &str) -> PersistentVolume {
        let term = json!({"matchExpressions": [{"key": HOSTNAME, "operator": "In", "values": [node]}]});
        serde_json::from_value(json!({"metadata": {"name": "v"}, "status": {"phase": phase},
            "spec": {"claimRef": {"namespace": "n", "name": claim, "uid": "u"},
                     "nodeAffinity": {"required": {"nodeSelectorTerms": [term]}}}}))
        .unwrap()
    }

    fn pod(phase: &str, volume: Value) -> Pod {
        serde_json::from_value(
            json!({"metadata": {"namespace": "n", "name": "p"}, "status": {"phase": phase},
            "spec": {"containers": [], "volumes": [volume]}}),
        )
        .unwrap()
    }

    fn node(name: &str, ready: &str) -> Node {
        serde_json::from_value(json!({"metadata": {"name": name},
            "status": {"conditions": [{"type": "Ready", "status": ready}]}}))
        .unwrap()
    }

    #[test]
    fn what_pods_use_is_not_destroyed() {
        let claimed = |name: &str| json!({"name": "data", "persistentVolumeClaim": {"claimName": name}});
        let with = |volume: PersistentVolume, pod: Pod| {
            check(&HOSTPATH, &[volume], &[pod], &[node("a", "True")]).map_err(|error| error.to_string())
        };
        let refused = with(volume("a", "Bound", "c"), pod("Pending", claimed("c"))).unwrap_err();
        assert!(refused.contains("nothing is changed") && refused.contains("n/p"), "{refused}");
        let own = json!({"name": "data", "ephemeral": {}});
        assert!(with(volume("a", "Bound", "p-data"), pod("Running", own)).is_err());
        assert!(with(volume("a", "Bound", "c"), pod("Succeeded", claimed("c"))).is_ok());
        assert!(with(volume("a", "Bound", "c"), pod("Running", claimed("other"))).is_ok());
        // A new claim of the old one's name has a volume of its own.
        assert!(with(volume("a", "Released", "c"), pod("Running", claimed("c"))).is_ok());
    }

    #[test]
    fn who_would_delete_volumes_has_to_be_there() {
        let volumes = [volume("a", "Bound", "c"), volume("gone", "Released", "d")];
        let with = |nodes: &[Node]| check(&HOSTPATH, &volumes, &[], nodes);
        assert!(with(&[node("a", "True"), node("b", "False")]).is_ok());
        let error = with(&[node("a", "Unknown"), node("b", "True")]).unwrap_err();
        assert!(matches!(&error, VolumesError::NotReady(nodes) if nodes == &["a"]), "{error}");
        let disabled = Doomed { enabled: false, ..HOSTPATH };
        let error = check(&disabled, &volumes, &[], &[node("a", "True")]).unwrap_err().to_string();
        assert!(error.contains("its 2 volume(s): `knarr enable hostpath-storage`"), "{error}");
    }

    #[test]
    fn claims_go_first_and_volumes_of_nodes_that_are_gone_without_anybodys_help() {
        let nodes = BTreeSet::from(["a"]);
        let mut deleted = volume("gone", "Released", "c");
        deleted.metadata.deletion_timestamp = serde_json::from_value(json!("2026-01-01T00:00:00Z")).unwrap();
        for (volume, expected) in [
            (volume("a", "Bound", "c"), Step::DeleteClaim),
            (volume("a", "Released", "c"), Step::Wait),
            (volume("a", "Available", "c"), Step::Delete),
            (volume("a", "", "c"), Step::Wait),
            (volume("gone", "Bound", "c"), Step::DeleteClaim),
            (volume("gone", "Released", "c"), Step::Delete),
            (deleted, Step::Release),
        ] {
            assert_eq!(step(&volume, &nodes), expected, "{volume:?}");
        }
    }
}
