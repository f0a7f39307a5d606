//! The directory: idempotent, private, repaired after every kind of interruption, renewed in time.

use super::*;
use crate::tls::{ALPN_HTTP, ChainVerifier, ClientAuth, client_config, server_config};
use crate::{PEER_NAME, PeerIdentity, ServingCertResolver, kubeconfig};
use jiff::SignedDuration;
use rustls::pki_types::ServerName;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

fn now() -> Timestamp {
    "2026-09-01T00:00:00Z".parse().unwrap()
}

fn days(count: i64) -> SignedDuration {
    SignedDuration::from_hours(24 * count)
}

fn server<'a>(dns_names: &'a [String], addresses: &'a [IpAddr]) -> LeafRequest<'a> {
    LeafRequest { component: Component::ApiServer, node: "n1", dns_names, addresses }
}

#[test]
fn loading_twice_gives_the_same_keys_and_certificates() {
    let directory = tempfile::tempdir().unwrap();
    let one = Pki::load_or_create(directory.path(), now()).unwrap();
    let leaf = one.leaf(&LeafRequest::client(Component::Admin, ""), now()).unwrap();
    let two = Pki::load_or_create(directory.path(), now() + days(30)).unwrap();
    assert_eq!(one.cluster_ca().pem(), two.cluster_ca().pem());
    assert_eq!(one.service_account_keys().signing_key_id(), two.service_account_keys().signing_key_id());
    let again = two.leaf(&LeafRequest::client(Component::Admin, ""), now() + days(30)).unwrap();
    assert_eq!(leaf.certificate_pem, again.certificate_pem);
    for entry in std::fs::read_dir(directory.path()).unwrap() {
        assert_eq!(entry.unwrap().metadata().unwrap().permissions().mode() & 0o777, 0o600);
    }
}

#[test]
fn whatever_a_kill_leaves_behind_the_next_start_completes() {
    let whole = tempfile::tempdir().unwrap();
    let pki = Pki::load_or_create(whole.path(), now()).unwrap();
    pki.leaf(&LeafRequest::client(Component::Admin, ""), now()).unwrap();
    // Files appear in this order within each pair; every prefix of each pair is a state a kill may leave.
    let pairs = [
        ["ca.key", "ca.crt"],
        ["front-proxy-ca.key", "front-proxy-ca.crt"],
        ["service-account.key", "service-account.pub"],
        ["admin.key", "admin.crt"],
    ];
    for pair in pairs {
        for kept in 0..=2 {
            let directory = tempfile::tempdir().unwrap();
            for name in pair.iter().take(kept) {
                std::fs::copy(whole.path().join(name), directory.path().join(name)).unwrap();
            }
            std::fs::write(directory.path().join(".ca.crt.9-9.tmp"), "half").unwrap();
            let pki = Pki::load_or_create(directory.path(), now()).unwrap();
            let leaf = pki.leaf(&LeafRequest::client(Component::Admin, ""), now()).unwrap();
            ChainVerifier::new(&pki.cluster_ca().bundle().unwrap())
                .unwrap()
                .verify(&leaf.chain, now())
                .unwrap();
            for name in pair.iter().take(kept).filter(|name| name.ends_with(".key")) {
                let read = |root: &Path| std::fs::read_to_string(root.join(name)).unwrap();
                assert_eq!(read(whole.path()), read(directory.path()), "{name} was replaced");
            }
        }
    }
}

#[test]
fn a_damaged_leaf_is_made_anew_a_damaged_authority_is_an_error() {
    let directory = tempfile::tempdir().unwrap();
    let pki = Pki::load_or_create(directory.path(), now()).unwrap();
    for (name, text) in
        [("admin.crt", ""), ("admin.key", "junk"), ("admin.crt", "-----BEGIN CERTIFICATE-----")]
    {
        pki.leaf(&LeafRequest::client(Component::Admin, ""), now()).unwrap();
        std::fs::write(directory.path().join(name), text).unwrap();
        pki.leaf(&LeafRequest::client(Component::Admin, ""), now()).unwrap();
    }
    let certificate = std::fs::read(directory.path().join("ca.crt")).unwrap();
    std::fs::write(directory.path().join("ca.crt"), "junk").unwrap();
    assert!(matches!(Pki::load_or_create(directory.path(), now()), Err(PkiError::Damaged { .. })));
    std::fs::write(directory.path().join("ca.crt"), certificate).unwrap();
    std::fs::remove_file(directory.path().join("ca.key")).unwrap();
    assert!(matches!(Pki::load_or_create(directory.path(), now()), Err(PkiError::Damaged { .. })));
}

