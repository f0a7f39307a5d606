//! `status.nodeInfo`.

use crate::runtime_state::RuntimeIdentity;
use apimachinery::platform::architecture;
use serde_json::{Value, json};

/// What does not change while the process runs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MachineInfo {
    machine_id: String,
    system_uuid: String,
    boot_id: String,
    kernel_version: String,
    os_image: String,
    swap_bytes: i64,
}

impl MachineInfo {
    /// Reads it from the machine; what cannot be read is empty.
    pub fn read() -> Self {
        let line = |path: &str| std::fs::read_to_string(path).unwrap_or_default().trim().to_owned();
        let machine_id = line("/etc/machine-id");
        let system_uuid = line("/sys/class/dmi/id/product_uuid");
        let swap = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let swap = swap.lines().find_map(|line| line.strip_prefix("SwapTotal:"));
        let swap_kib: i64 =
            swap.and_then(|text| text.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0);
        Self {
            // Virtual machines without SMBIOS still have an identity.
            system_uuid: if system_uuid.is_empty() { machine_id.clone() } else { system_uuid },
            machine_id,
            boot_id: line("/proc/sys/kernel/random/boot_id"),
            kernel_version: line("/proc/sys/kernel/osrelease"),
            os_image: os_image(&std::fs::read_to_string("/etc/os-release").unwrap_or_default()),
            swap_bytes: swap_kib.saturating_mul(1024),
        }
    }

    /// As the API has it.
    pub fn to_value(&self, runtime: &RuntimeIdentity, version: &str) -> Value {
        let scheme = if runtime.name.is_empty() {
            "Unknown".to_owned()
        } else {
            format!("{}://{}", runtime.name, runtime.version.trim_start_matches('v'))
        };
        let mut info = json!({
            "machineID": self.machine_id,
            "systemUUID": self.system_uuid,
            "bootID": self.boot_id,
            "kernelVersion": self.kernel_version,
            "osImage": self.os_image,
            "containerRuntimeVersion": scheme,
            "kubeletVersion": version,
            // Deprecated (KEP-4004): empty since 1.33.
            "kubeProxyVersion": "",
            "operatingSystem": "linux",
            "architecture": architecture(),
        });
        if let Some(info) = info.as_object_mut() {
            info.insert("swap".to_owned(), json!({"capacity": self.swap_bytes}));
        }
        info
    }
}

fn os_image(release: &str) -> String {
    let pretty = release.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
    pretty.map_or_else(|| "Linux".to_owned(), |name| name.trim_matches('"').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_distribution_is_named_as_people_know_it() {
        assert_eq!(
            os_image("ID=debian\nPRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\n"),
            "Debian GNU/Linux 12 (bookworm)"
        );
    }
}
