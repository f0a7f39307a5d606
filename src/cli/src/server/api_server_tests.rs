use super::*;

fn flags(arguments: &[&str]) -> Result<ApiServerFlags> {
    let arguments: Vec<String> = arguments.iter().map(|argument| (*argument).to_owned()).collect();
    ApiServerFlags::default().with(&arguments)
}

#[test]
fn arguments_of_the_api_server_are_its_flags() {
    let given = flags(&["anonymous-auth=false", "--authorization-mode=RBAC,AlwaysAllow"]).unwrap();
    assert_eq!(given.anonymous_auth, Some(false));
    assert_eq!(given.authorization_mode, ["RBAC", "AlwaysAllow"]);
    let more = given.with(&["api-audiences=a".to_owned()]).unwrap();
    assert_eq!((more.anonymous_auth, more.api_audiences.len()), (Some(false), 1));
    let served =
        flags(&["runtime-config=api/beta=true,resource.k8s.io/v1beta1=false"]).unwrap().runtime_config;
    assert_eq!(served, RuntimeConfig::parse("api/beta,resource.k8s.io/v1beta1=false").ok());
    assert!(flags(&["runtime-config=nope/v1=true"]).unwrap_err().to_string().contains("unknown api groups"));
    let error = flags(&["no-such-flag=1"]).unwrap_err().to_string();
    assert!(error.contains("--no-such-flag"), "{error}");
}

#[test]
fn requests_of_both_kinds_are_answered_together() {
    let both = |arguments: &[&str]| flags(arguments).unwrap().requests_in_flight();
    assert_eq!(both(&[]).unwrap(), None);
    assert_eq!(both(&["max-requests-inflight=100"]).unwrap(), Some(300));
    assert_eq!(both(&["max-requests-inflight=1", "max-mutating-requests-inflight=2"]).unwrap(), Some(3));
    assert!(both(&["max-requests-inflight=0", "max-mutating-requests-inflight=0"]).is_err());
}

#[test]
fn plugins_are_named_and_audit_flags_count() {
    let given = flags(&[
        "enable-admission-plugins=AlwaysPullImages,EventRateLimit",
        "disable-admission-plugins=PodSecurity",
        "audit-webhook-mode=blocking",
        "audit-log-truncate-enabled=true",
    ])
    .unwrap();
    assert_eq!(given.enable_admission_plugins, ["AlwaysPullImages", "EventRateLimit"]);
    assert_eq!(given.disable_admission_plugins, ["PodSecurity"]);
    assert_eq!(given.audit_webhook.delivery.mode.as_deref(), Some("blocking"));
    assert_eq!(given.audit_log.truncate, Some(true));
}

#[test]
fn oidc_flags_give_the_names_that_upstream_gives() {
    let oidc = |more: &[&str]| {
        let mut all = vec!["oidc-issuer-url=https://a.example", "oidc-client-id=me"];
        all.extend(more);
        flags(&all).unwrap().oidc().unwrap()
    };
    let prefix = |jwt: JwtConfiguration| jwt.claim_mappings.username.prefix.unwrap();
    assert_eq!(prefix(oidc(&[])), "https://a.example#");
    assert_eq!(prefix(oidc(&["oidc-username-claim=email"])), "");
    assert_eq!(prefix(oidc(&["oidc-username-prefix=-"])), "");
    assert_eq!(prefix(oidc(&["oidc-username-prefix=o:"])), "o:");
    let jwt = oidc(&["oidc-required-claim=a=b", "oidc-groups-claim=roles"]);
    assert_eq!(jwt.claim_validation_rules[0].required_value, "b");
    assert_eq!(
        (jwt.claim_mappings.groups.claim.as_str(), jwt.signing_algorithms[0].as_str()),
        ("roles", "RS256")
    );
    assert!(flags(&["oidc-client-id=me"]).unwrap().oidc().is_err());
}

#[test]
fn what_excludes_each_other_is_refused() {
    for (arguments, told) in [
        (&["authorization-mode=ABAC"][..], "need each other"),
        (&["authorization-mode=RBAC", "authorization-policy-file=/a"], "need each other"),
        (&["authorization-mode=Webhook"], "needs --authorization-webhook-config-file"),
        (&["authorization-config=/a", "authorization-mode=RBAC"], "exclude each other"),
        (&["authorization-webhook-config-file=/a"], "needs --authorization-mode"),
        (&["authentication-config=/a", "oidc-client-id=b"], "exclude each other"),
        (&["token-auth-file=/does/not/exist"], "cannot read"),
        (&["service-account-max-token-expiration=5m"], "one hour"),
    ] {
        let mut config = config();
        let error = flags(arguments).unwrap().apply(&mut config).unwrap_err();
        assert!(format!("{error:#}").contains(told), "{arguments:?}: {error:#}");
    }
}

fn config() -> Config {
    let directory = tempfile::tempdir().unwrap();
    let pki = pki::Pki::load_or_create(directory.path(), jiff::Timestamp::now()).unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let store =
        runtime.block_on(datastore::Datastore::open_in_memory(datastore::Options::default())).unwrap();
    Config::new(store, pki.load_service_account_keys().unwrap())
}
