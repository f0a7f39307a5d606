//! Asks the runtime what it has.

use super::labels;
use super::observed::{ObservedContainer, ObservedPod, Sandbox, State};
use cri::{Result, Runtime};
use futures::future::try_join_all;
use k8s_cri::v1;
use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

/// How much of a termination message the API takes.
const MAX_MESSAGE_BYTES: u64 = 4096;
/// How much of a log stands in for a missing termination message.
const MAX_LOG_BYTES: u64 = 2048;
/// And how many lines.
const MAX_LOG_LINES: usize = 80;

/// Everything that the runtime has for the pod `uid`, with last words of ended containers.
///
/// # Errors
/// When the runtime does not answer. What vanishes meanwhile is simply not there.
pub async fn observe_pod(runtime: &dyn Runtime, uid: &str) -> Result<ObservedPod> {
    let selector = HashMap::from([(labels::POD_UID.to_owned(), uid.to_owned())]);
    let sandbox_filter =
        v1::PodSandboxFilter { label_selector: selector.clone(), ..v1::PodSandboxFilter::default() };
    let container_filter = v1::ContainerFilter { label_selector: selector, ..v1::ContainerFilter::default() };
    let (sandboxes, containers) = tokio::try_join!(
        runtime.list_pod_sandbox(Some(sandbox_filter)),
        runtime.list_containers(Some(container_filter))
    )?;
    let mut pod = identity(
        uid,
        sandboxes.first().map(|sandbox| &sandbox.labels).or(containers.first().map(|c| &c.labels)),
    );
    let sandbox_statuses = try_join_all(sandboxes.iter().map(|sandbox| sandbox_status(runtime, sandbox)));
    let container_statuses =
        try_join_all(containers.iter().map(|container| container_status(runtime, container)));
    let (sandboxes, containers) = tokio::try_join!(sandbox_statuses, container_statuses)?;
    pod.sandboxes = sandboxes.into_iter().flatten().collect();
    pod.containers = containers.into_iter().flatten().collect();
    pod.sort();
    Ok(pod)
}

/// All pods that the runtime has, as far as its lists tell: states and identities, no addresses or exit codes.
///
/// # Errors
/// When the runtime does not answer.
pub async fn observed_pods(runtime: &dyn Runtime) -> Result<BTreeMap<String, ObservedPod>> {
    let (sandboxes, containers) =
        tokio::try_join!(runtime.list_pod_sandbox(None), runtime.list_containers(None))?;
    let mut pods: BTreeMap<String, ObservedPod> = BTreeMap::new();
    for sandbox in sandboxes {
        // What others run on the same containerd is not a pod.
        let Some(uid) = sandbox.labels.get(labels::POD_UID).cloned() else { continue };
        let pod = pods.entry(uid.clone()).or_insert_with(|| identity(&uid, Some(&sandbox.labels)));
        pod.sandboxes.push(Sandbox {
            ready: sandbox.state == v1::PodSandboxState::SandboxReady as i32,
            attempt: sandbox.metadata.map_or(0, |metadata| metadata.attempt),
            created_at: sandbox.created_at,
            id: sandbox.id,
            runtime_handler: sandbox.runtime_handler,
            ..Sandbox::default()
        });
    }
    for container in containers {
        let Some(uid) = container.labels.get(labels::POD_UID).cloned() else { continue };
        let pod = pods.entry(uid.clone()).or_insert_with(|| identity(&uid, Some(&container.labels)));
        pod.containers.push(ObservedContainer {
            sandbox_id: container.pod_sandbox_id,
            name: container.labels.get(labels::CONTAINER_NAME).cloned().unwrap_or_default(),
            state: State::from(container.state),
            created_at: container.created_at,
            image: container.image.map(|image| image.image).unwrap_or_default(),
            image_id: container.image_ref,
            annotations: container.annotations,
            id: container.id,
            ..ObservedContainer::default()
        });
    }
    for pod in pods.values_mut() {
        pod.sort();
    }
    Ok(pods)
}

