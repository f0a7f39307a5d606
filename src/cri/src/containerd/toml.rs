//! containerd's configuration file: version 2 for containerd 1.6 and 1.7, version 3 for 2.x.

use std::fmt::Write;
use std::path::Path;

use super::config::Config;
use super::error::ContainerdError;
use super::host::OciRuntime;
use super::registries::Registries;
use super::version::Version;

/// Plugins that can only slow the start down or that two containerds on one machine would fight over:
/// snapshotters we never use, and NRI with its one fixed socket.
const DISABLED_PLUGINS: [&str; 7] = [
    "io.containerd.snapshotter.v1.aufs",
    "io.containerd.snapshotter.v1.blockfile",
    "io.containerd.snapshotter.v1.btrfs",
    "io.containerd.snapshotter.v1.devmapper",
    "io.containerd.snapshotter.v1.zfs",
    "io.containerd.nri.v1.nri",
    "io.containerd.internal.v1.tracing",
];

/// What the machine decides.
#[derive(Debug, Clone)]
pub struct Facts {
    /// The containerd installed.
    pub version: Version,
    /// runc or crun.
    pub runtime: OciRuntime,
    /// `overlayfs` or `native`.
    pub snapshotter: String,
    /// CAP_SYS_RESOURCE is missing.
    pub restrict_oom_score: bool,
}

/// The text of `config.toml`.
pub fn render(config: &Config, registries: &Registries, facts: &Facts) -> String {
    let mut text = String::from("# Written by knarr at every start: changes here are lost.\n");
    let version_3 = facts.version.has_config_version_3();
    let _ = writeln!(text, "version = {}", if version_3 { 3 } else { 2 });
    let _ = writeln!(text, "root = {}", path(&config.root_dir()));
    let _ = writeln!(text, "state = {}", path(&config.state_dir()));
    let disabled: Vec<String> = DISABLED_PLUGINS.iter().map(|plugin| quoted(plugin)).collect();
    let _ = writeln!(text, "disabled_plugins = [{}]", disabled.join(", "));
    let _ = writeln!(text, "\n[grpc]\n  address = {}", path(&config.socket()));
    let _ = writeln!(text, "\n[debug]\n  level = {}", quoted(&config.log_level));
    // Its default is /opt/containerd, which is nobody's to create.
    let opt = config.containerd_dir().join("opt");
    let _ = writeln!(text, "\n[plugins.\"io.containerd.internal.v1.opt\"]\n  path = {}", path(&opt));
    if version_3 {
        render_3(&mut text, config, facts)
    } else {
        render_2(&mut text, config, facts)
    }
    let registry = if version_3 { "io.containerd.cri.v1.images" } else { "io.containerd.grpc.v1.cri" };
    let _ =
        writeln!(text, "\n[plugins.\"{registry}\".registry]\n  config_path = {}", path(&config.certs_dir()));
    for (host, entry) in &registries.configs {
        let Some(auth) = &entry.auth else { continue };
        let _ = writeln!(text, "\n[plugins.\"{registry}\".registry.configs.{}.auth]", quoted(host));
        let fields = [
            ("username", &auth.username),
            ("password", &auth.password),
            ("auth", &auth.auth),
            ("identitytoken", &auth.identity_token),
        ];
        for (name, value) in fields {
            if !value.is_empty() {
                let _ = writeln!(text, "  {name} = {}", quoted(value));
            }
        }
    }
    text
}

fn render_2(text: &mut String, config: &Config, facts: &Facts) {
    let cri = "io.containerd.grpc.v1.cri";
    let _ = writeln!(text, "\n[plugins.\"{cri}\"]");
    let _ = writeln!(text, "  sandbox_image = {}", quoted(&config.sandbox_image));
    streaming(text);
    limits(text, facts);
    let _ = writeln!(text, "\n[plugins.\"{cri}\".cni]");
    let _ = writeln!(text, "  bin_dir = {}", path(&config.cni_bin_dir()));
    networks(text, config);
    let _ = writeln!(text, "\n[plugins.\"{cri}\".containerd]");
    let _ = writeln!(text, "  snapshotter = {}", quoted(&facts.snapshotter));
    text.push_str("  default_runtime_name = \"runc\"\n");
    runtime(text, cri, facts);
}

fn networks(text: &mut String, config: &Config) {
    let _ = writeln!(text, "  conf_dir = {}", path(&config.cni_conf_dir()));
    if config.cni_conf_dir.is_none() {
        // The plugin tells the address of the primary family first; containerd would take that of IPv4.
        text.push_str("  ip_pref = \"cni\"\n");
    }
}

