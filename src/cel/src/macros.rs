//! Calls that are syntax: `has`, `all`, `exists`, `map`, `filter` and their kin become comprehensions.

use crate::ast::{Comprehension, Expr, Kind, Literal};
use crate::parser::{Failed, Parser};

/// The accumulator's name; no source can spell it.
pub(crate) const RESULT: &str = "@result";

type Expanded = Result<Expr, Failed>;

/// `name(args)`.
pub(crate) fn global_call(parser: &mut Parser<'_>, at: u32, name: &str, mut args: Vec<Expr>) -> Expanded {
    if name == "has" && args.len() == 1 {
        if let Some(Expr {
            at: place,
            kind: Kind::Select { operand, field, test: false, optional: false },
            ..
        }) = args.pop()
        {
            let _ = place;
            return Ok(Expr::new(at, Kind::Select { operand, field, test: true, optional: false }));
        }
        return parser.fail(at, "invalid argument to has() macro");
    }
    Ok(Expr::call(at, name, args))
}

/// `target.name(args)`.
pub(crate) fn member_call(
    parser: &mut Parser<'_>,
    at: u32,
    name: &str,
    target: Expr,
    args: Vec<Expr>,
) -> Expanded {
    let expand: fn(&mut Parser<'_>, u32, Expr, Vec<Expr>) -> Expanded = match (name, args.len()) {
        ("all", 2 | 3) => all,
        ("exists", 2 | 3) => exists,
        ("exists_one" | "existsOne", 2 | 3) => exists_one,
        ("map", 2 | 3) => map,
        ("filter", 2) => filter,
        ("transformList", 3 | 4) => transform_list,
        ("transformMap", 3 | 4) => transform_map,
        ("transformMapEntry", 3 | 4) => transform_map_entry,
        ("optMap", 2) => |parser, at, target, args| opt_map(parser, at, target, args, true),
        ("optFlatMap", 2) => |parser, at, target, args| opt_map(parser, at, target, args, false),
        ("sortBy", 2) => sort_by,
        ("greatest" | "least", 3..) if is_ident(&target, "math") => {
            let at_args = args.first().map_or(at, |arg| arg.at);
            return Ok(Expr::member(at, name, target, vec![Expr::list(at_args, args)]));
        }
        ("bind", 3) if parser.syntax.bind && is_ident(&target, "cel") => bind_macro,
        _ => return Ok(Expr::member(at, name, target, args)),
    };
    expand(parser, at, target, args)
}

fn is_ident(expr: &Expr, expected: &str) -> bool {
    matches!(&expr.kind, Kind::Ident { name, .. } if name == expected)
}

/// The one or two iteration variables that the arguments start with; the rest stays.
struct Loop {
    at: u32,
    range: Expr,
    var: String,
    var2: Option<String>,
}

impl Loop {
    /// Takes one variable, or two where `two` are wanted, off the front of the arguments.
    fn take(
        parser: &mut Parser<'_>,
        at: u32,
        range: Expr,
        args: &mut std::vec::IntoIter<Expr>,
        two: bool,
    ) -> Result<Self, Failed> {
        let var = simple_name(parser, args.next())?;
        let var2 = if two { Some(simple_name(parser, args.next())?) } else { None };
        if var2.as_ref() == Some(&var) {
            return parser.fail(at, format!("duplicate variable name: {var}"));
        }
        Ok(Self { at, range, var, var2 })
    }

    fn fold(self, init: Expr, condition: Expr, step: Expr, result: Expr) -> Expr {
        let comprehension = Comprehension {
            range: self.range,
            iter_var: self.var,
            iter_var2: self.var2,
            accu_var: RESULT.to_owned(),
            init,
            condition,
            step,
            result,
            is_bind: false,
            slot: 0,
        };
        Expr::new(self.at, Kind::Comprehension(Box::new(comprehension)))
    }
}

fn simple_name(parser: &mut Parser<'_>, arg: Option<Expr>) -> Result<String, Failed> {
    match arg {
        Some(Expr { kind: Kind::Ident { name, .. }, .. }) => Ok(name),
        other => parser.fail(other.map_or(0, |expr| expr.at), "argument must be a simple name"),
    }
}

