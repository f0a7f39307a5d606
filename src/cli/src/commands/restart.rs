//! Doing something to a node's files while its server is stopped. Pods go on meanwhile.

use super::process::{self, Lock};
use super::progress::Progress;
use super::start;
use crate::arguments::Location;
use crate::paths::Paths;
use anyhow::{Result, bail};

/// Stops the server if it runs, does something, and starts it again as it was started before, also when that failed.
///
/// # Errors
/// What is done fails, or the server does not stop or start.
pub async fn while_stopped(location: &Location, action: impl FnOnce(&Paths) -> Result<()>) -> Result<()> {
    let paths = Paths::new(&location.data_dir);
    if process::running(&paths)?.is_none() {
        let _lock = locked(&paths)?;
        return action(&paths);
    }
    let arguments = process::state(&paths)?.map(|state| state.arguments).unwrap_or_default();
    let mut progress = Progress::new();
    progress.step("Stopping the server");
    process::terminate(&paths).await?;
    let done = locked(&paths).and_then(|_lock| action(&paths));
    start::again(location, &arguments, &mut progress)?;
    progress.done("Started.");
    done
}

fn locked(paths: &Paths) -> Result<Lock> {
    if !paths.root().is_dir() {
        bail!(
            "knarr never ran with the data directory {}; start it with `knarr start`",
            paths.root().display()
        );
    }
    process::lock(paths)
}
