//! The rules of each volume type, in pods and in persistent volumes.

use super::projected;
use super::volumes::{descending_path, no_backsteps};
use crate::core::persistent_volume_claim;
use crate::meta::validate_annotations;
use crate::validation::{
    Errors, csi_driver_name, labels, one_of, quantity, range, required_one_of, required_text,
};
use crate::value::{entries, field, has, int, is_true, list, text};
use apimachinery::field::{ErrorList, Path};
use apimachinery::validation as forms;
use serde_json::Value;

const HOST_PATH_TYPES: [&str; 8] =
    ["", "BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket"];
const REGISTRY_FORM: &str = "must be a host:port pair or multiple pairs separated by commas";
/// The longest name and portal of an iSCSI volume with its own initiator, which make up a file name.
const INITIATOR_MAX_BYTES: usize = 64;
/// Parts of the metadata of a claim's template that are of no use there, as the messages name them.
const UNUSED_METADATA: [(&str, &str); 13] = [
    ("name", "name"),
    ("generateName", "generateName"),
    ("namespace", "namespace"),
    ("selfLink", "selfLink"),
    ("uid", "uID"),
    ("resourceVersion", "resourceVersion"),
    ("generation", "generation"),
    ("creationTimestamp", "creationTimestamp"),
    ("deletionTimestamp", "deletionTimestamp"),
    ("deletionGracePeriodSeconds", "deletionGracePeriodSeconds"),
    ("ownerReferences", "ownerReferences"),
    ("finalizers", "finalizers"),
    ("managedFields", "managedFields"),
];

/// Whose volume it is.
pub enum Holder<'a> {
    /// A volume of a pod or of a pod template.
    Pod,
    /// The persistent volume of this name.
    PersistentVolume(&'a str),
}

/// Exactly one of the sources (in their order) is given, and it is right.
pub fn exactly_one(
    volume: &Value,
    sources: &[&str],
    holder: &Holder<'_>,
    path: &Path,
    errors: &mut ErrorList,
) {
    let Some(fields) = volume.as_object() else { return };
    let mut given = fields.keys().filter(|name| sources.contains(&name.as_str()));
    let (first, second) = (given.next(), given.next());
    match (first, second) {
        (None, _) => errors.required(path, "must specify a volume type"),
        (Some(only), None) => validate(only, field(volume, only), holder, path, errors),
        _ => {
            let given = sources.iter().filter(|name| has(volume, name));
            for (i, name) in given.enumerate() {
                if i == 0 {
                    validate(name, field(volume, name), holder, path, errors);
                } else {
                    let shown = match *name {
                        "cephfs" => "cephFS",
                        "downwardAPI" => "downwarAPI",
                        other => other,
                    };
                    errors.forbidden(&path.child(shown), "may not specify more than 1 volume type");
                }
            }
        }
    }
}

/// Fields that a source must have. What has more rules is told in [`validate`].
fn required_fields(kind: &str) -> &'static [&'static str] {
    match kind {
        "awsElasticBlockStore" | "cinder" | "portworxVolume" => &["volumeID"],
        "azureDisk" => &["diskName", "diskURI"],
        "azureFile" => &["secretName", "shareName"],
        "configMap" => &["name"],
        "flexVolume" => &["driver"],
        "gcePersistentDisk" => &["pdName"],
        "gitRepo" => &["repository"],
        "glusterfs" => &["endpoints", "path"],
        "hostPath" | "local" => &["path"],
        "image" => &["reference"],
        "nfs" => &["server", "path"],
        "persistentVolumeClaim" => &["claimName"],
        "photonPersistentDisk" => &["pdID"],
        "scaleIO" => &["gateway", "system", "volumeName"],
        "secret" => &["secretName"],
        "storageos" => &["volumeName"],
        "vsphereVolume" => &["volumePath"],
        _ => &[],
    }
}

