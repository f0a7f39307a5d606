//! Rollouts simulated to their end: replica sets are scaled as planned, pods become available step by step.

use std::collections::HashMap;

use jiff::Timestamp;
use k8s_openapi::{
    api::{
        apps::v1::{
            Deployment, DeploymentSpec, DeploymentStrategy, ReplicaSet, ReplicaSetStatus,
            RollingUpdateDeployment,
        },
        core::v1::{Container, PodSpec, PodTemplateSpec},
    },
    apimachinery::pkg::{
        apis::meta::v1::{LabelSelector, ObjectMeta, Time},
        util::intstr::IntOrString,
    },
};

use super::{
    annotations::{DESIRED_REPLICAS, REVISION, REVISION_HISTORY, revision},
    plan::{Observed, Plan, plan},
};

/// A cluster with one deployment: what the API server, replica set controller and kubelet would do.
struct World {
    deployment: Deployment,
    sets: Vec<ReplicaSet>,
    running: HashMap<String, usize>,
    now: Timestamp,
    clock: i64,
}

fn template(image: &str) -> PodTemplateSpec {
    PodTemplateSpec {
        metadata: Some(ObjectMeta {
            labels: Some([("app".to_owned(), "web".to_owned())].into()),
            ..ObjectMeta::default()
        }),
        spec: Some(PodSpec {
            containers: vec![Container {
                name: "c".into(),
                image: Some(image.into()),
                ..Container::default()
            }],
            ..PodSpec::default()
        }),
    }
}

impl World {
    fn new(replicas: i32, surge: i32, unavailable: i32) -> Self {
        let deployment = Deployment {
            metadata: ObjectMeta {
                name: Some("web".into()),
                namespace: Some("ns".into()),
                uid: Some("d".into()),
                generation: Some(1),
                ..ObjectMeta::default()
            },
            spec: Some(DeploymentSpec {
                replicas: Some(replicas),
                selector: LabelSelector {
                    match_labels: Some([("app".to_owned(), "web".to_owned())].into()),
                    ..LabelSelector::default()
                },
                template: template("v1"),
                strategy: Some(DeploymentStrategy {
                    type_: Some("RollingUpdate".into()),
                    rolling_update: Some(RollingUpdateDeployment {
                        max_surge: Some(IntOrString::Int(surge)),
                        max_unavailable: Some(IntOrString::Int(unavailable)),
                    }),
                }),
                progress_deadline_seconds: Some(600),
                revision_history_limit: Some(2),
                ..DeploymentSpec::default()
            }),
            status: None,
        };
        let clock = 1_000_000;
        let now = Timestamp::from_second(clock).unwrap();
        Self { deployment, sets: Vec::new(), running: HashMap::new(), now, clock }
    }

    fn pass(&mut self, seconds: i64) {
        self.clock += seconds;
        self.now = Timestamp::from_second(self.clock).unwrap();
    }

    fn change(&mut self, change: impl FnOnce(&mut DeploymentSpec)) {
        change(self.deployment.spec.as_mut().unwrap());
        *self.deployment.metadata.generation.as_mut().unwrap() += 1;
    }

    fn sync(&mut self) -> Plan {
        self.pass(1);
        let plan = plan(Observed {
            deployment: &self.deployment,
            sets: self.sets.clone(),
            running_pods: self.running.clone(),
            now: self.now,
        });
        if let Some(mut set) = plan.create.clone() {
            set.metadata.uid = set.metadata.name.clone();
            set.metadata.creation_timestamp = Some(Time(self.now));
            self.sets.push(set);
        }
        for update in &plan.update {
            let slot = self.sets.iter_mut().find(|set| set.metadata.name == update.metadata.name).unwrap();
            *slot = update.clone();
        }
        self.sets.retain(|set| !plan.delete.iter().any(|gone| gone.metadata.name == set.metadata.name));
        if let Some(revision) = &plan.revision {
            let annotations = self.deployment.metadata.annotations.get_or_insert_default();
            annotations.insert(REVISION.into(), revision.clone());
        }
        self.deployment.status = Some(plan.status.clone());
        plan
    }

