//! Packages: what is in them, and a Debian machine with systemd on which they are installed, upgraded and purged.

#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::unwrap_used, reason = "end-to-end tests")]

use anyhow::{Context, Result, ensure};
use e2e::debian::Debian;
use e2e::machine::text_of;
use e2e::node::{PATIENCE, knarr_bin, tool};
use e2e::wait;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The version of the package that is upgraded to.
const NEXT: &str = "99.0.0";

/// A script of the repository.
fn script(path: &str) -> Command {
    let mut command = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../").to_owned() + path);
    command.env("KNARR_DEB_COMPRESSION", "none").env("KNARR_TARBALL_LEVEL", "1");
    command.env("KNARR_SNAP_COMPRESSION", "lzo").env("KNARR_SNAP_RUNTIME", "no");
    command
}

/// The last line that a script prints: the file that it has made.
fn made(command: &mut Command) -> Result<PathBuf> {
    let text = text_of(&format!("{command:?}"), command.output()?)?;
    Ok(PathBuf::from(text.lines().last().context("a line")?))
}

#[test]
fn packages_are_installed_upgraded_and_purged_without_a_trace() -> Result<()> {
    let out = tempfile::tempdir()?;
    let first = made(script("packaging/deb.sh").arg(knarr_bin()).arg(out.path()))?;
    let next = made(script("packaging/deb.sh").arg(knarr_bin()).arg(out.path()).env("KNARR_VERSION", NEXT))?;
    let archive = made(script("packaging/tarball.sh").arg(knarr_bin()).arg(out.path()))?;
    checksums(out.path())?;

    let debian = Debian::boot("packages")?;
    let before = Traces::of(&debian)?;
    let (first, next, archive) = (debian.put(&first)?, debian.put(&next)?, debian.put(&archive)?);
    debian.shell(&format!("apt-get install -y {first}"))?;
    installed(&debian)?;
    people(&debian)?;
    upgraded(&debian, &next)?;
    purged(&debian, &before)?;
    unpacked(&debian, &archive)?;

    debian.shell("apt-get purge -y --autoremove conntrack containerd nftables runc; rm -rf /root/knarr*")?;
    before.equal(&Traces::of(&debian)?)
}

/// All packages and papers are in the list, and are what it says.
fn checksums(out: &Path) -> Result<()> {
    let listed = std::fs::read_to_string(out.join("SHA256SUMS"))?;
    ensure!(
        listed.lines().count() >= 3 && listed.contains(".tar.gz") && listed.contains("amd64.deb"),
        "{listed}"
    );
    let checked =
        Command::new("sha256sum").args(["--check", "--strict", "SHA256SUMS"]).current_dir(out).output()?;
    text_of("sha256sum --check", checked).map(drop)
}

/// The service runs, is what its unit says, and everything around it is there.
fn installed(debian: &Debian) -> Result<()> {
    debian.shell("knarr status --wait-ready --timeout 60").with_context(|| debian.journal())?;
    let ready = debian.machine.shell("curl -ksf --max-time 5 https://127.0.0.1:6443/readyz")?;
    ensure!(ready == "ok", "{ready}");
    ensure!(debian.shell("systemctl is-active knarr.service")?.trim() == "active");
    ensure!(
        debian.shell("systemctl is-enabled knarr.service knarr-agent.service")?.trim() == "enabled\nenabled"
    );
    // The other unit is for workers.
    ensure!(debian.shell("systemctl is-active knarr-agent.service").is_err());
    debian.shell("systemctl start knarr-agent.service; ! systemctl is-active --quiet knarr-agent.service")?;
    let verified = debian.shell("systemd-analyze verify --man=no knarr.service knarr-agent.service 2>&1")?;
    ensure!(verified.is_empty(), "{verified}");
    let shown = "-p Type,Delegate,KillMode,OOMPolicy,OOMScoreAdjust,LimitNOFILE,TasksMax";
    for unit in ["knarr.service", "'knarr-containerd-*'"] {
        let properties = debian.shell(&format!("systemctl show {unit} {shown}"))?;
        for line in [
            "Type=notify",
            "Delegate=yes",
            "KillMode=process",
            "OOMPolicy=continue",
            "OOMScoreAdjust=-999",
            "LimitNOFILE=1048576",
            "TasksMax=infinity",
        ] {
            ensure!(
                properties.lines().any(|property| property == line),
                "{unit} is not {line}: {properties}"
            );
        }
    }
    let pid = "$(systemctl show knarr.service -p MainPID --value)";
    let restrictions = "grep -E '^(NoNewPrivs|Seccomp|CapBnd):' | tr '\\n' ' '";
    let server = debian.shell(&format!("cat /proc/{pid}/status | {restrictions}"))?;
    ensure!(server.contains("NoNewPrivs:\t1") && server.contains("Seccomp:\t2"), "{server}");
    // What restricts the server reaches neither containerd nor containers.
    let free = debian.shell(&format!("cat /proc/1/status | {restrictions}"))?;
    ensure!(free.contains("NoNewPrivs:\t0") && free.contains("Seccomp:\t0"), "{free}");
    let containerd = "$(systemctl show 'knarr-containerd-*' -p MainPID --value)";
    ensure!(debian.shell(&format!("cat /proc/{containerd}/status | {restrictions}"))? == free);
    ensure!(debian.shell("knarr version")?.starts_with("Knarr v"));
    debian.shell("zcat /usr/share/man/man1/knarr-status.1.gz | grep -q 'wait.-ready'")?;
    debian.shell(". /usr/share/bash-completion/completions/knarr; complete -p knarr")?;
    for file in ["copyright", "changelog.gz", "knarr.spdx.json", "third-party-notices.gz"] {
        debian.shell(&format!("test -s /usr/share/doc/knarr/{file}"))?;
    }
    ensure!(debian.shell("knarr logs server")?.contains("the API server is ready"));
    Ok(())
}

