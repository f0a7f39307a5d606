//! Answering requests for discovery from documents that are made once.

use super::documents::{self, Content};
use super::version;
use crate::aggregation::Overlay;
use crate::body::Body;
use crate::endpoints::{Context, Form, Media, Offer, clauses, response};
use crate::registry::Resources;
use apimachinery::status::{Result, Status};
use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use parking_lot::Mutex;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::sync::Arc;

/// The content type of an aggregated document, as clients recognise it.
const AGGREGATED_V2: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
/// The same in the version before.
const AGGREGATED_V2BETA1: &str = "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList";

/// The documents of discovery.
pub struct Discovery {
    /// Classic documents by path, without slashes at the ends.
    classic: HashMap<String, Bytes>,
    /// Aggregated documents of `api` and `apis`, in the version of discovery.
    aggregated: HashMap<(&'static str, &'static str), Aggregated>,
}

/// The documents of what was last asked for.
#[derive(Default)]
pub struct DiscoveryCache {
    last: Mutex<Option<Cached>>,
}

struct Cached {
    resources: Arc<Resources>,
    /// Of aggregation.
    generation: u64,
    documents: Arc<Discovery>,
}

impl DiscoveryCache {
    /// The documents of a table and a generation of aggregation, which has the overlay.
    pub(crate) fn of(
        &self,
        resources: &Arc<Resources>,
        generation: u64,
        overlay: impl FnOnce() -> Overlay,
    ) -> Arc<Discovery> {
        let mut last = self.last.lock();
        match &*last {
            Some(cached) if Arc::ptr_eq(&cached.resources, resources) && cached.generation == generation => {
                Arc::clone(&cached.documents)
            }
            _ => {
                let documents = Arc::new(Discovery::new(resources, &overlay()));
                let resources = Arc::clone(resources);
                *last = Some(Cached { resources, generation, documents: Arc::clone(&documents) });
                documents
            }
        }
    }
}

struct Aggregated {
    document: Bytes,
    etag: HeaderValue,
}

impl Discovery {
    /// The documents of what is served, here and elsewhere.
    pub(crate) fn new(resources: &Resources, overlay: &Overlay) -> Self {
        let groups = documents::groups(resources, overlay);
        let mut classic = HashMap::new();
        let mut add = |path: String, document: Value| {
            classic.insert(path, Bytes::from(document.to_string()));
        };
        let mut paths: Vec<String> =
            ["/api", "/apis", "/healthz", "/livez", "/metrics", "/readyz", "/version"]
                .iter()
                .map(|path| (*path).to_owned())
                .chain(
                    ["/openapi/v2", "/openapi/v3", "/.well-known/openid-configuration", "/openid/v1/jwks"]
                        .map(str::to_owned),
                )
                .collect();
        let mut listed = Vec::new();
        for group in &groups {
            let root = if group.name.is_empty() { "api".to_owned() } else { format!("apis/{}", group.name) };
            for version in &group.versions {
                let path = format!("{root}/{}", version.name);
                // That of another server is asked for there.
                if let Content::Local(served) = &version.content {
                    add(path.clone(), documents::resource_list(&group.name, &version.name, served));
                }
                paths.push(format!("/{path}"));
            }
            if group.name.is_empty() {
                let versions: Vec<&str> = group.versions.iter().map(|v| v.name.as_str()).collect();
                add(
                    root,
                    json!({
                        "kind": "APIVersions",
                        "versions": versions,
                        "serverAddressByClientCIDRs": [],
                    }),
                );
                continue;
            }
            paths.push(format!("/{root}"));
            let mut document = documents::group(group);
            listed.push(document.clone());
            api::value::set(&mut document, "kind", "APIGroup");
            api::value::set(&mut document, "apiVersion", "v1");
            add(root, document);
        }
        add("apis".to_owned(), json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": listed}));
        add("version".to_owned(), version::version());
        paths.sort();
        add(String::new(), json!({"paths": paths}));
        let mut aggregated = HashMap::new();
        for (root, core) in [("api", true), ("apis", false)] {
            let items: Vec<Value> = groups
                .iter()
                .filter(|group| group.name.is_empty() == core)
                .map(documents::aggregated)
                .collect();
            for version in ["v2", "v2beta1"] {
                let document = json!({
                    "kind": "APIGroupDiscoveryList",
                    "apiVersion": format!("apidiscovery.k8s.io/{version}"),
                    "metadata": {},
                    "items": items,
                });
                aggregated.insert((root, version), Aggregated::new(&document));
            }
        }
        Self { classic, aggregated }
    }

    /// Answers a request for a path (without slashes at the ends).
    ///
    /// # Errors
    /// 404 for a path that is not known, 406 when the client accepts none of its forms.
    pub(crate) fn answer(&self, context: &Context, path: &str) -> Result<Response<Body>> {
        if let Some((version, content_type)) = wants_aggregated(context) {
            let known = self.aggregated.iter().find(|((root, v), _)| *root == path && *v == version);
            if let Some((_, aggregated)) = known {
                return Ok(aggregated.answer(context, content_type));
            }
        }
        let document = self.classic.get(path).ok_or_else(Status::no_such_path)?;
        // These two are no API objects and come as JSON, whatever is asked for.
        let plain = matches!(path, "" | "version");
        let form = if plain { Form::default() } else { context.form(Offer::PLAIN)? };
        if form.media == Media::Json {
            return Ok(response::bytes(200, form.media.content_type(), document.clone()));
        }
        let tree: Value = serde_json::from_slice(document).map_err(Status::internal)?;
        response::value(200, &tree, form.media)
    }
}

impl Aggregated {
    fn new(document: &Value) -> Self {
        let text = document.to_string();
        let digest = Sha256::digest(&text);
        let hex: String = digest.iter().map(|byte| format!("{byte:02X}")).collect();
        let etag = HeaderValue::from_str(&format!("\"{hex}\"")).unwrap_or(HeaderValue::from_static("\"\""));
        Self { document: Bytes::from(text), etag }
    }

    fn answer(&self, context: &Context, content_type: &'static str) -> Response<Body> {
        let unchanged = context.headers.get(header::IF_NONE_MATCH).is_some_and(|known| known == self.etag);
        let mut response = if unchanged {
            let mut response = response::bytes(304, content_type, Bytes::new());
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            response
        } else {
            response::bytes(200, content_type, self.document.clone())
        };
        response.headers_mut().insert(header::ETAG, self.etag.clone());
        response.headers_mut().insert(header::VARY, HeaderValue::from_static("Accept"));
        response
    }
}

/// The version of the aggregated form that the client wants before anything else that we have.
fn wants_aggregated(context: &Context) -> Option<(&'static str, &'static str)> {
    for clause in clauses(&context.headers) {
        if !clause.accepts("application/json") {
            continue;
        }
        if clause.parameter("as").is_empty() {
            return None;
        }
        if clause.parameter("g") != "apidiscovery.k8s.io" || clause.parameter("as") != "APIGroupDiscoveryList"
        {
            continue;
        }
        match clause.parameter("v") {
            "v2" => return Some(("v2", AGGREGATED_V2)),
            "v2beta1" => return Some(("v2beta1", AGGREGATED_V2BETA1)),
            _ => {}
        }
    }
    None
}
