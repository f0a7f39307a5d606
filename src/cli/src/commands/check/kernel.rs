//! What the kernel has to offer.

use super::Finding;
use crate::commands::tools::find;
use cri::containerd::host::has_overlayfs;
use nix::unistd::geteuid;
use std::fs::read_to_string;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

/// The oldest kernel with all that is used: nftables' verdict maps with intervals, and cgroup v2 in full.
const KERNEL: (u32, u32) = (4, 19);
/// The namespaces of a pod.
const NAMESPACES: [&str; 5] = ["ipc", "mnt", "net", "pid", "uts"];
/// Controllers that limits of pods need, and those that are good to have.
const CONTROLLERS: [(&str, bool); 4] = [("cpu", true), ("memory", true), ("pids", true), ("cpuset", false)];
/// Modules by what needs them, and whether pods run without.
const MODULES: [(&str, &str, bool); 3] = [
    ("nf_conntrack", "Services", true),
    ("veth", "the pods' network", true),
    ("vxlan", "nodes of other subnets", false),
];
/// Modules that nftables is made of, where it cannot be tried.
const NFTABLES: [&str; 4] = ["nf_tables", "nft_nat", "nft_masq", "nft_fib_inet"];
/// What of nftables is used; with `nft --check` the kernel looks at it and forgets it.
const RULES: &str = "table inet knarr_check {
  map verdicts { type ipv4_addr . inet_proto . inet_service : verdict; }
  set addresses { type ipv4_addr; flags interval; elements = { 10.0.0.0/8 } }
  chain services { type nat hook prerouting priority dstnat; ip daddr . meta l4proto . th dport vmap @verdicts; }
  chain leaving { type nat hook postrouting priority srcnat; ip saddr @addresses fib daddr type != local masquerade; }
  chain policies { type filter hook forward priority filter; ct state established,related accept; }
}
";
/// Capabilities (linux/capability.h) that a server needs to run pods.
const CAPABILITIES: [(u32, &str); 9] = [
    (0, "CAP_CHOWN"),
    (1, "CAP_DAC_OVERRIDE"),
    (5, "CAP_KILL"),
    (6, "CAP_SETGID"),
    (7, "CAP_SETUID"),
    (8, "CAP_SETPCAP"),
    (12, "CAP_NET_ADMIN"),
    (18, "CAP_SYS_CHROOT"),
    (21, "CAP_SYS_ADMIN"),
];

/// Looks at the kernel.
pub(super) fn look() -> Vec<Finding> {
    let release = read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let release = release.trim();
    let mut all = vec![version(release), namespaces(), cgroups(), overlayfs()];
    match find("nft").filter(|_| geteuid().is_root()) {
        Some(nft) => all.push(nftables(&nft)),
        None => {
            all.extend(
                NFTABLES.iter().map(|name| module(release, name, "Services and NetworkPolicies", true)),
            );
        }
    }
    all.extend(MODULES.iter().map(|(name, what, needed)| module(release, name, what, *needed)));
    all.push(capabilities(&read_to_string("/proc/self/status").unwrap_or_default()));
    all
}

fn version(release: &str) -> Finding {
    let mut numbers = release.split(['.', '-']).map(|part| part.parse::<u32>().unwrap_or(0));
    let found = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    if found >= KERNEL {
        return Finding::ok("kernel", release);
    }
    let fix = format!("install a kernel of {}.{} or later", KERNEL.0, KERNEL.1);
    Finding::failure("kernel", release, fix)
}

fn namespaces() -> Finding {
    let missing: Vec<&str> =
        NAMESPACES.into_iter().filter(|name| !Path::new("/proc/self/ns").join(name).exists()).collect();
    match missing.is_empty() {
        true => Finding::ok("namespaces", NAMESPACES.join(", ")),
        false => Finding::failure(
            "namespaces",
            format!("without {}", missing.join(", ")),
            "use a kernel that was built with CONFIG_NAMESPACES and all below it",
        ),
    }
}

fn cgroups() -> Finding {
    let unified = read_to_string("/sys/fs/cgroup/cgroup.controllers").ok();
    let (version, controllers) = match &unified {
        Some(text) => ("v2", text.split_whitespace().map(str::to_owned).collect()),
        None => ("v1", enabled(&read_to_string("/proc/cgroups").unwrap_or_default())),
    };
    controllers_finding(version, &controllers)
}

fn controllers_finding(version: &str, controllers: &[String]) -> Finding {
    let missing = |needed: bool| -> Vec<&str> {
        let wanted = CONTROLLERS.iter().filter(|(_, must)| *must == needed);
        wanted.map(|(name, _)| *name).filter(|name| !controllers.iter().any(|have| have == name)).collect()
    };
    let (must, good) = (missing(true), missing(false));
    let fix = "add `cgroup_enable=memory cgroup_memory=1` to the kernel's command line (on a Raspberry Pi: \
               /boot/firmware/cmdline.txt) and boot again";
    if !must.is_empty() {
        return Finding::failure("cgroups", format!("{version} without {}", must.join(", ")), fix);
    }
    if !good.is_empty() {
        let found = format!("{version} without {}", good.join(", "));
        return Finding::warning(
            "cgroups",
            found,
            "containers cannot be given processors of their own without it",
        );
    }
    Finding::ok("cgroups", version)
}

