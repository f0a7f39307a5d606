//! Certificates that a server makes itself, where whoever asks it cannot or need not verify them.

use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

/// A certificate and its key.
pub struct SelfSigned {
    /// The certificate.
    pub certificate: CertificateDer<'static>,
    /// Its key.
    pub key: PrivateKeyDer<'static>,
    /// The certificate, PEM.
    pub pem: String,
}

/// Makes one for these names, new each time.
///
/// # Errors
/// When a name is none.
pub fn self_signed(names: &[&str]) -> Result<SelfSigned, rcgen::Error> {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let made = rcgen::generate_simple_self_signed(names)?;
    Ok(SelfSigned {
        certificate: made.cert.der().clone(),
        key: PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der())),
        pem: made.cert.pem(),
    })
}
