//! A pull-through cache of other registries: what is asked for with `?ns=REGISTRY`, as containerd asks mirrors, is fetched
//! from there once, kept, and given out when that registry is away, too.
//!
//! It is apart from what is pushed: nobody can put anything into it but the registries themselves, by digests that are
//! checked. Tags are asked for anew each time.

use super::answer::{Answer, Failure, empty, set};
use super::manifest::{IMAGE, INDEX, Manifest};
use super::names::{Algorithm, Digest, Name, Reference, Target, parameter};
use super::serve::Registry;
use super::store::{Store, StoreError};
use super::upstream::{Upstream, UpstreamError};
use crate::http::{self as web, BoxError};
use ::http::request::Parts;
use ::http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Limited, StreamBody};
use hyper::body::{Frame, Incoming};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::sync::mpsc;
use tokio::time::Instant;

/// How long a registry may say nothing in the middle of a body.
const PATIENCE: Duration = Duration::from_secs(60);
/// The largest manifest, which is held in memory.
const LARGEST_MANIFEST: usize = 4 * 1024 * 1024;
/// Pieces of a blob on their way to a client that is slower than the disk.
const PIECES: usize = 8;
/// What was not asked for in this time is given up.
const UNUSED: Duration = Duration::from_secs(30 * 24 * 3600);
/// What came within this time stays when room is made: more of it may be on its way.
const FRESH: Duration = Duration::from_secs(3600);
/// Between attempts to make room.
const ROOM_PAUSE: Duration = Duration::from_secs(600);

/// What is kept of other registries.
pub struct Cache {
    kept: Arc<Registry>,
    upstreams: BTreeMap<String, Upstream>,
    /// When room was made last.
    made_room: Mutex<Option<Instant>>,
}

impl Cache {
    /// A cache of these registries (`docker.io`, `http://10.0.0.1:5000`) in a folder, whose bytes count as those of `beside`.
    ///
    /// # Errors
    /// When one is no host's name, or the folder cannot be used.
    pub fn open(folder: &Path, names: &[String], beside: &Store) -> std::io::Result<Arc<Self>> {
        let all = names.iter().map(|name| Upstream::new(name).map_err(std::io::Error::other));
        let upstreams = all.collect::<Result<_, _>>()?;
        let kept = Registry::new(beside.another(folder)?, None);
        Ok(Arc::new(Self { kept, upstreams, made_room: Mutex::default() }))
    }

    /// The registry that a request is meant for, if it is one of these.
    pub fn of(&self, parts: &Parts) -> Option<String> {
        parameter(parts.uri.query(), "ns").filter(|name| self.upstreams.contains_key(name))
    }

    /// Gives up what nobody asked for in a long time.
    pub async fn collect(&self, now: SystemTime) {
        self.expire(move |store| store.unused(now, UNUSED)).await;
        self.kept.collect(now, super::store::GRACE).await;
    }

    /// Gives up the quarter that was not asked for the longest.
    async fn make_room(self: Arc<Self>) {
        {
            let mut last = self.made_room.lock();
            if last.is_some_and(|last| last.elapsed() < ROOM_PAUSE) {
                return;
            }
            *last = Some(Instant::now());
        }
        tracing::info!("the registry is full: what was not asked for the longest goes");
        self.expire(|store| {
            let mut all = store.unused(SystemTime::now(), FRESH);
            let quarter = all.len().div_ceil(4);
            all.truncate(quarter);
            all
        })
        .await;
        self.kept.collect(SystemTime::now(), FRESH).await;
    }

    async fn expire(&self, which: impl FnOnce(&Store) -> Vec<(Name, Digest)> + Send + 'static) {
        let expired = self.kept.files("MANIFEST_UNKNOWN", move |store| {
            for (name, digest) in which(store) {
                store.delete_manifest(&name, &digest, None)?;
            }
            Ok(())
        });
        if let Err(failure) = expired.await {
            tracing::warn!("cannot give up what is kept: {}", failure.message());
        }
    }

