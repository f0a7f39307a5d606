//! The proxy follows the cluster: Ingresses, classes, certificates.

use crate::object;
use crate::wire::send;
use addons::engine::{Engine, EngineError};
use addons::http::{self, Ready};
use addons::ingress::{self, CONTROLLER, Config};
use addons::render::Settings;
use base64::Engine as _;
use rustls::pki_types::ServerName;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
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

const GATEWAY: &str = "/apis/gateway.networking.k8s.io/v1";

impl World {
    async fn start() -> Self {
        Self::start_on(TestServer::start().await).await
    }

    async fn start_on(server: TestServer) -> Self {
        for (name, controller) in [("public", CONTROLLER), ("other", "example.com/other")] {
            let class = json!({"apiVersion": "networking.k8s.io/v1", "kind": "IngressClass",
                "metadata": {"name": name}, "spec": {"controller": controller}});
            let made = server.post("/apis/networking.k8s.io/v1/ingressclasses", &class).await;
            assert!(matches!(made.code, 201 | 409), "{}", made.text());
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
        tokio::spawn(http::serve_over(secure, Some(served.entrance), served.secure, stop.clone()));
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

#[tokio::test]
async fn a_password_that_is_changed_counts_at_once() {
    let world = World::start().await;
    // Both passwords by bcrypt: `password` and a hundred times `x`.
    let of = |hash: &str| json!({"stringData": {"auth": format!("me:$2y$04$abcdefghijklmnopqrstuu{hash}")}});
    let mut secret = of("ghE8Ev8uGFaUgY2cNEySvxngrb/Jzdm");
    let more = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "users"}});
    secret.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    assert_eq!(world.server.post("/api/v1/namespaces/default/secrets", &secret).await.code, 201);
    world.ingress("i", "public", "a.example", &json!([])).await;
    let annotations = json!({"metadata": {"annotations": {
        "nginx.ingress.kubernetes.io/auth-type": "basic", "nginx.ingress.kubernetes.io/auth-secret": "users"}}});
    assert_eq!(world.server.patch("merge", &format!("{INGRESSES}/i"), &annotations).await.code, 200);
    let as_user = async |password: &str| {
        let credentials = base64::engine::general_purpose::STANDARD.encode(format!("me:{password}"));
        let value = format!("Basic {credentials}");
        let headers = [("host", "a.example"), ("authorization", value.as_str())];
        send(world.plain, "GET", "/", &headers, b"").await.code
    };
    // Whoever gets in finds no endpoints.
    world.answers("a.example", 401).await;
    let long = "x".repeat(100);
    eventually("the user gets in", || async { (as_user("password").await == 503).then_some(()) }).await;
    assert_eq!(as_user(&long).await, 401);
    let changed = of("bzadhGtS2zEF.gu0yd0opP6cVzb.e0i");
    let users = "/api/v1/namespaces/default/secrets/users";
    assert_eq!(world.server.patch("merge", users, &changed).await.code, 200);
    eventually("the new password counts", || async { (as_user(&long).await == 503).then_some(()) }).await;
    assert_eq!(as_user("password").await, 401, "the old one was remembered");
    assert_eq!(world.server.delete(users, &Value::Null).await.code, 200);
    eventually("nobody gets in", || async { (as_user(&long).await == 401).then_some(()) }).await;
}

/// Applies the definitions of the Gateway API and the class, as enabling does.
async fn with_gateway_api() -> TestServer {
    let server = TestServer::start().await;
    let settings = Settings { image: "knarr.local/knarr:1".to_owned(), ..Settings::default() };
    let engine = Engine::new(server.client());
    engine.start(&settings, &["dns".to_owned(), "storage".to_owned()]).await.unwrap();
    let not_ready = engine.enable("ingress", &[], Duration::ZERO, &mut |_| ()).await.unwrap_err();
    assert!(matches!(not_ready, EngineError::NotReady { .. }), "{not_ready}");
    server
}

fn is(all: &Value, kind: &str, status: &str) -> bool {
    all.as_array().is_some_and(|all| all.iter().any(|one| one["type"] == kind && one["status"] == status))
}

