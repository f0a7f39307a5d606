//! What to do about one object, given the fresh state of it and of its owners. Pure.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;

use super::graph::{FOREGROUND, Meta, ORPHAN};

/// What is known about an owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OwnerState {
    /// It exists.
    Solid,
    /// There is no object with that uid.
    Absent,
    /// It exists, and waits for its dependents to go.
    WaitingForDependents,
}

/// What to do.
#[derive(Debug, PartialEq)]
pub(super) enum Plan {
    /// It stays as it is.
    Nothing,
    /// It loses these owner references (by uid) and stays.
    Disown(Vec<String>),
    /// It goes, its own dependents as this policy says.
    Delete {
        /// `Background`, `Foreground` or `Orphan`.
        policy: &'static str,
        /// Its dependents wait for each other in a circle: its references must stop blocking first.
        unblock: bool,
    },
}

/// Decides about an object with owner references that is not being deleted.
///
/// `dependents_wait`: it has dependents, and whether some of them wait for dependents themselves.
pub(super) fn plan(
    object: &Meta,
    owners: &[(OwnerReference, OwnerState)],
    dependents_wait: Option<bool>,
) -> Plan {
    let of = |state: OwnerState| {
        let matching = owners.iter().filter(move |(_, found)| *found == state);
        matching.map(|(reference, _)| reference.uid.clone()).collect::<Vec<String>>()
    };
    let (solid, absent, waiting) =
        (of(OwnerState::Solid), of(OwnerState::Absent), of(OwnerState::WaitingForDependents));
    if owners.is_empty() {
        return Plan::Nothing;
    }
    if !solid.is_empty() {
        // Somebody still wants it. References to owners that are gone or going are only in the way.
        let uids: Vec<String> = absent.into_iter().chain(waiting).collect();
        return if uids.is_empty() { Plan::Nothing } else { Plan::Disown(uids) };
    }
    if !waiting.is_empty()
        && let Some(circular) = dependents_wait
    {
        return Plan::Delete { policy: "Foreground", unblock: circular };
    }
    let policy = if object.has_finalizer(ORPHAN) {
        "Orphan"
    } else if object.has_finalizer(FOREGROUND) {
        "Foreground"
    } else {
        "Background"
    };
    Plan::Delete { policy, unblock: false }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_stays_while_one_owner_is_solid() {
        use OwnerState::{Absent, Solid, WaitingForDependents};
        let delete = |policy: &'static str| Plan::Delete { policy, unblock: false };
        let disown = |uids: &[&str]| Plan::Disown(uids.iter().map(|uid| (*uid).to_owned()).collect());
        for (states, dependents_wait, expected) in [
            (vec![], None, Plan::Nothing),
            (vec![Solid], None, Plan::Nothing),
            (vec![Solid, Absent], None, disown(&["1"])),
            (vec![Solid, WaitingForDependents, Absent], None, disown(&["2", "1"])),
            (vec![Absent], None, delete("Background")),
            (vec![Absent], Some(false), delete("Background")),
            (vec![WaitingForDependents], None, delete("Background")),
            (vec![WaitingForDependents], Some(false), delete("Foreground")),
            (vec![WaitingForDependents], Some(true), Plan::Delete { policy: "Foreground", unblock: true }),
        ] {
            let owners: Vec<_> = states
                .iter()
                .enumerate()
                .map(|(n, state)| {
                    (OwnerReference { uid: n.to_string(), ..OwnerReference::default() }, *state)
                })
                .collect();
            assert_eq!(
                plan(&Meta::default(), &owners, dependents_wait),
                expected,
                "{states:?} {dependents_wait:?}"
            );
        }
    }

    #[test]
    fn finalizers_of_the_object_choose_how_its_own_dependents_go() {
        let owner = vec![(OwnerReference::default(), OwnerState::Absent)];
        for (finalizer, policy) in [(ORPHAN, "Orphan"), (FOREGROUND, "Foreground"), ("other", "Background")] {
            let object = Meta { finalizers: Some(vec![finalizer.to_owned()]), ..Meta::default() };
            assert_eq!(plan(&object, &owner, None), Plan::Delete { policy, unblock: false });
        }
    }
}