/// The rules of the source `kind` (`hostPath`, `configMap`, ...) of the volume at `path`.
fn validate(kind: &str, source: &Value, holder: &Holder<'_>, path: &Path, errors: &mut ErrorList) {
    let path = path.child(if kind == "gcePersistentDisk" { "persistentDisk" } else { kind });
    let path = &path;
    let persistent = matches!(holder, Holder::PersistentVolume(_));
    let before = errors.len();
    for name in required_fields(kind) {
        required_text(source, name, path, errors);
    }
    match kind {
        "emptyDir" if source.get("sizeLimit").and_then(quantity).is_some_and(|limit| limit.sign() < 0) => {
            errors.forbidden(&path.child("sizeLimit"), "SizeLimit field must be a valid resource quantity");
        }
        "hostPath" | "local" if errors.len() == before => {
            no_backsteps(text(source, "path"), || path.child("path"), errors);
            one_of(source, "type", path, &HOST_PATH_TYPES, errors);
        }
        "gitRepo" => {
            descending_path(text(source, "directory"), || path.child("directory"), errors);
        }
        "gcePersistentDisk" | "awsElasticBlockStore"
            if int(source, "partition").is_some_and(|number| !(0..=255).contains(&number)) =>
        {
            // The words say one, the rule zero.
            errors.invalid(
                &path.child("partition"),
                field(source, "partition").clone(),
                "must be between 1 and 255, inclusive",
            );
        }
        "secret" | "configMap" => {
            projected::default_mode(source, path, errors);
            projected::items(source, path, errors);
        }
        "downwardAPI" => {
            projected::default_mode(source, path, errors);
            projected::downward_items(source, path, errors);
        }
        "projected" => projected::validate(source, path, errors),
        "nfs" if !text(source, "path").starts_with('/') => {
            errors.invalid(&path.child("path"), text(source, "path"), "must be an absolute path");
        }
        "iscsi" => iscsi(source, holder, path, errors),
        "glusterfs" if persistent => {
            if let Some(namespace) = field(source, "endpointsNamespace").as_str() {
                let messages = if namespace.is_empty() {
                    vec!["if the endpointnamespace is set, it must be a valid namespace name".to_owned()]
                } else {
                    forms::dns1123_label(namespace)
                };
                errors.check(path, "endpointsNamespace", namespace, messages);
            }
        }
        "rbd" => {
            monitors(source, path, errors);
            required_text(source, "image", path, errors);
        }
        "cephfs" => monitors(source, path, errors),
        "cinder" | "storageos" => {
            if kind == "storageos" {
                for name in ["volumeName", "volumeNamespace"] {
                    crate::validation::text_form(source, name, path, forms::dns1123_label, errors);
                }
            }
            secret_reference(source, persistent, path, errors);
        }
        "quobyte" => quobyte(source, path, errors),
        "fc" => fibre_channel(source, path, errors),
        "flexVolume" => reserved_options(source, path, errors),
        "flocker" => flocker(source, path, errors),
        "azureFile" if persistent && field(source, "secretNamespace").as_str() == Some("") => {
            errors.required(&path.child("secretNamespace"), "");
        }
        "azureDisk" => azure_disk(source, path, errors),
        "csi" => csi(source, persistent, path, errors),
        "ephemeral" => match source.get("volumeClaimTemplate") {
            None => errors.required(&path.child("volumeClaimTemplate"), ""),
            Some(template) => claim_template(template, &path.child("volumeClaimTemplate"), errors),
        },
        "image" => {
            required_one_of(source, "pullPolicy", path, &["Always", "IfNotPresent", "Never"], errors);
        }
        _ => {}
    }
}

fn monitors(source: &Value, path: &Path, errors: &mut ErrorList) {
    if list(source, "monitors").is_empty() {
        errors.required(&path.child("monitors"), "");
    }
}

/// The template of a claim that is made for a volume of the pod.
fn claim_template(template: &Value, path: &Path, errors: &mut ErrorList) {
    claim_metadata(field(template, "metadata"), &path.child("metadata"), errors);
    persistent_volume_claim::validate_spec(field(template, "spec"), &path.child("spec"), errors);
}

/// The metadata of a claim's template: labels and annotations, nothing else.
pub fn claim_metadata(metadata: &Value, path: &Path, errors: &mut ErrorList) {
    validate_annotations(metadata, path, errors);
    labels(metadata, "labels", path, errors);
    for (name, shown) in UNUSED_METADATA {
        if !crate::value::is_empty(metadata, name) {
            errors.forbidden(&path.child(shown), "cannot be set");
        }
    }
}

