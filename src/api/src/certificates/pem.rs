//! Blocks of PEM (RFC 7468) in requests, certificates, bundles and secrets. What is in a block is for signers to read.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

const BEGIN: &str = "-----BEGIN ";
const END: &str = "-----END ";
const DASHES: &str = "-----";

/// One block.
#[derive(Debug, PartialEq, Eq)]
pub struct Block<'a> {
    /// What it says it is.
    pub label: &'a str,
    /// Whether there are headers before its bytes.
    pub has_headers: bool,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// The blocks in a text, whatever is between them. What begins like one and is none is passed over.
pub fn blocks(text: &str) -> Vec<Block<'_>> {
    let mut blocks = Vec::new();
    let mut lines = text.lines().map(str::trim_end);
    while let Some(line) = lines.next() {
        let Some(label) = label(line, BEGIN) else { continue };
        let mut rest = lines.clone();
        if let Some(block) = block(label, &mut rest) {
            blocks.push(block);
            lines = rest;
        }
    }
    blocks
}

fn label<'a>(line: &'a str, begin: &str) -> Option<&'a str> {
    line.strip_prefix(begin)?.strip_suffix(DASHES)
}

/// The block whose first line was just read.
fn block<'a>(begun: &'a str, lines: &mut impl Iterator<Item = &'a str>) -> Option<Block<'a>> {
    let (mut has_headers, mut encoded) = (false, String::new());
    for line in lines {
        if let Some(ended) = label(line, END) {
            let bytes = STANDARD.decode(encoded).ok().filter(|_| ended == begun)?;
            return Some(Block { label: begun, has_headers, bytes });
        }
        if encoded.is_empty() && line.contains(':') {
            has_headers = true;
        } else {
            encoded.extend(line.chars().filter(|c| !c.is_whitespace()));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_found_between_other_text() {
        let text = "# one\n-----BEGIN A-----\nAQ\n ==\n-----END A-----\n-----BEGIN B-----\nAQ==\n-----END C-----\n\
            -----BEGIN D-----\nk: v\n\nAg==\n-----END D-----\r\n-----BEGIN E-----\n";
        let found = blocks(text);
        assert_eq!(
            found,
            [
                Block { label: "A", has_headers: false, bytes: vec![1] },
                Block { label: "D", has_headers: true, bytes: vec![2] },
            ]
        );
        assert!(blocks("AQ==").is_empty());
    }
}
