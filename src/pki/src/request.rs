//! Certificate signing requests (PKCS #10) and what is made of them.

use std::net::IpAddr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::{SignedDuration, Timestamp};
use ring::rand::{SecureRandom, SystemRandom};
use rustls::pki_types::CertificateSigningRequestDer;
use rustls::pki_types::pem::PemObject;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::prelude::FromDer;
use yasna::models::{GeneralizedTime, ObjectIdentifier, UTCTime};
use yasna::{DERWriter, Tag};

use crate::authority::Authority;
use crate::error::PkiError;

/// Certificates are valid from this long ago, for peers whose clocks are late.
const BACKDATE: SignedDuration = SignedDuration::from_mins(5);
/// Below this the end is not brought forward by [`BACKDATE`]: it would be a good part of the whole.
const SHORT: SignedDuration = SignedDuration::from_hours(8);
/// From here on times have four-digit years (RFC 5280, section 4.1.2.5).
const GENERALIZED_FROM_YEAR: i16 = 2050;

/// A parsed request whose signature was checked: whoever made it has the key.
#[derive(Clone, Debug)]
pub struct CertificateRequest {
    /// CN of the subject.
    pub common_name: String,
    /// Every O of the subject, in order.
    pub organizations: Vec<String>,
    /// DNS names among the alternative names.
    pub dns_names: Vec<String>,
    /// Mail addresses among the alternative names.
    pub emails: Vec<String>,
    /// IP addresses among the alternative names.
    pub addresses: Vec<IpAddr>,
    /// URIs among the alternative names.
    pub uris: Vec<String>,
    subject_der: Vec<u8>,
    public_key_der: Vec<u8>,
}

impl CertificateRequest {
    /// Reads a request.
    ///
    /// # Errors
    /// [`PkiError::Parse`] when it is none or its signature is not by its own key.
    pub fn from_pem(pem: &[u8]) -> Result<Self, PkiError> {
        let der = CertificateSigningRequestDer::from_pem_slice(pem).map_err(PkiError::parse)?;
        let (_, parsed) = X509CertificationRequest::from_der(&der).map_err(PkiError::parse)?;
        parsed.verify_signature().map_err(PkiError::parse)?;
        let info = &parsed.certification_request_info;
        let text =
            |item: &x509_parser::x509::AttributeTypeAndValue<'_>| item.as_str().ok().map(str::to_owned);
        let mut request = Self {
            common_name: info.subject.iter_common_name().filter_map(text).last().unwrap_or_default(),
            organizations: info.subject.iter_organization().filter_map(text).collect(),
            dns_names: Vec::new(),
            emails: Vec::new(),
            addresses: Vec::new(),
            uris: Vec::new(),
            subject_der: info.subject.as_raw().to_vec(),
            public_key_der: info.subject_pki.raw.to_vec(),
        };
        for extension in parsed.requested_extensions().into_iter().flatten() {
            if let ParsedExtension::SubjectAlternativeName(names) = extension {
                names.general_names.iter().for_each(|name| request.add_name(name));
            }
        }
        Ok(request)
    }

    fn add_name(&mut self, name: &GeneralName<'_>) {
        match name {
            GeneralName::DNSName(name) => self.dns_names.push((*name).to_owned()),
            GeneralName::RFC822Name(name) => self.emails.push((*name).to_owned()),
            GeneralName::URI(uri) => self.uris.push((*uri).to_owned()),
            GeneralName::IPAddress(octets) => self.addresses.extend(crate::leaf::address(octets)),
            _ => {}
        }
    }
}

/// What a signed certificate may be used for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Usages {
    /// Bits of `KeyUsage` (RFC 5280, section 4.2.1.3), the first being 0.
    bits: Vec<usize>,
    /// Object identifiers of `ExtendedKeyUsage`.
    purposes: Vec<&'static [u64]>,
}

impl Usages {
    /// The usages that a CertificateSigningRequest names.
    ///
    /// # Errors
    /// The names that are not known.
    pub fn named<'a>(names: impl Iterator<Item = &'a str>) -> Result<Self, Vec<String>> {
        let (mut usages, mut unknown) = (Self::default(), Vec::new());
        for name in names {
            match usage(name) {
                Some(Usage::Bit(bit)) if !usages.bits.contains(&bit) => usages.bits.push(bit),
                Some(Usage::Purpose(purpose)) if !usages.purposes.contains(&purpose) => {
                    usages.purposes.push(purpose);
                }
                Some(_) => {}
                None => unknown.push(name.to_owned()),
            }
        }
        usages.purposes.sort_unstable();
        if unknown.is_empty() { Ok(usages) } else { Err(unknown) }
    }
}

