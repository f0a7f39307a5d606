//! What tests of proxies have in common.

use crate::http::{self as web, Body};
use http::{HeaderValue, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// Agrees to an upgrade, and echoes the first four bytes that come after it.
pub(crate) fn echo(mut request: Request<Incoming>) -> Response<Body> {
    let upgrade = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        let mut both = TokioIo::new(upgrade.await.unwrap());
        let mut bytes = [0; 4];
        both.read_exact(&mut bytes).await.unwrap();
        both.write_all(&bytes).await.unwrap();
    });
    let mut response = web::text(StatusCode::SWITCHING_PROTOCOLS, "");
    response.headers_mut().insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    response
}
