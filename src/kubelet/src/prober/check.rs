//! One attempt of a probe: from its spec to the network or the runtime.

use super::exec::exec;
use super::grpc::grpc_check;
use super::http::{HttpGet, http_get};
use super::tcp::tcp_connect;
use crate::expansion::expand;
use cri::Runtime;
use k8s_openapi::api::core::v1::{Container, HTTPGetAction, Probe};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// What one attempt found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Attempt {
    /// Content.
    Success,
    /// Not content, and why.
    Failure(String),
    /// The attempt itself could not be made; it counts for nothing.
    Broken(String),
}

/// Makes one attempt at a container of a pod with address `pod_ip`.
pub async fn attempt(
    runtime: &dyn Runtime,
    probe: &Probe,
    container: &Container,
    container_id: &str,
    pod_ip: Option<IpAddr>,
) -> Attempt {
    let timeout = Duration::from_secs(probe.timeout_seconds.unwrap_or(1).max(1).unsigned_abs().into());
    if let Some(action) = &probe.exec {
        let command = expand_command(action.command.as_deref().unwrap_or(&[]), container);
        return match exec(runtime, container_id, &command, timeout).await {
            Ok(Ok(())) => Attempt::Success,
            Ok(Err(output)) => Attempt::Failure(output),
            Err(error) => Attempt::Broken(error.to_string()),
        };
    }
    if let Some(action) = &probe.http_get {
        let request = match http_request(action, container, pod_ip, "kube-probe/1.36") {
            Ok(request) => request,
            Err(error) => return Attempt::Broken(error),
        };
        return match http_get(&request, timeout).await {
            // Redirects are the business of whoever follows them: the container answered.
            Ok((code, _)) if (200..400).contains(&code) => Attempt::Success,
            Ok((code, _)) => Attempt::Failure(format!("HTTP probe failed with statuscode: {code}")),
            Err(error) => Attempt::Failure(format!("Get {:?}: {error}", request.url())),
        };
    }
    if let Some(action) = &probe.tcp_socket {
        let address = port(&action.port, container)
            .and_then(|port| Ok(SocketAddr::new(host(action.host.as_deref(), pod_ip)?, port)));
        return match address {
            Ok(address) => from_result(tcp_connect(address, timeout).await),
            Err(error) => Attempt::Broken(error),
        };
    }
    if let Some(action) = &probe.grpc {
        let port = u16::try_from(action.port).map_err(|_| format!("invalid port {}", action.port));
        let address = port.and_then(|port| Ok(SocketAddr::new(host(None, pod_ip)?, port)));
        return match address {
            Ok(address) => {
                from_result(grpc_check(address, action.service.as_deref().unwrap_or(""), timeout).await)
            }
            Err(error) => Attempt::Broken(error),
        };
    }
    Attempt::Broken(format!("missing probe handler for {}", container.name))
}

fn from_result(result: Result<(), String>) -> Attempt {
    result.map_or_else(Attempt::Failure, |()| Attempt::Success)
}

/// The request of an `httpGet` handler, of a probe or a hook.
///
/// # Errors
/// When port or host mean nothing.
pub fn http_request(
    action: &HTTPGetAction,
    container: &Container,
    pod_ip: Option<IpAddr>,
    user_agent: &str,
) -> Result<HttpGet, String> {
    let named = action.host.as_deref().filter(|host| !host.is_empty());
    let ip = host(named, pod_ip)?;
    let headers =
        action.http_headers.iter().flatten().map(|header| (header.name.clone(), header.value.clone()));
    Ok(HttpGet {
        tls: action.scheme.as_deref().is_some_and(|scheme| scheme.eq_ignore_ascii_case("https")),
        ip,
        port: port(&action.port, container)?,
        host: named.map_or_else(|| ip.to_string(), str::to_owned),
        path: action.path.clone().filter(|path| !path.is_empty()).unwrap_or_else(|| "/".to_owned()),
        headers: headers.collect(),
        user_agent: user_agent.to_owned(),
    })
}

/// A port by number or by the container's name for it.
///
/// # Errors
/// When the container has no such port.
pub fn port(port: &IntOrString, container: &Container) -> Result<u16, String> {
    let number = match port {
        IntOrString::Int(number) => i64::from(*number),
        IntOrString::String(name) => {
            let named = container.ports.iter().flatten().find(|port| port.name.as_deref() == Some(name));
            match named {
                Some(port) => i64::from(port.container_port),
                None => {
                    name.parse().map_err(|_| format!("couldn't find port: {name:?} in {}", container.name))?
                }
            }
        }
    };
    u16::try_from(number)
        .ok()
        .filter(|port| *port > 0)
        .ok_or_else(|| format!("invalid port number: {number}"))
}

/// The address that a handler means: its own host, else the pod.
///
/// # Errors
/// When there is none yet, or the host is a name: the node does not resolve names for pods.
pub fn host(named: Option<&str>, pod_ip: Option<IpAddr>) -> Result<IpAddr, String> {
    match named.filter(|host| !host.is_empty()) {
        Some("localhost") => Ok(IpAddr::from([127, 0, 0, 1])),
        Some(host) => {
            let bare = host.trim_start_matches('[').trim_end_matches(']');
            bare.parse().map_err(|_| format!("host {host:?} is not an IP address"))
        }
        None => pod_ip.ok_or_else(|| "the pod has no address yet".to_owned()),
    }
}

/// `$(VAR)` in a probe's command means the container's own plain variables.
pub fn expand_command(command: &[String], container: &Container) -> Vec<String> {
    let variable = |name: &str| {
        container.env.iter().flatten().find(|variable| variable.name == name).and_then(|v| v.value.clone())
    };
    command.iter().map(|word| expand(word, variable)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn requests_mean_the_pod_unless_a_host_is_named() {
        let container: Container =
            serde_json::from_value(json!({"name": "a", "ports": [{"name": "web", "containerPort": 8080}]}))
                .unwrap();
        let action: HTTPGetAction =
            serde_json::from_value(json!({"port": "web", "scheme": "HTTPS"})).unwrap();
        let request = http_request(&action, &container, Some("10.1.0.2".parse().unwrap()), "x").unwrap();
        assert_eq!(request.url(), "https://10.1.0.2:8080/");
        let action: HTTPGetAction = serde_json::from_value(json!({"port": "other"})).unwrap();
        assert!(http_request(&action, &container, Some("10.1.0.2".parse().unwrap()), "x").is_err());
    }
}
