//! The parameters of operations, in their own words.

use std::borrow::Cow;

/// Where a parameter stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Location {
    /// In the query; may be left out.
    Query,
    /// In the path.
    Path,
}

/// A parameter of an operation, other than its body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Parameter {
    /// Name in requests.
    pub(super) name: &'static str,
    /// Where it stands.
    pub(super) location: Location,
    /// JSON type.
    pub(super) ty: &'static str,
    /// What it does.
    pub(super) description: Cow<'static, str>,
    /// The name under which v2 documents define it once for all operations; `None`: it is written out at each.
    pub(super) shared_as: Option<&'static str>,
}

/// A parameter of the query. Named apart from others of the same name where that is needed.
const fn query(
    shared_as: Option<&'static str>,
    name: &'static str,
    ty: &'static str,
    description: &'static str,
) -> Parameter {
    Parameter { name, location: Location::Query, ty, description: Cow::Borrowed(description), shared_as }
}

const fn text(name: &'static str, description: &'static str) -> Parameter {
    query(Some(name), name, "string", description)
}

const fn flag(name: &'static str, description: &'static str) -> Parameter {
    query(Some(name), name, "boolean", description)
}

const fn number(name: &'static str, description: &'static str) -> Parameter {
    query(Some(name), name, "integer", description)
}

const fn path(shared_as: Option<&'static str>, name: &'static str, description: &'static str) -> Parameter {
    let description = Cow::Borrowed(description);
    Parameter { name, location: Location::Path, ty: "string", description, shared_as }
}

/// The namespace, in the path.
pub(super) static NAMESPACE: Parameter = path(Some("namespace"), "namespace", "Namespace of the object.");
/// What follows a proxy, in the path.
pub(super) static PATH: Parameter = path(Some("path-in-path"), "path", "Path to ask the target for.");
/// Accepted everywhere.
pub(super) static PRETTY: Parameter =
    text("pretty", "Whether the answer is indented. If not given, it is for clients that people read from.");

/// The name of an object, in the path.
pub(super) fn name(kind: &str) -> Parameter {
    Parameter { description: Cow::Owned(format!("name of the {kind}")), ..path(None, "name", "") }
}

/// Options of lists and watches.
pub(super) static LIST: &[Parameter] = &[
    flag(
        "allowWatchBookmarks",
        "Whether a watch may hold bookmarks: events that only tell a resourceVersion.",
    ),
    CONTINUE,
    FIELD_SELECTOR,
    LABEL_SELECTOR,
    LIMIT,
    RESOURCE_VERSION,
    RESOURCE_VERSION_MATCH,
    SEND_INITIAL_EVENTS,
    TIMEOUT_SECONDS,
    flag("watch", "Whether to answer with a stream of changes from resourceVersion on, instead of a list."),
];

const CONTINUE: Parameter = text(
    "continue",
    "The token that an earlier part of a list came with: the list goes on behind that part, as of the same \
     resourceVersion. 410 says that it is too late for that; begin again, or use the token in that answer. \
     Not for watches.",
);
const FIELD_SELECTOR: Parameter =
    text("fieldSelector", "Selects objects by their fields. Everything if not given.");
const LABEL_SELECTOR: Parameter =
    text("labelSelector", "Selects objects by their labels. Everything if not given.");
const LIMIT: Parameter = number(
    "limit",
    "The most objects to answer with. If there are more, metadata.continue of the list is a token to go on with; \
     all parts together are one consistent list. Not for watches.",
);
const RESOURCE_VERSION: Parameter = text(
    "resourceVersion",
    "How recent the answer is to be, or where a watch begins; see \
     https://kubernetes.io/docs/reference/using-api/api-concepts/#resource-versions.",
);
const RESOURCE_VERSION_MATCH: Parameter =
    text("resourceVersionMatch", "How resourceVersion applies to a list: NotOlderThan or Exact.");
const SEND_INITIAL_EVENTS: Parameter = flag(
    "sendInitialEvents",
    "Whether a watch begins with the present state as added objects, followed by a bookmark annotated with \
     k8s.io/initial-events-end. Needs resourceVersionMatch=NotOlderThan.",
);
const TIMEOUT_SECONDS: Parameter =
    number("timeoutSeconds", "Seconds after which the call ends, whatever happens.");

/// Options of deletions.
pub(super) static DELETE: &[Parameter] =
    &[DRY_RUN, GRACE_PERIOD_SECONDS, IGNORE_STORE_READ_ERROR, ORPHAN_DEPENDENTS, PROPAGATION_POLICY];

/// Options of deletions of a collection.
pub(super) static DELETE_COLLECTION: &[Parameter] = &[
    CONTINUE,
    DRY_RUN,
    FIELD_SELECTOR,
    GRACE_PERIOD_SECONDS,
    IGNORE_STORE_READ_ERROR,
    LABEL_SELECTOR,
    LIMIT,
    ORPHAN_DEPENDENTS,
    PROPAGATION_POLICY,
    RESOURCE_VERSION,
    RESOURCE_VERSION_MATCH,
    SEND_INITIAL_EVENTS,
    TIMEOUT_SECONDS,
];