    /// Pods follow their replica sets; those of healthy images become available.
    fn settle(&mut self) {
        for set in &mut self.sets {
            let replicas = set.spec.as_ref().unwrap().replicas.unwrap();
            let pod = set.spec.as_ref().unwrap().template.as_ref().unwrap().spec.as_ref().unwrap();
            let healthy = !pod.containers[0].image.as_deref().unwrap().contains("broken");
            let available = if healthy { replicas } else { 0 };
            set.status = Some(ReplicaSetStatus {
                replicas,
                ready_replicas: Some(available),
                available_replicas: Some(available),
                terminating_replicas: Some(0),
                ..ReplicaSetStatus::default()
            });
        }
    }

    fn roll_to_the_end(&mut self) {
        for _ in 0..100 {
            let plan = self.sync();
            self.settle();
            if plan.create.is_none() && plan.update.is_empty() && self.sync().scaled.is_empty() {
                return;
            }
        }
        panic!("the rollout does not end: {:?}", self.sizes());
    }

    fn sizes(&self) -> Vec<(String, i32)> {
        self.sets
            .iter()
            .map(|set| {
                let spec = set.spec.as_ref().unwrap();
                let image =
                    spec.template.as_ref().unwrap().spec.as_ref().unwrap().containers[0].image.clone();
                (image.unwrap(), spec.replicas.unwrap())
            })
            .collect()
    }

    fn size(&self, image: &str) -> i32 {
        self.sizes().into_iter().find(|(found, _)| found == image).map_or(-1, |(_, size)| size)
    }

    fn progressing(&self) -> (String, String) {
        let conditions = self.deployment.status.as_ref().unwrap().conditions.as_ref().unwrap();
        let condition = conditions.iter().find(|condition| condition.type_ == "Progressing").unwrap();
        (condition.status.clone(), condition.reason.clone().unwrap())
    }
}

#[test]
fn a_first_rollout_creates_one_replica_set_at_full_size() {
    let mut world = World::new(3, 1, 1);
    let plan = world.sync();
    assert_eq!(plan.scaled.len(), 1);
    assert!(plan.scaled[0].ends_with("from 0 to 3"), "{:?}", plan.scaled);
    let set = plan.create.unwrap();
    assert_eq!(revision(&set.metadata), 1);
    let hash = &set.metadata.labels.as_ref().unwrap()["pod-template-hash"];
    assert_eq!(set.metadata.name.as_deref(), Some(format!("web-{hash}").as_str()));
    assert_eq!(
        set.spec.as_ref().unwrap().selector.match_labels.as_ref().unwrap()["pod-template-hash"],
        *hash
    );
    assert_eq!(plan.revision.as_deref(), Some("1"));
    world.settle();
    world.roll_to_the_end();
    assert_eq!(world.progressing(), ("True".into(), "NewReplicaSetAvailable".into()));
    assert_eq!(world.deployment.status.as_ref().unwrap().available_replicas, Some(3));
}

#[test]
fn a_rolling_update_stays_within_surge_and_unavailability_all_the_way() {
    for (replicas, surge, unavailable) in [(4, 1, 0), (4, 0, 1), (10, 3, 2), (1, 1, 0), (5, 5, 5)] {
        let mut world = World::new(replicas, surge, unavailable);
        world.roll_to_the_end();
        world.change(|spec| spec.template = template("v2"));
        for _ in 0..100 {
            world.sync();
            let total: i32 = world.sizes().iter().map(|(_, size)| size).sum();
            assert!(total <= replicas + surge, "{:?}", world.sizes());
            world.settle();
            let available: i32 =
                world.sets.iter().map(|set| set.status.as_ref().unwrap().available_replicas.unwrap()).sum();
            assert!(available >= replicas - unavailable, "{:?}", world.sizes());
        }
        assert_eq!(world.sizes(), [("v1".to_owned(), 0), ("v2".to_owned(), replicas)]);
    }
}

#[test]
fn a_broken_image_stops_the_rollout_and_the_deadline_reports_it() {
    let mut world = World::new(4, 1, 1);
    world.roll_to_the_end();
    world.change(|spec| spec.template = template("broken"));
    for _ in 0..10 {
        world.sync();
        world.settle();
    }
    assert_eq!((world.size("v1"), world.size("broken")), (3, 2));
    let plan = world.sync();
    let wait = plan.requeue.unwrap();
    assert!(wait.as_secs() > 500 && wait.as_secs() <= 601, "{wait:?}");
    world.pass(601);
    world.sync();
    assert_eq!(world.progressing(), ("False".into(), "ProgressDeadlineExceeded".into()));
    // Going back finds the old replica set again, with a new revision and its history.
    world.change(|spec| spec.template = template("v1"));
    world.roll_to_the_end();
    assert_eq!((world.size("v1"), world.size("broken")), (4, 0));
    let first = &world.sets[0].metadata;
    assert_eq!(revision(first), 3);
    assert_eq!(first.annotations.as_ref().unwrap()[REVISION_HISTORY], "1");
    assert_eq!(world.deployment.metadata.annotations.as_ref().unwrap()[REVISION], "3");
}

