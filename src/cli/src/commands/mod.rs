//! One file per command for people and scripts.

pub mod add_node;
pub mod addon;
pub mod config;
pub mod datastore;
pub mod enable;
pub mod join;
pub mod kubectl;
pub mod leave;
pub mod pause;
pub mod process;
pub mod remove_node;
pub mod repositories;
pub mod reset;
pub mod start;
pub mod status;
pub mod stop;
pub mod token;
