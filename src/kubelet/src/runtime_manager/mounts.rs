//! A container's mounts: volumes, `/etc/hosts`, the file for its last words.

use super::labels;
use crate::expansion::expand;
use crate::hosts;
use crate::pod;
use crate::volume_manager::{PodVolumes, prepare_subpath};
use k8s_cri::v1;
use k8s_openapi::api::core::v1::{Container, Pod, VolumeMount};
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Where containers look for host names.
const ETC_HOSTS: &str = "/etc/hosts";

/// Files of last words that are kept besides the newest.
const KEPT_WORDS: u32 = 3;

/// What mounts depend on besides the container.
pub struct MountContext<'a> {
    /// The pod's directory.
    pub pod_directory: PathBuf,
    /// Its volumes.
    pub volumes: &'a PodVolumes,
    /// Its addresses.
    pub pod_ips: &'a [String],
    /// The cluster's domain.
    pub cluster_domain: &'a str,
    /// How often the container was started before.
    pub restart_count: u32,
    /// The container's variables, for `subPathExpr`.
    pub environment: &'a [(String, String)],
}

/// Prepares and lists the mounts of one container. Blocks on the file system.
///
/// # Errors
/// What to tell when a mount cannot be prepared.
pub fn container_mounts(
    pod: &Pod,
    container: &Container,
    context: &MountContext<'_>,
) -> Result<Vec<v1::Mount>, String> {
    if container.volume_devices.iter().flatten().next().is_some() {
        return Err("volumeDevices: raw block volumes are not supported on this node".to_owned());
    }
    let variables: BTreeMap<&str, &str> =
        context.environment.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let mut mounts = Vec::new();
    for (index, mount) in container.volume_mounts.iter().flatten().enumerate() {
        mounts.push(volume_mount(container, index, mount, &variables, context)?);
    }
    let mounts_hosts = mounts.iter().any(|mount| mount.container_path == ETC_HOSTS);
    if !mounts_hosts
        && let Some(path) =
            hosts_file(pod, context).map_err(|error| format!("writing hosts file: {error}"))?
    {
        mounts.push(file_mount(ETC_HOSTS, &path));
    }
    let words = labels::termination_message_path(container);
    if !words.is_empty() {
        let path = termination_file(container, context)
            .map_err(|error| format!("making termination log: {error}"))?;
        mounts.push(file_mount(words, &path));
    }
    Ok(mounts)
}

fn volume_mount(
    container: &Container,
    index: usize,
    mount: &VolumeMount,
    variables: &BTreeMap<&str, &str>,
    context: &MountContext<'_>,
) -> Result<v1::Mount, String> {
    let volume = context.volumes.volumes.get(&mount.name).ok_or_else(|| {
        format!("cannot find volume {:?} to mount into container {:?}", mount.name, container.name)
    })?;
    let read_only = mount.read_only.unwrap_or(false) || volume.read_only;
    let subpath = match (&mount.sub_path, &mount.sub_path_expr) {
        (_, Some(expression)) if !expression.is_empty() => Some(expand_subpath(expression, variables)?),
        (Some(subpath), _) if !subpath.is_empty() => Some(subpath.clone()),
        _ => None,
    };
    let host_path = match subpath {
        Some(subpath) => {
            let target = context
                .pod_directory
                .join("volume-subpaths")
                .join(&mount.name)
                .join(&container.name)
                .join(index.to_string());
            prepare_subpath(&volume.path, &subpath, &target, volume.read_only).map_err(|error| {
                format!(
                    "failed to prepare subPath for volumeMount {:?} of container {:?}: {error}",
                    mount.name, container.name
                )
            })?
        }
        None => volume.path.clone(),
    };
    let container_path = if mount.mount_path.starts_with('/') {
        mount.mount_path.clone()
    } else {
        format!("/{}", mount.mount_path)
    };
    Ok(v1::Mount {
        container_path,
        host_path: host_path.display().to_string(),
        readonly: read_only,
        propagation: propagation(mount.mount_propagation.as_deref()) as i32,
        recursive_read_only: read_only && mount.recursive_read_only.as_deref() == Some("Enabled"),
        ..v1::Mount::default()
    })
}

fn propagation(mode: Option<&str>) -> v1::MountPropagation {
    match mode {
        Some("HostToContainer") => v1::MountPropagation::PropagationHostToContainer,
        Some("Bidirectional") => v1::MountPropagation::PropagationBidirectional,
        _ => v1::MountPropagation::PropagationPrivate,
    }
}

