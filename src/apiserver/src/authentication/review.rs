//! TokenReview and SelfSubjectReview (`authentication.k8s.io/v1`): each takes the object that was posted and
//! fills in its status.

use apimachinery::status::{Result, Status};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::authenticate::Authentication;
use super::user_info::UserInfo;

/// TokenReview: whose token is this?
///
/// # Errors
/// 400 without a token. A token that is no good is no error: the status says so.
pub async fn token_review(authentication: &Authentication, review: &mut Value) -> Result<()> {
    let token = review.pointer("/spec/token").and_then(Value::as_str).unwrap_or("").to_owned();
    if token.is_empty() {
        return Err(Status::bad_request("token is required for TokenReview in authentication"));
    }
    let asked = review.pointer("/spec/audiences").and_then(Value::as_array).into_iter().flatten();
    let mut audiences: Vec<String> = asked.filter_map(Value::as_str).map(str::to_owned).collect();
    if audiences.is_empty() {
        audiences = authentication.api_audiences().to_vec();
    }
    let status = match authentication.authenticate_token(&token, &audiences, Timestamp::now()).await {
        Ok((user, audiences)) => {
            let mut status = json!({"authenticated": true, "user": user.to_value()});
            if let Some(status) = status.as_object_mut()
                && !audiences.is_empty()
            {
                status.insert("audiences".into(), json!(audiences));
            }
            status
        }
        Err(error) => json!({"user": {}, "error": error}),
    };
    set_status(review, status);
    Ok(())
}

/// SelfSubjectReview: who am I? (`kubectl auth whoami`)
pub fn self_subject_review(user: &UserInfo, review: &mut Value) {
    set_status(review, json!({"userInfo": user.to_value()}));
}

fn set_status(review: &mut Value, status: Value) {
    if let Some(review) = review.as_object_mut() {
        review.insert("status".into(), status);
    }
}
