//! The operations of a resource: what can be done at which path, with which parameters and bodies.

use super::operation::{Body, Content, Operation, Path};
use super::parameters::{self as known, Parameter};
use super::targets::{META, Target};
use super::words::{base, capitalized, group_tag, group_words, with_article};
use crate::endpoints::{MEDIA_TYPES, TEXT_TYPES};
use crate::registry::{self, Served};
use api::Subresource;

/// The forms of PATCH bodies.
const PATCH_TYPES: [&str; 4] = [
    "application/json-patch+json",
    "application/merge-patch+json",
    STRATEGIC,
    "application/apply-patch+yaml",
];
/// The form that custom resources have not.
const STRATEGIC: &str = "application/strategic-merge-patch+json";
/// Forms whose values can come one after the other, as watches have it.
const STREAMS: [(&str, &str); 2] = [
    ("application/json", "application/json;stream=watch"),
    ("application/vnd.kubernetes.protobuf", "application/vnd.kubernetes.protobuf;stream=watch"),
];
/// Any form; used where the body is not ours to read.
const ANYTHING: &str = "*/*";

/// Every path of a resource, subresources included.
pub(super) fn of_resource<'a>(served: &'a Served) -> Vec<Path<'a>> {
    let resource = Operations::new(served);
    let mut paths = Vec::new();
    let namespaced = served.namespaced;
    let base = base(&served.gvr.group, &served.gvr.version);
    let plural = served.gvr.resource.as_str();
    let scope = if namespaced { "/namespaces/{namespace}" } else { "" };
    let has = |verb: &str| served.verbs.contains(&verb);
    let mut add = |path: String, operations: Vec<Operation<'a>>| {
        if !operations.is_empty() {
            paths.push(Path::new(path, operations));
        }
    };
    if namespaced && has("list") {
        add(format!("{base}/{plural}"), vec![resource.list(true)]);
    }
    let mut collection = Vec::new();
    if has("deletecollection") {
        collection.push(resource.delete_collection());
    }
    if has("list") {
        collection.push(resource.list(false));
    }
    if has("create") {
        collection.push(resource.create());
    }
    add(format!("{base}{scope}/{plural}"), collection);
    add(format!("{base}{scope}/{plural}/{{name}}"), resource.item(None, served.verbs));
    for sub in &served.subresources {
        let path = format!("{base}{scope}/{plural}/{{name}}/{}", sub.name);
        if matches!(sub.name.as_str(), "attach" | "exec" | "portforward" | "proxy") {
            add(path.clone(), resource.connect(sub, false));
            if sub.name == "proxy" {
                add(format!("{path}/{{path}}"), resource.connect(sub, true));
            }
        } else {
            add(path, resource.item(Some(sub), sub.verbs));
        }
    }
    if has("watch") {
        if namespaced {
            add(format!("{base}/watch/{plural}"), vec![resource.watch(true, false)]);
        }
        add(format!("{base}/watch{scope}/{plural}"), vec![resource.watch(false, false)]);
        add(format!("{base}/watch{scope}/{plural}/{{name}}"), vec![resource.watch(false, true)]);
    }
    paths
}

/// Makes the operations of one resource.
struct Operations<'a> {
    served: &'a Served,
    /// Group and version, as identifiers have them.
    words: String,
    /// Kind with its scope, as identifiers have it.
    scoped_kind: String,
    tag: String,
}

impl<'a> Operations<'a> {
    fn new(served: &'a Served) -> Self {
        let gvk = &served.gvk;
        let scope = if served.namespaced { "Namespaced" } else { "" };
        Self {
            served,
            words: format!("{}{}", group_words(&gvk.group), capitalized(&gvk.version)),
            scoped_kind: format!("{scope}{}", gvk.kind),
            tag: format!("{}_{}", group_tag(&gvk.group), gvk.version),
        }
    }

