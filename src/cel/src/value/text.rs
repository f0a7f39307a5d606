//! Strings, borrowed from JSON or shared.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

/// A string, borrowed or shared.
#[derive(Clone)]
pub enum Text<'a> {
    /// Part of the data that is evaluated.
    Borrowed(&'a str),
    /// A literal or a computed string.
    Shared(Arc<str>),
}

impl Text<'_> {
    /// The number of characters; counts them.
    pub(crate) fn characters(&self) -> usize {
        // ASCII is counted by length: the common case, and much faster.
        if self.is_ascii() { self.len() } else { self.chars().count() }
    }
}

impl Deref for Text<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        match self {
            Text::Borrowed(text) => text,
            Text::Shared(text) => text,
        }
    }
}

impl fmt::Debug for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

impl From<String> for Text<'_> {
    fn from(text: String) -> Self {
        Text::Shared(text.into())
    }
}

impl From<&'static str> for Text<'_> {
    fn from(text: &'static str) -> Self {
        Text::Borrowed(text)
    }
}