/// Who is in the group may use the node; others are told how to get in.
fn people(debian: &Debian) -> Result<()> {
    debian.shell("useradd --groups knarr ada; useradd eve")?;
    ensure!(debian.shell("su ada -c 'knarr config'")?.contains("server: https://"));
    let refused = debian.shell("su eve -c 'knarr config' 2>&1").unwrap_err().to_string();
    ensure!(refused.contains("sudo usermod -a -G knarr eve"), "{refused}");
    debian
        .shell("userdel ada; userdel eve; groupdel ada 2>/dev/null || true; groupdel eve 2>/dev/null || true")
        .map(drop)
}

/// Processes of containers, one a line, once the one of the DNS add-on is among them.
fn containers(debian: &Debian) -> Result<String> {
    let list = "knarr ctr tasks list | sed 1d | awk '{print $1, $2, $3}' | sort";
    debian.eventually(
        "the add-on's pod",
        &format!("knarr status >/dev/null; test $({list} | wc -l) = 4; {list}"),
    )
}

fn main_pid(debian: &Debian) -> Result<String> {
    debian.shell("systemctl show knarr.service -p MainPID --value")
}

/// A new version, restarts by hand and by the service manager: pods go on.
fn upgraded(debian: &Debian, next: &str) -> Result<()> {
    let ready = "knarr status --wait-ready --timeout 60";
    let (pods, pid) = (containers(debian)?, main_pid(debian)?);
    debian.shell("echo '# mine' >>/etc/knarr/config.yaml")?;
    debian.shell(&format!("apt-get install -y -o Dpkg::Options::=--force-confold {next}"))?;
    ensure!(debian.shell("dpkg-query -f '${Version}' -W knarr")? == NEXT);
    debian.shell(ready).with_context(|| debian.journal())?;
    ensure!(main_pid(debian)? != pid, "the new program does not run");
    ensure!(containers(debian)? == pods, "an upgrade has touched pods");
    debian.shell("grep -q '^# mine' /etc/knarr/config.yaml")?;

    // The service manager brings back what was killed.
    let pid = main_pid(debian)?;
    debian.shell(&format!("kill -9 {pid}"))?;
    debian.eventually(
        "the server to be back",
        &format!("test $(systemctl show knarr.service -p NRestarts --value) = 1 && {ready}"),
    )?;
    ensure!(containers(debian)? == pods, "the end of the server has touched pods");

    // knarr's own commands act on the unit. What somebody has stopped stays so when it is upgraded.
    debian.shell("knarr stop")?;
    ensure!(debian.shell("systemctl is-active knarr.service").is_err());
    nothing_runs(debian)?;
    debian.shell(&format!("apt-get install -y --reinstall {next}"))?;
    ensure!(debian.shell("systemctl is-active knarr.service").is_err());
    let flags = debian.shell("knarr start -- --node-name other 2>&1").unwrap_err().to_string();
    ensure!(flags.contains("/etc/knarr/config.yaml"), "{flags}");
    debian.shell("knarr start")?;
    ensure!(debian.shell("systemctl is-active knarr.service")?.trim() == "active");
    containers(debian)?;
    debian.shell(&format!("knarr reset && systemctl is-active knarr.service && {ready}"))?;
    containers(debian).map(drop)
}

