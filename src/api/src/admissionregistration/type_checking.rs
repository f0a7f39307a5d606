//! Checks the expressions of a ValidatingAdmissionPolicy against the kinds that its rules name
//! (`status.typeChecking`). What it finds are warnings: the policy works as it is written.

use super::expressions::{Declared, Outcome, compile, typed_environment};
use crate::value::{self, list, text, texts};
use apiextensions::{StructuralSchema, to_engine_schema};
use apimachinery::field::Path;
use apimachinery::gvk::{Gvk, Gvr};
use apimachinery::schema::SchemaRef;
use cel::{Decl, Environment, Type};
use serde_json::Value;
use std::collections::BTreeSet;
use std::sync::Arc;

/// The most kinds that expressions are checked against (upstream's bound).
const MAX_KINDS: usize = 10;

/// An expression that does not fit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExpressionWarning {
    /// Where it is in the policy.
    pub field_ref: String,
    /// What does not fit, for each kind.
    pub warning: String,
}

/// What is known of kinds.
pub trait Kinds {
    /// The kind of a resource.
    fn kind_of(&self, resource: &Gvr) -> Option<Gvk>;
    /// The form of a kind's objects.
    fn schema_of(&self, kind: &Gvk) -> Option<SchemaRef>;
}

/// The kinds that are built in.
#[derive(Clone, Copy, Debug)]
pub struct BuiltIn;

impl Kinds for BuiltIn {
    fn kind_of(&self, resource: &Gvr) -> Option<Gvk> {
        crate::registry().by_gvr(resource).map(|resource| resource.gvk.clone())
    }

    fn schema_of(&self, kind: &Gvk) -> Option<SchemaRef> {
        crate::schema::schema_for(kind)
    }
}

/// The kinds that are built in, and those of these CustomResourceDefinitions.
#[derive(Clone, Copy, Debug)]
pub struct WithCustom<'a>(pub &'a [Value]);

impl WithCustom<'_> {
    /// The definition of a group's resource or kind, and its version.
    fn version(&self, group: &str, version: &str, names: (&str, &str)) -> Option<(&Value, &Value)> {
        self.0.iter().find_map(|definition| {
            let spec = value::field(definition, "spec");
            let named = value::text_at(spec, &["names", names.0]) == names.1;
            let mut versions = list(spec, "versions").iter();
            let found = versions.find(|one| text(one, "name") == version && value::is_true(one, "served"));
            found.filter(|_| named && text(spec, "group") == group).map(|found| (spec, found))
        })
    }
}

impl Kinds for WithCustom<'_> {
    fn kind_of(&self, resource: &Gvr) -> Option<Gvk> {
        BuiltIn.kind_of(resource).or_else(|| {
            let names = ("plural", resource.resource.as_str());
            let (spec, _) = self.version(&resource.group, &resource.version, names)?;
            Some(Gvk::new(&*resource.group, &*resource.version, value::text_at(spec, &["names", "kind"])))
        })
    }

    fn schema_of(&self, kind: &Gvk) -> Option<SchemaRef> {
        BuiltIn.schema_of(kind).or_else(|| {
            let (_, version) = self.version(&kind.group, &kind.version, ("kind", &kind.kind))?;
            let schema = StructuralSchema::parse(version.pointer("/schema/openAPIV3Schema")?).ok()?;
            Some(to_engine_schema(&schema, kind, &crate::meta::object_meta()))
        })
    }
}

/// Whether a policy names resources or a kind of parameters that are not built in.
pub fn names_others(policy: &Value) -> bool {
    let spec = value::field(policy, "spec");
    let params = value::field(spec, "paramKind");
    let params = Gvk::from_api_version(text(params, "apiVersion"), text(params, "kind"));
    let built_in = |resource: &Gvr| crate::registry().by_gvr(resource).is_some();
    (!params.kind.is_empty() && BuiltIn.schema_of(&params).is_none())
        || named_resources(spec).iter().any(|resource| !built_in(resource))
}

/// Checks a policy.
pub fn check(policy: &Value, kinds: &impl Kinds) -> Vec<ExpressionWarning> {
    let spec = value::field(policy, "spec");
    let decl = |kind: &Gvk| {
        kinds.schema_of(kind).map(|schema| Arc::new(crate::schema::declaration(schema.node(), &kind.kind)))
    };
    let param_kind = value::field(spec, "paramKind");
    let params = param_kind.is_object().then(|| {
        decl(&Gvk::from_api_version(text(param_kind, "apiVersion"), text(param_kind, "kind")))
            .unwrap_or_else(|| Arc::new(Decl::dynamic().clone()))
    });
    let environments: Vec<(Gvk, Environment)> = kinds_to_check(spec, kinds)
        .into_iter()
        .filter_map(|kind| {
            let environment = environment(spec, decl(&kind)?, params.clone());
            Some((kind, environment))
        })
        .collect();
    let mut warnings = Vec::new();
    let path = Path::new("spec").child("validations");
    for (index, validation) in list(spec, "validations").iter().enumerate() {
        for name in ["expression", "messageExpression"] {
            let expression = text(validation, name);
            let found: Vec<String> = environments
                .iter()
                .filter(|_| !expression.is_empty())
                .filter_map(|(kind, environment)| {
                    let errors = environment.compile(expression).err()?;
                    Some(format!("{}/{}, Kind={}: {errors}\n", kind.group, kind.version, kind.kind))
                })
                .collect();
            if !found.is_empty() {
                let field_ref = path.index(index).child(name).as_str().to_owned();
                warnings.push(ExpressionWarning { field_ref, warning: found.join("\n") });
            }
        }
    }
    warnings
}