/// `iqn.` year `-` month `.` authority `:` what it names.
fn is_iqn(name: &str) -> bool {
    let digits = |text: &str, count: usize| text.len() == count && text.bytes().all(|b| b.is_ascii_digit());
    let parts = || {
        let (year, rest) = name.strip_prefix("iqn.")?.split_once('-')?;
        let (month, rest) = rest.split_once('.')?;
        let (authority, named) = rest.split_once(':')?;
        Some((year, month, authority, named))
    };
    parts().is_some_and(|(year, month, authority, named)| {
        digits(year, 4)
            && digits(month, 2)
            && !authority.is_empty()
            && authority.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '.'))
            && !named.is_empty()
            && !named.contains(|c: char| matches!(c, ',' | ';' | '*' | '&' | '$' | '|') || c.is_whitespace())
    })
}

/// Whether an iSCSI name has the form that its beginning promises (RFC 3720 section 3.2.6.3); `None` when it begins
/// like none of them.
fn iscsi_name(name: &str) -> Option<bool> {
    // The dot of `eui.` and `naa.` stands for any character, as upstream's expressions have it.
    let rest_of = |count: usize| {
        let mut rest = name.chars().skip(3);
        rest.next().is_some() && {
            let rest: Vec<char> = rest.collect();
            rest.len() == count && rest.iter().all(char::is_ascii_alphanumeric)
        }
    };
    match name.get(..3) {
        Some("iqn") => Some(is_iqn(name)),
        Some("eui") => Some(rest_of(16)),
        Some("naa") => Some(rest_of(32)),
        _ => None,
    }
}

fn iscsi(source: &Value, holder: &Holder<'_>, path: &Path, errors: &mut ErrorList) {
    const FORM: &str = "must be valid format";
    let persistent = matches!(holder, Holder::PersistentVolume(_));
    let beginning = if persistent { FORM } else { "must be valid format starting with iqn, eui, or naa" };
    required_text(source, "targetPortal", path, errors);
    let initiator = field(source, "initiatorName").as_str();
    if let (Holder::PersistentVolume(name), true) = (holder, initiator.is_some()) {
        let portal = text(source, "targetPortal");
        initiator_fits(name, source, || path.child("targetportal"), portal, errors);
    }
    let check = |name: &str, own: Path, errors: &mut ErrorList| match iscsi_name(name) {
        None => errors.invalid(&own, name, beginning),
        Some(false) => errors.invalid(&own, name, FORM),
        Some(true) => {}
    };
    if required_text(source, "iqn", path, errors) {
        check(text(source, "iqn"), path.child("iqn"), errors);
    }
    range(source, "lun", path, 0, 255, errors);
    if (is_true(source, "chapAuthDiscovery") || is_true(source, "chapAuthSession"))
        && !has(source, "secretRef")
    {
        errors.required(&path.child("secretRef"), "");
    }
    if persistent && source.get("secretRef").is_some_and(|secret| text(secret, "name").is_empty()) {
        errors.required(&path.child("secretRef").child("name"), "");
    }
    if let Some(initiator) = initiator {
        check(initiator, path.child("initiatorname"), errors);
    }
}

/// The name of a volume together with its portal is short where there is an initiator of its own.
pub fn initiator_fits(
    name: &str,
    source: &Value,
    path: impl Fn() -> Path,
    shown: &str,
    errors: &mut ErrorList,
) {
    if name.len() + 1 + text(source, "targetPortal").len() > INITIATOR_MAX_BYTES {
        errors.invalid(
            &path(),
            shown,
            "Total length of <volume name>:<iscsi.targetPortal> must be under 64 characters if iscsi.initiatorName is specified.",
        );
    }
}

fn fibre_channel(source: &Value, path: &Path, errors: &mut ErrorList) {
    let (names, ids) = (list(source, "targetWWNs"), list(source, "wwids"));
    let own = || path.child("targetWWNs");
    if names.is_empty() && ids.is_empty() {
        errors.required(&own(), "must specify either targetWWNs or wwids, but not both");
    }
    if !names.is_empty() && !ids.is_empty() {
        errors.invalid(&own(), names.to_vec(), "targetWWNs and wwids can not be specified simultaneously");
    }
    if !names.is_empty() {
        match int(source, "lun") {
            None => errors.required(&path.child("lun"), "lun is required if targetWWNs is specified"),
            Some(_) => range(source, "lun", path, 0, 255, errors),
        }
    }
}

