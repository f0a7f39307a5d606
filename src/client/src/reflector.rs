//! The list+watch loop that every cache is fed by.
//!
//! One loop for all kinds: objects are handed on as JSON text, so that only decoding is compiled per kind.
//!
//! Guarantees to the [`Sink`]: a complete list first; then every event in order, each once; after a gap
//! (410 Gone) a complete list again. Lists are consistent reads in pages, so state never goes back in time.

use std::{borrow::Cow, time::Duration};

use bytes::Bytes;
use http::{Request, header};
use http_body_util::BodyExt;
use kube::{Client, Error, client::Body, core::Status};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use rand::Rng;
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Items per page of a list; what client-go's pager asks for.
const PAGE_LIMIT: u32 = 500;
/// Watches are asked to end after this time (seconds) to twice of it, as client-go does, so that servers can
/// shed load and dead connections do not last.
const WATCH_SECONDS: u64 = 300;
/// First pause after a failure; short, because at boot the server is ready within milliseconds.
const BACKOFF_MIN: Duration = Duration::from_millis(100);
/// Longest pause after failures. client-go waits up to 30 s, which spares the servers of thousands of nodes; with few it
/// only makes a node blind for longer after its network was gone.
const BACKOFF_MAX: Duration = Duration::from_secs(10);
/// A watch that lived for this long ends a series of failures.
const HEALTHY_AFTER: Duration = Duration::from_secs(10);

/// Asks for metadata only and accepts the full object from servers that cannot do that.
pub const ACCEPT_METADATA: &str =
    "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json";
/// The same for lists, whose kind is its own.
pub const ACCEPT_METADATA_LIST: &str =
    "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json";
const ACCEPT_JSON: &str = "application/json";

/// What to list and watch.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct ListWatch {
    /// Path of the collection, for example `/api/v1/pods`.
    pub path: String,
    /// Field selector, or empty.
    pub field_selector: String,
    /// Label selector, or empty.
    pub label_selector: String,
    /// Transfer metadata only.
    pub metadata_only: bool,
}

/// What happened to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It is new, or newly matches the selectors.
    Added,
    /// It changed.
    Modified,
    /// It is gone, or no longer matches the selectors; the object is its last state.
    Deleted,
}

/// Where objects go. Calls come from one task; they must not block.
pub trait Sink: Send {
    /// A complete list begins.
    fn list_started(&mut self);
    /// One object of the list.
    fn list_item(&mut self, json: &str);
    /// The list is complete: whatever was not in it is gone.
    fn list_finished(&mut self);
    /// One event. Returns the object's resourceVersion, when it could be read.
    fn event(&mut self, change: Change, json: &str) -> Option<String>;
    /// The collection does not exist (any more): its kind is not served. Nothing by default.
    fn not_served(&mut self) {}
}

/// Feeds `sink` until cancelled.
pub async fn run(client: Client, target: ListWatch, sink: &mut dyn Sink, cancel: &CancellationToken) {
    tokio::select! {
        () = cancel.cancelled() => {}
        () = run_forever(&client, &target, sink) => {}
    }
}

async fn run_forever(client: &Client, target: &ListWatch, sink: &mut dyn Sink) {
    let mut backoff = Backoff::default();
    loop {
        let mut revision = match list(client, target, sink).await {
            Ok(revision) => revision,
            Err(error) => {
                report(target, "list", &error, sink);
                backoff.pause().await;
                continue;
            }
        };
        loop {
            let started = Instant::now();
            let end = watch(client, target, &mut revision, sink).await;
            let healthy = started.elapsed() >= HEALTHY_AFTER;
            if healthy {
                backoff = Backoff::default();
            }
            match end {
                // The usual end, by timeout. One that comes early is a server in trouble.
                Ok(()) if healthy => {}
                Ok(()) => backoff.pause().await,
                Err(error) if is_expired(&error) => {
                    tracing::debug!(path = target.path, "watch expired, listing again");
                    // Jitter: a restarted server expires the watches of everybody at once.
                    backoff.pause().await;
                    break;
                }
                Err(error) => {
                    report(target, "watch", &error, sink);
                    backoff.pause().await;
                }
            }
        }
    }
}

fn report(target: &ListWatch, verb: &str, error: &Error, sink: &mut dyn Sink) {
    if crate::rest::is_not_found(error) {
        sink.not_served();
    }
    tracing::warn!(path = target.path, "cannot {verb}: {error}");
}

fn is_expired(error: &Error) -> bool {
    crate::rest::status(error).is_some_and(|status| status.code == 410 || status.reason == "Expired")
}

#[derive(Deserialize)]
struct ListPage<'a> {
    metadata: PageMeta,
    #[serde(borrow, default)]
    items: Option<Vec<&'a RawValue>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PageMeta {
    #[serde(default)]
    resource_version: String,
    #[serde(default, rename = "continue")]
    continue_token: String,
}

