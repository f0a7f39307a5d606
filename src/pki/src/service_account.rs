//! The key pair that signs service account tokens.
//!
//! ECDSA P-256 (JWS algorithm ES256, RFC 7518): `ring` makes no RSA keys, and the API allows either.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rcgen::{KeyPair, PublicKeyData};
use ring::digest::{SHA256, digest};
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, UnparsedPublicKey,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{PrivatePkcs8KeyDer, SubjectPublicKeyInfoDer};
use x509_parser::prelude::FromDer;
use x509_parser::x509::SubjectPublicKeyInfo;

use crate::error::PkiError;

/// An uncompressed point of P-256: the octet 4 and two coordinates of 32 octets.
const POINT_LENGTH: usize = 65;

/// The signing key and all keys whose tokens are accepted.
pub struct ServiceAccountKeys {
    signing: EcdsaKeyPair,
    /// The first is the signing key's.
    accepted: Vec<PublicKey>,
    random: SystemRandom,
}

/// A key that verifies tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicKey {
    id: String,
    point: Vec<u8>,
}

impl ServiceAccountKeys {
    /// Reads the PKCS #8 signing key, and further public keys (PEM `PUBLIC KEY` blocks) whose tokens stay
    /// accepted while keys are rotated.
    ///
    /// # Errors
    /// [`PkiError::Parse`] when a key is no P-256 key.
    pub fn from_pem(signing_pem: &str, accepted_pem: &str) -> Result<Self, PkiError> {
        let random = SystemRandom::new();
        let der = PrivatePkcs8KeyDer::from_pem_slice(signing_pem.as_bytes()).map_err(PkiError::parse)?;
        let signing =
            EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der.secret_pkcs8_der(), &random)
                .map_err(PkiError::parse)?;
        let pair = KeyPair::from_pem(signing_pem).map_err(PkiError::parse)?;
        let mut accepted = vec![PublicKey::from_spki(&pair.subject_public_key_info())?];
        for der in SubjectPublicKeyInfoDer::pem_slice_iter(accepted_pem.as_bytes()) {
            let key = PublicKey::from_spki(&der.map_err(PkiError::parse)?)?;
            if !accepted.contains(&key) {
                accepted.push(key);
            }
        }
        Ok(Self { signing, accepted, random })
    }

    /// The id of the signing key, for a token's `kid` header.
    pub fn signing_key_id(&self) -> &str {
        self.accepted.first().map_or("", PublicKey::id)
    }

    /// All keys whose tokens are accepted, the current one first.
    pub fn accepted(&self) -> &[PublicKey] {
        &self.accepted
    }

    /// Signs, in the fixed-length form that JWS wants (RFC 7518, section 3.4).
    ///
    /// # Errors
    /// [`PkiError::Issue`] when the system gives no random numbers.
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, PkiError> {
        let signature = self.signing.sign(&self.random, message).map_err(|_| PkiError::Issue {
            name: "service account token".into(),
            reason: "signing failed".into(),
        })?;
        Ok(signature.as_ref().to_vec())
    }
}

impl std::fmt::Debug for ServiceAccountKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServiceAccountKeys").field("accepted", &self.accepted).finish_non_exhaustive()
    }
}

impl PublicKey {
    fn from_spki(der: &[u8]) -> Result<Self, PkiError> {
        let (_, info) = SubjectPublicKeyInfo::from_der(der).map_err(PkiError::parse)?;
        let point = info.subject_public_key.data.to_vec();
        if point.len() != POINT_LENGTH || point.first() != Some(&4) {
            return Err(PkiError::parse("not a P-256 public key"));
        }
        // As upstream makes key ids, so that they look alike and differ for different keys.
        let id = URL_SAFE_NO_PAD.encode(digest(&SHA256, der));
        Ok(Self { id, point })
    }

    /// The key's id: SHA-256 of its SubjectPublicKeyInfo, base64url.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The coordinates x and y, 32 octets each, for a JSON Web Key.
    pub fn coordinates(&self) -> (&[u8], &[u8]) {
        let both = self.point.get(1..).unwrap_or_default();
        both.split_at_checked(32).unwrap_or((both, &[]))
    }

    /// Is this the signature of the message (fixed-length form)?
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, &self.point).verify(message, signature).is_ok()
    }
}

/// The public half of a PKCS #8 key as PEM.
pub(crate) fn public_pem(signing_pem: &str) -> Result<String, PkiError> {
    Ok(KeyPair::from_pem(signing_pem).map_err(PkiError::parse)?.public_key_pem())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authority::new_key;

    #[test]
    fn what_one_key_signs_only_that_key_verifies() {
        let (one, two) = (new_key("one").unwrap(), new_key("two").unwrap());
        let keys = ServiceAccountKeys::from_pem(&one, &public_pem(&two).unwrap()).unwrap();
        let signature = keys.sign(b"message").unwrap();
        assert_eq!(signature.len(), 64);
        let verdicts: Vec<bool> =
            keys.accepted().iter().map(|key| key.verifies(b"message", &signature)).collect();
        assert_eq!(verdicts, [true, false]);
        assert!(!keys.accepted()[0].verifies(b"massage", &signature));
        assert_ne!(keys.accepted()[0].id(), keys.accepted()[1].id());
        assert_eq!(keys.accepted()[0].coordinates().1.len(), 32);
    }
}
