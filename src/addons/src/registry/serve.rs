//! The HTTP API of the distribution specification 1.1.

use super::answer::{Answer, Failure, created, empty, progress, set};
use super::cache::Cache;
use super::manifest::{IMAGE, INDEX, Manifest};
use super::names::{Algorithm, Digest, Name, Reference, Target, Wrong, page, parameter, range, target};
use super::store::{Store, StoreError};
use crate::http::{self as web, Body, BoxError, Handler};
use ::http::request::Parts;
use ::http::{Method, Request, Response, StatusCode};
use async_trait::async_trait;
use futures::StreamExt;
use http_body_util::{BodyExt, Limited, StreamBody};
use hyper::body::{Frame, Incoming};
use serde_json::{Value, json};
use std::fs::File;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio_util::io::ReaderStream;

/// The largest manifest: the specification asks for 4 MiB at least, and it is held in memory.
const LARGEST_MANIFEST: usize = 4 * 1024 * 1024;
/// How long a client may say nothing in the middle of a body.
const PATIENCE: Duration = Duration::from_secs(60);
/// How many names are listed when nobody says.
const PAGE: usize = 1000;

/// A registry.
pub struct Registry {
    store: Store,
    cache: Option<Arc<Cache>>,
    requests: AtomicU64,
}

impl Registry {
    pub(super) fn new(store: Store, cache: Option<Arc<Cache>>) -> Arc<Self> {
        Arc::new(Self { store, cache, requests: AtomicU64::new(0) })
    }

    /// The text of `/metrics`.
    pub fn metrics(&self) -> String {
        format!(
            "# HELP registry_http_requests_total Requests that came.\n# TYPE registry_http_requests_total counter\n\
             registry_http_requests_total {}\n# HELP registry_storage_bytes Bytes that are stored.\n\
             # TYPE registry_storage_bytes gauge\nregistry_storage_bytes {}\n",
            self.requests.load(Ordering::Relaxed),
            self.store.used(),
        )
    }

    /// Removes what nothing has named for `grace`.
    pub async fn collect(self: &Arc<Self>, now: SystemTime, grace: Duration) {
        let this = self.clone();
        let needs = |bytes: &[u8], media_type: &str| {
            let read = Manifest::read(bytes, media_type);
            read.map(|manifest| manifest.blobs().chain(manifest.manifests()).collect()).unwrap_or_default()
        };
        let collected = tokio::task::spawn_blocking(move || this.store.collect(now, grace, needs)).await;
        match collected {
            Ok(Ok(0)) => {}
            Ok(Ok(bytes)) => tracing::info!(bytes, "collected what nothing names"),
            Ok(Err(error)) => tracing::warn!("cannot collect what nothing names: {error}"),
            Err(error) => tracing::error!("{error}"),
        }
        if let Some(cache) = &self.cache {
            Box::pin(cache.collect(now)).await;
        }
    }

    /// Runs something with the files on a thread that may block.
    pub(super) async fn files<T: Send + 'static>(
        self: &Arc<Self>,
        missing: &'static str,
        work: impl FnOnce(&Store) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, Failure> {
        let this = self.clone();
        let done = tokio::task::spawn_blocking(move || work(&this.store)).await;
        let lost = |error: tokio::task::JoinError| {
            Failure::new(StatusCode::INTERNAL_SERVER_ERROR, "UNKNOWN", error.to_string())
        };
        done.map_err(lost)?.map_err(Failure::about(missing))
    }