fn environment(spec: &Value, object: Arc<Decl>, params: Option<Arc<Decl>>) -> Environment {
    let declared = Declared { params: params.is_some(), authorizer: true };
    let mut environment = typed_environment(declared, object, params).build();
    for variable in list(spec, "variables") {
        let program = compile(&environment, text(variable, "expression"), Outcome::Any);
        let of = program.map_or(Type::Dyn, |program| program.output_type().clone());
        environment = environment.extend().composed(text(variable, "name"), of).build();
    }
    environment
}

/// The kinds of the rules.
fn kinds_to_check(spec: &Value, kinds: &impl Kinds) -> BTreeSet<Gvk> {
    let kinds = named_resources(spec).into_iter().filter_map(|resource| kinds.kind_of(&resource));
    let mut found = BTreeSet::new();
    for kind in kinds {
        found.insert(kind);
        if found.len() >= MAX_KINDS {
            break;
        }
    }
    found
}

/// The resources of the rules, in order, where they name them: neither wildcards nor subresources.
fn named_resources(spec: &Value) -> Vec<Gvr> {
    let mut found = Vec::new();
    for rule in list(value::field(spec, "matchConstraints"), "resourceRules") {
        let named = |name: &str| {
            let mut all: Vec<&str> = texts(rule, name).collect();
            all.sort_unstable();
            if all.iter().any(|item| item.contains('*')) { Vec::new() } else { all }
        };
        let mut resources: Vec<&str> =
            texts(rule, "resources").filter(|resource| !resource.contains(['*', '/'])).collect();
        resources.sort_unstable();
        let (groups, versions) = (named("apiGroups"), named("apiVersions"));
        for group in &groups {
            for version in &versions {
                found.extend(resources.iter().map(|resource| Gvr::new(*group, *version, *resource)));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn warnings(expressions: &[&str]) -> Vec<ExpressionWarning> {
        let validations: Vec<Value> = expressions.iter().map(|e| json!({"expression": e})).collect();
        let policy = json!({"spec": {"variables": [{"name": "n", "expression": "object.spec.replicas"}],
            "matchConstraints": {"resourceRules": [{"apiGroups": ["apps"], "apiVersions": ["v1"],
            "resources": ["deployments", "deployments/scale"], "operations": ["*"]}]},
            "validations": validations}});
        check(&policy, &BuiltIn)
    }

    #[test]
    fn fields_that_are_not_there_are_warned_of() {
        assert_eq!(
            warnings(&["object.spec.replicas > 1", "object.foo > 1", "variables.n == 'x'"]),
            [
                ExpressionWarning {
                    field_ref: "spec.validations[1].expression".to_owned(),
                    warning: "apps/v1, Kind=Deployment: ERROR: <input>:1:7: undefined field 'foo'\n | object.foo > 1\n | ......^\n".to_owned(),
                },
                ExpressionWarning {
                    field_ref: "spec.validations[2].expression".to_owned(),
                    warning: "apps/v1, Kind=Deployment: ERROR: <input>:1:13: found no matching overload for '_==_' applied to '(int, string)'\n | variables.n == 'x'\n | ............^\n".to_owned(),
                },
            ]
        );
        let deep = "object.spec.template.spec.containers.all(c, c.image.startsWith('a') && c.ports.all(p, p.containerPort > 1) && quantity(c.resources.limits['cpu']).isGreaterThan(quantity('1')))";
        let found = warnings(&[deep]);
        assert!(found.iter().all(|w| w.warning.contains("quantity")), "{found:?}");
    }

    #[test]
    fn custom_resources_are_checked_by_their_schemas() {
        let widget = json!({"spec": {"group": "example.com", "names": {"plural": "widgets", "kind": "Widget"},
            "versions": [{"name": "v1", "served": true, "schema": {"openAPIV3Schema": {"type": "object",
                "properties": {"spec": {"type": "object", "properties": {
                    "size": {"type": "integer"},
                    "any": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}}}}}]}});
        let policy = json!({"spec": {"paramKind": {"apiVersion": "example.com/v1", "kind": "Widget"},
            "matchConstraints": {"resourceRules": [{"apiGroups": ["example.com"], "apiVersions": ["v1", "v2"],
            "resources": ["widgets", "gadgets"], "operations": ["*"]}]},
            "validations": [
                {"expression": "object.spec.size > params.spec.size && object.spec.any.thing == 1"},
                {"expression": "object.metadata.labels['a'] == 'b' && object.kind == 'Widget'"},
                {"expression": "object.spec.colour == 'red'"},
                {"expression": "params.spec.size == 'x'"}]}});
        assert!(names_others(&policy));
        let found = check(&policy, &WithCustom(&[widget]));
        let refs: Vec<&str> = found.iter().map(|warning| warning.field_ref.as_str()).collect();
        assert_eq!(refs, ["spec.validations[2].expression", "spec.validations[3].expression"], "{found:?}");
        let said = "example.com/v1, Kind=Widget: ERROR: <input>:1:12: undefined field 'colour'";
        assert!(found[0].warning.starts_with(said), "{found:?}");
        assert_eq!(check(&policy, &WithCustom(&[])), []);
    }

    #[test]
    fn built_in_kinds_need_no_definitions() {
        let policy = json!({"spec": {"paramKind": {"apiVersion": "v1", "kind": "ConfigMap"},
            "matchConstraints": {"resourceRules": [{"apiGroups": [""], "apiVersions": ["v1"],
            "resources": ["pods", "*", "pods/exec"]}]}}});
        assert!(!names_others(&policy));
    }
}
