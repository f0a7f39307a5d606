//! Tokens to a syntax tree, by recursive descent with bounded depth.

use crate::ast::{Entry, Expr, FieldInit, Item, Kind, Literal};
use crate::escape::is_reserved;
use crate::lexer::{Token, TokenKind, tokens};
use crate::macros;
use crate::source::{CompileErrors, MAX_CHARACTERS, Report};

/// How deep an expression may nest; a chain of operators nests by one at each (cel-go's limit). The tree's
/// depth, and so the stack that the checker and the evaluator need, follow from it.
pub(crate) const MAX_DEPTH: usize = 250;

/// How many brackets, branches and calls may be within each other: each takes several frames of the parser's stack.
const MAX_NESTING: usize = 100;

const PRIMARY: &str = "{'[', '{', '(', '.', '-', '!', 'true', 'false', 'null', NUM_FLOAT, NUM_INT, NUM_UINT, \
                       STRING, BYTES, IDENTIFIER}";

/// Operators with two operands: symbol, function, how strongly they bind. All bind to the left.
const OPERATORS: [(&str, &str, u8); 14] = [
    ("||", "_||_", 0),
    ("&&", "_&&_", 1),
    ("==", "_==_", 2),
    ("!=", "_!=_", 2),
    ("<", "_<_", 2),
    ("<=", "_<=_", 2),
    (">", "_>_", 2),
    (">=", "_>=_", 2),
    ("in", "@in", 2),
    ("+", "_+_", 3),
    ("-", "_-_", 3),
    ("*", "_*_", 4),
    ("/", "_/_", 4),
    ("%", "_%_", 4),
];

/// What of the language is on.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Syntax {
    /// `cel.bind`.
    pub(crate) bind: bool,
}

/// The expression is wrong; the report says how.
#[derive(Debug)]
pub(crate) struct Failed;

pub(crate) struct Parser<'s> {
    tokens: Vec<Token<'s>>,
    next: usize,
    depth: usize,
    nesting: usize,
    pub(crate) syntax: Syntax,
    pub(crate) report: Report<'s>,
}

/// Parses the source and expands macros.
pub(crate) fn parse(source: &str, syntax: Syntax) -> Result<Expr, CompileErrors> {
    let mut report = Report::new(source);
    let size = source.chars().count();
    if size > MAX_CHARACTERS {
        let message =
            format!("expression code point size exceeds limit: size: {size}, limit {MAX_CHARACTERS}");
        let error = crate::CompileError { line: 0, column: 0, message, source: String::new() };
        return Err(CompileErrors(vec![error]));
    }
    let tokens = tokens(source, &mut report);
    let mut parser = Parser { tokens, next: 0, depth: 0, nesting: 0, syntax, report };
    match parser.start() {
        Ok(expr) if parser.report.is_empty() => Ok(expr),
        _ => Err(parser.report.finish()),
    }
}

type Parsed<T = Expr> = Result<T, Failed>;

impl<'s> Parser<'s> {
    fn start(&mut self) -> Parsed {
        let expr = self.expr()?;
        let token = self.peek();
        if token.kind != TokenKind::End {
            let how = if self.peek_at(1).kind == TokenKind::End { "extraneous" } else { "mismatched" };
            let message = format!("Syntax error: {how} input '{}' expecting <EOF>", token.text);
            return self.fail(token.at, message);
        }
        Ok(expr)
    }

