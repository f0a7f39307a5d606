//! Runs helm: in a folder of its own that nobody else can read, without the settings of the machine's users, and never
//! longer than the one who waits for it.

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use serde_json::Value;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;
use tokio::process::Command;

/// Of what helm prints in the end, as much as fits into a condition.
const MAX_SAID: u64 = 1000;
/// Of what helm lists.
const MAX_LIST: u64 = 1 << 20;
/// What helm may know of the machine: where programs are, how to reach the world, whom to trust.
const PASSED: [&str; 9] = [
    "PATH",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
];

/// Why helm did not do it.
#[derive(Debug, thiserror::Error)]
pub enum HelmError {
    /// It could not be started, or its folder could not be made.
    #[error("cannot run {program}: {source}")]
    Start {
        /// The program.
        program: String,
        /// Why.
        source: io::Error,
    },
    /// It ended with an error.
    #[error("{said}")]
    Failed {
        /// How it ended.
        status: ExitStatus,
        /// The end of what it said.
        said: String,
    },
    /// It took too long, and was ended.
    #[error("helm was ended, since it took more than {} s", .0.as_secs())]
    TooLong(Duration),
}

/// A folder for one release's files; gone when this is dropped.
pub struct Work {
    folder: PathBuf,
}

impl Work {
    /// A new folder below `root`.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn new(root: &Path) -> io::Result<Self> {
        let folder = root.join(uuid::Uuid::new_v4().simple().to_string());
        DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
        Ok(Self { folder })
    }

    /// Writes a file that only its owner can read.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, name: &str, content: &[u8]) -> io::Result<()> {
        self.create(name)?.write_all(content)
    }

    fn create(&self, name: &str) -> io::Result<File> {
        OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(self.folder.join(name))
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.folder) {
            tracing::warn!(%error, folder = %self.folder.display(), "cannot remove a folder of helm's");
        }
    }
}

/// Removes what a server that was killed has left below `root`, and ends what still runs there.
pub fn clear(root: &Path) {
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let id = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok());
        let within =
            std::fs::read_link(entry.path().join("cwd")).is_ok_and(|folder| folder.starts_with(root));
        if let Some(id) = id.filter(|_| within) {
            let _ = kill(Pid::from_raw(id), Signal::SIGKILL);
        }
    }
    if let Err(error) = std::fs::remove_dir_all(root)
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::warn!(%error, folder = %root.display(), "cannot remove helm's folder");
    }
}

/// helm for one release.
pub struct Helm<'a> {
    /// The program.
    pub program: &'a Path,
    /// Its folder, with a `kubeconfig`.
    pub work: &'a Work,
    /// Where it keeps what it knows of releases.
    pub driver: &'a str,
    /// How long one run may take.
    pub deadline: Duration,
}

/// Ends a process and all that it has started, if it is still there.
struct Group(Option<Pid>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            let _ = killpg(group, Signal::SIGKILL);
        }
    }
}

