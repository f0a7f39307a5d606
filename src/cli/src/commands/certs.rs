//! `knarr certs`, and `knarr refresh-certs` with MicroK8s' arguments.

use super::output::{show, table};
use super::restart::while_stopped;
use crate::arguments::Location;
use crate::arguments::certs::{Certs, CertsCommand, RefreshCerts};
use crate::cluster::facts::Facts;
use crate::paths::Paths;
use crate::worker::material::Material;
use anyhow::{Context, Result, bail};
use jiff::Timestamp;
use pki::rotation::{self, Listed, Rotation};
use pki::{Component, PkiError};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Seconds of a day.
const DAY: i64 = 24 * 3600;
/// What MicroK8s answers when it is not told what to do.
const NOTHING_CHOSEN: u8 = 3;
/// Certificates that MicroK8s names, and what they are here.
const MICROK8S: [(&str, &[&str]); 2] =
    [("server.crt", &["apiserver", "kubelet-serving"]), ("front-proxy-client.crt", &["front-proxy-client"])];

/// Lists or rotates.
///
/// # Errors
/// With what to do, when it cannot be done.
pub async fn run(options: &Certs) -> Result<ExitCode> {
    match &options.command {
        CertsCommand::List { output } => {
            let all = listed(&Paths::new(&options.location.data_dir))?;
            let now = Timestamp::now();
            show(output.output, &value(&all, now), || pretty(&all, now))?;
        }
        CertsCommand::Rotate { names } => {
            rotate(&options.location, Rotation::Leaves(components(names)?)).await?;
            println!("Certificates are issued anew.");
        }
        CertsCommand::RotateCa { directory, force } => {
            rotate_authorities(&options.location, directory.as_deref(), *force).await?;
        }
        CertsCommand::Undo => undo(&options.location).await?,
    }
    Ok(ExitCode::SUCCESS)
}

