//! Symmetric ciphers in upstream's stored forms.

use aes::cipher::block_padding::Pkcs7;
use aes::cipher::{BlockDecryptMut, BlockEncryptMut, KeyIvInit};
use aes::{Aes128, Aes192, Aes256};
use crypto_secretbox::aead::Aead;
use crypto_secretbox::{KeyInit, XSalsa20Poly1305};
use ring::aead::{AES_128_GCM, AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};

const CBC_IV_BYTES: usize = 16;
const SECRETBOX_NONCE_BYTES: usize = 24;

/// A cipher with its key.
pub(super) enum Cipher {
    /// AES in CBC mode with PKCS #7 padding: an initial vector, then the blocks. Not authenticated.
    AesCbc(Vec<u8>),
    /// AES in Galois/counter mode: a nonce, the text, the tag. Bound to the object's key in the store.
    AesGcm(Box<LessSafeKey>),
    /// XSalsa20 and Poly1305 as NaCl's secretbox has them: a nonce, the tag, the text.
    Secretbox(Box<XSalsa20Poly1305>),
}

/// Why a text cannot be read. It does not say more: nobody is to learn from it.
#[derive(Debug, thiserror::Error)]
#[error("the stored data cannot be decrypted with this key")]
pub(super) struct Undecipherable;

impl Cipher {
    /// AES-CBC with a key of 16, 24 or 32 bytes.
    pub(super) fn aes_cbc(key: Vec<u8>) -> Option<Self> {
        matches!(key.len(), 16 | 24 | 32).then_some(Self::AesCbc(key))
    }

    /// AES-GCM with a key of 16 or 32 bytes.
    pub(super) fn aes_gcm(key: &[u8]) -> Option<Self> {
        let algorithm = match key.len() {
            16 => &AES_128_GCM,
            32 => &AES_256_GCM,
            _ => return None,
        };
        UnboundKey::new(algorithm, key).ok().map(|key| Self::AesGcm(Box::new(LessSafeKey::new(key))))
    }

    /// Secretbox with a key of 32 bytes.
    pub(super) fn secretbox(key: &[u8]) -> Option<Self> {
        XSalsa20Poly1305::new_from_slice(key).ok().map(|cipher| Self::Secretbox(Box::new(cipher)))
    }

    /// Encrypts, after what `out` holds already. `about` is what the text is bound to, where the cipher can.
    ///
    /// # Errors
    /// Never for texts below 64 GiB.
    pub(super) fn seal(&self, plain: &[u8], about: &str, out: &mut Vec<u8>) -> Result<(), Undecipherable> {
        match self {
            Self::AesCbc(key) => {
                let iv: [u8; CBC_IV_BYTES] = rand::random();
                out.extend_from_slice(&iv);
                out.extend(cbc_encrypt(key, &iv, plain).ok_or(Undecipherable)?);
            }
            Self::AesGcm(key) => {
                let nonce: [u8; NONCE_LEN] = rand::random();
                out.extend_from_slice(&nonce);
                let at = out.len();
                out.extend_from_slice(plain);
                let text = out.get_mut(at..).unwrap_or_default();
                let tag = key
                    .seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), Aad::from(about), text)
                    .map_err(|_| Undecipherable)?;
                out.extend_from_slice(tag.as_ref());
            }
            Self::Secretbox(cipher) => {
                let nonce: [u8; SECRETBOX_NONCE_BYTES] = rand::random();
                out.extend_from_slice(&nonce);
                out.extend(cipher.encrypt(&nonce.into(), plain).map_err(|_| Undecipherable)?);
            }
        }
        Ok(())
    }

    /// Decrypts.
    ///
    /// # Errors
    /// When it was encrypted with another key, for something else, or is damaged.
    pub(super) fn open(&self, stored: &[u8], about: &str) -> Result<Vec<u8>, Undecipherable> {
        match self {
            Self::AesCbc(key) => {
                let (iv, text) = stored.split_at_checked(CBC_IV_BYTES).ok_or(Undecipherable)?;
                cbc_decrypt(key, iv, text).ok_or(Undecipherable)
            }
            Self::AesGcm(key) => {
                let (nonce, text) = stored.split_at_checked(NONCE_LEN).ok_or(Undecipherable)?;
                let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| Undecipherable)?;
                let mut text = text.to_vec();
                let length =
                    key.open_in_place(nonce, Aad::from(about), &mut text).map_err(|_| Undecipherable)?.len();
                text.truncate(length);
                Ok(text)
            }
            Self::Secretbox(cipher) => {
                let (nonce, text) =
                    stored.split_first_chunk::<SECRETBOX_NONCE_BYTES>().ok_or(Undecipherable)?;
                cipher.decrypt(&(*nonce).into(), text).map_err(|_| Undecipherable)
            }
        }
    }
}

