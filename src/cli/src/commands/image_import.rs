//! `knarr images import`: an archive, on this node and then on every other one.
//!
//! Others get it by the API server's proxy to their kubelets (`kubelet::server::image_archives`), one after the other:
//! they share this node's network.

use super::images;
use super::process;
use super::progress::Progress;
use crate::arguments::tools::ImportImages;
use crate::paths::Paths;
use crate::worker::material::Material;
use anyhow::{Context, Result, bail};
use bytes::{Bytes, BytesMut};
use client::{Rest, Uploader};
use cri::image::Store;
use futures::stream::{self, Stream, StreamExt as _};
use http_body_util::StreamBody;
use hyper::body::Frame;
use k8s_openapi::api::core::v1::Node;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use std::io;
use std::path::Path;
use std::process::ExitCode;
use tokio::fs::File;
use tokio::io::AsyncReadExt as _;

/// Bytes that are read at once; a few of these are in memory at a time.
const CHUNK_BYTES: usize = 256 * 1024;

/// What a kubelet answers.
#[derive(Deserialize)]
struct Imported {
    images: Vec<String>,
}

/// Does what is asked for.
///
/// # Errors
/// When the archive cannot be imported here, or some node did not get it.
pub async fn run(paths: &Paths, options: &ImportImages) -> Result<ExitCode> {
    let state =
        process::state(paths)?.context("knarr is not running here yet; start it with `knarr start`")?;
    // A control plane without pods has no use for images, but brings them to the others.
    let socket = if state.agent || options.local { Some(images::socket(paths)?) } else { None };
    let mut progress = Progress::new();
    // Parts of an archive stand in any order: what comes in a pipe has to be kept first.
    let kept = if options.file == Path::new("-") { Some(keep(paths.root())?) } else { None };
    let path = kept.as_deref().unwrap_or(&options.file);
    let name = options.name.as_deref();
    let shown = match kept {
        Some(_) => "standard input".to_owned(),
        None => path.display().to_string(),
    };
    if let Some(socket) = socket {
        progress.step(&format!("Importing {shown}"));
        let names = cri::image::import(&Store::new(&socket)?, path, name).await;
        for name in names.with_context(|| format!("cannot import {shown}"))? {
            progress.done(&format!("Imported {name}"));
        }
    }
    if options.local {
        return Ok(ExitCode::SUCCESS);
    }
    if Material::exists(paths) {
        eprintln!(
            "This node is a worker: the others did not get the images. To bring them to all nodes, run this on a \
             control-plane node; --local means this node only."
        );
        return Ok(ExitCode::SUCCESS);
    }
    let others =
        others(paths, &state.node_name).await.context("cannot tell which other nodes need the images")?;
    if others.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    let uploader = Uploader::from_kubeconfig(&paths.kubeconfig(), "knarr").await?;
    let mut failures = Vec::new();
    for node in &others {
        progress.step(&format!("Sending {shown} to {node}"));
        match send(&uploader, node, path, name).await {
            Ok(names) => {
                names.iter().for_each(|name| progress.done(&format!("Imported {name} on {node}")));
            }
            Err(error) => failures.push(format!("{node}: {error:#}")),
        }
    }
    if !failures.is_empty() {
        bail!(
            "{} of {} other nodes did not get the images\n{}",
            failures.len(),
            others.len(),
            failures.join("\n")
        );
    }
    Ok(ExitCode::SUCCESS)
}

fn keep(folder: &Path) -> Result<tempfile::TempPath> {
    let mut kept = tempfile::NamedTempFile::new_in(folder)
        .with_context(|| format!("cannot write into {}", folder.display()))?;
    io::copy(&mut io::stdin().lock(), &mut kept).context("cannot keep the archive")?;
    Ok(kept.into_temp_path())
}

/// Names of the other nodes, Ready or not: one that lacks the image of its network plugin never would be.
async fn others(paths: &Paths, own: &str) -> Result<Vec<String>> {
    let nodes = Rest::new(process::client(paths).await?).list::<Node>("", "").await?;
    Ok(nodes.into_iter().filter_map(|node| node.metadata.name).filter(|name| name != own).collect())
}

/// Sends an archive to a node, and answers what that imported.
async fn send(uploader: &Uploader, node: &str, archive: &Path, name: Option<&str>) -> Result<Vec<String>> {
    let file = File::open(archive).await.with_context(|| format!("cannot open {}", archive.display()))?;
    let bytes = file.metadata().await.with_context(|| format!("cannot read {}", archive.display()))?.len();
    let body = StreamBody::new(chunks(file).map(|chunk| chunk.map(Frame::data)));
    let answer = uploader.post(&target(node, name), bytes, body).await?;
    let answer: Imported = serde_json::from_slice(&answer).context("its answer is not understood")?;
    Ok(answer.images)
}

/// Where a node takes archives.
fn target(node: &str, name: Option<&str>) -> String {
    let name = name.map(|name| format!("?name={}", utf8_percent_encode(name, NON_ALPHANUMERIC)));
    format!("/api/v1/nodes/{node}/proxy/knarr/images{}", name.unwrap_or_default())
}

/// A file in pieces.
fn chunks(file: File) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
    stream::try_unfold(file, |mut file| async move {
        let mut chunk = BytesMut::with_capacity(CHUNK_BYTES);
        let read = file.read_buf(&mut chunk).await?;
        Ok((read > 0).then(|| (chunk.freeze(), file)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_images_are_escaped_in_the_path() {
        assert_eq!(target("n2", None), "/api/v1/nodes/n2/proxy/knarr/images");
        assert_eq!(target("n2", Some("a/b:1")), "/api/v1/nodes/n2/proxy/knarr/images?name=a%2Fb%3A1");
    }

    #[tokio::test]
    async fn a_file_is_read_in_pieces_to_its_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("archive");
        let content: Vec<u8> = (0..3 * CHUNK_BYTES + 7).map(|n| n.to_le_bytes()[0]).collect();
        std::fs::write(&path, &content).unwrap();
        let pieces: Vec<Bytes> = chunks(File::open(&path).await.unwrap()).map(Result::unwrap).collect().await;
        assert!(pieces.iter().all(|piece| !piece.is_empty() && piece.len() <= CHUNK_BYTES));
        assert!(pieces.concat() == content);
    }
}
