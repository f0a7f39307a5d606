//! Machines that reach each other.

use crate::machine::{Machine, gateway_of, subnet_of, with_length};
use anyhow::Result;

/// A switch for every subnet and a router between them, which knows nothing of pods. Deleted when dropped.
#[derive(Debug)]
pub struct Network {
    router: Machine,
}

impl Network {
    /// Makes a network without machines, of subnets such as `10.78.0.0` and `fd00:78::`, in which the router is host 254.
    ///
    /// # Errors
    /// Without root, or when `ip` fails.
    pub fn new(name: &str, subnets: &[&str]) -> Result<Self> {
        let router = Machine::bare(&format!("{name}-net"), "")?;
        router.ip("link set lo up")?;
        for subnet in subnets {
            let switch = switch_of(subnet)?;
            router.ip(&format!("link add {switch} type bridge"))?;
            router.ip(&format!("address add {} dev {switch}", with_length(&gateway_of(subnet)?)))?;
            router.ip(&format!("link set {switch} up"))?;
        }
        router.shell("for all in ipv4 ipv6; do echo 1 > /proc/sys/net/$all/conf/all/forwarding; done")?;
        Ok(Self { router })
    }

    /// Makes a machine with an address of one of the subnets.
    ///
    /// # Errors
    /// When `ip` fails.
    pub fn machine(&self, name: &str, address: &str) -> Result<Machine> {
        let machine = Machine::bare(name, address)?;
        let port = port_of(name);
        self.router.ip(&format!("link add {port} type veth peer name eth0 netns {}", machine.name()))?;
        self.router.ip(&format!("link set {port} master {} up", switch_of(address)?))?;
        machine.bring_up()?;
        Ok(machine)
    }

    /// Pulls a machine's cable: its link has no carrier any more, routes and addresses stay.
    ///
    /// # Errors
    /// When `ip` fails.
    pub fn unplug(&self, machine: &Machine) -> Result<()> {
        self.router.ip(&format!("link set {} down", port_of(&machine.label)))
    }

    /// Puts it in again.
    ///
    /// # Errors
    /// When `ip` fails.
    pub fn plug(&self, machine: &Machine) -> Result<()> {
        self.router.ip(&format!("link set {} up", port_of(&machine.label)))
    }

    /// The router itself, as somebody outside of the cluster.
    pub fn router(&self) -> &Machine {
        &self.router
    }
}

/// The switch's end of a machine's cable.
fn port_of(label: &str) -> String {
    format!("to-{label}")
}

/// The switch of an address's subnet.
fn switch_of(address: &str) -> Result<String> {
    let (network, ..) = subnet_of(address)?;
    Ok(format!("br-{}", network.replace(['.', ':'], "-")))
}