fn cbc_encrypt(key: &[u8], iv: &[u8], plain: &[u8]) -> Option<Vec<u8>> {
    fn with<
        C: aes::cipher::BlockCipher + BlockEncryptMut + aes::cipher::BlockEncrypt + aes::cipher::KeyInit,
    >(
        key: &[u8],
        iv: &[u8],
        plain: &[u8],
    ) -> Option<Vec<u8>> {
        let cipher = cbc::Encryptor::<C>::new_from_slices(key, iv).ok()?;
        Some(cipher.encrypt_padded_vec_mut::<Pkcs7>(plain))
    }
    match key.len() {
        16 => with::<Aes128>(key, iv, plain),
        24 => with::<Aes192>(key, iv, plain),
        _ => with::<Aes256>(key, iv, plain),
    }
}

fn cbc_decrypt(key: &[u8], iv: &[u8], text: &[u8]) -> Option<Vec<u8>> {
    fn with<
        C: aes::cipher::BlockCipher + BlockDecryptMut + aes::cipher::BlockDecrypt + aes::cipher::KeyInit,
    >(
        key: &[u8],
        iv: &[u8],
        text: &[u8],
    ) -> Option<Vec<u8>> {
        let cipher = cbc::Decryptor::<C>::new_from_slices(key, iv).ok()?;
        cipher.decrypt_padded_vec_mut::<Pkcs7>(text).ok()
    }
    match key.len() {
        16 => with::<Aes128>(key, iv, text),
        24 => with::<Aes192>(key, iv, text),
        _ => with::<Aes256>(key, iv, text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> Vec<Cipher> {
        let key = [7_u8; 32];
        vec![
            Cipher::aes_cbc(key.to_vec()).unwrap(),
            Cipher::aes_cbc(key[..24].to_vec()).unwrap(),
            Cipher::aes_cbc(key[..16].to_vec()).unwrap(),
            Cipher::aes_gcm(&key).unwrap(),
            Cipher::aes_gcm(&key[..16]).unwrap(),
            Cipher::secretbox(&key).unwrap(),
        ]
    }

    #[test]
    fn what_was_sealed_opens_and_looks_different_each_time() {
        for cipher in all() {
            for plain in [&b""[..], b"{}", &[b'x'; 1000]] {
                let (mut one, mut two) = (b"prefix:".to_vec(), Vec::new());
                cipher.seal(plain, "/a", &mut one).unwrap();
                cipher.seal(plain, "/a", &mut two).unwrap();
                assert_ne!(one[7..], two);
                assert_eq!(cipher.open(&one[7..], "/a").unwrap(), plain);
            }
        }
    }

    #[test]
    fn damage_another_key_and_another_place_are_noticed() {
        let others = [Cipher::aes_gcm(&[8; 32]).unwrap(), Cipher::secretbox(&[8; 32]).unwrap()];
        for (n, cipher) in all().into_iter().enumerate() {
            let mut sealed = Vec::new();
            cipher.seal(b"{\"a\":1}", "/a", &mut sealed).unwrap();
            assert!(cipher.open(&sealed[..10], "/a").is_err());
            assert!(cipher.open(b"", "/a").is_err());
            assert_eq!(cipher.open(&sealed, "/b").is_err(), matches!(n, 3 | 4));
            if n >= 3 {
                sealed[30] ^= 1;
                assert!(cipher.open(&sealed, "/a").is_err());
                assert!(others.iter().all(|other| other.open(&sealed, "/a").is_err()));
            }
        }
    }

    #[test]
    fn texts_of_other_implementations_open() {
        // NaCl's own example of secretbox (tests/secretbox.c).
        let key = hex("1b27556473e985d462cd51197a9a46c76009549eac6474f206c4ee0844f68389");
        let nonce = hex("69696ee955b62b73cd62bda875fc73d68219e0036b7a0b37");
        let mut stored = nonce;
        stored.extend(hex("f3ffc7703f9400e52a7dfb4b3d3305d98e993b9f48681273c29650ba32fc76ce48332ea7164d96a4476fb8c531a1186ac0dfc17c98dce87b4da7f011ec48c97271d2c20f9b928fe2270d6fb863d51738b48eeee314a7cc8ab932164548e526ae90224368517acfeabd6bb3732bc0e9da99832b61ca01b6de56244a9e88d5f9b37973f622a43d14a6599b1f654cb45a74e355a5"));
        let opened = Cipher::secretbox(&key).unwrap().open(&stored, "").unwrap();
        assert!(opened.starts_with(&hex("be075fc53c81f2d5cf141316ebeb0c7b")));
        // NIST SP 800-38A F.2.1, one block and then its padding.
        let key = hex("2b7e151628aed2a6abf7158809cf4f3c");
        let iv = hex("000102030405060708090a0b0c0d0e0f");
        let plain = hex("6bc1bee22e409f96e93d7e117393172a");
        let sealed = cbc_encrypt(&key, &iv, &plain).unwrap();
        assert_eq!(sealed[..16], hex("7649abac8119b246cee98e9b12e9197d"));
        assert_eq!(sealed.len(), 32);
    }

    fn hex(text: &str) -> Vec<u8> {
        (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
    }
}
