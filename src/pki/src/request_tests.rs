//! Requests by rcgen, signed by an authority, read by x509-parser.

use super::*;
use crate::{Component, Pki};
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, SanType};
use rustls::pki_types::CertificateDer;
use x509_parser::prelude::X509Certificate;

fn now() -> Timestamp {
    Timestamp::from_second(1_800_000_000).unwrap()
}

fn request(names: Vec<SanType>) -> String {
    let mut params = CertificateParams::default();
    let mut subject = DistinguishedName::new();
    subject.push(DnType::OrganizationName, "system:nodes");
    subject.push(DnType::CommonName, "system:node:n1");
    params.distinguished_name = subject;
    params.subject_alt_names = names;
    params.serialize_request(&KeyPair::generate().unwrap()).unwrap().pem().unwrap()
}

fn sign(pem: &str, life: SignedDuration) -> Vec<u8> {
    let directory = tempfile::tempdir().unwrap();
    let pki = Pki::load_or_create(directory.path(), now()).unwrap();
    let request = CertificateRequest::from_pem(pem.as_bytes()).unwrap();
    let usages = Usages::named(["client auth", "digital signature", "decipher only"].into_iter()).unwrap();
    let signed = pki.cluster_ca().sign_request(&request, &usages, life, now()).unwrap();
    let der = CertificateDer::from_pem_slice(signed.as_bytes()).unwrap().to_vec();
    let (_, certificate) = X509Certificate::from_der(&der).unwrap();
    let authority = pki.cluster_ca().certificate();
    let (_, authority) = X509Certificate::from_der(authority).unwrap();
    certificate.verify_signature(Some(authority.public_key())).unwrap();
    assert_eq!(certificate.issuer(), authority.subject());
    der
}

#[test]
fn a_signed_request_keeps_its_subject_and_names_and_gets_the_usages() {
    let names =
        vec![SanType::DnsName("n1".try_into().unwrap()), SanType::IpAddress("192.0.2.1".parse().unwrap())];
    let der = sign(&request(names), SignedDuration::from_hours(24));
    let (_, certificate) = X509Certificate::from_der(&der).unwrap();
    assert_eq!(certificate.subject().to_string(), "O=system:nodes, CN=system:node:n1");
    let usage = certificate.key_usage().unwrap().unwrap();
    assert!(usage.critical && usage.value.digital_signature() && usage.value.decipher_only());
    assert!(!usage.value.key_encipherment() && !usage.value.encipher_only());
    let purposes = certificate.extended_key_usage().unwrap().unwrap();
    assert!(purposes.value.client_auth && !purposes.value.server_auth);
    assert!(!certificate.is_ca());
    let names = &certificate.subject_alternative_name().unwrap().unwrap().value.general_names;
    assert_eq!(format!("{names:?}"), "[DNSName(\"n1\"), IPAddress([192, 0, 2, 1])]");
    let validity = certificate.validity();
    assert_eq!(validity.not_before.timestamp(), now().as_second() - 300);
    assert_eq!(validity.not_after.timestamp(), now().as_second() + 24 * 3600 - 300);
}

#[test]
fn every_organization_is_a_group() {
    // rcgen keeps one organization only: the subject is put together here.
    let plain = request(Vec::new());
    let mut parsed = CertificateRequest::from_pem(plain.as_bytes()).unwrap();
    parsed.subject_der = yasna::construct_der(|writer| {
        writer.write_sequence(|writer| {
            for (id, text) in [(10_u64, "a"), (10, "b"), (3, "me")] {
                writer.next().write_set(|writer| {
                    writer.next().write_sequence(|writer| {
                        writer.next().write_oid(&ObjectIdentifier::from_slice(&[2, 5, 4, id]));
                        writer.next().write_utf8_string(text);
                    });
                });
            }
        });
    });
    let directory = tempfile::tempdir().unwrap();
    let pki = Pki::load_or_create(directory.path(), now()).unwrap();
    let signed = pki
        .cluster_ca()
        .sign_request(&parsed, &Usages::default(), SignedDuration::from_hours(1), now())
        .unwrap();
    let der = CertificateDer::from_pem_slice(signed.as_bytes()).unwrap();
    let (_, certificate) = X509Certificate::from_der(&der).unwrap();
    assert_eq!(certificate.subject().to_string(), "O=a, O=b, CN=me");
}

#[test]
fn short_lives_are_not_cut_and_long_ones_end_with_the_authority() {
    let end = |life: SignedDuration| {
        let der = sign(&request(Vec::new()), life);
        X509Certificate::from_der(&der).unwrap().1.validity().not_after.timestamp()
    };
    assert_eq!(end(SignedDuration::from_mins(10)), now().as_second() + 600);
    let days = Component::ClusterCa.profile().unwrap().validity_days;
    let beyond = end(SignedDuration::from_hours(24 * (i64::from(days) + 100)));
    assert!(beyond <= now().as_second() + i64::from(days) * 24 * 3600);
}

#[test]
fn a_request_that_its_key_did_not_sign_is_refused() {
    let good = request(Vec::new());
    assert!(CertificateRequest::from_pem(good.as_bytes()).is_ok());
    let der = CertificateSigningRequestDer::from_pem_slice(good.as_bytes()).unwrap();
    let mut bad = der.to_vec();
    let at = bad.windows(7).position(|part| part == b"node:n1").unwrap();
    bad[at + 6] = b'2';
    let bad = pem(&bad).replace("CERTIFICATE", "CERTIFICATE REQUEST");
    assert!(CertificateRequest::from_pem(bad.as_bytes()).is_err());
    assert!(CertificateRequest::from_pem(b"nonsense").is_err());
}

#[test]
fn unknown_usages_are_told() {
    let told = Usages::named(["client auth", "world domination"].into_iter()).unwrap_err();
    assert_eq!(told, ["world domination"]);
}