#[tokio::test]
async fn gateways_and_routes_are_served_and_told_so() {
    let server = with_gateway_api().await;
    let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n"}});
    assert_eq!(server.post("/api/v1/nodes", &node).await.code, 201);
    let status = json!({"status": {"addresses": [{"type": "InternalIP", "address": "192.0.2.7"}]}});
    assert_eq!(server.patch("merge", "/api/v1/nodes/n/status", &status).await.code, 200);
    let world = World::start_on(server).await;
    let server = &world.server;
    let of = |kind: &str, name: &str, spec: Value| json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": kind, "metadata": {"name": name}, "spec": spec});
    let listeners = json!([{"name": "http", "port": 80, "protocol": "HTTP"}, {"name": "odd", "port": 8080, "protocol": "HTTP"}]);
    let gateway = of("Gateway", "g", json!({"gatewayClassName": "public", "listeners": listeners}));
    let (gateways, routes) = (
        format!("{GATEWAY}/namespaces/default/gateways"),
        format!("{GATEWAY}/namespaces/default/httproutes"),
    );
    let made = server.post(&gateways, &gateway).await;
    assert_eq!(made.code, 201, "{}", made.text());
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"}, "spec": {"ports": [{"port": 80}]}});
    assert_eq!(server.post("/api/v1/namespaces/default/services", &service).await.code, 201);
    let rule = |service: &str| json!([{"backendRefs": [{"name": service, "port": 80}]}]);
    let route = |name: &str, service: &str| {
        let spec = json!({"parentRefs": [{"name": "g"}], "hostnames": [format!("{name}.example")], "rules": rule(service)});
        of("HTTPRoute", name, spec)
    };
    for (name, service) in [("r", "s"), ("lost", "none")] {
        let made = server.post(&routes, &route(name, service)).await;
        assert_eq!(made.code, 201, "{}", made.text());
    }
    // A Service without endpoints, and none at all.
    world.answers("r.example", 503).await;
    world.answers("lost.example", 500).await;
    assert_eq!(world.code("other.example").await, 404);
    let class = format!("{GATEWAY}/gatewayclasses/public");
    object(server, &class, "is accepted", |class| is(&class["status"]["conditions"], "Accepted", "True"))
        .await;
    let gateway = object(server, &format!("{gateways}/g"), "is programmed", |gateway| {
        is(&gateway["status"]["conditions"], "Programmed", "True")
            && gateway["status"]["listeners"][0]["attachedRoutes"] == 2
    })
    .await;
    assert_eq!(gateway["status"]["addresses"], json!([{"type": "IPAddress", "value": "192.0.2.7"}]));
    assert!(is(&gateway["status"]["listeners"][1]["conditions"], "Accepted", "False"), "{gateway}");
    for (name, resolved) in [("r", "True"), ("lost", "False")] {
        object(server, &format!("{routes}/{name}"), "knows", |route| {
            let conditions = &route["status"]["parents"][0]["conditions"];
            is(conditions, "Accepted", "True") && is(conditions, "ResolvedRefs", resolved)
        })
        .await;
    }
    // What is missing comes.
    let late = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "none"}, "spec": {"ports": [{"port": 80}]}});
    assert_eq!(server.post("/api/v1/namespaces/default/services", &late).await.code, 201);
    world.answers("lost.example", 503).await;
    server.delete(&format!("{routes}/r"), &Value::Null).await;
    world.answers("r.example", 404).await;
}

#[tokio::test]
async fn what_routes_cannot_say_is_refused() {
    let server = with_gateway_api().await;
    let refused = |path: &'static str, kind: &'static str, spec: Value| {
        let server = &server;
        async move {
            let object = json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": kind, "metadata": {"name": "x"}, "spec": spec});
            let answer = server.post(&format!("{GATEWAY}/namespaces/default/{path}"), &object).await;
            assert_eq!(answer.code, 422, "{}", answer.text());
            answer.text()
        }
    };
    let listener = json!({"name": "a", "port": 80, "protocol": "HTTP"});
    let twice = json!({"gatewayClassName": "public", "listeners": [listener, {"name": "b", "port": 80, "protocol": "HTTP"}]});
    assert!(refused("gateways", "Gateway", twice).await.contains("must be unique for each listener"));
    let tls =
        json!({"gatewayClassName": "public", "listeners": [{"name": "a", "port": 443, "protocol": "TLS"}]});
    assert!(refused("gateways", "Gateway", tls).await.contains("tls mode must be set"));
    let redirect = json!([{"filters": [{"type": "RequestRedirect", "requestRedirect": {"statusCode": 302}}],
        "backendRefs": [{"name": "s", "port": 80}]}]);
    assert!(
        refused("httproutes", "HTTPRoute", json!({"rules": redirect}))
            .await
            .contains("must not be used together")
    );
    let filter = json!([{"filters": [{"type": "URLRewrite"}]}]);
    assert!(
        refused("httproutes", "HTTPRoute", json!({"rules": filter})).await.contains("belongs to filters")
    );
    let cors = |cors: Value| json!({"rules": [{"filters": [{"type": "CORS", "cors": cors}]}]});
    let origins = cors(json!({"allowOrigins": ["*", "https://a.example"]}));
    assert!(refused("httproutes", "HTTPRoute", origins).await.contains("alongside other origins"));
    refused("httproutes", "HTTPRoute", cors(json!({"allowOrigins": ["a.example"]}))).await;
    let path = json!([{"matches": [{"path": {"value": "/a//b"}}]}]);
    assert!(refused("httproutes", "HTTPRoute", json!({"rules": path})).await.contains("must not contain"));
    refused("tlsroutes", "TLSRoute", json!({"rules": []})).await;
    let method = json!([{"matches": [{"method": {"type": "Exact"}}]}]);
    assert!(refused("grpcroutes", "GRPCRoute", json!({"rules": method})).await.contains("must be specified"));
}
