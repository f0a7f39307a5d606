//! Starts jobs by the clock.
//!
//! Upstream counterpart: `cronjob-controller` (version 2).

mod controller;
mod plan;
mod schedule;

pub use controller::CronJobController;
pub use schedule::{Schedule, ScheduleError};
