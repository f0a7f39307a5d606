//! Listening at an address, or at all of them.

use nix::errno::Errno;
use nix::sys::socket::{setsockopt, sockopt};
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use tokio::net::{TcpListener, TcpSocket};

/// Connections that wait to be accepted; the kernel takes no more than `net.core.somaxconn`.
const BACKLOG: u32 = 1024;

/// Listens at an address. `0.0.0.0` and `::` both mean all addresses of both families, as kube-apiserver has it.
///
/// # Errors
/// When the address is not this machine's, or somebody listens there already.
pub fn on(address: SocketAddr) -> io::Result<TcpListener> {
    if !address.ip().is_unspecified() {
        let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() };
        return start(socket?, address);
    }
    let port = address.port();
    match TcpSocket::new_v6() {
        Ok(socket) => {
            // Else it is as `net.ipv6.bindv6only` says.
            setsockopt(&socket, sockopt::Ipv6V6Only, &false)?;
            start(socket, (Ipv6Addr::UNSPECIFIED, port).into())
        }
        Err(error) if error.raw_os_error() == Some(Errno::EAFNOSUPPORT as i32) => {
            start(TcpSocket::new_v4()?, (Ipv4Addr::UNSPECIFIED, port).into())
        }
        Err(error) => Err(error),
    }
}

fn start(socket: TcpSocket, address: SocketAddr) -> io::Result<TcpListener> {
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpStream;

    #[tokio::test]
    async fn all_addresses_are_those_of_both_families() {
        for any in ["0.0.0.0:0", "[::]:0"] {
            let listener = on(any.parse().unwrap()).unwrap();
            let port = listener.local_addr().unwrap().port();
            for host in ["127.0.0.1", "::1"] {
                TcpStream::connect((host, port)).await.unwrap();
            }
            let error = on((Ipv4Addr::UNSPECIFIED, port).into()).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        }
    }

    #[tokio::test]
    async fn one_address_is_that_one_alone() {
        let listener = on("127.0.0.1:0".parse().unwrap()).unwrap();
        let port = listener.local_addr().unwrap().port();
        TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        TcpStream::connect(("::1", port)).await.unwrap_err();
    }
}
