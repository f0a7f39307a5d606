//! What people write after an add-on's name: `dns:8.8.8.8`, `registry:size=40Gi`, `registry --size 40Gi`. Pure.

use crate::catalog::{Addon, Argument, ArgumentKind, Disabling};
use crate::loadbalancer::Ranges;
use apimachinery::quantity::Quantity;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// Why arguments do not fit an add-on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ArgumentError {
    /// More arguments than the add-on has.
    #[error("add-on {addon} takes {takes} argument(s), {given} given{usage}")]
    TooMany {
        /// The add-on.
        addon: String,
        /// How many it takes.
        takes: usize,
        /// How many were given.
        given: usize,
        /// How to write it.
        usage: String,
    },
    /// A flag that the add-on does not have, or that lacks its value.
    #[error("add-on {addon}: {why}{usage}")]
    Flag {
        /// The add-on.
        addon: String,
        /// What is wrong.
        why: String,
        /// How to write it.
        usage: String,
    },
    /// An argument without a default was not given.
    #[error("add-on {addon} needs the argument {name}: {help}")]
    Missing {
        /// The add-on.
        addon: String,
        /// The argument.
        name: String,
        /// What it is.
        help: String,
    },
    /// An argument's value has the wrong form.
    #[error("argument {name} of add-on {addon}: {value:?} is not {expected}")]
    Value {
        /// The add-on.
        addon: String,
        /// The argument.
        name: String,
        /// What was given.
        value: String,
        /// What it should be.
        expected: String,
    },
}

/// The arguments as they are recorded, `NAME=VALUE` in the add-on's order: those given by name, and the others by their
/// place. Empty ones count as not given.
///
/// # Errors
/// When there are too many or a value has the wrong form.
pub fn read(addon: &Addon, given: &[String]) -> Result<Vec<String>, ArgumentError> {
    let mut values = BTreeMap::new();
    let mut place = 0;
    let whole = whole(addon, given);
    for text in whole.as_ref().map_or(given, std::slice::from_ref) {
        let named = text.split_once('=').and_then(|(name, value)| Some((position(addon, name)?, value)));
        let (at, value) = named.unwrap_or_else(|| {
            place += 1;
            (place - 1, text)
        });
        let argument = addon.arguments.get(at).ok_or_else(|| ArgumentError::TooMany {
            addon: addon.name.clone(),
            takes: addon.arguments.len(),
            given: given.len(),
            usage: usage(addon),
        })?;
        if !value.is_empty() {
            check(addon, argument, value)?;
            values.insert(at, format!("{}={value}", argument.name));
        }
    }
    Ok(values.into_values().collect())
}

/// Flags after one add-on (`--size 40Gi`, `--size=40Gi`, `-s 40Gi`; a boolean may lack its value) as `NAME=VALUE`.
///
/// # Errors
/// When there is no such flag, or it lacks its value.
pub fn from_flags(addon: &Addon, flags: &[String]) -> Result<Vec<String>, ArgumentError> {
    let wrong = |why: String| ArgumentError::Flag { addon: addon.name.clone(), why, usage: usage(addon) };
    let mut given = Vec::new();
    let mut rest = flags.iter().peekable();
    while let Some(flag) = rest.next() {
        let (name, value) = flag.split_once('=').map_or((flag.as_str(), None), |(n, v)| (n, Some(v)));
        let argument = addon
            .arguments
            .iter()
            .find(|a| match name.strip_prefix("--") {
                Some(long) => a.name == long,
                None => name.strip_prefix('-').is_some_and(|short| a.short.as_deref() == Some(short)),
            })
            .ok_or_else(|| wrong(format!("there is no flag {flag}")))?;
        let value = match value {
            Some(value) => value.to_owned(),
            None => match rest.next_if(|next| !next.starts_with('-')) {
                Some(value) => value.clone(),
                None if argument.kind == ArgumentKind::Boolean => "true".to_owned(),
                None => return Err(wrong(format!("the flag {flag} needs a value"))),
            },
        };
        given.push(format!("{}={value}", argument.name));
    }
    Ok(given)
}