fn render_3(text: &mut String, config: &Config, facts: &Facts) {
    text.push_str("\n[plugins.\"io.containerd.grpc.v1.cri\"]\n");
    streaming(text);
    let images = "io.containerd.cri.v1.images";
    let _ = writeln!(text, "\n[plugins.\"{images}\"]");
    let _ = writeln!(text, "  snapshotter = {}", quoted(&facts.snapshotter));
    let _ = writeln!(text, "\n[plugins.\"{images}\".pinned_images]");
    let _ = writeln!(text, "  sandbox = {}", quoted(&config.sandbox_image));
    let cri = "io.containerd.cri.v1.runtime";
    let _ = writeln!(text, "\n[plugins.\"{cri}\"]");
    limits(text, facts);
    let _ = writeln!(text, "\n[plugins.\"{cri}\".cni]");
    if facts.version >= (Version { major: 2, minor: 1 }) {
        let directories: Vec<String> = std::iter::once(config.cni_bin_dir())
            .chain(config.extra_cni_bin_dirs.iter().cloned())
            .map(|directory| path(&directory))
            .collect();
        let _ = writeln!(text, "  bin_dirs = [{}]", directories.join(", "));
    } else {
        let _ = writeln!(text, "  bin_dir = {}", path(&config.cni_bin_dir()));
    }
    networks(text, config);
    text.push_str("  use_internal_loopback = true\n");
    let _ = writeln!(text, "\n[plugins.\"{cri}\".containerd]\n  default_runtime_name = \"runc\"");
    runtime(text, cri, facts);
}

/// The streaming server: for this machine's kubelet alone, on any free port.
fn streaming(text: &mut String) {
    text.push_str("  disable_tcp_service = true\n");
    text.push_str("  stream_server_address = \"127.0.0.1\"\n");
    text.push_str("  stream_server_port = \"0\"\n");
    // Upstream's default for `streamingConnectionIdleTimeout` of the kubelet.
    text.push_str("  stream_idle_timeout = \"4h0m0s\"\n");
}

fn limits(text: &mut String, facts: &Facts) {
    let _ = writeln!(text, "  restrict_oom_score_adj = {}", facts.restrict_oom_score);
    text.push_str("  tolerate_missing_hugetlb_controller = true\n");
    text.push_str("  disable_hugetlb_controller = true\n");
    // Ports below 1024 and ping without capabilities, inside the pod's own network namespace.
    text.push_str("  enable_unprivileged_ports = true\n");
    text.push_str("  enable_unprivileged_icmp = true\n");
}

fn runtime(text: &mut String, plugin: &str, facts: &Facts) {
    let table = format!("plugins.\"{plugin}\".containerd.runtimes.runc");
    let _ = writeln!(text, "\n[{table}]\n  runtime_type = \"io.containerd.runc.v2\"");
    let _ = writeln!(text, "\n[{table}.options]");
    let _ = writeln!(text, "  BinaryName = {}", path(&facts.runtime.binary));
    // The kubelet makes pods' cgroups itself, with the cgroupfs driver.
    text.push_str("  SystemdCgroup = false\n");
}

fn path(path: &Path) -> String {
    quoted(&path.to_string_lossy())
}

/// A TOML basic string.
pub(super) fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for character in text.chars() {
        match character {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            control if control.is_control() => {
                let _ = write!(quoted, "\\u{:04X}", u32::from(control));
            }
            other => quoted.push(other),
        }
    }
    quoted.push('"');
    quoted
}

/// Replaces a file (readable by its owner only: it may hold passwords) unless it has this content already;
/// returns whether it changed.
pub(super) fn write_if_changed(path: &Path, text: &str) -> Result<bool, ContainerdError> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt;
    if std::fs::read_to_string(path).is_ok_and(|current| current == text) {
        return Ok(false);
    }
    let temporary = path.with_extension("new");
    let written = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&temporary)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .and_then(|()| std::fs::rename(&temporary, path));
    written.map_err(ContainerdError::file(path))?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(major: u32, minor: u32) -> Facts {
        Facts {
            version: Version { major, minor },
            runtime: OciRuntime { binary: "/usr/sbin/runc".into() },
            snapshotter: "overlayfs".into(),
            restrict_oom_score: true,
        }
    }

    #[test]
    fn version_2_has_everything_under_one_plugin() {
        let config = Config::new("/d", "knarr.local/knarr:1");
        let text = render(&config, &Registries::default(), &facts(1, 6));
        assert!(text.contains("\nversion = 2\n"));
        assert!(text.contains("  restrict_oom_score_adj = true\n"));
        assert!(text.contains("  sandbox_image = \"knarr.local/knarr:1\"\n"));
        assert!(text.contains("  bin_dir = \"/d/cni/bin\"\n"));
        assert!(!text.contains("cri.v1"));
        assert!(text.contains("  conf_dir = \"/d/cni/net.d\"\n  ip_pref = \"cni\"\n"));
        let foreign = Config { cni_conf_dir: Some("/etc/cni/net.d".into()), ..config };
        assert!(!render(&foreign, &Registries::default(), &facts(1, 6)).contains("ip_pref"));
    }

    #[test]
    fn version_3_splits_images_and_runtime() {
        let config = Config::new("/d", "knarr.local/knarr:1");
        let text = render(&config, &Registries::default(), &facts(2, 1));
        assert!(text.contains("\nversion = 3\n"));
        assert!(text.contains(
            "[plugins.\"io.containerd.cri.v1.images\".pinned_images]\n  sandbox = \"knarr.local/knarr:1\""
        ));
        assert!(text.contains("  bin_dirs = [\"/d/cni/bin\"]"));
        assert!(text.contains("[plugins.\"io.containerd.cri.v1.images\".registry]"));
        let older = render(&config, &Registries::default(), &facts(2, 0));
        assert!(older.contains("  bin_dir = \"/d/cni/bin\""));
    }

    #[test]
    fn strings_are_escaped() {
        assert_eq!(quoted("a\"b\\c\n"), "\"a\\\"b\\\\c\\u000A\"");
    }
}
