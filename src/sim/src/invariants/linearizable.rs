//! Writes and consistent reads happen one after the other, each between its question and its answer.
//!
//! Revisions are that order: they are what the answers claim. So it is enough that each claim is true of the committed
//! rows, and that nobody is told of a time before the newest revision that anybody knew when they asked.

use crate::history::{Condition, History, Told, What};
use crate::ledger::Ledger;

pub(super) fn check(ledger: &mut Ledger, history: &mut History, end: bool) -> Result<(), String> {
    let mut waiting = std::mem::take(&mut history.told);
    let newest = waiting.iter().map(needs).max().unwrap_or(0);
    while let Some(told) = waiting.pop_front() {
        // Known only once the node that told it, or another, has been looked at.
        if needs(&told) > ledger.complete() && !end {
            history.told.push_back(told);
            continue;
        }
        let Err(why) = judge(ledger, &told) else { continue };
        // What it was told may follow from what no living node has applied yet.
        if newest <= ledger.complete() || end {
            return Err(format!("{why}: {told:?}"));
        }
        history.told.push_back(told);
    }
    let mut suspects = std::mem::take(&mut history.never_new);
    suspects.extend(ledger.fresh().into_iter().filter(|tag| history.never.contains(tag)));
    if let Some((tag, at)) = suspects.iter().find_map(|tag| Some((tag, ledger.written(*tag)?))) {
        return Err(format!(
            "value {tag} is there at {at}, but its writer was told that nothing has changed"
        ));
    }
    Ok(())
}

fn needs(told: &Told) -> u64 {
    let revision = match &told.what {
        What::Wrote { revision, .. } | What::Listed { revision, .. } => *revision,
        What::Read { found: Some(found), .. } => found.revision,
        What::Conflict { current, .. } => current.revision,
        What::Read { .. } | What::Taken { .. } | What::Missing { .. } => 0,
    };
    revision.max(told.floor)
}

fn judge(ledger: &Ledger, told: &Told) -> Result<(), &'static str> {
    let floor = told.floor;
    let holds = |holds: bool, why| if holds { Ok(()) } else { Err(why) };
    match &told.what {
        What::Wrote { key, tag, revision, condition } => {
            holds(*revision > floor, "a write is older than what was known before it")?;
            let row = ledger.at(*revision).find(|row| row.key == *key);
            holds(row.is_some_and(|row| row.tag == *tag), "an acknowledged write is lost")?;
            let before = ledger.version(key, revision - 1);
            let met = match condition {
                Condition::Absent => before.is_none(),
                Condition::Present => before.is_some(),
                Condition::At(expected) => before.is_some_and(|before| before.revision == *expected),
            };
            holds(met, "a write was done against its condition")
        }
        What::Read { key, found } => holds(ledger.was(key, *found, floor), "a stale or invented read"),
        What::Listed { revision, items, consistent } => {
            holds(!consistent || *revision >= floor, "a stale list")?;
            let state = ledger.state(crate::clients::PREFIX, *revision);
            holds(*items == state, "a list is not the state at its revision")
        }
        What::Taken { key } => holds(ledger.existed(key, floor), "a create was refused for nothing"),
        What::Missing { key } => holds(ledger.was(key, None, floor), "an object was there"),
        What::Conflict { key, expected, current } => {
            holds(current.revision != *expected, "a conflict with what was expected")?;
            holds(ledger.was(key, Some(*current), floor), "a conflict with what is not there")
        }
    }
}
