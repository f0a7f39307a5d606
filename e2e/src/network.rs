//! Machines that reach each other: a bridge in a namespace of its own, with a cable to each.

use crate::machine::{Machine, ip};
use anyhow::Result;

/// A switch with cables to machines. Deleted when dropped.
#[derive(Debug)]
pub struct Network {
    name: String,
}

impl Network {
    /// Makes a switch without machines.
    ///
    /// # Errors
    /// Without root, or when `ip` fails.
    pub fn new(name: &str) -> Result<Self> {
        let name = format!("knarr-{name}-net-{}", std::process::id());
        ip(&["netns", "add", &name])?;
        let network = Self { name };
        network.ip("link add switch type bridge")?;
        network.ip("link set switch up")?;
        Ok(network)
    }

    fn ip(&self, arguments: &str) -> Result<()> {
        let mut all = vec!["-n", &self.name];
        all.extend(arguments.split_whitespace());
        ip(&all)
    }

    /// Connects a new machine that has `address` of a /24.
    ///
    /// # Errors
    /// When `ip` fails.
    pub fn machine(&self, name: &str, address: &str) -> Result<Machine> {
        let machine = Machine::bare(name, address)?;
        let cable = cable(&machine);
        self.ip(&format!("link add {cable} type veth peer name eth0 netns {}", machine.name()))?;
        self.ip(&format!("link set {cable} master switch"))?;
        self.ip(&format!("link set {cable} up"))?;
        machine.bring_up()?;
        Ok(machine)
    }

    /// Pulls a machine's cable out of the switch, or plugs it in again.
    ///
    /// # Errors
    /// When `ip` fails.
    pub fn plug(&self, machine: &Machine, plugged: bool) -> Result<()> {
        let way = if plugged { "up" } else { "down" };
        self.ip(&format!("link set {} {way}", cable(machine)))
    }
}

/// The last number of the address: names of links are short.
fn cable(machine: &Machine) -> String {
    format!("to-{}", machine.address.rsplit('.').next().unwrap_or_default())
}

impl Drop for Network {
    fn drop(&mut self) {
        let _ = ip(&["netns", "delete", &self.name]);
    }
}
