//! How many watches a write wakes.
//!
//! Upstream counterpart: `watch_tracker.go` of `k8s.io/apiserver/pkg/util/flowcontrol`.

use crate::endpoints::RequestInfo;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;

/// Counts the watches of this server by what they may be told of; selectors are not looked at, since whether they
/// match has to be found out for each event too. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Watchers {
    by_resource: Arc<Mutex<HashMap<Resource, Counts>>>,
}

/// Group and resource.
type Resource = (String, String);

/// How many there are by namespace and name; both are empty for those of everything.
#[derive(Default)]
struct Counts {
    all: u32,
    by_place: HashMap<(String, String), u32>,
}

/// A watch that is counted until this is dropped.
pub(crate) struct Watching {
    watchers: Watchers,
    resource: Resource,
    place: (String, String),
}

impl Watchers {
    /// Counts a watch.
    pub(crate) fn begin(&self, info: &RequestInfo) -> Watching {
        let resource = resource(info);
        let place = (info.namespace.clone(), info.name.clone());
        let mut all = self.by_resource.lock();
        let counts = all.entry(resource.clone()).or_default();
        counts.all += 1;
        *counts.by_place.entry(place.clone()).or_default() += 1;
        drop(all);
        Watching { watchers: self.clone(), resource, place }
    }

    /// The watches that a write may wake. Other requests wake none.
    ///
    /// # Cost
    /// One look-up where fewer than `enough` watch the whole resource, in all its namespaces.
    pub(crate) fn woken_by(&self, info: &RequestInfo, enough: u32) -> u32 {
        if !info.is_resource_request
            || !matches!(info.verb.as_str(), "create" | "update" | "patch" | "delete")
        {
            return 0;
        }
        let all = self.by_resource.lock();
        let Some(counts) = all.get(&resource(info)).filter(|counts| counts.all >= enough) else { return 0 };
        let mut places = vec![(String::new(), String::new())];
        if !info.namespace.is_empty() {
            places.push((info.namespace.clone(), String::new()));
        }
        if !info.name.is_empty() {
            places.push((info.namespace.clone(), info.name.clone()));
        }
        places.iter().filter_map(|place| counts.by_place.get(place)).sum()
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        let mut all = self.watchers.by_resource.lock();
        let Some(counts) = all.get_mut(&self.resource) else { return };
        counts.all = counts.all.saturating_sub(1);
        if let Some(count) = counts.by_place.get_mut(&self.place) {
            *count -= 1;
            if *count == 0 {
                counts.by_place.remove(&self.place);
            }
        }
        if counts.all == 0 {
            all.remove(&self.resource);
        }
    }
}

fn resource(info: &RequestInfo) -> Resource {
    (info.api_group.clone(), info.resource.clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Method;

    fn info(method: &Method, uri: &str) -> RequestInfo {
        RequestInfo::parse(method, &uri.parse().unwrap())
    }

    #[test]
    fn a_write_wakes_who_watches_everything_its_namespace_or_its_object() {
        let watchers = Watchers::default();
        let watch = |path: &str| watchers.begin(&info(&Method::GET, &format!("{path}?watch=1")));
        let everything = watch("/api/v1/pods");
        let kept = [
            watch("/api/v1/namespaces/a/pods"),
            watch("/api/v1/namespaces/a/pods?fieldSelector=metadata.name%3Dx&b=c"),
            watch("/api/v1/namespaces/b/pods"),
            watch("/apis/apps/v1/deployments"),
        ];
        let woken = |method: &Method, path: &str| watchers.woken_by(&info(method, path), 1);
        assert_eq!(woken(&Method::POST, "/api/v1/namespaces/b/pods"), 2);
        assert_eq!(woken(&Method::DELETE, "/api/v1/namespaces/c/pods/x"), 1);
        assert_eq!(woken(&Method::GET, "/api/v1/namespaces/a/pods/x"), 0);
        assert_eq!(woken(&Method::POST, "/api/v1/namespaces/a/services"), 0);
        drop(everything);
        assert_eq!(woken(&Method::POST, "/api/v1/namespaces/b/pods"), 1);
        assert_eq!(watchers.woken_by(&info(&Method::POST, "/api/v1/namespaces/b/pods"), 9), 0);
        drop(kept);
        assert!(watchers.by_resource.lock().is_empty());
    }
}
