//! `knarr dashboard-proxy`: the dashboard on a port of this machine, with a token to log in, until Ctrl-C.

use super::enable::PATIENCE;
use super::process;
use super::progress::Progress;
use crate::arguments::tools::DashboardProxy as Options;
use crate::paths::Paths;
use crate::server::listen;
use addons::engine::Engine;
use anyhow::{Context, Result};
use client::Rest;
use client::rest::item_path;
use http::Method;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use serde_json::{Value, json};
use std::net::{Ipv4Addr, SocketAddr};
use std::process::ExitCode;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};

/// Where the add-on's objects are, as its manifests say.
const NAMESPACE: &str = "kube-system";
/// The add-on.
const DASHBOARD: &str = "dashboard";
/// Its pods.
const PODS: &str = "k8s-app=kubernetes-dashboard";
/// Their port.
const PORT: u16 = 8443;
/// Whose tokens are made.
const ADMIN: &str = "/api/v1/namespaces/kube-system/serviceaccounts/dashboard-admin/token";
const SECRETS: &str = "/api/v1/namespaces/kube-system/secrets";
/// The Secrets that logins hang on.
const LABEL: &str = "knarr.io/dashboard-login";
/// Wait after an accept that failed.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How long a token is good for if nobody ends this command politely.
const VALID_SECONDS: i64 = 12 * 3600;

/// Enables the dashboard unless it is, and forwards a port to it.
///
/// # Errors
/// When the port is taken, or the dashboard cannot be enabled.
pub async fn run(options: &Options) -> Result<ExitCode> {
    let paths = Paths::new(&options.location.data_dir);
    let client = process::client(&paths).await?;
    let address = SocketAddr::new(options.address, options.port);
    let listener = listen::on(address)
        .with_context(|| format!("cannot listen on {address}; choose another port with --port"))?;
    let address = listener.local_addr()?;
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let mut progress = Progress::new();
    progress.step("Checking if Dashboard is running.");
    let engine = Engine::new(client.clone());
    engine.enable(DASHBOARD, &[], PATIENCE, &mut |line| progress.step(&line)).await?;
    let rest = Rest::new(client.clone());
    let login = Login::begin(&rest).await.context("cannot make a token to log in with")?;
    let host = if address.ip().is_unspecified() { Ipv4Addr::LOCALHOST.into() } else { address.ip() };
    let address = SocketAddr::new(host, address.port());
    progress.done(&format!("Dashboard will be available at https://{address}"));
    progress.done(&format!("Use the following token to login:\n{}", login.token));
    progress.done("The token and the port are good until you end this (Ctrl-C).");
    let pods = Api::<Pod>::namespaced(client, NAMESPACE);
    tokio::select! {
        () = forward(listener, pods, rest.clone()) => {}
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    login.end(&rest).await.context("the token could not be revoked; it ends within twelve hours")?;
    Ok(ExitCode::SUCCESS)
}

/// A token that hangs on a Secret: without that, nobody believes it.
struct Login {
    token: String,
    secret: String,
}

impl Login {
    /// Makes one, and clears away those that were not ended.
    async fn begin(rest: &Rest) -> Result<Self> {
        let old: Value = serde_json::from_str(
            &rest.raw(Method::GET, &format!("{SECRETS}?labelSelector={LABEL}"), None).await?,
        )?;
        for name in ended(&old, Timestamp::now()) {
            rest.raw(Method::DELETE, &item_path(SECRETS, &name, ""), None).await?;
        }
        let secret = json!({"apiVersion": "v1", "kind": "Secret", "immutable": true,
            "metadata": {"generateName": "dashboard-login-", "labels": {LABEL: ""}}});
        let made = post(rest, SECRETS, &secret).await?;
        let told = |path: &str| made.pointer(path).and_then(Value::as_str).context("no Secret was made");
        let (secret, uid) = (told("/metadata/name")?.to_owned(), told("/metadata/uid")?);
        let request = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {
            "audiences": [], "expirationSeconds": VALID_SECONDS,
            "boundObjectRef": {"apiVersion": "v1", "kind": "Secret", "name": secret, "uid": uid}}});
        let answer = post(rest, ADMIN, &request).await?;
        let token = answer.pointer("/status/token").and_then(Value::as_str).context("no token was made")?;
        Ok(Self { token: token.to_owned(), secret })
    }

    /// Nobody believes the token any more.
    async fn end(self, rest: &Rest) -> Result<()> {
        rest.raw(Method::DELETE, &item_path(SECRETS, &self.secret, ""), None).await?;
        Ok(())
    }
}

