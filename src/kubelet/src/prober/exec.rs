//! Exec probes: a command that exits with 0 is content.

use cri::{CriError, Runtime};
use std::time::Duration;

/// How much of the output an event shows.
const MAX_OUTPUT_BYTES: usize = 10 * 1024;

/// Runs `command` in a container.
///
/// # Errors
/// `Ok(Err(..))` is a failed probe with what to tell; `Err` is a runtime that could not try.
pub async fn exec(
    runtime: &dyn Runtime,
    container_id: &str,
    command: &[String],
    timeout: Duration,
) -> Result<Result<(), String>, CriError> {
    match runtime.exec_sync(container_id, command, timeout).await {
        Ok(output) if output.exit_code == 0 => Ok(Ok(())),
        Ok(output) => {
            let mut text = output.stdout;
            text.extend(output.stderr);
            text.truncate(MAX_OUTPUT_BYTES);
            Ok(Err(String::from_utf8_lossy(&text).into_owned()))
        }
        Err(CriError::DeadlineExceeded { .. }) => Ok(Err(format!(
            "command timed out: {command:?} timed out after {}",
            crate::backoff::show(timeout)
        ))),
        Err(error) => Err(error),
    }
}
