//! How far a command is: one line that changes on a terminal, plain lines in a pipe.

use std::io::{IsTerminal as _, Write as _};

/// Tells a person how far a command is.
#[derive(Debug)]
pub struct Progress {
    terminal: bool,
    last: String,
}

impl Progress {
    /// On standard output.
    pub fn new() -> Self {
        Self { terminal: std::io::stdout().is_terminal(), last: String::new() }
    }

    /// What is done now. The same again is not told twice.
    pub fn step(&mut self, line: &str) {
        let shown = shown(self.terminal, &self.last, line);
        line.clone_into(&mut self.last);
        write(&shown);
    }

    /// What was done in the end; it stays.
    pub fn done(&mut self, line: &str) {
        let erase = if self.terminal && !self.last.is_empty() { ERASE } else { "" };
        self.last.clear();
        write(&format!("{erase}{line}\n"));
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        // An error is told on a line of its own.
        if self.terminal && !self.last.is_empty() {
            write("\n");
        }
    }
}

/// Back to the beginning of the line, and away with what is on it.
const ERASE: &str = "\r\x1b[2K";

fn shown(terminal: bool, last: &str, line: &str) -> String {
    match (terminal, last == line) {
        (_, true) => String::new(),
        (true, false) => format!("{ERASE}{line}"),
        (false, false) => format!("{line}\n"),
    }
}

fn write(text: &str) {
    let mut out = std::io::stdout().lock();
    // Whoever closed the pipe does not want to know.
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_has_one_line_and_a_pipe_has_each_line_once() {
        assert_eq!(shown(true, "", "a"), "\r\x1b[2Ka");
        assert_eq!(shown(false, "", "a"), "a\n");
        assert_eq!(shown(false, "a", "a"), "");
        assert_eq!(shown(true, "a", "a"), "");
    }
}
