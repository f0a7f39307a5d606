//! Object storage that speaks S3: puts, gets, lists and deletes backups. Four requests, one connection each.

mod connect;
mod listing;
mod sign;

use bytes::Bytes;
use connect::Trust;
use futures::StreamExt as _;
use http::uri::Authority;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, StreamBody, combinators::BoxBody};
use hyper::body::{Frame, Incoming};
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use listing::Page;
use rustls::ClientConfig;
use sha2::{Digest as _, Sha256};
use sign::{Credentials, Signed, encode, hex};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncWriteExt as _;
use tokio_util::io::ReaderStream;

/// The most that one request may put (S3's limit).
const MAX_OBJECT_BYTES: u64 = 5 << 30;

/// The SHA-256 of nothing.
const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// How a bucket is named in requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Lookup {
    /// In the host's name at Amazon's, in the path elsewhere.
    #[default]
    Auto,
    /// In the host's name.
    Dns,
    /// In the path.
    Path,
}

/// Where objects are kept, and how to get there.
#[derive(Clone, Default)]
pub struct Options {
    /// Host, and a port if it is not the usual one.
    pub endpoint: String,
    /// Authorities of the endpoint's certificate (PEM); the system's when absent.
    pub endpoint_ca: Option<PathBuf>,
    /// Believe any certificate.
    pub skip_verify: bool,
    /// Plain HTTP.
    pub insecure: bool,
    /// Who asks.
    pub access_key: String,
    /// With which secret.
    pub secret_key: String,
    /// For credentials that end.
    pub session_token: Option<String>,
    /// The bucket.
    pub bucket: String,
    /// Its region.
    pub region: String,
    /// What all names begin with; empty for nothing.
    pub folder: String,
    /// How the bucket is named.
    pub lookup: Lookup,
    /// How long one request may take.
    pub timeout: Duration,
}

/// Why the storage did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum S3Error {
    /// The options cannot be used.
    #[error("{0}")]
    Options(String),
    /// It cannot be reached, or the connection broke.
    #[error("the S3 endpoint {endpoint}: {reason}")]
    Unreachable {
        /// The endpoint.
        endpoint: String,
        /// What happened.
        reason: String,
    },
    /// It refused.
    #[error("the S3 endpoint {endpoint} answered {code} to {what}: {reason}")]
    Refused {
        /// The endpoint.
        endpoint: String,
        /// The HTTP status.
        code: u16,
        /// What was asked.
        what: String,
        /// What it said.
        reason: String,
    },
    /// A file could not be read or written.
    #[error("{}", path.display())]
    File {
        /// Which one.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
}

type Payload = BoxBody<Bytes, io::Error>;

/// A bucket, or a folder in one.
#[derive(Clone)]
pub struct Bucket {
    options: Options,
    credentials: Credentials,
    host: String,
    port: u16,
    /// Whether the bucket is part of the host's name.
    in_host: bool,
    tls: Option<Arc<ClientConfig>>,
}

impl Bucket {
    /// Prepares to speak to a bucket; nothing is sent.
    ///
    /// # Errors
    /// When an option is missing or cannot be used.
    pub fn new(options: Options) -> Result<Self, S3Error> {
        let wrong = |what: &str| S3Error::Options(what.to_owned());
        for (value, what) in [
            (&options.bucket, "no bucket is given"),
            (&options.access_key, "no access key is given"),
            (&options.secret_key, "no secret key is given"),
            (&options.endpoint, "no endpoint is given"),
        ] {
            if value.is_empty() {
                return Err(wrong(what));
            }
        }
        let authority: Authority = options
            .endpoint
            .parse()
            .ok()
            .filter(|authority: &Authority| !authority.as_str().contains('@'))
            .ok_or_else(|| wrong("the endpoint is not HOST or HOST:PORT"))?;
        let host = authority.host().trim_matches(['[', ']']).to_owned();
        let port = authority.port_u16().unwrap_or(if options.insecure { 80 } else { 443 });
        let trust = match &options.endpoint_ca {
            _ if options.skip_verify => Trust::Anybody,
            Some(path) => Trust::File(path),
            None => Trust::System,
        };
        let tls = if options.insecure { None } else { Some(connect::tls(&trust).map_err(S3Error::Options)?) };
        let in_host = match options.lookup {
            Lookup::Dns => true,
            Lookup::Path => false,
            Lookup::Auto => host == "amazonaws.com" || host.ends_with(".amazonaws.com"),
        };
        let credentials = Credentials {
            access_key: options.access_key.clone(),
            secret_key: options.secret_key.clone(),
            session_token: options.session_token.clone(),
        };
        Ok(Self { options, credentials, host, port, in_host, tls })
    }

