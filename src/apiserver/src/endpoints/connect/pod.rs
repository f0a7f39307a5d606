//! Logs, exec, attach and port-forward of a pod, and the proxy to it.

use super::Incoming;
use super::target::{ProxyName, Target, address, check_remote};
use super::{kubelet, log_options, proxy, tunnel};
use crate::ApiServer;
use crate::body::{self, Body};
use crate::endpoints::context::Context;
use crate::endpoints::response;
use api::value;
use apimachinery::gvk::GroupResource;
use apimachinery::meta;
use apimachinery::status::{Result, Status};
use http::{HeaderValue, Method, Request, Response, header};
use serde_json::Value;

/// Names the container that a client means when it names none.
const DEFAULT_CONTAINER: &str = "kubectl.kubernetes.io/default-container";

async fn find(server: &ApiServer, context: &Context, name: &str) -> Result<Value> {
    let pods = GroupResource::new("", "pods");
    let pod = server.registry().get_value(&pods, &context.info.namespace, name).await?;
    pod.ok_or_else(|| Status::not_found(&pods, name))
}

/// Answers `pods/log`.
pub(super) async fn log(server: &ApiServer, context: &Context) -> Result<Response<Body>> {
    let name = context.info.name.as_str();
    let query = log_options::kubelet_query(&context.query)?;
    let pod = find(server, context, name).await?;
    let container = container(&pod, context.query.text("container"))?;
    let node = value::text_at(&pod, &["spec", "nodeName"]);
    if node.is_empty() {
        // A pod that is nowhere has said nothing yet.
        return Ok(response::text(200, ""));
    }
    let target = kubelet::of_node(server, node).await?;
    let path = format!("/containerLogs/{}/{name}/{container}?{query}", context.info.namespace);
    let mut request = Request::new(body::empty());
    *request.method_mut() = Method::GET;
    *request.uri_mut() = path.parse().map_err(|e| Status::bad_request(format!("invalid path: {e}")))?;
    if let Ok(host) = HeaderValue::from_str(&target.address.to_string()) {
        request.headers_mut().insert(header::HOST, host);
    }
    let answer = tunnel::send(server, target, request).await?;
    if !answer.status().is_success() {
        return Err(refused(answer).await);
    }
    let mut plain = response::with_body(200, "text/plain", answer.into_body());
    plain.headers_mut().remove(header::CACHE_CONTROL);
    Ok(plain)
}

/// An error of the kubelet as a Status: what it said, under its code.
async fn refused(answer: Response<Body>) -> Status {
    let code = answer.status().as_u16();
    let bytes = crate::endpoints::body::read(answer.into_body()).await.unwrap_or_default();
    if let Ok(status) = serde_json::from_slice::<Status>(&bytes) {
        return status;
    }
    let text = String::from_utf8_lossy(&bytes).trim().to_owned();
    let reason = match code {
        404 => apimachinery::status::Reason::NotFound,
        400 => apimachinery::status::Reason::BadRequest,
        _ => apimachinery::status::Reason::InternalError,
    };
    Status::failure(code, reason, text)
}

/// The container that a request means.
fn container(pod: &Value, asked: &str) -> Result<String> {
    let name = meta::name(pod);
    let names = |field: &str| -> Vec<String> {
        value::list_at(pod, &["spec", field]).iter().map(|c| value::text(c, "name").to_owned()).collect()
    };
    let (all, init, ephemeral) = (names("containers"), names("initContainers"), names("ephemeralContainers"));
    let known = |wanted: &str| [&all, &init, &ephemeral].iter().any(|list| list.iter().any(|n| n == wanted));
    if !asked.is_empty() {
        return if known(asked) {
            Ok(asked.to_owned())
        } else {
            Err(Status::bad_request(format!("container {asked} is not valid for pod {name}")))
        };
    }
    if let [only] = all.as_slice() {
        return Ok(only.clone());
    }
    if let Some(default) = meta::annotation(pod, DEFAULT_CONTAINER).filter(|c| known(c)) {
        return Ok(default.to_owned());
    }
    let mut message =
        format!("a container name must be specified for pod {name}, choose one of: [{}]", all.join(" "));
    if !init.is_empty() {
        message.push_str(&format!(" or one of the init containers: [{}]", init.join(" ")));
    }
    Err(Status::bad_request(message))
}

/// Answers `pods/exec`, `pods/attach` and `pods/portforward`.
pub(super) async fn interact(
    server: &ApiServer,
    context: &Context,
    incoming: Incoming,
) -> Result<Response<Body>> {
    let info = &context.info;
    if !tunnel::is_upgrade(&context.headers) {
        return Err(Status::bad_request("Upgrade request required"));
    }
    let pod = find(server, context, &info.name).await?;
    let phase = value::text_at(&pod, &["status", "phase"]);
    if info.subresource != "portforward" && matches!(phase, "Succeeded" | "Failed") {
        return Err(Status::bad_request(format!(
            "cannot exec into a container in a completed pod; current phase is {phase}"
        )));
    }
    let path = kubelet_path(context, &pod)?;
    let node = value::text_at(&pod, &["spec", "nodeName"]);
    if node.is_empty() {
        return Err(Status::bad_request(format!("pod {} does not have a host assigned", info.name)));
    }
    let target = kubelet::of_node(server, node).await?;
    let mut incoming = incoming;
    // GET and POST are the same to the kubelet's streaming endpoints; WebSockets need a GET.
    incoming.body = body::empty();
    proxy::pass_on(server, context, incoming, target, &path).await
}

