//! All functions and operators, each overload declared once: name, id, signature, implementation.

pub(crate) mod authorizer;
pub(crate) mod cidr;
mod comparisons;
mod conversions;
mod encoders;
pub(crate) mod format;
pub(crate) mod formatting;
mod ip;
mod lists;
mod math;
pub(crate) mod operators;
mod optional;
mod quantity;
pub(crate) mod semver;
mod strings;
mod text;
mod times;
pub(crate) mod url;

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, LazyLock};

use crate::error::{Answer, EvaluationError};
use crate::evaluate::Context;
use crate::types::Type;
use crate::value::Value;

/// What an environment may add to the functions that Kubernetes has everywhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Library {
    /// Always there: the base environment of Kubernetes 1.36.
    Base,
    /// `cel.bind`, as device selectors have.
    Bindings,
    /// `math.*`.
    Math,
    /// `base64.*`.
    Encoders,
    /// `Object{}`, `JSONPatch{}` and `jsonpatch.escapeKey`, as mutating admission policies have.
    Mutation,
}

/// Runs a function: arguments with the target first.
pub(crate) type Implementation = for<'e, 'a> fn(&[Value<'a>], &mut Context<'e, 'a>) -> Answer<'a>;

/// Function, id of the overload, signature, implementation.
pub(crate) type Row = (&'static str, &'static str, &'static str, Implementation);

/// One way to call a function.
pub(crate) struct Overload {
    pub(crate) id: &'static str,
    /// Whether it is called on a target.
    pub(crate) member: bool,
    /// The target's type first.
    pub(crate) params: Vec<Type>,
    pub(crate) result: Type,
    /// How many type variables the signature has.
    pub(crate) variables: u32,
    pub(crate) run: Implementation,
    pub(crate) library: Library,
}

impl fmt::Debug for Overload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.id)
    }
}

const NO_OVERLOAD: &str = "no such overload";

static TABLE: LazyLock<HashMap<&'static str, Vec<Overload>>> = LazyLock::new(|| {
    let libraries: &[(Library, &[Row])] = &[
        (Library::Base, operators::ROWS),
        (Library::Base, comparisons::ROWS),
        (Library::Base, conversions::ROWS),
        (Library::Base, strings::ROWS),
        (Library::Base, times::ROWS),
        (Library::Base, optional::ROWS),
        (Library::Base, text::ROWS),
        (Library::Base, formatting::ROWS),
        (Library::Base, lists::ROWS),
        (Library::Base, url::ROWS),
        (Library::Base, quantity::ROWS),
        (Library::Base, ip::ROWS),
        (Library::Base, cidr::ROWS),
        (Library::Base, semver::ROWS),
        (Library::Base, format::ROWS),
        (Library::Base, authorizer::ROWS),
        (Library::Math, math::ROWS),
        (Library::Encoders, encoders::ENCODERS),
        (Library::Mutation, encoders::MUTATION),
    ];
    let mut table: HashMap<&'static str, Vec<Overload>> = HashMap::new();
    for (library, rows) in libraries {
        for (function, id, signature, run) in *rows {
            let overload = Overload::parse(id, signature, *run, *library);
            table.entry(function).or_default().push(overload);
        }
    }
    table
});

/// The name as the table has it, with its overloads.
pub(crate) fn lookup(function: &str) -> Option<(&'static str, &'static [Overload])> {
    TABLE.get_key_value(function).map(|(name, overloads)| (*name, overloads.as_slice()))
}

/// The answer of an implementation whose arguments are of other types; the evaluator tells which.
pub(crate) fn no_overload<'a>() -> Answer<'a> {
    Err(EvaluationError::new(NO_OVERLOAD))
}

