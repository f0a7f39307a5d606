//! The evaluator: walks a plan, counts cost.

use std::sync::Arc;

use crate::bindings::Bindings;
use crate::cost::call_cost;
use crate::error::{Answer, EvaluationError};
use crate::functions::authorizer::Authorizer;
use crate::functions::{explain, no_overload, operators};
use crate::meter::{Budget, Meter};
use crate::plan::{Call, Fold, Matches, Node};
use crate::types::ObjectType;
use crate::value::{Entries, Items, Key, List, Map, Opaque, Value};

/// How deep evaluation may recurse, programs that run within others included: bounds the stack. The parser's
/// limit keeps each expression below it.
const MAX_DEPTH: u32 = 1_200;

/// Bytes that count as one unit of work when they are copied.
const BYTES_A_UNIT: usize = 8;

/// One evaluation.
pub(crate) struct Context<'e, 'a> {
    pub(crate) meter: Meter,
    bindings: &'e Bindings<'a>,
    budget: &'e mut Budget,
    variables: &'e [String],
    /// Accumulators and iteration variables of the comprehensions around, each a value or an error.
    locals: Vec<Answer<'a>>,
}

/// Evaluates a plan; the cost is taken from the budget however it ends.
pub(crate) fn evaluate<'a>(
    node: &Node,
    variables: &[String],
    bindings: &Bindings<'a>,
    budget: &mut Budget,
) -> Answer<'a> {
    let limit = budget.per_call;
    let mut context = Context { meter: Meter::new(limit), bindings, budget, variables, locals: Vec::new() };
    let answer = context.eval(node);
    let cost = context.meter.cost;
    budget.spend(cost)?;
    answer
}

impl<'e, 'a> Context<'e, 'a> {
    /// Counts text or bytes that are about to be made.
    pub(crate) fn allocate(&mut self, bytes: usize) -> Result<(), EvaluationError> {
        self.meter.work((bytes / BYTES_A_UNIT) as u64)
    }

    /// Counts items that are about to be copied.
    pub(crate) fn copy(&mut self, items: usize) -> Result<(), EvaluationError> {
        self.meter.work((items as u64).saturating_mul(4))
    }

