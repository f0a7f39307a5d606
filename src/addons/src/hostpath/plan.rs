//! What is to be done about a claim or a volume on one node: pure.

use apimachinery::quantity::Quantity;
use k8s_openapi::api::core::v1::{
    HostPathVolumeSource, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, PersistentVolume,
    PersistentVolumeClaim, PersistentVolumeSpec, VolumeNodeAffinity,
};
use k8s_openapi::api::storage::v1::StorageClass;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as QuantityText;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::{Component, Path, PathBuf};
use volume_binding::{
    PROVISIONED_BY, PROVISIONER, SELECTED_NODE, annotation, claim_class, is_delayed, set_annotation,
};

/// The provisioner's name, as StorageClasses say it.
pub const NAME: &str = "knarr.io/hostpath";
/// Keeps a volume until its directory is gone, also when somebody deletes the volume first.
pub const FINALIZER: &str = "knarr.io/hostpath";
/// Annotation of a volume whose size is enforced: the project that its directory belongs to.
pub const PROJECT: &str = "knarr.io/project-id";
/// The projects of volumes: far above those that people choose for themselves, and those that container engines and
/// kubelets count up from 1 or from 1048577.
pub const PROJECTS: Range<u32> = 1_800_000_000..1_900_000_000;
const HOSTNAME: &str = "kubernetes.io/hostname";

/// What is to be done about a claim.
#[derive(Clone, Debug, PartialEq)]
pub enum ClaimPlan {
    /// Nothing, here.
    Leave,
    /// It asks for what there is not; told as an event.
    Refuse(String),
    /// Make this volume.
    Provision(Box<PersistentVolume>),
    /// Its volume is to say this size, and then the claim.
    Expand(String),
}

/// What becomes of a volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VolumePlan {
    /// Nothing, here.
    Leave,
    /// Its directory goes, then the volume.
    Delete,
    /// Its directory goes if it is to be deleted, and then nothing holds the volume any more.
    LetGo {
        /// Whether the directory goes.
        data: bool,
    },
}

/// Decides about a claim. `volume` is the one that it names, if that is there.
pub fn claim(
    claim: &PersistentVolumeClaim,
    class: Option<&StorageClass>,
    volume: Option<&PersistentVolume>,
    node: &str,
    root: &Path,
) -> ClaimPlan {
    let Some(spec) = &claim.spec else { return ClaimPlan::Leave };
    if claim.metadata.deletion_timestamp.is_some() {
        return ClaimPlan::Leave;
    }
    if spec.volume_name.as_deref().is_some_and(|name| !name.is_empty()) {
        return volume
            .filter(|v| is_ours(v, node))
            .and_then(|v| expand(claim, v))
            .unwrap_or(ClaimPlan::Leave);
    }
    let Some(class) = class.filter(|class| class.provisioner == NAME) else { return ClaimPlan::Leave };
    let asked = annotation(&claim.metadata, PROVISIONER) == Some(NAME);
    let here = annotation(&claim.metadata, SELECTED_NODE).map_or(!is_delayed(Some(class)), |n| n == node);
    if !asked || !here {
        return ClaimPlan::Leave;
    }
    let refuse = |why: &str| ClaimPlan::Refuse(why.to_owned());
    if spec.volume_mode.as_deref() == Some("Block") {
        return refuse("host directories are no block devices; use volumeMode Filesystem");
    }
    if spec.selector.is_some() {
        return refuse("a claim with a selector is never provisioned for");
    }
    if spec.data_source.is_some() || spec.data_source_ref.is_some() {
        return refuse("host directories cannot be made out of snapshots or other claims");
    }
    match make(claim, class, node, root) {
        Some(volume) => ClaimPlan::Provision(Box::new(volume)),
        None => refuse("the claim has no name, uid or size"),
    }
}

/// Decides about a volume.
pub fn volume(volume: &PersistentVolume, node: &str) -> VolumePlan {
    if !is_ours(volume, node) {
        return VolumePlan::Leave;
    }
    let phase = volume.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or("");
    let policy = volume.spec.as_ref().and_then(|s| s.persistent_volume_reclaim_policy.as_deref());
    let delete = policy == Some("Delete");
    let held = volume.metadata.finalizers.iter().flatten().any(|finalizer| finalizer == FINALIZER);
    if volume.metadata.deletion_timestamp.is_some() {
        // While a claim is bound to it, the claim's pods use it.
        return if held && phase != "Bound" { VolumePlan::LetGo { data: delete } } else { VolumePlan::Leave };
    }
    if delete && matches!(phase, "Released" | "Failed") { VolumePlan::Delete } else { VolumePlan::Leave }
}

