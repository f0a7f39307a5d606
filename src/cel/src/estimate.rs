//! What an expression can cost, from the sizes that its variables can have (`checker/cost.go` and
//! `pkg/cel/library/cost.go`, quirks included: the estimate decides which rules a custom resource may have).

use crate::ast::{Comprehension, Expr, Kind, Literal, Meaning};
use crate::cost::{CHECK, REGEX, TRAVERSAL};
use crate::decl::{Decl, DeclKind};
use crate::environment::Environment;
use crate::functions::Overload;
use crate::types::Type;

/// The least and the most that something costs, or that it has of elements. Saturates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CostRange {
    /// The least.
    pub min: u64,
    /// The most; `u64::MAX` where there is no bound.
    pub max: u64,
}

impl CostRange {
    /// Nothing.
    pub const ZERO: Self = Self::fixed(0);
    const UNKNOWN: Self = Self { min: 0, max: u64::MAX };
    /// Nothing known yet: any union replaces it.
    const NONE: Self = Self { min: u64::MAX, max: 0 };

    const fn fixed(value: u64) -> Self {
        Self { min: value, max: value }
    }

    /// Both together.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self { min: self.min.saturating_add(other.min), max: self.max.saturating_add(other.max) }
    }

    /// One for each of the other.
    #[must_use]
    pub fn times(self, other: Self) -> Self {
        Self { min: self.min.saturating_mul(other.min), max: self.max.saturating_mul(other.max) }
    }

    fn scale(self, factor: f64) -> Self {
        // Rust's conversion saturates as the multiplication must.
        let scale = |value: u64| (value as f64 * factor).ceil() as u64;
        Self { min: scale(self.min), max: scale(self.max) }
    }

    fn union(self, other: Self) -> Self {
        Self { min: self.min.min(other.min), max: self.max.max(other.max) }
    }
}

use CostRange as Size;

/// Where in the declarations a value comes from.
#[derive(Clone, Copy)]
enum Path<'d> {
    /// From nowhere: computed.
    None,
    At(&'d Decl),
    /// From somewhere, but nothing is declared of it.
    Lost,
}

/// Sizes of keys and values of a list or a map that an expression makes.
#[derive(Clone, Copy)]
struct Entries {
    list: bool,
    key: Size,
    value: Size,
}

/// What is known of an expression.
#[derive(Clone, Copy)]
struct Estimated<'d> {
    cost: CostRange,
    path: Path<'d>,
    size: Option<Size>,
    entries: Option<Entries>,
}

impl Estimated<'_> {
    fn size(&self) -> Size {
        self.size.unwrap_or(Size::UNKNOWN)
    }
}

/// A variable of a comprehension.
#[derive(Clone, Copy)]
struct Local<'d> {
    path: Path<'d>,
    size: Option<Size>,
    entries: Option<Entries>,
}

/// Estimates the cost of a checked expression.
pub(crate) fn estimate(environment: &Environment, expr: &Expr) -> CostRange {
    let root = environment.variable("self").map(|(_, decl)| &**decl);
    Estimator { environment, root, locals: Vec::new() }.cost(expr).cost
}

struct Estimator<'d> {
    environment: &'d Environment,
    /// What a path that begins nowhere is taken to begin at: upstream drops a path's first part unseen.
    root: Option<&'d Decl>,
    locals: Vec<Local<'d>>,
}

/// Keys of maps have no bound in schemas, and count as nothing.
static KEY: Decl = Decl { kind: DeclKind::String, max_elements: 0, min_serialized_size: 2, nullable: false };

