//! Addresses of pods, kept as one file per address: its name is the address, its content the sandbox.
//!
//! Guarantees: one address is given once (the file is made exclusively, under a lock); asking again for the
//! same sandbox gives the same address; an address is used again only after all others were.

use ipnet::{IpAddrRange, IpNet};
use nix::fcntl::{Flock, FlockArg};
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

const LOCK: &str = "lock";
/// The address given last, so that the next one is another.
const LAST: &str = "last";

/// Why there is no address.
#[derive(Debug, thiserror::Error)]
pub enum IpamError {
    /// The folder cannot be used.
    #[error("cannot use {path}")]
    Io {
        /// Where.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// All addresses are taken.
    #[error("all addresses of {0} are taken")]
    Full(IpNet),
    /// The node has no pod CIDR yet.
    #[error("this node has no pod CIDR yet")]
    NoRange,
}

/// The addresses of one node.
#[derive(Debug)]
pub struct Ipam {
    folder: PathBuf,
    _lock: Flock<File>,
}

impl Ipam {
    /// Opens the folder and waits for its lock, which is held until this is dropped.
    ///
    /// # Errors
    /// When the folder cannot be made or locked.
    pub fn open(folder: &Path) -> Result<Self, IpamError> {
        let failed = |source| IpamError::Io { path: folder.to_owned(), source };
        fs::create_dir_all(folder).map_err(failed)?;
        let file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(folder.join(LOCK))
            .map_err(failed)?;
        let lock = Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, errno)| failed(errno.into()))?;
        Ok(Self { folder: folder.to_owned(), _lock: lock })
    }

    /// An address for a sandbox out of each range; the ones that it has already, where it has.
    ///
    /// # Errors
    /// When a range is full or the folder cannot be written; then nothing is taken.
    pub fn allocate(&self, ranges: &[IpNet], sandbox: &str) -> Result<Vec<IpAddr>, IpamError> {
        if ranges.is_empty() {
            return Err(IpamError::NoRange);
        }
        let mut given = Vec::new();
        for range in ranges {
            match self.allocate_one(range, sandbox) {
                Ok(address) => given.push(address),
                Err(error) => {
                    self.release(sandbox)?;
                    return Err(error);
                }
            }
        }
        Ok(given)
    }

    fn allocate_one(&self, range: &IpNet, sandbox: &str) -> Result<IpAddr, IpamError> {
        let taken = self.taken()?;
        if let Some((address, _)) = taken.iter().find(|(a, owner)| range.contains(a) && owner == sandbox) {
            return Ok(*address);
        }
        let used: BTreeSet<IpAddr> = taken.into_iter().map(|(address, _)| address).collect();
        let marker = format!("{LAST}-{}", if range.addr().is_ipv4() { 4 } else { 6 });
        let last =
            fs::read_to_string(self.folder.join(&marker)).ok().and_then(|t| t.trim().parse::<IpAddr>().ok());
        // The first host address is left to the node itself.
        let free = |address: &IpAddr| !used.contains(address) && Some(*address) != range.hosts().next();
        let after = up_to(range.hosts(), last).map(|given| range.hosts().skip(given));
        let after = after.into_iter().flatten();
        let address = after.chain(range.hosts()).find(free).ok_or(IpamError::Full(*range))?;
        self.write(&address.to_string(), sandbox)?;
        self.write(&marker, &address.to_string())?;
        Ok(address)
    }

    /// The addresses of a sandbox.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn addresses(&self, sandbox: &str) -> Result<Vec<IpAddr>, IpamError> {
        Ok(self
            .taken()?
            .into_iter()
            .filter(|(_, owner)| owner == sandbox)
            .map(|(address, _)| address)
            .collect())
    }

    /// Gives the addresses of a sandbox back.
    ///
    /// # Errors
    /// When a file cannot be removed.
    pub fn release(&self, sandbox: &str) -> Result<(), IpamError> {
        self.retain(|owner| owner != sandbox)
    }

    /// Gives back all addresses whose sandbox `alive` does not know: what a power cut between two calls left.
    ///
    /// # Errors
    /// When a file cannot be removed.
    pub fn retain(&self, alive: impl Fn(&str) -> bool) -> Result<(), IpamError> {
        for (address, owner) in self.taken()? {
            if !alive(&owner) {
                let path = self.folder.join(address.to_string());
                fs::remove_file(&path).map_err(|source| IpamError::Io { path, source })?;
            }
        }
        Ok(())
    }

    /// Addresses given longer ago than `age`, with their sandboxes.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn older_than(&self, age: Duration) -> Result<Vec<(IpAddr, String)>, IpamError> {
        let old = |address: &IpAddr| {
            let metadata = fs::metadata(self.folder.join(address.to_string()));
            // A clock that went back makes it young, and so kept.
            metadata.and_then(|m| m.modified()).is_ok_and(|m| m.elapsed().is_ok_and(|passed| passed > age))
        };
        Ok(self.taken()?.into_iter().filter(|(address, _)| old(address)).collect())
    }

    fn taken(&self) -> Result<Vec<(IpAddr, String)>, IpamError> {
        let failed = |source| IpamError::Io { path: self.folder.clone(), source };
        let mut taken = Vec::new();
        for entry in fs::read_dir(&self.folder).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            if let Some(address) = entry.file_name().to_str().and_then(|name| name.parse().ok()) {
                let owner = fs::read_to_string(entry.path()).map_err(failed)?;
                taken.push((address, owner));
            }
        }
        Ok(taken)
    }

    /// Writes a file whole or not at all.
    fn write(&self, name: &str, content: &str) -> Result<(), IpamError> {
        let path = self.folder.join(name);
        let new = self.folder.join(format!("{name}.new"));
        let write = || -> io::Result<()> {
            let mut file = File::create(&new)?;
            file.write_all(content.as_bytes())?;
            fs::rename(&new, &path)
        };
        write().map_err(|source| IpamError::Io { path: path.clone(), source })
    }
}

