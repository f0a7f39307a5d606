//! What the service manager is told: the protocol of sd_notify(3), a datagram to the socket that it names.

use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// Where the service manager listens; nobody else sets it.
const SOCKET: &str = "NOTIFY_SOCKET";

/// The node has started.
pub fn ready() {
    tell("READY=1");
}

/// The node is about to end.
pub fn stopping() {
    tell("STOPPING=1");
}

fn tell(what: &str) {
    let Some(name) = std::env::var_os(SOCKET) else { return };
    let name = name.to_string_lossy();
    if let Err(error) = address(&name).and_then(|address| send(&address, what)) {
        tracing::warn!(%error, socket = %name, what, "the service manager cannot be told");
    }
}

/// A name that begins with `@` is one without a file (unix(7)).
fn address(name: &str) -> std::io::Result<SocketAddr> {
    match name.strip_prefix('@') {
        Some(name) => SocketAddr::from_abstract_name(name),
        None => SocketAddr::from_pathname(name),
    }
}

fn send(address: &SocketAddr, what: &str) -> std::io::Result<()> {
    UnixDatagram::unbound()?.send_to_addr(what.as_bytes(), address).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manager_is_told_at_a_file_and_at_an_abstract_name() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("notify").display().to_string();
        let hidden = format!("@knarr-{}", folder.path().display());
        for name in [file, hidden] {
            let address = address(&name).unwrap();
            let manager = UnixDatagram::bind_addr(&address).unwrap();
            send(&address, "READY=1").unwrap();
            let mut told = [0; 16];
            let length = manager.recv(&mut told).unwrap();
            assert_eq!(&told[..length], b"READY=1", "{name}");
        }
        assert!(send(&address("/nonexistent/socket").unwrap(), "READY=1").is_err());
    }
}
