//! Services by name, and which of them changed in a way that matters here.

use crate::service::ServicePort;
use client::{Event, ObjectKey};
use k8s_openapi::api::core::v1::Service;
use std::collections::BTreeMap;

/// The ports of all Services.
#[derive(Debug, Default)]
pub(crate) struct ServiceChangeTracker {
    services: BTreeMap<ObjectKey, Vec<ServicePort>>,
}

impl ServiceChangeTracker {
    /// Takes an event in. Returns the Service's name if anything is different now.
    pub(crate) fn apply(&mut self, event: &Event<Service>) -> Option<ObjectKey> {
        let key = ObjectKey::of(&**event.object());
        let ports = match event {
            Event::Applied(service, _) => ServicePort::of(service),
            Event::Deleted(_) => Vec::new(),
        };
        if self.ports(&key) == ports {
            return None;
        }
        if ports.is_empty() {
            self.services.remove(&key);
        } else {
            self.services.insert(key.clone(), ports);
        }
        Some(key)
    }

    /// The ports of a Service; none when there is no such Service, or it is not the proxy's.
    pub(crate) fn ports(&self, key: &ObjectKey) -> &[ServicePort] {
        self.services.get(key).map_or(&[], Vec::as_slice)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::sync::Arc;

    fn service(port: u16, annotation: &str) -> Event<Service> {
        let value = json!({"metadata": {"name": "a", "namespace": "n", "annotations": {"x": annotation}},
            "spec": {"clusterIP": "10.0.0.1", "ports": [{"port": port}]}});
        Event::Applied(Arc::new(serde_json::from_value(value).unwrap()), None)
    }

    #[test]
    fn only_changes_that_matter_are_told() {
        let mut tracker = ServiceChangeTracker::default();
        let key = ObjectKey::new("n", "a");
        assert_eq!(tracker.apply(&service(80, "")), Some(key.clone()));
        assert_eq!(tracker.apply(&service(80, "other")), None);
        assert_eq!(tracker.apply(&service(81, "")), Some(key.clone()));
        assert_eq!(tracker.ports(&key).len(), 1);
        let Event::Applied(last, _) = service(81, "") else { unreachable!() };
        assert_eq!(tracker.apply(&Event::Deleted(last.clone())), Some(key.clone()));
        assert_eq!(tracker.apply(&Event::Deleted(last)), None);
        assert!(tracker.ports(&key).is_empty());
    }
}
