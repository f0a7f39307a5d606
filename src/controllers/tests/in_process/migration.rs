//! Writing what is stored again.

use serde_json::json;

use crate::cluster::Cluster;

const MIGRATIONS: &str = "/apis/storagemigration.k8s.io/v1beta1/storageversionmigrations";

#[tokio::test]
async fn a_migration_ends_and_leaves_what_is_right_as_it_is() {
    let cluster = Cluster::start().await;
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}});
    let made = cluster.create("/api/v1/namespaces/default/secrets", secret).await;
    let migration = json!({
        "apiVersion": "storagemigration.k8s.io/v1beta1", "kind": "StorageVersionMigration",
        "metadata": {"name": "secrets"}, "spec": {"resource": {"group": "", "resource": "secrets"}},
    });
    cluster.create(MIGRATIONS, migration).await;
    let path = format!("{MIGRATIONS}/secrets");
    let done = cluster
        .eventually("the migration has succeeded", || async {
            let found = cluster.get(&path).await?;
            let conditions = found["status"]["conditions"].as_array()?;
            let succeeded =
                conditions.iter().any(|one| one["type"] == "Succeeded" && one["status"] == "True");
            succeeded.then(|| found.clone())
        })
        .await;
    assert!(done["status"]["resourceVersion"].as_str().is_some_and(|revision| !revision.is_empty()));
    let after = cluster.get("/api/v1/namespaces/default/secrets/s").await.unwrap();
    assert_eq!(after["metadata"]["resourceVersion"], made["metadata"]["resourceVersion"]);
}
