//! The wire: UDP and TCP (RFC 1035 section 4.2), EDNS sizes (RFC 6891) and truncation.

use super::cache::Question;
use super::forward::Forwarder;
use super::health::Health;
use super::zone::{Answer, Zone};
use hickory_proto::op::{Edns, Message, MessageType, OpCode, ResponseCode};
use hickory_proto::rr::{DNSClass, Name, RecordType};
use parking_lot::RwLock;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::Semaphore;

/// Largest UDP answer: fits the common path without fragments (DNS flag day 2020).
const MAX_UDP_BYTES: u16 = 1232;
/// How long a TCP connection may be silent (RFC 7766 section 6.2.3 leaves it to the server).
const TCP_IDLE: Duration = Duration::from_secs(10);
/// Most questions waiting for upstream servers at once: bounds memory when none answers.
const MAX_WAITING: usize = 2000;

/// What all questions share.
pub struct Shared {
    /// The cluster's names.
    pub zone: Arc<RwLock<Zone>>,
    /// Everything else.
    pub forwarder: Arc<Forwarder>,
    /// Counters.
    pub health: Arc<Health>,
}

/// The sockets.
pub struct Listeners {
    udp: Arc<UdpSocket>,
    tcp: TcpListener,
}

impl Listeners {
    /// Takes the port for UDP and TCP.
    pub async fn bind(address: SocketAddr) -> std::io::Result<Self> {
        let udp = Arc::new(UdpSocket::bind(&*ways_to_bind(address)).await?);
        let tcp = TcpListener::bind(udp.local_addr()?).await?;
        Ok(Self { udp, tcp })
    }

    /// Answers for ever.
    pub async fn serve(self, shared: Arc<Shared>) {
        let waiting = Arc::new(Semaphore::new(MAX_WAITING));
        tokio::join!(
            serve_udp(self.udp, shared.clone(), waiting.clone()),
            serve_tcp(self.tcp, shared, waiting)
        );
    }
}

/// What to listen on, the first that can be had: `0.0.0.0` and `::` both mean all addresses of both families, or of IPv4
/// where the kernel has no IPv6.
pub fn ways_to_bind(address: SocketAddr) -> Vec<SocketAddr> {
    if !address.ip().is_unspecified() {
        return vec![address];
    }
    let port = address.port();
    vec![(Ipv6Addr::UNSPECIFIED, port).into(), (Ipv4Addr::UNSPECIFIED, port).into()]
}

async fn serve_udp(socket: Arc<UdpSocket>, shared: Arc<Shared>, waiting: Arc<Semaphore>) {
    let mut buffer = vec![0; 4096];
    loop {
        let Ok((length, peer)) = socket.recv_from(&mut buffer).await else { continue };
        let Some(query) = buffer.get(..length).and_then(|bytes| Message::from_vec(bytes).ok()) else {
            continue;
        };
        let limit = query.max_payload().clamp(512, MAX_UDP_BYTES);
        match shared.answer_locally(&query) {
            Local::Answer(answer) => send_udp(&socket, peer, &answer, limit).await,
            Local::Forward(rest) => {
                let Ok(permit) = waiting.clone().try_acquire_owned() else {
                    send_udp(&socket, peer, &failure(&query, ResponseCode::ServFail), limit).await;
                    continue;
                };
                let (socket, shared) = (socket.clone(), shared.clone());
                tokio::spawn(async move {
                    let answer = shared.forward(&query, rest).await;
                    send_udp(&socket, peer, &answer, limit).await;
                    drop(permit);
                });
            }
        }
    }
}

async fn send_udp(socket: &UdpSocket, peer: SocketAddr, answer: &Message, limit: u16) {
    let Ok(mut bytes) = answer.to_vec() else { return };
    if bytes.len() > usize::from(limit) {
        let Ok(short) = answer.truncate().to_vec() else { return };
        bytes = short;
    }
    // A client that is gone needs no answer.
    let _ = socket.send_to(&bytes, peer).await;
}

async fn serve_tcp(listener: TcpListener, shared: Arc<Shared>, waiting: Arc<Semaphore>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let (shared, waiting) = (shared.clone(), waiting.clone());
        tokio::spawn(async move {
            // A broken connection is the client's affair.
            let _ = converse(stream, &shared, &waiting).await;
        });
    }
}

async fn converse(mut stream: TcpStream, shared: &Shared, waiting: &Semaphore) -> std::io::Result<()> {
    loop {
        let length = tokio::time::timeout(TCP_IDLE, stream.read_u16()).await??;
        let mut buffer = vec![0; usize::from(length)];
        tokio::time::timeout(TCP_IDLE, stream.read_exact(&mut buffer)).await??;
        let query = Message::from_vec(&buffer).map_err(std::io::Error::other)?;
        let answer = match shared.answer_locally(&query) {
            Local::Answer(answer) => answer,
            Local::Forward(rest) => {
                let _permit = waiting.acquire().await.map_err(std::io::Error::other)?;
                Box::new(shared.forward(&query, rest).await)
            }
        };
        let bytes = answer.to_vec().map_err(std::io::Error::other)?;
        let length = u16::try_from(bytes.len()).map_err(std::io::Error::other)?;
        stream.write_all(&[&length.to_be_bytes(), bytes.as_slice()].concat()).await?;
    }
}

