//! PriorityLevelConfiguration (KEP-1040).

use super::mandatory;
use crate::validation::Errors;
use crate::{Kind, columns, value};
use apimachinery::field::{ErrorList, Path};
use apimachinery::meta;
use apimachinery::table::Column;
use jiff::Timestamp;
use serde_json::Value;

/// The level of what is never held up.
const EXEMPT: &str = "exempt";
/// The level of what no schema matches.
const CATCH_ALL: &str = "catch-all";
/// The most queues of a level.
const MAX_QUEUES: i64 = 10_000_000;
/// Bits of the hash that hands are dealt by (KEP-1040, shuffle sharding).
const MAX_HASH_BITS: u32 = 60;

/// PriorityLevelConfiguration.
pub struct PriorityLevelConfiguration;

impl Kind for PriorityLevelConfiguration {
    fn group_kind(&self) -> (&'static str, &'static str) {
        ("flowcontrol.apiserver.k8s.io", "PriorityLevelConfiguration")
    }

    fn default(&self, object: &mut Value) {
        let Some(spec) = value::object_mut(object, "spec") else { return };
        if value::text(spec, "type") == "Exempt" {
            if let Some(exempt) = value::ensure_object(spec, "exempt") {
                value::default(exempt, "nominalConcurrencyShares", 0);
                value::default(exempt, "lendablePercent", 0);
            }
            return;
        }
        let Some(limited) = value::object_mut(spec, "limited") else { return };
        value::default(limited, "nominalConcurrencyShares", 30);
        value::default(limited, "lendablePercent", 0);
        if let Some(queuing) = value::at_mut(limited, &["limitResponse", "queuing"]) {
            value::default_int(queuing, "queues", 64);
            value::default_int(queuing, "handSize", 8);
            value::default_int(queuing, "queueLengthLimit", 50);
        }
    }

    fn validate(&self, object: &Value) -> ErrorList {
        let (spec, path, mut errors) = (value::field(object, "spec"), Path::new("spec"), ErrorList::new());
        let (name, kind) = (meta::name(object), value::text(spec, "type"));
        if (name == EXEMPT) != (kind == "Exempt") {
            let detail = "type must be 'Exempt' if and only if name is 'exempt'";
            errors.invalid(&path.child("type"), kind, detail);
        }
        match kind {
            "Exempt" => {
                if value::has(spec, "limited") {
                    errors.forbidden(&path.child("limited"), "must be nil if the type is not Limited");
                }
                shares(value::field(spec, "exempt"), &path.child("exempt"), &mut errors);
            }
            "Limited" => {
                if value::has(spec, "exempt") {
                    errors.forbidden(&path.child("exempt"), "must be nil if the type is Limited");
                }
                if value::has(spec, "limited") {
                    limited(value::field(spec, "limited"), &path.child("limited"), &mut errors);
                } else {
                    errors.required(&path.child("limited"), "must not be empty when type is Limited");
                }
            }
            other => errors.not_supported(&path.child("type"), other, &["Exempt", "Limited"]),
        }
        if name == EXEMPT && (kind != "Exempt" || value::has(spec, "limited")) {
            let detail = "spec of 'exempt' except the 'spec.exempt' field must equal the fixed value";
            errors.invalid(&path, spec.clone(), detail);
        }
        if name == CATCH_ALL && !value::equivalent(spec, &mandatory::catch_all_level()) {
            errors.invalid(&path, spec.clone(), "spec of 'catch-all' must equal the fixed value");
        }
        mandatory::conditions(value::field(object, "status"), &mut errors);
        errors
    }

    fn validate_status_update(&self, object: &Value, _old: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        mandatory::conditions(value::field(object, "status"), &mut errors);
        errors
    }

    fn columns(&self) -> Vec<Column> {
        vec![
            Column::object_name(),
            Column::new("Type"),
            Column::new("NominalConcurrencyShares"),
            Column::new("Queues"),
            Column::new("HandSize"),
            Column::new("QueueLengthLimit"),
            Column::age(),
        ]
    }

    fn row(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        let spec = value::field(object, "spec");
        let queuing = value::at(spec, &["limited", "limitResponse", "queuing"]);
        let shown = |number: Option<i64>| number.map_or_else(columns::none, |n| Value::from(n.to_string()));
        let shares = value::int_at(spec, &["limited", "nominalConcurrencyShares"])
            .or(value::int_at(spec, &["exempt", "nominalConcurrencyShares"]));
        vec![
            columns::name(object),
            columns::text_cell(spec, "type"),
            shown(shares),
            shown(value::int(queuing, "queues")),
            shown(value::int(queuing, "handSize")),
            shown(value::int(queuing, "queueLengthLimit")),
            columns::age(object, now),
        ]
    }
}

/// What a level has, and what it may lend.
fn shares(level: &Value, path: &Path, errors: &mut ErrorList) {
    if let Some(shares) = value::int(level, "nominalConcurrencyShares")
        && shares < 0
    {
        errors.invalid(&path.child("nominalConcurrencyShares"), shares, "must be a non-negative integer");
    }
    if let Some(percent) = value::int(level, "lendablePercent")
        && !(0..=100).contains(&percent)
    {
        errors.invalid(&path.child("lendablePercent"), percent, "must be between 0 and 100, inclusive");
    }
}

