//! A network namespace that plays a machine: loopback, one address, a default route into nowhere (the other
//! end of its link lies in the same namespace, with nobody behind it).

use anyhow::{Context, Result, bail};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A network namespace, deleted when dropped.
#[derive(Debug)]
pub struct Machine {
    name: String,
    /// What it was called.
    pub label: String,
    /// The machine's address.
    pub address: String,
}

impl Machine {
    /// Makes a namespace whose uplink has `address` of a /24, or of a /64 of IPv6.
    ///
    /// # Errors
    /// Without root, or when `ip` fails.
    pub fn new(name: &str, address: &str) -> Result<Self> {
        let machine = Self::bare(name, address)?;
        machine.ip("link add eth0 type veth peer name uplink")?;
        machine.ip("link set uplink up")?;
        machine.bring_up()?;
        Ok(machine)
    }

    /// Makes a namespace that has no uplink yet.
    pub(crate) fn bare(name: &str, address: &str) -> Result<Self> {
        let label = name.to_owned();
        let name = format!("knarr-{name}-{}", std::process::id());
        ip(&["netns", "add", &name])?;
        Ok(Self { name, label, address: address.to_owned() })
    }

    /// Gives the uplink, which is there, its address and the default route.
    pub(crate) fn bring_up(&self) -> Result<()> {
        let gateway = gateway_of(&self.address)?;
        for command in [
            "link set lo up".to_owned(),
            format!("address add {} dev eth0", with_length(&self.address)),
            "link set eth0 up".to_owned(),
            format!("route add default via {gateway}"),
        ] {
            self.ip(&command)?;
        }
        Ok(())
    }

    /// The namespace's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Runs `ip` within the namespace.
    ///
    /// # Errors
    /// When it fails.
    pub fn ip(&self, arguments: &str) -> Result<()> {
        let mut all = vec!["-n", &self.name];
        all.extend(arguments.split_whitespace());
        ip(&all)
    }

    /// A command that will run within the namespace. The mount namespace stays, so cgroups are seen.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", self.path().display())).arg("--").arg(program);
        command
    }

    /// Runs a shell script within the namespace and answers its output.
    ///
    /// # Errors
    /// When it cannot be started or exits non-zero.
    pub fn shell(&self, script: &str) -> Result<String> {
        let output = self.command("sh").args(["-ec", script]).output().context("running sh")?;
        text_of(script, output)
    }

    /// Gives the machine another address of its subnet, in place of the one that it has.
    ///
    /// # Errors
    /// When `ip` fails.
    pub fn readdress(&mut self, address: &str) -> Result<()> {
        self.ip(&format!("address del {} dev eth0", with_length(&self.address)))?;
        self.ip(&format!("address add {} dev eth0", with_length(address)))?;
        self.ip(&format!("route replace default via {}", gateway_of(address)?))?;
        address.clone_into(&mut self.address);
        Ok(())
    }

    /// Does something asynchronous on a thread within the namespace, and waits for it.
    ///
    /// # Errors
    /// Without root, and what the work says.
    pub fn run<T: Send>(&self, work: impl Future<Output = Result<T>> + Send) -> Result<T> {
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                self.enter()?;
                tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(work)
            });
            thread.join().unwrap_or_else(|_| bail!("the thread ended"))
        })
    }

    /// Moves the calling thread into the namespace.
    ///
    /// # Errors
    /// Without root.
    pub fn enter(&self) -> Result<()> {
        Self::enter_path(&self.path())
    }

    /// The same for a namespace of which only the place is at hand.
    ///
    /// # Errors
    /// Without root.
    pub fn enter_path(path: &Path) -> Result<()> {
        let file = File::open(path)?;
        nix::sched::setns(file, nix::sched::CloneFlags::CLONE_NEWNET).context("entering the namespace")
    }

    /// Where the namespace is mounted.
    pub fn path(&self) -> PathBuf {
        PathBuf::from("/run/netns").join(&self.name)
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = ip(&["netns", "delete", &self.name]);
    }
}

/// What a command printed.
///
/// # Errors
/// When it exited non-zero, with all it printed.
pub fn text_of(what: &str, output: Output) -> Result<String> {
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        return Ok(text);
    }
    bail!("`{what}`: {}\n{text}{}", output.status, String::from_utf8_lossy(&output.stderr))
}

/// Host 254 of an address's subnet: `10.78.0.1` is of `10.78.0.254`'s, `fd00:78::1` of `fd00:78::254`'s.
pub(crate) fn gateway_of(address: &str) -> Result<String> {
    let (network, separator, _) = subnet_of(address)?;
    Ok(format!("{network}{separator}254"))
}

/// The subnet of an address, what stands behind it, and the host.
pub(crate) fn subnet_of(address: &str) -> Result<(&str, &'static str, &str)> {
    let split = |separator| address.rsplit_once(separator).map(|(network, host)| (network, separator, host));
    split("::").or_else(|| split(".")).context("an address")
}

/// With the length of its subnet's prefix. Nobody has to make sure that an address of IPv6 is nobody else's, which takes
/// a second.
pub(crate) fn with_length(address: &str) -> String {
    if address.contains(':') { format!("{address}/64 nodad") } else { format!("{address}/24") }
}

fn ip(arguments: &[&str]) -> Result<()> {
    let output = Command::new("ip").args(arguments).output().context("running ip")?;
    text_of(&format!("ip {}", arguments.join(" ")), output).map(drop)
}