    async fn answer(self: &Arc<Self>, request: Request<Incoming>) -> Answer {
        let (parts, body) = request.into_parts();
        let target = target(parts.uri.path(), &parts.method)?;
        if let Some(cache) = &self.cache
            && let Target::Manifest(..) | Target::Blob(..) = target
            && let Some(registry) = cache.of(&parts)
        {
            return cache.answer(&registry, target, &parts).await;
        }
        match (target, parts.method.as_str()) {
            (Target::Base, "GET" | "HEAD") => Ok(web::json(StatusCode::OK, &json!({}))),
            (Target::Catalog, "GET") => {
                let names = self.files("NAME_UNKNOWN", |store| Ok(store.repositories())).await?;
                listed(&parts, "repositories", names, None)
            }
            (Target::Tags(name), "GET") => {
                let of = name.clone();
                let tags = self.files("NAME_UNKNOWN", move |store| store.tags(&of)).await?;
                listed(&parts, "tags", tags, Some(&name))
            }
            (Target::Manifest(name, reference), "GET" | "HEAD") => self.pull(name, reference).await,
            (Target::Manifest(name, reference), "PUT") => self.push(&parts, body, name, reference).await,
            (Target::Manifest(name, reference), "DELETE") => self.delete(name, reference).await,
            (Target::Blob(name, digest), "GET" | "HEAD") => self.blob(&parts, name, digest).await,
            (Target::Blob(name, digest), "DELETE") => {
                self.files("BLOB_UNKNOWN", move |store| store.delete_blob(&name, &digest)).await?;
                Ok(empty(StatusCode::ACCEPTED))
            }
            (Target::Uploads(name), "POST") => self.begin(&parts, body, name).await,
            (Target::Upload(name, id), "GET") => {
                let of = id.clone();
                let size = self.files(UPLOAD, move |store| store.uploaded(&of)).await?;
                Ok(progress(StatusCode::NO_CONTENT, &name, &id, size))
            }
            (Target::Upload(name, id), "PATCH") => {
                let size = self.receive(&parts, body, &id).await?;
                Ok(progress(StatusCode::ACCEPTED, &name, &id, size))
            }
            (Target::Upload(name, id), "PUT") => {
                let digest = digest_of(&parts)?.ok_or(Wrong::Digest)?;
                self.receive(&parts, body, &id).await?;
                self.finish(name, id, digest).await
            }
            (Target::Upload(_, id), "DELETE") => {
                self.files(UPLOAD, move |store| store.cancel(&id)).await?;
                Ok(empty(StatusCode::NO_CONTENT))
            }
            (Target::Referrers(name, digest), "GET") => self.referrers(&parts, name, digest).await,
            _ => Err(Failure::new(
                StatusCode::METHOD_NOT_ALLOWED,
                "UNSUPPORTED",
                "the method is not supported",
            )),
        }
    }

    pub(super) async fn pull(self: &Arc<Self>, name: Name, reference: Reference) -> Answer {
        let (bytes, media_type, digest) = self
            .files("MANIFEST_UNKNOWN", move |store| {
                let digest = match reference {
                    Reference::Digest(digest) => digest,
                    Reference::Tag(tag) => store.tag(&name, &tag)?,
                };
                let (bytes, media_type) = store.manifest(&name, &digest)?;
                Ok((bytes, media_type, digest))
            })
            .await?;
        let length = bytes.len();
        let mut response = Response::new(web::full(bytes));
        set(&mut response, "content-type", &media_type);
        set(&mut response, "content-length", &length.to_string());
        set(&mut response, "docker-content-digest", &digest.to_string());
        set(&mut response, "etag", &format!("\"{digest}\""));
        Ok(response)
    }

    async fn push(
        self: &Arc<Self>,
        parts: &Parts,
        body: Incoming,
        name: Name,
        reference: Reference,
    ) -> Answer {
        let invalid = |why: String| Failure::new(StatusCode::BAD_REQUEST, "MANIFEST_INVALID", why);
        let media_type = header_of(parts, "content-type").unwrap_or(IMAGE).to_owned();
        let collecting = tokio::time::timeout(PATIENCE, Limited::new(body, LARGEST_MANIFEST).collect());
        let bytes = match collecting.await {
            Ok(Ok(collected)) => collected.to_bytes(),
            Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => {
                let why = format!("a manifest may have {LARGEST_MANIFEST} bytes");
                return Err(Failure::new(StatusCode::PAYLOAD_TOO_LARGE, "MANIFEST_INVALID", why));
            }
            Ok(Err(error)) => return Err(invalid(error.to_string())),
            Err(_) => return Err(invalid("the manifest did not come in time".to_owned())),
        };
        let manifest = Manifest::read(&bytes, &media_type).map_err(invalid)?;
        let digest = match &reference {
            Reference::Digest(digest) => {
                let found = Digest::of(digest.algorithm, &bytes);
                if found != *digest {
                    return Err(Failure::about("")(StoreError::Digest(found)));
                }
                digest.clone()
            }
            Reference::Tag(_) => Digest::of(Algorithm::Sha256, &bytes),
        };
        let subject = manifest.subject();
        let (of, by) = (name.clone(), digest.clone());
        let referred = subject.clone();
        let missing = self
            .files("NAME_UNKNOWN", move |store| {
                let blob = manifest.blobs().find(|blob| !store.has_blob(&of, blob));
                let listed = manifest.manifests().find(|listed| !store.has_manifest(&of, listed));
                if let Some(missing) = blob.or(listed) {
                    return Ok(Some(missing));
                }
                store.put_manifest(&of, &by, &bytes, &media_type, referred.as_ref())?;
                if let Reference::Tag(tag) = &reference {
                    store.put_tag(&of, tag, &by)?;
                }
                Ok(None)
            })
            .await?;
        if let Some(missing) = missing {
            let why = format!("{missing} is not in the repository");
            return Err(Failure::new(StatusCode::NOT_FOUND, "MANIFEST_BLOB_UNKNOWN", why));
        }
        let mut response = created(&format!("/v2/{name}/manifests/{digest}"), &digest);
        if let Some(subject) = subject {
            set(&mut response, "oci-subject", &subject.to_string());
        }
        Ok(response)
    }

