//! What calls of functions cost, and how large their results are.

use super::{CostRange, Entries, Estimated, Path, Size};
use crate::ast::{Expr, Kind, Literal};
use crate::cost::{CHECK, REGEX, TRAVERSAL};
use crate::decl::{Decl, DeclKind};
use crate::types::Type;

/// What a call by one overload costs, and how large its result is.
pub(super) struct Overloaded {
    pub(super) cost: CostRange,
    pub(super) size: Option<Size>,
    pub(super) entries: Option<Entries>,
}

fn costs(cost: CostRange) -> Overloaded {
    Overloaded { cost, size: None, entries: None }
}

fn sized(cost: CostRange, size: Size) -> Overloaded {
    Overloaded { cost, size: Some(size), entries: None }
}

/// A call with what is known of its arguments.
pub(super) struct Call<'c, 'd> {
    pub(super) function: &'c str,
    pub(super) target: Option<(&'c Expr, Estimated<'d>)>,
    pub(super) args: &'c [Expr],
    pub(super) estimates: &'c [Estimated<'d>],
}

impl Call<'_, '_> {
    pub(super) fn overload(&self, id: &str) -> Overloaded {
        let all = self.estimates.iter().fold(CostRange::ZERO, |sum, arg| sum.plus(arg.cost));
        if let Some(estimate) = self.list_extension(id).or_else(|| self.library(id)) {
            return Overloaded { cost: estimate.cost.plus(all), ..estimate };
        }
        self.standard(id, all)
    }

    fn arg(&self, index: usize) -> Size {
        self.estimates.get(index).map_or(Size::UNKNOWN, Estimated::size)
    }

    fn target(&self) -> Option<Size> {
        self.target.as_ref().map(|(_, of)| of.size())
    }

    /// A literal argument, or the default for one that is not known.
    fn number(&self, index: usize, default: u64) -> u64 {
        match self.args.get(index).map(|arg| &arg.kind) {
            Some(Kind::Literal(Literal::Int(value))) => u64::try_from(*value).unwrap_or(0),
            _ => default,
        }
    }

    /// The size of items of the target; `None` if it is no list.
    fn item(&self) -> Option<(Size, Type)> {
        let (expr, of) = self.target.as_ref()?;
        let Type::List(items) = &expr.of else { return None };
        let size = match of.path {
            Path::At(Decl { kind: DeclKind::List { items, .. }, .. }) => {
                Size { min: 0, max: items.max_elements }
            }
            _ => Size::UNKNOWN,
        };
        Some((size, (**items).clone()))
    }

    /// The list and set libraries of cel-go.
    fn list_extension(&self, id: &str) -> Option<Overloaded> {
        let allocating =
            |factor: f64, size: Size| Some(sized(size.scale(factor).plus(CostRange::fixed(11)), size));
        match id {
            "list_slice" => {
                let end = self.number(1, self.target()?.max);
                allocating(1.0, Size::fixed(end.saturating_sub(self.number(0, 0))))
            }
            "lists_range" => allocating(1.0, Size::fixed(self.number(0, u64::MAX))),
            "list_reverse" => allocating(1.0, self.target()?),
            "list_flatten" => allocating(1.0, self.target()?),
            "list_flatten_int" => allocating(self.number(0, u64::MAX) as f64, self.target()?),
            "list_distinct" => allocating(2.0, self.target()?.times(self.target()?)),
            "list_sets_contains_list" | "list_sets_intersects_list" | "list_sets_equivalent_list" => {
                let factor = if id == "list_sets_equivalent_list" { 2.0 } else { 1.0 };
                let compared = self.arg(0).times(self.arg(1)).scale(factor);
                Some(costs(compared.plus(CostRange::fixed(1))))
            }
            _ => {
                let sorted = if id.ends_with("_sort") { self.target()? } else { self.arg(0) };
                let text = id.starts_with("list_string_") || id.starts_with("list_bytes_");
                let factor = if text { 2.0 + TRAVERSAL } else { 2.0 };
                let sorts = id.ends_with("_sort") || id.ends_with("_sortByAssociatedKeys");
                sorts.then(|| allocating(factor, sorted.times(sorted))).flatten()
            }
        }
    }

