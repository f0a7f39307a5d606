//! The second round of what changes objects: once what was already asked might answer otherwise.

use parking_lot::Mutex;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// What is remembered of the first round. At most one more follows.
#[derive(Debug, Default)]
pub struct Reinvocation(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    second_round: bool,
    wanted: bool,
    plugins: BTreeMap<&'static str, Plugin>,
}

/// By webhook, or by policy, binding and parameter.
#[derive(Debug, Default)]
struct Plugin {
    /// The object when the plugin had done its part; kept where somebody may be asked again.
    last_output: Option<Value>,
    /// Who was asked, may be asked again, and has not yet seen the last change.
    asked: BTreeSet<String>,
    /// Who is to be asked again.
    again: BTreeSet<String>,
}

impl Plugin {
    fn ask_again(&mut self) {
        self.again.append(&mut self.asked);
    }
}

impl Reinvocation {
    /// Whether this is the second round.
    pub(super) fn is_second_round(&self) -> bool {
        self.0.lock().second_round
    }

    /// Begins the second round, if one is wanted and there was none.
    pub(super) fn begin_second_round(&self) -> bool {
        let mut state = self.0.lock();
        let begins = state.wanted && !state.second_round;
        state.second_round |= begins;
        begins
    }

    /// A plugin begins a round with this object.
    pub(super) fn begin(&self, plugin: &'static str, object: &Value) {
        let mut state = self.0.lock();
        if !state.second_round {
            return;
        }
        let plugin = state.plugins.entry(plugin).or_default();
        if plugin.last_output.as_ref().is_some_and(|last| last != object) {
            // Built-in plugins have changed it in between.
            plugin.ask_again();
        }
    }

    /// Whether somebody is asked in this round.
    pub(super) fn asks(&self, plugin: &'static str, who: &str) -> bool {
        let state = self.0.lock();
        !state.second_round || state.plugins.get(plugin).is_some_and(|p| p.again.contains(who))
    }

    /// Somebody was asked; `again` says whether they may be asked again.
    pub(super) fn asked(&self, plugin: &'static str, who: &str, changed: bool, again: bool) {
        let mut state = self.0.lock();
        if changed {
            state.wanted = true;
            state.plugins.entry(plugin).or_default().ask_again();
        }
        if again {
            state.plugins.entry(plugin).or_default().asked.insert(who.to_owned());
        }
    }

    /// A plugin has done its part of a round.
    pub(super) fn end(&self, plugin: &'static str, object: &Value) {
        let mut state = self.0.lock();
        if state.second_round {
            return;
        }
        if let Some(plugin) = state.plugins.get_mut(plugin)
            && !(plugin.asked.is_empty() && plugin.again.is_empty())
        {
            plugin.last_output = Some(object.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_those_are_asked_again_who_have_not_seen_a_later_change() {
        let rounds = Reinvocation::default();
        rounds.asked("W", "early", false, true);
        rounds.asked("W", "never", false, false);
        rounds.asked("W", "changer", true, true);
        rounds.end("W", &json!({"a": 1}));
        assert!(rounds.begin_second_round());
        rounds.begin("W", &json!({"a": 1}));
        assert!(rounds.asks("W", "early"));
        assert!(!rounds.asks("W", "changer"));
        assert!(!rounds.asks("W", "never"));
        // A built-in plugin changed it since.
        rounds.begin("W", &json!({"a": 2}));
        assert!(rounds.asks("W", "changer"));
        assert!(!rounds.begin_second_round());
    }

    #[test]
    fn nothing_changed_nothing_repeated() {
        let rounds = Reinvocation::default();
        rounds.asked("W", "a", false, true);
        assert!(!rounds.begin_second_round());
    }
}
