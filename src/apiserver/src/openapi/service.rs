//! Answers requests for documents.
//!
//! # Guarantees
//! A document is made when it is first asked for, by one request at a time, away from the threads that serve others.
//! What is kept of all documents together is bounded by [`KEPT_BYTES`].

use super::document::{self, Section};
use super::gnostic::GnosticSink;
use super::inflate::Inflate;
use super::sink::JsonSink;
use crate::aggregation::{OpenApiElsewhere, Swagger};
use crate::body::Body;
use crate::endpoints::{Clause, Context, accepts_gzip, clauses, response};
use crate::registry::Resources;
use apimachinery::status::{Result, Status};
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::{HeaderValue, Response, header};
use http_body_util::BodyExt;
use jiff::SignedDuration;
use jiff::fmt::rfc2822::DateTimePrinter;
use parking_lot::Mutex;
use serde_json::{Map, json};
use std::collections::{BTreeMap, HashMap};
use std::io;
use std::sync::Arc;

/// Bytes of compressed documents that are kept. Those that people ask for most fit in; all documents together are
/// about 1.6 MiB.
const KEPT_BYTES: usize = 1024 * 1024;
/// How long a document with its hash in the URL may be kept by clients: it never changes.
const ONE_YEAR: SignedDuration = SignedDuration::from_hours(365 * 24);

const JSON: &str = "application/json";
/// The protobuf form of v2, as answers name it.
const PROTOBUF: &str = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";
/// The same, as client-go asks for it.
const PROTOBUF_AS_ASKED: &str = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf";

/// The OpenAPI documents of the server.
#[derive(Default)]
pub struct OpenApi {
    kept: Mutex<Kept>,
    /// Held while a document is made: who waits for it finds what it wants made.
    making: tokio::sync::Mutex<()>,
}

/// A document, and how it is written.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Name {
    V2Json,
    V2Protobuf,
    /// By its path.
    V3(String),
}

#[derive(Default)]
struct Kept {
    documents: HashMap<Name, Document>,
    /// Counts uses.
    clock: u64,
}

struct Document {
    hash: String,
    gzip: Bytes,
    /// When it was last used, by the count of uses.
    used: u64,
}

impl OpenApi {
    /// Answers a request for a path, as it is behind `/openapi/`. `elsewhere` knows what other servers
    /// have.
    ///
    /// # Errors
    /// 404 when there is no such document, 406 when the client accepts none of its forms.
    pub(crate) async fn answer(
        &self,
        resources: &Resources,
        elsewhere: impl FnOnce() -> OpenApiElsewhere,
        context: &Context,
        path: &str,
    ) -> Result<Response<Body>> {
        match path.split_once('/').unwrap_or((path, "")) {
            ("v2", "") => self.v2(resources, elsewhere().v2, context).await,
            ("v3", "") => Ok(index(resources, elsewhere().v3, context)),
            ("v3", path) => self.v3(resources, elsewhere, context, path).await,
            _ => Err(Status::no_such_path()),
        }
    }

    async fn v2(
        &self,
        resources: &Resources,
        others: Vec<Arc<Swagger>>,
        context: &Context,
    ) -> Result<Response<Body>> {
        let protobuf = |clause: &Clause<'_>| clause.accepts(PROTOBUF) || clause.accepts(PROTOBUF_AS_ASKED);
        let (name, content_type) = clauses(&context.headers)
            .iter()
            .find_map(|clause| match (clause.accepts(JSON), protobuf(clause)) {
                (true, _) => Some((Name::V2Json, JSON)),
                (false, true) => Some((Name::V2Protobuf, PROTOBUF)),
                (false, false) => None,
            })
            .ok_or_else(|| Status::not_acceptable(&[JSON, PROTOBUF]))?;
        let hash = document::hash_of_v2(resources, &others);
        self.document(resources, others, context, name, hash, content_type).await
    }

