//! The configuration of a container. Pure.

use super::labels;
use super::security_context::{ImageUser, SecurityError, container_context};
use crate::expansion::expand;
use k8s_cri::v1;
use k8s_openapi::api::core::v1::{Container, Pod};
use std::collections::BTreeMap;

/// What a container depends on besides its pod.
pub struct ContainerContext<'a> {
    /// What to run: the image's id or digest.
    pub image_ref: &'a str,
    /// The image's user.
    pub image_user: &'a ImageUser,
    /// How often it was started before.
    pub restart_count: u32,
    /// The container's variables.
    pub environment: &'a [(String, String)],
    /// Its mounts.
    pub mounts: Vec<v1::Mount>,
    /// Its cgroup limits.
    pub resources: v1::LinuxContainerResources,
    /// The id of the container whose processes an ephemeral one sees.
    pub target: Option<&'a str>,
}

/// The configuration.
///
/// # Errors
/// When the security context forbids the container to start.
pub fn container_config(
    pod: &Pod,
    container: &Container,
    context: ContainerContext<'_>,
) -> Result<v1::ContainerConfig, SecurityError> {
    let variables: BTreeMap<&str, &str> =
        context.environment.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let expanded = |words: Option<&Vec<String>>| -> Vec<String> {
        let lookup = |name: &str| variables.get(name).map(|value| (*value).to_owned());
        words.into_iter().flatten().map(|word| expand(word, lookup)).collect()
    };
    let security_context = container_context(pod, container, context.image_user, context.target)?;
    Ok(v1::ContainerConfig {
        metadata: Some(v1::ContainerMetadata {
            name: container.name.clone(),
            attempt: context.restart_count,
        }),
        image: Some(v1::ImageSpec {
            image: context.image_ref.to_owned(),
            user_specified_image: container.image.clone().unwrap_or_default(),
            ..v1::ImageSpec::default()
        }),
        command: expanded(container.command.as_ref()),
        args: expanded(container.args.as_ref()),
        working_dir: container.working_dir.clone().unwrap_or_default(),
        envs: context
            .environment
            .iter()
            .map(|(key, value)| v1::KeyValue { key: key.clone(), value: value.clone() })
            .collect(),
        mounts: context.mounts,
        labels: labels::container_labels(pod, container),
        annotations: labels::container_annotations(pod, container, context.restart_count),
        // Relative to the sandbox's log directory.
        log_path: format!("{}/{}.log", container.name, context.restart_count),
        stdin: container.stdin.unwrap_or(false),
        stdin_once: container.stdin_once.unwrap_or(false),
        tty: container.tty.unwrap_or(false),
        linux: Some(v1::LinuxContainerConfig {
            resources: Some(context.resources),
            security_context: Some(security_context),
        }),
        ..v1::ContainerConfig::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn commands_see_the_environment() {
        let pod: Pod =
            serde_json::from_value(json!({"metadata": {"name": "p", "uid": "u"}, "spec": {"containers": [
            {"name": "a", "image": "nginx", "command": ["run", "$(A)"], "args": ["$(NO)"]}]}}))
            .unwrap();
        let config = container_config(
            &pod,
            &crate::pod::containers(&pod)[0],
            ContainerContext {
                image_ref: "sha256:1",
                image_user: &ImageUser::default(),
                restart_count: 3,
                environment: &[("A".to_owned(), "b".to_owned())],
                mounts: Vec::new(),
                resources: v1::LinuxContainerResources::default(),
                target: None,
            },
        )
        .unwrap();
        assert_eq!(config.command, ["run", "b"]);
        assert_eq!(config.args, ["$(NO)"]);
        assert_eq!(config.log_path, "a/3.log");
        assert_eq!(config.annotations[labels::RESTART_COUNT], "3");
        assert_eq!(config.image.unwrap().user_specified_image, "nginx");
    }
}