/// The directory of a volume; none when it is not one directly in `root`: nothing else is ever deleted.
pub fn directory(volume: &PersistentVolume, root: &Path) -> Option<PathBuf> {
    let path = Path::new(&volume.spec.as_ref()?.host_path.as_ref()?.path);
    let name = path.strip_prefix(root).ok()?;
    let mut components = name.components();
    match (components.next(), components.next()) {
        (Some(Component::Normal(name)), None) => Some(root.join(name)),
        _ => None,
    }
}

/// The project of the directory of a volume of this node, if it was given one. Never one of somebody else's.
pub fn project(volume: &PersistentVolume, node: &str) -> Option<u32> {
    let written = annotation(&volume.metadata, PROJECT).filter(|_| is_ours(volume, node))?;
    written.parse().ok().filter(|project| PROJECTS.contains(project))
}

/// Writes down the project of a volume's directory.
pub fn set_project(volume: &mut PersistentVolume, project: u32) {
    set_annotation(&mut volume.metadata, PROJECT, &project.to_string());
}

/// The projects for a volume of this name, the preferred one first (by FNV-1a, so that one volume has one preference).
pub fn projects(name: &str) -> impl Iterator<Item = u32> + use<> {
    let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let count = PROJECTS.end - PROJECTS.start;
    let first = u32::try_from(hash % u64::from(count)).unwrap_or(0);
    (0..count).map(move |step| PROJECTS.start + (first + step) % count)
}

/// The projects that volumes of this node have.
pub fn taken<'a>(volumes: impl IntoIterator<Item = &'a PersistentVolume>, node: &str) -> BTreeSet<u32> {
    volumes.into_iter().filter_map(|volume| project(volume, node)).collect()
}

/// What a volume is said to hold.
pub fn size_bytes(volume: &PersistentVolume) -> Option<u64> {
    bytes(&volume.spec.as_ref()?.capacity.as_ref()?.get("storage")?.0)
}

/// A size as a number; none when it is not one.
pub fn bytes(size: &str) -> Option<u64> {
    u64::try_from(size.parse::<Quantity>().ok()?.value()).ok()
}

fn make(
    claim: &PersistentVolumeClaim,
    class: &StorageClass,
    node: &str,
    root: &Path,
) -> Option<PersistentVolume> {
    let meta = &claim.metadata;
    let (namespace, name, uid) = (meta.namespace.as_ref()?, meta.name.as_ref()?, meta.uid.as_ref()?);
    let spec = claim.spec.as_ref()?;
    let size = requested(claim)?;
    let volume = format!("pvc-{uid}");
    let path = root.join(format!("{namespace}-{name}-{volume}"));
    let on_node = NodeSelectorRequirement {
        key: HOSTNAME.to_owned(),
        operator: "In".to_owned(),
        values: Some(vec![node.to_owned()]),
    };
    let term = NodeSelectorTerm { match_expressions: Some(vec![on_node]), ..Default::default() };
    Some(PersistentVolume {
        metadata: ObjectMeta {
            name: Some(volume),
            annotations: Some(BTreeMap::from([(PROVISIONED_BY.to_owned(), NAME.to_owned())])),
            finalizers: Some(vec![FINALIZER.to_owned()]),
            ..Default::default()
        },
        spec: Some(PersistentVolumeSpec {
            access_modes: spec.access_modes.clone(),
            capacity: Some(BTreeMap::from([("storage".to_owned(), QuantityText(size.to_owned()))])),
            claim_ref: Some(client::object_reference(claim)),
            host_path: Some(HostPathVolumeSource {
                path: path.to_str()?.to_owned(),
                // A pod that finds no directory must not begin with an empty one.
                type_: Some("Directory".to_owned()),
            }),
            mount_options: class.mount_options.clone(),
            node_affinity: Some(VolumeNodeAffinity {
                required: Some(NodeSelector { node_selector_terms: vec![term] }),
            }),
            persistent_volume_reclaim_policy: Some(
                class.reclaim_policy.clone().unwrap_or_else(|| "Delete".to_owned()),
            ),
            storage_class_name: Some(claim_class(claim).to_owned()),
            volume_mode: Some("Filesystem".to_owned()),
            ..Default::default()
        }),
        status: None,
    })
}

