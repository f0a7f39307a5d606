//! A certificate authority: its own certificate and key, and signing.

use std::net::IpAddr;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair, SanType,
    SerialNumber, SigningKey as _,
};
use ring::rand::{SecureRandom, SystemRandom};
use rustls::pki_types::CertificateDer;
use x509_parser::extensions::ParsedExtension;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::error::PkiError;
use crate::leaf::{Facts, Leaf, certificates};
use crate::profile::Profile;
use crate::request::Algorithm;

/// Certificates are valid from an hour ago, so that a peer whose clock is late accepts them at once.
const BACKDATE: SignedDuration = SignedDuration::from_hours(1);

/// 2026-01-01: before that there was no such software, so a clock that shows less is a machine without one
/// (it starts in 1970). An authority dated by it would have expired when the clock is set right.
const EARLIEST_NOW: i64 = 1_767_225_600;

/// A certificate authority that can sign.
pub struct Authority {
    certificate: CertificateDer<'static>,
    certificate_pem: String,
    bundle_pem: String,
    key_pem: String,
    facts: Facts,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    /// Makes the authority's certificate with this key.
    pub(crate) fn create(
        name: &str,
        profile: &Profile,
        key_pem: &str,
        now: Timestamp,
    ) -> Result<Self, PkiError> {
        let failed = |error: rcgen::Error| PkiError::Issue { name: name.into(), reason: error.to_string() };
        let key = KeyPair::from_pem(key_pem).map_err(failed)?;
        let mut params = parameters(name, profile, "", now, Timestamp::MAX)?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).map_err(failed)?;
        Self::from_pem(&certificate.pem(), key_pem)
    }

    /// Signs a certificate of another authority's name and key: who trusts this authority then trusts what that signs.
    pub(crate) fn cross_sign(
        &self,
        name: &str,
        profile: &Profile,
        key_pem: &str,
        now: Timestamp,
    ) -> Result<String, PkiError> {
        let failed = |error: rcgen::Error| PkiError::Issue { name: name.into(), reason: error.to_string() };
        let key = KeyPair::from_pem(key_pem).map_err(failed)?;
        let mut params = parameters(name, profile, "", now, self.facts.not_after)?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Ok(params.signed_by(&key, &self.issuer).map_err(failed)?.pem())
    }

    /// Reads an authority's certificate and its PKCS #8 key.
    ///
    /// Only the first certificate signs; others in the text stay trusted (a former authority, during rotation).
    ///
    /// # Errors
    /// [`PkiError::Parse`] when either is not what it should be or they do not belong together.
    pub fn from_pem(certificate_pem: &str, key_pem: &str) -> Result<Self, PkiError> {
        let key = KeyPair::from_pem(key_pem).map_err(PkiError::parse)?;
        // Checks that the key belongs to the certificate.
        let leaf = Leaf::from_pem(certificate_pem, key_pem)?;
        let certificate =
            leaf.chain.first().cloned().ok_or_else(|| PkiError::parse("no certificate in the file"))?;
        let issuer = Issuer::from_ca_cert_der(&certificate, key).map_err(PkiError::parse)?;
        let first_pem =
            certificate_pem.split_inclusive("-----END CERTIFICATE-----").next().unwrap_or_default();
        Ok(Self {
            certificate,
            certificate_pem: format!("{}\n", first_pem.trim()),
            bundle_pem: certificate_pem.to_owned(),
            key_pem: key_pem.to_owned(),
            facts: leaf.facts().clone(),
            issuer,
        })
    }

    /// The authority's certificate.
    pub fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// The authority's certificate as PEM, as kubeconfig files and `kube-root-ca.crt` carry it.
    pub fn pem(&self) -> &str {
        &self.bundle_pem
    }

    /// All trusted certificates: the authority's own and former ones.
    ///
    /// # Errors
    /// [`PkiError::Parse`] cannot happen for a text that was read before.
    pub fn bundle(&self) -> Result<Vec<CertificateDer<'static>>, PkiError> {
        certificates(&self.bundle_pem)
    }

    /// How its signatures name their algorithm; `None` for a key that rcgen does not sign with.
    pub(crate) fn signature_algorithm(&self) -> Option<Algorithm> {
        let algorithm = self.issuer.key().algorithm();
        let known: [(&rcgen::SignatureAlgorithm, Algorithm); 6] = [
            (&rcgen::PKCS_ECDSA_P256_SHA256, (&[1, 2, 840, 10_045, 4, 3, 2], false)),
            (&rcgen::PKCS_ECDSA_P384_SHA384, (&[1, 2, 840, 10_045, 4, 3, 3], false)),
            (&rcgen::PKCS_ED25519, (&[1, 3, 101, 112], false)),
            (&rcgen::PKCS_RSA_SHA256, (&[1, 2, 840, 113_549, 1, 1, 11], true)),
            (&rcgen::PKCS_RSA_SHA384, (&[1, 2, 840, 113_549, 1, 1, 12], true)),
            (&rcgen::PKCS_RSA_SHA512, (&[1, 2, 840, 113_549, 1, 1, 13], true)),
        ];
        known.into_iter().find(|(one, _)| *one == algorithm).map(|(_, algorithm)| algorithm)
    }

    /// Its name and, where its certificate has one, the identifier of its key.
    pub(crate) fn issuer_der(&self) -> Result<(Vec<u8>, Option<Vec<u8>>), PkiError> {
        let (_, certificate) = X509Certificate::from_der(&self.certificate).map_err(PkiError::parse)?;
        let key_id =
            certificate.extensions().iter().find_map(|extension| match extension.parsed_extension() {
                ParsedExtension::SubjectKeyIdentifier(id) => Some(id.0.to_vec()),
                _ => None,
            });
        Ok((certificate.subject().as_raw().to_vec(), key_id))
    }

    pub(crate) fn sign_bytes(&self, message: &[u8]) -> Result<Vec<u8>, String> {
        self.issuer.key().sign(message).map_err(|error| error.to_string())
    }

    pub(crate) fn signing_certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    pub(crate) fn key_pem(&self) -> &str {
        &self.key_pem
    }

    /// Is less than a third of its life left?
    pub fn needs_renewal(&self, now: Timestamp) -> bool {
        // One that is not valid yet is not made anew: the clock is wrong, and others trust this one.
        now >= self.facts.not_before && self.facts.needs_renewal(now)
    }

    /// Until when its certificate is valid.
    pub fn not_after(&self) -> Timestamp {
        self.facts.not_after
    }

    /// Signs a leaf for this key, with these names besides those of the profile.
    ///
    /// # Errors
    /// [`PkiError::Issue`] when a name or the key cannot be in a certificate.
    pub fn sign(&self, order: &Order<'_>, now: Timestamp) -> Result<Leaf, PkiError> {
        let failed =
            |error: rcgen::Error| PkiError::Issue { name: order.name.into(), reason: error.to_string() };
        let key = KeyPair::from_pem(order.key_pem).map_err(failed)?;
        // A leaf that outlives its authority would fail at an hour that nobody expects.
        let mut params = parameters(order.name, order.profile, order.node, now, self.facts.not_after)?;
        for name in order.dns_names {
            params.subject_alt_names.push(SanType::DnsName(name.as_str().try_into().map_err(failed)?));
        }
        params.subject_alt_names.extend(order.addresses.iter().copied().map(SanType::IpAddress));
        let certificate = params.signed_by(&key, &self.issuer).map_err(failed)?;
        Leaf::from_pem(&certificate.pem(), order.key_pem)
    }
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authority").field("facts", &self.facts).finish_non_exhaustive()
    }
}

