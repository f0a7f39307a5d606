//! The type checker: finds what names and calls mean, and writes it into the tree.

use std::sync::Arc;

use crate::ast::{Comprehension, Entry, Expr, FieldInit, Item, Kind, Literal, Meaning};
use crate::environment::Environment;
use crate::functions::{self, Overload};
use crate::inference::{Inference, instantiate, most_general};
use crate::source::{CompileErrors, Report};
use crate::types::{ObjectType, Type};

/// Checks the expression.
pub(crate) fn check(environment: &Environment, source: &str, expr: &mut Expr) -> Result<(), CompileErrors> {
    let mut checker = Checker {
        environment,
        report: Report::new(source),
        inference: Inference::default(),
        locals: Vec::new(),
    };
    checker.check(expr);
    if checker.report.is_empty() {
        checker.finish(expr);
    }
    if checker.report.is_empty() { Ok(()) } else { Err(checker.report.finish()) }
}

struct Checker<'c> {
    environment: &'c Environment,
    report: Report<'c>,
    inference: Inference,
    /// Variables of the comprehensions around, by their place on the evaluator's stack.
    locals: Vec<(String, Type)>,
}

impl Checker<'_> {
    fn check(&mut self, expr: &mut Expr) {
        let at = expr.at;
        expr.of = match &mut expr.kind {
            Kind::Literal(literal) => literal_type(literal),
            Kind::Ident { name, meaning } => match self.look_up(name) {
                Some((found, of)) => {
                    *meaning = found;
                    of
                }
                None => {
                    let message = format!("undeclared reference to '{name}' (in container '')");
                    self.report.error(at, message);
                    Type::Error
                }
            },
            Kind::Select { .. } => self.select(expr),
            Kind::Call { .. } => self.call(expr),
            Kind::List(items) => self.list(items),
            Kind::Map(entries) => self.map(entries),
            Kind::Struct { name, fields } => self.structure(at, name, fields),
            Kind::Comprehension(comprehension) => self.comprehension(comprehension),
        };
    }

    fn look_up(&self, name: &str) -> Option<(Meaning, Type)> {
        if let Some((place, (_, of))) =
            self.locals.iter().enumerate().rev().find(|(_, (local, _))| local == name)
        {
            return Some((Meaning::Local(place), of.clone()));
        }
        if let Some((index, decl)) = self.environment.variable(name) {
            return Some((Meaning::Variable(index), decl.cel_type()));
        }
        let named = type_named(name)?;
        Some((Meaning::Type(named.clone()), Type::Type(Arc::new(named))))
    }

    fn select(&mut self, expr: &mut Expr) -> Type {
        if let Some(name) = expr.qualified_name()
            && let Some((meaning, of)) = self.look_up(&name)
        {
            expr.kind = Kind::Ident { name, meaning };
            return of;
        }
        let at = expr.at;
        let Kind::Select { operand, field, test, optional } = &mut expr.kind else { return Type::Error };
        self.check(operand);
        let operand_type = self.inference.substitute(&operand.of, false);
        let (target, was_optional) = unwrap_optional(&operand_type);
        let of = match &target {
            Type::Map(entry) => entry.1.clone(),
            Type::Object(object) => match object.field(field) {
                Some(field) => field.decl.cel_type(),
                None if object.open => Type::Dyn,
                None => {
                    let message = format!("undefined field '{field}'");
                    self.report.error(at, message);
                    Type::Error
                }
            },
            Type::Param(_) => {
                self.inference.assignable(&Type::Dyn, &target);
                Type::Dyn
            }
            other => {
                if !other.is_dyn_or_error() {
                    self.report
                        .error(at, format!("type '{}' does not support field selection", other.spell()));
                }
                Type::Dyn
            }
        };
        if *test {
            return Type::Bool;
        }
        let of = if was_optional || *optional { Type::optional(of) } else { of };
        self.inference.substitute(&of, false)
    }

    fn call(&mut self, expr: &mut Expr) -> Type {
        let at = expr.at;
        let Kind::Call { function, target, args, overloads } = &mut expr.kind else { return Type::Error };
        for arg in args.iter_mut() {
            self.check(arg);
        }
        // `a.b.c()` calls the function `a.b.c` if there is one, and `c` of `a.b` if not.
        if let Some(prefix) = target.as_ref().and_then(|target| target.qualified_name()) {
            let qualified = format!("{prefix}.{function}");
            if self.environment.has_function(&qualified) {
                *function = qualified;
                *target = None;
            }
        }
        if let Some(target) = target {
            self.check(target);
        }
        if !self.environment.has_function(function) {
            let message = format!("undeclared reference to '{function}' (in container '')");
            self.report.error(at, message);
            return Type::Error;
        }
        if matches!(function.as_str(), "_&&_" | "_||_") {
            let mut of = Type::Bool;
            for arg in args.iter() {
                if !self.inference.assignable(&arg.of, &Type::Bool) {
                    let found = self.inference.substitute(&arg.of, true).spell();
                    self.report.error(arg.at, format!("expected type 'bool' but found '{found}'"));
                    of = Type::Error;
                }
            }
            return of;
        }
        let given: Vec<Type> =
            target.iter().map(|target| &**target).chain(args.iter()).map(|arg| arg.of.clone()).collect();
        let (of, found) = self.resolve(function, target.is_some(), &given);
        *overloads = found;
        match of {
            Some(of) => of,
            None => {
                let given: Vec<String> =
                    given.iter().map(|of| self.inference.substitute(of, true).spell()).collect();
                let signature = match given.split_first() {
                    Some((first, rest)) if target.is_some() => format!("{first}.({})", rest.join(", ")),
                    _ => format!("({})", given.join(", ")),
                };
                let message = format!("found no matching overload for '{function}' applied to '{signature}'");
                self.report.error(at, message);
                Type::Error
            }
        }
    }

    /// The overloads that fit the arguments, and the type of the result if there are any.
    fn resolve(
        &mut self,
        function: &str,
        member: bool,
        given: &[Type],
    ) -> (Option<Type>, Vec<&'static Overload>) {
        let Some((_, all)) = functions::lookup(function) else { return (None, Vec::new()) };
        let mut result: Option<Type> = None;
        let mut found = Vec::new();
        for overload in all {
            if overload.member != member
                || overload.params.len() != given.len()
                || !self.environment.has_library(overload.library)
            {
                continue;
            }
            let base = self.inference.fresh_base(overload.variables);
            let params: Vec<Type> = overload.params.iter().map(|param| instantiate(param, base)).collect();
            if !self.inference.all_assignable(params.iter().zip(given)) {
                continue;
            }
            found.push(overload);
            let of = self.inference.substitute(&instantiate(&overload.result, base), false);
            result = Some(match result {
                None => of,
                Some(first) if matches!(first, Type::Dyn) || first.same(&of) => first,
                Some(_) => Type::Dyn,
            });
        }
        (result, found)
    }

    fn list(&mut self, items: &mut [Item]) -> Type {
        let mut all: Option<Type> = None;
        for item in items {
            self.check(&mut item.value);
            let of = self.optional_value(&item.value, item.optional);
            all = Some(self.join(item.value.at, all, of));
        }
        Type::list(all.unwrap_or_else(|| self.inference.fresh()))
    }

    fn map(&mut self, entries: &mut [Entry]) -> Type {
        let mut keys: Option<Type> = None;
        let mut values: Option<Type> = None;
        for entry in entries {
            self.check(&mut entry.key);
            keys = Some(self.join(entry.key.at, keys, entry.key.of.clone()));
            self.check(&mut entry.value);
            let of = self.optional_value(&entry.value, entry.optional);
            values = Some(self.join(entry.value.at, values, of));
        }
        let key = keys.unwrap_or_else(|| self.inference.fresh());
        Type::map(key, values.unwrap_or_else(|| self.inference.fresh()))
    }

    /// The type within an optional element (`[?x]`, `{?k: x}`), or that of an ordinary one.
    fn optional_value(&mut self, value: &Expr, optional: bool) -> Type {
        if !optional {
            return value.of.clone();
        }
        let (of, is_optional) = unwrap_optional(&self.inference.substitute(&value.of, false));
        if !is_optional && !of.is_dyn_or_error() {
            let (expected, found) = (Type::optional(of.clone()).spell(), of.spell());
            self.report.error(value.at, format!("expected type '{expected}' but found '{found}'"));
        }
        of
    }

    /// The type that elements have in common; Kubernetes wants them to have one.
    fn join(&mut self, at: u32, all: Option<Type>, next: Type) -> Type {
        let Some(all) = all else { return next };
        if self.inference.assignable(&all, &next) {
            return most_general(&all, &next);
        }
        let (expected, found) =
            (self.inference.substitute(&all, true).spell(), self.inference.substitute(&next, true).spell());
        self.report.error(at, format!("expected type '{expected}' but found '{found}'"));
        Type::Error
    }

    fn structure(&mut self, at: u32, name: &str, fields: &mut [FieldInit]) -> Type {
        let object = self.environment.object_type(name);
        if object.is_none() {
            let message = match self.look_up(name) {
                Some((Meaning::Type(of), _)) => format!("'{of}' is not a message type"),
                Some((_, of)) => format!("'{of}' is not a type"),
                None => format!("undeclared reference to '{name}' (in container '')"),
            };
            self.report.error(at, message);
        }
        for field in fields {
            self.check(&mut field.value);
            let Some(object) = &object else { continue };
            let expected = self.init_type(object, field);
            let given = self.optional_value(&field.value, field.optional);
            if !self.inference.assignable(&expected, &given) {
                let (expected, given) = (expected.spell(), self.inference.substitute(&given, true).spell());
                let message = format!(
                    "expected type of field '{}' is '{expected}' but provided type is '{given}'",
                    field.name
                );
                self.report.error(field.at, message);
            }
        }
        object.map_or(Type::Error, Type::Object)
    }

    fn init_type(&mut self, object: &ObjectType, init: &FieldInit) -> Type {
        match object.field(&init.name) {
            Some(field) => field.decl.cel_type(),
            None if object.open => Type::Dyn,
            None => {
                self.report.error(init.at, format!("undefined field '{}'", init.name));
                Type::Error
            }
        }
    }

    fn comprehension(&mut self, fold: &mut Comprehension) -> Type {
        self.check(&mut fold.range);
        self.check(&mut fold.init);
        fold.slot = self.locals.len();
        let accu = fold.init.of.clone();
        self.locals.push((fold.accu_var.clone(), accu.clone()));
        if fold.is_bind {
            self.check(&mut fold.result);
            self.locals.truncate(fold.slot);
            return fold.result.of.clone();
        }
        let range = self.inference.substitute(&fold.range.of, false);
        let (key, value) = match range {
            Type::List(items) => (Type::Int, (*items).clone()),
            Type::Map(entry) => (entry.0.clone(), entry.1.clone()),
            Type::Dyn | Type::Error | Type::Param(_) => {
                self.inference.assignable(&Type::Dyn, &range);
                (Type::Dyn, Type::Dyn)
            }
            other => {
                let other = other.spell();
                let message = format!(
                    "expression of type '{other}' cannot be range of a comprehension (must be list, map, or dynamic)"
                );
                self.report.error(fold.range.at, message);
                (Type::Error, Type::Error)
            }
        };
        let over_map = matches!(self.inference.substitute(&fold.range.of, false), Type::Map(_));
        match &fold.iter_var2 {
            Some(second) => {
                self.locals.push((fold.iter_var.clone(), key));
                self.locals.push((second.clone(), value));
            }
            None => self.locals.push((fold.iter_var.clone(), if over_map { key } else { value })),
        }
        self.check(&mut fold.condition);
        self.assert_type(&fold.condition, &Type::Bool);
        self.check(&mut fold.step);
        self.assert_type(&fold.step, &accu);
        self.locals.truncate(fold.slot + 1);
        self.check(&mut fold.result);
        self.locals.truncate(fold.slot);
        self.inference.substitute(&fold.result.of, false)
    }

    fn assert_type(&mut self, expr: &Expr, expected: &Type) {
        if !self.inference.assignable(expected, &expr.of) {
            let (expected, found) = (
                self.inference.substitute(expected, true).spell(),
                self.inference.substitute(&expr.of, true).spell(),
            );
            self.report.error(expr.at, format!("expected type '{expected}' but found '{found}'"));
        }
    }

    /// Writes what became known of type variables, and checks literals that are parsed at run time.
    fn finish(&mut self, expr: &mut Expr) {
        expr.of = self.inference.substitute(&expr.of, true);
        match &mut expr.kind {
            Kind::Literal(_) | Kind::Ident { .. } => {}
            Kind::Select { operand, .. } => self.finish(operand),
            Kind::Call { function, target, args, .. } => {
                self.check_literal(function, args);
                if let Some(target) = target {
                    self.finish(target);
                }
                args.iter_mut().for_each(|arg| self.finish(arg));
                self.check_format(expr.at, function, target.as_deref(), args);
            }
            Kind::List(items) => items.iter_mut().for_each(|item| self.finish(&mut item.value)),
            Kind::Map(entries) => {
                for entry in entries {
                    self.finish(&mut entry.key);
                    self.finish(&mut entry.value);
                }
            }
            Kind::Struct { fields, .. } => fields.iter_mut().for_each(|field| self.finish(&mut field.value)),
            Kind::Comprehension(fold) => {
                let Comprehension { range, init, condition, step, result, .. } = &mut **fold;
                for part in [range, init, condition, step, result] {
                    self.finish(part);
                }
            }
        }
    }

    /// `'...'.format([...])`: whether the format and its arguments fit each other.
    fn check_format(&mut self, at: u32, function: &str, target: Option<&Expr>, args: &[Expr]) {
        if let ("format", Some(Expr { kind: Kind::Literal(Literal::String(format)), .. }), [args]) =
            (function, target, args)
            && let Kind::List(items) = &args.kind
            && let Err((at, message)) = functions::formatting::check(format, items, at)
        {
            self.report.error(at, message);
        }
    }

    fn check_literal(&mut self, function: &str, args: &[Expr]) {
        let Some(Expr { at, kind: Kind::Literal(Literal::String(text)), .. }) = args.last() else { return };
        let valid = match function {
            "duration" => crate::time::Duration::parse(text).is_some(),
            "timestamp" => crate::time::Timestamp::parse(text).is_some(),
            "matches" => crate::pattern::compile(text).is_ok(),
            _ => true,
        };
        if !valid {
            self.report.error(*at, format!("invalid {function} argument"));
        }
    }
}

