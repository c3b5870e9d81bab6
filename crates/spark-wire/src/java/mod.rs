//! Java object streams (Java Object Serialization Specification, protocol version 2).
//!
//! [`Stream::read`] turns bytes into a graph of values; it looks at names only and creates nothing by them.
//! [`Writer`] writes objects whose classes are described in a [`Table`](crate::Table).

mod reader;
pub(crate) mod utf8;
mod writer;

pub use reader::Limits;
pub(crate) use writer::{Object, Slot, Writer};

use std::sync::Arc;

use crate::error::{Result, WireError};

/// The class is serialisable.
pub(crate) const SERIALIZABLE: u8 = 2;
/// The class writes more than its fields.
pub(crate) const WRITE_METHOD: u8 = 1;
/// The class writes itself.
pub(crate) const EXTERNALIZABLE: u8 = 4;
/// What a class writes itself is in blocks.
pub(crate) const BLOCK_DATA: u8 = 8;
/// The class is an `enum`.
pub(crate) const ENUM: u8 = 16;

/// The tags of what a stream consists of.
mod tag {
    pub(super) const NULL: u8 = 0x70;
    pub(super) const REFERENCE: u8 = 0x71;
    pub(super) const CLASS_DESC: u8 = 0x72;
    pub(super) const OBJECT: u8 = 0x73;
    pub(super) const STRING: u8 = 0x74;
    pub(super) const ARRAY: u8 = 0x75;
    pub(super) const CLASS: u8 = 0x76;
    pub(super) const BLOCK_DATA: u8 = 0x77;
    pub(super) const END_BLOCK_DATA: u8 = 0x78;
    pub(super) const RESET: u8 = 0x79;
    pub(super) const BLOCK_DATA_LONG: u8 = 0x7A;
    pub(super) const LONG_STRING: u8 = 0x7C;
    pub(super) const PROXY_CLASS_DESC: u8 = 0x7D;
    pub(super) const ENUM: u8 = 0x7E;
}

/// The first bytes of every stream: a magic number and the version.
pub(crate) const MAGIC: [u8; 4] = [0xAC, 0xED, 0, 5];
/// The number of the first handle.
pub(crate) const FIRST_HANDLE: i32 = 0x7E_0000;

/// A value of a field, of an array, or by itself. Objects, texts and arrays are in the [`Stream`]: there
/// may be cycles.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Value {
    /// `null`
    Null,
    /// `boolean`
    Boolean(bool),
    /// `byte`, `short`, `char` or `int`
    Int(i32),
    /// `long`
    Long(i64),
    /// `float` or `double`
    Double(f64),
    /// Something else, in the stream.
    Node(NodeId),
}

/// A place in a [`Stream`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct NodeId(pub(crate) u32);

/// A class of a [`Stream`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct ClassId(u32);

/// What has an identity in a stream.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Node {
    Text(Arc<str>),
    /// What its classes have, the most general first.
    Object(ClassId, Vec<Part>),
    Array(ClassId, Vec<Value>),
    /// An object of `java.lang.Class`.
    Class(ClassId),
    /// A constant of an `enum`.
    Constant(Arc<str>),
    /// A class description by itself.
    Description,
    /// It is being read.
    Unfinished,
}

/// The part of an object that one of its classes has written.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Part {
    pub(crate) class: ClassId,
    pub(crate) fields: Vec<Value>,
    /// What the class wrote by a method of its own; blocks of bytes are left out.
    pub(crate) written: Vec<Value>,
}

/// A class as a stream describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClassDescription {
    /// Its full name.
    pub name: Arc<str>,
    /// Its `serialVersionUID`.
    pub serial_version: i64,
    /// The flags of the stream: 2 serialisable, 3 with a `writeObject` method, 18 `enum`.
    pub flags: u8,
    /// Its fields in the order in which they are written.
    pub fields: Vec<FieldDescription>,
    /// Its super class, if that is serialisable.
    pub super_class: Option<Arc<str>>,
}

/// A field of a class.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldDescription {
    /// Its name.
    pub name: String,
    /// Its type as Java writes it: `I`, `Z`, `Ljava/lang/String;`.
    pub type_name: Arc<str>,
}

/// The class of a stream, and the one that it extends.
#[derive(Debug, Clone)]
pub(crate) struct Class {
    pub(crate) description: ClassDescription,
    pub(crate) super_class: Option<ClassId>,
}

/// What was read from a Java object stream.
#[derive(Debug)]
pub struct Stream {
    pub(crate) nodes: Vec<Node>,
    pub(crate) classes: Vec<Class>,
    pub(crate) root: Value,
}

impl Stream {
    /// Reads the first object of a stream. What follows is ignored.
    ///
    /// # Errors
    /// If it is none, or goes beyond the limits.
    pub fn read(bytes: &[u8], limits: Limits) -> Result<Self> {
        reader::read(bytes, limits)
    }

    /// The object.
    pub fn root(&self) -> Value {
        self.root
    }

    /// All classes that the stream describes.
    pub fn classes(&self) -> impl Iterator<Item = &ClassDescription> {
        self.classes.iter().map(|class| &class.description)
    }

    pub(crate) fn node(&self, value: Value) -> Option<&Node> {
        match value {
            Value::Node(NodeId(id)) => self.nodes.get(id as usize),
            _ => None,
        }
    }

    pub(crate) fn class(&self, id: ClassId) -> &ClassDescription {
        &self.classes[id.0 as usize].description
    }

    /// The name of the class of an object.
    pub fn class_of(&self, value: Value) -> Option<&str> {
        match self.node(value)? {
            Node::Object(class, _) | Node::Array(class, _) => Some(&self.class(*class).name),
            _ => None,
        }
    }

    /// A text.
    pub fn text(&self, value: Value) -> Option<&str> {
        match self.node(value)? {
            Node::Text(text) => Some(text),
            _ => None,
        }
    }

    pub(crate) fn parts(&self, value: Value) -> &[Part] {
        match self.node(value) {
            Some(Node::Object(_, parts)) => parts,
            _ => &[],
        }
    }

    pub(crate) fn elements(&self, value: Value) -> Option<&[Value]> {
        match self.node(value)? {
            Node::Array(_, elements) => Some(elements),
            _ => None,
        }
    }

    /// The name of the class that an object of `java.lang.Class` is of.
    pub(crate) fn class_object(&self, value: Value) -> Option<&str> {
        match self.node(value)? {
            Node::Class(class) => Some(&self.class(*class).name),
            _ => None,
        }
    }

    /// A field of an object by its name. Scala 2.13 puts the name of the class and `$$` before that of a
    /// private field: the rest counts.
    pub fn field(&self, object: Value, name: &str) -> Option<Value> {
        let is_meant = |field: &FieldDescription| {
            field.name == name
                || field.name.strip_suffix(name).is_some_and(|before| before.ends_with("$$"))
        };
        self.parts(object).iter().rev().find_map(|part| {
            let at = self.class(part.class).fields.iter().position(is_meant)?;
            part.fields.get(at).copied()
        })
    }

    /// A field that has to be there.
    pub(crate) fn required(&self, object: Value, name: &str) -> Result<Value> {
        self.field(object, name).ok_or_else(|| {
            let class = self.class_of(object).unwrap_or("what is no object");
            WireError::unsupported(format!("{class} has no field {name}"))
        })
    }
}
