//! Text to tokens.

use crate::ast::Literal;
use crate::source::Report;

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum TokenKind {
    /// An operator or bracket.
    Symbol(&'static str),
    /// A name, reserved words among them.
    Ident,
    /// A keyword of the grammar: `in`, `true`, `false`, `null`.
    Word(&'static str),
    /// A number, unsigned here; its sign is a symbol.
    Number(Number),
    String(String),
    Bytes(Vec<u8>),
    End,
}

/// A number before its sign is known: -2^63 has no positive counterpart.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Number {
    Int(u64),
    Uint(u64),
    Double(f64),
    /// Which kind of literal is out of range.
    Invalid(&'static str),
}

impl Number {
    pub(crate) fn literal(&self, negative: bool) -> Result<Literal, &'static str> {
        match self {
            Number::Int(value) => {
                let value = i128::from(*value) * if negative { -1 } else { 1 };
                i64::try_from(value).map(Literal::Int).map_err(|_| "invalid int literal")
            }
            Number::Uint(_) if negative => Err("invalid uint literal"),
            Number::Uint(value) => Ok(Literal::Uint(*value)),
            Number::Double(value) => Ok(Literal::Double(if negative { -value } else { *value })),
            Number::Invalid(message) => Err(message),
        }
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Token<'s> {
    pub(crate) kind: TokenKind,
    pub(crate) at: u32,
    /// As written; `<EOF>` at the end.
    pub(crate) text: &'s str,
}

/// Longest first, so that the first that fits is right.
const SYMBOLS: [&str; 24] = [
    "==", "!=", "<=", ">=", "&&", "||", "[", "]", "{", "}", "(", ")", ".", ",", "-", "!", "?", ":", "+", "*",
    "/", "%", "<", ">",
];

struct Lexer<'s, 'r> {
    source: &'s str,
    /// Byte offset.
    byte: usize,
    /// Character offset.
    at: u32,
    report: &'r mut Report<'s>,
}

/// All tokens of the source, `End` last. What is no token is reported and skipped.
pub(crate) fn tokens<'s>(source: &'s str, report: &mut Report<'s>) -> Vec<Token<'s>> {
    let mut lexer = Lexer { source, byte: 0, at: 0, report };
    let mut tokens = Vec::new();
    while let Some(c) = lexer.peek() {
        if c.is_ascii_whitespace() {
            lexer.take(1);
            continue;
        }
        if lexer.rest().starts_with("//") {
            let length = lexer.rest().find('\n').unwrap_or(lexer.rest().len());
            lexer.take(length);
            continue;
        }
        let (start, at) = (lexer.byte, lexer.at);
        if let Some(kind) = lexer.token(c) {
            let text = source.get(start..lexer.byte).unwrap_or("");
            tokens.push(Token { kind, at, text });
        }
    }
    tokens.push(Token { kind: TokenKind::End, at: lexer.at, text: "<EOF>" });
    tokens
}

impl<'s> Lexer<'s, '_> {
    fn rest(&self) -> &'s str {
        self.source.get(self.byte..).unwrap_or("")
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    /// Moves on by bytes, which end between characters.
    fn take(&mut self, bytes: usize) -> &'s str {
        let taken = self.rest().get(..bytes).unwrap_or_else(|| self.rest());
        self.byte += taken.len();
        self.at += taken.chars().count() as u32;
        taken
    }

    fn unknown(&mut self, bytes: usize) -> Option<TokenKind> {
        let at = self.at;
        let text = self.take(bytes);
        self.report.error(at, format!("Syntax error: token recognition error at: '{text}'"));
        None
    }

    fn token(&mut self, c: char) -> Option<TokenKind> {
        if let Some((prefix, raw, bytes)) = string_prefix(self.rest()) {
            return self.string(prefix, raw, bytes);
        }
        if c.is_ascii_alphabetic() || c == '_' {
            let end = self.rest().find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
            let end = end.unwrap_or(self.rest().len());
            return Some(match self.take(end) {
                "in" => TokenKind::Word("in"),
                "true" => TokenKind::Word("true"),
                "false" => TokenKind::Word("false"),
                "null" => TokenKind::Word("null"),
                _ => TokenKind::Ident,
            });
        }
        let second = self.rest().as_bytes().get(1).copied().unwrap_or(0);
        if c.is_ascii_digit() || (c == '.' && second.is_ascii_digit()) {
            return Some(TokenKind::Number(self.number()));
        }
        if let Some(symbol) = SYMBOLS.iter().find(|symbol| self.rest().starts_with(**symbol)) {
            self.take(symbol.len());
            return Some(TokenKind::Symbol(symbol));
        }
        // The first half of a two-character operator takes the character after it along.
        let more = if matches!(c, '=' | '&' | '|') { self.rest().chars().nth(1) } else { None };
        self.unknown(c.len_utf8() + more.map_or(0, char::len_utf8))
    }

    fn number(&mut self) -> Number {
        let text = self.rest();
        let digits = |from: usize| {
            let rest = text.get(from..).unwrap_or("");
            rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len())
        };
        let byte = |at: usize| text.as_bytes().get(at).copied().unwrap_or(0);
        let unsigned = |at: usize| matches!(byte(at), b'u' | b'U');
        if text.starts_with("0x") && byte(2).is_ascii_hexdigit() {
            let rest = text.get(2..).unwrap_or("");
            let length = rest.find(|c: char| !c.is_ascii_hexdigit()).unwrap_or(rest.len());
            let value = u64::from_str_radix(rest.get(..length).unwrap_or(""), 16);
            let is_unsigned = unsigned(2 + length);
            self.take(2 + length + usize::from(is_unsigned));
            return whole(value.ok(), is_unsigned);
        }
        let mut end = digits(0);
        let mut double = false;
        if byte(end) == b'.' && byte(end + 1).is_ascii_digit() {
            double = true;
            end += 1 + digits(end + 1);
        }
        if matches!(byte(end), b'e' | b'E') {
            let sign = usize::from(matches!(byte(end + 1), b'+' | b'-'));
            if byte(end + 1 + sign).is_ascii_digit() {
                double = true;
                end += 1 + sign + digits(end + 1 + sign);
            }
        }
        if double {
            return match self.take(end).parse::<f64>() {
                Ok(value) if value.is_finite() => Number::Double(value),
                _ => Number::Invalid("invalid double literal"),
            };
        }
        let value = text.get(..end).unwrap_or("").parse().ok();
        let is_unsigned = unsigned(end);
        self.take(end + usize::from(is_unsigned));
        whole(value, is_unsigned)
    }

    fn string(&mut self, prefix: usize, raw: bool, bytes: bool) -> Option<TokenKind> {
        let at = self.at;
        let body = self.rest().get(prefix..).unwrap_or("");
        let quote = ["\"\"\"", "'''", "\"", "'"].into_iter().find(|quote| body.starts_with(quote))?;
        let long = quote.len() == 3;
        let inner = body.get(quote.len()..).unwrap_or("");
        let mut escaped = false;
        let mut end = None;
        for (index, c) in inner.char_indices() {
            if escaped {
                escaped = false;
            } else if c == '\\' && !raw {
                escaped = true;
            } else if inner.get(index..).is_some_and(|rest| rest.starts_with(quote)) {
                end = Some(index);
                break;
            } else if !long && (c == '\n' || c == '\r') {
                // An unended string: all up to the line's end is told.
                return self.unknown(prefix + 1 + index);
            }
        }
        let Some(end) = end else { return self.unknown(self.rest().len()) };
        self.take(prefix + 2 * quote.len() + end);
        let inner = inner.get(..end).unwrap_or("");
        let read = if raw { Ok(inner.as_bytes().to_vec()) } else { unescape(inner, bytes) };
        match read {
            Ok(value) if bytes => Some(TokenKind::Bytes(value)),
            Ok(value) => Some(TokenKind::String(String::from_utf8_lossy(&value).into_owned())),
            Err(message) => {
                self.report.error(at, message);
                Some(if bytes { TokenKind::Bytes(Vec::new()) } else { TokenKind::String(String::new()) })
            }
        }
    }
}