    /// Answers a request that is meant for a registry.
    pub async fn answer(self: &Arc<Self>, registry: &str, target: Target, parts: &Parts) -> Answer {
        let upstream = self.upstreams.get(registry).ok_or_else(|| unknown("NAME_UNKNOWN"))?;
        if parts.method != Method::GET && parts.method != Method::HEAD {
            let why = "what is kept of other registries cannot be changed";
            return Err(Failure::new(StatusCode::METHOD_NOT_ALLOWED, "UNSUPPORTED", why));
        }
        match target {
            Target::Manifest(name, reference) => {
                let here = here(registry, &name)?;
                self.manifest(upstream, &name, here, reference, &parts.headers).await
            }
            Target::Blob(name, digest) => {
                let here = here(registry, &name)?;
                self.blob(upstream, &name, here, digest, parts).await
            }
            _ => Err(unknown("UNSUPPORTED")),
        }
    }

    async fn manifest(
        self: &Arc<Self>,
        upstream: &Upstream,
        name: &Name,
        here: Name,
        reference: Reference,
        headers: &HeaderMap,
    ) -> Answer {
        let tag = match &reference {
            Reference::Tag(tag) => Some(tag.clone()),
            Reference::Digest(digest) => match self.pull(&here, Reference::Digest(digest.clone())).await {
                Ok(answer) => return Ok(answer),
                Err(_) => None,
            },
        };
        let accept = accepted(headers);
        let path = match &reference {
            Reference::Tag(tag) => format!("manifests/{tag}"),
            Reference::Digest(digest) => format!("manifests/{digest}"),
        };
        match self.fetch(upstream, name, &here, &path, &reference, &accept).await {
            Ok(Fetched::Kept(digest)) => {
                if let Some(tag) = tag {
                    let (of, by) = (here.clone(), digest.clone());
                    self.kept.files("NAME_UNKNOWN", move |store| store.put_tag(&of, &tag, &by)).await?;
                }
                self.pull(&here, Reference::Digest(digest)).await
            }
            Ok(Fetched::NotKept(bytes, media_type, digest)) => {
                let length = bytes.len();
                let mut answer = Response::new(web::full(bytes));
                set(&mut answer, "content-type", &media_type);
                set(&mut answer, "content-length", &length.to_string());
                set(&mut answer, "docker-content-digest", &digest.to_string());
                Ok(answer)
            }
            Err(error) if error.is_away() => {
                tracing::warn!("{name} from what is kept: {error}");
                self.pull(&here, reference).await.map_err(|_| failure(&error, "MANIFEST_UNKNOWN"))
            }
            Err(error) => Err(failure(&error, "MANIFEST_UNKNOWN")),
        }
    }

    /// What is kept; its time is that of the last request.
    async fn pull(&self, here: &Name, reference: Reference) -> Answer {
        let (of, by) = (here.clone(), reference.clone());
        let answer = self.kept.pull(here.clone(), reference).await?;
        let touched = self.kept.files("MANIFEST_UNKNOWN", move |store| {
            let digest = match by {
                Reference::Digest(digest) => digest,
                Reference::Tag(tag) => store.tag(&of, &tag)?,
            };
            store.touch(&of, &digest)
        });
        touched.await?;
        Ok(answer)
    }

