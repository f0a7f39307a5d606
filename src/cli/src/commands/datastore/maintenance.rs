//! `knarr datastore status`, `compact`, `defrag` and `history`.

use super::ask;
use crate::arguments::datastore::{Compact, DatastoreFormat, DatastoreStatus, Defrag, History};
use crate::commands::{size, who};
use crate::paths::Paths;
use anyhow::Result;
use datastore::maintenance::{Condition, Defragmented};
use http::Method;
use serde_json::Value;
use std::fmt::Write as _;
use std::process::ExitCode;

/// Shows how the datastore is. Exits non-zero when it was looked through and is damaged.
pub(super) async fn status(options: &DatastoreStatus) -> Result<ExitCode> {
    let paths = Paths::new(&options.location.data_dir);
    let path = if options.check { "/status?check=true" } else { "/status" };
    let condition: Condition = ask(&paths, Method::GET, path).await?;
    match options.format {
        DatastoreFormat::Pretty => print!("{}", pretty(&condition)),
        DatastoreFormat::Yaml => {
            print!("{}", apimachinery::decode::to_yaml(&serde_json::to_value(&condition)?)?);
        }
        DatastoreFormat::Json => println!("{:#}", serde_json::to_value(&condition)?),
    }
    let damaged = condition.faults.is_some_and(|faults| !faults.is_empty());
    Ok(if damaged { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn pretty(condition: &Condition) -> String {
    let percent = match condition.file_bytes {
        0 => 0,
        bytes => 100 - (condition.used_bytes.min(bytes) * 100).div_ceil(bytes),
    };
    let rows = [
        ("cluster", condition.cluster.clone()),
        ("node", condition.node.to_string()),
        ("revision", condition.revision.to_string()),
        ("compacted revision", condition.compacted_revision.to_string()),
        ("objects", condition.objects.to_string()),
        ("applied entry", format!("{} (term {})", condition.applied_index, condition.term)),
        ("log", format!("{} entries, {}", condition.log_entries, size(condition.log_bytes))),
        ("file", format!("{}, {percent}% of it free", size(condition.file_bytes))),
        ("write-ahead log", size(condition.wal_bytes)),
    ];
    let mut text = String::new();
    for (name, value) in rows {
        // Writing into a string does not fail.
        let _ = writeln!(text, "{:<20}{value}", format!("{name}:"));
    }
    let integrity = match &condition.faults {
        None => "not looked at (--check does)".to_owned(),
        Some(faults) if faults.is_empty() => "whole".to_owned(),
        Some(faults) => format!("DAMAGED: {}; restore a backup", faults.join("; ")),
    };
    let _ = writeln!(text, "{:<20}{integrity}", "integrity:");
    text
}

/// Forgets what was superseded.
pub(super) async fn compact(options: &Compact) -> Result<ExitCode> {
    let paths = Paths::new(&options.location.data_dir);
    let path = options.revision.map_or_else(|| "/compact".to_owned(), |r| format!("/compact?revision={r}"));
    let compacted: Value = ask(&paths, Method::POST, &path).await?;
    println!("Compacted to revision {}.", compacted.get("compactedRevision").unwrap_or(&Value::Null));
    Ok(ExitCode::SUCCESS)
}

/// Makes the file smaller.
pub(super) async fn defrag(options: &Defrag) -> Result<ExitCode> {
    let paths = Paths::new(&options.location.data_dir);
    let path = if options.full { "/defrag?full=true" } else { "/defrag" };
    let done: Defragmented = ask(&paths, Method::POST, path).await?;
    println!("The file had {}, and has {} now.", size(done.before_bytes), size(done.after_bytes));
    Ok(ExitCode::SUCCESS)
}

/// Shows what is known of a key.
pub(super) async fn history(options: &History) -> Result<ExitCode> {
    let paths = Paths::new(&options.location.data_dir);
    let encoded: String = options.key.bytes().fold(String::new(), |mut text, byte| {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'/' => text.push(byte.into()),
            // Writing into a string does not fail.
            other => _ = write!(text, "%{other:02X}"),
        }
        text
    });
    let values = if options.values { "&values=true" } else { "" };
    let versions: Vec<Value> = ask(&paths, Method::GET, &format!("/history?key={encoded}{values}")).await?;
    if versions.is_empty() {
        println!("Nothing is known of {}.", options.key);
        return Ok(ExitCode::FAILURE);
    }
    println!("{:<16}{:<10}{:>10}  {:<26}USER", "REVISION", "CHANGE", "BYTES", "TIME");
    for version in versions {
        let text = |name: &str| version.get(name).map(Value::to_string).unwrap_or_default();
        let word = |name: &str| version.get(name).and_then(Value::as_str).unwrap_or_default();
        let (change, time) = (word("change"), word("time"));
        let impersonator = version.get("impersonator").and_then(Value::as_str);
        let line = format!(
            "{:<16}{change:<10}{:>10}  {time:<26}{}",
            text("revision"),
            text("bytes"),
            who(word("user"), impersonator)
        );
        println!("{}", line.trim_end());
        if let Some(object) = version.get("value") {
            println!("{object:#}");
        }
    }
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_is_told_in_words() {
        let condition =
            Condition { file_bytes: 5 << 20, used_bytes: 3 << 20, wal_bytes: 512, ..Default::default() };
        let text = pretty(&condition);
        assert!(text.contains("file:               5.0 MiB, 40% of it free\n"), "{text}");
        assert!(text.contains("not looked at"), "{text}");
        let damaged = Condition { faults: Some(vec!["x".into()]), ..condition };
        assert!(pretty(&damaged).contains("DAMAGED: x"));
        assert_eq!(size(3 << 29), "1.5 GiB");
    }
}
