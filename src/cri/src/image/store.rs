//! containerd's own services: content, images, leases, snapshots, diff.

use std::collections::HashMap;
use std::io::Read;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use containerd_client::services::v1 as services;
use containerd_client::services::v1::snapshots;
use containerd_client::types;
use futures::StreamExt;
use prost_types::FieldMask;
use ring::digest;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::metadata::MetadataValue;
use tonic::transport::Channel;

use super::error::ImageError;
use super::oci::{Descriptor, format_digest};

/// The containerd namespace CRI works in.
const NAMESPACE: &str = "k8s.io";
/// Bytes per write request: well under the server's limit of 16 MiB, and large enough that the round
/// trips do not count.
const CHUNK_BYTES: usize = 1024 * 1024;
/// Chunks between the reader thread and the socket.
const CHUNKS_AHEAD: usize = 2;
/// When a lease of a crashed import expires; containerd's garbage collector then takes the rest.
const LEASE_HOURS: u64 = 1;

/// containerd's services behind one socket, in the namespace of CRI.
#[derive(Clone)]
pub struct Store {
    channel: Channel,
}

/// Protects what is written under it from the garbage collector until it is deleted.
pub struct Lease {
    id: String,
}

impl Store {
    /// Connects lazily to containerd's socket.
    pub fn new(socket: &Path) -> Result<Self, ImageError> {
        let channel = crate::client::channel(socket)
            .map_err(|source| ImageError::Containerd { call: "connect", source })?;
        Ok(Self { channel })
    }

    /// Creates a lease.
    pub async fn lease(&self) -> Result<Lease, ImageError> {
        let id = unique("knarr-lease");
        let expires = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
            .saturating_add(Duration::from_secs(LEASE_HOURS * 3600));
        let seconds = i64::try_from(expires.as_secs()).unwrap_or_default();
        let expires = rfc3339(seconds);
        let message = services::CreateRequest {
            id: id.clone(),
            labels: HashMap::from([("containerd.io/gc.expire".to_owned(), expires)]),
        };
        services::leases_client::LeasesClient::new(self.channel.clone())
            .create(request(message, None))
            .await
            .map_err(ImageError::call("Leases.Create"))?;
        Ok(Lease { id })
    }

    /// Deletes a lease: what no image refers to by now goes at the next collection.
    pub async fn release(&self, lease: Lease) -> Result<(), ImageError> {
        let message = services::DeleteRequest { id: lease.id, sync: false };
        services::leases_client::LeasesClient::new(self.channel.clone())
            .delete(request(message, None))
            .await
            .map_err(ImageError::call("Leases.Delete"))?;
        Ok(())
    }

    /// Size of the content with a digest; None if there is none.
    pub async fn content_size(&self, digest: &str) -> Result<Option<u64>, ImageError> {
        let message = services::InfoRequest { digest: digest.to_owned() };
        match self.content().info(request(message, None)).await {
            Ok(answer) => {
                Ok(answer.into_inner().info.map(|info| u64::try_from(info.size).unwrap_or_default()))
            }
            Err(status) if status.code() == tonic::Code::NotFound => Ok(None),
            Err(status) => Err(ImageError::call("Content.Info")(status)),
        }
    }

    /// Sets labels of content that exists.
    pub async fn label_content(
        &self,
        digest: &str,
        labels: HashMap<String, String>,
    ) -> Result<(), ImageError> {
        let paths = labels.keys().map(|name| format!("labels.{name}")).collect();
        let info = services::Info { digest: digest.to_owned(), labels, ..Default::default() };
        let message = services::UpdateRequest { info: Some(info), update_mask: Some(FieldMask { paths }) };
        self.content().update(request(message, None)).await.map_err(ImageError::call("Content.Update"))?;
        Ok(())
    }

