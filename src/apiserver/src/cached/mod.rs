//! Parsed views of stored objects, for decisions that every request waits for.
//!
//! [`Feed`] follows a resource through a watch; [`Memo`] parses on demand and remembers by revision; [`Expiring`]
//! remembers answers of others for a time.

mod expiring;
mod feed;
mod memo;
#[cfg(test)]
pub(crate) mod testing;

pub(crate) use expiring::Expiring;
pub(crate) use feed::{Feed, Sink};
pub(crate) use memo::Memo;
