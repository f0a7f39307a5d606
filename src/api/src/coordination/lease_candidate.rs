//! LeaseCandidate (KEP-4355).

use super::strategy;
use crate::validation::Errors;
use crate::{Kind, NameRule, columns, validation, value};
use apimachinery::field::{ErrorList, Path};
use apimachinery::table::Column;
use apimachinery::validation as forms;
use jiff::Timestamp;
use serde_json::Value;

/// LeaseCandidate.
pub struct LeaseCandidate;

impl Kind for LeaseCandidate {
    fn group_kind(&self) -> (&'static str, &'static str) {
        ("coordination.k8s.io", "LeaseCandidate")
    }

    fn name_rule(&self) -> NameRule {
        NameRule::Custom(forms::config_map_key)
    }

    fn validate(&self, object: &Value) -> ErrorList {
        let (path, spec, mut errors) = (Path::new("spec"), value::field(object, "spec"), ErrorList::new());
        validation::required_text(spec, "leaseName", &path, &mut errors);
        let emulated = version(spec, "emulationVersion", &path, &mut errors);
        let binary = version(spec, "binaryVersion", &path, &mut errors);
        if value::text(spec, "binaryVersion").is_empty() {
            errors.required(&path.child("binaryVersion"), "");
        }
        if let (Some(binary), Some(emulated)) = (binary, emulated)
            && binary < emulated
        {
            errors.invalid(
                &path.child("binaryVersion"),
                value::text(spec, "binaryVersion"),
                "must be greater than or equal to `emulationVersion`",
            );
        }
        let strategy = value::text(spec, "strategy");
        if validation::required_text(spec, "strategy", &path, &mut errors) {
            strategy::validate(strategy, &path.child("strategy"), &mut errors);
        }
        if strategy == strategy::OLDEST && emulated.is_none_or(|version| version == Version::default()) {
            errors.required(
                &path.child("emulationVersion"),
                "must be specified when `strategy` is 'OldestEmulationVersion'",
            );
        }
        errors
    }

    fn validate_update(&self, object: &Value, old: &Value) -> ErrorList {
        let mut errors = self.validate(object);
        let (spec, old) = (value::field(object, "spec"), value::field(old, "spec"));
        validation::immutable(spec, old, "leaseName", &Path::new("spec"), &mut errors);
        errors
    }

    fn selectable_fields(&self, object: &Value) -> Vec<(&'static str, String)> {
        vec![("spec.leaseName", value::text_at(object, &["spec", "leaseName"]).to_owned())]
    }

    fn columns(&self) -> Vec<Column> {
        vec![
            Column::object_name(),
            Column::new("LeaseName"),
            Column::new("BinaryVersion"),
            Column::new("EmulationVersion"),
            Column::new("PingTime"),
            Column::new("RenewTime"),
            Column::age(),
        ]
    }

    fn row(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        let spec = value::field(object, "spec");
        let at = |name: &str| Value::from(value::text(spec, name));
        vec![
            columns::name(object),
            at("leaseName"),
            at("binaryVersion"),
            at("emulationVersion"),
            at("pingTime"),
            at("renewTime"),
            columns::age(object, now),
        ]
    }
}

/// Major, minor and patch level.
type Version = [u64; 3];

/// The semantic version (<https://semver.org>) in a field that is there; what follows the three numbers has to be well
/// formed but does not count.
fn version(spec: &Value, name: &str, path: &Path, errors: &mut ErrorList) -> Option<Version> {
    let text = value::text(spec, name);
    if text.is_empty() {
        return None;
    }
    let version = parse(text);
    if version.is_none() {
        errors.invalid(&path.child(name), text, "must be a valid semantic version");
    }
    version
}

fn parse(text: &str) -> Option<Version> {
    let (text, build) = text.split_once('+').map_or((text, None), |(text, build)| (text, Some(build)));
    let (core, before) = text.split_once('-').map_or((text, None), |(core, before)| (core, Some(before)));
    let well_formed = |tail: &str| {
        tail.split('.')
            .all(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-'))
    };
    let number = |part: &str| -> Option<u64> {
        let plain = part == "0" || !part.starts_with('0');
        (plain && part.bytes().all(|b| b.is_ascii_digit())).then(|| part.parse().ok()).flatten()
    };
    let numbers: Vec<u64> = core.split('.').map(number).collect::<Option<_>>()?;
    let version = numbers.try_into().ok()?;
    build.into_iter().chain(before).all(well_formed).then_some(version)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn told(spec: &Value) -> Vec<String> {
        LeaseCandidate.validate(&json!({ "spec": spec })).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn versions_are_semantic_ones() {
        for good in ["1.36.0", "1.36.0-alpha.1+abc", "0.0.10"] {
            assert!(parse(good).is_some(), "{good}");
        }
        for bad in ["1.36", "v1.36.0", "1.036.0", "1.36.0-", "1.36.0.1", "1.x.0"] {
            assert!(parse(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn a_binary_is_not_older_than_what_it_emulates() {
        let candidate = |binary: &str, emulated: &str| {
            told(&json!({"leaseName": "a", "strategy": "OldestEmulationVersion",
                "binaryVersion": binary, "emulationVersion": emulated}))
        };
        assert_eq!(candidate("1.36.0", "1.35.0"), Vec::<String>::new());
        assert_eq!(
            candidate("1.35.0", "1.36.0"),
            [
                "spec.binaryVersion: Invalid value: \"1.35.0\": must be greater than or equal to `emulationVersion`"
            ]
        );
        assert_eq!(
            candidate("x", ""),
            [
                "spec.binaryVersion: Invalid value: \"x\": must be a valid semantic version",
                "spec.emulationVersion: Required value: must be specified when `strategy` is 'OldestEmulationVersion'",
            ]
        );
        assert_eq!(
            told(&json!({})),
            [
                "spec.leaseName: Required value",
                "spec.binaryVersion: Required value",
                "spec.strategy: Required value",
            ]
        );
    }

    #[test]
    fn a_candidate_stands_for_one_lease() {
        let of = |lease: &str| json!({"spec": {"leaseName": lease, "binaryVersion": "1.36.0", "strategy": "a.b/c"}});
        let errors = LeaseCandidate.validate_update(&of("a"), &of("b"));
        assert_eq!(errors[0].to_string(), "spec.leaseName: Invalid value: \"a\": field is immutable");
    }
}
