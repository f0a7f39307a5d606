//! A read-only OCI registry (distribution specification 1.1, pull) on a machine.

use crate::image::{Image, digest};
use crate::machine::Machine;
use anyhow::{Context, Result};
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper_util::rt::TokioIo;
use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;

/// A running registry; it ends with the test's process.
#[derive(Debug)]
pub struct Registry {
    /// `127.0.0.1:PORT` within the machine; the port is open at its other addresses, too.
    pub address: String,
    served: Arc<AtomicUsize>,
}

#[derive(Default)]
struct Content {
    /// `/v2/REPOSITORY/manifests/REFERENCE` and `/v2/REPOSITORY/blobs/DIGEST` to type and bytes.
    paths: HashMap<String, (&'static str, Bytes)>,
}

impl Registry {
    /// Starts to serve images within a machine.
    ///
    /// # Errors
    /// When the thread cannot enter the machine or listen there.
    pub fn start(machine: &Machine, images: &[Image]) -> Result<Self> {
        let content = Arc::new(Content::of(images));
        let served = Arc::new(AtomicUsize::new(0));
        let counter = served.clone();
        let (sender, receiver) = mpsc::channel();
        let namespace = std::fs::File::open(machine.path())?;
        std::thread::spawn(move || {
            let outcome = nix::sched::setns(namespace, nix::sched::CloneFlags::CLONE_NEWNET)
                .context("entering the machine")
                .and_then(|()| Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?))
                .and_then(|runtime| {
                    let listener = runtime.block_on(tokio::net::TcpListener::bind("0.0.0.0:0"))?;
                    Ok((runtime, format!("127.0.0.1:{}", listener.local_addr()?.port()), listener))
                });
            match outcome {
                Ok((runtime, address, listener)) => {
                    let _ = sender.send(Ok(address));
                    runtime.block_on(serve(listener, content, counter));
                }
                Err(error) => {
                    let _ = sender.send(Err(error));
                }
            }
        });
        let address = receiver.recv().context("the registry's thread ended")??;
        Ok(Self { address, served })
    }

    /// How many manifests were asked for by GET: the pulls.
    pub fn pulls(&self) -> usize {
        self.served.load(Ordering::SeqCst)
    }
}

impl Content {
    fn of(images: &[Image]) -> Self {
        let mut content = Self::default();
        for image in images {
            let manifest = Bytes::from(image.manifest.clone());
            for reference in [image.tag.clone(), digest(&manifest)] {
                content.paths.insert(
                    format!("/v2/{}/manifests/{reference}", image.repository),
                    ("application/vnd.oci.image.manifest.v1+json", manifest.clone()),
                );
            }
            for blob in &image.blobs {
                content.paths.insert(
                    format!("/v2/{}/blobs/{}", image.repository, digest(blob)),
                    ("application/octet-stream", Bytes::from(blob.clone())),
                );
            }
        }
        content
    }

    fn answer(&self, method: &Method, path: &str) -> Response<Full<Bytes>> {
        let mut response = Response::new(Full::default());
        if path == "/v2/" {
            return response;
        }
        let Some((kind, bytes)) = self.paths.get(path) else {
            *response.status_mut() = StatusCode::NOT_FOUND;
            return response;
        };
        let headers = response.headers_mut();
        headers.insert("content-type", http::HeaderValue::from_static(kind));
        headers.insert("content-length", bytes.len().into());
        if let Ok(value) = digest(bytes).parse() {
            headers.insert("docker-content-digest", value);
        }
        if method != Method::HEAD {
            *response.body_mut() = Full::new(bytes.clone());
        }
        response
    }
}

async fn serve(listener: tokio::net::TcpListener, content: Arc<Content>, served: Arc<AtomicUsize>) {
    while let Ok((stream, _)) = listener.accept().await {
        let (content, served) = (content.clone(), served.clone());
        tokio::spawn(async move {
            let service = hyper::service::service_fn(move |request: Request<hyper::body::Incoming>| {
                if request.method() == Method::GET && request.uri().path().contains("/manifests/") {
                    served.fetch_add(1, Ordering::SeqCst);
                }
                let response = content.answer(request.method(), request.uri().path());
                async move { Ok::<_, Infallible>(response) }
            });
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}
