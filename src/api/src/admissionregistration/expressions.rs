//! What expressions of webhooks and policies may refer to, and what they have to evaluate to (KEP-3488, KEP-3716,
//! KEP-3962).

use cel::environment::Builder;
use cel::{Decl, DeclKind, Environment, Field, Library, ObjectType, Program, Type};
use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

/// Which variables there are besides `object`, `oldObject`, `request` and `namespaceObject`, which always are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Declared {
    /// `params`.
    pub params: bool,
    /// `authorizer` and `authorizer.requestResource`.
    pub authorizer: bool,
}

/// What an expression has to evaluate to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// `bool`.
    Bool,
    /// `string`.
    String,
    /// `string` or `null`.
    StringOrNull,
    /// `Object`, an apply configuration.
    Object,
    /// `list(JSONPatch)`.
    JsonPatch,
    /// Anything: a variable.
    Any,
}

/// The type of `request`.
pub fn request() -> &'static Decl {
    static DECL: LazyLock<Decl> = LazyLock::new(request_type);
    &DECL
}

/// The type of `namespaceObject`.
pub fn namespace() -> &'static Decl {
    static DECL: LazyLock<Decl> = LazyLock::new(namespace_type);
    &DECL
}

/// The environment, with objects and parameters that are known only when they come.
pub fn environment(declared: Declared) -> Builder {
    let dynamic = || Arc::new(Decl::dynamic().clone());
    typed_environment(declared, dynamic(), declared.params.then(dynamic))
}

/// The environment, with objects and parameters of known types.
pub fn typed_environment(declared: Declared, object: Arc<Decl>, params: Option<Arc<Decl>>) -> Builder {
    static REQUEST: LazyLock<Arc<Decl>> = LazyLock::new(|| Arc::new(request().clone()));
    static NAMESPACE: LazyLock<Arc<Decl>> = LazyLock::new(|| Arc::new(namespace().clone()));
    let mut builder = Environment::builder()
        .variable("object", Arc::clone(&object))
        .variable("oldObject", object)
        .variable("request", Arc::clone(&REQUEST))
        .variable("namespaceObject", Arc::clone(&NAMESPACE));
    if let Some(params) = params {
        builder = builder.variable("params", params);
    }
    if declared.authorizer {
        let native = |of: Type| Arc::new(Decl::new(DeclKind::Native(of)));
        builder = builder
            .variable("authorizer", native(Type::authorizer()))
            .variable("authorizer.requestResource", native(Type::resource_check()));
    }
    builder
}

/// The environment of mutations: this one, and `Object{}` and `JSONPatch{}`.
pub fn mutating(environment: &Environment) -> Environment {
    environment.extend().library(Library::Mutation).build()
}

/// Compiles an expression that has to evaluate to something.
///
/// # Errors
/// What is wrong with it, in the words of Kubernetes.
pub fn compile(environment: &Environment, source: &str, outcome: Outcome) -> Result<Program, String> {
    let program = environment.compile(source).map_err(|errors| format!("compilation failed: {errors}"))?;
    let of = program.output_type();
    let (fits, wanted) = match outcome {
        Outcome::Any => (true, ""),
        Outcome::Bool => (matches!(of, Type::Bool), "bool"),
        Outcome::String => (matches!(of, Type::String), "string"),
        Outcome::StringOrNull => (matches!(of, Type::String | Type::Null), "one of [string null_type]"),
        Outcome::Object => (is_object(of, "Object"), "Object"),
        Outcome::JsonPatch => {
            (matches!(of, Type::List(item) if is_object(item, "JSONPatch")), "list(JSONPatch)")
        }
    };
    if fits { Ok(program) } else { Err(format!("must evaluate to {wanted} but got {of}")) }
}

fn is_object(of: &Type, name: &str) -> bool {
    matches!(of, Type::Object(object) if object.name == name)
}

/// An object whose fields have the names that JSON has for them, unescaped: `request.namespace`.
fn object(name: &str, fields: &[(&str, &str, Decl)]) -> Decl {
    let fields: BTreeMap<String, Field> = fields
        .iter()
        .map(|(name, json, decl)| {
            let field = Field { name: (*json).to_owned(), decl: Arc::new(decl.clone()), required: false };
            ((*name).to_owned(), field)
        })
        .collect();
    Decl::object(ObjectType { name: name.to_owned(), fields, open: false })
}

