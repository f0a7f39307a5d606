//! The certificate follows the node's addresses.

use super::*;
use futures::stream;
use jiff::SignedDuration;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn served(certificate: &ServingCertificate) -> Vec<IpAddr> {
    let key = certificate.resolver.current.read().clone().unwrap();
    crate::leaf::Facts::of(&key.cert[0]).unwrap().addresses
}

#[tokio::test]
async fn a_new_address_swaps_the_certificate_and_a_known_one_does_not() {
    let directory = tempfile::tempdir().unwrap();
    let now: Timestamp = "2026-09-01T00:00:00Z".parse().unwrap();
    let pki = Arc::new(Pki::load_or_create(directory.path(), now).unwrap());
    let fixed = vec![ip("10.152.183.1")];
    let certificate = ServingCertificate::new(
        Arc::clone(&pki),
        Component::ApiServer,
        "n1",
        vec!["n1".into()],
        fixed,
        &[ip("192.0.2.1")],
        now,
    )
    .unwrap();
    assert!(!certificate.refresh(&[ip("192.0.2.1")], now).unwrap());
    assert!(served(&certificate).contains(&ip("192.0.2.1")));
    let moves = stream::iter([vec![ip("192.0.2.1")], vec![ip("198.51.100.7"), ip("2001:db8::7")]]);
    certificate.watch_addresses(moves, || now).await;
    for address in ["198.51.100.7", "2001:db8::7", "10.152.183.1", "127.0.0.1"] {
        assert!(served(&certificate).contains(&ip(address)), "{address}");
    }
    assert!(!served(&certificate).contains(&ip("192.0.2.1")));
    let before = certificate.leaf().certificate_pem;
    let late = now + SignedDuration::from_hours(24 * 300);
    assert!(certificate.refresh(&[ip("198.51.100.7")], late).unwrap());
    assert_ne!(before, certificate.leaf().certificate_pem);
}