    async fn v3(
        &self,
        resources: &Resources,
        elsewhere: impl FnOnce() -> OpenApiElsewhere,
        context: &Context,
        path: &str,
    ) -> Result<Response<Body>> {
        let (path, hash, others) = match Section::find(resources, path) {
            Some(section) => (section.path(), section.hash(resources), Vec::new()),
            None => {
                let converted = elsewhere().converted.remove_entry(path);
                let (path, swagger) = converted.ok_or_else(Status::no_such_path)?;
                (path, swagger.v3_hash(), vec![swagger])
            }
        };
        if !clauses(&context.headers).iter().any(|clause| clause.accepts(JSON)) {
            return Err(Status::not_acceptable(&[JSON]));
        }
        let asked = context.query.text("hash");
        if !asked.is_empty() && asked != hash {
            return Ok(moved(&url(&path, &hash)));
        }
        let name = Name::V3(path);
        let mut response = self.document(resources, others, context, name, hash, JSON).await?;
        if !asked.is_empty() {
            let headers = response.headers_mut();
            headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("public, immutable"));
            let expires = DateTimePrinter::new().timestamp_to_rfc9110_string(&(context.now + ONE_YEAR));
            if let Some(expires) = expires.ok().and_then(|text| HeaderValue::from_str(&text).ok()) {
                headers.insert(header::EXPIRES, expires);
            }
        }
        Ok(response)
    }

    /// A document; nothing but its hash if the client has it.
    async fn document(
        &self,
        resources: &Resources,
        others: Vec<Arc<Swagger>>,
        context: &Context,
        name: Name,
        hash: String,
        content_type: &'static str,
    ) -> Result<Response<Body>> {
        let etag = etag(&hash);
        let mut response = if has(context, &etag) {
            unchanged(content_type)
        } else {
            let gzip = self.compressed(resources, others, name, hash).await?;
            if accepts_gzip(&context.headers) {
                let mut response = response::bytes(200, content_type, gzip);
                response.headers_mut().insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
                response
            } else {
                response::with_body(200, content_type, Inflate::new(gzip).boxed_unsync())
            }
        };
        response.headers_mut().insert(header::ETAG, etag);
        response.headers_mut().insert(header::VARY, HeaderValue::from_static("Accept, Accept-Encoding"));
        Ok(response)
    }

    async fn compressed(
        &self,
        resources: &Resources,
        others: Vec<Arc<Swagger>>,
        name: Name,
        hash: String,
    ) -> Result<Bytes> {
        if let Some(gzip) = self.kept.lock().get(&name, &hash) {
            return Ok(gzip);
        }
        let _making = self.making.lock().await;
        if let Some(gzip) = self.kept.lock().get(&name, &hash) {
            return Ok(gzip);
        }
        let (of, resources) = (name.clone(), resources.clone());
        let made = tokio::task::spawn_blocking(move || make(&of, &resources, &others)).await;
        let gzip = made.map_err(Status::internal)?.map_err(Status::internal)?;
        self.kept.lock().put(name, hash, gzip.clone());
        Ok(gzip)
    }
}

impl Kept {
    fn get(&mut self, name: &Name, hash: &str) -> Option<Bytes> {
        self.clock += 1;
        let document = self.documents.get_mut(name).filter(|document| document.hash == hash)?;
        document.used = self.clock;
        Some(document.gzip.clone())
    }

    /// Keeps a document, and drops those that were not used for longest until all fit.
    fn put(&mut self, name: Name, hash: String, gzip: Bytes) {
        self.clock += 1;
        self.documents.insert(name, Document { hash, gzip, used: self.clock });
        while self.documents.values().map(|document| document.gzip.len()).sum::<usize>() > KEPT_BYTES {
            let oldest = self.documents.iter().min_by_key(|(_, document)| document.used);
            let Some(oldest) = oldest.map(|(name, _)| name.clone()) else { return };
            self.documents.remove(&oldest);
        }
    }
}