    /// Has a manifest that the registry knows, as it is now.
    async fn fetch(
        self: &Arc<Self>,
        upstream: &Upstream,
        name: &Name,
        here: &Name,
        path: &str,
        reference: &Reference,
        accept: &HeaderMap,
    ) -> Result<Fetched, UpstreamError> {
        // Registries count what is fetched, but not who only looks whether a tag has moved.
        if let Reference::Tag(_) = reference {
            // One that does not answer this at all may answer what follows.
            let head = match upstream.ask(Method::HEAD, name.as_str(), path, accept).await {
                Err(error) if error.is_away() => return Err(error),
                head => head.ok(),
            };
            let digest =
                head.as_ref().and_then(|head| head.headers().get("docker-content-digest")?.to_str().ok());
            if let Some(digest) = digest.and_then(|text| text.parse::<Digest>().ok()) {
                let (of, by) = (here.clone(), digest.clone());
                let known = self.kept.files("", move |store| Ok(store.has_manifest(&of, &by))).await;
                if known.unwrap_or(false) {
                    return Ok(Fetched::Kept(digest));
                }
            }
        }
        let away = |why: String| UpstreamError::Away { host: name.to_string(), why };
        let answer = upstream.ask(Method::GET, name.as_str(), path, accept).await?;
        let media_type = answer.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let media_type = media_type.unwrap_or(IMAGE).to_owned();
        let body = Limited::new(answer.into_body(), LARGEST_MANIFEST).collect();
        let body = tokio::time::timeout(PATIENCE, body).await;
        let body = body.map_err(|_| away("the manifest did not come in time".to_owned()))?;
        let bytes = body.map_err(|error| away(error.to_string()))?.to_bytes();
        let manifest = Manifest::read(&bytes, &media_type).map_err(away)?;
        let digest = match reference {
            Reference::Digest(wanted) => {
                let found = Digest::of(wanted.algorithm, &bytes);
                if found != *wanted {
                    return Err(away(format!("what it gives as {wanted} is {found}")));
                }
                found
            }
            Reference::Tag(_) => Digest::of(Algorithm::Sha256, &bytes),
        };
        let (of, by, content, kind) = (here.clone(), digest.clone(), bytes.clone(), media_type.clone());
        let subject = manifest.subject();
        let kept = self.kept.files("", move |store| {
            match store.put_manifest(&of, &by, &content, &kind, subject.as_ref()) {
                Err(StoreError::Full(_) | StoreError::NoRoom(_)) => Ok(false),
                put => put.map(|()| true),
            }
        });
        match kept.await {
            Ok(true) => Ok(Fetched::Kept(digest)),
            Ok(false) => {
                tokio::spawn(Arc::clone(self).make_room());
                Ok(Fetched::NotKept(bytes, media_type, digest))
            }
            Err(failure) => {
                tracing::warn!("cannot keep {name}: {}", failure.message());
                Ok(Fetched::NotKept(bytes, media_type, digest))
            }
        }
    }

    async fn blob(
        self: &Arc<Self>,
        upstream: &Upstream,
        name: &Name,
        here: Name,
        digest: Digest,
        parts: &Parts,
    ) -> Answer {
        if let Ok(answer) = self.kept.blob(parts, here.clone(), digest.clone()).await {
            return Ok(answer);
        }
        let (path, accept) = (format!("blobs/{digest}"), HeaderMap::new());
        let asked = upstream.ask(parts.method.clone(), name.as_str(), &path, &accept).await;
        let from = asked.map_err(|error| failure(&error, "BLOB_UNKNOWN"))?;
        let length = from.headers().get(header::CONTENT_LENGTH).cloned();
        let mut answer = if parts.method == Method::HEAD {
            empty(StatusCode::OK)
        } else {
            let (send, mut receive) = mpsc::channel::<Result<Bytes, BoxError>>(PIECES);
            tokio::spawn(Arc::clone(self).keep(from.into_body(), here, digest.clone(), send));
            let pieces = futures::stream::poll_fn(move |context| receive.poll_recv(context));
            let frames = futures::StreamExt::map(pieces, |piece| piece.map(Frame::data));
            Response::new(StreamBody::new(frames).boxed_unsync())
        };
        if let Some(length) = length {
            answer.headers_mut().insert(header::CONTENT_LENGTH, length);
        }
        set(&mut answer, "content-type", "application/octet-stream");
        set(&mut answer, "docker-content-digest", &digest.to_string());
        Ok(answer)
    }

