//! Against a simulated API server that signs.

use super::*;
use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::{BodyExt as _, Full};
use k8s_openapi::api::certificates::v1::{
    CertificateSigningRequestCondition, CertificateSigningRequestStatus,
};
use pki::{CertificateRequest, Pki, Usages};
use serde_json::json;
use std::convert::Infallible;

/// Signs what it is asked, at the second look; refuses the first `refusals`.
struct Signer {
    pki: Pki,
    life: jiff::SignedDuration,
    refusals: usize,
    requests: Vec<CertificateSigningRequest>,
    looks: usize,
}

impl Signer {
    fn answer(&mut self, method: &Method, path: &str, body: &[u8]) -> CertificateSigningRequest {
        if method == Method::POST {
            let mut request: CertificateSigningRequest = serde_json::from_slice(body).unwrap();
            request.metadata.name = Some(format!("csr-{}", self.requests.len()));
            self.requests.push(request.clone());
            return request;
        }
        self.looks += 1;
        let index: usize = path.rsplit('-').next().unwrap().parse().unwrap();
        let mut request = self.requests[index].clone();
        if self.looks.is_multiple_of(2) {
            let mut status = CertificateSigningRequestStatus::default();
            if index < self.refusals {
                let refusal = CertificateSigningRequestCondition {
                    type_: "Denied".to_owned(),
                    ..CertificateSigningRequestCondition::default()
                };
                status.conditions = Some(vec![refusal]);
            } else {
                let parsed = CertificateRequest::from_pem(&request.spec.request.0).unwrap();
                let usages = request.spec.usages.clone().unwrap_or_default();
                let usages = Usages::named(usages.iter().map(String::as_str)).unwrap();
                let signed = self
                    .pki
                    .cluster_ca()
                    .sign_request(&parsed, &usages, self.life, Timestamp::now())
                    .unwrap();
                status.certificate = Some(ByteString(signed.into_bytes()));
            }
            request.status = Some(status);
        }
        request
    }
}

struct World {
    folder: tempfile::TempDir,
    signer: Arc<Mutex<Signer>>,
    rest: Rest,
}

fn world(refusals: usize) -> World {
    let folder = tempfile::tempdir().unwrap();
    let pki = Pki::load_or_create(&folder.path().join("pki"), Timestamp::now()).unwrap();
    let life = jiff::SignedDuration::from_hours(300);
    let signer = Arc::new(Mutex::new(Signer { pki, life, refusals, requests: Vec::new(), looks: 0 }));
    let shared = signer.clone();
    let service = tower::service_fn(move |request: Request<client::connect::RequestBody>| {
        let signer = shared.clone();
        async move {
            let (head, body) = request.into_parts();
            let body = body.collect().await.unwrap().to_bytes();
            let answer = signer.lock().unwrap().answer(&head.method, head.uri.path(), &body);
            let mut value = serde_json::to_value(answer).unwrap();
            value["kind"] = json!("CertificateSigningRequest");
            Ok::<_, Infallible>(Response::new(Full::new(Bytes::from(value.to_string()))))
        }
    });
    let rest = Rest::new(client::in_process(service, "test"));
    World { folder, signer, rest }
}

impl World {
    fn identity(&self) -> Identity {
        let path = self.folder.path().join("kubelet-serving.pem");
        Identity::load(KUBELET_SERVING, "system:node:w1".to_owned(), path).unwrap()
    }

    fn asked(&self) -> usize {
        self.signer.lock().unwrap().requests.len()
    }
}

fn names(addresses: &[&str]) -> Names {
    Names {
        dns: vec!["w1".to_owned()],
        addresses: addresses.iter().map(|address| address.parse().unwrap()).collect(),
    }
}

#[tokio::test(start_paused = true)]
async fn a_certificate_is_asked_for_once_and_kept() {
    let world = world(0);
    let identity = world.identity();
    assert_eq!(identity.not_after(), None);
    assert!(identity.renew(&world.rest, &names(&["10.0.0.1"]), Timestamp::now).await);
    let request = world.signer.lock().unwrap().requests[0].clone();
    assert_eq!(request.spec.signer_name, "kubernetes.io/kubelet-serving");
    assert_eq!(request.spec.usages.unwrap(), ["digital signature", "server auth"]);
    let parsed = CertificateRequest::from_pem(&request.spec.request.0).unwrap();
    assert_eq!((parsed.common_name.as_str(), parsed.organizations.len()), ("system:node:w1", 1));
    // Neither now nor by the next process.
    let again = world.identity();
    assert_eq!(again.not_after(), identity.not_after());
    assert!(!again.renew(&world.rest, &names(&["10.0.0.1"]), Timestamp::now).await);
    assert_eq!(world.asked(), 1);
}

#[tokio::test(start_paused = true)]
async fn it_is_renewed_before_it_ends_and_when_the_node_gets_an_address() {
    let world = world(0);
    let identity = world.identity();
    identity.renew(&world.rest, &names(&["10.0.0.1"]), Timestamp::now).await;
    assert!(identity.renew(&world.rest, &names(&["10.0.0.1", "10.0.0.2"]), Timestamp::now).await);
    assert_eq!(world.asked(), 2);
    let later = Timestamp::now() + jiff::SignedDuration::from_hours(210);
    let first = identity.not_after();
    // What is signed then is as short-lived as before, by the clock of the signer.
    assert!(identity.renew(&world.rest, &names(&["10.0.0.1"]), || later).await);
    assert_eq!(world.asked(), 3);
    assert!(identity.not_after() >= first);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_asked_again_later() {
    let world = world(2);
    let identity = world.identity();
    let start = tokio::time::Instant::now();
    assert!(identity.renew(&world.rest, &names(&["10.0.0.1"]), Timestamp::now).await);
    assert_eq!(world.asked(), 3);
    assert!(start.elapsed() >= RETRY_FROM * 3);
}

#[test]
fn names_are_those_of_the_node_s_status() {
    let node = |addresses: serde_json::Value| -> Node {
        serde_json::from_value(json!({"metadata": {"name": "w1"}, "status": {"addresses": addresses}}))
            .unwrap()
    };
    let told = Names::of(&node(json!([{"type": "InternalIP", "address": "10.0.0.1"},
        {"type": "ExternalIP", "address": "10.0.0.1"}, {"type": "Hostname", "address": "w1"}])));
    assert_eq!(told, names(&["10.0.0.1"]));
    assert!(Names::of(&node(json!([{"type": "Hostname", "address": "w1"}]))).is_empty());
}

#[test]
fn a_damaged_file_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.pem");
    std::fs::write(&path, "nothing").unwrap();
    let error = Identity::load(PROXY, "p".to_owned(), path).err().unwrap().to_string();
    assert!(error.contains("join again"), "{error}");
}
