//! An open file of a simulated disk, as SQLite uses it: its bytes, its locks, and the shared memory of its index.

#![allow(unsafe_code, reason = "SQLite's interface to file systems is C")]

use crate::disk::{Disk, Fault, Inode};
use rusqlite::ffi;
use std::cell::RefCell;
use std::ffi::{c_int, c_void};
use std::ptr;
use std::rc::Rc;
use std::slice;

/// An open file. SQLite owns the memory; `open` is ours.
#[repr(C)]
pub(crate) struct Handle {
    base: ffi::sqlite3_file,
    pub(crate) open: *mut Open,
}

pub(crate) struct Open {
    disk: Rc<Disk>,
    generation: u64,
    inode: Rc<RefCell<Inode>>,
    /// Failed syncs of the file that it was told of.
    failed: u64,
    lock: c_int,
    shared: u8,
    exclusive: u8,
    mapped: bool,
}

impl Open {
    pub(crate) fn new(disk: Rc<Disk>, name: &str) -> Self {
        let inode = disk.open(name);
        let failed = inode.borrow().failed;
        Self {
            generation: disk.generation(),
            disk,
            inode,
            failed,
            lock: ffi::SQLITE_LOCK_NONE,
            shared: 0,
            exclusive: 0,
            mapped: false,
        }
    }

    fn check(&self) -> Result<(), Fault> {
        if self.disk.serves(self.generation) { Ok(()) } else { Err(Fault::Dead) }
    }

    fn release_slots(&mut self, first: usize, count: usize) {
        let mut inode = self.inode.borrow_mut();
        for n in first..first + count {
            let bit = 1_u8 << n;
            if self.shared & bit != 0 {
                inode.slots[n].0 -= 1;
            }
            if self.exclusive & bit != 0 {
                inode.slots[n].1 = false;
            }
            self.shared &= !bit;
            self.exclusive &= !bit;
        }
    }

    fn unmap(&mut self) {
        self.release_slots(0, 8);
        if std::mem::take(&mut self.mapped) {
            let mut inode = self.inode.borrow_mut();
            inode.shared_users -= 1;
            if inode.shared_users == 0 {
                inode.shared.clear();
            }
        }
    }

    fn unlock(&mut self, to: c_int) {
        let mut inode = self.inode.borrow_mut();
        if self.lock >= ffi::SQLITE_LOCK_EXCLUSIVE {
            inode.locks.exclusive = false;
        }
        if self.lock >= ffi::SQLITE_LOCK_RESERVED && to < ffi::SQLITE_LOCK_RESERVED {
            inode.locks.reserved = false;
        }
        if self.lock >= ffi::SQLITE_LOCK_SHARED && to < ffi::SQLITE_LOCK_SHARED {
            inode.locks.shared -= 1;
        }
        self.lock = to.min(self.lock);
    }
}

/// The open file behind SQLite's pointer.
///
/// # Safety
/// `file` is one that `open` has filled and `close` has not emptied, and nobody else uses it now.
unsafe fn opened<'a>(file: *mut ffi::sqlite3_file) -> &'a mut Open {
    // SAFETY: SQLite passes what `open` has filled; one thread uses it, one call at a time.
    unsafe { &mut *(*file.cast::<Handle>()).open }
}

fn code(result: Result<(), Fault>, error: c_int) -> c_int {
    match result {
        Ok(()) => ffi::SQLITE_OK,
        Err(Fault::Full) => ffi::SQLITE_FULL,
        Err(Fault::Broken | Fault::Dead) => error,
    }
}

fn place(at: ffi::sqlite3_int64) -> usize {
    usize::try_from(at).unwrap_or(usize::MAX)
}

pub(crate) fn length(bytes: c_int) -> usize {
    usize::try_from(bytes).unwrap_or(0)
}

unsafe extern "C" fn close(file: *mut ffi::sqlite3_file) -> c_int {
    // SAFETY: SQLite closes a file once; `open` made it from a box.
    let mut open = unsafe { Box::from_raw((*file.cast::<Handle>()).open) };
    open.unmap();
    open.unlock(ffi::SQLITE_LOCK_NONE);
    ffi::SQLITE_OK
}