enum Usage {
    Bit(usize),
    Purpose(&'static [u64]),
}

/// The names are those of `certificates.k8s.io/v1`, the numbers those of RFC 5280 and of Microsoft and Netscape.
fn usage(name: &str) -> Option<Usage> {
    let bit = |bit| Some(Usage::Bit(bit));
    let purpose = |oid| Some(Usage::Purpose(oid));
    match name {
        "signing" | "digital signature" => bit(0),
        "content commitment" => bit(1),
        "key encipherment" => bit(2),
        "data encipherment" => bit(3),
        "key agreement" => bit(4),
        "cert sign" => bit(5),
        "crl sign" => bit(6),
        "encipher only" => bit(7),
        "decipher only" => bit(8),
        "any" => purpose(&[2, 5, 29, 37, 0]),
        "server auth" => purpose(&[1, 3, 6, 1, 5, 5, 7, 3, 1]),
        "client auth" => purpose(&[1, 3, 6, 1, 5, 5, 7, 3, 2]),
        "code signing" => purpose(&[1, 3, 6, 1, 5, 5, 7, 3, 3]),
        "email protection" | "s/mime" => purpose(&[1, 3, 6, 1, 5, 5, 7, 3, 4]),
        "ipsec end system" => purpose(&[1, 3, 6, 1, 5, 5, 7, 3, 5]),
        "ipsec tunnel" => purpose(&[1, 3, 6, 1, 5, 5, 7, 3, 6]),
        "ipsec user" => purpose(&[1, 3, 6, 1, 5, 5, 7, 3, 7]),
        "timestamping" => purpose(&[1, 3, 6, 1, 5, 5, 7, 3, 8]),
        "ocsp signing" => purpose(&[1, 3, 6, 1, 5, 5, 7, 3, 9]),
        "microsoft sgc" => purpose(&[1, 3, 6, 1, 4, 1, 311, 10, 3, 3]),
        "netscape sgc" => purpose(&[2, 16, 840, 1, 113_730, 4, 1]),
        _ => None,
    }
}

impl Authority {
    /// Signs what a request asks for: its subject and alternative names, these usages, never an authority. Valid for
    /// `life`, but not beyond the authority itself. Answers PEM.
    ///
    /// rcgen would lose all but the last of several organizations, which are a user's groups: so this is written here.
    ///
    /// # Errors
    /// [`PkiError::Issue`] when the authority has expired.
    pub fn sign_request(
        &self,
        request: &CertificateRequest,
        usages: &Usages,
        life: SignedDuration,
        now: Timestamp,
    ) -> Result<String, PkiError> {
        let failed = |reason: String| PkiError::Issue { name: request.common_name.clone(), reason };
        let end = if life < SHORT { life } else { life - BACKDATE };
        let add = |span| now.checked_add(span).map_err(|error| failed(error.to_string()));
        let (begin, end) = (add(-BACKDATE)?, add(end)?.min(self.not_after()));
        if now >= end {
            return Err(failed(format!("refusing to sign a certificate that expired in the past: {end}")));
        }
        let mut serial = [0_u8; 16];
        SystemRandom::new().fill(&mut serial).map_err(|_| failed("no random numbers".into()))?;
        let [first, ..] = &mut serial;
        // Neither negative nor with a leading zero.
        *first = (*first & 0x7f) | 0x40;
        let algorithm = self
            .signature_algorithm()
            .ok_or_else(|| failed("the authority's key is of an unknown kind".into()))?;
        let (issuer, key_id) = self.issuer_der()?;
        let extensions = extensions(request, usages, key_id.as_deref());
        let body = yasna::construct_der(|writer| {
            writer.write_sequence(|writer| {
                writer.next().write_tagged(Tag::context(0), |writer| writer.write_u8(2));
                writer.next().write_bigint_bytes(&serial, true);
                write_algorithm(writer.next(), algorithm);
                writer.next().write_der(&issuer);
                writer.next().write_sequence(|writer| {
                    write_time(writer.next(), begin);
                    write_time(writer.next(), end);
                });
                writer.next().write_der(&request.subject_der);
                writer.next().write_der(&request.public_key_der);
                writer.next().write_tagged(Tag::context(3), |writer| {
                    writer.write_sequence(|writer| {
                        for Extension { id, critical, value } in &extensions {
                            writer.next().write_sequence(|writer| {
                                writer.next().write_oid(&ObjectIdentifier::from_slice(id));
                                if *critical {
                                    writer.next().write_bool(true);
                                }
                                writer.next().write_bytes(value);
                            });
                        }
                    });
                });
            });
        });
        let signature = self.sign_bytes(&body).map_err(failed)?;
        let certificate = yasna::construct_der(|writer| {
            writer.write_sequence(|writer| {
                writer.next().write_der(&body);
                write_algorithm(writer.next(), algorithm);
                writer.next().write_bitvec_bytes(&signature, signature.len() * 8);
            });
        });
        Ok(pem(&certificate))
    }
}

/// How a signature names its algorithm: the identifier, and whether a NULL follows (RSA, RFC 4055).
pub(crate) type Algorithm = (&'static [u64], bool);

fn write_algorithm(writer: DERWriter<'_>, (id, null): Algorithm) {
    writer.write_sequence(|writer| {
        writer.next().write_oid(&ObjectIdentifier::from_slice(id));
        if null {
            writer.next().write_null();
        }
    });
}

fn write_time(writer: DERWriter<'_>, at: Timestamp) {
    let civil = at.to_zoned(jiff::tz::TimeZone::UTC);
    if civil.year() < GENERALIZED_FROM_YEAR {
        let text = civil.strftime("%y%m%d%H%M%SZ").to_string();
        if let Some(time) = UTCTime::parse(text.as_bytes()) {
            writer.write_utctime(&time);
        }
    } else {
        let text = civil.strftime("%Y%m%d%H%M%SZ").to_string();
        if let Some(time) = GeneralizedTime::parse(text.as_bytes()) {
            writer.write_generalized_time(&time);
        }
    }
}

struct Extension {
    id: &'static [u64],
    critical: bool,
    value: Vec<u8>,
}

fn extensions(request: &CertificateRequest, usages: &Usages, key_id: Option<&[u8]>) -> Vec<Extension> {
    let mut all = Vec::new();
    let mut add = |id, critical, value| all.push(Extension { id, critical, value });
    if let Some(last) = usages.bits.iter().max() {
        let mut octets = vec![0_u8; last / 8 + 1];
        for bit in &usages.bits {
            if let Some(octet) = octets.get_mut(bit / 8) {
                *octet |= 0x80 >> (bit % 8);
            }
        }
        let value = yasna::construct_der(|writer| writer.write_bitvec_bytes(&octets, last + 1));
        add(&[2, 5, 29, 15], true, value);
    }
    if !usages.purposes.is_empty() {
        let value = yasna::construct_der(|writer| {
            writer.write_sequence(|writer| {
                for purpose in &usages.purposes {
                    writer.next().write_oid(&ObjectIdentifier::from_slice(purpose));
                }
            });
        });
        add(&[2, 5, 29, 37], false, value);
    }
    let no_authority = yasna::construct_der(|writer| writer.write_sequence(|_| {}));
    add(&[2, 5, 29, 19], true, no_authority);
    if let Some(key_id) = key_id {
        let value = yasna::construct_der(|writer| {
            writer.write_sequence(|writer| {
                writer.next().write_tagged_implicit(Tag::context(0), |writer| writer.write_bytes(key_id));
            });
        });
        add(&[2, 5, 29, 35], false, value);
    }
    let names = alternative_names(request);
    if !names.is_empty() {
        let value = yasna::construct_der(|writer| {
            writer.write_sequence(|writer| {
                for (tag, octets) in &names {
                    writer
                        .next()
                        .write_tagged_implicit(Tag::context(*tag), |writer| writer.write_bytes(octets));
                }
            });
        });
        add(&[2, 5, 29, 17], false, value);
    }
    all
}

/// By the tags of `GeneralName` (RFC 5280, section 4.2.1.6).
fn alternative_names(request: &CertificateRequest) -> Vec<(u64, Vec<u8>)> {
    let texts = |tag: u64, texts: &[String]| -> Vec<(u64, Vec<u8>)> {
        texts.iter().map(|text| (tag, text.clone().into_bytes())).collect()
    };
    let mut names = texts(2, &request.dns_names);
    names.extend(texts(1, &request.emails));
    names.extend(request.addresses.iter().map(|address| match address {
        IpAddr::V4(address) => (7, address.octets().to_vec()),
        IpAddr::V6(address) => (7, address.octets().to_vec()),
    }));
    names.extend(texts(6, &request.uris));
    names
}

fn pem(der: &[u8]) -> String {
    /// Characters of a line (RFC 7468, section 2).
    const LINE: usize = 64;
    let mut out = String::from("-----BEGIN CERTIFICATE-----\n");
    for line in STANDARD.encode(der).as_bytes().chunks(LINE) {
        out.push_str(&String::from_utf8_lossy(line));
        out.push('\n');
    }
    out.push_str("-----END CERTIFICATE-----\n");
    out
}

#[cfg(test)]
#[path = "request_tests.rs"]
mod tests;