    /// Kubernetes' own libraries.
    fn library(&self, id: &str) -> Option<Overloaded> {
        let one = Some(costs(CostRange::fixed(1)));
        let address = Size { min: 4, max: 16 };
        match self.function {
            "check" => Some(costs(CostRange::fixed(CHECK))),
            "serviceAccount"
            | "path"
            | "group"
            | "resource"
            | "subresource"
            | "namespace"
            | "name"
            | "allowed"
            | "reason"
            | "error"
            | "errored"
            | "masked"
            | "prefixLength"
            | "family"
            | "isUnspecified"
            | "isLoopback"
            | "isLinkLocalMulticast"
            | "isLinkLocalUnicast"
            | "isGlobalUnicast"
            | "format.named"
            | "sign"
            | "asInteger"
            | "isInteger"
            | "asApproximateFloat"
            | "isGreaterThan"
            | "isLessThan"
            | "compareTo"
            | "add"
            | "sub"
            | "major"
            | "minor"
            | "patch"
            | "getScheme"
            | "getHostname"
            | "getHost"
            | "getPort"
            | "getEscapedPath"
            | "getQuery" => one,
            "fieldSelector" | "labelSelector" => {
                let length = self.arg(0);
                let requirements = length.scale(0.5).scale(50.0);
                Some(costs(CostRange::fixed(10).plus(length.scale(TRAVERSAL)).plus(requirements)))
            }
            "isSorted" | "sum" | "max" | "min" | "indexOf" | "lastIndexOf" => {
                let list = self.target()?;
                let Some((size, of)) = self.item() else { return Some(costs(list.scale(TRAVERSAL))) };
                let mut each = CostRange::fixed(1);
                if matches!(of, Type::String | Type::Bytes) {
                    each = each.plus(size.scale(TRAVERSAL));
                }
                Some(costs(list.times(each)))
            }
            "url" | "jsonpatch.escapeKey" => Some(sized(self.arg(0).scale(TRAVERSAL), self.arg(0))),
            "lowerAscii" | "upperAscii" | "substring" | "trim" => {
                Some(sized(self.target()?.scale(TRAVERSAL), self.target()?))
            }
            "replace" => Some(sized(self.target()?.scale(2.0 * TRAVERSAL), self.replaced(self.target()?))),
            "split" => {
                let text = self.target()?;
                let max = self.number(1, text.max);
                Some(sized(text.scale(2.0 * TRAVERSAL), Size { min: 0, max }))
            }
            "join" => {
                let list = self.target()?;
                let mut size = self.item().map_or(Size::ZERO, |(item, _)| list.times(item));
                if !self.args.is_empty() {
                    let gaps = Size { min: list.min.saturating_sub(1), max: list.max.saturating_sub(1) };
                    size = size.plus(self.arg(0).times(gaps));
                }
                Some(sized(size.scale(TRAVERSAL), size))
            }
            "find" | "findAll" => {
                let text = self.target()?;
                Some(sized(search(text, self.arg(0)), Size { min: 0, max: text.max }))
            }
            "ip" if self.target.is_some() => one,
            "containsIP" => {
                self.target()?;
                let read =
                    if id == "cidr_contains_ip_string" { self.arg(0).scale(TRAVERSAL) } else { Size::ZERO };
                Some(costs(address.plus(address).scale(TRAVERSAL).plus(read)))
            }
            "containsCIDR" => {
                self.target()?;
                let read =
                    if id == "cidr_contains_cidr_string" { self.arg(0).scale(TRAVERSAL) } else { Size::ZERO };
                let compared = address.plus(address).scale(TRAVERSAL).plus(address.scale(TRAVERSAL));
                Some(costs(compared.plus(CostRange::fixed(1)).plus(read)))
            }
            // The longest expression of a named format has 128 characters.
            "validate" => Some(costs(self.arg(0).scale(TRAVERSAL).scale(128.0 * REGEX))),
            "_==_" => match self.args {
                [Expr { of: Type::Opaque(a), .. }, Expr { of: Type::Opaque(b), .. }] if a == b => match *a {
                    "kubernetes.NamedFormat" => Some(costs(Size { min: 1, max: 64 }.scale(TRAVERSAL))),
                    "kubernetes.URL" => {
                        let max = self.estimates.get(1).and_then(|of| of.size).map_or(1, |size| size.max);
                        Some(costs(Size { min: 1, max }.scale(TRAVERSAL)))
                    }
                    _ => one,
                },
                _ => None,
            },
            _ => None,
        }
    }

