//! The syntax tree. The checker writes types and what names mean into it.

use crate::functions::Overload;
use crate::types::Type;

/// An expression.
#[derive(Debug)]
pub(crate) struct Expr {
    /// Where it stands, in characters from the start of the source.
    pub(crate) at: u32,
    /// Its type; `Dyn` before the check.
    pub(crate) of: Type,
    pub(crate) kind: Kind,
}

#[derive(Debug)]
pub(crate) enum Kind {
    Literal(Literal),
    Ident {
        name: String,
        meaning: Meaning,
    },
    Select {
        operand: Box<Expr>,
        field: String,
        /// `has(operand.field)`.
        test: bool,
        /// `operand.?field`.
        optional: bool,
    },
    Call {
        function: String,
        target: Option<Box<Expr>>,
        args: Vec<Expr>,
        /// Those that fit, in order of declaration; filled by the checker.
        overloads: Vec<&'static Overload>,
    },
    List(Vec<Item>),
    Map(Vec<Entry>),
    Struct {
        name: String,
        fields: Vec<FieldInit>,
    },
    Comprehension(Box<Comprehension>),
}

/// What an identifier means.
#[derive(Debug, Default)]
pub(crate) enum Meaning {
    #[default]
    Unknown,
    /// A variable of the environment, by index.
    Variable(usize),
    /// A variable of a comprehension around it: its place on the stack of local variables.
    Local(usize),
    /// A type as a value.
    Type(Type),
}

#[derive(Clone, Debug)]
pub(crate) enum Literal {
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Double(f64),
    String(String),
    Bytes(Vec<u8>),
}

#[derive(Debug)]
pub(crate) struct Item {
    pub(crate) value: Expr,
    pub(crate) optional: bool,
}

#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) key: Expr,
    pub(crate) value: Expr,
    pub(crate) optional: bool,
}

#[derive(Debug)]
pub(crate) struct FieldInit {
    pub(crate) at: u32,
    pub(crate) name: String,
    pub(crate) value: Expr,
    pub(crate) optional: bool,
}

/// A loop over a range with an accumulator, or a binding of one name (`is_bind`).
#[derive(Debug)]
pub(crate) struct Comprehension {
    pub(crate) range: Expr,
    pub(crate) iter_var: String,
    pub(crate) iter_var2: Option<String>,
    pub(crate) accu_var: String,
    pub(crate) init: Expr,
    pub(crate) condition: Expr,
    pub(crate) step: Expr,
    pub(crate) result: Expr,
    pub(crate) is_bind: bool,
    /// Stack place of the accumulator; the iteration variables follow it. Filled by the checker.
    pub(crate) slot: usize,
}

impl Expr {
    pub(crate) fn new(at: u32, kind: Kind) -> Self {
        Self { at, of: Type::Dyn, kind }
    }

    pub(crate) fn ident(at: u32, name: impl Into<String>) -> Self {
        Self::new(at, Kind::Ident { name: name.into(), meaning: Meaning::Unknown })
    }

    pub(crate) fn literal(at: u32, literal: Literal) -> Self {
        Self::new(at, Kind::Literal(literal))
    }

    pub(crate) fn call(at: u32, function: impl Into<String>, args: Vec<Expr>) -> Self {
        Self::new(at, Kind::Call { function: function.into(), target: None, args, overloads: Vec::new() })
    }

    pub(crate) fn member(at: u32, function: impl Into<String>, target: Expr, args: Vec<Expr>) -> Self {
        let target = Some(Box::new(target));
        Self::new(at, Kind::Call { function: function.into(), target, args, overloads: Vec::new() })
    }

    pub(crate) fn list(at: u32, items: Vec<Expr>) -> Self {
        Self::new(at, Kind::List(items.into_iter().map(|value| Item { value, optional: false }).collect()))
    }

    /// `a.b.c` where that is all that the expression is.
    pub(crate) fn qualified_name(&self) -> Option<String> {
        match &self.kind {
            Kind::Ident { name, .. } => Some(name.clone()),
            Kind::Select { operand, field, test: false, optional: false } => {
                Some(format!("{}.{field}", operand.qualified_name()?))
            }
            _ => None,
        }
    }
}