/// The same in MicroK8s' words.
///
/// # Errors
/// As for [`run`].
pub async fn refresh(options: &RefreshCerts) -> Result<ExitCode> {
    let location = &options.location;
    match (&options.directory, options.cert.as_deref()) {
        _ if options.check => print!("{}", days(&listed(&Paths::new(&location.data_dir))?, Timestamp::now())),
        _ if options.undo => undo(location).await?,
        (Some(directory), _) => rotate_authorities(location, Some(directory), false).await?,
        (None, Some("ca.crt")) => rotate_authorities(location, None, false).await?,
        (None, Some(cert)) => {
            let names = MICROK8S.iter().find(|(name, _)| *name == cert).map_or(&[][..], |(_, names)| *names);
            let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            rotate(location, Rotation::Leaves(components(&names)?)).await?;
            println!("{cert} is issued anew.");
        }
        (None, None) => {
            eprintln!(
                "Say which certificate to issue anew: knarr refresh-certs --cert CERT, CERT being one of\n  \
                 server.crt, front-proxy-client.crt, ca.crt\nor see all with `knarr certs list`."
            );
            return Ok(ExitCode::from(NOTHING_CHOSEN));
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn backup(paths: &Paths) -> PathBuf {
    paths.root().join("certs-backup")
}

/// The certificates of a node, with or without a control plane.
///
/// # Errors
/// When there are none, or they cannot be read.
pub fn listed(paths: &Paths) -> Result<Vec<Listed>> {
    let directory = if Material::exists(paths) { paths.agent() } else { paths.pki() };
    if !directory.exists() {
        bail!("there are no certificates in {}; start knarr with `knarr start`", paths.root().display());
    }
    rotation::list(&directory).map_err(Into::into)
}

async fn rotate(location: &Location, rotation: Rotation) -> Result<()> {
    if Material::exists(&Paths::new(&location.data_dir)) {
        bail!(
            "a worker has its certificates from the cluster and renews them by itself; join again for new ones"
        );
    }
    while_stopped(location, |paths| {
        let rotated = rotation::rotate(&paths.pki(), &backup(paths), &rotation, Timestamp::now());
        rotated.map_err(|error| match error {
            PkiError::Damaged { path, reason } => anyhow::anyhow!("{}: {reason}", path.display()),
            other => other.into(),
        })
    })
    .await
}

async fn rotate_authorities(location: &Location, given: Option<&Path>, force: bool) -> Result<()> {
    if !force && Facts::load(&Paths::new(&location.data_dir))?.is_some() {
        bail!(
            "this node is one of several, which trust the authority that it has: with --force, every other node has \
             to leave and join again"
        );
    }
    let rotation = match given {
        Some(directory) => {
            let read = |name: &str| {
                let path = directory.join(name);
                std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
            };
            Rotation::Given { certificate_pem: read("ca.crt")?, key_pem: read("ca.key")? }
        }
        None => Rotation::Authorities,
    };
    rotate(location, rotation).await?;
    println!(
        "There is a new authority. {}",
        match given {
            Some(_) => {
                "Kubeconfigs that people took along are no longer valid (`knarr config` prints one that is), and pods that \
             use the API have to be started anew."
            }
            None => {
                "Who knows the former one goes on; it is believed until the next rotation. Start pods that use the API anew \
             before that."
            }
        }
    );
    Ok(())
}

async fn undo(location: &Location) -> Result<()> {
    while_stopped(location, |paths| {
        if !rotation::undo(&paths.pki(), &backup(paths))? {
            bail!("there is nothing to bring back: certificates were never issued anew here");
        }
        Ok(())
    })
    .await?;
    println!("The certificates from before are back.");
    Ok(())
}

fn components(names: &[String]) -> Result<Vec<Component>> {
    let leaves = || Component::ALL.into_iter().filter(|component| !component.is_authority());
    if names.is_empty() {
        return Ok(leaves().collect());
    }
    let known = || leaves().map(Component::file_stem).collect::<Vec<_>>().join(", ");
    let find = |name: &String| match Component::of_file_stem(name.trim_end_matches(".crt")) {
        Some(component) if component.is_authority() => {
            bail!("{name} is an authority; `knarr certs rotate-ca` makes new ones")
        }
        Some(component) => Ok(component),
        None => bail!("there is no certificate {name}; there are {}", known()),
    };
    names.iter().map(find).collect()
}

fn days_left(one: &Listed, now: Timestamp) -> i64 {
    (one.not_after.as_second() - now.as_second()).div_euclid(DAY)
}

fn value(all: &[Listed], now: Timestamp) -> Value {
    let one = |one: &Listed| {
        json!({"name": one.name, "authority": one.authority, "subject": one.subject,
               "notBefore": one.not_before.to_string(), "notAfter": one.not_after.to_string(),
               "daysLeft": days_left(one, now), "dnsNames": one.dns_names, "addresses": one.addresses})
    };
    Value::Array(all.iter().map(one).collect())
}

fn pretty(all: &[Listed], now: Timestamp) -> String {
    let row = |one: &Listed| {
        let left = match days_left(one, now) {
            days if days < 0 => "ENDED".to_owned(),
            days => format!("{days} days"),
        };
        let kind = if one.authority { "authority" } else { "leaf" };
        vec![one.name.clone(), kind.to_owned(), left, one.not_after.to_string(), one.subject.clone()]
    };
    table(&["NAME", "KIND", "LEFT", "ENDS", "SUBJECT"], &all.iter().map(row).collect::<Vec<_>>())
}

/// What MicroK8s prints.
fn days(all: &[Listed], now: Timestamp) -> String {
    let shown = [("CA", "ca"), ("server", "apiserver"), ("front proxy client", "front-proxy-client")];
    let line = |(title, name): &(&str, &str)| {
        let one = all.iter().find(|one| one.name == *name)?;
        Some(format!("The {title} certificate will expire in {} days.\n", days_left(one, now)))
    };
    shown.iter().filter_map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(name: &str, days: i64) -> Listed {
        let at = |days: i64| Timestamp::from_second(1_780_000_000 + days * DAY).unwrap();
        Listed {
            name: name.to_owned(),
            authority: name == "ca",
            subject: format!("CN={name}"),
            not_before: at(0),
            not_after: at(days),
            dns_names: Vec::new(),
            addresses: Vec::new(),
        }
    }

    #[test]
    fn certificates_are_told_with_the_days_that_they_have() {
        let now = Timestamp::from_second(1_780_000_000).unwrap();
        let all = [one("ca", 3650), one("apiserver", 364), one("front-proxy-client", -1)];
        assert_eq!(
            days(&all, now),
            "The CA certificate will expire in 3650 days.\nThe server certificate will expire in 364 days.\nThe front \
             proxy client certificate will expire in -1 days.\n"
        );
        let text = pretty(&all, now);
        assert!(text.contains("ca                  authority  3650 days"), "{text}");
        assert!(text.contains("front-proxy-client  leaf       ENDED"), "{text}");
        assert_eq!(value(&all, now)[1]["daysLeft"], 364);
    }

    #[test]
    fn what_is_rotated_is_named_as_it_is_listed() {
        let names = |names: &[&str]| components(&names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>());
        assert_eq!(names(&["admin", "apiserver.crt"]).unwrap(), [Component::Admin, Component::ApiServer]);
        assert_eq!(names(&[]).unwrap().len(), Component::ALL.len() - 3);
        assert!(names(&["ca"]).unwrap_err().to_string().contains("rotate-ca"));
        assert!(names(&["x"]).unwrap_err().to_string().contains("front-proxy-client"));
        for (_, components) in MICROK8S {
            for name in components {
                assert!(Component::of_file_stem(name).is_some(), "{name}");
            }
        }
    }
}
