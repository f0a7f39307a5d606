//! Ingress (KEP-1453).

use super::ingress_rules::{self, Tolerated};
use crate::validation::Errors;
use crate::{Kind, columns, value};
use apimachinery::field::{ErrorList, Path};
use apimachinery::meta;
use apimachinery::table::Column;
use jiff::Timestamp;
use serde_json::Value;
use std::collections::BTreeSet;

/// Told the class before there was a field for it.
const OLD_CLASS: &str = "kubernetes.io/ingress.class";

/// Hosts that the table shows before it counts.
const SHOWN_HOSTS: usize = 3;

/// Ingress.
pub struct Ingress;

impl Kind for Ingress {
    fn group_kind(&self) -> (&'static str, &'static str) {
        ("networking.k8s.io", "Ingress")
    }

    fn short_names(&self) -> &'static [&'static str] {
        &["ing"]
    }

    fn prepare_for_create(&self, object: &mut Value) {
        value::set(object, "status", serde_json::json!({"loadBalancer": {}}));
    }

    fn validate(&self, object: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        let spec = value::field(object, "spec");
        ingress_rules::spec(spec, Tolerated::default(), &mut errors);
        if let Some(old_class) = meta::annotation(object, OLD_CLASS)
            && value::field(spec, "ingressClassName").as_str().is_some_and(|class| class != old_class)
        {
            errors.invalid(
                &Path::new("annotations").child(OLD_CLASS),
                old_class,
                "must match `ingressClassName` when both are specified",
            );
        }
        errors
    }

    fn validate_update(&self, object: &Value, old: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        let tolerated = Tolerated::by(value::field(old, "spec"));
        ingress_rules::spec(value::field(object, "spec"), tolerated, &mut errors);
        errors
    }

    fn validate_status_update(&self, object: &Value, old: &Value) -> ErrorList {
        ingress_rules::status(object, old)
    }

    fn warnings_on_create(&self, object: &Value) -> Vec<String> {
        if meta::annotation(object, OLD_CLASS).is_none() {
            return Vec::new();
        }
        vec![format!("annotation \"{OLD_CLASS}\" is deprecated, please use 'spec.ingressClassName' instead")]
    }

    fn columns(&self) -> Vec<Column> {
        vec![
            Column::object_name(),
            Column::new("Class"),
            Column::new("Hosts"),
            Column::new("Address"),
            Column::new("Ports"),
            Column::age(),
        ]
    }

    fn row(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        let spec = value::field(object, "spec");
        let addresses: BTreeSet<&str> = value::list_at(object, &["status", "loadBalancer", "ingress"])
            .iter()
            .map(|entry| match value::text(entry, "ip") {
                "" => value::text(entry, "hostname"),
                ip => ip,
            })
            .filter(|address| !address.is_empty())
            .collect();
        vec![
            columns::name(object),
            columns::or_none(value::text(spec, "ingressClassName")),
            Value::from(shown_hosts(value::list(spec, "rules"))),
            Value::from(columns::joined(addresses.into_iter())),
            Value::from(if value::list(spec, "tls").is_empty() { "80" } else { "80, 443" }),
            columns::age(object, now),
        ]
    }
}

/// The first hosts, and how many more rules there are.
fn shown_hosts(rules: &[Value]) -> String {
    let mut hosts: Vec<&str> =
        rules.iter().map(|rule| value::text(rule, "host")).filter(|host| !host.is_empty()).collect();
    if hosts.is_empty() {
        return "*".to_owned();
    }
    // Whatever comes after the last host that is shown counts, also a rule without one.
    let more = hosts.len() > SHOWN_HOSTS
        || (hosts.len() == SHOWN_HOSTS
            && rules.last().is_some_and(|rule| value::text(rule, "host").is_empty()));
    hosts.truncate(SHOWN_HOSTS);
    let shown = hosts.join(",");
    if more { format!("{shown} + {} more...", rules.len().saturating_sub(SHOWN_HOSTS)) } else { shown }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_table_shows_three_hosts_and_every_address() {
        let rules: Vec<Value> = ["a", "b", "c", "d", "e"].iter().map(|host| json!({"host": host})).collect();
        let object = json!({
            "spec": {"rules": rules},
            "status": {"loadBalancer": {"ingress": [{"ip": "10.0.0.2"}, {"ip": "10.0.0.1"}, {"hostname": "x.y"}]}},
        });
        let row = Ingress.row(&object, Timestamp::UNIX_EPOCH);
        assert_eq!(row[1], "<none>");
        assert_eq!(row[2], "a,b,c + 2 more...");
        assert_eq!(row[3], "10.0.0.1,10.0.0.2,x.y");
        assert_eq!(shown_hosts(&[json!({})]), "*");
    }

    #[test]
    fn the_annotation_of_old_tells_the_same_class() {
        let object = json!({
            "metadata": {"annotations": {OLD_CLASS: "a"}},
            "spec": {"ingressClassName": "b", "rules": [{"host": "example.com"}]},
        });
        let told: Vec<String> = Ingress.validate(&object).iter().map(ToString::to_string).collect();
        assert_eq!(
            told,
            [
                "annotations.kubernetes.io/ingress.class: Invalid value: \"a\": must match `ingressClassName` when both are specified"
            ]
        );
        assert_eq!(Ingress.validate_update(&object, &object), vec![]);
        assert_eq!(
            Ingress.warnings_on_create(&object),
            [
                "annotation \"kubernetes.io/ingress.class\" is deprecated, please use 'spec.ingressClassName' instead"
            ]
        );
    }
}
