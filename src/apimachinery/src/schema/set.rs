//! An arena of types, and the handles through which everyone reads it.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use super::types::{Field, ListType, MapType, Shape, Type, TypeId, TypeInfo};
use crate::gvk::Gvk;
use crate::protobuf::Plans;

/// A closed set of types: whatever one refers to is in it.
#[derive(Debug, Default)]
pub struct SchemaSet {
    types: Vec<Type>,
    by_name: HashMap<Cow<'static, str>, TypeId>,
    by_gvk: Vec<(Identity, TypeId)>,
    /// Worked out when first asked for: sets of custom resources never are.
    protobuf: OnceLock<Plans>,
}

/// Group, version, kind.
type Identity = (Cow<'static, str>, Cow<'static, str>, Cow<'static, str>);

/// Placeholder for what an invalid id would show; ids are only made by the set, so nobody sees it.
static NOTHING: Type = Type {
    shape: Shape::Any(super::types::Any::Json),
    nullable: false,
    preserve_unknown: true,
    embedded: false,
    info: None,
};

impl SchemaSet {
    /// Adds a type; its name and identities, if it has some, become known.
    pub fn add(&mut self, ty: Type) -> TypeId {
        let id = self.reserve();
        self.define(id, ty);
        id
    }

    /// An id to refer to before its type is defined. Any JSON until then.
    pub fn reserve(&mut self) -> TypeId {
        let id = TypeId(u32::try_from(self.types.len()).unwrap_or(u32::MAX));
        self.types.push(NOTHING.clone());
        id
    }

    /// Defines a reserved type.
    pub fn define(&mut self, id: TypeId, mut ty: Type) {
        if let Shape::Struct { fields, fills, .. } = &mut ty.shape {
            fields.sort_by(|a, b| a.name.cmp(&b.name));
            *fills = fields.iter().any(|field| field.always || field.default.is_some());
        }
        if let Some(info) = &ty.info {
            if !info.name.is_empty() {
                self.by_name.insert(info.name.clone(), id);
            }
            for gvk in &info.gvks {
                let at = self.by_gvk.partition_point(|(known, _)| known < gvk);
                self.by_gvk.insert(at, (gvk.clone(), id));
            }
        }
        if let Some(slot) = self.types.get_mut(id.0 as usize) {
            *slot = ty;
        }
    }

    /// The layouts of all structs as protobuf messages. What is added later has none.
    pub(crate) fn protobuf(&self) -> &Plans {
        self.protobuf.get_or_init(|| Plans::new(self))
    }

    /// How many types there are.
    pub(crate) fn len(&self) -> usize {
        self.types.len()
    }

    /// The ids of all types.
    pub(crate) fn ids(&self) -> impl Iterator<Item = TypeId> + use<> {
        (0..self.types.len()).map(|index| TypeId(u32::try_from(index).unwrap_or(u32::MAX)))
    }

    /// The type of an id.
    pub fn get(&self, id: TypeId) -> &Type {
        self.types.get(id.0 as usize).unwrap_or(&NOTHING)
    }

    /// A handle for reading; borrowed, free to copy.
    pub fn node(&self, id: TypeId) -> Node<'_> {
        Node { set: self, id }
    }

    /// The type with this name, as `api.core.v1.Pod`.
    pub fn by_name(&self, name: &str) -> Option<TypeId> {
        self.by_name.get(name).copied()
    }

    /// The type of objects of this kind.
    pub fn by_gvk(&self, gvk: &Gvk) -> Option<TypeId> {
        let wanted = (gvk.group.as_str(), gvk.version.as_str(), gvk.kind.as_str());
        self.by_gvk
            .binary_search_by(|((group, version, kind), _)| {
                (group.as_ref(), version.as_ref(), kind.as_ref()).cmp(&wanted)
            })
            .ok()
            .and_then(|at| self.by_gvk.get(at))
            .map(|(_, id)| *id)
    }

    /// Every named type, in order of definition.
    pub fn named(&self) -> impl Iterator<Item = Node<'_>> {
        (0..self.types.len()).map(|i| self.node(TypeId(i as u32))).filter(|node| !node.name().is_empty())
    }

    /// Copies a type and all that it refers to from another set: how a custom resource's schema gets ObjectMeta.
    pub fn import(&mut self, from: Node<'_>) -> TypeId {
        self.import_type(from, &mut HashMap::new())
    }

    fn import_type(&mut self, from: Node<'_>, done: &mut HashMap<TypeId, TypeId>) -> TypeId {
        if let Some(id) = done.get(&from.id) {
            return *id;
        }
        let id = self.reserve();
        done.insert(from.id, id);
        let mut ty = from.ty().clone();
        match &mut ty.shape {
            Shape::Scalar(_) | Shape::Any(_) => {}
            Shape::Struct { fields, .. } => {
                for field in fields {
                    field.ty = self.import_type(from.set.node(field.ty), done);
                }
            }
            Shape::Map { value: inner, .. }
            | Shape::List { item: inner, .. }
            | Shape::SchemaOr { schema: inner, .. } => {
                *inner = self.import_type(from.set.node(*inner), done);
            }
        }
        self.define(id, ty);
        id
    }
}

