//! Questions over real sockets.

use super::super::configuration::Configuration;
use super::super::zone::{Endpoint, Port, Service};
use super::*;
use hickory_proto::op::Query;

async fn start(endpoints: u8) -> SocketAddr {
    let mut zone = Zone::new("cluster.local");
    zone.set_namespace("ns", true);
    let web = Service { cluster_ips: vec!["10.0.0.1".parse().unwrap()], ..Service::default() };
    zone.set_service("ns", "web", Some(web));
    zone.set_service("ns", "many", Some(Service::default()));
    let alias = Service { external_name: Some("web.ns.svc.cluster.local".to_owned()), ..Service::default() };
    zone.set_service("ns", "alias", Some(alias));
    let endpoint = |i: u8| Endpoint {
        address: [10, 1, 0, i].into(),
        hostname: None,
        ports: vec![Port { name: String::new(), protocol: "tcp".to_owned(), number: 1 }],
    };
    zone.set_slice("ns", "many", "s", Some((0..endpoints).map(endpoint).collect()));
    let health = Arc::new(Health::default());
    let forwarder = Arc::new(Forwarder::new(Configuration::default(), health.clone()));
    let shared = Shared { zone: Arc::new(RwLock::new(zone)), forwarder, health };
    let listeners = Listeners::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let address = listeners.udp.local_addr().unwrap();
    tokio::spawn(listeners.serve(Arc::new(shared)));
    address
}

fn query(name: &str) -> Message {
    let mut query = Message::query();
    query.add_query(Query::query(Name::from_ascii(name).unwrap(), RecordType::A));
    query
}

async fn by_udp(server: SocketAddr, query: &Message) -> Message {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    socket.send_to(&query.to_vec().unwrap(), server).await.unwrap();
    let mut buffer = [0; 4096];
    let length = socket.recv(&mut buffer).await.unwrap();
    Message::from_vec(&buffer[..length]).unwrap()
}

async fn by_tcp(server: SocketAddr, query: &Message) -> Message {
    let mut stream = TcpStream::connect(server).await.unwrap();
    let bytes = query.to_vec().unwrap();
    stream.write_all(&(bytes.len() as u16).to_be_bytes()).await.unwrap();
    stream.write_all(&bytes).await.unwrap();
    let mut buffer = vec![0; usize::from(stream.read_u16().await.unwrap())];
    stream.read_exact(&mut buffer).await.unwrap();
    Message::from_vec(&buffer).unwrap()
}

#[tokio::test]
async fn questions_are_answered_over_udp_and_tcp() {
    let server = start(1).await;
    for answer in [
        by_udp(server, &query("web.ns.svc.cluster.local.")).await,
        by_tcp(server, &query("web.ns.svc.cluster.local.")).await,
    ] {
        assert!(answer.metadata.authoritative);
        assert_eq!(answer.answers[0].data.to_string(), "10.0.0.1");
    }
    let answer = by_udp(server, &query("nobody.ns.svc.cluster.local.")).await;
    assert_eq!(answer.metadata.response_code, ResponseCode::NXDomain);
    assert_eq!(answer.authorities.len(), 1);
}

#[tokio::test]
async fn an_alias_within_the_cluster_is_followed() {
    let answer = by_udp(start(1).await, &query("alias.ns.svc.cluster.local.")).await;
    let data: Vec<String> = answer.answers.iter().map(|r| r.data.to_string()).collect();
    assert_eq!(data, ["web.ns.svc.cluster.local.", "10.0.0.1"]);
}

#[tokio::test]
async fn what_does_not_fit_into_udp_is_cut_and_whole_over_tcp() {
    let server = start(100).await;
    let question = query("many.ns.svc.cluster.local.");
    let cut = by_udp(server, &question).await;
    assert!(cut.metadata.truncation);
    assert_eq!(by_tcp(server, &question).await.answers.len(), 100);
}

#[tokio::test]
async fn without_upstream_servers_the_rest_fails_at_once() {
    let answer = by_udp(start(1).await, &query("example.com.")).await;
    assert_eq!(answer.metadata.response_code, ResponseCode::ServFail);
}

#[tokio::test]
async fn nonsense_is_no_crash() {
    let server = start(1).await;
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    for bytes in [&b""[..], b"x", &[0xff; 600], &[0; 12]] {
        socket.send_to(bytes, server).await.unwrap();
    }
    let answer = by_udp(server, &query("web.ns.svc.cluster.local.")).await;
    assert_eq!(answer.answers.len(), 1);
}
