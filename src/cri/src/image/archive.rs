//! Import and export of image archives: OCI layouts and `docker save` archives, plain or gzipped.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use futures::StreamExt;
use serde::Deserialize;
use serde_json::json;
use tokio::io::{AsyncWrite, AsyncWriteExt};

use super::error::ImageError;
use super::oci::{self, Descriptor, Index, Manifest};
use super::pack::{LABEL_MANAGED, tar_header};
use super::reference::normalize;
use super::store::{Lease, Store};

/// Manifests, indexes and configurations are small; what is larger is not one.
const MAX_JSON_BYTES: usize = 8 * 1024 * 1024;
/// Indexes within indexes: the format allows any depth, nobody uses more than two.
const MAX_DEPTH: usize = 4;
/// First bytes of gzip data.
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];
/// First bytes of zstd data.
const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// Where an entry's content lies in the archive.
#[derive(Debug, Clone, Copy)]
struct Place {
    offset: u64,
    size: u64,
}

/// An opened archive: places of its files by name.
struct Archive {
    path: PathBuf,
    /// Keeps the unpacked copy of a compressed archive.
    _unpacked: Option<tempfile::TempPath>,
    files: BTreeMap<String, Place>,
}

/// One image of `manifest.json` in a `docker save` archive.
#[derive(Debug, Deserialize)]
struct DockerImage {
    #[serde(rename = "Config")]
    config: String,
    #[serde(rename = "RepoTags", default)]
    tags: Option<Vec<String>>,
    #[serde(rename = "Layers", default)]
    layers: Vec<String>,
}

/// Imports every named image of an archive; returns the names. `rename` names the image of an archive
/// that has one image and no name for it.
pub async fn import(store: &Store, path: &Path, rename: Option<&str>) -> Result<Vec<String>, ImageError> {
    let path = path.to_owned();
    let archive = tokio::task::spawn_blocking(move || Archive::open(path))
        .await
        .map_err(|error| ImageError::Archive(error.to_string()))??;
    let lease = store.lease().await?;
    let imported = import_all(store, &lease, &archive, rename).await;
    // Also after a failure: what was written of a broken archive may go.
    let released = store.release(lease).await;
    let names = imported?;
    released?;
    Ok(names)
}

async fn import_all(
    store: &Store,
    lease: &Lease,
    archive: &Archive,
    rename: Option<&str>,
) -> Result<Vec<String>, ImageError> {
    let docker: Vec<DockerImage> = match archive.files.get("manifest.json") {
        Some(place) => parse(&archive.read(*place)?, "manifest.json")?,
        None => Vec::new(),
    };
    let mut targets: Vec<(Vec<String>, Descriptor)> = Vec::new();
    if let Some(place) = archive.files.get("index.json") {
        let index: Index = parse(&archive.read(*place)?, "index.json")?;
        for descriptor in index.manifests {
            import_tree(store, lease, archive, &descriptor, 0).await?;
            let mut names: Vec<String> = descriptor
                .annotations
                .get(oci::ANNOTATION_NAME)
                .or_else(|| descriptor.annotations.get(oci::ANNOTATION_REF).filter(|name| name.contains('/')))
                .cloned()
                .into_iter()
                .collect();
            names.extend(docker_names(archive, &docker, &descriptor)?);
            targets.push((names, descriptor));
        }
    } else if docker.is_empty() {
        return Err(ImageError::Archive("it has neither index.json nor manifest.json".into()));
    } else {
        for image in &docker {
            let descriptor = import_docker(store, lease, archive, image).await?;
            targets.push((image.tags.clone().unwrap_or_default(), descriptor));
        }
    }
    if let (Some(name), [(names, _)]) = (rename, targets.as_mut_slice())
        && names.is_empty()
    {
        names.push(name.to_owned());
    }
    let mut done = BTreeSet::new();
    for (names, target) in targets {
        for name in names {
            let name = normalize(&name)?;
            let labels = HashMap::from([(LABEL_MANAGED.0.to_owned(), LABEL_MANAGED.1.to_owned())]);
            store.put_image(&name, &target, labels).await?;
            done.insert(name);
        }
    }
    if done.is_empty() {
        return Err(ImageError::Archive("no image in it has a name".into()));
    }
    Ok(done.into_iter().collect())
}

