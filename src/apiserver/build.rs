//! Writes down what types and fields mean, in the words of the Kubernetes API, as the `k8s-openapi` crate has them: its
//! code for JSON schemas runs here, and the server carries the words only, compressed.
//!
//! The file `descriptions.z` is a zlib stream (RFC 1950) of lines: the full name of a type, a tabulator, and a JSON
//! object with its `description` and its `properties`, each with a `description`.

use flate2::Compression;
use flate2::write::ZlibEncoder;
use k8s_openapi as k8s;
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Map, Value, json};
use std::error::Error;
use std::fs::File;
use std::io::Write as _;
use std::path::Path;

/// Makes the schema of a type, and of all types in it.
type Describe = fn(&mut SchemaGenerator);

fn describe<T: JsonSchema>(generator: &mut SchemaGenerator) {
    generator.subschema_for::<T>();
}

/// Some types of one module of the crate.
macro_rules! of {
    ($($module:ident)::+ { $($kind:ident),+ $(,)? }) => {{
        use k8s::$($module)::+::*;
        const ALL: &[Describe] = &[$(describe::<$kind>),+];
        ALL
    }};
}

/// Every type that a request or a response can be. All other types are in one of these.
static ROOTS: &[&[Describe]] = &[
    of!(api::admissionregistration::v1 {
        MutatingAdmissionPolicy,
        MutatingAdmissionPolicyBinding,
        MutatingWebhookConfiguration,
        ValidatingAdmissionPolicy,
        ValidatingAdmissionPolicyBinding,
        ValidatingWebhookConfiguration,
    }),
    of!(api::admissionregistration::v1alpha1 { MutatingAdmissionPolicy, MutatingAdmissionPolicyBinding }),
    of!(api::admissionregistration::v1beta1 { MutatingAdmissionPolicy, MutatingAdmissionPolicyBinding }),
    of!(api::apiserverinternal::v1alpha1 { StorageVersion }),
    of!(api::apps::v1 { ControllerRevision, DaemonSet, Deployment, ReplicaSet, StatefulSet }),
    of!(api::authentication::v1 { SelfSubjectReview, TokenRequest, TokenReview }),
    of!(api::authorization::v1 {
        LocalSubjectAccessReview,
        SelfSubjectAccessReview,
        SelfSubjectRulesReview,
        SubjectAccessReview,
    }),
    of!(api::autoscaling::v1 { HorizontalPodAutoscaler, Scale }),
    of!(api::autoscaling::v2 { HorizontalPodAutoscaler }),
    of!(api::batch::v1 { CronJob, Job }),
    of!(api::certificates::v1 { CertificateSigningRequest }),
    of!(api::certificates::v1alpha1 { ClusterTrustBundle }),
    of!(api::certificates::v1beta1 { ClusterTrustBundle, PodCertificateRequest }),
    of!(api::coordination::v1 { Lease }),
    of!(api::coordination::v1alpha2 { LeaseCandidate }),
    of!(api::coordination::v1beta1 { LeaseCandidate }),
    of!(api::core::v1 {
        Binding,
        ComponentStatus,
        ConfigMap,
        Endpoints,
        Event,
        LimitRange,
        Namespace,
        Node,
        PersistentVolume,
        PersistentVolumeClaim,
        Pod,
        PodTemplate,
        ReplicationController,
        ResourceQuota,
        Secret,
        Service,
        ServiceAccount,
    }),
    of!(api::discovery::v1 { EndpointSlice }),
    of!(api::events::v1 { Event }),
    of!(api::flowcontrol::v1 { FlowSchema, PriorityLevelConfiguration }),
    of!(api::networking::v1 { IPAddress, Ingress, IngressClass, NetworkPolicy, ServiceCIDR }),
    of!(api::networking::v1beta1 { IPAddress, ServiceCIDR }),
    of!(api::node::v1 { RuntimeClass }),
    of!(api::policy::v1 { Eviction, PodDisruptionBudget }),
    of!(api::rbac::v1 { ClusterRole, ClusterRoleBinding, Role, RoleBinding }),
    of!(api::resource::v1 { DeviceClass, ResourceClaim, ResourceClaimTemplate, ResourceSlice }),
    of!(api::resource::v1alpha3 { DeviceTaintRule, ResourcePoolStatusRequest }),
    of!(api::resource::v1beta1 { DeviceClass, ResourceClaim, ResourceClaimTemplate, ResourceSlice }),
    of!(api::resource::v1beta2 {
        DeviceClass,
        DeviceTaintRule,
        ResourceClaim,
        ResourceClaimTemplate,
        ResourceSlice,
    }),
    of!(api::scheduling::v1 { PriorityClass }),
    of!(api::scheduling::v1alpha2 { PodGroup, Workload }),
    of!(api::storage::v1 {
        CSIDriver,
        CSINode,
        CSIStorageCapacity,
        StorageClass,
        VolumeAttachment,
        VolumeAttributesClass,
    }),
    of!(api::storage::v1beta1 { VolumeAttributesClass }),
    of!(api::storagemigration::v1beta1 { StorageVersionMigration }),
    of!(apiextensions_apiserver::pkg::apis::apiextensions::v1 { CustomResourceDefinition }),
    of!(apimachinery::pkg::apis::meta::v1 {
        APIGroup,
        APIGroupList,
        APIResourceList,
        APIVersions,
        DeleteOptions,
        ListMeta,
        ObjectMeta,
        Patch,
        Status,
        Time,
    }),
    of!(apimachinery::pkg::runtime { RawExtension }),
    of!(apimachinery::pkg::version { Info }),
    of!(kube_aggregator::pkg::apis::apiregistration::v1 { APIService }),
];

/// Generic over what is watched; its description is not.
static WATCH_EVENT: Describe = describe::<
    k8s::apimachinery::pkg::apis::meta::v1::WatchEvent<k8s::apimachinery::pkg::runtime::RawExtension>,
>;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=build.rs");
    let mut generator = SchemaGenerator::default();
    for describe in ROOTS.iter().copied().flatten().chain([&WATCH_EVENT]) {
        describe(&mut generator);
    }
    let out = std::env::var_os("OUT_DIR").ok_or("no OUT_DIR")?;
    let mut file =
        ZlibEncoder::new(File::create(Path::new(&out).join("descriptions.z"))?, Compression::best());
    for (name, schema) in generator.take_definitions(false) {
        writeln!(file, "{name}\t{}", words(&schema))?;
    }
    file.finish()?;
    Ok(())
}

/// What a schema says in words.
fn words(schema: &Value) -> Value {
    let mut out = said(schema);
    if let Some(Value::Object(properties)) = schema.get("properties") {
        let properties = properties.iter().map(|(name, schema)| (name.clone(), Value::Object(said(schema))));
        out.insert("properties".to_owned(), properties.collect());
    }
    Value::Object(out)
}

fn said(schema: &Value) -> Map<String, Value> {
    schema.get("description").map(|text| ("description".to_owned(), json!(text))).into_iter().collect()
}
