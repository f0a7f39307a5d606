//! The simulated disks as SQLite sees them: a virtual file system that is SQLite's default one in this process.
//!
//! Snapshots on their way between nodes are real files, which nobody expects to survive anything; so are temporary
//! ones. Everything else is on a [`Disk`]. SQLite's randomness and clock come from the seed, too.

#![allow(unsafe_code, reason = "SQLite's interface to file systems is C")]

use crate::disk::{self, Disk, Fault, Inode};
use crate::entropy;
use rusqlite::ffi;
use std::cell::{Cell, RefCell};
use std::ffi::{CStr, c_char, c_int, c_void};
use std::path::Path;
use std::ptr;
use std::rc::Rc;
use std::slice;

thread_local! {
    /// Milliseconds since the simulation began.
    static NOW: Cell<i64> = const { Cell::new(0) };
}

/// Sets SQLite's clock.
pub(crate) fn set_clock(milliseconds: i64) {
    NOW.set(milliseconds);
}

/// 2026-01-01T00:00:00Z as a Julian day, in milliseconds.
const EPOCH: i64 = 212_633_985_600_000;

/// An open file. SQLite owns the memory; `open` is ours.
#[repr(C)]
struct Handle {
    base: ffi::sqlite3_file,
    open: *mut Open,
}

struct Open {
    disk: Rc<Disk>,
    generation: u64,
    inode: Rc<RefCell<Inode>>,
    lock: c_int,
    shared: u8,
    exclusive: u8,
    mapped: bool,
}