    async fn delete(self: &Arc<Self>, name: Name, reference: Reference) -> Answer {
        self.files("MANIFEST_UNKNOWN", move |store| match reference {
            Reference::Tag(tag) => store.delete_tag(&name, &tag),
            Reference::Digest(digest) => {
                let (bytes, media_type) = store.manifest(&name, &digest)?;
                let subject =
                    Manifest::read(&bytes, &media_type).ok().and_then(|manifest| manifest.subject());
                store.delete_manifest(&name, &digest, subject.as_ref())
            }
        })
        .await?;
        Ok(empty(StatusCode::ACCEPTED))
    }

    pub(super) async fn blob(self: &Arc<Self>, parts: &Parts, name: Name, digest: Digest) -> Answer {
        let (of, head) = (digest.clone(), parts.method == Method::HEAD);
        let (file, size) = self
            .files("BLOB_UNKNOWN", move |store| {
                let found = store.blob(&name, &of)?;
                if head {
                    // Who asks so is about to push a manifest that needs it: it must not be collected before.
                    store.mount(&name, &of, &name)?;
                }
                Ok(found)
            })
            .await?;
        let wanted = header_of(parts, "range").filter(|text| text.starts_with("bytes=")).map(range);
        let (first, last) = match wanted {
            None => (0, size.saturating_sub(1)),
            Some(Some((first, last))) if first < size => {
                (first, last.unwrap_or(u64::MAX).min(size.saturating_sub(1)))
            }
            Some(_) => {
                let why = format!("the blob has {size} bytes");
                let mut response =
                    Failure::new(StatusCode::RANGE_NOT_SATISFIABLE, "SIZE_INVALID", why).response();
                set(&mut response, "content-range", &format!("bytes */{size}"));
                return Ok(response);
            }
        };
        let length = if size == 0 { 0 } else { last - first + 1 };
        let mut response = if head {
            empty(StatusCode::OK)
        } else {
            Response::new(streamed(file, first, length).await.map_err(Failure::about("BLOB_UNKNOWN"))?)
        };
        set(&mut response, "content-type", "application/octet-stream");
        set(&mut response, "content-length", &length.to_string());
        set(&mut response, "docker-content-digest", &digest.to_string());
        set(&mut response, "accept-ranges", "bytes");
        if wanted.is_some() {
            *response.status_mut() = StatusCode::PARTIAL_CONTENT;
            set(&mut response, "content-range", &format!("bytes {first}-{last}/{size}"));
        }
        Ok(response)
    }

    async fn begin(self: &Arc<Self>, parts: &Parts, body: Incoming, name: Name) -> Answer {
        let query = parts.uri.query();
        if let (Some(digest), Some(from)) = (parameter(query, "mount"), parameter(query, "from"))
            && let (Ok(digest), Ok(from)) = (digest.parse::<Digest>(), from.parse::<Name>())
        {
            let (to, of) = (name.clone(), digest.clone());
            if self.files("BLOB_UNKNOWN", move |store| store.mount(&to, &of, &from)).await.is_ok() {
                return Ok(created(&format!("/v2/{name}/blobs/{digest}"), &digest));
            }
        }
        let digest = digest_of(parts)?;
        let id = uuid::Uuid::new_v4().to_string();
        let new = id.clone();
        self.files(UPLOAD, move |store| store.begin(&new)).await?;
        match digest {
            None => Ok(progress(StatusCode::ACCEPTED, &name, &id, 0)),
            Some(digest) => {
                self.receive(parts, body, &id).await?;
                self.finish(name, id, digest).await
            }
        }
    }