/// How many addresses come before the one behind `last`; None for more than can be counted. Not walked: after a million
/// pods a million are behind.
fn up_to(mut hosts: IpAddrRange, last: Option<IpAddr>) -> Option<usize> {
    let bits = |address: IpAddr| match address {
        IpAddr::V4(address) => u128::from(address.to_bits()),
        IpAddr::V6(address) => address.to_bits(),
    };
    let (first, Some(last)) = (hosts.next()?, last) else { return Some(0) };
    usize::try_from(bits(last).saturating_add(1).saturating_sub(bits(first))).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range() -> Vec<IpNet> {
        vec!["10.1.0.0/29".parse().unwrap()]
    }

    #[test]
    fn addresses_are_given_once_and_not_again_soon() {
        let folder = tempfile::tempdir().unwrap();
        let ipam = Ipam::open(folder.path()).unwrap();
        let one = ipam.allocate(&range(), "a").unwrap();
        assert_eq!(one, ["10.1.0.2".parse::<IpAddr>().unwrap()]);
        assert_eq!(ipam.allocate(&range(), "a").unwrap(), one, "asking again gives the same");
        ipam.release("a").unwrap();
        let mut given = BTreeSet::new();
        for sandbox in ["b", "c", "d", "e"] {
            given.extend(ipam.allocate(&range(), sandbox).unwrap());
        }
        assert_eq!(given.len(), 4);
        assert!(!given.contains(&one[0]), "others were free");
        assert_eq!(ipam.allocate(&range(), "f").unwrap(), one, "now it is the only one");
        assert!(matches!(ipam.allocate(&range(), "g"), Err(IpamError::Full(_))));
    }

    #[test]
    fn a_pod_has_an_address_of_each_family() {
        let folder = tempfile::tempdir().unwrap();
        let ipam = Ipam::open(folder.path()).unwrap();
        let ranges = ["fd00:10:1::/64".parse().unwrap(), "10.1.0.0/24".parse().unwrap()];
        let given = |sandbox: &str| {
            let given = ipam.allocate(&ranges, sandbox).unwrap();
            given.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        // In the order of the ranges: the first is what others know the pod by.
        assert_eq!(given("a"), ["fd00:10:1::1", "10.1.0.2"]);
        assert_eq!(given("b"), ["fd00:10:1::2", "10.1.0.3"]);
        assert_eq!(given("a"), ["fd00:10:1::1", "10.1.0.2"]);
        assert_eq!(ipam.addresses("b").unwrap().len(), 2);
        ipam.release("a").unwrap();
        assert_eq!(ipam.addresses("a").unwrap(), Vec::<IpAddr>::new());
        // Far into the range, in no time.
        std::fs::write(folder.path().join("last-6"), "fd00:10:1:0:ff00::").unwrap();
        assert_eq!(given("c"), ["fd00:10:1:0:ff00::1", "10.1.0.4"]);
        std::fs::write(folder.path().join("last-6"), "fd00:10:1:0:ffff:ffff:ffff:ffff").unwrap();
        assert_eq!(given("d")[0], "fd00:10:1::1", "from the beginning");
    }

    #[test]
    fn what_nobody_owns_any_more_is_given_back() {
        let folder = tempfile::tempdir().unwrap();
        let ipam = Ipam::open(folder.path()).unwrap();
        for sandbox in ["a", "b"] {
            ipam.allocate(&range(), sandbox).unwrap();
        }
        ipam.retain(|sandbox| sandbox == "b").unwrap();
        assert!(ipam.addresses("a").unwrap().is_empty());
        assert_eq!(ipam.addresses("b").unwrap().len(), 1);
    }

    #[test]
    fn a_range_that_is_full_takes_nothing_of_the_others() {
        let folder = tempfile::tempdir().unwrap();
        let ipam = Ipam::open(folder.path()).unwrap();
        let ranges = ["10.1.0.0/24".parse().unwrap(), "10.2.0.0/32".parse().unwrap()];
        assert!(ipam.allocate(&ranges, "a").is_err());
        assert!(ipam.addresses("a").unwrap().is_empty());
        assert!(matches!(ipam.allocate(&[], "a"), Err(IpamError::NoRange)));
    }
}
