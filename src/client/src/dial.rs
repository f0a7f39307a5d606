//! Hosts by their names, and connections to the first of their addresses that answers.
//!
//! A static glibc binary must not call getaddrinfo: names are looked up here, in `/etc/hosts` and the DNS.

use futures::stream::{FuturesUnordered, StreamExt as _};
use hickory_resolver::{ResolverBuilder, TokioResolver};
use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;
use tokio::net::TcpStream;

/// Wait for one address before the next one is tried beside it (RFC 8305, section 5): of a host with addresses of both
/// families often only one leads there.
const STAGGER: Duration = Duration::from_millis(250);

/// The addresses of a host: itself if it is one, what `/etc/hosts` says, or the DNS; of both families, if it has them.
///
/// # Errors
/// When the name is not known.
pub async fn resolve(host: &str) -> io::Result<Vec<IpAddr>> {
    if let Ok(address) = host.parse() {
        return Ok(vec![address]);
    }
    // RFC 6761, section 6.3: localhost is always the loopback address.
    if host.eq_ignore_ascii_case("localhost") {
        return Ok(vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]);
    }
    let unknown = |why: &dyn std::fmt::Display| {
        let text = format!(
            "cannot resolve {host:?}: {why}; use an IP address in place of the name, or add it to /etc/hosts"
        );
        io::Error::new(io::ErrorKind::NotFound, text)
    };
    // The files are read anew each time: connections are few, and what they say may change.
    let resolver = TokioResolver::builder_tokio().and_then(ResolverBuilder::build);
    let resolver = resolver.map_err(|error| unknown(&format!("cannot read /etc/resolv.conf: {error}")))?;
    let found = resolver.lookup_ip(host).await.map_err(|error| unknown(&error))?;
    let addresses: Vec<IpAddr> = found.iter().collect();
    if addresses.is_empty() { Err(unknown(&"it has no address")) } else { Ok(addresses) }
}

/// Connects to a host.
///
/// # Errors
/// When the name is not known, or what the last address said.
///
/// # Cancel safety
/// Safe: connections that are being made are dropped.
pub async fn host(host: &str, port: u16) -> io::Result<TcpStream> {
    let addresses = resolve(host).await?;
    any(addresses.into_iter().map(|address| SocketAddr::new(address, port))).await
}

/// Connects to the first of several addresses that answers; one that does not answer at once is not waited for.
///
/// # Errors
/// What the last one said when none answered.
pub async fn any(addresses: impl IntoIterator<Item = SocketAddr>) -> io::Result<TcpStream> {
    first(addresses, |address| async move {
        let told = |error: io::Error| io::Error::new(error.kind(), format!("{address}: {error}"));
        TcpStream::connect(address).await.map_err(told)
    })
    .await
}

async fn first<A, T, W: Future<Output = io::Result<T>>>(
    addresses: impl IntoIterator<Item = A>,
    attempt: impl Fn(A) -> W,
) -> io::Result<T> {
    let mut waiting = addresses.into_iter().fuse().peekable();
    let mut running = FuturesUnordered::new();
    let mut last = io::Error::new(io::ErrorKind::NotConnected, "there is no address");
    loop {
        running.extend(waiting.next().map(&attempt));
        tokio::select! {
            ended = running.next() => match ended {
                None => return Err(last),
                Some(Ok(done)) => return Ok(done),
                Some(Err(error)) => last = error,
            },
            () = tokio::time::sleep(STAGGER), if waiting.peek().is_some() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::Instant;

    #[tokio::test(start_paused = true)]
    async fn an_address_that_leads_nowhere_is_not_waited_for() {
        let begin = Instant::now();
        let attempt = |seconds: u64| async move {
            tokio::time::sleep(Duration::from_secs(seconds)).await;
            if seconds == 1 { Err(io::ErrorKind::ConnectionRefused.into()) } else { Ok(seconds) }
        };
        assert_eq!(first([60, 5, 1], attempt).await.unwrap(), 5);
        assert_eq!(begin.elapsed(), Duration::from_millis(5250));
        let error = first([1, 1], attempt).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
        assert_eq!(first([], attempt).await.unwrap_err().kind(), io::ErrorKind::NotConnected);
    }

    #[tokio::test]
    async fn the_next_address_is_tried_at_once_when_one_refuses() {
        let listener = tokio::net::TcpListener::bind("[::1]:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        // Nobody listens there at 127.0.0.1.
        let stream = host("localhost", port).await.unwrap();
        assert_eq!(stream.peer_addr().unwrap(), listener.local_addr().unwrap());
    }

    #[tokio::test]
    async fn addresses_are_themselves_and_an_unknown_name_is_refused_with_advice() {
        assert_eq!(resolve("fd00::1").await.unwrap(), ["fd00::1".parse::<IpAddr>().unwrap()]);
        let error = resolve("no-such-name.invalid").await.unwrap_err();
        assert!(error.to_string().contains("/etc/hosts"), "{error}");
    }
}
