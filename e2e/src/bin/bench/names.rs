//! The dns add-on under load: names of the cluster, and a name of elsewhere out of its cache.

use crate::{Report, cpu_ticks, on_machine, percentile, process_of};
use anyhow::{Context, Result, ensure};
use e2e::node::Node;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::UdpSocket;

/// Clients, each with one question at a time.
const CLIENTS: usize = 8;
/// How long they ask.
const ASKING: Duration = Duration::from_secs(5);
/// How long one waits before it asks again.
const PATIENCE: Duration = Duration::from_secs(1);
/// Where the server of other names listens.
const UPSTREAM_PORT: u16 = 5300;

/// From `enable dns` to the first answer, and answers per second.
pub fn measure(node: &Node, report: &mut Report) -> Result<()> {
    let upstream = SocketAddr::new(node.machine.address.parse()?, UPSTREAM_PORT);
    node.run("disable dns")?;
    let start = Instant::now();
    node.run(&format!("enable dns --upstream {upstream}"))?;
    let service = node.get("service kube-dns -n kube-system")?;
    let address = service["spec"]["clusterIP"].as_str().context("an address")?;
    let server: SocketAddr = format!("{address}:53").parse()?;
    on_machine(node, async {
        let socket = UdpSocket::bind("0.0.0.0:0").await?;
        ask(&socket, server, &question("kubernetes.default.svc.cluster.local")).await
    })?;
    report.insert("enable_dns_to_answer_ms".to_owned(), json!(start.elapsed().as_millis()));

    let pods = node.get("pods -n kube-system -l k8s-app=kube-dns")?;
    let pid = process_of(pods["items"][0]["metadata"]["uid"].as_str().context("a pod")?)?;
    for (figure, name) in [
        ("dns_cluster_names", "kubernetes.default.svc.cluster.local"),
        ("dns_cached_names", "www.elsewhere.example"),
    ] {
        let before = cpu_ticks(pid)?;
        let taken = on_machine(node, load(upstream, server, name))?;
        let seconds = (cpu_ticks(pid)? - before) as f64 / 100.0;
        report.insert(figure.to_owned(), told(&taken, seconds));
    }
    Ok(())
}

/// Answers per second, those that one core could give, and how long they took.
fn told(taken: &[Duration], cpu_seconds: f64) -> Value {
    let answers = taken.len() as f64;
    json!({"per_second": (answers / ASKING.as_secs_f64()).round(),
        "per_second_of_a_core": (answers / cpu_seconds.max(0.01)).round(),
        "p50_ms": percentile(taken, 50), "p99_ms": percentile(taken, 99)})
}

/// Asks for one name from many sockets; how long each answer took.
async fn load(upstream: SocketAddr, server: SocketAddr, name: &str) -> Result<Vec<Duration>> {
    let others = UdpSocket::bind(upstream).await?;
    let answering = tokio::spawn(answer_all(others));
    let question: Arc<[u8]> = question(name).into();
    let end = Instant::now() + ASKING;
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        let question = Arc::clone(&question);
        clients.push(tokio::spawn(async move {
            let socket = UdpSocket::bind("0.0.0.0:0").await?;
            let mut taken = Vec::new();
            while Instant::now() < end {
                let start = Instant::now();
                ask(&socket, server, &question).await?;
                taken.push(start.elapsed());
            }
            anyhow::Ok(taken)
        }));
    }
    let mut taken = Vec::new();
    for client in clients {
        taken.extend(client.await??);
    }
    answering.abort();
    Ok(taken)
}

/// Asks until there is an answer, which has to have a record.
async fn ask(socket: &UdpSocket, server: SocketAddr, question: &[u8]) -> Result<()> {
    let mut answer = [0; 512];
    loop {
        socket.send_to(question, server).await?;
        if let Ok(received) = tokio::time::timeout(PATIENCE, socket.recv_from(&mut answer)).await {
            // RFC 1035, section 4.1.1: the code in the fourth byte, the number of answers in the seventh and eighth.
            let (length, _) = received?;
            ensure!(
                length > 12 && answer[3] & 0xf == 0 && answer[7] > 0,
                "no answer: {:?}",
                &answer[..length]
            );
            return Ok(());
        }
    }
}

/// A question for the IPv4 address of a name (RFC 1035, section 4.1).
fn question(name: &str) -> Vec<u8> {
    let mut message = vec![0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        message.push(u8::try_from(label.len()).unwrap_or(u8::MAX));
        message.extend_from_slice(label.as_bytes());
    }
    message.extend_from_slice(&[0, 0, 1, 0, 1]);
    message
}

/// Answers every question with one address that holds for an hour.
async fn answer_all(socket: UdpSocket) {
    let mut message = [0; 512];
    while let Ok((length, from)) = socket.recv_from(&mut message).await {
        // The question ends behind the root label, type and class; options may follow it.
        let end = message[12..length].iter().position(|byte| *byte == 0).map_or(length, |root| 12 + root + 5);
        let mut answer = message[..end].to_vec();
        answer[2] |= 0x80;
        answer[3] = 0x80;
        answer[6..12].copy_from_slice(&[0, 1, 0, 0, 0, 0]);
        answer.extend_from_slice(&[0xc0, 12, 0, 1, 0, 1, 0, 0, 14, 16, 0, 4, 192, 0, 2, 1]);
        let _ = socket.send_to(&answer, from).await;
    }
}
