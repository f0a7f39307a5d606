//! `knarr enable` and `knarr disable`.

use super::process;
use super::progress::Progress;
use super::repositories::hook;
use crate::arguments::{AddonNames, Location};
use crate::launch::plan::Addon as Launched;
use crate::paths::Paths;
use addons::arguments;
use addons::catalog::{self, Addon, CORE};
use addons::engine::{Engine, EngineError};
use addons::repositories::{ForeignAddon, Repositories, Repository};
use anyhow::{Context, Result, bail};
use std::process::{ExitCode, ExitStatus};
use std::time::Duration;

/// How long an add-on may take to become ready: an image of somebody else's may have to be pulled.
pub const PATIENCE: Duration = Duration::from_secs(300);

/// One add-on as it is named on the command line: `[REPOSITORY/]NAME[:ARGUMENT...]`, or alone with flags.
#[derive(Debug, PartialEq, Eq)]
struct Named {
    repository: Option<String>,
    name: String,
    arguments: Vec<String>,
    flags: Vec<String>,
}

/// What a name stands for.
#[derive(Debug)]
enum Chosen<'a> {
    Core(&'static Addon),
    Foreign(&'a Repository, &'a ForeignAddon),
}

fn named(text: &str) -> Named {
    let (path, rest) = text.split_once(':').map_or((text, None), |(path, rest)| (path, Some(rest)));
    let (repository, name) =
        path.split_once('/').map_or((None, path), |(r, name)| (Some(r.to_owned()), name));
    Named {
        repository,
        name: name.to_owned(),
        arguments: rest.into_iter().flat_map(|rest| rest.split(':')).map(str::to_owned).collect(),
        flags: Vec::new(),
    }
}

/// All that the command line names: many add-ons with `:`, or one with flags.
fn all_named(words: &[String]) -> Result<Vec<Named>> {
    let flag = words.iter().position(|word| word.starts_with('-'));
    let Some(flag) = flag else { return Ok(words.iter().map(|word| named(word)).collect()) };
    if flag == 0 {
        bail!("the add-on comes first, then its flags: knarr enable ADDON {}", words.join(" "));
    }
    let (first, flags) = words.split_first().context("an add-on is missing")?;
    let mut one = named(first);
    if !one.arguments.is_empty() {
        bail!("Can't pass string arguments and flag arguments simultaneously!");
    }
    one.flags = flags.to_vec();
    Ok(vec![one])
}

fn choose<'a>(named: &Named, others: &'a [Repository]) -> Result<Chosen<'a>> {
    let wanted = named.repository.as_deref();
    if let Some(wanted) = wanted.filter(|w| *w != CORE && !others.iter().any(|other| other.name == *w)) {
        bail!("There is no repository {wanted}; `knarr addons repo list` lists what there is");
    }
    let is = |repository: &str| wanted.is_none_or(|wanted| wanted == repository);
    let core = catalog::find(&named.name).filter(|_| is(CORE)).map(|addon| (CORE, Chosen::Core(addon)));
    let foreign = others.iter().filter(|other| is(&other.name)).filter_map(|other| {
        let addon = other.addons.iter().find(|addon| addon.name == named.name)?;
        Some((other.name.as_str(), Chosen::Foreign(other, addon)))
    });
    let mut found: Vec<_> = core.into_iter().chain(foreign).collect();
    if found.len() > 1 {
        let names: Vec<String> = found.iter().map(|(other, _)| format!("{other}/{}", named.name)).collect();
        bail!("Addon {} exists in more than one repository; say which: {}", named.name, names.join(", "));
    }
    Ok(found.pop().ok_or_else(|| EngineError::Unknown(named.name.clone()))?.1)
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
    act(options, true).await
}

/// Disables add-ons, one after the other.
///
/// # Errors
/// When one is not known or something cannot be removed.
pub async fn disable(options: &AddonNames) -> Result<ExitCode> {
    act(options, false).await
}

