//! Scala's collections, options and enumerations, as Scala 2.12 and 2.13 serialise them.
//!
//! A field of type `Seq` or `Map` may hold any implementation; most write themselves as one of a few
//! proxies.

use crate::error::{Result, WireError};
use crate::java::{Stream, Value};

/// As many elements as a collection may have: those of a tree of arrays may be the same one many times.
const MAX_ELEMENTS: usize = 400_000;
/// How deep collections may wrap one another.
const MAX_WRAPPED: u32 = 16;

const PROXY_213: &str = "scala.collection.generic.DefaultSerializationProxy";
const MODULE_213: &str = "scala.runtime.ModuleSerializationProxy";

/// The module (`object`) that a value stands for, by the name of its class.
fn module(stream: &Stream, value: Value) -> Option<&str> {
    match stream.class_of(value)? {
        MODULE_213 => stream.class_object(stream.field(value, "moduleClass")?),
        class if class.ends_with('$') => Some(class),
        _ => None,
    }
}

fn is_end_marker(stream: &Stream, value: Value) -> bool {
    module(stream, value).is_some_and(|class| {
        class.ends_with(".ListSerializeEnd$") || class.ends_with(".SerializeEnd$")
    })
}

/// An `Option`. A missing value counts as `None`.
pub(crate) fn option(stream: &Stream, value: Value) -> Result<Option<Value>> {
    if value == Value::Null {
        return Ok(None);
    }
    match stream.class_of(value) {
        // Scala 2.11 calls the field `x`.
        Some("scala.Some") => {
            let inside = stream.field(value, "value").or_else(|| stream.field(value, "x"));
            Ok(Some(inside.unwrap_or(Value::Null)))
        }
        _ if module(stream, value) == Some("scala.None$") => Ok(None),
        class => Err(unknown("an option", class)),
    }
}

/// A whole number, boxed or not.
pub(crate) fn integer(stream: &Stream, value: Value) -> Result<i64> {
    match value {
        Value::Int(number) => Ok(number.into()),
        Value::Long(number) => Ok(number),
        _ => match (stream.class_of(value), stream.field(value, "value")) {
            (
                Some("java.lang.Integer" | "java.lang.Long" | "java.lang.Short" | "java.lang.Byte"),
                Some(Value::Int(number)),
            ) => Ok(number.into()),
            (Some("java.lang.Long"), Some(Value::Long(number))) => Ok(number),
            (class, _) => Err(unknown("a whole number", class)),
        },
    }
}

/// The number of an enumeration's value.
#[cfg(test)]
pub(crate) fn ordinal(stream: &Stream, value: Value) -> Result<i64> {
    match stream.class_of(value) {
        Some("scala.Enumeration$Val") => integer(stream, stream.required(value, "i")?),
        class => Err(unknown("a value of an enumeration", class)),
    }
}

/// The elements of a `Seq`.
pub(crate) fn seq(stream: &Stream, value: Value) -> Result<Vec<Value>> {
    seq_within(stream, value, MAX_WRAPPED)
}

fn seq_within(stream: &Stream, value: Value, depth: u32) -> Result<Vec<Value>> {
    let class = stream.class_of(value).ok_or_else(|| unknown("a sequence", None))?;
    let deeper = || depth.checked_sub(1).ok_or_else(too_deep);
    let elements = |array: Value| stream.elements(array).map(<[Value]>::to_vec);
    let field = |name| stream.required(value, name);
    let found = match class {
        "scala.collection.immutable.List$SerializationProxy"
        | "scala.collection.mutable.ListBuffer" => {
            written(stream, value).take_while(|element| !is_end_marker(stream, *element)).collect()
        }
        PROXY_213 => {
            written(stream, value).filter(|element| !is_end_marker(stream, *element)).collect()
        }
        "scala.collection.immutable.Nil$" | MODULE_213 => Vec::new(),
        "scala.collection.mutable.ArraySeq" => sized(elements(field("array")?), field("length")?)?,
        "scala.collection.mutable.ArrayBuffer" => {
            sized(elements(field("array")?), field("size0")?)?
        }
        "scala.collection.immutable.Queue" => {
            let mut all = seq_within(stream, field("out")?, deeper()?)?;
            all.extend(seq_within(stream, field("in")?, deeper()?)?.into_iter().rev());
            all
        }
        "scala.collection.immutable.Vector" => vector(stream, value)?,
        "scala.collection.immutable.ArraySeq$ofRef" => {
            elements(field("unsafeArray")?).ok_or_else(|| unknown("a sequence", Some(class)))?
        }
        class if class.ends_with("$ofRef") => {
            elements(field("array")?).ok_or_else(|| unknown("a sequence", Some(class)))?
        }
        class if class.ends_with("$JListWrapper") => {
            seq_within(stream, field("underlying")?, deeper()?)?
        }
        "java.util.ArrayList" | "java.util.LinkedList" => written(stream, value).collect(),
        "java.util.Arrays$ArrayList" => elements(field("a")?).unwrap_or_default(),
        class => return Err(unknown("a sequence", Some(class))),
    };
    Ok(found)
}