fn same<'a>(fields: &[(&'a str, Decl)]) -> Vec<(&'a str, &'a str, Decl)> {
    fields.iter().map(|(name, decl)| (*name, *name, decl.clone())).collect()
}

fn text() -> Decl {
    Type::String.into()
}

fn texts() -> Decl {
    Decl::list(text())
}

fn request_type() -> Decl {
    let kind = object(
        "kubernetes.GroupVersionKind",
        &same(&[("group", text()), ("version", text()), ("kind", text())]),
    );
    let resource = object(
        "kubernetes.GroupVersionResource",
        &same(&[("group", text()), ("version", text()), ("resource", text())]),
    );
    let user = object(
        "kubernetes.UserInfo",
        &same(&[("username", text()), ("uid", text()), ("groups", texts()), ("extra", Decl::map(texts()))]),
    );
    object(
        "kubernetes.AdmissionRequest",
        &same(&[
            ("kind", kind.clone()),
            ("resource", resource.clone()),
            ("subResource", text()),
            ("requestKind", kind),
            ("requestResource", resource),
            ("requestSubResource", text()),
            ("name", text()),
            ("namespace", text()),
            ("operation", text()),
            ("userInfo", user),
            ("dryRun", Type::Bool.into()),
            ("options", Decl::dynamic().clone()),
        ]),
    )
}

fn namespace_type() -> Decl {
    let time = || Decl::from(Type::Timestamp);
    let condition = object(
        "kubernetes.NamespaceCondition",
        &same(&[
            ("status", text()),
            ("type", text()),
            ("lastTransitionTime", time()),
            ("message", text()),
            ("reason", text()),
        ]),
    );
    let mut metadata = same(&[
        ("name", text()),
        ("generateName", text()),
        ("namespace", text()),
        ("labels", Decl::map(text())),
        ("annotations", Decl::map(text())),
        ("creationTimestamp", time()),
        ("deletionGracePeriodSeconds", Type::Int.into()),
        ("deletionTimestamp", time()),
        ("generation", Type::Int.into()),
        ("resourceVersion", text()),
        ("finalizers", texts()),
    ]);
    metadata.push(("UID", "uid", text()));
    let metadata = object("kubernetes.NamespaceMetadata", &metadata);
    let status = object(
        "kubernetes.NamespaceStatus",
        &same(&[("conditions", Decl::list(condition)), ("phase", text())]),
    );
    let spec = object("kubernetes.NamespaceSpec", &same(&[("finalizers", texts())]));
    let mut namespace =
        object("kubernetes.Namespace", &same(&[("metadata", metadata), ("spec", spec), ("status", status)]));
    // What is in no namespace has none.
    namespace.nullable = true;
    namespace
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes_are_checked_in_the_words_of_kubernetes() {
        let environment = environment(Declared::default()).build();
        let fails = |source: &str, outcome| compile(&environment, source, outcome).unwrap_err();
        assert!(compile(&environment, "object.a == 'x' && request.namespace == 'y'", Outcome::Bool).is_ok());
        assert!(
            compile(&environment, "namespaceObject.metadata.labels.all(k, k != 'a')", Outcome::Bool).is_ok()
        );
        assert_eq!(fails("1", Outcome::Bool), "must evaluate to bool but got int");
        assert_eq!(
            fails("1", Outcome::StringOrNull),
            "must evaluate to one of [string null_type] but got int"
        );
        assert!(
            fails("request.nothing", Outcome::Any)
                .starts_with("compilation failed: ERROR: <input>:1:8: undefined field 'nothing'")
        );
        assert!(fails("params.a", Outcome::Any).contains("undeclared reference to 'params'"));
    }

    #[test]
    fn mutations_know_objects_and_patches() {
        let environment = mutating(&environment(Declared { params: true, authorizer: true }).build());
        assert!(compile(&environment, "Object{spec: Object.spec{replicas: 1}}", Outcome::Object).is_ok());
        let patch = "[JSONPatch{op: 'add', path: '/a', value: params.x}]";
        assert!(compile(&environment, patch, Outcome::JsonPatch).is_ok());
        assert!(compile(&environment, "{'a': 1}", Outcome::Object).is_err());
    }
}
