//! Whether a TLS server could begin with the certificate and the key of a secret. Signatures are not looked at.
//!
//! What is read of the DER: RFC 5280 (certificates), RFC 8017 (RSA keys), RFC 5915 (EC keys), RFC 5958 (PKCS #8).

use crate::certificates::pem;
use crate::value::text;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

const SEQUENCE: u8 = 0x30;
const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const OCTET_STRING: u8 = 0x04;
const OBJECT_IDENTIFIER: u8 = 0x06;
/// Context-specific, constructed: `[0]` and `[1]`; and `[1]` that is primitive.
const EXPLICIT_0: u8 = 0xa0;
const EXPLICIT_1: u8 = 0xa1;
const IMPLICIT_1: u8 = 0x81;

const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
const EC: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
const ED25519: &[u8] = &[0x2b, 0x65, 0x70];

/// Why no server could begin with the certificate and the key in a secret's data, in Go's words.
pub(super) fn problem(data: &Value) -> Option<String> {
    let decoded = |key: &str| {
        let bytes = STANDARD.decode(text(data, key)).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    };
    let (certificate, key) = (decoded("tls.crt"), decoded("tls.key"));
    let (certificates, keys) = (pem::blocks(&certificate), pem::blocks(&key));
    let is_key = |label: &str| label == "PRIVATE KEY" || label.ends_with(" PRIVATE KEY");
    let labels = |of: &[pem::Block<'_>]| of.iter().map(|block| block.label.to_owned()).collect::<Vec<_>>();
    let skipped = |labels: &[String]| {
        format!("after skipping PEM blocks of the following types: [{}]", labels.join(" "))
    };
    let Some(leaf) = certificates.iter().find(|block| block.label == "CERTIFICATE") else {
        return Some(match labels(&certificates).as_slice() {
            [] => "tls: failed to find any PEM data in certificate input".to_owned(),
            [one] if one.ends_with("PRIVATE KEY") => "tls: failed to find certificate PEM data in certificate input, but did find a private key; PEM inputs may have been switched".to_owned(),
            others => format!("tls: failed to find \"CERTIFICATE\" PEM block in certificate input {}", skipped(others)),
        });
    };
    let Some(private) = keys.iter().find(|block| is_key(block.label)) else {
        return Some(match labels(&keys).as_slice() {
            [] => "tls: failed to find any PEM data in key input".to_owned(),
            [one] if one == "CERTIFICATE" => {
                "tls: found a certificate rather than a key in the PEM for the private key".to_owned()
            }
            others => {
                let after = skipped(others);
                format!(
                    "tls: failed to find PEM block with type ending in \"PRIVATE KEY\" in key input {after}"
                )
            }
        });
    };
    mismatch(&leaf.bytes, &private.bytes).map(str::to_owned)
}

/// The public half of a key, as far as it can be told without arithmetic.
#[derive(Debug, PartialEq, Eq)]
enum Public<'a> {
    /// The modulus.
    Rsa(&'a [u8]),
    /// The point; `None` where a private key does not say it.
    Ec(Option<&'a [u8]>),
    /// The point; `None` where a private key does not say it.
    Ed25519(Option<&'a [u8]>),
}

fn mismatch(certificate: &[u8], private: &[u8]) -> Option<&'static str> {
    let Some((algorithm, key)) = certified(certificate) else { return Some("x509: malformed certificate") };
    let certified = match algorithm {
        RSA => modulus(key).map(Public::Rsa),
        EC => Some(Public::Ec(Some(key))),
        ED25519 => Some(Public::Ed25519(Some(key))),
        _ => None,
    };
    let Some(held) = held(private) else { return Some("tls: failed to parse private key") };
    let Some(certified) = certified else { return Some("tls: unknown public key algorithm") };
    let same = match (&certified, &held) {
        (Public::Rsa(one), Public::Rsa(other)) => one == other,
        (Public::Ec(one), Public::Ec(other)) | (Public::Ed25519(one), Public::Ed25519(other)) => {
            other.is_none() || one == other
        }
        _ => return Some("tls: private key type does not match public key type"),
    };
    (!same).then_some("tls: private key does not match public key")
}

/// The algorithm and the public key in a certificate.
fn certified(certificate: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut fields = Der(Der(certificate).take(SEQUENCE)?.take(SEQUENCE)?.0);
    let _version = fields.take(EXPLICIT_0);
    fields.take(INTEGER)?;
    for _signature_issuer_validity_subject in 0..4 {
        fields.take(SEQUENCE)?;
    }
    let mut key = fields.take(SEQUENCE)?;
    let algorithm = key.take(SEQUENCE)?.take(OBJECT_IDENTIFIER)?;
    Some((algorithm.0, key.bits()?))
}

/// The public half of what a private key says of itself, in whichever of its three forms.
fn held(private: &[u8]) -> Option<Public<'_>> {
    let fields = || {
        let mut fields = Der(private).take(SEQUENCE)?;
        fields.take(INTEGER)?;
        Some(fields)
    };
    if let Some(modulus) = fields()?.take(INTEGER) {
        return Some(Public::Rsa(modulus.0));
    }
    if fields()?.take(OCTET_STRING).is_some() {
        return Some(Public::Ec(ec_point(private)));
    }
    let mut fields = fields()?;
    let algorithm = fields.take(SEQUENCE)?.take(OBJECT_IDENTIFIER)?;
    let inner = fields.take(OCTET_STRING)?.0;
    match algorithm.0 {
        RSA => held(inner).filter(|key| matches!(key, Public::Rsa(_))),
        EC => held(inner).filter(|key| matches!(key, Public::Ec(_))),
        ED25519 => {
            let _attributes = fields.take(EXPLICIT_0);
            let public = fields.take(IMPLICIT_1).and_then(|bits| bits.0.get(1..));
            Some(Public::Ed25519(public))
        }
        _ => None,
    }
}

fn ec_point(key: &[u8]) -> Option<&[u8]> {
    let mut fields = Der(key).take(SEQUENCE)?;
    fields.take(INTEGER)?;
    fields.take(OCTET_STRING)?;
    let _curve = fields.take(EXPLICIT_0);
    fields.take(EXPLICIT_1)?.bits()
}

fn modulus(key: &[u8]) -> Option<&[u8]> {
    Some(Der(key).take(SEQUENCE)?.take(INTEGER)?.0)
}

/// Elements of DER, one after the other.
#[derive(Clone, Copy)]
struct Der<'a>(&'a [u8]);