/// What an object's own class wrote besides its fields.
fn written(stream: &Stream, value: Value) -> impl Iterator<Item = Value> {
    stream.parts(value).last().map_or(&[][..], |part| &part.written).iter().copied()
}

fn sized(elements: Option<Vec<Value>>, length: Value) -> Result<Vec<Value>> {
    match (elements, length) {
        (Some(mut elements), Value::Int(length)) => {
            elements.truncate(usize::try_from(length).unwrap_or(0));
            Ok(elements)
        }
        _ => Err(unknown("a sequence", None)),
    }
}

/// A vector of Scala 2.12: a tree of arrays of 32, `depth` deep, of which a range counts.
fn vector(stream: &Stream, value: Value) -> Result<Vec<Value>> {
    let number = |name| match stream.required(value, name)? {
        Value::Int(number) => Ok(usize::try_from(number).unwrap_or(0)),
        _ => Err(unknown("a vector", None)),
    };
    let (start, end, depth) = (number("startIndex")?, number("endIndex")?, number("depth")?);
    if end <= start {
        return Ok(Vec::new());
    }
    let top = match depth {
        1..=6 => stream.required(value, &format!("display{}", depth - 1))?,
        _ => return Err(unknown("a vector", None)),
    };
    let mut level = vec![top];
    let mut visited = 0;
    for _ in 0..depth {
        let mut next = Vec::new();
        for array in level {
            let elements = stream.elements(array).unwrap_or_default();
            visited += elements.len().max(1);
            if visited > MAX_ELEMENTS {
                return Err(WireError::too_large(format!(
                    "a vector of more than {MAX_ELEMENTS} elements"
                )));
            }
            next.extend_from_slice(elements);
        }
        level = next;
    }
    level.truncate(end);
    level.drain(..start.min(level.len()));
    Ok(level)
}

/// The entries of a `Map`.
pub(crate) fn map(stream: &Stream, value: Value) -> Result<Vec<(Value, Value)>> {
    let mut value = value;
    for _ in 0..MAX_WRAPPED {
        let class = stream.class_of(value).ok_or_else(|| unknown("a map", None))?;
        match class {
            "scala.collection.immutable.Map$EmptyMap$" | MODULE_213 => return Ok(Vec::new()),
            PROXY_213 => {
                let is_tuple = |element: &Value| stream.class_of(*element) == Some("scala.Tuple2");
                let entry =
                    |tuple| Ok((stream.required(tuple, "_1")?, stream.required(tuple, "_2")?));
                return written(stream, value).filter(is_tuple).map(entry).collect();
            }
            "scala.collection.mutable.HashMap"
            | "scala.collection.mutable.LinkedHashMap"
            | "scala.collection.immutable.HashMap$SerializationProxy" => {
                return Ok(pairs(&written(stream, value).collect::<Vec<_>>()));
            }
            "java.util.HashMap" | "java.util.LinkedHashMap" => {
                let entries =
                    stream.parts(value).iter().flat_map(|part| part.written.iter().copied());
                return Ok(pairs(&entries.collect::<Vec<_>>()));
            }
            _ if class.ends_with("Map$WithDefault") || class.ends_with("$JMapWrapper") => {
                value = stream.required(value, "underlying")?;
            }
            _ => {
                let size = class.strip_prefix("scala.collection.immutable.Map$Map");
                let size = size.and_then(|size| size.parse::<u8>().ok()).filter(|size| *size <= 4);
                let size = size.ok_or_else(|| unknown("a map", Some(class)))?;
                let entry = |number| {
                    let key = stream.required(value, &format!("key{number}"))?;
                    Ok((key, stream.required(value, &format!("value{number}"))?))
                };
                return (1..=size).map(entry).collect();
            }
        }
    }
    Err(too_deep())
}

fn pairs(values: &[Value]) -> Vec<(Value, Value)> {
    values.chunks_exact(2).map(|pair| (pair[0], pair[1])).collect()
}

fn too_deep() -> WireError {
    WireError::too_large("collections that wrap one another too often")
}

fn unknown(what: &str, class: Option<&str>) -> WireError {
    let class = class.unwrap_or("something that is no object");
    WireError::unsupported(format!("{class}, where {what} belongs"))
}
