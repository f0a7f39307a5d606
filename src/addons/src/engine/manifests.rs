//! A folder of manifests that is applied whenever it changes, as in k3s. Each file is on the record as an add-on of the
//! repository `manifests`, so that what it no longer holds can be deleted.

use super::record::{self, Entry, Reference, object_name};
use super::{Engine, EngineError};
use apimachinery::causes::chain;
use apimachinery::decode;
use ring::digest::{SHA256, digest};
use serde_json::Value;
use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};
use tokio::time::Instant;

/// What the clients of this call themselves.
pub const COMPONENT: &str = "knarr-manifests";
/// The repository in the record.
const REPOSITORY: &str = "manifests";
/// How often the folder is looked at: one look at an empty folder takes microseconds.
const PERIOD: Duration = Duration::from_secs(2);
/// How often all is applied again, whether or not it changed: somebody else may have changed the objects.
const REPAIR: Duration = Duration::from_secs(300);
/// Wait after a failure: kinds may not be served yet.
const RETRY: Duration = Duration::from_secs(10);
/// Of files; a manifest that is larger is none.
const MAX_BYTES: u64 = 16 << 20;
/// Folders within folders.
const MAX_DEPTH: usize = 8;

/// Why a file was not applied.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// It cannot be read.
    #[error("it cannot be read: {0}")]
    Read(#[from] io::Error),
    /// It is no manifest.
    #[error("{0}")]
    Damaged(String),
    /// The API refuses.
    #[error(transparent)]
    Engine(#[from] EngineError),
}

/// When a file changed last, and how long it is.
type Stamp = (SystemTime, u64);

/// Applies the folder of the node for as long as it is not dropped. Makes the folder.
pub async fn run(client: kube::Client, folder: &Path, node: &str) {
    if let Err(error) = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder) {
        tracing::warn!(%error, folder = %folder.display(), "cannot make the folder of manifests");
    }
    let mut applied: Option<(BTreeMap<PathBuf, Stamp>, Instant)> = None;
    loop {
        match files(folder) {
            Ok(found) => {
                let due = applied
                    .as_ref()
                    .is_none_or(|(stamps, until)| *stamps != found || Instant::now() >= *until);
                if due {
                    let names: Vec<&PathBuf> = found.keys().collect();
                    // What is served may have changed since the last time.
                    let failed = apply(&Engine::new(client.clone()), folder, &names, node).await;
                    let wait = if failed { RETRY } else { REPAIR };
                    applied = Some((found, Instant::now() + wait));
                }
            }
            Err(error) => tracing::warn!(%error, folder = %folder.display(), "cannot look at the manifests"),
        }
        tokio::time::sleep(PERIOD).await;
    }
}

/// Applies these files of a folder, and deletes what files of this node held that are gone. Answers whether something
/// failed, which is in the log.
pub async fn apply(engine: &Engine, folder: &Path, files: &[&PathBuf], node: &str) -> bool {
    let entries = match record::read(&engine.rest).await {
        Ok(entries) => entries,
        Err(error) => {
            tracing::warn!(%error, "cannot read what manifests have applied");
            return true;
        }
    };
    let mut failed = false;
    for file in files {
        let name = object_name(REPOSITORY, &entry_name(file));
        let old = entries.get(&name);
        if let Err(error) = engine.apply_file(folder, file, &name, old, node).await {
            failed = true;
            let error = chain(&error);
            tracing::warn!(file = %file.display(), error, "a manifest is not applied");
        }
    }
    let here = |entry: &Entry| entry.repository == REPOSITORY && argument(entry, "node") == Some(node);
    for (name, entry) in entries.iter().filter(|(_, entry)| here(entry)) {
        let there = argument(entry, "file").is_some_and(|file| there(folder, Path::new(file)));
        if there {
            continue;
        }
        let removed = match engine.delete(&entry.applied).await {
            Ok(()) => record::remove(&engine.rest, name).await,
            failed => failed,
        };
        match removed {
            Ok(()) => tracing::info!(addon = name, "its manifest is gone, and so is what it held"),
            Err(error) => {
                failed = true;
                tracing::warn!(addon = name, error = chain(&error), "cannot delete what a manifest held");
            }
        }
    }
    failed
}

impl Engine {
    async fn apply_file(
        &self,
        folder: &Path,
        file: &Path,
        name: &str,
        old: Option<&Entry>,
        node: &str,
    ) -> Result<(), ManifestError> {
        let text = std::fs::read_to_string(folder.join(file))?;
        let mut objects = parse(&text).map_err(ManifestError::Damaged)?;
        for object in &mut objects {
            self.set_namespace(object).await?;
        }
        let version: String = digest(&SHA256, text.as_bytes())
            .as_ref()
            .iter()
            .take(6)
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let entry = Entry {
            repository: REPOSITORY.to_owned(),
            enabled: true,
            arguments: vec![format!("file={}", file.display()), format!("node={node}")],
            version,
            applied: Vec::new(),
        };
        let before = old.map(|old| old.applied.clone()).unwrap_or_default();
        Ok(self.apply_all(name, objects, entry, before).await?)
    }

    /// Objects of namespaces that name none are in `default`, as for kubectl.
    async fn set_namespace(&self, object: &mut Value) -> Result<(), EngineError> {
        let reference = Reference::of(object);
        let failed = |source| EngineError::Api { verb: "apply", what: reference.to_string(), source };
        let namespaced = self.resources.is_namespaced(&reference).await.map_err(failed)?;
        if reference.namespace.is_empty()
            && namespaced == Some(true)
            && let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut)
        {
            metadata.insert("namespace".to_owned(), Value::from("default"));
        }
        Ok(())
    }
}

