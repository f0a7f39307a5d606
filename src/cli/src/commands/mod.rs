//! One file per command for people and scripts.

pub mod addon;
pub mod config;
pub mod enable;
pub mod kubectl;
pub mod pause;
pub mod process;
pub mod reset;
pub mod start;
pub mod status;
pub mod stop;
