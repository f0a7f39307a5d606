//! Project quotas of the kernel.
//!
//! Files carry the number of a project; a directory that has the flag to hand it on gives its own to all that is made in
//! it. quotactl_fd(2) finds the file system by a descriptor, so that no block device has to be in the container. ext4
//! and XFS understand the same calls; what they count is there for all processes of the machine.

use std::ffi::{c_int, c_void};
use std::fs::{File, OpenOptions};
use std::io::{Error, ErrorKind, Result};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// `PRJQUOTA` of linux/quota.h: quotas of projects, not of users or groups.
const OF_PROJECTS: c_int = 2;
/// `Q_XGETQSTATV` of linux/dqblk_xfs.h, which ext4 answers, too: unlike `Q_GETINFO` it tells enforcing from counting.
const GET_STATE: c_int = ((b'X' as c_int) << 8) + 8;
/// `FS_QSTATV_VERSION1`: the only form of the answer.
const STATE_VERSION: i8 = 1;
/// `FS_QUOTA_PDQ_ENFD` of linux/dqblk_xfs.h.
const ENFORCED: u16 = 1 << 5;
/// `QIF_DQBLKSIZE` of linux/quota.h: what limits are counted in.
const BLOCK_BYTES: u64 = 1024;
/// `FS_XFLAG_PROJINHERIT` of linux/fs.h.
const HANDED_ON: u32 = 1 << 9;
/// `FS_IOC_FSGETXATTR` of linux/fs.h.
const GET_ATTRIBUTES: libc::Ioctl = libc::_IOR::<Attributes>(b'X' as u32, 31);
/// `FS_IOC_FSSETXATTR` of linux/fs.h.
const SET_ATTRIBUTES: libc::Ioctl = libc::_IOW::<Attributes>(b'X' as u32, 32);

/// What a file system says of a project.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// What it may hold; zero when nobody says so.
    pub limit_bytes: u64,
    /// What it holds.
    pub used_bytes: u64,
    /// Its files and directories.
    pub inodes: u64,
}

/// Why a file system enforces nothing.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// There are no quotas of projects.
    #[error("{0}: project quotas need Linux 5.14, and ext4 or XFS that is mounted with the option prjquota")]
    Missing(#[source] Error),
    /// What projects use is counted, and limits are not looked at.
    #[error(
        "limits of projects are not looked at; they are when the file system is mounted with the option prjquota"
    )]
    OnlyCounted,
    /// They are not for this process.
    #[error("{0}: setting limits needs the capability CAP_SYS_ADMIN and a seccomp profile with quotactl_fd")]
    Forbidden(#[source] Error),
}

/// Limits of what directories take. All calls may wait for the disk.
pub trait ProjectQuotas: Send + Sync + 'static {
    /// Whether limits are enforced on the file system of `directory`, and can be set.
    ///
    /// # Errors
    /// Why not.
    fn check(&self, directory: &Path) -> std::result::Result<(), CheckError>;

    /// The project that a directory hands on to what is made in it.
    ///
    /// # Errors
    /// The kernel's; `NotFound` when there is no such directory.
    fn project(&self, directory: &Path) -> Result<Option<u32>>;

    /// Puts a directory and all that is made in it from now on into a project.
    ///
    /// # Errors
    /// The kernel's.
    fn set_project(&self, directory: &Path, project: u32) -> Result<()>;

    /// What the file system of `directory` says of a project.
    ///
    /// # Errors
    /// The kernel's.
    fn usage(&self, directory: &Path, project: u32) -> Result<Usage>;

    /// Limits what a project holds on the file system of `directory`, rounded up to KiB; zero is no limit.
    ///
    /// # Errors
    /// The kernel's.
    fn set_limit(&self, directory: &Path, project: u32, bytes: u64) -> Result<()>;
}

/// The kernel's own.
pub struct Kernel;

impl ProjectQuotas for Kernel {
    fn check(&self, directory: &Path) -> std::result::Result<(), CheckError> {
        let file = open(directory).map_err(CheckError::Missing)?;
        let flags = state(&file).map_err(|error| match error.kind() {
            ErrorKind::PermissionDenied => CheckError::Forbidden(error),
            _ => CheckError::Missing(error),
        })?;
        if flags & ENFORCED == 0 {
            return Err(CheckError::OnlyCounted);
        }
        // Anybody may ask for the state; for a project, only who may also set its limit.
        usage(&file, 0).map(drop).map_err(CheckError::Forbidden)
    }

    fn project(&self, directory: &Path) -> Result<Option<u32>> {
        let found = attributes(&open(directory)?)?;
        Ok((found.flags & HANDED_ON != 0).then_some(found.project))
    }

    fn set_project(&self, directory: &Path, project: u32) -> Result<()> {
        let file = open(directory)?;
        let found = attributes(&file)?;
        set_attributes(&file, &Attributes { flags: found.flags | HANDED_ON, project, ..found })
    }

    fn usage(&self, directory: &Path, project: u32) -> Result<Usage> {
        usage(&open(directory)?, project)
    }

    fn set_limit(&self, directory: &Path, project: u32, bytes: u64) -> Result<()> {
        let mut limit = Blocks {
            hard_limit: bytes.div_ceil(BLOCK_BYTES),
            valid: libc::QIF_BLIMITS,
            ..Default::default()
        };
        blocks(&open(directory)?, Command::Set, project, &mut limit)
    }
}