fn quobyte(source: &Value, path: &Path, errors: &mut ErrorList) {
    let registry = text(source, "registry");
    if registry.is_empty() {
        errors.required(&path.child("registry"), REGISTRY_FORM);
    } else if text(source, "tenant").len() >= 65 {
        errors.required(&path.child("tenant"), "must be a UUID and may not exceed a length of 64 characters");
    } else {
        for _ in registry.split(',').filter(|pair| !is_host_and_port(pair)) {
            errors.invalid(&path.child("registry"), registry, REGISTRY_FORM);
        }
    }
    required_text(source, "volume", path, errors);
}

/// Whether a text is a host, with colons only in brackets, and a port.
fn is_host_and_port(text: &str) -> bool {
    match text.strip_prefix('[') {
        Some(rest) => rest.split_once(']').is_some_and(|(host, port)| {
            !host.contains('[') && port.strip_prefix(':').is_some_and(|port| !port.contains([':', '[', ']']))
        }),
        None => text
            .split_once(':')
            .is_some_and(|(host, port)| !host.contains(['[', ']']) && !port.contains([':', '[', ']'])),
    }
}

fn flocker(source: &Value, path: &Path, errors: &mut ErrorList) {
    let (name, id) = (text(source, "datasetName"), text(source, "datasetUUID"));
    if name.is_empty() && id.is_empty() {
        errors.required(path, "one of datasetName and datasetUUID is required");
    }
    if !name.is_empty() && !id.is_empty() {
        errors.invalid(path, "resource", "datasetName and datasetUUID can not be specified simultaneously");
    }
    if name.contains('/') {
        errors.invalid(&path.child("datasetName"), name, "must not contain '/'");
    }
}

/// Options in Kubernetes' own name spaces are set by the kubelet.
fn reserved_options(source: &Value, path: &Path, errors: &mut ErrorList) {
    for (key, _) in entries(source, "options") {
        let space = format!(".{}", key.split_once('/').map_or(key, |(space, _)| space).to_lowercase());
        if space.ends_with(".kubernetes.io") || space.ends_with(".k8s.io") {
            errors.invalid(
                &path.child("options").key(key),
                key,
                "kubernetes.io and k8s.io namespaces are reserved",
            );
        }
    }
}

fn azure_disk(source: &Value, path: &Path, errors: &mut ErrorList) {
    one_of(source, "cachingMode", path, &["None", "ReadOnly", "ReadWrite"], errors);
    one_of(source, "kind", path, &["Dedicated", "Managed", "Shared"], errors);
    let (begins, form) = match field(source, "kind").as_str() {
        None => return,
        Some("Managed") => (
            "/subscriptions/",
            "/subscriptions/{sub-id}/resourcegroups/{group-name}/providers/microsoft.compute/disks/{disk-id}",
        ),
        Some(_) => {
            ("https://", "https://{account-name}.blob.core.windows.net/{container-name}/{disk-name}.vhd")
        }
    };
    let uri = text(source, "diskURI");
    if !uri.starts_with(begins) {
        errors.not_supported(&path.child("diskURI"), uri, &[form]);
    }
}

/// `secretRef`, which names a namespace where the volume is in none.
fn secret_reference(source: &Value, with_namespace: bool, path: &Path, errors: &mut ErrorList) {
    let Some(secret) = source.get("secretRef") else { return };
    let path = path.child("secretRef");
    required_text(secret, "name", &path, errors);
    if with_namespace {
        required_text(secret, "namespace", &path, errors);
    }
}

fn csi(source: &Value, persistent: bool, path: &Path, errors: &mut ErrorList) {
    csi_driver_name(source, "driver", path, errors);
    if !persistent {
        if let Some(secret) = source.get("nodePublishSecretRef") {
            let name = text(secret, "name");
            if required_text(secret, "name", &path.child("nodePublishSecretRef"), errors) {
                errors.check(path, "name", name, forms::dns1123_subdomain(name));
            }
        }
        return;
    }
    required_text(source, "volumeHandle", path, errors);
    for name in [
        "controllerPublishSecretRef",
        "controllerExpandSecretRef",
        "nodePublishSecretRef",
        "nodeExpandSecretRef",
    ] {
        let Some(secret) = source.get(name) else { continue };
        let path = path.child(name);
        if required_text(secret, "name", &path, errors) {
            let name = text(secret, "name");
            errors.check(&path, "name", name, forms::dns1123_subdomain(name));
        }
        if required_text(secret, "namespace", &path, errors) {
            let namespace = text(secret, "namespace");
            errors.check(&path, "namespace", namespace, forms::dns1123_label(namespace));
        }
    }
}