/// What is asked for when an add-on is disabled: words, as `NAME:WORD` or `NAME --WORD`. They may destroy something, so
/// that none is guessed.
///
/// # Errors
/// When the add-on does not know one of them.
pub fn disabling<'a>(addon: &'a Addon, given: &[String]) -> Result<Vec<&'a Disabling>, ArgumentError> {
    let known = |word: &String| {
        let name = word.strip_prefix("--").unwrap_or(word);
        addon.disabling.iter().find(|one| one.name == name).ok_or_else(|| ArgumentError::Flag {
            addon: addon.name.clone(),
            why: match addon.disabling.is_empty() {
                true => "disabling it takes no arguments".to_owned(),
                false => format!("disabling it does not know {word:?}, but"),
            },
            usage: addon.disabling.iter().map(|one| format!("\n  {}  {}", one.name, one.help)).collect(),
        })
    };
    given.iter().filter(|word| !word.is_empty()).map(known).collect()
}

/// The value of every argument of an add-on, out of what [`read`] made, by the name that manifests have for it.
///
/// # Errors
/// When one that has no default is missing.
pub fn values(addon: &Addon, recorded: &[String]) -> Result<BTreeMap<String, String>, ArgumentError> {
    let given: BTreeMap<&str, &str> = recorded.iter().filter_map(|text| text.split_once('=')).collect();
    let mut values = BTreeMap::new();
    for argument in &addon.arguments {
        let value = given.get(argument.name.as_str()).copied().or(argument.default.as_deref());
        let value = value.ok_or_else(|| ArgumentError::Missing {
            addon: addon.name.clone(),
            name: argument.name.clone(),
            help: argument.help.clone(),
        })?;
        values.insert(placeholder(&argument.name), value.to_owned());
    }
    Ok(values)
}

/// What stands for an argument in manifests.
pub fn placeholder(name: &str) -> String {
    name.to_uppercase().replace('-', "_")
}

/// Reads `IP` or `IP:PORT`; the port of DNS unless one is given.
pub fn address(text: &str) -> Option<SocketAddr> {
    let text = text.trim();
    text.parse().ok().or_else(|| Some(SocketAddr::new(text.parse::<IpAddr>().ok()?, 53)))
}

fn position(addon: &Addon, name: &str) -> Option<usize> {
    addon.arguments.iter().position(|argument| argument.name == name)
}

fn usage(addon: &Addon) -> String {
    let one = |a: &Argument| format!("\n  --{} {}  {}", a.name, a.name.to_uppercase(), a.help);
    let names: Vec<String> = addon.arguments.iter().map(|a| a.name.to_uppercase()).collect();
    if names.is_empty() {
        return String::new();
    }
    let flags: String = addon.arguments.iter().map(one).collect();
    format!(": {}:{} or flags{flags}", addon.name, names.join(":"))
}

fn check(addon: &Addon, argument: &Argument, value: &str) -> Result<(), ArgumentError> {
    let (holds, expected) = match argument.kind {
        ArgumentKind::Text => (
            !value.contains(['"', '\'', '{', '}', '[', ']', '#', '\n']),
            "text without quotes, brackets, # and line ends",
        ),
        ArgumentKind::Addresses => {
            (value.split(',').all(|part| address(part).is_some()), "IP[:PORT], separated by commas")
        }
        ArgumentKind::Address => (value.parse::<Ipv4Addr>().is_ok(), "an IPv4 address"),
        ArgumentKind::Ranges => (value.split(',').all(is_range), "FIRST-LAST or a CIDR, separated by commas"),
        ArgumentKind::Integer => (value.parse::<i64>().is_ok(), "a whole number"),
        ArgumentKind::Boolean => (matches!(value, "true" | "false"), "true or false"),
        ArgumentKind::Size => (value.parse::<Quantity>().is_ok_and(|q| q.value() > 0), "a size such as 20Gi"),
    };
    let allowed = argument.values.is_empty() || argument.values.iter().any(|v| v == value);
    if holds && allowed {
        return Ok(());
    }
    let expected = if allowed { expected.to_owned() } else { argument.values.join(" or ") };
    Err(ArgumentError::Value {
        addon: addon.name.clone(),
        name: argument.name.clone(),
        value: value.to_owned(),
        expected,
    })
}

fn is_range(text: &str) -> bool {
    !text.trim().is_empty() && Ranges::read(text).is_ok()
}

