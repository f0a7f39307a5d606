//! An API server inside the test's own process: a real datastore in a temporary directory, the real server,
//! no sockets unless a test asks for them.
//!
//! ```no_run
//! # async fn example() {
//! let server = testkit::TestServer::start().await;
//! let client = server.client();
//! # }
//! ```
//!
//! For tests only: what cannot be set up panics. Upstream counterpart: `envtest` and
//! `cmd/kube-apiserver/app/testing`.
//!
//! | module | what |
//! |---|---|
//! | [`server`] | [`TestServer`]: the server, clients of it, raw requests to it |
//! | [`answer`] | [`Answer`]: a response as tests look at it |
//! | [`https`] | [`HttpsServer`]: what the server calls, as a test wants it to answer |
//! | [`wait`] | waiting for a condition |
//! | [`fuzz`] | seeded mutation fuzzing of decoders |

#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

pub mod answer;
pub mod fuzz;
pub mod https;
pub mod server;
pub mod wait;

pub use answer::Answer;
pub use https::{HttpsServer, json_response};
pub use server::TestServer;
pub use wait::eventually;
