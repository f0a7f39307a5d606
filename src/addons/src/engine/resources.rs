//! The paths of objects of any kind, by discovery.

use super::record::Reference;
use client::{Rest, rest};
use serde::Deserialize;
use std::collections::HashMap;
use std::sync::Arc;
use tokio::sync::Mutex;

#[derive(Clone, Debug, Deserialize)]
struct Resource {
    name: String,
    kind: String,
    namespaced: bool,
}

#[derive(Debug, Deserialize)]
struct ResourceList {
    resources: Vec<Resource>,
}

/// What the server serves, asked for once per group and version.
pub struct Resources {
    rest: Rest,
    known: Mutex<HashMap<String, Arc<Vec<Resource>>>>,
}

impl Resources {
    /// Nothing is known yet.
    pub fn new(rest: Rest) -> Self {
        Self { rest, known: Mutex::default() }
    }

    /// The path of an object.
    ///
    /// # Errors
    /// When discovery fails or the kind is not served.
    pub async fn path(&self, reference: &Reference) -> Result<String, kube::Error> {
        self.find(reference).await?.ok_or_else(|| {
            let text = format!(
                "no matches for kind \"{}\" in version \"{}\"",
                reference.kind, reference.api_version
            );
            kube::Error::Service(text.into())
        })
    }

    /// The path of an object; none when its kind is not served.
    ///
    /// # Errors
    /// When discovery fails.
    pub async fn find(&self, reference: &Reference) -> Result<Option<String>, kube::Error> {
        let base = base(reference);
        let resources = match self.resources(&base).await {
            Err(error) if rest::is_not_found(&error) => return Ok(None),
            result => result?,
        };
        let found = find_kind(&resources, &reference.kind);
        let collection = found.map(|found| match found.namespaced {
            true => format!("{base}/namespaces/{}/{}", reference.namespace, found.name),
            false => format!("{base}/{}", found.name),
        });
        Ok(collection.map(|collection| rest::item_path(&collection, &reference.name, "")))
    }

    /// Whether objects of a kind are in namespaces; none when it is not served.
    ///
    /// # Errors
    /// When discovery fails.
    pub async fn is_namespaced(&self, reference: &Reference) -> Result<Option<bool>, kube::Error> {
        match self.resources(&base(reference)).await {
            Err(error) if rest::is_not_found(&error) => Ok(None),
            result => Ok(find_kind(&result?, &reference.kind).map(|found| found.namespaced)),
        }
    }

    async fn resources(&self, base: &str) -> Result<Arc<Vec<Resource>>, kube::Error> {
        let mut known = self.known.lock().await;
        if let Some(resources) = known.get(base) {
            return Ok(resources.clone());
        }
        let text = self.rest.raw(http::Method::GET, base, None).await?;
        let list: ResourceList = serde_json::from_str(&text).map_err(kube::Error::SerdeError)?;
        let resources = Arc::new(list.resources);
        known.insert(base.to_owned(), resources.clone());
        Ok(resources)
    }
}

fn base(reference: &Reference) -> String {
    let root = if reference.api_version.contains('/') { "/apis" } else { "/api" };
    format!("{root}/{}", reference.api_version)
}

/// Subresources are listed too, as `pods/status`.
fn find_kind<'a>(resources: &'a [Resource], kind: &str) -> Option<&'a Resource> {
    resources.iter().find(|resource| resource.kind == kind && !resource.name.contains('/'))
}