async fn list(client: &Client, target: &ListWatch, sink: &mut dyn Sink) -> Result<String, Error> {
    // All pages are read before the sink sees any, so that a failure half way leaves the old state alone.
    let mut pages = Vec::new();
    let mut token = String::new();
    loop {
        let mut query = target.query();
        query.push_str(&format!("&limit={PAGE_LIMIT}"));
        if !token.is_empty() {
            query.push_str("&continue=");
            query.extend(utf8_percent_encode(&token, NON_ALPHANUMERIC));
        }
        let accept = if target.metadata_only { ACCEPT_METADATA_LIST } else { ACCEPT_JSON };
        let request = Request::get(format!("{}?{query}", target.path))
            .header(header::ACCEPT, accept)
            .body(Vec::new())
            .map_err(Error::HttpError)?;
        let text = client.request_text(request).await?;
        let page: ListPage<'_> = serde_json::from_str(&text).map_err(Error::SerdeError)?;
        let PageMeta { resource_version, continue_token } = page.metadata;
        pages.push(text);
        if continue_token.is_empty() {
            deliver(pages, sink)?;
            return Ok(resource_version);
        }
        token = continue_token;
    }
}

fn deliver(pages: Vec<String>, sink: &mut dyn Sink) -> Result<(), Error> {
    sink.list_started();
    for text in pages {
        let page: ListPage<'_> = serde_json::from_str(&text).map_err(Error::SerdeError)?;
        for item in page.items.unwrap_or_default() {
            sink.list_item(item.get());
        }
    }
    sink.list_finished();
    Ok(())
}

#[derive(Deserialize)]
struct WatchLine<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    object: &'a RawValue,
}

#[derive(Deserialize)]
struct BookmarkObject {
    metadata: PageMeta,
}

async fn watch(
    client: &Client,
    target: &ListWatch,
    revision: &mut String,
    sink: &mut dyn Sink,
) -> Result<(), Error> {
    let seconds = rand::rng().random_range(WATCH_SECONDS..WATCH_SECONDS * 2);
    let query = format!(
        "{}&watch=true&allowWatchBookmarks=true&resourceVersion={revision}&timeoutSeconds={seconds}",
        target.query()
    );
    let request = Request::get(format!("{}?{query}", target.path))
        .header(header::ACCEPT, if target.metadata_only { ACCEPT_METADATA } else { ACCEPT_JSON })
        .body(Body::empty())
        .map_err(Error::HttpError)?;
    let response = client.send(request).await?;
    let status = response.status();
    let mut body = response.into_body();
    if !status.is_success() {
        let text = body.collect_bytes().await?;
        return Err(api_error(&text, status));
    }
    // The server ends the watch; this only catches one that forgot to.
    let deadline = Instant::now() + Duration::from_secs(seconds + 30);
    let mut lines = Lines::default();
    loop {
        let frame = match tokio::time::timeout_at(deadline, body.frame()).await {
            Ok(Some(frame)) => frame?,
            Ok(None) | Err(_) => return Ok(()),
        };
        let Ok(data) = frame.into_data() else { continue };
        lines.push(data, |line| handle_line(line, revision, sink))?;
    }
}

