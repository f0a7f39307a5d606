//! All controllers, and which process may run them.

use std::{sync::Arc, time::Duration};

use client::{LeaderElection, Rest, SharedInformers};
use ipnet::IpNet;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::framework::{self, Context, Controller};
use crate::node_ipam::NodePrefixes;

/// Name of the lease that the active instance holds; upstream's.
const LEASE: &str = "kube-controller-manager";

/// What the controllers need to know of the cluster.
#[derive(Clone)]
pub struct Config {
    /// The API as `system:kube-controller-manager`.
    pub client: kube::Client,
    /// The caches of this process.
    pub informers: SharedInformers,
    /// Contend for leadership under this name; `None` runs at once, for processes that are alone.
    pub identity: Option<String>,
    /// Networks that pod addresses come from, one of each family at most; empty leaves nodes without pod CIDR.
    pub cluster_cidrs: Vec<IpNet>,
    /// Prefixes of the parts of these that each node gets.
    pub node_prefixes: NodePrefixes,
    /// A node that is silent for this long is taken for dead.
    pub node_monitor_grace_period: Duration,
    /// Networks that service addresses come from; pods never get addresses in them.
    pub service_cidrs: Vec<IpNet>,
    /// Signs what CertificateSigningRequests of `kubernetes.io` signers ask for; `None` leaves them unsigned.
    pub pki: Option<Arc<pki::Pki>>,
    /// Certificates (PEM) that API server certificates are verified with; published in every namespace.
    pub root_ca_pem: String,
    /// Migrate stored objects when a StorageVersionMigration asks for it: that API is off by default.
    pub storage_version_migrator: bool,
}

/// Why the controllers did not start.
#[derive(Debug, thiserror::Error)]
pub enum ControllersError {
    /// The configuration cannot work.
    #[error("invalid configuration: {0}")]
    Config(String),
}

/// Runs all controllers until `stop`, whenever this process is the leader.
///
/// # Errors
/// When the configuration cannot work. Failures at run time are retried for ever.
pub async fn run(config: Config, stop: CancellationToken) -> Result<(), ControllersError> {
    crate::node_ipam::check_networks(&config.cluster_cidrs, config.node_prefixes)
        .map_err(ControllersError::Config)?;
    if config.root_ca_pem.is_empty() {
        return Err(ControllersError::Config("the root CA is empty".into()));
    }
    let Some(identity) = config.identity.clone() else {
        run_all(config, stop).await;
        return Ok(());
    };
    let election = LeaderElection::new(config.client.clone(), LEASE, identity);
    election.run(&stop, |term| run_all(config.clone(), term)).await;
    Ok(())
}

async fn run_all(config: Config, stop: CancellationToken) {
    let context = Context { rest: Rest::new(config.client.clone()), informers: config.informers.clone() };
    let mut tasks = JoinSet::new();
    for controller in all(&context, &config) {
        tasks.spawn(framework::run(controller, stop.clone()));
    }
    while tasks.join_next().await.is_some() {}
}