    /// Custom resources have no protobuf form.
    fn media_types(&self) -> &'static [&'static str] {
        if self.served.as_custom().is_some() { &TEXT_TYPES } else { &MEDIA_TYPES }
    }

    fn kind(&self) -> &'a str {
        &self.served.gvk.kind
    }

    fn object(&self) -> Content<'a> {
        Content::Type(Target::object(self.served))
    }

    /// An operation of this resource without parameters of its own.
    fn operation(
        &self,
        method: &'static str,
        (prefix, name): (&str, &str),
        description: String,
        action: &'static str,
    ) -> Operation<'a> {
        let mut parameters = vec![known::PRETTY.clone()];
        if self.served.namespaced {
            parameters.push(known::NAMESPACE.clone());
        }
        Operation {
            method,
            id: format!("{prefix}{}{name}", self.words),
            description,
            tag: self.tag.clone(),
            parameters,
            body: None,
            consumes: vec![ANYTHING],
            produces: self.media_types().to_vec(),
            responses: Vec::new(),
            action: Some((action, self.served.gvk.clone())),
        }
    }

    fn list(&self, all_namespaces: bool) -> Operation<'a> {
        let kind = self.kind();
        let name = if all_namespaces { format!("{kind}ForAllNamespaces") } else { self.scoped_kind.clone() };
        let description = format!("list or watch objects of kind {kind}");
        let mut operation = self.operation("get", ("list", &name), description, "list");
        if all_namespaces {
            operation.parameters.retain(|p| *p != known::NAMESPACE);
        }
        operation.parameters.extend_from_slice(known::LIST);
        operation.produces.extend(streams(self.media_types()));
        operation.responses.push((200, Content::Type(Target::list(self.served))));
        operation
    }

    fn watch(&self, all_namespaces: bool, one: bool) -> Operation<'a> {
        let kind = self.kind();
        let name = match (all_namespaces, one) {
            (true, _) => format!("{kind}ListForAllNamespaces"),
            (false, true) => self.scoped_kind.clone(),
            (false, false) => format!("{}List", self.scoped_kind),
        };
        let (description, action) = if one {
            (
                format!("watch one object of kind {kind}. Deprecated: watch the list with a fieldSelector."),
                "watch",
            )
        } else {
            (format!("watch objects of kind {kind}. Deprecated: list with the parameter watch."), "watchlist")
        };
        let mut operation = self.operation("get", ("watch", &name), description, action);
        if all_namespaces {
            operation.parameters.retain(|p| *p != known::NAMESPACE);
        }
        if one {
            operation.parameters.push(known::name(kind));
        }
        operation.parameters.extend_from_slice(known::LIST);
        operation.produces.extend(streams(self.media_types()));
        operation.responses.extend(meta("WatchEvent").map(|event| (200, event)));
        operation
    }

    fn create(&self) -> Operation<'a> {
        let description = format!("create {}", with_article(self.kind()));
        let operation = self.operation("post", ("create", &self.scoped_kind), description, "post");
        write(operation, &Target::object(self.served), known::WRITE, &[200, 201, 202])
    }

    fn delete_collection(&self) -> Operation<'a> {
        let description = format!("delete collection of {}", self.kind());
        let name = format!("Collection{}", self.scoped_kind);
        let mut operation = self.operation("delete", ("delete", &name), description, "deletecollection");
        operation.parameters.extend_from_slice(known::DELETE_COLLECTION);
        operation.body = delete_options();
        operation.responses.extend(meta("Status").map(|status| (200, status)));
        operation
    }

    /// The operations of one object, or of one of its subresources.
    fn item(&self, sub: Option<&'a Subresource>, verbs: &[&'static str]) -> Vec<Operation<'a>> {
        let kind = self.kind();
        // What a body is: for some subresources an object of another kind.
        let gvk = sub.map_or(&self.served.gvk, |sub| &sub.gvk);
        let of_own_kind = *gvk == self.served.gvk;
        let own = || if of_own_kind { Some(Target::object(self.served)) } else { Target::of_kind(gvk) };
        let (suffix, of) = match sub {
            Some(sub) => (capitalized(&sub.name), format!("{} of the specified {kind}", sub.name)),
            None => (String::new(), format!("the specified {kind}")),
        };
        let name = format!("{}{suffix}", self.scoped_kind);
        let mut operations = Vec::new();
        for verb in verbs {
            let named = |method, prefix: &str, description: String, action| {
                let mut operation = self.operation(method, (prefix, &name), description, action);
                operation.parameters.push(known::name(&gvk.kind));
                operation.action = Some((action, gvk.clone()));
                operation
            };
            match (*verb, own()) {
                ("get", target) => {
                    let mut operation = named("get", "read", format!("read {of}"), "get");
                    if sub.is_some_and(|sub| sub.name == "log") {
                        operation.produces.insert(0, "text/plain");
                        operation.responses.push((200, Content::Text));
                        operation
                            .parameters
                            .extend_from_slice(known::of_connection(&self.served.gvr.resource, "log"));
                    } else {
                        operation.responses.extend(target.map(|target| (200, Content::Type(target))));
                    }
                    operations.push(operation);
                }
                ("update", Some(target)) => {
                    let operation = named("put", "replace", format!("replace {of}"), "put");
                    operations.push(write(operation, &target, known::WRITE, &[200, 201]));
                }
                ("patch", Some(target)) => {
                    let operation = named("patch", "patch", format!("partially update {of}"), "patch");
                    let mut operation = write(operation, &target, known::PATCH, &[200, 201]);
                    operation.body = Some(Body { target: Target::patch(), required: true });
                    operation.consumes = PATCH_TYPES.to_vec();
                    if self.served.as_custom().is_some() {
                        operation.consumes.retain(|media| *media != STRATEGIC);
                    }
                    operations.push(operation);
                }
                ("create", Some(target)) if sub.is_some() => {
                    let of = sub.map_or("", |sub| &sub.name);
                    let description = format!("create {of} of {}", with_article(kind));
                    let operation = named("post", "create", description, "post");
                    operations.push(write(operation, &target, known::WRITE, &[200, 201, 202]));
                }
                ("delete", Some(_)) => {
                    let description = format!("delete {}", with_article(kind));
                    let mut operation = named("delete", "delete", description, "delete");
                    operation.parameters.extend_from_slice(known::DELETE);
                    operation.body = delete_options();
                    let gvr = &self.served.gvr;
                    for code in [200, 202] {
                        let answer = if registry::shows_deleted(&gvr.group, &gvr.resource) {
                            Some(self.object())
                        } else {
                            meta("Status")
                        };
                        operation.responses.extend(answer.map(|answer| (code, answer)));
                    }
                    operations.push(operation);
                }
                _ => {}
            }
        }
        operations
    }

    /// The operations of a subresource that connects the client to something else.
    fn connect(&self, sub: &'a Subresource, with_path: bool) -> Vec<Operation<'a>> {
        let methods: &[&'static str] = if sub.name == "proxy" {
            &["delete", "get", "head", "options", "patch", "post", "put"]
        } else {
            &["get", "post"]
        };
        let suffix = if with_path { "WithPath" } else { "" };
        methods
            .iter()
            .map(|method| {
                let description = format!(
                    "connect {} requests to {} of {}",
                    method.to_ascii_uppercase(),
                    sub.name,
                    self.kind()
                );
                let mut operation = self.operation(method, ("connect", ""), description, "connect");
                let method = capitalized(method);
                operation.id = format!(
                    "connect{}{method}{}{}{suffix}",
                    self.words,
                    self.scoped_kind,
                    capitalized(&sub.name)
                );
                operation.parameters.retain(|p| *p != known::PRETTY);
                operation.parameters.push(known::name(&sub.gvk.kind));
                if with_path {
                    operation.parameters.push(known::PATH.clone());
                }
                let options = known::of_connection(&self.served.gvr.resource, &sub.name);
                operation.parameters.extend_from_slice(options);
                operation.produces = vec![ANYTHING];
                operation.responses.push((200, Content::Text));
                operation.action = Some(("connect", sub.gvk.clone()));
                operation
            })
            .collect()
    }
}

