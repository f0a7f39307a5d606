//! Regular expressions of schemas. How they are read: [`cel::pattern`].

use std::sync::{Arc, OnceLock};

use regex::Regex;

pub use cel::pattern::compile;

use crate::schema::Pattern;

impl Pattern {
    /// A pattern as a schema has it. It is compiled when it is first used.
    pub fn new(text: &str) -> Self {
        Self { text: text.into(), compiled: Arc::new(OnceLock::new()) }
    }

    /// The compiled expression; None if it is none.
    pub fn regex(&self) -> Option<&Regex> {
        self.compiled.get_or_init(|| compile(&self.text).ok()).as_ref()
    }
}
