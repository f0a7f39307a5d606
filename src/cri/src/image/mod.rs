//! Images by ways that CRI does not know: Knarr's own, and archives.
//!
//! | module | job |
//! |---|---|
//! | [`pack`] | the running executable as an OCI image, imported when it changed |
//! | [`archive`] | `import` and `export` of OCI and Docker archives |
//! | [`store`] | containerd's content, image, lease, snapshot and diff services |
//! | [`oci`] | manifests, indexes and configurations as JSON |
//! | [`reference`] | image names in their full form |

pub mod archive;
mod error;
pub mod oci;
pub mod pack;
pub mod reference;
pub mod store;

pub use archive::{export, import};
pub use error::ImageError;
pub use pack::{Packed, pack_self};
pub use store::Store;
