//! What a kind is to the server: one implementation of [`Kind`] per kind, in `<group>/<kind>.rs`.

use crate::columns;
use apimachinery::field::ErrorList;
use apimachinery::status::Status;
use apimachinery::table::Column;
use apimachinery::validation;
use jiff::Timestamp;
use serde_json::Value;
use std::borrow::Cow;
use std::ops::Deref;
use std::sync::Arc;

/// The form that an object's name must have.
#[derive(Clone, Copy, Debug)]
pub enum NameRule {
    /// A lower-case RFC 1123 subdomain: most kinds.
    Dns1123Subdomain,
    /// A lower-case RFC 1123 label: namespaces.
    Dns1123Label,
    /// An RFC 1035 label: services.
    Dns1035Label,
    /// Anything that can stand in a URL path: RBAC kinds.
    PathSegment,
    /// A rule of the kind's own. Answers what is wrong; empty means right.
    Custom(fn(&str) -> Vec<String>),
}

impl NameRule {
    /// What is wrong with a name; empty when nothing is.
    pub fn check(&self, name: &str) -> Vec<String> {
        match self {
            Self::Dns1123Subdomain => validation::dns1123_subdomain(name),
            Self::Dns1123Label => validation::dns1123_label(name),
            Self::Dns1035Label => validation::dns1035_label(name),
            Self::PathSegment => validation::path_segment(name),
            Self::Custom(rule) => rule(name),
        }
    }

    /// What is wrong with a `generateName`: a trailing dash is fine, something will follow it.
    pub fn check_prefix(&self, prefix: &str) -> Vec<String> {
        match prefix.strip_suffix('-') {
            Some(rest) if !rest.is_empty() => self.check(&format!("{rest}a")),
            _ => self.check(prefix),
        }
    }
}

/// Where the scale subresource finds its numbers, as dotted paths (the form of a CRD's `subresources.scale`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScalePaths {
    /// The wanted number of replicas.
    pub spec_replicas: Cow<'static, str>,
    /// The number of replicas there are.
    pub status_replicas: Cow<'static, str>,
    /// The selector: a `LabelSelector`, a plain map of labels, or text; empty if there is none.
    pub selector: Cow<'static, str>,
    /// Whether objects may lack the wanted number, which is zero then.
    pub replicas_optional: bool,
}

/// The scale paths of every built-in kind that scales.
pub const STANDARD_SCALE: ScalePaths = ScalePaths {
    spec_replicas: Cow::Borrowed(".spec.replicas"),
    status_replicas: Cow::Borrowed(".status.replicas"),
    selector: Cow::Borrowed(".spec.selector"),
    replicas_optional: true,
};