    /// The size of `text.replace(old, new)`.
    fn replaced(&self, text: Size) -> Size {
        let (old, new) = (self.arg(0), self.arg(1));
        let divided = |a: u64, b: u64| (a as f64 / b as f64).ceil() as u64;
        // Most: an empty text is found around each character; longer ones are found as often as they fit.
        let (most, kept) = match old.min {
            0 => (text.max.saturating_add(1), text.max),
            _ if new.max <= old.min => (0, text.max),
            shortest => (divided(text.max, shortest), 0),
        };
        let (least, least_kept) = match old.max {
            0 => (text.min.saturating_add(1), text.min),
            longest if longest <= new.min => (0, text.min),
            longest => (divided(text.min, longest), 0),
        };
        Size { min: least, max: most }.times(new).plus(Size { min: least_kept, max: kept })
    }

    /// The standard library; `all` is the cost of the arguments.
    fn standard(&self, id: &str, all: CostRange) -> Overloaded {
        let args = |index: usize| self.estimates.get(index).map_or(CostRange::ZERO, |of| of.cost);
        match id {
            "string_format" => costs(self.target().unwrap_or(Size::UNKNOWN).scale(TRAVERSAL).plus(all)),
            "string_to_bytes" => {
                let text = self.arg(0);
                let size = Size { min: text.min, max: text.max.saturating_mul(4) };
                sized(text.scale(TRAVERSAL).plus(all), size)
            }
            "bytes_to_string" => {
                let bytes = self.arg(0);
                sized(bytes.scale(TRAVERSAL).plus(all), Size { min: bytes.min / 4, max: bytes.max })
            }
            "strings_quote" => {
                let text = self.arg(0);
                let size = Size {
                    min: text.min.saturating_add(2),
                    max: text.max.saturating_mul(2).saturating_add(2),
                };
                sized(text.scale(TRAVERSAL).plus(all), size)
            }
            "starts_with_string" | "ends_with_string" => costs(self.arg(0).scale(TRAVERSAL).plus(all)),
            "in_list" => costs(self.arg(1).plus(all)),
            "matches_string" => costs(search(self.target().unwrap_or(Size::UNKNOWN), self.arg(0)).plus(all)),
            "contains_string" => {
                let text = self.target().unwrap_or(Size::UNKNOWN).scale(TRAVERSAL);
                costs(text.times(self.arg(0).scale(TRAVERSAL)).plus(all))
            }
            "logical_and" | "logical_or" => {
                costs(CostRange { min: args(0).min, max: args(0).plus(args(1)).max })
            }
            "conditional" => {
                let entries = match (self.estimates.get(1), self.estimates.get(2)) {
                    (Some(a), Some(b)) => union(a.entries, b.entries),
                    _ => None,
                };
                let size = Some(self.arg(1).union(self.arg(2)));
                Overloaded { cost: args(0).plus(args(1).union(args(2))), size, entries }
            }
            "add_string" | "add_bytes" | "add_list" => {
                let size = self.arg(0).plus(self.arg(1));
                let entries = match self.estimates {
                    [a, b] => union(a.entries, b.entries),
                    _ => None,
                };
                let own = if id == "add_list" { CostRange::fixed(1) } else { size.scale(TRAVERSAL) };
                Overloaded { cost: own.plus(all), size: Some(size), entries }
            }
            "less_string"
            | "greater_string"
            | "less_equals_string"
            | "greater_equals_string"
            | "less_bytes"
            | "greater_bytes"
            | "less_equals_bytes"
            | "greater_equals_bytes"
            | "equals"
            | "not_equals" => {
                let max = self.arg(0).max.min(self.arg(1).max);
                costs(CostRange { min: max.min(1), max }.scale(TRAVERSAL).plus(all))
            }
            _ => costs(CostRange::fixed(1).plus(all)),
        }
    }
}

fn union(a: Option<Entries>, b: Option<Entries>) -> Option<Entries> {
    let (a, b) = (a?, b?);
    Some(Entries { list: a.list, key: a.key.union(b.key), value: a.value.union(b.value) })
}

/// A search for a regular expression.
fn search(text: Size, pattern: Size) -> CostRange {
    text.plus(Size::fixed(1)).scale(TRAVERSAL).times(pattern.scale(REGEX))
}
