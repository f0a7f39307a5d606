//! Exec, attach, port-forward and run.
//!
//! | module | job |
//! |---|---|
//! | `options` | what a request wants |
//! | `upgrade` | which protocol a client speaks, and the answer 101 |
//! | `streams` | what both protocols have in common: inputs and outputs |
//! | `channels` | how messages say which channel they are of |
//! | `websocket` | channels over WebSocket messages (v5, v4 and older) |
//! | `spdy` | streams of an SPDY connection |
//! | `relay` | between a client's streams and the runtime's |
//! | `forward` | port-forward over SPDY, also tunnelled in a WebSocket |
//! | `forward_channels` | port-forward over WebSocket channels |
//! | `tunnel` | a WebSocket's binary messages as one stream of bytes |

pub mod channels;
mod forward;
mod forward_channels;
mod options;
mod relay;
mod spdy;
mod streams;
mod tunnel;
mod upgrade;
mod websocket;

use std::sync::Arc;
use std::time::Duration;

use cri::streaming::remote_command::{self, StreamOptions};
use cri::{CriError, v1};
use http::{Request, Response, StatusCode};
use hyper::body::Incoming;

use self::options::CommandOptions;
use self::upgrade::Protocol;
use super::pod_source::{ContainerHandle, PodHandle};
use super::respond::{self, Body};
use super::route::{Query, Target};
use super::serve::State;

/// Runs a command in a container and connects it to the client.
pub(super) async fn exec(
    state: &Arc<State>,
    request: Request<Incoming>,
    target: Target<'_>,
) -> Response<Body> {
    let options = match CommandOptions::parse(&Query::of(&request)) {
        Ok(options) => options,
        Err(message) => return respond::error(StatusCode::BAD_REQUEST, message),
    };
    if options.command.is_empty() {
        return respond::error(StatusCode::BAD_REQUEST, "a command must be given");
    }
    let id = match running_container(state, target).await {
        Ok((_, id)) => id,
        Err(response) => return response,
    };
    let message = v1::ExecRequest {
        container_id: id,
        cmd: options.command.clone(),
        tty: options.streams.tty,
        stdin: options.streams.stdin,
        stdout: options.streams.stdout,
        stderr: options.streams.stderr,
    };
    let url = state.runtime.exec_url(message).await;
    connect(state, request, url, options.streams).await
}

/// Connects the client to a container's own process.
pub(super) async fn attach(
    state: &Arc<State>,
    request: Request<Incoming>,
    target: Target<'_>,
) -> Response<Body> {
    let options = match CommandOptions::parse(&Query::of(&request)) {
        Ok(options) => options,
        Err(message) => return respond::error(StatusCode::BAD_REQUEST, message),
    };
    let (container, id) = match running_container(state, target).await {
        Ok(found) => found,
        Err(response) => return response,
    };
    // The container's terminal decides, whatever the client believes.
    let tty = container.tty;
    let streams = StreamOptions { tty, stderr: options.streams.stderr && !tty, ..options.streams };
    let message = v1::AttachRequest {
        container_id: id,
        stdin: streams.stdin,
        tty,
        stdout: streams.stdout,
        stderr: streams.stderr,
    };
    let url = state.runtime.attach_url(message).await;
    connect(state, request, url, streams).await
}

/// Upgrades the client's connection, dials the runtime's URL, and relays between them.
async fn connect(
    state: &Arc<State>,
    mut request: Request<Incoming>,
    url: Result<String, CriError>,
    options: StreamOptions,
) -> Response<Body> {
    let protocol = match Protocol::negotiate(request.headers(), upgrade::REMOTE_COMMAND) {
        Ok(protocol) => protocol,
        Err(refusal) => return refusal.into_response(),
    };
    let url = match url {
        Ok(url) => url,
        Err(error) => return runtime_error(&error),
    };
    // Dialled before the upgrade, so that what fails here is still an HTTP error.
    let runtime = match remote_command::connect(&url, options).await {
        Ok(runtime) => runtime,
        Err(error) => return respond::error(StatusCode::INTERNAL_SERVER_ERROR, error),
    };
    let response = protocol.response(request.headers());
    let upgraded = hyper::upgrade::on(&mut request);
    let shutdown = state.shutdown.clone();
    state.tasks.spawn(async move {
        let serving = async {
            let Ok(upgraded) = upgraded.await else { return };
            let client = match protocol {
                Protocol::Spdy(_) => spdy::accept(upgraded, options).await,
                Protocol::WebSocket(channels) => websocket::accept(upgraded, channels, options).await,
            };
            if let Some(client) = client {
                relay::run(client, runtime).await;
            }
        };
        tokio::select! {
            () = serving => {}
            () = shutdown.cancelled() => {}
        }
    });
    response
}

