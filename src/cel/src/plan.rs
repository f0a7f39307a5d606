//! The checked tree as the evaluator walks it: names resolved, constants made, regular expressions compiled.

use std::sync::Arc;

use regex::Regex;

use crate::ast::{Comprehension, Expr, Item, Kind, Meaning};
use crate::environment::Environment;
use crate::functions::{self, Overload};
use crate::types::ObjectType;
use crate::value::Value;

#[derive(Debug)]
pub(crate) enum Node {
    Constant(Value<'static>),
    /// A variable of the environment.
    Variable(usize),
    /// A variable of a comprehension.
    Local(usize),
    Select {
        operand: Box<Node>,
        field: Box<str>,
    },
    Test {
        operand: Box<Node>,
        field: Box<str>,
    },
    OptionalSelect {
        operand: Box<Node>,
        field: Box<str>,
    },
    Index(Box<[Node; 2]>),
    OptionalIndex(Box<[Node; 2]>),
    And(Box<[Node; 2]>),
    Or(Box<[Node; 2]>),
    Not(Box<Node>),
    NotStrictlyFalse(Box<Node>),
    Conditional(Box<[Node; 3]>),
    Equals {
        operands: Box<[Node; 2]>,
        negated: bool,
    },
    Matches(Box<Matches>),
    Call(Box<Call>),
    List(Box<[(Node, bool)]>),
    Map(Box<[(Node, Node, bool)]>),
    Struct {
        of: Arc<ObjectType>,
        fields: Box<[(String, Node, bool)]>,
    },
    Fold(Box<Fold>),
    Bind(Box<Bind>),
    /// Adds an item to the accumulator of a comprehension.
    Append {
        slot: usize,
        item: Box<Node>,
    },
    /// Adds an entry or entries to the accumulator.
    Insert {
        slot: usize,
        rest: Box<[Node]>,
    },
}

/// A match against an expression that is known.
#[derive(Debug)]
pub(crate) struct Matches {
    pub(crate) text: Node,
    pub(crate) pattern: Regex,
    /// Characters of the pattern, for the cost.
    pub(crate) length: u64,
}

#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) function: &'static str,
    /// Those that the checker found to fit.
    pub(crate) overloads: Vec<&'static Overload>,
    /// The target first.
    pub(crate) args: Vec<Node>,
}

#[derive(Debug)]
pub(crate) struct Fold {
    pub(crate) range: Node,
    pub(crate) init: Node,
    pub(crate) condition: Node,
    pub(crate) step: Node,
    pub(crate) result: Node,
    pub(crate) two_variables: bool,
}

#[derive(Debug)]
pub(crate) struct Bind {
    pub(crate) init: Node,
    pub(crate) result: Node,
}

/// Plans a checked expression.
pub(crate) fn plan(environment: &Environment, expr: &Expr) -> Node {
    let plan = |expr: &Expr| plan(environment, expr);
    match &expr.kind {
        Kind::Literal(literal) => Node::Constant(Value::constant(literal)),
        Kind::Ident { meaning, .. } => match meaning {
            Meaning::Variable(index) => Node::Variable(*index),
            Meaning::Local(place) => Node::Local(*place),
            Meaning::Type(of) => Node::Constant(Value::Type(of.runtime_name().to_owned().into())),
            // The checker leaves none unknown.
            Meaning::Unknown => Node::Constant(Value::Null),
        },
        Kind::Select { operand, field, test, optional } => {
            let (operand, field) = (Box::new(plan(operand)), field.as_str().into());
            match (test, optional) {
                (true, _) => Node::Test { operand, field },
                (_, true) => Node::OptionalSelect { operand, field },
                _ => Node::Select { operand, field },
            }
        }
        Kind::Call { function, target, args, overloads } => {
            if let Some(node) = accumulation(environment, function, args) {
                return node;
            }
            let nodes: Vec<Node> =
                target.iter().map(|target| plan(target)).chain(args.iter().map(plan)).collect();
            call(function, overloads, nodes)
        }
        Kind::List(items) => list(environment, items),
        Kind::Map(entries) => Node::Map(
            entries.iter().map(|entry| (plan(&entry.key), plan(&entry.value), entry.optional)).collect(),
        ),
        Kind::Struct { name, fields } => Node::Struct {
            of: environment.object_type(name).unwrap_or_default(),
            fields: fields.iter().map(|init| (init.name.clone(), plan(&init.value), init.optional)).collect(),
        },
        Kind::Comprehension(fold) => comprehension(environment, fold),
    }
}

