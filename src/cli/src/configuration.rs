//! Flags, environment, launch configuration and configuration file become one list of arguments. A flag on the command
//! line wins over the environment, that over the launch configuration, that over the file, that over the default.

use crate::arguments::{Arguments, DATA_DIR};
use crate::launch;
use anyhow::{Context, Result, bail};
use apimachinery::decode;
use clap::{CommandFactory as _, Parser as _};
use serde_json::{Map, Value};
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// Where the file is unless something else is said.
const DEFAULT_FILE: &str = "/etc/knarr/config.yaml";

/// Adds what the configuration file says to the arguments of `knarr server` and `knarr agent`; other commands stay as
/// they are.
///
/// # Errors
/// When the file cannot be read or parsed, or names something that is no flag.
pub fn with_file(arguments: Vec<OsString>) -> Result<Vec<OsString>> {
    let command = arguments.get(1).and_then(|command| command.to_str());
    let Some(command) = command.filter(|command| matches!(*command, "server" | "agent")).map(str::to_owned)
    else {
        return Ok(arguments);
    };
    let (path, named) = file(&arguments);
    let mut entries = match std::fs::read_to_string(&path) {
        Ok(text) => entries(&command, &path, &text)?,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && may_lack(&path, named) => Map::new(),
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
    };
    let given = given(&arguments);
    let with = |entries| {
        let flags = flags_of(entries, &given, |key| std::env::var_os(key).is_some());
        let flags = flags.with_context(|| path.display().to_string())?;
        Ok::<_, anyhow::Error>(arguments.iter().cloned().chain(flags).collect::<Vec<_>>())
    };
    let Some(plan) = launch::read(&path, &data_dir(&arguments, &entries))? else { return with(entries) };
    let before = with(entries.clone())?;
    plan.flags.apply(&mut entries, &flags(&command));
    let all = with(entries)?;
    // Whose fault it is: without the launch configuration it would do.
    if let Err(error) = Arguments::try_parse_from(&all)
        && Arguments::try_parse_from(&before).is_ok()
    {
        let text = error.to_string();
        bail!("{}: {}", plan.shown, text.lines().next().unwrap_or(&text));
    }
    Ok(all)
}

/// Whether a file need not be there: one that nobody has named, or that is named to all by a variable.
fn may_lack(path: &Path, named: bool) -> bool {
    !named || std::env::var_os("KNARR_CONFIG").is_some() || launch::exists(path)
}

/// The data directory, as the command will find it.
fn data_dir(arguments: &[OsString], entries: &Map<String, Value>) -> PathBuf {
    let by_flag = value_of(arguments, "--data-dir").or_else(|| std::env::var_os("KNARR_DATA_DIR"));
    let by_file = || Some(OsString::from(entries.get("data-dir")?.as_str()?));
    by_flag.or_else(by_file).map_or_else(|| PathBuf::from(DATA_DIR), PathBuf::from)
}

/// The value of a flag on the command line.
fn value_of(arguments: &[OsString], flag: &str) -> Option<OsString> {
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        if argument == flag {
            return rest.next().cloned();
        }
        let joined = argument.to_str().and_then(|argument| argument.strip_prefix(flag)?.strip_prefix('='));
        if let Some(value) = joined {
            return Some(value.into());
        }
    }
    None
}

/// The file's path, and whether somebody named it.
fn file(arguments: &[OsString]) -> (PathBuf, bool) {
    if let Some(path) = value_of(arguments, "--config") {
        return (PathBuf::from(path), true);
    }
    match std::env::var_os("KNARR_CONFIG") {
        Some(path) => (PathBuf::from(path), true),
        None => (PathBuf::from(DEFAULT_FILE), false),
    }
}

/// Names of the long flags on the command line.
fn given(arguments: &[OsString]) -> BTreeSet<String> {
    let long = arguments.iter().filter_map(|a| a.to_str()?.strip_prefix("--"));
    long.map(|flag| flag.split('=').next().unwrap_or(flag).to_owned()).collect()
}

/// What the file says of flags.
fn entries(command: &str, path: &Path, text: &str) -> Result<Map<String, Value>> {
    let shown = path.display();
    if text.trim().is_empty() {
        return Ok(Map::new());
    }
    let value = decode::yaml(text.as_bytes()).with_context(|| format!("{shown} is not valid YAML"))?.value;
    let entries = match value {
        Value::Null => return Ok(Map::new()),
        Value::Object(entries) => entries,
        _ => bail!(
            "{shown}: must be a map from flags of `knarr {command}` to values, such as `node-name: one`"
        ),
    };
    let known = flags(command);
    if let Some(key) = entries.keys().find(|key| !known.contains(*key)) {
        let names: Vec<&str> = known.iter().map(String::as_str).collect();
        bail!("{shown}: unknown key {key:?}; known keys: {}", names.join(", "));
    }
    Ok(entries)
}