/// What leaf is wanted.
#[derive(Clone, Copy, Debug)]
pub struct Order<'a> {
    /// For messages.
    pub name: &'a str,
    /// How it is made.
    pub profile: &'a Profile,
    /// What `{node}` stands for in the profile.
    pub node: &'a str,
    /// The PKCS #8 key.
    pub key_pem: &'a str,
    /// DNS names besides those of the profile.
    pub dns_names: &'a [String],
    /// Addresses.
    pub addresses: &'a [IpAddr],
}

/// A new ECDSA P-256 key as PKCS #8 PEM.
pub(crate) fn new_key(name: &str) -> Result<String, PkiError> {
    let key = KeyPair::generate()
        .map_err(|error| PkiError::Issue { name: name.into(), reason: error.to_string() })?;
    Ok(key.serialize_pem())
}

fn parameters(
    name: &str,
    profile: &Profile,
    node: &str,
    now: Timestamp,
    last: Timestamp,
) -> Result<CertificateParams, PkiError> {
    let failed = |reason: String| PkiError::Issue { name: name.into(), reason };
    let mut params = CertificateParams::default();
    let mut subject = DistinguishedName::new();
    if let Some(organization) = &profile.subject.organization {
        subject.push(DnType::OrganizationName, organization.replace("{node}", node));
    }
    subject.push(DnType::CommonName, profile.subject.common_name.replace("{node}", node));
    params.distinguished_name = subject;
    params.key_usages = profile.key_usages.iter().map(|usage| (*usage).into()).collect();
    params.extended_key_usages = profile.extended_key_usages.iter().map(|usage| (*usage).into()).collect();
    for name in &profile.dns_names {
        let name = name.replace("{node}", node);
        let name = name.as_str().try_into().map_err(|error: rcgen::Error| failed(error.to_string()))?;
        params.subject_alt_names.push(SanType::DnsName(name));
    }
    params.subject_alt_names.extend(profile.ip_addresses.iter().copied().map(SanType::IpAddress));
    let now = now.max(Timestamp::from_second(EARLIEST_NOW).map_err(|error| failed(error.to_string()))?);
    let begin = now.checked_sub(BACKDATE).map_err(|error| failed(error.to_string()))?;
    let life = SignedDuration::from_hours(24 * i64::from(profile.validity_days));
    let end = now.checked_add(life).map_err(|error| failed(error.to_string()))?;
    params.not_before = rcgen::date_time_ymd(1970, 1, 1) + since_epoch(begin);
    params.not_after = rcgen::date_time_ymd(1970, 1, 1) + since_epoch(end.min(last));
    // A reissued certificate has the same key: rcgen's default serial, a digest of the key, would repeat.
    params.serial_number = Some(serial().map_err(|()| failed("no random numbers".into()))?);
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}

/// rcgen takes times of the `time` crate; what it makes of 1970 plus this is one, without naming that crate.
fn since_epoch(at: Timestamp) -> Duration {
    Duration::from_secs(u64::try_from(at.as_second()).unwrap_or(0))
}

/// A positive 127-bit random number (RFC 5280 allows 20 octets; the first bit is the sign).
fn serial() -> Result<SerialNumber, ()> {
    let mut octets = [0_u8; 16];
    SystemRandom::new().fill(&mut octets).map_err(|_| ())?;
    let [first, ..] = &mut octets;
    // Neither negative nor with a leading zero, which DER would drop.
    *first = (*first & 0x7f) | 0x40;
    Ok(SerialNumber::from_slice(&octets))
}
