//! The default ClusterRoleBindings and RoleBindings, besides those of controllers.

use super::table::StaticBinding;
use super::table::Subject::{self, Account, Group, User};

const EVERYBODY: &[Subject] = &[Group("system:authenticated"), Group("system:unauthenticated")];
const AUTHENTICATED: &[Subject] = &[Group("system:authenticated")];

/// A ClusterRoleBinding named like its role.
const fn to(role: &'static str, subjects: &'static [Subject]) -> StaticBinding {
    StaticBinding { namespace: "", name: role, role, subjects }
}

const fn within(
    namespace: &'static str,
    name: &'static str,
    role: &'static str,
    subjects: &'static [Subject],
) -> StaticBinding {
    StaticBinding { namespace, name, role, subjects }
}

/// All of them.
pub(super) const BINDINGS: &[StaticBinding] = &[
    to("cluster-admin", &[Group("system:masters")]),
    to("system:monitoring", &[Group("system:monitoring")]),
    to("system:discovery", AUTHENTICATED),
    to("system:basic-user", AUTHENTICATED),
    to("system:public-info-viewer", EVERYBODY),
    to("system:node-proxier", &[User("system:kube-proxy")]),
    to("knarr:network-policy", &[User("system:kube-proxy")]),
    to("system:kube-controller-manager", &[User("system:kube-controller-manager")]),
    to("system:kube-dns", &[Account("kube-dns")]),
    to("system:kube-scheduler", &[User("system:kube-scheduler")]),
    to("system:volume-scheduler", &[User("system:kube-scheduler")]),
    to("system:service-account-issuer-discovery", &[Group("system:serviceaccounts")]),
    // Kubelets renew their certificates by themselves, as those of kubeadm do.
    StaticBinding {
        namespace: "",
        name: "knarr:node-autoapprove-certificate-rotation",
        role: "system:certificates.k8s.io:certificatesigningrequests:selfnodeclient",
        subjects: &[Group("system:nodes")],
    },
    // For nobody: the Node authorizer does it better.
    to("system:node", &[]),
    within(
        "kube-system",
        "system::extension-apiserver-authentication-reader",
        "extension-apiserver-authentication-reader",
        &[User("system:kube-controller-manager"), User("system:kube-scheduler")],
    ),
    within(
        "kube-system",
        "system::leader-locking-kube-controller-manager",
        "system::leader-locking-kube-controller-manager",
        &[User("system:kube-controller-manager"), Account("kube-controller-manager")],
    ),
    within(
        "kube-system",
        "system::leader-locking-kube-scheduler",
        "system::leader-locking-kube-scheduler",
        &[User("system:kube-scheduler"), Account("kube-scheduler")],
    ),
    within(
        "kube-system",
        "system:controller:bootstrap-signer",
        "system:controller:bootstrap-signer",
        &[Account("bootstrap-signer")],
    ),
    within(
        "kube-system",
        "system:controller:cloud-provider",
        "system:controller:cloud-provider",
        &[Account("cloud-provider")],
    ),
    within(
        "kube-system",
        "system:controller:token-cleaner",
        "system:controller:token-cleaner",
        &[Account("token-cleaner")],
    ),
    within(
        "kube-public",
        "system:controller:bootstrap-signer",
        "system:controller:bootstrap-signer",
        &[Account("bootstrap-signer")],
    ),
];
