//! kubeconfig files (`v1` Config of client-go).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::leaf::Leaf;

/// A kubeconfig with one cluster, one user and one context, all named after `name`, credentials embedded.
///
/// `server` is a URL; `authorities_pem` what [`crate::Authority::pem`] gives. The text holds a private key.
pub fn kubeconfig(name: &str, server: &str, authorities_pem: &str, user: &str, identity: &Leaf) -> String {
    let quoted = |text: &str| format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""));
    let (name, server, user) = (quoted(name), quoted(server), quoted(user));
    let encode = |text: &str| STANDARD.encode(text);
    format!(
        "apiVersion: v1\n\
         kind: Config\n\
         clusters:\n\
         - name: {name}\n\
         \x20 cluster:\n\
         \x20   server: {server}\n\
         \x20   certificate-authority-data: {authorities}\n\
         users:\n\
         - name: {user}\n\
         \x20 user:\n\
         \x20   client-certificate-data: {certificate}\n\
         \x20   client-key-data: {key}\n\
         contexts:\n\
         - name: {name}\n\
         \x20 context:\n\
         \x20   cluster: {name}\n\
         \x20   user: {user}\n\
         current-context: {name}\n\
         preferences: {{}}\n",
        authorities = encode(authorities_pem),
        certificate = encode(&identity.certificate_pem),
        key = encode(&identity.key_pem),
    )
}