fn handle_line(line: &[u8], revision: &mut String, sink: &mut dyn Sink) -> Result<(), Error> {
    if line.iter().all(u8::is_ascii_whitespace) {
        return Ok(());
    }
    let plain = plain(line);
    let parsed: WatchLine<'_>;
    let (kind, object) = match plain {
        Some(found) => found,
        None => {
            parsed = serde_json::from_slice(line).map_err(Error::SerdeError)?;
            (parsed.kind.as_ref(), parsed.object.get())
        }
    };
    let seen = match kind {
        "ADDED" => sink.event(Change::Added, object),
        "MODIFIED" => sink.event(Change::Modified, object),
        "DELETED" => sink.event(Change::Deleted, object),
        "BOOKMARK" => {
            let bookmark: BookmarkObject = serde_json::from_str(object).map_err(Error::SerdeError)?;
            Some(bookmark.metadata.resource_version)
        }
        "ERROR" => {
            let status: Status = serde_json::from_str(object).map_err(Error::SerdeError)?;
            return Err(Error::Api(status.boxed()));
        }
        other => {
            tracing::warn!("unknown watch event {other:?}");
            None
        }
    };
    match seen.filter(|seen| !seen.is_empty()) {
        Some(seen) => *revision = seen,
        // What is no JSON at all is to be asked for once more.
        None if plain.is_some() => {
            drop(serde_json::from_slice::<WatchLine<'_>>(line).map_err(Error::SerdeError)?)
        }
        None => {}
    }
    Ok(())
}

/// Kind and object of an event in the form in which API servers write it, taken apart without a look at the object:
/// whoever decodes that sees whether it is whole.
fn plain(line: &[u8]) -> Option<(&str, &str)> {
    let line = std::str::from_utf8(line).ok()?;
    let (kind, rest) = line.strip_prefix(r#"{"type":""#)?.split_once(r#"","object":"#)?;
    let object = rest.strip_suffix('}')?;
    kind.bytes().all(|byte| byte.is_ascii_uppercase()).then_some((kind, object))
}

fn api_error(text: &Bytes, code: http::StatusCode) -> Error {
    let status = serde_json::from_slice::<Status>(text).unwrap_or_else(|_| {
        Status::failure(&String::from_utf8_lossy(text), code.canonical_reason().unwrap_or_default())
    });
    let status = if status.code == 0 { status.with_code(code.as_u16()) } else { status };
    Error::Api(status.boxed())
}

impl ListWatch {
    fn query(&self) -> String {
        let mut query = String::new();
        for (name, value) in
            [("fieldSelector", &self.field_selector), ("labelSelector", &self.label_selector)]
        {
            if !value.is_empty() {
                query.push_str(&format!("{name}={}&", utf8_percent_encode(value, NON_ALPHANUMERIC)));
            }
        }
        query.pop();
        query
    }
}

/// Splits a stream of frames into lines, without copying those that arrive whole.
#[derive(Default)]
struct Lines {
    partial: Vec<u8>,
}

impl Lines {
    fn push(&mut self, data: Bytes, mut each: impl FnMut(&[u8]) -> Result<(), Error>) -> Result<(), Error> {
        let mut rest: &[u8] = &data;
        while let Some(end) = memchr::memchr(b'\n', rest) {
            let (line, after) = rest.split_at(end);
            rest = after.get(1..).unwrap_or_default();
            if self.partial.is_empty() {
                each(line)?;
            } else {
                self.partial.extend_from_slice(line);
                let whole = std::mem::take(&mut self.partial);
                each(&whole)?;
            }
        }
        self.partial.extend_from_slice(rest);
        Ok(())
    }
}

/// Exponential pauses with full jitter upwards.
#[derive(Default)]
struct Backoff {
    failures: u32,
}

impl Backoff {
    async fn pause(&mut self) {
        let base = BACKOFF_MIN.saturating_mul(1 << self.failures.min(10)).min(BACKOFF_MAX);
        self.failures = self.failures.saturating_add(1);
        let jitter = rand::rng().random_range(1.0..2.0);
        tokio::time::sleep(base.mul_f64(jitter)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_split_over_frames_are_joined() {
        let mut lines = Lines::default();
        let mut seen = Vec::new();
        for frame in ["{\"a\"", ":1}\n{\"b\":2}\n{", "}\n"] {
            let each = |line: &[u8]| {
                seen.push(String::from_utf8(line.to_vec()).unwrap());
                Ok(())
            };
            lines.push(Bytes::from_static(frame.as_bytes()), each).unwrap();
        }
        assert_eq!(seen, ["{\"a\":1}", "{\"b\":2}", "{}"]);
    }

    #[test]
    fn changes_are_read_in_whatever_form_they_are_written() {
        #[derive(Default)]
        struct Seen(Vec<(Change, String)>);
        impl Sink for Seen {
            fn list_started(&mut self) {}
            fn list_item(&mut self, _json: &str) {}
            fn list_finished(&mut self) {}
            fn event(&mut self, change: Change, json: &str) -> Option<String> {
                serde_json::from_str::<serde_json::Value>(json).ok()?;
                self.0.push((change, json.to_owned()));
                Some(format!("{}", self.0.len()))
            }
        }
        let (mut seen, mut revision) = (Seen::default(), String::new());
        for line in [
            r#"{"type":"ADDED","object":{"a":"}"}}"#,
            r#"{"type": "MODIFIED", "object": {"a":1}}"#,
            r#"{"object":{"a":2},"type":"DELETED"}"#,
            "  ",
        ] {
            handle_line(line.as_bytes(), &mut revision, &mut seen).unwrap();
        }
        let expected = [
            (Change::Added, r#"{"a":"}"}"#),
            (Change::Modified, r#"{"a":1}"#),
            (Change::Deleted, r#"{"a":2}"#),
        ];
        assert_eq!(seen.0, expected.map(|(change, json)| (change, json.to_owned())));
        assert_eq!(revision, "3");
        let bookmark = br#"{"type":"BOOKMARK","object":{"metadata":{"resourceVersion":"9"}}}"#;
        handle_line(bookmark, &mut revision, &mut seen).unwrap();
        assert_eq!(revision, "9");
        for broken in [br#"{"type":"ADDED","object":{}"#.as_slice(), b"no"] {
            assert!(handle_line(broken, &mut revision, &mut seen).is_err());
        }
    }

    #[test]
    fn selectors_are_encoded_into_the_query() {
        let target = ListWatch {
            path: "/api/v1/pods".into(),
            field_selector: "spec.nodeName=n1".into(),
            label_selector: "a in (b,c)".into(),
            metadata_only: false,
        };
        assert_eq!(target.query(), "fieldSelector=spec%2EnodeName%3Dn1&labelSelector=a%20in%20%28b%2Cc%29");
        assert_eq!(ListWatch::default().query(), "");
    }
}
