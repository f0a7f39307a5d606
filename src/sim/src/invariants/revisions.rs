//! Revisions strictly rise by one, each row follows from the one before it, and no value is written twice.

use crate::ledger::Ledger;
use crate::observe::Observation;

pub(super) fn check(ledger: &mut Ledger, seen: &Observation) -> Result<(), String> {
    for row in &seen.rows {
        if row.revision() > seen.revision {
            return Err(format!("node {} is at {} and has {row:?}", seen.id, seen.revision));
        }
        ledger.add(row.clone()).map_err(|why| format!("node {}: {why}", seen.id))?;
    }
    if ledger.newest() < seen.revision && seen.compacted < seen.revision {
        return Err(format!("node {} is at {}, whose row nobody has", seen.id, seen.revision));
    }
    Ok(())
}
