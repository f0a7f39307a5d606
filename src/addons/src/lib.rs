//! Add-ons: the engine that enables and disables them, and the servers that their pods run.
//!
//! The manifests lie in the top-level folder `addons/`, one folder an add-on; they are part of the binary.
//!
//! | module | what |
//! |---|---|
//! | [`catalog`] | what add-ons there are, with their arguments and manifests |
//! | [`render`] | manifests with arguments and settings put in |
//! | [`engine`] | server-side apply with pruning, waiting for readiness, removal |
//! | [`dns`] | the server of the `dns` add-on |

pub mod catalog;
pub mod dns;
pub mod engine;
pub mod render;
