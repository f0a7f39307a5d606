//! The simulated disks as SQLite sees them: a virtual file system that is SQLite's default one in this process.
//!
//! Snapshots on their way between nodes are real files, which nobody expects to survive anything; so are temporary
//! ones. Everything else is on a [`Disk`]. SQLite's randomness and clock come from the seed, too.

#![allow(unsafe_code, reason = "SQLite's interface to file systems is C")]

use crate::disk::{self, Disk};
use crate::entropy;
use crate::open_file::{Handle, METHODS, Open, length};
use rusqlite::ffi;
use std::cell::Cell;
use std::ffi::{CStr, c_char, c_int};
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
        (*file.cast::<Handle>()).open = Box::into_raw(Box::new(Open::new(disk, &name)));
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
