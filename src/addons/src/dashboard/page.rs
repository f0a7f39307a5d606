//! The files of the page, which are packed into the binary by `build.rs`.

use crate::http::{self as web, Body};
use ::http::{HeaderValue, Method, Request, Response, StatusCode, header};
use std::io::Read as _;

/// One file of `page/`.
pub(super) struct File {
    /// Path below `page/`.
    name: &'static str,
    /// Its type.
    media: &'static str,
    /// Tag of its content (RFC 9110, 8.8.3).
    tag: &'static str,
    /// The file, compressed.
    gzip: &'static [u8],
}

include!(concat!(env!("OUT_DIR"), "/page.rs"));

/// Answers a request for a file.
pub fn answer<B>(request: &Request<B>) -> Response<Body> {
    if request.method() != Method::GET && request.method() != Method::HEAD {
        return web::text(StatusCode::METHOD_NOT_ALLOWED, "the page can only be read");
    }
    let path = request.uri().path().trim_start_matches('/');
    let path = if path.is_empty() { "index.html" } else { path };
    let Some(file) = FILES.iter().find(|file| file.name == path) else {
        return web::text(StatusCode::NOT_FOUND, "not found");
    };
    let says = |name: header::HeaderName, what: &str| {
        let values = request.headers().get_all(name).iter().filter_map(|value| value.to_str().ok());
        values
            .flat_map(|value| value.split(','))
            .any(|one| one.split(';').next().unwrap_or_default().trim() == what)
    };
    let mut response = if says(header::IF_NONE_MATCH, file.tag) {
        let mut response = web::text(StatusCode::NOT_MODIFIED, "");
        response.headers_mut().remove(header::CONTENT_TYPE);
        response
    } else if says(header::ACCEPT_ENCODING, "gzip") {
        let mut response = web::typed(StatusCode::OK, file.media, file.gzip);
        response.headers_mut().insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        response
    } else {
        let mut bytes = Vec::new();
        if flate2::read::GzDecoder::new(file.gzip).read_to_end(&mut bytes).is_err() {
            return web::text(StatusCode::INTERNAL_SERVER_ERROR, "the file is damaged");
        }
        web::typed(StatusCode::OK, file.media, bytes)
    };
    if request.method() == Method::HEAD {
        *response.body_mut() = web::full("");
    }
    let headers = response.headers_mut();
    headers.insert(header::ETAG, HeaderValue::from_static(file.tag));
    headers.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
    // Asked for again each time, which costs nothing while it is the same: an upgrade is seen at once.
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt;

    async fn get(path: &str, headers: &[(&str, &str)]) -> (Response<()>, Vec<u8>) {
        let mut request = Request::get(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (parts, body) = answer(&request.body(()).unwrap()).into_parts();
        (Response::from_parts(parts, ()), body.collect().await.unwrap().to_bytes().to_vec())
    }

    #[tokio::test]
    async fn files_come_compressed_to_whoever_can_read_that() {
        let (plain, text) = get("/", &[]).await;
        assert!(text.starts_with(b"<!doctype html>"));
        assert_eq!(plain.headers()[header::CONTENT_TYPE], "text/html; charset=utf-8");
        let (packed, bytes) = get("/index.html", &[("accept-encoding", "br, gzip;q=0.8")]).await;
        assert_eq!(packed.headers()[header::CONTENT_ENCODING], "gzip");
        assert!(bytes.len() < text.len());
        assert_eq!(plain.headers()[header::ETAG], packed.headers()[header::ETAG]);
        let tag = plain.headers()[header::ETAG].to_str().unwrap();
        let (same, nothing) = get("/", &[("if-none-match", tag)]).await;
        assert_eq!((same.status(), nothing.len()), (StatusCode::NOT_MODIFIED, 0));
        let (changed, _) = get("/", &[("if-none-match", "\"other\"")]).await;
        assert_eq!(changed.status(), StatusCode::OK);
    }

    #[tokio::test]
    async fn there_is_nothing_but_the_page() {
        for path in ["/etc/passwd", "/../Cargo.toml", "/page/index.html", "/x"] {
            assert_eq!(get(path, &[]).await.0.status(), StatusCode::NOT_FOUND, "{path}");
        }
        let head = answer(&Request::head("/").body(()).unwrap());
        assert_eq!(head.status(), StatusCode::OK);
        assert_eq!(head.into_body().collect().await.unwrap().to_bytes().len(), 0);
        let post = answer(&Request::post("/").body(()).unwrap());
        assert_eq!(post.status(), StatusCode::METHOD_NOT_ALLOWED);
    }

    #[tokio::test]
    async fn nothing_in_the_page_is_inline() {
        let (_, text) = get("/", &[]).await;
        let text = String::from_utf8(text).unwrap();
        assert!(!text.contains("style=") && !text.contains("onclick") && !text.contains("<style"), "{text}");
        for file in FILES {
            let (_, text) = get(&format!("/{}", file.name), &[]).await;
            let text = String::from_utf8(text).unwrap();
            for banned in ["innerHTML", "eval(", "document.write", "localStorage.setItem('token"] {
                assert!(!text.contains(banned), "{}: {banned}", file.name);
            }
        }
    }
}
