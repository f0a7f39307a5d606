//! `knarr datastore restore`.

use crate::arguments::datastore::Restore;
use crate::backups::source::{DATABASE, PKI};
use crate::backups::staged;
use crate::paths::Paths;
use ::backup::Manifest;
use anyhow::{Context, Result, bail};
use datastore::offline::{self, Contents};
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::process::ExitCode;

/// Brings a backup back as the state of a new cluster with this node alone.
///
/// # Errors
/// When the server runs, the backup is damaged, cut off or of a newer version, or files cannot be written; nothing has
/// changed then.
pub async fn run(options: &Restore) -> Result<ExitCode> {
    let paths = Paths::new(&std::path::absolute(&options.location.data_dir)?);
    super::privileged(&paths)?;
    let _lock = super::stopped(&paths, "restore")?;
    staged::finish(&paths)?;
    let folder = staged::staging(&paths)?;
    let fetched = tempfile::Builder::new().prefix("backup-").tempdir_in(paths.root())?;
    let input: Box<dyn Read> = match options.s3.bucket()? {
        Some(bucket) => {
            let file = fetched.path().join("backup.tar.gz");
            bucket.get(&options.file.to_string_lossy(), &file).await?;
            Box::new(File::open(file)?)
        }
        None if options.file.as_os_str() == "-" => Box::new(std::io::stdin().lock()),
        None => {
            let shown = options.file.display();
            Box::new(File::open(&options.file).with_context(|| format!("cannot read {shown}"))?)
        }
    };
    let staged = stage(&paths, &folder, input);
    if staged.is_err() {
        staged::discard(&folder);
    }
    let (manifest, contents, files) = staged?;
    super::forget(&paths, &[super::TICKET])?;
    // The backup may be another node's.
    super::forget(&Paths::new(&folder), &[super::TICKET, super::NODE_NAME])?;
    let kept = staged::commit(&paths, &folder)?;
    println!(
        "Restored {} objects as of {} (revision {} of cluster {}).",
        contents.objects, manifest.time, manifest.revision, manifest.cluster
    );
    if !manifest.members.iter().any(|member| member.name.starts_with(PKI)) {
        println!("The backup has no certificates and keys; those that are here stay.");
    }
    for file in files {
        println!("{}", file.put_back()?);
    }
    if !manifest.arguments.is_empty() {
        println!("The server that it is of ran as: knarr server {}", manifest.arguments.join(" "));
    }
    if kept.exists() {
        println!("What was here before is in {} until the next restore.", kept.display());
    }
    println!(
        "Start with `knarr start`. This is a new cluster of one node: others join it anew (`knarr leave` there, then \
         `knarr add-node` here)."
    );
    Ok(ExitCode::SUCCESS)
}

fn stage(paths: &Paths, folder: &Path, input: Box<dyn Read>) -> Result<(Manifest, Contents, Vec<Outside>)> {
    let manifest = ::backup::unpack(input, env!("CARGO_PKG_VERSION"), folder)?;
    if manifest.datastore_format > offline::DATABASE_FORMAT {
        bail!(
            "the backup's datastore has format {}, this version knows formats up to {}; install Knarr {} or newer",
            manifest.datastore_format,
            offline::DATABASE_FORMAT,
            manifest.knarr_version
        );
    }
    let database = folder.join(DATABASE);
    if !database.exists() {
        bail!("the backup holds no datastore; take another one");
    }
    let contents = offline::found(&database, seen(paths), super::now_millis())?;
    let mut files = Vec::new();
    for member in &manifest.members {
        if let Some(path) = &member.path {
            files.push(Outside { path: path.clone(), content: std::fs::read(folder.join(&member.name))? });
        }
    }
    Ok((manifest, contents, files))
}

/// The highest revision that the present state has given out, as far as it can be told.
fn seen(paths: &Paths) -> u64 {
    match offline::inspect(&paths.datastore()) {
        Ok(present) => present.contents.revision,
        // There is none, or it is damaged: that may be why somebody restores.
        Err(_) => 0,
    }
}

/// A file from outside the data directory, on its way back.
struct Outside {
    path: String,
    content: Vec<u8>,
}

impl Outside {
    /// Writes it where it was if there is none. Answers what became of it.
    fn put_back(&self) -> Result<String> {
        let Self { path, content } = self;
        let there = Path::new(path);
        match std::fs::read(there) {
            Ok(present) if present == *content => Ok(format!("{path} is as it was.")),
            Ok(_) => {
                let beside = format!("{path}.from-backup");
                pki::write_private(Path::new(&beside), content)?;
                Ok(format!("{path} is another one now; that of the backup is {beside}."))
            }
            Err(_) => {
                if let Some(folder) = there.parent() {
                    std::fs::create_dir_all(folder)
                        .with_context(|| format!("cannot make {}", folder.display()))?;
                }
                pki::write_private(there, content)?;
                Ok(format!("{path} is back."))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn configuration_comes_back_but_never_replaces_what_somebody_wrote() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("etc/config.yaml");
        let outside = Outside { path: path.display().to_string(), content: b"a: 1\n".to_vec() };
        assert!(outside.put_back().unwrap().ends_with("is back."));
        assert!(outside.put_back().unwrap().ends_with("as it was."));
        std::fs::write(&path, "b: 2\n").unwrap();
        assert!(outside.put_back().unwrap().contains("is another one now"));
        assert_eq!(std::fs::read(&path).unwrap(), b"b: 2\n");
        assert_eq!(std::fs::read(dir.path().join("etc/config.yaml.from-backup")).unwrap(), b"a: 1\n");
    }
}
