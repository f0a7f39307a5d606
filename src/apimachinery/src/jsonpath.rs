//! JSONPath as Kubernetes writes it (`k8s.io/client-go/util/jsonpath`): what printer columns, scale subresources and
//! selectable fields of custom resources are found by. Without the braces of templates.

use serde_json::{Number, Value};
use std::cmp::Ordering;

/// Deepest nesting of filters.
const MAX_DEPTH: usize = 8;

/// A parsed path.
#[derive(Clone, Debug, PartialEq)]
pub struct JsonPath {
    steps: Box<[Step]>,
}

#[derive(Clone, Debug, PartialEq)]
enum Step {
    /// A member of an object.
    Field(Box<str>),
    /// Every member or item.
    Wildcard,
    /// The value itself and everything within it.
    Recursive,
    /// Items of a list; what is negative counts from its end.
    Slice { start: Option<i64>, end: Option<i64>, step: usize },
    /// What any of these finds.
    Union(Box<[Step]>),
    /// Items that a condition holds for.
    Filter(Box<Filter>),
}

#[derive(Clone, Debug, PartialEq)]
struct Filter {
    left: Operand,
    comparison: Option<(Operator, Operand)>,
}

#[derive(Clone, Debug, PartialEq)]
enum Operand {
    Path(JsonPath),
    Literal(Value),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operator {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl JsonPath {
    /// Reads a path such as `.status.conditions[?(@.type=="Ready")].status`.
    ///
    /// # Errors
    /// With what cannot be read.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut parser = Parser { rest: text.trim(), depth: 0 };
        let path = parser.path()?;
        match parser.rest {
            "" => Ok(path),
            rest => Err(format!("unexpected {rest:?} in JSONPath {text:?}")),
        }
    }

    /// Everything that the path finds, in order.
    pub fn find<'a>(&self, value: &'a Value) -> Vec<&'a Value> {
        let mut found = vec![value];
        for step in &self.steps {
            let mut next = Vec::new();
            found.iter().for_each(|value| step.find(value, &mut next));
            found = next;
        }
        found
    }

    /// The first thing that the path finds.
    pub fn first<'a>(&self, value: &'a Value) -> Option<&'a Value> {
        self.find(value).into_iter().next()
    }

    /// The names of fields on the way, if the path is made of nothing else.
    pub fn fields(&self) -> Option<Vec<&str>> {
        self.steps
            .iter()
            .map(|step| match step {
                Step::Field(name) => Some(name.as_ref()),
                _ => None,
            })
            .collect()
    }
}

impl Step {
    fn find<'a>(&self, value: &'a Value, found: &mut Vec<&'a Value>) {
        match (self, value) {
            (Self::Field(name), Value::Object(map)) => found.extend(map.get(name.as_ref())),
            (Self::Wildcard, Value::Object(map)) => found.extend(map.values()),
            (Self::Wildcard, Value::Array(items)) => found.extend(items),
            (Self::Recursive, value) => within(value, found),
            (Self::Slice { start, end, step }, Value::Array(items)) => {
                let length = i64::try_from(items.len()).unwrap_or(i64::MAX);
                let place = |at: i64| {
                    usize::try_from(if at < 0 { at.saturating_add(length) } else { at }.clamp(0, length))
                        .unwrap_or(0)
                };
                let (start, end) = (place(start.unwrap_or(0)), place(end.unwrap_or(length)));
                found.extend(items.get(start..end.max(start)).unwrap_or_default().iter().step_by(*step));
            }
            (Self::Union(steps), value) => steps.iter().for_each(|step| step.find(value, found)),
            (Self::Filter(filter), Value::Array(items)) => {
                found.extend(items.iter().filter(|item| filter.holds(item)));
            }
            (Self::Filter(filter), Value::Object(map)) => {
                found.extend(map.values().filter(|value| filter.holds(value)));
            }
            _ => {}
        }
    }
}

fn within<'a>(value: &'a Value, found: &mut Vec<&'a Value>) {
    found.push(value);
    match value {
        Value::Object(map) => map.values().for_each(|value| within(value, found)),
        Value::Array(items) => items.iter().for_each(|value| within(value, found)),
        _ => {}
    }
}

impl Filter {
    fn holds(&self, value: &Value) -> bool {
        let Some(left) = self.left.of(value) else { return false };
        let Some((operator, right)) = &self.comparison else { return true };
        let Some(right) = right.of(value) else { return false };
        match operator {
            Operator::Equal => equal(left, right),
            Operator::NotEqual => !equal(left, right),
            _ => compare(left, right).is_some_and(|ordering| match operator {
                Operator::Less => ordering == Ordering::Less,
                Operator::LessOrEqual => ordering != Ordering::Greater,
                Operator::Greater => ordering == Ordering::Greater,
                _ => ordering != Ordering::Less,
            }),
        }
    }
}