    /// Takes what a body brings to an upload. Answers how many bytes it has now.
    async fn receive(self: &Arc<Self>, parts: &Parts, mut body: Incoming, id: &str) -> Result<u64, Failure> {
        let at = match header_of(parts, "content-range") {
            Some(text) => Some(range(text).ok_or_else(|| {
                Failure::new(
                    StatusCode::RANGE_NOT_SATISFIABLE,
                    "BLOB_UPLOAD_INVALID",
                    "the range is not valid",
                )
            })?),
            None => None,
        };
        let (of, first) = (id.to_owned(), at.map(|(first, _)| first));
        let mut file = self.files(UPLOAD, move |store| store.resume(&of, first)).await?;
        loop {
            let frame = match tokio::time::timeout(PATIENCE, body.frame()).await {
                Ok(None) => break,
                Ok(Some(Ok(frame))) => frame,
                Ok(Some(Err(error))) => {
                    return Err(Failure::new(
                        StatusCode::BAD_REQUEST,
                        "BLOB_UPLOAD_INVALID",
                        error.to_string(),
                    ));
                }
                Err(_) => {
                    let why = "nothing came for a minute";
                    return Err(Failure::new(StatusCode::REQUEST_TIMEOUT, "BLOB_UPLOAD_INVALID", why));
                }
            };
            let Ok(piece) = frame.into_data() else { continue };
            file = self
                .files(UPLOAD, move |store| {
                    store.append(&mut file, &piece)?;
                    Ok(file)
                })
                .await?;
        }
        let of = id.to_owned();
        self.files(UPLOAD, move |store| store.uploaded(&of)).await
    }

    async fn finish(self: &Arc<Self>, name: Name, id: String, digest: Digest) -> Answer {
        let (of, by) = (name.clone(), digest.clone());
        self.files(UPLOAD, move |store| store.finish(&of, &id, &by)).await?;
        Ok(created(&format!("/v2/{name}/blobs/{digest}"), &digest))
    }

    async fn referrers(self: &Arc<Self>, parts: &Parts, name: Name, subject: Digest) -> Answer {
        let wanted = parameter(parts.uri.query(), "artifactType");
        let of = wanted.clone();
        let manifests = self
            .files("NAME_UNKNOWN", move |store| {
                let mut all = Vec::new();
                for digest in store.referrers(&name, &subject)? {
                    let Ok((bytes, media_type)) = store.manifest(&name, &digest) else { continue };
                    let Ok(manifest) = Manifest::read(&bytes, &media_type) else { continue };
                    if of.as_deref().is_none_or(|wanted| manifest.artifact_type() == Some(wanted)) {
                        all.push(manifest.descriptor(&media_type, &digest, bytes.len()));
                    }
                }
                Ok(all)
            })
            .await?;
        let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests});
        let mut response = web::typed(StatusCode::OK, INDEX, index.to_string());
        if wanted.is_some() {
            set(&mut response, "oci-filters-applied", "artifactType");
        }
        Ok(response)
    }
}

#[async_trait]
impl Handler for Registry {
    async fn handle(self: Arc<Self>, request: Request<Incoming>, _client: SocketAddr) -> Response<Body> {
        self.requests.fetch_add(1, Ordering::Relaxed);
        let head = request.method() == Method::HEAD;
        let mut response = self.answer(request).await.unwrap_or_else(Failure::response);
        set(&mut response, "docker-distribution-api-version", "registry/2.0");
        if head {
            *response.body_mut() = web::full("");
        }
        response
    }
}

const UPLOAD: &str = "BLOB_UPLOAD_UNKNOWN";

fn listed(parts: &Parts, key: &str, all: Vec<String>, name: Option<&Name>) -> Answer {
    let query = parts.uri.query();
    let n = match parameter(query, "n") {
        None => PAGE,
        Some(text) => text.parse().map_err(|_| {
            Failure::new(StatusCode::BAD_REQUEST, "PAGINATION_NUMBER_INVALID", "n is no number")
        })?,
    };
    let (names, more) = page(all, Some(n), parameter(query, "last").as_deref());
    let mut body = json!({key: names});
    if let (Some(name), Some(fields)) = (name, body.as_object_mut()) {
        fields.insert("name".to_owned(), Value::String(name.to_string()));
    }
    let mut response = web::json(StatusCode::OK, &body);
    if let Some(last) = names.last().filter(|_| more) {
        let next = format!("<{}?n={n}&last={last}>; rel=\"next\"", parts.uri.path());
        set(&mut response, "link", &next);
    }
    Ok(response)
}

async fn streamed(file: File, first: u64, length: u64) -> Result<Body, StoreError> {
    let mut file = tokio::fs::File::from_std(file);
    file.seek(std::io::SeekFrom::Start(first)).await?;
    // Large pieces: each is a visit to a thread that may block.
    let stream = ReaderStream::with_capacity(file.take(length), 64 * 1024);
    let frames = stream.map(|piece| piece.map(Frame::data).map_err(|error| Box::new(error) as BoxError));
    Ok(StreamBody::new(frames).boxed_unsync())
}

fn digest_of(parts: &Parts) -> Result<Option<Digest>, Failure> {
    let text = parameter(parts.uri.query(), "digest");
    Ok(text.map(|text| text.parse().map_err(|()| Wrong::Digest)).transpose()?)
}

fn header_of<'a>(parts: &'a Parts, name: &str) -> Option<&'a str> {
    parts.headers.get(name)?.to_str().ok()
}
