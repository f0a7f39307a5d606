//! `rbac.authorization.k8s.io`.

use crate::Kind;

mod clusterrole;
mod clusterrolebinding;
mod role;
mod rolebinding;
mod rules;

/// The kinds of this group that have a file of their own.
pub(crate) const KINDS: &[&dyn Kind] = &[
    &clusterrole::ClusterRole,
    &clusterrolebinding::ClusterRoleBinding,
    &role::Role,
    &rolebinding::RoleBinding,
];
