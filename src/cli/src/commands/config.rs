//! `knarr config`: a kubeconfig to take along.

use super::process;
use crate::arguments::Config;
use crate::paths::Paths;
use anyhow::{Context, Result, bail};
use std::net::IpAddr;
use std::process::ExitCode;

/// Prints the administrator's kubeconfig with the node's address, or loopback.
///
/// # Errors
/// When knarr never ran here or the file cannot be read.
pub fn run(options: &Config) -> Result<ExitCode> {
    let paths = Paths::new(&options.location.data_dir);
    let path = paths.kubeconfig();
    let Some(state) = process::state(&paths)? else {
        bail!(
            "knarr never ran with the data directory {}; start it with `knarr start`",
            paths.root().display()
        );
    };
    process::not_a_worker(&paths)?;
    let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let host = if options.use_loopback { "127.0.0.1" } else { state.address.as_str() };
    print!("{}", with_server(&text, &server_url(host, state.port)));
    Ok(ExitCode::SUCCESS)
}

/// `https://HOST:PORT`, with brackets around an IPv6 address.
pub fn server_url(host: &str, port: u16) -> String {
    match host.parse::<IpAddr>() {
        Ok(IpAddr::V6(address)) => format!("https://[{address}]:{port}"),
        _ => format!("https://{host}:{port}"),
    }
}

/// The kubeconfig with another server.
fn with_server(text: &str, url: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for line in text.lines() {
        match line.find("server: ") {
            Some(at) => out.push_str(&format!("{}server: {url}", line.get(..at).unwrap_or(""))),
            None => out.push_str(line),
        }
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_server_changes() {
        let text = "clusters:\n- cluster:\n    server: https://127.0.0.1:6443\n  name: knarr\n";
        assert_eq!(
            with_server(text, &server_url("10.0.0.1", 7443)),
            "clusters:\n- cluster:\n    server: https://10.0.0.1:7443\n  name: knarr\n"
        );
        assert_eq!(server_url("fd00::1", 1), "https://[fd00::1]:1");
    }
}