/// Makes a document.
fn make(name: &Name, resources: &Resources, others: &[Arc<Swagger>]) -> io::Result<Bytes> {
    let out = GzEncoder::new(Vec::new(), Compression::default());
    let out = match name {
        Name::V2Json => {
            let mut sink = JsonSink::new(out)?;
            document::write_v2(resources, others, &mut sink)?;
            sink.finish()?
        }
        Name::V2Protobuf => {
            let mut sink = GnosticSink::new(out);
            document::write_v2(resources, others, &mut sink)?;
            sink.finish()
        }
        Name::V3(path) => match (Section::find(resources, path), others) {
            (Some(section), _) => document::write_v3(&section, resources, out)?,
            (None, [other]) => {
                let mut out = out;
                serde_json::to_writer(&mut out, &other.as_v3()?)?;
                out
            }
            (None, _) => return Err(io::Error::other("no such document")),
        },
    };
    let mut gzip = out.finish()?;
    gzip.shrink_to_fit();
    Ok(Bytes::from(gzip))
}

/// Which documents of v3 there are. Clients find them by the URLs in it.
fn index(resources: &Resources, elsewhere: BTreeMap<String, String>, context: &Context) -> Response<Body> {
    let mut paths: Map<String, serde_json::Value> = Section::all(resources)
        .iter()
        .map(|section| {
            let url = url(&section.path(), &section.hash(resources));
            (section.path(), json!({"serverRelativeURL": url}))
        })
        .collect();
    paths.extend(elsewhere.into_iter().map(|(path, url)| (path, json!({"serverRelativeURL": url}))));
    let text = json!({"paths": paths}).to_string();
    let etag = etag(&document::hash_of_text(&text));
    let mut response = if has(context, &etag) { unchanged(JSON) } else { response::bytes(200, JSON, text) };
    response.headers_mut().insert(header::ETAG, etag);
    response
}

fn url(path: &str, hash: &str) -> String {
    format!("/openapi/v3/{path}?hash={hash}")
}

fn moved(to: &str) -> Response<Body> {
    let mut response = response::bytes(301, JSON, Bytes::new());
    if let Ok(to) = HeaderValue::from_str(to) {
        response.headers_mut().insert(header::LOCATION, to);
    }
    response
}

/// The entity tag of a document (RFC 9110 section 8.8.3).
fn etag(hash: &str) -> HeaderValue {
    HeaderValue::from_str(&format!("\"{hash}\"")).unwrap_or(HeaderValue::from_static("\"\""))
}

/// Whether the client has the document already (RFC 9110 section 13.1.2).
fn has(context: &Context, etag: &HeaderValue) -> bool {
    let values = context.headers.get_all(header::IF_NONE_MATCH);
    values.iter().filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(',')).any(|known| {
        let known = known.trim();
        known == "*" || known.strip_prefix("W/").unwrap_or(known).as_bytes() == etag.as_bytes()
    })
}

fn unchanged(content_type: &'static str) -> Response<Body> {
    response::with_body(304, content_type, crate::body::empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(path: &str) -> Name {
        Name::V3(path.to_owned())
    }

    #[test]
    fn what_was_not_used_for_longest_is_dropped_first() {
        let mut kept = Kept::default();
        let half = Bytes::from(vec![0; KEPT_BYTES / 2]);
        kept.put(name("a"), "1".to_owned(), half.clone());
        kept.put(name("b"), "1".to_owned(), half.clone());
        assert!(kept.get(&name("a"), "1").is_some());
        kept.put(name("c"), "1".to_owned(), half);
        assert!(kept.get(&name("b"), "1").is_none());
        assert!(kept.get(&name("a"), "1").is_some());
    }

    #[test]
    fn a_document_of_another_hash_is_not_used() {
        let mut kept = Kept::default();
        kept.put(name("a"), "1".to_owned(), Bytes::from_static(b"x"));
        assert!(kept.get(&name("a"), "2").is_none());
        kept.put(name("a"), "2".to_owned(), Bytes::from_static(b"y"));
        assert_eq!(kept.get(&name("a"), "2").unwrap(), "y");
    }

    #[test]
    fn what_is_larger_than_all_that_is_kept_is_not_kept() {
        let mut kept = Kept::default();
        kept.put(name("a"), "1".to_owned(), Bytes::from(vec![0; KEPT_BYTES + 1]));
        assert!(kept.documents.is_empty());
    }
}
