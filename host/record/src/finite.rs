//! Finds NaN and infinities before JSON hides them.
//!
//! `serde_json` writes a NaN as `null` without a word. In a configuration that is about to be
//! hashed, or in a metric, that turns a bug into a plausible result. [`check`] walks anything
//! serialisable, writes nothing, and names the field of the first float that is not finite.

use std::fmt;

use serde::Serialize;
use serde::ser::{self, Serializer};

use super::{Error, Result};

/// Fails with the dotted path of the first NaN or infinity inside `value`.
pub fn check<T: Serialize + ?Sized>(value: &T) -> Result<()> {
    value.serialize(Probe { parent: None, step: Step::Root })
}

impl ser::Error for Error {
    fn custom<M: fmt::Display>(message: M) -> Self {
        Error::Json(ser::Error::custom(message))
    }
}

/// Where we are, as a chain of steps back to the root. A path is only put into words on failure.
#[derive(Clone, Copy)]
struct Probe<'a> {
    parent: Option<&'a Probe<'a>>,
    step: Step<'a>,
}

#[derive(Clone, Copy)]
enum Step<'a> {
    Root,
    Name(&'a str),
    Index(usize),
}

impl fmt::Display for Probe<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = self.parent.filter(|parent| !matches!(parent.step, Step::Root));
        if let Some(parent) = inner {
            write!(f, "{parent}")?;
        }
        match self.step {
            Step::Root => f.write_str("the value"),
            Step::Name(name) if inner.is_some() => write!(f, ".{name}"),
            Step::Name(name) => f.write_str(name),
            Step::Index(index) => write!(f, "[{index}]"),
        }
    }
}

/// The inside of a sequence, map or struct.
struct Inside<'a> {
    at: Probe<'a>,
    index: usize,
    key: String,
}

impl<'a> Inside<'a> {
    fn new(at: Probe<'a>) -> Result<Self> {
        Ok(Inside { at, index: 0, key: String::new() })
    }

    fn item<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<()> {
        let step = Step::Index(self.index);
        self.index += 1;
        value.serialize(Probe { parent: Some(&self.at), step })
    }

    fn named<T: Serialize + ?Sized>(&self, name: &str, value: &T) -> Result<()> {
        value.serialize(Probe { parent: Some(&self.at), step: Step::Name(name) })
    }
}

macro_rules! nothing_to_check {
    ($($method:ident($kind:ty)),* $(,)?) => {
        $(fn $method(self, _: $kind) -> Result<()> {
            Ok(())
        })*
    };
}

impl<'a> Serializer for Probe<'a> {
    type Ok = ();
    type Error = Error;
    type SerializeSeq = Inside<'a>;
    type SerializeTuple = Inside<'a>;
    type SerializeTupleStruct = Inside<'a>;
    type SerializeTupleVariant = Inside<'a>;
    type SerializeMap = Inside<'a>;
    type SerializeStruct = Inside<'a>;
    type SerializeStructVariant = Inside<'a>;

    fn serialize_f64(self, value: f64) -> Result<()> {
        if value.is_finite() { Ok(()) } else { Err(Error::NotFinite { name: self.to_string(), value }) }
    }

    fn serialize_f32(self, value: f32) -> Result<()> {
        self.serialize_f64(f64::from(value))
    }

    nothing_to_check! {
        serialize_bool(bool), serialize_char(char), serialize_str(&str), serialize_bytes(&[u8]),
        serialize_i8(i8), serialize_i16(i16), serialize_i32(i32), serialize_i64(i64), serialize_i128(i128),
        serialize_u8(u8), serialize_u16(u16), serialize_u32(u32), serialize_u64(u64), serialize_u128(u128),
        serialize_unit_struct(&'static str),
    }

    fn serialize_none(self) -> Result<()> {
        Ok(())
    }

    fn serialize_unit(self) -> Result<()> {
        Ok(())
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, _: &'static str) -> Result<()> {
        Ok(())
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<()> {
        value.serialize(self)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, value: &T) -> Result<()> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<()> {
        value.serialize(Probe { parent: Some(&self), step: Step::Name(variant) })
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Inside<'a>> {
        Inside::new(self)
    }

    fn serialize_tuple(self, _: usize) -> Result<Inside<'a>> {
        Inside::new(self)
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Inside<'a>> {
        Inside::new(self)
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Inside<'a>> {
        Inside::new(self)
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Inside<'a>> {
        Inside::new(self)
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Inside<'a>> {
        Inside::new(self)
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Inside<'a>> {
        Inside::new(self)
    }
}

macro_rules! inside_items {
    ($($compound:ident::$method:ident),* $(,)?) => {
        $(impl ser::$compound for Inside<'_> {
            type Ok = ();
            type Error = Error;
            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<()> {
                self.item(value)
            }
            fn end(self) -> Result<()> {
                Ok(())
            }
        })*
    };
}

macro_rules! inside_fields {
    ($($compound:ident),* $(,)?) => {
        $(impl ser::$compound for Inside<'_> {
            type Ok = ();
            type Error = Error;
            fn serialize_field<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) -> Result<()> {
                self.named(name, value)
            }
            fn end(self) -> Result<()> {
                Ok(())
            }
        })*
    };
}

inside_items!(
    SerializeSeq::serialize_element,
    SerializeTuple::serialize_element,
    SerializeTupleStruct::serialize_field,
    SerializeTupleVariant::serialize_field,
);
inside_fields!(SerializeStruct, SerializeStructVariant);

impl ser::SerializeMap for Inside<'_> {
    type Ok = ();
    type Error = Error;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<()> {
        self.key = match serde_json::to_value(key)? {
            serde_json::Value::String(text) => text,
            other => other.to_string(),
        };
        Ok(())
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<()> {
        self.named(&self.key, value)
    }

    fn end(self) -> Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[derive(Serialize)]
    struct Inner {
        rate: f64,
    }

    #[derive(Serialize)]
    struct Outer {
        name: &'static str,
        stages: Vec<Inner>,
        limits: BTreeMap<&'static str, Option<f32>>,
    }

    fn outer(rate: f64, limit: f32) -> Outer {
        let stages = vec![Inner { rate: 1.0 }, Inner { rate }];
        Outer { name: "x", stages, limits: BTreeMap::from([("low", Some(limit)), ("none", None)]) }
    }

    #[test]
    fn finite_values_pass() {
        check(&outer(2.0, 1.0)).unwrap();
    }

    #[test]
    fn the_first_nan_is_named_by_its_path() {
        let error = check(&outer(f64::NAN, 1.0)).unwrap_err().to_string();
        assert_eq!(error, "stages[1].rate must be a finite number, found NaN");
    }

    #[test]
    fn an_infinity_in_a_map_is_named_by_its_key() {
        let error = check(&outer(2.0, f32::INFINITY)).unwrap_err().to_string();
        assert_eq!(error, "limits.low must be a finite number, found inf");
    }

    #[test]
    fn a_lone_nan_has_no_name() {
        assert_eq!(check(&f64::NAN).unwrap_err().to_string(), "the value must be a finite number, found NaN");
    }
}