/// The arguments that these stand for, without those in `given` or in the environment.
fn flags_of(
    entries: Map<String, Value>,
    given: &BTreeSet<String>,
    in_environment: impl Fn(&str) -> bool,
) -> Result<Vec<OsString>> {
    let mut arguments = Vec::new();
    for (key, value) in entries {
        let variable = format!("KNARR_{}", key.replace('-', "_").to_uppercase());
        if given.contains(&key) || in_environment(&variable) {
            continue;
        }
        for item in values(value).context(key.clone())? {
            arguments.push(OsString::from(match item {
                Some(text) => format!("--{key}={text}"),
                None => format!("--{key}"),
            }));
        }
    }
    Ok(arguments)
}

/// A value of the file as the values of a flag; `None` is a flag without one.
fn values(value: Value) -> Result<Vec<Option<String>>> {
    Ok(match value {
        Value::Null | Value::Bool(false) => Vec::new(),
        Value::Bool(true) => vec![None],
        Value::String(text) => vec![Some(text)],
        Value::Number(number) => vec![Some(number.to_string())],
        Value::Array(items) => {
            let mut all = Vec::new();
            for item in items {
                all.extend(values(item)?);
            }
            all
        }
        Value::Object(_) => bail!("must be a value or a list of values"),
    })
}

/// The long flags of a command that may stand in a file.
fn flags(command: &str) -> BTreeSet<String> {
    let all = Arguments::command();
    let command = all.find_subcommand(command);
    command
        .into_iter()
        .flat_map(clap::Command::get_arguments)
        .filter_map(|a| a.get_long())
        .filter(|name| !matches!(*name, "config" | "help" | "version"))
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, given: &[&str], environment: &[&str]) -> Result<Vec<OsString>> {
        let given = given.iter().map(|g| (*g).to_owned()).collect();
        flags_of(entries("server", Path::new("c.yaml"), text)?, &given, |key| environment.contains(&key))
    }

    #[test]
    fn every_kind_of_value_becomes_flags() {
        let text = "node-name: one\nhttps-listen-port: 7443\ndisable-agent: true\ntls-san:\n- a\n- b\n";
        assert_eq!(
            read(text, &[], &[]).unwrap(),
            ["--disable-agent", "--https-listen-port=7443", "--node-name=one", "--tls-san=a", "--tls-san=b"]
        );
    }

    #[test]
    fn flags_and_environment_win_over_the_file() {
        let text = "node-name: one\nhttps-listen-port: 7443\n";
        assert!(read(text, &["node-name"], &["KNARR_HTTPS_LISTEN_PORT"]).unwrap().is_empty());
    }

    #[test]
    fn what_is_no_flag_is_refused_with_the_known_ones() {
        let error = read("node-nam: one\n", &[], &[]).unwrap_err().to_string();
        assert!(error.contains("unknown key \"node-nam\"") && error.contains("node-name"), "{error}");
        assert!(read("- a\n", &[], &[]).is_err());
        assert!(read("node-name: {a: b}\n", &[], &[]).is_err());
        assert!(read(": [", &[], &[]).is_err());
    }

    #[test]
    fn a_worker_has_flags_of_its_own() {
        let none = BTreeSet::new();
        let read = |text| flags_of(entries("agent", Path::new("c.yaml"), text)?, &none, |_| false);
        assert_eq!(read("server: https://a:6443\n").unwrap(), ["--server=https://a:6443"]);
        assert!(read("service-cidr: 10.2.0.0/16\n").is_err());
    }

    #[test]
    fn an_empty_file_says_nothing() {
        assert!(read("", &[], &[]).unwrap().is_empty());
        assert!(read("# nothing\n", &[], &[]).unwrap().is_empty());
    }

    #[test]
    fn every_flag_of_a_node_has_its_variable() {
        let command = Arguments::command();
        let commands = ["server", "agent"].map(|name| command.find_subcommand(name).unwrap());
        for argument in commands.into_iter().flat_map(clap::Command::get_arguments) {
            let Some(long) = argument.get_long() else { continue };
            if matches!(long, "help" | "version" | "verbose") {
                continue;
            }
            let expected = format!("KNARR_{}", long.replace('-', "_").to_uppercase());
            assert_eq!(argument.get_env().and_then(|e| e.to_str()), Some(expected.as_str()), "{long}");
        }
    }
}
