//! `knarr datastore snapshots`: the backups that the server keeps.

use super::ask;
use crate::arguments::datastore::{NamedSnapshot, Snapshots};
use crate::backups::keeper::Kept;
use crate::paths::Paths;
use anyhow::Result;
use http::Method;
use std::process::ExitCode;

/// Makes one, lists them, deletes one, or those that are too many.
pub(super) async fn run(what: &Snapshots) -> Result<ExitCode> {
    match what {
        Snapshots::Save(location) => {
            let saved: Kept = ask(&Paths::new(&location.data_dir), Method::POST, "/snapshots").await?;
            println!("Saved {} ({} bytes).", saved.name, saved.bytes);
        }
        Snapshots::Ls(location) => {
            let kept: Vec<Kept> = ask(&Paths::new(&location.data_dir), Method::GET, "/snapshots").await?;
            println!("{:<48} {:<8} {:>12}", "NAME", "PLACE", "BYTES");
            for Kept { name, place, bytes } in kept {
                println!("{name:<48} {place:<8} {bytes:>12}");
            }
        }
        Snapshots::Delete(NamedSnapshot { location, name }) => {
            let path = format!("/snapshots/{name}");
            let _: serde_json::Value = ask(&Paths::new(&location.data_dir), Method::DELETE, &path).await?;
            println!("Deleted {name}.");
        }
        Snapshots::Prune(location) => {
            let paths = Paths::new(&location.data_dir);
            let gone: Vec<String> = ask(&paths, Method::POST, "/snapshots/prune").await?;
            println!("Deleted {}.", if gone.is_empty() { "none".to_owned() } else { gone.join(", ") });
        }
    }
    Ok(ExitCode::SUCCESS)
}
