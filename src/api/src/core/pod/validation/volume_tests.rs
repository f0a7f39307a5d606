use super::tests::{assert_told, pod};
use serde_json::{Value, json};

fn volume(source: Value) -> Vec<String> {
    let mut volume = json!({"name": "v"});
    for (name, value) in source.as_object().unwrap() {
        volume[name] = value.clone();
    }
    pod(json!({"volumes": [volume]}))
}

#[test]
fn volumes_have_rules_of_their_types() {
    assert_told(vec![
        (volume(json!({"emptyDir": {"medium": "Anything"}})), &[]),
        (
            volume(json!({"emptyDir": {"sizeLimit": "-1"}})),
            &[
                "spec.volumes[0].emptyDir.sizeLimit: Forbidden: SizeLimit field must be a valid resource quantity",
            ],
        ),
        (volume(json!({"hostPath": {"path": ""}})), &["spec.volumes[0].hostPath.path: Required value"]),
        (
            volume(json!({"gitRepo": {"repository": "r", "directory": "/a"}})),
            &["spec.volumes[0].gitRepo.directory: Invalid value: \"/a\": must be a relative path"],
        ),
        (
            volume(json!({"configMap": {"name": "m", "items": [{"key": "k", "path": "..a", "mode": 512}]}})),
            &[
                "spec.volumes[0].configMap.items[0].path: Invalid value: \"..a\": must not start with '..'",
                "spec.volumes[0].configMap.items[0].mode: Invalid value: 512: must be a number between 0 and 0777 (octal), both inclusive",
            ],
        ),
        (
            volume(json!({"downwardAPI": {"items": [{"path": "p"}]}})),
            &[
                "spec.volumes[0].downwardAPI: Required value: one of fieldRef and resourceFieldRef is required",
            ],
        ),
        (
            volume(json!({"iscsi": {"targetPortal": "p", "iqn": "x", "lun": 300}})),
            &[
                "spec.volumes[0].iscsi.iqn: Invalid value: \"x\": must be valid format starting with iqn, eui, or naa",
                "spec.volumes[0].iscsi.lun: Invalid value: 300: must be between 0 and 255, inclusive",
            ],
        ),
        (volume(json!({"image": {}})), &["spec.volumes[0].image.reference: Required value"]),
        (
            volume(json!({"csi": {"driver": "Bad_Driver", "nodePublishSecretRef": {}}})),
            &[
                "spec.volumes[0].csi.driver: Invalid value: \"Bad_Driver\": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')",
                "spec.volumes[0].csi.nodePublishSecretRef.name: Required value",
            ],
        ),
        (
            volume(json!({"ephemeral": {"volumeClaimTemplate": {"metadata": {"name": "x"}, "spec": {
                "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}},
            }}}})),
            &["spec.volumes[0].ephemeral.volumeClaimTemplate.metadata.name: Forbidden: cannot be set"],
        ),
        (
            volume(json!({"cephfs": {"monitors": ["m"]}, "nfs": {"server": "s", "path": "/"}})),
            &["spec.volumes[0].cephFS: Forbidden: may not specify more than 1 volume type"],
        ),
        (
            pod(json!({"volumes": [
                {"name": "v", "persistentVolumeClaim": {"claimName": "p-w"}},
                {"name": "w", "ephemeral": {"volumeClaimTemplate": {"spec": {
                    "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}},
                }}}},
            ]})),
            &[
                "spec.volumes[0].persistentVolumeClaim.claimName: Invalid value: \"p-w\": must not reference a PVC that gets created for an ephemeral volume",
            ],
        ),
    ]);
}

#[test]
fn projected_sources_share_one_directory() {
    let projected = |sources: Value| volume(json!({"projected": {"sources": sources}}));
    assert_told(vec![
        (
            projected(json!([
                {"secret": {"name": "s", "items": [{"key": "k", "path": "f"}]}},
                {"configMap": {"name": "m", "items": [{"key": "k", "path": "f"}]}},
                {"serviceAccountToken": {"expirationSeconds": 1, "path": "../x"}},
            ])),
            &[
                "spec.volumes[0].projected: Invalid value: \"m\": conflicting duplicate paths",
                "spec.volumes[0].projected.sources[2].serviceAccountToken.expirationSeconds: Invalid value: 1: may not specify a duration less than 10 minutes",
                "spec.volumes[0].projected.path: Invalid value: \"../x\": must not contain '..'",
            ],
        ),
        (
            projected(json!([{"secret": {"name": "s"}, "configMap": {"name": "m"}}])),
            &[
                "spec.volumes[0].projected.sources[0]: Forbidden: may not specify more than 1 volume type per source",
            ],
        ),
        (
            projected(json!([{"clusterTrustBundle": {"path": "f"}}])),
            &[
                "spec.volumes[0].projected.sources[0].clusterTrustBundle: Required value: either name or signerName must be specified",
            ],
        ),
        (
            projected(json!([{"podCertificate": {
                "signerName": "example.com/s", "keyType": "RSA1", "maxExpirationSeconds": 60,
            }}])),
            &[
                "spec.volumes[0].projected.sources[0].podCertificate.keyType: Unsupported value: \"RSA1\": supported values: \"RSA3072\", \"RSA4096\", \"ECDSAP256\", \"ECDSAP384\", \"ECDSAP521\", \"ED25519\"",
                "spec.volumes[0].projected.sources[0].podCertificate.maxExpirationSeconds: Invalid value: 60: if provided, maxExpirationSeconds must be >= 3600",
                "spec.volumes[0].projected.sources[0].podCertificate: Required value: specify at least one of credentialBundlePath, keyPath, and certificateChainPath",
            ],
        ),
    ]);
}