/// Made by this provisioner, on this node.
fn is_ours(volume: &PersistentVolume, node: &str) -> bool {
    let affinity = volume.spec.as_ref().and_then(|spec| spec.node_affinity.as_ref());
    let terms = affinity.and_then(|a| a.required.as_ref()).map(|r| r.node_selector_terms.as_slice());
    let mut requirements =
        terms.unwrap_or_default().iter().flat_map(|t| t.match_expressions.iter().flatten());
    let here = requirements.any(|r| r.key == HOSTNAME && r.values.iter().flatten().any(|v| v == node));
    here && annotation(&volume.metadata, PROVISIONED_BY) == Some(NAME)
}

/// A directory grows by itself: what is said of it changes, and what it is held to.
fn expand(claim: &PersistentVolumeClaim, volume: &PersistentVolume) -> Option<ClaimPlan> {
    let wanted = requested(claim)?;
    let status = claim.status.as_ref().filter(|status| status.phase.as_deref() == Some("Bound"))?;
    let said = |capacity: Option<&BTreeMap<String, QuantityText>>| bytes(&capacity?.get("storage")?.0);
    let less = |capacity| said(capacity).is_some_and(|said| bytes(wanted).is_some_and(|w| said < w));
    let volume = volume.spec.as_ref().and_then(|spec| spec.capacity.as_ref());
    (less(volume) || less(status.capacity.as_ref())).then(|| ClaimPlan::Expand(wanted.to_owned()))
}