fn literal_type(literal: &Literal) -> Type {
    match literal {
        Literal::Null => Type::Null,
        Literal::Bool(_) => Type::Bool,
        Literal::Int(_) => Type::Int,
        Literal::Uint(_) => Type::Uint,
        Literal::Double(_) => Type::Double,
        Literal::String(_) => Type::String,
        Literal::Bytes(_) => Type::Bytes,
    }
}

fn unwrap_optional(of: &Type) -> (Type, bool) {
    match of {
        Type::Optional(inner) => ((**inner).clone(), true),
        other => (other.clone(), false),
    }
}

/// Types that are values.
fn type_named(name: &str) -> Option<Type> {
    Some(match name {
        "bool" => Type::Bool,
        "int" => Type::Int,
        "uint" => Type::Uint,
        "double" => Type::Double,
        "string" => Type::String,
        "bytes" => Type::Bytes,
        "null_type" => Type::Null,
        "dyn" => Type::Dyn,
        "list" => Type::list(Type::Dyn),
        "map" => Type::map(Type::Dyn, Type::Dyn),
        "type" => Type::Type(Arc::new(Type::Dyn)),
        "optional_type" => Type::optional(Type::Dyn),
        "google.protobuf.Timestamp" => Type::Timestamp,
        "google.protobuf.Duration" => Type::Duration,
        "net.IP" => Type::Opaque("net.IP"),
        "net.CIDR" => Type::Opaque("net.CIDR"),
        "kubernetes.URL" => Type::Opaque("kubernetes.URL"),
        "kubernetes.Quantity" => Type::Opaque("kubernetes.Quantity"),
        "kubernetes.Semver" => Type::Opaque("kubernetes.Semver"),
        "kubernetes.NamedFormat" => Type::Opaque("kubernetes.NamedFormat"),
        _ => return None,
    })
}
