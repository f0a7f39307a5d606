//! A certificate with its private key.

use std::net::IpAddr;
use std::sync::Arc;

use jiff::Timestamp;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::sign::CertifiedKey;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::error::PkiError;

/// A certificate, its chain and its private key.
#[derive(Debug)]
pub struct Leaf {
    /// The certificate and the intermediates after it.
    pub chain: Vec<CertificateDer<'static>>,
    /// The chain as PEM.
    pub certificate_pem: String,
    /// The private key as PKCS #8 PEM. Secret.
    pub key_pem: String,
    key: PrivatePkcs8KeyDer<'static>,
    facts: Facts,
}

/// What is read from a certificate to decide whether it will do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Facts {
    pub(crate) not_before: Timestamp,
    pub(crate) not_after: Timestamp,
    pub(crate) dns_names: Vec<String>,
    pub(crate) addresses: Vec<IpAddr>,
    pub(crate) common_name: String,
}

impl Clone for Leaf {
    fn clone(&self) -> Self {
        Self {
            chain: self.chain.clone(),
            certificate_pem: self.certificate_pem.clone(),
            key_pem: self.key_pem.clone(),
            key: self.key.clone_key(),
            facts: self.facts.clone(),
        }
    }
}

impl Leaf {
    /// Reads a certificate chain and its PKCS #8 key.
    ///
    /// # Errors
    /// [`PkiError::Parse`] when either is not what it should be or they do not belong together.
    pub fn from_pem(certificate_pem: &str, key_pem: &str) -> Result<Self, PkiError> {
        let chain = certificates(certificate_pem)?;
        let key = PrivatePkcs8KeyDer::from_pem_slice(key_pem.as_bytes()).map_err(PkiError::parse)?;
        let first = chain.first().ok_or_else(|| PkiError::parse("no certificate in the file"))?;
        let facts = Facts::of(first)?;
        let leaf =
            Self { certificate_pem: certificate_pem.into(), key_pem: key_pem.into(), facts, chain, key };
        leaf.certified_key()?.keys_match().map_err(PkiError::parse)?;
        Ok(leaf)
    }

    /// The private key.
    pub fn private_key(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::Pkcs8(self.key.clone_key())
    }

    /// From when it is valid.
    pub fn not_before(&self) -> Timestamp {
        self.facts.not_before
    }

    /// Until when it is valid.
    pub fn not_after(&self) -> Timestamp {
        self.facts.not_after
    }

    /// The IP addresses it is valid for.
    pub fn addresses(&self) -> &[IpAddr] {
        &self.facts.addresses
    }

    /// The DNS names it is valid for.
    pub fn dns_names(&self) -> &[String] {
        &self.facts.dns_names
    }

    /// Is less than a third of its life left, or has that not begun?
    pub fn needs_renewal(&self, now: Timestamp) -> bool {
        self.facts.needs_renewal(now)
    }

    pub(crate) fn facts(&self) -> &Facts {
        &self.facts
    }

    /// The form in which rustls serves it.
    ///
    /// # Errors
    /// [`PkiError::Tls`] when the key is of a kind that rustls cannot use.
    pub fn certified_key(&self) -> Result<Arc<CertifiedKey>, PkiError> {
        let key = rustls::crypto::ring::sign::any_ecdsa_type(&self.private_key()).map_err(PkiError::Tls)?;
        Ok(Arc::new(CertifiedKey::new(self.chain.clone(), key)))
    }
}

/// All certificates in a PEM text.
pub(crate) fn certificates(pem: &str) -> Result<Vec<CertificateDer<'static>>, PkiError> {
    CertificateDer::pem_slice_iter(pem.as_bytes()).collect::<Result<_, _>>().map_err(PkiError::parse)
}

impl Facts {
    pub(crate) fn of(der: &CertificateDer<'_>) -> Result<Self, PkiError> {
        let (_, certificate) = X509Certificate::from_der(der).map_err(PkiError::parse)?;
        let validity = certificate.validity();
        let time = |at: &x509_parser::time::ASN1Time| {
            Timestamp::from_second(at.timestamp()).map_err(PkiError::parse)
        };
        let mut facts = Self {
            not_before: time(&validity.not_before)?,
            not_after: time(&validity.not_after)?,
            dns_names: Vec::new(),
            addresses: Vec::new(),
            common_name: String::new(),
        };
        facts.common_name = certificate
            .subject()
            .iter_common_name()
            .next()
            .and_then(|name| name.as_str().ok())
            .unwrap_or_default()
            .to_owned();
        if let Ok(Some(names)) = certificate.subject_alternative_name() {
            for name in &names.value.general_names {
                match name {
                    GeneralName::DNSName(name) => facts.dns_names.push((*name).to_owned()),
                    GeneralName::IPAddress(octets) => facts.addresses.extend(address(octets)),
                    _ => {}
                }
            }
        }
        Ok(facts)
    }

    pub(crate) fn needs_renewal(&self, now: Timestamp) -> bool {
        let life = self.not_after.as_second() - self.not_before.as_second();
        let left = self.not_after.as_second() - now.as_second();
        now < self.not_before || left < life / 3
    }
}

pub(crate) fn address(octets: &[u8]) -> Option<IpAddr> {
    match octets.len() {
        4 => <[u8; 4]>::try_from(octets).ok().map(IpAddr::from),
        16 => <[u8; 16]>::try_from(octets).ok().map(IpAddr::from),
        _ => None,
    }
}
