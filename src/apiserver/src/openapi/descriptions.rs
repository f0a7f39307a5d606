//! What types and fields mean, in the words of the Kubernetes API, as the `k8s-openapi` crate has them.
//!
//! The crate can make the JSON schema of every type, with descriptions and without all that is special to
//! Kubernetes; so only the descriptions are taken. They are made for the types of one document at a time and dropped
//! after it: all of them together would be several megabytes.

use k8s_openapi as k8s;
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Map, Value, json};
use std::borrow::Cow;

/// A type to begin with: its schema brings those of all types in it.
struct Root {
    name: fn() -> Cow<'static, str>,
    describe: fn(&mut SchemaGenerator),
}

const fn root<T: JsonSchema>() -> Root {
    Root { name: T::schema_name, describe: describe::<T> }
}

fn describe<T: JsonSchema>(generator: &mut SchemaGenerator) {
    generator.subschema_for::<T>();
}

/// Some types of one module of the crate.
macro_rules! of {
    ($($module:ident)::+ { $($kind:ident),+ $(,)? }) => {{
        use k8s::$($module)::+::*;
        const ALL: &[Root] = &[$(root::<$kind>()),+];
        ALL
    }};
}

/// Every type that a request or a response can be. All other types are in one of these.
static ROOTS: &[&[Root]] = &[
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
static WATCH_EVENT: Root = root::<
    k8s::apimachinery::pkg::apis::meta::v1::WatchEvent<k8s::apimachinery::pkg::runtime::RawExtension>,
>();

/// Descriptions of some types and of their fields.
pub(super) struct Descriptions {
    types: Map<String, Value>,
}

impl Descriptions {
    /// Descriptions of the types that are wanted, by their full names, and of all that these refer to.
    pub(super) fn of(wanted: impl Fn(&str) -> bool) -> Self {
        let mut generator = SchemaGenerator::default();
        for root in ROOTS.iter().copied().flatten().chain([&WATCH_EVENT]) {
            let name = (root.name)();
            if wanted(&name) && !generator.definitions().contains_key(&*name) {
                (root.describe)(&mut generator);
            }
        }
        Self { types: generator.take_definitions(false) }
    }

    /// Takes out what is said about a type. Lists, which the crate has no types of, are described here.
    pub(super) fn take(&mut self, name: &str) -> Described {
        let kind = name.rsplit_once('.').map_or(name, |(_, kind)| kind);
        let item = kind.strip_suffix("List").filter(|item| !item.is_empty());
        let schema = match (self.types.remove(name), item) {
            (Some(schema), _) => schema,
            (None, Some(item)) => list(item),
            (None, None) => Value::Null,
        };
        Described { schema }
    }
}

/// Descriptions of one type and of its fields.
pub(super) struct Described {
    schema: Value,
}

/// What can be said about any list of objects.
fn list(item: &str) -> Value {
    json!({
        "description": format!("{item}List is a list of objects of kind {item}."),
        "properties": {
            "apiVersion": {"description": "Group and version of the form in which the list is told."},
            "items": {"description": format!("The objects of kind {item}.")},
            "kind": {"description": "Kind of the list."},
            "metadata": {"description": "What is known of the list as a whole: its revision, and how it continues."},
        },
    })
}

impl Described {
    /// Nothing is said.
    pub(super) fn nothing() -> Self {
        Self { schema: Value::Null }
    }

    /// Of the type.
    pub(super) fn whole(&self) -> Option<&str> {
        self.schema.get("description")?.as_str()
    }

    /// Of a field.
    pub(super) fn field(&self, name: &str) -> Option<&str> {
        self.schema.get("properties")?.get(name)?.get("description")?.as_str()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_brings_the_descriptions_of_what_is_in_it() {
        let mut descriptions = Descriptions::of(|name| name == "io.k8s.api.core.v1.Pod");
        let container = descriptions.take("io.k8s.api.core.v1.Container");
        assert!(container.whole().unwrap().starts_with("A single application container"));
        assert!(container.field("image").unwrap().contains("image name"));
        assert!(descriptions.take("io.k8s.api.apps.v1.Deployment").whole().is_none());
    }

    #[test]
    fn nothing_is_made_that_nobody_wants() {
        assert!(Descriptions::of(|_| false).types.is_empty());
    }
}
