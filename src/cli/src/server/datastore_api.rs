//! `/knarr/v1/datastore`: looking after the datastore of a running server.
//!
//! | request | answer |
//! |---|---|
//! | GET `/backup` | a backup |
//! | GET `/status[?check=true]` | how the datastore is |
//! | GET `/history?key=KEY[&values=true]` | the changes of a key |
//! | GET, POST `/snapshots`, POST `/snapshots/prune`, DELETE `/snapshots/NAME` | the backups that are kept |
//! | POST `/compact[?revision=N]` | what is compacted then |
//! | POST `/defrag[?full=true]` | the file's size before and after |
//!
//! RBAC decides who may ask (`nonResourceURLs`); `cluster-admin` may.

use crate::backups::keeper::Keeper;
use crate::commands::datastore::ROOT;
use apimachinery::status::{Result, Status};
use apimachinery::time;
use apiserver::authentication::UserInfo;
use apiserver::endpoints::Extension;
use apiserver::{Body, BoxError};
use async_trait::async_trait;
use backup::Form;
use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, header};
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::Frame;
use percent_encoding::percent_decode_str;
use serde::Serialize;
use serde_json::{Value, json};
use std::io::{BufWriter, Write};
use std::sync::Arc;
use storage::{Storage, StorageError};
use tokio::sync::mpsc;

/// Bytes that are sent at a time.
const PIECE_BYTES: usize = 64 << 10;

/// Pieces that wait for a slow client.
const PIECES: usize = 4;

/// Answers requests about one datastore.
pub struct DatastoreApi(pub Arc<Keeper>);

#[async_trait]
impl Extension for DatastoreApi {
    fn path(&self) -> &str {
        ROOT
    }

    async fn answer(&self, _: &UserInfo, request: Request<Body>) -> Result<Response<Body>> {
        // No request has a body that matters.
        let (parts, _) = request.into_parts();
        let path = parts.uri.path().strip_prefix(ROOT).unwrap_or_default().trim_matches('/');
        let query = |name: &str| parameter(parts.uri.query().unwrap_or_default(), name);
        let asked = |name: &str| query(name).is_some_and(|value| value != "false");
        match (&parts.method, path) {
            (&Method::GET, "backup") => self.backup().await,
            (&Method::GET, "status") => {
                let condition = self.0.store().condition(asked("check")).await.map_err(|e| status(&e))?;
                json_response(&serde_json::to_value(condition).map_err(Status::internal)?)
            }
            (&Method::GET, "history") => {
                let key = query("key").ok_or_else(|| Status::bad_request("key is missing"))?;
                self.history(&key, asked("values")).await
            }
            (&Method::POST, "compact") => {
                let revision = match query("revision") {
                    Some(text) => text
                        .parse()
                        .map_err(|_| Status::bad_request(format!("revision {text:?} is no number")))?,
                    None => self.0.store().revision(),
                };
                self.0.store().compact(revision).await.map_err(|error| status(&error))?;
                json_response(&json!({"compactedRevision": self.0.store().compacted_revision()}))
            }
            (&Method::POST, "defrag") => {
                let done = self.0.store().defragment(asked("full")).await.map_err(|error| status(&error))?;
                json_response(&serde_json::to_value(done).map_err(Status::internal)?)
            }
            (&Method::GET, "snapshots") => told(self.0.list().await),
            (&Method::POST, "snapshots") => told(self.0.save(jiff::Timestamp::now()).await),
            (&Method::POST, "snapshots/prune") => told(self.0.prune().await),
            (&Method::DELETE, path) if path.starts_with("snapshots/") => {
                told(self.0.delete(path.trim_start_matches("snapshots/")).await)
            }
            (_, "snapshots" | "backup" | "status" | "history" | "compact" | "defrag") => {
                Err(Status::method_not_allowed_path())
            }
            _ => Err(Status::no_such_path()),
        }
    }
}

