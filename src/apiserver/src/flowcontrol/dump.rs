//! `/debug/api_priority_and_fairness/`: what waits where, for people.

use super::control::FlowControl;
use std::fmt::Write;

impl FlowControl {
    /// `dump_priority_levels`, `dump_queues` or `dump_requests` as text; `None` for another name. `details` adds columns to requests.
    pub(crate) fn dump(&self, what: &str, details: bool) -> Option<String> {
        let mut rows = Vec::new();
        match what {
            "dump_priority_levels" => self.dump_levels(&mut rows),
            "dump_queues" => self.dump_queues(&mut rows),
            "dump_requests" => self.dump_requests(&mut rows, details),
            _ => return None,
        }
        Some(table(&rows))
    }

    fn dump_levels(&self, rows: &mut Vec<Vec<String>>) {
        rows.push(words("PriorityLevelName ActiveQueues IsIdle IsQuiescing WaitingRequests ExecutingRequests DispatchedRequests RejectedRequests TimedoutRequests CancelledRequests"));
        for level in self.configuration().levels.values() {
            let view = level.view();
            let active = level.look(|set| set.views().filter(|queue| queue.waiting > 0).count());
            let mut row = vec![level.name.clone()];
            if view.exempt {
                row.extend(std::iter::repeat_n("<none>".to_owned(), 5));
            } else {
                let idle = view.executing == 0 && view.waiting == 0;
                row.extend([active.to_string(), idle.to_string(), false.to_string()]);
                row.extend([view.waiting.to_string(), view.executing.to_string()]);
            }
            row.extend(self.totals(&level.name).map(|count| count.to_string()));
            rows.push(row);
        }
    }

    fn dump_queues(&self, rows: &mut Vec<Vec<String>>) {
        rows.push(words("PriorityLevelName Index PendingRequests ExecutingRequests SeatsInUse NextDispatchR InitialSeatsSum MaxSeatsSum TotalWorkSum"));
        for level in self.configuration().levels.values().filter(|level| !level.view().exempt) {
            level.look(|set| {
                for (index, queue) in set.views().enumerate() {
                    rows.push(vec![
                        level.name.clone(),
                        index.to_string(),
                        queue.waiting.to_string(),
                        queue.executing.to_string(),
                        queue.executing_seats.to_string(),
                        format!("{:.8}ss", queue.clock as f64 / 1e9),
                        queue.waiting_seats.to_string(),
                        queue.waiting_seats.to_string(),
                        format!("{:.8}ss", f64::from(queue.waiting_seats) * 0.003),
                    ]);
                }
            });
        }
    }

    fn dump_requests(&self, rows: &mut Vec<Vec<String>>, details: bool) {
        let mut head = words(
            "PriorityLevelName FlowSchemaName QueueIndex RequestIndexInQueue FlowDistingsher ArriveTime InitialSeats FinalSeats AdditionalLatency StartTime",
        );
        if details {
            head.extend(words("UserName Verb APIPath Namespace Name APIVersion Resource SubResource"));
        }
        rows.push(head);
        for level in self.configuration().levels.values() {
            level.look(|set| {
                for (queue, place, seats, waiter) in set.waiters() {
                    let about = &waiter.about;
                    let arrived = about.arrived.map(|at| at.to_string()).unwrap_or_default();
                    let mut row =
                        vec![level.name.clone(), about.schema.clone(), queue.to_string(), place.to_string()];
                    row.extend([about.distinguisher.clone(), arrived, seats.to_string()]);
                    row.extend(["0", "0s", "0001-01-01T00:00:00Z"].map(str::to_owned));
                    if details {
                        let info = &about.info;
                        let version = match info.api_group.as_str() {
                            "" => info.api_version.clone(),
                            group => format!("{group}/{}", info.api_version),
                        };
                        row.extend([about.user.clone(), info.verb.clone(), info.path.clone()]);
                        row.extend([info.namespace.clone(), info.name.clone(), version]);
                        row.extend([info.resource.clone(), info.subresource.clone()]);
                    }
                    rows.push(row);
                }
            });
        }
    }
}

fn words(text: &str) -> Vec<String> {
    text.split(' ').map(str::to_owned).collect()
}

/// Columns under each other, with commas between them.
fn table(rows: &[Vec<String>]) -> String {
    let mut widths: Vec<usize> = Vec::new();
    for row in rows {
        for (column, cell) in row.iter().enumerate() {
            match widths.get_mut(column) {
                Some(width) => *width = (*width).max(cell.len()),
                None => widths.push(cell.len()),
            }
        }
    }
    let mut out = String::new();
    for row in rows {
        for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
            let last = column + 1 == row.len();
            let comma = if last { "" } else { "," };
            let width = if last { 0 } else { width + 2 };
            // Writing to a String cannot fail.
            let _ = write!(out, "{:<width$}", format!("{cell}{comma}"));
        }
        out.push('\n');
    }
    out
}