/// The forms of watches.
fn streams(of: &'static [&'static str]) -> impl Iterator<Item = &'static str> {
    STREAMS.into_iter().filter(|(media, _)| of.contains(media)).map(|(_, stream)| stream)
}

/// A type common to all groups, as an answer.
pub(super) fn meta(kind: &str) -> Option<Content<'static>> {
    Target::built_in(&format!("{META}.{kind}")).map(Content::Type)
}

fn delete_options() -> Option<Body<'static>> {
    let target = Target::built_in(&format!("{META}.DeleteOptions"))?;
    Some(Body { target, required: false })
}

/// Adds what an operation has that sends an object and is answered with one.
fn write<'a>(
    mut operation: Operation<'a>,
    target: &Target<'a>,
    parameters: &[Parameter],
    codes: &[u16],
) -> Operation<'a> {
    operation.parameters.extend_from_slice(parameters);
    operation.responses.extend(codes.iter().map(|code| (*code, Content::Type(target.clone()))));
    operation.body = Some(Body { target: target.clone(), required: true });
    operation
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_of_all_operations_are_told_once_for_the_path() {
        let resources = registry::Resources::built_in(&registry::RuntimeConfig::default());
        let paths = of_resource(resources.get("", "v1", "pods").unwrap());
        let item = paths.iter().find(|p| p.path == "/api/v1/namespaces/{namespace}/pods/{name}").unwrap();
        let names: Vec<&str> = item.parameters.iter().map(|p| p.name).collect();
        assert_eq!(names, ["name", "namespace", "pretty"]);
        let patch = item.operations.iter().find(|o| o.method == "patch").unwrap();
        let names: Vec<&str> = patch.parameters.iter().map(|p| p.name).collect();
        assert_eq!(names, ["dryRun", "fieldManager", "fieldValidation", "force"]);
        assert_eq!(patch.id, "patchCoreV1NamespacedPod");
    }
}
