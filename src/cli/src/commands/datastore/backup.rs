//! `knarr datastore backup`.

use super::{process, request};
use crate::arguments::datastore::Backup;
use crate::backups::keeper::write_whole;
use crate::backups::source::Source;
use crate::backups::staged;
use crate::paths::Paths;
use ::backup::Form;
use anyhow::{Context, Result, bail};
use futures::io::AsyncReadExt as _;
use http::Method;
use std::io::{BufWriter, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use tokio::runtime::Handle;
use tokio::task::block_in_place;

/// Writes a backup: of the running server, or of what it has left.
///
/// # Errors
/// When there is nothing to back up, or it cannot be read or written; no file is left then.
pub fn run(options: &Backup) -> Result<ExitCode> {
    let paths = Paths::new(&options.location.data_dir);
    let file = options.file.clone().or_else(|| options.output.clone()).unwrap_or_else(|| {
        PathBuf::from(jiff::Zoned::now().strftime("backup-%Y-%m-%d-%H-%M-%S.tar.gz").to_string())
    });
    if file.as_os_str() == "-" {
        write(&paths, &mut BufWriter::new(std::io::stdout().lock()))?;
        return Ok(ExitCode::SUCCESS);
    }
    println!("Backing up the datastore");
    write_whole(&std::path::absolute(&file)?, |out| write(&paths, out))?;
    println!("The backup is: {}", file.display());
    println!("It holds the keys of the cluster: keep it where only administrators can read it.");
    Ok(ExitCode::SUCCESS)
}

fn write(paths: &Paths, output: &mut impl Write) -> Result<()> {
    if process::running(paths)?.is_none() {
        return of_files(paths, output);
    }
    block_in_place(|| Handle::current().block_on(of_server(paths, output)))
}

async fn of_server(paths: &Paths, output: &mut impl Write) -> Result<()> {
    let client = process::client(paths).await?;
    let mut stream = Box::pin(client.request_stream(request(Method::GET, "/backup")?).await?);
    let mut buffer = vec![0; 1 << 16];
    loop {
        let count = stream.read(&mut buffer).await.context("the server did not send all of the backup")?;
        let Some(read) = buffer.get(..count).filter(|read| !read.is_empty()) else { break };
        output.write_all(read).context("cannot write the backup")?;
    }
    output.flush().context("cannot write the backup")
}

/// Without a server: of the files.
fn of_files(paths: &Paths, output: &mut impl Write) -> Result<()> {
    if !paths.datastore().join("state.db").exists() {
        bail!(
            "there is nothing to back up: knarr never ran with the data directory {}",
            paths.root().display()
        );
    }
    super::privileged(paths)?;
    let _lock = super::stopped(paths, "back up its files")?;
    staged::finish(paths)?;
    let source = Source::new(paths, process::state(paths)?.as_ref());
    let folder = source.folder()?;
    let copy = folder.path().join("state.db");
    let contents = datastore::offline::copy_closed(&paths.datastore(), &copy)?;
    source.write(&contents, &copy, Form::Gzip, output)
}
