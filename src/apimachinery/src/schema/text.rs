//! The compact text form of a schema set, one fact a line.
//!
//! ```text
//! : api.core.v1.ContainerPort                 a struct; `atomic` after the name: owned as a whole
//! = v1 Pod                                    an identity (apiVersion kind) of the type above
//! ~ [{"discriminator":...}]                   its x-kubernetes-unions
//! containerPort! int32 3                      field, `!` required; type; protobuf number (`-` for none)
//! replicas* int32 1                           `*` a pointer in Go: absent is not zero
//! ports [map:containerPort,protocol]api.core.v1.ContainerPort 6 merge=containerPort
//! data {}bytes 2                              map; `{atomic}` and `{granular}` say the map type
//! emptyDir api.core.v1.EmptyDirVolumeSource 1.2   message 1 is inlined in JSON, 2 is the number in it
//! ```
//!
//! Words after the number: `merge=KEY`, `merge`, `replace`, `retainKeys` (patch strategy), `atomic`, `granular`
//! (map type of this use of a struct), `always` (written even when empty), `default=JSON`.

use std::borrow::Cow;
use std::collections::HashMap;

use super::set::SchemaSet;
use super::types::{
    Any, Field, ListType, MapType, PatchStrategy, ProtobufPath, Scalar, SchemaOr, Shape, Type, TypeId,
    TypeInfo,
};

/// Why a table could not be read.
#[derive(Debug, thiserror::Error)]
#[error("schema table, line {line}: {what}")]
pub struct TextError {
    /// Line number, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub what: String,
}

/// Reads a table. Names are borrowed from the text, so a built-in table costs little memory.
///
/// # Errors
/// A line that is none of the forms above, or a reference to a type that is not defined.
pub fn parse(text: &'static str) -> Result<SchemaSet, TextError> {
    let mut reader = Reader::default();
    for (number, line) in text.lines().enumerate() {
        reader.line(line).map_err(|what| TextError { line: number + 1, what })?;
    }
    reader.finish().map_err(|what| TextError { line: text.lines().count(), what })
}

#[derive(Default)]
struct Reader {
    set: SchemaSet,
    /// Types by the text that names them: definitions, and the anonymous lists and maps.
    known: HashMap<&'static str, TypeId>,
    current: Option<Definition>,
    /// Definitions referred to and not yet seen.
    undefined: usize,
    defined: HashMap<&'static str, bool>,
}

struct Definition {
    name: &'static str,
    atomic: bool,
    info: TypeInfo,
    fields: Vec<Field>,
}

impl Reader {
    fn line(&mut self, line: &'static str) -> Result<(), String> {
        if line.is_empty() || line.starts_with('#') {
            return Ok(());
        }
        if let Some(rest) = line.strip_prefix(": ") {
            self.close();
            let (name, flag) = rest.split_once(' ').unwrap_or((rest, ""));
            let info = TypeInfo { name: Cow::Borrowed(name), ..TypeInfo::default() };
            self.current = Some(Definition { name, atomic: flag == "atomic", info, fields: Vec::new() });
            return Ok(());
        }
        if let Some(rest) = line.strip_prefix("= ") {
            let (api_version, kind) = rest.split_once(' ').ok_or("an identity needs a kind")?;
            let (group, version) = crate::gvk::parse_api_version(api_version);
            let gvk = (Cow::Borrowed(group), Cow::Borrowed(version), Cow::Borrowed(kind));
            self.definition()?.info.gvks.push(gvk);
            return Ok(());
        }
        if let Some(rest) = line.strip_prefix("~ ") {
            self.definition()?.info.unions = Cow::Borrowed(rest);
            return Ok(());
        }
        let field = self.field(line)?;
        self.definition()?.fields.push(field);
        Ok(())
    }

    fn definition(&mut self) -> Result<&mut Definition, String> {
        self.current.as_mut().ok_or_else(|| "a line before the first type".to_owned())
    }

    fn field(&mut self, line: &'static str) -> Result<Field, String> {
        let (name, rest) = line.split_once(' ').ok_or("a field needs a type")?;
        let (ty, rest) = rest.split_once(' ').ok_or("a field needs a protobuf number")?;
        let (number, mut words) = rest.split_once(' ').unwrap_or((rest, ""));
        let bare = name.strip_suffix('*').unwrap_or(name);
        let mut field = Field {
            name: Cow::Borrowed(bare.strip_suffix('!').unwrap_or(bare)),
            ty: self.type_of(ty)?,
            required: bare.ends_with('!'),
            always: false,
            map_type: MapType::Unset,
            patch: PatchStrategy::default(),
            merge_key: None,
            protobuf: protobuf_path(number)?.pointer(name.ends_with('*')),
            default: None,
        };
        while !words.is_empty() {
            if let Some(json) = words.strip_prefix("default=") {
                let value = serde_json::from_str(json).map_err(|err| format!("default of {name}: {err}"))?;
                field.default = Some(Box::new(value));
                break;
            }
            let (word, rest) = words.split_once(' ').unwrap_or((words, ""));
            words = rest;
            match word {
                "always" => field.always = true,
                "atomic" => field.map_type = MapType::Atomic,
                "granular" => field.map_type = MapType::Granular,
                "merge" => field.patch.merge = true,
                "replace" => field.patch.replace = true,
                "retainKeys" => field.patch.retain_keys = true,
                _ => {
                    let key = word.strip_prefix("merge=").ok_or_else(|| format!("unknown word {word:?}"))?;
                    field.patch.merge = true;
                    field.merge_key = Some(key.into());
                }
            }
        }
        Ok(field)
    }

