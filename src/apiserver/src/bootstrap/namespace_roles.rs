//! The default Roles in `kube-system` and `kube-public`.

use super::table::{EVENTS, READ, StaticRole, StaticRule, named, on};

const fn role(namespace: &'static str, name: &'static str, rules: &'static [StaticRule]) -> StaticRole {
    StaticRole { namespace, name, rules, part_of: "", made_of: "" }
}

/// All of them.
pub(super) const ROLES: &[StaticRole] = &[
    role(
        "kube-system",
        "extension-apiserver-authentication-reader",
        &[named(READ, "core", "configmaps", "extension-apiserver-authentication")],
    ),
    role("kube-system", "system:controller:bootstrap-signer", &[on(READ, "core", "secrets")]),
    role(
        "kube-system",
        "system:controller:cloud-provider",
        &[on("create get list watch", "core", "configmaps")],
    ),
    role(
        "kube-system",
        "system:controller:token-cleaner",
        &[on("get list watch delete", "core", "secrets"), EVENTS],
    ),
    role(
        "kube-system",
        "system::leader-locking-kube-controller-manager",
        &[
            on("watch", "core", "configmaps"),
            named("get update", "core", "configmaps", "kube-controller-manager"),
        ],
    ),
    role(
        "kube-system",
        "system::leader-locking-kube-scheduler",
        &[on("watch", "core", "configmaps"), named("get update", "core", "configmaps", "kube-scheduler")],
    ),
    role(
        "kube-public",
        "system:controller:bootstrap-signer",
        &[on(READ, "core", "configmaps"), named("update", "core", "configmaps", "cluster-info"), EVENTS],
    ),
];