/// Recent `docker save` archives are OCI layouts whose names stand only in `manifest.json`, tied to the
/// manifests by the configuration's digest.
fn docker_names(
    archive: &Archive,
    docker: &[DockerImage],
    descriptor: &Descriptor,
) -> Result<Vec<String>, ImageError> {
    if docker.is_empty() || !descriptor.is_manifest() {
        return Ok(Vec::new());
    }
    let Some(place) = archive.blob(&descriptor.digest) else { return Ok(Vec::new()) };
    let manifest: Manifest = parse(&archive.read(place)?, &descriptor.digest)?;
    let config = manifest.config.digest.trim_start_matches("sha256:");
    Ok(docker
        .iter()
        .filter(|image| image.config.contains(config))
        .flat_map(|image| image.tags.clone().unwrap_or_default())
        .collect())
}

/// Imports a manifest or index with everything below it that the archive has, children first.
async fn import_tree(
    store: &Store,
    lease: &Lease,
    archive: &Archive,
    descriptor: &Descriptor,
    depth: usize,
) -> Result<(), ImageError> {
    if depth > MAX_DEPTH {
        return Err(ImageError::Archive("indexes are nested too deeply".into()));
    }
    if !oci::is_digest(&descriptor.digest) {
        return Err(ImageError::Archive(format!("unsupported digest {:?}", descriptor.digest)));
    }
    let Some(place) = archive.blob(&descriptor.digest) else {
        // Archives of one platform keep the index of all.
        return if depth > 0 {
            Ok(())
        } else {
            Err(ImageError::Archive(format!("{} is missing", descriptor.digest)))
        };
    };
    let mut labels = HashMap::new();
    if descriptor.is_index() {
        let index: Index = parse(&archive.read(place)?, &descriptor.digest)?;
        for (number, child) in index.manifests.iter().enumerate() {
            Box::pin(import_tree(store, lease, archive, child, depth + 1)).await?;
            labels.insert(format!("containerd.io/gc.ref.content.m.{number}"), child.digest.clone());
        }
    } else if descriptor.is_manifest() {
        let manifest: Manifest = parse(&archive.read(place)?, &descriptor.digest)?;
        labels = manifest_labels(&manifest);
        for child in std::iter::once(&manifest.config).chain(&manifest.layers) {
            Box::pin(import_tree(store, lease, archive, child, depth + 1)).await?;
        }
    }
    if store.content_size(&descriptor.digest).await?.is_some() {
        if !labels.is_empty() {
            store.label_content(&descriptor.digest, labels).await?;
        }
        return Ok(());
    }
    store.write_content(lease, archive.reader(place)?, Some(&descriptor.digest), labels).await?;
    Ok(())
}

fn manifest_labels(manifest: &Manifest) -> HashMap<String, String> {
    let mut labels =
        HashMap::from([("containerd.io/gc.ref.content.config".to_owned(), manifest.config.digest.clone())]);
    for (number, layer) in manifest.layers.iter().enumerate() {
        labels.insert(format!("containerd.io/gc.ref.content.l.{number}"), layer.digest.clone());
    }
    labels
}

/// Imports an image of an old `docker save` archive, for which a manifest has to be made.
async fn import_docker(
    store: &Store,
    lease: &Lease,
    archive: &Archive,
    image: &DockerImage,
) -> Result<Descriptor, ImageError> {
    let place = |name: &str| {
        archive.files.get(name).copied().ok_or_else(|| ImageError::Archive(format!("{name} is missing")))
    };
    let config = archive.read(place(&image.config)?)?;
    let config_descriptor = Descriptor::of(oci::CONFIG, &config);
    store.write_bytes(lease, config, HashMap::new()).await?;
    let mut layers = Vec::new();
    for name in &image.layers {
        let place = place(name)?;
        let media_type = match archive.magic(place)? {
            [a, b, ..] if [a, b] == GZIP_MAGIC => oci::LAYER_GZIP,
            magic if magic == ZSTD_MAGIC => oci::LAYER_ZSTD,
            _ => oci::LAYER,
        };
        let (digest, size) = store.write_content(lease, archive.reader(place)?, None, HashMap::new()).await?;
        layers.push(Descriptor { media_type: media_type.to_owned(), digest, size, ..Descriptor::default() });
    }
    let manifest = Manifest {
        schema_version: 2,
        media_type: oci::MANIFEST.to_owned(),
        config: config_descriptor,
        layers,
    };
    let text = serde_json::to_vec(&manifest).unwrap_or_default();
    let descriptor = Descriptor::of(oci::MANIFEST, &text);
    store.write_bytes(lease, text, manifest_labels(&manifest)).await?;
    Ok(descriptor)
}

