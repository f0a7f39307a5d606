//! Lifecycle hooks: `postStart` and `preStop`.

use crate::prober::{self, expand_command, http_get};
use cri::Runtime;
use k8s_openapi::api::core::v1::{Container, LifecycleHandler};
use std::net::IpAddr;
use std::time::Duration;

/// How long a hook's HTTP request may take; hooks have no timeout of their own.
const HTTP_TIMEOUT: Duration = Duration::from_secs(120);

/// Runs a hook in or against a running container.
///
/// # Errors
/// What to tell when it failed.
pub async fn run_hook(
    runtime: &dyn Runtime,
    handler: &LifecycleHandler,
    container: &Container,
    container_id: &str,
    pod_ip: Option<IpAddr>,
) -> Result<(), String> {
    if let Some(action) = &handler.exec {
        let command = expand_command(action.command.as_deref().unwrap_or(&[]), container);
        let output = runtime.exec_sync(container_id, &command, Duration::ZERO).await;
        return match output {
            Ok(output) if output.exit_code == 0 => Ok(()),
            Ok(output) => Err(format!(
                "command {command:?} exited with {}: {}",
                output.exit_code,
                String::from_utf8_lossy(&output.stderr)
            )),
            Err(error) => Err(error.to_string()),
        };
    }
    if let Some(action) = &handler.http_get {
        let request = prober::http_request(action, container, pod_ip, "kube-lifecycle/1.36")?;
        return match http_get(&request, HTTP_TIMEOUT).await {
            Ok((code, _)) if (200..400).contains(&code) => Ok(()),
            Ok((code, _)) => Err(format!("HTTP request {:?} failed with status code {code}", request.url())),
            Err(error) => Err(format!("Get {:?}: {error}", request.url())),
        };
    }
    if let Some(action) = &handler.tcp_socket {
        let address = (
            prober::handler_host(action.host.as_deref(), pod_ip)?,
            prober::handler_port(&action.port, container)?,
        );
        return prober::tcp_connect(address.into(), HTTP_TIMEOUT).await;
    }
    if let Some(action) = &handler.sleep {
        tokio::time::sleep(Duration::from_secs(action.seconds.max(0).unsigned_abs())).await;
        return Ok(());
    }
    Err("the hook has no action".to_owned())
}