fn identity(uid: &str, labels: Option<&HashMap<String, String>>) -> ObservedPod {
    let label = |key: &str| labels.and_then(|labels| labels.get(key)).cloned().unwrap_or_default();
    ObservedPod {
        uid: uid.to_owned(),
        name: label(labels::POD_NAME),
        namespace: label(labels::POD_NAMESPACE),
        ..ObservedPod::default()
    }
}

async fn sandbox_status(runtime: &dyn Runtime, sandbox: &v1::PodSandbox) -> Result<Option<Sandbox>> {
    match runtime.pod_sandbox_status(&sandbox.id, false).await {
        Ok(answer) => Ok(answer.status.as_ref().map(Sandbox::from_status)),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}

async fn container_status(
    runtime: &dyn Runtime,
    container: &v1::Container,
) -> Result<Option<ObservedContainer>> {
    let answer = match runtime.container_status(&container.id, false).await {
        Ok(answer) => answer,
        Err(error) if error.is_not_found() => return Ok(None),
        Err(error) => return Err(error),
    };
    let Some(status) = answer.status else { return Ok(None) };
    let mut observed = ObservedContainer::from_status(&status, &container.pod_sandbox_id);
    if observed.state == State::Exited {
        add_last_words(&mut observed);
    }
    Ok(Some(observed))
}

/// The termination message: the file, or for failures the end of the log where the policy says so, or what the
/// runtime says.
fn add_last_words(container: &mut ObservedContainer) {
    let file = container.termination_file().and_then(|path| read_end(Path::new(path), MAX_MESSAGE_BYTES));
    let fallback = container
        .annotations
        .get(labels::TERMINATION_MESSAGE_POLICY)
        .is_some_and(|p| p == "FallbackToLogsOnError");
    let message = match file {
        Some(text) if !text.is_empty() => Some(text),
        _ if fallback && container.exit_code != 0 => {
            read_end(Path::new(&container.log_path), MAX_LOG_BYTES * 4).map(|log| log_text(&log))
        }
        _ => None,
    };
    let Some(message) = message.filter(|message| !message.is_empty()) else { return };
    container.message =
        if container.message.is_empty() { message } else { format!("{}: {message}", container.message) };
}

fn read_end(path: &Path, most: u64) -> Option<String> {
    let mut file = File::open(path).ok()?;
    let length = file.metadata().ok()?.len();
    if length > most {
        file.seek(SeekFrom::Start(length - most)).ok()?;
    }
    let mut read = Vec::new();
    file.take(most).read_to_end(&mut read).ok()?;
    Some(String::from_utf8_lossy(&read).into_owned())
}

/// The text of the last lines of a log in CRI's format (`time stream tag text`).
fn log_text(log: &str) -> String {
    let mut text = String::new();
    let lines: Vec<&str> = log.lines().collect();
    for line in lines.iter().skip(lines.len().saturating_sub(MAX_LOG_LINES)) {
        let mut words = line.splitn(4, ' ');
        let (Some(_), Some(_), Some(tag), Some(rest)) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            continue;
        };
        text.push_str(rest);
        // A partial line goes on in the next record.
        if tag != "P" {
            text.push('\n');
        }
    }
    let most = usize::try_from(MAX_LOG_BYTES).unwrap_or(usize::MAX);
    let mut start = text.len().saturating_sub(most);
    while !text.is_char_boundary(start) {
        start += 1;
    }
    text.split_off(start)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logs_lose_their_prefixes() {
        let log = "x\n2026-01-01T00:00:00Z stdout P par\n2026-01-01T00:00:00Z stdout F tial\n2026-01-01T00:00:00Z stderr F end\n";
        assert_eq!(log_text(log), "partial\nend\n");
    }

    #[test]
    fn the_file_wins_over_the_log() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("words");
        std::fs::write(&path, "bye").unwrap();
        let mut container = ObservedContainer {
            exit_code: 1,
            mounts: vec![("/dev/termination-log".into(), path.display().to_string())],
            annotations: HashMap::from([(
                labels::TERMINATION_MESSAGE_PATH.into(),
                "/dev/termination-log".into(),
            )]),
            ..ObservedContainer::default()
        };
        add_last_words(&mut container);
        assert_eq!(container.message, "bye");
    }
}
