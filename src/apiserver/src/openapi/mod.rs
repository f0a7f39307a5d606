//! OpenAPI documents of what is served: `/openapi/v2` and `/openapi/v3`.
//!
//! A document is assembled from a set of resources and their schemas when it is first asked for, one definition and
//! one path at a time, straight into a compressed buffer. Nothing is built at the server's start, and what is kept
//! is small. What is in a document is told apart from how a version of OpenAPI writes it down.
//!
//! ```text
//! resources -> operations (what can be done) -> targets (what goes over the wire) -> closure of definitions
//!                                     |                                                    |
//!                                     +--> paths: v2 or v3 JSON    definitions: v2 or v3 JSON <-- descriptions
//!                                                      |                     |
//!                                                      +--> JSON or protobuf (v2), compressed, cached
//! ```
//!
//! | module | what |
//! |---|---|
//! | `service` | answers requests: negotiation, entity tags, hashes, the cache |
//! | `document` | which documents there are, what is in each, and their hashes |
//! | `operation` | what can be done at a path |
//! | `operations` | the operations of one resource |
//! | `parameters` | the parameters of operations |
//! | `words` | names of groups, versions and kinds in paths, identifiers and descriptions |
//! | `targets` | the types that operations name, and all that those refer to |
//! | `definitions` | a type as a JSON schema of OpenAPI v2 or v3 |
//! | `descriptions` | what types and fields mean, from the `k8s-openapi` crate |
//! | `paths` | operations as OpenAPI v2 or v3 writes them |
//! | `sink` | writes a document piece by piece, as JSON |
//! | `gnostic` | writes a v2 document piece by piece, as the protobuf that clients of Go ask for |
//! | `inflate` | a response body that decompresses as it goes |
//!
//! Upstream counterpart: `k8s.io/kube-openapi/pkg/{builder,builder3,handler,handler3}`.

mod definitions;
mod descriptions;
mod document;
mod gnostic;
mod inflate;
mod operation;
mod operations;
mod parameters;
mod paths;
mod service;
mod sink;
mod targets;
#[cfg(test)]
mod tests;
mod words;

pub use service::OpenApi;

/// A version of OpenAPI.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Dialect {
    /// Swagger 2.0.
    V2,
    /// OpenAPI 3.0.
    V3,
}

impl Dialect {
    /// A reference to a definition, as the value of `$ref`.
    fn reference(self, name: &str) -> String {
        match self {
            Self::V2 => format!("#/definitions/{name}"),
            Self::V3 => format!("#/components/schemas/{name}"),
        }
    }
}
