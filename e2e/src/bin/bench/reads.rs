//! Reads of 27,600 ConfigMaps and 10,000 pods, beside nginx sending the same bytes over TLS.

use crate::{Report, on_machine, rss_kib, server_pid, spread};
use anyhow::{Context, Result};
use bytes::Bytes;
use e2e::api::Api;
use e2e::node::Node;
use http::Method;
use serde_json::json;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

/// Pods in the long list; one in a hundred has the label that is asked for.
const PODS: usize = 10_000;
/// ConfigMaps of 1 KiB beside them.
const CONFIG_MAPS: usize = 27_600;
/// Who fills the store.
const WRITERS: usize = 16;
/// Lists that are measured.
const LISTS: usize = 20;
/// Clients that get one pod again and again, and for how long.
const GETTERS: usize = 16;
const GETTING: Duration = Duration::from_secs(5);
/// Where nginx listens.
const NGINX: &str = "127.0.0.1:8443";

/// Fills the store, then measures.
pub fn measure(node: &Node, api: &Api, report: &mut Report) -> Result<()> {
    on_machine(node, fill(api))?;
    report.insert("rss_filled_mib".to_owned(), json!(rss_kib(server_pid(node)?)? / 1024));
    report.insert("list_10000_pods_ms".to_owned(), beside_nginx(node, api, PODS_PATH, LISTS)?);
    let path = format!("{PODS_PATH}?labelSelector=hundredth%3Dyes");
    report.insert("list_by_label_ms".to_owned(), beside_nginx(node, api, &path, 10 * LISTS)?);
    let gets = on_machine(node, get(api))?;
    report.insert("get_pod_16_clients_per_second".to_owned(), json!(gets as f64 / GETTING.as_secs_f64()));
    Ok(())
}

/// A list's times, and those of nginx with the same bytes.
fn beside_nginx(node: &Node, api: &Api, path: &str, times: usize) -> Result<serde_json::Value> {
    let (took, body) = on_machine(node, list(api, path, times))?;
    let mut report = spread(&took);
    report["bytes"] = json!(body.len());
    let _nginx = Nginx::start(node, &body)?;
    let other = Api::new(&node.data_dir(), NGINX)?;
    let (took, _) = on_machine(node, list(&other, "/list", times))?;
    report["nginx"] = spread(&took);
    Ok(report)
}

const PODS_PATH: &str = "/api/v1/namespaces/default/pods";

async fn fill(api: &Api) -> Result<()> {
    let mut tasks = Vec::new();
    for writer in 0..WRITERS {
        let mut connection = api.connect().await?;
        tasks.push(tokio::spawn(async move {
            for index in (writer..PODS).step_by(WRITERS) {
                let hundredth = if index % 100 == 0 { "yes" } else { "no" };
                // Some 4 KB of annotations bring a pod to the size that pods with managed fields have.
                let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {
                    "name": format!("p-{index}"), "labels": {"app": "bench", "hundredth": hundredth},
                    "annotations": {"note": "x".repeat(4000)}},
                    "spec": {"schedulerName": "nobody", "containers": [{"name": "c", "image": "busybox"}]}});
                connection.must(Method::POST, PODS_PATH, Bytes::from(pod.to_string())).await?;
            }
            for index in (writer..CONFIG_MAPS).step_by(WRITERS) {
                let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": format!("m-{index}")},
                    "data": {"k": "x".repeat(1024)}});
                let path = "/api/v1/namespaces/default/configmaps";
                connection.must(Method::POST, path, Bytes::from(map.to_string())).await?;
            }
            anyhow::Ok(())
        }));
    }
    for task in tasks {
        task.await??;
    }
    Ok(())
}

/// Times of a list, and its bytes.
async fn list(api: &Api, path: &str, times: usize) -> Result<(Vec<Duration>, Bytes)> {
    let mut connection = api.connect().await?;
    let (mut all, mut body) = (Vec::new(), Bytes::new());
    for _ in 0..times {
        let start = Instant::now();
        body = connection.must(Method::GET, path, Bytes::new()).await?;
        all.push(start.elapsed());
    }
    Ok((all, body))
}

async fn get(api: &Api) -> Result<usize> {
    let path = format!("{PODS_PATH}/p-7");
    let start = Instant::now();
    let mut tasks = Vec::new();
    for _ in 0..GETTERS {
        let (mut connection, path) = (api.connect().await?, path.clone());
        tasks.push(tokio::spawn(async move {
            let mut count = 0;
            while start.elapsed() < GETTING {
                connection.must(Method::GET, &path, Bytes::new()).await?;
                count += 1;
            }
            anyhow::Ok(count)
        }));
    }
    let mut sum = 0;
    for task in tasks {
        sum += task.await??;
    }
    Ok(sum)
}

/// An nginx that sends one file with the API server's own certificate.
struct Nginx {
    process: Child,
    _folder: tempfile::TempDir,
}

impl Nginx {
    fn start(node: &Node, content: &[u8]) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        std::fs::write(folder.path().join("list"), content)?;
        let (here, pki) = (folder.path().display(), node.data_dir().join("pki"));
        let text = format!(
            "daemon off; master_process off; pid {here}/pid; error_log stderr;\nevents {{}}\nhttp {{\n\
             access_log off; sendfile on;\nserver {{ listen {NGINX} ssl; root {here};\n\
             ssl_certificate {0}/apiserver.crt; ssl_certificate_key {0}/apiserver.key; }} }}\n",
            pki.display()
        );
        let configuration = folder.path().join("nginx.conf");
        std::fs::write(&configuration, text)?;
        let mut command: Command = node.machine.command("nginx");
        let process = command.arg("-c").arg(&configuration).spawn().context("nginx (package nginx-light)")?;
        let nginx = Self { process, _folder: folder };
        let api = Api::new(&node.data_dir(), NGINX)?;
        on_machine(node, async {
            let start = Instant::now();
            while api.connect().await.is_err() {
                anyhow::ensure!(start.elapsed() < Duration::from_secs(10), "nginx does not answer");
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            Ok(())
        })?;
        Ok(nginx)
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