unsafe extern "C" fn read(
    file: *mut ffi::sqlite3_file,
    to: *mut c_void,
    bytes: c_int,
    at: ffi::sqlite3_int64,
) -> c_int {
    // SAFETY: see `opened`; `to` has room for `bytes`.
    let (open, to) = unsafe { (opened(file), slice::from_raw_parts_mut(to.cast::<u8>(), length(bytes))) };
    if open.check().is_err() {
        return ffi::SQLITE_IOERR_READ;
    }
    let inode = open.inode.borrow();
    let found = inode.data.get(place(at)..).unwrap_or_default();
    let count = found.len().min(to.len());
    to[..count].copy_from_slice(&found[..count]);
    to[count..].fill(0);
    if count < to.len() { ffi::SQLITE_IOERR_SHORT_READ } else { ffi::SQLITE_OK }
}

unsafe extern "C" fn write(
    file: *mut ffi::sqlite3_file,
    from: *const c_void,
    bytes: c_int,
    at: ffi::sqlite3_int64,
) -> c_int {
    // SAFETY: see `opened`; `from` has that many bytes.
    let (open, from) = unsafe { (opened(file), slice::from_raw_parts(from.cast::<u8>(), length(bytes))) };
    let written = open.check().and_then(|()| open.disk.write(&mut open.inode.borrow_mut(), place(at), from));
    code(written, ffi::SQLITE_IOERR_WRITE)
}

unsafe extern "C" fn truncate(file: *mut ffi::sqlite3_file, size: ffi::sqlite3_int64) -> c_int {
    // SAFETY: see `opened`.
    let open = unsafe { opened(file) };
    let done = open.check().and_then(|()| open.disk.truncate(&mut open.inode.borrow_mut(), place(size)));
    code(done, ffi::SQLITE_IOERR_TRUNCATE)
}

unsafe extern "C" fn sync(file: *mut ffi::sqlite3_file, _flags: c_int) -> c_int {
    // SAFETY: see `opened`.
    let open = unsafe { opened(file) };
    let done = open.check().and_then(|()| open.disk.sync(&mut open.inode.borrow_mut(), &mut open.failed));
    code(done, ffi::SQLITE_IOERR_FSYNC)
}

unsafe extern "C" fn file_size(file: *mut ffi::sqlite3_file, size: *mut ffi::sqlite3_int64) -> c_int {
    // SAFETY: see `opened`; `size` is writable.
    unsafe {
        let open = opened(file);
        if open.check().is_err() {
            return ffi::SQLITE_IOERR_FSTAT;
        }
        *size = i64::try_from(open.inode.borrow().data.len()).unwrap_or(i64::MAX);
    }
    ffi::SQLITE_OK
}

unsafe extern "C" fn lock(file: *mut ffi::sqlite3_file, level: c_int) -> c_int {
    // SAFETY: see `opened`.
    let open = unsafe { opened(file) };
    if open.check().is_err() {
        return ffi::SQLITE_IOERR_LOCK;
    }
    if open.lock >= level {
        return ffi::SQLITE_OK;
    }
    let mut inode = open.inode.borrow_mut();
    let locks = &mut inode.locks;
    let taken = match level {
        ffi::SQLITE_LOCK_SHARED => locks.exclusive,
        ffi::SQLITE_LOCK_RESERVED => locks.reserved,
        _ => locks.shared > 1 || (locks.reserved && open.lock < ffi::SQLITE_LOCK_RESERVED),
    };
    if taken {
        return ffi::SQLITE_BUSY;
    }
    match level {
        ffi::SQLITE_LOCK_SHARED => locks.shared += 1,
        ffi::SQLITE_LOCK_RESERVED => locks.reserved = true,
        _ => (locks.reserved, locks.exclusive) = (true, true),
    }
    open.lock = level;
    ffi::SQLITE_OK
}

unsafe extern "C" fn unlock(file: *mut ffi::sqlite3_file, level: c_int) -> c_int {
    // SAFETY: see `opened`.
    unsafe { opened(file) }.unlock(level);
    ffi::SQLITE_OK
}

