//! Speaking to a KMS plugin: gRPC over a unix socket.

use super::configuration::KmsConfiguration;
use super::kms_messages::{
    DecryptRequest, DecryptResponse, EncryptRequest, EncryptResponse, EncryptedObject, StatusRequest,
    StatusResponse,
};
use http::uri::PathAndQuery;
use hyper_util::rt::TokioIo;
use prost::Message;
use std::path::PathBuf;
use std::time::Duration;
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint};
use tonic_prost::ProstCodec;

/// What a plugin may take to answer when nothing else is said (upstream's default).
const TIMEOUT: Duration = Duration::from_secs(3);
/// Annotations and encrypted seeds have bounds; what is beyond them is refused before it is stored.
const ANNOTATIONS_MAX_BYTES: usize = 32 * 1024;
const KEY_MAX_BYTES: usize = 1024;

/// A plugin's client. Connects when it is needed, and again.
pub(super) struct Client {
    channel: Channel,
    timeout: Duration,
}

impl Client {
    /// A client of the plugin that a configuration names.
    ///
    /// # Errors
    /// When it names none.
    pub(super) fn new(configured: &KmsConfiguration) -> Result<Self, String> {
        let socket = configured.endpoint.strip_prefix("unix://").filter(|path| !path.is_empty());
        // `unix:///path` and `unix:///@name`: only files here.
        let socket =
            socket.ok_or_else(|| format!("endpoint {:?} is not unix:///PATH", configured.endpoint))?;
        let timeout = match configured.timeout.as_deref() {
            None => TIMEOUT,
            Some(text) => text
                .parse::<jiff::SignedDuration>()
                .ok()
                .and_then(|duration| Duration::try_from(duration).ok())
                .filter(|duration| !duration.is_zero())
                .ok_or_else(|| format!("timeout {text:?} is no duration"))?,
        };
        let socket = PathBuf::from(socket);
        let endpoint = Endpoint::try_from("http://localhost").map_err(|error| error.to_string())?;
        let channel =
            endpoint.connect_timeout(timeout).connect_with_connector_lazy(tower::service_fn(move |_| {
                let socket = socket.clone();
                async move { Ok::<_, std::io::Error>(TokioIo::new(UnixStream::connect(socket).await?)) }
            }));
        Ok(Self { channel, timeout })
    }

    /// How the plugin is, and which key it has.
    pub(super) async fn status(&self) -> Result<StatusResponse, String> {
        self.call("Status", StatusRequest {}).await
    }

    /// Has a seed encrypted.
    pub(super) async fn encrypt(&self, plain: &[u8]) -> Result<EncryptResponse, String> {
        let request = EncryptRequest { plaintext: plain.to_vec(), uid: uid() };
        let answer: EncryptResponse = self.call("Encrypt", request).await?;
        let annotations: usize = answer.annotations.iter().map(|(key, value)| key.len() + value.len()).sum();
        if answer.ciphertext.is_empty() || answer.ciphertext.len() > KEY_MAX_BYTES {
            return Err(format!("the encrypted seed has {} bytes, not 1 to 1024", answer.ciphertext.len()));
        }
        if answer.key_id.is_empty() || answer.key_id.len() > KEY_MAX_BYTES {
            return Err(format!("the key's name has {} bytes, not 1 to 1024", answer.key_id.len()));
        }
        if annotations > ANNOTATIONS_MAX_BYTES {
            return Err(format!("the annotations have {annotations} bytes, not at most 32768"));
        }
        Ok(answer)
    }

    /// Has a seed decrypted.
    pub(super) async fn decrypt(&self, envelope: &EncryptedObject) -> Result<Vec<u8>, String> {
        let request = DecryptRequest {
            ciphertext: envelope.encrypted_dek_source.clone(),
            uid: uid(),
            key_id: envelope.key_id.clone(),
            annotations: envelope.annotations.clone(),
        };
        let answer: DecryptResponse = self.call("Decrypt", request).await?;
        Ok(answer.plaintext)
    }

    async fn call<Q, A>(&self, method: &str, request: Q) -> Result<A, String>
    where
        Q: Message + Send + Sync + 'static,
        A: Message + Default + Send + Sync + 'static,
    {
        let path = format!("/v2.KeyManagementService/{method}");
        let path = PathAndQuery::try_from(path).map_err(|error| error.to_string())?;
        let mut client = tonic::client::Grpc::new(self.channel.clone());
        let work = async {
            client.ready().await.map_err(|error| format!("{method}: {error}"))?;
            let mut request = tonic::Request::new(request);
            request.set_timeout(self.timeout);
            let answer = client.unary(request, path, ProstCodec::<Q, A>::default()).await;
            answer
                .map(tonic::Response::into_inner)
                .map_err(|status| format!("{method}: {}", status.message()))
        };
        match tokio::time::timeout(self.timeout, work).await {
            Ok(answered) => answered,
            Err(_) => Err(format!("{method}: no answer within {:?}", self.timeout)),
        }
    }
}

fn uid() -> String {
    uuid::Uuid::new_v4().to_string()
}
