//! Cells and columns that many kinds' tables share.

mod basic;
mod workload;

pub use basic::{
    age, bool_text, created_at_columns, created_at_row, int_cell, joined, joined_or_none, last_condition,
    name, none, or_none, selector_text, status_age, text_cell, translate_timestamp_since,
};
pub use workload::{container_names, images};
