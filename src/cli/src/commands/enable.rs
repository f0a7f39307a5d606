//! `knarr enable` and `knarr disable`.

use super::process;
use crate::arguments::AddonNames;
use crate::paths::Paths;
use addons::catalog::CORE;
use addons::engine::Engine;
use anyhow::{Result, bail};
use std::process::ExitCode;
use std::time::Duration;

/// How long an add-on may take to become ready: an image of somebody else's may have to be pulled.
const PATIENCE: Duration = Duration::from_secs(300);

/// One add-on as it is named on the command line: `[REPOSITORY/]NAME[:ARGUMENT...]`.
#[derive(Debug, PartialEq, Eq)]
struct Named {
    name: String,
    arguments: Vec<String>,
}

fn named(text: &str) -> Result<Named> {
    let (path, rest) = text.split_once(':').map_or((text, None), |(path, rest)| (path, Some(rest)));
    let name = match path.split_once('/') {
        Some((CORE, name)) => name,
        Some((repository, _)) => bail!("There is no repository {repository}; there is: {CORE}"),
        None => path,
    };
    Ok(Named {
        name: name.to_owned(),
        arguments: rest.into_iter().flat_map(|rest| rest.split(':')).map(str::to_owned).collect(),
    })
}

/// Enables add-ons, one after the other.
///
/// # Errors
/// When one is not known, cannot be applied or does not become ready.
pub async fn enable(options: &AddonNames) -> Result<ExitCode> {
    let engine = engine(options).await?;
    for addon in &options.addons {
        let Named { name, arguments } = named(addon)?;
        let before = engine.enable(&name, &arguments, PATIENCE, &mut |line| println!("{line}")).await?;
        if before {
            println!("Addon {CORE}/{name} is already enabled");
        } else {
            println!("Addon {CORE}/{name} is enabled");
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Disables add-ons, one after the other.
///
/// # Errors
/// When one is not known or something cannot be removed.
pub async fn disable(options: &AddonNames) -> Result<ExitCode> {
    let engine = engine(options).await?;
    for addon in &options.addons {
        let Named { name, .. } = named(addon)?;
        if engine.disable(&name).await? {
            println!("Addon {CORE}/{name} is disabled");
        } else {
            println!("Addon {CORE}/{name} is already disabled");
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn engine(options: &AddonNames) -> Result<Engine> {
    let paths = Paths::new(&options.location.data_dir);
    Ok(Engine::new(process::client(&paths).await?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn add_ons_are_named_with_repository_and_arguments() {
        let parsed = named("core/dns:8.8.8.8,1.1.1.1:x").unwrap();
        assert_eq!(
            parsed,
            Named { name: "dns".to_owned(), arguments: vec!["8.8.8.8,1.1.1.1".to_owned(), "x".to_owned()] }
        );
        assert_eq!(named("dns").unwrap(), Named { name: "dns".to_owned(), arguments: Vec::new() });
        assert!(named("other/dns").is_err());
    }
}
