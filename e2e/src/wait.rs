//! Waiting on conditions, with a limit and the last reason it did not hold.

use anyhow::{Result, bail};
use std::time::{Duration, Instant};

/// How often a condition is looked at: often enough not to slow a test, seldom enough for two cores.
const PERIOD: Duration = Duration::from_millis(50);

/// Calls `look` until it answers `Ok(value)`.
///
/// # Errors
/// After `limit`, with `what` was waited for and the last error.
pub fn until<T>(what: &str, limit: Duration, mut look: impl FnMut() -> Result<T>) -> Result<T> {
    let start = Instant::now();
    loop {
        match look() {
            Ok(value) => return Ok(value),
            Err(error) if start.elapsed() > limit => {
                bail!("waited {limit:?} for {what}; last seen: {error:#}")
            }
            Err(_) => std::thread::sleep(PERIOD),
        }
    }
}
