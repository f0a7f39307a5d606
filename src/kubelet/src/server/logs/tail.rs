//! Where the last lines of a file begin.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};

/// Read backwards at a time.
const BLOCK_BYTES: u64 = 64 * 1024;

/// Offset of the first of the last `lines` lines of a file. Only whole lines count: what follows the last
/// line feed is still being written and belongs to the last line.
pub fn start_of_tail(file: &mut File, lines: u64) -> io::Result<u64> {
    let length = file.metadata()?.len();
    let mut end = length;
    let mut found = 0_u64;
    let mut block = Vec::new();
    while end > 0 {
        let start = end.saturating_sub(BLOCK_BYTES);
        file.seek(SeekFrom::Start(start))?;
        block.clear();
        file.by_ref().take(end - start).read_to_end(&mut block)?;
        for at in memchr::memrchr_iter(b'\n', &block) {
            // The line feed that ends the wanted lines' predecessor is one more than there are lines.
            if found == lines {
                return Ok(start + at as u64 + 1);
            }
            found += 1;
        }
        end = start;
    }
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn the_tail_begins_after_the_line_before() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"one\ntwo\nthree\n").unwrap();
        let mut at = |lines| start_of_tail(&mut file, lines).unwrap();
        assert_eq!((at(0), at(1), at(2), at(3), at(99)), (14, 8, 4, 0, 0));
    }

    #[test]
    fn files_longer_than_a_block_are_walked_backwards() {
        let mut file = tempfile::tempfile().unwrap();
        let line = format!("{}\n", "x".repeat(999));
        for _ in 0..500 {
            file.write_all(line.as_bytes()).unwrap();
        }
        assert_eq!(start_of_tail(&mut file, 400).unwrap(), 100_000);
        assert_eq!(start_of_tail(&mut tempfile::tempfile().unwrap(), 3).unwrap(), 0);
    }
}
