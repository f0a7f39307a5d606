//! What an expression can cost, from the sizes that its variables can have (`checker/cost.go` and
//! `pkg/cel/library/cost.go`, quirks included: the estimate decides which rules a custom resource may have).

mod calls;

use crate::ast::{Comprehension, Expr, Kind, Literal, Meaning};
use crate::decl::{Decl, DeclKind};
use crate::environment::Environment;
use crate::functions::Overload;
use crate::types::Type;
use calls::Call;

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
            let estimate = call.overload(id);
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
