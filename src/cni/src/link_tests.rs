//! Real links between two real network namespaces. Needs root.

use super::*;
use nix::sched::unshare;
use std::net::{SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::sync::mpsc::channel;
use std::thread::JoinHandle;

/// Runs `host` in one new namespace with the path of another, in which `pod` runs afterwards; then waits for
/// the thread that `host` left behind.
fn in_two_namespaces(host: impl FnOnce(PathBuf) -> JoinHandle<()> + Send, pod: impl FnOnce() + Send) {
    std::thread::scope(|scope| {
        let (tell_path, path) = channel();
        let (tell_ready, ready) = channel::<()>();
        let pod = scope.spawn(move || {
            unshare(CloneFlags::CLONE_NEWNET).unwrap();
            let thread = nix::unistd::gettid();
            tell_path.send(PathBuf::from(format!("/proc/self/task/{thread}/ns/net"))).unwrap();
            ready.recv().unwrap();
            pod();
        });
        scope
            .spawn(move || {
                unshare(CloneFlags::CLONE_NEWNET).unwrap();
                let left = host(path.recv().unwrap());
                tell_ready.send(()).unwrap();
                pod.join().unwrap();
                left.join().unwrap();
            })
            .join()
            .unwrap();
    });
}

#[test]
fn pod_and_host_reach_each_other_and_removal_leaves_nothing() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("skipped: network namespaces need root");
        return;
    }
    let pod_address: IpAddr = "10.1.0.2".parse().unwrap();
    let (tell, told) = channel::<SocketAddr>();
    in_two_namespaces(
        move |namespace| {
            in_host(|handle| async move {
                let lo = find(&handle, "lo").await?.header.index;
                handle
                    .address()
                    .add(lo, "10.77.0.1".parse().unwrap(), 32)
                    .execute()
                    .await
                    .map_err(io::Error::other)?;
                handle
                    .link()
                    .set(LinkUnspec::new_with_index(lo).up().build())
                    .execute()
                    .await
                    .map_err(io::Error::other)
            })
            .unwrap();
            // What a broken earlier call left does not disturb.
            make(&namespace, "other", "eth1", &["10.1.0.9".parse().unwrap()], None).unwrap();
            remove("other").unwrap();
            let made = make(&namespace, "sandbox", "eth0", &[pod_address], Some(1400)).unwrap();
            check(&namespace, "sandbox", "eth0", &[pod_address]).unwrap();
            let name = made.host_name.clone();
            let host_end = in_host(|handle| async move { find(&handle, &name).await }).unwrap();
            // Nobody else's: the pod goes by it, whatever udev thinks of addresses that the kernel chose.
            assert_eq!((mac(&host_end), mtu(&host_end)), (Some(HOST_MAC), Some(1400)));
            let pod_end =
                in_namespace(
                    File::open(&namespace).unwrap(),
                    |handle| async move { find(&handle, "eth0").await },
                );
            let pod_end = pod_end.unwrap();
            assert_eq!((mac(&pod_end), mtu(&pod_end)), (Some(made.pod_mac), Some(1400)));
            assert!(check(&namespace, "sandbox", "eth0", &["10.1.0.3".parse().unwrap()]).is_err());
            let listener = UdpSocket::bind("10.77.0.1:0").unwrap();
            tell.send(listener.local_addr().unwrap()).unwrap();
            std::thread::spawn(move || {
                let mut buffer = [0; 16];
                let (length, peer) = listener.recv_from(&mut buffer).unwrap();
                listener.send_to(&buffer[..length], peer).unwrap();
                // The socket keeps this thread's namespace alive until the answer is out.
                remove("sandbox").unwrap();
                assert!(
                    in_host(|handle| async move { find(&handle, &made.host_name).await.map(drop) }).is_err()
                );
            })
        },
        move || {
            let socket = UdpSocket::bind((pod_address, 0)).unwrap();
            socket.set_read_timeout(Some(std::time::Duration::from_secs(10))).unwrap();
            socket.send_to(b"hello", told.recv().unwrap()).unwrap();
            let mut buffer = [0; 16];
            assert_eq!(socket.recv(&mut buffer).unwrap(), 5);
        },
    );
}