unsafe extern "C" fn check_reserved_lock(file: *mut ffi::sqlite3_file, out: *mut c_int) -> c_int {
    // SAFETY: see `opened`; `out` is writable.
    unsafe { *out = c_int::from(opened(file).inode.borrow().locks.reserved) };
    ffi::SQLITE_OK
}

unsafe extern "C" fn file_control(_: *mut ffi::sqlite3_file, _: c_int, _: *mut c_void) -> c_int {
    ffi::SQLITE_NOTFOUND
}

unsafe extern "C" fn sector_size(_: *mut ffi::sqlite3_file) -> c_int {
    4096
}

unsafe extern "C" fn device_characteristics(_: *mut ffi::sqlite3_file) -> c_int {
    // What SQLite assumes of disks on Linux: a torn write damages nothing beside it.
    ffi::SQLITE_IOCAP_POWERSAFE_OVERWRITE
}

unsafe extern "C" fn shared_map(
    file: *mut ffi::sqlite3_file,
    page: c_int,
    size: c_int,
    extend: c_int,
    out: *mut *mut c_void,
) -> c_int {
    // SAFETY: see `opened`; `out` is writable. A page stays where it is until the last user has let go.
    unsafe {
        let open = opened(file);
        *out = ptr::null_mut();
        if open.check().is_err() {
            return ffi::SQLITE_IOERR_SHMMAP;
        }
        let mut inode = open.inode.borrow_mut();
        if !std::mem::replace(&mut open.mapped, true) {
            inode.shared_users += 1;
        }
        while inode.shared.len() <= length(page) {
            if extend == 0 {
                return ffi::SQLITE_OK;
            }
            inode.shared.push(vec![0; length(size)].into_boxed_slice());
        }
        *out = inode.shared[length(page)].as_mut_ptr().cast();
    }
    ffi::SQLITE_OK
}

unsafe extern "C" fn shared_lock(
    file: *mut ffi::sqlite3_file,
    first: c_int,
    count: c_int,
    flags: c_int,
) -> c_int {
    // SAFETY: see `opened`.
    let open = unsafe { opened(file) };
    let (first, count) = (length(first), length(count));
    if flags & ffi::SQLITE_SHM_UNLOCK != 0 {
        open.release_slots(first, count);
        return ffi::SQLITE_OK;
    }
    if open.check().is_err() {
        return ffi::SQLITE_IOERR_SHMLOCK;
    }
    let alone = flags & ffi::SQLITE_SHM_EXCLUSIVE != 0;
    let mut inode = open.inode.borrow_mut();
    for n in first..first + count {
        let (shared, exclusive) = inode.slots[n];
        let bit = 1 << n;
        let others = shared > u32::from(open.shared & bit != 0);
        if (exclusive && open.exclusive & bit == 0) || (alone && others) {
            return ffi::SQLITE_BUSY;
        }
    }
    for n in first..first + count {
        let bit = 1 << n;
        if alone {
            inode.slots[n].1 = true;
            open.exclusive |= bit;
        } else if open.shared & bit == 0 {
            inode.slots[n].0 += 1;
            open.shared |= bit;
        }
    }
    ffi::SQLITE_OK
}

unsafe extern "C" fn shared_barrier(_: *mut ffi::sqlite3_file) {}

unsafe extern "C" fn shared_unmap(file: *mut ffi::sqlite3_file, _delete: c_int) -> c_int {
    // SAFETY: see `opened`.
    unsafe { opened(file) }.unmap();
    ffi::SQLITE_OK
}

pub(crate) static METHODS: ffi::sqlite3_io_methods = ffi::sqlite3_io_methods {
    iVersion: 2,
    xClose: Some(close),
    xRead: Some(read),
    xWrite: Some(write),
    xTruncate: Some(truncate),
    xSync: Some(sync),
    xFileSize: Some(file_size),
    xLock: Some(lock),
    xUnlock: Some(unlock),
    xCheckReservedLock: Some(check_reserved_lock),
    xFileControl: Some(file_control),
    xSectorSize: Some(sector_size),
    xDeviceCharacteristics: Some(device_characteristics),
    xShmMap: Some(shared_map),
    xShmLock: Some(shared_lock),
    xShmBarrier: Some(shared_barrier),
    xShmUnmap: Some(shared_unmap),
    xFetch: None,
    xUnfetch: None,
};
