//! Relays questions to upstream servers: UDP first, TCP when the answer was cut short, the next server when
//! one does not answer.

use super::cache::{Cache, Question};
use super::configuration::Configuration;
use super::health::Health;
use hickory_proto::op::Message;
use parking_lot::{Mutex, RwLock};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::Instant;

/// How long one server may take. A client's resolver waits 5 s in all (resolv.conf(5)): this leaves time for
/// a second server.
const PATIENCE: Duration = Duration::from_secs(2);

/// Asks upstream servers.
pub struct Forwarder {
    configuration: RwLock<Arc<Configuration>>,
    cache: Mutex<Cache>,
    health: Arc<Health>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ForwardError {
    /// There is nobody to ask.
    #[error("no upstream server is known")]
    NoServer,
    /// All servers failed; the last one's error.
    #[error("no upstream server answers")]
    Io(#[from] std::io::Error),
}

impl Forwarder {
    /// A forwarder with an empty cache.
    pub fn new(configuration: Configuration, health: Arc<Health>) -> Self {
        Self { configuration: RwLock::new(Arc::new(configuration)), cache: Mutex::default(), health }
    }

    /// Takes a new configuration; kept answers are forgotten when it differs.
    pub fn configure(&self, configuration: Configuration) {
        let mut current = self.configuration.write();
        if **current != configuration {
            *current = Arc::new(configuration);
            self.cache.lock().clear();
            tracing::info!("new configuration");
        }
    }

    /// How many answers are kept.
    pub fn cached(&self) -> usize {
        self.cache.lock().len()
    }

    /// The answer to a question, if it is kept.
    pub fn kept(&self, question: &Question) -> Option<Message> {
        let kept = self.cache.lock().get(question, Instant::now())?;
        self.health.count_cache_hit();
        Some(kept)
    }

    /// The answer to a question; its id and flags are the caller's to set.
    ///
    /// # Errors
    /// When no server answers.
    pub async fn ask(&self, question: Question, query: &Message) -> Result<Message, ForwardError> {
        if let Some(kept) = self.kept(&question) {
            return Ok(kept);
        }
        let configuration = self.configuration.read().clone();
        let servers = configuration.servers(&question.name.to_ascii().to_lowercase());
        let mut outcome = Err(ForwardError::NoServer);
        for server in servers {
            self.health.count_forwarded();
            match exchange(*server, query).await {
                Ok(answer) => {
                    self.cache.lock().put(question, &answer, Instant::now());
                    return Ok(answer);
                }
                Err(error) => outcome = Err(ForwardError::Io(error)),
            }
        }
        outcome
    }
}

async fn exchange(server: SocketAddr, query: &Message) -> std::io::Result<Message> {
    let mut query = query.clone();
    // A new id and port for each question make answers hard to forge (RFC 5452).
    query.metadata.id = rand::random();
    let bytes = query.to_vec().map_err(std::io::Error::other)?;
    let answer = timeout(by_udp(server, &query, &bytes)).await?;
    if answer.metadata.truncation { timeout(by_tcp(server, &query, &bytes)).await } else { Ok(answer) }
}

async fn timeout<T>(work: impl Future<Output = std::io::Result<T>>) -> std::io::Result<T> {
    tokio::time::timeout(PATIENCE, work).await.unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()))
}

async fn by_udp(server: SocketAddr, query: &Message, bytes: &[u8]) -> std::io::Result<Message> {
    let local: SocketAddr =
        if server.is_ipv4() { (Ipv4Addr::UNSPECIFIED, 0).into() } else { (Ipv6Addr::UNSPECIFIED, 0).into() };
    let socket = UdpSocket::bind(local).await?;
    socket.connect(server).await?;
    socket.send(bytes).await?;
    // The largest that UDP can carry: a server may ignore the size that the query offers.
    let mut buffer = vec![0; 65_535];
    loop {
        let length = socket.recv(&mut buffer).await?;
        if let Some(answer) = buffer.get(..length).and_then(|bytes| Message::from_vec(bytes).ok())
            && belongs(&answer, query)
        {
            return Ok(answer);
        }
    }
}

async fn by_tcp(server: SocketAddr, query: &Message, bytes: &[u8]) -> std::io::Result<Message> {
    let mut stream = TcpStream::connect(server).await?;
    let length = u16::try_from(bytes.len()).map_err(std::io::Error::other)?;
    stream.write_all(&[&length.to_be_bytes(), bytes].concat()).await?;
    let length = stream.read_u16().await?;
    let mut buffer = vec![0; usize::from(length)];
    stream.read_exact(&mut buffer).await?;
    let answer = Message::from_vec(&buffer).map_err(std::io::Error::other)?;
    if belongs(&answer, query) { Ok(answer) } else { Err(std::io::ErrorKind::InvalidData.into()) }
}

fn belongs(answer: &Message, query: &Message) -> bool {
    answer.metadata.id == query.metadata.id && answer.queries == query.queries
}

#[cfg(test)]
mod tests {
    use super::*;
    use hickory_proto::op::{OpCode, Query};
    use hickory_proto::rr::rdata::A;
    use hickory_proto::rr::{Name, RData, Record, RecordType};
    use std::sync::atomic::{AtomicUsize, Ordering};

    fn query() -> Message {
        let mut query = Message::query();
        query.add_query(Query::query(Name::from_ascii("a.example.").unwrap(), RecordType::A));
        query
    }

    fn question() -> Question {
        Question::of(&query()).unwrap()
    }

    async fn server(asked: Arc<AtomicUsize>) -> SocketAddr {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        tokio::spawn(async move {
            let mut buffer = [0; 512];
            loop {
                let (length, peer) = socket.recv_from(&mut buffer).await.unwrap();
                asked.fetch_add(1, Ordering::SeqCst);
                let query = Message::from_vec(&buffer[..length]).unwrap();
                let mut answer = Message::response(query.metadata.id, OpCode::Query);
                answer.queries = query.queries;
                answer.add_answer(Record::from_rdata(question().name, 60, RData::A(A::new(1, 2, 3, 4))));
                // A forged answer comes first and has to be passed over.
                let mut forged = answer.clone();
                forged.metadata.id = forged.metadata.id.wrapping_add(1);
                socket.send_to(&forged.to_vec().unwrap(), peer).await.unwrap();
                socket.send_to(&answer.to_vec().unwrap(), peer).await.unwrap();
            }
        });
        address
    }

    #[tokio::test]
    async fn a_second_question_is_answered_from_the_cache() {
        let asked = Arc::new(AtomicUsize::new(0));
        let upstream = vec![server(asked.clone()).await];
        let configuration = Configuration { upstream, ..Configuration::default() };
        let forwarder = Forwarder::new(configuration, Arc::new(Health::default()));
        for _ in 0..2 {
            assert_eq!(forwarder.ask(question(), &query()).await.unwrap().answers.len(), 1);
        }
        assert_eq!(asked.load(Ordering::SeqCst), 1);
        forwarder.configure(Configuration::default());
        assert!(matches!(forwarder.ask(question(), &query()).await, Err(ForwardError::NoServer)));
    }

    #[tokio::test]
    async fn a_dead_server_is_passed_over() {
        let dead = UdpSocket::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let upstream = vec![dead, server(Arc::default()).await];
        let configuration = Configuration { upstream, ..Configuration::default() };
        let forwarder = Forwarder::new(configuration, Arc::new(Health::default()));
        assert!(forwarder.ask(question(), &query()).await.is_ok());
    }
}