/// A type of a shared set: cheap to clone and to keep.
#[derive(Clone, Debug)]
pub struct SchemaRef {
    set: Arc<SchemaSet>,
    id: TypeId,
}

impl SchemaRef {
    /// A handle to a type of a set.
    pub fn new(set: Arc<SchemaSet>, id: TypeId) -> Self {
        Self { set, id }
    }

    /// The borrowed handle, through which the type is read.
    pub fn node(&self) -> Node<'_> {
        self.set.node(self.id)
    }

    /// The set that the type is part of.
    pub fn set(&self) -> &Arc<SchemaSet> {
        &self.set
    }

    /// What values of the type look like.
    pub fn kind(&self) -> &Shape {
        &self.node().ty().shape
    }

    /// A field of the struct, if this is one and has it.
    pub fn field(&self, name: &str) -> Option<&Field> {
        self.node().field(name)
    }

    /// The type of a field of the struct, or of any value of the map.
    pub fn child(&self, name: &str) -> Option<SchemaRef> {
        let id = self.node().child(name)?.id;
        Some(Self { set: self.set.clone(), id })
    }

    /// The type of the list's items.
    pub fn item(&self) -> Option<SchemaRef> {
        let id = self.node().item()?.id;
        Some(Self { set: self.set.clone(), id })
    }
}

/// A type of a borrowed set. Free to copy; how all walks go.
#[derive(Clone, Copy, Debug)]
pub struct Node<'a> {
    set: &'a SchemaSet,
    id: TypeId,
}

impl<'a> Node<'a> {
    /// The set that the type is part of.
    pub(crate) fn set(self) -> &'a SchemaSet {
        self.set
    }

    /// The type.
    pub fn ty(self) -> &'a Type {
        self.set.get(self.id)
    }

    /// What values of the type look like.
    pub fn shape(self) -> &'a Shape {
        &self.ty().shape
    }

    /// Another type of the same set.
    pub fn at(self, id: TypeId) -> Node<'a> {
        Node { set: self.set, id }
    }

    /// The type's id in its set.
    pub fn id(self) -> TypeId {
        self.id
    }

    /// The facts that only named or restricted types have.
    pub fn info(self) -> Option<&'a TypeInfo> {
        self.ty().info.as_deref()
    }

    /// Name of the definition, as `api.core.v1.Pod`; empty if nameless.
    pub fn name(self) -> &'a str {
        self.info().map_or("", |info| info.name.as_ref())
    }

    /// Fields of the struct, sorted by name; none if it is no struct.
    pub fn fields(self) -> &'a [Field] {
        match self.shape() {
            Shape::Struct { fields, .. } => fields,
            _ => &[],
        }
    }

    /// A field of the struct.
    pub fn field(self, name: &str) -> Option<&'a Field> {
        let fields = self.fields();
        fields.binary_search_by(|field| field.name.as_ref().cmp(name)).ok().and_then(|at| fields.get(at))
    }

    /// The type of a field of the struct, or of any value of the map.
    pub fn child(self, name: &str) -> Option<Node<'a>> {
        match self.shape() {
            Shape::Struct { .. } => self.field(name).map(|field| self.at(field.ty)),
            Shape::Map { value, .. } => Some(self.at(*value)),
            _ => None,
        }
    }

    /// The type of the list's items.
    pub fn item(self) -> Option<Node<'a>> {
        match self.shape() {
            Shape::List { item, .. } => Some(self.at(*item)),
            _ => None,
        }
    }

    /// How the list's items are identified; atomic if it is no list.
    pub fn list_type(self) -> &'a ListType {
        match self.shape() {
            Shape::List { list_type, .. } => list_type,
            _ => &ListType::Atomic,
        }
    }

    /// The map type that the struct or map declares.
    pub fn map_type(self) -> MapType {
        match self.shape() {
            Shape::Struct { map_type, .. } | Shape::Map { map_type, .. } => *map_type,
            _ => MapType::Unset,
        }
    }
}
