//! Waiting for a condition.

use std::future::Future;
use std::time::Duration;

/// How long is waited before a test has failed. Generous: a loaded machine is no bug.
const TIMEOUT: Duration = Duration::from_secs(30);
/// How often is looked.
const INTERVAL: Duration = Duration::from_millis(20);

/// Waits until `condition` answers something.
///
/// # Panics
/// When it has not within 30 seconds.
pub async fn eventually<T, F>(what: &str, mut condition: impl FnMut() -> F) -> T
where
    F: Future<Output = Option<T>>,
{
    let waiting = async {
        loop {
            if let Some(value) = condition().await {
                return value;
            }
            tokio::time::sleep(INTERVAL).await;
        }
    };
    match tokio::time::timeout(TIMEOUT, waiting).await {
        Ok(value) => value,
        Err(_) => panic!("this never happened: {what}"),
    }
}
