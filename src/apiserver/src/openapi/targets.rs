//! The types that operations name, and all that those refer to.

use crate::customresources::CustomVersion;
use crate::registry::Served;
use apimachinery::gvk::Gvk;
use apimachinery::schema::{Any, Node, Scalar, SchemaOr, Shape, TypeId};
use std::collections::BTreeMap;

/// What every name of a built-in definition begins with; the schema tables leave it out.
const PREFIX: &str = "io.k8s.";
/// Where the types common to all groups are.
pub(super) const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1";

/// A definition: its name in documents, and what it is.
#[derive(Clone, Debug)]
pub(super) struct Target<'a> {
    /// Such as `io.k8s.api.core.v1.Pod`.
    pub(super) name: String,
    /// What values of it look like.
    pub(super) what: What<'a>,
}

/// What the values of a definition look like.
#[derive(Clone, Debug)]
pub(super) enum What<'a> {
    /// A type of a schema set.
    Type(Node<'a>),
    /// The object of a resource whose schema has no name of its own.
    Root(Node<'a>, &'a Gvk),
    /// The object of a custom resource.
    Custom(&'a CustomVersion, &'a Gvk),
    /// The list of a resource whose lists are in no schema set.
    List {
        /// Of the objects in it.
        gvk: &'a Gvk,
        /// Its own kind.
        list_kind: &'a str,
        /// Name of the definition of the objects in it.
        item: String,
    },
    /// The body of a PATCH: any object.
    Patch,
}

impl<'a> Target<'a> {
    /// The objects of a resource.
    pub(super) fn object(served: &'a Served) -> Self {
        if let Some(version) = served.as_custom() {
            return Self { name: root_name(&served.gvk, ""), what: What::Custom(version, &served.gvk) };
        }
        let node = served.schema.node();
        match definition_name(node) {
            Some(name) => Self { name, what: What::Type(node) },
            None => Self { name: root_name(&served.gvk, ""), what: What::Root(node, &served.gvk) },
        }
    }

    /// The lists of a resource.
    pub(super) fn list(served: &'a Served) -> Self {
        let gvk = &served.gvk;
        let list = Gvk::new(gvk.group.as_str(), gvk.version.as_str(), served.list_kind());
        Self::of_kind(&list).unwrap_or_else(|| Self {
            name: root_name(gvk, "List"),
            what: What::List { gvk, list_kind: &served.list_kind, item: Self::object(served).name },
        })
    }

    /// The objects of a built-in kind.
    pub(super) fn of_kind(gvk: &Gvk) -> Option<Target<'static>> {
        let set = api::schema::builtin();
        let node = set.node(set.by_gvk(gvk)?);
        Some(Target { name: definition_name(node)?, what: What::Type(node) })
    }

    /// A built-in definition by its full name.
    pub(super) fn built_in(name: &str) -> Option<Target<'static>> {
        let set = api::schema::builtin();
        let node = set.node(set.by_name(name.strip_prefix(PREFIX)?)?);
        Some(Target { name: name.to_owned(), what: What::Type(node) })
    }

    /// The body of a PATCH.
    pub(super) fn patch() -> Self {
        Self { name: format!("{META}.Patch"), what: What::Patch }
    }

    /// The definitions that this one refers to itself.
    fn references(&self) -> Vec<Target<'a>> {
        let mut found = Vec::new();
        match &self.what {
            What::Type(node) | What::Root(node, _) => referred(*node, &mut found),
            What::Custom(..) => found.extend(Target::built_in(&format!("{META}.ObjectMeta"))),
            What::List { .. } => found.extend(Target::built_in(&format!("{META}.ListMeta"))),
            What::Patch => {}
        }
        found
    }
}

/// Collects what a type refers to; parts without a name of their own are looked through.
fn referred<'a>(node: Node<'a>, found: &mut Vec<Target<'a>>) {
    let mut part = |id: TypeId| {
        let part = node.at(id);
        match definition_name(part) {
            Some(name) => found.push(Target { name, what: What::Type(part) }),
            None => referred(part, found),
        }
    };
    match node.shape() {
        Shape::Struct { fields, .. } => fields.iter().for_each(|field| part(field.ty)),
        Shape::Map { value: id, .. } | Shape::List { item: id, .. } => part(*id),
        // The definition of these forms says nothing of the schema that they may hold.
        Shape::SchemaOr { .. } | Shape::Scalar(_) | Shape::Any(_) => {}
    }
}

/// The name under which a type is defined; `None` where it is written out in place.
pub(super) fn definition_name(node: Node<'_>) -> Option<String> {
    let name = match node.shape() {
        Shape::Scalar(Scalar::Time) => "apimachinery.pkg.apis.meta.v1.Time",
        Shape::Scalar(Scalar::MicroTime) => "apimachinery.pkg.apis.meta.v1.MicroTime",
        Shape::Scalar(Scalar::Quantity) => "apimachinery.pkg.api.resource.Quantity",
        Shape::Scalar(Scalar::IntOrString) => "apimachinery.pkg.util.intstr.IntOrString",
        Shape::Any(Any::Json) => "apiextensions-apiserver.pkg.apis.apiextensions.v1.JSON",
        Shape::Any(Any::RawExtension) => "apimachinery.pkg.runtime.RawExtension",
        Shape::Any(Any::FieldsV1) => "apimachinery.pkg.apis.meta.v1.FieldsV1",
        Shape::SchemaOr { form: SchemaOr::Array, .. } => {
            "apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrArray"
        }
        Shape::SchemaOr { form: SchemaOr::Bool, .. } => {
            "apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrBool"
        }
        Shape::SchemaOr { form: SchemaOr::Strings, .. } => {
            "apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrStringArray"
        }
        Shape::Struct { .. } => node.name(),
        Shape::Scalar(_) | Shape::Map { .. } | Shape::List { .. } => "",
    };
    (!name.is_empty()).then(|| format!("{PREFIX}{name}"))
}

/// The name of a custom resource's definition: its group's domain the other way round, version and kind.
fn root_name(gvk: &Gvk, suffix: &str) -> String {
    let domain: Vec<&str> = gvk.group.rsplit('.').collect();
    format!("{}.{}.{}{suffix}", domain.join("."), gvk.version, gvk.kind)
}

/// Some definitions and all that they refer to, by name.
pub(super) fn closure<'a>(roots: impl IntoIterator<Item = Target<'a>>) -> BTreeMap<String, What<'a>> {
    let mut found = BTreeMap::new();
    let mut open: Vec<Target<'a>> = roots.into_iter().collect();
    while let Some(target) = open.pop() {
        if found.contains_key(&target.name) {
            continue;
        }
        open.extend(target.references());
        found.insert(target.name, target.what);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_closure_holds_everything_once_and_ends_on_recursive_types() {
        let root =
            Target::of_kind(&Gvk::new("apiextensions.k8s.io", "v1", "CustomResourceDefinition")).unwrap();
        let found = closure([root.clone(), root]);
        let package = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1";
        assert!(found.contains_key(&format!("{package}.JSONSchemaProps")));
        assert!(found.contains_key(&format!("{package}.JSONSchemaPropsOrBool")));
        assert!(found.contains_key("io.k8s.apimachinery.pkg.apis.meta.v1.OwnerReference"));
        assert!(!found.contains_key("io.k8s.api.core.v1.Pod"));
    }

    #[test]
    fn a_custom_resource_is_named_after_its_domain() {
        let name = root_name(&Gvk::new("stable.example.com", "v1", "CronTab"), "List");
        assert_eq!(name, "com.example.stable.v1.CronTabList");
    }
}
