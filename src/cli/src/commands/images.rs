//! `knarr images`: the images of this node, without a detour over a registry.

use super::image_import;
use super::output::{show, table};
use super::process;
use super::progress::Progress;
use crate::arguments::tools::{Images as Options, ImagesCommand};
use crate::paths::Paths;
use anyhow::{Context, Result, bail};
use cri::Images as _;
use cri::image::Store;
use cri::image::reference::normalize;
use cri::v1::Image;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Does what is asked for.
///
/// # Errors
/// When no pods run here, or containerd or a file does not do what it should.
pub async fn run(options: &Options) -> Result<ExitCode> {
    let paths = Paths::new(&options.location.data_dir);
    match &options.command {
        ImagesCommand::Import(options) => return image_import::run(&paths, options).await,
        ImagesCommand::List { output } => {
            let mut images = cri::Client::new(&socket(&paths)?)?.list_images(None).await?;
            images.sort_by(|a, b| (&a.repo_tags, &a.id).cmp(&(&b.repo_tags, &b.id)));
            show(output.output, &value(&images), || pretty(&images))?;
        }
        ImagesCommand::Export { file, images } => {
            export(&Store::new(&socket(&paths)?)?, file, images).await?
        }
        ImagesCommand::Pull { images } => pull(&cri::Client::new(&socket(&paths)?)?, images).await?,
    }
    Ok(ExitCode::SUCCESS)
}

/// The socket of a runtime that is there.
///
/// # Errors
/// When there is none.
pub fn socket(paths: &Paths) -> Result<PathBuf> {
    let socket = process::runtime_socket(paths)?;
    if !socket.exists() {
        bail!("the container runtime is not running ({} is missing); try knarr start", socket.display());
    }
    Ok(socket)
}

async fn export(store: &Store, file: &Path, images: &[String]) -> Result<()> {
    let mut names = images.to_vec();
    if names.is_empty() {
        let all = store.list_images().await?;
        // CRI also gives each image its digests as names.
        names = all.into_iter().map(|(name, _)| name).filter(|name| is_tag(name)).collect();
        names.sort();
    }
    if names.is_empty() {
        bail!("there are no images to export");
    }
    if file == Path::new("-") {
        return Ok(cri::image::export(store, &names, &mut tokio::io::stdout()).await?);
    }
    let mut progress = Progress::new();
    progress.step(&format!("Exporting {} image(s)", names.len()));
    let folder = file.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let kept = tempfile::NamedTempFile::new_in(folder)
        .with_context(|| format!("cannot write into {}", folder.display()))?;
    let mut output = tokio::io::BufWriter::new(tokio::fs::File::from_std(kept.reopen()?));
    cri::image::export(store, &names, &mut output).await?;
    // Whole or not at all.
    kept.persist(file).with_context(|| format!("cannot write {}", file.display()))?;
    progress.done(&format!("Exported {} image(s) to {}", names.len(), file.display()));
    Ok(())
}

async fn pull(runtime: &cri::Client, images: &[String]) -> Result<()> {
    let mut progress = Progress::new();
    for image in images {
        let name = normalize(image)?;
        progress.step(&format!("Pulling {name}"));
        runtime.pull_image(&name, None, None).await.with_context(|| format!("cannot pull {name}"))?;
        progress.done(&format!("Pulled {name}"));
    }
    Ok(())
}

fn is_tag(name: &str) -> bool {
    !name.contains('@') && !name.starts_with("sha256:")
}

fn value(images: &[Image]) -> Value {
    let one = |image: &Image| {
        json!({"id": image.id, "tags": image.repo_tags, "digests": image.repo_digests, "bytes": image.size,
               "pinned": image.pinned})
    };
    Value::Array(images.iter().map(one).collect())
}

fn pretty(images: &[Image]) -> String {
    let mut rows = Vec::new();
    for image in images {
        let id = image.id.trim_start_matches("sha256:").chars().take(12).collect::<String>();
        let size = super::size(image.size);
        let row = |name: &str, tag: &str| vec![name.to_owned(), tag.to_owned(), id.clone(), size.clone()];
        rows.extend(image.repo_tags.iter().map(|name| {
            let (repository, tag) = name.rsplit_once(':').unwrap_or((name, ""));
            row(repository, tag)
        }));
        if image.repo_tags.is_empty() {
            let repository = image.repo_digests.first().and_then(|digest| digest.split('@').next());
            rows.push(row(repository.unwrap_or("<none>"), "<none>"));
        }
    }
    table(&["IMAGE", "TAG", "ID", "SIZE"], &rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_tag_of_an_image_is_a_row() {
        let image = Image {
            id: "sha256:0123456789abcdef".to_owned(),
            repo_tags: vec!["docker.io/library/a:1".to_owned(), "localhost:32000/a:2".to_owned()],
            size: 5 << 20,
            ..Image::default()
        };
        let unnamed = Image { repo_digests: vec!["x.example/b@sha256:00".to_owned()], ..Image::default() };
        let text = pretty(&[image, unnamed]);
        assert!(text.contains("docker.io/library/a  1       0123456789ab  5.0 MiB\n"), "{text}");
        assert!(text.contains("localhost:32000/a    2"), "{text}");
        assert!(text.contains("x.example/b          <none>"), "{text}");
        assert!(is_tag("localhost:32000/a:2") && !is_tag("a@sha256:00") && !is_tag("sha256:00"));
    }
}
