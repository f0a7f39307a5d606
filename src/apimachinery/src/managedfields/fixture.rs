//! A small kind for tests: what server-side apply tells apart is all in it.

use std::sync::Arc;

use crate::schema::{SchemaRef, text};

const TABLE: &str = "\
: api.Thing
= example.com/v1 Thing
apiVersion string -
kind string -
metadata api.Meta 1 always
spec api.Spec 2 always
status api.Status 3 always
: api.Meta
name string 1
namespace string 2
uid string 3
labels {}string 4
annotations {}string 5
finalizers [set]string 6 merge
managedFields [atomic]RawExtension 7
resourceVersion string 8
: api.Spec
replicas int32 1
paused bool 2
selector {atomic}string 3
containers! [map:name]api.Container 4 merge=name
args [atomic]string 5
strategy api.Strategy 6
raw RawExtension 7
opaque JSON 8
reference api.Reference 9
count int32 10
: api.Container
name! string 1
image string 2
ports [map:containerPort,protocol]api.Port 3 merge=containerPort
resources api.Resources 4 always
: api.Port
containerPort! int32 1
protocol string 2 default=\"TCP\"
name string 3
: api.Resources
limits {}Quantity 1
: api.Strategy
type string 1
surge IntOrString 2
: api.Reference atomic
name string 1
uid string 2
: api.Status
ready int32 1
conditions [map:type]api.Condition 2
: api.Condition
type! string 1
status string 2
";

/// The kind's schema.
pub(super) fn schema() -> SchemaRef {
    let set = Arc::new(text::parse(TABLE).unwrap());
    let id = set.by_name("api.Thing").unwrap();
    SchemaRef::new(set, id)
}
