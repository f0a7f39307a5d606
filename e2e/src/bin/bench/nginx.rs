//! An nginx beside what is measured: what this machine can do.

use crate::on_machine;
use anyhow::{Context, Result, ensure};
use e2e::api::Api;
use e2e::node::Node;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

/// How long it may take until it answers.
const STARTING: Duration = Duration::from_secs(10);

/// A running nginx with the API server's own certificate; ended when dropped.
pub struct Nginx {
    process: Child,
    _folder: tempfile::TempDir,
}

impl Nginx {
    /// Starts one that has `content` in a file of that name, and these server blocks, where FOLDER stands for the
    /// file's folder and CERTIFICATE for the directives of TLS. Waits until `address` answers over TLS.
    pub fn start(node: &Node, content: &[u8], servers: &str, address: &str) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        std::fs::write(folder.path().join("content"), content)?;
        let (here, pki) = (folder.path().display().to_string(), node.data_dir().join("pki"));
        let certificate = format!(
            "ssl_certificate {0}/apiserver.crt; ssl_certificate_key {0}/apiserver.key;",
            pki.display()
        );
        let servers = servers.replace("FOLDER", &here).replace("CERTIFICATE", &certificate);
        let text = format!(
            "daemon off; user root; worker_processes auto; pid {here}/pid; error_log stderr;\nevents {{}}\n\
             http {{\naccess_log {here}/access.log; sendfile on;\n{servers}\n}}\n"
        );
        let configuration = folder.path().join("nginx.conf");
        std::fs::write(&configuration, text)?;
        let mut command: Command = node.machine.command("nginx");
        let process = command.arg("-c").arg(&configuration).spawn().context("nginx (package nginx-light)")?;
        let nginx = Self { process, _folder: folder };
        let api = Api::new(&node.data_dir(), address)?;
        on_machine(node, async {
            let start = Instant::now();
            while api.connect().await.is_err() {
                ensure!(start.elapsed() < STARTING, "nginx does not answer");
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            Ok(())
        })?;
        Ok(nginx)
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // Its workers end with it; a killed master would leave them behind.
        let _ = Command::new("kill").args(["-TERM", &self.process.id().to_string()]).status();
        let _ = self.process.wait();
    }
}