fn accu(at: u32) -> Expr {
    Expr::ident(at, RESULT)
}

fn boolean(at: u32, value: bool) -> Expr {
    Expr::literal(at, Literal::Bool(value))
}

fn all(parser: &mut Parser<'_>, at: u32, range: Expr, args: Vec<Expr>) -> Expanded {
    let two = args.len() == 3;
    let mut args = args.into_iter();
    let over = Loop::take(parser, at, range, &mut args, two)?;
    let condition = Expr::call(at, "@not_strictly_false", vec![accu(at)]);
    let step = Expr::call(at, "_&&_", std::iter::once(accu(at)).chain(args).collect());
    Ok(over.fold(boolean(at, true), condition, step, accu(at)))
}

fn exists(parser: &mut Parser<'_>, at: u32, range: Expr, args: Vec<Expr>) -> Expanded {
    let two = args.len() == 3;
    let mut args = args.into_iter();
    let over = Loop::take(parser, at, range, &mut args, two)?;
    let not = Expr::call(at, "!_", vec![accu(at)]);
    let condition = Expr::call(at, "@not_strictly_false", vec![not]);
    let step = Expr::call(at, "_||_", std::iter::once(accu(at)).chain(args).collect());
    Ok(over.fold(boolean(at, false), condition, step, accu(at)))
}

fn exists_one(parser: &mut Parser<'_>, at: u32, range: Expr, args: Vec<Expr>) -> Expanded {
    let two = args.len() == 3;
    let mut args = args.into_iter();
    let over = Loop::take(parser, at, range, &mut args, two)?;
    let one = || Expr::literal(at, Literal::Int(1));
    let more = Expr::call(at, "_+_", vec![accu(at), one()]);
    let step = Expr::call(at, "_?_:_", args.chain([more, accu(at)]).collect());
    let result = Expr::call(at, "_==_", vec![accu(at), one()]);
    Ok(over.fold(Expr::literal(at, Literal::Int(0)), boolean(at, true), step, result))
}

/// `accumulator + [value]`, only where the predicate holds if there is one.
fn append(at: u32, predicate: Option<Expr>, value: Expr) -> Expr {
    let step = Expr::call(at, "_+_", vec![accu(at), Expr::list(at, vec![value])]);
    only_if(at, predicate, step)
}

fn only_if(at: u32, predicate: Option<Expr>, step: Expr) -> Expr {
    match predicate {
        Some(predicate) => Expr::call(at, "_?_:_", vec![predicate, step, accu(at)]),
        None => step,
    }
}

/// The last argument, and the one before it if there is one.
fn value_and_predicate(
    parser: &mut Parser<'_>,
    at: u32,
    args: Vec<Expr>,
) -> Result<(Expr, Option<Expr>), Failed> {
    let mut args = args;
    match args.pop() {
        Some(value) => Ok((value, args.pop())),
        None => parser.fail(at, "argument must be a simple name"),
    }
}

fn map(parser: &mut Parser<'_>, at: u32, range: Expr, args: Vec<Expr>) -> Expanded {
    let mut args = args.into_iter();
    let over = Loop::take(parser, at, range, &mut args, false)?;
    let (value, predicate) = value_and_predicate(parser, at, args.collect())?;
    Ok(over.fold(Expr::list(at, Vec::new()), boolean(at, true), append(at, predicate, value), accu(at)))
}

fn filter(parser: &mut Parser<'_>, at: u32, range: Expr, args: Vec<Expr>) -> Expanded {
    let mut args = args.into_iter();
    let over = Loop::take(parser, at, range, &mut args, false)?;
    let value = Expr::ident(at, over.var.clone());
    let step = append(at, args.next(), value);
    Ok(over.fold(Expr::list(at, Vec::new()), boolean(at, true), step, accu(at)))
}

