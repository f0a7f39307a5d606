//! Simulated disks: what is synced, and what a power cut may take.

use crate::entropy;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;

/// What a disk writes at once: of a write that a power cut interrupts, a number of these arrive.
const SECTOR: usize = 512;

/// Why an operation fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The disk reports an error.
    Broken,
    /// There is no space.
    Full,
    /// The node is dead.
    Dead,
}

#[derive(Clone, Debug)]
enum Pending {
    Write { at: usize, bytes: Vec<u8> },
    Truncate(usize),
}

impl Pending {
    fn apply(&self, data: &mut Vec<u8>, length: usize) {
        match self {
            Self::Write { at, bytes } => {
                let bytes = &bytes[..length.min(bytes.len())];
                if data.len() < at + bytes.len() {
                    data.resize(at + bytes.len(), 0);
                }
                data[*at..at + bytes.len()].copy_from_slice(bytes);
            }
            Self::Truncate(to) => data.truncate(*to),
        }
    }
}

/// A file. Its locks and shared memory die with the node; its bytes do not.
#[derive(Debug, Default)]
pub(crate) struct Inode {
    /// What programs see.
    pub(crate) data: Vec<u8>,
    /// What survives a power cut.
    synced: Vec<u8>,
    /// What may survive one.
    pending: Vec<Pending>,
    /// Syncs that have failed. Whoever had it open then is told so once.
    pub(crate) failed: u64,
    pub(crate) locks: Locks,
    /// Pages of SQLite's shared memory. Boxed: SQLite keeps their addresses.
    pub(crate) shared: Vec<Box<[u8]>>,
    pub(crate) shared_users: usize,
    /// For each of SQLite's eight locks: how many have it shared, and whether somebody has it alone.
    pub(crate) slots: [(u32, bool); 8],
}

/// SQLite's locks of a database file.
#[derive(Debug, Default)]
pub(crate) struct Locks {
    pub(crate) shared: u32,
    pub(crate) reserved: bool,
    pub(crate) exclusive: bool,
}

/// What a disk is made to do.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Faults {
    /// The node dies at the n-th write or sync from now.
    pub(crate) dies_after: Option<u32>,
    /// The n-th write or sync from now fails, and all that follow while it is `Some(0)`.
    pub(crate) fails_after: Option<u32>,
    /// The n-th sync from now fails; those that follow do not.
    pub(crate) lapses_after: Option<u32>,
    /// Nothing grows any more.
    pub(crate) full: bool,
    /// Milliseconds that each job waits.
    pub(crate) slow_ms: u64,
}

/// How a node ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The process dies; what it wrote is in the kernel's memory.
    Killed,
    /// The machine dies: what is not synced may be lost, or torn, in any combination.
    PowerCut,
    /// The disk is replaced by an empty one.
    Wiped,
}

/// One node's disk.
#[derive(Debug)]
pub(crate) struct Disk {
    directory: PathBuf,
    files: RefCell<BTreeMap<String, Rc<RefCell<Inode>>>>,
    /// Raised when the node ends: what was opened before is dead.
    generation: Cell<u64>,
    pub(crate) dead: Cell<bool>,
    pub(crate) faults: Cell<Faults>,
    /// Counts changes, for whoever wants to know whether there were any.
    pub(crate) changes: Cell<u64>,
    random: RefCell<StdRng>,
}

thread_local! {
    static DISKS: RefCell<Vec<Rc<Disk>>> = const { RefCell::new(Vec::new()) };
}

/// The disk that holds a path.
pub(crate) fn of(path: &Path) -> Option<Rc<Disk>> {
    DISKS.with_borrow(|disks| disks.iter().find(|disk| path.starts_with(&disk.directory)).cloned())
}

impl Disk {
    /// An empty disk for everything below a directory.
    pub(crate) fn new(directory: &Path) -> Rc<Self> {
        let mut seed = [0; 8];
        entropy::fill(&mut seed);
        let disk = Rc::new(Self {
            directory: directory.to_owned(),
            files: RefCell::default(),
            generation: Cell::new(0),
            dead: Cell::new(false),
            faults: Cell::default(),
            changes: Cell::new(0),
            random: RefCell::new(StdRng::seed_from_u64(u64::from_le_bytes(seed))),
        });
        DISKS.with_borrow_mut(|disks| disks.push(Rc::clone(&disk)));
        disk
    }

    pub(crate) fn open(&self, name: &str) -> Rc<RefCell<Inode>> {
        Rc::clone(self.files.borrow_mut().entry(name.to_owned()).or_default())
    }

    pub(crate) fn exists(&self, name: &str) -> bool {
        self.files.borrow().get(name).is_some_and(|inode| !inode.borrow().data.is_empty())
    }

    pub(crate) fn delete(&self, name: &str) {
        self.files.borrow_mut().remove(name);
    }

    pub(crate) fn generation(&self) -> u64 {
        self.generation.get()
    }