/// What stands between colons belongs together where colons are part of addresses.
fn whole(addon: &Addon, given: &[String]) -> Option<String> {
    let [Argument { kind: ArgumentKind::Ranges, .. }] = addon.arguments.as_slice() else { return None };
    let more = given.get(1..).filter(|more| !more.is_empty())?;
    more.iter().all(|part| !part.contains('=')).then(|| given.join(":"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog;

    fn given(all: &[&str]) -> Vec<String> {
        all.iter().map(|one| (*one).to_owned()).collect()
    }

    #[test]
    fn arguments_come_by_place_by_name_and_as_flags() {
        let storage = catalog::find("storage").unwrap();
        let expected = given(&["reclaim-policy=Retain", "default-class=false"]);
        for all in [
            given(&["Retain", "false"]),
            given(&["default-class=false", "reclaim-policy=Retain"]),
            given(&["default-class=false", "Retain"]),
        ] {
            assert_eq!(read(storage, &all).unwrap(), expected, "{all:?}");
        }
        for flags in [["-r", "Retain", "-d", "false"].as_slice(), &["--reclaim-policy=Retain", "-d=false"]] {
            let all = from_flags(storage, &given(flags)).unwrap();
            assert_eq!(read(storage, &all).unwrap(), expected, "{flags:?}");
        }
        assert_eq!(from_flags(storage, &given(&["-d"])).unwrap(), ["default-class=true"]);
    }

    #[test]
    fn what_disabling_destroys_is_named_in_full() {
        let storage = catalog::find("storage").unwrap();
        for word in ["destroy-storage", "--destroy-storage"] {
            assert_eq!(disabling(storage, &given(&[word])).unwrap().len(), 1, "{word}");
        }
        assert!(disabling(storage, &given(&[""])).unwrap().is_empty());
        for word in ["destroy", "true", "destroy-storage=true", "-d"] {
            let error = disabling(storage, &given(&["destroy-storage", word])).unwrap_err().to_string();
            assert!(error.contains(word) && error.contains("\n  destroy-storage  "), "{error}");
        }
        let error = disabling(catalog::find("dns").unwrap(), &given(&["x"])).unwrap_err();
        assert_eq!(error.to_string(), "add-on dns: disabling it takes no arguments");
    }

    #[test]
    fn what_is_not_given_has_its_default() {
        let storage = catalog::find("hostpath-storage").unwrap();
        let values = values(storage, &given(&["default-class=false"])).unwrap();
        assert_eq!(values["RECLAIM_POLICY"], "Delete");
        assert_eq!(values["DEFAULT_CLASS"], "false");
    }

    #[test]
    fn wrong_arguments_are_refused_with_what_is_expected() {
        let refused = |addon: &str, all: &[&str]| {
            read(catalog::find(addon).unwrap(), &given(all)).unwrap_err().to_string()
        };
        assert!(refused("dns", &["example.com"]).contains("is not IP[:PORT]"));
        assert!(refused("dns", &["8.8.8.8", "x"]).contains("dns:UPSTREAM"));
        assert!(refused("storage", &["Recycle"]).contains("is not Delete or Retain"));
        assert!(refused("storage", &["default-class=no"]).contains("true or false"));
        let storage = catalog::find("storage").unwrap();
        for flags in [["--nonsense"], ["--reclaim-policy"], ["-x=1"]] {
            assert!(from_flags(storage, &given(&flags)).unwrap_err().to_string().contains("--default-class"));
        }
    }

    #[test]
    fn colons_of_ranges_are_no_separators() {
        let balancer = catalog::find("loadbalancer").unwrap();
        let ranges = "10.0.0.1-10.0.0.9,fd00::10-fd00::20";
        for text in [ranges, &format!("ranges={ranges}")] {
            let parts: Vec<&str> = text.split(':').collect();
            assert_eq!(read(balancer, &given(&parts)).unwrap(), [format!("ranges={ranges}")]);
        }
        assert!(read(balancer, &given(&["10.0.0.1", "10.0.0.2"])).is_err());
        let last = read(balancer, &given(&["ranges=fd00::1", "ranges=fd00::2"])).unwrap();
        assert_eq!(last, ["ranges=fd00::2"]);
    }

    #[test]
    fn ranges_are_ordered_and_of_one_family() {
        for good in ["10.0.0.1-10.0.0.9", "10.0.0.0/28", "10.0.0.5", "fd00::1-fd00::9", "fd00::/112"] {
            assert!(is_range(good), "{good}");
        }
        for bad in ["fe80::1", "10.0.0.9-10.0.0.1", "10.0.0.1-fd00::1", "10.0.0.0/33", "", "a-b"] {
            assert!(!is_range(bad), "{bad}");
        }
    }
}
