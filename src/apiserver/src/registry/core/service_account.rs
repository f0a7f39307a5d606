//! `serviceaccounts/token`: TokenRequest (KEP-542).

use crate::ApiServer;
use crate::admission::Operation;
use crate::body::Body;
use crate::endpoints::body;
use crate::endpoints::create::writer;
use crate::endpoints::{Context, Offer, WriteOptions, response};
use crate::registry::Served;
use apimachinery::gvk::Gvk;
use apimachinery::status::Result;
use http::Response;
use std::sync::Arc;

/// Issues a token.
pub(crate) async fn token(
    server: &ApiServer,
    context: &Context,
    served: &Arc<Served>,
    request_body: Body,
) -> Result<Response<Body>> {
    let form = context.form(Offer::PLAIN)?;
    let options = WriteOptions::parse(context, "CreateOptions")?;
    let gvk = Gvk::new("authentication.k8s.io", "v1", "TokenRequest");
    let mut request = body::of_kind(context, request_body, &gvk, options.validation).await?;
    let (namespace, name) = (context.info.namespace.as_str(), context.info.name.as_str());
    let writer = writer(server, context, served, &options);
    let mut admission = writer.request(Operation::Create, namespace, name, None);
    admission.kind = &gvk;
    writer.chain.admit(&admission, &mut request).await?;
    writer.chain.validate(&admission, &request).await?;
    server.tokens().request(namespace, name, &mut request, context.now).await?;
    response::value(201, &request, form.media)
}
