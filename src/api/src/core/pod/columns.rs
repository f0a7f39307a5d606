//! The table of pods that `kubectl get pods` prints.

use crate::columns::{age, name, or_none, translate_timestamp_since};
use crate::value::{field, has, int, is_true, list, text};
use apimachinery::meta;
use apimachinery::table::Column;
use jiff::Timestamp;
use serde_json::Value;

/// The reason of a pod whose node cannot be reached.
const NODE_LOST: &str = "NodeLost";

/// The columns.
pub fn columns() -> Vec<Column> {
    vec![
        Column::object_name(),
        Column::new("Ready").describe("The aggregate readiness state of this pod for accepting traffic."),
        Column::new("Status").describe("The aggregate status of the containers in this pod."),
        Column::new("Restarts").describe(
            "The number of times the containers in this pod have been restarted and when the last container in this pod has restarted.",
        ),
        Column::age(),
        Column::new("IP").wide(),
        Column::new("Node").wide(),
        Column::new("Nominated Node").wide(),
        Column::new("Readiness Gates").wide(),
    ]
}

/// The cells of one pod.
pub fn row(object: &Value, now: Timestamp) -> Vec<Value> {
    let (spec, status) = (field(object, "spec"), field(object, "status"));
    let summary = summary(object);
    let restarts = match summary.last_restart {
        Some(at) if summary.restarts > 0 => {
            format!("{} ({} ago)", summary.restarts, translate_timestamp_since(at, now))
        }
        _ => summary.restarts.to_string(),
    };
    let ip = match list(status, "podIPs").first() {
        Some(first) => text(first, "ip"),
        None => text(status, "podIP"),
    };
    vec![
        name(object),
        Value::from(format!("{}/{}", summary.ready, summary.total)),
        Value::from(summary.reason),
        Value::from(restarts),
        age(object, now),
        or_none(ip),
        or_none(text(spec, "nodeName")),
        or_none(text(status, "nominatedNodeName")),
        readiness_gates(spec, status),
    ]
}

fn readiness_gates(spec: &Value, status: &Value) -> Value {
    let gates = list(spec, "readinessGates");
    if gates.is_empty() {
        return or_none("");
    }
    let met = gates
        .iter()
        .filter(|gate| {
            list(status, "conditions").iter().any(|condition| {
                text(condition, "type") == text(gate, "conditionType") && text(condition, "status") == "True"
            })
        })
        .count();
    Value::from(format!("{met}/{}", gates.len()))
}

/// What the containers' states amount to.
struct Summary<'a> {
    reason: String,
    ready: usize,
    total: usize,
    restarts: i64,
    last_restart: Option<&'a str>,
}

fn summary(object: &Value) -> Summary<'_> {
    let (spec, status) = (field(object, "spec"), field(object, "status"));
    let mut reason = match text(status, "reason") {
        "" => text(status, "phase").to_owned(),
        own => own.to_owned(),
    };
    let gated = list(status, "conditions")
        .iter()
        .any(|c| text(c, "type") == "PodScheduled" && text(c, "reason") == "SchedulingGated");
    if gated {
        "SchedulingGated".clone_into(&mut reason);
    }
    let sidecars: Vec<&str> = list(spec, "initContainers")
        .iter()
        .filter(|c| text(c, "restartPolicy") == "Always")
        .map(|c| text(c, "name"))
        .collect();
    let total = list(spec, "containers").len() + sidecars.len();
    let mut ready = 0;
    let init = init_containers(spec, status, &sidecars, &mut ready);
    let (mut restarts, mut last) = (init.restarts, init.last_restart);
    let initialized = list(status, "conditions")
        .iter()
        .any(|c| text(c, "type") == "Initialized" && text(c, "status") == "True");
    if let Some(words) = &init.reason {
        reason.clone_from(words);
    }
    if init.reason.is_none() || initialized {
        restarts = init.sidecar_restarts;
        last = init.sidecar_last_restart;
        let mut running = false;
        for container in list(status, "containerStatuses").iter().rev() {
            restarts += int(container, "restartCount").unwrap_or(0);
            last = last.max(ended_at(container));
            let state = field(container, "state");
            if let Some(words) = waiting_or_ended(state) {
                reason = words;
            } else if is_true(container, "ready") && has(state, "running") {
                running = true;
                ready += 1;
            }
        }
        if reason == "Completed" && running {
            let is_ready = list(status, "conditions")
                .iter()
                .any(|c| text(c, "type") == "Ready" && text(c, "status") == "True");
            if is_ready { "Running" } else { "NotReady" }.clone_into(&mut reason);
        }
    }
    if meta::is_terminating(object) {
        if text(status, "reason") == NODE_LOST {
            "Unknown".clone_into(&mut reason);
        } else if !matches!(text(status, "phase"), "Failed" | "Succeeded") {
            "Terminating".clone_into(&mut reason);
        }
    }
    Summary { reason, ready, total, restarts, last_restart: last }
}

