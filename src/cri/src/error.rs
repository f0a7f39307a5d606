//! The one error of CRI calls, with the classes a caller acts on.

use tonic::Code;

/// Result of a CRI call.
pub type Result<T> = std::result::Result<T, CriError>;

/// Why a call to the container runtime failed.
///
/// `NotFound` usually means "already gone" to a caller that removes things; `Unavailable` and
/// `DeadlineExceeded` are worth a retry; the rest is what the runtime said.
#[derive(Debug, Clone, thiserror::Error)]
pub enum CriError {
    /// The sandbox, container or image does not exist.
    #[error("{message}")]
    NotFound {
        /// What the runtime said.
        message: String,
    },
    /// The runtime's socket does not answer, or the runtime is stopping.
    #[error("container runtime is unavailable: {message}")]
    Unavailable {
        /// What the transport or the runtime said.
        message: String,
    },
    /// The call's deadline passed, or the command of an `exec_sync` ran into its timeout.
    #[error("deadline exceeded: {message}")]
    DeadlineExceeded {
        /// What timed out.
        message: String,
    },
    /// The runtime does not know this rpc (containerd 1.6 lacks the newer ones).
    #[error("not implemented by the container runtime: {message}")]
    Unimplemented {
        /// What the runtime said.
        message: String,
    },
    /// Something by that name exists already.
    #[error("{message}")]
    AlreadyExists {
        /// What the runtime said.
        message: String,
    },
    /// Everything else, with the runtime's own words.
    #[error("{message}")]
    Other {
        /// The gRPC code's name.
        code: &'static str,
        /// What the runtime said.
        message: String,
    },
    /// The runtime answered, but the answer lacks something the protocol requires.
    #[error("container runtime's answer to {call} lacks {what}")]
    Incomplete {
        /// The rpc.
        call: &'static str,
        /// The missing field.
        what: &'static str,
    },
}

impl CriError {
    /// True if the object of the call does not exist.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::NotFound { .. })
    }

    /// True if repeating the call later may succeed without anything else changing.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unavailable { .. } | Self::DeadlineExceeded { .. })
    }
}

impl From<tonic::Status> for CriError {
    fn from(status: tonic::Status) -> Self {
        let message = status.message().to_owned();
        match status.code() {
            Code::NotFound => Self::NotFound { message },
            Code::Unavailable => Self::Unavailable { message },
            Code::DeadlineExceeded => Self::DeadlineExceeded { message },
            Code::Unimplemented => Self::Unimplemented { message },
            Code::AlreadyExists => Self::AlreadyExists { message },
            // tonic reports its own timeouts as Cancelled with this message.
            Code::Cancelled if message.contains("Timeout") => Self::DeadlineExceeded { message },
            // A broken connection surfaces as Unknown "transport error" with the cause as source.
            Code::Unknown if message == "transport error" => {
                Self::Unavailable { message: with_source(&status) }
            }
            code => Self::Other { code: code_name(code), message },
        }
    }
}

/// "transport error: connection refused": the status' message with the innermost cause.
fn with_source(status: &tonic::Status) -> String {
    let mut message = status.message().to_owned();
    let mut source = std::error::Error::source(status);
    while let Some(cause) = source {
        message = format!("{}: {cause}", status.message());
        source = cause.source();
    }
    message
}

fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "Canceled",
        Code::Unknown => "Unknown",
        Code::InvalidArgument => "InvalidArgument",
        Code::DeadlineExceeded => "DeadlineExceeded",
        Code::NotFound => "NotFound",
        Code::AlreadyExists => "AlreadyExists",
        Code::PermissionDenied => "PermissionDenied",
        Code::ResourceExhausted => "ResourceExhausted",
        Code::FailedPrecondition => "FailedPrecondition",
        Code::Aborted => "Aborted",
        Code::OutOfRange => "OutOfRange",
        Code::Unimplemented => "Unimplemented",
        Code::Internal => "Internal",
        Code::Unavailable => "Unavailable",
        Code::DataLoss => "DataLoss",
        Code::Unauthenticated => "Unauthenticated",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grpc_codes_become_classes_a_caller_can_act_on() {
        assert!(CriError::from(tonic::Status::not_found("x")).is_not_found());
        assert!(CriError::from(tonic::Status::unavailable("x")).is_transient());
        assert!(CriError::from(tonic::Status::cancelled("Timeout expired")).is_transient());
        let other = CriError::from(tonic::Status::invalid_argument("bad"));
        assert!(!other.is_transient());
        assert_eq!(other.to_string(), "bad");
    }
}
