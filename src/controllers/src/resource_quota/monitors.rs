//! Watches of the resources that quotas count, and counting.

use std::collections::HashMap;

use apimachinery::gvk::GroupResource;
use client::{
    Event, Informer, ObjectKey, Rest, SharedInformers, discovery, discovery::ServedResource,
    informer::HandlerGuard,
};
use http::{Method, Request, header};
use k8s_openapi::api::core::v1::ResourceQuota;
use parking_lot::Mutex;
use serde::Deserialize;
use serde_json::Value;

use crate::framework::Keys;

/// Objects asked for at once; the server tells how many more there are.
const PAGE: usize = 500;

/// The resources that some quota names, by group and plural.
#[derive(Default)]
pub(super) struct Monitors {
    served: Mutex<HashMap<GroupResource, ServedResource>>,
    watched: Mutex<HashMap<GroupResource, HandlerGuard>>,
}

impl Monitors {
    /// The resource as it is served; `None` when it is not, or not in a way that can be counted.
    pub(super) async fn find(
        &self,
        rest: &Rest,
        resource: &GroupResource,
    ) -> Result<Option<ServedResource>, kube::Error> {
        if let Some(known) = self.served.lock().get(resource) {
            return Ok(Some(known.clone()));
        }
        let discovered = discovery::discover(rest).await?;
        let found = discovered.resources.into_iter().find(|served| {
            served.group == resource.group
                && served.plural == resource.resource
                && served.namespaced
                && served.supports(&["list", "watch", "delete"])
        });
        if let Some(found) = &found {
            self.served.lock().insert(resource.clone(), found.clone());
        }
        Ok(found)
    }

    /// Counts a namespace's quotas anew when an object of the resource goes.
    pub(super) fn watch(
        &self,
        informers: &SharedInformers,
        resource: &GroupResource,
        served: &ServedResource,
        quotas: &Informer<ResourceQuota>,
        keys: &Keys,
    ) {
        let mut watched = self.watched.lock();
        if watched.contains_key(resource) {
            return;
        }
        let informer = informers.metadata(&served.api_resource());
        let (quotas, keys) = (quotas.clone(), keys.clone());
        let guard = informer.add_handler(move |event| {
            if let Event::Deleted(object) = event {
                replenish(&quotas, &keys, object.metadata.namespace.as_deref().unwrap_or_default());
            }
        });
        watched.insert(resource.clone(), guard);
    }

    /// Forgets a resource that is not served any more.
    pub(super) fn forget(&self, resource: &GroupResource) {
        self.served.lock().remove(resource);
    }
}

/// Counts all quotas of a namespace anew, soon: what goes rarely goes alone.
pub(super) fn replenish(quotas: &Informer<ResourceQuota>, keys: &Keys, namespace: &str) {
    const SETTLE: std::time::Duration = std::time::Duration::from_millis(200);
    for quota in quotas.list_namespace(namespace) {
        keys.add_after(ObjectKey::of(&*quota), SETTLE);
    }
}

/// How many objects of a resource a namespace has.
pub(super) async fn count(
    rest: &Rest,
    served: &ServedResource,
    namespace: &str,
) -> Result<usize, kube::Error> {
    let mut total = 0;
    let mut token = String::new();
    loop {
        let mut path = format!("{}?limit={PAGE}", served.path(namespace));
        if !token.is_empty() {
            path.push_str("&continue=");
            path.extend(percent_encoding::utf8_percent_encode(&token, percent_encoding::NON_ALPHANUMERIC));
        }
        let request = Request::get(path)
            .header(header::ACCEPT, client::reflector::ACCEPT_METADATA_LIST)
            .body(Vec::new())
            .map_err(kube::Error::HttpError)?;
        let text = rest.client().request_text(request).await?;
        let page: Page = serde_json::from_str(&text).map_err(kube::Error::SerdeError)?;
        total += page.items.map_or(0, |items| items.len());
        if let Some(remaining) = page.metadata.remaining_item_count {
            return Ok(total + remaining);
        }
        token = page.metadata.r#continue;
        if token.is_empty() {
            return Ok(total);
        }
    }
}

/// The objects of a resource in a namespace, whole: for kinds of which there are few.
pub(super) async fn list(
    rest: &Rest,
    served: &ServedResource,
    namespace: &str,
) -> Result<Vec<Value>, kube::Error> {
    #[derive(Deserialize)]
    struct List {
        items: Option<Vec<Value>>,
    }
    let text = rest.raw(Method::GET, &served.path(namespace), None).await?;
    let list: List = serde_json::from_str(&text).map_err(kube::Error::SerdeError)?;
    Ok(list.items.unwrap_or_default())
}

#[derive(Deserialize)]
struct Page {
    #[serde(default)]
    metadata: PageMeta,
    items: Option<Vec<serde::de::IgnoredAny>>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct PageMeta {
    r#continue: String,
    remaining_item_count: Option<usize>,
}
