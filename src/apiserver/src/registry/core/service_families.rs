//! IP families of a Service: which it has, from what it asks and what the cluster offers (KEP-563).

use api::value;
use apimachinery::family::Family;
use apimachinery::field::{FieldError, Path};
use ipnet::IpNet;
use serde_json::{Value, json};

/// The families that a Service has.
pub(crate) fn wanted(service: &Value) -> Vec<Family> {
    value::texts(value::field(service, "spec"), "ipFamilies").filter_map(Family::parse).collect()
}

/// Fills in `clusterIPs` from `clusterIP`, `ipFamilyPolicy` and `ipFamilies`.
///
/// # Errors
/// When the Service asks for what the cluster does not have.
pub(crate) fn fill(service: &mut Value, networks: &[IpNet]) -> Result<(), FieldError> {
    let Some(spec) = value::object_mut(service, "spec") else { return Ok(()) };
    if value::text(spec, "type") == "ExternalName" {
        for field in ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"] {
            value::remove(spec, field);
        }
        return Ok(());
    }
    if value::is_empty(spec, "clusterIPs") && !value::is_empty(spec, "clusterIP") {
        let ip = value::text(spec, "clusterIP").to_owned();
        value::set(spec, "clusterIPs", vec![ip]);
    }
    let offered: Vec<Family> = networks.iter().map(|network| Family::of(network.addr())).collect();
    let headless = value::text(spec, "clusterIP") == "None";
    let selectorless = value::is_empty(spec, "selector");
    if value::is_empty(spec, "ipFamilyPolicy") {
        let several = value::list(spec, "ipFamilies").len() > 1 || value::list(spec, "clusterIPs").len() > 1;
        let dual = several || (headless && selectorless);
        value::set(spec, "ipFamilyPolicy", if dual { "RequireDualStack" } else { "SingleStack" });
    }
    let policy = value::text(spec, "ipFamilyPolicy").to_owned();
    let mut families: Vec<Family> = value::texts(spec, "ipFamilies").filter_map(Family::parse).collect();
    if families.is_empty() {
        families =
            value::texts(spec, "clusterIPs").filter_map(|ip| ip.parse().ok()).map(Family::of).collect();
    }
    if families.is_empty() {
        families.extend(offered.first());
    }
    let elsewhere = headless && selectorless;
    if policy == "SingleStack" {
        families.truncate(1);
        let first = value::list(spec, "clusterIPs").first().cloned();
        if let Some(first) = first.filter(|_| value::list(spec, "clusterIPs").len() > 1) {
            value::set(spec, "clusterIPs", json!([first]));
        }
    } else if let (Some(first), 1) = (families.first().copied(), families.len()) {
        let second = first.other();
        if offered.contains(&second) || elsewhere {
            families.push(second);
        }
    }
    if policy == "RequireDualStack" && !elsewhere && offered.len() < 2 {
        let at = Path::new("spec").child("ipFamilyPolicy");
        return Err(FieldError::invalid(
            &at,
            policy,
            "this cluster is not configured for dual-stack services",
        ));
    }
    for (n, family) in families.iter().enumerate() {
        if !offered.contains(family) && !elsewhere {
            let at = Path::new("spec").child("ipFamilies").index(n);
            return Err(FieldError::invalid(&at, family.name(), "not configured on this cluster"));
        }
    }
    let names: Vec<&str> = families.iter().map(|family| family.name()).collect();
    value::set(spec, "ipFamilies", names);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(mut service: Value, networks: &[&str]) -> Result<Value, FieldError> {
        let networks: Vec<IpNet> = networks.iter().map(|n| n.parse().unwrap()).collect();
        fill(&mut service, &networks).map(|()| service)
    }

    #[test]
    fn a_plain_service_has_the_clusters_first_family() {
        let service = filled(json!({"spec": {"type": "ClusterIP"}}), &["10.0.0.0/24", "fd00::/112"]).unwrap();
        assert_eq!(service["spec"]["ipFamilies"], json!(["IPv4"]));
        assert_eq!(service["spec"]["ipFamilyPolicy"], "SingleStack");
    }

    #[test]
    fn dual_stack_is_had_where_it_is_offered() {
        let prefer = json!({"spec": {"type": "ClusterIP", "ipFamilyPolicy": "PreferDualStack"}});
        let service = filled(prefer.clone(), &["10.0.0.0/24", "fd00::/112"]).unwrap();
        assert_eq!(service["spec"]["ipFamilies"], json!(["IPv4", "IPv6"]));
        let service = filled(prefer, &["10.0.0.0/24"]).unwrap();
        assert_eq!(service["spec"]["ipFamilies"], json!(["IPv4"]));
        let require = json!({"spec": {"type": "ClusterIP", "ipFamilyPolicy": "RequireDualStack"}});
        assert!(filled(require, &["10.0.0.0/24"]).is_err());
    }

    #[test]
    fn a_headless_service_without_selector_has_both() {
        let service = filled(json!({"spec": {"clusterIP": "None"}}), &["10.0.0.0/24"]).unwrap();
        assert_eq!(service["spec"]["ipFamilies"], json!(["IPv4", "IPv6"]));
        assert_eq!(service["spec"]["clusterIPs"], json!(["None"]));
    }

    #[test]
    fn an_external_name_has_none() {
        let service = filled(json!({"spec": {"type": "ExternalName"}}), &["10.0.0.0/24"]).unwrap();
        assert!(service["spec"].get("ipFamilies").is_none());
    }
}
