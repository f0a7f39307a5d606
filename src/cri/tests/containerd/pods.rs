//! Sandboxes and containers as the kubelet would make them.

use std::path::Path;
use std::time::Duration;

use cri::{Client, Runtime, v1};

use crate::image::BUSYBOX;

/// A sandbox with its configuration.
pub struct Sandbox {
    pub id: String,
    pub config: v1::PodSandboxConfig,
}

pub async fn sandbox(client: &Client, logs: &Path, cgroup: &str, host_port: i32) -> Sandbox {
    let config = v1::PodSandboxConfig {
        metadata: Some(v1::PodSandboxMetadata {
            name: "pod".into(),
            uid: "uid".into(),
            namespace: "test".into(),
            attempt: 0,
        }),
        hostname: "pod".into(),
        log_directory: logs.to_string_lossy().into_owned(),
        port_mappings: vec![v1::PortMapping {
            protocol: v1::Protocol::Tcp as i32,
            container_port: 8080,
            host_port,
            host_ip: String::new(),
        }],
        linux: Some(v1::LinuxPodSandboxConfig {
            cgroup_parent: cgroup.into(),
            security_context: Some(v1::LinuxSandboxSecurityContext {
                readonly_rootfs: true,
                ..Default::default()
            }),
            ..Default::default()
        }),
        ..Default::default()
    };
    let id = client.run_pod_sandbox(config.clone(), "").await.expect("a sandbox");
    Sandbox { id, config }
}

pub async fn container(client: &Client, sandbox: &Sandbox, name: &str, script: &str, stdin: bool) -> String {
    let config = v1::ContainerConfig {
        metadata: Some(v1::ContainerMetadata { name: name.into(), attempt: 0 }),
        image: Some(v1::ImageSpec { image: BUSYBOX.into(), ..Default::default() }),
        command: vec!["sh".into(), "-c".into(), script.into()],
        log_path: format!("{name}.log"),
        stdin,
        linux: Some(v1::LinuxContainerConfig {
            resources: Some(v1::LinuxContainerResources {
                memory_limit_in_bytes: 64 << 20,
                ..Default::default()
            }),
            security_context: Some(v1::LinuxContainerSecurityContext {
                namespace_options: Some(v1::NamespaceOption {
                    pid: v1::NamespaceMode::Container as i32,
                    ..Default::default()
                }),
                ..Default::default()
            }),
        }),
        labels: [("io.kubernetes.container.name".to_owned(), name.to_owned())].into(),
        ..Default::default()
    };
    let id = client.create_container(&sandbox.id, config, sandbox.config.clone()).await.expect("a container");
    client.start_container(&id).await.expect("it starts");
    id
}

/// Asks until it is so.
pub async fn until(what: &str, mut ask: impl AsyncFnMut() -> bool) {
    let asked = async {
        while !ask().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), asked)
        .await
        .unwrap_or_else(|_| panic!("not in time: {what}"));
}
