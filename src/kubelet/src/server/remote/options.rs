//! What a request for exec, attach or port-forward wants.

use cri::streaming::remote_command::StreamOptions;

use super::super::route::Query;

/// Options of exec and attach.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct CommandOptions {
    pub command: Vec<String>,
    pub streams: StreamOptions,
}

impl CommandOptions {
    /// Reads a query: the kubelet's names, and the API's for clients that come directly.
    pub(super) fn parse(query: &Query) -> Result<Self, String> {
        let either = |ours: &str, theirs: &str| query.flag(ours) || query.flag(theirs);
        let tty = query.flag("tty");
        let streams = StreamOptions {
            stdin: either("input", "stdin"),
            stdout: either("output", "stdout"),
            // A terminal has one output.
            stderr: either("error", "stderr") && !tty,
            tty,
        };
        if !(streams.stdin || streams.stdout || streams.stderr) {
            return Err("you must specify at least 1 of stdin, stdout, stderr".into());
        }
        Ok(Self { command: query.all("command").map(str::to_owned).collect(), streams })
    }
}

/// Ports of a port-forward over channels; over SPDY each stream says its own.
pub(super) fn ports(query: &Query) -> Result<Vec<u16>, String> {
    query
        .all("port")
        .chain(query.all("ports"))
        .flat_map(|ports| ports.split(','))
        .map(|port| match port.parse() {
            Ok(0) | Err(_) => Err(format!("invalid port {port:?}")),
            Ok(port) => Ok(port),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_spellings_are_understood_and_a_terminal_has_no_stderr() {
        let options =
            CommandOptions::parse(&Query::parse("command=ls&command=-l&input=1&stdout=true&error=1"))
                .unwrap();
        assert_eq!(options.command, ["ls", "-l"]);
        assert_eq!(options.streams, StreamOptions { stdin: true, stdout: true, stderr: true, tty: false });
        let options = CommandOptions::parse(&Query::parse("output=1&error=1&tty=1")).unwrap();
        assert!(!options.streams.stderr && options.streams.tty);
        assert!(CommandOptions::parse(&Query::parse("command=ls")).is_err());
    }

    #[test]
    fn ports_are_numbers_from_1() {
        assert_eq!(ports(&Query::parse("port=80&ports=81,82")).unwrap(), [80, 81, 82]);
        assert!(ports(&Query::parse("port=0")).is_err() && ports(&Query::parse("port=70000")).is_err());
    }
}