fn nothing_runs(debian: &Debian) -> Result<()> {
    // Who was killed is there until the machine's first process has seen it.
    wait::until("all to be gone", PATIENCE, || nothing_is_left(debian))
}

fn nothing_is_left(debian: &Debian) -> Result<()> {
    let left =
        debian.shell("cat /proc/[0-9]*/comm 2>/dev/null | grep -E '^(knarr|containerd-shim)' || true")?;
    ensure!(left.is_empty(), "still running: {left}");
    let own = debian.shell(
        "cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' ' ' | grep -o '/var/lib/[k]narr[^ ]*' || true",
    )?;
    ensure!(own.is_empty(), "still running with {own}");
    let rules = debian.shell("nft list ruleset")?;
    ensure!(!rules.contains("knarr"), "{rules}");
    let links = debian.shell("ip -o link")?;
    ensure!(!links.contains("knarr"), "{links}");
    let shims =
        debian.shell("find /run/containerd/s /run/containerd/runc -mindepth 1 2>/dev/null || true")?;
    ensure!(shims.is_empty() || shims.trim() == "/run/containerd/runc/k8s.io", "{shims}");
    let groups = debian.shell("find /sys/fs/cgroup -type d -name '*kubepods*'")?;
    ensure!(groups.is_empty(), "{groups}");
    Ok(())
}

/// Removing keeps the cluster's state and nothing else; purging keeps nothing.
fn purged(debian: &Debian, before: &Traces) -> Result<()> {
    debian.shell("apt-get remove -y knarr")?;
    nothing_runs(debian)?;
    debian.shell(
        "test -d /var/lib/knarr/datastore && test -e /etc/knarr/config.yaml && ! test -e /usr/bin/knarr",
    )?;
    // What comes back has what it had, and runs.
    debian.shell(&format!(
        "apt-get install -y /root/knarr_{NEXT}_amd64.deb && knarr status --wait-ready --timeout 60"
    ))?;
    containers(debian)?;
    debian.shell("apt-get purge -y knarr")?;
    nothing_runs(debian)?;
    let after = Traces::of(debian)?;
    ensure!(
        !after.files.iter().any(|file| file.contains("knarr") && !file.starts_with("/root/")),
        "{:?}",
        after.files
    );
    ensure!(after.mounts == before.mounts && after.links == before.links, "{after:?}");
    ensure!(debian.shell("getent group knarr").is_err());
    Ok(())
}

/// The archive, on the same machine: containerd and the other programs are there.
fn unpacked(debian: &Debian, archive: &str) -> Result<()> {
    debian.shell(&format!("tar -xzf {archive} -C /root && cd /root/knarr-*-linux && ./install.sh"))?;
    debian.shell("knarr status --wait-ready --timeout 60").with_context(|| debian.journal())?;
    ensure!(debian.shell("systemctl is-active knarr.service")?.trim() == "active");
    ensure!(debian.shell("command -v knarr")?.trim() == "/usr/local/bin/knarr");
    debian.shell("getent group knarr && test -s /usr/local/share/man/man1/knarr.1.gz")?;
    let pods = containers(debian)?;
    debian.shell("cd /root/knarr-*-linux && ./install.sh && knarr status --wait-ready --timeout 60")?;
    ensure!(containers(debian)? == pods, "an upgrade has touched pods");
    debian.shell("cd /root/knarr-*-linux && ./install.sh --uninstall && test -d /var/lib/knarr")?;
    nothing_runs(debian)?;
    debian.shell("cd /root/knarr-*-linux && ./install.sh && ./install.sh --uninstall --purge")?;
    nothing_runs(debian)
}

/// What a machine has that a package may leave behind.
#[derive(Debug, PartialEq, Eq)]
struct Traces {
    files: BTreeSet<String>,
    mounts: BTreeSet<String>,
    links: String,
    rules: String,
    cgroups: BTreeSet<String>,
}

