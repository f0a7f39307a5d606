//! Parsed views of stored objects, for decisions that every request waits for.
//!
//! [`Feed`] follows a resource through a watch; [`Memo`] parses on demand and remembers by revision.

mod feed;
mod memo;
#[cfg(test)]
pub(crate) mod testing;

pub(crate) use feed::{Feed, Sink};
pub(crate) use memo::Memo;
