//! Client certificates: the common name is the user, the organizations are the groups.

use std::collections::HashMap;

use jiff::Timestamp;
use parking_lot::Mutex;
use pki::PkiError;
use pki::tls::ChainVerifier;
use ring::digest::{SHA256, digest};
use rustls_pki_types::CertificateDer;
use x509_parser::prelude::{FromDer, X509Certificate, X509Name};

use super::user_info::{GROUP_AUTHENTICATED, UserInfo};

/// Extra key that tells credentials of one user apart in audit logs.
pub(super) const EXTRA_CREDENTIAL: &str = "authentication.kubernetes.io/credential-id";
/// The subject attribute that holds a user's uid (Kubernetes' own arc, as dotted text).
const UID_ATTRIBUTE: &str = "1.3.6.1.4.1.57683.2";
/// Certificates that are remembered. All are forgotten when there are more.
const REMEMBERED: usize = 4096;

/// Finds the user of a client certificate.
pub(super) struct CertificateAuthenticator {
    verifier: ChainVerifier,
    /// By digest of the certificate: its user, and until when it is valid.
    verified: Mutex<HashMap<[u8; 32], (UserInfo, Timestamp)>>,
}

impl CertificateAuthenticator {
    /// Accepts what these authorities signed.
    pub(super) fn new(authorities: &[CertificateDer<'static>]) -> Result<Self, PkiError> {
        Ok(Self { verifier: ChainVerifier::new(authorities)?, verified: Mutex::default() })
    }

    /// The user, `None` for a certificate without a common name.
    ///
    /// # Errors
    /// In words, when the certificate is not accepted.
    pub(super) fn authenticate(
        &self,
        chain: &[CertificateDer<'static>],
        now: Timestamp,
    ) -> Result<Option<UserInfo>, String> {
        let Some(own) = chain.first() else { return Ok(None) };
        let mut key = [0_u8; 32];
        key.copy_from_slice(digest(&SHA256, own).as_ref());
        if let Some((user, not_after)) = self.verified.lock().get(&key)
            && now <= *not_after
        {
            return Ok(Some(user.clone()));
        }
        self.verifier.verify(chain, now).map_err(|error| error.to_string())?;
        let Some((mut user, not_after)) = user_of(own)? else { return Ok(None) };
        let mut id = String::from("X509SHA256=");
        for octet in key {
            id.push_str(&format!("{octet:02x}"));
        }
        user.extra.insert(EXTRA_CREDENTIAL.into(), vec![id]);
        let mut verified = self.verified.lock();
        if verified.len() >= REMEMBERED {
            verified.clear();
        }
        verified.insert(key, (user.clone(), not_after));
        Ok(Some(user))
    }
}

/// The common name of a certificate that was verified already; empty when it has none.
pub(super) fn common_name(certificate: &CertificateDer<'_>) -> String {
    match X509Certificate::from_der(certificate) {
        Ok((_, certificate)) => last_common_name(certificate.subject()).to_owned(),
        Err(_) => String::new(),
    }
}

fn last_common_name<'a>(name: &'a X509Name<'_>) -> &'a str {
    // Of several the last one counts, as in Go.
    name.iter_common_name().last().and_then(|name| name.as_str().ok()).unwrap_or("")
}

fn user_of(certificate: &CertificateDer<'_>) -> Result<Option<(UserInfo, Timestamp)>, String> {
    let (_, certificate) = X509Certificate::from_der(certificate).map_err(|error| error.to_string())?;
    let subject = certificate.subject();
    let name = last_common_name(subject);
    if name.is_empty() {
        return Ok(None);
    }
    let mut user = UserInfo { name: name.to_owned(), ..UserInfo::default() };
    user.groups = subject
        .iter_organization()
        .filter_map(|organization| organization.as_str().ok())
        .map(str::to_owned)
        .collect();
    user.groups.push(GROUP_AUTHENTICATED.into());
    let uid =
        subject.iter_attributes().find(|attribute| attribute.attr_type().to_id_string() == UID_ATTRIBUTE);
    if let Some(uid) = uid.and_then(|uid| uid.as_str().ok()) {
        user.uid = uid.to_owned();
    }
    let not_after = Timestamp::from_second(certificate.validity().not_after.timestamp());
    Ok(Some((user, not_after.map_err(|error| error.to_string())?)))
}
