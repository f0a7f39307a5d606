//! Completions of shells and man pages, out of the definitions that parse the command line.

use crate::arguments::Arguments;
use crate::arguments::tools::{Completions, Man, Shell};
use anyhow::{Context, Result};
use clap::CommandFactory as _;
use clap_complete::{
    generate,
    shells::{Bash, Fish, Zsh},
};
use std::io::Write as _;
use std::process::ExitCode;

/// Prints the completions of a shell.
///
/// # Errors
/// When nobody takes them.
pub fn completions(options: &Completions) -> Result<ExitCode> {
    std::io::stdout().write_all(&script(options.shell))?;
    Ok(ExitCode::SUCCESS)
}

fn script(shell: Shell) -> Vec<u8> {
    let (mut command, mut text) = (Arguments::command(), Vec::new());
    match shell {
        Shell::Bash => generate(Bash, &mut command, "knarr", &mut text),
        Shell::Zsh => generate(Zsh, &mut command, "knarr", &mut text),
        Shell::Fish => generate(Fish, &mut command, "knarr", &mut text),
    }
    text
}

/// Writes a man page for each command: `knarr.1`, `knarr-status.1`, ...
///
/// # Errors
/// When one cannot be written.
pub fn pages(options: &Man) -> Result<ExitCode> {
    let folder = &options.directory;
    std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    clap_mangen::generate_to(Arguments::command(), folder)
        .with_context(|| format!("cannot write into {}", folder.display()))?;
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_a_page_and_hidden_ones_have_none() {
        let folder = tempfile::tempdir().unwrap();
        pages(&Man { directory: folder.path().to_owned() }).unwrap();
        for command in Arguments::command().get_subcommands() {
            let page = folder.path().join(format!("knarr-{}.1", command.get_name()));
            assert_eq!(page.exists(), !command.is_hide_set(), "{}", command.get_name());
        }
        let text = std::fs::read_to_string(folder.path().join("knarr-images-import.1")).unwrap();
        assert!(text.contains("docker save"), "{text}");
    }

    #[test]
    fn shells_complete_every_command() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let text = String::from_utf8(script(shell)).unwrap();
            for word in ["refresh-certs", "uninstall", "wait-ready"] {
                assert!(text.contains(word), "{shell:?}: {word}");
            }
        }
    }
}
