//! One request by a rule of a route.

use super::rule::{Mirror, Rule};
use crate::http::{self as web, Body, BoxError};
use crate::ingress::proxy::{Proxy, Question, Way, redirect};
use crate::ingress::snapshot::Snapshot;
use crate::ingress::table::Pattern;
use crate::relay::Change;
use bytes::Bytes;
use futures::stream;
use http::header::ORIGIN;
use http::{Response, StatusCode};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Body as _, Frame, SizeHint};
use rand::Rng;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::sync::mpsc;

/// Pieces of a body that a copy may be behind: a mirror that is slower gets no more of it.
const BEHIND: usize = 64;

impl Proxy {
    /// The answer to a request that a rule takes, whose path fits a pattern.
    pub(in crate::ingress) async fn by_rule(
        &self,
        snapshot: &Snapshot,
        pattern: &Pattern,
        rule: &Rule,
        asked: Question,
        body: Body,
        change: Option<Change>,
    ) -> Response<Body> {
        let failed = || web::text(StatusCode::INTERNAL_SERVER_ERROR, "500 Internal Server Error");
        let Some(choice) = rule.choose(rand::random()) else { return failed() };
        let filters = &choice.filters;
        let matched = match pattern {
            Pattern::Prefix(prefix) => prefix.as_str(),
            _ => "",
        };
        if let Some(cors) = &filters.cors
            && let Some(headers) = cors.preflight(&asked.method, &asked.headers)
        {
            let mut response = web::text(StatusCode::NO_CONTENT, "");
            *response.headers_mut() = headers;
            return response;
        }
        let origin = asked.headers.get(ORIGIN).cloned();
        let (path, query) = (asked.uri.path(), asked.uri.query());
        let mut response = if let Some(to) = &filters.redirect {
            redirect(to.status, &to.location(self.side, &asked.host, path, query, matched))
        } else if let Some(backend) = &choice.backend {
            let path = filters.path.as_ref().map(|change| change.apply(path, matched));
            let way = Way { backend, options: &choice.options, path, changes: &filters.request };
            let body = match change {
                None => self.mirrored(snapshot, &filters.mirrors, &way, &asked, body),
                Some(_) => body,
            };
            let answer = self.forward(snapshot, &way, asked, body, change);
            match rule.timeout {
                None => answer.await,
                Some(patience) => tokio::time::timeout(patience, answer)
                    .await
                    .unwrap_or_else(|_| web::text(StatusCode::GATEWAY_TIMEOUT, "504 Gateway Time-out")),
            }
        } else {
            failed()
        };
        if let Some(cors) = &filters.cors {
            cors.apply(origin.as_ref(), response.headers_mut());
        }
        for change in &filters.response {
            change.apply(response.headers_mut());
        }
        response
    }

    /// Sends copies to the mirrors whose turn it is. Answers the body that goes on; the copies follow it.
    fn mirrored(
        &self,
        snapshot: &Snapshot,
        mirrors: &[Mirror],
        way: &Way<'_>,
        asked: &Question,
        body: Body,
    ) -> Body {
        let is_empty = body.is_end_stream();
        let mut tee = Tee { inner: body, copies: Vec::new() };
        for mirror in mirrors {
            let turn = rand::rng().random_range(0..mirror.denominator.max(1)) < mirror.numerator;
            let endpoint = snapshot.pools.get(&mirror.backend).filter(|_| turn).and_then(|pool| pool.next());
            let Some(to) = endpoint else { continue };
            let way = Way {
                backend: &mirror.backend,
                options: &mirror.options,
                path: way.path.clone(),
                changes: way.changes,
            };
            let body = if is_empty { web::full("") } else { tee.copy() };
            self.send_copy(snapshot, &way, to, asked, body);
        }
        if tee.copies.is_empty() {
            return std::mem::replace(&mut tee.inner, web::full(""));
        }
        tee.boxed_unsync()
    }

    fn send_copy(&self, snapshot: &Snapshot, way: &Way<'_>, to: SocketAddr, asked: &Question, body: Body) {
        let Ok(mut request) = self.request(asked, to, way, None) else { return };
        *request.body_mut() = body;
        let Some(client) = self.client(snapshot, way.options) else { return };
        let patience = way.options.read_timeout;
        tokio::spawn(async move {
            // What becomes of it is nobody's affair; the answer is read so that the connection can be kept.
            let _ = tokio::time::timeout(patience, async move {
                let mut answer = client.request(request).await.ok()?.into_body();
                while answer.frame().await?.is_ok() {}
                Some(())
            })
            .await;
        });
    }
}

type Piece = Result<Frame<Bytes>, BoxError>;

/// A body whose pieces others get too.
struct Tee {
    inner: Body,
    copies: Vec<mpsc::Sender<Piece>>,
}

impl Tee {
    fn copy(&mut self) -> Body {
        let (sender, receiver) = mpsc::channel(BEHIND);
        self.copies.push(sender);
        let pieces = stream::unfold(receiver, |mut receiver| async move {
            let piece: Piece = receiver.recv().await?;
            Some((piece, receiver))
        });
        StreamBody::new(pieces).boxed_unsync()
    }
}

impl hyper::body::Body for Tee {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Piece>> {
        let piece = ready!(Pin::new(&mut self.inner).poll_frame(context));
        match &piece {
            Some(Ok(frame)) => self.copies.retain(|copy| {
                let data = frame.data_ref().map(|bytes| Frame::data(bytes.clone()));
                let copied =
                    data.or_else(|| frame.trailers_ref().map(|trailers| Frame::trailers(trailers.clone())));
                copied.is_none_or(|frame| copy.try_send(Ok(frame)).is_ok())
            }),
            Some(Err(_)) => {}
            None => self.copies.clear(),
        }
        Poll::Ready(piece)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl Drop for Tee {
    /// A body that is cut off is not passed off as a whole one.
    fn drop(&mut self) {
        if !self.inner.is_end_stream() {
            for copy in &self.copies {
                let _ = copy.try_send(Err("the request was cut off".into()));
            }
        }
    }
}