#[test]
fn a_leaf_is_renewed_in_the_last_third_of_its_life_and_when_an_address_is_missing() {
    let directory = tempfile::tempdir().unwrap();
    let pki = Pki::load_or_create(directory.path(), now()).unwrap();
    let (one, two): (IpAddr, IpAddr) = ("10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap());
    let names = vec!["knarr.example".to_owned()];
    let first = pki.leaf(&server(&names, &[one, two]), now()).unwrap();
    assert!(first.addresses().contains(&"::1".parse().unwrap()));
    assert!(first.dns_names().contains(&"kubernetes.default.svc.cluster.local".to_owned()));
    assert!(first.not_before() <= now() - SignedDuration::from_hours(1));
    // Fewer addresses are no reason; more are.
    let same = pki.leaf(&server(&[], &[one]), now() + days(200)).unwrap();
    assert_eq!(first.certificate_pem, same.certificate_pem);
    let more = pki.leaf(&server(&[], &[one, "fd00::1".parse().unwrap()]), now()).unwrap();
    assert_ne!(first.certificate_pem, more.certificate_pem);
    assert_eq!(first.key_pem, more.key_pem);
    let late = now() + days(300);
    let renewed = pki.leaf(&server(&[], &[one]), late).unwrap();
    assert_ne!(more.certificate_pem, renewed.certificate_pem);
    assert!(!renewed.needs_renewal(late));
}

#[test]
fn another_node_name_makes_another_kubelet_certificate() {
    let directory = tempfile::tempdir().unwrap();
    let pki = Pki::load_or_create(directory.path(), now()).unwrap();
    let one = pki.leaf(&LeafRequest::client(Component::KubeletClient, "one"), now()).unwrap();
    let two = pki.leaf(&LeafRequest::client(Component::KubeletClient, "two"), now()).unwrap();
    assert_eq!(one.facts().common_name, "system:node:one");
    assert_eq!(two.facts().common_name, "system:node:two");
}

#[test]
fn a_renewed_authority_still_vouches_for_what_it_signed() {
    let directory = tempfile::tempdir().unwrap();
    let pki = Pki::load_or_create(directory.path(), now()).unwrap();
    let late = now() + days(7 * 365);
    let leaf = pki.leaf(&LeafRequest::client(Component::Admin, ""), late).unwrap();
    let renewed = Pki::load_or_create(directory.path(), late).unwrap();
    assert!(renewed.cluster_ca().not_after() > pki.cluster_ca().not_after());
    assert_eq!(renewed.cluster_ca().bundle().unwrap().len(), 2);
    let verifier = ChainVerifier::new(&[renewed.cluster_ca().certificate().clone()]).unwrap();
    verifier.verify(&leaf.chain, late).unwrap();
}

#[test]
fn a_machine_without_a_clock_makes_no_expired_authority() {
    let directory = tempfile::tempdir().unwrap();
    let pki = Pki::load_or_create(directory.path(), Timestamp::UNIX_EPOCH).unwrap();
    assert!(pki.cluster_ca().not_after() > now());
}

#[test]
fn clients_verify_by_chain_purpose_and_time() {
    let directory = tempfile::tempdir().unwrap();
    let pki = Pki::load_or_create(directory.path(), now()).unwrap();
    let cluster = ChainVerifier::new(&pki.cluster_ca().bundle().unwrap()).unwrap();
    let front_proxy = ChainVerifier::new(&pki.front_proxy_ca().bundle().unwrap()).unwrap();
    let admin = pki.leaf(&LeafRequest::client(Component::Admin, ""), now()).unwrap();
    let proxy = pki.leaf(&LeafRequest::client(Component::FrontProxyClient, ""), now()).unwrap();
    let serving = pki.leaf(&server(&[], &[]), now()).unwrap();
    assert!(cluster.verify(&admin.chain, now()).is_ok());
    assert!(cluster.verify(&admin.chain, now() + days(366)).is_err());
    assert!(cluster.verify(&proxy.chain, now()).is_err());
    assert!(front_proxy.verify(&proxy.chain, now()).is_ok());
    assert!(cluster.verify(&serving.chain, now()).is_err(), "a server's certificate is no client's");
    assert!(cluster.verify(&[], now()).is_err());
}

/// Runs a handshake in memory and returns how many certificates the server saw.
fn handshake(
    server: Arc<rustls::ServerConfig>,
    client: rustls::ClientConfig,
    name: &str,
) -> Result<usize, rustls::Error> {
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let mut client = rustls::ClientConnection::new(Arc::new(client), name)?;
    let mut server = rustls::ServerConnection::new(server)?;
    while client.is_handshaking() || server.is_handshaking() {
        let mut buffer = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut buffer).unwrap();
        }
        server.read_tls(&mut buffer.as_slice()).unwrap();
        server.process_new_packets()?;
        let mut buffer = Vec::new();
        while server.wants_write() {
            server.write_tls(&mut buffer).unwrap();
        }
        client.read_tls(&mut buffer.as_slice()).unwrap();
        client.process_new_packets()?;
    }
    // The client would rather have 256 bits.
    let suite = server.negotiated_cipher_suite().map(|suite| suite.suite());
    assert_eq!(suite, Some(rustls::CipherSuite::TLS13_AES_128_GCM_SHA256));
    Ok(server.peer_certificates().map_or(0, <[_]>::len))
}

