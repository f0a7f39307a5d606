//! Reads of 27,600 ConfigMaps and 10,000 pods, beside nginx sending the same bytes over TLS.

use crate::nginx::Nginx;
use crate::wrk::{self, Load, Outcome};
use crate::{Report, on_machine, rss_kib, server_pid};
use anyhow::Result;
use bytes::Bytes;
use e2e::api::Api;
use e2e::node::Node;
use http::Method;
use serde_json::{Value, json};
use std::time::Duration;

/// Pods in the long list; one in a hundred has the label that is asked for.
const PODS: usize = 10_000;
/// ConfigMaps of 1 KiB beside them.
const CONFIG_MAPS: usize = 27_600;
/// Who fills the store.
const WRITERS: usize = 16;
/// Clients that get one pod again and again.
const GETTERS: usize = 16;
/// How long each of the reads is repeated.
const READING: Duration = Duration::from_secs(5);
/// Where nginx listens.
const NGINX: &str = "127.0.0.1:8443";

/// Fills the store, then measures.
pub fn measure(node: &Node, api: &Api, address: &str, report: &mut Report) -> Result<()> {
    on_machine(node, fill(api))?;
    report.insert("rss_filled_mib".to_owned(), json!(rss_kib(server_pid(node)?)? / 1024));
    let reader = Reader { node, api, address, token: wrk::token(node, api)? };
    report.insert("list_10000_pods_ms".to_owned(), reader.beside_nginx(PODS_PATH)?);
    let path = format!("{PODS_PATH}?labelSelector=hundredth%3Dyes");
    report.insert("list_by_label_ms".to_owned(), reader.beside_nginx(&path)?);
    let gets = reader.read(address, &format!("{PODS_PATH}/p-7"), GETTERS)?;
    report.insert("get_pod_16_clients_per_second".to_owned(), json!(gets.per_second));
    Ok(())
}

struct Reader<'a> {
    node: &'a Node,
    api: &'a Api,
    address: &'a str,
    token: String,
}

impl Reader<'_> {
    fn read(&self, address: &str, path: &str, connections: usize) -> Result<Outcome> {
        let url = format!("https://{address}{path}");
        wrk::run(self.node, Some(&self.token), &Load { url: &url, body: None, connections, lasting: READING })
    }

    /// How long a list takes one client, and how long nginx needs with the same bytes.
    fn beside_nginx(&self, path: &str) -> Result<Value> {
        let body = on_machine(self.node, async {
            self.api.connect().await?.must(Method::GET, path, Bytes::new()).await
        })?;
        let own = self.read(self.address, path, 1)?;
        let server = format!("server {{ listen {NGINX} ssl; root FOLDER; access_log off; CERTIFICATE }}");
        let _nginx = Nginx::start(self.node, &body, &server, NGINX)?;
        let nginx = self.read(NGINX, "/content", 1)?;
        let spread = |of: &Outcome| json!({"p50": of.p50, "worst": of.worst});
        Ok(json!({"p50": own.p50, "worst": own.worst, "bytes": body.len(), "nginx": spread(&nginx)}))
    }
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