fn expand_subpath(expression: &str, variables: &BTreeMap<&str, &str>) -> Result<String, String> {
    let missing = std::cell::RefCell::new(None);
    let expanded = expand(expression, |name| {
        let value = variables.get(name).map(|value| (*value).to_owned());
        if value.is_none() {
            missing.borrow_mut().get_or_insert_with(|| name.to_owned());
        }
        value
    });
    match missing.into_inner() {
        Some(name) => Err(format!("failed to expand subPathExpr {expression:?}: missing value for {name:?}")),
        None => Ok(expanded),
    }
}

/// Pods with a network of their own get a file with their addresses; pods on the node's network the node's,
/// with their aliases added.
fn hosts_file(pod: &Pod, context: &MountContext<'_>) -> io::Result<Option<PathBuf>> {
    let aliases = pod::spec(pod).host_aliases.as_deref().unwrap_or(&[]);
    let text = if pod::host_network(pod) {
        hosts::node_hosts(&fs::read_to_string(ETC_HOSTS).unwrap_or_default(), aliases)
    } else if context.pod_ips.is_empty() {
        return Ok(None);
    } else {
        let (name, domain) = crate::dns::host_name(pod, context.cluster_domain);
        hosts::pod_hosts(context.pod_ips, &name, &domain, aliases)
    };
    let path = context.pod_directory.join("etc-hosts");
    // Written in place: running containers have this very file mounted.
    if fs::read_to_string(&path).ok().as_deref() != Some(text.as_str()) {
        fs::create_dir_all(&context.pod_directory)?;
        fs::write(&path, text)?;
    }
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644))?;
    Ok(Some(path))
}

/// A new file for each start, which any user may write.
fn termination_file(container: &Container, context: &MountContext<'_>) -> io::Result<PathBuf> {
    let directory = context.pod_directory.join("containers").join(&container.name);
    fs::create_dir_all(&directory)?;
    // The words of earlier containers are kept as long as the containers are: the last and the one before.
    for old in fs::read_dir(&directory)?.flatten() {
        let number = old.file_name().to_str().and_then(|name| u32::from_str_radix(name, 16).ok());
        if number.is_some_and(|number| number.saturating_add(KEPT_WORDS) < context.restart_count) {
            fs::remove_file(old.path())?;
        }
    }
    let path = directory.join(format!("{:08x}", context.restart_count));
    fs::write(&path, "")?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o666))?;
    Ok(path)
}

fn file_mount(container_path: &str, host_path: &Path) -> v1::Mount {
    v1::Mount {
        container_path: container_path.to_owned(),
        host_path: host_path.display().to_string(),
        ..v1::Mount::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::volume_manager::Mounted;
    use serde_json::json;

    #[test]
    fn volumes_hosts_and_last_words_are_mounted() {
        let directory = tempfile::tempdir().unwrap();
        let pod: Pod = serde_json::from_value(
            json!({"metadata": {"name": "p", "namespace": "n"}, "spec": {"containers": [
            {"name": "a", "volumeMounts": [{"name": "v", "mountPath": "data", "readOnly": true,
                "mountPropagation": "HostToContainer"}]}]}}),
        )
        .unwrap();
        let volume = Mounted { path: "/v".into(), read_only: false };
        let volumes = PodVolumes { volumes: BTreeMap::from([("v".into(), volume)]), renew_at: None };
        let context = MountContext {
            pod_directory: directory.path().to_owned(),
            volumes: &volumes,
            pod_ips: &["10.1.0.2".into()],
            cluster_domain: "cluster.local",
            restart_count: 0,
            environment: &[],
        };
        let mounts = container_mounts(&pod, &pod::containers(&pod)[0], &context).unwrap();
        let paths: Vec<&str> = mounts.iter().map(|mount| mount.container_path.as_str()).collect();
        assert_eq!(paths, ["/data", "/etc/hosts", "/dev/termination-log"]);
        assert!(mounts[0].readonly);
        assert!(fs::read_to_string(directory.path().join("etc-hosts")).unwrap().contains("10.1.0.2\tp\n"));
    }

    #[test]
    fn expressions_must_resolve() {
        let variables = BTreeMap::from([("A", "x")]);
        assert_eq!(expand_subpath("$(A)/y", &variables).unwrap(), "x/y");
        assert!(expand_subpath("$(B)", &variables).is_err());
    }
}