/// `struct fsxattr` of linux/fs.h.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Attributes {
    flags: u32,
    extent_size: u32,
    extents: u32,
    project: u32,
    copy_extent_size: u32,
    padding: [u8; 8],
}

/// `struct fs_quota_statv` of linux/dqblk_xfs.h.
#[repr(C)]
#[derive(Default)]
struct State {
    version: i8,
    padding: u8,
    flags: u16,
    in_core: u32,
    rest: [u64; 19],
}

/// `struct if_dqblk` of linux/quota.h; limits in blocks.
#[repr(C)]
#[derive(Default)]
struct Blocks {
    hard_limit: u64,
    soft_limit: u64,
    used_bytes: u64,
    hard_limit_inodes: u64,
    soft_limit_inodes: u64,
    inodes: u64,
    seconds: u64,
    seconds_inodes: u64,
    valid: u32,
}

/// What can be done with [`Blocks`].
#[repr(i32)]
enum Command {
    Get = libc::Q_GETQUOTA,
    Set = libc::Q_SETQUOTA,
}

/// A volume's directory, and never what a link in its place leads to.
fn open(directory: &Path) -> Result<File> {
    OpenOptions::new().read(true).custom_flags(libc::O_DIRECTORY | libc::O_NOFOLLOW).open(directory)
}

fn usage(file: &File, project: u32) -> Result<Usage> {
    let mut found = Blocks::default();
    match blocks(file, Command::Get, project, &mut found) {
        // XFS has no entry for a project that it has not met.
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Usage::default()),
        Err(error) => Err(error),
        Ok(()) => Ok(Usage {
            limit_bytes: found.hard_limit.saturating_mul(BLOCK_BYTES),
            used_bytes: found.used_bytes,
            inodes: found.inodes,
        }),
    }
}

#[allow(unsafe_code)]
fn attributes(file: &File) -> Result<Attributes> {
    let mut found = Attributes::default();
    // SAFETY: this request writes one `struct fsxattr`, which `found` is, and keeps no pointer to it.
    done(unsafe { libc::ioctl(file.as_raw_fd(), GET_ATTRIBUTES, &raw mut found) }.into())?;
    Ok(found)
}

#[allow(unsafe_code)]
fn set_attributes(file: &File, wanted: &Attributes) -> Result<()> {
    // SAFETY: this request reads one `struct fsxattr`, which `wanted` is, and keeps no pointer to it.
    done(unsafe { libc::ioctl(file.as_raw_fd(), SET_ATTRIBUTES, &raw const *wanted) }.into())
}

/// Which quotas count on the file system of `file`.
#[allow(unsafe_code)]
fn state(file: &File) -> Result<u16> {
    let mut found = State { version: STATE_VERSION, ..Default::default() };
    // SAFETY: this command reads the version of one `struct fs_quota_statv`, which `found` is, and writes the whole.
    unsafe { quotactl(file, GET_STATE, 0, (&raw mut found).cast()) }?;
    Ok(found.flags)
}

/// Reads or sets what there is about a project on the file system of `file`.
#[allow(unsafe_code)]
fn blocks(file: &File, command: Command, project: u32, about: &mut Blocks) -> Result<()> {
    // SAFETY: both commands take one `struct if_dqblk`, which `about` is.
    unsafe { quotactl(file, command as c_int, project, (&raw mut *about).cast()) }
}

/// Runs a command about the quotas of projects on the file system of `file`.
///
/// # Safety
/// `about` has to point to what the command reads and writes.
#[allow(unsafe_code)]
unsafe fn quotactl(file: &File, command: c_int, project: u32, about: *mut c_void) -> Result<()> {
    let command = libc::QCMD(command, OF_PROJECTS);
    // SAFETY: the caller vouches for `about`; the kernel keeps no pointer to it.
    done(unsafe { libc::syscall(libc::SYS_quotactl_fd, file.as_raw_fd(), command, project, about) })
}

fn done(result: i64) -> Result<()> {
    if result < 0 { Err(Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sizes and numbers as a C compiler finds them in the kernel's headers.
    #[test]
    fn the_kernel_would_recognise_what_it_is_given() {
        assert_eq!((size_of::<Attributes>(), size_of::<State>(), size_of::<Blocks>()), (28, 160, 72));
        assert_eq!((GET_ATTRIBUTES, SET_ATTRIBUTES), (0x801c_581f, 0x401c_5820));
        assert_eq!(libc::QCMD(GET_STATE, OF_PROJECTS), 0x0058_0802);
    }

    /// No kernel limits what is in /proc.
    #[test]
    fn a_file_system_without_quotas_says_why() {
        let why = Kernel.check(Path::new("/proc")).unwrap_err();
        assert!(matches!(why, CheckError::Missing(_)), "{why:?}");
        assert!(why.to_string().contains("prjquota"), "{why}");
        assert!(Kernel.project(Path::new("/proc")).is_err());
        assert!(Kernel.set_limit(Path::new("/proc"), 1_800_000_000, 1).is_err());
    }

    #[test]
    fn a_link_is_never_followed() {
        let folder = tempfile::tempdir().unwrap();
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(folder.path(), &link).unwrap();
        for outcome in [Kernel.set_project(&link, 1), Kernel.set_limit(&link, 1, 1)] {
            assert_eq!(outcome.unwrap_err().kind(), ErrorKind::NotADirectory);
        }
        let gone = Kernel.project(&folder.path().join("gone")).unwrap_err();
        assert_eq!(gone.kind(), ErrorKind::NotFound);
    }
}