impl<'d> Estimator<'d> {
    fn cost(&mut self, expr: &Expr) -> Estimated<'d> {
        match &expr.kind {
            Kind::Literal(_) => self.known(expr, CostRange::ZERO, Path::None, None, None),
            Kind::Ident { meaning, .. } => self.ident(expr, meaning),
            Kind::Select { operand, field, test, optional } => {
                let of = self.cost(operand);
                if *test {
                    return self.known(expr, of.cost, Path::None, None, None);
                }
                let selects = matches!(operand.of, Type::Map(_) | Type::Object(_) | Type::Param(_));
                let cost = if selects || *optional { of.cost.plus(CostRange::fixed(1)) } else { of.cost };
                let path = if *optional { Path::None } else { self.descend(of.path, field) };
                self.known(expr, cost, path, None, None)
            }
            Kind::Call { function, target, args, overloads } => {
                self.call(expr, function, target.as_deref(), args, overloads)
            }
            Kind::List(items) => {
                let mut cost = CostRange::fixed(10);
                let mut value = if items.is_empty() { Size::ZERO } else { Size::NONE };
                for item in items {
                    let of = self.cost(&item.value);
                    cost = cost.plus(of.cost);
                    value = value.union(of.size());
                }
                let entries = Entries { list: true, key: Size::fixed(1), value };
                self.known(expr, cost, Path::None, None, Some(entries))
            }
            Kind::Map(entries) => {
                let mut cost = CostRange::fixed(30);
                let none = if entries.is_empty() { Size::ZERO } else { Size::NONE };
                let mut sizes = Entries { list: false, key: none, value: none };
                for entry in entries {
                    let (key, value) = (self.cost(&entry.key), self.cost(&entry.value));
                    cost = cost.plus(key.cost).plus(value.cost);
                    sizes.key = sizes.key.union(key.size());
                    sizes.value = sizes.value.union(value.size());
                }
                self.known(expr, cost, Path::None, None, Some(sizes))
            }
            Kind::Struct { fields, .. } => {
                let mut cost = CostRange::fixed(40);
                for field in fields {
                    cost = cost.plus(self.cost(&field.value).cost);
                }
                self.known(expr, cost, Path::None, None, None)
            }
            Kind::Comprehension(fold) if fold.is_bind => self.bind(fold),
            Kind::Comprehension(fold) => self.comprehension(expr, fold),
        }
    }

    /// Puts together what is known, the size from where it is known best.
    fn known(
        &self,
        expr: &Expr,
        cost: CostRange,
        path: Path<'d>,
        computed: Option<Size>,
        entries: Option<Entries>,
    ) -> Estimated<'d> {
        let declared = match path {
            Path::At(decl) => Some(Size { min: 0, max: decl.max_elements }),
            Path::None | Path::Lost => None,
        };
        let size = computed.or_else(|| literal_size(expr)).or(declared).or_else(|| type_size(&expr.of));
        Estimated { cost, path, size, entries }
    }

    fn ident(&self, expr: &Expr, meaning: &Meaning) -> Estimated<'d> {
        let one = CostRange::fixed(1);
        match meaning {
            Meaning::Local(place) => match self.locals.get(*place) {
                Some(local) => {
                    let mut known = self.known(expr, one, local.path, None, local.entries);
                    known.size = known.size.or(local.size);
                    known
                }
                None => self.known(expr, one, Path::None, None, None),
            },
            Meaning::Variable(_) => {
                let Kind::Ident { name, .. } = &expr.kind else {
                    return self.known(expr, one, Path::None, None, None);
                };
                let path = self.environment.variable(name).map_or(Path::Lost, |(_, decl)| Path::At(decl));
                // The size of what is declared without one is not known, rather than unbounded.
                let path = match path {
                    Path::At(decl) if matches!(decl.kind, DeclKind::Dyn | DeclKind::Native(_)) => Path::Lost,
                    path => path,
                };
                self.known(expr, one, path, None, None)
            }
            Meaning::Type(_) | Meaning::Unknown => self.known(expr, one, Path::Lost, None, None),
        }
    }

    fn descend(&self, path: Path<'d>, step: &str) -> Path<'d> {
        match path {
            Path::None => self.root.map_or(Path::Lost, Path::At),
            Path::Lost => Path::Lost,
            Path::At(decl) => match (&decl.kind, step) {
                (DeclKind::List { items, .. }, "@items") => Path::At(items),
                (DeclKind::Map { values }, "@values" | "@items") => Path::At(values),
                (DeclKind::List { items, .. }, "@values") => Path::At(items),
                (DeclKind::Map { .. }, "@keys") => Path::At(&KEY),
                (DeclKind::Object(of), field) => {
                    of.field(field).map_or(Path::Lost, |field| Path::At(&field.decl))
                }
                _ => Path::Lost,
            },
        }
    }

    fn local(&mut self, slot: usize, local: Local<'d>) {
        self.locals.truncate(slot);
        self.locals.push(local);
    }

    fn bind(&mut self, fold: &Comprehension) -> Estimated<'d> {
        let init = self.cost(&fold.init);
        self.local(fold.slot, Local { path: init.path, size: init.size, entries: init.entries });
        let result = self.cost(&fold.result);
        self.locals.truncate(fold.slot);
        // The empty list that upstream binds over.
        let cost = CostRange::fixed(10).plus(init.cost).plus(result.cost);
        Estimated { cost, path: Path::None, ..result }
    }

    fn comprehension(&mut self, expr: &Expr, fold: &Comprehension) -> Estimated<'d> {
        let range = self.cost(&fold.range);
        let init = self.cost(&fold.init);
        self.local(fold.slot, Local { path: init.path, size: init.size, entries: init.entries });
        let is_list = range.entries.map_or(matches!(fold.range.of, Type::List(_)), |entries| entries.list);
        let key = Local {
            path: self.descend(range.path, if is_list { "@indices" } else { "@keys" }),
            size: range.entries.map(|entries| entries.key),
            entries: None,
        };
        let value = Local {
            path: self.descend(range.path, if is_list { "@items" } else { "@values" }),
            size: range.entries.map(|entries| entries.value),
            entries: None,
        };
        match &fold.iter_var2 {
            Some(_) => self.locals.extend([key, value]),
            None => self.locals.push(if is_list { value } else { key }),
        }
        let condition = self.cost(&fold.condition);
        let step = self.cost(&fold.step);
        self.locals.truncate(fold.slot + 1);
        let result = self.cost(&fold.result);
        self.locals.truncate(fold.slot);
        let rounds = range.size();
        let looped = rounds.times(step.cost.plus(condition.cost));
        let cost = range.cost.plus(init.cost).plus(result.cost).plus(looped);
        let (size, entries) = match &fold.init.kind {
            Kind::Literal(_) => (init.size, None),
            Kind::List(_) | Kind::Map(_) => (Some(rounds), step.entries),
            _ => (None, None),
        };
        self.known(expr, cost, Path::None, size, entries)
    }

    fn call(
        &mut self,
        expr: &Expr,
        function: &str,
        target: Option<&Expr>,
        args: &[Expr],
        overloads: &[&'static Overload],
    ) -> Estimated<'d> {
        let estimates: Vec<Estimated<'d>> = args.iter().map(|arg| self.cost(arg)).collect();
        if let ("dyn", [arg]) = (function, estimates.as_slice()) {
            return Estimated { cost: arg.cost.plus(CostRange::fixed(1)), path: Path::None, ..*arg };
        }
        let target_estimate = target.map(|target| self.cost(target));
        let call = Call { function, target: target.zip(target_estimate), args, estimates: &estimates };
        // The checker knows the only overload of logic, and does not note it.
        let ids: Vec<&str> = match function {
            "_&&_" => vec!["logical_and"],
            "_||_" => vec!["logical_or"],
            _ => overloads.iter().map(|overload| overload.id).collect(),
        };
        let mut cost = CostRange::NONE;
        let mut size: Option<Size> = None;
        let mut entries = None;
        let mut path = Path::None;
        for id in ids {
            let estimate = self.overload(&call, id);
            cost = cost.union(estimate.cost);
            size = match (size, estimate.size) {
                (Some(a), Some(b)) => Some(a.union(b)),
                (a, b) => a.or(b),
            };
            entries = estimate.entries.or(entries);
            if let (Some(operand), "index_list" | "index_map") = (estimates.first(), id) {
                size = operand.entries.map(|entries| entries.value);
                path = self.descend(operand.path, if id == "index_list" { "@items" } else { "@values" });
            }
        }
        let cost = target_estimate.map_or(cost, |target| cost.plus(target.cost));
        self.known(expr, cost, path, size, entries)
    }

    fn overload(&self, call: &Call<'_, 'd>, id: &str) -> Overloaded {
        let all = call.estimates.iter().fold(CostRange::ZERO, |sum, arg| sum.plus(arg.cost));
        if let Some(estimate) = call.list_extension(id).or_else(|| call.library(id)) {
            return Overloaded { cost: estimate.cost.plus(all), ..estimate };
        }
        call.standard(id, all)
    }
}