    /// Streams everything `source` has into the content store, hashing on the way; returns digest and size.
    /// Never holds more than a few chunks in memory. Content that exists already is success.
    pub async fn write_content(
        &self,
        lease: &Lease,
        source: impl Read + Send + 'static,
        expected: Option<&str>,
        labels: HashMap<String, String>,
    ) -> Result<(String, u64), ImageError> {
        let reference = unique("knarr-write");
        let result = self.stream_content(lease, source, expected, labels, &reference).await;
        if result.is_err() {
            let message = services::AbortRequest { r#ref: reference };
            let _ = self.content().abort(request(message, Some(lease))).await;
        }
        result
    }

    async fn stream_content(
        &self,
        lease: &Lease,
        source: impl Read + Send + 'static,
        expected: Option<&str>,
        labels: HashMap<String, String>,
        reference: &str,
    ) -> Result<(String, u64), ImageError> {
        let (chunk_sender, mut chunks) = mpsc::channel::<Bytes>(CHUNKS_AHEAD);
        let reader = tokio::task::spawn_blocking(move || read_and_hash(source, &chunk_sender));
        let (sender, receiver) = mpsc::channel::<services::WriteContentRequest>(CHUNKS_AHEAD);
        let reference = reference.to_owned();
        let expected_digest = expected.map(str::to_owned);
        let feeder = tokio::spawn(async move {
            let mut offset = 0_i64;
            while let Some(data) = chunks.recv().await {
                let length = i64::try_from(data.len()).unwrap_or(i64::MAX);
                let message = services::WriteContentRequest {
                    action: services::WriteAction::Write as i32,
                    r#ref: reference.clone(),
                    offset,
                    data: data.into(),
                    ..Default::default()
                };
                if sender.send(message).await.is_err() {
                    break; // containerd ended the call; its status says why.
                }
                offset = offset.saturating_add(length);
            }
            drop(chunks);
            let (digest, size) = reader
                .await
                .map_err(|error| ImageError::Archive(error.to_string()))?
                .map_err(ImageError::file("image content"))?;
            if let Some(expected) = expected_digest
                && expected != digest
            {
                return Err(ImageError::Digest { expected, actual: digest });
            }
            let message = services::WriteContentRequest {
                action: services::WriteAction::Commit as i32,
                r#ref: reference,
                total: i64::try_from(size).unwrap_or(i64::MAX),
                expected: digest.clone(),
                offset,
                labels,
                ..Default::default()
            };
            let _ = sender.send(message).await;
            Ok((digest, size))
        });
        let sent = self.content().write(request(ReceiverStream::new(receiver), Some(lease))).await;
        let mut answered = Ok(());
        match sent {
            Ok(answers) => {
                let mut answers = answers.into_inner();
                while let Some(answer) = answers.next().await {
                    if let Err(status) = answer {
                        answered = Err(status);
                        break;
                    }
                }
            }
            Err(status) => answered = Err(status),
        }
        let fed = feeder.await.map_err(|error| ImageError::Archive(error.to_string()))?;
        match answered {
            Ok(()) => fed,
            // The same content was there already, under whatever name.
            Err(status) if status.code() == tonic::Code::AlreadyExists => fed,
            // A source that could not be read is the better explanation.
            Err(status) => fed.and_then(|_| Err(ImageError::call("Content.Write")(status))),
        }
    }

    /// Writes small content that is in memory.
    pub async fn write_bytes(
        &self,
        lease: &Lease,
        content: Vec<u8>,
        labels: HashMap<String, String>,
    ) -> Result<(), ImageError> {
        let expected = super::oci::sha256(&content);
        if self.content_size(&expected).await?.is_some() {
            return self.label_content(&expected, labels).await;
        }
        self.write_content(lease, std::io::Cursor::new(content), Some(&expected), labels).await?;
        Ok(())
    }

    /// Reads content in chunks.
    pub async fn read_content(
        &self,
        digest: &str,
    ) -> Result<impl futures::Stream<Item = Result<Bytes, ImageError>> + Unpin + use<>, ImageError> {
        let message = services::ReadContentRequest { digest: digest.to_owned(), offset: 0, size: 0 };
        let answer = self.content().read(request(message, None)).await.map_err(|status| {
            if status.code() == tonic::Code::NotFound {
                return ImageError::NotFound(digest.to_owned());
            }
            ImageError::call("Content.Read")(status)
        })?;
        Ok(answer.into_inner().map(|chunk| {
            chunk.map(|chunk| Bytes::from(chunk.data)).map_err(ImageError::call("Content.Read"))
        }))
    }

    /// Reads small content (manifests, configurations) whole; more than `limit` bytes are an error.
    pub async fn read_small(&self, digest: &str, limit: usize) -> Result<Vec<u8>, ImageError> {
        let mut chunks = self.read_content(digest).await?;
        let mut content = Vec::new();
        while let Some(chunk) = chunks.next().await {
            content.extend_from_slice(&chunk?);
            if content.len() > limit {
                return Err(ImageError::Archive(format!("{digest} is unreasonably large")));
            }
        }
        Ok(content)
    }

    /// The target of an image name; None if there is no such image.
    pub async fn image(&self, name: &str) -> Result<Option<Descriptor>, ImageError> {
        let message = services::GetImageRequest { name: name.to_owned() };
        match self.images().get(request(message, None)).await {
            Ok(answer) => Ok(answer.into_inner().image.and_then(|image| image.target).map(descriptor)),
            Err(status) if status.code() == tonic::Code::NotFound => Ok(None),
            Err(status) => Err(ImageError::call("Images.Get")(status)),
        }
    }

    /// Names and labels of all images.
    pub async fn list_images(&self) -> Result<Vec<(String, HashMap<String, String>)>, ImageError> {
        let answer = self
            .images()
            .list(request(services::ListImagesRequest { filters: Vec::new() }, None))
            .await
            .map_err(ImageError::call("Images.List"))?;
        Ok(answer.into_inner().images.into_iter().map(|image| (image.name, image.labels)).collect())
    }

    /// Makes `name` point to `target`, whether or not it existed.
    pub async fn put_image(
        &self,
        name: &str,
        target: &Descriptor,
        labels: HashMap<String, String>,
    ) -> Result<(), ImageError> {
        let image = services::Image {
            name: name.to_owned(),
            labels,
            target: Some(to_types(target)),
            ..Default::default()
        };
        let message = services::CreateImageRequest { image: Some(image.clone()), source_date_epoch: None };
        match self.images().create(request(message, None)).await {
            Ok(_) => return Ok(()),
            Err(status) if status.code() == tonic::Code::AlreadyExists => {}
            Err(status) => return Err(ImageError::call("Images.Create")(status)),
        }
        let message =
            services::UpdateImageRequest { image: Some(image), update_mask: None, source_date_epoch: None };
        self.images().update(request(message, None)).await.map_err(ImageError::call("Images.Update"))?;
        Ok(())
    }

    /// Sets one label of an image; the empty value removes it.
    pub async fn label_image(&self, name: &str, label: &str, value: &str) -> Result<(), ImageError> {
        let image = services::Image {
            name: name.to_owned(),
            labels: HashMap::from([(label.to_owned(), value.to_owned())]),
            ..Default::default()
        };
        let message = services::UpdateImageRequest {
            image: Some(image),
            update_mask: Some(FieldMask { paths: vec![format!("labels.{label}")] }),
            source_date_epoch: None,
        };
        self.images().update(request(message, None)).await.map_err(ImageError::call("Images.Update"))?;
        Ok(())
    }

    /// Unpacks a single uncompressed layer into the snapshotter, so that the first container need not.
    pub async fn unpack_layer(
        &self,
        lease: &Lease,
        snapshotter: &str,
        layer: &Descriptor,
    ) -> Result<(), ImageError> {
        // Of one uncompressed layer, digest, diff id and chain id are the same.
        let chain = layer.digest.clone();
        let mut client = snapshots::snapshots_client::SnapshotsClient::new(self.channel.clone());
        let stat = snapshots::StatSnapshotRequest { snapshotter: snapshotter.to_owned(), key: chain.clone() };
        if client.stat(request(stat, Some(lease))).await.is_ok() {
            return Ok(());
        }
        let key = format!("{} {chain}", unique("extract"));
        let prepare = snapshots::PrepareSnapshotRequest {
            snapshotter: snapshotter.to_owned(),
            key: key.clone(),
            ..Default::default()
        };
        let mounts = client
            .prepare(request(prepare, Some(lease)))
            .await
            .map_err(ImageError::call("Snapshots.Prepare"))?
            .into_inner()
            .mounts;
        let apply = services::ApplyRequest { diff: Some(to_types(layer)), mounts, ..Default::default() };
        let applied = services::diff_client::DiffClient::new(self.channel.clone())
            .apply(request(apply, Some(lease)))
            .await
            .map_err(ImageError::call("Diff.Apply"));
        let committed = match applied {
            Ok(_) => {
                let commit = snapshots::CommitSnapshotRequest {
                    snapshotter: snapshotter.to_owned(),
                    name: chain,
                    key: key.clone(),
                    ..Default::default()
                };
                match client.commit(request(commit, Some(lease))).await {
                    Ok(_) => return Ok(()),
                    Err(status) if status.code() == tonic::Code::AlreadyExists => Ok(()),
                    Err(status) => Err(ImageError::call("Snapshots.Commit")(status)),
                }
            }
            Err(error) => Err(error),
        };
        let remove = snapshots::RemoveSnapshotRequest { snapshotter: snapshotter.to_owned(), key };
        let _ = client.remove(request(remove, Some(lease))).await;
        committed
    }

    fn content(&self) -> services::content_client::ContentClient<Channel> {
        // Chunks that containerd sends are below gRPC's default limit; those of images are not always.
        services::content_client::ContentClient::new(self.channel.clone())
            .max_decoding_message_size(16 * CHUNK_BYTES)
    }

    fn images(&self) -> services::images_client::ImagesClient<Channel> {
        services::images_client::ImagesClient::new(self.channel.clone())
            .max_decoding_message_size(16 * CHUNK_BYTES)
    }
}

/// Reads to the end, handing on chunks; stops early when nobody takes them.
fn read_and_hash(mut source: impl Read, sender: &mpsc::Sender<Bytes>) -> std::io::Result<(String, u64)> {
    let mut hash = digest::Context::new(&digest::SHA256);
    let mut size = 0_u64;
    loop {
        let mut chunk = Vec::with_capacity(CHUNK_BYTES);
        source.by_ref().take(CHUNK_BYTES as u64).read_to_end(&mut chunk)?;
        if chunk.is_empty() {
            return Ok((format_digest(hash.finish().as_ref()), size));
        }
        hash.update(&chunk);
        size += chunk.len() as u64;
        if sender.blocking_send(Bytes::from(chunk)).is_err() {
            return Err(std::io::Error::other("containerd stopped reading"));
        }
    }
}

/// A request in our namespace, under a lease.
fn request<T>(message: T, lease: Option<&Lease>) -> tonic::Request<T> {
    let mut request = tonic::Request::new(message);
    request.metadata_mut().insert("containerd-namespace", MetadataValue::from_static(NAMESPACE));
    if let Some(lease) = lease
        && let Ok(id) = lease.id.parse()
    {
        request.metadata_mut().insert("containerd-lease", id);
    }
    request
}

/// A name that no other import of this or another process uses.
fn unique(prefix: &str) -> String {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let nanos = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
    format!("{prefix}-{}-{nanos}-{}", std::process::id(), COUNTER.fetch_add(1, Ordering::Relaxed))
}

fn to_types(descriptor: &Descriptor) -> types::Descriptor {
    types::Descriptor {
        media_type: descriptor.media_type.clone(),
        digest: descriptor.digest.clone(),
        size: i64::try_from(descriptor.size).unwrap_or(i64::MAX),
        ..Default::default()
    }
}

fn descriptor(descriptor: types::Descriptor) -> Descriptor {
    Descriptor {
        media_type: descriptor.media_type,
        digest: descriptor.digest,
        size: u64::try_from(descriptor.size).unwrap_or_default(),
        ..Descriptor::default()
    }
}

fn rfc3339(seconds: i64) -> String {
    prost_types::Timestamp { seconds, nanos: 0 }.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_containerd_reads_them() {
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00Z");
    }

    #[tokio::test]
    async fn content_is_hashed_while_it_is_read() {
        let (sender, mut receiver) = mpsc::channel(8);
        let source = std::io::repeat(1).take(CHUNK_BYTES as u64 + 5);
        let reader = tokio::task::spawn_blocking(move || read_and_hash(source, &sender));
        let mut total = 0;
        while let Some(chunk) = receiver.recv().await {
            total += chunk.len();
        }
        let (digest, size) = reader.await.unwrap().unwrap();
        assert_eq!((total as u64, size), (CHUNK_BYTES as u64 + 5, CHUNK_BYTES as u64 + 5));
        assert_eq!(digest, super::super::oci::sha256(&vec![1; CHUNK_BYTES + 5]));
    }
}