impl DatastoreApi {
    async fn backup(&self) -> Result<Response<Body>> {
        let folder = self.0.source().folder().map_err(|error| Status::internal(format!("{error:#}")))?;
        let copy = folder.path().join("state.db");
        let contents = self.0.store().copy_to(&copy).await.map_err(|error| status(&error))?;
        let (sender, receiver) = mpsc::channel(PIECES);
        let source = self.0.source().clone();
        let revision = contents.revision;
        tokio::task::spawn_blocking(move || {
            let mut output = BufWriter::with_capacity(PIECE_BYTES, Pieces(sender.clone()));
            let written = source.write(&contents, &copy, Form::Gzip, &mut output);
            if let Err(error) = written {
                tracing::warn!("a backup ended early: {error:#}");
                // Who has gone away need not be told.
                let _ = sender.blocking_send(Err(error.into()));
            }
            drop(folder);
        });
        let frames = futures::stream::unfold(receiver, async |mut receiver: mpsc::Receiver<Piece>| {
            let piece = receiver.recv().await?;
            Some((piece.map(Frame::data), receiver))
        });
        let mut response = Response::new(StreamBody::new(frames).boxed_unsync());
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/gzip"));
        headers.insert("knarr-revision", HeaderValue::from(revision));
        Ok(response)
    }

    async fn history(&self, key: &str, values: bool) -> Result<Response<Body>> {
        let versions = self.0.store().history(key).await.map_err(|error| status(&error))?;
        let versions = versions.iter().map(|version| {
            let change = match (&version.value, version.create_revision == version.revision) {
                (None, _) => "deleted",
                (Some(_), true) => "created",
                (Some(_), false) => "updated",
            };
            let bytes = version.value.as_ref().map_or(0, Bytes::len);
            let mut entry = json!({"revision": version.revision, "change": change, "bytes": bytes});
            let object = version.value.as_ref().filter(|_| values);
            let object = object.and_then(|bytes| serde_json::from_slice::<Value>(bytes).ok());
            let made = version.made.as_ref();
            let time = made.and_then(|made| time::rfc3339_millis(made.at_millis));
            let impersonator = made.and_then(|made| made.by.impersonator.as_deref());
            let known = [
                ("time", time.map(|time| json!(time))),
                ("user", made.map(|made| json!(&*made.by.user))),
                ("impersonator", impersonator.map(|name| json!(name))),
                ("value", object),
            ];
            if let Some(fields) = entry.as_object_mut() {
                let known = known.into_iter();
                fields.extend(known.filter_map(|(name, value)| Some((name.to_owned(), value?))));
            }
            entry
        });
        json_response(&Value::Array(versions.collect()))
    }
}

type Piece = std::result::Result<Bytes, BoxError>;

/// Hands bytes to whoever sends them.
struct Pieces(mpsc::Sender<Piece>);

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let sent = self.0.blocking_send(Ok(Bytes::copy_from_slice(bytes)));
        sent.map_err(|_| std::io::Error::from(std::io::ErrorKind::BrokenPipe))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn told<T: Serialize>(result: anyhow::Result<T>) -> Result<Response<Body>> {
    let done = result.map_err(|error| Status::service_unavailable(format!("{error:#}")))?;
    json_response(&serde_json::to_value(done).map_err(Status::internal)?)
}

fn parameter(query: &str, name: &str) -> Option<String> {
    let mut pairs = query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    let (_, value) = pairs.find(|(key, _)| *key == name)?;
    Some(percent_decode_str(value).decode_utf8_lossy().into_owned())
}

fn status(error: &StorageError) -> Status {
    match error {
        StorageError::InvalidKey { .. } | StorageError::FutureRevision { .. } => {
            Status::bad_request(error.to_string())
        }
        other => Status::service_unavailable(other.to_string()),
    }
}

fn json_response(value: &Value) -> Result<Response<Body>> {
    let body = Full::new(Bytes::from(value.to_string())).map_err(|never| match never {}).boxed_unsync();
    let mut response = Response::new(body);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(response)
}
