//! Which names a definition gets, and what is told of it in its status (upstream's naming, establishing, API approval
//! and non-structural schema controllers).

use super::definition::{CLEANUP_FINALIZER, Condition, Definition, Names};
use apimachinery::gvk::GroupResource;
use apimachinery::{meta, time};
use jiff::Timestamp;
use serde_json::Value;
use std::collections::HashSet;

pub(super) const NAMES_ACCEPTED: &str = "NamesAccepted";
pub(super) const ESTABLISHED: &str = "Established";
pub(super) const TERMINATING: &str = "Terminating";
const NON_STRUCTURAL: &str = "NonStructuralSchema";
const API_APPROVED: &str = "KubernetesAPIApprovalPolicyConformant";

/// Groups that are Kubernetes' own, and whatever is below them.
const PROTECTED_GROUPS: [&str; 2] = ["k8s.io", "kubernetes.io"];

/// Names in use in one group.
#[derive(Debug, Default)]
pub(super) struct Taken {
    resources: HashSet<String>,
    kinds: HashSet<String>,
}

impl Taken {
    /// Adds the names that a definition has.
    pub(super) fn add(&mut self, names: &Names) {
        let resources = names.short_names.iter().chain([&names.plural, &names.singular]);
        self.resources.extend(resources.filter(|name| !name.is_empty()).cloned());
        let kinds = [&names.kind, &names.list_kind].into_iter();
        self.kinds.extend(kinds.filter(|name| !name.is_empty()).cloned());
    }
}

/// What the status of a definition is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) accepted: Names,
    pub(super) conditions: Vec<Condition>,
}

impl Wanted {
    /// Whether a condition is true.
    pub(super) fn is(&self, condition: &str) -> bool {
        self.conditions.iter().any(|c| c.kind == condition && c.status == "True")
    }
}

/// The status that a definition is to have. `taken` holds the names of its group, `violations` what makes its schemas
/// no structural ones, where somebody has looked.
pub(super) fn wanted(
    definition: &Definition,
    taken: &Taken,
    violations: Option<&str>,
    now: Timestamp,
) -> Wanted {
    let mut conditions = definition.conditions.clone();
    let (accepted, names) = accept(&definition.names, &definition.accepted, taken);
    let has_names = names.status == "True";
    set(&mut conditions, names, now);
    if !definition.is(ESTABLISHED) {
        let established = match (has_names, definition.deleting) {
            (true, false) => Condition::new(
                ESTABLISHED,
                true,
                "InitialNamesAccepted",
                "the initial names have been accepted",
            ),
            (true, true) => {
                Condition::new(ESTABLISHED, false, "Installing", "the initial names have been accepted")
            }
            (false, _) => Condition::new(ESTABLISHED, false, "NotAccepted", "not all names are accepted"),
        };
        set(&mut conditions, established, now);
    }
    match violations {
        Some("") => conditions.retain(|condition| condition.kind != NON_STRUCTURAL),
        Some(text) => set(&mut conditions, Condition::new(NON_STRUCTURAL, true, "Violations", text), now),
        None => {}
    }
    match approval(&definition.group, definition.approved.as_deref()) {
        Some(condition) => set(&mut conditions, condition, now),
        None => conditions.retain(|condition| condition.kind != API_APPROVED),
    }
    Wanted { accepted, conditions }
}

/// Puts a condition in the place of the one of its type. Its time is that of the last change of its status.
pub(super) fn set(conditions: &mut Vec<Condition>, mut condition: Condition, now: Timestamp) {
    let Some(known) = conditions.iter_mut().find(|known| known.kind == condition.kind) else {
        condition.last_transition_time = Some(time::rfc3339(now));
        conditions.push(condition);
        return;
    };
    condition.last_transition_time = match known.status == condition.status {
        true => known.last_transition_time.clone(),
        false => Some(time::rfc3339(now)),
    };
    *known = condition;
}

