//! The text of an expression, and errors that point into it.

use std::fmt;

/// Most characters of an expression (cel-go's limit).
pub(crate) const MAX_CHARACTERS: usize = 100_000;

/// Most errors that are told of one expression.
const MAX_ERRORS: usize = 100;

/// Longest line that an error quotes, in characters.
const MAX_SNIPPET: usize = 16_384;

/// Something wrong with an expression, at a place in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompileError {
    /// Line, from 1; 0 where the whole expression is meant.
    pub line: usize,
    /// Character of the line, from 1.
    pub column: usize,
    /// What is wrong.
    pub message: String,
    /// The line in question.
    pub source: String,
}

/// All that is wrong with an expression: at least one error. Displayed as cel-go does, with the lines quoted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompileErrors(pub Vec<CompileError>);

impl std::error::Error for CompileErrors {}

impl fmt::Display for CompileErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{error}")?;
        }
        Ok(())
    }
}

impl fmt::Display for CompileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ERROR: <input>:{}:{}: {}", self.line, self.column, self.message)?;
        if self.line == 0 || self.source.chars().count() > MAX_SNIPPET {
            return Ok(());
        }
        write!(f, "\n | {}\n | ", self.source.replace('\t', " "))?;
        let mut line = self.source.chars();
        for c in line.by_ref().take(self.column.saturating_sub(1)) {
            f.write_str(if c.is_ascii() { "." } else { "\u{ff0e}" })?;
        }
        f.write_str(if line.next().is_none_or(|c| c.is_ascii()) { "^" } else { "\u{ff3e}" })
    }
}

/// Collects errors of one expression.
#[derive(Debug)]
pub(crate) struct Report<'s> {
    source: &'s str,
    found: Vec<(u32, String)>,
}

impl<'s> Report<'s> {
    pub(crate) fn new(source: &'s str) -> Self {
        Self { source, found: Vec::new() }
    }

    /// Notes an error at a character of the source.
    pub(crate) fn error(&mut self, at: u32, message: impl Into<String>) {
        if self.found.len() < MAX_ERRORS {
            self.found.push((at, message.into()));
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// The errors, in order of their place.
    pub(crate) fn finish(mut self) -> CompileErrors {
        self.found.sort_by_key(|(at, _)| *at);
        CompileErrors(
            self.found
                .into_iter()
                .map(|(at, message)| {
                    let (line, column, source) = locate(self.source, at as usize);
                    CompileError { line, column, message, source: source.to_owned() }
                })
                .collect(),
        )
    }
}

/// Line and column, both from 1, and the text of the line.
fn locate(source: &str, at: usize) -> (usize, usize, &str) {
    let mut left = at;
    let mut number = 1;
    for line in source.split('\n') {
        let length = line.chars().count();
        if left <= length {
            return (number, left + 1, line);
        }
        left -= length + 1;
        number += 1;
    }
    (number, left + 1, "")
}