    /// Puts a file under a name; an object that was there is replaced.
    ///
    /// # Errors
    /// [`S3Error`]; also when the file is larger than one request may put (5 GiB).
    pub async fn put(&self, name: &str, file: &Path) -> Result<(), S3Error> {
        let failed = |source| S3Error::File { path: file.to_owned(), source };
        let mut hash = Sha256::new();
        let mut stream = ReaderStream::new(tokio::fs::File::open(file).await.map_err(failed)?);
        let mut size = 0;
        while let Some(piece) = stream.next().await {
            let piece = piece.map_err(failed)?;
            size += piece.len() as u64;
            hash.update(piece);
        }
        if size > MAX_OBJECT_BYTES {
            return Err(S3Error::Options(format!(
                "{} is larger than 5 GiB, which S3 takes at once",
                file.display()
            )));
        }
        let frames = ReaderStream::new(tokio::fs::File::open(file).await.map_err(failed)?)
            .map(|piece| piece.map(Frame::data));
        let body = BodyExt::boxed(StreamBody::new(frames));
        let sum = hex(&hash.finalize());
        self.send(Method::PUT, Some(name), &[], Some((size, &sum)), body).await.map(drop)
    }

    /// Writes an object into a new file, which only its owner may read.
    ///
    /// # Errors
    /// [`S3Error`]; a file that was begun is left.
    pub async fn get(&self, name: &str, file: &Path) -> Result<(), S3Error> {
        let failed = |source| S3Error::File { path: file.to_owned(), source };
        let response = self.send(Method::GET, Some(name), &[], None, empty()).await?;
        let open = tokio::fs::File::options().write(true).create_new(true).mode(0o600).open(file).await;
        let mut out = open.map_err(failed)?;
        let mut body = response.into_body();
        let late = |_| self.unreachable(&format!("it sends nothing for {:?}", self.options.timeout));
        while let Some(frame) =
            tokio::time::timeout(self.options.timeout, body.frame()).await.map_err(late)?
        {
            let frame = frame.map_err(|error| self.unreachable(&error))?;
            if let Ok(piece) = frame.into_data() {
                out.write_all(&piece).await.map_err(failed)?;
            }
        }
        out.sync_all().await.map_err(failed)
    }

    /// The objects whose names begin with something: their names and sizes in bytes, in the order of names.
    ///
    /// # Errors
    /// [`S3Error`].
    pub async fn list(&self, prefix: &str) -> Result<Vec<(String, u64)>, S3Error> {
        let folder = self.key("");
        let prefix = format!("{folder}{prefix}");
        let mut found = Vec::new();
        let mut token: Option<String> = None;
        loop {
            let mut query = vec![("list-type", "2"), ("prefix", prefix.as_str())];
            query.extend(token.as_deref().map(|token| ("continuation-token", token)));
            let response = self.send(Method::GET, None, &query, None, empty()).await?;
            let page = Page::parse(&self.text(response).await?);
            let named = page
                .objects
                .into_iter()
                .filter_map(|(key, size)| Some((key.strip_prefix(folder.as_str())?.to_owned(), size)));
            found.extend(named);
            match page.next {
                Some(next) if token.as_ref() != Some(&next) => token = Some(next),
                _ => break,
            }
        }
        found.sort_unstable();
        Ok(found)
    }

    /// Deletes an object, if it is there.
    ///
    /// # Errors
    /// [`S3Error`].
    pub async fn delete(&self, name: &str) -> Result<(), S3Error> {
        self.send(Method::DELETE, Some(name), &[], None, empty()).await.map(drop)
    }