    pub(crate) fn authorizer(&self) -> Option<&'a dyn Authorizer> {
        self.bindings.asked()
    }

    fn eval(&mut self, node: &Node) -> Answer<'a> {
        let depth = self.bindings.depth.get();
        if depth > MAX_DEPTH {
            return Err(EvaluationError::CostLimit);
        }
        self.bindings.depth.set(depth + 1);
        let answer = self.dispatch(node);
        self.bindings.depth.set(depth);
        answer
    }

    fn dispatch(&mut self, node: &Node) -> Answer<'a> {
        match node {
            Node::Constant(value) => Ok(value.clone()),
            Node::Variable(index) => self.variable(*index),
            Node::Local(place) => {
                self.meter.charge(1)?;
                self.locals.get(*place).cloned().unwrap_or_else(no_overload)
            }
            Node::Select { operand, field } => {
                let operand = self.eval(operand)?;
                self.meter.charge(1)?;
                self.select(&operand, field)
            }
            Node::Test { operand, field } => self.test(operand, field),
            Node::OptionalSelect { operand, field } => self.optional_select(operand, field),
            Node::Index(operands) => {
                let args = self.pair(operands)?;
                self.meter.charge(1)?;
                let [operand, _] = &args;
                if let Value::Optional(_) = operand {
                    return operators::optional_index(&args, self);
                }
                operators::index(&args, self).map_err(|error| explain(error, "_[_]", &args))
            }
            Node::OptionalIndex(operands) => {
                let args = self.pair(operands)?;
                self.meter.charge(1)?;
                operators::optional_index(&args, self).map_err(|error| explain(error, "_[?_]", &args))
            }
            Node::And(operands) => self.logic(operands, false),
            Node::Or(operands) => self.logic(operands, true),
            Node::Not(operand) => {
                let args = [self.eval(operand)?];
                self.meter.charge(1)?;
                operators::not(&args, self).map_err(|error| explain(error, "!_", &args))
            }
            Node::NotStrictlyFalse(operand) => {
                let value = self.eval(operand);
                self.meter.charge(1)?;
                match value {
                    Ok(Value::Bool(value)) => Ok(Value::Bool(value)),
                    Err(error) if error.is_final() => Err(error),
                    _ => Ok(Value::Bool(true)),
                }
            }
            Node::Conditional(nodes) => {
                let [condition, then, otherwise] = &**nodes;
                match self.eval(condition)? {
                    Value::Bool(true) => self.eval(then),
                    Value::Bool(false) => self.eval(otherwise),
                    _ => no_overload(),
                }
            }
            Node::Equals { operands, negated } => {
                let [a, b] = self.pair(operands)?;
                self.meter.charge(crate::cost::equality(&a, &b))?;
                let equal = a.equals(&b, &mut self.meter)?;
                Ok(Value::Bool(equal != *negated))
            }
            Node::Matches(matches) => self.matches(matches),
            Node::Call(call) => self.call(call),
            Node::List(items) => self.list(items),
            Node::Map(entries) => self.map(entries),
            Node::Struct { of, fields } => self.structure(of, fields),
            Node::Fold(fold) => self.fold(fold),
            Node::Bind(bind) => {
                let init = self.eval(&bind.init);
                if let Err(error) = &init
                    && error.is_final()
                {
                    return init;
                }
                self.locals.push(init);
                let result = self.eval(&bind.result);
                self.locals.pop();
                result
            }
            Node::Append { slot, item } => self.append(*slot, item),
            Node::Insert { slot, rest } => self.insert(*slot, rest),
        }
    }

    #[inline(never)]
    fn variable(&mut self, index: usize) -> Answer<'a> {
        self.meter.charge(1)?;
        let name = self.variables.get(index).map_or("", String::as_str);
        match self.bindings.value(name) {
            Some(value) => Ok(value),
            None => Err(EvaluationError::new(format!("no such attribute(s): {name}"))),
        }
    }

    fn pair(&mut self, nodes: &[Node; 2]) -> Result<[Value<'a>; 2], EvaluationError> {
        let [a, b] = nodes;
        let a = self.eval(a)?;
        Ok([a, self.eval(b)?])
    }

    #[inline(never)]
    fn select(&mut self, operand: &Value<'a>, field: &str) -> Answer<'a> {
        match operand {
            Value::Map(map) => {
                map.field(field).unwrap_or_else(|| Err(EvaluationError::new(format!("no such key: {field}"))))
            }
            Value::Optional(None) => Ok(Value::Optional(None)),
            Value::Optional(Some(inner)) => self.optional_field(inner, field),
            Value::Opaque(Opaque::Composed) => self.composed(field),
            other => Err(EvaluationError::new(format!("no such overload: {}.{field}", other.type_name()))),
        }
    }

    /// A variable that is a program, run when it is first looked at.
    fn composed(&mut self, name: &str) -> Answer<'a> {
        self.bindings.composed(name, self.budget)
    }

    #[inline(never)]
    fn test(&mut self, operand: &Node, field: &str) -> Answer<'a> {
        Ok(Value::Bool(match self.eval(operand)? {
            Value::Map(map) => map.field(field).is_some(),
            Value::Optional(Some(inner)) => match &*inner {
                Value::Map(map) => map.field(field).is_some(),
                _ => return no_overload(),
            },
            Value::Optional(None) => false,
            Value::Opaque(Opaque::Composed) => self.bindings.has_composed(field),
            other => {
                return Err(EvaluationError::new(format!("no such overload: {}.{field}", other.type_name())));
            }
        }))
    }

    #[inline(never)]
    fn optional_select(&mut self, operand: &Node, field: &str) -> Answer<'a> {
        let operand = self.eval(operand)?;
        self.meter.charge(1)?;
        match &operand {
            Value::Optional(None) => Ok(Value::Optional(None)),
            Value::Optional(Some(inner)) => self.optional_field(inner, field),
            Value::Opaque(Opaque::Composed) => self.composed(field).map(Value::some),
            other => self.optional_field(other, field),
        }
    }

    fn optional_field(&mut self, operand: &Value<'a>, field: &str) -> Answer<'a> {
        match operand {
            Value::Map(map) => Ok(map.field(field).transpose()?.map_or(Value::Optional(None), Value::some)),
            other => Err(EvaluationError::new(format!("no such overload: {}.{field}", other.type_name()))),
        }
    }

    /// `&&` (decided by false) and `||` (decided by true): an operand that decides makes errors of the other void.
    #[inline(never)]
    fn logic(&mut self, operands: &[Node; 2], decides: bool) -> Answer<'a> {
        let [a, b] = operands;
        let mut undecided = None;
        for operand in [a, b] {
            match self.eval(operand) {
                Ok(Value::Bool(value)) if value == decides => return Ok(Value::Bool(decides)),
                Ok(Value::Bool(_)) => {}
                Err(error) if error.is_final() => return Err(error),
                Err(error) => undecided = undecided.or(Some(error)),
                Ok(_) => undecided = undecided.or(Some(EvaluationError::new("no such overload"))),
            }
        }
        match undecided {
            Some(error) => Err(error),
            None => Ok(Value::Bool(!decides)),
        }
    }

    #[inline(never)]
    fn matches(&mut self, matches: &Matches) -> Answer<'a> {
        let text = self.eval(&matches.text)?;
        let Value::String(text) = &text else {
            return Err(explain(
                EvaluationError::new("no such overload"),
                "matches",
                &[text, Value::text("")],
            ));
        };
        self.meter.charge(crate::cost::search(text.characters() as u64, matches.length))?;
        Ok(Value::Bool(matches.pattern.is_match(text)))
    }

    #[inline(never)]
    fn call(&mut self, call: &Call) -> Answer<'a> {
        let mut args = Vec::with_capacity(call.args.len());
        for arg in &call.args {
            args.push(self.eval(arg)?);
        }
        let overload = match call.overloads.as_slice() {
            [only] => Some(*only),
            several => several.iter().copied().find(|overload| overload.accepts(&args)),
        };
        let Some(overload) = overload else {
            return Err(explain(EvaluationError::new("no such overload"), call.function, &args));
        };
        let result = (overload.run)(&args, self);
        // An overload that is only found now costs one, as upstream counts.
        let known = if call.overloads.len() == 1 { overload.id } else { "" };
        self.meter.charge(call_cost(call.function, known, &args, result.as_ref().ok()))?;
        result.map_err(|error| explain(error, call.function, &args))
    }

    #[inline(never)]
    fn list(&mut self, nodes: &[(Node, bool)]) -> Answer<'a> {
        let mut items = Vec::with_capacity(nodes.len());
        for (node, optional) in nodes {
            match (self.eval(node)?, optional) {
                (Value::Optional(None), true) => {}
                (Value::Optional(Some(value)), true) => items.push((*value).clone()),
                (_, true) => return no_overload(),
                (value, false) => items.push(value),
            }
        }
        self.meter.charge(10)?;
        Ok(Value::list(items))
    }

    #[inline(never)]
    fn map(&mut self, nodes: &[(Node, Node, bool)]) -> Answer<'a> {
        let mut entries = std::collections::BTreeMap::new();
        for (key, value, optional) in nodes {
            let key = self.eval(key)?;
            let value = match (self.eval(value)?, optional) {
                (Value::Optional(None), true) => continue,
                (Value::Optional(Some(value)), true) => (*value).clone(),
                (_, true) => return no_overload(),
                (value, false) => value,
            };
            let Some(place) = Key::of(&key).filter(|_| !matches!(key, Value::Double(_))) else {
                return Err(EvaluationError::new(format!("unsupported key type: {}", key.type_name())));
            };
            if entries.insert(place, value).is_some() {
                return Err(EvaluationError::new(format!("Failed with repeated key: {key}")));
            }
        }
        self.meter.charge(30)?;
        Ok(Value::Map(Map::new(entries)))
    }

    #[inline(never)]
    fn structure(&mut self, of: &Arc<ObjectType>, nodes: &[(String, Node, bool)]) -> Answer<'a> {
        let mut fields = std::collections::BTreeMap::new();
        for (name, node, optional) in nodes {
            let value = match (self.eval(node)?, optional) {
                (Value::Optional(None), true) => continue,
                (Value::Optional(Some(value)), true) => (*value).clone(),
                (_, true) => return no_overload(),
                (value, false) => value,
            };
            let name = of.field(name).map_or(name, |field| &field.name);
            fields.insert(name.clone(), value);
        }
        self.meter.charge(40)?;
        Ok(Value::Map(Map::built(of.clone(), fields)))
    }

    #[inline(never)]
    fn fold(&mut self, fold: &Fold) -> Answer<'a> {
        let range = self.eval(&fold.range)?;
        let slot = self.locals.len();
        let init = self.eval(&fold.init);
        self.locals.push(init);
        let looped = match &range {
            Value::List(list) => self.fold_list(fold, list, slot),
            Value::Map(map) => self.fold_map(fold, map, slot),
            other => Err(EvaluationError::new(format!("no such overload: {}", other.type_name()))),
        };
        let answer = looped.and_then(|()| self.eval(&fold.result));
        self.locals.truncate(slot);
        answer
    }

    fn fold_list(&mut self, fold: &Fold, list: &List<'a>, slot: usize) -> Result<(), EvaluationError> {
        for index in 0..list.len() {
            if fold.two_variables {
                self.locals.push(Ok(Value::Int(index as i64)));
            }
            self.locals.push(list.get(index).unwrap_or_else(no_overload));
            let more = self.fold_step(fold, slot)?;
            self.locals.truncate(slot + 1);
            if !more {
                break;
            }
        }
        Ok(())
    }

    fn fold_map(&mut self, fold: &Fold, map: &Map<'a>, slot: usize) -> Result<(), EvaluationError> {
        for key in map.keys() {
            self.locals.push(Ok(key.to_value()));
            if fold.two_variables {
                self.locals.push(map.get(&key).unwrap_or_else(no_overload));
            }
            let more = self.fold_step(fold, slot)?;
            self.locals.truncate(slot + 1);
            if !more {
                break;
            }
        }
        Ok(())
    }

    /// One round: whether the condition still held. Errors that are not final become the accumulator's value.
    fn fold_step(&mut self, fold: &Fold, slot: usize) -> Result<bool, EvaluationError> {
        match self.eval(&fold.condition) {
            Ok(Value::Bool(false)) => return Ok(false),
            Err(error) if error.is_final() => return Err(error),
            _ => {}
        }
        // A range of constants and a step of constants would cost nothing: each round is work.
        self.meter.work(1)?;
        let step = self.eval(&fold.step);
        if let Err(error) = &step
            && error.is_final()
        {
            return Err(error.clone());
        }
        if let Some(accumulator) = self.locals.get_mut(slot) {
            *accumulator = step;
        }
        Ok(true)
    }

    /// Takes the accumulator out of its place, so that it is the only one and can be changed.
    fn take(&mut self, slot: usize) -> Answer<'a> {
        match self.locals.get_mut(slot) {
            Some(place) => std::mem::replace(place, Ok(Value::Null)),
            None => no_overload(),
        }
    }

    #[inline(never)]
    fn append(&mut self, slot: usize, item: &Node) -> Answer<'a> {
        let constant = matches!(item, Node::Constant(_));
        let item = self.eval(item)?;
        // The accumulator's name, the list around the item, the addition.
        self.meter.charge(if constant { 2 } else { 12 })?;
        match self.take(slot)? {
            Value::List(List { items: Items::Shared(mut items), decl }) => {
                Arc::make_mut(&mut items).push(item);
                Ok(Value::List(List { items: Items::Shared(items), decl }))
            }
            _ => no_overload(),
        }
    }

    #[inline(never)]
    fn insert(&mut self, slot: usize, rest: &[Node]) -> Answer<'a> {
        let mut args = Vec::with_capacity(rest.len());
        for node in rest {
            args.push(self.eval(node)?);
        }
        self.meter.charge(2)?;
        let map = match self.take(slot)? {
            Value::Map(Map { entries: entries @ Entries::Shared(_), decl }) => {
                Value::Map(Map { entries, decl })
            }
            // An empty literal.
            _ => return no_overload(),
        };
        operators::insert(map, &args, self)
    }
}