#[test]
fn scaling_in_the_middle_of_a_rollout_keeps_the_proportions() {
    let mut world = World::new(10, 3, 2);
    world.roll_to_the_end();
    world.change(|spec| spec.template = template("broken"));
    for _ in 0..5 {
        world.sync();
        world.settle();
    }
    assert_eq!((world.size("v1"), world.size("broken")), (8, 5));
    world.change(|spec| spec.replicas = Some(15));
    world.sync();
    // 18 allowed instead of 13: five more, shared out 3 to 2.
    assert_eq!((world.size("v1"), world.size("broken")), (11, 7));
    let annotations = world.sets[0].metadata.annotations.as_ref().unwrap();
    assert_eq!(annotations[DESIRED_REPLICAS], "15");
}

#[test]
fn scaling_an_idle_deployment_scales_its_one_set() {
    let mut world = World::new(3, 1, 1);
    world.roll_to_the_end();
    for wanted in [5, 0, 2] {
        world.change(|spec| spec.replicas = Some(wanted));
        world.sync();
        world.settle();
        world.sync();
        assert_eq!(world.sizes(), [("v1".to_owned(), wanted)]);
    }
}

#[test]
fn a_paused_deployment_scales_but_does_not_roll_out() {
    let mut world = World::new(3, 1, 1);
    world.roll_to_the_end();
    world.change(|spec| {
        spec.paused = Some(true);
        spec.template = template("v2");
        spec.replicas = Some(4);
    });
    world.sync();
    assert_eq!(world.sizes(), [("v1".to_owned(), 4)]);
    assert_eq!(world.progressing(), ("Unknown".into(), "DeploymentPaused".into()));
    world.change(|spec| spec.paused = Some(false));
    world.settle();
    world.roll_to_the_end();
    assert_eq!(world.sizes(), [("v1".to_owned(), 0), ("v2".to_owned(), 4)]);
}

#[test]
fn recreate_starts_no_new_pod_before_the_last_old_one_has_ended() {
    let mut world = World::new(2, 0, 0);
    world.change(|spec| {
        spec.strategy = Some(DeploymentStrategy { type_: Some("Recreate".into()), rolling_update: None });
    });
    world.roll_to_the_end();
    world.change(|spec| spec.template = template("v2"));
    let old = world.sets[0].metadata.uid.clone().unwrap();
    world.running.insert(old.clone(), 2);
    world.sync();
    assert_eq!(world.sizes(), [("v1".to_owned(), 0)]);
    world.settle();
    world.sync();
    assert_eq!(world.sizes(), [("v1".to_owned(), 0)], "old pods still run");
    world.running.insert(old, 0);
    world.sync();
    assert_eq!(world.sizes(), [("v1".to_owned(), 0), ("v2".to_owned(), 2)]);
}

#[test]
fn history_beyond_the_limit_is_deleted_oldest_first() {
    let mut world = World::new(1, 1, 0);
    for version in ["v1", "v2", "v3", "v4", "v5"] {
        world.change(|spec| spec.template = template(version));
        world.roll_to_the_end();
    }
    world.sync();
    let images: Vec<_> = world.sizes().into_iter().map(|(image, _)| image).collect();
    assert_eq!(images, ["v3", "v4", "v5"]);
}

#[test]
fn a_settled_deployment_needs_no_writes() {
    let mut world = World::new(3, 1, 1);
    world.roll_to_the_end();
    let before = world.deployment.status.clone().unwrap();
    let plan = world.sync();
    assert!(
        plan.create.is_none() && plan.update.is_empty() && plan.delete.is_empty() && plan.revision.is_none()
    );
    assert!(super::status::same(&before, &plan.status));
    assert_eq!(plan.requeue, None);
}
