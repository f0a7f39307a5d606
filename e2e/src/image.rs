//! OCI images made of files of this machine: programs with the libraries they load.

use anyhow::{Context, Result};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

/// An image: its manifest and its blobs, ready to be served.
#[derive(Clone, Debug)]
pub struct Image {
    /// Repository, such as `library/nginx`.
    pub repository: String,
    /// Tag.
    pub tag: String,
    /// The manifest's bytes.
    pub manifest: Vec<u8>,
    /// Configuration and layer.
    pub blobs: Vec<Vec<u8>>,
}

/// `sha256:...` of some bytes.
pub fn digest(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    let mut text = String::from("sha256:");
    for byte in Sha256::digest(bytes) {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// Collects the files of one layer.
pub struct Builder {
    archive: tar::Builder<Vec<u8>>,
    seen: BTreeSet<String>,
}

impl Default for Builder {
    fn default() -> Self {
        Self { archive: tar::Builder::new(Vec::new()), seen: BTreeSet::new() }
    }
}

impl Builder {
    /// Adds a folder.
    ///
    /// # Errors
    /// When the archive cannot be written.
    pub fn folder(mut self, path: &str, mode: u32) -> Result<Self> {
        if self.seen.insert(path.to_owned()) {
            let mut header = tar::Header::new_gnu();
            header.set_entry_type(tar::EntryType::Directory);
            header.set_mode(mode);
            header.set_size(0);
            self.archive.append_data(&mut header, path.trim_start_matches('/'), std::io::empty())?;
        }
        Ok(self)
    }

    /// Adds a file with some content.
    ///
    /// # Errors
    /// When the archive cannot be written.
    pub fn file(mut self, path: &str, mode: u32, content: &[u8]) -> Result<Self> {
        if self.seen.insert(path.to_owned()) {
            let mut header = tar::Header::new_gnu();
            header.set_mode(mode);
            header.set_size(content.len() as u64);
            self.archive.append_data(&mut header, path.trim_start_matches('/'), content)?;
        }
        Ok(self)
    }

    /// Adds a symbolic link.
    ///
    /// # Errors
    /// When the archive cannot be written.
    pub fn link(mut self, path: &str, target: &str) -> Result<Self> {
        if self.seen.insert(path.to_owned()) {
            let mut header = tar::Header::new_gnu();
            header.set_entry_type(tar::EntryType::Symlink);
            header.set_mode(0o777);
            header.set_size(0);
            self.archive.append_link(&mut header, path.trim_start_matches('/'), target)?;
        }
        Ok(self)
    }

    /// Adds a program of this machine, at the path it has here, with the libraries it loads.
    ///
    /// # Errors
    /// When it is not there.
    pub fn program(mut self, path: &str) -> Result<Self> {
        let content = std::fs::read(path).with_context(|| format!("reading {path}"))?;
        self = self.file(path, 0o755, &content)?;
        let listed = Command::new("ldd").arg(path).output()?;
        for library in libraries(&String::from_utf8_lossy(&listed.stdout)) {
            let content = std::fs::read(&library).with_context(|| format!("reading {library}"))?;
            self = self.file(&library, 0o755, &content)?;
        }
        Ok(self)
    }

    /// Closes the layer and makes the image.
    ///
    /// # Errors
    /// When the archive cannot be written.
    pub fn image(self, repository: &str, tag: &str, run: Value) -> Result<Image> {
        let layer = self.archive.into_inner()?;
        let configuration = json!({
            "architecture": "amd64", "os": "linux", "config": run,
            "rootfs": {"type": "layers", "diff_ids": [digest(&layer)]},
        });
        let configuration = serde_json::to_vec(&configuration)?;
        let manifest = json!({
            "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": {"mediaType": "application/vnd.oci.image.config.v1+json",
                       "digest": digest(&configuration), "size": configuration.len()},
            "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar",
                        "digest": digest(&layer), "size": layer.len()}],
        });
        Ok(Image {
            repository: repository.to_owned(),
            tag: tag.to_owned(),
            manifest: serde_json::to_vec(&manifest)?,
            blobs: vec![configuration, layer],
        })
    }
}

/// The paths in what `ldd` prints.
fn libraries(listing: &str) -> Vec<String> {
    listing
        .lines()
        .flat_map(str::split_whitespace)
        .filter(|word| word.starts_with('/') && Path::new(word).exists())
        .map(str::to_owned)
        .collect()
}

/// nginx as `docker.io/library/nginx:TAG`: answers every request with `HOSTNAME TAG`.
///
/// # Errors
/// When nginx is not installed.
pub fn nginx(tag: &str) -> Result<Image> {
    let configuration = format!(
        "daemon off;\nuser root;\nworker_processes 1;\nerror_log /dev/stderr notice;\npid /run/nginx.pid;\n\
         events {{ worker_connections 1024; }}\n\
         http {{ access_log /dev/stdout; client_body_temp_path /tmp/body; proxy_temp_path /tmp/proxy;\n\
         fastcgi_temp_path /tmp/fastcgi; uwsgi_temp_path /tmp/uwsgi; scgi_temp_path /tmp/scgi;\n\
         server {{ listen 80; listen [::]:80; location / {{ return 200 \"$hostname {tag}\\n\"; }}\n\
         location /files/ {{ alias /usr/share/nginx/html/; }} }} }}\n"
    );
    base()?
        .program("/usr/sbin/nginx")?
        .folder("/etc/nginx", 0o755)?
        .file("/etc/nginx/nginx.conf", 0o644, configuration.as_bytes())?
        .folder("/var/log/nginx", 0o755)?
        .folder("/var/lib/nginx", 0o755)?
        .folder("/usr/share/nginx/html", 0o755)?
        .image(
            "library/nginx",
            tag,
            json!({"Env": [PATH], "Cmd": ["/usr/sbin/nginx"], "ExposedPorts": {"80/tcp": {}}, "StopSignal": "SIGQUIT"}),
        )
}

/// busybox as `docker.io/library/busybox:latest`, with curl beside it, which resolves names as glibc does.
///
/// # Errors
/// When busybox or curl is not installed.
pub fn busybox() -> Result<Image> {
    let mut builder = base()?;
    if Path::new("/usr/bin/curl").exists() {
        builder = builder.program("/usr/bin/curl")?;
    }
    builder.image("library/busybox", "latest", json!({"Env": [PATH], "Cmd": ["sh"]}))
}

const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Folders and accounts that every image has, and busybox with its applets.
fn base() -> Result<Builder> {
    let mut builder = Builder::default()
        .folder("/bin", 0o755)?
        .folder("/etc", 0o755)?
        .folder("/run", 0o755)?
        .folder("/tmp", 0o1777)?
        .folder("/root", 0o700)?
        .file(
            "/etc/passwd",
            0o644,
            b"root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\n",
        )?
        .file("/etc/group", 0o644, b"root:x:0:\nnogroup:x:65534:\n")?
        .file("/etc/nsswitch.conf", 0o644, b"hosts: files dns\n")?
        .program("/bin/busybox")?;
    let applets = Command::new("/bin/busybox").arg("--list").output()?;
    for applet in String::from_utf8_lossy(&applets.stdout).lines() {
        if applet != "busybox" {
            builder = builder.link(&format!("/bin/{applet}"), "busybox")?;
        }
    }
    Ok(builder)
}
