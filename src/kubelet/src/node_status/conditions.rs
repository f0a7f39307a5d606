//! Node conditions. Pure.

use crate::runtime_state::RuntimeCondition;
use serde_json::{Value, json};

/// What conditions depend on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ConditionState {
    /// `MemoryPressure`.
    pub memory: bool,
    /// `DiskPressure`.
    pub disk: bool,
    /// `PIDPressure`.
    pub pids: bool,
    /// Why the node is not ready; nothing when it is.
    pub not_ready: Vec<String>,
}

impl ConditionState {
    /// Takes what the runtime said.
    pub fn set_runtime(&mut self, condition: &RuntimeCondition, relist: Result<(), String>) {
        let mut reasons: Vec<String> = condition.runtime.iter().chain(&condition.network).cloned().collect();
        reasons.dedup();
        reasons.extend(relist.err());
        self.not_ready = reasons;
    }

    /// The conditions with `previous` transition times kept where nothing changed.
    pub fn to_values(&self, previous: &[Value], now: &str) -> Vec<Value> {
        let ready = self.not_ready.is_empty();
        let not_ready = match self.not_ready.as_slice() {
            [one] => one.clone(),
            many => format!("[{}]", many.join(", ")),
        };
        let sides = [
            (
                "MemoryPressure",
                self.memory,
                ["KubeletHasInsufficientMemory", "KubeletHasSufficientMemory"],
                ["kubelet has insufficient memory available", "kubelet has sufficient memory available"],
            ),
            (
                "DiskPressure",
                self.disk,
                ["KubeletHasDiskPressure", "KubeletHasNoDiskPressure"],
                ["kubelet has disk pressure", "kubelet has no disk pressure"],
            ),
            (
                "PIDPressure",
                self.pids,
                ["KubeletHasInsufficientPID", "KubeletHasSufficientPID"],
                ["kubelet has insufficient PID available", "kubelet has sufficient PID available"],
            ),
            (
                "Ready",
                ready,
                ["KubeletReady", "KubeletNotReady"],
                ["kubelet is posting ready status", not_ready.as_str()],
            ),
        ];
        sides
            .into_iter()
            .map(|(name, holds, [when, unless], [yes, no])| {
                let status = if holds { "True" } else { "False" };
                let old = previous
                    .iter()
                    .find(|condition| condition.get("type").and_then(Value::as_str) == Some(name));
                let same = old.filter(|old| old.get("status").and_then(Value::as_str) == Some(status));
                let since = same.and_then(|old| old.get("lastTransitionTime")?.as_str()).unwrap_or(now);
                json!({
                    "type": name,
                    "status": status,
                    "reason": if holds { when } else { unless },
                    "message": if holds { yes } else { no },
                    "lastHeartbeatTime": now,
                    "lastTransitionTime": since,
                })
            })
            .collect()
    }

    /// Reasons of events for what differs from `before` (everything when that is none).
    pub fn events_since(&self, before: Option<&Self>) -> Vec<&'static str> {
        let mut events = Vec::new();
        let mut tell = |is: bool, was: Option<bool>, yes, no| {
            if was != Some(is) {
                events.push(if is { yes } else { no });
            }
        };
        tell(self.memory, before.map(|b| b.memory), "NodeHasInsufficientMemory", "NodeHasSufficientMemory");
        tell(self.disk, before.map(|b| b.disk), "NodeHasDiskPressure", "NodeHasNoDiskPressure");
        tell(self.pids, before.map(|b| b.pids), "NodeHasInsufficientPID", "NodeHasSufficientPID");
        let ready = self.not_ready.is_empty();
        match before.map(|before| before.not_ready.is_empty()) {
            Some(was) if was != ready => events.push(if ready { "NodeReady" } else { "NodeNotReady" }),
            None if ready => events.push("NodeReady"),
            _ => {}
        }
        events
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transition_times_move_only_with_the_status() {
        let mut state = ConditionState { not_ready: vec!["x".into()], ..ConditionState::default() };
        let first = state.to_values(&[], "t1");
        assert_eq!(first[3]["message"], "x");
        state.not_ready.clear();
        let second = state.to_values(&first, "t2");
        assert_eq!(second[3]["lastTransitionTime"], "t2");
        assert_eq!(second[0]["lastTransitionTime"], "t1");
        assert_eq!(second[0]["lastHeartbeatTime"], "t2");
    }

    #[test]
    fn events_tell_transitions() {
        let ready = ConditionState::default();
        let pressed = ConditionState { disk: true, not_ready: vec!["x".into()], ..ConditionState::default() };
        assert_eq!(pressed.events_since(Some(&ready)), ["NodeHasDiskPressure", "NodeNotReady"]);
        assert_eq!(ready.events_since(None).len(), 4);
    }
}