fn limited(level: &Value, path: &Path, errors: &mut ErrorList) {
    shares(level, path, errors);
    if let Some(percent) = value::int(level, "borrowingLimitPercent")
        && percent < 0
    {
        errors.invalid(
            &path.child("borrowingLimitPercent"),
            percent,
            "if specified, must be a non-negative integer",
        );
    }
    let (response, path) = (value::field(level, "limitResponse"), path.child("limitResponse"));
    match (value::text(response, "type"), value::has(response, "queuing")) {
        ("Reject", true) => errors
            .forbidden(&path.child("queuing"), "must be nil if limited.limitResponse.type is not Limited"),
        ("Reject", false) => {}
        ("Queue", false) => errors
            .required(&path.child("queuing"), "must not be empty if limited.limitResponse.type is Limited"),
        ("Queue", true) => queuing(value::field(response, "queuing"), &path.child("queuing"), errors),
        (other, _) => errors.not_supported(&path.child("type"), other, &["Queue", "Reject"]),
    }
}

fn queuing(queuing: &Value, path: &Path, errors: &mut ErrorList) {
    let number = |name: &str| value::int(queuing, name).unwrap_or(0);
    let (queues, hand) = (number("queues"), number("handSize"));
    let mut refuse = |name: &str, detail: String| errors.invalid(&path.child(name), number(name), detail);
    if number("queueLengthLimit") <= 0 {
        refuse("queueLengthLimit", "must be positive".to_owned());
    }
    if queues <= 0 {
        refuse("queues", "must be positive".to_owned());
    } else if queues > MAX_QUEUES {
        refuse("queues", format!("must not be greater than {MAX_QUEUES}"));
    }
    if hand <= 0 {
        refuse("handSize", "must be positive".to_owned());
    } else if hand > queues {
        refuse("handSize", format!("should not be greater than queues ({queues})"));
    } else if entropy_bits(queues, hand) > f64::from(MAX_HASH_BITS) {
        refuse(
            "handSize",
            format!(
                "required entropy bits of deckSize {queues} and handSize {hand} should not be greater than {MAX_HASH_BITS}"
            ),
        );
    }
}

/// Bits that it takes to deal a hand from so many queues.
#[allow(clippy::cast_precision_loss, reason = "both are far below 2^52")]
fn entropy_bits(queues: i64, hand: i64) -> f64 {
    ((queues as f64).log2() * hand as f64).ceil()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn told(name: &str, spec: &Value) -> Vec<String> {
        let mut object = json!({"metadata": {"name": name}, "spec": spec});
        PriorityLevelConfiguration.default(&mut object);
        PriorityLevelConfiguration.validate(&object).iter().map(ToString::to_string).collect()
    }

    fn with_queues(queuing: Value) -> Vec<String> {
        let response = json!({"type": "Queue", "queuing": queuing});
        told("a", &json!({"type": "Limited", "limited": {"limitResponse": response}}))
            .into_iter()
            .map(|message| message.replacen("spec.limited.limitResponse.queuing.", "", 1))
            .collect()
    }

    #[test]
    fn hands_are_dealt_from_the_queues() {
        assert_eq!(with_queues(json!({})), Vec::<String>::new());
        assert_eq!(
            with_queues(json!({"queues": 4})),
            ["handSize: Invalid value: 8: should not be greater than queues (4)"]
        );
        assert_eq!(
            with_queues(json!({"queues": 1024, "handSize": 7})),
            [
                "handSize: Invalid value: 7: required entropy bits of deckSize 1024 and handSize 7 should not be greater than 60"
            ]
        );
        assert_eq!(
            with_queues(json!({"queues": -1, "handSize": -1, "queueLengthLimit": -1})),
            [
                "queueLengthLimit: Invalid value: -1: must be positive",
                "queues: Invalid value: -1: must be positive",
                "handSize: Invalid value: -1: must be positive",
            ]
        );
    }

    #[test]
    fn a_level_is_limited_unless_it_is_the_exempt_one() {
        assert_eq!(
            told(EXEMPT, &json!({"type": "Exempt", "exempt": {"lendablePercent": 5}})),
            Vec::<String>::new()
        );
        assert_eq!(told(CATCH_ALL, &mandatory::catch_all_level()), Vec::<String>::new());
        assert_eq!(
            told("a", &json!({"type": "Exempt", "exempt": {"lendablePercent": 101}})),
            [
                "spec.type: Invalid value: \"Exempt\": type must be 'Exempt' if and only if name is 'exempt'",
                "spec.exempt.lendablePercent: Invalid value: 101: must be between 0 and 100, inclusive",
            ]
        );
        let reject = json!({"type": "Reject", "queuing": {}});
        assert_eq!(
            told(
                "a",
                &json!({"type": "Limited", "exempt": {}, "limited": {
                    "nominalConcurrencyShares": -1, "borrowingLimitPercent": -1, "limitResponse": reject,
                }})
            ),
            [
                "spec.exempt: Forbidden: must be nil if the type is Limited",
                "spec.limited.nominalConcurrencyShares: Invalid value: -1: must be a non-negative integer",
                "spec.limited.borrowingLimitPercent: Invalid value: -1: if specified, must be a non-negative integer",
                "spec.limited.limitResponse.queuing: Forbidden: must be nil if limited.limitResponse.type is not Limited",
            ]
        );
        assert_eq!(
            told("a", &json!({"type": "Limited"})),
            ["spec.limited: Required value: must not be empty when type is Limited"]
        );
    }
}
