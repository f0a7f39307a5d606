//! `nft`: one call is one transaction.

use super::family::NftFamily as _;
use apimachinery::family::Family;
use std::io;
use std::process::Stdio;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

/// Where `nft` may be when it is not on the path of whoever started us.
const PLACES: [&str; 4] = ["nft", "/usr/sbin/nft", "/sbin/nft", "/usr/bin/nft"];

/// Why the rules are not in the kernel.
#[derive(Debug, thiserror::Error)]
pub enum NftError {
    /// There is no `nft`.
    #[error("nft was not found: install the package nftables")]
    Missing,
    /// It could not be run.
    #[error("cannot run nft")]
    Run(#[source] io::Error),
    /// It, or the kernel, refused. Nothing has changed.
    #[error("nft refused: {0}")]
    Refused(String),
}

/// Applies a script: all of it or nothing.
pub(crate) async fn apply(script: &str) -> Result<(), NftError> {
    run(&["-f", "-"], script).await
}

/// Whether our table is there.
pub(crate) async fn table_exists(family: Family) -> bool {
    chain_exists(&family.table(), "services").await
}

/// Whether a chain of a table (family and name) is there.
pub(crate) async fn chain_exists(table: &str, chain: &str) -> bool {
    let mut arguments = vec!["list", "chain"];
    arguments.extend(table.split(' '));
    arguments.push(chain);
    run(&arguments, "").await.is_ok()
}

async fn run(arguments: &[&str], input: &str) -> Result<(), NftError> {
    for place in PLACES {
        let spawned = Command::new(place)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn();
        let mut child = match spawned {
            Ok(child) => child,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(NftError::Run(error)),
        };
        let stdin = child.stdin.take();
        let feed = async move {
            if let Some(mut stdin) = stdin {
                // When it stops reading it says why on its standard error.
                let _ = stdin.write_all(input.as_bytes()).await;
            }
        };
        // At the same time, or both may wait for the other for ever.
        let ((), output) = tokio::join!(feed, child.wait_with_output());
        let output = output.map_err(NftError::Run)?;
        if output.status.success() {
            return Ok(());
        }
        return Err(NftError::Refused(String::from_utf8_lossy(&output.stderr).trim().to_owned()));
    }
    Err(NftError::Missing)
}
