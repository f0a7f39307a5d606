//! Storage keys of objects.

use apimachinery::gvk::GroupResource;

/// Stands for the core group in keys, where the group's own name is empty.
const CORE: &str = "core";

/// The key of an object: `/registry/{group or "core"}/{plural}/{namespace/}{name}`. The namespace of
/// cluster-scoped resources is empty.
pub fn key(resource: &GroupResource, namespace: &str, name: &str) -> String {
    let mut key = prefix(resource, namespace);
    key.push_str(name);
    key
}

/// The prefix of all objects of a resource in a namespace, or everywhere when it is empty.
pub fn prefix(resource: &GroupResource, namespace: &str) -> String {
    let group = if resource.group.is_empty() { CORE } else { &resource.group };
    if namespace.is_empty() {
        format!("/registry/{group}/{}/", resource.resource)
    } else {
        format!("/registry/{group}/{}/{namespace}/", resource.resource)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_have_the_namespace_only_where_there_is_one() {
        let pods = GroupResource::new("", "pods");
        assert_eq!(key(&pods, "default", "a"), "/registry/core/pods/default/a");
        let roles = GroupResource::new("rbac.authorization.k8s.io", "clusterroles");
        assert_eq!(key(&roles, "", "a"), "/registry/rbac.authorization.k8s.io/clusterroles/a");
        assert_eq!(prefix(&pods, ""), "/registry/core/pods/");
    }
}
