//! What of the program is in memory: of a server that is seldom asked, mostly what its start needed.

use std::io;
use std::ops::Range;

/// Takes the program's code out of this process. What runs again comes back from the page cache, a few pages at a time.
///
/// # Errors
/// When /proc does not tell where it is, or the kernel refuses.
pub fn forget_code() -> io::Result<()> {
    let program = std::fs::read_link("/proc/self/exe")?;
    let maps = std::fs::read_to_string("/proc/self/maps")?;
    code(&maps, &program.to_string_lossy()).into_iter().try_for_each(forget)
}

/// Where a program's code is, by proc_pid_maps(5): what is read and run, never written. Constants that the start relocates are
/// beside it, and are not the file's any more.
fn code(maps: &str, program: &str) -> Vec<Range<usize>> {
    let mapping = |line: &str| {
        let mut fields = line.splitn(6, ' ');
        let (range, mode) = (fields.next()?, fields.next()?);
        let path = fields.nth(3)?.trim_start();
        let (start, end) = range.split_once('-')?;
        let address = |text| usize::from_str_radix(text, 16).ok();
        (mode == "r-xp" && path == program).then_some(address(start)?..address(end)?)
    };
    maps.lines().filter_map(mapping).collect()
}

#[allow(unsafe_code)]
fn forget(pages: Range<usize>) -> io::Result<()> {
    // SAFETY: the pages are a private mapping of a file that nobody writes while it runs, and were not written here: what
    // is read after this is what was there before.
    let done = unsafe { libc::madvise(pages.start as *mut libc::c_void, pages.len(), libc::MADV_DONTNEED) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_run_is_code() {
        let maps = "\
            7f54409e8000-7f54411da000 r--p 00000000 00:2f 12 /knarr\n\
            7f54411da000-7f5442d97000 r-xp 007f1000 00:2f 12                 /knarr\n\
            7f5442d97000-7f5442e74000 r--p 023ad000 00:2f 12 /knarr\n\
            7f5442e74000-7f5442e75000 rw-p 00000000 00:00 0 \n\
            7f5442f00000-7f5442f01000 r-xp 00000000 00:2f 13 /lib/other.so\n\
            7fff7feef000-7fff7fef1000 r-xp 00000000 00:00 0 [vdso]\n";
        let found = code(maps, "/knarr");
        assert_eq!((found.len(), found.first()), (1, Some(&(0x7f54_411d_a000..0x7f54_42d9_7000))));
    }

    #[test]
    fn a_program_goes_on_without_what_it_forgot() {
        let resident = || {
            let program = std::fs::read_link("/proc/self/exe").unwrap().to_string_lossy().into_owned();
            let maps = std::fs::read_to_string("/proc/self/smaps").unwrap();
            let code =
                maps.split("r-xp").find(|part| part.lines().next().unwrap().ends_with(&program)).unwrap();
            let line = code.lines().find_map(|line| line.strip_prefix("Rss:")).unwrap();
            line.split_whitespace().next().unwrap().parse::<usize>().unwrap()
        };
        let before = resident();
        forget_code().unwrap();
        let after = resident();
        assert!(after < before, "{before} KiB before, {after} KiB after");
    }
}