/// What can be said without asking anybody.
enum Local {
    Answer(Box<Message>),
    /// To be asked elsewhere; an answer that was begun (a CNAME) and the name to go on with.
    Forward(Option<(Box<Message>, Name)>),
}

impl Shared {
    fn answer_locally(&self, query: &Message) -> Local {
        self.health.count_request();
        let question = match (query.metadata.message_type, query.metadata.op_code, query.queries.as_slice()) {
            (MessageType::Query, OpCode::Query, [question]) => question,
            (MessageType::Query, OpCode::Query, _) => {
                return Local::Answer(Box::new(failure(query, ResponseCode::FormErr)));
            }
            _ => return Local::Answer(Box::new(failure(query, ResponseCode::NotImp))),
        };
        if query.edns.as_ref().is_some_and(|edns| edns.version() > 0) {
            return Local::Answer(Box::new(failure(query, ResponseCode::BADVERS)));
        }
        if question.query_class() != DNSClass::IN {
            return self.kept(query);
        }
        let mut answer = reply(query);
        answer.metadata.authoritative = true;
        match self.zone.read().answer(question.name(), question.query_type()) {
            Answer::Elsewhere => return self.kept(query),
            Answer::Alias { record, target } => {
                answer.add_answer(record);
                if question.query_type() != RecordType::CNAME {
                    return Local::Forward(Some((Box::new(answer), target)));
                }
            }
            Answer::Records { answers, additionals } => {
                answer.add_answers(answers);
                answer.add_additionals(additionals);
            }
            Answer::NoData(soa) => {
                answer.add_authority(soa);
            }
            Answer::NoSuchName(soa) => {
                answer.metadata.response_code = ResponseCode::NXDomain;
                answer.add_authority(soa);
            }
        }
        Local::Answer(Box::new(answer))
    }

    /// What was answered before, without waiting for anybody.
    fn kept(&self, query: &Message) -> Local {
        let kept = Question::of(query).and_then(|question| self.forwarder.kept(&question));
        kept.map_or(Local::Forward(None), |answer| Local::Answer(Box::new(adopted(answer, query))))
    }

    async fn forward(&self, query: &Message, begun: Option<(Box<Message>, Name)>) -> Message {
        let mut asked = query.clone();
        asked.metadata.recursion_desired = true;
        if let (Some((_, target)), Some(question)) = (&begun, asked.queries.first_mut()) {
            question.set_name(target.clone());
        }
        let Some(key) = Question::of(&asked) else { return failure(query, ResponseCode::FormErr) };
        // A target within the cluster needs nobody else.
        let local = begun.is_some().then(|| self.zone.read().answer(&key.name, key.kind));
        match (begun, local) {
            (Some((mut answer, _)), Some(Answer::Records { answers, .. })) => {
                answer.add_answers(answers);
                return *answer;
            }
            (Some((mut answer, _)), _) => {
                // The alias itself is true even when its target cannot be found out.
                match self.forwarder.ask(key, &asked).await {
                    Ok(rest) => {
                        answer.add_answers(rest.answers);
                    }
                    Err(error) => tracing::debug!("cannot follow an ExternalName: {error}"),
                }
                return *answer;
            }
            (None, _) => {}
        }
        match self.forwarder.ask(key, &asked).await {
            Ok(answer) => adopted(answer, query),
            Err(error) => {
                self.health.count_failure();
                tracing::debug!(cached = self.forwarder.cached(), "cannot forward: {error}");
                failure(query, ResponseCode::ServFail)
            }
        }
    }
}

/// Somebody else's answer as one to this query.
fn adopted(mut answer: Message, query: &Message) -> Message {
    let metadata = query.metadata;
    answer.metadata.id = metadata.id;
    answer.metadata.recursion_desired = metadata.recursion_desired;
    answer.metadata.checking_disabled = metadata.checking_disabled;
    answer.queries.clone_from(&query.queries);
    if query.edns.is_none() {
        answer.edns = None;
    }
    answer
}

/// An empty answer to a question.
fn reply(query: &Message) -> Message {
    let mut answer = Message::response(query.metadata.id, query.metadata.op_code);
    answer.queries.clone_from(&query.queries);
    answer.metadata.recursion_desired = query.metadata.recursion_desired;
    answer.metadata.recursion_available = true;
    if query.edns.is_some() {
        let mut edns = Edns::new();
        edns.set_max_payload(MAX_UDP_BYTES);
        answer.set_edns(edns);
    }
    answer
}

fn failure(query: &Message, code: ResponseCode) -> Message {
    let mut answer = reply(query);
    answer.metadata.response_code = code;
    answer
}

#[cfg(test)]
#[path = "server_tests.rs"]
mod tests;