/// Which of the names that are asked for are free. What is not keeps its old value.
fn accept(asked: &Names, has: &Names, taken: &Taken) -> (Names, Condition) {
    let mut accepted = has.clone();
    // The last conflict is the one that is told.
    let mut conflict = None;
    take(&asked.plural, &mut accepted.plural, &taken.resources, "PluralConflict", &mut conflict);
    take(&asked.singular, &mut accepted.singular, &taken.resources, "SingularConflict", &mut conflict);
    let in_others: Vec<String> = asked
        .short_names
        .iter()
        .filter(|name| !has.short_names.contains(name) && taken.resources.contains(*name))
        .map(|name| in_use(name))
        .collect();
    match in_others.as_slice() {
        [] => accepted.short_names.clone_from(&asked.short_names),
        [one] => conflict = Some(("ShortNamesConflict", one.clone())),
        many => conflict = Some(("ShortNamesConflict", format!("[{}]", many.join(", ")))),
    }
    take(&asked.kind, &mut accepted.kind, &taken.kinds, "KindConflict", &mut conflict);
    take(&asked.list_kind, &mut accepted.list_kind, &taken.kinds, "ListKindConflict", &mut conflict);
    accepted.categories.clone_from(&asked.categories);
    let condition = match conflict {
        Some((reason, message)) => Condition::new(NAMES_ACCEPTED, false, reason, message),
        None => Condition::new(NAMES_ACCEPTED, true, "NoConflicts", "no conflicts found"),
    };
    (accepted, condition)
}