#[test]
fn a_handshake_with_names_addresses_and_client_certificates() {
    // rustls reads the real clock here, so the certificates must be valid now.
    let now = Timestamp::now();
    let directory = tempfile::tempdir().unwrap();
    let pki = Pki::load_or_create(directory.path(), now).unwrap();
    let serving = pki.leaf(&server(&[], &["10.0.0.1".parse().unwrap()]), now).unwrap();
    let admin = pki.leaf(&LeafRequest::client(Component::Admin, ""), now).unwrap();
    let proxy = pki.leaf(&LeafRequest::client(Component::FrontProxyClient, ""), now).unwrap();
    let authorities = pki.cluster_ca().bundle().unwrap();
    let resolver: Arc<ServingCertResolver> = Arc::new(ServingCertResolver::new(&serving).unwrap());
    let run = |auth: &ClientAuth, identity: Option<&Leaf>, name: &str| {
        let server = server_config(resolver.clone(), auth, &ALPN_HTTP).unwrap();
        handshake(server, client_config(&authorities, identity, &ALPN_HTTP).unwrap(), name)
    };
    let request = ClientAuth::Request(authorities.clone());
    for name in ["localhost", "kubernetes.default.svc", "127.0.0.1", "::1", "10.0.0.1"] {
        assert_eq!(run(&request, Some(&admin), name).unwrap(), 1, "{name}");
    }
    assert!(run(&request, None, "10.0.0.2").is_err());
    assert_eq!(run(&request, None, "localhost").unwrap(), 0);
    let require = ClientAuth::Require(authorities.clone());
    assert_eq!(run(&require, Some(&admin), "localhost").unwrap(), 1);
    assert!(run(&require, None, "localhost").is_err());
    assert!(run(&require, Some(&proxy), "localhost").is_err());
}

#[test]
fn a_kubeconfig_carries_everything() {
    let directory = tempfile::tempdir().unwrap();
    let pki = Pki::load_or_create(directory.path(), now()).unwrap();
    let admin = pki.leaf(&LeafRequest::client(Component::Admin, ""), now()).unwrap();
    let text = kubeconfig("knarr", "https://127.0.0.1:6443", pki.cluster_ca().pem(), "admin", &admin);
    let parsed: std::collections::BTreeMap<String, serde_json::Value> =
        apimachinery::decode::from_yaml(&text).unwrap();
    assert!(parsed.contains_key("users") && parsed.contains_key("contexts"));
    assert!(text.contains("current-context: \"knarr\""));
}

#[test]
fn peers_know_each_other_by_an_authority_of_their_own() {
    let now = Timestamp::now();
    let directory = tempfile::tempdir().unwrap();
    let pki = Arc::new(Pki::load_or_create(directory.path(), now).unwrap());
    assert!(!directory.path().join("datastore-ca.key").exists(), "a node that is alone needs none");
    let one = PeerIdentity::new(pki.clone(), "n1", now).unwrap();
    let two = PeerIdentity::new(Arc::new(Pki::load_or_create(directory.path(), now).unwrap()), "n2", now);
    let two = two.unwrap();
    let client = |identity: &PeerIdentity| (*identity.client()).clone();
    assert_eq!(handshake(one.server(), client(&two), PEER_NAME).unwrap(), 1);
    assert!(handshake(one.server(), client(&two), "n1").is_err());
    // The most powerful that the cluster authority signs, and a peer of another cluster, which calls itself the same.
    let admin = pki.leaf(&LeafRequest::client(Component::Admin, ""), now).unwrap();
    let trusting = pki.datastore_ca(now).unwrap().bundle().unwrap();
    let intruder = client_config(&trusting, Some(&admin), &[b"h2"]).unwrap();
    assert!(handshake(one.server(), intruder, PEER_NAME).is_err());
    let elsewhere = tempfile::tempdir().unwrap();
    let foreign = Arc::new(Pki::load_or_create(elsewhere.path(), now).unwrap());
    let foreign = PeerIdentity::new(foreign, "n1", now).unwrap();
    assert!(handshake(one.server(), client(&foreign), PEER_NAME).is_err());
    assert!(handshake(foreign.server(), client(&one), PEER_NAME).is_err());
}
