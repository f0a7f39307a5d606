//! The proxy follows the cluster: Ingresses, classes, certificates.

use crate::object;
use crate::wire::send;
use addons::http::{self, Ready};
use addons::ingress::{self, CONTROLLER, Config};
use base64::Engine as _;
use rustls::pki_types::ServerName;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::sync::Arc;
use testkit::{TestServer, eventually};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_util::sync::{CancellationToken, DropGuard};

const INGRESSES: &str = "/apis/networking.k8s.io/v1/namespaces/default/ingresses";

struct World {
    server: TestServer,
    plain: SocketAddr,
    secure: SocketAddr,
    _stop: DropGuard,
}

impl World {
    async fn start() -> Self {
        let server = TestServer::start().await;
        for (name, controller) in [("public", CONTROLLER), ("other", "example.com/other")] {
            let class = json!({"apiVersion": "networking.k8s.io/v1", "kind": "IngressClass",
                "metadata": {"name": name}, "spec": {"controller": controller}});
            assert_eq!(server.post("/apis/networking.k8s.io/v1/ingressclasses", &class).await.code, 201);
        }
        let stop = CancellationToken::new();
        let ready = Ready::default();
        let config = Config {
            informers: server.informers(),
            default_certificate: String::new(),
            ready: ready.clone(),
            access_log: None,
        };
        let served = ingress::start(config, stop.clone()).unwrap();
        let (plain, secure) = (
            TcpListener::bind("127.0.0.1:0").await.unwrap(),
            TcpListener::bind("127.0.0.1:0").await.unwrap(),
        );
        let addresses = (plain.local_addr().unwrap(), secure.local_addr().unwrap());
        tokio::spawn(http::serve(plain, None, served.plain, stop.clone()));
        tokio::spawn(http::serve(secure, Some(served.acceptor), served.secure, stop.clone()));
        eventually("it is ready", || async { ready.get().then_some(()) }).await;
        Self { server, plain: addresses.0, secure: addresses.1, _stop: stop.drop_guard() }
    }

    async fn ingress(&self, name: &str, class: &str, host: &str, tls: &Value) {
        let ingress = json!({"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": {"name": name},
            "spec": {"ingressClassName": class, "tls": tls, "rules": [{"host": host, "http": {"paths": [
                {"path": "/", "pathType": "Prefix", "backend": {"service": {"name": "s", "port": {"number": 80}}}}]}}]}});
        let made = self.server.post(INGRESSES, &ingress).await;
        assert_eq!(made.code, 201, "{}", made.text());
    }

    async fn code(&self, host: &str) -> u16 {
        send(self.plain, "GET", "/", &[("host", host)], b"").await.code
    }

    /// Until a host is answered so; a host without endpoints is answered 503, one that nobody knows 404.
    async fn answers(&self, host: &str, code: u16) {
        eventually(&format!("{host} answers {code}"), || async {
            (self.code(host).await == code).then_some(())
        })
        .await;
    }

    /// The certificate (DER) that a host shows.
    async fn shown(&self, host: &str) -> Vec<u8> {
        let mut roots = rustls::RootCertStore::empty();
        roots
            .add(rcgen::generate_simple_self_signed(vec!["x".to_owned()]).unwrap().cert.der().clone())
            .unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = rustls::ClientConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let seen = Arc::new(Anything::default());
        config.dangerous().set_certificate_verifier(seen.clone());
        let stream = TcpStream::connect(self.secure).await.unwrap();
        let name = ServerName::try_from(host.to_owned()).unwrap();
        TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap();
        seen.shown.lock().clone()
    }
}

/// Notes what is shown, and takes it.
#[derive(Debug, Default)]
struct Anything {
    shown: parking_lot::Mutex<Vec<u8>>,
}

impl rustls::client::danger::ServerCertVerifier for Anything {
    fn verify_server_cert(
        &self,
        end_entity: &rustls::pki_types::CertificateDer<'_>,
        _intermediates: &[rustls::pki_types::CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: rustls::pki_types::UnixTime,
    ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
        *self.shown.lock() = end_entity.to_vec();
        Ok(rustls::client::danger::ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &rustls::pki_types::CertificateDer<'_>,
        _dss: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _cert: &rustls::pki_types::CertificateDer<'_>,
        _dss: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        rustls::crypto::ring::default_provider().signature_verification_algorithms.supported_schemes()
    }
}

#[tokio::test]
async fn ingresses_of_its_classes_are_served_as_they_come_and_go() {
    let world = World::start().await;
    assert_eq!(world.code("a.example").await, 404);
    world.ingress("theirs", "other", "b.example", &json!([])).await;
    world.ingress("mine", "public", "a.example", &json!([])).await;
    world.answers("a.example", 503).await;
    assert_eq!(world.code("b.example").await, 404);
    let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n"}});
    assert_eq!(world.server.post("/api/v1/nodes", &node).await.code, 201);
    let status = json!({"status": {"addresses": [{"type": "InternalIP", "address": "192.0.2.7"}]}});
    assert_eq!(world.server.patch("merge", "/api/v1/nodes/n/status", &status).await.code, 200);
    let told = |i: &Value| i["status"]["loadBalancer"]["ingress"] == json!([{"ip": "192.0.2.7"}]);
    object(&world.server, &format!("{INGRESSES}/mine"), "knows its address", told).await;
    world.server.delete(&format!("{INGRESSES}/mine"), &Value::Null).await;
    world.answers("a.example", 404).await;
}

#[tokio::test]
async fn each_host_shows_its_certificate() {
    let world = World::start().await;
    let own = rcgen::generate_simple_self_signed(vec!["a.example".to_owned()]).unwrap();
    let encode = |text: String| base64::engine::general_purpose::STANDARD.encode(text);
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls", "metadata": {"name": "tls"},
        "data": {"tls.crt": encode(own.cert.pem()), "tls.key": encode(own.signing_key.serialize_pem())}});
    assert_eq!(world.server.post("/api/v1/namespaces/default/secrets", &secret).await.code, 201);
    world.ingress("i", "public", "a.example", &json!([{"hosts": ["a.example"], "secretName": "tls"}])).await;
    // A host with a certificate is spoken to over TLS only.
    world.answers("a.example", 308).await;
    eventually("the certificate is shown", || async {
        (world.shown("a.example").await == own.cert.der().to_vec()).then_some(())
    })
    .await;
    let default = world.shown("b.example").await;
    assert!(!default.is_empty() && default != own.cert.der().to_vec());
}