impl Open {
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

fn length(bytes: c_int) -> usize {
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
    let done = open.check().and_then(|()| open.disk.sync(&mut open.inode.borrow_mut()));
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

static METHODS: ffi::sqlite3_io_methods = ffi::sqlite3_io_methods {
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

/// The operating system's file system, for what is not simulated.
///
/// # Safety
/// `vfs` is the one that `register` has made.
unsafe fn real(vfs: *mut ffi::sqlite3_vfs) -> *mut ffi::sqlite3_vfs {
    // SAFETY: `register` has put it there.
    unsafe { (*vfs).pAppData.cast() }
}

/// The disk that a file is on, and its name; None for real files.
///
/// # Safety
/// `name` is null or ends with a zero.
unsafe fn locate(name: *const c_char) -> Option<(Rc<Disk>, String)> {
    if name.is_null() {
        return None;
    }
    // SAFETY: the caller says so.
    let name = unsafe { CStr::from_ptr(name) }.to_str().ok()?;
    let path = Path::new(name);
    if path.file_name()?.to_str()?.starts_with("snapshot-") {
        return None;
    }
    Some((disk::of(path)?, name.to_owned()))
}

unsafe extern "C" fn open(
    vfs: *mut ffi::sqlite3_vfs,
    name: ffi::sqlite3_filename,
    file: *mut ffi::sqlite3_file,
    flags: c_int,
    out: *mut c_int,
) -> c_int {
    // SAFETY: SQLite's pointers are valid; `file` has room for the larger of both handles.
    unsafe {
        let Some((disk, name)) = locate(name) else {
            let real = real(vfs);
            return match (*real).xOpen {
                Some(open) => open(real, name, file, flags, out),
                None => ffi::SQLITE_CANTOPEN,
            };
        };
        (*file).pMethods = ptr::null();
        if disk.dead.get() {
            return ffi::SQLITE_CANTOPEN;
        }
        let open = Open {
            generation: disk.generation(),
            inode: disk.open(&name),
            disk,
            lock: ffi::SQLITE_LOCK_NONE,
            shared: 0,
            exclusive: 0,
            mapped: false,
        };
        (*file.cast::<Handle>()).open = Box::into_raw(Box::new(open));
        (*file).pMethods = &raw const METHODS;
        if !out.is_null() {
            *out = flags;
        }
    }
    ffi::SQLITE_OK
}

unsafe extern "C" fn delete(vfs: *mut ffi::sqlite3_vfs, name: *const c_char, sync: c_int) -> c_int {
    // SAFETY: SQLite's pointers are valid.
    unsafe {
        match locate(name) {
            Some((disk, _)) if disk.dead.get() => ffi::SQLITE_IOERR_DELETE,
            Some((disk, name)) => {
                disk.delete(&name);
                ffi::SQLITE_OK
            }
            None => (*real(vfs)).xDelete.map_or(ffi::SQLITE_IOERR, |delete| delete(real(vfs), name, sync)),
        }
    }
}

unsafe extern "C" fn access(
    vfs: *mut ffi::sqlite3_vfs,
    name: *const c_char,
    flags: c_int,
    out: *mut c_int,
) -> c_int {
    // SAFETY: SQLite's pointers are valid.
    unsafe {
        match locate(name) {
            Some((disk, name)) => {
                *out = c_int::from(disk.exists(&name));
                ffi::SQLITE_OK
            }
            None => {
                (*real(vfs)).xAccess.map_or(ffi::SQLITE_IOERR, |access| access(real(vfs), name, flags, out))
            }
        }
    }
}

unsafe extern "C" fn full_pathname(
    _: *mut ffi::sqlite3_vfs,
    name: *const c_char,
    room: c_int,
    out: *mut c_char,
) -> c_int {
    // SAFETY: SQLite's pointers are valid, `out` for `room` bytes.
    unsafe {
        let bytes = CStr::from_ptr(name).to_bytes_with_nul();
        if bytes.len() > length(room) {
            return ffi::SQLITE_CANTOPEN;
        }
        ptr::copy_nonoverlapping(bytes.as_ptr().cast(), out, bytes.len());
    }
    ffi::SQLITE_OK
}

unsafe extern "C" fn randomness(_: *mut ffi::sqlite3_vfs, bytes: c_int, out: *mut c_char) -> c_int {
    // SAFETY: `out` has room for `bytes`.
    entropy::fill(unsafe { slice::from_raw_parts_mut(out.cast(), length(bytes)) });
    bytes
}

unsafe extern "C" fn sleep(_: *mut ffi::sqlite3_vfs, microseconds: c_int) -> c_int {
    microseconds
}

unsafe extern "C" fn current_time_int64(_: *mut ffi::sqlite3_vfs, out: *mut ffi::sqlite3_int64) -> c_int {
    // SAFETY: `out` is writable.
    unsafe { *out = EPOCH + NOW.get() };
    ffi::SQLITE_OK
}

unsafe extern "C" fn current_time(_: *mut ffi::sqlite3_vfs, out: *mut f64) -> c_int {
    // SAFETY: `out` is writable.
    unsafe { *out = (EPOCH + NOW.get()) as f64 / 86_400_000.0 };
    ffi::SQLITE_OK
}

unsafe extern "C" fn last_error(_: *mut ffi::sqlite3_vfs, _: c_int, _: *mut c_char) -> c_int {
    0
}

/// Makes it the file system that SQLite uses in this process.
pub(crate) fn register() {
    // SAFETY: SQLite's own file system lives as long as the process, and so does the leaked one.
    unsafe {
        let real = ffi::sqlite3_vfs_find(ptr::null());
        assert!(!real.is_null(), "SQLite has no file system");
        let room = c_int::try_from(size_of::<Handle>()).unwrap_or(c_int::MAX);
        let vfs = ffi::sqlite3_vfs {
            iVersion: 2,
            szOsFile: room.max((*real).szOsFile),
            mxPathname: 512,
            pNext: ptr::null_mut(),
            zName: c"simulated".as_ptr(),
            pAppData: real.cast(),
            xOpen: Some(open),
            xDelete: Some(delete),
            xAccess: Some(access),
            xFullPathname: Some(full_pathname),
            xDlOpen: None,
            xDlError: None,
            xDlSym: None,
            xDlClose: None,
            xRandomness: Some(randomness),
            xSleep: Some(sleep),
            xCurrentTime: Some(current_time),
            xGetLastError: Some(last_error),
            xCurrentTimeInt64: Some(current_time_int64),
            xSetSystemCall: None,
            xGetSystemCall: None,
            xNextSystemCall: None,
        };
        let registered = ffi::sqlite3_vfs_register(Box::into_raw(Box::new(vfs)), 1);
        assert_eq!(registered, ffi::SQLITE_OK, "SQLite takes no other file system");
    }
}
