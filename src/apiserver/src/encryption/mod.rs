//! Encryption at rest: an EncryptionConfiguration (`apiserver.config.k8s.io/v1`) as a [`storage::Sealer`].
//!
//! What is stored begins with the provider and key that can read it back (`k8s:enc:aescbc:v1:key1:`), as upstream
//! stores it; without such a prefix it is plain. The first provider of a resource writes, all of them read.
//!
//! | module | what lives there |
//! |---|---|
//! | [`configuration`] | the file |
//! | [`ciphers`] | AES-CBC, AES-GCM, secretbox |
//! | [`providers`] | the providers of a resource, by prefix |
//! | [`sealer`] | which resource has which providers; reading the file again |
//! | [`kms`], [`kms_client`], [`kms_messages`] | keys that a plugin holds (KMS v2) |
//!
//! Upstream counterpart: `k8s.io/apiserver/pkg/storage/value`.

mod ciphers;
mod configuration;
mod kms;
mod kms_client;
mod kms_messages;
mod providers;
mod sealer;

pub use configuration::{ConfigurationError, new_configuration};
pub use sealer::Encryption;