impl Helm<'_> {
    /// Runs it. Cancel safe: a run that is not waited for any more is ended.
    ///
    /// # Errors
    /// When it cannot be started, ends with an error or takes too long.
    pub async fn run(&self, arguments: &[String]) -> Result<(), HelmError> {
        self.run_into(arguments, Stdio::null()).await
    }

    /// The state of a release, such as `deployed`; none when there is no such release.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub async fn state(&self, release: &str, namespace: &str) -> Result<Option<State>, HelmError> {
        let failed = |source| HelmError::Start { program: self.program.display().to_string(), source };
        let filter = format!("--filter=^{}$", release.replace('.', "\\."));
        let namespace = format!("--namespace={namespace}");
        let arguments = [
            "list",
            &namespace,
            &filter,
            "--deployed",
            "--failed",
            "--pending",
            "--uninstalling",
            "--output=json",
        ];
        let mut file = self.work.create("list").map_err(failed)?;
        let output = file.try_clone().map_err(failed)?;
        self.run_into(&arguments.map(str::to_owned), output.into()).await?;
        let mut text = String::new();
        file.seek(SeekFrom::Start(0)).map_err(failed)?;
        file.take(MAX_LIST).read_to_string(&mut text).map_err(failed)?;
        let list: Value = serde_json::from_str(&text).unwrap_or_default();
        let of =
            |field: &str| list.pointer(&format!("/0/{field}")).and_then(Value::as_str).unwrap_or_default();
        let state = State {
            status: of("status").to_owned(),
            revision: of("revision").to_owned(),
            chart: of("chart").to_owned(),
        };
        Ok((!state.status.is_empty()).then_some(state))
    }

    async fn run_into(&self, arguments: &[String], output: Stdio) -> Result<(), HelmError> {
        let failed = |source| HelmError::Start { program: self.program.display().to_string(), source };
        let folder = &self.work.folder;
        // Files, not pipes: nobody has to read while it runs, and only the end of it is wanted.
        let mut said = self.work.create("said").map_err(failed)?;
        let mut command = Command::new(self.program);
        command
            .args(arguments)
            .env_clear()
            .envs(PASSED.iter().filter_map(|name| Some((name, std::env::var_os(name)?))))
            .env("HOME", folder)
            .env("KUBECONFIG", folder.join("kubeconfig"))
            .env("HELM_CACHE_HOME", folder.join("cache"))
            .env("HELM_CONFIG_HOME", folder.join("config"))
            .env("HELM_DATA_HOME", folder.join("data"))
            // A plugin would be a program of somebody's choice.
            .env("HELM_PLUGINS", folder.join("plugins"))
            .env("HELM_REPOSITORY_CONFIG", folder.join("repositories.yaml"))
            .env("HELM_REGISTRY_CONFIG", folder.join("registry.json"))
            .env("HELM_DRIVER", self.driver)
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(said.try_clone().map_err(failed)?)
            .process_group(0)
            .kill_on_drop(true);
        let mut child = command.spawn().map_err(failed)?;
        let id = child.id().and_then(|id| i32::try_from(id).ok());
        let mut group = Group(id.map(Pid::from_raw));
        let status = match tokio::time::timeout(self.deadline, child.wait()).await {
            Err(_) => return Err(HelmError::TooLong(self.deadline)),
            Ok(ended) => ended.map_err(failed)?,
        };
        group.0 = None;
        if status.success() {
            return Ok(());
        }
        let said = end(&mut said).map_err(failed)?;
        let said = if said.is_empty() { format!("helm ended with {status}") } else { said };
        Err(HelmError::Failed { status, said })
    }
}

/// What helm knows of a release.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// `deployed`, `failed`, `pending-install`, ...
    pub status: String,
    /// Its revision.
    pub revision: String,
    /// Name and version of its chart.
    pub chart: String,
}