/// The same request as the kubelet's server expects it.
fn kubelet_path(context: &Context, pod: &Value) -> Result<String> {
    let (info, query) = (&context.info, &context.query);
    let (namespace, name) = (&info.namespace, &info.name);
    let mut parameters: Vec<String> = Vec::new();
    if info.subresource == "portforward" {
        for port in query.all("ports").flat_map(|ports| ports.split(',')) {
            parameters.push(format!("port={}", proxy::encode(port)));
        }
        return Ok(joined(format!("/portForward/{namespace}/{name}"), &parameters));
    }
    let container = container(pod, query.text("container"))?;
    let is = |name: &str| query.optional_flag(name);
    let (stdin, tty) = (is("stdin").unwrap_or(false), is("tty").unwrap_or(false));
    let default = info.subresource == "attach";
    let (stdout, stderr) = (is("stdout").unwrap_or(default), is("stderr").unwrap_or(default) && !tty);
    if !(stdin || stdout || stderr) {
        return Err(Status::bad_request("you must specify at least 1 of stdin, stdout, stderr"));
    }
    for (wanted, parameter) in [(stdin, "input"), (stdout, "output"), (stderr, "error"), (tty, "tty")] {
        if wanted {
            parameters.push(format!("{parameter}=1"));
        }
    }
    if info.subresource == "exec" {
        let command: Vec<&str> = query.all("command").collect();
        if command.is_empty() {
            return Err(Status::bad_request("you must specify at least one command for the container"));
        }
        parameters.extend(command.iter().map(|word| format!("command={}", proxy::encode(word))));
    }
    Ok(joined(format!("/{}/{namespace}/{name}/{container}", info.subresource), &parameters))
}

fn joined(path: String, parameters: &[String]) -> String {
    if parameters.is_empty() { path } else { format!("{path}?{}", parameters.join("&")) }
}

/// Answers `pods/proxy`.
pub(super) async fn proxy(
    server: &ApiServer,
    context: &Context,
    incoming: Incoming,
) -> Result<Response<Body>> {
    let name = ProxyName::parse(&context.info.name)?;
    let pod = find(server, context, &name.name).await?;
    let port = port(&pod, &name)?;
    let ip = value::text_at(&pod, &["status", "podIP"]);
    let target = Target { scheme: name.scheme(), address: check_remote(address(ip, port)?)? };
    proxy::proxy(server, context, incoming, target).await
}

/// The port that a request means: by number, by name, or the first that the pod has.
fn port(pod: &Value, name: &ProxyName) -> Result<u16> {
    if let Ok(number) = name.port.parse() {
        return Ok(number);
    }
    let mut ports = value::list_at(pod, &["spec", "containers"]).iter().flat_map(|c| value::list(c, "ports"));
    let found = if name.port.is_empty() {
        ports.next()
    } else {
        ports.find(|port| value::text(port, "name") == name.port)
    };
    match found.and_then(|port| value::int(port, "containerPort")).and_then(|n| u16::try_from(n).ok()) {
        Some(port) => Ok(port),
        None if name.port.is_empty() => Ok(if name.https { 443 } else { 80 }),
        None => Err(Status::bad_request(format!("pod {} has no port {}", name.name, name.port))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_container_is_found_or_asked_for() {
        let one = json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "a"}], "initContainers": [{"name": "i"}]}});
        assert_eq!(container(&one, "").unwrap(), "a");
        assert_eq!(container(&one, "i").unwrap(), "i");
        assert_eq!(container(&one, "x").unwrap_err().message, "container x is not valid for pod p");
        let mut two =
            json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "a"}, {"name": "b"}]}});
        assert_eq!(
            container(&two, "").unwrap_err().message,
            "a container name must be specified for pod p, choose one of: [a b]"
        );
        meta::set_annotation(&mut two, DEFAULT_CONTAINER, "b");
        assert_eq!(container(&two, "").unwrap(), "b");
    }

    #[test]
    fn ports_are_found_by_number_and_name() {
        let pod = json!({"spec": {"containers": [{"ports": [{"name": "web", "containerPort": 8080}]}]}});
        let named = |text: &str| ProxyName::parse(text).unwrap();
        assert_eq!(port(&pod, &named("p")).unwrap(), 8080);
        assert_eq!(port(&pod, &named("p:web")).unwrap(), 8080);
        assert_eq!(port(&pod, &named("p:99")).unwrap(), 99);
        assert!(port(&pod, &named("p:nope")).is_err());
        assert_eq!(port(&json!({}), &named("https:p:")).unwrap(), 443);
    }
}