async fn post(rest: &Rest, path: &str, object: &Value) -> Result<Value> {
    let text = rest.raw(Method::POST, path, Some(serde_json::to_vec(object)?)).await?;
    Ok(serde_json::from_str(&text)?)
}

/// Names of the Secrets whose tokens have ended.
fn ended(list: &Value, now: Timestamp) -> Vec<String> {
    let items = list.get("items").and_then(Value::as_array);
    let told = |item: &Value, field: &str| Some(item.get("metadata")?.get(field)?.as_str()?.to_owned());
    let is_old = |item: &&Value| {
        let created = told(item, "creationTimestamp").and_then(|time| time.parse::<Timestamp>().ok());
        created.is_some_and(|created| now.as_second() - created.as_second() > VALID_SECONDS)
    };
    items.into_iter().flatten().filter(is_old).filter_map(|item| told(item, "name")).collect()
}

/// Takes connections and hands each to a pod of the dashboard, through the API server.
async fn forward(listener: TcpListener, pods: Api<Pod>, rest: Rest) {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            // Out of descriptors; a moment later there may be one.
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let (pods, rest) = (pods.clone(), rest.clone());
        tokio::spawn(async move {
            if let Err(error) = one(stream, pods, &rest).await {
                eprintln!("a connection failed: {error:#}");
            }
        });
    }
}

async fn one(mut browser: TcpStream, pods: Api<Pod>, rest: &Rest) -> Result<()> {
    browser.set_nodelay(true)?;
    let all = rest.list::<Pod>(NAMESPACE, PODS).await?;
    let pod = all.iter().find(|pod| is_ready(pod)).context("no pod of the dashboard is ready")?;
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    let mut forwarder = pods.portforward(name, &[PORT]).await?;
    let mut stream = forwarder.take_stream(PORT).context("the port was not forwarded")?;
    // Either side may leave as it likes.
    let _ = tokio::io::copy_bidirectional(&mut browser, &mut stream).await;
    Ok(())
}

fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    conditions.iter().any(|one| one.type_ == "Ready" && one.status == "True")
        && pod.metadata.deletion_timestamp.is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logins_that_nobody_ended_are_cleared_away_when_their_tokens_have_ended() {
        let at = |name: &str, time: &str| json!({"metadata": {"name": name, "creationTimestamp": time}});
        let list =
            json!({"items": [at("old", "2026-01-01T00:00:00Z"), at("new", "2026-01-01T11:00:00Z"), {}]});
        assert_eq!(ended(&list, "2026-01-01T12:00:01Z".parse().unwrap()), ["old"]);
        assert!(ended(&json!({}), Timestamp::UNIX_EPOCH).is_empty());
    }

    #[test]
    fn the_manifests_are_those_that_are_meant_here() {
        let addon = addons::catalog::find(DASHBOARD).unwrap();
        let text = addon.texts.concat();
        assert!(text.contains(&format!("containerPort: {PORT}")));
        assert!(text.contains(&PODS.replace('=', ": ")));
        assert!(ADMIN.contains("/dashboard-admin/") && text.contains("name: dashboard-admin\n"));
    }

    #[test]
    fn connections_go_to_pods_that_are_ready_and_stay() {
        let pod = |ready: &str, deleted: Option<&str>| -> Pod {
            serde_json::from_value(json!({"metadata": {"deletionTimestamp": deleted},
                "status": {"conditions": [{"type": "Ready", "status": ready}]}}))
            .unwrap()
        };
        assert!(is_ready(&pod("True", None)));
        assert!(!is_ready(&pod("False", None)));
        assert!(!is_ready(&pod("True", Some("2026-01-01T00:00:00Z"))));
        assert!(!is_ready(&Pod::default()));
    }
}