/// The error in cel-go's words, if it is [`no_overload`]'s.
pub(crate) fn explain(error: EvaluationError, function: &str, args: &[Value<'_>]) -> EvaluationError {
    match &error {
        EvaluationError::Expression(message) if message == NO_OVERLOAD => {
            let types: Vec<&str> = args.iter().map(Value::type_name).collect();
            EvaluationError::new(format!("{NO_OVERLOAD}: {function}({})", types.join(", ")))
        }
        _ => error,
    }
}

impl Overload {
    /// Reads `target.(a, b) -> result` or `(a, b) -> result`.
    fn parse(id: &'static str, signature: &'static str, run: Implementation, library: Library) -> Self {
        let mut reader = Reader { rest: signature, variables: 0 };
        let mut params = Vec::new();
        let member = !signature.starts_with('(');
        if member {
            params.push(reader.read());
            reader.skip(".");
        }
        reader.skip("(");
        while !reader.rest.starts_with(')') {
            params.push(reader.read());
            reader.skip(",");
        }
        reader.skip(")");
        reader.skip("->");
        let result = reader.read();
        Self { id, member, params, result, variables: reader.variables, run, library }
    }

    /// Whether the values look like what the parameters are; types within lists and maps are not looked at.
    pub(crate) fn accepts(&self, args: &[Value<'_>]) -> bool {
        self.params.len() == args.len()
            && self.params.iter().zip(args).all(|(param, arg)| accepts(param, arg))
    }
}

fn accepts(param: &Type, value: &Value<'_>) -> bool {
    match (param, value) {
        (Type::Dyn | Type::Param(_), _)
        | (Type::Null, Value::Null)
        | (Type::Bool, Value::Bool(_))
        | (Type::Int, Value::Int(_))
        | (Type::Uint, Value::Uint(_))
        | (Type::Double, Value::Double(_))
        | (Type::String, Value::String(_))
        | (Type::Bytes, Value::Bytes(_))
        | (Type::Timestamp, Value::Timestamp(_))
        | (Type::Duration, Value::Duration(_))
        | (Type::List(_), Value::List(_))
        | (Type::Map(_), Value::Map(_))
        | (Type::Type(_), Value::Type(_))
        | (Type::Optional(_), Value::Optional(_)) => true,
        (Type::Opaque(name), value @ Value::Opaque(_)) => *name == value.type_name(),
        _ => false,
    }
}

/// Reads types of a signature. Signatures are ours: what does not parse is `dyn`, and a test reads them all.
struct Reader {
    rest: &'static str,
    variables: u32,
}

impl Reader {
    fn skip(&mut self, text: &str) {
        self.rest = self.rest.trim_start();
        self.rest = self.rest.strip_prefix(text).unwrap_or(self.rest).trim_start();
    }

    fn read(&mut self) -> Type {
        self.rest = self.rest.trim_start();
        let end = |c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == '.' || c == '@');
        let mut length = self.rest.find(end).unwrap_or(self.rest.len());
        // The dot before the argument list belongs to the signature, not to the name.
        if self.rest.get(..length).is_some_and(|name| name.ends_with('.')) {
            length -= 1;
        }
        let (name, rest) = self.rest.split_at(length);
        self.rest = rest;
        let mut nested = || {
            self.skip("(");
            let of = self.read();
            self.skip(",");
            of
        };
        match name {
            "list" => {
                let of = nested();
                self.skip(")");
                Type::list(of)
            }
            "optional" => {
                let of = nested();
                self.skip(")");
                Type::optional(of)
            }
            "type" => {
                let of = nested();
                self.skip(")");
                Type::Type(Arc::new(of))
            }
            "map" => {
                let (key, value) = (nested(), nested());
                self.skip(")");
                Type::map(key, value)
            }
            "bool" => Type::Bool,
            "int" => Type::Int,
            "uint" => Type::Uint,
            "double" => Type::Double,
            "string" => Type::String,
            "bytes" => Type::Bytes,
            "null" => Type::Null,
            "timestamp" => Type::Timestamp,
            "duration" => Type::Duration,
            "A" | "B" | "C" => {
                let index = u32::from(name.as_bytes().first().copied().unwrap_or(b'A') - b'A');
                self.variables = self.variables.max(index + 1);
                Type::Param(index)
            }
            name if name.contains('.') => Type::Opaque(name),
            _ => Type::Dyn,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_signature_reads_as_written() {
        let mut ids = std::collections::HashSet::new();
        for (function, overloads) in TABLE.iter() {
            for overload in overloads {
                assert!(ids.insert(overload.id), "{} of {function} twice", overload.id);
                assert!(!overload.member || !overload.params.is_empty(), "{}", overload.id);
            }
        }
        let format = |function| {
            let overload = &lookup(function).unwrap().1[0];
            let params: Vec<_> = overload.params.iter().map(ToString::to_string).collect();
            format!("{} {} -> {} {}", overload.member, params.join(" "), overload.result, overload.variables)
        };
        assert_eq!(format("startsWith"), "true string string -> bool 0");
        assert_eq!(format("_?_:_"), "false bool _var0 _var0 -> _var0 1");
        assert_eq!(format("_[_]"), "false list(_var0) int -> _var0 1");
    }
}
