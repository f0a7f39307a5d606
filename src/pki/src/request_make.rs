//! Making certificate signing requests, for nodes whose keys stay with them.

use std::net::IpAddr;

use jiff::{SignedDuration, Timestamp};

use crate::authority::Authority;
use crate::draft::Draft;
use crate::error::PkiError;
use crate::profile::{Component, ExtendedKeyUsage};
use crate::request::{CertificateRequest, Usages};

/// Asks for the certificate that a component has on a node.
///
/// # Errors
/// [`PkiError::Issue`] when a name cannot be in a certificate.
pub fn make_request(component: Component, node: &str, addresses: &[IpAddr]) -> Result<Draft, PkiError> {
    let profile = component.profile()?;
    let named = |name: &String| name.replace("{node}", node);
    let names: Vec<String> = profile.dns_names.iter().map(named).collect();
    let organization = profile.subject.organization.as_ref().map(named);
    Draft::new(&named(&profile.subject.common_name), organization.as_deref(), &names, addresses)
}

impl Authority {
    /// Signs the certificate that a component has on a node, if that and no more is asked for. Answers PEM.
    ///
    /// # Errors
    /// [`PkiError::Parse`] when it is no request or asks for more; [`PkiError::Issue`].
    pub fn sign_for(
        &self,
        component: Component,
        node: &str,
        addresses: &[IpAddr],
        request_pem: &str,
        now: Timestamp,
    ) -> Result<String, PkiError> {
        let profile = component.profile()?;
        let request = CertificateRequest::from_pem(request_pem.as_bytes())?;
        let organizations: Vec<String> =
            profile.subject.organization.iter().map(|name| name.replace("{node}", node)).collect();
        let names: Vec<String> = profile.dns_names.iter().map(|name| name.replace("{node}", node)).collect();
        let fits = request.common_name == profile.subject.common_name.replace("{node}", node)
            && request.organizations == organizations
            && request.dns_names.iter().all(|name| names.contains(name))
            && request.addresses.iter().all(|address| addresses.contains(address))
            && request.emails.is_empty()
            && request.uris.is_empty();
        if !fits {
            let what = component.file_stem();
            return Err(PkiError::parse(format_args!(
                "the request for {what} of node {node} asks for more than that"
            )));
        }
        let purposes = profile.extended_key_usages.iter().map(|usage| match usage {
            ExtendedKeyUsage::ServerAuth => "server auth",
            ExtendedKeyUsage::ClientAuth => "client auth",
        });
        let usages = Usages::named(std::iter::once("digital signature").chain(purposes))
            .map_err(|unknown| PkiError::parse(unknown.join(", ")))?;
        let life = SignedDuration::from_hours(24 * i64::from(profile.validity_days));
        self.sign_request(&request, &usages, life, now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Leaf, Pki};

    #[test]
    fn a_node_gets_its_own_certificates_and_no_others() {
        let now: Timestamp = "2026-09-01T00:00:00Z".parse().unwrap();
        let directory = tempfile::tempdir().unwrap();
        let pki = Pki::load_or_create(directory.path(), now).unwrap();
        let addresses = ["10.0.0.7".parse().unwrap()];
        for component in [Component::KubeletClient, Component::KubeletServing, Component::Proxy] {
            let with = if component == Component::KubeletServing { &addresses[..] } else { &[] };
            let made = make_request(component, "n7", with).unwrap();
            let sign = |component, node, addresses: &[IpAddr]| {
                pki.cluster_ca().sign_for(component, node, addresses, &made.request_pem, now)
            };
            let certificate = sign(component, "n7", &addresses).unwrap();
            let leaf = Leaf::from_pem(&certificate, &made.key_pem).unwrap();
            assert_eq!(leaf.addresses(), with);
            assert!(sign(Component::Admin, "n7", &addresses).is_err(), "{component:?}");
            if component != Component::Proxy {
                assert!(sign(component, "n8", &addresses).is_err(), "{component:?}");
            }
            assert_eq!(sign(component, "n7", &[]).is_err(), !with.is_empty(), "{component:?}");
        }
    }
}