    fn type_of(&mut self, text: &'static str) -> Result<TypeId, String> {
        if let Some(id) = self.known.get(text) {
            return Ok(*id);
        }
        let shape = if let Some(rest) = text.strip_prefix('[') {
            let (how, item) = rest.split_once(']').ok_or("`[` without `]`")?;
            let list_type = match how {
                "" => ListType::Unset,
                "atomic" => ListType::Atomic,
                "set" => ListType::Set,
                _ => {
                    let keys =
                        how.strip_prefix("map:").ok_or_else(|| format!("unknown list type {how:?}"))?;
                    ListType::Map(keys.split(',').map(Cow::Borrowed).collect())
                }
            };
            Some(Shape::List { item: self.type_of(item)?, list_type })
        } else if let Some(rest) = text.strip_prefix('{') {
            let (how, value) = rest.split_once('}').ok_or("`{` without `}`")?;
            let map_type = match how {
                "" => MapType::Unset,
                "atomic" => MapType::Atomic,
                "granular" => MapType::Granular,
                _ => return Err(format!("unknown map type {how:?}")),
            };
            Some(Shape::Map { value: self.type_of(value)?, map_type })
        } else {
            self.simple(text)?
        };
        let id = match shape {
            Some(shape) => self.set.add(Type::new(shape)),
            None => {
                self.undefined += 1;
                self.defined.insert(text, false);
                self.set.reserve()
            }
        };
        self.known.insert(text, id);
        Ok(id)
    }

    /// A scalar or another type with a name of one word; None if the text names a definition.
    fn simple(&mut self, text: &'static str) -> Result<Option<Shape>, String> {
        if let Some(scalar) = Scalar::ALL.into_iter().find(|scalar| scalar.name() == text) {
            return Ok(Some(Shape::Scalar(scalar)));
        }
        if let Some(any) = Any::ALL.into_iter().find(|any| any.name() == text) {
            return Ok(Some(Shape::Any(any)));
        }
        if let Some((name, schema)) = text.split_once(':') {
            let form = SchemaOr::ALL.into_iter().find(|form| form.name() == name);
            let form = form.ok_or_else(|| format!("unknown type {name:?}"))?;
            return Ok(Some(Shape::SchemaOr { form, schema: self.type_of(schema)? }));
        }
        if text.contains('.') { Ok(None) } else { Err(format!("unknown type {text:?}")) }
    }

    fn close(&mut self) {
        let Some(done) = self.current.take() else { return };
        let id = *self.known.entry(done.name).or_insert_with(|| self.set.reserve());
        if self.defined.insert(done.name, true) == Some(false) {
            self.undefined -= 1;
        }
        let map_type = if done.atomic { MapType::Atomic } else { MapType::Unset };
        let mut ty = Type::new(Shape::Struct { fields: done.fields.into(), map_type, fills: false });
        ty.info = Some(Box::new(done.info));
        self.set.define(id, ty);
    }

    fn finish(mut self) -> Result<SchemaSet, String> {
        self.close();
        if self.undefined == 0 {
            return Ok(self.set);
        }
        let missing: Vec<&str> =
            self.defined.iter().filter(|(_, seen)| !**seen).map(|(name, _)| *name).collect();
        Err(format!("undefined types: {}", missing.join(", ")))
    }
}

fn protobuf_path(text: &str) -> Result<ProtobufPath, String> {
    if text == "-" {
        return Ok(ProtobufPath::default());
    }
    let numbers: Result<Vec<u32>, _> = text.split('.').map(str::parse).collect();
    numbers
        .ok()
        .and_then(|numbers| ProtobufPath::new(&numbers))
        .ok_or_else(|| format!("bad protobuf number {text:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "\
: api.core.v1.Port atomic
number! int32 3
protocol* string 1.2 default=\"TCP\"
: api.core.v1.Holder
= v1 Holder
= apps/v1 Holder
ports [map:number,protocol]api.core.v1.Port 6 merge=number retainKeys
labels {}string -
";

    #[test]
    fn a_table_reads_into_types_with_identities() {
        let set = parse(TABLE).unwrap();
        let id = set.by_gvk(&crate::gvk::Gvk::new("apps", "v1", "Holder")).unwrap();
        let holder = set.node(id);
        assert_eq!(holder.name(), "api.core.v1.Holder");
        let ports = holder.field("ports").unwrap();
        assert_eq!(ports.patch.extension(), "merge,retainKeys");
        assert_eq!(ports.merge_key.as_deref(), Some("number"));
        let item = holder.at(ports.ty).item().unwrap();
        assert_eq!(item.map_type(), MapType::Atomic);
        let protocol = item.field("protocol").unwrap();
        assert_eq!(protocol.protobuf.numbers().collect::<Vec<_>>(), [1, 2]);
        assert!(protocol.protobuf.is_pointer() && !ports.protobuf.is_pointer());
        assert_eq!(protocol.default.as_deref(), Some(&serde_json::json!("TCP")));
        assert!(item.field("number").unwrap().required);
        assert_eq!(holder.field("labels").unwrap().protobuf.numbers().count(), 0);
    }

    #[test]
    fn a_type_that_nobody_defines_is_an_error() {
        let err = parse(": api.A\nb api.B 1\n").unwrap_err();
        assert!(err.to_string().contains("undefined types: api.B"), "{err}");
    }

    #[test]
    fn an_imported_type_brings_what_it_refers_to() {
        let set = parse(TABLE).unwrap();
        let mut other = SchemaSet::default();
        let id = other.import(set.node(set.by_name("api.core.v1.Holder").unwrap()));
        assert!(other.node(id).child("ports").unwrap().item().unwrap().field("number").is_some());
    }
}