const GRACE_PERIOD_SECONDS: Parameter = number(
    "gracePeriodSeconds",
    "Seconds that the object has to end by itself; 0 is at once. The kind's or the object's own if not given.",
);
const IGNORE_STORE_READ_ERROR: Parameter = flag(
    "ignoreStoreReadErrorWithClusterBreakingPotential",
    "Whether an object that cannot be read from the store is removed from it all the same, without regard to \
     finalizers and preconditions. Dangerous.",
);
const ORPHAN_DEPENDENTS: Parameter =
    flag("orphanDependents", "Deprecated: use propagationPolicy. Whether dependent objects stay.");
const PROPAGATION_POLICY: Parameter = text(
    "propagationPolicy",
    "What becomes of dependent objects: Orphan (they stay), Background (they are deleted afterwards) or Foreground \
     (they are deleted before).",
);

/// Not shared: clients look for the parameter at the operation itself and do not all follow references.
const DRY_RUN: Parameter = query(
    None,
    "dryRun",
    "string",
    "All: the request goes through every stage, and nothing is kept. No other value is valid.",
);
/// Not shared, for the same reason.
const FIELD_VALIDATION: Parameter = query(
    None,
    "fieldValidation",
    "string",
    "What becomes of unknown and duplicate fields in the body: Ignore (dropped, the last one counts), Warn (the \
     same with a warning for each; the default) or Strict (the request fails and the error tells all of them).",
);

/// Options of creations and updates.
pub(super) static WRITE: &[Parameter] = &[
    DRY_RUN,
    text("fieldManager", "Who manages the fields that are set; at most 128 printable characters."),
    FIELD_VALIDATION,
];

/// Options of patches.
pub(super) static PATCH: &[Parameter] = &[
    DRY_RUN,
    query(
        Some("fieldManager-patch"),
        "fieldManager",
        "string",
        "Who manages the fields that are set; at most 128 printable characters. Required for apply.",
    ),
    FIELD_VALIDATION,
    flag("force", "Whether an apply takes over fields that others manage. Only for apply."),
];

/// The options of a subresource that takes them from its query: `log` and what connects to something.
pub(super) fn of_connection(resource: &str, subresource: &str) -> &'static [Parameter] {
    match (resource, subresource) {
        ("pods", "attach") => ATTACH,
        ("pods", "exec") => EXEC,
        ("pods", "log") => LOG,
        ("pods", "portforward") => PORT_FORWARD,
        (_, "proxy") => PROXY,
        _ => &[],
    }
}

const CONTAINER: Parameter =
    text("container", "Container to connect to. May be left out if the pod has just one.");
const STDERR: Parameter =
    flag("stderr", "Whether the process's standard error is sent. Not together with a TTY.");
const STDIN: Parameter = flag("stdin", "Whether the process's standard input is connected.");
const STDOUT: Parameter = flag("stdout", "Whether the process's standard output is sent.");
const TTY: Parameter = flag("tty", "Whether the process runs, or was started, with a TTY.");

static ATTACH: &[Parameter] = &[CONTAINER, STDERR, STDIN, STDOUT, TTY];
static EXEC: &[Parameter] = &[
    text("command", "The command, one argument each; no shell is involved."),
    CONTAINER,
    STDERR,
    STDIN,
    STDOUT,
    TTY,
];
static LOG: &[Parameter] = &[
    query(
        Some("container-log"),
        "container",
        "string",
        "Container whose log is wanted. May be left out if the pod has just one.",
    ),
    flag("follow", "Whether the answer goes on with what is logged from now on."),
    flag("insecureSkipTLSVerifyBackend", "Whether the kubelet's certificate is not verified. Dangerous."),
    number("limitBytes", "The most bytes to answer with; the last line may be cut."),
    flag("previous", "Whether the log of the container's previous run is wanted."),
    number("sinceSeconds", "Only what is at most that many seconds old."),
    text("stream", "Which stream is wanted: All, Stdout or Stderr. Not together with tailLines."),
    number("tailLines", "Only that many lines from the end."),
    flag("timestamps", "Whether each line begins with the time when it was logged."),
];
static PORT_FORWARD: &[Parameter] =
    &[number("ports", "Ports to forward. Required when using WebSockets without a tunnel.")];
static PROXY: &[Parameter] = &[text("path", "Path to ask the target for.")];

/// Every parameter that v2 documents define once, by the name of the definition.
pub(super) fn shared() -> impl Iterator<Item = (&'static str, &'static Parameter)> {
    [LIST, DELETE, DELETE_COLLECTION, WRITE, PATCH, ATTACH, EXEC, LOG, PORT_FORWARD, PROXY]
        .into_iter()
        .flatten()
        .chain([&NAMESPACE, &PATH, &PRETTY])
        .filter_map(|parameter| Some((parameter.shared_as?, parameter)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn parameters_of_one_shared_name_are_the_same() {
        let mut known: BTreeMap<&str, &Parameter> = BTreeMap::new();
        for (name, parameter) in shared() {
            assert_eq!(*known.entry(name).or_insert(parameter), parameter, "{name}");
        }
    }
}