/// The end of a file as text.
fn end(file: &mut File) -> io::Result<String> {
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(MAX_SAID)))?;
    let mut bytes = Vec::new();
    file.take(MAX_SAID).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    /// A program that stands in for helm.
    fn script(folder: &Path, text: &str) -> PathBuf {
        let path = folder.join("helm");
        std::fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    fn helm<'a>(program: &'a Path, work: &'a Work) -> Helm<'a> {
        Helm { program, work, driver: "secret", deadline: Duration::from_secs(60) }
    }

    #[tokio::test]
    async fn helm_runs_in_a_folder_that_others_cannot_read_and_that_is_gone_afterwards() {
        let root = tempfile::tempdir().unwrap();
        let program = script(root.path(), "pwd; ls -l values; env >&2; exit 3");
        let work = Work::new(&root.path().join("work")).unwrap();
        work.write("values", b"a: b").unwrap();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&work.folder), mode(&work.folder.join("values"))), (0o700, 0o600));
        let error = helm(&program, &work).run(&["x".to_owned()]).await.unwrap_err();
        let said = error.to_string();
        assert!(
            said.contains("HELM_DRIVER=secret") && said.contains(&work.folder.display().to_string()),
            "{said}"
        );
        assert!(!said.contains("CARGO"), "{said}");
        let folder = work.folder.clone();
        drop(work);
        assert!(!folder.exists());
    }

    #[tokio::test]
    async fn the_state_of_a_release_is_what_helm_lists() {
        let root = tempfile::tempdir().unwrap();
        let listed = r#"[{"name":"a","status":"pending-upgrade","revision":"3","chart":"c-1.0"}]"#;
        let program = script(
            root.path(),
            &format!("[ \"$1 $2 $3\" = 'list --namespace=n --filter=^a\\.b$' ] && echo '{listed}'"),
        );
        let work = Work::new(root.path()).unwrap();
        let state = helm(&program, &work).state("a.b", "n").await.unwrap().unwrap();
        assert_eq!(
            (state.status.as_str(), state.revision.as_str(), state.chart.as_str()),
            ("pending-upgrade", "3", "c-1.0")
        );
        let program = script(root.path(), "echo '[]'");
        assert_eq!(helm(&program, &work).state("a", "n").await.unwrap(), None);
    }

    #[tokio::test]
    async fn what_is_not_waited_for_any_more_is_ended_with_all_that_it_started() {
        let root = tempfile::tempdir().unwrap();
        let fifo = root.path().join("fifo");
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
        // The grandchild holds the pipe open for writing until it is ended.
        let text = format!("sh -c 'echo begun; exec sleep 1000' > {} & wait", fifo.display());
        let program = script(root.path(), &text);
        let work = Work::new(root.path()).unwrap();
        let helm = helm(&program, &work);
        let running = helm.run(&[]);
        let mut reader = tokio::net::unix::pipe::OpenOptions::new().open_receiver(&fifo).unwrap();
        let mut begun = [0; 6];
        tokio::select! {
            ended = running => panic!("{ended:?}"),
            read = async {
                // Until somebody has it open for writing, there is nothing to read.
                while tokio::io::AsyncReadExt::read(&mut reader, &mut begun).await.unwrap_or(0) == 0 {
                    tokio::task::yield_now().await;
                }
            } => read,
        }
        let mut rest = Vec::new();
        let patience = Duration::from_secs(30);
        let read = tokio::io::AsyncReadExt::read_to_end(&mut reader, &mut rest);
        tokio::time::timeout(patience, read).await.expect("the grandchild goes on").unwrap();
    }

    #[tokio::test]
    async fn helm_that_takes_too_long_is_ended_and_one_that_is_not_there_is_told() {
        let root = tempfile::tempdir().unwrap();
        let program = script(root.path(), "exec sleep 1000");
        let work = Work::new(root.path()).unwrap();
        let short = Helm { deadline: Duration::from_millis(1), ..helm(&program, &work) };
        assert!(matches!(short.run(&[]).await, Err(HelmError::TooLong(_))));
        let none = root.path().join("none");
        assert!(matches!(helm(&none, &work).run(&[]).await, Err(HelmError::Start { .. })));
    }

    #[tokio::test]
    async fn what_a_killed_server_left_is_removed_and_ended() {
        let root = tempfile::tempdir().unwrap();
        let work = Work::new(&root.path().join("work")).unwrap();
        let mut left = Command::new("sleep").arg("1000").current_dir(&work.folder).spawn().unwrap();
        // The child changes its folder before it becomes the program.
        let folder = format!("/proc/{}/cwd", left.id().unwrap());
        while std::fs::read_link(&folder).ok().as_ref() != Some(&work.folder) {
            tokio::task::yield_now().await;
        }
        clear(&root.path().join("work"));
        assert!(!left.wait().await.unwrap().success());
        assert!(!root.path().join("work").exists());
    }
}