/// Controllers that are mounted or could be, out of the text of `/proc/cgroups` (cgroups(7)).
fn enabled(text: &str) -> Vec<String> {
    let rows = text.lines().filter(|line| !line.starts_with('#'));
    rows.filter_map(|row| {
        let fields: Vec<&str> = row.split_whitespace().collect();
        (fields.last() == Some(&"1")).then(|| fields.first().map(|name| (*name).to_owned())).flatten()
    })
    .collect()
}

fn overlayfs() -> Finding {
    if has_overlayfs() {
        return Finding::ok("overlayfs", "there");
    }
    let fix =
        "images take more room and time without it: modprobe overlay, or a kernel with CONFIG_OVERLAY_FS";
    Finding::warning("overlayfs", "not there", fix)
}

/// The kernel is asked itself, which also loads modules.
fn nftables(nft: &Path) -> Finding {
    let tried = || -> std::io::Result<Output> {
        let mut child = Command::new(nft)
            .args(["--check", "--file", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()?;
        if let Some(mut input) = child.stdin.take() {
            input.write_all(RULES.as_bytes())?;
        }
        child.wait_with_output()
    };
    let fix = "Services and NetworkPolicies need it: a kernel with CONFIG_NF_TABLES and all of CONFIG_NFT_*, such as a \
               distribution's own; and nftables 1.0 or later";
    match tried() {
        Ok(output) if output.status.success() => Finding::ok("nftables", "does all that is needed"),
        Ok(output) => {
            let told = String::from_utf8_lossy(&output.stderr);
            Finding::failure("nftables", told.lines().next().unwrap_or_default().to_owned(), fix)
        }
        Err(error) => Finding::failure("nftables", error.to_string(), fix),
    }
}

/// A module that is loaded, built in, or can be loaded. Where neither can be told (no `/lib/modules`), it is a warning:
/// container machines often have none and yet the feature.
fn module(release: &str, name: &str, what: &str, needed: bool) -> Finding {
    let title = format!("module {name}");
    if Path::new("/sys/module").join(name).exists() {
        return Finding::ok(&title, "loaded");
    }
    let folder = Path::new("/lib/modules").join(release);
    let lists = ["modules.builtin", "modules.dep"].map(|list| read_to_string(folder.join(list)).ok());
    let fix = format!("needed by {what}: modprobe {name}, or install this kernel's package of extra modules");
    match lists {
        [None, None] => {
            Finding::warning(&title, "cannot be told: there is no list of this kernel's modules", fix)
        }
        [Some(text), _] if has_module(&text, name) => Finding::ok(&title, "built in"),
        [_, Some(text)] if has_module(&text, name) => Finding::ok(&title, "can be loaded"),
        _ if needed => Finding::failure(&title, "not there", fix),
        _ => Finding::warning(&title, "not there", fix),
    }
}

/// Whether a list (`PATH/NAME.ko[.xz]` at the beginning of each line) has a module, in which - and _ are the same.
fn has_module(list: &str, name: &str) -> bool {
    let files = list.lines().filter_map(|line| line.split(':').next()?.rsplit('/').next());
    files.filter_map(|file| file.split('.').next()).any(|module| module.replace('-', "_") == name)
}

fn capabilities(status: &str) -> Finding {
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let Some(set) = line.and_then(|text| u64::from_str_radix(text.trim(), 16).ok()) else {
        return Finding::warning("capabilities", "cannot be told", "is /proc mounted?");
    };
    let missing: Vec<&str> =
        CAPABILITIES.iter().filter(|(bit, _)| set & (1 << bit) == 0).map(|(_, name)| *name).collect();
    match missing.is_empty() {
        true => Finding::ok("capabilities", "all that is needed"),
        false => Finding::failure(
            "capabilities",
            format!("without {}", missing.join(", ")),
            "run this as root; in a container, one that is privileged",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Level;
    use super::*;

    #[test]
    fn old_kernels_are_refused() {
        assert_eq!(version("6.1.0-18-amd64").level, Level::Ok);
        assert_eq!(version("4.19.0").level, Level::Ok);
        assert_eq!(version("4.9.337").level, Level::Failure);
        assert_eq!(version("").level, Level::Failure);
    }

    #[test]
    fn missing_controllers_are_named() {
        let all = "#subsys_name\thierarchy\tnum_cgroups\tenabled\ncpuset\t1\t2\t1\ncpu\t2\t9\t1\nmemory\t0\t1\t0\npids\t3\t9\t1\n";
        let controllers = enabled(all);
        assert_eq!(controllers, ["cpuset", "cpu", "pids"]);
        let finding = controllers_finding("v1", &controllers);
        assert_eq!((finding.level, finding.found.as_str()), (Level::Failure, "v1 without memory"));
        let some = ["cpu", "memory", "pids"].map(str::to_owned);
        assert_eq!(controllers_finding("v2", &some).level, Level::Warning);
    }

    #[test]
    fn modules_are_found_whatever_they_are_packed_with() {
        let list =
            "kernel/net/netfilter/nf_tables.ko.xz: kernel/x.ko\nkernel/net/netfilter/nft-chain-nat.ko\n";
        assert!(has_module(list, "nf_tables") && has_module(list, "nft_chain_nat"));
        assert!(!has_module(list, "x"), "what a module depends on is on a line of its own");
    }

    #[test]
    fn capabilities_are_bits_of_the_effective_set() {
        assert_eq!(capabilities("CapEff:\t000001ffffffffff\n").level, Level::Ok);
        let finding = capabilities("CapEff:\t0000000000000000\n");
        assert!(finding.found.contains("CAP_SYS_ADMIN") && finding.fix.contains("root"), "{finding:?}");
        assert_eq!(capabilities("").level, Level::Warning);
    }
}
