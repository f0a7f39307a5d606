//! What is installed, how much room there is, and whether the ports are free.

use super::{Finding, Level};
use crate::commands::size;
use crate::commands::tools::find;
use crate::paths::Paths;
use crate::server::addresses;
use apimachinery::validation;
use cri::containerd::version::Version;
use nix::sys::statvfs::statvfs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;

/// What containers are run by: the oldest containerd with CRI v1.
const CONTAINERD: Version = Version { major: 1, minor: 6 };
/// Free room below which the kubelet begins to evict pods (its `nodefs.available` is a tenth; this is for small disks).
const DISK_NEEDED: u64 = 512 << 20;
/// Free room that an evening with a few images takes.
const DISK_WANTED: u64 = 4 << 30;
/// A node with its core add-ons, without any pods of one's own.
const MEMORY_WANTED: u64 = 512 << 20;
/// Ports of a node, with what uses them.
const PORTS: [(u16, &str); 4] =
    [(6443, "--https-listen-port"), (10250, "--kubelet-port"), (10248, ""), (19001, "--datastore-port")];

/// Looks at the machine.
pub(super) async fn look(paths: &Paths, running: bool) -> Vec<Finding> {
    let installer = installer(&std::fs::read_to_string("/etc/os-release").unwrap_or_default());
    let mut all = vec![containerd(installer).await];
    let runtime = find("runc").or_else(|| find("crun"));
    all.push(tool("runc", runtime.as_deref(), true, installer, "runc", "runs containers"));
    all.push(tool("nft", find("nft").as_deref(), true, installer, "nftables", "makes Services reachable"));
    all.push(tool("mount", find("mount").as_deref(), true, installer, "mount", "mounts images"));
    all.push(tool("kubectl", find("kubectl").as_deref(), false, "", "", "is what `knarr kubectl` runs"));
    all.push(cni_plugins(paths));
    all.push(disk(paths.root()));
    all.push(memory(&std::fs::read_to_string("/proc/meminfo").unwrap_or_default()));
    all.push(host_name());
    all.push(address());
    all.extend(PORTS.iter().map(|(port, flag)| self::port(*port, flag, running)));
    all
}

/// How packages are installed here, out of the text of `/etc/os-release` (os-release(5)).
fn installer(os_release: &str) -> &'static str {
    let value = |key: &str| {
        let line = os_release.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        line.unwrap_or_default().trim_matches('"').to_owned()
    };
    let likes = format!("{} {}", value("ID"), value("ID_LIKE"));
    for name in likes.split_whitespace() {
        match name {
            "debian" | "ubuntu" => return "apt install",
            "fedora" | "rhel" | "centos" => return "dnf install",
            "suse" | "opensuse" | "sles" => return "zypper install",
            "alpine" => return "apk add",
            "arch" => return "pacman -S",
            _ => {}
        }
    }
    "with this system's package manager: install"
}

async fn containerd(installer: &str) -> Finding {
    let name = "containerd";
    let fix = format!("{installer} containerd");
    let Some(program) = find(name) else { return Finding::failure(name, "not installed", fix) };
    match Version::of(&program).await {
        Ok(version) => {
            let found = format!("{}.{} ({})", version.major, version.minor, program.display());
            let level = if version >= CONTAINERD { Level::Ok } else { Level::Failure };
            let fix = format!("{fix}: {}.{} or later is needed", CONTAINERD.major, CONTAINERD.minor);
            Finding::new(name, level, found, fix)
        }
        Err(error) => Finding::failure(name, error.to_string(), fix),
    }
}

fn tool(
    name: &str,
    found: Option<&Path>,
    needed: bool,
    installer: &str,
    package: &str,
    what: &str,
) -> Finding {
    let fix = if installer.is_empty() {
        format!("it {what}: put it beside knarr or on the PATH")
    } else {
        format!("it {what}: {installer} {package}")
    };
    match found {
        Some(path) => Finding::ok(name, path.display().to_string()),
        None if needed => Finding::failure(name, "not installed", fix),
        None => Finding::warning(name, "not installed", fix),
    }
}

