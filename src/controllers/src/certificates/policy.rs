//! What each signer of `kubernetes.io` signs
//! (<https://kubernetes.io/docs/reference/access-authn-authz/certificate-signing-requests/#kubernetes-signers>).

use pki::CertificateRequest;

pub(super) const CLIENT: &str = "kubernetes.io/kube-apiserver-client";
pub(super) const KUBELET_CLIENT: &str = "kubernetes.io/kube-apiserver-client-kubelet";
pub(super) const KUBELET_SERVING: &str = "kubernetes.io/kubelet-serving";
pub(super) const LEGACY: &str = "kubernetes.io/legacy-unknown";

const SIGNATURE: &str = "digital signature";
const ENCIPHERMENT: &str = "key encipherment";

/// Whether the signer signs this.
///
/// # Errors
/// Why it does not, in upstream's words.
pub(super) fn check(signer: &str, request: &CertificateRequest, usages: &[String]) -> Result<(), String> {
    match signer {
        CLIENT => client(usages),
        KUBELET_CLIENT => kubelet_client(request, usages),
        KUBELET_SERVING => kubelet_serving(request, usages),
        // Whatever is asked for: nobody is to trust it.
        _ => Ok(()),
    }
}

fn client(usages: &[String]) -> Result<(), String> {
    for usage in usages {
        if ![SIGNATURE, ENCIPHERMENT, "client auth"].contains(&usage.as_str()) {
            return Err(format!("invalid usage for client certificate: {usage}"));
        }
    }
    if usages.iter().any(|usage| usage == "client auth") {
        Ok(())
    } else {
        Err("missing required usage for client certificate: client auth".to_owned())
    }
}

/// Whether a kubelet asks for a certificate to be a client with.
pub(super) fn kubelet_client(request: &CertificateRequest, usages: &[String]) -> Result<(), String> {
    in_system_nodes(request)?;
    let none = |what: &str, is_empty: bool| {
        if is_empty { Ok(()) } else { Err(format!("{what} subjectAltNames are not allowed")) }
    };
    none("DNS", request.dns_names.is_empty())?;
    none("email", request.emails.is_empty())?;
    none("IP", request.addresses.is_empty())?;
    none("URI", request.uris.is_empty())?;
    named_as_node(request)?;
    exactly(usages, "client auth")
}

fn kubelet_serving(request: &CertificateRequest, usages: &[String]) -> Result<(), String> {
    in_system_nodes(request)?;
    if request.dns_names.is_empty() && request.addresses.is_empty() {
        return Err("DNS or IP subjectAltName is required".to_owned());
    }
    if !request.emails.is_empty() {
        return Err("email subjectAltNames are not allowed".to_owned());
    }
    if !request.uris.is_empty() {
        return Err("URI subjectAltNames are not allowed".to_owned());
    }
    exactly(usages, "server auth")?;
    named_as_node(request)
}

fn in_system_nodes(request: &CertificateRequest) -> Result<(), String> {
    let only = matches!(request.organizations.as_slice(), [only] if only == "system:nodes");
    if only { Ok(()) } else { Err("subject organization is not system:nodes".to_owned()) }
}

fn named_as_node(request: &CertificateRequest) -> Result<(), String> {
    if request.common_name.starts_with("system:node:") {
        Ok(())
    } else {
        Err("subject common name does not begin with system:node:".to_owned())
    }
}

/// Signatures and this purpose; encipherment, which only RSA keys do, may be left out.
fn exactly(usages: &[String], purpose: &str) -> Result<(), String> {
    let known = |usage: &str| [SIGNATURE, ENCIPHERMENT, purpose].contains(&usage);
    let has = |wanted: &str| usages.iter().any(|usage| usage == wanted);
    if usages.iter().all(|usage| known(usage)) && has(SIGNATURE) && has(purpose) {
        return Ok(());
    }
    let mut names = [SIGNATURE, ENCIPHERMENT, purpose];
    names.sort_unstable();
    Err(format!("usages did not match [{}]", names.join(" ")))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, SanType};

    /// A request in PEM.
    pub(crate) fn pem(organization: &str, name: &str, dns: &[&str]) -> String {
        let mut params = CertificateParams::default();
        let mut subject = DistinguishedName::new();
        subject.push(DnType::OrganizationName, organization);
        subject.push(DnType::CommonName, name);
        params.distinguished_name = subject;
        params.subject_alt_names =
            dns.iter().map(|name| SanType::DnsName((*name).try_into().unwrap())).collect();
        params.serialize_request(&KeyPair::generate().unwrap()).unwrap().pem().unwrap()
    }

    fn judged(
        signer: &str,
        organization: &str,
        name: &str,
        dns: &[&str],
        usages: &[&str],
    ) -> Result<(), String> {
        let request = CertificateRequest::from_pem(pem(organization, name, dns).as_bytes()).unwrap();
        let usages: Vec<String> = usages.iter().map(|usage| (*usage).to_owned()).collect();
        check(signer, &request, &usages)
    }

    #[test]
    fn kubelets_get_what_kubelets_need() {
        let (client, server) = ([SIGNATURE, "client auth"], [SIGNATURE, ENCIPHERMENT, "server auth"]);
        let node = "system:node:n1";
        assert_eq!(judged(KUBELET_CLIENT, "system:nodes", node, &[], &client), Ok(()));
        assert_eq!(judged(KUBELET_SERVING, "system:nodes", node, &["n1"], &server), Ok(()));
        for (signer, organization, name, dns, usages, expected) in [
            (
                KUBELET_CLIENT,
                "system:masters",
                node,
                &[][..],
                &client[..],
                "subject organization is not system:nodes",
            ),
            (KUBELET_CLIENT, "system:nodes", node, &["n1"], &client, "DNS subjectAltNames are not allowed"),
            (
                KUBELET_CLIENT,
                "system:nodes",
                "me",
                &[],
                &client,
                "subject common name does not begin with system:node:",
            ),
            (
                KUBELET_CLIENT,
                "system:nodes",
                node,
                &[],
                &server,
                "usages did not match [client auth digital signature key encipherment]",
            ),
            (KUBELET_SERVING, "system:nodes", node, &[], &server, "DNS or IP subjectAltName is required"),
        ] {
            assert_eq!(judged(signer, organization, name, dns, usages), Err(expected.to_owned()));
        }
    }

    #[test]
    fn clients_get_nothing_but_clients() {
        assert_eq!(judged(CLIENT, "dev", "ann", &[], &["client auth"]), Ok(()));
        assert_eq!(
            judged(CLIENT, "dev", "ann", &[], &["client auth", "server auth"]),
            Err("invalid usage for client certificate: server auth".to_owned())
        );
        assert_eq!(
            judged(CLIENT, "dev", "ann", &[], &[SIGNATURE]),
            Err("missing required usage for client certificate: client auth".to_owned())
        );
        assert_eq!(judged(LEGACY, "dev", "ann", &["x"], &["any"]), Ok(()));
    }
}
