//! Every resource of Kubernetes 1.36 as a row: identity, scope, verbs, subresources.
//!
//! ```text
//! apps/v1 deployments Deployment namespaced create,delete,get,list,...
//! /scale autoscaling/v1 Scale get,patch,update        a subresource of the resource above
//! ```

use std::sync::LazyLock;

use apimachinery::gvk::parse_api_version;

/// One served group, version and resource.
#[derive(Clone, Debug)]
pub struct ResourceRow {
    /// API group; empty for the core group.
    pub group: &'static str,
    /// Version in the group.
    pub version: &'static str,
    /// Kind of the objects.
    pub kind: &'static str,
    /// Name in paths: `deployments`.
    pub plural: &'static str,
    /// Name of one: `deployment`.
    pub singular: String,
    /// Whether objects live in namespaces.
    pub namespaced: bool,
    /// Verbs as discovery lists them, sorted.
    pub verbs: Vec<&'static str>,
    /// Subresources, sorted by name.
    pub subresources: Vec<SubresourceRow>,
}

/// One subresource of a resource.
#[derive(Clone, Debug)]
pub struct SubresourceRow {
    /// Name in paths: `scale`.
    pub name: &'static str,
    /// API group of the bodies' kind, which may be another than the resource's.
    pub group: &'static str,
    /// Version of the bodies' kind.
    pub version: &'static str,
    /// Kind of the bodies; of `exec`, `proxy` and the like, that of the options which the query holds.
    pub kind: &'static str,
    /// Verbs as discovery lists them, sorted.
    pub verbs: Vec<&'static str>,
}

static RESOURCES: LazyLock<Vec<ResourceRow>> = LazyLock::new(|| parse(include_str!("resources.txt")));

/// Every resource, sorted by group and version, then plural.
pub fn resources() -> &'static [ResourceRow] {
    &RESOURCES
}

/// Reads the table; a line that is none of its forms (a test sees to it that none is) is left out.
fn parse(text: &'static str) -> Vec<ResourceRow> {
    let mut rows: Vec<ResourceRow> = Vec::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let words: Vec<&'static str> = line.split(' ').collect();
        match words.as_slice() {
            [name, api_version, kind, verbs] => {
                let (group, version) = parse_api_version(api_version);
                let name = name.trim_start_matches('/');
                let verbs = verbs.split(',').collect();
                if let Some(row) = rows.last_mut() {
                    row.subresources.push(SubresourceRow { name, group, version, kind, verbs });
                }
            }
            [api_version, plural, kind, scope, verbs] => {
                let (group, version) = parse_api_version(api_version);
                rows.push(ResourceRow {
                    group,
                    version,
                    kind,
                    plural,
                    singular: kind.to_ascii_lowercase(),
                    namespaced: *scope == "namespaced",
                    verbs: verbs.split(',').collect(),
                    subresources: Vec::new(),
                });
            }
            _ => {}
        }
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(group: &str, version: &str, plural: &str) -> &'static ResourceRow {
        resources()
            .iter()
            .find(|row| (row.group, row.version, row.plural) == (group, version, plural))
            .unwrap()
    }

    #[test]
    fn every_line_of_the_table_is_read() {
        let lines = include_str!("resources.txt").lines().filter(|line| !line.starts_with('#')).count();
        let read: usize = resources().iter().map(|row| 1 + row.subresources.len()).sum();
        assert_eq!(read, lines);
    }

    #[test]
    fn pods_have_all_their_subresources() {
        let pods = row("", "v1", "pods");
        assert!(pods.namespaced);
        assert_eq!(
            pods.verbs,
            ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"]
        );
        let names: Vec<&str> = pods.subresources.iter().map(|sub| sub.name).collect();
        assert_eq!(
            names,
            [
                "attach",
                "binding",
                "ephemeralcontainers",
                "eviction",
                "exec",
                "log",
                "portforward",
                "proxy",
                "resize",
                "status"
            ]
        );
        let eviction = pods.subresources.iter().find(|sub| sub.name == "eviction").unwrap();
        assert_eq!((eviction.group, eviction.version, eviction.kind), ("policy", "v1", "Eviction"));
        assert_eq!(eviction.verbs, ["create"]);
    }

    #[test]
    fn scopes_and_special_subresources_are_told() {
        assert!(!row("", "v1", "namespaces").namespaced);
        assert_eq!(row("", "v1", "namespaces").subresources.first().unwrap().name, "finalize");
        assert!(row("authorization.k8s.io", "v1", "localsubjectaccessreviews").namespaced);
        let csr = row("certificates.k8s.io", "v1", "certificatesigningrequests");
        assert_eq!(csr.subresources.first().unwrap().name, "approval");
        let accounts = row("", "v1", "serviceaccounts");
        assert_eq!(accounts.subresources.first().unwrap().kind, "TokenRequest");
        assert_eq!(row("apps", "v1", "deployments").subresources.first().unwrap().name, "scale");
    }
}