impl Traces {
    fn of(debian: &Debian) -> Result<Self> {
        // Logs, caches and apt's own notes are the machine's; folders that installing made have their time changed.
        let skipped = [
            "/boot.log",
            "/var/log/journal",
            "/var/log/apt",
            "/var/cache",
            "/var/lib/apt",
            "/var/lib/dpkg",
            "/var/lib/systemd",
            "/var/tmp",
            "/etc/ld.so.cache",
            "/var/backups",
            "/run/systemd",
            "/run/udev",
            "/run/log",
            "/etc/.pwd.lock",
            "/run/lock",
            "/run/adduser",
            // Debian's own containerd runs beside knarr's, and its package leaves them.
            "/etc/cni",
            "/run/containerd",
            "/var/lib/containerd",
        ];
        let skipped: Vec<String> = skipped.iter().map(|path| format!("-path {path} -prune")).collect();
        let find = format!(
            "find / /run -xdev \\( {} \\) -o -print | grep -Ev '^/(etc|var/lib)/[a-z]*-$|__pycache__' | sort -u",
            skipped.join(" -o ")
        );
        let lines = |text: String| text.lines().map(str::to_owned).collect();
        Ok(Self {
            files: lines(debian.shell(&find)?),
            mounts: lines(debian.shell("awk '{print $2, $3}' /proc/self/mounts")?),
            links: debian.shell("ip -o link | sed 's/^[0-9]*: //'; ip -4 route show table all")?,
            rules: debian.machine.shell("nft list ruleset")?,
            // The service manager's own come and go with its services.
            cgroups: lines(debian.shell("find /sys/fs/cgroup -type d | grep -Ev '\\.(service|scope|slice|mount|socket)|/(user|machine)' || true")?),
        })
    }

    fn equal(&self, after: &Self) -> Result<()> {
        let differing = |what: &str, one: &BTreeSet<String>, other: &BTreeSet<String>| {
            let gone: Vec<_> = one.difference(other).collect();
            let new: Vec<_> = other.difference(one).collect();
            ensure!(gone.is_empty() && new.is_empty(), "{what}: gone {gone:?}, new {new:?}");
            Ok(())
        };
        differing("files", &self.files, &after.files)?;
        differing("mounts", &self.mounts, &after.mounts)?;
        differing("cgroups", &self.cgroups, &after.cgroups)?;
        ensure!(self.links == after.links, "before:\n{}\nafter:\n{}", self.links, after.links);
        ensure!(self.rules == after.rules, "before:\n{}\nafter:\n{}", self.rules, after.rules);
        Ok(())
    }
}

#[test]
fn lintian_finds_nothing_wrong_with_the_deb_package() -> Result<()> {
    let out = tempfile::tempdir()?;
    let package = made(script("packaging/deb.sh").arg(knarr_bin()).arg(out.path()))?;
    let mut lintian = Command::new("lintian");
    // It would read all texts of the program for spelling, and wants the compression that tests do without.
    let not = "spelling-error-in-binary,uses-no-compression-for-control-tarball,uses-no-compression-for-data-tarball";
    lintian.args(["--allow-root", "--fail-on", "error,warning", "--suppress-tags", not]);
    let told =
        text_of("lintian", lintian.arg(package).output().context("lintian (e2e/run.sh installs it)")?)?;
    ensure!(!told.contains("unused-override"), "{told}");
    Ok(())
}

#[test]
fn the_bill_of_materials_is_valid_and_whole() -> Result<()> {
    let out = tempfile::tempdir()?;
    let (bill, notices) = (out.path().join("knarr.spdx.json"), out.path().join("notices"));
    let mut sbom = script("packaging/sbom.py");
    sbom.args(["--version", "1.2.3", "--sbom"]).arg(&bill).arg("--notices").arg(&notices);
    text_of("sbom.py", sbom.output()?)?;
    let judge = "import sys\n\
        from spdx_tools.spdx.parser.parse_anything import parse_file\n\
        from spdx_tools.spdx.validation.document_validator import validate_full_spdx_document\n\
        found = validate_full_spdx_document(parse_file(sys.argv[1]))\n\
        sys.exit('\\n'.join(message.validation_message for message in found) or 0)\n";
    let mut python = Command::new("python3");
    python.env("PYTHONPATH", tool("spdx")).args(["-c", judge]).arg(&bill);
    text_of("the judgement of the bill", python.output()?)?;

    let bill: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(bill)?)?;
    let packages = bill["packages"].as_array().context("packages")?;
    let named = |name: &str| packages.iter().find(|package| package["name"] == name);
    ensure!(named("knarr").context("knarr")?["versionInfo"] == "1.2.3");
    let linked = named("rustls").context("rustls is linked")?;
    ensure!(linked["checksums"][0]["checksumValue"].as_str().is_some_and(|sum| sum.len() == 64), "{linked}");
    ensure!(named("turmoil").is_none() && named("e2e").is_none(), "dependencies of tests are listed");
    for package in packages {
        ensure!(package["licenseDeclared"] != "NOASSERTION", "{package}");
    }
    let notices = std::fs::read_to_string(notices)?;
    ensure!(notices.contains("rustls ") && notices.contains("Permission is hereby granted"), "notices");
    Ok(())
}