async fn act(options: &AddonNames, enable: bool) -> Result<ExitCode> {
    let (words, location) = located(options)?;
    let paths = Paths::new(&location.data_dir);
    let others = Repositories::new(paths.repositories()).list();
    let all = all_named(&words)?;
    let mut chosen = Vec::new();
    for one in &all {
        let which = choose(one, &others)?;
        if let (Chosen::Core(addon), false) = (&which, enable) {
            // Before anything of another one is removed.
            arguments::disabling(addon, words_of(one))?;
        }
        chosen.push((one, which));
    }
    let engine = Engine::new(process::client(&paths).await?);
    let mut progress = Progress::new();
    for (one, which) in chosen {
        if let Some(ended) = change(&engine, &paths, one, &which, enable, &mut progress).await? {
            eprintln!("Addon {}: its hook ended with {ended}", one.name);
            return Ok(ended
                .code()
                .and_then(|c| u8::try_from(c).ok())
                .map_or(ExitCode::FAILURE, ExitCode::from));
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Enables or disables one; answers how its hook failed, if that is what happened.
async fn change(
    engine: &Engine,
    paths: &Paths,
    one: &Named,
    which: &Chosen<'_>,
    enable: bool,
    progress: &mut Progress,
) -> Result<Option<ExitStatus>> {
    let (repository, name, before) = match which {
        Chosen::Core(addon) => {
            if let (Some(url), true) = (&addon.repository, enable) {
                let values = arguments::values(addon, &arguments::read(addon, &given(one, addon)?)?)?;
                let reference = values.get("REFERENCE").map_or("", String::as_str);
                progress.step(&format!("Fetching {url}"));
                Repositories::new(paths.repositories()).add(&addon.name, url, reference, true)?;
            } else if addon.repository.is_some() {
                Repositories::new(paths.repositories()).remove(&addon.name)?;
            }
            (CORE, addon.name.as_str(), core(engine, one, addon, enable, progress).await?)
        }
        Chosen::Foreign(repository, addon) => {
            let verb = if enable { "enable" } else { "disable" };
            let arguments = words_of(one);
            let ended = hook(paths, repository, addon, verb, arguments)?;
            if !ended.success() {
                return Ok(Some(ended));
            }
            let before = engine.note(repository, addon, enable, arguments).await?;
            (repository.name.as_str(), addon.name.as_str(), before)
        }
    };
    let done = if enable { "enabled" } else { "disabled" };
    let already = if before == enable { "already " } else { "" };
    progress.done(&format!("Addon {repository}/{name} is {already}{done}"));
    if let Chosen::Core(Addon { hint: Some(hint), .. }) = which
        && enable
    {
        progress.done(hint.trim_end());
    }
    Ok(None)
}

/// Enables or disables what a launch configuration names.
///
/// # Errors
/// When it is not known, cannot be applied or removed, or does not become ready.
pub async fn one(engine: &Engine, paths: &Paths, addon: &Launched) -> Result<()> {
    let others = Repositories::new(paths.repositories()).list();
    let one = launched(addon);
    let which = choose(&one, &others)?;
    match change(engine, paths, &one, &which, !addon.disable, &mut Progress::new()).await? {
        Some(ended) => bail!("its hook ended with {ended}"),
        None => Ok(()),
    }
}

/// Whether a launch configuration names an add-on that there is, with arguments that it takes; `more` repositories may
/// bring others.
///
/// # Errors
/// What is wrong with it.
pub fn check(addon: &Launched, others: &[Repository], more: bool) -> Result<()> {
    let one = launched(addon);
    let which = match choose(&one, others) {
        Ok(which) => which,
        Err(_) if more => return Ok(()),
        Err(error) => return Err(error),
    };
    let Chosen::Core(core) = which else { return Ok(()) };
    if !addon.disable {
        arguments::values(core, &arguments::read(core, &given(&one, core)?)?)?;
    } else if let Some(why) = &core.always {
        return Err(EngineError::Always(core.name.clone(), why.clone()).into());
    } else {
        arguments::disabling(core, words_of(&one))?;
    }
    Ok(())
}

fn launched(addon: &Launched) -> Named {
    let mut one = named(&addon.name);
    match addon.arguments.first().is_some_and(|first| first.starts_with('-')) {
        true => one.flags.clone_from(&addon.arguments),
        false => one.arguments.clone_from(&addon.arguments),
    }
    one
}

/// Answers whether it was enabled before (with these arguments).
async fn core(
    engine: &Engine,
    one: &Named,
    addon: &Addon,
    enable: bool,
    progress: &mut Progress,
) -> Result<bool> {
    let mut tell = |line: String| progress.step(&line);
    if !enable {
        return Ok(engine.disable(&addon.name, words_of(one), PATIENCE, &mut tell).await?);
    }
    Ok(engine.enable(&addon.name, &given(one, addon)?, PATIENCE, &mut tell).await?)
}

/// What was written after an add-on, as it was.
fn words_of(one: &Named) -> &[String] {
    if one.flags.is_empty() { &one.arguments } else { &one.flags }
}

/// The arguments of an add-on, however they were written.
fn given(one: &Named, addon: &Addon) -> Result<Vec<String>> {
    let flags = arguments::from_flags(addon, &one.flags)?;
    Ok(if flags.is_empty() { one.arguments.clone() } else { flags })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn add_ons_are_named_with_repository_and_arguments() {
        let parsed = named("core/dns:8.8.8.8,1.1.1.1:x");
        assert_eq!((parsed.repository.as_deref(), parsed.name.as_str()), (Some("core"), "dns"));
        assert_eq!(parsed.arguments, ["8.8.8.8,1.1.1.1", "x"]);
        assert_eq!(named("dns").repository, None);
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
        let flags = |line: &str| words(line).unwrap().remove(0).flags;
        assert_eq!(
            flags("storage -r Retain --default-class=false"),
            ["-r", "Retain", "--default-class=false"]
        );
        assert_eq!(flags("storage -d false --data-dir /x"), ["-d", "false"]);
        assert_eq!(words("storage dns:1.1.1.1").unwrap().len(), 2);
        assert!(words("storage:Retain -d false").unwrap_err().to_string().contains("simultaneously"));
    }

    #[test]
    fn names_stand_for_one_add_on() {
        let chosen = |text: &str| choose(&named(text), &[]);
        assert!(matches!(chosen("storage"), Ok(Chosen::Core(addon)) if addon.name == "hostpath-storage"));
        assert!(chosen("core/dns").is_ok());
        assert!(chosen("nonsense").unwrap_err().to_string().contains("Addon nonsense was not found"));
        assert!(chosen("other/dns").unwrap_err().to_string().contains("There is no repository other"));
    }

    #[test]
    fn an_add_on_of_two_repositories_must_be_told_apart() {
        let (root, from) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let hooks = from.path().join("addons/dns");
        std::fs::create_dir_all(&hooks).unwrap();
        for verb in ["enable", "disable"] {
            use std::os::unix::fs::PermissionsExt;
            std::fs::write(hooks.join(verb), "").unwrap();
            std::fs::set_permissions(hooks.join(verb), std::fs::Permissions::from_mode(0o755)).unwrap();
        }
        std::fs::write(from.path().join("addons.yaml"), "microk8s-addons: {addons: [{name: dns}]}").unwrap();
        let repositories = Repositories::new(root.path());
        repositories.add("mine", from.path().to_str().unwrap(), "", false).unwrap();
        let others = repositories.list();
        let error = choose(&named("dns"), &others).unwrap_err().to_string();
        assert!(error.contains("core/dns, mine/dns"), "{error}");
        assert!(matches!(choose(&named("mine/dns"), &others), Ok(Chosen::Foreign(..))));
        assert!(matches!(choose(&named("core/dns"), &others), Ok(Chosen::Core(_))));
    }
}
