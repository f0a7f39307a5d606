//! The running executable as an OCI image.

use std::collections::HashMap;
use std::fs::File;
use std::io::{Cursor, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use apimachinery::platform::architecture;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::error::ImageError;
use super::oci::{self, Descriptor, Manifest};
use super::store::Store;

/// Marks images that CRI shows.
pub(super) const LABEL_MANAGED: (&str, &str) = ("io.cri-containerd.image", "managed");
/// Marks images that image garbage collection leaves alone.
const LABEL_PINNED: (&str, &str) = ("io.cri-containerd.pinned", "pinned");
/// Bytes of a tar block.
const BLOCK: usize = 512;

/// Users of the image, so that `runAsUser` and tools find names. Numbers as on Debian.
const PASSWD: &str = "root:x:0:0:root:/:/sbin/nologin\n\
nobody:x:65534:65534:nobody:/:/sbin/nologin\n\
nonroot:x:65532:65532:nonroot:/:/sbin/nologin\n";
/// Groups of the image.
const GROUP: &str = "root:x:0:\nnogroup:x:65534:\nnonroot:x:65532:\n";

/// The image in containerd.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packed {
    /// Its name.
    pub name: String,
    /// Digest of its manifest.
    pub digest: String,
    /// True if it had to be imported now.
    pub imported: bool,
}

/// Remembers which executable was packed, so that nothing is read at the next start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: i64,
    modified_nanos: i64,
    name: String,
    digest: String,
}

/// Packs `executable` (None = the running one) as image `name` and imports it, unless containerd has it.
///
/// The image runs `/knarr pause` by default, which makes it a sandbox image; pods give their own command.
/// `stamp_file` remembers what was packed. `snapshotter` is where it is unpacked at once.
///
/// # Cost
/// A few milliseconds when nothing changed; otherwise one pass over the executable, in chunks.
pub async fn pack_self(
    store: &Store,
    name: &str,
    executable: Option<&Path>,
    stamp_file: &Path,
    snapshotter: &str,
) -> Result<Packed, ImageError> {
    let executable = match executable {
        Some(path) => path.to_owned(),
        None => std::env::current_exe().map_err(ImageError::file("/proc/self/exe"))?,
    };
    let metadata = std::fs::metadata(&executable).map_err(ImageError::file(&executable))?;
    let remembered = std::fs::read(stamp_file)
        .ok()
        .and_then(|text| serde_json::from_slice::<Stamp>(&text).ok())
        .filter(|stamp| *stamp == Stamp::of(&metadata, name, &stamp.digest));
    if let Some(stamp) = remembered
        && store.image(name).await?.is_some_and(|target| target.digest == stamp.digest)
    {
        return Ok(Packed { name: name.to_owned(), digest: stamp.digest, imported: false });
    }
    let digest = import(store, name, &executable, metadata.len(), snapshotter).await?;
    let stamp = Stamp::of(&metadata, name, &digest);
    // Failing to remember only costs the next start a repetition.
    if let Err(error) = std::fs::write(stamp_file, serde_json::to_vec(&stamp).unwrap_or_default()) {
        tracing::warn!(%error, path = %stamp_file.display(), "cannot remember the packed image");
    }
    unpin_older(store, name).await?;
    Ok(Packed { name: name.to_owned(), digest, imported: true })
}

impl Stamp {
    fn of(metadata: &std::fs::Metadata, name: &str, digest: &str) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.len(),
            modified: metadata.mtime(),
            modified_nanos: metadata.mtime_nsec(),
            name: name.to_owned(),
            digest: digest.to_owned(),
        }
    }
}

async fn import(
    store: &Store,
    name: &str,
    executable: &Path,
    size: u64,
    snapshotter: &str,
) -> Result<String, ImageError> {
    let lease = store.lease().await?;
    let layer_source = layer(executable.to_owned(), size)?;
    let (digest, layer_size) = store.write_content(&lease, layer_source, None, HashMap::new()).await?;
    let layer = Descriptor {
        media_type: oci::LAYER.to_owned(),
        digest: digest.clone(),
        size: layer_size,
        ..Descriptor::default()
    };
    let config = config_json(&digest);
    let manifest = Manifest {
        schema_version: 2,
        media_type: oci::MANIFEST.to_owned(),
        config: Descriptor::of(oci::CONFIG, &config),
        layers: vec![layer.clone()],
    };
    store.unpack_layer(&lease, snapshotter, &layer).await?;
    // The labels keep alive, in this order: image -> manifest -> configuration and layer -> snapshot.
    let snapshot_label = (format!("containerd.io/gc.ref.snapshot.{snapshotter}"), digest.clone());
    store.write_bytes(&lease, config, HashMap::from([snapshot_label])).await?;
    let manifest_json = serde_json::to_vec(&manifest).unwrap_or_default();
    let target = Descriptor::of(oci::MANIFEST, &manifest_json);
    let references = HashMap::from([
        ("containerd.io/gc.ref.content.config".to_owned(), manifest.config.digest.clone()),
        ("containerd.io/gc.ref.content.l.0".to_owned(), digest),
    ]);
    store.write_bytes(&lease, manifest_json, references).await?;
    let labels = [LABEL_MANAGED, LABEL_PINNED].map(|(name, value)| (name.to_owned(), value.to_owned()));
    store.put_image(name, &target, HashMap::from(labels)).await?;
    store.release(lease).await?;
    Ok(target.digest)
}