fn comprehension(environment: &Environment, fold: &Comprehension) -> Node {
    let plan = |expr: &Expr| plan(environment, expr);
    if fold.is_bind {
        return Node::Bind(Box::new(Bind { init: plan(&fold.init), result: plan(&fold.result) }));
    }
    // An empty literal would be shared by all runs; the accumulator starts as a list of its own.
    let init = match &fold.init.kind {
        Kind::List(items) if items.is_empty() => Node::List(Box::default()),
        _ => plan(&fold.init),
    };
    Node::Fold(Box::new(Fold {
        range: plan(&fold.range),
        init,
        condition: plan(&fold.condition),
        step: plan(&fold.step),
        result: plan(&fold.result),
        two_variables: fold.iter_var2.is_some(),
    }))
}

/// Lists of literals are made once.
fn list(environment: &Environment, items: &[Item]) -> Node {
    let nodes: Box<[(Node, bool)]> =
        items.iter().map(|item| (plan(environment, &item.value), item.optional)).collect();
    let constants: Option<Vec<Value<'static>>> = nodes
        .iter()
        .map(|(node, optional)| match node {
            Node::Constant(value) if !optional => Some(value.clone()),
            _ => None,
        })
        .collect();
    match constants {
        Some(values) => Node::Constant(Value::list(values)),
        None => Node::List(nodes),
    }
}

/// `@result + [item]` and `cel.@mapInsert(@result, ...)`, which change the accumulator in its place.
fn accumulation(environment: &Environment, function: &str, args: &[Expr]) -> Option<Node> {
    let (first, rest) = args.split_first()?;
    let Kind::Ident { name, meaning: Meaning::Local(slot) } = &first.kind else { return None };
    if name != crate::macros::RESULT {
        return None;
    }
    match (function, rest) {
        ("_+_", [Expr { kind: Kind::List(items), .. }]) => {
            let [Item { value, optional: false }] = items.as_slice() else { return None };
            Some(Node::Append { slot: *slot, item: Box::new(plan(environment, value)) })
        }
        ("cel.@mapInsert", rest) => Some(Node::Insert {
            slot: *slot,
            rest: rest.iter().map(|expr| plan(environment, expr)).collect(),
        }),
        _ => None,
    }
}

fn call(function: &str, overloads: &[&'static Overload], nodes: Vec<Node>) -> Node {
    let pair = |nodes: Vec<Node>| <[Node; 2]>::try_from(nodes).map(Box::new);
    let planned = match function {
        "_&&_" => pair(nodes).map(Node::And),
        "_||_" => pair(nodes).map(Node::Or),
        "_==_" => pair(nodes).map(|operands| Node::Equals { operands, negated: false }),
        "_!=_" => pair(nodes).map(|operands| Node::Equals { operands, negated: true }),
        "_[_]" => pair(nodes).map(Node::Index),
        "_[?_]" => pair(nodes).map(Node::OptionalIndex),
        "_?_:_" => <[Node; 3]>::try_from(nodes).map(|nodes| Node::Conditional(Box::new(nodes))),
        "!_" => <[Node; 1]>::try_from(nodes).map(|[node]| Node::Not(Box::new(node))),
        "@not_strictly_false" => {
            <[Node; 1]>::try_from(nodes).map(|[node]| Node::NotStrictlyFalse(Box::new(node)))
        }
        "matches" => matches(nodes),
        _ => Err(nodes),
    };
    planned.unwrap_or_else(|args| {
        let function = functions::lookup(function).map_or("", |(name, _)| name);
        Node::Call(Box::new(Call { function, overloads: overloads.to_vec(), args }))
    })
}

/// A match against a literal is compiled now; conversions of literals are left to run time.
fn matches(nodes: Vec<Node>) -> Result<Node, Vec<Node>> {
    let pattern = match nodes.as_slice() {
        [_, Node::Constant(Value::String(pattern))] => {
            crate::pattern::compile(pattern).ok().map(|compiled| (compiled, pattern.characters() as u64))
        }
        _ => None,
    };
    match (pattern, <[Node; 2]>::try_from(nodes)) {
        (Some((pattern, length)), Ok([text, _])) => {
            Ok(Node::Matches(Box::new(Matches { text, pattern, length })))
        }
        (None, Ok(nodes)) => Err(nodes.into()),
        (_, Err(nodes)) => Err(nodes),
    }
}
