//! A key of one's own, and the request to have it certified by somebody else.

use std::net::IpAddr;

use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, PKCS_ECDSA_P256_SHA256, SanType};

use crate::error::PkiError;

/// A new key with its certificate signing request (PKCS #10).
#[derive(Debug)]
pub struct Draft {
    /// The private key as PKCS #8 PEM. Secret.
    pub key_pem: String,
    /// The request as PEM.
    pub request_pem: String,
}

impl Draft {
    /// Makes a key and asks for a certificate of this subject and these alternative names.
    ///
    /// Of several organizations only the last would be asked for: there can be one.
    ///
    /// # Errors
    /// [`PkiError::Issue`] when a name is none that a certificate can have.
    pub fn new(
        common_name: &str,
        organization: Option<&str>,
        dns_names: &[String],
        addresses: &[IpAddr],
    ) -> Result<Self, PkiError> {
        let failed =
            |error: rcgen::Error| PkiError::Issue { name: common_name.to_owned(), reason: error.to_string() };
        let mut subject = DistinguishedName::new();
        if let Some(organization) = organization {
            subject.push(DnType::OrganizationName, organization);
        }
        subject.push(DnType::CommonName, common_name);
        let mut params = CertificateParams::default();
        params.distinguished_name = subject;
        for name in dns_names {
            params.subject_alt_names.push(SanType::DnsName(name.as_str().try_into().map_err(failed)?));
        }
        params.subject_alt_names.extend(addresses.iter().copied().map(SanType::IpAddress));
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(failed)?;
        let request = params.serialize_request(&key).map_err(failed)?;
        let request_pem = request.pem().map_err(failed)?;
        Ok(Self { key_pem: key.serialize_pem(), request_pem })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::CertificateRequest;

    #[test]
    fn what_is_asked_for_is_what_was_wanted() {
        let address: IpAddr = "10.0.0.1".parse().unwrap();
        let draft = Draft::new("system:node:n", Some("system:nodes"), &["n".to_owned()], &[address]).unwrap();
        let request = CertificateRequest::from_pem(draft.request_pem.as_bytes()).unwrap();
        assert_eq!(request.common_name, "system:node:n");
        assert_eq!(request.organizations, ["system:nodes"]);
        assert_eq!((request.dns_names, request.addresses), (vec!["n".to_owned()], vec![address]));
        let bare = Draft::new("system:kube-proxy", None, &[], &[]).unwrap();
        let request = CertificateRequest::from_pem(bare.request_pem.as_bytes()).unwrap();
        assert!(request.organizations.is_empty() && request.dns_names.is_empty());
        assert_ne!(bare.key_pem, draft.key_pem);
        assert!(Draft::new("n", None, &["\u{fc}".to_owned()], &[]).is_err());
    }
}
