//! Packs the dashboard's page: every file of `src/dashboard/page` compressed, with its type and a tag of its content.

use flate2::Compression;
use flate2::write::GzEncoder;
use std::collections::hash_map::DefaultHasher;
use std::fmt::Write as _;
use std::hash::{Hash as _, Hasher as _};
use std::io::{Error, Write as _};
use std::path::{Path, PathBuf};

/// All of the page, compressed: a binary of 40 MB has room for this much and no more.
const LIMIT_BYTES: usize = 80 << 10;

fn main() -> Result<(), Error> {
    let folder = Path::new("src/dashboard/page");
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed={}", folder.display());
    let out = PathBuf::from(std::env::var_os("OUT_DIR").ok_or_else(|| Error::other("no OUT_DIR"))?);
    let mut files = Vec::new();
    list(folder, &mut files)?;
    files.sort();
    let mut source = "pub(super) const FILES: &[File] = &[\n".to_owned();
    let mut whole = 0;
    for (at, path) in files.iter().enumerate() {
        let bytes = std::fs::read(path)?;
        let name = path.strip_prefix(folder).map_err(Error::other)?.display().to_string();
        let mut hasher = DefaultHasher::new();
        bytes.hash(&mut hasher);
        let tag = format!("{:016x}", hasher.finish());
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(&bytes)?;
        let packed = encoder.finish()?;
        whole += packed.len();
        let target = out.join(format!("page{at}.gz"));
        std::fs::write(&target, packed)?;
        writeln!(
            source,
            "File {{ name: {name:?}, media: {:?}, tag: \"\\\"{tag}\\\"\", gzip: include_bytes!({target:?}) }},",
            media(&name)?
        )
        .map_err(Error::other)?;
    }
    if whole > LIMIT_BYTES {
        return Err(Error::other(format!("the page has {whole} bytes; there is room for {LIMIT_BYTES}")));
    }
    source.push_str("];\n");
    std::fs::write(out.join("page.rs"), source)
}

/// All files below a folder.
fn list(folder: &Path, files: &mut Vec<PathBuf>) -> Result<(), Error> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            println!("cargo::rerun-if-changed={}", path.display());
            list(&path, files)?;
        } else {
            files.push(path);
        }
    }
    Ok(())
}

fn media(name: &str) -> Result<&'static str, Error> {
    match name.rsplit_once('.') {
        Some((_, "html")) => Ok("text/html; charset=utf-8"),
        Some((_, "js")) => Ok("text/javascript; charset=utf-8"),
        Some((_, "css")) => Ok("text/css; charset=utf-8"),
        Some((_, "svg")) => Ok("image/svg+xml"),
        _ => Err(Error::other(format!("nobody knows what {name} is"))),
    }
}
