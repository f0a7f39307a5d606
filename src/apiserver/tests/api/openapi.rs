//! OpenAPI documents as clients ask for them.

use flate2::read::GzDecoder;
use serde_json::Value;
use std::io::Read;
use testkit::TestServer;

const PROTOBUF: &str = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf";

#[tokio::test(flavor = "multi_thread")]
async fn clients_keep_a_document_for_as_long_as_its_hash_is_the_same() {
    let server = TestServer::start().await;
    let index = server.get("/openapi/v3").await.expect(200);
    let url = index["paths"]["apis/batch/v1"]["serverRelativeURL"].as_str().unwrap().to_owned();
    assert!(url.starts_with("/openapi/v3/apis/batch/v1?hash="), "{url}");
    let answer = server.get(&url).await;
    assert_eq!(answer.headers["cache-control"], "public, immutable");
    assert!(answer.headers["expires"].to_str().unwrap().ends_with(" GMT"));
    let etag = answer.headers["etag"].to_str().unwrap().to_owned();
    let document = answer.expect(200);
    assert!(document["components"]["schemas"].get("io.k8s.api.batch.v1.Job").is_some());

    let same = server.request("GET", &url, &[("if-none-match", &etag)], &Value::Null).await;
    assert_eq!((same.code, same.bytes.len()), (304, 0));
    let plain = server.get("/openapi/v3/apis/batch/v1").await;
    assert_eq!((plain.code, &plain.headers["cache-control"]), (200, &"no-cache, private".parse().unwrap()));
    let stale = server.get("/openapi/v3/apis/batch/v1?hash=ABC").await;
    assert_eq!((stale.code, stale.headers["location"].to_str().unwrap()), (301, url.as_str()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_takes_gzip_gets_the_same_in_gzip() {
    let server = TestServer::start().await;
    let uri = "/openapi/v3/apis/policy/v1";
    let plain = server.get(uri).await;
    let gzip = server.request("GET", uri, &[("accept-encoding", "gzip")], &Value::Null).await;
    assert_eq!(gzip.headers["content-encoding"], "gzip");
    assert!(gzip.bytes.len() * 4 < plain.bytes.len());
    let mut text = Vec::new();
    GzDecoder::new(&gzip.bytes[..]).read_to_end(&mut text).unwrap();
    assert_eq!(text, plain.bytes);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_document_of_the_index_is_there() {
    let server = TestServer::start().await;
    let index = server.get("/openapi/v3").await.expect(200);
    for (path, item) in index["paths"].as_object().unwrap() {
        let url = item["serverRelativeURL"].as_str().unwrap();
        assert_eq!(server.get(url).await.expect(200)["openapi"], "3.0.0", "{path}");
    }
    server.get("/openapi/v3/apis/batch/v9").await.expect(404);
    server.get("/openapi/v4").await.expect(404);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_form_is_what_the_client_accepts() {
    let server = TestServer::start().await;
    let get =
        async |uri: &str, accept: &str| server.request("GET", uri, &[("accept", accept)], &Value::Null).await;
    let json = get("/openapi/v2", "*/*").await;
    assert_eq!(json.headers["content-type"], "application/json");
    assert_eq!(json.expect(200)["swagger"], "2.0");
    let protobuf = get("/openapi/v2", PROTOBUF).await;
    assert_eq!(
        protobuf.headers["content-type"],
        "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
    );
    assert!(protobuf.bytes.starts_with(b"\x0a\x032.0"));
    get("/openapi/v2", "application/yaml").await.expect(406);
    let v3_protobuf = "application/com.github.proto-openapi.spec.v3@v1.0+protobuf";
    get("/openapi/v3/api/v1", v3_protobuf).await.expect(406);
    let either = get("/openapi/v3/api/v1", &format!("{v3_protobuf}, application/json;q=0.5")).await;
    assert_eq!(either.headers["content-type"], "application/json");
}
