//! An image archive with this machine's static busybox in it.

use std::path::Path;

use apimachinery::platform::architecture;
use cri::image::oci::{self, Descriptor, Index, Manifest};

pub const BUSYBOX: &str = "docker.io/library/busybox:test";

/// Writes the archive as an OCI layout.
pub fn write_busybox(path: &Path) {
    let busybox = cri::containerd::version::find_program("busybox").expect("busybox");
    let program = std::fs::read(busybox).expect("busybox can be read");
    let mut layer = tar::Builder::new(Vec::new());
    let mut folder = tar::Header::new_gnu();
    folder.set_entry_type(tar::EntryType::Directory);
    folder.set_mode(0o755);
    folder.set_size(0);
    for name in ["bin/", "etc/", "tmp/"] {
        layer.append_data(&mut folder.clone(), name, std::io::empty()).expect("a folder");
    }
    let mut file = tar::Header::new_gnu();
    file.set_mode(0o755);
    file.set_size(program.len() as u64);
    layer.append_data(&mut file, "bin/busybox", program.as_slice()).expect("busybox");
    for applet in ["sh", "cat", "echo", "sleep", "stty", "nc", "ip", "seq", "id", "test", "wget", "httpd"] {
        let mut link = tar::Header::new_gnu();
        link.set_entry_type(tar::EntryType::Symlink);
        link.set_size(0);
        layer.append_link(&mut link, format!("bin/{applet}"), "busybox").expect("an applet");
    }
    let layer = layer.into_inner().expect("a layer");
    let config = serde_json::to_vec(&serde_json::json!({
        "architecture": architecture(), "os": "linux",
        "config": {"Env": ["PATH=/bin"], "Cmd": ["sh"]},
        "rootfs": {"type": "layers", "diff_ids": [oci::sha256(&layer)]},
    }))
    .expect("a configuration");
    let manifest = serde_json::to_vec(&Manifest {
        schema_version: 2,
        media_type: oci::MANIFEST.into(),
        config: Descriptor::of(oci::CONFIG, &config),
        layers: vec![Descriptor::of(oci::LAYER, &layer)],
    })
    .expect("a manifest");
    let mut descriptor = Descriptor::of(oci::MANIFEST, &manifest);
    descriptor.annotations.insert(oci::ANNOTATION_NAME.into(), BUSYBOX.into());
    let index = serde_json::to_vec(&Index {
        schema_version: 2,
        media_type: String::new(),
        manifests: vec![descriptor],
    })
    .expect("an index");
    let mut archive = tar::Builder::new(std::fs::File::create(path).expect("an archive"));
    let mut add = |name: String, content: &[u8]| {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        archive.append_data(&mut header, name, content).expect("an entry");
    };
    add("oci-layout".into(), br#"{"imageLayoutVersion":"1.0.0"}"#);
    for blob in [&layer, &config, &manifest] {
        add(format!("blobs/sha256/{}", oci::sha256(blob).trim_start_matches("sha256:")), blob);
    }
    add("index.json".into(), &index);
    archive.finish().expect("a whole archive");
}
