//! Networks of pods, or of Services: one, or one of each family (KEP-563).

use anyhow::{Result, bail};
use apimachinery::family::Family;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// One network, or one of each family, of which the first is the primary one: that of Services that ask for no family,
/// and of a pod's `podIP`.
///
/// It is kept as flags say it, with a comma: a version that knows one network only does not take two for one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Networks {
    primary: IpNet,
    secondary: Option<IpNet>,
}

impl Networks {
    /// Checks the value of a flag.
    ///
    /// # Errors
    /// When they are not one of each family at most.
    pub fn of(given: &[IpNet]) -> Result<Self> {
        match given {
            [only] => Ok(Self { primary: only.trunc(), secondary: None }),
            [one, other] if one.addr().is_ipv4() != other.addr().is_ipv4() => {
                Ok(Self { primary: one.trunc(), secondary: Some(other.trunc()) })
            }
            _ => bail!(
                "{:?} is neither one network nor one of IPv4 and one of IPv6; give one, or two with a comma between them",
                joined(given.iter().copied())
            ),
        }
    }

    /// The one that counts where there can be one only.
    pub fn primary(&self) -> IpNet {
        self.primary
    }

    /// All of them, the primary one first.
    pub fn all(&self) -> impl Iterator<Item = IpNet> {
        [Some(self.primary), self.secondary].into_iter().flatten()
    }

    /// All of them, the primary one first.
    pub fn to_vec(self) -> Vec<IpNet> {
        self.all().collect()
    }

    /// Whether it has a network of a family.
    pub fn has(&self, family: Family) -> bool {
        self.all().any(|network| family.has(&network.addr()))
    }

    /// Whether it has the same families as others.
    pub fn is_like(&self, others: &Self) -> bool {
        Family::ALL.into_iter().all(|family| self.has(family) == others.has(family))
    }
}

/// The address of a network that so many others come before.
pub fn address(network: &IpNet, number: u8) -> IpAddr {
    match network.network() {
        IpAddr::V4(first) => IpAddr::V4((first.to_bits().saturating_add(number.into())).into()),
        IpAddr::V6(first) => IpAddr::V6((first.to_bits().saturating_add(number.into())).into()),
    }
}

fn joined(networks: impl Iterator<Item = IpNet>) -> String {
    networks.map(|network| network.to_string()).collect::<Vec<_>>().join(",")
}

impl fmt::Display for Networks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&joined(self.all()))
    }
}

impl From<Networks> for String {
    fn from(networks: Networks) -> Self {
        networks.to_string()
    }
}

impl FromStr for Networks {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let networks: Vec<IpNet> =
            text.split(',').map(str::parse).collect::<Result<_, ipnet::AddrParseError>>()?;
        Self::of(&networks)
    }
}

impl TryFrom<String> for Networks {
    type Error = anyhow::Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_one_network_of_each_family_at_most() {
        let both: Networks = "fd00:10::1/56,10.1.0.0/16".parse().unwrap();
        assert_eq!(both.to_string(), "fd00:10::/56,10.1.0.0/16");
        assert!(both.primary().addr().is_ipv6() && Family::ALL.into_iter().all(|family| both.has(family)));
        for wrong in ["", "10.1.0.0", "10.1.0.0/16,10.2.0.0/16", "10.1.0.0/16,fd00::/56,fd01::/56"] {
            assert!(wrong.parse::<Networks>().is_err(), "{wrong}");
        }
        let one: Networks = "10.1.0.0/16".parse().unwrap();
        assert!(!one.is_like(&both) && both.is_like(&"10.2.0.0/16,fd01::/56".parse().unwrap()));
    }

    #[test]
    fn one_network_is_kept_as_earlier_versions_keep_it() {
        let one: Networks = serde_json::from_str("\"10.1.0.0/16\"").unwrap();
        assert_eq!(serde_json::to_string(&one).unwrap(), "\"10.1.0.0/16\"");
        let both = "\"10.1.0.0/16,fd00:10::/56\"";
        assert_eq!(serde_json::to_string(&serde_json::from_str::<Networks>(both).unwrap()).unwrap(), both);
        assert!(serde_json::from_str::<IpNet>(both).is_err(), "so they do not take it for one");
    }

    #[test]
    fn addresses_are_counted_from_the_network_s_own() {
        let of = |network: &str, number| address(&network.parse().unwrap(), number).to_string();
        assert_eq!([of("10.152.183.0/24", 1), of("10.152.183.0/24", 10)], ["10.152.183.1", "10.152.183.10"]);
        assert_eq!(of("fd00:10:152::/112", 10), "fd00:10:152::a");
    }
}