    /// Passes a blob on and keeps it; goes on when the client does not wait for it.
    async fn keep(
        self: Arc<Self>,
        mut body: Incoming,
        here: Name,
        digest: Digest,
        client: mpsc::Sender<Result<Bytes, BoxError>>,
    ) {
        let id = uuid::Uuid::new_v4().to_string();
        let new = id.clone();
        let begun = self.kept.files("", move |store| {
            store.begin(&new)?;
            store.resume(&new, None)
        });
        let mut file = begun.await.ok();
        let ended = loop {
            let piece = match tokio::time::timeout(PATIENCE, body.frame()).await {
                Ok(None) => break Ok(()),
                Ok(Some(Ok(frame))) => frame.into_data(),
                Ok(Some(Err(error))) => break Err(BoxError::from(error)),
                Err(_) => break Err(BoxError::from("nothing came for a minute")),
            };
            let Ok(piece) = piece else { continue };
            if let Some(mut open) = file.take() {
                let bytes = piece.clone();
                let appended = self.kept.files("", move |store| match store.append(&mut open, &bytes) {
                    Ok(()) => Ok(Some(open)),
                    Err(StoreError::Full(_) | StoreError::NoRoom(_)) => Ok(None),
                    Err(error) => Err(error),
                });
                file = appended.await.ok().flatten();
                if file.is_none() {
                    tokio::spawn(Arc::clone(&self).make_room());
                }
            }
            if client.send(Ok(piece)).await.is_err() && file.is_none() {
                break Err(BoxError::from("nobody waits for it"));
            }
        };
        let whole = ended.is_ok() && file.is_some();
        let (of, by) = (here.clone(), digest.clone());
        let done = self
            .kept
            .files("", move |store| if whole { store.finish(&of, &id, &by) } else { store.cancel(&id) });
        if let Err(failure) = done.await {
            tracing::warn!("cannot keep {digest} of {here}: {}", failure.message());
        }
        if let Err(error) = ended {
            let _ = client.send(Err(error)).await;
        }
    }
}

/// A manifest that a registry has given.
enum Fetched {
    /// It is kept.
    Kept(Digest),
    /// There is no room for it.
    NotKept(Bytes, String, Digest),
}

/// The repository that holds what comes from a registry's repository.
fn here(registry: &str, name: &Name) -> Result<Name, Failure> {
    let text = format!("{}/{name}", registry.to_lowercase().replace(':', "__"));
    text.parse().map_err(|()| unknown("NAME_INVALID"))
}

fn unknown(code: &'static str) -> Failure {
    Failure::new(StatusCode::NOT_FOUND, code, "it is not kept here")
}

/// What a client takes; what all clients know if it does not say.
fn accepted(headers: &HeaderMap) -> HeaderMap {
    let mut accept = HeaderMap::new();
    for value in headers.get_all(header::ACCEPT) {
        accept.append(header::ACCEPT, value.clone());
    }
    if accept.is_empty() {
        let docker = "application/vnd.docker.distribution.manifest.list.v2+json, \
                      application/vnd.docker.distribution.manifest.v2+json";
        let all = HeaderValue::from_str(&format!("{INDEX}, {IMAGE}, {docker}"));
        accept.extend(all.ok().map(|all| (header::ACCEPT, all)));
    }
    accept
}

/// What a client is told; it asks the registry itself then.
fn failure(error: &UpstreamError, missing: &'static str) -> Failure {
    let status = match error {
        UpstreamError::Refused { status, .. } if !error.is_away() => *status,
        _ => StatusCode::BAD_GATEWAY,
    };
    let status = if status.is_client_error() { StatusCode::NOT_FOUND } else { status };
    Failure::new(
        if status.is_success() || status.is_redirection() { StatusCode::BAD_GATEWAY } else { status },
        missing,
        error.to_string(),
    )
}