fn ended_at(container: &Value) -> Option<&str> {
    let at = text(field(field(container, "lastState"), "terminated"), "finishedAt");
    (!at.is_empty()).then_some(at)
}

/// The reason why a container does not run; empty text never comes out.
fn waiting_or_ended(state: &Value) -> Option<String> {
    let waiting = text(field(state, "waiting"), "reason");
    if !waiting.is_empty() {
        return Some(waiting.to_owned());
    }
    let ended = state.get("terminated")?;
    Some(ended_reason(ended, ""))
}

fn ended_reason(ended: &Value, prefix: &str) -> String {
    let reason = text(ended, "reason");
    let signal = int(ended, "signal").unwrap_or(0);
    if !reason.is_empty() {
        format!("{prefix}{reason}")
    } else if signal != 0 {
        format!("{prefix}Signal:{signal}")
    } else {
        format!("{prefix}ExitCode:{}", int(ended, "exitCode").unwrap_or(0))
    }
}

/// How far initialization is: `reason` is set when it is not over.
#[derive(Default)]
struct Init<'a> {
    reason: Option<String>,
    restarts: i64,
    last_restart: Option<&'a str>,
    sidecar_restarts: i64,
    sidecar_last_restart: Option<&'a str>,
}

fn init_containers<'a>(spec: &Value, status: &'a Value, sidecars: &[&str], ready: &mut usize) -> Init<'a> {
    let mut init = Init::default();
    for (i, container) in list(status, "initContainerStatuses").iter().enumerate() {
        let count = int(container, "restartCount").unwrap_or(0);
        init.restarts += count;
        init.last_restart = init.last_restart.max(ended_at(container));
        let is_sidecar = sidecars.contains(&text(container, "name"));
        if is_sidecar {
            init.sidecar_restarts += count;
            init.sidecar_last_restart = init.sidecar_last_restart.max(ended_at(container));
        }
        let state = field(container, "state");
        let ended = state.get("terminated");
        if ended.is_some_and(|t| int(t, "exitCode").unwrap_or(0) == 0) {
            continue;
        }
        if is_sidecar && is_true(container, "started") {
            if is_true(container, "ready") {
                *ready += 1;
            }
            continue;
        }
        let waiting = text(field(state, "waiting"), "reason");
        init.reason = Some(match ended {
            Some(ended) => ended_reason(ended, "Init:"),
            None if !matches!(waiting, "" | "PodInitializing") => format!("Init:{waiting}"),
            None => format!("Init:{i}/{}", list(spec, "initContainers").len()),
        });
        break;
    }
    init
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn cells(status: Value) -> (String, String, String) {
        let pod = json!({
            "metadata": {"name": "p", "creationTimestamp": "2026-01-01T00:00:00Z"},
            "spec": {"containers": [{"name": "a"}], "initContainers": [{"name": "i"}]},
            "status": status,
        });
        let row = row(&pod, "2026-01-01T01:00:00Z".parse().unwrap());
        assert_eq!(row.len(), columns().len());
        let text = |i: usize| row[i].as_str().unwrap().to_owned();
        (text(1), text(2), text(3))
    }

    #[test]
    fn a_running_pod_counts_its_restarts() {
        let found = cells(json!({"phase": "Running", "containerStatuses": [{
            "name": "a", "ready": true, "restartCount": 3, "state": {"running": {}},
            "lastState": {"terminated": {"finishedAt": "2026-01-01T00:55:00Z"}},
        }]}));
        assert_eq!(found, ("1/1".into(), "Running".into(), "3 (5m ago)".into()));
    }

    #[test]
    fn reasons_of_containers_win_over_the_phase() {
        let found = cells(json!({"phase": "Running", "containerStatuses": [{
            "name": "a", "restartCount": 0, "state": {"waiting": {"reason": "CrashLoopBackOff"}},
        }]}));
        assert_eq!(found, ("0/1".into(), "CrashLoopBackOff".into(), "0".into()));
        let found = cells(json!({"phase": "Succeeded", "containerStatuses": [{
            "name": "a", "state": {"terminated": {"reason": "Completed", "exitCode": 0}},
        }]}));
        assert_eq!(found.1, "Completed");
    }

    #[test]
    fn initialization_shows_its_progress() {
        let found = cells(json!({"phase": "Pending", "initContainerStatuses": [{
            "name": "i", "state": {"waiting": {"reason": "PodInitializing"}},
        }]}));
        assert_eq!(found.1, "Init:0/1");
        let found = cells(json!({"phase": "Pending", "initContainerStatuses": [{
            "name": "i", "state": {"terminated": {"exitCode": 1, "reason": "Error"}},
        }]}));
        assert_eq!(found.1, "Init:Error");
    }
}