/// What a call by one overload costs, and how large its result is.
struct Overloaded {
    cost: CostRange,
    size: Option<Size>,
    entries: Option<Entries>,
}

fn costs(cost: CostRange) -> Overloaded {
    Overloaded { cost, size: None, entries: None }
}

fn sized(cost: CostRange, size: Size) -> Overloaded {
    Overloaded { cost, size: Some(size), entries: None }
}

/// A call with what is known of its arguments.
struct Call<'c, 'd> {
    function: &'c str,
    target: Option<(&'c Expr, Estimated<'d>)>,
    args: &'c [Expr],
    estimates: &'c [Estimated<'d>],
}

impl Call<'_, '_> {
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

fn literal_size(expr: &Expr) -> Option<Size> {
    Some(Size::fixed(match &expr.kind {
        Kind::Literal(Literal::String(text)) => text.chars().count() as u64,
        Kind::Literal(Literal::Bytes(bytes)) => bytes.len() as u64,
        Kind::Literal(_) => 1,
        Kind::List(items) => items.len() as u64,
        Kind::Map(entries) => entries.len() as u64,
        _ => return None,
    }))
}

/// Scalars have one element.
fn type_size(of: &Type) -> Option<Size> {
    match of {
        Type::Bool | Type::Double | Type::Duration | Type::Int | Type::Timestamp | Type::Uint => {
            Some(Size::fixed(1))
        }
        Type::Optional(of) => type_size(of),
        _ => None,
    }
}