impl<'a> Der<'a> {
    /// What the next element holds, if it has a tag; it is passed over then.
    fn take(&mut self, tag: u8) -> Option<Der<'a>> {
        let (&found, rest) = self.0.split_first()?;
        if found != tag {
            return None;
        }
        let (&first, rest) = rest.split_first()?;
        let (length, rest) = if first < 0x80 {
            (usize::from(first), rest)
        } else {
            // Four bytes of length are more than any object of the API has.
            let count = usize::from(first & 0x7f);
            let bytes = rest.get(..count).filter(|_| (1..=4).contains(&count))?;
            let length = bytes.iter().fold(0_usize, |length, byte| (length << 8) | usize::from(*byte));
            (length, rest.get(count..)?)
        };
        let content = rest.get(..length)?;
        self.0 = rest.get(length..)?;
        Some(Der(content))
    }

    /// The next element as a string of whole bytes.
    fn bits(&mut self) -> Option<&'a [u8]> {
        let (unused, bytes) = self.take(BIT_STRING)?.0.split_first()?;
        (*unused == 0).then_some(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn told(certificate: &str, key: &str) -> String {
        problem(&json!({"tls.crt": STANDARD.encode(certificate), "tls.key": STANDARD.encode(key)}))
            .unwrap_or_default()
    }

    #[test]
    fn what_is_no_key_pair_is_told() {
        let block = |label: &str| match label {
            "" => String::new(),
            label => format!("-----BEGIN {label}-----\nAQ==\n-----END {label}-----\n"),
        };
        let told = |certificate: &str, key: &str| told(&block(certificate), &block(key));
        assert_eq!(told("CERTIFICATE", "EC PRIVATE KEY"), "x509: malformed certificate");
        assert_eq!(told("", ""), "tls: failed to find any PEM data in certificate input");
        assert_eq!(told("CERTIFICATE", ""), "tls: failed to find any PEM data in key input");
        assert_eq!(
            told("PRIVATE KEY", "CERTIFICATE"),
            "tls: failed to find certificate PEM data in certificate input, but did find a private key; PEM inputs may have been switched"
        );
        assert_eq!(
            told("CERTIFICATE", "CERTIFICATE"),
            "tls: found a certificate rather than a key in the PEM for the private key"
        );
        assert_eq!(
            told("CERTIFICATE", "EC PARAMETERS"),
            "tls: failed to find PEM block with type ending in \"PRIVATE KEY\" in key input after skipping PEM blocks of the following types: [EC PARAMETERS]"
        );
    }

    #[test]
    fn a_key_has_to_be_its_certificates() {
        let file = |name: &str| std::fs::read_to_string(format!("src/core/testdata/{name}.pem")).unwrap();
        for kind in ["rsa", "ec", "ed25519"] {
            assert_eq!(told(&file(&format!("{kind}-certificate")), &file(&format!("{kind}-key"))), "");
        }
        assert_eq!(told(&file("ec-certificate"), &file("ec-sec1-key")), "", "the form before PKCS #8");
        assert_eq!(told(&file("rsa-certificate"), &file("rsa-pkcs1-key")), "", "the form before PKCS #8");
        let other = "tls: private key does not match public key";
        assert_eq!(told(&file("ec-certificate"), &file("ec-other-key")), other);
        assert_eq!(told(&file("rsa-certificate"), &file("rsa-other-key")), other);
        let kind = "tls: private key type does not match public key type";
        assert_eq!(told(&file("rsa-certificate"), &file("ec-key")), kind);
        assert_eq!(told(&file("ec-certificate"), &file("ed25519-key")), kind);
        let garbage = "-----BEGIN PRIVATE KEY-----\nMAA=\n-----END PRIVATE KEY-----\n";
        assert_eq!(told(&file("ec-certificate"), garbage), "tls: failed to parse private key");
    }

    #[test]
    fn der_that_ends_early_is_none() {
        let file = std::fs::read_to_string("src/core/testdata/ec-certificate.pem").unwrap();
        let bytes = pem::blocks(&file).remove(0).bytes;
        assert!(certified(&bytes).is_some());
        for end in 0..bytes.len() {
            assert_eq!(certified(&bytes[..end]), None);
        }
        assert!(Der(&[SEQUENCE, 0x85, 0, 0, 0, 0, 0]).take(SEQUENCE).is_none());
        assert!(Der(&[SEQUENCE, 0x80]).take(SEQUENCE).is_none());
    }
}