impl Archive {
    fn open(path: PathBuf) -> Result<Self, ImageError> {
        let mut file = File::open(&path).map_err(ImageError::file(&path))?;
        let mut magic = [0; 2];
        let compressed = file.read_exact(&mut magic).is_ok() && magic == GZIP_MAGIC;
        file.seek(SeekFrom::Start(0)).map_err(ImageError::file(&path))?;
        let (path, unpacked) = if compressed {
            // Places need a file that can be read at random.
            let directory = path.parent().unwrap_or(Path::new("/tmp"));
            let mut unpacked = tempfile::NamedTempFile::new_in(directory)
                .or_else(|_| tempfile::NamedTempFile::new())
                .map_err(ImageError::file(directory))?;
            std::io::copy(&mut flate2::read::MultiGzDecoder::new(file), &mut unpacked)
                .map_err(ImageError::file(&path))?;
            let unpacked = unpacked.into_temp_path();
            (unpacked.to_path_buf(), Some(unpacked))
        } else {
            (path, None)
        };
        let files = Self::list(&path)?;
        Ok(Self { path, _unpacked: unpacked, files })
    }

    fn list(path: &Path) -> Result<BTreeMap<String, Place>, ImageError> {
        let broken = |error: std::io::Error| ImageError::Archive(error.to_string());
        let file = File::open(path).map_err(ImageError::file(path))?;
        let mut archive = tar::Archive::new(file);
        let mut files = BTreeMap::new();
        let mut links = Vec::new();
        for entry in archive.entries_with_seek().map_err(broken)? {
            let entry = entry.map_err(broken)?;
            let name = entry.path().map_err(broken)?.to_string_lossy().trim_start_matches("./").to_owned();
            match entry.header().entry_type() {
                tar::EntryType::Regular | tar::EntryType::Continuous => {
                    files.insert(name, Place { offset: entry.raw_file_position(), size: entry.size() });
                }
                // Old `docker save` links layers that images share.
                tar::EntryType::Symlink | tar::EntryType::Link => {
                    if let Some(target) = entry.link_name().map_err(broken)? {
                        let target = target.to_string_lossy().trim_start_matches("../").to_owned();
                        links.push((name, target));
                    }
                }
                _ => {}
            }
        }
        for (name, target) in links {
            if let Some(place) = files.get(&target).copied() {
                files.insert(name, place);
            }
        }
        Ok(files)
    }

    fn blob(&self, digest: &str) -> Option<Place> {
        self.files.get(&format!("blobs/{}", digest.replacen(':', "/", 1))).copied()
    }

    fn reader(&self, place: Place) -> Result<std::io::Take<File>, ImageError> {
        let mut file = File::open(&self.path).map_err(ImageError::file(&self.path))?;
        file.seek(SeekFrom::Start(place.offset)).map_err(ImageError::file(&self.path))?;
        Ok(file.take(place.size))
    }

    fn read(&self, place: Place) -> Result<Vec<u8>, ImageError> {
        if place.size > MAX_JSON_BYTES as u64 {
            return Err(ImageError::Archive("a manifest is unreasonably large".into()));
        }
        let mut content = Vec::new();
        self.reader(place)?.read_to_end(&mut content).map_err(ImageError::file(&self.path))?;
        Ok(content)
    }

    fn magic(&self, place: Place) -> Result<[u8; 4], ImageError> {
        let mut magic = Vec::new();
        self.reader(place)?.take(4).read_to_end(&mut magic).map_err(ImageError::file(&self.path))?;
        Ok(magic.try_into().unwrap_or_default())
    }
}

fn parse<T: serde::de::DeserializeOwned>(text: &[u8], what: &str) -> Result<T, ImageError> {
    serde_json::from_slice(text).map_err(|error| ImageError::Archive(format!("{what}: {error}")))
}

/// Writes the named images as one archive that is both an OCI layout and what `docker load` reads.
/// Platforms whose content is not here are left out.
pub async fn export(
    store: &Store,
    names: &[String],
    output: &mut (impl AsyncWrite + Unpin + Send),
) -> Result<(), ImageError> {
    let mut index = Index { schema_version: 2, media_type: oci::INDEX.to_owned(), manifests: Vec::new() };
    let mut docker = Vec::new();
    let mut blobs = BTreeMap::new();
    for name in names {
        let name = normalize(name)?;
        let mut target = store.image(&name).await?.ok_or_else(|| ImageError::NotFound(name.clone()))?;
        collect(store, &target, &mut blobs, &mut docker, &name, 0).await?;
        target.annotations.insert(oci::ANNOTATION_NAME.to_owned(), name.clone());
        let tag = name.rsplit_once(':').map_or("latest", |(_, tag)| tag);
        target.annotations.insert(oci::ANNOTATION_REF.to_owned(), tag.to_owned());
        index.manifests.push(target);
    }
    write_file(output, "oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#).await?;
    for (digest, size) in blobs {
        let path = format!("blobs/{}", digest.replacen(':', "/", 1));
        write_all(output, tar_header(&path, 0o444, size, tar::EntryType::Regular)?.as_bytes()).await?;
        let mut chunks = store.read_content(&digest).await?;
        let mut written = 0;
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk?;
            written += chunk.len() as u64;
            write_all(output, &chunk).await?;
        }
        if written != size {
            return Err(ImageError::Archive(format!("{digest} has {written} bytes, not {size}")));
        }
        write_padding(output, size).await?;
    }
    write_file(output, "manifest.json", &serde_json::to_vec(&docker).unwrap_or_default()).await?;
    write_file(output, "index.json", &serde_json::to_vec(&index).unwrap_or_default()).await?;
    write_all(output, &[0; 1024]).await?;
    output.flush().await.map_err(ImageError::file("output"))
}

