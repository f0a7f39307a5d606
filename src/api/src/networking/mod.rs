//! `networking.k8s.io`.

use crate::Kind;

mod ingress;
mod ingress_class;
mod ingress_rules;
mod ip_address;
mod network_policy;
mod references;
mod service_cidr;

/// The kinds of this group that have a file of their own.
pub(crate) const KINDS: &[&dyn Kind] = &[
    &ingress::Ingress,
    &ingress_class::IngressClass,
    &ip_address::IPAddress,
    &network_policy::NetworkPolicy,
    &service_cidr::ServiceCIDR,
];