impl Operand {
    fn of<'a>(&'a self, value: &'a Value) -> Option<&'a Value> {
        match self {
            Self::Path(path) => path.first(value),
            Self::Literal(literal) => Some(literal),
        }
    }
}

fn equal(a: &Value, b: &Value) -> bool {
    a == b || compare(a, b) == Some(Ordering::Equal)
}

fn compare(a: &Value, b: &Value) -> Option<Ordering> {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a.as_f64()?.partial_cmp(&b.as_f64()?),
        (Value::String(a), Value::String(b)) => Some(a.cmp(b)),
        _ => None,
    }
}

struct Parser<'a> {
    rest: &'a str,
    depth: usize,
}

impl<'a> Parser<'a> {
    fn eat(&mut self, token: &str) -> bool {
        crate::scan::eat(&mut self.rest, token)
    }

    fn expect(&mut self, token: &str) -> Result<(), String> {
        if self.eat(token) { Ok(()) } else { Err(format!("expected {token:?} before {:?}", self.rest)) }
    }

    fn blanks(&mut self) {
        self.rest = self.rest.trim_start();
    }

    fn path(&mut self) -> Result<JsonPath, String> {
        if !self.eat("$") {
            self.eat("@");
        }
        let mut steps = Vec::new();
        loop {
            if self.eat("..") {
                steps.push(Step::Recursive);
                if !self.rest.starts_with('[') {
                    steps.push(self.name()?);
                }
            } else if self.eat(".") {
                // `.` alone is the whole value, `.[0]` the same as `[0]`.
                if !self.rest.is_empty() && !self.rest.starts_with('[') {
                    steps.push(self.name()?);
                }
            } else if self.eat("[") {
                steps.push(self.bracket()?);
            } else {
                return Ok(JsonPath { steps: steps.into() });
            }
        }
    }

    /// A field's name up to what cannot be part of one; a backslash takes the next character as it is.
    fn name(&mut self) -> Result<Step, String> {
        if self.eat("*") {
            return Ok(Step::Wildcard);
        }
        let mut name = String::new();
        let mut characters = self.rest.char_indices();
        let mut end = self.rest.len();
        while let Some((at, c)) = characters.next() {
            match c {
                '\\' => name.extend(characters.next().map(|(_, escaped)| escaped)),
                '.' | '[' | ']' | '(' | ')' | ' ' | '=' | '!' | '<' | '>' | '{' | '}' | ',' | '"' | '\'' => {
                    end = at;
                    break;
                }
                _ => name.push(c),
            }
        }
        if name.is_empty() {
            return Err(format!("expected a name before {:?}", self.rest));
        }
        self.rest = self.rest.get(end..).unwrap_or("");
        Ok(Step::Field(name.into()))
    }

    fn bracket(&mut self) -> Result<Step, String> {
        if self.eat("?(") {
            let filter = self.filter()?;
            self.expect(")")?;
            self.expect("]")?;
            return Ok(Step::Filter(Box::new(filter)));
        }
        let mut steps = vec![self.element()?];
        while self.eat(",") {
            steps.push(self.element()?);
        }
        self.expect("]")?;
        match (steps.len(), steps.pop()) {
            (1, Some(step)) => Ok(step),
            (_, last) => {
                steps.extend(last);
                Ok(Step::Union(steps.into()))
            }
        }
    }

    fn element(&mut self) -> Result<Step, String> {
        self.blanks();
        let step = if self.eat("*") {
            Step::Wildcard
        } else if let Some(text) = self.quoted()? {
            Step::Field(text.into())
        } else {
            self.slice()?
        };
        self.blanks();
        Ok(step)
    }

    fn slice(&mut self) -> Result<Step, String> {
        let start = self.integer();
        if !self.eat(":") {
            let Some(at) = start else { return Err(format!("expected an index before {:?}", self.rest)) };
            // The last item has nothing after it to end before.
            let end = at.checked_add(1).filter(|end| *end != 0);
            return Ok(Step::Slice { start, end, step: 1 });
        }
        let end = self.integer();
        let step = if self.eat(":") { self.integer().unwrap_or(1) } else { 1 };
        match usize::try_from(step) {
            Ok(step) if step > 0 => Ok(Step::Slice { start, end, step }),
            _ => Err("step must be greater than 0".to_owned()),
        }
    }

    fn integer(&mut self) -> Option<i64> {
        let digits = self.rest.strip_prefix('-').unwrap_or(self.rest);
        let sign = self.rest.len() - digits.len();
        let length = sign + digits.bytes().take_while(u8::is_ascii_digit).count();
        let (text, rest) = self.rest.split_at_checked(length)?;
        let number = text.parse().ok()?;
        self.rest = rest;
        Some(number)
    }

