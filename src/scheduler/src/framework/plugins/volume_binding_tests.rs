//! Claims that are bound, wait, or are not there.

use super::*;
use crate::cache::Cache;
use crate::schedule_one::tests::Nowhere;
use crate::testing::{node, pod};
use serde_json::{Value, json};

fn wants() -> Pod {
    pod(json!({"containers": [], "volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "c"}}]}))
}

fn check(volumes: &Volumes) -> Result<Choice, Unfit> {
    let mut cache = Cache::default();
    cache.apply_node(Arc::new(node("n", json!({}))));
    let snapshot = Snapshot { cache: &cache, volumes, namespaces: &Nowhere, workloads: &Nowhere };
    VolumeBinding.pre_filter(&wants(), &snapshot)?;
    choose(&wants(), cache.nodes().next().unwrap(), volumes)
}

fn claim(name: &str, annotations: Value, spec: Value) -> PersistentVolumeClaim {
    let mut all = json!({"storageClassName": "s", "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": "1Gi"}}});
    for (key, value) in spec.as_object().unwrap() {
        all[key] = value.clone();
    }
    let metadata = json!({"name": name, "namespace": "default", "uid": name, "annotations": annotations});
    serde_json::from_value(json!({"metadata": metadata, "spec": all})).unwrap()
}

fn volume(name: &str, on: &str) -> PersistentVolume {
    serde_json::from_value(json!({"metadata": {"name": name}, "status": {"phase": "Available"}, "spec": {
        "storageClassName": "s", "accessModes": ["ReadWriteOnce"], "capacity": {"storage": "5Gi"},
        "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [
            {"key": "kubernetes.io/hostname", "operator": "In", "values": [on]}]}]}}}}))
    .unwrap()
}

fn class(provisioner: &str, mode: &str, topologies: Value) -> StorageClass {
    serde_json::from_value(json!({"metadata": {"name": "s"}, "provisioner": provisioner,
        "volumeBindingMode": mode, "allowedTopologies": topologies}))
    .unwrap()
}

fn volumes(
    claim: Option<PersistentVolumeClaim>,
    volume: Option<PersistentVolume>,
    class: StorageClass,
) -> Volumes {
    let mut volumes = Volumes::default();
    claim.into_iter().for_each(|claim| volumes.apply_claim(Arc::new(claim)));
    volume.into_iter().for_each(|volume| volumes.apply_volume(Arc::new(volume)));
    volumes.apply_class(Arc::new(class));
    volumes
}

#[test]
fn bound_claims_have_to_be_reachable() {
    let immediate = || class("example.com/disk", "Immediate", Value::Null);
    let unfit = |why: &str| Err(Unfit::for_good(why));
    assert_eq!(check(&volumes(None, None, immediate())), unfit("persistentvolumeclaim \"c\" not found"));
    let unbound = claim("c", json!({}), json!({}));
    assert_eq!(check(&volumes(Some(unbound), None, immediate())), unfit(UNBOUND));
    let bound = claim("c", json!({volume_binding::BIND_COMPLETED: "yes"}), json!({"volumeName": "pv"}));
    assert_eq!(check(&volumes(Some(bound.clone()), None, immediate())), unfit(GONE));
    let with = |on: &str| check(&volumes(Some(bound.clone()), Some(volume("pv", on)), immediate()));
    assert_eq!(with("other"), unfit(CONFLICT));
    assert_eq!(with("n"), Ok(Choice::default()));
}

#[test]
fn a_claim_that_waits_gets_a_volume_of_the_node_or_has_one_made() {
    let fresh = || claim("c", json!({}), json!({}));
    let by_hand = || class(NO_PROVISIONER, "WaitForFirstConsumer", Value::Null);
    let made = |topologies: Value| class("example.com/disk", "WaitForFirstConsumer", topologies);
    let here = check(&volumes(Some(fresh()), Some(volume("pv", "n")), by_hand())).unwrap();
    assert_eq!(here.bind[0].1.metadata.name.as_deref(), Some("pv"));
    let unfit = Err(Unfit::for_good(NO_VOLUME));
    assert_eq!(check(&volumes(Some(fresh()), Some(volume("pv", "other")), by_hand())), unfit);
    let provisioned = check(&volumes(Some(fresh()), Some(volume("pv", "other")), made(Value::Null))).unwrap();
    assert_eq!(provisioned.provision.len(), 1);
    let zone = json!([{"matchLabelExpressions": [{"key": "zone", "values": ["z"]}]}]);
    assert_eq!(check(&volumes(Some(fresh()), None, made(zone))), unfit);
    let elsewhere = claim("c", json!({SELECTED_NODE: "other"}), json!({}));
    assert_eq!(check(&volumes(Some(elsewhere), None, made(Value::Null))), unfit);
}

#[test]
fn a_volume_that_was_just_given_away_is_not_given_again() {
    let by_hand = class(NO_PROVISIONER, "WaitForFirstConsumer", Value::Null);
    let mut volumes = volumes(Some(claim("c", json!({}), json!({}))), Some(volume("pv", "n")), by_hand);
    let other = Choice {
        bind: vec![(Arc::new(claim("d", json!({}), json!({}))), Arc::new(volume("pv", "n")))],
        provision: Vec::new(),
    };
    volumes.assume(&other);
    assert_eq!(check(&volumes), Err(Unfit::for_good(NO_VOLUME)));
    volumes.forget(&other);
    assert!(check(&volumes).is_ok());
}

#[test]
fn a_driver_that_tells_of_its_storage_has_to_have_enough_where_the_node_is() {
    let delayed = class("example.com/disk", "WaitForFirstConsumer", Value::Null);
    let mut volumes = volumes(Some(claim("c", json!({}), json!({}))), None, delayed);
    let driver = |tells: bool| {
        let driver = json!({"metadata": {"name": "example.com/disk"}, "spec": {"storageCapacity": tells}});
        Arc::new(serde_json::from_value(driver).unwrap())
    };
    let capacity = |class: &str, on: &str, more: Value| {
        let mut capacity = json!({"metadata": {"name": "x", "namespace": "kube-system"}, "storageClassName": class,
            "nodeTopology": {"matchLabels": {"kubernetes.io/hostname": on}}});
        for (key, value) in more.as_object().unwrap() {
            capacity[key] = value.clone();
        }
        Arc::new(serde_json::from_value(capacity).unwrap())
    };
    volumes.apply_driver(driver(false));
    assert_eq!(check(&volumes).unwrap().provision.len(), 1, "it does not tell");
    volumes.apply_driver(driver(true));
    let full = Err(Unfit::for_good(NO_SPACE));
    assert_eq!(check(&volumes), full);
    for (class, on, more, fits) in [
        ("s", "n", json!({"capacity": "1Gi"}), true),
        ("s", "n", json!({"capacity": "1023Mi"}), false),
        ("s", "n", json!({"capacity": "9Gi", "maximumVolumeSize": "1023Mi"}), false),
        ("s", "m", json!({"capacity": "9Gi"}), false),
        ("t", "n", json!({"capacity": "9Gi"}), false),
        ("s", "n", json!({}), false),
    ] {
        volumes.apply_capacity(capacity(class, on, more.clone()));
        assert_eq!(check(&volumes).is_ok(), fits, "{class} {on} {more}");
    }
}
