//! ResourceClaims (KEP-4381): devices per class.

use super::{Amounts, add, count};
use crate::value::{at, field, int, list, text};
use serde_json::Value;

const OF_CLASS: &str = ".deviceclass.resource.k8s.io/devices";
/// What a request for all devices counts for: as many as a claim can have.
const ALL: usize = 32;

pub(super) fn is_name(name: &str) -> bool {
    name.strip_suffix(OF_CLASS).is_some_and(|class| !class.is_empty())
}

pub(super) fn usage(claim: &Value) -> Amounts {
    let mut usage = Amounts::new();
    for request in list(at(claim, &["spec", "devices"]), "requests") {
        // Of alternatives one is had; each class counts for the most it may be asked for.
        let alternatives = list(request, "firstAvailable");
        let mut most = Amounts::new();
        for asked in alternatives.iter().chain([field(request, "exactly")]) {
            let class = text(asked, "deviceClassName");
            if class.is_empty() {
                continue;
            }
            let devices = match text(asked, "allocationMode") {
                "All" => ALL,
                _ => int(asked, "count").and_then(|n| usize::try_from(n).ok()).unwrap_or(1),
            };
            let entry = most.entry(format!("{class}{OF_CLASS}")).or_insert_with(|| count(0));
            *entry = (*entry).max(count(devices));
        }
        add(&mut usage, &most);
    }
    usage
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn devices_count_per_class() {
        let claim = json!({"spec": {"devices": {"requests": [
            {"name": "a", "exactly": {"deviceClassName": "gpu", "count": 2}},
            {"name": "b", "firstAvailable": [
                {"deviceClassName": "gpu", "count": 1}, {"deviceClassName": "gpu", "count": 4},
                {"deviceClassName": "nic", "allocationMode": "All"}]}]}}});
        assert_eq!(
            super::super::pretty(&usage(&claim)),
            "gpu.deviceclass.resource.k8s.io/devices=6,nic.deviceclass.resource.k8s.io/devices=32"
        );
    }
}
