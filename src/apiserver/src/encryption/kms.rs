//! Keys that a plugin holds (KMS v2): objects are encrypted here, with keys made from a seed that only the plugin can
//! decrypt (KEP-3299).

use super::ciphers::Cipher;
use super::configuration::{ConfigurationError, KmsConfiguration};
use super::kms_client::Client;
use super::kms_messages::{EncryptedObject, HKDF_SEED, StatusResponse};
use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use prost::Message;
use ring::hkdf::{HKDF_SHA256, KeyType, Prk};
use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Duration;
use storage::StorageError;
use tokio::runtime::Handle;
use tokio::time::Instant;

/// How often a plugin is asked whether its key is still the same (upstream's interval).
const POLL_INTERVAL: Duration = Duration::from_secs(60);
/// How often it is asked after it failed.
const RETRY_INTERVAL: Duration = Duration::from_secs(10);
/// How long a seed is used after the plugin was last seen with its key (upstream's three minutes).
const VALIDITY: Duration = Duration::from_secs(180);
/// How long health checks go by what a plugin said, when it was fine and when it was not (upstream's).
const FINE_FOR: Duration = Duration::from_secs(20);
const FAILED_FOR: Duration = Duration::from_secs(3);
/// How long a plugin is waited for at the start.
const START_PATIENCE: Duration = Duration::from_secs(10);
/// Bytes of a seed, and of what a key is made from it with.
const SEED_BYTES: usize = 32;
const INFO_BYTES: usize = 32;
/// Decrypted seeds that are remembered: about one for each start of a server and change of the key.
const SEEDS_MAX: usize = 1000;

/// A plugin, and what it decrypted so far.
pub(super) struct Kms {
    name: String,
    prefix: Vec<u8>,
    client: Client,
    /// For those who decrypt on threads that are not the runtime's.
    runtime: Handle,
    current: RwLock<Current>,
    /// By what was decrypted.
    seeds: Mutex<HashMap<Vec<u8>, Arc<Seed>>>,
    /// When a health check asked, and whether the plugin was fine.
    probed: Mutex<Option<(Instant, bool)>>,
}

/// What new objects are encrypted with.
struct Current {
    seed: Arc<Seed>,
    /// All of it but the data.
    envelope: EncryptedObject,
    good_until: Instant,
}

/// What keys are made from.
enum Seed {
    /// A new key for every object, made from this.
    Derived(Prk),
    /// The key itself, as version 2 had it at first. Never written.
    Key(Cipher),
}

struct KeyLength;

impl KeyType for KeyLength {
    fn len(&self) -> usize {
        SEED_BYTES
    }
}

impl Seed {
    fn new(envelope: &EncryptedObject, plain: &[u8]) -> Option<Self> {
        if envelope.encrypted_dek_source_type == HKDF_SEED {
            return (plain.len() >= SEED_BYTES)
                .then(|| Self::Derived(Prk::new_less_safe(HKDF_SHA256, plain)));
        }
        Cipher::aes_gcm(plain).map(Self::Key)
    }

    fn derive(prk: &Prk, info: &[u8]) -> Option<Cipher> {
        let mut key = [0; SEED_BYTES];
        prk.expand(&[info], KeyLength).and_then(|okm| okm.fill(&mut key)).ok()?;
        Cipher::aes_gcm(&key)
    }

    fn seal(&self, plain: &[u8], about: &str) -> Option<Vec<u8>> {
        let Self::Derived(prk) = self else { return None };
        let info: [u8; INFO_BYTES] = rand::random();
        let mut out = info.to_vec();
        Self::derive(prk, &info)?.seal(plain, about, &mut out).ok()?;
        Some(out)
    }

    fn open(&self, text: &[u8], about: &str) -> Option<Vec<u8>> {
        match self {
            Self::Key(cipher) => cipher.open(text, about).ok(),
            Self::Derived(prk) => {
                let (info, text) = text.split_at_checked(INFO_BYTES)?;
                Self::derive(prk, info)?.open(text, about).ok()
            }
        }
    }
}