fn whole(value: Option<u64>, unsigned: bool) -> Number {
    match (value, unsigned) {
        (Some(value), true) => Number::Uint(value),
        (Some(value), false) => Number::Int(value),
        (None, true) => Number::Invalid("invalid uint literal"),
        (None, false) => Number::Invalid("invalid int literal"),
    }
}

/// Length of what precedes the quote, and whether the string is raw and bytes; `None` if no string starts here.
fn string_prefix(text: &str) -> Option<(usize, bool, bool)> {
    let (mut raw, mut bytes) = (false, false);
    for (index, c) in text.char_indices() {
        match c {
            '"' | '\'' => return Some((index, raw, bytes)),
            'r' | 'R' if !raw => raw = true,
            'b' | 'B' if !bytes && !raw => bytes = true,
            _ => return None,
        }
    }
    None
}

fn unescape(text: &str, bytes: bool) -> Result<Vec<u8>, &'static str> {
    const INVALID: &str = "unable to unescape string";
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        if c != '\\' {
            out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            continue;
        }
        let escape = rest.next().ok_or(INVALID)?;
        let (digits, radix, mut value) = match escape {
            'a' => (0, 0, 7),
            'b' => (0, 0, 8),
            'f' => (0, 0, 12),
            'n' => (0, 0, 10),
            'r' => (0, 0, 13),
            't' => (0, 0, 9),
            'v' => (0, 0, 11),
            '\\' | '\'' | '"' | '`' | '?' => (0, 0, escape as u32),
            'x' | 'X' => (2, 16, 0),
            'u' if !bytes => (4, 16, 0),
            'U' if !bytes => (8, 16, 0),
            '0'..='3' => (2, 8, escape as u32 - '0' as u32),
            _ => return Err(INVALID),
        };
        for _ in 0..digits {
            let digit = rest.next().and_then(|c| c.to_digit(radix)).ok_or(INVALID)?;
            value = value.checked_mul(radix).and_then(|v| v.checked_add(digit)).ok_or(INVALID)?;
        }
        if bytes && digits > 0 {
            out.push(u8::try_from(value).map_err(|_| INVALID)?);
        } else {
            let c = char::from_u32(value).ok_or(INVALID)?;
            out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
        }
    }
    Ok(out)
}
