//! What sandboxes left that are gone without a DEL: after a power cut, or when the runtime's state was wiped.

use crate::ipam::{Ipam, IpamError};
use crate::{host_ports, link};
use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

/// An address younger than this may belong to a sandbox that is being made and that the runtime does not list
/// yet; the kubelet gives up on one after four minutes.
const GRACE: Duration = Duration::from_secs(300);

/// Takes back addresses, ports and links of sandboxes that are not among the living; answers how many.
/// `data_dir` is what the network configuration says; `alive` are the ids of all sandboxes the runtime has.
///
/// # Errors
/// When the folder of addresses cannot be used.
pub fn collect(data_dir: &Path, alive: &BTreeSet<String>) -> Result<usize, IpamError> {
    let ipam = Ipam::open(&data_dir.join("ipam"))?;
    let leaked = ipam.older_than(GRACE)?.into_iter().filter(|(_, sandbox)| !alive.contains(sandbox));
    let mut sandboxes = BTreeSet::new();
    for (address, sandbox) in leaked {
        let _ = host_ports::close(address);
        if !sandbox.is_empty() {
            let _ = link::remove(&sandbox);
        }
        sandboxes.insert(sandbox);
    }
    for sandbox in &sandboxes {
        ipam.release(sandbox)?;
    }
    Ok(sandboxes.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{File, FileTimes};
    use std::time::SystemTime;

    #[test]
    fn only_old_addresses_of_the_dead_are_taken_back() {
        if !nix::unistd::geteuid().is_root() {
            eprintln!("skipped: removing links needs root");
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ipam");
        let ranges = ["10.213.0.0/24".parse().unwrap()];
        let mut given = Vec::new();
        for sandbox in ["living", "dead", "new"] {
            given.extend(Ipam::open(&path).unwrap().allocate(&ranges, sandbox).unwrap());
        }
        let old = FileTimes::new().set_modified(SystemTime::UNIX_EPOCH);
        for address in &given[..2] {
            File::options().write(true).open(path.join(address.to_string())).unwrap().set_times(old).unwrap();
        }
        let alive = BTreeSet::from(["living".to_owned()]);
        assert_eq!(collect(folder.path(), &alive).unwrap(), 1);
        let ipam = Ipam::open(&path).unwrap();
        assert!(ipam.addresses("dead").unwrap().is_empty());
        assert_eq!(ipam.addresses("living").unwrap(), given[..1]);
        assert_eq!(ipam.addresses("new").unwrap(), given[2..]);
    }
}