impl Kms {
    /// Speaks to a plugin, and has it encrypt a first seed.
    ///
    /// # Errors
    /// When it does not answer for a while, or not as it should.
    pub(super) async fn start(configured: &KmsConfiguration) -> Result<Arc<Self>, ConfigurationError> {
        let failed = |reason: String| ConfigurationError::Plugin { name: configured.name.clone(), reason };
        let client = Client::new(configured).map_err(failed)?;
        let began = Instant::now();
        let current = loop {
            match renew(&client).await {
                Ok(current) => break current,
                Err(reason) if began.elapsed() > START_PATIENCE => return Err(failed(reason)),
                Err(reason) => {
                    tracing::info!(plugin = configured.name, reason, "the KMS plugin is not ready")
                }
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        };
        let kms = Arc::new(Self {
            name: configured.name.clone(),
            prefix: format!("k8s:enc:kms:v2:{}:", configured.name).into_bytes(),
            client,
            runtime: Handle::current(),
            current: RwLock::new(current),
            seeds: Mutex::default(),
            probed: Mutex::default(),
        });
        tokio::spawn(Self::follow(Arc::downgrade(&kms)));
        Ok(kms)
    }

    /// What everything begins with that is stored.
    pub(super) fn prefix(&self) -> &[u8] {
        &self.prefix
    }

    /// Whether the plugin answers as it should, for health checks: it is not asked each time.
    pub(super) async fn is_fine(&self) -> bool {
        let probed = *self.probed.lock();
        if let Some((at, fine)) = probed
            && at.elapsed() < if fine { FINE_FOR } else { FAILED_FOR }
        {
            return fine;
        }
        let result = self.check().await;
        if let Err(reason) = &result {
            tracing::warn!(plugin = self.name, reason, "the KMS plugin does not answer as it should");
        }
        *self.probed.lock() = Some((Instant::now(), result.is_ok()));
        result.is_ok()
    }

    /// Encrypts an object.
    ///
    /// # Errors
    /// When the plugin was not seen for so long that its key may no longer be used.
    pub(super) fn seal(&self, key: &str, object: &[u8]) -> Result<Bytes, StorageError> {
        let unavailable =
            |what: &str| StorageError::unavailable(format_args!("KMS plugin {:?}: {what}", self.name));
        let current = self.current.read();
        if Instant::now() > current.good_until {
            return Err(unavailable("it has not answered for too long, its key may have been withdrawn"));
        }
        let data =
            current.seed.seal(object, key).ok_or_else(|| unavailable("the object cannot be encrypted"))?;
        let envelope = EncryptedObject { encrypted_data: data, ..current.envelope.clone() };
        let mut out = Vec::with_capacity(self.prefix.len() + envelope.encoded_len());
        out.extend_from_slice(&self.prefix);
        envelope.encode(&mut out).map_err(StorageError::unavailable)?;
        Ok(Bytes::from(out))
    }

    /// Decrypts what follows the prefix; asks the plugin for a seed that is not known yet, on a thread that may block.
    ///
    /// # Errors
    /// When the plugin does not answer, or the object is damaged.
    pub(super) fn open(&self, key: &str, stored: &[u8]) -> Result<Bytes, StorageError> {
        let damaged = || StorageError::fatal(format_args!("{key}: the stored data cannot be decrypted"));
        let envelope = EncryptedObject::decode(stored).map_err(|_| damaged())?;
        let seed = match self.known(&envelope) {
            Some(seed) => seed,
            None => self.ask(&envelope)?,
        };
        seed.open(&envelope.encrypted_data, key).map(Bytes::from).ok_or_else(damaged)
    }

    /// Whether what follows the prefix was encrypted with another key of the plugin than it has now.
    pub(super) fn is_stale(&self, stored: &[u8]) -> bool {
        let Ok(envelope) = EncryptedObject::decode(stored) else { return true };
        let current = &self.current.read().envelope;
        envelope.key_id != current.key_id
            || envelope.encrypted_dek_source_type != current.encrypted_dek_source_type
    }

    fn known(&self, envelope: &EncryptedObject) -> Option<Arc<Seed>> {
        let current = self.current.read();
        if envelope.encrypted_dek_source == current.envelope.encrypted_dek_source {
            return Some(Arc::clone(&current.seed));
        }
        self.seeds.lock().get(&envelope.encrypted_dek_source).cloned()
    }

    fn ask(&self, envelope: &EncryptedObject) -> Result<Arc<Seed>, StorageError> {
        let failed =
            |reason: &str| StorageError::unavailable(format_args!("KMS plugin {:?}: {reason}", self.name));
        let plain = self.runtime.block_on(self.client.decrypt(envelope)).map_err(|reason| failed(&reason))?;
        let seed = Seed::new(envelope, &plain).map(Arc::new);
        let seed = seed.ok_or_else(|| failed("what it decrypted is no key"))?;
        let mut seeds = self.seeds.lock();
        if seeds.len() >= SEEDS_MAX {
            seeds.clear();
        }
        seeds.insert(envelope.encrypted_dek_source.clone(), Arc::clone(&seed));
        Ok(seed)
    }

    /// Asks the plugin from time to time which key it has, for as long as it is in use.
    async fn follow(this: Weak<Self>) {
        let mut wait = POLL_INTERVAL;
        loop {
            tokio::time::sleep(wait).await;
            let Some(kms) = this.upgrade() else { return };
            wait = match kms.check().await {
                Ok(()) => POLL_INTERVAL,
                Err(reason) => {
                    tracing::warn!(plugin = kms.name, reason, "the KMS plugin does not answer as it should");
                    RETRY_INTERVAL
                }
            };
        }
    }

    async fn check(&self) -> Result<(), String> {
        let key = healthy(self.client.status().await?)?;
        let same = self.current.read().envelope.key_id == key;
        if same {
            self.current.write().good_until = Instant::now() + VALIDITY;
            return Ok(());
        }
        let new = renew(&self.client).await?;
        let old = std::mem::replace(&mut *self.current.write(), new);
        // What was written until now need not be asked for.
        self.seeds.lock().insert(old.envelope.encrypted_dek_source, old.seed);
        tracing::info!(plugin = self.name, "the KMS plugin has another key");
        Ok(())
    }
}

/// Has a plugin encrypt a new seed.
async fn renew(client: &Client) -> Result<Current, String> {
    let key = healthy(client.status().await?)?;
    let plain: [u8; SEED_BYTES] = rand::random();
    let answer = client.encrypt(&plain).await?;
    if answer.key_id != key {
        return Err(format!("it has key {key:?} and encrypts with {:?}", answer.key_id));
    }
    let envelope = EncryptedObject {
        encrypted_data: Vec::new(),
        key_id: answer.key_id,
        encrypted_dek_source: answer.ciphertext,
        annotations: answer.annotations,
        encrypted_dek_source_type: HKDF_SEED,
    };
    let seed = Seed::new(&envelope, &plain).ok_or("a seed could not be made")?;
    Ok(Current { seed: Arc::new(seed), envelope, good_until: Instant::now() + VALIDITY })
}

/// The key a healthy plugin has.
fn healthy(status: StatusResponse) -> Result<String, String> {
    if status.healthz != "ok" {
        return Err(format!("it says of its health: {}", status.healthz));
    }
    if !matches!(status.version.as_str(), "v2" | "v2beta1") {
        return Err(format!("it speaks version {:?}, not v2", status.version));
    }
    if status.key_id.is_empty() {
        return Err("it has no key".to_owned());
    }
    Ok(status.key_id)
}
