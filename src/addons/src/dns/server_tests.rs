//! Questions over real sockets.

use super::super::configuration::Configuration;
use super::super::zone::{Endpoint, Port, Service};
use super::*;
use hickory_proto::op::Query;

async fn start(endpoints: u8) -> SocketAddr {
    start_with(endpoints, Configuration::default()).await
}

async fn start_with(endpoints: u8, configuration: Configuration) -> SocketAddr {
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
    let forwarder = Arc::new(Forwarder::new(configuration, health.clone()));
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

#[tokio::test]
async fn a_kept_answer_is_an_answer_to_its_own_query() {
    let upstream = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let configuration =
        Configuration { upstream: vec![upstream.local_addr().unwrap()], ..Configuration::default() };
    let server = start_with(1, configuration).await;
    let first = query("Out.Example.");
    let (answer, ()) = tokio::join!(by_udp(server, &first), async {
        let mut buffer = [0; 512];
        let (length, peer) = upstream.recv_from(&mut buffer).await.unwrap();
        let asked = Message::from_vec(&buffer[..length]).unwrap();
        let mut answer = Message::response(asked.metadata.id, OpCode::Query);
        let data = hickory_proto::rr::RData::A(hickory_proto::rr::rdata::A::new(1, 2, 3, 4));
        let name = asked.queries[0].name().clone();
        answer.add_answer(hickory_proto::rr::Record::from_rdata(name, 60, data));
        answer.queries = asked.queries;
        upstream.send_to(&answer.to_vec().unwrap(), peer).await.unwrap();
    });
    assert_eq!((answer.metadata.id, answer.answers.len()), (first.metadata.id, 1));
    // Nobody answers any more.
    drop(upstream);
    let second = query("out.example.");
    for answer in [by_udp(server, &second).await, by_tcp(server, &second).await] {
        assert_eq!((answer.metadata.id, answer.answers.len()), (second.metadata.id, 1));
        assert_eq!(answer.queries, second.queries);
    }
}

#[tokio::test]
async fn all_addresses_are_those_of_both_families() {
    for any in ["0.0.0.0:0", "[::]:0"] {
        let listeners = Listeners::bind(any.parse().unwrap()).await.unwrap();
        let port = listeners.udp.local_addr().unwrap().port();
        for host in ["127.0.0.1", "::1"] {
            TcpStream::connect((host, port)).await.unwrap();
            let socket = UdpSocket::bind((host, 0)).await.unwrap();
            socket.send_to(b"x", (host, port)).await.unwrap();
            let (length, _) = listeners.udp.recv_from(&mut [0; 8]).await.unwrap();
            assert_eq!(length, 1);
        }
    }
    let one = Listeners::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let port = one.udp.local_addr().unwrap().port();
    TcpStream::connect(("::1", port)).await.unwrap_err();
}