fn take(
    asked: &str,
    slot: &mut String,
    taken: &HashSet<String>,
    reason: &'static str,
    conflict: &mut Option<(&'static str, String)>,
) {
    if asked != slot && taken.contains(asked) {
        *conflict = Some((reason, in_use(asked)));
    } else {
        asked.clone_into(slot);
    }
}

fn in_use(name: &str) -> String {
    format!("{name:?} is already in use")
}

/// What is to be said of a definition in a protected group (KEP-1111).
fn approval(group: &str, annotation: Option<&str>) -> Option<Condition> {
    let protects =
        |domain: &&str| group.strip_suffix(*domain).is_some_and(|r| r.is_empty() || r.ends_with('.'));
    PROTECTED_GROUPS.iter().find(|domain| protects(domain))?;
    let condition =
        |status, reason, message: String| Some(Condition::new(API_APPROVED, status, reason, message));
    match annotation.unwrap_or("") {
        "" => condition(
            false,
            "MissingAnnotation",
            "protected groups must have approval annotation \"api-approved.kubernetes.io\", see https://github.com/kubernetes/enhancements/pull/1111".to_owned(),
        ),
        text if text.starts_with("unapproved") => {
            condition(false, "UnapprovedAnnotation", format!("not approved: {text:?}"))
        }
        text => match text.parse::<http::Uri>() {
            Ok(url) if url.scheme().is_some() && url.host().is_some() => {
                condition(true, "ApprovedAnnotation", format!("approved in {text}"))
            }
            _ => condition(
                false,
                "InvalidAnnotation",
                "protected groups must have approval annotation \"api-approved.kubernetes.io\" with either a URL or a reason starting with \"unapproved\", see https://github.com/kubernetes/enhancements/pull/1111".to_owned(),
            ),
        },
    }
}

/// Puts onto a definition that is to be deleted what holds it until its objects are gone.
pub(crate) fn begin_deletion(object: &mut Value, now: Timestamp) {
    let mut finalizers: Vec<String> = meta::finalizers(object).map(str::to_owned).collect();
    if !finalizers.iter().any(|finalizer| finalizer == CLEANUP_FINALIZER) {
        finalizers.push(CLEANUP_FINALIZER.to_owned());
        meta::set(object, "finalizers", finalizers);
    }
    set_in(
        object,
        Condition::new(
            TERMINATING,
            true,
            "InstanceDeletionPending",
            "CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon",
        ),
        now,
    );
}

/// Sets a condition in the status of a definition.
pub(super) fn set_in(object: &mut Value, condition: Condition, now: Timestamp) {
    let Some(status) = api::value::ensure_object(object, "status") else { return };
    let known = api::value::field(status, "conditions").clone();
    let mut conditions: Vec<Condition> = serde_json::from_value(known).unwrap_or_default();
    set(&mut conditions, condition, now);
    api::value::set(status, "conditions", serde_json::to_value(conditions).unwrap_or_default());
}

/// The group and resource of the objects that a definition defines.
pub(super) fn resource(definition: &Definition) -> GroupResource {
    // The definition's own name is made of these two, so that it is nobody else's.
    GroupResource::new(definition.group.as_str(), definition.names.plural.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(plural: &str, kind: &str, short: &[&str]) -> Names {
        Names {
            plural: plural.to_owned(),
            singular: kind.to_lowercase(),
            short_names: short.iter().map(|name| (*name).to_owned()).collect(),
            kind: kind.to_owned(),
            list_kind: format!("{kind}List"),
            categories: Vec::new(),
        }
    }

    #[test]
    fn free_names_are_accepted() {
        let asked = names("widgets", "Widget", &["w"]);
        let (accepted, condition) = accept(&asked, &Names::default(), &Taken::default());
        assert_eq!(accepted, asked);
        assert_eq!((condition.status.as_str(), condition.reason.as_str()), ("True", "NoConflicts"));
    }

    #[test]
    fn names_of_others_are_not() {
        let mut taken = Taken::default();
        taken.add(&names("widgets", "Widget", &["w"]));
        let (accepted, condition) = accept(&names("things", "Widget", &["t"]), &Names::default(), &taken);
        assert_eq!((accepted.plural.as_str(), accepted.kind.as_str()), ("things", ""));
        assert_eq!((condition.status.as_str(), condition.reason.as_str()), ("False", "ListKindConflict"));
        assert_eq!(condition.message, "\"WidgetList\" is already in use");
        let (_, condition) = accept(&names("gadgets", "Gadget", &["w", "g"]), &Names::default(), &taken);
        assert_eq!(
            (condition.reason.as_str(), condition.message.as_str()),
            ("ShortNamesConflict", "\"w\" is already in use")
        );
    }

    #[test]
    fn ones_own_names_stay() {
        let own = names("widgets", "Widget", &["w"]);
        let mut taken = Taken::default();
        taken.add(&own);
        assert_eq!(accept(&own, &own, &taken).1.status, "True");
    }

    #[test]
    fn the_time_of_a_condition_is_that_of_its_last_change() {
        let mut conditions = Vec::new();
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        set(&mut conditions, Condition::new("A", true, "x", ""), at("2026-01-01T00:00:00Z"));
        set(&mut conditions, Condition::new("A", true, "y", ""), at("2026-01-02T00:00:00Z"));
        assert_eq!(conditions[0].last_transition_time.as_deref(), Some("2026-01-01T00:00:00Z"));
        assert_eq!(conditions[0].reason, "y");
        set(&mut conditions, Condition::new("A", false, "y", ""), at("2026-01-03T00:00:00Z"));
        assert_eq!(conditions[0].last_transition_time.as_deref(), Some("2026-01-03T00:00:00Z"));
    }

    #[test]
    fn groups_of_kubernetes_need_approval() {
        assert!(approval("example.com", None).is_none());
        assert!(approval("notk8s.io", None).is_none());
        assert_eq!(approval("gateway.networking.k8s.io", None).unwrap().reason, "MissingAnnotation");
        let url = "https://github.com/kubernetes-sigs/gateway-api/pull/3328";
        assert_eq!(approval("gateway.networking.k8s.io", Some(url)).unwrap().status, "True");
        assert_eq!(approval("x.k8s.io", Some("unapproved, x")).unwrap().reason, "UnapprovedAnnotation");
        assert_eq!(approval("x.k8s.io", Some("x")).unwrap().reason, "InvalidAnnotation");
    }
}
