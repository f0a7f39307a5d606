//! containerd as a service of its own: a transient unit of systemd (systemd-run(1)).

use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::process::Stdio;
use std::sync::atomic::{AtomicU32, Ordering};

use super::config::Config;
use super::process::search_path;

/// What containers need of the unit that they are in, and that the end of containerd is not theirs.
const PROPERTIES: [&str; 8] = [
    "Delegate=yes",
    "KillMode=process",
    "OOMPolicy=continue",
    "OOMScoreAdjust=-999",
    "TasksMax=infinity",
    "LimitNOFILE=1048576",
    "LimitNPROC=infinity",
    "LimitCORE=infinity",
];

/// Variables that the service manager has set for us alone.
const OURS: [&str; 4] = ["PATH", "NOTIFY_SOCKET", "INVOCATION_ID", "JOURNAL_STREAM"];

/// Every start has a unit of its own: shims of an earlier containerd keep its unit alive, and its name taken.
static STARTS: AtomicU32 = AtomicU32::new(0);

/// Starts it and waits until it says that it is ready; answers its process id.
pub(super) async fn start(program: &Path, config: &Config) -> std::io::Result<i32> {
    let unit = format!("knarr-containerd-{}-{}", std::process::id(), STARTS.fetch_add(1, Ordering::Relaxed));
    run("systemd-run", &arguments(&unit, program, config, std::env::vars_os())).await?;
    let asked = ["show", "--property=MainPID", "--value", &unit].map(OsString::from);
    let pid = run("systemctl", &asked).await?;
    pid.trim().parse().map_err(|_| std::io::Error::other(format!("{unit} has no process: {pid:?}")))
}

fn arguments(
    unit: &str,
    program: &Path,
    config: &Config,
    environment: impl Iterator<Item = (OsString, OsString)>,
) -> Vec<OsString> {
    let log = config.log_file();
    let mut all: Vec<OsString> = [
        "--quiet",
        "--collect",
        "--service-type=notify",
        "--description=containerd of Knarr",
        "--unit",
        unit,
    ]
    .map(OsString::from)
    .into();
    all.extend(PROPERTIES.map(|property| format!("--property={property}").into()));
    for stream in ["--property=StandardOutput=append:", "--property=StandardError=append:"] {
        all.push(joined(stream, log.as_os_str()));
    }
    all.push(format!("--setenv=PATH={}", search_path()).into());
    let more = config.environment.iter().map(|(name, value)| (name.into(), value.into()));
    // Of two with the same name the later one counts.
    for (name, value) in environment.chain(more).filter(|(name, _)| !OURS.iter().any(|ours| name == ours)) {
        let mut variable = joined("--setenv=", &name);
        variable.push("=");
        variable.push(value);
        all.push(variable);
    }
    all.extend([program.into(), "--config".into(), config.config_file().into_os_string()]);
    all
}

fn joined(prefix: &str, rest: &OsStr) -> OsString {
    let mut text = OsString::from(prefix);
    text.push(rest);
    text
}

async fn run(program: &str, arguments: &[OsString]) -> std::io::Result<String> {
    let output = tokio::process::Command::new(program).args(arguments).stdin(Stdio::null()).output().await?;
    if !output.status.success() {
        let told = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return Err(std::io::Error::other(format!("{program} ended with {}: {told}", output.status)));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_service_has_our_proxies_and_none_of_what_systemd_told_us_alone() {
        let mut config = Config::new("/var/lib/knarr", "image");
        config.environment.insert("NO_PROXY".into(), "10.0.0.0/8".into());
        let ours =
            [("NO_PROXY", "x"), ("HTTPS_PROXY", "http://p"), ("NOTIFY_SOCKET", "/run/n"), ("PATH", "/x")];
        let ours = ours.map(|(name, value)| (name.into(), value.into())).into_iter();
        let all = arguments("u", Path::new("/usr/bin/containerd"), &config, ours);
        let all: Vec<&str> = all.iter().map(|argument| argument.to_str().unwrap()).collect();
        assert!(
            all.contains(&"--setenv=HTTPS_PROXY=http://p") && all.contains(&"--property=KillMode=process")
        );
        let at = |argument: &str| all.iter().position(|one| *one == argument);
        assert!(at("--setenv=NO_PROXY=x") < at("--setenv=NO_PROXY=10.0.0.0/8"), "what is said counts");
        assert!(!all.iter().any(|argument| argument.contains("NOTIFY_SOCKET")));
        assert_eq!(all.iter().filter(|argument| argument.starts_with("--setenv=PATH=")).count(), 1);
        assert!(all.contains(&"--property=StandardError=append:/var/lib/knarr/containerd/containerd.log"));
        let command = ["/usr/bin/containerd", "--config", "/var/lib/knarr/containerd/config.toml"];
        assert!(all.ends_with(&command), "{all:?}");
    }

    #[tokio::test]
    async fn what_a_program_says_of_its_failure_is_told() {
        let error = run("ls", &["/nonexistent".into()]).await.unwrap_err().to_string();
        assert!(error.contains("ls ended with") && error.contains("/nonexistent"), "{error}");
    }
}
