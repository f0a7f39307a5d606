//! Type variables, what they stand for, and which type fits where.

use std::cell::Cell;
use std::collections::HashMap;
use std::sync::Arc;

use crate::types::Type;

/// Parts of types that are looked at for one expression: types share parts, and walking them could never end.
/// Beyond, types are `dyn`.
const MAX_PARTS: u32 = 1_000_000;

/// What each type variable is known to be.
#[derive(Debug)]
pub(crate) struct Inference {
    known: HashMap<u32, Type>,
    /// What was known before, latest last, so that an attempt can be taken back.
    trail: Vec<(u32, Option<Type>)>,
    next: u32,
    parts: Cell<u32>,
}

impl Default for Inference {
    fn default() -> Self {
        Self { known: HashMap::new(), trail: Vec::new(), next: 0, parts: Cell::new(MAX_PARTS) }
    }
}

impl Inference {
    /// A type variable that nothing is known of.
    pub(crate) fn fresh(&mut self) -> Type {
        self.next += 1;
        Type::Param(self.next + 1000)
    }

    /// A number base from which the parameters of one use of a signature are numbered.
    pub(crate) fn fresh_base(&mut self, count: u32) -> u32 {
        let base = self.next + 1001;
        self.next += count;
        base
    }

    /// Whether `given` fits where `expected` is wanted; learns of variables if so, and nothing if not.
    pub(crate) fn assignable(&mut self, expected: &Type, given: &Type) -> bool {
        self.all_assignable(std::iter::once((expected, given)))
    }

    /// The same for many at once: all or nothing.
    pub(crate) fn all_assignable<'t>(
        &mut self,
        pairs: impl IntoIterator<Item = (&'t Type, &'t Type)>,
    ) -> bool {
        self.trail.clear();
        for (expected, given) in pairs {
            if !self.fits(expected, given) {
                while let Some((variable, before)) = self.trail.pop() {
                    match before {
                        Some(before) => self.known.insert(variable, before),
                        None => self.known.remove(&variable),
                    };
                }
                return false;
            }
        }
        true
    }

    fn learn(&mut self, variable: u32, of: Type) {
        let before = self.known.insert(variable, of);
        self.trail.push((variable, before));
    }

    /// Whether there is still room to look at a part of a type.
    fn look(&self) -> bool {
        let left = self.parts.get();
        self.parts.set(left.saturating_sub(1));
        left > 0
    }

    fn fits(&mut self, expected: &Type, given: &Type) -> bool {
        if !self.look() {
            return true;
        }
        if let Type::Param(variable) = given {
            let (valid, known) = self.bind(*variable, expected);
            if valid || known {
                return valid;
            }
        }
        if let Type::Param(variable) = expected {
            return self.bind(*variable, given).0;
        }
        match (expected, given) {
            (Type::Dyn | Type::Error, _) | (_, Type::Dyn | Type::Error) => true,
            (Type::Null, other) | (other, Type::Null) => matches!(
                other,
                Type::Null
                    | Type::Timestamp
                    | Type::Duration
                    | Type::Object(_)
                    | Type::Opaque(_)
                    | Type::Optional(_)
            ),
            (Type::Type(_), Type::Type(_)) => true,
            (Type::List(a), Type::List(b)) | (Type::Optional(a), Type::Optional(b)) => self.fits(a, b),
            (Type::Map(a), Type::Map(b)) => self.fits(&a.0, &b.0) && self.fits(&a.1, &b.1),
            (a, b) => a.same(b),
        }
    }

    /// Tries to let the variable stand for the type: whether it does, and whether it stood for something before.
    fn bind(&mut self, variable: u32, as_type: &Type) -> (bool, bool) {
        if matches!(as_type, Type::Param(other) if *other == variable) {
            return (true, true);
        }
        if let Some(known) = self.known.get(&variable).cloned() {
            if known.same(as_type) {
                return (true, true);
            }
            if self.fits(as_type, &known) {
                let general = most_general(as_type, &known);
                if !self.occurs(variable, &general) {
                    self.learn(variable, general);
                }
                return (true, true);
            }
            return (false, true);
        }
        if self.occurs(variable, as_type) {
            return (false, false);
        }
        self.learn(variable, as_type.clone());
        (true, false)
    }

    fn occurs(&self, variable: u32, within: &Type) -> bool {
        if !self.look() {
            return true;
        }
        match within {
            Type::Param(other) if *other == variable => true,
            Type::Param(other) => self.known.get(other).is_some_and(|known| self.occurs(variable, known)),
            Type::List(of) | Type::Optional(of) | Type::Type(of) => self.occurs(variable, of),
            Type::Map(entry) => self.occurs(variable, &entry.0) || self.occurs(variable, &entry.1),
            _ => false,
        }
    }

    /// The type with what is known in the place of variables; unknown ones become `dyn` if asked.
    pub(crate) fn substitute(&self, within: &Type, unknown_is_dyn: bool) -> Type {
        if !self.look() {
            return Type::Dyn;
        }
        match within {
            Type::Param(variable) => match self.known.get(variable) {
                Some(known) => self.substitute(known, unknown_is_dyn),
                None if unknown_is_dyn => Type::Dyn,
                None => within.clone(),
            },
            Type::List(of) => Type::List(Arc::new(self.substitute(of, unknown_is_dyn))),
            Type::Optional(of) => Type::Optional(Arc::new(self.substitute(of, unknown_is_dyn))),
            Type::Type(of) => Type::Type(Arc::new(self.substitute(of, unknown_is_dyn))),
            Type::Map(entry) => Type::map(
                self.substitute(&entry.0, unknown_is_dyn),
                self.substitute(&entry.1, unknown_is_dyn),
            ),
            other => other.clone(),
        }
    }
}

/// A signature's type with its parameters numbered from `base`.
pub(crate) fn instantiate(signature: &Type, base: u32) -> Type {
    match signature {
        Type::Param(index) => Type::Param(base + index),
        Type::List(of) => Type::List(Arc::new(instantiate(of, base))),
        Type::Optional(of) => Type::Optional(Arc::new(instantiate(of, base))),
        Type::Type(of) => Type::Type(Arc::new(instantiate(of, base))),
        Type::Map(entry) => Type::map(instantiate(&entry.0, base), instantiate(&entry.1, base)),
        other => other.clone(),
    }
}

/// The wider of two types that fit each other.
pub(crate) fn most_general(a: &Type, b: &Type) -> Type {
    if at_least_as_general(a, b) { a.clone() } else { b.clone() }
}

fn at_least_as_general(a: &Type, b: &Type) -> bool {
    match (a, b) {
        (Type::Dyn | Type::Error | Type::Param(_), _) => true,
        (_, Type::Dyn | Type::Error | Type::Param(_)) => false,
        (Type::List(a), Type::List(b)) | (Type::Optional(a), Type::Optional(b)) => at_least_as_general(a, b),
        (Type::Map(a), Type::Map(b)) => at_least_as_general(&a.0, &b.0) && at_least_as_general(&a.1, &b.1),
        (Type::Type(_), Type::Type(_)) => true,
        (a, b) => a.same(b),
    }
}
