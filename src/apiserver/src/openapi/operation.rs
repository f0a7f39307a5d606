//! What can be done at a path. Nothing here depends on how a version of OpenAPI writes it down.

use super::parameters::Parameter;
use super::targets::Target;
use apimachinery::gvk::Gvk;

/// A path with its operations.
#[derive(Debug)]
pub(super) struct Path<'a> {
    /// Template, as `/api/v1/nodes/{name}`.
    pub(super) path: String,
    /// Parameters that all operations have.
    pub(super) parameters: Vec<Parameter>,
    /// Operations, one for each method.
    pub(super) operations: Vec<Operation<'a>>,
}

/// One method of a path.
#[derive(Debug)]
pub(super) struct Operation<'a> {
    /// In lower case.
    pub(super) method: &'static str,
    /// Unique in the whole API.
    pub(super) id: String,
    /// What it does; empty if that is not told.
    pub(super) description: String,
    /// Group and version, as documentation is sorted.
    pub(super) tag: String,
    /// Parameters that not all operations of the path have.
    pub(super) parameters: Vec<Parameter>,
    /// The request's body.
    pub(super) body: Option<Body<'a>>,
    /// Forms that a request's body may have.
    pub(super) consumes: Vec<&'static str>,
    /// Forms that the answer may have.
    pub(super) produces: Vec<&'static str>,
    /// What answers hold, by status code.
    pub(super) responses: Vec<(u16, Content<'a>)>,
    /// The verb and the kind; `None` for what is no resource.
    pub(super) action: Option<(&'static str, Gvk)>,
}

/// A request's body.
#[derive(Debug)]
pub(super) struct Body<'a> {
    /// What it is.
    pub(super) target: Target<'a>,
    /// Whether there has to be one.
    pub(super) required: bool,
}

/// What an answer holds.
#[derive(Debug)]
pub(super) enum Content<'a> {
    /// An object of a type.
    Type(Target<'a>),
    /// Text, or whatever the other side says.
    Text,
}

impl<'a> Path<'a> {
    /// A path; parameters that all operations have are told once.
    pub(super) fn new(path: String, mut operations: Vec<Operation<'a>>) -> Self {
        let mut parameters = match operations.first() {
            Some(first) => first.parameters.clone(),
            None => Vec::new(),
        };
        parameters.retain(|common| operations.iter().all(|o| o.parameters.contains(common)));
        for operation in &mut operations {
            operation.parameters.retain(|own| !parameters.contains(own));
            operation.parameters.sort_by_key(|own| own.name);
        }
        parameters.sort_by_key(|common| common.name);
        Self { path, parameters, operations }
    }

    /// The types that the operations name.
    pub(super) fn targets(&self) -> impl Iterator<Item = &Target<'a>> {
        self.operations.iter().flat_map(|operation| {
            let answers = operation.responses.iter().filter_map(|(_, content)| match content {
                Content::Type(target) => Some(target),
                Content::Text => None,
            });
            operation.body.iter().map(|body| &body.target).chain(answers)
        })
    }
}