    fn peek_at(&self, ahead: usize) -> Token<'s> {
        let end = Token { kind: TokenKind::End, at: 0, text: "<EOF>" };
        self.tokens.get(self.next + ahead).or(self.tokens.last()).cloned().unwrap_or(end)
    }

    fn peek(&self) -> Token<'s> {
        self.peek_at(0)
    }

    fn is(&self, symbol: &str) -> bool {
        self.is_at(0, symbol)
    }

    fn is_at(&self, ahead: usize, symbol: &str) -> bool {
        matches!(self.tokens.get(self.next + ahead), Some(token)
            if matches!(token.kind, TokenKind::Symbol(found) | TokenKind::Word(found) if found == symbol))
    }

    /// Takes the symbol if it is next, and tells where it was.
    fn accept(&mut self, symbol: &str) -> Option<u32> {
        self.is(symbol).then(|| {
            let at = self.peek().at;
            self.next += 1;
            at
        })
    }

    fn expect(&mut self, symbol: &str) -> Parsed<u32> {
        match self.accept(symbol) {
            Some(at) => Ok(at),
            None => self.mismatch(&format!("'{symbol}'")),
        }
    }

    fn expect_ident(&mut self) -> Parsed<Token<'s>> {
        let token = self.peek();
        if token.kind != TokenKind::Ident {
            return self.mismatch("IDENTIFIER");
        }
        self.next += 1;
        Ok(token)
    }

    fn mismatch<T>(&mut self, expected: &str) -> Parsed<T> {
        let token = self.peek();
        self.fail(token.at, format!("Syntax error: mismatched input '{}' expecting {expected}", token.text))
    }

    pub(crate) fn fail<T>(&mut self, at: u32, message: impl Into<String>) -> Parsed<T> {
        self.report.error(at, message);
        Err(Failed)
    }

    fn deeper(&mut self) -> Parsed<()> {
        self.depth += 1;
        if self.depth > MAX_DEPTH { self.too_deep() } else { Ok(()) }
    }

    fn too_deep<T>(&mut self) -> Parsed<T> {
        let at = self.peek().at;
        self.fail(at, format!("expression recursion limit exceeded: {MAX_DEPTH}"))
    }

    fn expr(&mut self) -> Parsed {
        let (depth, nesting) = (self.depth, self.nesting);
        self.deeper()?;
        self.nesting += 1;
        if self.nesting > MAX_NESTING {
            return self.too_deep();
        }
        let condition = self.operation(0)?;
        let expr = match self.accept("?") {
            None => condition,
            Some(at) => self.conditional(at, condition)?,
        };
        self.depth = depth;
        self.nesting = nesting;
        Ok(expr)
    }

    fn conditional(&mut self, at: u32, condition: Expr) -> Parsed {
        let then = self.operation(0)?;
        self.expect(":")?;
        let otherwise = self.expr()?;
        Ok(Expr::call(at, "_?_:_", vec![condition, then, otherwise]))
    }

    /// Operands and the operators between them that bind at least so strongly.
    fn operation(&mut self, strength: u8) -> Parsed {
        let depth = self.depth;
        let mut left = self.unary()?;
        while let Some((symbol, function, binds)) = self.operator(strength) {
            left = match binds {
                0 | 1 => self.logic(symbol, function, binds, left)?,
                _ => {
                    self.deeper()?;
                    let at = self.expect(symbol)?;
                    let right = self.operation(binds + 1)?;
                    Expr::call(at, function, vec![left, right])
                }
            };
        }
        self.depth = depth;
        Ok(left)
    }

    fn operator(&self, strength: u8) -> Option<(&'static str, &'static str, u8)> {
        let (TokenKind::Symbol(next) | TokenKind::Word(next)) = self.tokens.get(self.next)?.kind else {
            return None;
        };
        OPERATORS.into_iter().find(|(symbol, _, binds)| *symbol == next && *binds >= strength)
    }

    /// All terms of one `&&` or `||`, however many.
    fn logic(&mut self, symbol: &str, function: &str, binds: u8, first: Expr) -> Parsed {
        let mut terms = vec![first];
        let mut at = Vec::new();
        while let Some(operator) = self.accept(symbol) {
            at.push(operator);
            terms.push(self.operation(binds + 1)?);
        }
        Ok(balanced(function, terms, &at))
    }

    fn unary(&mut self) -> Parsed {
        let first = self.peek().at;
        let mut nots = 0;
        while self.accept("!").is_some() {
            nots += 1;
        }
        if nots > 0 {
            let operand = self.member()?;
            return Ok(if nots % 2 == 0 { operand } else { Expr::call(first, "!_", vec![operand]) });
        }
        let mut minuses = 0;
        while self.is("-") && !matches!(self.peek_at(1).kind, TokenKind::Number(_)) {
            self.next += 1;
            minuses += 1;
        }
        let operand = self.member()?;
        Ok(if minuses % 2 == 0 { operand } else { Expr::call(first, "-_", vec![operand]) })
    }

    fn member(&mut self) -> Parsed {
        let depth = self.depth;
        let mut expr = self.primary()?;
        loop {
            if let Some(dot) = self.accept(".") {
                self.deeper()?;
                let optional = self.accept("?").is_some();
                let name = self.expect_ident()?;
                if !optional && let Some(open) = self.accept("(") {
                    let args = self.arguments()?;
                    expr = macros::member_call(self, open, name.text, expr, args).unwrap_or_else(unexpanded);
                } else {
                    let (operand, field) = (Box::new(expr), name.text.to_owned());
                    expr = Expr::new(dot, Kind::Select { operand, field, test: false, optional });
                }
            } else if let Some(open) = self.accept("[") {
                self.deeper()?;
                let function = if self.accept("?").is_some() { "_[?_]" } else { "_[_]" };
                let index = self.expr()?;
                self.expect("]")?;
                expr = Expr::call(open, function, vec![expr, index]);
            } else {
                break;
            }
        }
        self.depth = depth;
        Ok(expr)
    }

    fn arguments(&mut self) -> Parsed<Vec<Expr>> {
        let mut args = Vec::new();
        if self.accept(")").is_some() {
            return Ok(args);
        }
        loop {
            args.push(self.expr()?);
            if self.accept(",").is_none() {
                break;
            }
        }
        self.expect(")")?;
        Ok(args)
    }

    fn primary(&mut self) -> Parsed {
        let (kind, at) = match self.tokens.get(self.next) {
            Some(token) => (&token.kind, token.at),
            None => return self.mismatch(PRIMARY),
        };
        match kind {
            TokenKind::Symbol("(") => self.nested(),
            TokenKind::Symbol("[") => self.list(at),
            TokenKind::Symbol("{") => self.map(at),
            TokenKind::Symbol("-") if matches!(self.peek_at(1).kind, TokenKind::Number(_)) => {
                self.next += 1;
                self.number(at, true)
            }
            TokenKind::Symbol(".") if self.peek_at(1).kind == TokenKind::Ident => {
                self.next += 1;
                self.name(".")
            }
            TokenKind::Ident => self.name(""),
            _ => self.literal(at),
        }
    }

    fn nested(&mut self) -> Parsed {
        self.next += 1;
        let expr = self.expr()?;
        self.expect(")")?;
        Ok(expr)
    }

    fn literal(&mut self, at: u32) -> Parsed {
        let token = self.peek();
        match token.kind {
            TokenKind::Number(_) => self.number(at, false),
            TokenKind::String(value) => self.word(at, Literal::String(value)),
            TokenKind::Bytes(value) => self.word(at, Literal::Bytes(value)),
            TokenKind::Word("true") => self.word(at, Literal::Bool(true)),
            TokenKind::Word("false") => self.word(at, Literal::Bool(false)),
            TokenKind::Word("null") => self.word(at, Literal::Null),
            kind if kind != TokenKind::End && starts_primary(&self.peek_at(1).kind) => {
                self.fail(at, format!("Syntax error: extraneous input '{}' expecting {PRIMARY}", token.text))
            }
            _ => self.mismatch(PRIMARY),
        }
    }

    fn word(&mut self, at: u32, literal: Literal) -> Parsed {
        self.next += 1;
        Ok(Expr::literal(at, literal))
    }

    fn number(&mut self, at: u32, negative: bool) -> Parsed {
        let TokenKind::Number(number) = self.peek().kind else { return self.mismatch(PRIMARY) };
        let literal = number.literal(negative).unwrap_or_else(|message| {
            self.report.error(at, message);
            Literal::Int(0)
        });
        self.word(at, literal)
    }

    fn list(&mut self, at: u32) -> Parsed {
        self.next += 1;
        let mut items = Vec::new();
        while !self.is("]") {
            let optional = self.accept("?").is_some();
            items.push(Item { value: self.expr()?, optional });
            if self.accept(",").is_none() {
                break;
            }
        }
        self.expect("]")?;
        Ok(Expr::new(at, Kind::List(items)))
    }

    fn map(&mut self, at: u32) -> Parsed {
        self.next += 1;
        let mut entries = Vec::new();
        while !self.is("}") {
            let optional = self.accept("?").is_some();
            let key = self.expr()?;
            self.expect(":")?;
            entries.push(Entry { key, value: self.expr()?, optional });
            if self.accept(",").is_none() {
                break;
            }
        }
        self.expect("}")?;
        Ok(Expr::new(at, Kind::Map(entries)))
    }

    /// A name, a call of a function, or `Type.Name{field: value}`.
    fn name(&mut self, dot: &str) -> Parsed {
        let token = self.expect_ident()?;
        let mut ahead = 0;
        while self.is_at(ahead, ".") && self.peek_at(ahead + 1).kind == TokenKind::Ident {
            ahead += 2;
        }
        if self.is_at(ahead, "{") {
            let mut name = format!("{dot}{}", token.text);
            for _ in 0..ahead / 2 {
                self.next += 1;
                name.push('.');
                name.push_str(self.expect_ident()?.text);
            }
            return self.structure(name);
        }
        if is_reserved(token.text) {
            self.report.error(token.at, format!("reserved identifier: {}", token.text));
        }
        if let Some(open) = self.accept("(") {
            let args = self.arguments()?;
            return Ok(macros::global_call(self, open, token.text, args).unwrap_or_else(unexpanded));
        }
        Ok(Expr::ident(token.at, token.text))
    }

    fn structure(&mut self, name: String) -> Parsed {
        let open = self.expect("{")?;
        let mut fields = Vec::new();
        while !self.is("}") {
            let optional = self.accept("?").is_some();
            let name = self.expect_ident()?.text.to_owned();
            let at = self.expect(":")?;
            fields.push(FieldInit { at, name, value: self.expr()?, optional });
            if self.accept(",").is_none() {
                break;
            }
        }
        self.expect("}")?;
        Ok(Expr::new(open, Kind::Struct { name: name.trim_start_matches('.').to_owned(), fields }))
    }
}

/// Stands for a macro that is wrong, which was reported: what follows may be wrong as well.
fn unexpanded(_: Failed) -> Expr {
    Expr::literal(0, Literal::Null)
}

fn starts_primary(kind: &TokenKind) -> bool {
    match kind {
        TokenKind::Symbol(symbol) => matches!(*symbol, "[" | "{" | "(" | "." | "-" | "!"),
        TokenKind::Word(word) => *word != "in",
        TokenKind::End => false,
        _ => true,
    }
}

/// A tree of logarithmic depth over any number of terms, so that long conditions do not nest deeply.
fn balanced(function: &str, mut terms: Vec<Expr>, at: &[u32]) -> Expr {
    if terms.len() <= 1 {
        return terms.pop().unwrap_or_else(|| Expr::literal(0, Literal::Null));
    }
    let middle = terms.len() / 2;
    let right = terms.split_off(middle);
    let (left_at, rest) = at.split_at(middle.saturating_sub(1).min(at.len()));
    let (here, right_at) = rest.split_first().map_or((0, rest), |(here, rest)| (*here, rest));
    Expr::call(here, function, vec![balanced(function, terms, left_at), balanced(function, right, right_at)])
}