/// Collects the digests and sizes of everything below a descriptor.
async fn collect(
    store: &Store,
    descriptor: &Descriptor,
    blobs: &mut BTreeMap<String, u64>,
    docker: &mut Vec<serde_json::Value>,
    name: &str,
    depth: usize,
) -> Result<(), ImageError> {
    let Some(size) = store.content_size(&descriptor.digest).await? else {
        return if depth > 0 { Ok(()) } else { Err(ImageError::NotFound(name.to_owned())) };
    };
    if depth > MAX_DEPTH {
        return Err(ImageError::Archive("indexes are nested too deeply".into()));
    }
    blobs.insert(descriptor.digest.clone(), size);
    if descriptor.is_index() {
        let index: Index =
            parse(&store.read_small(&descriptor.digest, MAX_JSON_BYTES).await?, &descriptor.digest)?;
        for child in &index.manifests {
            Box::pin(collect(store, child, blobs, docker, name, depth + 1)).await?;
        }
    } else if descriptor.is_manifest() {
        let manifest: Manifest =
            parse(&store.read_small(&descriptor.digest, MAX_JSON_BYTES).await?, &descriptor.digest)?;
        let path = |digest: &str| format!("blobs/{}", digest.replacen(':', "/", 1));
        let mut complete = true;
        for child in std::iter::once(&manifest.config).chain(&manifest.layers) {
            match store.content_size(&child.digest).await? {
                Some(size) => drop(blobs.insert(child.digest.clone(), size)),
                None => complete = false,
            }
        }
        if complete {
            let layers: Vec<String> = manifest.layers.iter().map(|layer| path(&layer.digest)).collect();
            docker.push(json!({
                "Config": path(&manifest.config.digest), "RepoTags": [name], "Layers": layers,
            }));
        }
    }
    Ok(())
}

async fn write_file(
    output: &mut (impl AsyncWrite + Unpin),
    path: &str,
    content: &[u8],
) -> Result<(), ImageError> {
    let header = tar_header(path, 0o444, content.len() as u64, tar::EntryType::Regular)?;
    write_all(output, header.as_bytes()).await?;
    write_all(output, content).await?;
    write_padding(output, content.len() as u64).await
}

async fn write_padding(output: &mut (impl AsyncWrite + Unpin), size: u64) -> Result<(), ImageError> {
    let padding = usize::try_from(size.next_multiple_of(512) - size).unwrap_or_default();
    write_all(output, [0; 512].get(..padding).unwrap_or_default()).await
}

async fn write_all(output: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) -> Result<(), ImageError> {
    output.write_all(bytes).await.map_err(ImageError::file("output"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_found_in_plain_and_gzipped_archives_and_through_links() {
        let directory = tempfile::tempdir().unwrap();
        let mut builder = tar::Builder::new(Vec::new());
        for (name, content) in [("./index.json", "{}"), ("a/layer.tar", "layer")] {
            let mut header = tar::Header::new_gnu();
            header.set_size(content.len() as u64);
            header.set_cksum();
            builder.append_data(&mut header, name, content.as_bytes()).unwrap();
        }
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_size(0);
        builder.append_link(&mut header, "b/layer.tar", "../a/layer.tar").unwrap();
        let plain = builder.into_inner().unwrap();
        let mut gzipped = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        std::io::Write::write_all(&mut gzipped, &plain).unwrap();
        for bytes in [plain, gzipped.finish().unwrap()] {
            let path = directory.path().join("image.tar");
            std::fs::write(&path, bytes).unwrap();
            let archive = Archive::open(path).unwrap();
            assert_eq!(archive.read(archive.files["index.json"]).unwrap(), b"{}");
            assert_eq!(archive.read(archive.files["b/layer.tar"]).unwrap(), b"layer");
        }
    }

    #[test]
    fn rubbish_is_an_error() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("rubbish");
        std::fs::write(&path, vec![7; 2000]).unwrap();
        assert!(matches!(Archive::open(path), Err(ImageError::Archive(_))));
    }
}