/// Every controller there is. One that is built but not listed is an unused variable, which does not compile.
fn all(context: &Context, config: &Config) -> Vec<Arc<dyn Controller>> {
    let bootstrap_signer = crate::bootstrap_tokens::BootstrapSigner::new(context);
    let certificate_approver = crate::certificates::CertificateApprover::new(context);
    let certificate_cleaner = crate::certificates::CertificateCleaner::new(context);
    let certificate_signer = crate::certificates::CertificateSigner::new(context, config);
    let claim_protection = crate::volume_protection::ClaimProtection::new(context);
    let clusterrole_aggregation = crate::clusterrole_aggregation::ClusterRoleAggregation::new(context);
    let cronjob = crate::cronjob::CronJobController::new(context);
    let daemonset = crate::daemonset::DaemonSetController::new(context);
    let deployment = crate::deployment::DeploymentController::new(context);
    let disruption = crate::disruption::DisruptionController::new(context);
    let endpoints = crate::endpoints::EndpointsController::new(context);
    let endpointslice = crate::endpointslice::EndpointSliceController::new(context);
    let endpointslice_mirroring = crate::endpointslice_mirroring::EndpointSliceMirroring::new(context);
    let ephemeral_volume = crate::ephemeral_volume::EphemeralVolume::new(context);
    let garbage_collector = crate::garbage_collector::GarbageCollector::new(context);
    let horizontal_pod_autoscaling = crate::horizontal_pod_autoscaler::HorizontalPodAutoscaling::new(context);
    let job = crate::job::JobController::new(context);
    let legacy_token_cleaner = crate::legacy_token_cleaner::LegacyTokenCleaner::new(context);
    let namespace = crate::namespace::NamespaceController::new(context);
    let node_ipam = crate::node_ipam::NodeIpam::new(context, config);
    let node_lifecycle = crate::node_lifecycle::NodeLifecycle::new(context, config);
    let persistent_volume = crate::persistent_volume::PersistentVolumeBinder::new(context);
    let pod_gc = crate::pod_gc::PodGarbageCollector::new(context);
    let replicaset = crate::replicaset::ReplicaSetController::new(context);
    let replicationcontroller = crate::replicationcontroller::ReplicationManager::new(context);
    let resource_quota = crate::resource_quota::ResourceQuotaController::new(context);
    let root_ca_publisher = crate::root_ca_publisher::RootCaPublisher::new(context, config);
    let service_cidrs = crate::service_cidrs::ServiceCidrs::new(context);
    let service_account_tokens = crate::service_account_tokens::ServiceAccountTokens::new(context, config);
    let serviceaccount = crate::serviceaccount::ServiceAccountController::new(context);
    let statefulset = crate::statefulset::StatefulSetController::new(context);
    let storage_version_migrator = config
        .storage_version_migrator
        .then(|| crate::storage_version_migrator::StorageVersionMigrator::new(context));
    let taint_eviction = crate::taint_eviction::TaintEviction::new(context);
    let token_cleaner = crate::bootstrap_tokens::TokenCleaner::new(context);
    let ttl_after_finished = crate::ttl_after_finished::TtlAfterFinished::new(context);
    let validating_admission_policy_status =
        crate::validating_admission_policy_status::ValidatingAdmissionPolicyStatus::new(context);
    let volume_protection = crate::volume_protection::VolumeProtection::new(context);
    let mut all: Vec<Arc<dyn Controller>> = vec![
        Arc::new(bootstrap_signer),
        Arc::new(certificate_approver),
        Arc::new(certificate_cleaner),
        Arc::new(certificate_signer),
        Arc::new(claim_protection),
        Arc::new(clusterrole_aggregation),
        Arc::new(cronjob),
        Arc::new(daemonset),
        Arc::new(deployment),
        Arc::new(disruption),
        Arc::new(endpoints),
        Arc::new(endpointslice),
        Arc::new(endpointslice_mirroring),
        Arc::new(ephemeral_volume),
        Arc::new(garbage_collector),
        Arc::new(horizontal_pod_autoscaling),
        Arc::new(job),
        Arc::new(legacy_token_cleaner),
        Arc::new(namespace),
        Arc::new(node_ipam),
        Arc::new(node_lifecycle),
        Arc::new(persistent_volume),
        Arc::new(pod_gc),
        Arc::new(replicaset),
        Arc::new(replicationcontroller),
        Arc::new(resource_quota),
        Arc::new(root_ca_publisher),
        Arc::new(service_cidrs),
        Arc::new(service_account_tokens),
        Arc::new(serviceaccount),
        Arc::new(statefulset),
        Arc::new(taint_eviction),
        Arc::new(token_cleaner),
        Arc::new(ttl_after_finished),
        Arc::new(validating_admission_policy_status),
        Arc::new(volume_protection),
    ];
    all.extend(storage_version_migrator.map(|controller| Arc::new(controller) as Arc<dyn Controller>));
    all
}
