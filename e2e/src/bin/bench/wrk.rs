//! Load by wrk, as the figures of other API servers were measured: over TLS, with a token.

use anyhow::{Context, Result};
use bytes::Bytes;
use e2e::api::Api;
use e2e::node::Node;
use http::Method;
use serde_json::{Value, json};
use std::time::Duration;

use crate::on_machine;

/// What is sent again and again.
pub struct Load<'a> {
    /// `https://HOST:PORT/PATH`.
    pub url: &'a str,
    /// Of a POST; without one it is a GET.
    pub body: Option<&'a str>,
    /// At a time, each on a connection of its own.
    pub connections: usize,
    /// How long.
    pub lasting: Duration,
}

/// What came of it.
pub struct Outcome {
    /// Answers in a second, all of them successes.
    pub per_second: f64,
    /// Milliseconds by percentile.
    pub p50: f64,
    /// The slowest hundredth takes longer.
    pub p99: f64,
    /// The slowest.
    pub worst: f64,
}

/// The bearer token of a service account that may do everything.
pub fn token(node: &Node, api: &Api) -> Result<String> {
    let answer = on_machine(node, async {
        let mut connection = api.connect().await?;
        let account = json!({"metadata": {"name": "wrk"}});
        let binding = json!({"metadata": {"name": "wrk"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
            "subjects": [{"kind": "ServiceAccount", "namespace": "default", "name": "wrk"}]});
        let accounts = "/api/v1/namespaces/default/serviceaccounts";
        let bindings = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings";
        let mut answer = Bytes::new();
        for (path, body) in [
            (accounts, &account),
            (bindings, &binding),
            (&format!("{accounts}/wrk/token"), &json!({"spec": {"expirationSeconds": 7200}})),
        ] {
            answer = connection.must(Method::POST, path, Bytes::from(body.to_string())).await?;
        }
        Ok(answer)
    })?;
    let answer: Value = serde_json::from_slice(&answer)?;
    Ok(answer["status"]["token"].as_str().context("a token")?.to_owned())
}

/// Runs wrk within the node's machine, with a bearer token if there is one.
pub fn run(node: &Node, token: Option<&str>, load: &Load<'_>) -> Result<Outcome> {
    let folder = tempfile::tempdir()?;
    let script = folder.path().join("load.lua");
    let mut text =
        token.map_or_else(String::new, |t| format!("wrk.headers['Authorization'] = 'Bearer {t}'\n"));
    if let Some(body) = load.body {
        text += &format!(
            "wrk.method = 'POST'\nwrk.headers['Content-Type'] = 'application/json'\nwrk.body = [==[{body}]==]\n"
        );
    }
    text += "done = function(summary, latency, requests)\n  local errors = summary.errors\n  \
             io.write(string.format('\\n{\"requests\":%d,\"took\":%d,\"failed\":%d,\"p50\":%d,\"p99\":%d,\"worst\":%d}\\n', \
             summary.requests, summary.duration, errors.connect + errors.read + errors.write + errors.status + \
             errors.timeout, latency:percentile(50), latency:percentile(99), latency.max))\nend\n";
    std::fs::write(&script, text)?;
    let output = node
        .machine
        .command("wrk")
        .args(["--threads", "1", "--timeout", "10s"])
        .args(["--connections", &load.connections.to_string()])
        .args(["--duration", &format!("{}s", load.lasting.as_secs()), "--script"])
        .arg(&script)
        .arg(load.url)
        .output()
        .context("wrk (package wrk)")?;
    let said = String::from_utf8_lossy(&output.stdout);
    let last = said.lines().rev().find(|line| line.starts_with('{'));
    let told: Value = serde_json::from_str(last.with_context(|| format!("wrk said {said}"))?)?;
    anyhow::ensure!(told["failed"] == 0, "{}: {told}", load.url);
    let number = |name: &str| told[name].as_f64().with_context(|| name.to_owned());
    let milliseconds = |name: &str| Ok::<_, anyhow::Error>((number(name)? / 10.0).round() / 100.0);
    Ok(Outcome {
        per_second: (number("requests")? / number("took")? * 1e6).round(),
        p50: milliseconds("p50")?,
        p99: milliseconds("p99")?,
        worst: milliseconds("worst")?,
    })
}
