//! Backups of a node: what goes into one, and bringing one back.
//!
//! | module | what |
//! |---|---|
//! | [`keeper`] | backups that are kept, by schedule and by hand |
//! | [`source`] | what goes in |
//! | [`staged`] | a state that is about to take the place of the present one |

pub mod keeper;
pub mod source;
pub mod staged;