/// Behaviour of one kind. Objects come in the storage version, decoded and pruned; every method is pure.
///
/// The engine does what is common to all kinds: object metadata, generation, keeping `status` or `spec` apart
/// on the two ways to update, managed fields, deletion.
pub trait Kind: Send + Sync + 'static {
    /// API group (empty for core) and kind.
    fn group_kind(&self) -> (&str, &str);

    /// Short names, such as `po`.
    fn short_names(&self) -> &'static [&'static str] {
        &[]
    }

    /// Categories, such as `all`.
    fn categories(&self) -> &'static [&'static str] {
        &[]
    }

    /// The form of the kind's names.
    fn name_rule(&self) -> NameRule {
        NameRule::Dns1123Subdomain
    }

    /// Brings a decoded object into form where the walk over the schema ([`apimachinery::schema::prune()`]) is not
    /// right for the kind: drops what is unknown and answers its paths. `None` where the walk is right.
    ///
    /// # Errors
    /// With what is wrong when the object cannot be of this kind at all.
    fn conform(&self, _object: &mut Value) -> Option<Result<Vec<String>, String>> {
        None
    }

    /// Fills in defaults that depend on other fields; after the schema's defaults, before admission.
    fn default(&self, _object: &mut Value) {}

    /// Makes a new object ready to be stored.
    fn prepare_for_create(&self, _object: &mut Value) {}

    /// Whether making a new object ready writes its name into other places of it.
    fn writes_name_on_create(&self) -> bool {
        false
    }

    /// Whether clients may write the status of a new object: only where whoever registers it knows it.
    fn keeps_status_on_create(&self) -> bool {
        false
    }

    /// Makes an updated object ready to be stored, for instance by keeping fields that clients may leave out.
    fn prepare_for_update(&self, _object: &mut Value, _old: &Value) {}

    /// The same for the `status` subresource.
    fn prepare_for_status_update(&self, _object: &mut Value, _old: &Value) {}

    /// The same for any other subresource that takes the whole object (`pods/resize`, ...).
    fn prepare_for_subresource_update(&self, _subresource: &str, _object: &mut Value, _old: &Value) {}

    /// What is wrong with a new object, besides its metadata.
    fn validate(&self, _object: &Value) -> ErrorList {
        Vec::new()
    }

    /// What is wrong with an update, besides its metadata. Includes [`Kind::validate`]'s rules by default.
    fn validate_update(&self, object: &Value, _old: &Value) -> ErrorList {
        self.validate(object)
    }

    /// What is wrong with an update of the status.
    fn validate_status_update(&self, _object: &Value, _old: &Value) -> ErrorList {
        Vec::new()
    }

    /// What is wrong with an update by any other subresource that takes the whole object.
    fn validate_subresource_update(&self, _subresource: &str, object: &Value, old: &Value) -> ErrorList {
        self.validate_update(object, old)
    }

    /// Warnings for the client about a valid object.
    fn warnings(&self, _object: &Value) -> Vec<String> {
        Vec::new()
    }

    /// Further warnings for the client that made a valid object.
    fn warnings_on_create(&self, _object: &Value) -> Vec<String> {
        Vec::new()
    }

    /// Warnings about a valid object that was updated: those about the object, unless the kind says otherwise.
    fn warnings_on_update(&self, object: &Value, _old: &Value) -> Vec<String> {
        self.warnings(object)
    }

    /// Fields that field selectors may name, besides `metadata.name` and `metadata.namespace`.
    ///
    /// Called for every object that is cached, with no more of it than its own scalars, its metadata and the
    /// scalars of the members that the names begin with: `spec.nodeName` sees `spec`, but no lists in it.
    fn selectable_fields(&self, _object: &Value) -> Vec<(&'static str, String)> {
        Vec::new()
    }

    /// The columns of the table that `kubectl get` prints.
    fn columns(&self) -> Vec<Column> {
        vec![Column::object_name(), Column::age()]
    }

    /// One row of that table: as many cells as there are columns.
    fn row(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        vec![columns::name(object), columns::age(object, now)]
    }

    /// Where the scale subresource finds its numbers; `None` when the kind does not scale.
    fn scale(&self) -> Option<ScalePaths> {
        None
    }

    /// Converts between two versions, given as `apiVersion` (`autoscaling/v1`).
    ///
    /// # Errors
    /// When the object cannot be told in the other version.
    fn convert(&self, object: &mut Value, _from: &str, to: &str) -> Result<(), Status> {
        crate::value::set(object, "apiVersion", to);
        Ok(())
    }
}

/// A kind as resources refer to it: known at build time, or made while running.
#[derive(Clone)]
pub enum KindRef {
    /// Known at build time.
    BuiltIn(&'static dyn Kind),
    /// Made while running, for a custom resource.
    Shared(Arc<dyn Kind>),
}

impl Deref for KindRef {
    type Target = dyn Kind;

    fn deref(&self) -> &Self::Target {
        match self {
            Self::BuiltIn(kind) => *kind,
            Self::Shared(kind) => kind.as_ref(),
        }
    }
}

/// A kind without rules of its own.
#[derive(Debug)]
pub struct GenericKind {
    /// API group.
    pub group: &'static str,
    /// Kind.
    pub kind: &'static str,
    /// The form of its names.
    pub name_rule: NameRule,
}

impl Kind for GenericKind {
    fn group_kind(&self) -> (&str, &str) {
        (self.group, self.kind)
    }

    fn name_rule(&self) -> NameRule {
        self.name_rule
    }
}
