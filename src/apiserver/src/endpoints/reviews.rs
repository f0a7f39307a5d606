//! Reviews: questions that are answered and not kept (TokenReview, the SubjectAccessReview family,
//! SelfSubjectReview).

use super::body::{self, Expected};
use super::context::Context;
use super::create::writer;
use super::negotiation::Offer;
use super::write_options::WriteOptions;
use crate::ApiServer;
use crate::admission::Operation;
use crate::authentication::{self_subject_review, token_review};
use crate::authorization::{
    local_subject_access_review, self_subject_access_review, self_subject_rules_review, subject_access_review,
};
use crate::body::Body;
use crate::registry::Served;
use apimachinery::meta;
use apimachinery::status::{Result, Status};
use http::Response;
use std::sync::Arc;

/// Whether a resource is of this sort.
pub(crate) fn is_review(served: &Served) -> bool {
    matches!(served.gvr.group.as_str(), "authentication.k8s.io" | "authorization.k8s.io")
}

/// Answers a review.
pub(crate) async fn create(
    server: &ApiServer,
    context: &Context,
    served: &Arc<Served>,
    request_body: Body,
) -> Result<Response<Body>> {
    let form = context.form(Offer::PLAIN)?;
    let options = WriteOptions::parse(context, "CreateOptions")?;
    let bytes = body::read(request_body).await?;
    let expected = Expected::of(served);
    let mut review = body::object(context, &bytes, &expected, options.validation)?;
    let writer = writer(server, context, served, &options);
    let name = meta::name(&review).to_owned();
    let admission = writer.request(Operation::Create, &context.info.namespace, &name, None);
    writer.chain.admit(&admission, &mut review).await?;
    writer.chain.validate(&admission, &review).await?;
    let authorizer = server.authorizer().as_ref();
    match served.gvr.resource.as_str() {
        "tokenreviews" => token_review(server.authentication(), &mut review).await?,
        "selfsubjectreviews" => self_subject_review(&context.user, &mut review),
        "subjectaccessreviews" => subject_access_review(authorizer, &mut review).await?,
        "localsubjectaccessreviews" => {
            local_subject_access_review(authorizer, &context.info.namespace, &mut review).await?;
        }
        "selfsubjectaccessreviews" => {
            self_subject_access_review(authorizer, &context.user, &mut review).await?;
        }
        "selfsubjectrulesreviews" => self_subject_rules_review(authorizer, &context.user, &mut review)?,
        _ => return Err(Status::no_such_path()),
    }
    super::response::value(201, &review, form.media)
}
