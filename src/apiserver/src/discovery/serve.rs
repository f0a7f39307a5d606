//! Answering requests for discovery from documents that are made once.

use super::documents::{self, Content};
use super::version;
use crate::aggregation::Overlay;
use crate::body::Body;
use crate::endpoints::{Context, Form, Media, Offer, clauses, response};
use crate::registry::{Group, Resources};
use apimachinery::status::{Result, Status};
use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use parking_lot::Mutex;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};
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
    /// By name.
    groups: BTreeMap<String, Arc<GroupDocuments>>,
}

/// What a group contributes. Made again only when the group has changed.
struct GroupDocuments {
    local: Option<Arc<Group>>,
    overlay: Overlay,
    order: (bool, Reverse<Option<i64>>, String),
    /// Of the group and its versions, by path.
    classic: Vec<(String, Bytes)>,
    paths: Vec<String>,
    /// Its entry in `APIGroupList`.
    listed: String,
    /// Its entry in `APIGroupDiscoveryList`.
    aggregated: String,
}

/// Paths that are always there, besides those of groups.
const PATHS: [&str; 11] = [
    "/api",
    "/apis",
    "/healthz",
    "/livez",
    "/metrics",
    "/readyz",
    "/version",
    "/openapi/v2",
    "/openapi/v3",
    "/.well-known/openid-configuration",
    "/openid/v1/jwks",
];

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
            cached => {
                let before = cached.as_ref().map(|cached| &*cached.documents);
                let documents = Arc::new(Discovery::new(resources, &overlay(), before));
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
    /// The documents of what is served, here and elsewhere. Those of groups that are as they were `before` are taken
    /// from there.
    fn new(resources: &Resources, overlay: &Overlay, before: Option<&Discovery>) -> Self {
        let elsewhere = overlay.versions.iter().map(|version| version.group.as_str());
        let names: BTreeSet<&str> = resources.groups().map(|(name, _)| name).chain(elsewhere).collect();
        let groups: BTreeMap<String, Arc<GroupDocuments>> = names
            .into_iter()
            .map(|name| {
                let (local, overlay) = (resources.group(name), overlay.of_group(name));
                let known = before.and_then(|before| before.groups.get(name));
                let documents = match known.filter(|known| known.is_of(local, &overlay)) {
                    Some(known) => Arc::clone(known),
                    None => Arc::new(GroupDocuments::new(name, local.cloned(), overlay)),
                };
                (name.to_owned(), documents)
            })
            .collect();
        let mut sorted: Vec<&GroupDocuments> = groups.values().map(|group| &**group).collect();
        sorted.sort_by(|a, b| a.order.cmp(&b.order));
        let join = |core: bool, entry: fn(&GroupDocuments) -> &str| {
            let entries = sorted.iter().filter(|group| group.is_core() == core).map(|group| entry(group));
            entries.collect::<Vec<_>>().join(",")
        };

        let mut classic: HashMap<String, Bytes> =
            groups.values().flat_map(|group| group.classic.iter().cloned()).collect();
        let listed = join(false, |group| &group.listed);
        let list = format!(r#"{{"apiVersion":"v1","groups":[{listed}],"kind":"APIGroupList"}}"#);
        classic.insert("apis".to_owned(), list.into());
        classic.insert("version".to_owned(), version::version().to_string().into());
        let of_groups = groups.values().flat_map(|group| group.paths.iter().map(String::as_str));
        let mut paths: Vec<&str> = PATHS.into_iter().chain(of_groups).collect();
        paths.sort_unstable();
        classic.insert(String::new(), json!({"paths": paths}).to_string().into());

        let mut aggregated = HashMap::new();
        for (root, core) in [("api", true), ("apis", false)] {
            let items = join(core, |group| &group.aggregated);
            for version in ["v2", "v2beta1"] {
                let document = format!(
                    r#"{{"apiVersion":"apidiscovery.k8s.io/{version}","items":[{items}],"kind":"APIGroupDiscoveryList","metadata":{{}}}}"#
                );
                aggregated.insert((root, version), Aggregated::new(document));
            }
        }
        Self { classic, aggregated, groups }
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

impl GroupDocuments {
    fn new(name: &str, local: Option<Arc<Group>>, overlay: Overlay) -> Self {
        let group = documents::group_of(name, local.as_deref(), &overlay);
        let root = if name.is_empty() { "api".to_owned() } else { format!("apis/{name}") };
        let mut classic = Vec::new();
        let mut add = |path: &str, document: &Value| {
            classic.push((path.to_owned(), Bytes::from(document.to_string())));
        };
        let mut paths = Vec::new();
        for version in &group.versions {
            let path = format!("{root}/{}", version.name);
            // That of another server is asked for there.
            if let Content::Local(served) = &version.content {
                add(&path, &documents::resource_list(name, &version.name, served));
            }
            paths.push(format!("/{path}"));
        }
        let mut document = documents::group(&group);
        let listed = document.to_string();
        if name.is_empty() {
            let versions: Vec<&str> = group.versions.iter().map(|v| v.name.as_str()).collect();
            add(
                &root,
                &json!({"kind": "APIVersions", "versions": versions, "serverAddressByClientCIDRs": []}),
            );
        } else {
            paths.push(format!("/{root}"));
            api::value::set(&mut document, "kind", "APIGroup");
            api::value::set(&mut document, "apiVersion", "v1");
            add(&root, &document);
        }
        let aggregated = documents::aggregated(&group).to_string();
        Self { local, overlay, order: group.order(), classic, paths, listed, aggregated }
    }

    fn is_core(&self) -> bool {
        !self.order.0
    }

    fn is_of(&self, local: Option<&Arc<Group>>, overlay: &Overlay) -> bool {
        let same = match (&self.local, local) {
            (Some(own), Some(local)) => Arc::ptr_eq(own, local),
            (own, local) => own.is_none() && local.is_none(),
        };
        same && self.overlay == *overlay
    }
}

impl Aggregated {
    fn new(text: String) -> Self {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::{LiveResources, RuntimeConfig};

    #[test]
    fn only_the_documents_of_groups_that_changed_are_made_again() {
        let live = LiveResources::built_in(&RuntimeConfig::default());
        let cache = DiscoveryCache::default();
        let first = cache.of(&live.load(), 0, Overlay::default);
        let jobs = Arc::clone(live.load().get("batch", "v1", "jobs").unwrap());
        live.serve([("batch".to_owned(), vec![jobs])]);
        let mut ranked = Overlay::default();
        ranked.ranks.insert(("apps".to_owned(), "v1".to_owned()), (1, 1));
        let second = cache.of(&live.load(), 1, || ranked.clone());
        let made: Vec<&String> = second
            .groups
            .iter()
            .filter(|(name, group)| !Arc::ptr_eq(group, &first.groups[*name]))
            .map(|(name, _)| name)
            .collect();
        assert_eq!(made, ["apps", "batch"]);
        let list: Value = serde_json::from_slice(&second.classic["apis"]).unwrap();
        let names: Vec<&str> =
            list["groups"].as_array().unwrap().iter().map(|group| group["name"].as_str().unwrap()).collect();
        assert_eq!((names.len(), names.last()), (first.groups.len() - 1, Some(&"apps")));
    }
}
