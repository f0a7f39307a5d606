//! `POST /knarr/images[?name=IMAGE]`: an archive of images that another node sends.
//!
//! The upstream kubelet has no such path. `knarr images import` sends the archive by the API server's `nodes/proxy`,
//! which is what permits it here, too: who may do that may run anything in any pod of the node already.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use apimachinery::status::{Reason, Status};
use async_trait::async_trait;
use cri::image::{ImageError, Store};
use http::{Request, Response};
use http_body_util::BodyExt;
use hyper::body::{Body as _, Incoming};
use serde_json::json;
use tempfile::NamedTempFile;
use tokio::io::{AsyncWriteExt, BufWriter};

use super::respond::{self, Body};
use super::route::Query;
use super::serve::State;

/// How long nothing may come of an archive: who sends it has gone without a word.
const SILENCE: Duration = Duration::from_secs(60);
/// What is written at once: less would be a trip to another thread for every packet.
const WRITE_BYTES: usize = 1 << 20;

/// Puts the images of an archive where the node's containers find them.
#[async_trait]
pub trait ImageImporter: Send + Sync + 'static {
    /// Imports every named image of an archive; returns the names. `name` is for an archive that has one image and
    /// no name for it.
    async fn import(&self, archive: &Path, name: Option<&str>) -> Result<Vec<String>, ImageError>;
}

#[async_trait]
impl ImageImporter for Store {
    async fn import(&self, archive: &Path, name: Option<&str>) -> Result<Vec<String>, ImageError> {
        cri::image::import(self, archive, name).await
    }
}

/// Where archives of other nodes go.
pub struct ImageArchives {
    folder: PathBuf,
    importer: Arc<dyn ImageImporter>,
}

impl ImageArchives {
    /// `folder` holds archives for as long as they are imported, and nothing else: what a node that was killed left
    /// there is deleted now.
    pub fn new(folder: PathBuf, importer: Arc<dyn ImageImporter>) -> Self {
        match std::fs::remove_dir_all(&folder) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(%error, folder = %folder.display(), "cannot delete archives of before");
            }
            _ => {}
        }
        Self { folder, importer }
    }

    async fn receive(&self, body: &mut Incoming, name: Option<&str>) -> Result<Vec<String>, ReceiveError> {
        std::fs::create_dir_all(&self.folder).map_err(ReceiveError::Keep)?;
        self.check_room(body.size_hint().lower())?;
        let (file, path) = NamedTempFile::new_in(&self.folder).map_err(ReceiveError::Keep)?.into_parts();
        let mut kept = BufWriter::with_capacity(WRITE_BYTES, tokio::fs::File::from_std(file));
        while let Some(data) = next(body).await? {
            kept.write_all(&data).await.map_err(ReceiveError::Keep)?;
        }
        kept.flush().await.map_err(ReceiveError::Keep)?;
        drop(kept);
        Ok(self.importer.import(&path, name).await?)
    }

    /// Images lie on the disk a second time while they are imported. To fill it would harm all that runs here, and is
    /// known to be in vain.
    fn check_room(&self, bytes: u64) -> Result<(), ReceiveError> {
        let Ok(stat) = nix::sys::statvfs::statvfs(&self.folder) else { return Ok(()) };
        let free = stat.blocks_available().saturating_mul(stat.fragment_size());
        let needed = bytes.saturating_mul(2);
        if needed > free { Err(ReceiveError::Room { needed, free }) } else { Ok(()) }
    }
}

/// Why an archive was not imported.
#[derive(Debug, thiserror::Error)]
enum ReceiveError {
    #[error("the archive needs {needed} bytes, and {free} are free on the node's disk")]
    Room { needed: u64, free: u64 },
    #[error("cannot keep the archive: {0}")]
    Keep(#[source] io::Error),
    #[error("the archive did not come whole: {0}")]
    Body(#[source] hyper::Error),
    #[error("nothing more of the archive came for {} seconds", SILENCE.as_secs())]
    Silence,
    #[error(transparent)]
    Import(#[from] ImageError),
}

impl ReceiveError {
    fn status(&self) -> Status {
        let full = |error: &io::Error| {
            matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
        };
        let (code, reason) = match self {
            // RFC 4918 section 11.5.
            Self::Room { .. } => (507, Reason::Unknown),
            Self::Keep(error) | Self::Import(ImageError::File { source: error, .. }) if full(error) => {
                (507, Reason::Unknown)
            }
            Self::Silence => (408, Reason::Timeout),
            Self::Body(_)
            | Self::Import(ImageError::Archive(_) | ImageError::Digest { .. } | ImageError::Name(_)) => {
                (400, Reason::BadRequest)
            }
            Self::Keep(_) | Self::Import(_) => (500, Reason::InternalError),
        };
        Status::failure(code, reason, self.to_string())
    }
}

/// Answers with the names of what was imported.
pub(super) async fn import(state: &State, request: Request<Incoming>) -> Response<Body> {
    let query = Query::of(&request);
    let mut body = request.into_body();
    let error = match state.images.receive(&mut body, query.get("name")).await {
        Ok(names) => return respond::json(&json!({"images": names})),
        Err(error) => error,
    };
    tracing::warn!(%error, "images of another node are not imported");
    // A connection that is closed while more comes is reset, and the answer is lost with it.
    let shutdown = state.shutdown.clone();
    state.tasks.spawn(async move {
        let rest = async { while let Ok(Some(_)) = next(&mut body).await {} };
        shutdown.run_until_cancelled(rest).await;
    });
    respond::failure(&error.status())
}

/// The next piece of an archive; None at its end.
async fn next(body: &mut Incoming) -> Result<Option<bytes::Bytes>, ReceiveError> {
    match tokio::time::timeout(SILENCE, body.frame()).await {
        Ok(Some(frame)) => {
            let frame = frame.map_err(ReceiveError::Body)?;
            // There is nothing to learn from trailers.
            Ok(Some(frame.into_data().unwrap_or_default()))
        }
        Ok(None) => Ok(None),
        Err(_) => Err(ReceiveError::Silence),
    }
}