    /// How long the next job waits, in milliseconds.
    pub(crate) fn latency(&self) -> u64 {
        let slow = self.faults.get().slow_ms;
        let mut random = self.random.borrow_mut();
        if slow > 0 { random.random_range(slow / 2..=slow) } else { u64::from(random.random_ratio(1, 4)) }
    }

    /// Whether a write or sync may be done now.
    fn admit(&self) -> Result<(), Fault> {
        if self.dead.get() {
            return Err(Fault::Dead);
        }
        let mut faults = self.faults.get();
        let mut result = Ok(());
        match &mut faults.fails_after {
            Some(0) => result = Err(Fault::Broken),
            Some(left) => *left -= 1,
            None => {}
        }
        match &mut faults.dies_after {
            Some(0) => {
                self.dead.set(true);
                result = Err(Fault::Dead);
            }
            Some(left) => *left -= 1,
            None => {}
        }
        self.faults.set(faults);
        result
    }

    pub(crate) fn write(&self, inode: &mut Inode, at: usize, bytes: &[u8]) -> Result<(), Fault> {
        if self.faults.get().full && at + bytes.len() > inode.data.len() {
            return Err(Fault::Full);
        }
        let admitted = self.admit();
        if admitted != Err(Fault::Broken) {
            // What was being written when the power went may be there, or not.
            let write = Pending::Write { at, bytes: bytes.to_vec() };
            write.apply(&mut inode.data, usize::MAX);
            inode.pending.push(write);
        }
        self.changes.set(self.changes.get() + 1);
        admitted
    }

    pub(crate) fn truncate(&self, inode: &mut Inode, to: usize) -> Result<(), Fault> {
        self.admit()?;
        let truncate = Pending::Truncate(to);
        truncate.apply(&mut inode.data, 0);
        inode.pending.push(truncate);
        self.changes.set(self.changes.get() + 1);
        Ok(())
    }

    /// As fsync(2) on Linux: after it has failed, what it should have written is read as before, counts as written, and
    /// may be lost. `seen` is how many failures the caller was told of.
    pub(crate) fn sync(&self, inode: &mut Inode, seen: &mut u64) -> Result<(), Fault> {
        let mut admitted = self.admit();
        let mut faults = self.faults.get();
        match &mut faults.lapses_after {
            Some(0) => {
                faults.lapses_after = None;
                admitted = admitted.and(Err(Fault::Broken));
            }
            Some(left) => *left -= 1,
            None => {}
        }
        self.faults.set(faults);
        if admitted == Err(Fault::Broken) {
            inode.failed += 1;
            let mut random = self.random.borrow_mut();
            let stays = [0, 0, 50][random.random_range(0..3)];
            inode.pending.retain(|_| random.random_ratio(stays, 100));
        }
        if std::mem::replace(seen, inode.failed) < inode.failed {
            admitted = admitted.and(Err(Fault::Broken));
        }
        admitted?;
        for pending in inode.pending.drain(..) {
            pending.apply(&mut inode.synced, usize::MAX);
        }
        Ok(())
    }

    /// Writes a file over itself and syncs it.
    pub(crate) fn write_again(&self, name: &str) -> Result<(), Fault> {
        let Some(inode) = self.files.borrow().get(name).map(Rc::clone) else { return Ok(()) };
        let mut inode = inode.borrow_mut();
        let (bytes, mut seen) = (inode.data.clone(), inode.failed);
        self.write(&mut inode, 0, &bytes)?;
        self.sync(&mut inode, &mut seen)
    }

    /// Ends whatever uses the disk, and decides what is left on it.
    pub(crate) fn end(&self, how: End) {
        self.dead.set(true);
        let mut random = self.random.borrow_mut();
        // How much of what was not synced arrived: nothing, everything, or anything.
        let arrives = [0, 100, 50, 90][random.random_range(0..4)];
        let mut files = self.files.borrow_mut();
        if how == End::Wiped {
            files.clear();
        }
        for inode in files.values_mut() {
            let old = inode.borrow();
            let (mut synced, mut data) = (old.synced.clone(), old.data.clone());
            let mut pending = old.pending.clone();
            drop(old);
            if how == End::PowerCut {
                for write in pending.drain(..) {
                    if !random.random_ratio(arrives, 100) {
                        continue;
                    }
                    let whole = if let Pending::Write { bytes, .. } = &write { bytes.len() } else { 0 };
                    let torn = arrives < 100 && random.random_ratio(1, 10);
                    let sectors = whole / SECTOR;
                    let length = if torn { random.random_range(0..=sectors) * SECTOR } else { whole };
                    write.apply(&mut synced, length);
                }
                data.clone_from(&synced);
            }
            *inode = Rc::new(RefCell::new(Inode { data, synced, pending, ..Inode::default() }));
        }
    }

    /// Lets the node use it again.
    pub(crate) fn revive(&self) {
        self.generation.set(self.generation.get() + 1);
        self.faults.set(Faults::default());
        self.dead.set(false);
    }

    /// Whether what was opened in a generation can be used.
    pub(crate) fn serves(&self, generation: u64) -> bool {
        !self.dead.get() && generation == self.generation.get()
    }
}