fn argument<'a>(entry: &'a Entry, name: &str) -> Option<&'a str> {
    entry.arguments.iter().find_map(|argument| argument.strip_prefix(name)?.strip_prefix('='))
}

/// Whether a file is there, or is kept from being applied: then what it applied stays.
fn there(folder: &Path, file: &Path) -> bool {
    folder.join(file).exists() || skip_of(&folder.join(file)).exists()
}

fn skip_of(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".skip");
    PathBuf::from(name)
}

/// The manifests below a folder, by their paths within it.
pub fn files(folder: &Path) -> io::Result<BTreeMap<PathBuf, Stamp>> {
    let mut found = BTreeMap::new();
    collect(folder, Path::new(""), 0, &mut found)?;
    Ok(found)
}

fn collect(
    folder: &Path,
    within: &Path,
    depth: usize,
    found: &mut BTreeMap<PathBuf, Stamp>,
) -> io::Result<()> {
    let entries = match std::fs::read_dir(folder.join(within)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let name = within.join(entry?.file_name());
        let path = folder.join(&name);
        // Editors' files begin with a dot, and are gone in a moment.
        let hidden = name.file_name().is_none_or(|name| name.to_string_lossy().starts_with('.'));
        let Some(metadata) = std::fs::metadata(&path).ok().filter(|_| !hidden) else { continue };
        let manifest = matches!(name.extension().and_then(|e| e.to_str()), Some("yaml" | "yml" | "json"));
        if metadata.is_dir() && depth < MAX_DEPTH {
            collect(folder, &name, depth + 1, found)?;
        } else if metadata.is_file() && manifest && metadata.len() <= MAX_BYTES && !skip_of(&path).exists() {
            found.insert(name, (metadata.modified()?, metadata.len()));
        }
    }
    Ok(())
}

/// A name that an object can have, out of a file's: `a/My app.yaml` is `a-my-app`.
fn entry_name(file: &Path) -> String {
    let name = file.with_extension("").to_string_lossy().to_lowercase();
    let plain = name.bytes().map(|byte| if byte.is_ascii_alphanumeric() { char::from(byte) } else { '-' });
    let name: String = plain.collect();
    name.trim_matches('-').to_owned()
}

/// The objects of a file, those of a List one by one.
fn parse(text: &str) -> Result<Vec<Value>, String> {
    let mut objects = Vec::new();
    for document in format!("\n{text}").split("\n---") {
        if document.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#')) {
            continue;
        }
        let object = decode::yaml(document.as_bytes()).map_err(|error| error.to_string())?;
        flatten(object.value, &mut objects)?;
    }
    Ok(objects)
}

fn flatten(mut object: Value, objects: &mut Vec<Value>) -> Result<(), String> {
    let of = |field: &str| object.pointer(field).and_then(Value::as_str).filter(|text| !text.is_empty());
    let is_list = of("/kind").is_some_and(|kind| kind.ends_with("List"));
    if let (true, Some(items)) = (is_list, object.get_mut("items").and_then(Value::as_array_mut)) {
        for item in std::mem::take(items) {
            flatten(item, objects)?;
        }
        return Ok(());
    }
    let of = |field: &str| object.pointer(field).and_then(Value::as_str).filter(|text| !text.is_empty());
    for field in ["/apiVersion", "/kind", "/metadata/name"] {
        if of(field).is_none() {
            return Err(format!("an object has no {}", field.trim_start_matches('/').replace('/', ".")));
        }
    }
    objects.push(object);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_object_of_a_file_is_found() {
        let text = "# only words\n---\napiVersion: v1\nkind: A\nmetadata: {name: a}\n---\n\n--- # more\napiVersion: v1\nkind: List\nitems:\n- \
                    {apiVersion: v1, kind: B, metadata: {name: b}}\n- {apiVersion: v1, kind: C, metadata: {name: c}}\n";
        let kinds: Vec<String> =
            parse(text).unwrap().iter().map(|o| o["kind"].as_str().unwrap().to_owned()).collect();
        assert_eq!(kinds, ["A", "B", "C"]);
        assert_eq!(
            parse("{\"apiVersion\": \"v1\", \"kind\": \"A\", \"metadata\": {\"name\": \"a\"}}")
                .unwrap()
                .len(),
            1
        );
        assert!(parse("kind: A\n").unwrap_err().contains("apiVersion"));
        assert!(parse("a: [").is_err());
        assert!(parse("").unwrap().is_empty());
    }

    #[test]
    fn only_manifests_are_taken_and_those_to_be_skipped_are_not() {
        let folder = tempfile::tempdir().unwrap();
        let make = |name: &str| std::fs::write(folder.path().join(name), "x").unwrap();
        std::fs::create_dir(folder.path().join("below")).unwrap();
        for name in ["a.yaml", "b.yml", "below/c.json", "d.txt", ".e.yaml", "f.yaml", "f.yaml.skip"] {
            make(name);
        }
        let names: Vec<String> =
            files(folder.path()).unwrap().keys().map(|name| name.display().to_string()).collect();
        assert_eq!(names, ["a.yaml", "b.yml", "below/c.json"]);
        assert!(there(folder.path(), Path::new("f.yaml")));
        assert!(files(&folder.path().join("none")).unwrap().is_empty());
    }

    #[test]
    fn files_have_names_that_objects_can_have() {
        assert_eq!(entry_name(Path::new("a/My app.yaml")), "a-my-app");
        assert_eq!(entry_name(Path::new("_x_.yml")), "x");
    }
}
