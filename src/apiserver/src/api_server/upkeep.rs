//! What a server writes at its start, and what it does from time to time.

use super::{ApiServer, NewError, authority};
use crate::bootstrap;
use crate::identity;
use crate::registry::core::event_expiry;
use crate::registry::core::kubernetes_service;
use apimachinery::status::Result;
use std::time::Duration;
use tokio::time::Instant;

/// How often the records of addresses and node ports are compared with the Services (upstream's interval).
const REPAIR_INTERVAL: Duration = Duration::from_secs(180);
/// How often it is looked whether pods reach servers that they could not: pods of a new cluster wait for that.
const LIST_INTERVAL: Duration = Duration::from_secs(1);
/// For how long after the start: a new cluster's Nodes have told their addresses by then, and a server without a Node has
/// none to wait for. Who is later is found when the server says again that it is there.
const LIST_PATIENCE: Duration = Duration::from_secs(60);

impl ApiServer {
    /// Writes what a cluster has from the start, where it is missing, and begins what goes on until the server ends.
    pub(super) async fn bootstrap(
        &self,
        extension: &bootstrap::ExtensionAuthentication,
        authorities_pem: &str,
    ) -> std::result::Result<(), NewError> {
        let failed = |what| move |status| NewError::Bootstrap { what, status: Box::new(status) };
        // Both write much at once: the store commits it together.
        let resources = self.resources();
        let (address, port) = self.inner.advertise;
        let url = format!("https://{}", authority(address, port));
        let (objects, info, services) = tokio::join!(
            bootstrap::reconcile(self.registry(), extension),
            async {
                if authorities_pem.is_empty() {
                    return Ok(());
                }
                bootstrap::cluster_info::publish(self.registry(), &url, authorities_pem).await
            },
            self.aggregator().register(&resources)
        );
        info.map_err(failed("the information of the cluster"))?;
        objects.map_err(failed("what a new cluster holds"))?;
        services.map_err(failed("APIServices"))?;
        self.aggregator().run(self.ended());
        self.pass(&[
            "poststarthook/priority-and-fairness-config-producer",
            "poststarthook/rbac/bootstrap-roles",
            "poststarthook/scheduling/bootstrap-system-priority-classes",
            "poststarthook/start-cluster-authentication-info-controller",
            "poststarthook/start-system-namespaces-controller",
        ]);
        self.inner.flow_follower.catch_up();
        self.pass(&[
            "poststarthook/priority-and-fairness-config-consumer",
            "poststarthook/priority-and-fairness-filter",
        ]);
        kubernetes_service::ensure(self).await.map_err(failed("the kubernetes Service"))?;
        self.services().repair(jiff::Timestamp::now()).await.map_err(failed("records of Services"))?;
        self.pass(&["poststarthook/start-service-ip-repair-controllers"]);
        let listed = self.say_alive().await.map_err(failed("its identity"))?;
        self.pass(&["poststarthook/bootstrap-controller"]);
        self.inner.custom_resources.serve(self);
        tokio::spawn(self.clone().keep_house(listed));
        Ok(())
    }

    /// Says that this server is there, and lists those that are. Answers whether pods reach all of them.
    async fn say_alive(&self) -> Result<bool> {
        self.inner.identity.renew(self, jiff::Timestamp::now()).await?;
        kubernetes_service::list_servers(self).await
    }

    /// Tells health checks, under upstream's names, what has been done.
    fn pass(&self, checks: &[&str]) {
        for check in checks {
            self.health().add(*check).set(true);
        }
    }

    /// What is done from time to time, until the server ends. `listed` is whether pods reach all servers that are listed.
    async fn keep_house(self, mut listed: bool) {
        let mut list = tokio::time::interval(LIST_INTERVAL);
        list.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let patience = Instant::now() + LIST_PATIENCE;
        let mut repair = tokio::time::interval_at(Instant::now() + REPAIR_INTERVAL, REPAIR_INTERVAL);
        let expiry = event_expiry::INTERVAL;
        let mut expire = tokio::time::interval_at(Instant::now() + expiry, expiry);
        let mut renew = tokio::time::interval_at(Instant::now() + identity::RENEW, identity::RENEW);
        let mut collect = tokio::time::interval_at(Instant::now() + identity::COLLECT, identity::COLLECT);
        loop {
            let result = tokio::select! {
                () = self.inner.shutdown.cancelled() => return,
                _ = renew.tick() => self.say_alive().await.map(|all| listed = all),
                _ = list.tick(), if !listed && Instant::now() < patience => {
                    kubernetes_service::list_servers(&self).await.map(|all| listed = all)
                }
                _ = collect.tick() => identity::collect(self.registry(), jiff::Timestamp::now()).await,
                _ = repair.tick() => self.services().repair(jiff::Timestamp::now()).await,
                _ = expire.tick() => {
                    event_expiry::expire(self.registry(), self.inner.event_ttl, jiff::Timestamp::now()).await
                },
            };
            if let Err(error) = result {
                tracing::warn!(%error, "cannot tidy up");
            }
        }
    }
}
