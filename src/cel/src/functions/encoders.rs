//! `base64.encode`, `base64.decode` (cel-go's `ext.Encoders`) and `jsonpatch.escapeKey`.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};

use super::{Row, no_overload};
use crate::error::EvaluationError;
use crate::value::{Text, Value};

pub(super) const ENCODERS: &[Row] = &[
    ("base64.encode", "base64_encode_bytes", "(bytes) -> string", |args, context| match args {
        [Value::Bytes(bytes)] => {
            context.allocate(bytes.len() * 2)?;
            Ok(Value::String(Text::from(STANDARD.encode(bytes))))
        }
        _ => no_overload(),
    }),
    ("base64.decode", "base64_decode_string", "(string) -> bytes", |args, context| match args {
        [Value::String(text)] => {
            context.allocate(text.len())?;
            match STANDARD.decode(text.as_bytes()).or_else(|_| STANDARD_NO_PAD.decode(text.as_bytes())) {
                Ok(bytes) => Ok(Value::Bytes(bytes.into())),
                Err(_) => Err(EvaluationError::new("illegal base64 data")),
            }
        }
        _ => no_overload(),
    }),
];

pub(super) const MUTATION: &[Row] =
    &[("jsonpatch.escapeKey", "string_jsonpatch_escapeKey_string", "(string) -> string", |args, context| {
        match args {
            [Value::String(text)] => {
                context.allocate(text.len() * 2)?;
                Ok(Value::String(Text::from(text.replace('~', "~0").replace('/', "~1"))))
            }
            _ => no_overload(),
        }
    })];