/// Knarr's own plugin is knarr by another name; there is one as soon as a server was started.
fn cni_plugins(paths: &Paths) -> Finding {
    let folder = paths.root().join("cni/bin");
    let broken =
        std::fs::read_dir(&folder).into_iter().flatten().flatten().find(|entry| !entry.path().exists());
    match broken {
        Some(entry) => Finding::failure(
            "CNI plugins",
            format!("{} leads nowhere", entry.path().display()),
            "the program was moved: start knarr again, which links them anew",
        ),
        None if folder.exists() => Finding::ok("CNI plugins", folder.display().to_string()),
        None => Finding::ok("CNI plugins", "knarr's own, made at the first start"),
    }
}

fn disk(root: &Path) -> Finding {
    let there = root.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"));
    let Ok(status) = statvfs(there) else {
        return Finding::warning("disk", format!("cannot be told of {}", there.display()), "is it mounted?");
    };
    let free = status.blocks_available().saturating_mul(status.fragment_size());
    let inodes_full = status.files() > 0 && status.files_available() == 0;
    room(free, inodes_full, there)
}

fn room(free: u64, inodes_full: bool, at: &Path) -> Finding {
    let fix = format!("make room in {}, or give a --data-dir elsewhere", at.display());
    let found = format!("{} free in {}", size(free), at.display());
    match free {
        _ if inodes_full => Finding::failure("disk", format!("no inodes are free in {}", at.display()), fix),
        0..DISK_NEEDED => Finding::failure("disk", found, fix),
        DISK_NEEDED..DISK_WANTED => Finding::warning("disk", found, fix),
        _ => Finding::ok("disk", found),
    }
}

fn memory(meminfo: &str) -> Finding {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kilobytes = line.and_then(|text| text.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0);
    let bytes = kilobytes << 10;
    let level = if bytes >= MEMORY_WANTED { Level::Ok } else { Level::Warning };
    let fix = "it is little for pods: join this machine to another as a worker (`knarr join --worker`)";
    Finding::new("memory", level, size(bytes), fix)
}

fn host_name() -> Finding {
    let name = nix::unistd::gethostname().unwrap_or_default().to_string_lossy().to_lowercase();
    match validation::dns1123_subdomain(&name).first() {
        None => Finding::ok("host name", name),
        Some(why) => {
            Finding::failure("host name", format!("{name:?}: {why}"), "give the node a name: --node-name")
        }
    }
}

fn address() -> Finding {
    match addresses::primary() {
        Some(address) => Finding::ok("address", address.to_string()),
        None => Finding::failure(
            "address",
            "there is no default route",
            "connect this machine to a network, or give --node-ip",
        ),
    }
}

fn port(port: u16, flag: &str, running: bool) -> Finding {
    let name = format!("port {port}");
    match TcpListener::bind(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port))) {
        Ok(_) => Finding::ok(&name, "free"),
        Err(_) if running => Finding::ok(&name, "in use, and knarr runs"),
        Err(error) => {
            let other = if flag.is_empty() { String::new() } else { format!(", or give another: {flag}") };
            let fix = format!("`ss -ltnp sport = :{port}` tells what has it; stop that{other}");
            Finding::failure(&name, error.to_string(), fix)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_package_manager_is_the_distributions() {
        assert_eq!(installer("NAME=\"Debian\"\nID=debian\n"), "apt install");
        assert_eq!(installer("ID=\"rocky\"\nID_LIKE=\"rhel centos fedora\"\n"), "dnf install");
        assert_eq!(installer("ID=raspbian\nID_LIKE=debian\n"), "apt install");
        assert!(installer("").contains("package manager"));
    }

    #[test]
    fn little_room_is_a_warning_and_none_a_failure() {
        let level = |free, full| room(free, full, Path::new("/x")).level;
        assert_eq!(level(1 << 20, false), Level::Failure);
        assert_eq!(level(1 << 30, false), Level::Warning);
        assert_eq!(level(1 << 40, false), Level::Ok);
        assert_eq!(level(1 << 40, true), Level::Failure);
        assert_eq!(memory("MemTotal:        4000000 kB\n").level, Level::Ok);
        assert_eq!(memory("MemTotal:         200000 kB\n").level, Level::Warning);
    }

    #[test]
    fn a_port_that_somebody_has_is_told_with_the_flag_for_another() {
        let taken = TcpListener::bind("0.0.0.0:0").unwrap();
        let number = taken.local_addr().unwrap().port();
        let finding = port(number, "--kubelet-port", false);
        assert_eq!(finding.level, Level::Failure);
        assert!(finding.fix.contains("--kubelet-port"), "{}", finding.fix);
        assert_eq!(port(number, "", true).level, Level::Ok);
    }
}
