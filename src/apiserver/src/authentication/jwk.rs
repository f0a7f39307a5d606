//! Key sets of token issuers (RFC 7517), and the signatures that they verify (RFC 7518).

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::signature::{self, RsaParameters, RsaPublicKeyComponents, UnparsedPublicKey};
use serde::Deserialize;

use super::jwt::{self, JwtError};

/// Algorithms whose signatures are verified: upstream's but ES512, which `ring` does not have.
pub(super) const ALGORITHMS: [&str; 8] =
    ["RS256", "RS384", "RS512", "ES256", "ES384", "PS256", "PS384", "PS512"];

/// A set of public keys.
#[derive(Debug, Default)]
pub(super) struct KeySet(Vec<Key>);

#[derive(Debug)]
struct Key {
    id: String,
    material: Material,
}

#[derive(Debug)]
enum Material {
    Rsa { n: Vec<u8>, e: Vec<u8> },
    P256(Vec<u8>),
    P384(Vec<u8>),
}

#[derive(Deserialize)]
struct Document {
    keys: Vec<Entry>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Entry {
    kty: String,
    kid: String,
    #[serde(rename = "use")]
    purpose: String,
    crv: String,
    n: String,
    e: String,
    x: String,
    y: String,
}

impl KeySet {
    /// Reads a set; keys of other kinds and for other uses are left out.
    ///
    /// # Errors
    /// In words, when it is none.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, String> {
        let document: Document = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        let entries = document.keys.into_iter().filter(|entry| matches!(entry.purpose.as_str(), "" | "sig"));
        Ok(Self(entries.filter_map(Entry::key).collect()))
    }

    /// The payload of a token that one of the keys signed by one of the algorithms.
    pub(super) fn verify<'a>(&self, token: &'a str, algorithms: &[String]) -> Result<&'a str, JwtError> {
        let parts = jwt::split(token)?;
        let algorithm = parts.header.alg.as_str();
        if !algorithms.iter().any(|allowed| allowed == algorithm) {
            return Err(JwtError::Algorithm);
        }
        let id = parts.header.kid.as_deref().unwrap_or("");
        let mut candidates = self.0.iter().filter(|key| id.is_empty() || key.id == id);
        if candidates.any(|key| key.material.verifies(algorithm, parts.signed.as_bytes(), &parts.signature)) {
            return Ok(parts.payload);
        }
        Err(JwtError::Signature)
    }
}

impl Entry {
    fn key(self) -> Option<Key> {
        let number = |text: &str| URL_SAFE_NO_PAD.decode(text.trim_end_matches('=')).ok();
        let point = |length: usize| {
            let (x, y) = (number(&self.x)?, number(&self.y)?);
            // An uncompressed point (SEC 1, section 2.3.3).
            (x.len() == length && y.len() == length).then(|| [&[4][..], &x, &y].concat())
        };
        let material = match (self.kty.as_str(), self.crv.as_str()) {
            ("RSA", _) => Material::Rsa { n: number(&self.n)?, e: number(&self.e)? },
            ("EC", "P-256") => Material::P256(point(32)?),
            ("EC", "P-384") => Material::P384(point(48)?),
            _ => return None,
        };
        Some(Key { id: self.kid, material })
    }
}

impl Material {
    fn verifies(&self, algorithm: &str, message: &[u8], by: &[u8]) -> bool {
        match (self, algorithm) {
            (Self::Rsa { n, e }, _) => rsa(algorithm).is_some_and(|parameters| {
                RsaPublicKeyComponents { n, e }.verify(parameters, message, by).is_ok()
            }),
            (Self::P256(point), "ES256") => {
                UnparsedPublicKey::new(&signature::ECDSA_P256_SHA256_FIXED, point).verify(message, by).is_ok()
            }
            (Self::P384(point), "ES384") => {
                UnparsedPublicKey::new(&signature::ECDSA_P384_SHA384_FIXED, point).verify(message, by).is_ok()
            }
            _ => false,
        }
    }
}

fn rsa(algorithm: &str) -> Option<&'static RsaParameters> {
    Some(match algorithm {
        "RS256" => &signature::RSA_PKCS1_2048_8192_SHA256,
        "RS384" => &signature::RSA_PKCS1_2048_8192_SHA384,
        "RS512" => &signature::RSA_PKCS1_2048_8192_SHA512,
        "PS256" => &signature::RSA_PSS_2048_8192_SHA256,
        "PS384" => &signature::RSA_PSS_2048_8192_SHA384,
        "PS512" => &signature::RSA_PSS_2048_8192_SHA512,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn all() -> Vec<String> {
        ALGORITHMS.map(str::to_owned).into()
    }

    /// The example of RFC 7515, appendix A.2: RS256.
    #[test]
    fn the_example_of_the_rfc_verifies() {
        let n = "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ";
        let token = "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw";
        let set = json!({"keys": [{"kty": "oct"}, {"kty": "RSA", "n": n, "e": "AQAB", "use": "enc"},
            {"kty": "RSA", "n": n, "e": "AQAB"}]});
        let set = KeySet::parse(set.to_string().as_bytes()).unwrap();
        let payload = set.verify(token, &all()).unwrap();
        assert_eq!(jwt::read::<Value>(payload).unwrap()["iss"], "joe");
        assert_eq!(set.verify(token, &["ES256".to_owned()]), Err(JwtError::Algorithm));
        let tampered = token.replace("cC4hiUPoj9", "cC4hiUPoj8");
        assert_eq!(set.verify(&tampered, &all()), Err(JwtError::Signature));
    }

    #[test]
    fn our_own_keys_verify_our_own_tokens() {
        let keys = jwt::tests::keys();
        let documents = crate::authentication::OidcDocuments::new("https://issuer", "https://here", &keys);
        let set = KeySet::parse(&documents.keys).unwrap();
        let token = jwt::encode(&keys, &json!({"iss": "https://issuer"})).unwrap();
        assert!(set.verify(&token, &all()).is_ok());
        assert_eq!(KeySet::default().verify(&token, &all()), Err(JwtError::Signature));
        assert!(KeySet::parse(b"{}").is_err());
    }
}
