//! `knarr enable` and `knarr disable`.

use super::process;
use crate::arguments::{AddonNames, Location};
use crate::paths::Paths;
use addons::catalog::{self, CORE};
use addons::engine::{Engine, EngineError};
use anyhow::{Context, Result, bail};
use std::process::ExitCode;
use std::time::Duration;

/// How long an add-on may take to become ready: an image of somebody else's may have to be pulled.
const PATIENCE: Duration = Duration::from_secs(300);

/// One add-on as it is named on the command line: `[REPOSITORY/]NAME[:ARGUMENT...]`, or alone with flags.
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
    // An alias is told by its name from here on.
    let name = catalog::find(name).map_or(name, |addon| &addon.name);
    Ok(Named {
        name: name.to_owned(),
        arguments: rest.into_iter().flat_map(|rest| rest.split(':')).map(str::to_owned).collect(),
    })
}

/// All that the command line names: many add-ons with `:`, or one with flags.
fn all_named(words: &[String]) -> Result<Vec<Named>> {
    if !words.iter().any(|word| word.starts_with('-')) {
        return words.iter().map(|word| named(word)).collect();
    }
    let (first, flags) = words.split_first().context("an add-on is missing")?;
    let mut one = named(first)?;
    if first.starts_with('-') {
        bail!("the add-on comes first, then its flags: knarr enable ADDON {}", words.join(" "));
    }
    if !one.arguments.is_empty() {
        bail!("Can't pass string arguments and flag arguments simultaneously!");
    }
    let addon = catalog::find(&one.name).ok_or_else(|| EngineError::Unknown(one.name.clone()))?;
    one.arguments = addons::arguments::from_flags(addon, flags)?;
    Ok(vec![one])
}

/// Flags of the command itself that stand behind the add-on, among its own.
fn located(options: &AddonNames) -> Result<(Vec<String>, Location)> {
    let mut location = options.location.clone();
    let mut words = Vec::new();
    let mut rest = options.addons.iter();
    while let Some(word) = rest.next() {
        let (flag, value) = word.split_once('=').map_or((word.as_str(), None), |(f, v)| (f, Some(v)));
        let target = match flag {
            "--data-dir" => &mut location.data_dir,
            "--config" => &mut location.config,
            _ => {
                words.push(word.clone());
                continue;
            }
        };
        let value = value.or_else(|| rest.next().map(String::as_str));
        *target = value.with_context(|| format!("{flag} needs a value"))?.into();
    }
    Ok((words, location))
}

/// Enables add-ons, one after the other.
///
/// # Errors
/// When one is not known, cannot be applied or does not become ready.
pub async fn enable(options: &AddonNames) -> Result<ExitCode> {
    let (words, location) = located(options)?;
    let all = all_named(&words)?;
    let engine = engine(&location).await?;
    for Named { name, arguments } in all {
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
    let (words, location) = located(options)?;
    let all = all_named(&words)?;
    if let Some(one) = all.iter().find(|one| !one.arguments.is_empty()) {
        bail!("disabling takes no arguments: knarr disable {}", one.name);
    }
    let engine = engine(&location).await?;
    for Named { name, .. } in all {
        if engine.disable(&name).await? {
            println!("Addon {CORE}/{name} is disabled");
        } else {
            println!("Addon {CORE}/{name} is already disabled");
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn engine(location: &Location) -> Result<Engine> {
    let paths = Paths::new(&location.data_dir);
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
        assert_eq!(named("storage").unwrap().name, "hostpath-storage");
    }

    fn words(line: &str) -> Result<Vec<Named>> {
        use clap::Parser as _;
        let line = format!("knarr enable {line}");
        let arguments = crate::arguments::Arguments::try_parse_from(line.split(' '))?;
        let crate::arguments::Command::Enable(options) = arguments.command else { bail!("another command") };
        all_named(&located(&options)?.0)
    }

    #[test]
    fn one_add_on_can_have_flags() {
        let arguments = |line: &str| words(line).unwrap().remove(0).arguments;
        let expected = ["reclaim-policy=Retain", "default-class=false"];
        assert_eq!(arguments("storage -r Retain --default-class=false"), expected);
        assert_eq!(arguments("storage --reclaim-policy Retain -d false --data-dir /x"), expected);
        assert_eq!(words("storage dns:1.1.1.1").unwrap().len(), 2);
    }

    #[test]
    fn wrong_words_are_refused() {
        let told = |line: &str| words(line).unwrap_err().to_string();
        assert!(told("storage:Retain -d false").contains("simultaneously"));
        assert!(told("storage --nonsense").contains("there is no flag --nonsense"));
        assert!(told("nonsense --flag").contains("Addon nonsense was not found"));
    }
}
