//! Claims, volumes, storage classes and what drivers tell of their storage and of nodes, with what was decided but is not
//! written yet.

use crate::framework::plugins::Choice;
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use k8s_openapi::api::storage::v1::{CSIDriver, CSINode, CSIStorageCapacity, StorageClass};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// Namespace and name of a claim.
type ClaimKey = (String, String);

/// All of them, by name.
#[derive(Clone, Debug, Default)]
pub struct Volumes {
    claims: BTreeMap<ClaimKey, Arc<PersistentVolumeClaim>>,
    volumes: BTreeMap<String, Arc<PersistentVolume>>,
    classes: BTreeMap<String, Arc<StorageClass>>,
    drivers: BTreeMap<String, Arc<CSIDriver>>,
    capacities: BTreeMap<ClaimKey, Arc<CSIStorageCapacity>>,
    csi_nodes: BTreeMap<String, Arc<CSINode>>,
    /// Volumes that are being bound, to which claim.
    assumed: HashMap<String, ClaimKey>,
}

impl Volumes {
    /// A claim.
    pub fn claim(&self, namespace: &str, name: &str) -> Option<&Arc<PersistentVolumeClaim>> {
        self.claims.get(&(namespace.to_owned(), name.to_owned()))
    }

    /// A volume.
    pub fn volume(&self, name: &str) -> Option<&Arc<PersistentVolume>> {
        self.volumes.get(name)
    }

    /// A class.
    pub fn class(&self, name: &str) -> Option<&StorageClass> {
        self.classes.get(name).map(Arc::as_ref)
    }

    /// Whether a driver tells of the storage that it has.
    pub fn tells_capacity(&self, driver: &str) -> bool {
        self.drivers.get(driver).is_some_and(|driver| driver.spec.storage_capacity == Some(true))
    }

    /// What drivers tell of the storage that they have.
    pub fn capacities(&self) -> impl Iterator<Item = &CSIStorageCapacity> {
        self.capacities.values().map(Arc::as_ref)
    }

    /// Drivers that can attach only so many volumes to a node.
    pub fn limits(&self, node: &str) -> impl Iterator<Item = (&str, usize)> {
        let drivers = self.csi_nodes.get(node).into_iter().flat_map(|node| &node.spec.drivers);
        drivers.filter_map(|driver| {
            let count = driver.allocatable.as_ref()?.count?;
            Some((driver.name.as_str(), usize::try_from(count).unwrap_or(0)))
        })
    }

    /// The volumes that were not just given to other claims.
    pub fn free_for(&self, claim: &PersistentVolumeClaim) -> impl Iterator<Item = &Arc<PersistentVolume>> {
        let key = claim_key(claim);
        let is_free = move |name: &str| self.assumed.get(name).is_none_or(|taker| *taker == key);
        self.volumes.iter().filter(move |(name, _)| is_free(name)).map(|(_, volume)| volume)
    }

    /// From now on these volumes are taken.
    pub fn assume(&mut self, choice: &Choice) {
        for (claim, volume) in &choice.bind {
            self.assumed.insert(volume.metadata.name.clone().unwrap_or_default(), claim_key(claim));
        }
    }

    /// The choice is written, or was given up.
    pub fn forget(&mut self, choice: &Choice) {
        for (claim, volume) in &choice.bind {
            let name = volume.metadata.name.as_deref().unwrap_or("");
            if self.assumed.get(name).is_some_and(|taker| *taker == claim_key(claim)) {
                self.assumed.remove(name);
            }
        }
    }

    /// A new or changed claim.
    pub fn apply_claim(&mut self, claim: Arc<PersistentVolumeClaim>) {
        self.claims.insert(claim_key(&claim), claim);
    }

    /// A claim is gone.
    pub fn remove_claim(&mut self, claim: &PersistentVolumeClaim) {
        self.claims.remove(&claim_key(claim));
    }

    /// A new or changed volume.
    pub fn apply_volume(&mut self, volume: Arc<PersistentVolume>) {
        self.volumes.insert(volume.metadata.name.clone().unwrap_or_default(), volume);
    }

    /// A volume is gone.
    pub fn remove_volume(&mut self, volume: &PersistentVolume) {
        self.volumes.remove(volume.metadata.name.as_deref().unwrap_or(""));
    }

    /// A new or changed class.
    pub fn apply_class(&mut self, class: Arc<StorageClass>) {
        self.classes.insert(class.metadata.name.clone().unwrap_or_default(), class);
    }

    /// A new or changed driver.
    pub fn apply_driver(&mut self, driver: Arc<CSIDriver>) {
        self.drivers.insert(driver.metadata.name.clone().unwrap_or_default(), driver);
    }

    /// A driver is gone.
    pub fn remove_driver(&mut self, driver: &CSIDriver) {
        self.drivers.remove(driver.metadata.name.as_deref().unwrap_or(""));
    }

    /// New or changed storage.
    pub fn apply_capacity(&mut self, capacity: Arc<CSIStorageCapacity>) {
        self.capacities.insert(key(&capacity.metadata), capacity);
    }

    /// Storage is gone.
    pub fn remove_capacity(&mut self, capacity: &CSIStorageCapacity) {
        self.capacities.remove(&key(&capacity.metadata));
    }

    /// What drivers tell of a node is new or changed.
    pub fn apply_csi_node(&mut self, node: Arc<CSINode>) {
        self.csi_nodes.insert(node.metadata.name.clone().unwrap_or_default(), node);
    }

    /// Drivers tell nothing of a node any more.
    pub fn remove_csi_node(&mut self, node: &CSINode) {
        self.csi_nodes.remove(node.metadata.name.as_deref().unwrap_or(""));
    }

    /// A class is gone.
    pub fn remove_class(&mut self, class: &StorageClass) {
        self.classes.remove(class.metadata.name.as_deref().unwrap_or(""));
    }
}

fn claim_key(claim: &PersistentVolumeClaim) -> ClaimKey {
    key(&claim.metadata)
}

fn key(meta: &ObjectMeta) -> ClaimKey {
    (meta.namespace.clone().unwrap_or_default(), meta.name.clone().unwrap_or_default())
}