    fn key(&self, name: &str) -> String {
        match self.options.folder.trim_matches('/') {
            "" => name.to_owned(),
            folder => format!("{folder}/{name}"),
        }
    }

    async fn send(
        &self,
        method: Method,
        name: Option<&str>,
        query: &[(&str, &str)],
        body: Option<(u64, &str)>,
        payload: Payload,
    ) -> Result<Response<Incoming>, S3Error> {
        let sent = self.exchange(&method, name, query, body, payload);
        let late = |_| self.unreachable(&format!("no answer within {:?}", self.options.timeout));
        let response = tokio::time::timeout(self.options.timeout, sent).await.map_err(late)??;
        let code = response.status();
        if code.is_success() || (method == Method::DELETE && code == StatusCode::NOT_FOUND) {
            return Ok(response);
        }
        let reason = listing::error(&self.text(response).await.unwrap_or_default());
        let what = format!("{method} {}", name.unwrap_or("a list"));
        Err(S3Error::Refused { endpoint: self.options.endpoint.clone(), code: code.as_u16(), what, reason })
    }

    async fn exchange(
        &self,
        method: &Method,
        name: Option<&str>,
        query: &[(&str, &str)],
        body: Option<(u64, &str)>,
        payload: Payload,
    ) -> Result<Response<Incoming>, S3Error> {
        let Options { bucket, insecure, region, .. } = &self.options;
        let host = if self.in_host { format!("{bucket}.{}", self.host) } else { self.host.clone() };
        let object = name.map(|name| self.key(name)).unwrap_or_default();
        let path = if self.in_host { format!("/{object}") } else { format!("/{bucket}/{object}") };
        let path = encode(&path, true);
        let usual = if *insecure { 80 } else { 443 };
        let bracketed = if host.contains(':') { format!("[{host}]") } else { host.clone() };
        let authority = if self.port == usual { bracketed } else { format!("{bracketed}:{}", self.port) };
        let signed = Signed {
            method: method.as_str(),
            path: &path,
            query,
            headers: &[("host", &authority)],
            body: body.map_or(EMPTY, |(_, sum)| sum),
        };
        let headers = sign::headers(&signed, &self.credentials, region, Timestamp::now());
        let encoded = sign::query(query);
        let target = if encoded.is_empty() { path.clone() } else { format!("{path}?{encoded}") };
        let mut request = Request::builder().method(method).uri(target).header(header::HOST, &authority);
        for (name, value) in headers {
            request = request.header(name, value);
        }
        // Without a length it would be sent in chunks, which S3 does not take.
        if let Some((size, _)) = body {
            request = request.header(header::CONTENT_LENGTH, size);
        }
        let request = request.body(payload).map_err(|error| S3Error::Options(error.to_string()))?;
        let stream = connect::connect(&host, self.port, self.tls.as_ref()).await;
        let stream = stream.map_err(|reason| self.unreachable(&reason))?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| self.unreachable(&error))?;
        // It ends with the response's body.
        tokio::spawn(connection);
        sender.send_request(request).await.map_err(|error| self.unreachable(&error))
    }

    async fn text(&self, response: Response<Incoming>) -> Result<String, S3Error> {
        let read = tokio::time::timeout(self.options.timeout, response.into_body().collect()).await;
        let late = |_| self.unreachable(&format!("no answer within {:?}", self.options.timeout));
        let bytes = read.map_err(late)?.map_err(|error| self.unreachable(&error))?.to_bytes();
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    fn unreachable(&self, reason: &dyn fmt::Display) -> S3Error {
        S3Error::Unreachable { endpoint: self.options.endpoint.clone(), reason: reason.to_string() }
    }
}

fn empty() -> Payload {
    BodyExt::boxed(Full::new(Bytes::new()).map_err(|never| match never {}))
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not the secrets.
        f.debug_struct("Options")
            .field("endpoint", &self.endpoint)
            .field("bucket", &self.bucket)
            .field("folder", &self.folder)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bucket").field("options", &self.options).finish_non_exhaustive()
    }
}
