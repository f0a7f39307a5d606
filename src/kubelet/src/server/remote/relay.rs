//! Between a client's streams and the runtime's.

use apimachinery::status::{Reason, Status};
use bytes::Bytes;
use cri::streaming::remote_command::RemoteCommand;

use super::streams::{ClientStreams, Output, copy};

/// Largest `Status` that a runtime sends.
const MAX_STATUS_BYTES: usize = 64 * 1024;

/// Relays until the process ends or the client goes. Dropping the runtime's connection at the end is what
/// tells a process without a terminal that its client is gone.
pub(super) async fn run(client: ClientStreams, runtime: RemoteCommand) {
    let ClientStreams { stdin, stdout, stderr, resize, mut error, status: with_status, gone, close } = client;
    let RemoteCommand {
        connection,
        stdin: to_stdin,
        stdout: from_stdout,
        stderr: from_stderr,
        error: mut from_error,
        resize: to_resize,
    } = runtime;
    let input = async {
        if let (Some(mut from), Some(mut to)) = (stdin, to_stdin)
            && copy(from.as_mut(), &mut to).await
        {
            Output::finish(&mut to).await;
        }
        std::future::pending::<()>().await;
    };
    let sizes = async {
        if let (Some(mut from), Some(mut to)) = (resize, to_resize) {
            copy(from.as_mut(), &mut to).await;
        }
        std::future::pending::<()>().await;
    };
    let output = async {
        let out = async {
            if let (Some(mut from), Some(mut to)) = (from_stdout, stdout) {
                copy(&mut from, to.as_mut()).await;
                to.finish().await;
            }
        };
        let err = async {
            if let (Some(mut from), Some(mut to)) = (from_stderr, stderr) {
                copy(&mut from, to.as_mut()).await;
                to.finish().await;
            }
        };
        let ((), (), ended) = tokio::join!(out, err, from_error.collect(MAX_STATUS_BYTES));
        // Last of all: clients stop reading at the status.
        let message = ending(&ended.unwrap_or_default(), with_status);
        if let Some(message) = message {
            error.write(message).await;
        }
        error.finish().await;
        close.await;
    };
    tokio::select! {
        () = output => {}
        () = gone => {}
        () = input => {}
        () = sizes => {}
    }
    connection.abort();
}

/// What the error stream ends with: the runtime's `Status`, or ours if it sent none. Protocols older than v4
/// get the message of a failure, and nothing at success.
fn ending(sent: &[u8], with_status: bool) -> Option<Bytes> {
    let status = serde_json::from_slice::<Status>(sent).unwrap_or_else(|_| {
        let text = String::from_utf8_lossy(sent);
        let text = match text.trim() {
            "" => "the container runtime ended the connection",
            text => text,
        };
        Status::failure(500, Reason::InternalError, format!("error executing command in container: {text}"))
    });
    if with_status {
        let known = serde_json::from_slice::<Status>(sent).is_ok();
        let message = if known { sent.to_vec() } else { serde_json::to_vec(&status).unwrap_or_default() };
        return Some(message.into());
    }
    (status.status != "Success").then(|| Bytes::from(status.message))
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXIT_3: &str = r#"{"metadata":{},"status":"Failure","message":"command terminated with non-zero exit code: exit status 3","reason":"NonZeroExitCode","details":{"causes":[{"reason":"ExitCode","message":"3"}]}}"#;

    #[test]
    fn the_runtimes_status_is_passed_on_as_it_is() {
        assert_eq!(ending(EXIT_3.as_bytes(), true).unwrap(), EXIT_3);
        let success = br#"{"metadata":{},"status":"Success"}"#;
        assert_eq!(ending(success, true).unwrap(), success.as_slice());
    }

    #[test]
    fn old_protocols_get_a_message_only() {
        assert_eq!(ending(br#"{"status":"Success"}"#, false), None);
        assert_eq!(
            ending(EXIT_3.as_bytes(), false).unwrap(),
            "command terminated with non-zero exit code: exit status 3"
        );
    }

    #[test]
    fn a_runtime_that_goes_away_is_an_internal_error() {
        let status: Status = serde_json::from_slice(&ending(b"", true).unwrap()).unwrap();
        assert_eq!((status.status.as_str(), status.code), ("Failure", 500));
        assert!(status.message.contains("ended the connection"));
    }
}