/// Forwards ports of a pod's network.
pub(super) async fn port_forward(
    state: &Arc<State>,
    mut request: Request<Incoming>,
    namespace: &str,
    pod: &str,
    uid: Option<&str>,
) -> Response<Body> {
    let handle = match find(state, namespace, pod, uid).await {
        Ok(handle) => handle,
        Err(response) => return response,
    };
    let Some(sandbox) = handle.sandbox_id else {
        let message = format!("unable to do port forwarding: pod {pod:?} has no running sandbox");
        return respond::error(StatusCode::INTERNAL_SERVER_ERROR, message);
    };
    let protocol = match Protocol::negotiate(request.headers(), upgrade::PORT_FORWARD) {
        Ok(protocol) => protocol,
        Err(refusal) => return refusal.into_response(),
    };
    let query = Query::of(&request);
    let ports = match options::ports(&query) {
        Ok(ports) => ports,
        Err(message) => return respond::error(StatusCode::BAD_REQUEST, message),
    };
    let by_channels = matches!(&protocol, Protocol::WebSocket(channels) if !channels.tunnels_spdy());
    if by_channels && ports.is_empty() {
        return respond::error(StatusCode::BAD_REQUEST, "query parameter \"port\" is required");
    }
    let message = v1::PortForwardRequest {
        pod_sandbox_id: sandbox,
        port: ports.iter().map(|port| i32::from(*port)).collect(),
    };
    let url = match state.runtime.port_forward_url(message).await {
        Ok(url) => url,
        Err(error) => return runtime_error(&error),
    };
    let runtime = match cri::streaming::port_forward::connect(&url).await {
        Ok(runtime) => Arc::new(runtime),
        Err(error) => return respond::error(StatusCode::INTERNAL_SERVER_ERROR, error),
    };
    let response = protocol.response(request.headers());
    let upgraded = hyper::upgrade::on(&mut request);
    let shutdown = state.shutdown.clone();
    state.tasks.spawn(async move {
        let serving = async {
            let Ok(upgraded) = upgraded.await else { return };
            match protocol {
                Protocol::Spdy(_) => forward::serve(spdy::connection(upgraded), runtime).await,
                Protocol::WebSocket(channels) if channels.tunnels_spdy() => {
                    let bytes = tunnel::open(upgraded).await;
                    forward::serve(spdy::connection_over(bytes), runtime).await;
                }
                Protocol::WebSocket(channels) => {
                    forward_channels::serve(upgraded, channels, &ports, runtime).await;
                }
            }
        };
        tokio::select! {
            () = serving => {}
            () = shutdown.cancelled() => {}
        }
    });
    response
}

/// Runs a command and answers what it printed.
pub(super) async fn run(
    state: &Arc<State>,
    request: Request<Incoming>,
    target: Target<'_>,
) -> Response<Body> {
    let query = Query::of(&request);
    let command: Vec<String> =
        query.get("cmd").unwrap_or_default().split_whitespace().map(str::to_owned).collect();
    if command.is_empty() {
        return respond::error(StatusCode::BAD_REQUEST, "query parameter \"cmd\" is required");
    }
    let id = match running_container(state, target).await {
        Ok((_, id)) => id,
        Err(response) => return response,
    };
    match state.runtime.exec_sync(&id, &command, Duration::ZERO).await {
        Ok(output) => {
            let text = [output.stdout, output.stderr].concat();
            let text = String::from_utf8_lossy(&text).into_owned();
            if output.exit_code == 0 {
                return respond::text(StatusCode::OK, text);
            }
            let message = format!("command {:?} exited with {}: {text}", command.join(" "), output.exit_code);
            respond::error(StatusCode::INTERNAL_SERVER_ERROR, message)
        }
        Err(error) => runtime_error(&error),
    }
}

async fn find(
    state: &State,
    namespace: &str,
    pod: &str,
    uid: Option<&str>,
) -> Result<PodHandle, Response<Body>> {
    state
        .source
        .lookup(namespace, pod, uid)
        .await
        .ok_or_else(|| respond::error(StatusCode::NOT_FOUND, format!("pod {pod:?} does not exist")))
}

/// The container's running instance.
async fn running_container(
    state: &State,
    target: Target<'_>,
) -> Result<(ContainerHandle, String), Response<Body>> {
    let handle = find(state, target.namespace, target.pod, target.uid).await?;
    let container = handle.container(target.container).cloned();
    let running = container.and_then(|container| {
        let id = container.current.as_ref().filter(|current| current.running)?.id.clone();
        Some((container, id))
    });
    running.ok_or_else(|| {
        let message = format!("container not found ({:?})", target.container);
        respond::error(StatusCode::INTERNAL_SERVER_ERROR, message)
    })
}

fn runtime_error(error: &CriError) -> Response<Body> {
    let status = match error {
        CriError::NotFound { .. } => StatusCode::NOT_FOUND,
        CriError::Unavailable { .. } => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    };
    respond::error(status, error)
}
