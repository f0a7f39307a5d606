//! AlwaysPullImages: images are pulled for every container, so that whoever runs one may read it.

use crate::admission::chain::{Mutation, Operation, Plugin, Request, Validation};
use crate::admission::support::{CONTAINER_LISTS, forbidden, items, text};
use apimachinery::status::Status;
use async_trait::async_trait;
use serde_json::{Value, json};

const ALWAYS: &str = "Always";

/// See the module.
pub(in crate::admission) struct AlwaysPullImages;

fn concerns(request: &Request<'_>) -> bool {
    let pods = request.is("", "pods")
        || (request.is_any("", "pods") && request.subresource == "ephemeralcontainers");
    pods && matches!(request.operation, Operation::Create | Operation::Update)
}

impl Plugin for AlwaysPullImages {
    fn name(&self) -> &'static str {
        "AlwaysPullImages"
    }

    fn mutation(&self) -> Option<&dyn Mutation> {
        Some(self)
    }

    fn validation(&self) -> Option<&dyn Validation> {
        Some(self)
    }
}

#[async_trait]
impl Mutation for AlwaysPullImages {
    async fn admit(&self, request: &Request<'_>, object: &mut Value) -> Result<(), Status> {
        if !concerns(request) {
            return Ok(());
        }
        let Some(spec) = object.get_mut("spec") else { return Ok(()) };
        for list in CONTAINER_LISTS {
            for container in spec.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
                api::value::set(container, "imagePullPolicy", ALWAYS);
            }
        }
        for volume in spec.get_mut("volumes").and_then(Value::as_array_mut).into_iter().flatten() {
            if let Some(image) = volume.get_mut("image").filter(|image| image.is_object()) {
                api::value::set(image, "pullPolicy", ALWAYS);
            }
        }
        Ok(())
    }
}

#[async_trait]
impl Validation for AlwaysPullImages {
    async fn validate(&self, request: &Request<'_>, object: &Value) -> Result<(), Status> {
        if !concerns(request) {
            return Ok(());
        }
        for list in CONTAINER_LISTS {
            for (index, container) in items(object, &format!("/spec/{list}")).iter().enumerate() {
                let policy = text(container, "/imagePullPolicy");
                if policy != ALWAYS {
                    let why = format!(
                        "spec.{list}[{index}].imagePullPolicy: Unsupported value: {}: supported values: \"{ALWAYS}\"",
                        json!(policy)
                    );
                    return Err(forbidden(request, object, why));
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admission::testing::Scene;

    #[tokio::test]
    async fn images_of_containers_and_volumes_are_always_pulled() {
        let scene = Scene::new(Operation::Create, "a", "p");
        let mut pod = json!({"metadata": {"name": "p"}, "spec": {
            "initContainers": [{"name": "i"}], "containers": [{"name": "c", "imagePullPolicy": "Never"}],
            "volumes": [{"name": "v", "image": {"reference": "r"}}, {"name": "e", "emptyDir": {}}]}});
        let refused = AlwaysPullImages.validate(&scene.request(), &pod).await.unwrap_err();
        assert_eq!(
            refused.message,
            "pods \"p\" is forbidden: spec.initContainers[0].imagePullPolicy: Unsupported value: \"\": supported \
             values: \"Always\""
        );
        AlwaysPullImages.admit(&scene.request(), &mut pod).await.unwrap();
        assert_eq!(pod["spec"]["initContainers"][0]["imagePullPolicy"], "Always");
        assert_eq!(pod["spec"]["containers"][0]["imagePullPolicy"], "Always");
        assert_eq!(pod["spec"]["volumes"][0]["image"]["pullPolicy"], "Always");
        assert_eq!(pod["spec"]["volumes"][1], json!({"name": "e", "emptyDir": {}}));
        AlwaysPullImages.validate(&scene.request(), &pod).await.unwrap();
    }
}
