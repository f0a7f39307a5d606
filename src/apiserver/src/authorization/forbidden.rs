//! The error of a request that no authorizer allowed.

use apimachinery::gvk::GroupResource;
use apimachinery::status::Status;

use super::attributes::Attributes;

/// 403, worded as the API server words it.
pub fn forbidden(attributes: &Attributes<'_>, reason: &str) -> Status {
    let user = &attributes.user.name;
    let verb = attributes.verb;
    let mut message = if attributes.resource_request {
        let resource = match attributes.subresource {
            "" => attributes.resource.to_owned(),
            subresource => format!("{}/{subresource}", attributes.resource),
        };
        let scope = match attributes.namespace {
            "" => "at the cluster scope".to_owned(),
            namespace => format!("in the namespace {namespace:?}"),
        };
        let group = attributes.api_group;
        format!("User {user:?} cannot {verb} resource {resource:?} in API group {group:?} {scope}")
    } else {
        format!("User {user:?} cannot {verb} path {:?}", attributes.path)
    };
    if !reason.is_empty() {
        message.push_str(": ");
        message.push_str(reason);
    }
    let resource = GroupResource::new(attributes.api_group, attributes.resource);
    Status::forbidden(&resource, attributes.name, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authentication::UserInfo;

    #[test]
    fn the_message_names_user_verb_resource_and_scope() {
        let user = UserInfo::new("jane", &[]);
        let path = Attributes::non_resource(&user, "get", "/metrics");
        assert_eq!(forbidden(&path, "").message, "forbidden: User \"jane\" cannot get path \"/metrics\"");
        let pods = Attributes {
            verb: "get",
            namespace: "ns",
            resource: "pods",
            subresource: "log",
            name: "a",
            resource_request: true,
            ..path
        };
        assert_eq!(
            forbidden(&pods, "").message,
            "pods \"a\" is forbidden: User \"jane\" cannot get resource \"pods/log\" in API group \"\" in the namespace \"ns\""
        );
        let nodes = Attributes { verb: "list", resource: "nodes", resource_request: true, ..path };
        assert_eq!(
            forbidden(&nodes, "why").message,
            "nodes is forbidden: User \"jane\" cannot list resource \"nodes\" in API group \"\" at the cluster scope: why"
        );
    }
}
