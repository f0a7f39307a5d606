//! `knarr add-node`: a token, and the line to run on the node that is to join.

use super::process;
use super::token::make;
use crate::arguments::cluster::{AddNode, AddNodeFormat};
use crate::cluster::target::{check_of, place};
use crate::paths::Paths;
use crate::server::addresses;
use anyhow::{Context, Result};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use serde_json::json;
use std::process::ExitCode;

/// Makes a token and prints how to use it.
///
/// # Errors
/// When knarr does not run here.
pub async fn run(options: &AddNode) -> Result<ExitCode> {
    let paths = Paths::new(&options.location.data_dir);
    let state = process::state(&paths)?.context("knarr never ran here; start it with `knarr start`")?;
    let check = check(&paths)?;
    let token = make(&paths, options.token.as_deref(), options.token_ttl).await?;
    let mut hosts = vec![state.address.clone()];
    hosts.extend(addresses::outside().into_iter().map(|address| address.to_string()));
    let mut urls: Vec<String> = Vec::new();
    for host in hosts {
        let url = format!("{}/{token}/{check}", place(&host, state.port));
        if !urls.contains(&url) {
            urls.push(url);
        }
    }
    print!("{}", shown(options.format, &token, &check, &urls)?);
    Ok(ExitCode::SUCCESS)
}

/// The pin of this cluster's authority.
fn check(paths: &Paths) -> Result<String> {
    let path = paths.pki().join("ca.crt");
    let text =
        std::fs::read(&path).with_context(|| format!("cannot read {}; run this as root", path.display()))?;
    let authority = CertificateDer::from_pem_slice(&text);
    Ok(check_of(&authority.with_context(|| format!("{} holds no certificate", path.display()))?))
}

fn shown(format: AddNodeFormat, token: &str, check: &str, urls: &[String]) -> Result<String> {
    let first = urls.first().map(String::as_str).unwrap_or_default();
    let lines = |urls: &[String]| urls.iter().map(|url| format!("knarr join {url}\n")).collect::<String>();
    let value = json!({"token": format!("{token}/{check}"), "urls": urls});
    Ok(match format {
        AddNodeFormat::Pretty => {
            let mut text = format!(
                "From the node you wish to join to this cluster, run the following:\nknarr join {first}\n\nUse the \
                 '--worker' flag to join a node as a worker not running the control plane, eg:\nknarr join {first} \
                 --worker\n"
            );
            if let Some(others) = urls.get(1..).filter(|others| !others.is_empty()) {
                text.push_str(
                    "\nIf the node you are adding is not reachable through the default interface you can use one of \
                     the following:\n",
                );
                text.push_str(&lines(others));
            }
            text
        }
        AddNodeFormat::Short => lines(urls),
        AddNodeFormat::Token => format!("{token}\n"),
        AddNodeFormat::TokenCheck => format!("{token}/{check}\n"),
        AddNodeFormat::Json => format!("{}\n", serde_json::to_string_pretty(&value)?),
        AddNodeFormat::Yaml => apimachinery::decode::to_yaml(&value)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_tells_the_same() {
        let urls = ["10.0.0.1:6443/t/c".to_owned(), "[fd00::1]:6443/t/c".to_owned()];
        let shown = |format| shown(format, "t", "c", &urls).unwrap();
        assert_eq!(
            shown(AddNodeFormat::Pretty),
            "From the node you wish to join to this cluster, run the following:\nknarr join 10.0.0.1:6443/t/c\n\n\
             Use the '--worker' flag to join a node as a worker not running the control plane, eg:\n\
             knarr join 10.0.0.1:6443/t/c --worker\n\n\
             If the node you are adding is not reachable through the default interface you can use one of the \
             following:\nknarr join [fd00::1]:6443/t/c\n"
        );
        assert_eq!(
            shown(AddNodeFormat::Short),
            "knarr join 10.0.0.1:6443/t/c\nknarr join [fd00::1]:6443/t/c\n"
        );
        assert_eq!(
            (shown(AddNodeFormat::Token), shown(AddNodeFormat::TokenCheck)),
            ("t\n".into(), "t/c\n".into())
        );
        let json: serde_json::Value = serde_json::from_str(&shown(AddNodeFormat::Json)).unwrap();
        assert_eq!(json, json!({"token": "t/c", "urls": urls}));
        assert!(shown(AddNodeFormat::Yaml).contains("token: t/c"));
    }
}
