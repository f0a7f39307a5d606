//! Rules that many kinds share. Every rule takes the object that holds a field, the field's name and the path of
//! the object, so that the field's own path is only written out when something is wrong.

mod addresses;
mod conditions;
mod errors;
mod fields;
mod labels;
mod names;
mod node_labels;
mod quantities;

pub use addresses::{
    Network, canonical_cidr, canonical_ip, cidr_warning, ip_warning, is_strict_subset, sloppy_network,
    strict_cidr, strict_ip,
};
pub use conditions::conditions;
pub use errors::{Errors, only_new};
pub use fields::{
    check_ip, immutable, int_or_percent, mutable_only, non_negative, one_of, percent_of, port_or_name,
    positive, range, required_one_of, required_text, text_form,
};
pub use labels::{label_name, label_selector, labels, selector, selector_is_empty};
pub use names::{
    csi_driver_name, domain_prefixed_path, fully_qualified_domain, invalid_unshown, required_path_segment,
};
pub use node_labels::deprecated_node_label;
pub use quantities::{non_negative_quantity, quantity, quantity_text};