fn requested(claim: &PersistentVolumeClaim) -> Option<&str> {
    let requests = claim.spec.as_ref()?.resources.as_ref()?.requests.as_ref()?;
    Some(requests.get("storage")?.0.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    const ROOT: &str = "/data/storage";

    fn claim_of(annotations: Value, spec: Value) -> PersistentVolumeClaim {
        let mut whole = json!({"resources": {"requests": {"storage": "1Gi"}}, "storageClassName": "c"});
        whole.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
        let metadata = json!({"name": "data-0", "namespace": "n", "uid": "u", "annotations": annotations});
        serde_json::from_value(json!({"metadata": metadata, "spec": whole})).unwrap()
    }

    fn class_of(provisioner: &str, mode: &str) -> StorageClass {
        serde_json::from_value(json!({"metadata": {"name": "c"}, "provisioner": provisioner,
            "volumeBindingMode": mode, "reclaimPolicy": "Retain"}))
        .unwrap()
    }

    fn decide(claim: &PersistentVolumeClaim, class: &StorageClass) -> ClaimPlan {
        super::claim(claim, Some(class), None, "node-1", Path::new(ROOT))
    }

    fn made() -> PersistentVolume {
        let chosen = claim_of(json!({PROVISIONER: NAME, SELECTED_NODE: "node-1"}), json!({}));
        match decide(&chosen, &class_of(NAME, "WaitForFirstConsumer")) {
            ClaimPlan::Provision(volume) => *volume,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn only_the_chosen_node_makes_a_volume() {
        let late = class_of(NAME, "WaitForFirstConsumer");
        let chosen = |node: &str| claim_of(json!({PROVISIONER: NAME, SELECTED_NODE: node}), json!({}));
        assert!(matches!(decide(&chosen("node-1"), &late), ClaimPlan::Provision(_)));
        assert_eq!(decide(&chosen("node-2"), &late), ClaimPlan::Leave);
        let waiting = claim_of(json!({PROVISIONER: NAME}), json!({}));
        assert_eq!(decide(&waiting, &late), ClaimPlan::Leave);
        assert!(matches!(decide(&waiting, &class_of(NAME, "Immediate")), ClaimPlan::Provision(_)));
        assert_eq!(decide(&chosen("node-1"), &class_of("example.com/x", "Immediate")), ClaimPlan::Leave);
        assert_eq!(decide(&claim_of(json!({SELECTED_NODE: "node-1"}), json!({})), &late), ClaimPlan::Leave);
    }

    #[test]
    fn a_volume_is_a_directory_of_its_node() {
        let volume = made();
        let spec = volume.spec.as_ref().unwrap();
        assert_eq!(spec.host_path.as_ref().unwrap().path, "/data/storage/n-data-0-pvc-u");
        assert_eq!(spec.persistent_volume_reclaim_policy.as_deref(), Some("Retain"));
        assert_eq!(spec.claim_ref.as_ref().unwrap().uid.as_deref(), Some("u"));
        assert!(is_ours(&volume, "node-1") && !is_ours(&volume, "node-2"));
        assert_eq!(directory(&volume, Path::new(ROOT)), Some(PathBuf::from("/data/storage/n-data-0-pvc-u")));
    }

    #[test]
    fn a_volumes_project_is_written_down_and_counts_on_its_node_only() {
        let mut volume = made();
        assert_eq!(project(&volume, "node-1"), None);
        set_project(&mut volume, 1_800_000_007);
        assert_eq!(project(&volume, "node-1"), Some(1_800_000_007));
        assert_eq!(project(&volume, "node-2"), None);
        assert_eq!(taken([&made(), &volume], "node-1"), BTreeSet::from([1_800_000_007]));
        // Limits of these are not this provisioner's business.
        for other in ["0", "5", "-1", "1799999999", "1900000000", "4294967296", "x", ""] {
            set_annotation(&mut volume.metadata, PROJECT, other);
            assert_eq!(project(&volume, "node-1"), None, "{other}");
        }
    }

    #[test]
    fn a_volume_prefers_the_same_projects_each_time() {
        let of = |name: &str| projects(name).take(3).collect::<Vec<_>>();
        let preferred = of("pvc-u");
        assert_eq!(preferred, of("pvc-u"));
        assert_ne!(preferred, of("pvc-v"));
        assert!(preferred.iter().all(|project| PROJECTS.contains(project)), "{preferred:?}");
        assert_eq!(preferred.iter().collect::<BTreeSet<_>>().len(), 3);
    }

    #[test]
    fn sizes_are_bytes() {
        assert_eq!(size_bytes(&made()), Some(1 << 30));
        assert_eq!(["16Mi", "1k", "-1", "many"].map(bytes), [Some(16 << 20), Some(1000), None, None]);
    }

    #[test]
    fn what_a_directory_cannot_be_is_refused() {
        let annotations = json!({PROVISIONER: NAME, SELECTED_NODE: "node-1"});
        for spec in [
            json!({"volumeMode": "Block"}),
            json!({"selector": {"matchLabels": {"a": "b"}}}),
            json!({"dataSource": {"kind": "PersistentVolumeClaim", "name": "x"}}),
        ] {
            let claim = claim_of(annotations.clone(), spec);
            let plan = decide(&claim, &class_of(NAME, "WaitForFirstConsumer"));
            assert!(matches!(plan, ClaimPlan::Refuse(_)), "{plan:?}");
        }
    }

    #[test]
    fn only_released_volumes_to_be_deleted_go() {
        let of = |phase: &str, policy: &str, deleted: bool| {
            let mut volume = made();
            volume.spec.as_mut().unwrap().persistent_volume_reclaim_policy = Some(policy.to_owned());
            volume.status.get_or_insert_default().phase = Some(phase.to_owned());
            if deleted {
                volume.metadata.deletion_timestamp =
                    Some(serde_json::from_value(json!("2026-01-01T00:00:00Z")).unwrap());
            }
            super::volume(&volume, "node-1")
        };
        assert_eq!(of("Released", "Delete", false), VolumePlan::Delete);
        assert_eq!(of("Released", "Retain", false), VolumePlan::Leave);
        assert_eq!(of("Bound", "Delete", false), VolumePlan::Leave);
        assert_eq!(of("Bound", "Delete", true), VolumePlan::Leave);
        assert_eq!(of("Released", "Delete", true), VolumePlan::LetGo { data: true });
        assert_eq!(of("Released", "Retain", true), VolumePlan::LetGo { data: false });
        let mut elsewhere = made();
        elsewhere.status.get_or_insert_default().phase = Some("Released".to_owned());
        assert_eq!(super::volume(&elsewhere, "node-2"), VolumePlan::Leave);
    }

    #[test]
    fn nothing_outside_of_the_root_is_ever_a_volumes_directory() {
        for path in [
            "/data/storage",
            "/data/storage/",
            "/data/storage/..",
            "/data/storage/a/b",
            "/etc",
            "/data/storage/../x",
        ] {
            let mut volume = made();
            volume.spec.as_mut().unwrap().host_path.as_mut().unwrap().path = path.to_owned();
            assert_eq!(directory(&volume, Path::new(ROOT)), None, "{path}");
        }
    }

    #[test]
    fn a_bound_claim_that_asks_for_more_gets_it() {
        let bound = |wanted: &str, has: &str| {
            let mut claim = claim_of(
                json!({}),
                json!({"volumeName": "pvc-u",
                "resources": {"requests": {"storage": wanted}}}),
            );
            claim.status =
                serde_json::from_value(json!({"phase": "Bound", "capacity": {"storage": has}})).unwrap();
            super::claim(&claim, None, Some(&made()), "node-1", Path::new(ROOT))
        };
        assert_eq!(bound("2Gi", "1Gi"), ClaimPlan::Expand("2Gi".to_owned()));
        assert_eq!(bound("1024Mi", "1Gi"), ClaimPlan::Leave);
    }
}
