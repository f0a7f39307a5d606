//! `knarr datastore recover`: one survivor goes on.

use crate::arguments::datastore::Recover;
use crate::backups::staged;
use crate::paths::Paths;
use anyhow::{Context, Result, bail};
use datastore::offline::{self, Survivor};
use jiff::Timestamp;
use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;

/// Makes this node the only one of a new cluster, with all that its disk holds.
///
/// # Errors
/// When the server runs, nobody agrees, there is nothing to recover, or the files cannot be changed; nothing has changed
/// then.
pub fn run(options: &Recover) -> Result<ExitCode> {
    let paths = Paths::new(&std::path::absolute(&options.location.data_dir)?);
    super::privileged(&paths)?;
    let _lock = super::stopped(&paths, "recover")?;
    staged::finish(&paths)?;
    let survivor = offline::inspect(&paths.datastore()).context("there is nothing to recover here")?;
    if survivor.others.is_empty() {
        bail!("this node is the only one of its cluster and needs nobody else: start it with `knarr start`");
    }
    print!("{}", account(&survivor, Timestamp::now()));
    if !options.yes && !agreed()? {
        println!("Nothing was changed.");
        return Ok(ExitCode::FAILURE);
    }
    super::forget(&paths, &[super::TICKET])?;
    let recovered = offline::recover(&paths.datastore(), super::now_millis())?;
    println!(
        "This node is cluster {} now, at revision {}. Start it with `knarr start`.\n\
         On each of the others: `knarr leave`, then join again with what `knarr add-node` prints here.",
        recovered.cluster, recovered.revision
    );
    Ok(ExitCode::SUCCESS)
}

/// What will be, and what will not.
fn account(survivor: &Survivor, now: Timestamp) -> String {
    let Survivor { contents, others, last_change, unapplied, .. } = survivor;
    let age = last_change.as_deref().and_then(|time| time.parse::<Timestamp>().ok()).map(|time| {
        let seconds = now.duration_since(time).as_secs().max(0);
        match seconds {
            0..120 => format!("{seconds} seconds ago"),
            120..7200 => format!("{} minutes ago", seconds / 60),
            7200..172_800 => format!("{} hours ago", seconds / 3600),
            _ => format!("{} days ago", seconds / 86_400),
        }
    });
    let last = match (last_change, age) {
        (Some(time), Some(age)) => format!("The latest that it knows is from {time} ({age})."),
        _ => "When the latest of that was written cannot be told.".to_owned(),
    };
    format!(
        "This node has {} objects at revision {}{}. {last}\n\
         What the others acknowledged later without it is lost. They are out of the cluster for good, and have to join \
         again: {}.\n\
         Do this only if a majority of them never comes back: otherwise start them, and the cluster heals by itself.\n",
        contents.objects,
        contents.revision,
        if *unapplied > 0 {
            format!(", and {unapplied} entries in its log that are applied now")
        } else {
            String::new()
        },
        others.join(", ")
    )
}

fn agreed() -> Result<bool> {
    if !std::io::stdin().is_terminal() {
        bail!("nobody can be asked here; say --yes if that is what you want");
    }
    print!("Go on with this node alone? [y/N] ");
    std::io::stdout().flush()?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    Ok(matches!(answer.trim().to_lowercase().as_str(), "y" | "yes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_are_told_how_old_the_state_is_and_who_has_to_join_again() {
        let survivor = Survivor {
            contents: offline::Contents { objects: 7, revision: 40, ..Default::default() },
            name: "a".into(),
            others: vec!["b".into(), "c".into()],
            unapplied: 2,
            last_change: Some("2026-01-01T10:00:00.123456Z".into()),
        };
        let text = account(&survivor, "2026-01-01T10:05:01Z".parse().unwrap());
        for part in ["7 objects at revision 40", "2 entries", "(5 minutes ago)", "join again: b, c."] {
            assert!(text.contains(part), "{part}: {text}");
        }
        let text = account(&Survivor { last_change: None, unapplied: 0, ..survivor }, Timestamp::UNIX_EPOCH);
        assert!(text.contains("cannot be told") && !text.contains("entries"), "{text}");
    }
}