#[test]
fn snap_accepts_the_tree_of_both_confinements() -> Result<()> {
    let out = tempfile::tempdir()?;
    for confinement in ["classic", "strict"] {
        let snap = made(script("packaging/snap.sh").arg(confinement).arg(knarr_bin()).arg(out.path()))?;
        let cat = |path: &str| -> Result<String> {
            text_of("unsquashfs", Command::new("unsquashfs").arg("-cat").arg(&snap).arg(path).output()?)
        };
        let meta = cat("meta/snap.yaml")?;
        ensure!(meta.contains(&format!("confinement: {confinement}\n")), "{meta}");
        ensure!(meta.contains("stop-mode: sigterm") && meta.contains("daemon: notify"), "{meta}");
        ensure!(meta.contains("layout:") == (confinement == "strict"), "{meta}");
        ensure!(cat("share/bash-completion/completions/knarr")?.contains("refresh-certs"));
        ensure!(cat("meta/hooks/remove")?.contains("uninstall"));
    }
    Ok(())
}

/// `snap set knarr flags.NAME=VALUE` reaches the configuration file, and can be taken back; what the server would not
/// start with is refused.
#[test]
fn settings_of_the_snap_become_flags() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let common = folder.path().join("common/etc");
    std::fs::create_dir_all(&common)?;
    let config = common.join("config.yaml");
    std::fs::write(&config, "# mine\nfailure-domain: a\n")?;
    let snapctl = folder.path().join("snapctl");
    std::fs::create_dir_all(folder.path().join("bin"))?;
    std::os::unix::fs::symlink(knarr_bin(), folder.path().join("bin/knarr"))?;
    let configured = |settings: &str| -> Result<(String, bool)> {
        let restarted = folder.path().join("restarted");
        let _ = std::fs::remove_file(&restarted);
        let answer = format!(
            "#!/bin/sh\ncase $1 in get) cat <<'END'\n{settings}\nEND\n;; services) echo 'knarr.daemon enabled active -' ;; \
             restart) touch {} ;; esac\n",
            restarted.display()
        );
        std::fs::write(&snapctl, answer)?;
        std::fs::set_permissions(&snapctl, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
        let path = format!("{}:{}", folder.path().display(), std::env::var("PATH")?);
        let mut hook = script("snap/hooks/configure");
        hook.env("PATH", path).env("SNAP_COMMON", folder.path().join("common")).env("SNAP", folder.path());
        text_of("configure", hook.output()?)?;
        Ok((std::fs::read_to_string(&config)?, restarted.exists()))
    };
    let set = "{\n\t\"flags\": {\n\t\t\"https-listen-port\": 7443,\n\t\t\"node-name\": \"one\"\n\t}\n}";
    let (text, restarted) = configured(set)?;
    ensure!(restarted && text.starts_with("# mine\nfailure-domain: a\n"), "{text}");
    ensure!(text.ends_with("\nhttps-listen-port: 7443\nnode-name: \"one\"\n"), "{text}");
    ensure!(configured(set)? == (text.clone(), false), "nothing has changed");
    for wrong in ["\"max-pods\": 50", "\"https-listen-port\": 70000"] {
        ensure!(configured(&format!("{{\n\t\"flags\": {{\n\t\t{wrong}\n\t}}\n}}")).is_err(), "{wrong}");
        ensure!(std::fs::read_to_string(&config)? == text, "{wrong} has changed something");
    }
    ensure!(configured("{}")? == ("# mine\nfailure-domain: a\n".to_owned(), true));
    Ok(())
}
