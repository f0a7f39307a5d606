//! The Status of a refusal by a webhook.

use apimachinery::status::Status;
use serde_json::Value;

/// What the client gets when a webhook refuses with this `metav1.Status`, or without one.
pub(super) fn refused(webhook: &str, result: &Value) -> Status {
    let text = |name: &str| result.get(name).and_then(Value::as_str).unwrap_or("");
    let denied = format!("admission webhook {webhook:?} denied the request");
    let message = match (text("message"), text("reason")) {
        ("", "") => format!("{denied} without explanation"),
        ("", reason) => format!("{denied}: {reason}"),
        (message, _) => format!("{denied}: {message}"),
    };
    let code = result.get("code").and_then(Value::as_u64).and_then(|code| u16::try_from(code).ok());
    let mut status: Status =
        serde_json::from_value(result.clone()).unwrap_or_else(|_| Status::bad_request(""));
    status.reason = text("reason").into();
    "Status".clone_into(&mut status.kind);
    "v1".clone_into(&mut status.api_version);
    "Failure".clone_into(&mut status.status);
    status.message = message;
    // A refusal is never told as a success.
    status.code = code.filter(|code| (400..1000).contains(code)).unwrap_or(400);
    status
}

/// What an HTTP answer other than 2xx means, in the words of client-go.
pub(super) fn http_failure(code: u16, content_type: &str, body: &[u8]) -> String {
    if let Ok(status) = serde_json::from_slice::<Status>(body)
        && status.kind == "Status"
        && status.status != "Success"
        && !status.message.is_empty()
        && content_type.starts_with("application/json")
    {
        return status.message;
    }
    let said = match content_type.starts_with("text/") {
        true => String::from_utf8_lossy(body).trim().chars().take(2048).collect(),
        false => "unknown".to_owned(),
    };
    match code {
        400 => "the server rejected our request for an unknown reason".to_owned(),
        401 => "the server has asked for the client to provide credentials".to_owned(),
        403 => said,
        404 => "the server could not find the requested resource".to_owned(),
        405 => "the server does not allow this method on the requested resource".to_owned(),
        406 => "the server was unable to respond with a content type that the client supports".to_owned(),
        409 => "the server reported a conflict".to_owned(),
        410 => "the server says that the resource is gone".to_owned(),
        415 => "the server was unable to accept the content type that the client sent".to_owned(),
        422 => "the server rejected our request due to an error in our request".to_owned(),
        429 => "the server has received too many requests and has asked us to try again later".to_owned(),
        503 => "the server is currently unable to handle the request".to_owned(),
        504 => "the server was unable to return a response in the time allotted, but may still be processing the request".to_owned(),
        500.. => format!("an error on the server ({said:?}) has prevented the request from succeeding"),
        _ => "the server responded with the status code ".to_owned()
            + &format!("{code} but did not return more information"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_refusal_keeps_what_the_webhook_said() {
        let status = refused("a.b.c", &json!({"message": "no", "reason": "Forbidden", "code": 403}));
        assert_eq!(status.message, "admission webhook \"a.b.c\" denied the request: no");
        assert_eq!((status.code, status.reason), (403, apimachinery::status::Reason::Forbidden));
        let status = refused("a.b.c", &Value::Null);
        assert_eq!(status.message, "admission webhook \"a.b.c\" denied the request without explanation");
        assert_eq!((status.code, status.status.as_str()), (400, "Failure"));
        let details = json!({"name": "n", "causes": [{"reason": "Own", "field": "spec", "message": "m"}]});
        let given = json!({"status": "Success", "reason": "Odd", "code": 200, "details": details});
        let status = refused("a.b.c", &given);
        assert_eq!(status.message, "admission webhook \"a.b.c\" denied the request: Odd");
        assert_eq!((status.code, status.status.as_str()), (400, "Failure"));
        let told = serde_json::to_value(&status).unwrap();
        assert_eq!((&told["reason"], &told["details"]), (&json!("Odd"), &details));
        assert_eq!(refused("a.b.c", &json!({"code": 601})).code, 601);
    }

    #[test]
    fn http_failures_read_as_those_of_client_go() {
        assert_eq!(
            http_failure(500, "text/plain", b"boom\n"),
            "an error on the server (\"boom\") has prevented the request from succeeding"
        );
        assert_eq!(http_failure(404, "", b""), "the server could not find the requested resource");
        let status = json!({"kind": "Status", "status": "Failure", "message": "why"}).to_string();
        assert_eq!(http_failure(500, "application/json", status.as_bytes()), "why");
    }
}