#[test]
fn a_pod_has_addresses_of_both_families_that_it_can_use_at_once() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("skipped: network namespaces need root");
        return;
    }
    let pod: [IpAddr; 2] = ["fd00:10:1::5".parse().unwrap(), "10.1.0.5".parse().unwrap()];
    let host: [IpAddr; 2] = ["fd00:77::1".parse().unwrap(), "10.77.0.1".parse().unwrap()];
    let (tell, told) = channel::<Vec<SocketAddr>>();
    let (done, all_done) = channel::<()>();
    in_two_namespaces(
        move |namespace| {
            in_host(|handle| async move {
                let lo = find(&handle, "lo").await?.header.index;
                for address in host {
                    add_address(&handle, lo, address).await?;
                }
                set_up(&handle, "lo").await.map(drop)
            })
            .unwrap();
            crate::host::ensure(&["10.1.0.0/16".parse().unwrap(), "fd00:10:1::/56".parse().unwrap()])
                .unwrap();
            make(&namespace, "sandbox", "eth0", &pod, None).unwrap();
            check(&namespace, "sandbox", "eth0", &pod).unwrap();
            let sockets = host.map(|address| UdpSocket::bind((address, 0)).unwrap());
            tell.send(sockets.iter().map(|socket| socket.local_addr().unwrap()).collect()).unwrap();
            std::thread::spawn(move || {
                let mut buffer = [0; 16];
                for (socket, pod) in sockets.iter().zip(pod) {
                    socket.set_read_timeout(Some(std::time::Duration::from_secs(10))).unwrap();
                    let (length, peer) = socket.recv_from(&mut buffer).unwrap();
                    assert_eq!((&buffer[..length], peer.ip()), (b"first".as_slice(), pod));
                    socket.send_to(&buffer[..length], peer).unwrap();
                }
                all_done.recv().unwrap();
                // What came from an address that is not the pod's own has gone nowhere.
                for socket in sockets {
                    let (length, _) = socket.recv_from(&mut buffer).unwrap();
                    assert_eq!(&buffer[..length], b"last");
                }
            })
        },
        move || {
            let everywhere = told.recv().unwrap();
            // No waiting, and no second try.
            for (to, from) in everywhere.iter().zip(pod) {
                let socket = UdpSocket::bind((from, 0)).unwrap();
                socket.set_read_timeout(Some(std::time::Duration::from_secs(10))).unwrap();
                socket.send_to(b"first", to).unwrap();
                let mut buffer = [0; 16];
                assert_eq!(socket.recv(&mut buffer).unwrap(), 5);
            }
            let others: [IpAddr; 2] = ["fd00:10:1::6".parse().unwrap(), "10.1.0.6".parse().unwrap()];
            in_host(|handle| async move {
                let index = find(&handle, "eth0").await?.header.index;
                for address in others {
                    add_address(&handle, index, address).await?;
                }
                Ok(())
            })
            .unwrap();
            for (to, [own, other]) in everywhere.iter().zip([[pod[0], others[0]], [pod[1], others[1]]]) {
                UdpSocket::bind((other, 0)).unwrap().send_to(b"forged", to).unwrap();
                UdpSocket::bind((own, 0)).unwrap().send_to(b"last", to).unwrap();
            }
            done.send(()).unwrap();
        },
    );
}

#[test]
fn names_of_links_fit_and_differ() {
    let one = host_name("0123456789abcdef");
    assert_eq!(one.len(), 15);
    assert_ne!(one, host_name("0123456789abcdee"));
    assert_eq!(one, host_name("0123456789abcdef"));
}
