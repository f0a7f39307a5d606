//! The rules: as text, as a shadow of what the kernel has, and the way into the kernel.

mod base;
mod family;
#[cfg(test)]
mod kernel_tests;
mod nft;
mod render;
mod shadow_table;
#[cfg(test)]
mod tests;

pub(crate) use family::NftFamily;
pub use nft::NftError;
pub(crate) use nft::{apply, chain_exists, table_exists};
pub(crate) use render::{Rendered, render};
pub(crate) use shadow_table::ShadowTable;
