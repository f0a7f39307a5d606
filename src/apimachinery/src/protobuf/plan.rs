//! The layout of messages, worked out once for all types of a schema set.

use super::MAX_DEPTH;
use super::wire::{head_len, put_bytes, put_head, put_number, put_varint};
use crate::schema::{Field, Node, Scalar, SchemaSet, Shape, TypeId};

/// The zero of `resource.Quantity`.
const ZERO_QUANTITY: &[u8] = b"\x0a\x010";
/// The zero of `intstr.IntOrString`: type, intVal and strVal, none of them a pointer.
const ZERO_INT_OR_STRING: &[u8] = b"\x08\0\x10\0\x1a\0";

/// The layouts of all structs of a set.
#[derive(Debug)]
pub(crate) struct Plans(Vec<Option<Plan>>);

/// How the message of one struct is laid out.
#[derive(Debug)]
pub(super) struct Plan {
    /// What the message holds, in the order of numbers.
    pub(super) slots: Box<[Slot]>,
    /// The message of a struct with nothing set.
    pub(super) empty: Box<[u8]>,
}

/// A place in a message.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) number: u32,
    pub(super) holds: Holds,
}

#[derive(Debug)]
pub(super) enum Holds {
    /// The struct's field with this index.
    Field {
        at: usize,
        /// What stands there, tag and all, when the field is not set: Go writes what is no pointer.
        absent: Box<[u8]>,
    },
    /// A message that JSON inlines.
    Message(Box<[Slot]>),
}

/// A field on its way to its slot: the numbers that lead to it, its index, what it is when it is not set.
type Placed = (Vec<u32>, usize, Box<[u8]>);

impl Plans {
    /// Lays out all structs of a set.
    pub(crate) fn new(set: &SchemaSet) -> Self {
        let mut plans = Self(Vec::new());
        plans.0.resize_with(set.len(), || None);
        for id in set.ids() {
            plans.lay_out(set.node(id), 0);
        }
        plans
    }

    /// The layout of a struct; None for other types.
    pub(super) fn get(&self, id: TypeId) -> Option<&Plan> {
        self.0.get(id.index()).and_then(Option::as_ref)
    }

    /// What a struct is when nothing is set; nothing for other types.
    pub(super) fn empty(&self, id: TypeId) -> &[u8] {
        self.get(id).map_or(&[], |plan| &plan.empty)
    }

    fn lay_out(&mut self, node: Node<'_>, depth: usize) {
        if depth > MAX_DEPTH || self.get(node.id()).is_some() || !matches!(node.shape(), Shape::Struct { .. })
        {
            return;
        }
        let mut placed: Vec<Placed> = Vec::new();
        for (at, field) in node.fields().iter().enumerate() {
            let path: Vec<u32> = field.protobuf.numbers().collect();
            if let Some(number) = path.last() {
                let absent = self.absent(node, field, *number, depth);
                placed.push((path, at, absent));
            }
        }
        placed.sort_by(|a, b| a.0.cmp(&b.0));
        let slots = slots(&placed, 0);
        let mut empty = Vec::new();
        put_empty(&slots, &mut empty);
        if let Some(slot) = self.0.get_mut(node.id().index()) {
            *slot = Some(Plan { slots, empty: empty.into() });
        }
    }

    fn absent(&mut self, node: Node<'_>, field: &Field, number: u32, depth: usize) -> Box<[u8]> {
        let ty = node.at(field.ty);
        let mut out = Vec::new();
        if !field.protobuf.is_pointer() && !matches!(ty.shape(), Shape::Scalar(Scalar::Bytes)) {
            self.lay_out(ty, depth + 1);
            self.put_zero(ty, number, &mut out);
        }
        out.into()
    }

    /// Appends a field with the zero value of a type: nothing for lists and maps.
    pub(super) fn put_zero(&self, ty: Node<'_>, number: u32, out: &mut Vec<u8>) {
        match ty.shape() {
            Shape::Scalar(Scalar::Int32 | Scalar::Int64 | Scalar::Bool) => put_number(out, number, 0),
            Shape::Scalar(Scalar::Double) => {
                put_varint(out, u64::from(number) << 3 | 1);
                out.extend_from_slice(&[0; 8]);
            }
            Shape::Scalar(Scalar::Quantity) => put_bytes(out, number, ZERO_QUANTITY),
            Shape::Scalar(Scalar::IntOrString) => put_bytes(out, number, ZERO_INT_OR_STRING),
            Shape::Scalar(_) | Shape::Any(_) | Shape::SchemaOr { .. } => put_bytes(out, number, &[]),
            Shape::Struct { .. } => put_bytes(out, number, self.empty(ty.id())),
            Shape::List { .. } | Shape::Map { .. } => {}
        }
    }
}

/// Puts sorted paths into the tree of messages that they lead through.
fn slots(mut placed: &[Placed], level: usize) -> Box<[Slot]> {
    let mut slots = Vec::new();
    while let Some((path, at, absent)) = placed.first() {
        let number = path.get(level).copied().unwrap_or_default();
        let same =
            placed.partition_point(|(other, ..)| other.get(level).copied().unwrap_or_default() <= number);
        let (these, rest) = placed.split_at(same);
        placed = rest;
        let holds = if path.len() == level + 1 {
            Holds::Field { at: *at, absent: absent.clone() }
        } else {
            Holds::Message(self::slots(these, level + 1))
        };
        slots.push(Slot { number, holds });
    }
    slots.into()
}

/// Appends the message of a struct with nothing set.
fn put_empty(slots: &[Slot], out: &mut Vec<u8>) {
    for slot in slots {
        match &slot.holds {
            Holds::Field { absent, .. } => out.extend_from_slice(absent),
            Holds::Message(inner) => {
                let length = empty_len(inner);
                put_head(out, slot.number, length);
                put_empty(inner, out);
            }
        }
    }
}

fn empty_len(slots: &[Slot]) -> usize {
    let lengths = slots.iter().map(|slot| match &slot.holds {
        Holds::Field { absent, .. } => absent.len(),
        Holds::Message(inner) => {
            let length = empty_len(inner);
            head_len(slot.number, length) + length
        }
    });
    lengths.sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::text;

    const TABLE: &str = "\
: api.Outer
inner api.Inner 3 always
other* api.Inner 4
name string 1
replicas* int32 2
tags []string 5
data bytes 6
at Time 7
: api.Inner
port IntOrString 2
size Quantity 1
on bool 3.1
";

    #[test]
    fn what_is_no_pointer_is_there_when_nothing_is_set() {
        let set = text::parse(TABLE).unwrap();
        let plans = Plans::new(&set);
        let empty = |name| plans.empty(set.by_name(name).unwrap());
        let inner = b"\x0a\x03\x0a\x010\x12\x06\x08\0\x10\0\x1a\0\x1a\x02\x08\0";
        assert_eq!(empty("api.Inner"), inner);
        let outer = [b"\x0a\0\x1a\x11".as_slice(), inner, b"\x3a\0"].concat();
        assert_eq!(empty("api.Outer"), outer);
    }
}