/// Images of earlier versions may go once nothing runs from them.
async fn unpin_older(store: &Store, name: &str) -> Result<(), ImageError> {
    let Some((repository, _)) = name.rsplit_once(':') else { return Ok(()) };
    for (other, labels) in store.list_images().await? {
        let same_repository = other.rsplit_once(':').is_some_and(|(other, _)| other == repository);
        if same_repository && other != name && labels.contains_key(LABEL_PINNED.0) {
            store.label_image(&other, LABEL_PINNED.0, "").await?;
        }
    }
    Ok(())
}

fn config_json(diff_id: &str) -> Vec<u8> {
    let config = json!({
        "architecture": architecture(),
        "os": "linux",
        "config": {
            "Entrypoint": ["/knarr"],
            "Cmd": ["pause"],
            "Env": ["PATH=/", "SSL_CERT_DIR=/etc/ssl/certs"],
            "WorkingDir": "/",
        },
        "rootfs": {"type": "layers", "diff_ids": [diff_id]},
        "history": [{"created_by": "knarr", "comment": "the running executable"}],
    });
    serde_json::to_vec(&config).unwrap_or_default()
}

/// The layer as a stream: small files first, then the executable straight from the disk. The same
/// executable always gives the same bytes.
fn layer(executable: PathBuf, size: u64) -> Result<impl Read + Send, ImageError> {
    let mut head = Vec::new();
    let directories = [
        ("dev/", 0o755),
        ("etc/", 0o755),
        ("etc/ssl/", 0o755),
        ("etc/ssl/certs/", 0o755),
        ("proc/", 0o555),
        ("run/", 0o755),
        ("sys/", 0o555),
        ("tmp/", 0o1777),
        ("var/", 0o755),
        ("var/lib/", 0o755),
    ];
    for (path, mode) in directories {
        head.extend_from_slice(tar_header(path, mode, 0, tar::EntryType::Directory)?.as_bytes());
    }
    for (path, content) in [("etc/passwd", PASSWD), ("etc/group", GROUP)] {
        let header = tar_header(path, 0o644, content.len() as u64, tar::EntryType::Regular)?;
        head.extend_from_slice(header.as_bytes());
        head.extend_from_slice(content.as_bytes());
        head.resize(head.len().next_multiple_of(BLOCK), 0);
    }
    head.extend_from_slice(tar_header("knarr", 0o755, size, tar::EntryType::Regular)?.as_bytes());
    let file = File::open(&executable).map_err(ImageError::file(&executable))?;
    let padding = size.next_multiple_of(BLOCK as u64) - size;
    // Two empty blocks end an archive.
    let end = std::io::repeat(0).take(padding + 2 * BLOCK as u64);
    // An executable that grows or shrinks meanwhile must not shift what follows.
    let body = file.take(size);
    Ok(Cursor::new(head).chain(body).chain(end))
}

pub(super) fn tar_header(
    path: &str,
    mode: u32,
    size: u64,
    kind: tar::EntryType,
) -> Result<tar::Header, ImageError> {
    let mut header = tar::Header::new_ustar();
    header.set_path(path).map_err(ImageError::file(path))?;
    header.set_mode(mode);
    header.set_size(size);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_entry_type(kind);
    header.set_cksum();
    Ok(header)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_layer_is_a_valid_archive_with_the_executable_in_it() {
        let directory = tempfile::tempdir().unwrap();
        let executable = directory.path().join("knarr");
        std::fs::write(&executable, vec![b'x'; 1000]).unwrap();
        let mut bytes = Vec::new();
        layer(executable, 1000).unwrap().read_to_end(&mut bytes).unwrap();
        assert_eq!(bytes.len() % BLOCK, 0);
        let mut archive = tar::Archive::new(Cursor::new(bytes));
        let mut names = Vec::new();
        for entry in archive.entries().unwrap() {
            let mut entry = entry.unwrap();
            let path = entry.path().unwrap().to_string_lossy().into_owned();
            if path == "knarr" {
                let mut content = Vec::new();
                entry.read_to_end(&mut content).unwrap();
                assert_eq!(content, vec![b'x'; 1000]);
                assert_eq!(entry.header().mode().unwrap(), 0o755);
            }
            names.push(path);
        }
        assert!(names.contains(&"etc/passwd".to_owned()) && names.contains(&"knarr".to_owned()), "{names:?}");
    }

    #[test]
    fn as_a_sandbox_image_it_pauses() {
        let config: serde_json::Value = serde_json::from_slice(&config_json("sha256:0")).unwrap();
        assert_eq!(config["config"]["Entrypoint"], json!(["/knarr"]));
        assert_eq!(config["config"]["Cmd"], json!(["pause"]));
    }
}