    fn quoted(&mut self) -> Result<Option<String>, String> {
        let Some(quote) = self.rest.chars().next().filter(|c| matches!(c, '\'' | '"')) else {
            return Ok(None);
        };
        let mut text = String::new();
        let mut characters = self.rest.char_indices().skip(1);
        while let Some((at, c)) = characters.next() {
            match c {
                '\\' => text.extend(characters.next().map(|(_, escaped)| escaped)),
                c if c == quote => {
                    self.rest = self.rest.get(at + 1..).unwrap_or("");
                    return Ok(Some(text));
                }
                _ => text.push(c),
            }
        }
        Err(format!("unterminated string {}", self.rest))
    }

    fn filter(&mut self) -> Result<Filter, String> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err("filters are nested too deep".to_owned());
        }
        const OPERATORS: [(&str, Operator); 6] = [
            ("==", Operator::Equal),
            ("!=", Operator::NotEqual),
            ("<=", Operator::LessOrEqual),
            (">=", Operator::GreaterOrEqual),
            ("<", Operator::Less),
            (">", Operator::Greater),
        ];
        let left = self.operand()?;
        let operator = OPERATORS.into_iter().find(|(token, _)| self.eat(token)).map(|(_, operator)| operator);
        let comparison = match operator {
            Some(operator) => Some((operator, self.operand()?)),
            None => None,
        };
        self.depth -= 1;
        Ok(Filter { left, comparison })
    }

    fn operand(&mut self) -> Result<Operand, String> {
        self.blanks();
        let operand = if let Some(text) = self.quoted()? {
            Operand::Literal(Value::from(text))
        } else if self.rest.starts_with(['@', '$', '.', '[']) {
            Operand::Path(self.path()?)
        } else {
            let end = self.rest.find([')', ' ', '=', '!', '<', '>']).unwrap_or(self.rest.len());
            let (word, rest) = self.rest.split_at(end);
            self.rest = rest;
            Operand::Literal(match word {
                "true" => Value::Bool(true),
                "false" => Value::Bool(false),
                _ => Value::Number(
                    word.parse::<Number>().map_err(|_| format!("unrecognized literal {word:?}"))?,
                ),
            })
        };
        self.blanks();
        Ok(operand)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn paths_find_what_kubectl_would() {
        let object = json!({
            "metadata": {"annotations": {"a.b/c": "dotted"}},
            "spec": {"list": [1, 2, 3], "items": [{"n": "x", "v": 1}, {"n": "y", "v": 2, "ok": true}]},
            "status": {"conditions": [{"type": "Other", "status": "False"}, {"type": "Ready", "status": "True"}]}});
        for (path, wanted) in [
            (".spec.list", json!([[1, 2, 3]])),
            ("$.spec.list[0]", json!([1])),
            (".spec.list[-1]", json!([3])),
            (".spec.list[-1:]", json!([3])),
            (".spec.list[0:3:2]", json!([1, 3])),
            (".spec.list[0,2]", json!([1, 3])),
            (".spec.list[9]", json!([])),
            (".spec.items[*].n", json!(["x", "y"])),
            (".metadata.annotations.a\\.b/c", json!(["dotted"])),
            (".metadata.annotations['a.b/c']", json!(["dotted"])),
            (".status.conditions[?(@.type==\"Ready\")].status", json!(["True"])),
            (".status.conditions[?(@.type == 'Ready')].status", json!(["True"])),
            (".spec.items[?(@.v>1)].n", json!(["y"])),
            (".spec.items[?(@.ok)].n", json!(["y"])),
            (".spec.items[?(@.v != 1)].n", json!(["y"])),
            ("..status", json!([object["status"], "False", "True"])),
            (".nothing.here", json!([])),
            (".spec.list.n", json!([])),
        ] {
            let found = JsonPath::parse(path).unwrap();
            assert_eq!(json!(found.find(&object)), wanted, "{path}");
        }
    }

    #[test]
    fn what_is_no_path_is_refused() {
        for bad in [".a[", ".a[?(@.x", ".a['b]", ".a[0:1:0]", ".a.b}", "..", ".a[x]", ".a[?(@.x==y)]"] {
            assert!(JsonPath::parse(bad).is_err(), "{bad}");
        }
        let deep = "[?(@".repeat(20);
        assert!(JsonPath::parse(&deep).is_err());
    }

    #[test]
    fn plain_paths_tell_their_fields() {
        assert_eq!(JsonPath::parse(".spec.a\\.b").unwrap().fields(), Some(vec!["spec", "a.b"]));
        assert_eq!(JsonPath::parse(".spec[0]").unwrap().fields(), None);
    }
}