fn transform_list(parser: &mut Parser<'_>, at: u32, range: Expr, args: Vec<Expr>) -> Expanded {
    let mut args = args.into_iter();
    let over = Loop::take(parser, at, range, &mut args, true)?;
    let (value, predicate) = value_and_predicate(parser, at, args.collect())?;
    Ok(over.fold(Expr::list(at, Vec::new()), boolean(at, true), append(at, predicate, value), accu(at)))
}

fn transform_map(parser: &mut Parser<'_>, at: u32, range: Expr, args: Vec<Expr>) -> Expanded {
    let mut args = args.into_iter();
    let over = Loop::take(parser, at, range, &mut args, true)?;
    let (value, predicate) = value_and_predicate(parser, at, args.collect())?;
    let key = Expr::ident(at, over.var.clone());
    let step = only_if(at, predicate, Expr::call(at, "cel.@mapInsert", vec![accu(at), key, value]));
    Ok(over.fold(Expr::new(at, Kind::Map(Vec::new())), boolean(at, true), step, accu(at)))
}

fn transform_map_entry(parser: &mut Parser<'_>, at: u32, range: Expr, args: Vec<Expr>) -> Expanded {
    let mut args = args.into_iter();
    let over = Loop::take(parser, at, range, &mut args, true)?;
    let (entry, predicate) = value_and_predicate(parser, at, args.collect())?;
    let step = only_if(at, predicate, Expr::call(at, "cel.@mapInsert", vec![accu(at), entry]));
    Ok(over.fold(Expr::new(at, Kind::Map(Vec::new())), boolean(at, true), step, accu(at)))
}

/// `name` stands for `init` within `result`.
fn bind(at: u32, name: &str, init: Expr, result: Expr) -> Expr {
    let comprehension = Comprehension {
        range: Expr::list(at, Vec::new()),
        iter_var: "#unused".to_owned(),
        iter_var2: None,
        accu_var: name.to_owned(),
        init,
        condition: boolean(at, false),
        step: Expr::ident(at, name),
        result,
        is_bind: true,
        slot: 0,
    };
    Expr::new(at, Kind::Comprehension(Box::new(comprehension)))
}

fn bind_macro(parser: &mut Parser<'_>, at: u32, _: Expr, args: Vec<Expr>) -> Expanded {
    let mut args = args.into_iter();
    let name = simple_name(parser, args.next())?;
    match (args.next(), args.next()) {
        (Some(init), Some(result)) => Ok(bind(at, &name, init, result)),
        _ => parser.fail(at, "cel.bind() takes a name and two expressions"),
    }
}

/// The target is bound to a name, since it is used twice.
fn opt_map(parser: &mut Parser<'_>, at: u32, target: Expr, args: Vec<Expr>, wrap: bool) -> Expanded {
    const TARGET: &str = "@target";
    let mut args = args.into_iter();
    let name = simple_name(parser, args.next())?;
    let Some(value) = args.next() else { return parser.fail(at, "optMap() takes a name and an expression") };
    let simple = matches!(target.kind, Kind::Ident { .. });
    let reference = || match &target.kind {
        Kind::Ident { name, .. } => Expr::ident(at, name.clone()),
        _ => Expr::ident(at, TARGET),
    };
    let mapped = bind(at, &name, Expr::member(at, "value", reference(), Vec::new()), value);
    let optional = || Expr::ident(at, "optional");
    let mapped = if wrap { Expr::member(at, "of", optional(), vec![mapped]) } else { mapped };
    let has = Expr::member(at, "hasValue", reference(), Vec::new());
    let none = Expr::member(at, "none", optional(), Vec::new());
    let choice = Expr::call(at, "_?_:_", vec![has, mapped, none]);
    Ok(if simple { choice } else { bind(at, TARGET, target, choice) })
}

/// Sorts by keys computed once for each item.
fn sort_by(parser: &mut Parser<'_>, at: u32, target: Expr, args: Vec<Expr>) -> Expanded {
    const INPUT: &str = "@sortBy_input";
    let keys = map(parser, at, Expr::ident(at, INPUT), args)?;
    let sorted = Expr::member(at, "@sortByAssociatedKeys", Expr::ident(at, INPUT), vec![keys]);
    Ok(bind(at, INPUT, target, sorted))
}
